package lua

import (
	"context"
	"strings"

	glua "github.com/yuin/gopher-lua"
)

// maxProtected bounds how deep pcalls may be nested.
const maxProtected = 32

// basePcall runs the function on a thread of its own. On the caller's thread gopher-lua, when it catches an error,
// cuts every closure of the frames outside off from the locals it shares with them; and PCall at certain depths
// loses the call stack.
func basePcall(L *glua.LState) int {
	argAny(L, 1)
	return protect(L, L.GetTop()-1, glua.LNil)
}

func baseXpcall(L *glua.LState) int {
	argAny(L, 2)
	handler := L.Get(2)
	L.SetTop(1)
	return protect(L, 0, handler)
}

// protect calls the function in register 1 with the nargs values above it, and returns what pcall returns.
func protect(L *glua.LState, nargs int, handler glua.LValue) int {
	in := InstanceOf(L)
	results, failure := in.protected(L, func(th *glua.LState) {
		for i := 1; i <= nargs+1; i++ {
			th.Push(L.Get(i))
		}
	}, nargs)
	if failure == nil {
		L.Insert(glua.LTrue, L.GetTop()-results+1)
		return results + 1
	}
	if handler != glua.LNil {
		cause := failure
		results, failure = in.protected(L, func(th *glua.LState) {
			th.Push(handler)
			th.Push(cause)
		}, 1)
		if failure == nil {
			L.Insert(glua.LFalse, L.GetTop()-results+1)
			return results + 1
		}
		failure = glua.LString("error in error handling")
	}
	L.Push(glua.LFalse)
	L.Push(failure)
	return 2
}

// protected runs a call that push prepares, on the side thread of this depth, and moves its results to L or returns the
// error value. When a budget ran out, or the engine panicked, it raises instead: no plugin code goes on after that.
func (in *Instance) protected(L *glua.LState, push func(*glua.LState), nargs int) (results int, failure glua.LValue) {
	if in.depth == maxProtected {
		L.RaiseError("more than %d nested pcalls", maxProtected)
	}
	th := in.sideThread(L)
	th.SetTop(0)
	push(th)
	running := L.G.CurrentThread
	L.G.CurrentThread = th
	err := in.deeper(th, nargs)
	L.G.CurrentThread = running
	if err == nil {
		results = th.GetTop()
		th.XMoveTo(L, results)
		return results, nil
	}
	api := err.(*glua.ApiError)
	if api.Type == glua.ApiErrorPanic {
		in.side[in.depth] = nil // its frames did not end in order
		if text := api.Object.String(); !isOverflow(text) {
			in.poison(text)
		}
	}
	if in.budget.cause != nil {
		in.budget.raise(L)
	}
	BudgetOf(L).Step(L, 500) // unwinding and its stack trace are not cheap
	s, ok := api.Object.(glua.LString)
	if !ok {
		return 0, api.Object
	}
	if isOverflow(string(s)) || strings.Contains(string(s), "registry overflow") {
		s = glua.LString(errorText(s))
	}
	if s != "" && s[0] == ' ' { // a Go function called by pcall itself: no Lua code gave the place
		s = glua.LString(L.Where(1)) + s
	}
	return 0, s
}

// deeper calls one level of protection down; PCall itself can panic while it writes a stack trace.
func (in *Instance) deeper(th *glua.LState, nargs int) error {
	in.depth++
	defer func() { in.depth-- }()
	return th.PCall(nargs, glua.MultRet, nil)
}

// sideThread returns the thread for the current depth of protection, kept for the next time.
func (in *Instance) sideThread(L *glua.LState) *glua.LState {
	if in.side[in.depth] == nil {
		in.budget.Alloc(L, threadBytes)
		in.side[in.depth] = in.newThread(&in.budget)
	}
	return in.side[in.depth]
}

// newThread makes a thread of the instance's state that counts on ctx. NewThread itself would wrap the context,
// and what wraps a counting context does not count.
func (in *Instance) newThread(ctx context.Context) *glua.LState {
	budget := in.state.RemoveContext()
	th, _ := in.state.NewThread()
	in.state.SetContext(budget)
	th.SetContext(ctx)
	return th
}

// poison ends the instance: something panicked that is not plugin code, so its state cannot be trusted.
func (in *Instance) poison(what string) {
	if in.budget.cause == nil {
		in.budget.exhaust(ErrPanic, what)
	}
}
