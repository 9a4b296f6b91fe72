package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// caseLetter is what is sent in a case: a line "send" with to=USER,USER, size=OCTETS, mail=PARAMETER, content=8bit|binary|utf8, lmtp,
// hop=NEXTHOP of a route. ADDRESS6 and ADDRESS4 are those of mx1.
type caseLetter struct {
	to      []string
	hop     string
	size    int
	mail    []string
	content string
	lmtp    bool
	mark    string
}

func parseLetter(lines []string) (l caseLetter, err error) {
	l.to = []string{"u"}
	for _, word := range strings.Fields(strings.Join(lines, " ")) {
		switch key, value, _ := strings.Cut(word, "="); key {
		case "to":
			l.to = strings.Split(value, ",")
		case "size":
			if l.size, err = strconv.Atoi(value); err != nil {
				return l, err
			}
		case "mail":
			l.mail = append(l.mail, value)
		case "content":
			l.content = value
		case "hop":
			l.hop = value
		case "lmtp":
			l.lmtp = true
		default:
			return l, fmt.Errorf("send has no %q", word)
		}
	}
	return l, nil
}

func (l *caseLetter) rcpts(domain string) (all []string) {
	for _, u := range l.to {
		if strings.Contains(u, "@") {
			all = append(all, strings.ReplaceAll(u, "DOMAIN", domain))
		} else {
			all = append(all, u+"@"+domain)
		}
	}
	return all
}

// text is the content, with the mark at its end.
func (l *caseLetter) text() string {
	b := "Subject: a case\r\n"
	if l.content == "utf8" {
		b = "Subject: \u00e4\r\n"
	}
	b += "\r\n"
	switch l.content {
	case "8bit":
		b += "\u00e4\u00f6\r\n"
	case "binary":
		b += "a\x00b\rc\r\n"
	}
	for len(b) < l.size {
		b += strings.Repeat(".", 70) + "\r\n"
	}
	return b + l.mark + "\r\n"
}

