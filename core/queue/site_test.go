package queue

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/deliver"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/resolve/resolvetest"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
)

// world is the outside, where each domain takes its time and gives its answer.
type world struct {
	t     testing.TB
	mu    sync.Mutex
	does  map[string]answer // by the last two labels of a domain; others are well
	start time.Time
	now   map[string]int
	most  map[string]int
	tries map[string][]time.Duration // of each domain, since start
	sent  []string                   // local parts, in order of delivery
	jobs  []*deliver.Job
}

type answer struct {
	wait time.Duration
	message.Outcome
}

var (
	nobody = message.Outcome{Result: message.Deferred, Away: true, Reply: smtp.NewReply(451, "4.4.1", "mx[192.0.2.1]:25: connection refused")}
	enough = message.Outcome{Result: message.Deferred, Host: "mx", Reply: smtp.NewReply(421, "4.7.0", "too many")}
)

func newWorld(b *bench) *world {
	w := &world{t: b.t, does: map[string]answer{}, start: time.Now(), now: map[string]int{}, most: map[string]int{}, tries: map[string][]time.Duration{}}
	b.sender = w
	return w
}

func end(domain string) string {
	labels := strings.Split(domain, ".")
	return strings.Join(labels[max(0, len(labels)-2):], ".")
}

func (w *world) Send(ctx context.Context, j *deliver.Job) []message.Outcome {
	to := j.Env.Rcpts[j.Rcpts[0]].Address
	w.mu.Lock()
	a, known := w.does[end(to.Domain)]
	if !known {
		a = answer{Outcome: yes}
	}
	for _, k := range []string{"", to.Domain} {
		w.now[k]++
		w.most[k] = max(w.most[k], w.now[k])
	}
	w.tries[to.Domain] = append(w.tries[to.Domain], time.Since(w.start))
	w.jobs = append(w.jobs, j)
	w.mu.Unlock()
	select {
	case <-time.After(a.wait):
	case <-ctx.Done():
		a.Outcome = interrupted
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now[""]--
	w.now[to.Domain]--
	if a.Result == message.Delivered {
		w.sent = append(w.sent, to.Local)
	}
	return all(len(j.Rcpts), a.Outcome)
}

func (w *world) set(domain string, a answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.does[domain] = a
}

func (w *world) delivered() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.sent)
}

func (w *world) attempts() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.tries {
		n += len(t)
	}
	return n
}

func (w *world) peak(domain string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.most[domain]
}

func (w *world) running(domain string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now[domain]
}

func (w *world) times(domain string) []time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.tries[domain])
}

func (w *world) out() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.sent)
}

func (w *world) asked() []*deliver.Job {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.jobs)
}

// forget begins to look for peaks anew.
func (w *world) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.most = map[string]int{}
}

// calm waits until nothing is in memory.
func (b *bench) calm() {
	b.t.Helper()
	for range 3600 {
		if b.q.flights.count() == 0 {
			return
		}
		time.Sleep(time.Second)
	}
	b.t.Errorf("%d flights are left", b.q.flights.count())
}

