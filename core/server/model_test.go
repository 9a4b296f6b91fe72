package server

import (
	"fmt"
	"slices"
	"strings"
)

// model is what a session must be to its client and to plugins, said a second time and as plainly as can be: which reply each
// command draws, which stages are asked with what, and which messages are kept. It knows nothing of buffers, workers and time.
type model struct {
	name  string // given with HELO or EHLO
	esmtp bool
	user  string // logged in
	wrong int    // log-ins that were refused
	tx    *modelTx

	tainted             bool // the last line ended with a bare LF: the next one is no command
	junk, idle, refused int  // since the last message
	over                bool // the connection is closed
	trail               []string
	kept                []modelMessage
	limits              Limits
	maxSize, maxRcpts   int
}

type modelTx struct {
	sender   string
	params   string
	rcpts    []string // that are kept
	accepted int      // that were answered 250
	discard  bool
	begun    bool   // a chunk was taken
	content  string // of all chunks
}

// modelMessage is one that must be in the queue.
type modelMessage struct {
	helo, sender, params string
	rcpts                []string
	content              string
}

func (m modelMessage) String() string {
	return fmt.Sprintf("%s %s %s %q %q", m.helo, m.sender, m.params, m.rcpts, m.content)
}

// act is one line of a client, and what it means.
type act struct {
	raw     string
	bareLF  bool // ends with LF alone
	fault   bool // cannot be read as a line
	unknown bool // no verb of ours, or no command at all
	last    bool // nothing may follow in its group
	clears  bool
	idles   bool
	leaves  bool
	early   bool // may come before HELO
	framed  bool // octets follow that are no command
	do      func(m *model) int
}

// answer is what a reply does to the counts of the session.
func (m *model) answer(code int) int {
	if code >= 400 {
		m.refused++
	}
	if code >= 500 && code <= 504 || code == 555 {
		m.junk++
	}
	switch {
	case m.over:
	case m.junk >= m.limits.Junk, m.refused >= m.limits.Refused, m.idle >= m.limits.Idle:
		m.over = true
		return 421
	}
	return code
}

// step takes a line and returns the code of its reply. more says that something follows in the same group.
func (m *model) step(a *act, more bool) int {
	switch {
	case a.bareLF, m.tainted, a.fault:
		m.tainted = a.bareLF
		m.over = strings.HasPrefix(strings.ToUpper(a.raw), "BDAT") // octets follow, or might
		return m.answer(500)
	case more && !a.leaves && (a.last || !m.esmtp):
		if a.idles {
			m.idle++
		}
		m.over = true
		return m.answer(554)
	}
	code := 503
	switch {
	case a.unknown, a.early, m.name != "":
		code = a.do(m)
	}
	if a.clears && code < 400 {
		m.tx = nil
	}
	if a.idles {
		m.idle++
	}
	if code == 421 {
		m.over = true
	}
	return m.answer(code)
}

func (m *model) asked(stage, about string) {
	m.trail = append(m.trail, strings.TrimSpace(stage+" "+about))
}

// byWord is what the hooks of byName say to a name.
func byWord(name string) (code int) {
	for word, code := range map[string]int{"reject": 550, "defer": 451, "close": 421, "discard": 0} {
		if strings.HasPrefix(name, word) {
			return code
		}
	}
	return 250
}

func (m *model) greet(name string, esmtp bool) int {
	m.asked("helo", name)
	if code := byWord(name); code >= 400 {
		return code
	}
	m.name, m.esmtp = name, esmtp
	return 250
}

// auth takes AUTH, with the response that comes with it or after it; "" is none yet.
func (m *model) auth(mechanism, response string) int {
	switch {
	case m.tx != nil, m.user != "", !m.esmtp:
		return 503
	case mechanism != "PLAIN":
		return 504
	case response == "":
		return 334
	case response == "*", response == "!!!":
		return 501
	}
	m.asked("auth", response)
	switch response {
	case "good":
		m.user = response
		return 235
	case "defer":
		return 454
	}
	if m.wrong++; m.wrong == 4 {
		m.over = true
		return 421
	}
	return 535
}

func (m *model) mail(sender, params string, size int) int {
	switch {
	case m.tx != nil:
		return 503
	case size > m.maxSize:
		return 552
	}
	m.asked("mail", sender+" of "+m.name+" "+m.user+params)
	code := byWord(sender)
	if code >= 400 {
		return code
	}
	m.tx = &modelTx{sender: sender, params: params, discard: code == 0}
	return 250
}

func (m *model) rcpt(to string) int {
	t := m.tx
	switch {
	case t == nil || t.begun:
		return 503
	case slices.Contains(t.rcpts, to):
		return 250
	case t.accepted >= m.maxRcpts:
		return 452
	}
	m.asked("rcpt", to+" from "+t.sender)
	switch code := byWord(to); {
	case code >= 400:
		return code
	case code == 0:
		t.accepted++
		return 250
	case !strings.HasSuffix(to, "@example.org"):
		return 550
	}
	t.accepted++
	t.rcpts = append(t.rcpts, to)
	return 250
}

func (m *model) data() int {
	switch {
	case m.tx == nil || m.tx.begun:
		return 503
	case m.tx.accepted == 0:
		return 554
	case m.tx.binary():
		return 503
	}
	return 354
}

func (t *modelTx) binary() bool { return strings.Contains(t.params, "BODY=BINARYMIME") }

// bdat takes a chunk.
func (m *model) bdat(chunk string, last bool) int {
	t := m.tx
	if m.name == "" || t == nil {
		return 503
	}
	m.tx = nil
	switch {
	case !m.esmtp:
		return 502
	case t.accepted == 0:
		return 554
	case chunk == "" && !last:
		return 501
	case len(t.content)+len(chunk) > m.maxSize:
		return 552
	}
	t.content, t.begun = t.content+chunk, true
	if !t.binary() {
		lines := t.content
		if !last {
			lines = strings.TrimSuffix(lines, "\r") // its LF may come with the next chunk
		}
		lines = strings.ReplaceAll(lines, "\r\n", "")
		if strings.ContainsAny(lines, "\r\n\x00") {
			return 550
		}
		if last && t.content != "" && !strings.HasSuffix(t.content, "\n") {
			t.content += "\r\n"
		}
	}
	m.tx = t
	switch {
	case !last:
		return 250
	case len(t.content) > m.maxSize:
		m.tx = nil
		return 552
	}
	return m.end(&letter{content: t.content})
}

// letter is a content as it is sent and as it must be kept, or the reply that refuses it.
type letter struct {
	wire, content string
	refusal       int
}

// finish takes a content, and returns the code of the last reply.
func (m *model) finish(l *letter) int { return m.answer(m.end(l)) }

func (m *model) end(l *letter) int {
	t := m.tx
	m.tx = nil
	if l.refusal != 0 {
		return l.refusal
	}
	m.asked("data", fmt.Sprintf("%s to %q", t.sender, t.rcpts))
	local := strings.TrimPrefix(t.sender, "data-")
	switch code := byWord(local); {
	case code == 421:
		m.over = true
		return code
	case code >= 400:
		return code
	case code == 0:
		t.discard = true
	}
	m.asked("queue", fmt.Sprintf("%s to %q", t.sender, t.rcpts))
	if !t.discard && len(t.rcpts) > 0 {
		m.kept = append(m.kept, modelMessage{m.name, t.sender, t.params, t.rcpts, l.content})
	}
	m.junk, m.idle, m.refused = 0, 0, 0
	return 250
}
