package lua

import (
	"math"
	"sort"
	"strings"

	glua "github.com/yuin/gopher-lua"
)

var tableFuncs = map[string]glua.LGFunction{
	"concat": tableConcat,
	"insert": tableInsert,
	"maxn":   tableMaxn,
	"remove": tableRemove,
	"sort":   tableSort,
}

func tableConcat(L *glua.LState) int {
	t := argTable(L, 1)
	sep := ""
	if L.Get(2) != glua.LNil {
		sep = argString(L, 2)
	}
	i := optInt(L, 3, 1)
	j := optInt(L, 4, t.Len())
	b := BudgetOf(L)
	total := 0
	for k := i; k <= j; k++ {
		s, ok := text(element(t, k))
		if !ok {
			L.RaiseError("invalid value (%s) at index %d in table for concat", element(t, k).Type(), k)
		}
		if total += len(s); k < j {
			total += len(sep)
		}
		if k&63 == 63 {
			b.Step(L, 16)
		}
		if int64(total) > b.room() {
			break // Alloc says so
		}
	}
	b.Alloc(L, total+stringBytes)
	var sb strings.Builder
	sb.Grow(total)
	for k := i; k <= j; k++ {
		s, _ := text(element(t, k))
		sb.WriteString(s)
		if k < j {
			sb.WriteString(sep)
		}
	}
	L.Push(glua.LString(sb.String()))
	return 1
}

// element is t[k] without metamethods, wherever gopher-lua keeps it.
func element(t *glua.LTable, k int) glua.LValue {
	if v := t.RawGetInt(k); v != glua.LNil {
		return v
	}
	return t.RawGet(glua.LNumber(k))
}

// changeable returns the table in argument 1 unless it is frozen.
func changeable(L *glua.LState) *glua.LTable {
	t := argTable(L, 1)
	if _, frozen := InstanceOf(L).frozen[t]; frozen {
		L.RaiseError("this table cannot be changed: it belongs to the host or to the main chunk; keep state in kv or a fact")
	}
	return t
}

// moved charges for n items that move by one place.
func moved(L *glua.LState, n int) { BudgetOf(L).Step(L, 1+n/64) }

func tableInsert(L *glua.LState) int {
	t := changeable(L)
	n := t.Len()
	switch L.GetTop() {
	case 2:
		rawSet(L, t, glua.LNumber(n+1), L.Get(2))
	case 3:
		pos := argInt(L, 2)
		if pos < 1 || pos > n {
			rawSet(L, t, glua.LNumber(pos), L.Get(3))
			return 0
		}
		moved(L, n-pos)
		BudgetOf(L).Alloc(L, itemBytes)
		t.Insert(pos, L.Get(3))
	default:
		L.RaiseError("wrong number of arguments to insert")
	}
	return 0
}

func tableRemove(L *glua.LState) int {
	t := changeable(L)
	n := t.Len()
	pos := optInt(L, 2, n)
	if pos < 1 || pos > n {
		return 0
	}
	moved(L, n-pos)
	L.Push(t.Remove(pos))
	return 1
}

func tableMaxn(L *glua.LState) int {
	t := argTable(L, 1)
	b := BudgetOf(L)
	n := 0.0
	t.ForEach(func(k, _ glua.LValue) {
		if f, ok := k.(glua.LNumber); ok {
			n = math.Max(n, float64(f))
		}
		b.Step(L, 1)
	})
	L.Push(glua.LNumber(n))
	return 1
}

// items sorts values with Lua's order or a function. Go's sort ends and stays within bounds whatever less says.
type items struct {
	L      *glua.LState
	budget *Budget
	less   glua.LValue
	values []glua.LValue
}

func (s *items) Len() int      { return len(s.values) }
func (s *items) Swap(i, j int) { s.values[i], s.values[j] = s.values[j], s.values[i] }

func (s *items) Less(i, j int) bool {
	a, b := s.values[i], s.values[j]
	if s.less != glua.LNil {
		s.budget.Step(s.L, 2)
		return glua.LVAsBool(call1(s.L, s.less, a, b))
	}
	cost := 1
	if str, ok := a.(glua.LString); ok {
		cost += len(str) / 64
	}
	s.budget.Step(s.L, cost)
	return s.L.LessThan(a, b)
}

func tableSort(L *glua.LState) int {
	t := changeable(L)
	less := L.Get(2)
	if _, ok := less.(*glua.LFunction); !ok && less != glua.LNil {
		argError(L, 2, "function expected, got "+typeName(L, 2))
	}
	b := BudgetOf(L)
	n := t.Len()
	b.Step(L, n/8)
	b.Alloc(L, 16*n)
	s := &items{L, b, less, make([]glua.LValue, n)}
	for i := range n {
		s.values[i] = t.RawGetInt(i + 1)
	}
	sort.Sort(s)
	for i, v := range s.values {
		t.RawSetInt(i+1, v)
	}
	return 0
}
