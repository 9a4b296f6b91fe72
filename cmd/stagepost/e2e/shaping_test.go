package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestShaping: remotes answer in the words of providers. Mail for one is slowed down, that for another waits and goes when its time is
// over, that for a third goes by another way, and others do not notice. Which rule of which file says so is told.
func TestShaping(t *testing.T) {
	slowed, waits, turned, relay, other := newSink(t), newSink(t), newSink(t), newSink(t), newSink(t)
	slowed.refuses("RCPT", "450-4.7.28 Our system has detected an unusual rate of unsolicited mail originating from your IP address.\r\n450 4.7.28 It has been temporarily rate limited.")
	waits.refuses("RCPT", "451 4.7.650 The mail server [127.0.0.1] has been temporarily rate limited due to IP reputation. (S775)")
	turned.refuses("RCPT", "554 5.7.1 Service unavailable; Client host [127.0.0.1] blocked using a list of ours")
	s := newSite(t, strings.Replace(strings.Replace(relayConfig(other.address), `retry = ["1s"]`, `retry = ["1s"]
concurrency = 20`, 1), `"relay", "route"]`, `"relay", "route", "shaping"]`, 1)+fmt.Sprintf(`
[plugin.route.domains]
"slowed.example.net" = %q
"waits.example.net" = %q
"turned.example.net" = %q

[plugin.shaping]
rules = "file:shaping.toml"
`, slowed.address, waits.address, turned.address))
	rules := fmt.Sprintf(`# what they say
[[rule]]
enhanced = "4.7.28"
text = "unusual rate"
slow = { rate = "3600/h", concurrency = 1 }
time = "1h"
why = "too much of it"

[[rule]]
enhanced = "4.7.65*"
suspend = true
time = "6s"
why = "they limit us"

[[rule]]
code = 554
text = "blocked using"
reroute = { hosts = [%q] }
time = "1h"
`, relay.address)
	s.write("shaping.toml", rules)
	sv := s.start()
	c := dial(t, sv.address("mx"))
	c.deliver(t, "a@slowed.example.net", "<a@client.example>")
	c.deliver(t, "b@waits.example.net", "<b@client.example>")
	c.deliver(t, "c@turned.example.net", "<c@client.example>")
	explained := func(site, want string) {
		t.Helper()
		eventually(t, want, func() (bool, any) {
			r := s.run("queue", "explain", site)
			return strings.Contains(r.out, want), r
		})
	}
	explained(waits.address, "measure      site "+waits.address+": suspended until ")
	waits.refuses("RCPT", "")
	explained(slowed.address, "concurrency = 1 (shaping (shaping.toml:2: too much of it) until ")
	explained(turned.address, "sent to smtp:"+relay.address+" until ")
	if out := s.want(0, "queue", "suspend", "--list"); !strings.Contains(out, "by shaping (shaping.toml:9): they limit us") {
		t.Errorf("queue suspend --list: %s", out)
	}
	if out := s.want(0, "queue", "shape", "--measures"); !strings.Contains(out, "shaping (shaping.toml:15)") || !strings.Contains(out, "slowed to rate 3600 in 1h0m0s, concurrency 1") {
		t.Errorf("queue shape --measures: %s", out)
	}

	// Others go as ever, and what follows goes by the other way.
	c.deliver(t, "d@example.net", "<d@client.example>")
	other.text("<d@client.example>")
	id := c.deliver(t, "e@turned.example.net", "<e@client.example>")
	relay.text("<e@client.example>")
	eventually(t, "the trace tells why", func() (bool, any) {
		r := s.run("trace", id)
		return strings.Contains(r.out, "is sent to smtp:"+relay.address+" (shaping (shaping.toml:15) until "), r
	})

	// The suspension outlasts a crash, and ends by itself.
	sv.kill()
	sv = s.start()
	waits.text("<b@client.example>")
	eventually(t, "it is over", func() (bool, any) {
		r := s.run("queue", "suspend", "--list")
		return strings.Contains(r.out, "nothing is suspended"), r
	})

	// A file of rules that is wrong changes nothing, and says where.
	s.write("shaping.toml", rules+"\n[[rule]]\nsuspned = true\n")
	if r := s.run("reload"); r.code == 0 || !strings.Contains(r.out+r.err, "shaping.toml:21: rule: unknown key suspned") {
		t.Errorf("reload: %+v", r)
	}
	s.write("shaping.toml", rules)
	slowed.refuses("RCPT", "")
	s.empty()
	slowed.exactly([]string{"<a@client.example>"})
	waits.exactly([]string{"<b@client.example>"})
	sv.stop()
}
