package lua

import (
	"fmt"
	"math/rand/v2"
	"time"

	glua "github.com/yuin/gopher-lua"

	"github.com/stagepost/stagepost/plugins/pool"
)

// Options of an instance. The zero value works.
type Options struct {
	Load   Limits           // for the main chunk
	Random func() float64   // behind math.random, in [0, 1); default: the process's own source, which nobody can seed
	Now    func() time.Time // default: time.Now

	Turns  *pool.Turns // of the server; nil: calls do not wait for each other
	memory *pool.Quota // of the plugin

	// Setup binds the host's globals before the main chunk runs.
	Setup func(*Instance) error
}

// Size of a Lua state: a small one to begin with, and what it may grow to.
const (
	callDepth       = 200
	registers       = 256
	registerStep    = 1024
	maximumRegister = 16 << 10
)

// An Instance is one Lua state that ran a plugin's main chunk. It serves one call at a time; after an error it is
// spent. Not for concurrent use.
type Instance struct {
	image  *Image
	state  *glua.LState
	budget Budget
	calls  uint64 // so far; 0 while the main chunk runs
	stride int64  // of the clock, for what the main chunk holds
	random func() float64

	host    any // what binds this instance to the server
	loading bool
	frozen  map[*glua.LTable]struct{} // tables that nobody may change
	made    []*glua.LTable            // tables made while loading
	modules map[string]glua.LValue

	side  [maxProtected]*glua.LState // threads of pcall, by depth
	depth int                        // of pcalls now

	threads []*thread // coroutines of this call
	live    int
	nested  int
	current *thread // the coroutine that runs

	busy  bool
	spent bool
}

// NewInstance makes a state, binds the host and runs the main chunk. Errors of the plugin are of type *Error.
func NewInstance(im *Image, o Options) (*Instance, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Random == nil {
		o.Random = rand.Float64
	}
	L := glua.NewState(glua.Options{
		CallStackSize: callDepth, MinimizeStackMemory: true, SkipOpenLibs: true,
		RegistrySize: registers, RegistryMaxSize: maximumRegister, RegistryGrowStep: registerStep,
	})
	in := &Instance{image: im, state: L, stride: clockStride, random: o.Random, loading: true,
		frozen: map[*glua.LTable]struct{}{}, modules: map[string]glua.LValue{}}
	in.budget.now, in.budget.in, in.budget.turn.Of, in.budget.memory = o.Now, in, o.Turns, o.memory
	in.budget.reset(&o.Load)
	L.SetContext(&in.budget)
	lib := im.library
	for name, v := range lib.globals {
		L.G.Global.RawSetString(name, v)
	}
	for _, t := range lib.tables {
		in.frozen[t] = struct{}{}
	}
	L.SetMetatable(glua.LString(""), lib.strings)
	if err := in.load(o.Setup); err != nil {
		in.Close()
		return nil, err
	}
	return in, nil
}

func (in *Instance) load(setup func(*Instance) error) error {
	var refused error
	main := goFunction(func(L *glua.LState) int { // Setup too may run out of budget
		if setup != nil {
			if refused = setup(in); refused != nil {
				raise(L, glua.LString(refused.Error()))
			}
		}
		in.run(L, in.image.main)
		return 0
	})
	if _, err := in.enter(main, nil); refused != nil {
		return refused
	} else if err != nil {
		return err
	}
	in.loading = false
	in.frozen[in.state.G.Global] = struct{}{}
	for _, t := range in.made {
		in.frozen[t] = struct{}{}
	}
	in.made = nil
	if len(in.image.captures) > 0 {
		return in.findState()
	}
	return nil
}

// run calls the main function of a program, handing it the builtins, for one result.
func (in *Instance) run(L *glua.LState, p *Program) glua.LValue {
	return call1(L, L.NewFunctionFromProto(p.proto), in.image.library.builtins...)
}

