package lua

import (
	"strings"

	glua "github.com/yuin/gopher-lua"
)

var stringFuncs = map[string]glua.LGFunction{
	"byte":    stringByte,
	"char":    stringChar,
	"find":    stringFind,
	"format":  stringFormat,
	"gmatch":  stringGmatch,
	"gsub":    stringGsub,
	"len":     stringLen,
	"lower":   stringLower,
	"match":   stringMatch,
	"rep":     stringRep,
	"reverse": stringReverse,
	"sub":     stringSub,
	"upper":   stringUpper,
}

// argRange reads arguments n and n+1 as the first and last position in a string of the given length, counted from the
// end when negative, and returns them as the slice [from:to].
func argRange(L *glua.LState, n, length, first, last int) (from, to int) {
	from, to = optInt(L, n, first), optInt(L, n+1, last)
	if from < 0 {
		from += length + 1
	}
	if to < 0 {
		to += length + 1
	}
	from, to = max(1, from)-1, min(length, to)
	return from, max(from, to)
}

func stringByte(L *glua.LState) int {
	s := argString(L, 1)
	first := optInt(L, 2, 1)
	from, to := argRange(L, 2, len(s), 1, first)
	if to-from > maxResults {
		L.RaiseError("string slice too long (at most %s bytes)", count(maxResults))
	}
	manyValues(L, to-from)
	for i := from; i < to; i++ {
		L.Push(glua.LNumber(s[i]))
	}
	return to - from
}

func stringChar(L *glua.LState) int {
	n := L.GetTop()
	BudgetOf(L).Alloc(L, n+stringBytes)
	b := make([]byte, n)
	for i := range b {
		c := argInt(L, i+1)
		if c < 0 || c > 255 {
			argError(L, i+1, "invalid value")
		}
		b[i] = byte(c)
	}
	L.Push(glua.LString(b))
	return 1
}

func stringLen(L *glua.LState) int {
	L.Push(glua.LNumber(len(argString(L, 1))))
	return 1
}

func stringSub(L *glua.LState) int {
	s := argString(L, 1)
	argInt(L, 2)
	from, to := argRange(L, 2, len(s), 1, -1)
	BudgetOf(L).Alloc(L, stringBytes)
	if from >= len(s) {
		from, to = 0, 0
	}
	L.Push(glua.LString(s[from:to]))
	return 1
}

// mapBytes pushes s with each byte changed, charged before it is allocated.
func mapBytes(L *glua.LState, change func(dst []byte, s string)) int {
	s := argString(L, 1)
	b := BudgetOf(L)
	b.Step(L, len(s)/64)
	b.Alloc(L, len(s)+stringBytes)
	var sb strings.Builder
	sb.Grow(len(s))
	var buf [512]byte
	for len(s) > 0 {
		n := min(len(s), len(buf))
		change(buf[:n], s[:n])
		sb.Write(buf[:n])
		s = s[n:]
	}
	L.Push(glua.LString(sb.String()))
	return 1
}

// stringLower and stringUpper know ASCII letters only, as in the C locale; the bytes of other characters stay.
func stringLower(L *glua.LState) int {
	return mapBytes(L, func(dst []byte, s string) {
		for i := range dst {
			if dst[i] = s[i]; 'A' <= s[i] && s[i] <= 'Z' {
				dst[i] |= 0x20
			}
		}
	})
}

func stringUpper(L *glua.LState) int {
	return mapBytes(L, func(dst []byte, s string) {
		for i := range dst {
			if dst[i] = s[i]; 'a' <= s[i] && s[i] <= 'z' {
				dst[i] &^= 0x20
			}
		}
	})
}

func stringReverse(L *glua.LState) int {
	s := argString(L, 1)
	b := BudgetOf(L)
	b.Step(L, len(s)/64)
	b.Alloc(L, 2*len(s)+stringBytes)
	out := make([]byte, len(s))
	for i := range len(s) {
		out[len(s)-1-i] = s[i]
	}
	L.Push(glua.LString(out))
	return 1
}

func stringRep(L *glua.LState) int {
	s := argString(L, 1)
	n := argInt(L, 2)
	if n <= 0 || s == "" {
		L.Push(glua.LString(""))
		return 1
	}
	b := BudgetOf(L)
	if int64(n) > b.room()/int64(len(s)) {
		n = -1 // more than is left; refused by Alloc
	}
	b.Alloc(L, len(s)*n)
	b.Alloc(L, stringBytes)
	b.Step(L, len(s)*n/256)
	L.Push(glua.LString(strings.Repeat(s, n)))
	return 1
}

func stringFind(L *glua.LState) int  { return findOrMatch(L, true) }
func stringMatch(L *glua.LState) int { return findOrMatch(L, false) }

