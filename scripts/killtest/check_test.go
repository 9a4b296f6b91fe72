package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// story is an account of one message, number 0 of its run, and of the processes that had it, in milliseconds.
type story struct {
	t  *testing.T
	l  *ledger
	ls *letters
	q  []entry
}

var base = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return base.Add(time.Duration(ms) * time.Millisecond) }

// newStory has two processes; the first is killed at 1000.
func newStory(t *testing.T) *story {
	s := &story{t: t, l: newLedger(), ls: newLetters(1)}
	s.l.lives = []*life{
		{started: at(0), ready: at(10), killed: at(1000), ended: at(1001), event: atAck, undoes: true},
		{started: at(1002), ready: at(1012)},
	}
	return s
}

// rcpt is the first recipient of message n.
func (s *story) rcpt(n int) string { return s.ls.write(n).rcpts[0] }

// send is a submission of message n to the first process, of its first recipient only.
func (s *story) send(n int, e end, id string, ms int) {
	s.l.submissions = append(s.l.submissions, &submission{n: n, end: e, id: id, dot: at(ms), at: at(ms + 1), rcpts: []string{s.rcpt(n)}})
}

// try is a transaction of message 0, with its replies to RCPT and dot.
func (s *story) try(life, ms, rcpt, dot int, id string) *attempt {
	a := &attempt{life: life, began: at(ms), replied: at(ms + 1), settled: true, confirmed: true, owner: -1, dot: dot, rcpts: []answer{{s.rcpt(0), rcpt}}}
	if rcpt == 250 {
		a.seen, a.owner, a.id = at(ms), 0, id
	}
	s.l.attempts = append(s.l.attempts, a)
	return a
}

// witness is another message that was acknowledged, and delivered by the second process.
func (s *story) witness(n, ms int) {
	id := fmt.Sprintf("w%d", n)
	s.send(n, ack, id, ms)
	s.l.attempts = append(s.l.attempts, &attempt{life: 1, began: at(1100), replied: at(1101), seen: at(1100), dot: 250, settled: true,
		confirmed: true, owner: n, id: id, rcpts: []answer{{s.rcpt(n), 250}}})
}

// tell is a notice with an id that names the recipient of message 0.
func (s *story) tell(life, ms int, id string) *attempt {
	a := s.try(life, ms, 250, 250, id)
	a.rcpts[0].address, a.owner, a.notice = s.ls.write(0).sender, 0, "To: s\r\n\r\n"+s.rcpt(0)+" failed\r\n"
	return a
}

func (s *story) list(id, state string) {
	e := entry{ID: id}
	e.Recipients = append(e.Recipients, struct {
		Address, State string
		LastReply      string `json:"last_reply"`
	}{Address: s.rcpt(0), State: state})
	s.q = append(s.q, e)
}