// born notes a table that plugin code made.
func (in *Instance) born(t *glua.LTable) {
	if in.loading {
		in.made = append(in.made, t)
	}
}

// State returns the Lua state, for hosts that bind it. It must not be run except through Call.
func (in *Instance) State() *glua.LState { return in.state }

// Budget returns the budget of the call that runs.
func (in *Instance) Budget() *Budget { return &in.budget }

// SetGlobal binds a global; only Setup may do so.
func (in *Instance) SetGlobal(name string, v glua.LValue) { in.state.G.Global.RawSetString(name, v) }

// Freeze makes a table and the tables in it unchangeable for plugin code. Reading it costs nothing more.
func (in *Instance) Freeze(t *glua.LTable) {
	if _, done := in.frozen[t]; done {
		return
	}
	in.frozen[t] = struct{}{}
	t.ForEach(func(_, v glua.LValue) {
		if inner, ok := v.(*glua.LTable); ok {
			in.Freeze(inner)
		}
	})
}

// NewTable makes a table for plugin code, charged for the given items and fields; a host must use it for what it returns.
func (in *Instance) NewTable(L *glua.LState, items, fields int) *glua.LTable {
	in.budget.Alloc(L, tableBytes+items*itemBytes+fields*fieldBytes)
	t := L.CreateTable(items, max(1, fields))
	in.born(t)
	return t
}

// String charges and returns a string that a host hands to plugin code.
func (in *Instance) String(L *glua.LState, s string) glua.LString {
	in.budget.Alloc(L, len(s)+stringBytes)
	return glua.LString(s)
}

// Call runs a function of the plugin and returns its first result. limits may be nil. An error is of type *Error and
// leaves the instance spent.
func (in *Instance) Call(fn *glua.LFunction, limits *Limits, args ...glua.LValue) (glua.LValue, error) {
	if in.spent || in.busy {
		return nil, fmt.Errorf("lua: %s: the instance is %s", in.image.main.Name, in.stateName())
	}
	in.budget.reset(limits)
	in.calls++
	return in.enter(fn, args)
}

func (in *Instance) stateName() string {
	if in.spent {
		return "spent"
	}
	return "busy"
}

// enter is the one door into the VM.
func (in *Instance) enter(fn *glua.LFunction, args []glua.LValue) (v glua.LValue, err error) {
	in.busy = true
	defer func() {
		in.busy = false
		in.budget.endQuotas()
		if r := recover(); r != nil { // PCall catches; this is for a panic in its own error path
			v, err = nil, &Error{File: in.image.main.Name, Message: fmt.Sprint(ErrPanic, ": ", r), Cause: ErrPanic}
			if isOverflow(fmt.Sprint(r)) {
				err = &Error{File: in.image.main.Name, Message: stackOverflowText}
			}
		}
		if err != nil {
			in.spent = true
		}
		if len(in.threads) > 0 {
			in.endThreads()
		}
	}()
	L := in.state
	L.Push(fn)
	for _, a := range args {
		L.Push(a)
	}
	if err := L.PCall(len(args), 1, nil); err != nil {
		return nil, in.errorFrom(err)
	}
	v = L.Get(-1)
	L.SetTop(0)
	if in.budget.cause != nil { // nothing can run after that; to be safe
		return nil, in.errorFrom(in.budget.cause)
	}
	return v, nil
}

// endThreads ends the coroutines of a call: they would be memory between calls.
func (in *Instance) endThreads() {
	for i, t := range in.threads {
		t.status = dead
		in.threads[i] = nil
	}
	in.threads, in.live, in.nested, in.current = in.threads[:0], 0, 0, nil
}

// Spent tells whether the instance failed or was closed.
func (in *Instance) Spent() bool { return in.spent }

// Close frees the state; closing twice does nothing.
func (in *Instance) Close() {
	in.spent = true
	if !in.state.IsClosed() {
		in.state.Close()
	}
}
