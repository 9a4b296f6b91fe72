package meter

import (
	"fmt"
	"strings"
)

// generator makes a valid module of whatever bytes there are, so that fuzzing finds programs and not only broken modules.
type generator struct {
	data   []byte
	out    strings.Builder
	labels []bool // whether a branch to the label carries a value; innermost last
	left   int    // expressions that may still be made
}

const generatedFuncs = 4

func generate(data []byte) string {
	g := &generator{data: data}
	g.out.WriteString("memory 1 8\ntable 6\nglobal g i32 7\nglobal h i64 9\nelem 1 f0 f1 f2 f3\ndata 100 \"some data\"\n")
	for i := range generatedFuncs {
		fmt.Fprintf(&g.out, "export func f%d i32 i32 -> i32\nlocals i32 i32\n", i)
		g.left, g.labels = 60, []bool{true}
		for range g.next(3) {
			g.statement(0)
		}
		g.value(0)
		g.out.WriteByte('\n')
	}
	return g.out.String()
}

// next takes a number below n; 0 when the bytes are used up.
func (g *generator) next(n int) int {
	if len(g.data) == 0 {
		return 0
	}
	b := g.data[0]
	g.data = g.data[1:]
	return int(b) % n
}

func (g *generator) put(format string, args ...any) { fmt.Fprintf(&g.out, format+" ", args...) }

// value writes code that leaves an i32.
func (g *generator) value(depth int) {
	if g.left--; g.left < 0 || depth > 12 {
		g.put("local.get %d", g.next(4))
		return
	}
	operands := func(n int) {
		for range n {
			g.value(depth + 1)
		}
	}
	switch g.next(20) {
	case 0, 1:
		g.put("local.get %d", g.next(4))
	case 2:
		g.put("i32.const %d", g.next(256)*(g.next(256)-100))
	case 3, 4, 5:
		operands(2)
		g.put([]string{"i32.add", "i32.sub", "i32.mul", "i32.and", "i32.rotl", "i32.lt_s"}[g.next(6)])
	case 6:
		operands(2)
		g.put([]string{"i32.div_s", "i32.rem_u"}[g.next(2)])
	case 7:
		operands(1)
		g.put("i32.const 0x1ffff i32.and i32.load+%d", g.next(200))
	case 8:
		operands(2)
		g.put("call f%d", g.next(generatedFuncs))
	case 9:
		operands(3)
		g.put("i32.const 7 i32.and call_indirect 0")
	case 10:
		operands(1)
		g.put("if:i32")
		g.labels = append(g.labels, true)
		g.value(depth + 1)
		g.put("else")
		g.value(depth + 1)
		g.end()
	case 11:
		g.put("block:i32")
		g.labels = append(g.labels, true)
		g.statement(depth + 1)
		g.value(depth + 1)
		g.end()
	case 12:
		g.put("loop:i32")
		g.labels = append(g.labels, false)
		g.statement(depth + 1)
		g.value(depth + 1)
		g.end()
	case 13:
		operands(1)
		g.put("local.tee %d", g.next(4))
	case 14:
		operands(3)
		g.put("select")
	case 15:
		g.put([]string{"global.get g", "memory.size", "global.get h i32.wrap_i64", "table.size"}[g.next(4)])
	case 16:
		g.put("i32.const %d memory.grow", g.next(4))
	case 17:
		operands(2)
		if l := g.next(len(g.labels)); g.labels[len(g.labels)-1-l] {
			g.put("br_if %d", l)
		} else {
			g.put("drop")
		}
	case 18:
		operands(2)
		g.put("drop")
	default:
		operands(1)
		g.put("i32.eqz")
	}
}

// statement writes code that leaves nothing.
func (g *generator) statement(depth int) {
	if g.left--; g.left < 0 || depth > 12 {
		return
	}
	switch g.next(14) {
	case 0, 1:
		g.value(depth + 1)
		g.put("local.set %d", g.next(4))
	case 2:
		g.value(depth + 1)
		g.put("global.set g")
	case 3:
		g.value(depth + 1)
		g.put("i32.const 0x1ffff i32.and")
		g.value(depth + 1)
		g.put("i32.store+%d", g.next(200))
	case 4, 5:
		g.put("block")
		g.labels = append(g.labels, false)
		g.statement(depth + 1)
		g.value(depth + 1)
		g.put("br_if 0")
		g.statement(depth + 1)
		g.end()
	case 6, 7: // a loop that may end
		g.put("loop")
		g.labels = append(g.labels, false)
		g.statement(depth + 1)
		g.put("local.get %d i32.const 1 i32.sub local.tee %d br_if 0", g.next(4), g.next(4))
		g.end()
	case 8:
		g.value(depth + 1)
		g.put("if")
		g.labels = append(g.labels, false)
		g.statement(depth + 1)
		g.end()
	case 9:
		g.value(depth + 1)
		g.put("i32.const 0xffff i32.and")
		g.value(depth + 1)
		g.put("i32.const 0x%x", 1<<g.next(20))
		g.put("memory.fill")
	case 10:
		g.value(depth + 1)
		g.put("i32.const 0xffff i32.and i32.const 50 i32.const 0x%x memory.copy", g.next(1<<20))
	case 11:
		g.value(depth + 1)
		g.put("if")
		g.labels = append(g.labels, false)
		g.value(depth + 1)
		g.put([]string{"return", "return", "drop unreachable"}[g.next(3)])
		g.end()
	case 12:
		g.put("block block")
		g.value(depth + 1)
		g.put("br_table 1 0 1 end")
		g.labels = append(g.labels, false)
		g.statement(depth + 1)
		g.end()
	default:
		g.put("i32.const 0 i32.const %d i32.const %d table.copy", g.next(8), g.next(5))
	}
}

func (g *generator) end() {
	g.labels = g.labels[:len(g.labels)-1]
	g.put("end")
}
