package queue

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
)

// asking gives a message what intake does for these parameters.
func asking(t testing.TB, mail, rcpt string) func(*message.Envelope) {
	return func(e *message.Envelope) {
		_, params, err := smtp.ParseMail("FROM:<>" + mail)
		if err != nil {
			t.Fatal(err)
		}
		e.Params = params
		set := Settings{}
		terms := set.terms(e, "")
		if e.NotBefore = terms.asked.NotBefore; terms.asked.By.Return {
			e.Expires = terms.asked.By.At
		}
		e.Priority = int8(terms.asked.Priority)
		for _, r := range e.Rcpts {
			if _, r.Params, err = smtp.ParseRcpt("TO:<a@b>"+rcpt, true); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestTerms: what the client asked for with MAIL and RCPT is done, and its sender is told what it wants to be told.
func TestTerms(t *testing.T) {
	passedOn := yes
	passedOn.Notifies, passedOn.Timed = true, true
	const day = 24 * time.Hour
	for _, c := range []struct {
		name       string
		mail, rcpt string
		to         string // by default u@good.example, which takes everything
		set        func(*Settings)
		after      time.Duration
		sent       []string   // attempts for to
		notices    [][]string // each: what it has to hold, or not to if it begins with "-"
		store      []string
	}{
		{name: "nobody is told of a delivery", sent: []string{"0s"}},
		{name: "relayed", rcpt: " NOTIFY=SUCCESS", sent: []string{"0s"}, notices: [][]string{{"Action: relayed", "Status: 2.0.0", "-Original-Recipient", "-\r\nbody"}}},
		{name: "delivered", rcpt: " NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x+2By@z", to: "u@good.example!", sent: []string{"0s"},
			notices: [][]string{{"Action: delivered", "Original-Recipient: rfc822; x+y@z"}}},
		{name: "by a plugin", rcpt: " NOTIFY=SUCCESS", to: "u@box.example!", notices: [][]string{{"Action: delivered"}}},
		{name: "to another server of ours", rcpt: " NOTIFY=SUCCESS", to: "u@inner.example!", sent: []string{"0s"}, notices: [][]string{{"Action: relayed"}}},
		{name: "the next hop tells", rcpt: " NOTIFY=SUCCESS", to: "u@dsn.example", sent: []string{"0s"}},
		{name: "never", rcpt: " NOTIFY=NEVER", to: "u@bad.example", sent: []string{"0s"}},
		{name: "not of failures", rcpt: " NOTIFY=SUCCESS,DELAY", to: "u@bad.example", sent: []string{"0s"}},
		{name: "of failures", mail: " ENVID=a+2Bb+3D RET=HDRS", rcpt: " NOTIFY=FAILURE ORCPT=utf-8;\\x{E9}@z", to: "u@bad.example", sent: []string{"0s"},
			notices: [][]string{{"Action: failed", "Original-Envelope-Id: a+b=\r\n", "Original-Recipient: utf-8; \\x{E9}@z", "text/rfc822-headers", "-\r\nbody"}}},
		{name: "with all of it", mail: " RET=FULL", to: "u@bad.example", sent: []string{"0s"}, notices: [][]string{{"message/rfc822", "\r\nbody"}}},
		{name: "never all of it in clear", mail: " RET=FULL REQUIRETLS", to: "u@bad.example", sent: []string{"0s"}, notices: [][]string{{"text/rfc822-headers", "-\r\nbody", "MAIL REQUIRETLS"}}},
		{name: "not of delays", rcpt: " NOTIFY=FAILURE", to: "u@slow.example", set: func(s *Settings) { s.Warn = time.Minute }, after: 10 * time.Minute,
			sent: []string{"0s", "5m0s"}, store: []string{"u@slow.example deferred"}},
		{name: "of delays", rcpt: " NOTIFY=DELAY", to: "u@slow.example", set: func(s *Settings) { s.Warn, s.Expire = time.Minute, 10*time.Minute }, after: time.Hour,
			sent: []string{"0s", "5m0s", "10m0s"}, notices: [][]string{{"Action: delayed"}}},
		{name: "in time or not at all", mail: " BY=3600;R", to: "u@slow.example", after: day, sent: []string{"0s", "5m0s", "20m0s"},
			notices: [][]string{{"Action: failed", "Status: 5.4.7"}}},
		{name: "in time", mail: " BY=3600;R", after: day, sent: []string{"0s"}},
		{name: "by a time", mail: " BY=600;N", to: "u@slow.example", after: time.Hour, sent: []string{"0s", "5m0s", "10m0s"},
			notices: [][]string{{"Action: delayed", "Status: 4.2.0"}}, store: []string{"u@slow.example deferred"}},
		{name: "told before", mail: " BY=-600;N", to: "u@slow.example", after: time.Minute, sent: []string{"0s"}, store: []string{"u@slow.example deferred"}},
		{name: "by a time, but not to be told", mail: " BY=600;N", rcpt: " NOTIFY=NEVER", to: "u@slow.example", after: 15 * time.Minute, sent: []string{"0s", "5m0s", "10m0s"},
			store: []string{"u@slow.example deferred"}},
		{name: "by a time that the next hop knows nothing of", mail: " BY=600;N", sent: []string{"0s"}, notices: [][]string{{"Action: relayed"}}},
		{name: "by a time that the next hop knows", mail: " BY=600;N", to: "u@dsn.example", sent: []string{"0s"}},
		{name: "an address for several", rcpt: " NOTIFY=SUCCESS", to: "u@good.example u2@dsn.example", sent: []string{"0s", "0s"},
			notices: [][]string{{"Action: expanded", "Final-Recipient: rfc822; team@us.example"}}},
		{name: "an address for several, in silence", to: "u@good.example u2@good.example", sent: []string{"0s", "0s"}},
		{name: "one of several fails", rcpt: " NOTIFY=SUCCESS,FAILURE", to: "u@bad.example u2@good.example", sent: []string{"0s", "0s"},
			notices: [][]string{{"Action: failed", "Final-Recipient: rfc822; team@us.example"}, {"Action: expanded", "-Action: failed"}}},
		{name: "in UTF-8", mail: " SMTPUTF8", rcpt: " ORCPT=utf-8;\\x{E9}@z", to: "u@bad.example", sent: []string{"0s"},
			notices: [][]string{{"message/global-delivery-status", "Original-Recipient: utf-8; =C3=A9@z"}}},
		{name: "traced", mail: " BY=600;NT", sent: []string{"0s"}, notices: [][]string{{"Action: relayed"}}},
		{name: "traced in silence", mail: " BY=600;NT", rcpt: " NOTIFY=NEVER", sent: []string{"0s"}},
		{name: "later", mail: " HOLDFOR=7200", after: day, sent: []string{"2h0m0s"}},
		{name: "its time runs from then on", mail: " HOLDFOR=604800", to: "u@slow.example", after: 8 * day,
			set: func(s *Settings) {
				s.Expire, s.Retry, s.Warn = 5*time.Hour, []time.Duration{2 * time.Hour}, 3*time.Hour
			},
			sent: []string{"168h0m0s", "170h0m0s", "172h0m0s", "173h0m0s"}, notices: [][]string{{"Action: delayed"}, {"Action: failed", "Status: 4.4.7"}}},
		{name: "later, and in time", mail: " HOLDFOR=3600 BY=7200;R", to: "u@slow.example", after: day, sent: []string{"1h0m0s", "1h5m0s", "1h20m0s"},
			notices: [][]string{{"Status: 5.4.7"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.set.Hostname = "mx.example"
				b.remote.answer["bad.example"] = []message.Outcome{never}
				b.remote.answer["slow.example"] = []message.Outcome{later}
				b.remote.answer["dsn.example"] = []message.Outcome{passedOn}
				b.hooks = []*hooks.Hook{hook("box", hooks.Route, func(c *hooks.Call) (*hooks.Verdict, error) {
					plan := &message.Plan{Hosts: []string{"box.example"}}
					switch {
					case c.Rcpt.Class != message.ClassLocal:
						return nil, nil
					case c.Rcpt.Address.Domain == "box.example":
						plan = &message.Plan{Via: "box"}
					case c.Rcpt.Address.Domain != "inner.example":
						plan.Via = message.ViaLMTP
					}
					return &hooks.Verdict{Kind: hooks.RouteTo, Plan: plan}, nil
				}), hook("box", hooks.Deliver, func(c *hooks.Call) (*hooks.Verdict, error) { return &hooks.Verdict{Kind: hooks.Accept}, nil })}
				if c.set != nil {
					c.set(&b.set)
				}
				b.start()
				desk := &bureau{b: b}
				b.q.Notify(desk.submit)
				if c.to == "" {
					c.to = "u@good.example"
				}
				several := strings.Fields(c.to)
				b.send(func(e *message.Envelope) {
					if asking(t, c.mail, c.rcpt)(e); len(several) > 1 {
						for _, r := range e.Rcpts {
							r.Original = parse(t, "team@us.example")
						}
					}
				}, several...)
				time.Sleep(c.after + time.Second)
				var tries []string
				for _, s := range b.remote.got() {
					if at, rest, _ := strings.Cut(s, " "); strings.Contains(rest, "<u") {
						tries = append(tries, at)
					}
				}
				expect(t, "attempts", tries, c.sent...)
				texts := desk.got()
				if len(texts) != len(c.notices) {
					t.Fatalf("%d notices, want %d: %q", len(texts), len(c.notices), texts)
				}
				for i, all := range c.notices {
					for _, want := range all {
						without, not := strings.CutPrefix(want, "-")
						if strings.Contains(texts[i], without) == not {
							t.Errorf("%q in the notice:\n%s", want, texts[i])
						}
					}
				}
				expect(t, "store", b.states(), c.store...)
				b.stop()
			})
		})
	}
}

// TestScheduledSurvivesARestart: a message that is not due yet waits on disk, whichever queue finds it there.
func TestScheduledSurvivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.remote.answer["slow.example"] = []message.Outcome{later}
		b.start()
		b.send(asking(t, " HOLDFOR=86400", ""), "u@one.example")
		b.send(asking(t, " BY=3600;R", ""), "v@slow.example")
		time.Sleep(time.Minute)
		b.stop()
		b.remote.answer["slow.example"] = nil
		time.Sleep(2 * time.Hour) // nobody is there when v's time is over
		b.start()
		time.Sleep(48 * time.Hour)
		expect(t, "sent", b.remote.got(), "0s mx:slow.example <v@slow.example>", "24h0m0s mx:one.example <u@one.example>")
		expect(t, "store", b.states(), "v@slow.example failed owed")
		b.stop()
	})
}

