package meter

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/stagepost/stagepost/plugins/wasm/asm"
)

func assemble(t testing.TB, text string) []byte {
	t.Helper()
	wasm, err := asm.Assemble(text)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

func rewrite(t testing.TB, wasm []byte) *Module {
	t.Helper()
	m, err := Rewrite(wasm, Options{Limits: DefaultLimits(), Allow: allowAll})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestEnds: what would go on for ever, or for too long, ends by fuel or by its depth.
func TestEnds(t *testing.T) {
	for _, tt := range []struct{ sample, want string }{
		{"endless", "fuel"}, {"recursion", "stack"}, {"tree", "fuel"}, {"fill", "fuel"}, {"copy", "fuel"}, {"mutual", "stack"},
		{"grow", "fuel"}, {"table grow", "fuel"},
	} {
		ctx, r := newRuntime(t, plain())
		if _, err := r.NewHostModuleBuilder("env").NewFunctionBuilder().WithFunc(func(i int32) int32 { return i }).Export("print").Instantiate(ctx); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		in, err := r.InstantiateWithConfig(ctx, rewrite(t, assemble(t, samples[tt.sample])).Binary, wazero.NewModuleConfig())
		if err == nil {
			fill(in, 20_000_000)
			fn := in.ExportedFunction("f")
			if fn == nil {
				fn = in.ExportedFunction("even")
			}
			args := []uint64{40}
			_, err = fn.Call(ctx, args[:len(fn.Definition().ParamTypes())]...)
		}
		got := fmt.Sprint(err)
		if in != nil && err != nil {
			got = spent(in)
		}
		if got != tt.want {
			t.Errorf("%s ended by %s, want %s", tt.sample, got, tt.want)
		}
		if in != nil && len(in.ExportedMemoryDefinitions()) > 0 {
			if most := uint32(DefaultLimits().Pages) << 16; in.Memory().Size() > most {
				t.Errorf("%s: %d bytes of memory, more than %d", tt.sample, in.Memory().Size(), most)
			}
		}
		t.Logf("%s: %s after %s", tt.sample, got, time.Since(begin).Round(time.Microsecond))
	}
}

// TestStart: the function that a module starts with runs before the host can give fuel, so it has its own.
func TestStart(t *testing.T) {
	ctx, r := newRuntime(t, plain())
	begin := time.Now()
	if _, err := r.InstantiateWithConfig(ctx, rewrite(t, assemble(t, samples["start"])).Binary, wazero.NewModuleConfig()); err == nil || !strings.Contains(err.Error(), "unreachable") {
		t.Error(err)
	}
	t.Logf("%s", time.Since(begin))
}

// TestStackIsGivenBack: however a function is left.
func TestStackIsGivenBack(t *testing.T) {
	ctx, r := newRuntime(t, plain())
	for name, want := range map[string][]uint64{"two results": {3, 4}, "branches": {20}} {
		in, err := r.InstantiateWithConfig(ctx, rewrite(t, assemble(t, samples[name])).Binary, wazero.NewModuleConfig().WithName(name))
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint64(5) {
			fill(in, 1<<30)
			got, err := in.ExportedFunction("f").Call(ctx, i)
			if err != nil && i != 0 {
				t.Errorf("%s(%d): %v", name, i, err)
			}
			if i == 1 && name == "branches" && fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s(%d) = %v, want %v", name, i, got, want)
			}
			stack := in.ExportedGlobal(Stack).(api.MutableGlobal)
			if i == 0 && name == "two results" { // recursion without end
				continue
			}
			if left := int(stack.Get()); left != DefaultLimits().Stack {
				t.Errorf("%s(%d): %d of the stack are left, want %d", name, i, left, DefaultLimits().Stack)
			}
		}
	}
}

// TestFuelFollowsWork: twice the work takes twice the fuel, and one unit is about one instruction.
func TestFuelFollowsWork(t *testing.T) {
	ctx, r := newRuntime(t, plain())
	in, err := r.InstantiateWithConfig(ctx, rewrite(t, assemble(t, samples["byte loop"])).Binary, wazero.NewModuleConfig())
	if err != nil {
		t.Fatal(err)
	}
	used := func(n uint64) int64 {
		fuel := in.ExportedGlobal(Fuel).(api.MutableGlobal)
		fuel.Set(1 << 40)
		if _, err := in.ExportedFunction("sum").Call(ctx, n); err != nil {
			t.Fatal(err)
		}
		return 1<<40 - int64(fuel.Get())
	}
	one, two := used(1000), used(2000)
	if per := float64(two-one) / 1000; per < 10 || per > 20 { // 12 instructions
		t.Errorf("a turn of the loop takes %.1f units", per)
	}
}

func TestRefused(t *testing.T) {
	section := func(id byte, content ...byte) []byte { return append([]byte{id, byte(len(content))}, content...) }
	module := func(sections ...[]byte) []byte {
		out := append([]byte(nil), header...)
		for _, s := range sections {
			out = append(out, s...)
		}
		return out
	}
	typ, fun := section(1, 1, 0x60, 0, 0), section(3, 1, 0)
	code := func(body ...byte) []byte {
		return section(10, append([]byte{1, byte(len(body) + 1), 0}, body...)...)
	}
	small := DefaultLimits()
	small.Size, small.Functions, small.Exports, small.Locals, small.Body, small.Nesting, small.Types, small.Globals = 200, 2, 2, 3, 20, 4, 2, 2
	small.Loops = 1
	small.BlockLocals, small.Pages, small.Elements, small.Params, small.Segments = 11, 2, 10, 2, 1
	for _, tt := range []struct {
		name string
		wasm []byte
		want string
	}{
		{"nothing", nil, "does not begin with"},
		{"text", []byte("(module)"), "does not begin with"},
		{"component", []byte("\x00asm\x0d\x00\x01\x00"), "does not begin with"},
		{"size", make([]byte, 201), "201 bytes; the most is 200"},
		{"section", module(section(14)), "section 14 is not known"},
		{"tag section", module(section(13)), "section 13 is not known"},
		{"section twice", module(typ, typ), "twice"},
		{"section order", module(fun, typ), "after one"},
		{"section size", module([]byte{1, 100, 0}), "has 100 bytes"},
		{"left over", module(section(1, 0, 0)), "1 bytes are left over"},
		{"types", module(section(1, 3)), "3 types are too many"},
		{"type form", module(section(1, 1, 0x5f)), "form 0x5f"},
		{"value type", module(section(1, 1, 0x60, 1, 0x6e, 0)), "type 0x6e is not known"},
		{"parameters", module(section(1, 1, 0x60, 3, 0x7f, 0x7f, 0x7f, 0)), "3 parameters or results"},
		{"import", module(typ, section(2, 1, 1, 'a', 1, 'b', 0, 0)), `"a"."b" is not allowed`},
		{"functions", module(typ, section(3, 3, 0, 0, 0)), "3 functions are too many"},
		{"no code", module(typ, fun), "1 functions in the function section and 0 here"},
		{"memory", module(section(5, 1, 0, 3)), "begins with 3 pages of 64 KiB; the most is 2"},
		{"shared memory", module(section(5, 1, 3, 1, 1)), "shared memories"},
		{"table", module(section(4, 1, 0x70, 0, 11)), "begins with 11 elements"},
		{"tables together", module(section(4, 2, 0x70, 0, 6, 0x70, 0, 6)), "begins with 12 elements"},
		{"globals", module(section(6, 3, 0x7f, 0, 0x41, 0, 0x0b)), "3 globals are too many"},
		{"constant", module(section(6, 1, 0x7f, 0, 0x41, 0, 0x41, 0, 0x6a, 0x0b)), "a constant is one instruction"},
		{"fuel in a constant", module(section(6, 1, 0x7e, 0, 0x23, 1, 0x0b)), "there is no global 1"},
		{"exports", module(section(7, 3, 0, 0, 0)), "3 exports are too many"},
		{"our name", module(section(6, 1, 0x7f, 0, 0x41, 0, 0x0b), section(7, append(appendName([]byte{1}, Fuel), 3, 0)...)), "keeps for itself"},
		{"fuel exported", module(section(6, 1, 0x7f, 0, 0x41, 0, 0x0b), section(7, 1, 1, 'f', 3, 1)), "there is no global 1"},
		{"function exported", module(typ, fun, section(7, 1, 1, 'f', 0, 1), code(0x0b)), "there is no function 1"},
		{"fuel set", module(typ, fun, code(0x42, 0, 0x24, 0, 0x0b)), "function 0: there is no global 0"},
		{"function called", module(typ, fun, code(0x10, 1, 0x0b)), "there is no function 1"},
		{"type called", module(typ, fun, section(4, 1, 0x70, 0, 1), code(0x41, 0, 0x11, 1, 0, 0x0b)), "there is no type 1"},
		{"local", module(typ, fun, code(0x20, 0, 0x0b)), "there is no local 0"},
		{"label", module(typ, fun, code(0x0c, 1, 0x0b)), "there is no label 1"},
		{"block type", module(typ, fun, code(0x02, 1, 0x0b, 0x0b)), "there is no block type 1"},
		{"early end", module(typ, fun, code(0x0b, 0x0b)), "1 bytes follow the end"},
		{"no end", module(typ, fun, code(0x01)), "ends in the middle"},
		{"else", module(typ, fun, code(0x02, 0x40, 0x05, 0x0b, 0x0b)), "no if is open"},
		{"tail call", module(typ, fun, code(0x12, 0, 0x0b)), "opcode 0x12 is not known"},
		{"atomic", module(typ, fun, code(0xfe, 3, 0, 0x0b)), "opcode 0xfe is not known"},
		{"misc", module(typ, fun, code(0xfc, 18, 0x0b)), "opcode 0xfc 18 is not known"},
		{"vector", module(typ, fun, code(0xfd, 0x80, 2, 0x0b)), "opcode 0xfd 256 is not known"},
		{"try", module(typ, fun, code(0x06, 0x40, 0x0b, 0x0b)), "opcode 0x06 is not known"},
		{"nesting", module(typ, fun, code(2, 0x40, 2, 0x40, 2, 0x40, 2, 0x40, 2, 0x40, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b)), "more than 4 deep"},
		{"loops", module(typ, fun, code(3, 0x40, 3, 0x40, 0x0b, 0x0b, 0x0b)), "loops are nested more than 1 deep"},
		{"blocks and locals", module(typ, fun, section(10, 1, 16, 1, 3, 0x7f, 2, 0x40, 0x0b, 2, 0x40, 0x0b, 2, 0x40, 0x0b, 2, 0x40, 0x0b, 0x0b)), "4 blocks and 3 locals"},
		{"body", module(typ, fun, code(make([]byte, 30)...)), "has 31 bytes; the most is 20"},
		{"locals", module(typ, fun, section(10, 1, 4, 1, 4, 0x7f, 0x0b)), "4 locals and parameters"},
		{"many locals", module(typ, fun, section(10, 1, 8, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x7f, 0x0b)), "4294967295 locals"},
		{"segments", module(section(5, 1, 0, 1), section(11, 2, 0)), "2 segments are too many"},
		{"data without memory", module(section(11, 1, 0, 0x41, 0, 0x0b, 0)), "no memory"},
		{"elements without table", module(section(9, 1, 0, 0x41, 0, 0x0b, 0)), "no table"},
		{"vector that ends", module(section(1, 2)), "ends before its 2 types"},
		{"long number", module(section(1, 0x80, 0x80, 0x80, 0x80, 0x10)), "longer than 32 bits"},
		{"start", module(section(8, 0)), "there is no function 0"},
	} {
		o := Options{Limits: small}
		_, err := Rewrite(tt.wasm, o)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// TestNames: traps name the plugin's functions.
func TestNames(t *testing.T) {
	wasm := assemble(t, "export func f\nunreachable")
	wasm = append(wasm, 0, 14, 4, 'n', 'a', 'm', 'e', 1, 7, 1, 0, 4, 'b', 'o', 'o', 'm')
	m := rewrite(t, wasm)
	if got := sectionsOf(t, m.Binary); got[0] != sectionCustom {
		t.Errorf("sections %v", got)
	}
	ctx, r := newRuntime(t, plain())
	in, err := r.Instantiate(ctx, m.Binary)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.ExportedFunction("f").Call(ctx); err == nil || !strings.Contains(err.Error(), ".boom()") {
		t.Error(err)
	}
}

// TestDamaged: a good module with bytes changed or cut off never panics, and its error says where.
func TestDamaged(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for name, text := range samples {
		wasm := assemble(t, text)
		for n := range wasm {
			if _, err := Rewrite(wasm[:n], Options{Limits: DefaultLimits(), Allow: allowAll}); err == nil && n < len(wasm)-40 && n > 8 {
				continue // whole sections may be missing at the end
			}
		}
		for range 2000 {
			bad := append([]byte(nil), wasm...)
			for range 1 + rnd.IntN(3) {
				bad[rnd.IntN(len(bad))] = byte(rnd.Uint32())
			}
			if _, err := Rewrite(bad, Options{Limits: DefaultLimits(), Allow: allowAll}); err != nil && !strings.HasPrefix(err.Error(), "byte ") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestLinear shows how long rewriting takes.
func TestLinear(t *testing.T) {
	for _, n := range []int{1000, 2000, 4000} {
		var b strings.Builder
		b.WriteString("memory 1\n")
		for i := range n {
			fmt.Fprintf(&b, "func f%d i32 -> i32\nlocals i32 i32\nloop block local.get 0 br_if 1 end local.get 1 i32.load8_u local.set 2 end local.get 2\n", i)
			for range 20 {
				b.WriteString("block local.get 0 if local.get 1 i32.const 77 i32.add local.set 1 end end ")
			}
			b.WriteByte('\n')
		}
		wasm := assemble(t, b.String())
		begin := time.Now()
		m, err := Rewrite(wasm, Options{Limits: DefaultLimits()})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d bytes -> %d in %s", len(wasm), len(m.Binary), time.Since(begin).Round(10*time.Microsecond))
	}
}

// BenchmarkByteLoop compares a loop over 4 KiB, as it was and metered.
func BenchmarkByteLoop(b *testing.B) {
	wasm := assemble(b, samples["byte loop"])
	for _, form := range []struct {
		name string
		wasm []byte
	}{{"plain", wasm}, {"metered", rewrite(b, wasm).Binary}} {
		b.Run(form.name, func(b *testing.B) {
			ctx, r := newRuntime(b, plain())
			in, err := r.Instantiate(ctx, form.wasm)
			if err != nil {
				b.Fatal(err)
			}
			fn := in.ExportedFunction("sum")
			b.SetBytes(4096)
			if in.ExportedGlobal(Fuel) != nil {
				fill(in, 1<<62)
			}
			for b.Loop() {
				if _, err := fn.Call(ctx, 4096); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCalls compares calls without end of small functions.
func BenchmarkCalls(b *testing.B) {
	wasm := assemble(b, samples["tree"])
	for _, form := range []struct {
		name string
		wasm []byte
	}{{"plain", wasm}, {"metered", rewrite(b, wasm).Binary}} {
		b.Run(form.name, func(b *testing.B) {
			ctx, r := newRuntime(b, plain())
			in, err := r.Instantiate(ctx, form.wasm)
			if err != nil {
				b.Fatal(err)
			}
			fn := in.ExportedFunction("f")
			if in.ExportedGlobal(Fuel) != nil {
				fill(in, 1<<62)
			}
			for b.Loop() {
				if _, err := fn.Call(ctx, 12); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
