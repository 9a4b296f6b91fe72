package remotetest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Message is what one transaction brought.
type Message struct {
	Mail    string   // argument of MAIL
	Rcpts   []string // arguments of the RCPTs that were accepted
	Content []byte   // as it came over the wire, with stuffed dots and the final one
	Answers []string // what was answered at the end, for each of Rcpts by LMTP, else once; "": nothing
}

// Conn is one connection.
type Conn struct {
	remote *Remote
	raw    net.Conn // as it was accepted
	nc     net.Conn // with TLS over it, perhaps
	script Script
	seen   map[string]int // occurrences of each stage
	total  int            // octets that came
	hangs  atomic.Value   // in which action it is that goes on until the client has had enough; "": in none
	sent   atomic.Int64   // octets

	mu       sync.Mutex
	commands []string
	messages []Message
	segments int

	in      *bufio.Reader
	lmtp    bool
	greeted bool
	secured bool
	mail    string
	open    bool // a transaction is
	rcpts   []string
	chunks  []byte // of BDAT, until the last
}

// Commands returns the command lines that came, and "." for each end of content.
func (c *Conn) Commands() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.commands)
}

// Segments is the number of writes of a client in memory.
func (c *Conn) Segments() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.segments
}

// Client is the client's address.
func (c *Conn) Client() net.Addr { return c.raw.RemoteAddr() }

// Hangs names the action that is under way if it is one that goes on until the client leaves: silent, stuck or trickle.
func (c *Conn) Hangs() string {
	action, _ := c.hangs.Load().(string)
	return action
}

// Sent is how many octets went to the client, those of TLS included.
func (c *Conn) Sent() int64 { return c.sent.Load() }

// counting counts what is written to a connection.
type counting struct {
	net.Conn
	n *atomic.Int64
}

func (w counting) Write(p []byte) (int, error) {
	w.n.Add(int64(len(p))) // before: who has read it may look
	return w.Conn.Write(p)
}

func (c *Conn) note(command string) {
	if c.remote.Log != nil {
		c.remote.Log(c, "C: "+command)
	}
	if c.remote.Taken != nil {
		return
	}
	c.mu.Lock()
	c.commands = append(c.commands, command)
	c.mu.Unlock()
}

// counted reads and counts, and lets happen what is to happen after so many octets.
type counted struct{ c *Conn }

var errOver = errors.New("the script ends the connection here")

func (r counted) Read(p []byte) (int, error) {
	c := r.c
	for key, action := range c.script {
		var at int
		if _, err := fmt.Sscanf(key, "octets %d", &at); err == nil && c.total <= at {
			if c.total == at {
				if !c.do(action) {
					return 0, errOver
				}
				continue
			}
			p = p[:min(len(p), at-c.total)]
		}
	}
	n, err := c.nc.Read(p)
	if c.total += n; n > 0 {
		c.mu.Lock()
		c.segments++
		c.mu.Unlock()
	}
	return n, err
}

// good holds the replies of a server without a fault.
var good = map[string]string{
	"banner":   "220 remote.test ESMTP",
	"EHLO":     "250-remote.test\n250-PIPELINING\n250-SIZE 1000000\n250 8BITMIME",
	"LHLO":     "250-remote.test\n250-PIPELINING\n250 8BITMIME",
	"HELO":     "250 remote.test",
	"STARTTLS": "220 2.0.0 go ahead | tls",
	"RSET":     "250 2.0.0 ok",
	"MAIL":     "250 2.1.0 ok",
	"RCPT":     "250 2.1.5 ok",
	"DATA":     "354 go ahead",
	"dot":      "250 2.0.0 taken",
	"QUIT":     "221 2.0.0 bye | close",
}

func (c *Conn) serve() {
	defer func() {
		c.raw.Close()
		c.hangs.Store("")
	}()
	c.in = bufio.NewReaderSize(counted{c}, 64<<10)
	if !c.act("banner", "") {
		return
	}
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		c.note(line)
		verb, arg, _ := strings.Cut(line, " ")
		if !c.command(strings.ToUpper(verb), arg) {
			return
		}
	}
}

