package lua

import (
	"math"
	"strconv"
	"strings"

	glua "github.com/yuin/gopher-lua"
)

// formatNumber writes a number as Lua 5.1 does, "%.14g".
func formatNumber(f float64) string {
	if math.Abs(f) < 1e14 && f == math.Trunc(f) && !(f == 0 && math.Signbit(f)) {
		return strconv.FormatInt(int64(f), 10)
	}
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	return strconv.FormatFloat(f, 'g', 14, 64)
}

const spaces = " \t\n\v\f\r"

// maxNumeral bounds what is worth reading as a number.
const maxNumeral = 512

// parseNumber reads a decimal or hexadecimal numeral with spaces around it. Unlike strconv it takes no
// underscores, no octal and binary, no inf and nan.
func parseNumber(s string) (float64, bool) {
	if len(s) > maxNumeral {
		return 0, false
	}
	s = strings.Trim(s, spaces)
	digits := strings.TrimPrefix(strings.TrimPrefix(s, "-"), "+")
	if len(digits) > 2 && digits[0] == '0' && digits[1]|0x20 == 'x' {
		n, ok := parseInteger(digits[2:], 16)
		if s[0] == '-' {
			n = -n
		}
		return n, ok && len(s)-len(digits) <= 1
	}
	if digits == "" || strings.Trim(digits, "0123456789.eE+-") != "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(f, 0) { // out of range is infinity, as in C
		return 0, false
	}
	return f, true
}

// parseInteger reads digits of a base from 2 to 36, without sign.
func parseInteger(s string, base int) (float64, bool) {
	n := 0.0
	for i := range len(s) {
		c := s[i]
		var d int
		switch {
		case '0' <= c && c <= '9':
			d = int(c - '0')
		case 'a' <= c|0x20 && c|0x20 <= 'z':
			d = int(c|0x20-'a') + 10
		default:
			return 0, false
		}
		if d >= base {
			return 0, false
		}
		n = n*float64(base) + float64(d)
	}
	return n, s != ""
}

// toInt cuts a number to an int. What does not fit is cut to the nearest that does, with room for arithmetic.
func toInt(f float64) int {
	const limit = 1 << 53
	switch {
	case f != f:
		return 0
	case f > limit:
		return limit
	case f < -limit:
		return -limit
	}
	return int(f)
}

// text returns a value as a string if it is a string or a number.
func text(v glua.LValue) (string, bool) {
	switch v := v.(type) {
	case glua.LString:
		return string(v), true
	case glua.LNumber:
		return formatNumber(float64(v)), true
	}
	return "", false
}

func argString(L *glua.LState, n int) string {
	s, ok := text(L.Get(n))
	if !ok {
		argError(L, n, "string expected, got "+typeName(L, n))
	}
	return s
}

func argNumber(L *glua.LState, n int) float64 {
	switch v := L.Get(n).(type) {
	case glua.LNumber:
		return float64(v)
	case glua.LString:
		if f, ok := parseNumber(string(v)); ok {
			return f
		}
	}
	argError(L, n, "number expected, got "+typeName(L, n))
	return 0
}

func argInt(L *glua.LState, n int) int { return toInt(argNumber(L, n)) }

func optInt(L *glua.LState, n, otherwise int) int {
	if L.Get(n) == glua.LNil {
		return otherwise
	}
	return argInt(L, n)
}

func argTable(L *glua.LState, n int) *glua.LTable {
	t, ok := L.Get(n).(*glua.LTable)
	if !ok {
		argError(L, n, "table expected, got "+typeName(L, n))
	}
	return t
}

func argAny(L *glua.LState, n int) glua.LValue {
	if n > L.GetTop() {
		argError(L, n, "value expected")
	}
	return L.Get(n)
}

func argError(L *glua.LState, n int, message string) {
	name := "?"
	if at, ok := L.GetStack(0); ok {
		if _, err := L.GetInfo("n", at, nil); err == nil && at.Name != "main chunk" && at.Name != "corountine" {
			name = at.Name // the two are what gopher-lua calls the first function of a thread
		}
	}
	L.RaiseError("bad argument #%d to %s (%s)", n, name, message)
}

func typeName(L *glua.LState, n int) string {
	if n > L.GetTop() {
		return "no value"
	}
	return L.Get(n).Type().String()
}
