package meter

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// specLimits are so wide that they change nothing in the specification's tests.
func specLimits() Limits {
	l := DefaultLimits()
	l.Pages, l.Elements, l.Types, l.Functions = 1<<16, math.MaxUint32, 1<<20, 1<<20
	return l
}

func allowAll(Import) error { return nil }

// specFolders finds the tests of the specification that come with the sources of wazero.
func specFolders(t *testing.T) []string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Skipf("the sources of wazero cannot be found: %v", err)
	}
	var folders []string
	for _, v := range []string{"v1", "v2"} {
		dir := filepath.Join(strings.TrimSpace(string(out)), "internal", "integration_test", "spectest", v, "testdata")
		if _, err := os.Stat(dir); err == nil {
			folders = append(folders, dir)
		}
	}
	if len(folders) == 0 {
		t.Skip("the tests of the WebAssembly specification are not among the sources of wazero")
	}
	return folders
}

// specScript is a file of tests, as wast2json makes it.
type specScript struct{ Commands []specCommand }

type specCommand struct {
	Type, Name, Filename, As, Text string
	Line                           int
	ModuleType                     string `json:"module_type"`
	Action                         struct {
		Type, Module, Field string
		Args                []specValue
	}
	Expected []specValue
}

type specValue struct {
	Type     string
	LaneType string `json:"lane_type"`
	Value    any
}

// TestSpec runs the tests of the WebAssembly core specification on rewritten modules: what they answer and how they trap must
// not differ.
func TestSpec(t *testing.T) {
	counts := map[string]int{}
	folders := specFolders(t)
	if testing.Short() { // most of the first version is in the second
		folders = folders[len(folders)-1:]
	}
	for _, dir := range folders {
		scripts, _ := filepath.Glob(filepath.Join(dir, "*.json"))
		for _, file := range scripts {
			t.Run(filepath.Base(filepath.Dir(dir))+"/"+strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
				raw, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				var script specScript
				if err := json.Unmarshal(raw, &script); err != nil {
					t.Fatal(err)
				}
				runSpec(t, dir, script, counts)
			})
		}
	}
	sum := 0
	for kind, n := range counts {
		if strings.HasPrefix(kind, "assert_") {
			sum += n
		}
	}
	t.Logf("%d modules rewritten and run, %d assertions: %v", counts["module"], sum, counts)
	if sum < 1000 {
		t.Errorf("only %d assertions ran", sum)
	}
}

type specRun struct {
	t       *testing.T
	dir     string
	ctx     context.Context
	runtime wazero.Runtime
	modules map[string]api.Module
	last    api.Module
}

func runSpec(t *testing.T, dir string, script specScript, counts map[string]int) {
	s := &specRun{t: t, dir: dir, modules: map[string]api.Module{}}
	features := api.CoreFeaturesV2
	if strings.HasSuffix(filepath.Dir(dir), "v1") { // what was invalid then is valid now
		features = api.CoreFeaturesV1
	}
	s.ctx, s.runtime = newRuntime(t, wazero.NewRuntimeConfig().WithCoreFeatures(features))
	spectest, err := os.ReadFile(filepath.Join(dir, "spectest.wasm"))
	if err != nil {
		spectest, err = os.ReadFile(filepath.Join(dir, "..", "..", "testdata", "spectest.wasm"))
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.runtime.InstantiateWithConfig(s.ctx, spectest, wazero.NewModuleConfig()); err != nil {
		t.Fatal(err)
	}
	for i := range script.Commands {
		c := &script.Commands[i]
		if c.Type == "register" {
			continue // with the module
		}
		as := ""
		if i+1 < len(script.Commands) && script.Commands[i+1].Type == "register" {
			as = script.Commands[i+1].As
		}
		if s.command(c, as) {
			counts[c.Type]++
		}
		if t.Failed() {
			return // what follows depends on it
		}
	}
}

// command runs one command and tells whether it could be run.
func (s *specRun) command(c *specCommand, as string) bool {
	at := fmt.Sprintf("line %d, %s", c.Line, c.Type)
	switch c.Type {
	case "module":
		m, err := s.load(c.Filename, as)
		if err != nil {
			s.t.Errorf("%s %s: %v", at, c.Filename, err)
			return true
		}
		s.last = m
		if c.Name != "" {
			s.modules[c.Name] = m
		}
		if as != "" {
			s.modules[as] = m
		}
	case "action", "assert_return":
		got, types, err := s.do(c)
		if err != nil {
			s.t.Errorf("%s %s: %v", at, c.Action.Field, err)
			return true
		}
		if why := compare(got, types, c.Expected); why != "" {
			s.t.Errorf("%s %s%v: %s", at, c.Action.Field, c.Action.Args, why)
		}
	case "assert_trap", "assert_exhaustion":
		if c.Action.Type == "" { // the instantiation traps
			_, err := s.load(c.Filename, as)
			if err == nil {
				s.t.Errorf("%s: no trap", at)
			}
			return true
		}
		_, _, err := s.do(c)
		if want := trapText(c); err == nil || !strings.Contains(err.Error(), want) {
			s.t.Errorf("%s %s%v: %v, want %q", at, c.Action.Field, c.Action.Args, err, want)
		}
	case "assert_malformed", "assert_invalid", "assert_unlinkable", "assert_uninstantiable":
		if c.ModuleType == "text" {
			return false
		}
		if _, err := s.load(c.Filename, as); err == nil && c.Text != "out of bounds table access" { // wazero loads what fails only then
			s.t.Errorf("%s %s: %s: it loads", at, c.Filename, c.Text)
		}
	default:
		s.t.Errorf("%s: not known", at)
	}
	return true
}

func (s *specRun) load(name, as string) (api.Module, error) {
	wasm, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		return nil, err
	}
	m, err := Rewrite(wasm, Options{Limits: specLimits(), Allow: allowAll})
	if err != nil {
		return nil, err
	}
	return s.runtime.InstantiateWithConfig(s.ctx, m.Binary, wazero.NewModuleConfig().WithName(as).WithStartFunctions())
}