// command answers one and tells whether to go on.
func (c *Conn) command(verb, arg string) bool {
	_, path, _ := strings.Cut(arg, ":")
	path, _, _ = strings.Cut(path, " ")
	refuse := ""
	switch verb {
	case "EHLO", "HELO", "LHLO":
		c.lmtp, c.greeted, c.open = verb == "LHLO", true, false
	case "STARTTLS":
		if _, offered := c.script["STARTTLS"]; c.secured || !offered && !strings.Contains(c.script["EHLO"], "STARTTLS") {
			refuse = "502 5.5.1 no TLS here"
		}
	case "RSET":
		c.open = false
	case "MAIL":
		if !c.greeted || c.open {
			refuse = "503 5.5.1 nested MAIL, or no greeting"
		}
	case "RCPT":
		if !c.open {
			refuse = "503 5.5.1 no MAIL"
		}
	case "DATA":
		if !c.open {
			refuse = "503 5.5.1 no MAIL"
		} else if len(c.rcpts) == 0 {
			refuse = "554 5.5.1 no valid recipients"
		}
	case "BDAT":
		if action, told := c.action(verb, ""); told {
			return c.do(action)
		}
		return c.chunk(arg)
	case "QUIT":
	default:
		refuse = "500 5.5.2 what?"
	}
	action, told := c.action(verb, path)
	if refuse != "" && !told {
		return c.do(refuse)
	}
	if c.secured && verb == "EHLO" {
		action = strings.Replace(action, "250-STARTTLS\n", "", 1)
	}
	ok := c.do(action)
	positive := strings.HasPrefix(action, "2") || strings.HasPrefix(action, "3")
	switch {
	case !ok || !positive:
		return ok
	case verb == "MAIL":
		c.open, c.mail, c.rcpts, c.chunks = true, arg, nil, nil
	case verb == "RCPT":
		c.rcpts = append(c.rcpts, arg)
	case verb == "DATA" && action[0] == '3':
		return c.content()
	}
	return true
}

const maxChunk = 64 << 20

// chunk reads what follows BDAT.
func (c *Conn) chunk(arg string) bool {
	var n int
	count, last := strings.CutSuffix(arg, " LAST")
	if _, err := fmt.Sscanf(count, "%d", &n); err != nil || n < 0 || n > maxChunk || !c.open || len(c.rcpts) == 0 {
		return c.do("503 5.5.1 BDAT is of no use here")
	}
	begun := len(c.chunks)
	c.chunks = append(c.chunks, make([]byte, n)...)
	if !c.within(c.chunks[begun:]) {
		return false
	}
	if !last {
		return c.do("250 2.0.0 go on")
	}
	return c.taken(c.chunks)
}

// within reads exactly so much content, with what is to happen on the way.
func (c *Conn) within(b []byte) bool {
	if action, at, told := c.midway(); told && at < len(b) {
		if _, err := io.ReadFull(c.in, b[:at]); err != nil || !c.do(action) {
			return false
		}
		b = b[at:]
	}
	_, err := io.ReadFull(c.in, b)
	return err == nil
}

// midway finds what is to happen after some of the content.
func (c *Conn) midway() (action string, at int, told bool) {
	for key, action := range c.script {
		if _, err := fmt.Sscanf(key, "content %d", &at); err == nil {
			return action, at, true
		}
	}
	return "", 0, false
}

// content reads up to the final dot.
func (c *Conn) content() bool {
	var got []byte
	if action, at, told := c.midway(); told {
		got = make([]byte, at)
		if _, err := io.ReadFull(c.in, got); err != nil || !c.do(action) {
			return false
		}
	}
	for string(got[:min(len(got), 4)]) != ".\r\n" && !bytes.HasSuffix(got, []byte("\r\n.\r\n")) {
		line, err := c.in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return false
		}
		got = append(got, line...)
	}
	c.note(".")
	return c.taken(got)
}

// taken answers the end of a content. What was answered is noted before it goes out: whoever has the reply may look.
func (c *Conn) taken(got []byte) bool {
	c.open = false
	recipients := []string{""}
	if c.lmtp {
		recipients = c.rcpts
	}
	m := Message{c.mail, c.rcpts, got, make([]string, len(recipients))}
	actions := make([]string, len(recipients))
	for i, r := range recipients {
		_, path, _ := strings.Cut(r, ":")
		actions[i], _ = c.action("dot", path)
	}
	if m.Answers[0] = said(actions[0]); c.remote.Taken != nil {
		c.remote.Taken(&m)
	} else {
		c.mu.Lock()
		c.messages = append(c.messages, m)
		c.mu.Unlock()
	}
	for i, action := range actions {
		c.mu.Lock()
		m.Answers[i] = said(action)
		c.mu.Unlock()
		if !c.do(action) {
			return false
		}
	}
	return true
}

// said is the reply that comes whole in an action; "" if none does.
func said(action string) string {
	for step := range strings.SplitSeq(action, " | ") {
		if step != "" && step[0] >= '2' && step[0] <= '5' {
			return step
		}
		if rest, ok := strings.CutPrefix(step, "drip "); ok {
			return rest
		}
	}
	return ""
}

// TLS tells of the handshake; nil: there was none.
func (c *Conn) TLS() *tls.ConnectionState {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t, ok := c.nc.(*tls.Conn); ok {
		s := t.ConnectionState()
		return &s
	}
	return nil
}
