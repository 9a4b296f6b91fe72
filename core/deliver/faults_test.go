package deliver

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
	"github.com/stagepost/stagepost/core/observe"
)

// TestFaults shows for each thing that a server may do wrong what becomes of the recipient, and whether the second host is
// asked. Time is made up, so that the time-outs of RFC 5321 pass at once.
func TestFaults(t *testing.T) {
	huge := "220-" + strings.Repeat("x", 70<<10) + "\r\n220 x\r\n"
	endless := strings.Repeat("250-x\r\n", 200)
	for _, c := range []struct {
		stage, action string
		want          string
		took          time.Duration
		second        bool
	}{
		// O1: silence.
		{"banner", "silent", "delivered", 5 * time.Minute, true},
		{"EHLO", "silent", "delivered", 5 * time.Minute, true},
		{"MAIL", "silent", "delivered", 5 * time.Minute, true},
		{"RCPT", "silent", "delivered", 5 * time.Minute, true},
		{"DATA", "silent", "delivered", 2 * time.Minute, true},
		{"content 70000", "stuck", "delivered", 3 * time.Minute, true},
		{"content 10", "silent", "deferred 451 4.4.2 unknown", 10 * time.Minute, false},
		{"dot", "silent", "deferred 451 4.4.2 unknown", 10 * time.Minute, false},
		{"QUIT", "silent", "delivered", 0, false},
		// O2: the end of the connection.
		{"banner", "close", "delivered", 0, true},
		{"EHLO", "close", "delivered", 0, true},
		{"MAIL", "close", "delivered", 0, true},
		{"RCPT", "close", "delivered", 0, true},
		{"DATA", "close", "delivered", 0, true},
		{"content 70000", "close", "delivered", 0, true},
		{"dot", "close", "deferred 451 4.4.2 unknown", 0, false},
		{"QUIT", "close", "delivered", 0, false},
		// O3: 421.
		{"banner", "421 4.3.2 bye | close", "delivered", 0, true},
		{"EHLO", "421 4.3.2 bye | close", "delivered", 0, true},
		{"MAIL", "421 4.3.2 bye | close", "deferred 421 4.3.2", 0, false},
		{"RCPT", "421 4.3.2 bye | close", "deferred 421 4.3.2", 0, false},
		{"DATA", "421 4.3.2 bye | close", "deferred 421 4.3.2", 0, false},
		{"dot", "421 4.3.2 bye | close", "deferred 421 4.3.2", 0, false},
		{"RCPT", "421 4.3.2 bye | silent", "deferred 421 4.3.2", 0, false},
		// O4, O10: replies to the transaction are final for the attempt.
		{"MAIL", "451 4.7.1 greylisted", "deferred 451 4.7.1", 0, false},
		{"MAIL", "550 5.7.1 no", "failed 550 5.7.1", 0, false},
		{"RCPT", "450 4.7.1 greylisted", "deferred 450 4.7.1", 0, false},
		{"RCPT", "550 5.1.1 unknown", "failed 550 5.1.1", 0, false},
		{"RCPT", "552 5.5.3 too many", "deferred 552 5.5.3", 0, false},
		{"DATA", "451 4.3.0 later", "deferred 451 4.3.0", 0, false},
		{"DATA", "554 5.7.1 no", "failed 554 5.7.1", 0, false},
		{"dot", "451 4.3.0 later", "deferred 451 4.3.0", 0, false},
		{"dot", "552 5.3.4 too big", "failed 552 5.3.4", 0, false},
		{"dot", "550 no code", "failed 550", 0, false},
		// O5: replies that do not fit.
		{"RCPT", "354 go ahead", "delivered", 0, true},
		{"MAIL", "354 go ahead", "delivered", 0, true},
		{"DATA", "250 ok", "delivered", 0, true},
		{"dot", "354 more", "deferred 451 4.5.0 unknown", 0, false},
		{"banner", "354 what", "delivered", 0, true},
		// O6: a host that talks to nobody.
		{"banner", "554 5.3.2 no service", "delivered", 0, true},
		{"EHLO", "550 5.7.1 not you", "delivered", 0, true},
		{"EHLO", "502 5.5.1 what", "delivered", 0, false},
		{"EHLO", "451 4.3.0 later", "delivered", 0, true},
		// O7: tarpits; the whole reply must come in time.
		{"banner", "drip 220 slow", "delivered", 8 * time.Second, false},
		{"banner", "drip 220 " + strings.Repeat("x", 400), "delivered", 5 * time.Minute, true},
		// O9 and malformed replies (L10).
		{"banner", "raw " + huge, "delivered", 0, true},
		{"EHLO", "raw " + endless, "delivered", 0, true},
		{"MAIL", "raw 250 ok\n", "delivered", 0, true},
		{"MAIL", "raw nonsense\r\n", "delivered", 0, true},
		{"MAIL", "raw 099 x\r\n", "delivered", 0, true},
		{"RCPT", "raw 250-a\r\n550 b\r\n", "delivered", 0, true},
		{"dot", "raw 600 x\r\n", "deferred 451 4.5.0 unknown", 0, false},
		{"dot", "raw 250 ok", "deferred 451 4.4.2 unknown", 10 * time.Minute, false},
		{"dot", "250", "delivered", 0, false},
		// O11: taken is taken.
		{"dot", "250 2.0.0 taken | close", "delivered", 0, false},
	} {
		t.Run(c.stage+" "+c.action[:min(len(c.action), 30)], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first, second := remotetest.New(t, remotetest.Script{c.stage: c.action}), remotetest.New(t)
				network := &remotetest.Net{Remotes: map[string]*remotetest.Remote{"192.0.2.1:25": first, "192.0.2.2:25": second}}
				s := newSender(t, network, Options{})
				content := memory(plain)
				if strings.HasPrefix(c.stage, "content") {
					content = memory(plain + strings.Repeat("0123456789abcd\r\n", 20_000))
				}
				start := time.Now()
				job := newJob(t, content, "u@y.test")
				var steps []observe.Step
				job.Record = func(s observe.Step) { steps = append(steps, s) }
				got := s.Send(t.Context(), job)
				if brief(got[0]) != c.want {
					t.Errorf("outcome %q (%s), want %q", brief(got[0]), got[0].Reply.Error(), c.want)
				}
				if took := time.Since(start); took != c.took {
					t.Errorf("took %v, want %v", took, c.took)
				}
				if used := len(second.Conns()) > 0; used != c.second {
					t.Errorf("the second host was tried: %v, want %v", used, c.second)
				}
				if n := len(first.Conns()); n != 1 {
					t.Errorf("%d connections to the first host, want 1", n)
				}
				if want := 1 + len(second.Conns()); len(steps) != want {
					t.Errorf("%d steps, want %d: %v", len(steps), want, steps)
				}
				copies := len(first.Messages()) + len(second.Messages())
				if want := strings.HasPrefix(c.want, "delivered"); copies > 1 || want && copies != 1 {
					t.Errorf("%d copies arrived", copies)
				}
				for _, o := range got {
					if remote := o.Host != ""; !remote && o.Reply.Code != 451 || remote && !strings.HasPrefix(o.Host, "mx") {
						t.Errorf("said by %q: %s", o.Host, o.Reply.Error())
					}
				}
			})
		})
	}
}

