package hooks

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/breaker"
	"github.com/stagepost/stagepost/core/message"
)

// behind is a hook in the background that sets NAME.*.
func behind(name string, s Stage, f HandlerFunc) *Hook {
	h := hook(name, s, f)
	h.Background, h.Sets = true, []string{name}
	return h
}

func reader(name string, s Stage, f HandlerFunc, reads ...string) *Hook {
	h := hook(name, s, f)
	h.Reads = reads
	return h
}

func (r *record) words() (out []string) {
	for _, s := range r.steps {
		out = append(out, s.Plugin+" "+s.Verdict)
	}
	return out
}

// TestBackground: hooks that do not read its facts are asked while it works; one that does waits, in whichever stage.
func TestBackground(t *testing.T) {
	for _, stage := range []Stage{Mail, Rcpt} {
		beside := make(chan bool)
		slow := behind("slow", Mail, func(c *Call) (*Verdict, error) {
			<-beside // only another hook ends that
			if c.Session.Helo != "one" {
				return nil, errors.New("it sees " + c.Session.Helo)
			}
			return nil, errors.Join(c.SetFact(&c.Session.Facts, "slow.session", "s"), c.SetFact(&c.Message.Facts, "slow.score", int64(5)))
		})
		slow.Order = 1
		quick := hook("quick", Mail, func(c *Call) (*Verdict, error) {
			if c.Fact(&c.Message.Facts, "slow.score") != nil {
				return nil, errors.New("it is there too early")
			}
			c.Session.Helo = "two"
			close(beside)
			return nil, nil
		})
		reads := reader("reader", stage, func(c *Call) (*Verdict, error) {
			if c.Fact(&c.Message.Facts, "slow.score") != int64(5) || c.Fact(&c.Session.Facts, "slow.session") != "s" {
				return nil, errors.New("it is not there")
			}
			return nil, nil
		}, "slow.score")
		g := generation(t, slow, quick, reads)
		cl, rec := call(t, Mail)
		cl.Session.Helo = "one"
		g.Run(cl)
		if stage == Rcpt {
			if _, ok := cl.Message.Facts.Get("slow.score"); ok || len(rec.steps) != 1 {
				t.Errorf("taken over before anybody read it: %q", rec.words())
			}
			cl.Stage = Rcpt
			g.Run(cl)
		}
		if got := rec.words(); !slices.Equal(got, []string{"quick next", "slow next", "reader next"}) {
			t.Fatalf("read at %s: steps %q", stage, got)
		}
		s := rec.steps[1]
		if s.Detail != "in the background" || s.Stage != "mail" || !slices.Equal(s.Edits, []string{"fact slow.session", "fact slow.score"}) || s.Time.After(rec.steps[0].Time) {
			t.Errorf("its step is %+v", s)
		}
		if st := slow.Breaker.State(); st.Calls != 1 || st.Errors != 0 {
			t.Errorf("counted %+v", st)
		}
	}
}

// TestBackgroundIsOverBeforeQueue: also when nobody reads, and also what it set on recipients.
func TestBackgroundIsOverBeforeQueue(t *testing.T) {
	set := func(c *Call) (*Verdict, error) {
		for _, r := range c.Message.Rcpts {
			if err := c.SetFact(&r.Facts, "b.rcpt", "r"); err != nil {
				return nil, err
			}
		}
		return nil, c.SetFact(&c.Message.Facts, "b.message", "m")
	}
	g := generation(t, behind("b", Data, set), behind("c", Rcpt, func(c *Call) (*Verdict, error) {
		return nil, c.SetFact(&c.Rcpt.Facts, "c.own", "o")
	}))
	cl, rec := call(t, Rcpt)
	g.Run(cl)
	cl.Rcpt, cl.Stage = nil, Data
	g.Run(cl)
	if len(rec.steps) != 0 {
		t.Fatalf("taken over at once: %q", rec.words())
	}
	cl.Stage = Queue // where nobody is asked
	g.Run(cl)
	m, _ := cl.Message.Facts.Get("b.message")
	r, _ := cl.Message.Rcpts[0].Facts.Get("b.rcpt")
	own, _ := cl.Message.Rcpts[0].Facts.Get("c.own")
	if m != "m" || r != "r" || own != "o" || rec.steps[0].Detail != "<u@example.org> in the background" {
		t.Errorf("message %v, recipient %v and %v; steps %+v", m, r, own, rec.steps)
	}
}