// TestPriority: what is urgent goes before what is not, and that goes, too.
func TestPriority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.set.Concurrency = 1
		door := make(chan struct{})
		b.remote.blocked(door)
		b.start()
		b.send(nil, "first@one.example")
		synctest.Wait()
		for i := range 10 {
			for name, priority := range map[string]int{"low": -3, "none": 0, "high": 9} {
				b.send(asking(t, fmt.Sprintf(" MT-PRIORITY=%d", priority), ""), fmt.Sprintf("%s%d@one.example", name, i))
				synctest.Wait()
			}
		}
		close(door)
		time.Sleep(time.Minute)
		var order []string
		for _, s := range b.remote.got() {
			_, s, _ = strings.Cut(s, "<")
			order = append(order, strings.TrimSuffix(s, "@one.example>"))
		}
		expect(t, "order", order[:17], "first", "high0", "none0", "high1", "high2", "none1", "high3", "high4", "none2", "high5", "high6", "none3", "low0",
			"high7", "high8", "none4", "high9")
		for _, name := range []string{"low", "none", "high"} { // among themselves they keep their order
			of := slices.DeleteFunc(slices.Clone(order), func(s string) bool { return !strings.HasPrefix(s, name) })
			if len(of) != 10 || !slices.IsSorted(of) {
				t.Errorf("%s: %q", name, of)
			}
		}
		b.stop()
	})
}

