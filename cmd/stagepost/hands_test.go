package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/queue"
	"github.com/stagepost/stagepost/core/store"
)

// hands is a queue that does what it is told, but with a message to odd@example.org, of which it says that it is not so, and with one
// to fire@example.org, at which it fails.
type hands struct {
	asked     []string
	suspended []queue.Suspension
	measures  []queue.Measure
}

func (h *hands) Handle(_ context.Context, o queue.Order, chosen []queue.Choice) (out []queue.Handled) {
	for _, c := range chosen {
		d := queue.Handled{ID: c.Envelope.ID}
		switch c.Envelope.Rcpts[0].Address.Local {
		case "odd":
			d.Err = queue.Refused("is not so: odd")
		case "fire":
			d.Err = errors.New("disk on fire")
		default:
			why := o.Reason + o.Route
			if o.Reply.Code != 0 {
				why = o.Reply.Error()
			}
			h.asked = append(h.asked, fmt.Sprint(o.Verb, " ", why, " ", len(c.Rcpts)))
			if c.Part {
				d.Rcpts = c.Rcpts
			}
		}
		out = append(out, d)
	}
	return out
}

func (h *hands) Suspend(_ context.Context, s queue.Suspension) error {
	h.suspended = append(h.suspended, s)
	return nil
}

func (h *hands) Resume(_ context.Context, kind, name string) error {
	h.suspended = slices.DeleteFunc(h.suspended, func(s queue.Suspension) bool { return s.Kind == kind && s.Name == name })
	return nil
}

func (h *hands) Measures() []queue.Measure { return h.measures }

func (h *hands) Suspensions() []queue.Suspension { return slices.Clone(h.suspended) }

func (h *hands) Explain(_ context.Context, name string) ([]queue.SiteView, error) {
	if name == "none.example" {
		return nil, errors.New("no mail goes to none.example now")
	}
	return []queue.SiteView{
		{Site: "example.org", Exchangers: []string{"mx1.example.org", "mx2.example.org"}, Lanes: []string{"mx:example.org"}, Named: []string{"site by route, generation 3"}, Attempts: 1, Allowed: 5,
			Limits:  []queue.LimitView{{Name: "concurrency", Value: "20", By: "stagepost.toml:12"}, {Name: "rate", Value: "10/s", By: "default"}},
			Waiting: map[string]int{"": 3, "acme": 2}, Next: noon.Add(2 * time.Second), Failures: 2, Asleep: noon.Add(time.Minute), Why: "connection refused"},
		{Site: "example.org", Source: "pool", Failures: 1, Probing: true, Why: "no answer", Suspended: []queue.Suspension{{Kind: "next-hop", Name: "mx:example.org", Reason: "moving", Until: noon.Add(time.Hour)}, {Kind: "site", Name: "example.org", By: "shaping", Until: noon.Add(time.Hour)}},
			Measures: []queue.Measure{{Scope: queue.Scope{Site: "example.org", Source: "pool"}, Effect: "suspended", By: "shaping", Rule: "rules.toml:12", Reason: "too many", Until: noon.Add(time.Hour)}}},
	}, nil
}

func (h *hands) SiteOf(_ context.Context, lane store.Lane) string { return lane }

func TestExplain(t *testing.T) {
	s := newSite(t, minimal)
	st := s.serve(func(o *admin.Options) { o.Hands = &hands{} })
	id := put(t, st, "a@example.net", "x", "u@example.org", "v@example.org")
	ch := store.Change{ID: id, Rcpts: []store.RcptChange{{RcptState: store.RcptState{Result: message.Deferred, Lane: "mx:example.org", Route: "smtp:relay:25", Next: noon.Add(time.Hour), Last: message.Last{Code: 451, Text: "later"}}}}}
	if _, err := st.Update(t.Context(), nil, ch); err != nil {
		t.Fatal(err)
	}
	site := "exchangers   mx1.example.org, mx2.example.org\nnext hops    mx:example.org\nlimit        concurrency = 20 (stagepost.toml:12)\nlimit        rate = 10/s (default)\n" +
		"attempts     1 run, 5 may at once\nwaiting      3, 2 of tenant acme\nrate         the next message may go in 2s\n" +
		"back-off     nobody answered 2 times in a row; nothing is tried until " + moment(noon.Add(time.Minute), noon) + "; the last was: connection refused\n\nsite         example.org\nsource       pool\n"
	s.want(s.run("queue", "explain", "example.org"), 0, "site         example.org\nnamed        site by route, generation 3\n"+site,
		"the next attempt tells whether it answers again; the last was: no answer\n", "suspended    next-hop mx:example.org: moving, until "+moment(noon.Add(time.Hour), noon),
		"measure      site example.org from pool: suspended until "+moment(noon.Add(time.Hour), noon)+", by shaping (rules.toml:12): too many\n")
	s.want(s.run("queue", "explain", id.String()), 0, "message "+id.String()+" from a@example.net is deferred\n", "  u@example.org: deferred; the next attempt is due in 1h; to smtp:relay:25, chosen by hand; the last answer was: 451 later\n",
		"  v@example.org: active; it is due, and waits for its turn; not routed yet\n", site)
	s.want(s.run("queue", "explain", "example.org", "--json"), 0, `{"sites":[{"site":"example.org","lanes":["mx:example.org"],`)
	s.want(s.run("queue", "explain", "none.example"), exitNoInput, "no mail goes to none.example now")
	s.want(s.run("queue", "explain"), exitUsage, "accepts 1 arg")
}