// rules gives the rules that are violated.
func (s *story) rules() string {
	rep := &report{settings: defaults()}
	check(rep, s.l, s.ls, s.q)
	var list []string
	for _, v := range rep.violations {
		list = append(list, v.rule)
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), " ")
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name string
		tell func(*story)
		want string
	}{
		{"delivered", func(s *story) { s.send(0, ack, "a", 20); s.try(0, 30, 250, 250, "a") }, ""},
		{"lost", func(s *story) { s.send(0, ack, "a", 20) }, "N1"},
		{"lost after a 4yz", func(s *story) { s.send(0, ack, "a", 20); s.try(0, 30, 451, 0, "") }, "N1"},
		{"taken without a reply only", func(s *story) { s.send(0, ack, "a", 20); s.try(0, 30, 250, 0, "a") }, "N1"},
		{"stuck", func(s *story) { s.send(0, ack, "a", 20); s.list("a", "deferred") }, "N1"},
		{"held after delivery", func(s *story) { s.send(0, ack, "a", 20); s.try(0, 30, 250, 250, "a"); s.list("a", "held") }, "N1"},
		{"refused and listed", func(s *story) { s.send(0, ack, "a", 20); s.try(0, 30, 550, 0, ""); s.list("a", "failed") }, ""},
		{"refused and told", func(s *story) { s.send(0, ack, "a", 20); s.try(0, 30, 550, 0, ""); s.tell(0, 40, "n") }, ""},
		{"refused and forgotten", func(s *story) { s.send(0, ack, "a", 20); s.try(0, 30, 550, 0, "") }, "N1"},
		{"told twice", func(s *story) {
			s.send(0, ack, "a", 20)
			s.try(0, 30, 550, 0, "")
			s.tell(0, 40, "n")
			s.tell(0, 50, "o")
		}, "N7"},
		{"the notice again by the same process", func(s *story) {
			s.send(0, ack, "a", 20)
			s.try(0, 30, 550, 0, "")
			s.tell(0, 40, "n")
			s.tell(0, 50, "n")
		}, "N4"},
		{"told twice over a crash", func(s *story) {
			s.send(0, ack, "a", 20)
			s.try(0, 30, 550, 0, "")
			s.tell(0, 998, "n")
			s.tell(1, 1050, "n")
		}, ""},
		{"told by two notices over a crash", func(s *story) {
			s.send(0, ack, "a", 20)
			s.try(0, 30, 550, 0, "")
			s.tell(0, 998, "n")
			s.tell(1, 1050, "o")
		}, "N7"},
		{"told of the delay, then of the failure", func(s *story) {
			s.send(0, ack, "a", 20)
			s.try(0, 30, 451, 0, "")
			s.tell(0, 40, "n").late = true
			s.try(0, 50, 550, 0, "")
			s.tell(0, 60, "o")
		}, ""},
		{"told of the delay twice", func(s *story) {
			s.send(0, ack, "a", 20)
			s.try(0, 30, 451, 0, "")
			s.tell(0, 40, "n").late = true
			s.tell(1, 1040, "o").late = true
			s.try(1, 1050, 250, 250, "a")
		}, "N7"},
		{"told of the delay only", func(s *story) {
			s.send(0, ack, "a", 20)
			s.try(0, 30, 451, 0, "")
			s.tell(0, 40, "n").late = true
		}, "N1"},
		{"expired and told", func(s *story) { s.send(0, ack, "a", 20); s.try(0, 30, 451, 0, ""); s.tell(0, 40, "n") }, ""},
		{"told, which the sender refused", func(s *story) {
			s.send(0, ack, "a", 20)
			s.try(0, 30, 550, 0, "")
			s.tell(0, 40, "n").dot = 554
		}, ""},
		{"told, and tried again", func(s *story) {
			s.send(0, ack, "a", 20)
			s.try(0, 30, 451, 0, "")
			s.tell(0, 998, "n")
			s.try(1, 1050, 451, 0, "")
		}, "N5"},
		{"taken and listed as failed", func(s *story) { s.send(0, ack, "a", 20); s.try(0, 30, 250, 250, "a"); s.list("a", "failed") }, "N5"},
		{"ghost of a NAK", func(s *story) { s.send(0, nak, "", 20); s.try(0, 30, 451, 0, "") }, "N2"},
		{"ghost of a CUT", func(s *story) { s.send(0, cut, "", 20); s.list("a", "failed") }, "N2"},
		{"UNK that was not taken", func(s *story) { s.send(0, unk, "", 20) }, ""},
		{"UNK that was taken", func(s *story) { s.send(0, unk, "", 20); s.try(1, 1030, 250, 250, "a") }, ""},
		{"UNK that was taken and lost", func(s *story) { s.send(0, unk, "", 20); s.try(0, 30, 451, 0, "") }, "N3"},
		{"UNK that was taken twice", func(s *story) {
			s.send(0, unk, "", 20)
			s.try(0, 999, 250, 250, "a")
			s.try(1, 1030, 250, 250, "b")
		}, "N3"},
		{"another id", func(s *story) { s.send(0, ack, "a", 20); s.try(0, 30, 250, 250, "b") }, "N3"},
		{"again by the same process", func(s *story) {
			s.send(0, ack, "a", 20)
			s.try(0, 30, 250, 250, "a")
			s.try(0, 990, 250, 250, "a")
		}, "N4"},
		{"again after the sink broke off", func(s *story) {
			s.send(0, ack, "a", 20)
			s.try(0, 30, 250, 0, "a")
			s.try(0, 60, 250, 250, "a")
		}, ""},
		{"again after a crash", func(s *story) {
			s.send(0, ack, "a", 20)
			s.try(0, 998, 250, 250, "a")
			s.try(1, 1030, 250, 250, "a")
		}, ""},
		{"again though the mark must have been durable", func(s *story) {
			s.send(0, ack, "a", 20)
			s.witness(1, 400)
			s.witness(2, 700)
			s.try(0, 30, 250, 250, "a")
			s.try(1, 1030, 250, 250, "a")
		}, "N4"},
		{"again, with one witness", func(s *story) { // the disk may have stood still afterwards
			s.send(0, ack, "a", 20)
			s.witness(1, 400)
			s.try(0, 30, 250, 250, "a")
			s.try(1, 1030, 250, 250, "a")
		}, ""},
		{"again while the disk stood still", func(s *story) {
			s.send(0, ack, "a", 20)
			s.try(0, 30, 250, 250, "a")
			s.try(1, 1030, 250, 250, "a")
		}, ""},
		{"again after the last kill", func(s *story) {
			s.send(0, ack, "a", 20)
			s.l.lives[0].undoes = false
			s.try(0, 998, 250, 250, "a")
			s.try(1, 1030, 250, 250, "a")
		}, "N4"},
		{"refused again by the same process", func(s *story) {
			s.send(0, ack, "a", 20)
			s.try(0, 30, 550, 0, "")
			s.try(0, 60, 550, 0, "")
			s.list("a", "failed")
		}, "N5"},
		{"deferred", func(s *story) { s.send(0, ack, "a", 20); s.try(0, 30, 451, 0, ""); s.try(0, 60, 250, 250, "a") }, ""},
		{"damaged", func(s *story) { s.send(0, ack, "a", 20); s.try(0, 30, 250, 250, "a").fault = "damaged" }, "N6"},
		{"silent", func(s *story) { s.send(0, unk, "", 20); s.l.submissions[0].silent = true }, "up"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStory(t)
			tt.tell(s)
			if got := s.rules(); got != tt.want {
				t.Errorf("violated: %q, want %q", got, tt.want)
			}
		})
	}
}

