package deliver

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
	"github.com/stagepost/stagepost/core/message"
)

// sources are those of a configuration: one with addresses of both families, one with IPv6 alone.
func sources(name string) (Source, bool) {
	s, ok := map[string]Source{
		"pool": {Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.101"), netip.MustParseAddr("2001:db8::101"), netip.MustParseAddr("192.0.2.102")}, Helo: "pool.x.test"},
		"six":  {Addrs: []netip.Addr{netip.MustParseAddr("2001:db8::106")}},
		"gone": {Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.199")}},
	}[name]
	return s, ok
}

func TestSources(t *testing.T) {
	mx := remotetest.New(t)
	network := &remotetest.Net{Remotes: map[string]*remotetest.Remote{"192.0.2.1:25": mx}}
	var from []string
	s := newSender(t, network, Options{Source: sources, DialFrom: func(ctx context.Context, local netip.Addr, addr string) (net.Conn, error) {
		if from = append(from, local.String()); local.String() == "192.0.2.199" {
			return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("bind", syscall.EADDRNOTAVAIL)}
		}
		return network.Dial(ctx, "tcp", addr)
	}})
	for _, c := range []struct {
		source, helo string
		want         string // brief
		from         string // addresses that connections began at
		greeted      string // in the last connection to mx
		text         string // of the reply
	}{
		{source: "", want: "delivered", greeted: "EHLO out.x.test"},
		{source: "pool", want: "delivered", from: "192.0.2.102", greeted: "EHLO pool.x.test"},
		{source: "pool", want: "delivered", greeted: "EHLO pool.x.test"}, // over the same connection
		{source: "pool", helo: "other.x.test", want: "delivered", from: "192.0.2.101", greeted: "EHLO other.x.test"},
		{source: "pool", helo: "out.x.test", want: "delivered", from: "192.0.2.102", greeted: "EHLO out.x.test"}, // not over that of no source
		{source: "six", want: "deferred 451 4.4.1", text: "the source six has no address of this family"},
		{source: "gone", want: "deferred 451 4.3.5", from: "192.0.2.199 192.0.2.199", text: "192.0.2.199 of the source gone cannot be used"},
		{source: "none", want: "deferred 451 4.3.5", text: "the configuration has no [source.none]"},
	} {
		job := newJob(t, memory(plain), "u@y.test")
		job.Plan = &message.Plan{MX: "y.test", Source: c.source, Helo: c.helo}
		from = nil
		got := s.Send(t.Context(), job)[0]
		if brief(got) != c.want || strings.Join(from, " ") != c.from || !strings.Contains(got.Reply.Error(), c.text) || got.Away {
			t.Errorf("%+v: %s %q from %q, away %v", c, brief(got), got.Reply.Error(), from, got.Away)
		}
		if conns := mx.Conns(); c.greeted != "" && conns[len(conns)-1].Commands()[0] != c.greeted {
			t.Errorf("%+v: greeted with %s", c, conns[len(conns)-1].Commands()[0])
		}
	}
}

// Away says that nobody could be talked to, so that others need not try; all else is about the message or about us.
func TestAway(t *testing.T) {
	for _, c := range []struct {
		name, first, second string // actions at the banner or, after a colon, at a command; "none": no server; "well"
		want                string
		away                bool
	}{
		{"both refuse connections", "none", "none", "deferred 451 4.4.1", true},
		{"both turn away", "banner:421 4.3.2 bye", "EHLO:421 4.3.2 bye", "deferred 421 4.3.2", true},
		{"both turn away for good", "banner:554 5.7.1 no", "banner:554 5.7.1 no", "failed 554 5.7.1", false},
		{"one closes, one is not there", "banner:close", "none", "deferred 451 4.4.1", true},
		{"one is well", "none", "well", "delivered", false},
		{"one is not there, the other answers for the message", "none", "RCPT:451 4.7.1 greylisted", "deferred 451 4.7.1", false},
		{"one is not there, the other answers at the end", "banner:close", "dot:452 4.3.1 full", "deferred 452 4.3.1", false},
		{"one is not there, the other has enough", "none", "MAIL:421 4.3.2 bye", "deferred 421 4.3.2", false},
		{"one talks, and hangs up", "RCPT:close", "none", "deferred 451 4.4.1", false},
		{"a reply to the message", "RCPT:451 4.7.1 greylisted", "none", "deferred 451 4.7.1", false},
	} {
		network := &remotetest.Net{Remotes: map[string]*remotetest.Remote{}}
		for addr, action := range map[string]string{"192.0.2.1:25": c.first, "192.0.2.2:25": c.second} {
			if stage, does, ok := strings.Cut(action, ":"); ok {
				network.Remotes[addr] = remotetest.New(t, remotetest.Script{stage: does})
			} else if action == "well" {
				network.Remotes[addr] = remotetest.New(t)
			}
		}
		s := newSender(t, network, Options{})
		if got := s.Send(t.Context(), newJob(t, memory(plain), "u@y.test"))[0]; brief(got) != c.want || got.Away != c.away {
			t.Errorf("%s: %s, away %v", c.name, brief(got), got.Away)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := newSender(t, &remotetest.Net{}, Options{})
	if got := s.Send(ctx, newJob(t, memory(plain), "u@y.test"))[0]; got.Away {
		t.Errorf("broken off: %s, away", brief(got))
	}
}

// A site's bound on the messages of a connection stands before that of all.
func TestConnectionMessages(t *testing.T) {
	mx := remotetest.New(t)
	s := newSender(t, &remotetest.Net{Remotes: map[string]*remotetest.Remote{"192.0.2.1:25": mx}}, Options{MaxMessages: 5})
	for _, most := range []int{2, 2, 2, 0, 0} {
		job := newJob(t, memory(plain), "u@y.test")
		job.ConnectionMessages = most
		if got := s.Send(t.Context(), job); briefs(got) != "delivered" {
			t.Fatal(briefs(got))
		}
	}
	if n := len(mx.Conns()); n != 2 { // two messages, then three, of five that it may have
		t.Errorf("%d connections", n)
	}
}