// TestBackgroundFails: the reader's on_error answers, and what the hook did has no effect.
func TestBackgroundFails(t *testing.T) {
	for name, c := range map[string]struct {
		does HandlerFunc
		says string
	}{
		"error":        {func(*Call) (*Verdict, error) { return nil, errors.New("dns is down") }, "in the background: dns is down"},
		"panic":        {func(*Call) (*Verdict, error) { panic("oh") }, "in the background: panic: oh"},
		"verdict":      {answer(&Verdict{Kind: Reject}), "in the background: slow.lua:1: a hook in the background only sets facts; it answered reject"},
		"edit":         {func(c *Call) (*Verdict, error) { return nil, c.AddHeader("X-A", "1") }, "in the background: add_header: a hook in the background only sets facts"},
		"another fact": {func(c *Call) (*Verdict, error) { return nil, c.SetFact(&c.Session.Facts, "slow.other", true) }, `in the background: fact "slow.other" is not among those that hook.mail.sets lists`},
		"too many": {func(c *Call) (*Verdict, error) {
			return nil, c.SetFact(&c.Session.Facts, "slow.score", strings.Repeat("x", message.MaxFactsBytes))
		}, `in the background: slow.lua:1: fact "slow.score": more than`},
		"open breaker":  {nil, "in the background: not asked since"},
		"out of budget": {func(*Call) (*Verdict, error) { return nil, breaker.OverInstructions }, "in the background: ran out of instructions"},
	} {
		slow := behind("slow", Mail, c.does)
		slow.Sets = []string{"slow.score"}
		if c.does == nil {
			slow.Breaker = breaker.New(nil, time.Now())
			for range 10 {
				slow.Breaker.Ended(time.Now(), breaker.OverTime, true, false)
			}
		}
		g := generation(t, slow, reader("a", Mail, answer(nil), "slow.score?"), reader("b", Mail, answer(nil), "slow.score"))
		cl, rec := call(t, Mail)
		res := g.Run(cl)
		word := "error, next"
		if c.does == nil {
			word = "open, next"
		}
		if got := rec.words(); !slices.Equal(got, []string{"slow " + word, "a next", "b error, defer 451 4.3.0"}) || !res.Failed || res.By != "b" {
			t.Errorf("%s: steps %q, result %+v", name, got, res)
		}
		if !strings.HasPrefix(rec.steps[0].Detail, c.says) {
			t.Errorf("%s: detail %q, want %q", name, rec.steps[0].Detail, c.says)
		}
		if cl.Session.Facts.Len()+cl.Message.Facts.Len() != 0 {
			t.Errorf("%s: facts are set", name)
		}
	}
}

// TestBackgroundReadsBackground: one waits for the other before it gets its copy.
func TestBackgroundReadsBackground(t *testing.T) {
	one := behind("one", Helo, func(c *Call) (*Verdict, error) { return nil, c.SetFact(&c.Session.Facts, "one.x", int64(1)) })
	two := behind("two", Mail, func(c *Call) (*Verdict, error) {
		v, ok := c.Session.Facts.Get("one.x")
		if !ok {
			return nil, errors.New("one.x is not there")
		}
		return nil, c.SetFact(&c.Message.Facts, "two.x", v.(int64)+1)
	})
	two.Reads = []string{"one.x"}
	g := generation(t, one, two, reader("three", Data, func(c *Call) (*Verdict, error) {
		return &Verdict{Kind: Hold, Reason: fmt.Sprint(c.Fact(&c.Message.Facts, "two.x"))}, nil
	}, "two.x"))
	cl, _ := call(t, Helo)
	m := cl.Message
	for _, cl.Stage = range []Stage{Helo, Mail, Rcpt} {
		if cl.Message = m; cl.Stage == Helo {
			cl.Message = nil
		}
		g.Run(cl)
	}
	cl.Stage, cl.Message.Content = Data, memory("\r\n")
	if res := g.Run(cl); res.Hold == nil || res.Hold.Reason != "2" {
		t.Errorf("result %+v", res)
	}
}

// TestBackgroundSharesNothing reads all that a handler can read while the session changes it; the race detector judges.
func TestBackgroundSharesNothing(t *testing.T) {
	begun, stop := make(chan bool), make(chan bool)
	var read atomic.Int64
	watch := func(c *Call) (*Verdict, error) {
		begun <- true
		for {
			for _, o := range []struct {
				name string
				v    any
			}{{"session", c.Session}, {"message", c.Message}, {"rcpt", c.Rcpt}} {
				if o.v == any((*RcptView)(nil)) {
					continue
				}
				read.Add(int64(readAll(o.name, o.v)))
			}
			select {
			case <-stop:
				return nil, c.SetFact(&c.Session.Facts, c.Hook().Plugin+".n", read.Load())
			default:
			}
		}
	}
	g := generation(t, behind("a", Rcpt, watch), behind("b", Data, watch), hook("z", Data, func(c *Call) (*Verdict, error) {
		return nil, errors.Join(c.SetHeader("Subject", "two"), c.AddRcpt(c.Rcpt.Address, Local), c.SetSender(c.Rcpt.Address), c.SetFact(&c.Message.Facts, "z.x", true))
	}))
	cl, _ := call(t, Data)
	for _, cl.Stage = range []Stage{Rcpt, Data} {
		go func() {
			<-begun
		}()
		g.Run(cl)
		for i := range 100 {
			cl.Session.Errors++
			cl.Session.Helo, cl.Session.User = fmt.Sprint(i), "u"
			cl.Session.History = append(cl.Session.History, message.Note{Stage: "mail"})
			cl.Session.Facts.Set("x.y", int64(i))
			cl.Message.Facts.Set("x.y", int64(i))
			for _, r := range cl.Message.Rcpts {
				r.Facts.Set("x.y", int64(i))
				r.Class, r.Address = Local, cl.Message.Sender
			}
			cl.Rcpt.Index++
			cl.Message.Rcpts = append(cl.Message.Rcpts, &message.Rcpt{})
		}
	}
	close(stop)
	cl.Stage = Queue
	g.Run(cl)
	if n, _ := cl.Session.Facts.Get("a.n"); n == nil || read.Load() == 0 {
		t.Errorf("the handler read %d fields, and says %v", read.Load(), n)
	}
}

