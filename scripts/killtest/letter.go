package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
)

// letters makes the messages of a run from its seed and a number, so that nobody has to keep them.
type letters struct {
	seed  uint64
	lines [][]byte // of which bodies are put together
}

// letter is one message.
type letter struct {
	n       int
	token   string
	sender  string // "" is the null sender
	rcpts   []string
	content []byte // lines end with CRLF, dots are not doubled
}

const hostname = "mx.example.org"

func newLetters(seed uint64) *letters {
	l := &letters{seed: seed, lines: make([][]byte, 2048)}
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range l.lines {
		line := make([]byte, r.IntN(90))
		for k := range line {
			line[k] = byte(' ' + r.IntN('~'-' '+1))
		}
		switch r.IntN(12) {
		case 0:
			line = append([]byte("."), line...)
		case 1:
			line = append(line, " gr\xfc\xdf G\xc3\xbcte"...)
		case 2:
			line = []byte(".")
		case 3:
			line = append([]byte("From "), line...)
		}
		l.lines[i] = append(line, "\r\n"...)
	}
	return l
}

// token names a message in its addresses and its content.
func (l *letters) token(n int) string { return fmt.Sprintf("%x-%d", l.seed, n) }

// number is the reverse; an address or field that is not ours has none.
func (l *letters) number(token string) (n int, ok bool) {
	number, ok := strings.CutPrefix(token, fmt.Sprintf("%x-", l.seed))
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(number)
	return n, err == nil && n >= 0
}

// owner finds the message that an address belongs to, and whether it is that of the sender.
func (l *letters) owner(address string) (n int, sender, ok bool) {
	local, _, _ := strings.Cut(address, "@")
	who, token, _ := strings.Cut(local, ".")
	n, ok = l.number(token)
	return n, who == "s", ok && who != ""
}

// hopeless tells whether the server must refuse the message at its end, for all the Received fields that it has.
func hopeless(n int) bool { return n%41 == 40 }

// stubborn tells whether the sink defers the first recipient of the message as long as the weather is rough, so that it
// expires. Its sender is never the null one: nobody could be told.
func stubborn(n int) bool { return n%97 == 13 }

// write makes message n.
func (l *letters) write(n int) *letter {
	r := rand.New(rand.NewPCG(l.seed, uint64(n)+1))
	m := &letter{n: n, token: l.token(n)}
	if r.IntN(20) > 0 || stubborn(n) {
		m.sender = "s." + m.token + "@src.example"
	}
	domains := r.Perm(5)
	for i := range 1 + r.IntN(3) {
		m.rcpts = append(m.rcpts, fmt.Sprintf("r%d.%s@d%d.example", i, m.token, domains[i]))
	}
	size := 1<<10 + r.IntN(7<<10)
	switch r.IntN(10) {
	case 0:
		size = 40<<10 + r.IntN(160<<10)
	case 1, 2:
		size = 8<<10 + r.IntN(32<<10)
	}
	var body []byte
	for k := 0; len(body) < size; k++ {
		body = fmt.Appendf(body, "%s part %d\r\n", m.token, k)
		at := r.IntN(len(l.lines) - 32)
		for _, line := range l.lines[at : at+1+r.IntN(31)] {
			body = append(body, line...)
		}
	}
	hops := r.IntN(3)
	if hopeless(n) {
		hops = 100
	}
	var b []byte
	for i := range hops {
		b = fmt.Appendf(b, "Received: from h%d.example by h%d.example; Mon, 01 Jan 2024 00:00:00 +0000\r\n", i+1, i)
	}
	b = fmt.Appendf(b, "From: <%s>\r\nTo: undisclosed-recipients:;\r\nSubject: message %d\r\n\tof a run\r\n", m.sender, n)
	b = fmt.Appendf(b, "Message-ID: <%s@src.example>\r\nX-Token: %s\r\nX-Body: %x\r\n\r\n", m.token, m.token, sha256.Sum256(body))
	m.content = append(b, body...)
	return m
}

// doubled is the content as it goes over the wire, with the final dot.
func (m *letter) doubled() []byte {
	b := make([]byte, 0, len(m.content)+len(m.content)/64+8)
	for line := range bytes.Lines(m.content) {
		if line[0] == '.' {
			b = append(b, '.')
		}
		b = append(b, line...)
	}
	return append(b, ".\r\n"...)
}

var ourReceived = regexp.MustCompile(`^Received: [^\r\n]*(?:\r\n[ \t][^\r\n]*)*\bby ` + regexp.QuoteMeta(hostname) + `\b[^\r\n]* id ([0-9A-Za-z]+)`)

// compare finds our id in what came for message n, and what is wrong with the rest: it must be fields of ours, whole, and
// then what was sent, octet for octet.
func (l *letters) compare(n int, came []byte) (id string, err error) {
	sent := l.write(n).content
	prefix := len(came) - len(sent)
	switch {
	case prefix < 0:
		return "", fmt.Errorf("%d octets came, fewer than the %d that were sent", len(came), len(sent))
	case !bytes.Equal(came[prefix:], sent):
		at := 0
		for came[prefix+at] == sent[at] {
			at++
		}
		return "", fmt.Errorf("octet %d of the %d sent is another one: %.60q, sent was %.60q", at, len(sent), came[prefix+at:], sent[at:])
	}
	for i, line := range bytes.Split(came[:prefix], []byte("\r\n")) {
		name, _, field := bytes.Cut(line, []byte(":"))
		switch {
		case len(line) == 0: // behind the last line
		case i > 0 && (line[0] == ' ' || line[0] == '\t'):
		case !field || bytes.ContainsAny(name, " \t"):
			return "", fmt.Errorf("what stands before the message is no header: %.80q", line)
		}
	}
	if found := ourReceived.FindSubmatch(came[:prefix]); found != nil {
		return string(found[1]), nil
	}
	return "", errors.New("our Received field does not stand on top")
}
