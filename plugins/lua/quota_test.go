package lua

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	glua "github.com/yuin/gopher-lua"

	"github.com/stagepost/stagepost/plugins/pool"
)

// crowd calls on.test of a source in many instances at once. run is called by the source as host.run().
func crowd(t *testing.T, src string, o Options, limits Limits, calls int, run func(in *Instance)) []error {
	t.Helper()
	o.Setup = func(in *Instance) error {
		if err := bind(in); err != nil {
			return err
		}
		host := in.State().NewTable()
		host.RawSetString("run", Function(func(*glua.LState) int { run(in); return 0 }))
		in.SetGlobal("host", host)
		return nil
	}
	im := link(t, src)
	errs := make([]error, calls)
	var group sync.WaitGroup
	for i := range calls {
		in, err := NewInstance(im, o)
		if err != nil {
			t.Fatal(err)
		}
		fn := onFunc(t, in, "test")
		group.Go(func() {
			defer in.Close()
			_, errs[i] = in.Call(fn, &limits)
		})
	}
	group.Wait()
	return errs
}

// givenBack tells whether n turns come back; each may rest for a while.
func givenBack(turns *pool.Turns, n int64) bool { return turns.Take(n, time.Now().Add(10*time.Second)) }

func TestTurns(t *testing.T) {
	turns := pool.TurnsFor(2)
	var holders, most atomic.Int32
	enter := func(*Instance) {
		n := holders.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(time.Millisecond) // a long builtin: the turn is kept
		holders.Add(-1)
	}
	const long = "function on.test() for i = 1, 5 do for j = 1, 2000 do end host.run() end end"
	for i, err := range crowd(t, long, Options{Turns: turns}, Limits{}, 20, enter) {
		if err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if !givenBack(turns, 2) {
		t.Error("the turns are not given back")
	}
	if most.Load() > 2 || turns.Waiting() != 0 {
		t.Errorf("%d calls had a turn at once; %d wait", most.Load(), turns.Waiting())
	}
	for _, err := range crowd(t, "function on.test() host.run() end", Options{Turns: pool.TurnsFor(0)}, Limits{}, 3, func(*Instance) {}) {
		if err != nil {
			t.Errorf("a short call waits for a turn: %v", err)
		}
	}
	for _, src := range []string{
		"function on.test() while true do end end",
		"function on.test() while true do pcall(error) end end",
		"function on.test() coroutine.wrap(function() while true do end end)() end",
		"function on.test() for i = 1, 20000 do end error('done') end",
		"function on.test() return ('x'):rep(100000):rep(1000) end",
	} {
		turns := pool.TurnsFor(1)
		for _, err := range crowd(t, src, Options{Turns: turns}, Limits{Instructions: 100_000}, 5, func(*Instance) {}) {
			if err == nil || errors.Is(err, ErrTime) {
				t.Errorf("%s: %v", src, err)
			}
		}
		if !givenBack(turns, 1) {
			t.Errorf("%s: the turn is not free afterwards", src)
		}
	}
}

// TestNoTurn: a call that gets no turn ends at its deadline, and no pcall survives that.
func TestNoTurn(t *testing.T) {
	turns := pool.TurnsFor(0)
	begin := time.Now()
	for _, err := range crowd(t, "function on.test() pcall(function() while true do end end) return 1 end", Options{Turns: turns},
		Limits{Time: 50 * time.Millisecond}, 3, func(*Instance) {}) {
		if !errors.Is(err, ErrTime) || !strings.Contains(err.Error(), "x.lua:1: ran out of time (50ms)") {
			t.Errorf("got %v", err)
		}
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	if turns.Free() != 0 || turns.Waiting() != 0 {
		t.Errorf("%d turns are free, %d wait", turns.Free(), turns.Waiting())
	}
}

// TestTurnIsGivenUpToWait: a call that waits for I/O has no turn meanwhile.
func TestTurnIsGivenUpToWait(t *testing.T) {
	turns := pool.TurnsFor(1)
	var group sync.WaitGroup
	group.Add(3)
	wait := func(in *Instance) {
		in.budget.turn.End() // what Call.Context does
		group.Done()
		group.Wait() // all three are here at once
	}
	for _, err := range crowd(t, "function on.test() for i = 1, 5000 do end host.run() for i = 1, 5000 do end end", Options{Turns: turns}, Limits{}, 3, wait) {
		if err != nil {
			t.Error(err)
		}
	}
	if !givenBack(turns, 1) {
		t.Error("the turn is not given back")
	}
}

func TestMemoryOfAPlugin(t *testing.T) {
	const limit = 4 << 20
	memory := pool.NewQuota(2 * limit)
	var holders, most atomic.Int32
	hold := func(*Instance) {
		n := holders.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(5 * time.Millisecond)
		holders.Add(-1)
	}
	for _, err := range crowd(t, "function on.test() local s = ('x'):rep(2000000) host.run() end", Options{memory: memory}, Limits{Bytes: limit}, 12, hold) {
		if err != nil {
			t.Error(err)
		}
	}
	if most.Load() > 2 || memory.Free() != 2*limit {
		t.Errorf("%d calls held much at once, %d bytes are free", most.Load(), memory.Free())
	}
	none := pool.NewQuota(0)
	for _, c := range []struct{ src, want string }{
		{"function on.test() return #('x'):rep(500000) end", ""},
		{"function on.test() return #('x'):rep(2000000) end", "ran out of time (50ms, waiting for memory)"},
		{"function on.test() return #('x'):rep(5000000) end", "ran out of memory (4 MiB)"}, // it would not fit anyway
		{"function on.test() pcall(string.rep, 'x', 2000000) return 1 end", "ran out of time (50ms, waiting for memory)"},
	} {
		for _, err := range crowd(t, c.src, Options{memory: none}, Limits{Bytes: limit, Time: 50 * time.Millisecond}, 1, func(*Instance) {}) {
			if err == nil && c.want != "" || err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s: %v, want %q", c.src, err, c.want)
			}
		}
	}
	if none.Free() != 0 || none.Waiting() != 0 {
		t.Errorf("%d bytes are free, %d wait", none.Free(), none.Waiting())
	}
}

// TestMainChunkHasTheTimeOfTheCall: an instance that is made in a call does not get more time than the call has.
func TestMainChunkHasTheTimeOfTheCall(t *testing.T) {
	p := newPool(link(t, "local s = ('x'):rep(1000) for i = 1, 1000 do s:find('.-.-b') end"), 0, nil, Options{Setup: bind, Load: Limits{Instructions: 1e12}})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, err := p.Get(ctx); !errors.Is(err, ErrTime) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	if s := p.Stats(); s.InUse != 0 {
		t.Errorf("%+v", s)
	}
}

// TestEndOfBudgetIsLocated: the error says where the call was, and costs nothing to make, however many tail calls there were.
func TestEndOfBudgetIsLocated(t *testing.T) {
	for _, tt := range []struct{ src, want string }{
		{"function on.test()\n while true do end end", "x.lua:2: ran out of instructions"},
		{"function on.test()\n pcall(function()\n while true do end end) end", "x.lua:3: ran out of instructions"},
		{"function on.test()\n pcall(pcall, function()\n while true do end end) end", "x.lua:3: ran out of instructions"},
		{"function on.test()\n xpcall(function() error('x') end, function()\n while true do end end) end", "x.lua:3: ran out of instructions"},
		{"function on.test()\n coroutine.wrap(function()\n while true do end end)() end", "x.lua:3: ran out of instructions"},
		{"function on.test()\n pcall(coroutine.wrap(function() pcall(function()\n while true do end end) end)) end", "x.lua:3: ran out of instructions"},
		{"function on.test()\n pcall(function() end)\n while true do end end", "x.lua:3: ran out of instructions"},
		{"function on.test()\n coroutine.wrap(function() pcall(function() end) end)()\n while true do end end", "x.lua:3: ran out of instructions"},
		{"function on.test()\n return ('x'):rep(1e9) end", "x.lua:2: ran out of memory"},
		{"function on.test()\n pcall(function()\n return ('x'):rep(1e9) end) end", "x.lua:3: ran out of memory"},
		{"local function f()\n return f() end\nfunction on.test() f() end", "x.lua:2: ran out of instructions"},
	} {
		in := start(t, link(t, tt.src))
		_, err := in.Call(onFunc(t, in, "test"), nil)
		var le *Error
		if !errors.As(err, &le) || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.src, err, tt.want)
		} else if le.Traceback != "" {
			t.Errorf("%s: a traceback %q", tt.src, le.Traceback)
		}
	}
}

