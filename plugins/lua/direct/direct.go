// Package direct runs simple Lua handlers without a Lua state. Most handlers look at a few fields, compare them, and answer; for these
// an instance of the engine, its registers and its interpreter are the largest part of what a call costs.
//
// Translate makes closures of the statements and expressions of a function, once, when the plugin is compiled. Bind gives them what the
// function took from outside of it: the values that the main chunk left, which never change after it, and the host's functions. Run
// evaluates them for one call.
//
// Only what cannot go wrong in another way than in Lua is done here: reading fields, facts and header, comparing, joining,
// calculating, local functions, loops, edits, verdicts, and services that only tell something. Everything else, and every error, is
// odd: then nothing that was done counts, since edits are staged and nothing else had an effect, and the caller asks the handler anew
// in an instance, which has the word on what is wrong and where. So this package never words an error, and what it does not
// know is slow and not wrong. A handler that is odd again and again is no longer tried.
//
// What a call may take is bounded by steps; more is odd, too.
package direct

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/api"
	"github.com/stagepost/stagepost/plugins/service"
)

// Bounds of one call.
const (
	maxSteps = 4000 // of some 50 ns: calls, turns of loops, bytes by the hundred, work of services
	maxSlots = 64   // locals and parameters of all functions at once
	maxArgs  = 32   // of all calls at once
)

// Trying costs little and being odd costs the try: a handler is no longer tried after this many more odd calls than a part of the others
// makes good.
const (
	oddCost  = 8
	maxDebts = 800
)

// Runner runs the handlers of one plugin. It is safe for concurrent use.
type Runner struct {
	plugin  string
	api     *api.API
	globals map[string]value
	frames  sync.Pool
}

// NewRunner makes the runner of a plugin. context makes a context of services for one call at a time, which charges by the function.
func NewRunner(plugin string, a *api.API, context func(charge func(steps, bytes int) error) *service.Context) *Runner {
	r := &Runner{plugin: plugin, api: a, globals: globals(a)}
	r.frames.New = func() any {
		f := &frame{runner: r}
		f.services = context(f.spend)
		return f
	}
	return r
}

// Func is a function of the plugin with what it took from outside.
type Func struct {
	code *Code
	free []value

	debts atomic.Int32 // see maxDebts
}

// myFact begins those of a function's free names that are full names of the plugin's own facts.
const myFact = "\x00"

// Odd stands for a value that Bind cannot give: using it is odd.
type Odd struct{}

// Bind makes a function. outer gives what a name of the main chunk stands for: a value in the types of facts, a *Func, or Odd; false
// where the chunk has no such name, so that it is a global. The values must never change.
func (r *Runner) Bind(c *Code, outer func(name string) (any, bool)) *Func {
	fn := &Func{code: c, free: make([]value, len(c.free))}
	for i, name := range c.free {
		if key, ok := strings.CutPrefix(name, myFact); ok {
			fn.free[i] = text(r.plugin + "." + key)
			continue
		}
		v, ok := outer(name)
		switch bound := v.(type) {
		case *Func:
			fn.free[i] = value{kind: isFunc, any: bound}
		default:
			if fn.free[i] = fromFact(v); !ok {
				fn.free[i] = r.globals[name]
				if fn.free[i].kind == isNil {
					fn.free[i] = value{kind: isOdd}
				}
			}
		}
	}
	return fn
}

// frame is what one call needs.
type frame struct {
	runner   *Runner
	services *service.Context
	call     *hooks.Call
	object   any
	fn       *Func
	base     int // of the function's locals
	used     int // of locals, at most
	locals   [maxSlots]value
	args     [maxArgs]value
	top      int // of args
	plain    [maxArgs]any
	result   value
	left     int
	odd      bool
}

var errLong = errors.New("direct: too long")

// spend charges steps; more than there are is odd.
func (f *frame) spend(steps, bytes int) error {
	if f.left -= steps + bytes>>10; f.left < 0 || steps < 0 || bytes < 0 {
		f.odd = true
		return errLong
	}
	return nil
}

// Run asks a handler. false means that the answer is not known, and that nothing was done.
func (r *Runner) Run(fn *Func, c *hooks.Call) (*hooks.Verdict, bool) {
	if fn.debts.Load() > maxDebts {
		return nil, false
	}
	f := r.frames.Get().(*frame)
	f.call, f.object, f.fn, f.base, f.used, f.top, f.left, f.odd, f.result = c, c.Object(), fn, 0, fn.code.slots, 0, maxSteps, false, value{}
	f.services.Begin(c)
	f.locals[0] = value{kind: isObject, any: f.object}
	run(f, fn.code.body)
	v, ok := f.answer()
	f.services.Begin(nil)
	clear(f.locals[:f.used])
	f.call, f.object, f.fn, f.result = nil, nil, nil, value{}
	r.frames.Put(f)
	if !ok {
		c.Forget()
		fn.debts.Add(oddCost)
	} else if fn.debts.Load() > 0 {
		fn.debts.Add(-1)
	}
	return v, ok
}

// answer is what the handler returned.
func (f *frame) answer() (*hooks.Verdict, bool) {
	switch {
	case f.odd:
		return nil, false
	case f.result.kind == isNil:
		return nil, true
	case f.result.kind == isVerdict:
		return f.result.any.(*hooks.Verdict), true
	}
	return nil, false
}