// All domains of one provider are one site: by their exchangers, by what the configuration says of those, or by the plan.
func TestSites(t *testing.T) {
	zone := map[string][]string{
		"a.example": {"MX 10 mx1.big.test", "MX 20 mx2.big.test"}, "b.example": {"MX 10 mx2.big.test", "MX 10 mx1.big.test"}, "c.example": {"MX 10 mx3.big.test"},
		"mixed.example": {"MX 10 mx1.big.test", "MX 20 mx.other.test"}, "plain.example": {"A 192.0.2.1"}, "own.example": {"MX 10 mx1.big.test", "MX 20 mx2.big.test"},
		"notbig.example": {"MX 10 mx.notbig.test"},
	}
	shape := &Shape{Default: Limits{Concurrency: 20}, Sites: map[string]Limits{"big.test": {}, "own.example": {}, "relay.example:2525": {}}}
	for _, c := range []struct {
		rcpt, site, exchangers string
		shape                  *Shape
		plan                   *message.Plan
	}{
		{"u@a.example", "mx1.big.test,mx2.big.test", "mx1.big.test mx2.big.test", nil, nil},
		{"u@b.example", "mx1.big.test,mx2.big.test", "mx1.big.test mx2.big.test", nil, nil},
		{"u@c.example", "mx3.big.test", "mx3.big.test", nil, nil},
		{"u@plain.example", "plain.example", "plain.example", nil, nil},
		{"u@gone.example", "gone.example", "", nil, nil},
		{"u@[192.0.2.7]", "[192.0.2.7]", "", nil, nil},
		{"u@a.example", "big.test", "mx1.big.test mx2.big.test", shape, nil},
		{"u@c.example", "big.test", "mx3.big.test", shape, nil},
		{"u@mixed.example", "mx.other.test,mx1.big.test", "mx.other.test mx1.big.test", shape, nil},
		{"u@notbig.example", "mx.notbig.test", "mx.notbig.test", shape, nil},
		{"u@own.example", "own.example", "", shape, nil},
		{"u@a.example", "relay.example:2525", "", shape, &message.Plan{Hosts: []string{"relay.example:2525"}}},
		{"u@a.example", "box.example:24", "", nil, &message.Plan{Via: message.ViaLMTP, Hosts: []string{"box.example:24"}}},
		{"u@a.example", "bulk", "", nil, &message.Plan{Site: "bulk"}},
		{"u@a.example", "b.example", "", nil, &message.Plan{MX: "c.example", Site: "b.example", Source: "pool"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			w := newWorld(b)
			w.set("example", answer{wait: time.Minute, Outcome: yes})
			b.resolver = resolvetest.New(t, zone)
			b.set.Shape = c.shape
			if c.plan != nil {
				plan := *c.plan
				b.hooks = []*hooks.Hook{hook("router", hooks.Route, func(*hooks.Call) (*hooks.Verdict, error) {
					p := plan
					return &hooks.Verdict{Kind: hooks.RouteTo, Plan: &p}, nil
				})}
			}
			b.start()
			b.send(nil, c.rcpt)
			time.Sleep(time.Second)
			var got []string
			for s := range b.q.lanes.bySite() {
				got = append(got, s.key.name+" "+s.key.source)
			}
			source := ""
			if c.plan != nil {
				source = c.plan.Source
			}
			expect(t, c.rcpt, got, c.site+" "+source)
			views, err := b.q.Explain(t.Context(), c.site)
			if err != nil || len(views) != 1 || strings.Join(views[0].Exchangers, " ") != c.exchangers {
				t.Errorf("%s: %+v, %v", c.rcpt, views, err)
			}
			if source != "" && fmt.Sprint(views[0].Named) != "[site by router, generation 1 source by router, generation 1]" {
				t.Errorf("named by %q", views[0].Named)
			}
			b.stop()
		})
	}
}

func TestConcurrencyIsThatOfTheProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		w := newWorld(b)
		zone := map[string][]string{}
		for i := range 10 {
			zone[fmt.Sprintf("d%d.slow.test", i)] = []string{"MX 10 mx.big.test"}
		}
		b.resolver = resolvetest.New(t, zone)
		b.set.Concurrency = 4
		w.set("slow.test", answer{wait: time.Second, Outcome: yes})
		b.start()
		for i := range 100 {
			b.send(nil, fmt.Sprintf("u%d@d%d.slow.test", i, i%10))
		}
		time.Sleep(25*time.Second + time.Millisecond)
		if n, most := w.delivered(), w.peak(""); n != 100 || most != 4 {
			t.Errorf("%d delivered, %d at once", n, most)
		}
		b.stop()
	})
}

