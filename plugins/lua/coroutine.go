package lua

import (
	"errors"
	"fmt"
	"strings"
	"time"

	glua "github.com/yuin/gopher-lua"
)

// Bounds of coroutines in one call. They die with the call that created them.
const (
	maxThreads     = 64
	maxThreadDepth = 16
	threadBytes    = 24 << 10 // charged for each
)

var coroutineFuncs = map[string]glua.LGFunction{
	"create":  coroutineCreate,
	"resume":  coroutineResume,
	"running": coroutineRunning,
	"status":  coroutineStatus,
	"wrap":    coroutineWrap,
	"yield":   coroutineYield,
}

type threadStatus string

const (
	suspended threadStatus = "suspended"
	running   threadStatus = "running"
	normal    threadStatus = "normal" // it resumed another one
	dead      threadStatus = "dead"
)

// A thread is a coroutine and the context of its state. It counts on the budget of the call. A yield that cannot leave
// the thread, because a Go function or a metamethod lies between, would make gopher-lua run on after the yield;
// the first instruction it then takes finds the thread away and fails.
type thread struct {
	budget *Budget
	state  *glua.LState
	fn     *glua.LFunction
	status threadStatus
	outer  *thread // who resumed it
	away   bool    // it has yielded
}

var errYieldAcross = errors.New("attempt to yield across pcall, an iterator, a metamethod or a callback")

func (t *thread) Done() <-chan struct{} {
	if t.away {
		return closed
	}
	return t.budget.Done()
}

func (t *thread) Err() error {
	if t.away {
		return errYieldAcross
	}
	return t.budget.Err()
}

func (t *thread) Deadline() (time.Time, bool) { return t.budget.Deadline() }
func (t *thread) Value(any) any               { return nil }

func newCoroutine(L *glua.LState) *thread {
	fn, ok := L.Get(1).(*glua.LFunction)
	if !ok || fn.IsG {
		argError(L, 1, "Lua function expected")
	}
	b := BudgetOf(L)
	in := b.in
	if in.live >= maxThreads {
		L.RaiseError("more than %d coroutines at once", maxThreads)
	}
	b.Alloc(L, threadBytes)
	t := &thread{budget: b, fn: fn, status: suspended}
	t.state = in.newThread(t)
	in.live++
	in.threads = append(in.threads, t)
	return t
}

func coroutineCreate(L *glua.LState) int {
	L.Push(newCoroutine(L).state)
	return 1
}

func coroutineWrap(L *glua.LState) int {
	t := newCoroutine(L)
	L.Push(goFunction(func(L *glua.LState) int {
		values, failure := t.resume(L, 1)
		if failure != nil {
			raise(L, failure)
		}
		return pushAll(L, values)
	}))
	return 1
}

func argThread(L *glua.LState) *thread {
	if s, ok := L.Get(1).(*glua.LState); ok {
		if t, ok := s.Context().(*thread); ok {
			return t
		}
	}
	argError(L, 1, "coroutine expected, got "+typeName(L, 1))
	return nil
}

func coroutineResume(L *glua.LState) int {
	values, failure := argThread(L).resume(L, 2)
	if failure != nil {
		L.Push(glua.LFalse)
		L.Push(failure)
		return 2
	}
	L.Push(glua.LTrue)
	return 1 + pushAll(L, values)
}

func pushAll(L *glua.LState, values []glua.LValue) int {
	for _, v := range values {
		L.Push(v)
	}
	return len(values)
}

// resume runs the coroutine with the arguments of L from the given one on.
func (t *thread) resume(L *glua.LState, from int) (values []glua.LValue, failure glua.LValue) {
	in := t.budget.in
	if t.status != suspended {
		return nil, glua.LString("cannot resume " + string(t.status) + " coroutine")
	}
	if in.nested == maxThreadDepth {
		L.RaiseError("coroutines are nested more than %d deep", maxThreadDepth)
	}
	args := make([]glua.LValue, 0, 8)
	for i := from; i <= L.GetTop(); i++ {
		args = append(args, L.Get(i))
	}
	t.outer, in.current = in.current, t
	if t.outer != nil {
		t.outer.status = normal
	}
	t.status, t.away = running, false
	in.nested++
	state, values, err := t.run(L, args)
	in.nested--
	if in.current = t.outer; t.outer != nil {
		t.outer.status = running
	}
	if state == glua.ResumeYield && t.away {
		t.status = suspended
		return values, nil
	}
	t.status = dead
	in.live--
	if in.budget.cause != nil {
		in.budget.raise(L)
	}
	switch {
	case err != nil:
		var api *glua.ApiError
		if !errors.As(err, &api) {
			return nil, glua.LString(err.Error())
		}
		if s, ok := api.Object.(glua.LString); ok {
			if strings.HasPrefix(string(s), "runtime error:") && !isOverflow(string(s)) {
				in.poison(string(s))
				in.budget.raise(L)
			}
			return nil, glua.LString(errorText(s))
		}
		return nil, api.Object
	case t.away:
		return nil, glua.LString(errYieldAcross.Error())
	}
	return values, nil
}

// run resumes, and turns a panic that left the thread into an error: after a yield that could not leave it, gopher-lua
// has nobody to hand the error to.
func (t *thread) run(L *glua.LState, args []glua.LValue) (state glua.ResumeState, values []glua.LValue, err error) {
	top := L.GetTop()
	defer func() {
		if r := recover(); r != nil {
			L.G.CurrentThread = L
			L.SetTop(top)
			state, values, err = glua.ResumeError, nil, errYieldAcross
			if api, ok := r.(*glua.ApiError); ok && !t.away {
				err = api
			} else if !t.away {
				t.budget.in.poison(fmt.Sprint(r))
			}
		}
	}()
	state, err, values = L.Resume(t.state, t.fn, args...)
	return state, values, err
}

func coroutineYield(L *glua.LState) int {
	t, ok := L.Context().(*thread)
	if !ok || t.budget.in.current != t {
		if BudgetOf(L).in.current != nil {
			L.RaiseError("%s", errYieldAcross)
		}
		L.RaiseError("attempt to yield outside a coroutine")
	}
	t.away = true
	return -1
}

func coroutineRunning(L *glua.LState) int {
	if t := InstanceOf(L).current; t != nil {
		L.Push(t.state)
	} else {
		L.Push(glua.LNil)
	}
	return 1
}

func coroutineStatus(L *glua.LState) int {
	L.Push(glua.LString(argThread(L).status))
	return 1
}
