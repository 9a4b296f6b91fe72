package main

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// What both ends of a server know, and the rules between them (N1 to N7; scripts/killtest has them for the real process).

// post is one message of the source, and what it was told of it.
type post struct {
	n       int
	token   string
	sender  string // "" is the null sender
	content []byte // lines end with CRLF, no line begins with a dot
	rcpts   []string
	taken   []string // those that were accepted
	end     postEnd
	dot, at time.Time // the final dot was sent, the reply was read
}

type postEnd int

const (
	postOpen postEnd = iota // the final dot was not sent
	postDot                 // it was, and nothing is known
	postAck
	postNak
)

// tried is one transaction at the sink.
type tried struct {
	life      int // of the server
	rcpts     []string
	codes     []int // of the recipients
	seen      bool  // the final dot came
	dot       int   // the reply to it; 0: none
	id        string
	notice    string // the content, if it went to a sender
	fault     string // what is wrong with the content
	replied   time.Time
	confirmed bool // the server went on afterwards
}

// account is what both ends have seen until some moment, in one or more lives of a server.
type account struct {
	mu    sync.Mutex
	life  int
	posts map[int]*post
	tries []*tried
}

func newAccount() *account { return &account{posts: map[int]*post{}} }

func (a *account) do(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

// copy is of one moment, for the next life.
func (a *account) copy() *account {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := &account{life: a.life + 1, posts: make(map[int]*post, len(a.posts)), tries: make([]*tried, len(a.tries))}
	for n, p := range a.posts {
		as := *p
		c.posts[n] = &as
	}
	for i, t := range a.tries {
		as := *t
		c.tries[i] = &as
	}
	return c
}

// Addresses say what becomes of them: "KIND.N@dD.example". What a sink does for the first life of a server it does otherwise
// for the later ones, which take everything but what is never taken.
const (
	rcptGood  = "good"
	rcptLater = "later" // deferred half of the time
	rcptNever = "never" // refused for good
	rcptBreak = "break" // the connection breaks after the dot
)

func numberOf(address string) (kind string, n int) {
	fmt.Sscanf(strings.ReplaceAll(address, ".", " "), "%s %d@", &kind, &n)
	return kind, n
}

// newPost makes message n.
func newPost(n int, rng *rand.Rand) *post {
	p := &post{n: n, token: fmt.Sprintf("token-%d-%x", n, rng.Uint64())}
	if rng.IntN(15) > 0 {
		p.sender = fmt.Sprintf("sender.%d@src.example", n)
	}
	for i := range 1 + rng.IntN(3) {
		kind := rcptGood
		switch k := rng.IntN(40); {
		case k < 3:
			kind = rcptLater
		case k < 5:
			kind = rcptNever
		case k < 6:
			kind = rcptBreak
		}
		p.rcpts = append(p.rcpts, fmt.Sprintf("%s.%d@d%d.example", kind, n, i))
	}
	size := 200 + rng.IntN(6000)
	switch k := rng.IntN(100); {
	case k < 30:
		size = 18<<10 + rng.IntN(13<<10)
	case k < 42:
		size = 33<<10 + rng.IntN(120<<10)
	case k < 45:
		size = 280<<10 + rng.IntN(800<<10)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "Subject: %s\r\n\r\n", p.token)
	for b.Len() < size {
		fmt.Fprintf(&b, "%s %016x %s\r\n", p.token, rng.Uint64(), strings.Repeat("x", rng.IntN(60)))
	}
	p.content = b.Bytes()
	return p
}

var imageReceived = regexp.MustCompile(`\bby mx\.example\.org\b[^\r\n]*(?:\r\n[ \t][^\r\n]*)* id ([0-9A-Za-z]+)`)

// examine keeps what a content says of itself. a.mu is held.
func (a *account) examine(t *tried, content []byte) {
	t.seen = true
	if found := imageReceived.FindSubmatch(content); found != nil {
		t.id = string(found[1])
	}
	kind, n := numberOf(t.rcpts[0])
	p := a.posts[n]
	switch {
	case p == nil:
		t.fault = "it is for " + t.rcpts[0] + ", who has no mail here"
	case kind == "sender":
		t.notice = string(content)
	case !bytes.HasSuffix(content, p.content):
		t.fault = fmt.Sprintf("message %d came with %d octets, other than the %d that were sent", n, len(content), len(p.content))
	case t.id == "":
		t.fault = fmt.Sprintf("message %d came without our Received field", n)
	default:
		for line := range strings.SplitSeq(strings.TrimSuffix(string(content[:len(content)-len(p.content)]), "\r\n"), "\r\n") {
			if line == "" || line[0] != ' ' && line[0] != '\t' && !strings.Contains(line, ":") {
				t.fault = fmt.Sprintf("message %d has %q before it", n, line)
			}
		}
	}
}

// imageVerdict counts what is wrong.
type imageVerdict struct {
	lost, untrue, duplicates, damaged, unopened, other int
	excused                                            int // deliveries again that a crash explains
	first                                              string
}

func (v *imageVerdict) say(n *int, format string, args ...any) {
	if *n++; v.first == "" {
		v.first = fmt.Sprintf(format, args...)
	}
}

func (v *imageVerdict) wrong() bool {
	return v.lost+v.untrue+v.duplicates+v.damaged+v.unopened+v.other > 0
}

func (v *imageVerdict) add(w *imageVerdict) {
	v.lost, v.untrue, v.duplicates, v.damaged, v.unopened, v.other, v.excused = v.lost+w.lost, v.untrue+w.untrue, v.duplicates+w.duplicates, v.damaged+w.damaged, v.unopened+w.unopened, v.other+w.other, v.excused+w.excused
	if v.first == "" {
		v.first = w.first
	}
}

// markWindow is how late the mark of a delivery may be, by the evidence that lag collects.
const markWindow = 500 * time.Millisecond

// judge compares what both ends know when nothing is left in the queue.
func (a *account) judge(v *imageVerdict) {
	a.mu.Lock()
	defer a.mu.Unlock()
	byRcpt, ids, told := map[string][]*tried{}, map[int][]string{}, map[int][]*tried{}
	for _, t := range a.tries {
		if t.fault != "" {
			v.say(&v.damaged, "%s", t.fault)
		}
		for _, r := range t.rcpts {
			switch kind, n := numberOf(r); {
			case kind != "sender":
				byRcpt[r] = append(byRcpt[r], t)
				if t.id != "" && !slices.Contains(ids[n], t.id) {
					ids[n] = append(ids[n], t.id)
				}
			case t.seen && t.dot/100 == 2:
				told[n] = append(told[n], t)
			}
		}
	}
	var acked []*post
	for _, p := range a.posts {
		if p.end == postAck {
			acked = append(acked, p)
		}
	}
	for n, p := range a.posts {
		held := slices.ContainsFunc(p.rcpts, func(r string) bool { return len(byRcpt[r]) > 0 })
		switch {
		case len(ids[n]) > 1:
			v.say(&v.duplicates, "N3: message %d came as %v", n, ids[n])
		case p.end == postOpen || p.end == postNak:
			if held {
				v.say(&v.other, "N2: message %d was not taken, and is delivered", n)
			}
			continue
		case p.end == postDot && !held:
			continue
		case p.end == postAck && !held:
			v.say(&v.untrue, "N1: of message %d, which was acknowledged, nobody heard again", n)
		}
		for _, r := range p.taken {
			a.fate(p, r, byRcpt[r], told[n], acked, v)
		}
	}
	for n, list := range told {
		for _, ids := range slices.Collect(maps.Values(byID(list))) {
			for i := range len(ids) - 1 {
				a.again(v, "N4: a notice", n, ids[i], ids[i+1], acked)
			}
		}
	}
}

func byID(list []*tried) map[string][]*tried {
	m := map[string][]*tried{}
	for _, t := range list {
		m[t.id] = append(m[t.id], t)
	}
	return m
}

// result is the last reply that a recipient had; 0: none.
func (t *tried) result(rcpt string) int {
	if i := slices.Index(t.rcpts, rcpt); i >= 0 && t.codes[i] != 250 {
		return t.codes[i]
	}
	return t.dot
}

// fate checks one recipient of a message that the server had.
func (a *account) fate(p *post, rcpt string, tries, notices []*tried, acked []*post, v *imageVerdict) {
	came, refused := false, false
	for i, t := range tries {
		code := t.result(rcpt)
		came, refused = came || code/100 == 2, code/100 == 5
		if final := code/100 == 2 || code/100 == 5; final && i+1 < len(tries) {
			a.again(v, fmt.Sprintf("N4, N5: %s, answered %d,", rcpt, code), p.n, t, tries[i+1], acked)
		}
	}
	told := map[string]bool{}
	for _, t := range notices {
		if strings.Contains(t.notice, rcpt) {
			told[t.id] = true
		}
	}
	switch {
	case len(told) > 1:
		v.say(&v.duplicates, "N7: the sender was told of %s by %d notices", rcpt, len(told))
	case len(told) == 1 && !refused:
		v.say(&v.other, "N7: the sender was told of %s, which did not fail", rcpt)
	case came:
	case refused && (p.sender == "" || len(told) == 1):
	case refused:
		v.say(&v.lost, "N1: message %d was refused for %s, and nobody was told", p.n, rcpt)
	default:
		v.say(&v.lost, "N1: message %d (end %d) did not come to %s: lost, after %d attempts", p.n, p.end, rcpt, len(tries))
	}
}

// again tells whether an attempt after a final answer has an excuse: the server was cut in between, and nothing shows that the
// mark was on the disk by then.
func (a *account) again(v *imageVerdict, what string, n int, t, next *tried, acked []*post) {
	switch {
	case t.life == next.life:
		v.say(&v.duplicates, "%s of message %d was tried again by the same process", what, n)
	case !t.confirmed || lag(t, acked) < markWindow:
		v.excused++
	default:
		v.say(&v.duplicates, "%s of message %d was tried again after a cut, and its mark was late by %s", what, n, lag(t, acked))
	}
}

// lag is by how much the mark of a transaction was certainly late, if it was not on the disk at the cut: a message that was sent
// after the reply was acknowledged, and then one that was sent after that; marks go through the same log.
func lag(t *tried, acked []*post) (longest time.Duration) {
	var last time.Time
	for _, p := range acked {
		if p.dot.After(last) {
			last = p.dot
		}
	}
	for _, p := range acked {
		longest = max(longest, min(p.dot.Sub(t.replied), last.Sub(p.at)))
	}
	return longest
}