// deliver hands a message to the server and returns its id.
func (w *remoteWorld) deliver(t *testing.T, l *caseLetter, rcpts ...string) string {
	t.Helper()
	conn, err := net.Dial("tcp", w.d.bound.address("mx"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	x := newExchange(conn)
	text := l.text()
	lines := []string{"", "EHLO client.test", strings.TrimSpace("MAIL FROM:<sender@" + homeDomain + "> " + strings.Join(l.mail, " "))}
	for _, r := range rcpts {
		lines = append(lines, "RCPT TO:<"+r+">")
	}
	binary := l.content == "binary"
	if !binary {
		lines = append(lines, "DATA")
	}
	for _, line := range lines {
		if r, err := x.ask(line); err != nil || !r.Positive() {
			t.Fatalf("%s: %v, %v", line, r, err)
		}
	}
	if binary {
		_, err = fmt.Fprintf(conn, "BDAT %d LAST\r\n%s", len(text), text)
	} else {
		_, err = io.WriteString(conn, strings.ReplaceAll(text, "\r\n.", "\r\n..")+".\r\n")
	}
	if err != nil {
		t.Fatal(err)
	}
	r, err := x.ask("")
	id, ok := strings.CutPrefix(r.Error(), "250 2.0.0 queued as ")
	if err != nil || !ok {
		t.Fatalf("%v, %v", r, err)
	}
	w.log.mu.Lock()
	w.log.rcpts[id] = len(rcpts)
	w.log.mu.Unlock()
	return id
}

// wanted is a line "want": the attempts with commas between them, those of several recipients with +, then what holds of all of them.
type wanted struct {
	attempts []string
	waited   string
	copies   int
}

func parseWanted(lines []string) (w wanted, err error) {
	if len(lines) != 1 {
		return w, fmt.Errorf("%d lines want something", len(lines))
	}
	parts := strings.Split(lines[0], "; ")
	w.attempts, w.copies = strings.Split(parts[0], ", "), -1
	for _, p := range parts[1:] {
		switch key, value, _ := strings.Cut(p, " "); key {
		case "waited":
			w.waited = value
		case "copies":
			if w.copies, err = strconv.Atoi(value); err != nil {
				return w, err
			}
		default:
			return w, fmt.Errorf("nothing can be wanted of %q", key)
		}
	}
	return w, nil
}

// remoteRow is what a case came to.
type remoteRow struct {
	c        *remoteCase
	attempts []string
	waited   time.Duration // the longest for one reply
	copies   int           // that a remote took or may have taken
	unknown  int           // attempts of which the server does not know
	lost     int           // recipients
	beyond   int           // copies that N4 does not allow
	kept     bool          // it waits for its next attempt
	beside   []outcomeLine
}

func (r *remoteRow) delayed() int {
	if len(r.beside) == 1 && r.beside[0].result == "delivered" {
		return 0
	}
	return 1
}

// check holds a row against what the case wants.
func (r *remoteRow) check(t *testing.T) {
	t.Helper()
	want := r.c.want
	if got := strings.Join(r.attempts, ", "); got != strings.Join(want.attempts, ", ") {
		t.Errorf("%s (line %d): %s\nwant %s", r.c.Name, r.c.Line, got, strings.Join(want.attempts, ", "))
	}
	if waited := waitedFor(r.waited); waited != want.waited {
		t.Errorf("%s (line %d): waited %q, want %q", r.c.Name, r.c.Line, waited, want.waited)
	}
	if want.copies >= 0 && r.copies != want.copies {
		t.Errorf("%s (line %d): %d copies, want %d", r.c.Name, r.c.Line, r.copies, want.copies)
	}
	if r.lost != 0 || r.beyond != 0 || r.delayed() != 0 {
		t.Errorf("%s (line %d): %d lost, %d doubled beyond what is unavoidable, %d others delayed (%+v)", r.c.Name, r.c.Line, r.lost, r.beyond, r.delayed(), r.beside)
	}
}

func waitedFor(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return round(d)
}

var codes = regexp.MustCompile(`^\d{3}( \d\.\d{1,3}\.\d{1,3})?`)

// summary is what came of the recipients of an attempt; where it is the same for all, once.
func summary(did []outcomeLine, domain string) string {
	var all []string
	same := true
	for _, o := range did {
		s := o.result
		if s == "delivered" {
			if host, _, ok := strings.Cut(o.host, "."); strings.HasPrefix(o.host, domain) {
				s += " by the domain itself"
			} else if strings.HasPrefix(o.host, "[") {
				s += " by the address"
			} else if ok {
				s += " by " + host
			}
		} else {
			s += " " + codes.FindString(o.reply)
		}
		if o.unknown() {
			s += " unknown"
		}
		all = append(all, s)
		same = same && s == all[0]
	}
	if same {
		return all[0]
	}
	return strings.Join(all, " + ")
}

const tableBegin, tableEnd = "<!-- the table of TestRemotes -->\n", "<!-- its end -->\n"

// formatRows writes the table of the manual.
func formatRows(rows []remoteRow) string {
	var b strings.Builder
	lost, beyond, delayed := 0, 0, 0
	b.WriteString("| misbehaviour | attempts, and what came of them | waited | copies | lost | doubled | delayed |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, r := range rows {
		attempts := strings.Join(r.attempts, "; ")
		if len(r.attempts) > 1 {
			attempts = fmt.Sprintf("%d: %s", len(r.attempts), attempts)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %d | %d | %d | %d |\n", strings.ReplaceAll(r.c.Name, "|", "\\|"), attempts, waitedFor(r.waited), r.copies, r.lost, r.beyond, r.delayed())
		lost, beyond, delayed = lost+r.lost, beyond+r.beyond, delayed+r.delayed()
	}
	fmt.Fprintf(&b, "| all %d | | | | %d | %d | %d |\n", len(rows), lost, beyond, delayed)
	return b.String()
}

// checkTable compares the table with that in the manual, or writes it there.
func checkTable(t *testing.T, rows []remoteRow) {
	const page = "manual/remotes.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), tableBegin)
	old, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", page)
	}
	table := formatRows(rows)
	if *writeTable {
		if err := os.WriteFile(page, []byte(before+tableBegin+table+tableEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if old != table {
		t.Errorf("the table in %s is not what came; write it with: go test ./cmd/stagepost -run TestRemotes -table", page)
	}
}
