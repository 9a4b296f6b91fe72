package server

import (
	"fmt"
	"slices"
	"strings"
)

// model is what a session must be to its client and to plugins, said a second time and as plainly as can be: which reply each
// command draws, which stages are asked with what, and which messages are kept. It knows nothing of buffers, workers and time.
type model struct {
	part      // what kind of session it is
	encrypted bool
	name      string // given with HELO, EHLO or LHLO
	named     string // the last name that plugins were asked about, since they know of any
	late      [2]int // codes that plugins said at connect and helo and that are told at RCPT; 0: none
	esmtp     bool
	user      string // logged in
	wrong     int    // log-ins that were refused
	tx        *modelTx

	tainted             bool // the last line ended with a bare LF: the next one is no command
	junk, idle, refused int  // since the last message
	over                bool // the connection is closed
	trail               []string
	kept                []modelMessage
	limits              Limits
	maxSize, maxRcpts   int
}

// part is a kind of session: where it comes in, and what a plugin says at its connect.
type part struct {
	lmtp    bool
	tls     bool // STARTTLS is offered
	atRcpt  bool // refusals are told at RCPT
	connect int  // the code of the refusal; 0: none. Who logs in is not refused
}

type modelTx struct {
	late     int // the code that was said to MAIL and is told at RCPT
	told     int // RCPT that were answered 250
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
	secures bool // TLS begins after a positive reply
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

// answers are the codes of the replies to a content: one, or in LMTP one for each recipient that was answered 250.
func (m *model) answers(code int, t *modelTx) (codes []int) {
	over := m.over
	code = m.answer(code)
	if !m.lmtp || t == nil || t.told == 0 || m.over && !over {
		return []int{code}
	}
	return slices.Repeat([]int{code}, t.told)
}

// step takes a line and returns the codes of its replies. more says that something follows in the same group.
func (m *model) step(a *act, more bool) []int {
	t := m.tx
	code := m.take(a, more)
	if m.tx != nil || !strings.HasSuffix(a.raw[:strings.IndexByte(a.raw, '\n')], " LAST\r") {
		t = nil
	}
	return m.answers(code, t)
}

// take is what is said to a line, before it is counted.
func (m *model) take(a *act, more bool) int {
	switch {
	case a.bareLF, m.tainted, a.fault:
		m.tainted = a.bareLF
		m.over = strings.HasPrefix(strings.ToUpper(a.raw), "BDAT") // octets follow, or might
		return 500
	case more && !a.leaves && (a.last || !m.esmtp):
		if a.idles {
			m.idle++
		}
		m.over = true
		return 554
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
	return code
}

// startTLS forgets all that the client said (RFC 3207 section 4.2), and what plugins noted of it.
func (m *model) startTLS() int {
	switch {
	case m.encrypted:
		return 503
	case !m.tls:
		return 502
	case !m.esmtp, m.tx != nil:
		return 503
	}
	m.encrypted, m.name, m.named, m.esmtp, m.user = true, "", "", false, ""
	return 220
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
	m.asked("helo", strings.TrimSpace(name+" "+m.named))
	m.named = name
	code := byWord(name)
	if m.late[1] = 0; m.atRcpt && code >= 400 && code != 421 {
		m.late[1], code = code, 250
	}
	if code >= 400 {
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
	code, late := byWord(sender), 0
	if m.atRcpt && code >= 400 && code != 421 {
		code, late = 250, code
	}
	if code >= 400 {
		return code
	}
	m.tx = &modelTx{sender: sender, params: params, discard: code == 0, late: late}
	return 250
}

func (m *model) rcpt(to string) int {
	t := m.tx
	switch {
	case t == nil || t.begun:
		return 503
	case slices.Contains(t.rcpts, to) && (!m.lmtp || t.told < m.maxRcpts):
		t.told++
		return 250
	case t.accepted >= m.maxRcpts, m.lmtp && t.told >= m.maxRcpts:
		return 452
	}
	for i, code := range []int{m.late[0], m.late[1], t.late} {
		if code != 0 && (i > 0 || m.user == "") {
			return code
		}
	}
	m.asked("rcpt", to+" from "+t.sender)
	switch code := byWord(to); {
	case code >= 400:
		return code
	case code == 0:
		t.accepted++
		t.told++
		return 250
	case !strings.HasSuffix(to, "@example.org"):
		return 550
	}
	t.accepted++
	t.told++
	t.rcpts = append(t.rcpts, to)
	return 250
}

func (m *model) data() int {
	switch {
	case m.tx == nil || m.tx.begun:
		return 503
	case m.tx.accepted == 0:
		return m.nobody()
	case m.tx.binary():
		return 503
	}
	return 354
}

func (t *modelTx) binary() bool { return strings.Contains(t.params, "BODY=BINARYMIME") }

// nobody is the reply where content would come for no recipient (RFC 2033 section 4.2 for LMTP).
func (m *model) nobody() int {
	if m.lmtp {
		return 503
	}
	return 554
}

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
		return m.nobody()
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

// finish takes a content, and returns the codes of the last replies.
func (m *model) finish(l *letter) []int {
	t := m.tx
	return m.answers(m.end(l), t)
}

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
