package queue

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/resolve/resolvetest"
	"github.com/stagepost/stagepost/hooks"
)

// take takes a measure as a plugin does, for a time.
func (b *bench) take(last time.Duration, m Measure) bool {
	b.t.Helper()
	m.By, m.Rule, m.Reason, m.Since = "shaping", "rules.toml:12", "too many", time.Now()
	m.Until = m.Since.Add(last)
	fresh, err := b.q.Measure(m)
	if err != nil {
		b.t.Fatal(err)
	}
	return fresh
}

// fromSources has mail go from the source that its tenant is called.
func (b *bench) fromSources() {
	b.hooks = append(b.hooks, hook("router", hooks.Route, func(c *hooks.Call) (*hooks.Verdict, error) {
		return &hooks.Verdict{Kind: hooks.RouteTo, Plan: &message.Plan{Source: strings.ToLower(c.Message.Tenant)}}, nil
	}))
}

func of(name string) func(*message.Envelope) {
	return func(e *message.Envelope) { e.Tenant = name }
}

// A site is slowed down from the next message on, for as long as it was said, and others go as ever.
func TestSlowedSite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		w := newWorld(b)
		w.set("slow.example", answer{wait: time.Second, Outcome: yes})
		w.set("other.example", answer{wait: time.Second, Outcome: yes})
		b.set.Shape = &Shape{Default: Limits{Concurrency: 20, ConnectionMessages: 100, By: Origin{Concurrency: "stagepost.toml:3"}}}
		b.start()
		if !b.take(time.Minute, Measure{Do: DoSlow, Scope: Scope{Site: "Slow.Example"}, Limits: Limits{Rate: Rate{6, time.Minute}, ConnectionMessages: 5}}) {
			t.Error("it is no news")
		}
		b.take(time.Hour, Measure{Do: DoSlow, Scope: Scope{Site: "elsewhere.example"}, Limits: Limits{Concurrency: 1}})
		for i := range 60 {
			b.send(nil, fmt.Sprintf("u%d@slow.example", i))
			b.send(nil, fmt.Sprintf("u%d@other.example", i))
		}
		time.Sleep(59 * time.Second)
		if got := w.times("slow.example"); len(got) != 6 || got[1] < 10*time.Second-rateGrain {
			t.Errorf("%d in a minute: %v", len(got), got)
		}
		if got := w.times("other.example"); len(got) != 60 || got[59] > 3*time.Second {
			t.Errorf("the other site: %d, %v", len(got), got)
		}
		v, err := b.q.Explain(t.Context(), "slow.example")
		by := "shaping (rules.toml:12: too many) until " + time.Now().Add(time.Second).UTC().Format(time.RFC3339)
		if err != nil || len(v) != 1 || !slices.Equal(v[0].Limits, []LimitView{{"concurrency", "20", "stagepost.toml:3"}, {"rate", "6 in 1m0s", by}, {"connection_messages", "5", by}}) {
			t.Errorf("%+v, %v", v, err)
		}
		if len(v[0].Measures) != 1 || v[0].Measures[0].String() != "site slow.example: slowed to rate 6 in 1m0s, connection_messages 5" {
			t.Errorf("%v", v[0].Measures)
		}
		if got := w.asked()[0].ConnectionMessages; got != 5 && got != 100 {
			t.Errorf("%d over one connection", got)
		}
		time.Sleep(10 * time.Second)
		if n := w.delivered(); n != 120 {
			t.Errorf("%d delivered after it ended", n)
		}
		if v, err = b.q.Explain(t.Context(), "slow.example"); err != nil || len(v[0].Measures) != 0 || v[0].Limits[1] != (LimitView{"rate", "no limit", "default"}) {
			t.Errorf("%+v, %v", v, err)
		}
		b.stop()
	})
}