// TestToldAtOnce: of what was delivered before the reply nothing is stored, and its sender is told all the same.
func TestToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.set.Hostname = "mx.example"
		b.remote.answer["bad.example"] = []message.Outcome{never}
		b.start()
		desk := &bureau{b: b}
		b.q.Notify(desk.submit)
		w, err := b.q.Body(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(w, "Subject: x\r\n\r\nbody\r\n")
		env := &message.Envelope{ID: w.ID(), Session: &message.Session{}, Sender: parse(t, "a@a.example"), Arrived: time.Now()}
		for _, to := range []string{"u@good.example", "v@good.example", "u@bad.example"} {
			env.Rcpts = append(env.Rcpts, &message.Rcpt{Address: parse(t, to), Original: parse(t, to), Class: message.ClassRelay})
		}
		asking(t, " ENVID=me", " NOTIFY=SUCCESS")(env)
		env.Rcpts[1].Params = nil
		gen := b.q.Current.Acquire()
		defer gen.Release()
		b.q.Relay(t.Context(), gen, env, w.Content(), &message.Plan{}, &recorded{})
		w.Abort()
		texts := desk.got()
		if len(texts) != 1 || strings.Count(texts[0], "Action: relayed") != 1 || !strings.Contains(texts[0], "Final-Recipient: rfc822; u@good.example") ||
			!strings.Contains(texts[0], "Original-Envelope-Id: me") || !strings.Contains(texts[0], "Subject: x") {
			t.Errorf("told: %q", texts)
		}
		b.stop()
	})
}