// TestMemoryRests: what a call allocates beyond what is free to all comes in parts, with a rest for each, as far as its time goes.
func TestMemoryRests(t *testing.T) {
	for _, c := range []struct {
		src   string
		time  time.Duration
		least time.Duration // that it rests
		most  time.Duration
		want  string
	}{
		{"function on.test() return #('x'):rep(500000) end", time.Second, 0, 0, ""},
		{"function on.test() return #('x'):rep(3000000) end", time.Second, 7 * partRest, 20 * partRest, ""},
		{"function on.test() for i = 1, 40 do local s = ('x'):rep(100000) .. i end end", time.Second, 11 * partRest, 50 * partRest, ""},
		{"function on.test() return #('x'):rep(9000000) end", 5 * time.Millisecond, 5 * time.Millisecond, 5*time.Millisecond + 2*partRest, "ran out of time (5ms)"},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now() // it passes only while the call rests
			err := crowd(t, c.src, Options{Turns: pool.NewTurns(), memory: pool.NewQuota(SharedBytes)}, Limits{Time: c.time}, 1, func(*Instance) {})[0]
			if took := time.Since(start); took < c.least || took > c.most {
				t.Errorf("%s: it rested for %s, want %s to %s", c.src, took, c.least, c.most)
			}
			if err == nil && c.want != "" || err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s: %v, want %q", c.src, err, c.want)
			}
		})
	}
}