func findOrMatch(L *glua.LState, find bool) int {
	s, pat := argString(L, 1), argString(L, 2)
	init := optInt(L, 3, 1)
	if init < 0 {
		init += len(s) + 1
	}
	init = min(max(1, init)-1, len(s))
	if find && (glua.LVAsBool(L.Get(4)) || !strings.ContainsAny(pat, "^$*+?.([%-")) {
		BudgetOf(L).Step(L, 1+(len(s)-init)/64)
		i := strings.Index(s[init:], pat)
		if i < 0 {
			L.Push(glua.LNil)
			return 1
		}
		L.Push(glua.LNumber(init + i + 1))
		L.Push(glua.LNumber(init + i + len(pat)))
		return 2
	}
	var m matcher
	m.init(L, s, pat)
	p := 0
	anchored := strings.HasPrefix(pat, "^")
	if anchored {
		p = 1
	}
	for start := init; start <= len(s); start++ {
		end := m.find(start, p)
		if end >= 0 {
			m.done()
			if find {
				L.Push(glua.LNumber(start + 1))
				L.Push(glua.LNumber(end))
				return 2 + m.pushCaptures(start, end, false)
			}
			return m.pushCaptures(start, end, true)
		}
		if anchored {
			break
		}
	}
	m.done()
	L.Push(glua.LNil)
	return 1
}

func stringGmatch(L *glua.LState) int {
	s, pat := argString(L, 1), argString(L, 2)
	BudgetOf(L).Alloc(L, closureBytes)
	next := 0
	call := InstanceOf(L).calls
	L.Push(goFunction(func(L *glua.LState) int {
		if InstanceOf(L).calls != call {
			L.RaiseError("this iterator of string.gmatch belongs to an earlier call, or to the main chunk, and is at its end")
		}
		var m matcher
		m.init(L, s, pat)
		for start := next; start <= len(s); start++ {
			if end := m.find(start, 0); end >= 0 {
				if next = end; end == start {
					next++
				}
				m.done()
				return m.pushCaptures(start, end, true)
			}
		}
		next = len(s) + 1
		m.done()
		L.Push(glua.LNil)
		return 1
	}))
	return 1
}

func stringGsub(L *glua.LState) int {
	s, pat := argString(L, 1), argString(L, 2)
	repl := L.Get(3)
	switch repl.(type) {
	case glua.LString, glua.LNumber, *glua.LTable, *glua.LFunction:
	default:
		argError(L, 3, "string, function or table expected, got "+typeName(L, 3))
	}
	limit := optInt(L, 4, len(s)+1)
	p := 0
	if strings.HasPrefix(pat, "^") {
		p = 1
	}
	g := &substitution{repl: repl}
	g.init(L, s, pat)
	start, n := 0, 0
	for n < limit {
		end := g.find(start, p)
		if end >= 0 {
			n++
			g.replace(start, end)
		}
		switch {
		case end > start:
			start = end
		case start < len(s):
			g.add(s[start : start+1])
			start++
		default:
			start++
		}
		if start > len(s) || p == 1 {
			break
		}
	}
	if start < len(s) {
		g.add(s[start:])
	}
	g.done()
	L.Push(glua.LString(g.out.String()))
	L.Push(glua.LNumber(n))
	return 2
}

// A substitution is the state of one gsub.
type substitution struct {
	matcher
	repl glua.LValue
	out  strings.Builder
}

// add appends to the result. A growing buffer copies, so twice the bytes are charged.
func (g *substitution) add(s string) {
	g.budget.Alloc(g.L, 2*len(s))
	g.out.WriteString(s)
}

func (g *substitution) replace(s, e int) {
	var v glua.LValue
	switch r := g.repl.(type) {
	case *glua.LTable:
		v = g.L.GetTable(r, g.capture(0, s, e))
	case *glua.LFunction:
		g.L.Push(r)
		g.L.Call(g.pushCaptures(s, e, true), 1)
		v = g.L.Get(-1)
		g.L.Pop(1)
	default:
		g.template(s, e)
		return
	}
	if !glua.LVAsBool(v) {
		g.add(g.src[s:e])
		return
	}
	out, ok := text(v)
	if !ok {
		g.fail("invalid replacement value (a " + v.Type().String() + ")")
	}
	g.add(out)
}

// template adds a replacement string, in which %1 is a capture, %0 the match, and % before anything else is dropped.
func (g *substitution) template(s, e int) {
	repl, _ := text(g.repl)
	for {
		i := strings.IndexByte(repl, '%')
		if i < 0 {
			g.add(repl)
			return
		}
		g.add(repl[:i])
		g.step()
		if repl = repl[i+1:]; repl == "" {
			return
		}
		switch c := repl[0]; {
		case c == '0':
			g.add(g.src[s:e])
		case isDigit(c):
			out, _ := text(g.capture(int(c-'1'), s, e))
			g.add(out)
		default:
			g.add(repl[:1])
		}
		repl = repl[1:]
	}
}