// readAll reads all fields of an object.
func readAll(name string, o any) (n int) {
	for _, decl := range Objects() {
		if decl.Name != name {
			continue
		}
		for _, f := range decl.Fields {
			n++
			switch {
			case f.Str != nil:
				f.Str(o)
			case f.Int != nil:
				f.Int(o)
			case f.Bool != nil:
				f.Bool(o)
			case f.Time != nil:
				f.Time(o)
			case f.Value != nil:
				f.Value(o)
			}
		}
		if facts := FactsOf(o); facts != nil {
			n += facts.Len()
		}
	}
	return n
}

// TestAbandon: what nobody will read is broken off and waited for, and its generation let go.
func TestAbandon(t *testing.T) {
	var closed, ended atomic.Bool
	wait := func(c *Call) (*Verdict, error) {
		<-c.Context().Done()
		ended.Store(true)
		return nil, c.Context().Err()
	}
	for name, stage := range map[string]Stage{"the session's": Connect, "the message's": Mail} {
		closed.Store(false)
		ended.Store(false)
		h := behind("slow", stage, wait)
		h.Timeout = time.Hour
		g, err := NewGeneration(7, []*Hook{h}, func() { closed.Store(true) })
		if err != nil {
			t.Fatal(err)
		}
		cl, rec := call(t, stage)
		if stage == Connect {
			cl.Message = nil
		}
		g.Run(cl)
		g.Release() // a reload
		if closed.Load() {
			t.Errorf("%s: the generation was let go while it is used", name)
		}
		if cl.Message != nil {
			cl.Message.Abandon()
		}
		cl.Abandon()
		if !ended.Load() || !closed.Load() || len(rec.steps) > 0 || h.Breaker.State().Calls != 0 {
			t.Errorf("%s: ended %v, generation closed %v, steps %q, calls %+v", name, ended.Load(), closed.Load(), rec.words(), h.Breaker.State())
		}
	}
}

// TestBackgroundIsBounded: no more than so many at once in a session, in order.
func TestBackgroundIsBounded(t *testing.T) {
	var at, most atomic.Int64
	h := behind("b", Rcpt, func(c *Call) (*Verdict, error) {
		for n := at.Add(1); ; {
			if old := most.Load(); n <= old || most.CompareAndSwap(old, n) {
				break
			}
		}
		runtime.Gosched()
		at.Add(-1)
		return nil, c.SetFact(&c.Session.Facts, "b.last", c.Rcpt.Address.Text)
	})
	g := generation(t, h)
	cl, rec := call(t, Rcpt)
	for i := range 5*maxBackground + 1 {
		cl.Rcpt.Rcpt = &message.Rcpt{Address: address(t, fmt.Sprintf("u%d@example.org", i))}
		g.Run(cl)
	}
	cl.Stage = Queue
	g.Run(cl)
	if v, _ := cl.Session.Facts.Get("b.last"); v != fmt.Sprintf("u%d@example.org", 5*maxBackground) || most.Load() > maxBackground || len(rec.steps) != 5*maxBackground+1 {
		t.Errorf("%d at once, %d steps, the last said %v", most.Load(), len(rec.steps), v)
	}
}

// TestBackgroundDeadline: who waits does so no longer than the hook may take, and on its own time afterwards.
func TestBackgroundDeadline(t *testing.T) {
	slow := behind("slow", Mail, func(c *Call) (*Verdict, error) {
		<-c.Context().Done()
		return nil, breaker.OverTime
	})
	slow.Timeout = 10 * time.Millisecond
	r := reader("r", Mail, func(c *Call) (*Verdict, error) {
		return nil, context.Cause(c.Context())
	}, "slow.x?")
	r.Timeout = time.Hour
	cl, rec := call(t, Mail)
	generation(t, slow, r).Run(cl)
	if got := rec.words(); !slices.Equal(got, []string{"slow error, next", "r next"}) || slow.Breaker.State().Overran[breaker.OverTime] != 1 {
		t.Errorf("steps %q", got)
	}
}

func TestBackgroundReadTooEarly(t *testing.T) {
	late := behind("late", Data, answer(nil))
	early := reader("early", Rcpt, answer(nil), "late.score")
	_, err := NewGeneration(1, []*Hook{late, early}, nil)
	if want := `early.lua:1: early at rcpt reads the fact "late.score", which late sets in the background at a later stage`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	both := behind("late", Mail, answer(nil))
	if _, err := NewGeneration(1, []*Hook{late, both, early}, nil); err != nil {
		t.Errorf("set at an earlier stage, too: %v", err)
	}
}