func (s *specRun) do(c *specCommand) ([]uint64, []api.ValueType, error) {
	m := s.last
	if c.Action.Module != "" {
		if m = s.modules[c.Action.Module]; m == nil {
			return nil, nil, fmt.Errorf("no module %q", c.Action.Module)
		}
	}
	if c.Action.Type == "get" {
		g := m.ExportedGlobal(c.Action.Field)
		return []uint64{g.Get()}, []api.ValueType{g.Type()}, nil
	}
	fn := m.ExportedFunction(c.Action.Field)
	if fn == nil {
		return nil, nil, fmt.Errorf("no function %q", c.Action.Field)
	}
	var args []uint64
	for _, a := range c.Action.Args {
		args = append(args, a.bits()...)
	}
	fill(m, 1<<40)
	out, err := fn.Call(s.ctx, args...)
	return out, fn.Definition().ResultTypes(), err
}

// trapText is what wazero says for a trap of the specification.
func trapText(c *specCommand) string {
	switch c.Text {
	case "call stack exhausted":
		return "unreachable" // the stack is counted
	case "out of bounds memory access", "integer overflow", "integer divide by zero", "unreachable":
		return c.Text
	case "indirect call type mismatch", "indirect call":
		return "indirect call type mismatch"
	case "undefined element", "undefined", "out of bounds table access":
		return "invalid table access"
	case "invalid conversion to integer":
		return "invalid conversion to integer"
	}
	if strings.HasPrefix(c.Text, "uninitialized") {
		return "invalid table access"
	}
	return c.Text
}

// bits are the value as a call takes it: two words for a vector.
func (v specValue) bits() []uint64 {
	if list, ok := v.Value.([]any); ok {
		width := 128 / len(list)
		var words [2]uint64
		for i, e := range list {
			words[i*width/64] |= number(e.(string), width) << (i * width % 64)
		}
		return words[:]
	}
	s, _ := v.Value.(string)
	switch v.Type {
	case "externref", "funcref":
		if s == "" || s == "null" {
			return []uint64{0}
		}
		return []uint64{number(s, 64) + 1} // 0 is null
	case "i32", "f32":
		return []uint64{number(s, 32)}
	}
	return []uint64{number(s, 64)}
}

func number(s string, width int) uint64 {
	if i, err := strconv.ParseInt(s, 10, width); err == nil && width < 64 {
		return uint64(i) & (1<<width - 1)
	}
	n, _ := strconv.ParseUint(s, 10, width)
	return n
}

// compare tells how results differ from those expected.
func compare(got []uint64, types []api.ValueType, want []specValue) string {
	for _, v := range want {
		words := 1
		if v.Type == "v128" {
			words = 2
		}
		if len(got) < words {
			return fmt.Sprintf("results are missing for %v", v)
		}
		list, isVector := v.Value.([]any)
		if !isVector {
			list = []any{v.Value}
			v.LaneType = v.Type
		}
		width := map[string]int{"i8": 8, "i16": 16, "i32": 32, "f32": 32}[v.LaneType]
		if width == 0 {
			width = 64
		}
		exact := v.bits()
		for i, e := range list {
			at := i * width
			mask := uint64(math.MaxUint64) >> (64 - width)
			g := got[at/64] >> (at % 64) & mask
			s, _ := e.(string)
			if strings.HasPrefix(s, "nan:") {
				if !isNaN(g, width, s == "nan:canonical") {
					return fmt.Sprintf("%x, want %s", g, s)
				}
			} else if w := exact[at/64] >> (at % 64) & mask; g != w {
				return fmt.Sprintf("%x, want %x", g, w)
			}
		}
		got = got[words:]
	}
	return ""
}

func isNaN(bits uint64, width int, canonical bool) bool {
	quiet, sign := uint64(0x7fc00000), uint64(1)<<31
	if width == 64 {
		quiet, sign = 0x7ff8000000000000, 1<<63
	}
	if canonical {
		return bits&^sign == quiet
	}
	return bits&quiet == quiet
}

// newRuntime makes a runtime as plugins have it.
func newRuntime(t testing.TB, config wazero.RuntimeConfig) (context.Context, wazero.Runtime) {
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, config)
	t.Cleanup(func() { r.Close(ctx) })
	return ctx, r
}

func plain() wazero.RuntimeConfig {
	return wazero.NewRuntimeConfig().WithCoreFeatures(api.CoreFeaturesV2)
}

// fill sets the fuel and the stack of an instance.
func fill(in api.Module, fuel int64) {
	in.ExportedGlobal(Fuel).(api.MutableGlobal).Set(uint64(fuel))
	in.ExportedGlobal(Stack).(api.MutableGlobal).Set(uint64(DefaultLimits().Stack))
}

// spent tells which of the two is below zero.
func spent(in api.Module) string {
	switch {
	case int64(in.ExportedGlobal(Stack).Get()) < 0:
		return "stack"
	case int64(in.ExportedGlobal(Fuel).Get()) < 0:
		return "fuel"
	}
	return ""
}

// sections of a module, to look into one in tests.
func sectionsOf(t *testing.T, wasm []byte) []int {
	w := &rewriter{in: reader{data: wasm, at: len(header)}}
	var ids []int
	for id, s := range w.split() {
		if s != nil {
			ids = append(ids, id)
		}
	}
	if w.in.err != nil {
		t.Fatal(w.in.err)
	}
	slices.Sort(ids)
	return ids
}
