package lua

import (
	"math"

	glua "github.com/yuin/gopher-lua"
)

// mathFields is Lua 5.1's math without randomseed: the source of random numbers belongs to the host (Options.Random).
func mathFields() map[string]any {
	fields := map[string]any{
		"pi":     glua.LNumber(math.Pi),
		"huge":   glua.LNumber(math.Inf(1)),
		"max":    glua.LGFunction(mathMax),
		"min":    glua.LGFunction(mathMin),
		"random": glua.LGFunction(mathRandom),
		"modf":   glua.LGFunction(mathModf),
		"frexp":  glua.LGFunction(mathFrexp),
		"ldexp": glua.LGFunction(func(L *glua.LState) int {
			L.Push(glua.LNumber(math.Ldexp(argNumber(L, 1), max(-5000, min(5000, argInt(L, 2))))))
			return 1
		}),
	}
	for name, f := range map[string]func(float64) float64{
		"abs": math.Abs, "acos": math.Acos, "asin": math.Asin, "atan": math.Atan, "ceil": math.Ceil, "cos": math.Cos,
		"cosh": math.Cosh, "exp": math.Exp, "floor": math.Floor, "log": math.Log, "log10": math.Log10, "sin": math.Sin,
		"sinh": math.Sinh, "sqrt": math.Sqrt, "tan": math.Tan, "tanh": math.Tanh,
		"deg": func(x float64) float64 { return x * 180 / math.Pi },
		"rad": func(x float64) float64 { return x * math.Pi / 180 },
	} {
		fields[name] = glua.LGFunction(func(L *glua.LState) int {
			L.Push(glua.LNumber(f(argNumber(L, 1))))
			return 1
		})
	}
	for name, f := range map[string]func(x, y float64) float64{"atan2": math.Atan2, "fmod": math.Mod, "pow": math.Pow} {
		fields[name] = glua.LGFunction(func(L *glua.LState) int {
			L.Push(glua.LNumber(f(argNumber(L, 1), argNumber(L, 2))))
			return 1
		})
	}
	return fields
}

func mathMax(L *glua.LState) int {
	m := argNumber(L, 1)
	for i := 2; i <= L.GetTop(); i++ {
		if v := argNumber(L, i); v > m {
			m = v
		}
	}
	L.Push(glua.LNumber(m))
	return 1
}

func mathMin(L *glua.LState) int {
	m := argNumber(L, 1)
	for i := 2; i <= L.GetTop(); i++ {
		if v := argNumber(L, i); v < m {
			m = v
		}
	}
	L.Push(glua.LNumber(m))
	return 1
}

func mathModf(L *glua.LState) int {
	whole, frac := math.Modf(argNumber(L, 1))
	if math.IsInf(whole, 0) {
		frac = 0
	}
	L.Push(glua.LNumber(whole))
	L.Push(glua.LNumber(frac))
	return 2
}

func mathFrexp(L *glua.LState) int {
	frac, exp := math.Frexp(argNumber(L, 1))
	L.Push(glua.LNumber(frac))
	L.Push(glua.LNumber(exp))
	return 2
}

func mathRandom(L *glua.LState) int {
	r := InstanceOf(L).random()
	low, high := 1.0, 1.0
	switch L.GetTop() {
	case 0:
		L.Push(glua.LNumber(r))
		return 1
	case 1:
		high = math.Floor(argNumber(L, 1))
	default:
		low, high = math.Floor(argNumber(L, 1)), math.Floor(argNumber(L, 2))
	}
	if !(low <= high) || math.IsInf(high-low, 0) {
		argError(L, L.GetTop(), "interval is empty")
	}
	L.Push(glua.LNumber(math.Floor(r*(high-low+1)) + low))
	return 1
}
