package queue

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/deliver"
	"github.com/stagepost/stagepost/core/message"
)

// TestRelayKeepsLimits: before the reply, too, a site has the family, the bound of connections and the window that the configuration says, and
// is left alone where it is suspended by its name.
func TestRelayKeepsLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.set.Shape = windowed(&spell{time.Now().Round(0), 3 * time.Hour, 5 * time.Hour}, "office.example")
		b.set.Shape.Sites["plain.example"] = Limits{ConnectionMessages: 7, Prefer: "ipv6", TLS: message.TLSRequired}
		var seen []deliver.Job
		b.remote.saw = func(j *deliver.Job) { seen = append(seen, *j) }
		b.start()
		gen := b.q.Current.Acquire()
		defer gen.Release()
		relay := func(rcpts ...string) []message.Outcome {
			env := &message.Envelope{Session: &message.Session{}}
			for _, r := range rcpts {
				env.Rcpts = append(env.Rcpts, &message.Rcpt{Address: parse(t, r), Class: message.ClassRelay})
			}
			return b.q.Relay(t.Context(), gen, env, memoryContent("x"), &message.Plan{}, &recorded{})
		}
		out := relay("u@plain.example", "u@office.example")
		if len(seen) != 1 || seen[0].ConnectionMessages != 7 || seen[0].Prefer != "ipv6" || seen[0].TLS != message.TLSRequired || out[0].Result != message.Delivered {
			t.Errorf("%+v: %+v", seen, out)
		}
		if out[1].Result != message.Deferred || !strings.Contains(out[1].Reply.Error(), "the window of this site") {
			t.Errorf("out of its window: %+v", out[1])
		}
		b.suspend(SuspendSite, "plain.example", 0)
		if out = relay("u@plain.example"); out[0].Reply.Error() != "451 4.3.2 delivery there is suspended" {
			t.Errorf("suspended: %+v", out[0])
		}
		b.stop()
	})
}

// TestRelayWarmsUp: a message counts once for each transaction, to the site that it goes to; one that nobody answered for does not.
func TestRelayWarmsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		today := time.Unix(dayOf(time.Now())*86400, 0).UTC()
		b.set.Shape = &Shape{Warmups: map[string]*Warmup{"new": {Start: today, Daily: []int{3}, SiteDaily: []int{2}}}}
		b.remote.answer["away.example"] = []message.Outcome{nobody}
		b.start()
		gen := b.q.Current.Acquire()
		defer gen.Release()
		relay := func(domain string) message.Outcome {
			env := &message.Envelope{Session: &message.Session{}}
			for _, u := range []string{"a@", "b@"} {
				env.Rcpts = append(env.Rcpts, &message.Rcpt{Address: parse(t, u+domain), Class: message.ClassRelay})
			}
			return b.q.Relay(t.Context(), gen, env, memoryContent("x"), &message.Plan{Source: "new"}, &recorded{})[0]
		}
		full := func(site string) bool { return b.q.ramps.full(b.set.Shape.Warmups["new"], "new", site) }
		for range 5 {
			relay("away.example")
		}
		for i, domain := range []string{"one.example", "one.example", "two.example"} {
			if o := relay(domain); o.Result != message.Delivered {
				t.Errorf("message %d: %+v", i, o)
			}
			if full("one.example") != (i > 0) {
				t.Errorf("message %d: the site is full: %v", i, full("one.example"))
			}
		}
		if o := relay("two.example"); !strings.Contains(o.Reply.Error(), "may send no more today") {
			t.Errorf("one too many: %+v", o)
		}
		b.stop()
	})
}