func (h *hands) Suspended(env *message.Envelope, i int, _ store.Lane) *queue.Suspension {
	for _, s := range h.suspended {
		if s.Name == env.Rcpts[i].Address.Domain {
			return &s
		}
	}
	return nil
}

func TestSuspendByHand(t *testing.T) {
	s := newSite(t, minimal)
	x := &hands{}
	st := s.serve(func(o *admin.Options) { o.Hands = x })
	id := put(t, st, "a@example.net", "x", "u@example.org", "v@example.com").String()
	s.want(s.run("queue", "suspend"), 0, "nothing is suspended\n")
	s.want(s.run("queue", "suspend", "--domain", "Example.org", "--tenant", "acme", "--for", "2h", "--reason", "moving"), 0,
		"suspended domain example.org until "+moment(noon.Add(2*time.Hour), noon)+"\n", "suspended tenant acme until")
	s.want(s.run("queue", "suspend", "--sender", "<>"), 0, "suspended sender <> until it is resumed\n")
	s.want(s.run("queue", "suspend", "--list"), 0, "domain example.org  "+moment(noon, noon), "(in 2h)", "moving", "sender <>")
	s.want(s.run("queue", "suspend", "--list", "--json"), 0, `{"kind":"domain","name":"example.org","reason":"moving","since":"2026-03-01T12:00:00Z","until":"2026-03-01T14:00:00Z"}`, `{"kind":"sender","name":"","reason":"","since":"2026-03-01T12:00:00Z"}]`)
	s.want(s.run("status"), 0, "suspended: domain example.org, tenant acme, sender <>\n")
	s.want(s.run("queue", "shape", "--measures"), 0, "no measures are in force\n")
	x.measures = []queue.Measure{{Scope: queue.Scope{Site: "mx.example.org", Tenant: "acme"}, Effect: "slowed to rate 5 in 1m0s", By: "shaping", Rule: "rules.toml:12", Reason: "too many", Since: noon, Until: noon.Add(time.Hour)}}
	s.want(s.run("queue", "shape", "--measures"), 0, "site mx.example.org, tenant acme  slowed to rate 5 in 1m0s  "+moment(noon.Add(time.Hour), noon)+"  shaping (rules.toml:12): too many\n")
	s.want(s.run("queue", "shape", "--measures", "--json"), 0, `[{"do":"","effect":"slowed to rate 5 in 1m0s","site":"mx.example.org","tenant":"acme","by":"shaping","rule":"rules.toml:12","reason":"too many"`)
	s.want(s.run("queue", "shape", "--measures", "--by", "site"), exitUsage, "--measures stands alone")
	x.measures = nil
	s.want(s.run("queue", "list"), 0, "suspended, domain example.org: moving\n")
	s.want(s.run("queue", "show", id), 0, "suspended, domain example.org: moving", "v@example.com")
	s.want(s.run("queue", "resume", "--domain", "example.net"), exitNoInput, "domain example.net is not suspended; this lists what is: stagepost queue suspend --list")
	s.want(s.run("queue", "resume", "--domain", "example.org", "--json"), 0, `[{"kind":"domain","name":"example.org"`)
	s.want(s.run("queue", "resume", "--all"), 0, "resumed tenant acme\nresumed sender <>\n")
	s.want(s.run("queue", "resume", "--all"), 0, "nothing is suspended\n")
	for args, want := range map[string]string{
		"suspend --for 2h": "name what is to be suspended", "suspend --list --domain x": "--list alone", "suspend --domain x --for 2x": "not a duration", "suspend --sender x": "--sender: \"x\" is no address",
		"resume": "name what is to be resumed", "resume --all --domain x": "--all alone",
	} {
		s.want(s.run(append([]string{"queue"}, strings.Fields(args)...)...), exitUsage, want)
	}
}

