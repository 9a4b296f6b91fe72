package hooks

import (
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/message"
)

func TestOrder(t *testing.T) {
	mk := func(name string, set ...func(*Hook)) *Hook {
		h := hook(name, Rcpt, answer(nil))
		for _, f := range set {
			f(h)
		}
		return h
	}
	order := func(n int) func(*Hook) { return func(h *Hook) { h.Order = n } }
	after := func(p ...string) func(*Hook) { return func(h *Hook) { h.After = p } }
	before := func(p ...string) func(*Hook) { return func(h *Hook) { h.Before = p } }
	reads := func(f ...string) func(*Hook) { return func(h *Hook) { h.Reads = f } }
	place := func(n int) func(*Hook) { return func(h *Hook) { h.Place = n } }
	for _, c := range []struct {
		hooks []*Hook
		want  string
	}{
		{[]*Hook{mk("b"), mk("a")}, "a b"},
		{[]*Hook{mk("b", place(1)), mk("a", place(2))}, "b a"},
		{[]*Hook{mk("b", order(10), place(2)), mk("a")}, "b a"},
		{[]*Hook{mk("a", after("c")), mk("b"), mk("c")}, "b c a"},
		{[]*Hook{mk("a"), mk("z", before("a"), order(90))}, "z a"},
		{[]*Hook{mk("a", reads("spf.mail")), mk("spf", order(90))}, "spf a"},
		{[]*Hook{mk("a", reads("spf.mail?"))}, "a"},
		{[]*Hook{mk("a", after("nobody"))}, "a"},
		{[]*Hook{mk("a", reads("spf.mail"))}, "a.lua:1: a at rcpt reads the fact \"spf.mail\""},
		{[]*Hook{mk("a", after("b")), mk("b", after("c")), mk("c", after("a"))}, "goes in a circle: a after b after c after a"},
	} {
		sorted, err := Sort(c.hooks, nil)
		var names []string
		for _, h := range sorted {
			names = append(names, h.Plugin)
		}
		got := strings.Join(names, " ")
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, c.want) || err == nil && got != c.want {
			t.Errorf("order %q, want %q", got, c.want)
		}
	}
}

func TestGenerationIsClosedOnce(t *testing.T) {
	closed := 0
	g1, _ := NewGeneration(1, nil, func() { closed++ })
	g2, _ := NewGeneration(2, nil, nil)
	cur := NewCurrent(g1)
	held := cur.Acquire()
	cur.Swap(g2)
	if closed != 0 || cur.Number() != 2 {
		t.Fatalf("closed %d times while held, number %d", closed, cur.Number())
	}
	held.Release()
	if closed != 1 {
		t.Fatalf("closed %d times", closed)
	}
	if g := cur.Acquire(); g != g2 {
		t.Fatal("the new generation is not the one acquired")
	}
}

func TestReleaseOnceTooOften(t *testing.T) {
	g, _ := NewGeneration(1, nil, nil)
	cur := NewCurrent(g)
	g.Release()
	for what, f := range map[string]func(){"Release": g.Release, "Acquire": func() { cur.Acquire() }} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s went on", what)
				}
			}()
			f()
		}()
	}
}

func TestContextEndsWithTheCall(t *testing.T) {
	var kept *Call
	var done <-chan struct{}
	cl, _ := call(t, Rcpt)
	generation(t, hook("p", Rcpt, func(c *Call) (*Verdict, error) {
		kept, done = c, c.Context().Done()
		return nil, nil
	})).Run(cl)
	select {
	case <-done:
	default:
		t.Error("the context of a call outlives it")
	}
	if kept.ctx != nil {
		t.Error("the context is kept for the next hook")
	}
}

func BenchmarkRunThreeHooks(b *testing.B) {
	g, err := NewGeneration(1, []*Hook{hook("a", Rcpt, answer(nil)), hook("b", Rcpt, answer(nil)), hook("c", Rcpt, answer(nil))}, nil)
	if err != nil {
		b.Fatal(err)
	}
	c := &Call{Stage: Rcpt, Session: &message.Session{}, Message: &MessageView{Envelope: &message.Envelope{}}}
	b.ReportAllocs()
	for b.Loop() {
		g.Run(c)
	}
}