// TestCompare gives the sink what came out of a message, and what must not.
func TestCompare(t *testing.T) {
	ls := newLetters(7)
	sent := ls.write(3).content
	ours := "Received: from a (b)\r\n\tby " + hostname + " with ESMTP id 0abc\r\n\tfor <x@y>; a date\r\n"
	for name, tt := range map[string]struct {
		came string
		want string // part of the error, "" = none
	}{
		"whole":          {ours + string(sent), ""},
		"another field":  {"X-A: b\r\n\tc\r\n" + ours + string(sent), "does not stand on top"},
		"bare":           {string(sent), "does not stand on top"},
		"cut":            {ours + string(sent[:len(sent)-10]), "another one"},
		"short":          {string(sent[:100]), "fewer than"},
		"doubled":        {ours + string(sent) + string(sent), "no header"},
		"one bit":        {ours + strings.Replace(string(sent), "part 0", "part 1", 1), "another one"},
		"another letter": {ours + string(ls.write(4).content), "octet"},
	} {
		id, err := ls.compare(3, []byte(tt.came))
		switch {
		case tt.want == "" && (err != nil || id != "0abc"):
			t.Errorf("%s: id %q, %v", name, id, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// TestLetters makes messages that are what the rules need: the same each time, different from each other, within their sizes,
// and with the lines that a wire mangles.
func TestLetters(t *testing.T) {
	ls, again := newLetters(9), newLetters(9)
	small, large, dots := 0, 0, 0
	for n := range 200 {
		m := ls.write(n)
		if !bytes.Equal(m.content, again.write(n).content) {
			t.Fatalf("message %d is another one the second time", n)
		}
		if !strings.Contains(string(m.content), fmt.Sprintf("X-Token: %s\r\n", ls.token(n))) {
			t.Errorf("message %d does not say who it is", n)
		}
		for _, r := range m.rcpts {
			if got, sender, ok := ls.owner(r); got != n || sender || !ok {
				t.Errorf("%s belongs to %d, %t, %t", r, got, sender, ok)
			}
		}
		if size := len(m.content); size < 32<<10 {
			small++
		} else if large++; size > 220<<10 {
			t.Errorf("message %d has %d octets", n, size)
		}
		dots += bytes.Count(m.content, []byte("\n."))
		if !hopeless(n) && bytes.Count(m.content, []byte("Received:")) > 3 {
			t.Errorf("message %d has too many Received fields", n)
		}
		if bytes.Contains(m.doubled()[:len(m.doubled())-3], []byte("\n.\r\n")) {
			t.Errorf("message %d ends early on the wire", n)
		}
	}
	if small == 0 || large == 0 || dots == 0 {
		t.Errorf("%d small ones, %d large ones, %d dots", small, large, dots)
	}
}
