package e2e

import (
	"strings"
	"testing"
)

// TestHands changes deferred messages by hand: one is held, and released after a crash; one is retried; one is deleted. What a
// command said is done outlives the crash.
func TestHands(t *testing.T) {
	sink := newSink(t)
	sink.refuses("RCPT", "451 4.3.0 not now")
	s := newSite(t, strings.Replace(relayConfig(sink.address), `retry = ["1s"]`, `retry = ["1h"]`, 1))
	sv := s.start()
	c := dial(t, sv.address("mx"))
	held := c.deliver(t, "held@example.net", "<held@client.example>")
	retried := c.deliver(t, "retried@example.net", "<retried@client.example>")
	deleted := c.deliver(t, "deleted@example.net", "<deleted@client.example>")
	eventually(t, "all are deferred", func() (bool, any) {
		q := s.status().Queue
		return q.Deferred == 3, q
	})
	if out := s.want(0, "queue", "hold", "--reason", "a look first", held); out != held+" held\n" {
		t.Errorf("queue hold: %q", out)
	}
	s.want(0, "queue", "delete", deleted)
	sink.refuses("RCPT", "")
	s.want(0, "queue", "retry", retried)
	sink.text("<retried@client.example>")
	eventually(t, "its delivery is marked", func() (bool, any) {
		q := s.status().Queue
		return q.Messages == 1, q
	})
	s.want(0, "trace", retried) // writes all records, which are else written a moment later
	sv.kill()

	sv = s.start()
	if out := s.want(0, "queue", "show", held); !strings.Contains(out, "held: a look first") {
		t.Errorf("queue show: %s", out)
	}
	if q := s.status().Queue; q.Messages != 1 || q.Held != 1 {
		t.Errorf("after the crash: %+v", q)
	}
	sink.exactly([]string{"<retried@client.example>"})
	if out := s.want(exitNoInput, "queue", "release", deleted, held); !strings.Contains(out, held+" released\n") || !strings.Contains(out, deleted+" is not in the queue") {
		t.Errorf("queue release: %s", out)
	}
	s.empty()
	sink.exactly([]string{"<retried@client.example>", "<held@client.example>"})
	for id, want := range map[string]string{held: "by hand: a look first", deleted: "deleted", retried: "retried"} {
		if trace := s.want(0, "trace", id); !strings.Contains(trace, want) {
			t.Errorf("the trace lacks %q:\n%s", want, trace)
		}
	}
	sv.stop()
}

// TestSuspended: mail of a domain that is suspended is taken and not tried, over a crash; a recipient of it that is sent elsewhere
// waits as well, and goes there when it is resumed.
func TestSuspended(t *testing.T) {
	sink, other := newSink(t), newSink(t)
	s := newSite(t, relayConfig(sink.address))
	sv := s.start()
	s.want(0, "queue", "suspend", "--domain", "slow.example.net", "--reason", "moving")
	c := dial(t, sv.address("mx"))
	c.deliver(t, "other@example.net", "<other@client.example>")
	sink.text("<other@client.example>")
	here := c.deliver(t, "here@slow.example.net", "<here@client.example>")
	there := c.deliver(t, "there@slow.example.net", "<there@client.example>")
	eventually(t, "both wait", func() (bool, any) {
		q := s.status().Queue
		return q.Deferred == 2, q
	})
	s.want(0, "queue", "reroute", "--to", other.address, "--recipient", "there@*")
	sv.kill()

	sv = s.start()
	if out := s.want(0, "queue", "list"); strings.Count(out, "suspended, domain slow.example.net: moving") != 2 {
		t.Errorf("queue list: %s", out)
	}
	if out := s.want(0, "mailq"); !strings.Contains(out, here) || !strings.Contains(out, " in 2 Requests.\n") {
		t.Errorf("mailq: %s", out)
	}
	if out := s.want(0, "queue", "explain", there); !strings.Contains(out, other.address+", chosen by hand") {
		t.Errorf("queue explain: %s", out)
	}
	sink.exactly([]string{"<other@client.example>"})
	s.want(0, "queue", "resume", "--domain", "slow.example.net")
	s.empty()
	sink.exactly([]string{"<other@client.example>", "<here@client.example>"})
	other.exactly([]string{"<there@client.example>"})
	sv.stop()
}
