package remotetest

import (
	"bufio"
	"fmt"
	"net"
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	const text = `
# a comment
case two hosts
want all is well
host mx1
  banner: 421 4.3.2 bye | close
  RCPT <u@a.example>: 250-2.1.5 ok\n250 2.1.5 ok
connection
host mx2
  content 10: raw \x00\r\n\\
case none
want nothing
`
	got, err := Parse(text, "want")
	want := []Case{
		{Name: "two hosts", Line: 3, Notes: []Note{{"want", "all is well", 4}}, Hosts: []Host{
			{"mx1", []Script{{"banner": "421 4.3.2 bye | close", "RCPT <u@a.example>": "250-2.1.5 ok\n250 2.1.5 ok"}, {}}},
			{"mx2", []Script{{"content 10": "raw \x00\r\n\\"}}},
		}},
		{Name: "none", Line: 11, Notes: []Note{{"want", "nothing", 12}}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := Parse("dot: silent\nconnection"); err != nil || len(got) != 1 || len(got[0].Hosts) != 1 || len(got[0].Hosts[0].Scripts) != 2 {
		t.Errorf("a script alone: %+v, %v", got, err)
	}
	for text, want := range map[string]string{
		"\nHELP: 250 ok":   `line 2: there is no stage "HELP"`,
		"wish x":           "line 1: \"wish x\" is neither",
		"content x: close": "number of octets",
		"MAIL#0: close":    "number of an occurrence",
		"EHLO x: close":    "only MAIL, RCPT and dot",
		`dot: \q`:          "a backslash stands before",
		"case":             "no name",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("case a\nhost b\nbanner: 220 x\nconnection\ndot: close")
	f.Add("content 10: raw \\x00")
	f.Fuzz(func(t *testing.T, text string) {
		cases, err := Parse(text, "want")
		if err == nil && len(text) > 0 && len(cases) > len(text) {
			t.Errorf("%d cases of %d octets", len(cases), len(text))
		}
	})
}

// TestDialogue: what a script says happens, stage by stage.
func TestDialogue(t *testing.T) {
	for _, c := range []struct {
		script Script
		want   string // lines by " / "
	}{
		{Script{}, "220 remote.test ESMTP / C EHLO a / 250-remote.test / 250-PIPELINING / 250-SIZE 1000000 / 250 8BITMIME / C DATA / 503 5.5.1 no MAIL / C QUIT / 221 2.0.0 bye / end"},
		{Script{"banner": "250-x\n250 x"}, "250-x / 250 x"},
		{Script{"octets 0": "raw early\r\n | close"}, "220 remote.test ESMTP / early / end"},
		{Script{"octets 8": "220 half | close"}, "220 remote.test ESMTP / C EHLO a / 250-remote.test / 250-PIPELINING / 250-SIZE 1000000 / 250 8BITMIME / 220 half / end"},
		{Script{"QUIT": "flood 3 221-x\r\n | 221 x | close"}, "220 remote.test ESMTP / C QUIT / 221-x / 221-x / 221-x / 221 x / end"},
		{Script{"QUIT": "delay 1ms | 221 x | close"}, "220 remote.test ESMTP / C QUIT / 221 x / end"},
		{Script{}, "220 remote.test ESMTP / C STARTTLS / 502 5.5.1 no TLS here"},
	} {
		client, server := net.Pipe()
		r := New(t, c.script)
		r.Serve(server)
		in := bufio.NewReader(client)
		for line := range strings.SplitSeq(c.want, " / ") {
			if said, ok := strings.CutPrefix(line, "C "); ok {
				fmt.Fprintf(client, "%s\r\n", said)
				continue
			}
			got, err := in.ReadString('\n')
			if got = strings.TrimRight(got, "\r\n"); err != nil {
				got = "end"
			}
			if got != line {
				t.Errorf("%v: %q, want %q", c.script, got, line)
				break
			}
		}
		client.Close()
	}
}
