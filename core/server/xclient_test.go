package server

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/stagepost/stagepost/hooks"
)

// TestXClient: after XCLIENT plugins see another client, and nothing of the one before.
func TestXClient(t *testing.T) {
	var seen []string
	hs := byName()
	for _, stage := range []hooks.Stage{hooks.Connect, hooks.Helo, hooks.Mail, hooks.Disconnect} {
		h := hook(stage, func(c *hooks.Call) *hooks.Verdict {
			s := c.Session
			seen = append(seen, fmt.Sprintf("%s %s:%d %q %q %d facts", c.Stage, s.IP, s.Port, s.User, s.Helo, len(s.Facts.All())))
			if err := c.SetFact(&s.Facts, "test.seen", true); err != nil && c.Stage != hooks.Disconnect {
				t.Error(err)
			}
			if c.Stage == hooks.Connect && s.IP == netip.MustParseAddr("192.0.2.66") {
				return &hooks.Verdict{Kind: hooks.Reject}
			}
			return nil
		})
		h.Order = 1
		hs = append(hs, h)
	}
	r := newRig(t, hs...)
	r.at.XClient = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	c := dial(t, r.listen(t))
	c.want("220 ")
	seen = nil
	for _, d := range [][2]string{
		{"EHLO proxy.example", "250 "}, {"XCLIENT ADDR=192.0.2.1 PORT=7 LOGIN=joe", "220 "}, {"EHLO a.example", "250 "}, {"MAIL FROM:<a@a.example>", "250 "}, {"RSET", "250 "},
		{"XCLIENT ADDR=IPV6:2001:db8::1 LOGIN=[UNAVAILABLE]", "220 "}, {"XCLIENT ADDR=192.0.2.66", "554 "}, {"EHLO b.example", "503 "}, {"QUIT", "221 "},
	} {
		c.send(d[0] + "\r\n")
		c.want(d[1])
	}
	c.conn.Close()
	r.settle(t)
	want := []string{`connect 192.0.2.1:7 "joe" "" 0 facts`, `helo 192.0.2.1:7 "joe" "a.example" 1 facts`, `mail 192.0.2.1:7 "joe" "a.example" 1 facts`,
		`connect 2001:db8::1:7 "" "" 0 facts`, `connect 192.0.2.66:7 "" "" 0 facts`, `disconnect 192.0.2.66:7 "" "" 1 facts`}
	if len(seen) == 0 || !slices.Equal(seen[1:], want) {
		t.Errorf("plugins saw\n%q\nwant\n%q", seen, want)
	}

	r = newRig(t, byName()...)
	r.at.XClient = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	c = dial(t, r.listen(t))
	c.want("220 ")
	c.send("XCLIENT ADDR=192.0.2.1 NAME=localhost\r\n")
	c.want("550 5.7.0")
}