// A DNS that does not answer holds up those who ask it, and nobody else; then the attempt says what is wrong.
func TestSlowDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		w := newWorld(b)
		b.resolver = lame{resolvetest.New(t, map[string][]string{"good.example": {"MX 10 mx.good.test"}})}
		b.start()
		for i := range 2 * maxLookups {
			b.send(nil, fmt.Sprintf("u@d%d.lame.test", i))
		}
		synctest.Wait()
		b.send(nil, "v@good.example")
		time.Sleep(lookTime - time.Millisecond)
		if !slices.Contains(w.out(), "v") {
			t.Error("v waits")
		}
		time.Sleep(time.Second)
		if n := w.delivered(); n != 2*maxLookups+1 {
			t.Errorf("%d delivered", n)
		}
		b.stop()
	})
}

// lame does not answer for some domains until its caller gives up.
type lame struct{ resolve.Resolver }

func (l lame) Lookup(ctx context.Context, name string, t resolve.Type) (resolve.Answer, error) {
	if strings.HasSuffix(name, ".lame.test") {
		<-ctx.Done()
		return resolve.Answer{}, &resolve.Error{Kind: resolve.Temporary, Name: name, Type: t, Err: ctx.Err()}
	}
	return l.Resolver.Lookup(ctx, name, t)
}

// A lane follows the DNS when its TTL is over, within bounds, and the configuration at once.
func TestSitesMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		newWorld(b)
		dns := resolvetest.New(t, map[string][]string{"a.example": {"MX 10 mx.old.test"}})
		b.resolver = dns
		b.start()
		where := func() string {
			b.send(nil, "u@a.example")
			time.Sleep(time.Millisecond)
			_, s := b.q.lanes.peek("mx:a.example")
			return s.key.name
		}
		var got []string
		got = append(got, where())
		dns.Set("a.example", "MX 10 mx.new.test")
		got = append(got, where())
		time.Sleep(mostPlaced)
		got = append(got, where()) // goes by what was known, and has it looked up
		got = append(got, where())
		b.change(func(s *Settings) {
			s.Shape = &Shape{Default: Limits{Concurrency: 20}, Sites: map[string]Limits{"new.test": {Concurrency: 7}}}
		})
		asked := len(dns.Asked())
		got = append(got, where())
		if len(dns.Asked()) != asked {
			t.Errorf("the DNS was asked: %s", dns.Asked())
		}
		expect(t, "sites", got, "mx.old.test", "mx.old.test", "mx.new.test", "mx.new.test", "new.test")
		if n := len(b.q.lanes.all()); n != 1 {
			t.Errorf("%d sites are left", n)
		}
		b.stop()
	})
}

// What a site may get in a time, from the first message on; a change of the configuration counts at once.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		w := newWorld(b)
		w.set("slow.example", answer{wait: 3 * time.Second, Outcome: yes})
		b.set.Shape = &Shape{Default: Limits{Concurrency: 20}, Sites: map[string]Limits{"slow.example": {Rate: Rate{60, time.Minute}, By: Origin{Rate: "stagepost.toml:12"}}}}
		b.start()
		for i := range 100 {
			b.send(nil, fmt.Sprintf("u%d@slow.example", i))
		}
		b.send(nil, "v@other.example")
		time.Sleep(29*time.Second + rateGrain)
		if got := w.times("slow.example"); len(got) != 30 {
			t.Errorf("%d in 30 s: %v", len(got), got)
		}
		for i, at := range w.times("slow.example") {
			if want := time.Duration(i) * time.Second; at > want || at < want-rateGrain {
				t.Errorf("message %d at %v", i, at)
			}
		}
		if at := w.times("other.example")[0]; at != 0 {
			t.Errorf("the other site waited for %v", at)
		}
		v, err := b.q.Explain(t.Context(), "slow.example")
		if err != nil || len(v) != 1 || v[0].Waiting[""] != 70 || v[0].Next.IsZero() || !slices.Contains(v[0].Limits, LimitView{"rate", "60 in 1m0s", "stagepost.toml:12"}) || !slices.Contains(v[0].Limits, LimitView{"concurrency", "20", "default"}) {
			t.Errorf("%+v, %v", v, err)
		}
		b.change(func(s *Settings) { s.Shape = &Shape{Default: Limits{Concurrency: 20}} })
		time.Sleep(15 * time.Second)
		if n := w.delivered(); n != 101 {
			t.Errorf("%d delivered after the change", n)
		}
		b.stop()
	})
}