// Of several measures and the configuration the strictest counts, each for what it is about.
func TestStrictest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.set.Shape = &Shape{Sites: map[string]Limits{"a.example": {Concurrency: 4, Rate: Rate{100, time.Hour}}}}
		b.start()
		for _, m := range []Measure{
			{Scope: Scope{Site: "a.example"}, Limits: Limits{Concurrency: 5, Rate: Rate{2, time.Minute}}}, // more than the configuration
			{Scope: Scope{Site: "a.example", Source: "one"}, Limits: Limits{Concurrency: 3}},
			{Scope: Scope{Site: "a.example", Tenant: "acme"}, Limits: Limits{Concurrency: 1}},
			{Scope: Scope{Site: "b.example"}, Limits: Limits{Concurrency: 1}},
		} {
			m.Do = DoSlow
			b.take(time.Hour, m)
		}
		set := b.q.Settings()
		for _, c := range []struct {
			site, source, tenant string
			want                 string
		}{
			{"a.example", "", "", "4 100 in 1h0m0s"}, {"a.example", "one", "", "3 100 in 1h0m0s"}, {"a.example", "two", "", "4 100 in 1h0m0s"}, {"c.example", "", "", "20 no limit"},
			{"a.example", "", "acme", "1 no limit"}, {"a.example", "", "other", "0 no limit"}, {"b.example", "", "", "1 no limit"},
		} {
			base := set.limits(c.site)
			if c.tenant != "" {
				base = Limits{}
			}
			l, _ := b.q.measures.table.Load().limits(base, siteKey{c.site, c.source}, c.tenant)
			if got := fmt.Sprintf("%d %v", l.Concurrency, l.Rate); got != c.want {
				t.Errorf("%s from %q of %q: %s, want %s", c.site, c.source, c.tenant, got, c.want)
			}
		}
		b.stop()
	})
}

// A tenant is slowed down at a site, with much mail; others at the same site do not notice, in memory or on disk. When it ends all
// goes.
func TestSlowedTenant(t *testing.T) {
	const much = window / 4
	for _, limits := range []Limits{{Rate: Rate{60, time.Minute}}, {Concurrency: 1}} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			w := newWorld(b)
			w.set("a.example", answer{wait: time.Second, Outcome: yes})
			b.start()
			b.take(time.Hour, Measure{Do: DoSlow, Scope: Scope{Site: "a.example", Tenant: "bulk"}, Limits: limits})
			for i := range much {
				b.send(of("Bulk"), fmt.Sprintf("b%d@a.example", i))
			}
			for i := range 200 {
				b.send(of("acme"), fmt.Sprintf("u%d@a.example", i))
			}
			count := func() (bulk, others int) {
				for _, who := range w.out() {
					if who[0] == 'b' {
						bulk++
					} else {
						others++
					}
				}
				return bulk, others
			}
			time.Sleep(5 * time.Second) // what there was no room for before the site had answered lies on disk
			before, _ := count()
			time.Sleep(15 * time.Second)
			if bulk, others := count(); others != 200 || bulk-before < 13 || bulk-before > 16 || before > 6 {
				t.Errorf("%d and %d of the tenant, %d of others", before, bulk-before, others)
			}
			if n := b.q.flights.count(); n > 3*tenantJobs {
				t.Errorf("%d flights", n)
			}
			b.send(of("acme"), "late@a.example")
			time.Sleep(5 * time.Minute)
			if bulk, others := count(); others != 201 || bulk-before < 310 || bulk-before > 317 {
				t.Errorf("after 5 minutes %d of the tenant, %d of others", bulk, others)
			}
			v, err := b.q.Explain(t.Context(), "a.example")
			if err != nil || len(v) != 1 || len(v[0].Measures) != 1 || v[0].Measures[0].Tenant != "bulk" {
				t.Errorf("%+v, %v", v, err)
			}
			time.Sleep(time.Hour)
			if bulk, _ := count(); bulk != much {
				t.Errorf("%d of the tenant after it ended", bulk)
			}
			expect(t, "store", b.states())
			b.stop()
		})
	}
}

