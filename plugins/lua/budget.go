package lua

import (
	"strconv"
	"time"

	glua "github.com/yuin/gopher-lua"
)

// Limits is what one call may spend. A zero field means the default.
type Limits struct {
	Instructions int64         // VM instructions; builtins charge their work in the same coin
	Bytes        int64         // allocated in the call, whether still held or not
	Time         time.Duration // wall clock, from Start
	Start        time.Time     // zero: when the call begins
}

// Defaults of Limits.
const (
	DefaultInstructions = 1_000_000
	DefaultBytes        = 32 << 20
	DefaultTime         = 10 * time.Second
)

const (
	// clockStride is how many instructions pass between two looks at the clock.
	clockStride = 1024
	// A single VM instruction may walk a whole string (comparison) or array (length). Once a call allocated
	// something larger than this, the clock is looked at more often, in proportion.
	strideBytes = 64 << 10
)

// A Budget counts what one call may still spend. It is the context of the Lua state, and only that: the VM calls
// Done before each instruction, so Done counts, and nobody else may call it. Not for concurrent use.
type Budget struct {
	left   int64 // instructions until the next look at the clock
	rest   int64 // instructions not yet moved to left
	bytes  int64
	stride int64

	limits   Limits
	deadline time.Time
	now      func() time.Time
	in       *Instance

	cause error // what the plugin's error says; set once, never cleared within a call
	kind  error // the Err value of the cause
}

// closed is the channel that stops the VM.
var closed = func() <-chan struct{} { c := make(chan struct{}); close(c); return c }()

func (b *Budget) reset(lim *Limits) {
	b.limits = Limits{}
	if lim != nil {
		b.limits = *lim
	}
	l := &b.limits
	if l.Instructions <= 0 {
		l.Instructions = DefaultInstructions
	}
	if l.Bytes <= 0 {
		l.Bytes = DefaultBytes
	}
	if l.Time <= 0 {
		l.Time = DefaultTime
	}
	if l.Start.IsZero() {
		l.Start = b.now()
	}
	b.deadline = l.Start.Add(l.Time)
	b.bytes, b.stride = l.Bytes, b.in.stride
	b.left = min(b.stride, l.Instructions) // a short call never looks at the clock
	b.rest = l.Instructions - b.left
	b.cause, b.kind = nil, nil
}

// Done counts one instruction. It returns nil, or a closed channel once something ran out.
func (b *Budget) Done() <-chan struct{} {
	if b.left--; b.left >= 0 {
		return nil
	}
	return b.look()
}

// look is Done's slow path: it takes the next slice of instructions and looks at the clock.
func (b *Budget) look() <-chan struct{} {
	b.left = 0
	if b.cause == nil && b.rest <= 0 {
		b.exhaust(ErrInstructions, count(b.limits.Instructions))
	}
	if b.cause == nil && !b.now().Before(b.deadline) {
		b.exhaust(ErrTime, b.limits.Time.String())
	}
	if b.cause != nil {
		return closed
	}
	slice := min(b.stride, b.rest)
	b.rest -= slice
	b.left = slice - 1
	return nil
}

func (b *Budget) exhaust(kind error, limit string) {
	b.kind = kind
	b.cause = &Error{Message: kind.Error() + " (" + limit + ")", Cause: kind}
	b.left, b.rest = 0, 0
}

// Deadline, Err and Value complete context.Context.
func (b *Budget) Deadline() (time.Time, bool) { return b.deadline, true }
func (b *Budget) Err() error                  { return b.cause }
func (b *Budget) Value(any) any               { return nil }

// Step charges work done by a builtin or host function, in instructions, and raises a Lua error when they run out.
func (b *Budget) Step(L *glua.LState, n int) {
	b.left -= int64(n)
	if b.left >= 0 {
		return
	}
	b.rest += b.left + 1
	if b.look() != nil {
		b.raise(L)
	}
}

// Alloc charges n bytes before they are allocated, and raises a Lua error when they run out.
func (b *Budget) Alloc(L *glua.LState, n int) {
	if int64(n) > b.bytes || n < 0 || b.cause != nil {
		if b.cause == nil {
			b.exhaust(ErrMemory, size(b.limits.Bytes))
		}
		b.raise(L)
	}
	b.bytes -= int64(n)
	if n > strideBytes {
		b.narrow(n)
	}
}

// narrow makes the clock be looked at more often, because an object of n bytes now exists.
func (b *Budget) narrow(n int) {
	stride := max(1, clockStride*(strideBytes/16)/int64(n))
	b.stride = min(b.stride, stride)
	if b.in.loading { // what the main chunk keeps is there in every call
		b.in.stride = b.stride
	}
	b.hurry(b.left)
}

// hurry brings the next look at the clock closer by n instructions without charging them.
func (b *Budget) hurry(n int64) {
	n = min(n, b.left)
	b.left -= n
	b.rest += n
}

// Extend adds to the budgets; a host does so when it hands a plugin something large to read.
func (b *Budget) Extend(instructions, bytes int64) {
	if b.cause == nil {
		b.rest += instructions
		b.bytes += bytes
		b.limits.Instructions += instructions
		b.limits.Bytes += bytes
	}
}

func (b *Budget) raise(L *glua.LState) { L.RaiseError("%s", b.cause.Error()) }

// BudgetOf returns the budget of the call that runs on L, which may be a coroutine.
func BudgetOf(L *glua.LState) *Budget {
	if b, ok := L.Context().(*Budget); ok {
		return b
	}
	return L.Context().(*thread).budget
}

// InstanceOf returns the instance that L belongs to.
func InstanceOf(L *glua.LState) *Instance { return BudgetOf(L).in }

// count writes 1000000 as 1,000,000.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func size(n int64) string {
	switch {
	case n%(1<<20) == 0:
		return count(n>>20) + " MiB"
	case n%(1<<10) == 0:
		return count(n>>10) + " KiB"
	}
	return count(n) + " bytes"
}