// A site can be suspended, whatever domains lead there, and with jobs in memory.
func TestSuspendedSite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		w := newWorld(b)
		b.set.Concurrency = 1
		zone := map[string][]string{"other.test": {"MX 10 mx.other.test"}}
		for i := range 3 {
			zone[fmt.Sprintf("d%d.slow.test", i)] = []string{"MX 10 mx.big.test"}
		}
		b.resolver = resolvetest.New(t, zone)
		w.set("slow.test", answer{wait: time.Second, Outcome: yes})
		b.start()
		for i := range 30 {
			b.send(nil, fmt.Sprintf("s%d@d%d.slow.test", i, i%3))
		}
		time.Sleep(3500 * time.Millisecond)
		if err := b.q.Suspend(t.Context(), Suspension{Kind: SuspendSite, Name: "mx.big.test", Since: time.Now()}); err != nil {
			t.Fatal(err)
		}
		b.send(nil, "s@d1.slow.test")
		b.send(nil, "v@other.test")
		time.Sleep(2 * time.Hour)
		if got := w.out(); len(got) != 5 || !slices.Contains(got, "v") { // the one that ran came to its end
			t.Errorf("sent %v", got)
		}
		if n := b.q.flights.count(); n != 0 {
			t.Errorf("%d flights", n)
		}
		if v, err := b.q.Explain(t.Context(), "d1.slow.test"); err != nil || len(v) != 1 || len(v[0].Suspended) != 1 {
			t.Errorf("%+v, %v", v, err)
		}
		if err := b.q.Resume(t.Context(), SuspendSite, "mx.big.test"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := len(w.out()); n != 32 {
			t.Errorf("%d sent", n)
		}
		expect(t, "store", b.states())
		b.stop()
	})
}

// What is known of lanes and sites is bounded.
func TestLanesAreBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 25,000 messages")
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		newWorld(b)
		b.start()
		for i := range maxLanes + 5000 {
			b.send(nil, fmt.Sprintf("u@d%d.example", i))
			if i%1000 == 0 {
				time.Sleep(time.Second)
			}
		}
		time.Sleep(time.Minute)
		n := 0
		for i := range b.q.lanes.shards {
			sh := &b.q.lanes.shards[i]
			sh.mu.Lock()
			n += len(sh.lanes)
			sh.mu.Unlock()
		}
		if s := len(b.q.lanes.all()); n > maxLanes || s != n {
			t.Errorf("%d lanes, %d sites", n, s)
		}
		expect(t, "store", b.states())
		b.stop()
	})
}

// What is set for a site comes to the sender, and the words for encryption to hosts that plans name.
func TestJobsOfASite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		w := newWorld(b)
		b.set.Shape = &Shape{Default: Limits{Concurrency: 2, ConnectionMessages: 50, Prefer: "any"}, Sites: map[string]Limits{"few.example": {ConnectionMessages: 3, Prefer: "ipv6", TLS: message.TLSRequired}, "relay.example:587": {TLS: message.TLSVerified}}}
		b.start()
		b.send(nil, "u@few.example")
		time.Sleep(time.Second)
		b.send(nil, "u@other.example")
		time.Sleep(time.Second)
		if len(w.asked()) != 2 || w.asked()[0].ConnectionMessages != 3 || w.asked()[1].ConnectionMessages != 50 || w.asked()[0].Prefer != "ipv6" || w.asked()[1].Prefer != "any" {
			t.Errorf("%+v", w.asked())
		}
		for i, want := range []message.TLSLevel{message.TLSRequired, ""} {
			if j := w.asked()[i]; j.TLS != want || j.HostTLS("relay.example:587") != message.TLSVerified || j.HostTLS("other.example:25") != "" {
				t.Errorf("%q, and for hosts %q and %q", j.TLS, j.HostTLS("relay.example:587"), j.HostTLS("other.example:25"))
			}
		}
		b.stop()
	})
}