// When no host is left, a host that refused for good decides only if none failed for another reason.
func TestNoHostLeft(t *testing.T) {
	refuses := remotetest.Script{"banner": "554 5.3.2 no service"}
	for _, c := range []struct {
		name          string
		first, second *remotetest.Script
		want, host    string
	}{
		{"nobody listens", nil, nil, "deferred 451 4.4.1", ""},
		{"both refuse", &refuses, &refuses, "failed 554 5.3.2", "mx2.y.test[192.0.2.2]:25"},
		{"one refuses, one is down", &refuses, nil, "deferred 451 4.4.1", ""},
		{"one is down, one refuses", nil, &refuses, "deferred 451 4.4.1", ""},
		{"one is busy, one refuses", &remotetest.Script{"banner": "421 4.3.2 busy"}, &refuses, "deferred 421 4.3.2", "mx1.y.test[192.0.2.1]:25"},
	} {
		network := &remotetest.Net{Remotes: map[string]*remotetest.Remote{}}
		for addr, script := range map[string]*remotetest.Script{"192.0.2.1:25": c.first, "192.0.2.2:25": c.second} {
			if script != nil {
				network.Remotes[addr] = remotetest.New(t, *script)
			}
		}
		got := newSender(t, network, Options{}).Send(t.Context(), newJob(t, memory(plain), "u@y.test", "v@y.test"))
		if want := c.want + ", " + c.want; briefs(got) != want || got[0].Host != c.host {
			t.Errorf("%s: %s by %q, want %s by %q", c.name, briefs(got), got[0].Host, want, c.host)
		}
		if c.host == "" && !strings.Contains(got[0].Reply.Error(), "[192.0.2.") {
			t.Errorf("%s: the reply %q does not say of which host", c.name, got[0].Reply.Error())
		}
	}
}

// A host that never answers is given up after the time for one connection.
func TestConnectTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &remotetest.Net{Remotes: map[string]*remotetest.Remote{"192.0.2.1:25": nil, "192.0.2.2:25": remotetest.New(t)}}
		start := time.Now()
		got := newSender(t, network, Options{}).Send(t.Context(), newJob(t, memory(plain), "u@y.test"))
		if took := time.Since(start); briefs(got) != "delivered" || took != 30*time.Second {
			t.Errorf("%s after %v", briefs(got), took)
		}
	})
}

// The end of the context defers, at once, until the final dot is on its way.
func TestCancel(t *testing.T) {
	for _, c := range []struct {
		stage, action string
		want          string
	}{
		{"banner", "silent", "deferred 451 4.3.2"},
		{"EHLO", "silent", "deferred 451 4.3.2"},
		{"MAIL", "silent", "deferred 451 4.3.2"},
		{"DATA", "silent", "deferred 451 4.3.2"},
		{"content 70000", "stuck", "deferred 451 4.3.2"},
		{"dot", "drip 250 2.0.0 taken", "delivered"},
		{"", "", "deferred 451 4.3.2"},
	} {
		t.Run(c.stage, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				first, second := remotetest.New(t, remotetest.Script{c.stage: c.action}), remotetest.New(t)
				network := &remotetest.Net{Remotes: map[string]*remotetest.Remote{"192.0.2.1:25": first, "192.0.2.2:25": second}}
				if c.stage == "" {
					network.Remotes["192.0.2.1:25"] = nil
				}
				content := memory(plain + strings.Repeat("0123456789abcd\r\n", 20_000))
				if c.stage == "dot" {
					content = memory(plain)
				}
				got := newSender(t, network, Options{}).Send(ctx, newJob(t, content, "u@y.test"))
				if briefs(got) != c.want || got[0].Unknown {
					t.Errorf("%s (%s), want %s", briefs(got), got[0].Reply.Error(), c.want)
				}
				if len(second.Conns()) > 0 {
					t.Error("the second host was tried")
				}
			})
		})
	}
}
