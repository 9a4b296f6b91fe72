package e2e

import (
	"strings"
	"testing"
)

// asks sends one message with these parameters, and gives its id in the server.
func (c *client) asks(t testing.TB, mail, rcpt, id string) string {
	t.Helper()
	c.want(t, "MAIL FROM:<a@client.example>"+mail, "250")
	c.want(t, "RCPT TO:"+rcpt, "250")
	c.want(t, "DATA", "354")
	reply, err := c.ask(letter(id) + ".")
	if err != nil {
		t.Fatal(err)
	}
	return queued(t, reply)
}

// notices waits for as many notices to a@client.example, and gives their texts.
func (s *sink) notices(n int) (texts []string) {
	s.t.Helper()
	eventually(s.t, "the notices", func() (bool, any) {
		s.mu.Lock()
		defer s.mu.Unlock()
		texts = nil
		for _, text := range s.content {
			if strings.Contains(text, "report-type=delivery-status") {
				texts = append(texts, text)
			}
		}
		return len(texts) == n, len(texts)
	})
	return texts
}

// TestAskedFor: a client asks to be told of a delivery, and not to be told of a failure; a message that is not to be changed for a next
// hop without SMTPUTF8 comes back. A server that is killed in between forgets none of that.
func TestAskedFor(t *testing.T) {
	good, bad := newSink(t), newSink(t)
	bad.refuses("RCPT", "550 5.1.1 no such mailbox here")
	s := newSite(t, relayConfig(good.address)+"\n[plugin.route.domains]\n\"example.net\" = \""+bad.address+"\"\n")
	sv := s.start()
	c := dial(t, sv.address("mx"))
	c.asks(t, "", "<gone@example.net> NOTIFY=NEVER", "<never@client.example>")
	c.asks(t, " SMTPUTF8", "<j\u00f6@example.com>", "<utf8@client.example>")
	good.pause()
	c.asks(t, " ENVID=QQ+2B1 RET=HDRS", "<u@example.com> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;first+2By@example.org", "<success@client.example>")
	sv.kill()
	sv = s.start()
	texts := good.notices(2)
	sv.empty()
	all := strings.Join(texts, "\n")
	for _, want := range []string{"Action: relayed\r\n", "Original-Envelope-Id: QQ+1\r\n", "Original-Recipient: rfc822; first+y@example.org\r\n", "Final-Recipient: rfc822; u@example.com\r\n",
		"Action: failed\r\n", "Status: 5.6.7\r\n", "Final-Recipient: utf-8; j=C3=B6@example.com", "<j=C3=B6@example.com>"} {
		if !strings.Contains(all, want) {
			t.Errorf("the notices lack %q:\n%s", want, all)
		}
	}
	if strings.Contains(all, "gone@example.net") {
		t.Errorf("a notice that nobody wanted:\n%s", all)
	}
	sv.stop()
}

// TestPassedOn: a Postfix is told what the sender wants to know, and does it; it takes addresses beyond ASCII. We say nothing then.
func TestPassedOn(t *testing.T) {
	sink := newSink(t)
	address := startPostfix(t, t.TempDir(), sink.address)
	s := newSite(t, relayConfig(address))
	sv := s.start()
	c := dial(t, sv.address("mx"))
	c.asks(t, " ENVID=QQ+2B1", "<u@example.com> NOTIFY=SUCCESS ORCPT=rfc822;first+2By@example.org", "<success@client.example>")
	wide := c.asks(t, " SMTPUTF8 BODY=8BITMIME", "<j\u00f6@b\u00fccher.example> ORCPT=utf-8;j\u00f6@b\u00fccher.example", "<utf8@client.example>")
	all := sink.notices(1)[0]
	for _, want := range []string{"Reporting-MTA: dns; postfix.example", "Action: relayed", "Original-Envelope-Id: QQ+1", "Original-Recipient: rfc822;first+y@example.org"} {
		if !strings.Contains(all, want) {
			t.Errorf("the notices lack %q:\n%s", want, all)
		}
	}
	s.empty()
	if trace := s.want(0, "trace", wide); !strings.Contains(trace, "delivered") { // what Postfix makes of it is told in UTF-8, which the sink does not take
		t.Errorf("trace of the second:\n%s", trace)
	}
	sink.notices(1)
	sv.stop()
}
