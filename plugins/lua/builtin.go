package lua

import (
	"math"
	"strings"

	glua "github.com/yuin/gopher-lua"
)

// concat is what `..` became: it joins all its arguments after charging the result.
func concat(L *glua.LState) int {
	n, total := L.GetTop(), 0
	for i := 1; i <= n; i++ {
		switch v := L.Get(i).(type) {
		case glua.LString:
			total += len(v)
		case glua.LNumber:
			total += 24
		default:
			return concatMeta(L)
		}
	}
	BudgetOf(L).Alloc(L, total+stringBytes)
	if n == 2 {
		a, _ := text(L.Get(1))
		b, _ := text(L.Get(2))
		L.Push(glua.LString(a + b))
		return 1
	}
	var sb strings.Builder
	sb.Grow(total)
	for i := 1; i <= n; i++ {
		s, _ := text(L.Get(i))
		sb.WriteString(s)
	}
	L.Push(glua.LString(sb.String()))
	return 1
}

// stringBytes is charged for a string besides its content, or when the content is shared.
const stringBytes = 32

// concatMeta joins pairs from the right, asking __concat where an operand is neither string nor number.
func concatMeta(L *glua.LState) int {
	n := L.GetTop()
	right := L.Get(n)
	for i := n - 1; i >= 1; i-- {
		left := L.Get(i)
		a, okA := text(left)
		b, okB := text(right)
		if okA && okB {
			BudgetOf(L).Alloc(L, len(a)+len(b)+stringBytes)
			right = glua.LString(a + b)
			continue
		}
		meta := L.GetMetaField(left, "__concat")
		if meta == glua.LNil {
			meta = L.GetMetaField(right, "__concat")
		}
		if meta == glua.LNil {
			bad := right
			if !okA {
				bad = left
			}
			L.RaiseError("attempt to concatenate a %s value", bad.Type())
		}
		right = call1(L, meta, left, right)
	}
	L.Push(right)
	return 1
}

// call1 calls a function for one result.
func call1(L *glua.LState, fn glua.LValue, args ...glua.LValue) glua.LValue {
	L.Push(fn)
	for _, a := range args {
		L.Push(a)
	}
	L.Call(len(args), 1)
	v := L.Get(-1)
	L.Pop(1)
	return v
}

// set is what t[k] = v became: the assignment of Lua 5.1 with its metamethods, on checked tables.
func set(L *glua.LState) int {
	key, value := L.Get(2), L.Get(3)
	object := L.Get(1)
	for range glua.MaxTableGetLoop {
		t, isTable := object.(*glua.LTable)
		if isTable && (t.Metatable == glua.LNil || t.RawGet(key) != glua.LNil) {
			rawSet(L, t, key, value)
			return 0
		}
		meta := L.GetMetaField(object, "__newindex")
		if meta == glua.LNil {
			if !isTable {
				L.RaiseError("attempt to set field %q of a %s value", errorText(key), object.Type())
			}
			rawSet(L, t, key, value)
			return 0
		}
		if fn, ok := meta.(*glua.LFunction); ok {
			L.Push(fn)
			L.Push(object)
			L.Push(key)
			L.Push(value)
			L.Call(3, 0)
			return 0
		}
		object = meta
	}
	L.RaiseError("too many __newindex tables in a row")
	return 0
}

// rawSet is the one place that writes to a plugin's table: it refuses frozen tables and charges growth.
func rawSet(L *glua.LState, t *glua.LTable, key, value glua.LValue) {
	b := BudgetOf(L)
	if _, frozen := b.in.frozen[t]; frozen {
		L.RaiseError("this table cannot be changed: it belongs to the host or to the main chunk; keep state in kv or a fact")
	}
	k, isNumber := key.(glua.LNumber)
	switch {
	case key == glua.LNil:
		L.RaiseError("table index is nil")
	case isNumber && k != k:
		L.RaiseError("table index is NaN")
	}
	if t.RawGet(key) == glua.LNil {
		switch {
		case value == glua.LNil:
			return // or the array part would grow to hold the nil
		case isNumber:
			b.Alloc(L, numberKeyBytes(b, t, float64(k)))
		default:
			b.Alloc(L, fieldBytes)
		}
	}
	t.RawSet(key, value)
}

// numberKeyBytes is what a new key costs. gopher-lua fills the array part up to the key with nils, however far.
func numberKeyBytes(b *Budget, t *glua.LTable, k float64) int {
	if k < 1 || k != math.Trunc(k) || k >= float64(glua.MaxArrayIndex) {
		return fieldBytes
	}
	i := int(k)
	if t.RawGetInt(i-1) != glua.LNil || t.RawGetInt(i+1) != glua.LNil {
		return itemBytes
	}
	b.hurry(16) // MaxN may walk far
	return itemBytes * max(1, i-t.MaxN())
}

// newTable finishes a table constructor: charge, and set what has a computed key.
func newTable(L *glua.LState) int {
	t := L.Get(1).(*glua.LTable)
	b := BudgetOf(L)
	cost := int(L.Get(2).(glua.LNumber))
	if cost > 0 {
		b.Alloc(L, cost)
		b.in.born(t)
	}
	for i, n := 3, L.GetTop(); i < n; i += 2 {
		rawSet(L, t, L.Get(i), L.Get(i+1))
	}
	L.SetTop(1)
	return 1
}

// appendItems adds the values of the last item of a constructor, which are known only when they are there.
func appendItems(L *glua.LState) int {
	t := L.Get(1).(*glua.LTable)
	at := int(L.Get(2).(glua.LNumber)) - 2
	top := L.GetTop()
	BudgetOf(L).Alloc(L, max(0, top-2)*itemBytes)
	for i := 3; i <= top; i++ {
		if v := L.Get(i); v != glua.LNil {
			t.RawSetInt(at+i, v)
		}
	}
	L.SetTop(1)
	return 1
}

// newFunc charges a closure.
func newFunc(L *glua.LState) int {
	if fn, ok := L.Get(1).(*glua.LFunction); ok {
		BudgetOf(L).Alloc(L, closureBytes+upvalueBytes*len(fn.Upvalues))
	}
	L.SetTop(1)
	return 1
}
