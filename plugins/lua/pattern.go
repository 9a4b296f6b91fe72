package lua

import (
	glua "github.com/yuin/gopher-lua"
)

// Patterns of Lua 5.1 (manual, section 5.4.1), matched by backtracking. Matching takes exponential time for some
// patterns, so each step is charged, and the depth of the recursion is bounded.

const (
	maxCaptures     = 32
	maxPatternDepth = 200
	// stepsPerInstruction is how many steps of the matcher are charged as one VM instruction.
	stepsPerInstruction = 4
	stepSlice           = 256
)

// A capture's length, or one of these.
const (
	captureOpen     = -1
	capturePosition = -2
)

type matcher struct {
	L        *glua.LState
	budget   *Budget
	src, pat string
	steps    int // not charged yet
	depth    int
	level    int // captures so far, finished or not
	captures [maxCaptures]struct{ start, length int }
}

func (m *matcher) init(L *glua.LState, src, pat string) {
	m.L, m.budget, m.src, m.pat = L, BudgetOf(L), src, pat
	m.budget.Step(L, 1)
}

func (m *matcher) step() {
	if m.steps++; m.steps == stepSlice {
		m.done()
	}
}

// done charges the steps taken since it was last called.
func (m *matcher) done() {
	m.budget.Step(m.L, m.steps/stepsPerInstruction)
	m.steps = 0
}

func (m *matcher) fail(message string) { m.L.RaiseError("%s", message) }

// find matches the pattern from p on at s, and returns the end of the match or -1.
func (m *matcher) find(s, p int) int {
	m.level = 0
	return m.match(s, p)
}

func (m *matcher) match(s, p int) int {
	if m.depth++; m.depth > maxPatternDepth {
		m.fail("pattern too complex")
	}
	end := m.matchItems(s, p)
	m.depth--
	return end
}

func (m *matcher) matchItems(s, p int) int {
	for p < len(m.pat) {
		m.step()
		switch m.pat[p] {
		case '(':
			if p+1 < len(m.pat) && m.pat[p+1] == ')' {
				return m.openCapture(s, p+2, capturePosition)
			}
			return m.openCapture(s, p+1, captureOpen)
		case ')':
			return m.closeCapture(s, p+1)
		case '$':
			if p+1 == len(m.pat) {
				if s == len(m.src) {
					return s
				}
				return -1
			}
		case '%':
			if p+1 < len(m.pat) {
				switch c := m.pat[p+1]; {
				case c == 'b':
					if s = m.balance(s, p+2); s < 0 {
						return -1
					}
					p += 4
					continue
				case c == 'f':
					end, ok := m.frontier(s, p+2)
					if !ok {
						return -1
					}
					p = end
					continue
				case '0' <= c && c <= '9':
					if s = m.backReference(s, c); s < 0 {
						return -1
					}
					p += 2
					continue
				}
			}
		}
		end := m.classEnd(p)
		var suffix byte
		if end < len(m.pat) {
			suffix = m.pat[end]
		}
		switch suffix {
		case '?':
			if s < len(m.src) && m.single(m.src[s], p, end) {
				if e := m.match(s+1, end+1); e >= 0 {
					return e
				}
			}
			p = end + 1
		case '*':
			return m.longest(s, p, end, 0)
		case '+':
			return m.longest(s, p, end, 1)
		case '-':
			return m.shortest(s, p, end)
		default:
			if s >= len(m.src) || !m.single(m.src[s], p, end) {
				return -1
			}
			s, p = s+1, end
		}
	}
	return s
}

// classEnd returns where the single-character class at p ends.
func (m *matcher) classEnd(p int) int {
	c := m.pat[p]
	p++
	switch c {
	case '%':
		if p == len(m.pat) {
			m.fail("malformed pattern (ends with '%')")
		}
		return p + 1
	case '[':
		if p < len(m.pat) && m.pat[p] == '^' {
			p++
		}
		for first := true; first || p >= len(m.pat) || m.pat[p] != ']'; first = false {
			if p >= len(m.pat) {
				m.fail("malformed pattern (missing ']')")
			}
			m.step()
			if m.pat[p] == '%' {
				p++
				if p >= len(m.pat) {
					m.fail("malformed pattern (missing ']')")
				}
			}
			p++
		}
		return p + 1
	}
	return p
}

// single tells whether c is in the class pat[p:end].
func (m *matcher) single(c byte, p, end int) bool {
	m.step()
	switch m.pat[p] {
	case '.':
		return true
	case '%':
		return inClass(c, m.pat[p+1])
	case '[':
		return m.inSet(c, p+1, end-1)
	}
	return m.pat[p] == c
}

// inSet tells whether c is in the set whose inside is pat[p:end].
func (m *matcher) inSet(c byte, p, end int) bool {
	found := true
	if m.pat[p] == '^' {
		found = false
		p++
	}
	for ; p < end; p++ {
		m.step()
		switch {
		case m.pat[p] == '%':
			p++
			if inClass(c, m.pat[p]) {
				return found
			}
		case p+2 < end && m.pat[p+1] == '-':
			if m.pat[p] <= c && c <= m.pat[p+2] {
				return found
			}
			p += 2
		case m.pat[p] == c:
			return found
		}
	}
	return !found
}

