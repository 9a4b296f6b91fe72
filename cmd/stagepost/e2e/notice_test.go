package e2e

import (
	"strings"
	"testing"
)

// TestNotice lets a next hop refuse a recipient for good: the sender gets one notice that names it, the other recipient gets
// the message, and nothing stays behind. A notice that cannot be delivered makes no other.
func TestNotice(t *testing.T) {
	bad, good := newSink(t), newSink(t)
	bad.refuses("RCPT", "550 5.1.1 no such mailbox here")
	s := newSite(t, relayConfig(good.address)+"\n[plugin.route.domains]\n\"example.net\" = \""+bad.address+"\"\n")
	sv := s.start()
	c := dial(t, sv.address("mx"))
	for _, line := range []string{"MAIL FROM:<a@client.example>", "RCPT TO:<gone@example.net>", "RCPT TO:<here@example.com>"} {
		c.want(t, line, "250")
	}
	c.want(t, "DATA", "354")
	reply, err := c.ask(letter("<one@client.example>") + ".")
	if err != nil {
		t.Fatal(err)
	}
	id := queued(t, reply)
	eventually(t, "the notice is delivered", func() (bool, any) { return good.count() == 2, good.count() })
	good.mu.Lock()
	var notice string
	for mid, text := range good.content {
		if mid != "<one@client.example>" {
			notice = text
		}
	}
	good.mu.Unlock()
	for _, want := range []string{"To: <a@client.example>", "report-type=delivery-status", "Final-Recipient: rfc822; gone@example.net", "Status: 5.1.1",
		"550 5.1.1 no such mailbox here", "Auto-Submitted: auto-replied", "Message-ID: <one@client.example>"} {
		if !strings.Contains(notice, want) {
			t.Errorf("the notice lacks %q:\n%s", want, notice)
		}
	}
	s.empty()
	if trace := s.want(0, "trace", id); !strings.Contains(trace, "failed notice to <a@client.example>") {
		t.Errorf("the trace does not tell of the notice:\n%s", trace)
	}

	// The sender of the next one cannot be told: its notice is refused too, and that is the end of it.
	c.want(t, "MAIL FROM:<nobody@example.net>", "250")
	c.want(t, "RCPT TO:<gone@example.net>", "250")
	c.want(t, "DATA", "354")
	if _, err := c.ask(letter("<two@client.example>") + "."); err != nil {
		t.Fatal(err)
	}
	s.empty()
	if n := good.count(); n != 2 {
		t.Errorf("the good next hop has %d messages, want 2", n)
	}
	sv.stop()
}

// TestLateNotice lets a next hop put a message off until it expires: its sender is told once that it is late and once that it was
// given up, over a crash too, and the null sender of another is told nothing.
func TestLateNotice(t *testing.T) {
	slow, good := newSink(t), newSink(t)
	slow.refuses("RCPT", "451 4.2.0 mailbox is busy")
	config := relayConfig(good.address) + "\n[plugin.route.domains]\n\"example.net\" = \"" + slow.address + "\"\n"
	s := newSite(t, strings.Replace(config, `retry = ["1s"]`, "retry = [\"1s\"]\nwarn = \"1s\"\nexpire = \"8s\"", 1))
	sv := s.start()
	c := dial(t, sv.address("mx"))
	for _, sender := range []string{"a@client.example", ""} {
		c.want(t, "MAIL FROM:<"+sender+">", "250")
		c.want(t, "RCPT TO:<late@example.net>", "250")
		c.want(t, "DATA", "354")
		c.want(t, letter("<late@client.example>")+".", "250")
	}
	eventually(t, "the sender is told of the delay", func() (bool, any) { return good.count() == 1, good.count() })
	sv.kill()
	sv = s.start()
	s.empty()
	good.mu.Lock()
	defer good.mu.Unlock()
	var delayed, failed int
	for _, text := range good.content {
		for _, want := range []string{"To: <a@client.example>", "Final-Recipient: rfc822; late@example.net", "451 4.2.0 mailbox is busy"} {
			if !strings.Contains(text, want) {
				t.Errorf("a notice lacks %q:\n%s", want, text)
			}
		}
		switch {
		case strings.Contains(text, "\r\nAction: delayed\r\n") && strings.Contains(text, "\r\nWill-Retry-Until: "):
			delayed++
		case strings.Contains(text, "\r\nAction: failed\r\n") && strings.Contains(text, "\r\nStatus: 4.4.7\r\n"):
			failed++
		}
	}
	if delayed != 1 || failed != 1 || len(good.content) != 2 {
		t.Errorf("%d notices of the delay, %d of the failure, %d in all, want one and one", delayed, failed, len(good.content))
	}
	sv.stop()
}
