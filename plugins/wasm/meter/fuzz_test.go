package meter

import (
	"bytes"
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/stagepost/stagepost/plugins/wasm/asm"
)

// FuzzRewrite: nothing panics, and a module is valid after rewriting exactly when it was before.
func FuzzRewrite(f *testing.F) {
	for _, s := range samples {
		wasm, err := asm.Assemble(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wasm)
	}
	f.Fuzz(func(t *testing.T, wasm []byte) {
		m, err := Rewrite(wasm, Options{Limits: DefaultLimits(), Allow: allowAll})
		if err != nil {
			return
		}
		ctx := context.Background()
		r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2))
		defer r.Close(ctx)
		_, before := r.CompileModule(ctx, wasm)
		_, after := r.CompileModule(ctx, m.Binary)
		if (before == nil) != (after == nil) && !onlyNames(before) {
			t.Errorf("before: %v; after: %v", before, after)
		}
	})
}

// onlyNames tells of a fault in custom sections, which rewriting leaves out.
func onlyNames(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "section custom") || strings.Contains(err.Error(), "name"))
}

// FuzzSame runs generated programs before and after rewriting: results, traps, memory and globals are the same, and what ran
// long ends within its fuel. The program as it was is stopped by the runtime's own, slow, means.
func FuzzSame(f *testing.F) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		seed := make([]byte, 300)
		for i := range seed {
			seed[i] = byte(rnd.Uint32())
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 2000 {
			return
		}
		same(t, generate(data))
	})
}

// TestSame is FuzzSame on more programs than the corpus has.
func TestSame(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	counts := map[string]int{}
	programs := 200
	if testing.Short() {
		programs = 40
	}
	for range programs {
		seed := make([]byte, 200+rnd.IntN(400))
		for i := range seed {
			seed[i] = byte(rnd.Uint32())
		}
		for kind, n := range same(t, generate(seed)) {
			counts[kind] += n
		}
	}
	t.Logf("%v", counts)
	for _, kind := range []string{"results", "traps", "out of fuel"} {
		if counts[kind] == 0 {
			t.Errorf("no program had %s: %v", kind, counts)
		}
	}
}

// same runs the functions of a generated program in both forms and tells how often they ended in which way.
func same(t *testing.T, text string) map[string]int {
	counts := map[string]int{}
	wasm, err := asm.Assemble(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	lim := DefaultLimits()
	m, err := Rewrite(wasm, Options{Limits: lim})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	const fuel = 200_000
	ctx, r := newRuntime(t, plain())
	defer r.Close(ctx)
	slow := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCoreFeatures(api.CoreFeaturesV2).WithCloseOnContextDone(true).WithMemoryLimitPages(uint32(lim.Pages)))
	defer slow.Close(ctx)
	after, err := r.CompileModule(ctx, m.Binary)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	before, err := slow.CompileModule(ctx, wasm)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, name := range []string{"f0", "f3"} {
		for _, args := range [][]uint64{{0, 0}, {3, 5}} {
			a, err := r.InstantiateModule(ctx, after, wazero.NewModuleConfig().WithName(""))
			if err != nil {
				t.Fatal(err)
			}
			fill(a, fuel)
			got, gotErr := a.ExportedFunction(name).Call(ctx, args...)
			if left := int64(a.ExportedGlobal(Stack).Get()); gotErr == nil && left != int64(lim.Stack) {
				t.Errorf("%s%v: %d of the stack are left at the end", name, args, left)
			}
			if why := spent(a); why != "" && gotErr != nil {
				counts["out of "+why]++ // it may be endless; that the rewritten one ended is what counts
				a.Close(ctx)
				continue
			}
			limit, cancel := context.WithTimeout(ctx, 10*time.Second)
			b, err := slow.InstantiateModule(ctx, before, wazero.NewModuleConfig().WithName(""))
			if err != nil {
				t.Fatal(err)
			}
			want, wantErr := b.ExportedFunction(name).Call(limit, args...)
			cancel()
			switch {
			case gotErr == nil && wantErr == nil:
				counts["results"]++
				if got[0] != want[0] {
					t.Errorf("%s%v = %d, want %d", name, args, got[0], want[0])
				}
			case gotErr == nil || wantErr == nil || first(gotErr) != first(wantErr):
				t.Errorf("%s%v: %v, want %v", name, args, gotErr, wantErr)
			default:
				counts["traps"]++
			}
			x, _ := a.Memory().Read(0, a.Memory().Size())
			y, _ := b.Memory().Read(0, b.Memory().Size())
			if !bytes.Equal(x, y) {
				t.Errorf("%s%v: memory differs", name, args)
			}
			a.Close(ctx)
			b.Close(ctx)
			if t.Failed() {
				t.Fatal(text)
			}
		}
	}
	return counts
}

// first is the first line of a trap.
func first(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
