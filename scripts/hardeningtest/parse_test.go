package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestFiles: the cases that are played can be read, and what a file may say of a case is what it becomes.
func TestFiles(t *testing.T) {
	sections, err := load()
	if err != nil {
		t.Fatal(err)
	}
	cases := 0
	for _, s := range append(sections, generated(2)...) {
		cases += len(s.cases)
		if len(s.cases) == 0 {
			t.Errorf("section %s has no case", s.number)
		}
	}
	if cases < 400 {
		t.Errorf("there are %d cases", cases)
	}
}

func TestParse(t *testing.T) {
	s, err := parse("x.txt", `section 1.1 A title
# a comment
part hello
S: 220
C: EHLO a

case E1 first
needs tls sink
ways segment pause
slow 90s
use hello
2 * T: a{x 0D}
pause
10 * S: 250|5xx 5.x.x   stagepost: 550 5.5.2
X: 0D 0A
closed
`)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.cases) != 1 || s.number != "1.1" || s.title != "A title" {
		t.Fatalf("%+v", s)
	}
	c := s.cases[0]
	if c.name != "E1 first" || c.bound != 90*time.Second || !c.slow || len(c.ways) != 2 || len(c.needs) != 2 {
		t.Errorf("%+v", c)
	}
	if n := len(c.steps); n != 2+1+1+10+1+1 {
		t.Errorf("%d steps", n)
	}
	p := &play{values: map[string]string{}}
	if err := c.steps[2].do(p); err != nil || string(p.pending) != "a\ra\r" {
		t.Errorf("%q, %v", p.pending, err)
	}
	w := c.steps[4].(want)
	for _, tt := range []struct {
		reply  reply
		strict bool
		want   bool
	}{
		{reply{250, []string{"ok"}}, false, true},
		{reply{250, []string{"ok"}}, true, false},
		{reply{550, []string{"5.7.12 no"}}, false, true},
		{reply{550, []string{"no"}}, false, false},
		{reply{550, []string{"5.5.2 no"}}, true, true},
		{reply{450, []string{"4.5.2 no"}}, false, false},
	} {
		if _, ok := w.of(tt.strict).match(tt.reply); ok != tt.want {
			t.Errorf("%v, strict %t: %t", tt.reply, tt.strict, ok)
		}
	}
}

func TestParseFaults(t *testing.T) {
	const begin = "section 1 x\ncase a\nS: 220\n"
	for _, tt := range []struct{ text, want string }{
		{"", "x:1: want a line"},
		{"case a\nS: 220\n", "x:1: want \"section"},
		{"section 1 x\nS: 220\n", "x:2: want \"part NAME\" or"},
		{"section 1 x\ncase a\nC: x\n", "x:2: the case a expects nothing"},
		{begin + "case a\nS: 220\n", "x:4: want \"case NAME\", each"},
		{begin + "use b\n", "no part \"b\""},
		{begin + "C: {x 0D\n", "a brace is not closed"},
		{begin + "C: {x 0}\n", "is not octets in hex"},
		{begin + "C: {nobody}\n", "{nobody} is nothing that is known"},
		{begin + "T: {99999999 * {99999999 * x}}\n", "octets"},
		{begin + "X: GG\n", "is not octets in hex"},
		{begin + "S: 25\n", "is no reply code"},
		{begin + "S: 250 5.5\n", "is no enhanced"},
		{begin + "S: 250 stagepost: 1\n", "is no reply code"},
		{begin + "needs wings\n", "\"wings\" is not known"},
		{begin + "ways by air\n", "\"by\" is no way"},
		{begin + "slow soon\n", "invalid duration"},
		{begin + "gone fishing\n", "is no way to end"},
		{begin + "TLS version=1.7\n", "is no version"},
		{begin + "TLS suites=ROT13\n", "no cipher suite"},
		{begin + "TLS gently\n", "says nothing about a handshake"},
		{begin + "TLS updates=0\n", "want a number up to"},
		{begin + "TLS shows=teeth\n", "is no certificate; there are rsa7640"},
		{begin + "again and again\n", "is too much"},
		{begin + "each {\n", "is nothing that is known"},
		{begin + "connect tomorrow\n", "is no listener"},
		{begin + "connect mx from 192.0.2.1\n", "no loopback address"},
		{begin + "flood 1GB\n", "want \"flood SIZE of TEXT\""},
		{begin + "flood much of x\n", "no number of octets"},
		{begin + "crowd x 220\n", "want \"crowd N"},
		{begin + "2 * closed\n", "can be repeated"},
		{begin + "2 * 2 * C: x\n", "cannot be repeated"},
		{begin + "2 C: x\n", "want \"N * LINE\""},
		{begin + "closed now\n", "is too much"},
		{begin + "arrived soon\n", "invalid syntax"},
		{begin + "sing\n", "begins no line"},
	} {
		if _, err := parse("x", tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.text, err, tt.want)
		}
	}
}

func TestTemplate(t *testing.T) {
	values := map[string]string{"from": "a@b", "token": "x"}
	for text, want := range map[string]string{
		"":                           "",
		"{from}":                     "a@b",
		"{{from}":                    "{from}",
		"a}b":                        "a}b",
		"{3 * ab}c":                  "abababc",
		"{2 * {2 * {x 00}}-}":        "\x00\x00-\x00\x00-",
		"{base64 {x 00}{from}}":      "AGFAYg==",
		"{x 0D 0A}":                  "\r\n",
		"{x 0D0A}":                   "\r\n",
		"{0 * x}":                    "",
		"<\"a\\\"b\"@{token}> X=Y  ": "<\"a\\\"b\"@x> X=Y  ",
	} {
		got, err := parseTemplate(text)
		if err != nil || string(got.fill(values)) != want {
			t.Errorf("%q: %q, %v, want %q", text, got.fill(values), err, want)
		}
	}
	random, err := parseTemplate("{random 100}")
	if err != nil {
		t.Fatal(err)
	}
	if a, b := random.fill(values), random.fill(values); len(a) != 100 || !slices.Equal(a, b) {
		t.Error("random octets are not the same for one token")
	}
}

// FuzzParse: whatever a file holds, it is read or refused with a line, and what is read can be sent within bounds.
func FuzzParse(f *testing.F) {
	names, err := filepath.Glob("cases/*.txt")
	if err != nil || len(names) == 0 {
		f.Fatal("no cases", err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text[:min(len(text), 4000)]))
	}
	f.Add("section 1 x\ncase a\nS: 220\nC: {10 * {base64 {x 00}{from}}}{{\n1000 * T: x\neach {n}\ncrowd 2 from many 220|closed with 421\ncrowd 3 quiet\nTLS forged updates=2\nagain\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parse("x", text)
		if err != nil {
			for _, line := range strings.Split(err.Error(), "\n") {
				if !strings.HasPrefix(line, "x:") {
					t.Errorf("a fault without its place: %q", line)
				}
			}
			return
		}
		for _, c := range s.cases {
			if len(c.ways) == 0 || len(c.steps) == 0 {
				t.Errorf("the case %q is empty", c.name)
			}
			for _, st := range c.steps {
				if send, ok := st.(send); ok && send.text.size() < 1000 && send.times < 100 {
					p := &play{script: c, values: map[string]string{"token": "x"}}
					if err := send.do(p); err != nil || len(p.pending) > send.times*max(send.text.size(), 1)*2+1000 {
						t.Errorf("%d octets of %d, %v", len(p.pending), send.text.size(), err)
					}
				}
			}
		}
	})
}