// What a plugin suspends waits, over a restart, and goes when the time is over; what is not meant goes at once.
func TestSuspendedByPlugin(t *testing.T) {
	for _, c := range []struct {
		scope Scope
		lane  string // where the mail of tenant one to a.example waits
		two   bool   // that of tenant two waits, too
	}{
		{Scope{Site: "a.example"}, "suspended:site:a.example by:shaping", true},
		{Scope{Site: "a.example", Source: "one"}, "suspended:site:a.example source:one by:shaping", false},
		{Scope{Site: "a.example", Tenant: "One"}, "suspended:site:a.example tenant:one by:shaping", false},
		{Scope{Lane: "mx:a.example"}, "mx:a.example source=one", true},
		{Scope{Lane: "mx:a.example", Source: "one"}, "suspended:next-hop:mx:a.example source:one by:shaping", false},
		{Scope{Tenant: "One"}, "suspended:tenant:one by:shaping", false},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			b.fromSources()
			b.start()
			b.take(2*time.Hour, Measure{Do: DoSuspend, Scope: c.scope})
			b.send(of("One"), "u@a.example")
			b.send(of("two"), "v@a.example")
			b.send(of("two"), "w@b.example")
			time.Sleep(time.Hour)
			want := 2
			if c.two {
				want = 1
			}
			if got := b.remote.got(); len(got) != want {
				t.Errorf("%v: sent %v", c.scope, got)
			}
			if it := b.items(); len(it) != 3-want || it[0].State.Rcpts[0].Lane != c.lane {
				t.Errorf("%v: waits in %q", c.scope, it[0].State.Rcpts[0].Lane)
			}
			env := b.items()[0].Envelope
			if s := b.q.Suspended(env, 0, "mx:a.example source=one"); c.scope.Site == "" && (s == nil || s.By != "shaping" || s.Rule != "rules.toml:12") {
				t.Errorf("%v: suspended by %+v", c.scope, s)
			}
			b.stop()
			b.start()
			if got := b.q.Suspensions(); len(got) != 1 || got[0].By != "shaping" || got[0].Reason != "too many" || got[0].Rule != "rules.toml:12" {
				t.Errorf("%v: after the restart %+v", c.scope, got)
			}
			time.Sleep(59 * time.Minute)
			if got := b.remote.got(); len(got) != want {
				t.Errorf("%v: sent after the restart %v", c.scope, got)
			}
			time.Sleep(2 * time.Minute)
			expect(t, "store", b.states())
			if got := b.q.Suspensions(); len(got) != 0 {
				t.Errorf("%v: suspended still: %v", c.scope, got)
			}
			b.stop()
			b.start()
			if got := b.q.Measures(); len(got) != 0 {
				t.Errorf("%v: after it ended and a restart %v", c.scope, got)
			}
			b.stop()
		})
	}
}

// Mail goes by another way while a measure says so: what comes, what waits in memory and what sleeps.
func TestTurned(t *testing.T) {
	for _, c := range []struct {
		scope  Scope
		to     *message.Plan
		one    string // by which lane the mail of tenant one goes to a.example
		two    string
		effect string
	}{
		{Scope{Site: "a.example", Source: "one"}, &message.Plan{Source: "spare"}, "mx:a.example source=spare", "mx:a.example source=two", "sent from spare"},
		{Scope{Site: "a.example"}, &message.Plan{Hosts: []string{"relay.example:25"}, Private: 1}, "smtp:relay.example:25 source=one", "smtp:relay.example:25 source=two", "sent to smtp:relay.example:25"},
		{Scope{Lane: "mx:a.example", Tenant: "two"}, &message.Plan{MX: "b.example"}, "mx:a.example source=one", "mx:b.example source=two", "sent to mx:b.example"},
		{Scope{Tenant: "one"}, &message.Plan{Source: "two"}, "mx:a.example source=two", "mx:a.example source=two", "sent from two"},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			b.fromSources()
			b.set.HasSource = func(name string) bool { return name != "gone" }
			b.start()
			b.take(time.Hour, Measure{Do: DoReroute, Scope: c.scope, To: c.to})
			id := b.send(of("One"), "u@a.example")
			b.send(of("two"), "v@a.example")
			b.send(of("three"), "w@c.example")
			synctest.Wait()
			got := b.remote.got()
			slices.Sort(got)
			want := []string{"0s " + c.one + " <u@a.example>", "0s " + c.two + " <v@a.example>", "0s mx:c.example source=three <w@c.example>"}
			slices.Sort(want)
			expect(t, fmt.Sprint(c.scope), got, want...)
			if c.one != "mx:a.example source=one" && !slices.ContainsFunc(b.recs.steps[id.String()], func(s observe.Step) bool {
				return strings.Contains(s.Detail, c.effect+" (shaping (rules.toml:12: too many) until") && s.Plugin == "shaping"
			}) {
				t.Errorf("the record does not tell: %+v", b.recs.of(id))
			}
			time.Sleep(time.Hour)
			b.send(of("One"), "x@a.example")
			synctest.Wait()
			if got := b.remote.got(); got[3] != "1h0m0s mx:a.example source=one <x@a.example>" {
				t.Errorf("after it ended: %s", got[3])
			}
			b.stop()
		})
	}
}

