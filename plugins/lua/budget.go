package lua

import (
	"strconv"
	"strings"
	"time"

	glua "github.com/yuin/gopher-lua"

	"github.com/stagepost/stagepost/plugins/pool"
)

// Limits is what one call may spend. A zero field means the default.
type Limits struct {
	Instructions int64         // VM instructions; builtins charge their work in the same coin
	Bytes        int64         // allocated in the call, whether still held or not
	Time         time.Duration // wall clock, from Start
	Start        time.Time     // zero: when the call begins
	Extra        int64         // bytes that Extend may add; only for the plugin's quota
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
	more   int64 // bytes not yet moved to bytes
	given  int64 // of them, by Extend
	stride int64

	limits   Limits
	deadline time.Time
	now      func() time.Time
	in       *Instance

	turn   pool.Turn
	memory *pool.Quota // of the plugin; nil: nobody counts
	large  int64       // taken from it

	cause error  // what the plugin's error says; set once, never cleared within a call
	kind  error  // the Err value of the cause
	at    string // where it was found, as "file:line:"
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
	b.bytes, b.stride = min(l.Bytes, freeBytes), b.in.stride
	b.more = l.Bytes - b.bytes
	b.left = min(b.stride, l.Instructions) // a short call never looks at the clock
	b.rest = l.Instructions - b.left
	b.cause, b.kind, b.at, b.given = nil, nil, "", 0
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
	now := b.now()
	if b.cause == nil && !now.Before(b.deadline) {
		b.exhaust(ErrTime, b.limits.Time.String())
	}
	if b.cause != nil || !b.proceed(now) {
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

// Deadline, Err and Value complete context.Context. The VM asks for Err when Done said that it is over.
func (b *Budget) Deadline() (time.Time, bool) { return b.deadline, true }
func (b *Budget) Value(any) any               { return nil }
func (b *Budget) Err() error {
	b.raise(b.in.state.G.CurrentThread)
	return b.cause
}

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
	if (int64(n) > b.bytes || n < 0 || b.cause != nil) && !b.afford(n) {
		b.raise(L)
	}
	b.bytes -= int64(n)
	if n > strideBytes {
		b.narrow(n)
		if !b.proceed(b.now()) {
			b.raise(L)
		}
	}
}

// afford makes room for n bytes where there is some left; it ends the call where there is none.
func (b *Budget) afford(n int) bool {
	if b.cause == nil && (n < 0 || int64(n) > b.room()) {
		b.exhaust(ErrMemory, size(b.limits.Bytes))
	}
	return b.cause == nil && b.enlarge(int64(n))
}

// room is how many bytes the call may still allocate.
func (b *Budget) room() int64 { return b.bytes + b.more }

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
		if b.more > 0 {
			b.more, b.given = b.more+bytes, b.given+bytes
		} else {
			b.bytes += bytes
		}
		b.limits.Extra = max(0, b.limits.Extra-bytes)
		b.limits.Instructions += instructions
		b.limits.Bytes += bytes
	}
}

// raise ends the call. RaiseError would write a stack trace with a line for each tail call, of which there may be millions; where
// the error already has one, nobody does.
func (b *Budget) raise(L *glua.LState) {
	for level := 0; b.at == "" && level < 4; level++ {
		if at := L.Where(level); !strings.HasPrefix(at, "[G]") {
			b.at = at
		}
	}
	panic(&glua.ApiError{Type: glua.ApiErrorRun, Object: glua.LString(strings.TrimLeft(b.at+" "+b.cause.Error(), " ")), StackTrace: "stack traceback:"})
}

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