// inClass tells whether c is in the class %class; a capital letter is the complement, other characters stand for themselves.
func inClass(c, class byte) bool {
	var in bool
	switch class | 0x20 {
	case 'a':
		in = isLetter(c)
	case 'c':
		in = c < ' ' || c == 0x7f
	case 'd':
		in = isDigit(c)
	case 'l':
		in = 'a' <= c && c <= 'z'
	case 'p':
		in = ' ' < c && c < 0x7f && !isLetter(c) && !isDigit(c)
	case 's':
		in = c == ' ' || '\t' <= c && c <= '\r'
	case 'u':
		in = 'A' <= c && c <= 'Z'
	case 'w':
		in = isLetter(c) || isDigit(c)
	case 'x':
		in = isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f'
	case 'z':
		in = c == 0
	default:
		return class == c
	}
	if !isLetter(class) { // a sign whose code differs from a letter's in one bit
		return class == c
	}
	return in == (class >= 'a')
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }

// longest matches as many of the class as it can, at least least, then the rest of the pattern.
func (m *matcher) longest(s, p, end, least int) int {
	n := 0
	for s+n < len(m.src) && m.single(m.src[s+n], p, end) {
		n++
	}
	for ; n >= least; n-- {
		m.step()
		if e := m.match(s+n, end+1); e >= 0 {
			return e
		}
	}
	return -1
}

func (m *matcher) shortest(s, p, end int) int {
	for {
		m.step()
		if e := m.match(s, end+1); e >= 0 {
			return e
		}
		if s >= len(m.src) || !m.single(m.src[s], p, end) {
			return -1
		}
		s++
	}
}

func (m *matcher) openCapture(s, p, length int) int {
	if m.level == maxCaptures {
		m.fail("too many captures")
	}
	m.captures[m.level].start = s
	m.captures[m.level].length = length
	m.level++
	e := m.match(s, p)
	if e < 0 {
		m.level--
	}
	return e
}

func (m *matcher) closeCapture(s, p int) int {
	i := m.level - 1
	for ; i >= 0; i-- {
		if m.captures[i].length == captureOpen {
			break
		}
	}
	if i < 0 {
		m.fail("invalid pattern capture")
	}
	m.captures[i].length = s - m.captures[i].start
	e := m.match(s, p)
	if e < 0 {
		m.captures[i].length = captureOpen
	}
	return e
}

// balance matches %bxy and returns its end or -1.
func (m *matcher) balance(s, p int) int {
	if p+1 >= len(m.pat) {
		m.fail("missing arguments to '%b'")
	}
	if s >= len(m.src) || m.src[s] != m.pat[p] {
		return -1
	}
	open, shut := m.pat[p], m.pat[p+1]
	for depth := 1; ; {
		m.step()
		if s++; s >= len(m.src) {
			return -1
		}
		switch m.src[s] {
		case shut:
			if depth--; depth == 0 {
				return s + 1
			}
		case open:
			depth++
		}
	}
}

// frontier matches %f[set] and returns the end of the item.
func (m *matcher) frontier(s, p int) (end int, ok bool) {
	if p >= len(m.pat) || m.pat[p] != '[' {
		m.fail("missing '[' after '%f' in pattern")
	}
	end = m.classEnd(p)
	var before, at byte
	if s > 0 {
		before = m.src[s-1]
	}
	if s < len(m.src) {
		at = m.src[s]
	}
	return end, !m.inSet(before, p+1, end-1) && m.inSet(at, p+1, end-1)
}

// backReference matches what capture %c matched.
func (m *matcher) backReference(s int, c byte) int {
	i := int(c) - '1'
	if i < 0 || i >= m.level || m.captures[i].length == captureOpen {
		m.fail("invalid capture index")
	}
	length := max(0, m.captures[i].length)
	start := m.captures[i].start
	m.budget.Step(m.L, length/64)
	if len(m.src)-s < length || m.src[s:s+length] != m.src[start:start+length] {
		return -1
	}
	return s + length
}

// capture returns the i-th capture of a match of src[s:e]; without captures the whole match is the first.
func (m *matcher) capture(i, s, e int) glua.LValue {
	if i >= m.level {
		if i > 0 {
			m.fail("invalid capture index")
		}
		return m.share(s, e)
	}
	c := m.captures[i]
	switch c.length {
	case capturePosition:
		return glua.LNumber(c.start + 1)
	case captureOpen:
		m.fail("unfinished capture")
	}
	return m.share(c.start, c.start+c.length)
}

func (m *matcher) share(s, e int) glua.LValue {
	m.budget.Alloc(m.L, stringBytes)
	return glua.LString(m.src[s:e])
}

// pushCaptures pushes all captures; whole says whether a match without captures gives itself.
func (m *matcher) pushCaptures(s, e int, whole bool) int {
	n := m.level
	if n == 0 && whole {
		n = 1
	}
	for i := range n {
		m.L.Push(m.capture(i, s, e))
	}
	return n
}