// What sleeps since nobody answers goes by the other way at once, and a measure whose source is gone stops nothing.
func TestTurnedFromSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		w := newWorld(b)
		b.set.Retry = []time.Duration{30 * time.Minute}
		known := true
		b.set.HasSource = func(string) bool { return known }
		w.set("dead.example", answer{Outcome: nobody})
		b.start()
		for i := range 50 {
			b.send(nil, fmt.Sprintf("u%d@dead.example", i))
		}
		time.Sleep(time.Second)
		if n := w.delivered(); n != 0 {
			t.Fatalf("%d delivered", n)
		}
		w.set("dead.example", answer{Outcome: yes})
		b.take(2*time.Hour, Measure{Do: DoReroute, Scope: Scope{Site: "dead.example"}, To: &message.Plan{Hosts: []string{"relay.example:25"}}})
		time.Sleep(5 * time.Second)
		if n := w.delivered(); n < 30 { // but for those that were tried before it fell asleep
			t.Errorf("%d delivered by the other way", n)
		}
		b.change(func(s *Settings) { s.HasSource = func(string) bool { return false } })
		b.take(time.Hour, Measure{Do: DoSlow, Scope: Scope{Site: "x.example"}, Limits: Limits{Concurrency: 1}})
		if _, err := b.q.Measure(Measure{Do: DoReroute, Scope: Scope{Site: "x.example"}, To: &message.Plan{Source: "gone"}, Since: time.Now(), Until: time.Now().Add(time.Hour)}); err == nil || err.Error() != "there is no [source.gone]" {
			t.Errorf("a source that is not there: %v", err)
		}
		b.stop()
	})
}

// A storm of replies takes the same measure again and again: that is one, written once, which lasts.
func TestStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		news := 0
		for range 10_000 {
			if b.take(time.Hour, Measure{Do: DoSuspend, Scope: Scope{Site: "a.example"}}) {
				news++
			}
			time.Sleep(time.Millisecond)
		}
		if news != 1 || len(b.q.Measures()) != 1 {
			t.Errorf("%d news, %d measures", news, len(b.q.Measures()))
		}
		first := b.q.measures.table.Load()
		time.Sleep(6 * time.Minute)
		b.take(time.Hour, Measure{Do: DoSuspend, Scope: Scope{Site: "a.example"}})
		if b.q.measures.table.Load() != first {
			t.Error("it was taken anew after 6 minutes of 60")
		}
		time.Sleep(6 * time.Minute)
		b.take(time.Hour, Measure{Do: DoSuspend, Scope: Scope{Site: "a.example"}})
		if m := b.q.Measures(); len(m) != 1 || time.Until(m[0].Until) != time.Hour {
			t.Errorf("it does not last: %v", m)
		}
		if !b.take(time.Hour, Measure{Do: DoSlow, Scope: Scope{Site: "a.example"}, Limits: Limits{Concurrency: 2}}) || !b.take(time.Hour, Measure{Do: DoSlow, Scope: Scope{Site: "a.example"}, Limits: Limits{Concurrency: 1}}) {
			t.Error("others are no news")
		}
		if n := len(b.q.Measures()); n != 2 {
			t.Errorf("%d measures; the later limit did not replace the former", n)
		}
		b.stop()
	})
}

func TestMeasuresAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		take := func(last time.Duration, m Measure) error {
			m.Since, m.By = time.Now(), "p"
			m.Until = m.Since.Add(last)
			_, err := b.q.Measure(m)
			return err
		}
		slow := Limits{Concurrency: 1}
		for _, c := range []struct {
			last time.Duration
			m    Measure
			want string
		}{
			{time.Hour, Measure{Do: DoSuspend}, "name the site, the next hop or the tenant"},
			{time.Hour, Measure{Do: DoSuspend, Scope: Scope{Source: "a"}}, "name the site, the next hop or the tenant"},
			{time.Hour, Measure{Do: DoSuspend, Scope: Scope{Source: "a", Tenant: "b"}}, "a source is named with a site or a next hop"},
			{time.Hour, Measure{Do: DoSuspend, Scope: Scope{Site: "a", Lane: "b"}}, "name a site or a next hop, not both"},
			{time.Hour, Measure{Do: DoSuspend, Scope: Scope{Site: "a", Source: "B!"}}, `source: "B!" is not the name`},
			{time.Hour, Measure{Do: DoSuspend, Scope: Scope{Site: strings.Repeat("x", 256)}}, "site: "},
			{time.Hour, Measure{Do: DoSuspend, Scope: Scope{Tenant: "a\nb"}}, `tenant: "a\nb" is not`},
			{time.Hour, Measure{Do: DoSlow, Limits: slow, Scope: Scope{Lane: "mx:a"}}, "limits hang on sites"},
			{time.Hour, Measure{Do: DoSlow, Scope: Scope{Site: "a"}}, "name the rate, the concurrency"},
			{time.Hour, Measure{Do: DoSuspend, Scope: Scope{Site: "a"}, Reason: strings.Repeat("x", 201)}, "a rule and a reason have at most 200 bytes"},
			{0, Measure{Do: DoSuspend, Scope: Scope{Site: "a"}}, "it lasts 0s; a measure lasts from 1 second to 7 days"},
			{8 * 24 * time.Hour, Measure{Do: DoSuspend, Scope: Scope{Site: "a"}}, "it lasts 192h0m0s; a measure lasts from 1 second to 7 days"},
		} {
			if err := take(c.last, c.m); err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%+v: %v, want %q", c.m, err, c.want)
			}
		}
		for i := range MaxMeasures {
			if err := take(time.Hour, Measure{Do: DoSlow, Limits: slow, Scope: Scope{Site: fmt.Sprintf("s%d.example", i)}}); err != nil {
				t.Fatal(i, err)
			}
		}
		if err := take(time.Hour, Measure{Do: DoSlow, Limits: slow, Scope: Scope{Site: "more.example"}}); err == nil || !strings.HasPrefix(err.Error(), "there are 1000 measures in force") {
			t.Errorf("one more: %v", err)
		}
		if err := take(2*time.Hour, Measure{Do: DoSlow, Limits: slow, Scope: Scope{Site: "s7.example"}}); err != nil {
			t.Errorf("one that takes the place of another: %v", err)
		}
		time.Sleep(time.Hour)
		if n := len(b.q.Measures()); n != 1 {
			t.Errorf("%d left after an hour", n)
		}
		b.stop()
	})
}

