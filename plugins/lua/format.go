package lua

import (
	"fmt"
	"math"
	"strings"

	glua "github.com/yuin/gopher-lua"
)

// stringFormat is string.format of Lua 5.1. Width and precision have at most two digits, so that only %s and %q can be
// long, and these are charged.
func stringFormat(L *glua.LState) int {
	format := argString(L, 1)
	b := BudgetOf(L)
	var out []byte
	add := func(s string) {
		b.Alloc(L, 2*len(s))
		out = append(out, s...)
	}
	for arg := 1; ; {
		i := strings.IndexByte(format, '%')
		if i < 0 {
			add(format)
			break
		}
		add(format[:i])
		b.Step(L, 1)
		if format = format[i+1:]; strings.HasPrefix(format, "%") {
			add("%")
			format = format[1:]
			continue
		}
		spec, rest := formatSpec(L, format)
		format = rest
		if arg++; arg > L.GetTop() {
			argError(L, arg, "no value")
		}
		add(formatArg(L, spec, arg))
	}
	b.Alloc(L, len(out)+stringBytes)
	L.Push(glua.LString(out))
	return 1
}

// formatSpec splits "-5.2f rest" into "-5.2f" and " rest".
func formatSpec(L *glua.LState, s string) (spec, rest string) {
	i := 0
	digits := func(most int) {
		for n := 0; i < len(s) && isDigit(s[i]); n++ {
			if n == most {
				L.RaiseError("invalid format (width or precision too long)")
			}
			i++
		}
	}
	for i < len(s) && strings.IndexByte("-+ #0", s[i]) >= 0 {
		if i == 5 {
			L.RaiseError("invalid format (repeated flags)")
		}
		i++
	}
	digits(2)
	if i < len(s) && s[i] == '.' {
		i++
		digits(2)
	}
	if i == len(s) {
		L.RaiseError("%s", "invalid conversion to format ('%' at the end)")
	}
	return s[:i+1], s[i+1:]
}

func formatArg(L *glua.LState, spec string, arg int) string {
	verb := spec[len(spec)-1]
	mods := spec[:len(spec)-1]
	switch verb {
	case 'd', 'i':
		return formatInteger(mods, 'd', toInt64(argNumber(L, arg)))
	case 'o', 'x', 'X', 'u':
		n := uint64(toInt64(argNumber(L, arg)))
		if verb == 'u' {
			verb = 'd'
		}
		// C ignores + and space for unsigned conversions.
		return formatInteger(strings.Map(func(r rune) rune {
			if r == '+' || r == ' ' {
				return -1
			}
			return r
		}, mods), verb, n)
	case 'c':
		return pad(mods, string([]byte{byte(argInt(L, arg))}))
	case 'e', 'E', 'f', 'g', 'G':
		return formatFloat(mods, verb, argNumber(L, arg))
	case 'q':
		return quoteString(L, argString(L, arg))
	case 's':
		s := argString(L, arg)
		if _, precision, ok := strings.Cut(mods, "."); ok {
			n := 0
			fmt.Sscan(precision, &n)
			s = s[:min(n, len(s))]
		}
		return pad(mods, s)
	}
	L.RaiseError("invalid conversion '%%%s' to format", spec)
	return ""
}

// toInt64 cuts a number as C does, without what is undefined there.
func toInt64(f float64) int64 {
	switch {
	case f != f:
		return 0
	case f >= math.MaxInt64:
		if f < math.MaxUint64 {
			return int64(uint64(f)) // so that %x of large unsigned numbers is right
		}
		return math.MaxInt64
	case f <= math.MinInt64:
		return math.MinInt64
	}
	return int64(f)
}

// formatInteger differs from fmt in three points of C: zero with precision zero has no digits, a precision turns the
// flag 0 off, and # puts nothing before zero.
func formatInteger[N int64 | uint64](mods string, verb byte, n N) string {
	flags, _, hasPrecision := strings.Cut(mods, ".")
	if hasPrecision {
		width := strings.TrimLeft(flags, "-+ #0")
		mods = strings.ReplaceAll(flags[:len(flags)-len(width)], "0", "") + mods[len(flags)-len(width):]
	}
	if n == 0 {
		mods = strings.ReplaceAll(mods, "#", "")
	}
	return fmt.Sprintf("%"+mods+string(verb), n)
}

func formatFloat(mods string, verb byte, f float64) string {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		s := strings.TrimPrefix(formatNumber(f), "-")
		switch {
		case math.IsInf(f, -1):
			s = "-" + s
		case strings.Contains(mods, "+"):
			s = "+" + s
		case strings.Contains(mods, " "):
			s = " " + s
		}
		if verb < 'a' {
			s = strings.ToUpper(s)
		}
		return pad(strings.TrimLeft(mods, "+ #0"), s) // C pads these with spaces
	}
	if !strings.Contains(mods, ".") {
		mods += ".6" // fmt would print %g as short as it can
	}
	return fmt.Sprintf("%"+mods+string(verb), f)
}

// pad applies the flag - and the width to a string, counting bytes.
func pad(mods, s string) string {
	mods, _, _ = strings.Cut(mods, ".")
	width := 0
	fmt.Sscan(strings.TrimLeft(mods, "-+ #0"), &width)
	fill := strings.Repeat(" ", max(0, width-len(s)))
	if strings.Contains(mods[:len(mods)-len(strings.TrimLeft(mods, "-+ #0"))], "-") {
		return s + fill
	}
	return fill + s
}

// quoteString writes a string so that Lua reads it back.
func quoteString(L *glua.LState, s string) string {
	BudgetOf(L).Alloc(L, 2*len(s))
	var sb strings.Builder
	sb.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\', '\n':
			sb.WriteByte('\\')
			sb.WriteByte(c)
		case '\r':
			sb.WriteString(`\r`)
		case 0:
			sb.WriteString(`\000`)
		default:
			sb.WriteByte(c)
		}
	}
	sb.WriteByte('"')
	return sb.String()
}