func TestQueueByHand(t *testing.T) {
	s := newSite(t, minimal)
	for _, v := range queue.Verbs() {
		if v == queue.Reroute {
			continue
		}
		s.want(s.run("queue", string(v), "0000000000000000"), exitUnavailable, "no server is running")
		s.want(s.run("queue", string(v)), exitUsage, "needs the ids of messages, flags that choose some, or --all", "see: stagepost queue "+string(v))
		s.want(s.run("queue", string(v), "--limit", "3"), exitUsage, "or --all")
		s.want(s.run("queue", string(v), "--sender", "example.org"), exitUsage, "*@example.org")
	}
	s.want(s.run("queue", "reroute", "--all"), exitUsage, "say where with --to host:port, or --clear")
	s.want(s.run("queue", "reroute", "--all", "--to", "x:y"), exitUsage, "--to: ")
	s.want(s.run("queue", "bounce", "--reply", "450 later", "--all"), exitUsage, "5yz")
	s.want(s.run("queue", "list", "--older", "x"), exitUsage, "not a duration")
	x := &hands{}
	st := s.serve(func(o *admin.Options) { o.Hands = x })
	one, two := put(t, st, "a@example.net", "x", "u@example.org", "v@example.com").String(), put(t, st, "", "x", "odd@example.org").String()
	none := "0000000000000003"
	exactly := func(r result, code int, out, errs string) {
		t.Helper()
		if r.code != code || r.out != out || r.err != errs {
			t.Errorf("exit code %d, output %q, errors %q; want %d, %q, %q", r.code, r.out, r.err, code, out, errs)
		}
	}
	gone := "message " + none + " is not in the queue; if it was here, this says what became of it: stagepost trace " + none + "\n"
	odd := "message " + two + " is not so: odd\n"
	exactly(s.run("queue", "hold", one), 0, one+" held\n", "")
	exactly(s.run("queue", "hold", "--reason", "a look", one), 0, one+" held\n", "")
	exactly(s.run("queue", "release", one, "--dry-run"), 0, one+" would be released\n", "")
	exactly(s.run("queue", "bounce", one, "--reply", "5.1.1 no", "--domain", "example.com"), 0, one+" bounced\n", "")
	exactly(s.run("queue", "delete", one), 0, one+" deleted\n", "")
	exactly(s.run("queue", "reroute", "--to", "mx:Example.com", one), 0, one+" rerouted\n", "")
	exactly(s.run("queue", "reroute", "--clear", one), 0, one+" rerouted\n", "")
	if got, want := x.asked, []string{"hold  2", "hold a look 2", "release  2", "bounce 550 5.1.1 no 1", "delete  2", "reroute mx:example.com 2", "reroute  2"}; !slices.Equal(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}
	exactly(s.run("queue", "retry", none), exitNoInput, "", gone)
	exactly(s.run("queue", "retry", two), exitData, "", odd)
	exactly(s.run("queue", "retry", "x\x1b"), exitData, "", "\"x\\x1b\" is not the id of a message: "+
		"a message id has 16 characters of 0-9 and a-z without i, l, o, u; stagepost queue list shows the ids\n")
	exactly(s.run("queue", "retry", none, one, two), exitNoInput, one+" retried\n", gone+odd+"queue retry failed for 2 of 3 messages\n")
	exactly(s.run("queue", "retry", one, two, none), exitData, one+" retried\n", odd+gone+"queue retry failed for 2 of 3 messages\n")
	exactly(s.run("queue", "hold", "--reason", strings.Repeat("x", 501), one), exitData, "", "a reason is one line of at most 500 bytes\n")

	input := func(in string, args ...string) result { return s.runInput(in, append(args, "--config", s.config)...) }
	exactly(input(" "+one+"\n\n"+none+"\t"+one, "queue", "retry", "-"), exitNoInput, one+" retried\n"+one+" retried\n", gone+"queue retry failed for 1 of 3 messages\n")
	exactly(input("", "queue", "retry", "-"), 0, "", "")
	exactly(input(strings.Repeat("x", 1<<20), "queue", "retry", "-"), exitIO, "", "standard input cannot be read: bufio.Scanner: token too long\n")
	if r := input(strings.Repeat(one+" ", 2*admin.MaxIDs+1), "queue", "retry", "-"); r.code != 0 || strings.Count(r.out, one+" retried\n") != 2*admin.MaxIDs+1 {
		t.Errorf("many ids: %d, %d lines, %q", r.code, strings.Count(r.out, "\n"), r.err)
	}

	exactly(s.run("queue", "retry", one, none, "--json"), exitNoInput, `{"id":"`+one+`","result":"retried"}`+"\n"+
		`{"id":"`+none+`","error":"message `+none+` is not in the queue","hint":"if it was here, this says what became of it: stagepost trace `+none+`"}`+"\n",
		"queue retry failed for 1 of 2 messages\n")
}