// Measures end when somebody resumes what they are about, or their plugin goes.
func TestMeasuresEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		all := func() (words string) {
			for _, m := range b.q.Measures() {
				words += m.String() + "; "
			}
			return words
		}
		b.take(time.Hour, Measure{Do: DoSuspend, Scope: Scope{Site: "a.example", Tenant: "acme"}})
		b.take(time.Hour, Measure{Do: DoSlow, Scope: Scope{Site: "a.example"}, Limits: Limits{Concurrency: 1}})
		b.take(time.Hour, Measure{Do: DoReroute, Scope: Scope{Tenant: "acme"}, To: &message.Plan{Source: "b"}})
		b.take(time.Hour, Measure{Do: DoSuspend, Scope: Scope{Lane: "mx:a.example"}})
		b.send(nil, "u@a.example")
		time.Sleep(time.Second)
		if got := b.remote.got(); len(got) != 0 {
			t.Errorf("sent %v", got)
		}
		for _, c := range []struct{ kind, name, want string }{
			{SuspendSite, "a.example", "tenant acme: sent from b; next hop mx:a.example: suspended; "},
			{SuspendNextHop, "mx:a.example", "tenant acme: sent from b; "},
		} {
			if err := b.q.Resume(t.Context(), c.kind, c.name); err != nil || all() != c.want {
				t.Errorf("%s %s: %v, %s", c.kind, c.name, err, all())
			}
			if err := b.q.Resume(t.Context(), c.kind, c.name); err != ErrNotSuspended {
				t.Errorf("%s %s again: %v", c.kind, c.name, err)
			}
		}
		time.Sleep(2 * scanPause) // for the second time, too
		if got := b.remote.got(); len(got) != 1 {
			t.Errorf("sent %v", got)
		}
		b.q.KeepMeasures([]string{"shaping", "other"})
		if all() == "" {
			t.Error("those of a plugin that stays ended")
		}
		b.q.KeepMeasures([]string{"other"})
		if all() != "" {
			t.Errorf("left: %s", all())
		}
		b.stop()
	})
}

// Plugins see by which way the mail went whose outcome they are told.
func TestWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.resolver = resolvetest.New(t, map[string][]string{"a.example": {"MX 10 mx1.big.test", "MX 20 mx2.big.test"}})
		b.fromSources()
		var got []string
		for _, s := range []hooks.Stage{hooks.Delivered, hooks.Deferred, hooks.Bounced} {
			b.hooks = append(b.hooks, hook(fmt.Sprint("p", s), s, func(c *hooks.Call) (*hooks.Verdict, error) {
				got = append(got, fmt.Sprintf("%v %+v", s, c.Rcpt.Way))
				return nil, nil
			}))
		}
		b.remote.answer["a.example"] = []message.Outcome{later, yes}
		b.remote.answer["b.example"] = []message.Outcome{never}
		b.start()
		b.send(of("one"), "u@a.example")
		time.Sleep(time.Hour)
		b.send(nil, "v@b.example")
		synctest.Wait()
		expect(t, "ways", got, "deferred {Hop:mx:a.example Source:one Site:mx1.big.test,mx2.big.test}", "delivered {Hop:mx:a.example Source:one Site:mx1.big.test,mx2.big.test}",
			"bounced {Hop:mx:b.example Source: Site:b.example}")
		b.stop()
	})
}

// BenchmarkStorm is a call that changes nothing.
func BenchmarkStorm(b *testing.B) {
	x := &bench{t: b, store: newBench(b).store, remote: &remote{}, recs: &records{}, set: Settings{Retry: []time.Duration{time.Hour}, Expire: time.Hour, Concurrency: 1}}
	x.start()
	x.q.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	for b.Loop() {
		x.take(time.Hour, Measure{Do: DoSuspend, Scope: Scope{Site: "a.example"}})
	}
	x.stop()
}

// A measure is told in words when it was taken, and when it came from elsewhere without what the words are made of.
func TestMeasureInWords(t *testing.T) {
	for want, m := range map[string]Measure{
		"site a.example from b, tenant c: suspended": {Do: DoSuspend, Scope: Scope{Site: "a.example", Source: "b", Tenant: "c"}},
		"next hop mx:a.example from b: sent from s":  {Do: DoReroute, Scope: Scope{Lane: "mx:a.example", Source: "b"}, To: &message.Plan{Source: "s"}},
		"tenant c: sent to mx:b.example":             {Do: DoReroute, Scope: Scope{Tenant: "c"}, Effect: "sent to mx:b.example"},
	} {
		if m.String() != want {
			t.Errorf("%q, want %q", m.String(), want)
		}
	}
}
