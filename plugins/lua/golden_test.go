package lua

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	glua "github.com/yuin/gopher-lua"
)

// forbidden finds an instruction that compiled plugin code must not hold.
func forbidden(p *glua.FunctionProto) string {
	for i := 0; i < len(p.Code); i++ {
		inst := p.Code[i]
		switch op := int(inst >> opcodeShift); op {
		case glua.OP_CONCAT, glua.OP_SETGLOBAL, glua.OP_GETTABLEKS:
			return fmt.Sprintf("%s:%d: opcode %d", p.SourceName, p.DbgSourcePositions[i], op)
		case glua.OP_SETTABLE: // only in a constructor, for a small number
			key := inst & argMask
			n, ok := glua.LNumber(0), false
			if key&0x100 != 0 {
				n, ok = p.Constants[key&0xff].(glua.LNumber)
			}
			if !ok || n < 1 || n > largestItem {
				return fmt.Sprintf("%s:%d: a table write with key %v", p.SourceName, p.DbgSourcePositions[i], n)
			}
		case glua.OP_CLOSURE:
			i += int(p.FunctionPrototypes[inst&0x3ffff].NumUpvalues)
		}
	}
	if p.IsVarArg&glua.VarArgNeedsArg != 0 {
		return p.SourceName + ": a function makes a table arg"
	}
	for _, inner := range p.FunctionPrototypes {
		if found := forbidden(inner); found != "" {
			return found
		}
	}
	return ""
}

// TestGlobals compares everything a plugin can reach, from the globals and from the metatable of strings, with a golden list.
func TestGlobals(t *testing.T) {
	in, err := NewInstance(link(t, ""), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var lines []string
	seen := map[*glua.LTable]bool{}
	var walk func(path string, table *glua.LTable)
	walk = func(path string, table *glua.LTable) {
		seen[table] = true
		if _, ok := in.frozen[table]; !ok {
			t.Errorf("%s is not frozen", path)
		}
		table.ForEach(func(k, v glua.LValue) {
			name := strings.TrimPrefix(path+"."+k.String(), ".")
			inner, ok := v.(*glua.LTable)
			switch {
			case ok && !seen[inner]:
				lines = append(lines, name+" table")
				walk(name, inner)
			case v.Type() == glua.LTNumber || v.Type() == glua.LTString || v.Type() == glua.LTBool:
				lines = append(lines, name+" = "+v.String())
			default:
				lines = append(lines, name+" "+v.Type().String())
			}
		})
	}
	walk("", in.state.G.Global)
	walk("(string)", in.image.library.strings)
	slices.Sort(lines)
	got := strings.Join(lines, "\n") + "\n"
	const golden = "testdata/globals.golden"
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; what a plugin can reach is now:\n%s", golden, got)
	}
}