func TestQueueByChoice(t *testing.T) {
	s := newSite(t, minimal)
	st := s.serve(func(o *admin.Options) { o.Hands = &hands{} })
	s.want(s.run("queue", "list", "--state", "held"), 0, "no message is like that")
	one := put(t, st, "a@example.net", "x", "u@example.org", "v@example.com", "w@example.com").String()
	two := put(t, st, "b@example.net", "x", "u@example.org").String()
	put(t, st, "b@example.net", "x", "odd@example.org")
	exactly := func(r result, code int, out, errs string) {
		t.Helper()
		if r.code != code || r.out != out || r.err != errs {
			t.Errorf("exit code %d, output %q, errors %q; want %d, %q, %q", r.code, r.out, r.err, code, out, errs)
		}
	}
	s.want(s.run("queue", "list", "--sender", "A@*"), 0, one, "!"+two)
	exactly(s.run("queue", "retry", "--all"), 0, "retried 2 messages\n1 message left as it was: it is not so\n", "")
	exactly(s.run("queue", "retry", "--sender", "a@*"), 0, "retried 1 message\n", "")
	exactly(s.run("queue", "bounce", "--domain", "example.com"), 0, "bounced 2 recipients of 1 message\n", "")
	exactly(s.run("queue", "bounce", "--domain", "example.com", "--dry-run"), 0, "2 recipients of 1 message would be bounced\n", "")
	exactly(s.run("queue", "hold", "--of-reason", "nobody says that"), 0, "no message is like that\n", "")
	exactly(s.run("queue", "delete", "--domain", "example.com", "--sender", "a@example.net", "--sender", "b@example.net", "--json"), 0,
		`{"id":"`+one+`","result":"deleted","recipients":["v@example.com","w@example.com"]}`+"\n", "")
	exactly(s.run("queue", "retry", "--all", "--dry-run", "--limit", "1"), 0, "1 message would be retried\n", "")
	put(t, st, "c@example.net", "x", "fire@example.org")
	exactly(s.run("queue", "retry", "--all"), exitSoftware, "", "retried 2 messages, then: disk on fire\n")
}

// stopped is a queue that is in the middle of its work when somebody interrupts the command.
type stopped struct {
	hands
	interrupt func()
}

func (h *stopped) Handle(ctx context.Context, o queue.Order, chosen []queue.Choice) []queue.Handled {
	h.interrupt()
	<-ctx.Done()
	return h.hands.Handle(ctx, o, chosen)
}

// TestInterrupt: a command that is interrupted stops the server's work, and says what was done.
func TestInterrupt(t *testing.T) {
	s := newSite(t, minimal)
	ctx, interrupt := context.WithCancel(t.Context())
	st := s.serve(func(o *admin.Options) { o.Hands = &stopped{interrupt: interrupt} })
	for range 3 {
		put(t, st, "a@example.net", "x", "u@example.org")
	}
	var out, errs strings.Builder
	a := s.app
	if code := run(ctx, &a, []string{"queue", "retry", "--all", "--config", s.config}, strings.NewReader(""), &out, &errs); code != exitTemporary || out.String() != "" || errs.String() != "stopped: retried 3 messages\n" {
		t.Errorf("exit code %d, output %q, errors %q", code, out.String(), errs.String())
	}
}

func TestBar(t *testing.T) {
	p := admin.Progress{Total: 4000, Looked: 1000}
	if got, want := barLine(&p, "held 900 messages", 2*time.Second), "[#####...............]  25 %  held 900 messages, 500/s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	p.Looked = 5000 // more came
	if got, want := barLine(&p, "held 5000 messages", time.Second), "[####################] 100 %  held 5000 messages, 5000/s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
