package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/resolve/dnszone"
)

// TestSPF: the whole server, asking a DNS by its own resolver, refuses whom a domain does not let send; and what the DNS cannot tell
// is told as that, deferred or accepted as the operator wants, and never a pass.
func TestSPF(t *testing.T) {
	zone, err := dnszone.Parse(map[string][]string{
		"good.test": {`TXT "v=spf1 include:hosts.good.test -all exp=why.good.test"`}, "hosts.good.test": {`TXT "v=spf1 a:out.good.test"`}, "out.good.test": {"A 192.0.2.7"},
		"why.good.test": {`TXT "%{i} is none of %{o}"`}, "broken.test": {`TXT "v=spf1 +all ip4:x"`},
		"down.test": {"!servfail"}, "half.test": {`TXT "v=spf1 include:down.test +all"`}, "loop.test": {"CNAME pool.test"}, "pool.test": {"CNAME loop.test"},
		"7.2.0.192.in-addr.arpa": {"PTR out.good.test"},
	})
	if err != nil {
		t.Fatal(err)
	}
	dns, err := dnszone.Serve("127.0.0.1:0", zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dns.Close() })
	next := &remote{name: "next"}
	if err := next.listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(next.close)
	config := func(temperror string) string {
		return minimal + "proxy_protocol = [\"127.0.0.0/8\"]\n" + fmt.Sprintf("[resolver]\nservers = [%q]\n", dns.Addr()) +
			"[plugins]\nenable = [\"domains\", \"spf\", \"iprev\", \"route\"]\n[plugin.domains]\ndomains = [\"example.org\"]\n[plugin.route]\ndefault = \"127.0.0.1:2526\"\n" +
			"[plugin.spf]\ntemperror = \"" + temperror + "\"\n"
	}
	s := newSite(t, config("defer"))
	d := serveQuietly(t, s.config, daemonOptions{dial: (&internet{remotes: map[string]*remote{"127.0.0.1:2526": next}}).dial})

	n := 0
	try := func(ip, helo, sender string) (reply, rcpt string) {
		t.Helper()
		conn, err := net.Dial("tcp", d.bound.address("mx"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		n++
		rcpt = fmt.Sprintf("u%d@example.org", n)
		fmt.Fprintf(conn, "PROXY TCP4 %s 127.0.0.1 4000 25\r\n", ip)
		r := bufio.NewReader(conn)
		for _, c := range []string{"", "EHLO " + helo, "MAIL FROM:<" + sender + ">", "RCPT TO:<" + rcpt + ">", "DATA", "Subject: hello\r\n\r\nhello\r\n."} {
			if c != "" {
				fmt.Fprintf(conn, "%s\r\n", c)
			}
			for reply = ""; len(reply) < 4 || reply[3] == '-'; {
				if reply, err = r.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
			}
			if reply[0] > '3' {
				break
			}
		}
		return reply, rcpt
	}
	for _, tt := range []struct{ ip, helo, sender, want, field string }{
		{"192.0.2.7", "client.test", "joe@good.test", "250", "pass"},
		{"192.0.2.8", "client.test", "joe@good.test", "550 5.7.23 SPF: good.test does not let 192.0.2.8 send for it; it explains: 192.0.2.8 is none of good.test", ""},
		{"192.0.2.8", "good.test", "", "550 5.7.23 SPF: good.test does not let 192.0.2.8", ""},
		{"192.0.2.8", "good.test", "joe@none.test", "550 5.7.23 SPF: good.test does not let 192.0.2.8", ""},
		{"192.0.2.8", "client.test", "joe@down.test", "451 4.7.24 ", ""},
		{"192.0.2.8", "client.test", "joe@half.test", "451 4.7.24 ", ""},
		{"192.0.2.8", "client.test", "joe@loop.test", "451 4.7.24 ", ""},
		{"192.0.2.8", "client.test", "joe@broken.test", "250", "permerror"},
		{"192.0.2.8", "client.test", "joe@none.test", "250", "none"},
	} {
		reply, rcpt := try(tt.ip, tt.helo, tt.sender)
		if !strings.HasPrefix(reply, tt.want) {
			t.Errorf("%+v: %s", tt, reply)
		} else if tt.field != "" {
			if got := fieldOf(arrived(t, next, rcpt), "Received-SPF"); !strings.HasPrefix(got, tt.field+" (mx.example.org: ") {
				t.Errorf("%+v: the field is %q", tt, got)
			}
		}
	}

	s.write("stagepost.toml", config("none"))
	s.want(s.run("reload"), 0)
	for _, sender := range []string{"joe@down.test", "joe@half.test", "joe@loop.test"} {
		reply, rcpt := try("192.0.2.8", "client.test", sender)
		if !strings.HasPrefix(reply, "250") {
			t.Errorf("%s: %s", sender, reply)
		} else if got := fieldOf(arrived(t, next, rcpt), "Received-SPF"); !strings.HasPrefix(got, "temperror (") {
			t.Errorf("%s: the field is %q", sender, got)
		}
	}
}
