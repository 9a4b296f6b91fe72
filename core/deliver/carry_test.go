package deliver

import (
	"context"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
)

// carried is a Carrier that answers what it is told.
type carried struct {
	answers []message.Outcome
	got     *Job
}

func (c *carried) Carry(_ context.Context, j *Job) []message.Outcome {
	c.got = j
	return c.answers
}

func (c *carried) String() string { return "pipe /bin/x" }

// by has a job go by the transport box, and returns its outcomes and its record.
func by(t *testing.T, s *Sender, j *Job) (outcomes, record string) {
	t.Helper()
	j.Plan = &message.Plan{Via: "box", Transport: true}
	var steps []string
	j.Record = func(s observe.Step) { steps = append(steps, s.Stage+" "+s.Verdict+": "+s.Detail) }
	return briefs(s.Send(t.Context(), j)), strings.Join(steps, "\n")
}

func TestCarrier(t *testing.T) {
	yes := message.Outcome{Result: message.Delivered, Host: "transport:box", Reply: smtp.NewReply(250, "2.0.0", "delivered by /bin/x")}
	no := message.Outcome{Result: message.Failed, Host: "transport:box", Reply: smtp.NewReply(550, "5.1.1", "unknown\x1b")}
	for _, tt := range []struct {
		name             string
		answers          []message.Outcome
		outcomes, record string
	}{
		{"delivered", []message.Outcome{yes, yes}, "delivered, delivered", "deliver delivered: transport:box (pipe /bin/x), 250 2.0.0 delivered by /bin/x"},
		{"mixed", []message.Outcome{yes, no}, "delivered, failed 550 5.1.1", "deliver failed 550 5.1.1: transport:box (pipe /bin/x), 550 5.1.1 unknown?; 1 delivered, 0 deferred, 1 failed"},
		{"too few", []message.Outcome{yes}, "delivered, deferred 451 4.3.0", "deliver deferred 451 4.3.0: transport:box (pipe /bin/x), 451 4.3.0 pipe /bin/x gave no answer for this recipient; 1 delivered, 1 deferred, 0 failed"},
		{"nothing", nil, "deferred 451 4.3.0, deferred 451 4.3.0", "deliver deferred 451 4.3.0: transport:box (pipe /bin/x), 451 4.3.0 pipe /bin/x gave no answer for this recipient; 0 delivered, 2 deferred, 0 failed"},
	} {
		c := &carried{answers: tt.answers}
		s := newSender(t, nil, Options{Transport: func(name string) (Transport, bool) { return Transport{Carrier: c}, name == "box" }})
		outcomes, record := by(t, s, newJob(t, memory(plain), "a@y.test", "b@y.test"))
		if outcomes != tt.outcomes || record != tt.record {
			t.Errorf("%s: %s\n%s\nwant %s\n%s", tt.name, outcomes, record, tt.outcomes, tt.record)
		}
	}
}

// TestUnknownTransport: it may be there after the next reload, so nothing is final.
func TestUnknownTransport(t *testing.T) {
	outcomes, record := by(t, newSender(t, nil, Options{}), newJob(t, memory(plain), "a@y.test"))
	if outcomes != "deferred 451 4.3.5" || record != "deliver deferred 451 4.3.5: the transport box: 451 4.3.5 the route names the transport box, but the configuration has no [transport.box]" {
		t.Errorf("%s\n%s", outcomes, record)
	}
}

// TestSocket speaks LMTP on a socket, with a reply for each recipient, and keeps the connection.
func TestSocket(t *testing.T) {
	remote := remotetest.New(t, remotetest.Script{"LHLO": "250-box\n250-PIPELINING\n250 SIZE", "RCPT <b@y.test>": "550 5.1.1 unknown"})
	network := &remotetest.Net{Remotes: map[string]*remotetest.Remote{"/run/lmtp": remote}}
	s := newSender(t, network, Options{Transport: func(string) (Transport, bool) { return Transport{Socket: "/run/lmtp"}, true }})
	for _, how := range []string{"new", "reused"} {
		outcomes, record := by(t, s, newJob(t, memory(plain), "a@y.test", "b@y.test"))
		if outcomes != "delivered, failed 550 5.1.1" || !strings.HasPrefix(record, "deliver failed 550 5.1.1: unix:/run/lmtp "+how+", 550 5.1.1 unknown (in reply to RCPT); 1 delivered, 0 deferred, 1 failed") {
			t.Errorf("%s\n%s", outcomes, record)
		}
	}
	if got := verbs(remote.Conns()[0].Commands()); got != "LHLO MAIL RCPT RCPT DATA . MAIL RCPT RCPT DATA ." {
		t.Errorf("commands %s", got)
	}
	gone := newSender(t, &remotetest.Net{}, Options{Transport: func(string) (Transport, bool) { return Transport{Socket: "/run/lmtp"}, true }})
	j := newJob(t, memory(plain), "a@y.test")
	j.Plan = &message.Plan{Via: "box", Transport: true}
	if o := gone.Send(t.Context(), j)[0]; brief(o) != "deferred 451 4.4.1" || !o.Away {
		t.Errorf("%+v", o)
	}
}
