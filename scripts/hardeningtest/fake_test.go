package main

import (
	"bufio"
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fake is a server that does as it is told, and passes on what it takes to the sink.
type fake struct {
	ln     net.Listener
	sink   string
	lf     bool // LF "." LF ends content
	silent bool // nothing is said to NOOP
	shut   bool // the connection is closed at NOOP
	babble bool // NOOP is answered twice
	dies   bool // at NOOP, and for ever
	loses  bool // what was taken
	mangle bool // what is passed on has a bare LF

	dead  atomic.Bool
	group sync.WaitGroup
}

func newFake(t *testing.T, f *fake) *target {
	t.Helper()
	sink, err := newSink("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if f.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	f.sink = sink.address()
	f.group.Go(func() {
		for {
			conn, err := f.ln.Accept()
			if err != nil {
				return
			}
			f.group.Go(func() {
				defer conn.Close()
				f.serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		f.ln.Close()
		f.group.Wait()
		sink.close()
	})
	target := newTarget("fake")
	target.addresses["mx"] = f.ln.Addr().String()
	target.sink, target.bound, target.patience = sink, time.Second, 2*time.Second
	return target
}

func (f *fake) serve(conn net.Conn) {
	if f.dead.Load() {
		return
	}
	r := bufio.NewReader(conn)
	say := func(text string) { conn.Write([]byte(text + "\r\n")) }
	say("220 fake")
	var envelope []string
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb := strings.ToUpper(strings.TrimSpace(line))
		switch {
		case strings.HasPrefix(verb, "QUIT"):
			say("221 bye")
			return
		case strings.HasPrefix(verb, "NOOP"):
			switch {
			case f.dies:
				f.dead.Store(true)
				return
			case f.shut:
				return
			case f.silent:
				continue
			case f.babble:
				say("250 ok")
			}
			say("250 ok")
		case strings.HasPrefix(verb, "MAIL"), strings.HasPrefix(verb, "RCPT"):
			envelope = append(envelope, strings.TrimSpace(line))
			say("250 ok")
		case strings.HasPrefix(verb, "DATA"):
			say("354 go on")
			text := ""
			for !strings.HasSuffix("\r\n"+text, "\r\n.\r\n") && (!f.lf || !strings.HasSuffix(text, "\n.\n")) {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				text += line
			}
			if !f.loses {
				f.pass(envelope, text)
			}
			envelope = nil
			say("250 taken")
		default:
			say("250 ok")
		}
	}
}

// pass sends a message on, as it came but for the end.
func (f *fake) pass(envelope []string, text string) {
	conn, err := net.Dial("tcp", f.sink)
	if err != nil {
		return
	}
	defer conn.Close()
	text = strings.TrimRight(text, "\r\n.") + "\r\n"
	if !f.mangle {
		text = strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(text, "\r", ""), "\x00", ""), "\n", "\r\n")
		text = strings.ReplaceAll(text, "\r\n.", "\r\n..")
	}
	r := bufio.NewReader(conn)
	for _, line := range append(append([]string{"", "EHLO fake"}, envelope...), "DATA", text+".") {
		if line != "" {
			conn.Write([]byte(line + "\r\n"))
		}
		for {
			got, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if got[3] == ' ' {
				break
			}
		}
	}
}

const fakeCases = `section 1 what a fake does
part mail
S: 220
C: MAIL FROM:<{from}>
S: 250
C: RCPT TO:<{to}>
S: 250
C: DATA
S: 354
C: Subject: x
C:
T: text

case smuggled
use mail
X: 0A 2E 0A
pause
C: MAIL FROM:<{token}@evil.test>
C: RCPT TO:<{to}>
C: DATA
C: x
C: .
S: 250|5xx
arrived as told
C: QUIT
R: 221
sender {from}
header SUBJECT: x
header no Subject: y

case relayed
use mail
C:
C: .
S: 250
arrived as told
C: QUIT
R: 221

case stray
use mail
X: 0A
C: more
C: .
S: 250|5xx
arrived at most 1

case nothing
S: 220
C: NOOP
S: 250
quiet
`

// TestFake: each kind of misbehaviour is told from the others, and a server that behaves passes.
func TestFake(t *testing.T) {
	sec, err := parse("fake", fakeCases)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		fake *fake
		want map[string]outcome // of the cases that do not pass
	}{
		{"good", &fake{}, map[string]outcome{}},
		{"LF", &fake{lf: true}, map[string]outcome{"smuggled": failed}},
		{"silent", &fake{silent: true}, map[string]outcome{"nothing": hanging}},
		{"closes", &fake{shut: true}, map[string]outcome{"nothing": failed}},
		{"babbles", &fake{babble: true}, map[string]outcome{"nothing": failed}},
		{"loses", &fake{loses: true}, map[string]outcome{"smuggled": failed, "relayed": failed}},
		{"mangles", &fake{mangle: true}, map[string]outcome{"smuggled": failed, "stray": failed}},
		{"dies", &fake{dies: true}, map[string]outcome{"nothing": crashed}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			target := newFake(t, tt.fake)
			if tt.fake.dies {
				target.sink = nil // a server that is no more sends nothing on
			}
			target.has["sink"] = target.sink != nil
			r := &runner{target: target, parallel: 12}
			if tt.fake.dies {
				r.parallel = 1 // the others are not to be played while it dies
			}
			results, err := r.play(context.Background(), sec.cases)
			if err != nil && !tt.fake.loses {
				t.Fatal(err)
			}
			rep := &report{target: "fake", sections: []*section{sec}, results: results}
			for _, c := range sec.cases {
				worst := passed
				for _, res := range results {
					if res.script == c && res.outcome > worst {
						worst = res.outcome
					}
				}
				if want := tt.want[c.name]; worst != want {
					t.Errorf("%s: %s, want %s", c.name, worst, want)
				}
			}
			if rep.ok() != (len(tt.want) == 0) {
				t.Errorf("ok is %t", rep.ok())
			}
			var text, lines strings.Builder
			rep.print(&text)
			if err := rep.json(&lines); err != nil {
				t.Fatal(err)
			}
			for name, o := range tt.want {
				if !strings.Contains(text.String(), o.String()+": 1 "+name) || !strings.Contains(lines.String(), `"outcome":"`+o.String()+`"`) {
					t.Errorf("%s %s is not told:\n%s", o, name, text.String())
				}
			}
		})
	}
}

// TestNeighbours: the family has no sequence that is a true end of the content, and all others.
func TestNeighbours(t *testing.T) {
	names := map[string]bool{}
	for _, c := range neighbours(5).cases {
		names[c.name] = true
	}
	for name, want := range map[string]bool{
		"N 0A2E0A": true, "N 0D0A2E0D0A": false, "N 0D2E0D": true, "N 2E0D0A": true, "N 2E0D0A first": false, "N 002E0D0A first": true,
		"N 0D2E0A with 2 octets before octet 4096": true,
	} {
		if names[name] != want {
			t.Errorf("%s: %t", name, names[name])
		}
	}
	for _, edge := range []int{200, 4095, 65536} {
		head, err := parseTemplate(header + filler(edge))
		if got := len(head.fill(newTarget("x").variables(newTarget("x").token()))); err != nil || got != edge {
			t.Errorf("%d octets before the edge, want %d, %v", got, edge, err)
		}
	}
}
