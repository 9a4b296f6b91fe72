// Package remotetest is a mail server that misbehaves as it is told, for tests of whatever sends mail. It speaks SMTP and
// LMTP, keeps all that it got, and refuses what a server must refuse, so a client that skips a RSET is found out.
//
// A Script says for one connection what happens at a stage instead of the good answer. Its keys, the most exact first:
//
//	"RCPT <u@example.org>"   this recipient; also "dot <u@example.org>", for the replies of LMTP
//	"MAIL#2"                 the second MAIL of the connection
//	"MAIL"                   banner, EHLO, LHLO, HELO, RSET, MAIL, RCPT, DATA, dot (the end of the content, of BDAT LAST too), QUIT
//	"content 1000"           when so many octets of content came
//
// and its values, which may be joined with " | ":
//
//	"450 4.7.1 later"        a reply; lines end with "\n", each with its code
//	"close", "reset"         end the connection, by FIN or (TCP only) by RST
//	"silent"                 say nothing more until the client leaves
//	"stuck"                  nor read
//	"drip 250 ok"            a reply of which one octet comes a second
//	"raw ..."                octets as they are
//	""                       no reply, but go on
package remotetest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Script holds what a connection does otherwise than well.
type Script map[string]string

// Remote is one server. The scripts are those of its connections, in order; the last serves all that follow.
type Remote struct {
	tb      testing.TB
	scripts []Script
	serving sync.WaitGroup
	done    chan struct{} // closed when the test ends

	mu    sync.Mutex
	conns []*Conn
}

// New makes a Remote that is up until the test ends.
func New(tb testing.TB, scripts ...Script) *Remote {
	r := &Remote{tb: tb, scripts: scripts, done: make(chan struct{})}
	if len(scripts) == 0 {
		r.scripts = []Script{{}}
	}
	tb.Cleanup(func() {
		close(r.done)
		for _, c := range r.Conns() {
			c.nc.Close()
		}
		r.serving.Wait()
	})
	return r
}

// Conns returns the connections so far.
func (r *Remote) Conns() []*Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.conns)
}

// Messages returns what was received whole and answered positively, connection by connection.
func (r *Remote) Messages() []Message {
	var all []Message
	for _, c := range r.Conns() {
		c.mu.Lock()
		all = append(all, c.messages...)
		c.mu.Unlock()
	}
	return all
}

// Serve answers one connection in the background.
func (r *Remote) Serve(nc net.Conn) {
	r.mu.Lock()
	c := &Conn{nc: nc, done: r.done, script: r.scripts[min(len(r.conns), len(r.scripts)-1)], seen: make(map[string]int)}
	r.conns = append(r.conns, c)
	r.mu.Unlock()
	r.serving.Go(c.serve)
}

// Listen serves a free TCP port of the loopback interface and returns its address.
func (r *Remote) Listen() string {
	r.tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.tb.Fatal(err)
	}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			r.Serve(nc)
		}
	})
	r.tb.Cleanup(func() {
		l.Close()
		accepting.Wait()
	})
	return l.Addr().String()
}

// Net is a made-up network: servers by address, such as "192.0.2.1:25". Where there is none, connections are refused. A nil
// one never answers.
type Net struct {
	Remotes map[string]*Remote

	mu     sync.Mutex
	dialed []string
}

// Dial connects in memory.
func (n *Net) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	n.mu.Lock()
	n.dialed = append(n.dialed, addr)
	n.mu.Unlock()
	r, ok := n.Remotes[addr]
	if !ok {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	if r == nil {
		<-ctx.Done()
		return nil, &net.OpError{Op: "dial", Net: network, Err: ctx.Err()}
	}
	client, server := net.Pipe()
	r.Serve(server)
	return client, nil
}

// Dialed returns the addresses asked for so far, each as often as it was.
func (n *Net) Dialed() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.dialed)
}

// Message is what one transaction brought.
type Message struct {
	Mail    string   // argument of MAIL
	Rcpts   []string // arguments of the RCPTs that were accepted
	Content []byte   // as it came over the wire, with stuffed dots and the final one
}

// Conn is one connection.
type Conn struct {
	nc     net.Conn
	done   chan struct{}
	script Script
	seen   map[string]int // occurrences of each stage

	mu       sync.Mutex
	commands []string
	messages []Message
	segments int

	in      *bufio.Reader
	lmtp    bool
	greeted bool
	mail    string
	open    bool // a transaction is
	rcpts   []string
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

func (c *Conn) note(command string) {
	c.mu.Lock()
	c.commands = append(c.commands, command)
	c.mu.Unlock()
}

type counted struct{ c *Conn }

func (r counted) Read(p []byte) (int, error) {
	n, err := r.c.nc.Read(p)
	if n > 0 {
		r.c.mu.Lock()
		r.c.segments++
		r.c.mu.Unlock()
	}
	return n, err
}

// good holds the replies of a server without a fault.
var good = map[string]string{
	"banner": "220 remote.test ESMTP",
	"EHLO":   "250-remote.test\n250-PIPELINING\n250-SIZE 1000000\n250 8BITMIME",
	"LHLO":   "250-remote.test\n250-PIPELINING\n250 8BITMIME",
	"HELO":   "250 remote.test",
	"RSET":   "250 2.0.0 ok",
	"MAIL":   "250 2.1.0 ok",
	"RCPT":   "250 2.1.5 ok",
	"DATA":   "354 go ahead",
	"dot":    "250 2.0.0 taken",
	"QUIT":   "221 2.0.0 bye | close",
}

func (c *Conn) serve() {
	defer c.nc.Close()
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
		var n int
		if _, err := fmt.Sscanf(arg, "%d LAST", &n); err != nil || !c.open || len(c.rcpts) == 0 {
			refuse = "503 5.5.1 BDAT is of no use here"
			break
		}
		got := make([]byte, n)
		if _, err := io.ReadFull(c.in, got); err != nil {
			return false
		}
		return c.taken(got)
	case "QUIT":
	default:
		refuse = "500 5.5.2 what?"
	}
	action, told := c.action(verb, path)
	if refuse != "" && !told {
		return c.do(refuse)
	}
	ok := c.do(action)
	positive := strings.HasPrefix(action, "2") || strings.HasPrefix(action, "3")
	switch {
	case !ok || !positive:
		return ok
	case verb == "MAIL":
		c.open, c.mail, c.rcpts = true, arg, nil
	case verb == "RCPT":
		c.rcpts = append(c.rcpts, arg)
	case verb == "DATA" && action[0] == '3':
		return c.content()
	}
	return true
}

// content reads up to the final dot.
func (c *Conn) content() bool {
	var got []byte
	for key, action := range c.script {
		var n int
		if _, err := fmt.Sscanf(key, "content %d", &n); err == nil {
			got = make([]byte, n)
			if _, err := io.ReadFull(c.in, got); err != nil || !c.do(action) {
				return false
			}
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

// taken answers the end of a content.
func (c *Conn) taken(got []byte) bool {
	c.open = false
	recipients := []string{""}
	if c.lmtp {
		recipients = c.rcpts
	}
	for i, r := range recipients {
		_, path, _ := strings.Cut(r, ":")
		action, _ := c.action("dot", path)
		if strings.HasPrefix(action, "2") && i == 0 {
			c.mu.Lock()
			c.messages = append(c.messages, Message{c.mail, c.rcpts, got})
			c.mu.Unlock()
		}
		if !c.do(action) {
			return false
		}
	}
	return true
}

func (c *Conn) act(stage, path string) bool {
	action, _ := c.action(stage, path)
	return c.do(action)
}

// action finds what happens at a stage; told means that the script says so.
func (c *Conn) action(stage, path string) (action string, told bool) {
	c.seen[stage]++
	for _, key := range []string{stage + " " + path, fmt.Sprintf("%s#%d", stage, c.seen[stage]), stage} {
		if action, told = c.script[key]; told {
			return action, true
		}
	}
	return good[stage], false
}

func (c *Conn) do(action string) bool {
	for _, step := range strings.Split(action, " | ") {
		word, rest, _ := strings.Cut(step, " ")
		switch word {
		case "":
		case "close":
			return false
		case "reset":
			if tcp, ok := c.nc.(*net.TCPConn); ok {
				tcp.SetLinger(0)
			}
			return false
		case "silent":
			io.Copy(io.Discard, c.in)
			return false
		case "stuck":
			<-c.done
			return false
		case "drip":
			for i := range len(rest) {
				time.Sleep(time.Second)
				if _, err := c.nc.Write([]byte{rest[i]}); err != nil {
					return false
				}
			}
			c.nc.Write([]byte("\r\n"))
		case "raw":
			if _, err := io.WriteString(c.nc, rest); err != nil {
				return false
			}
		default:
			if _, err := io.WriteString(c.nc, strings.ReplaceAll(step, "\n", "\r\n")+"\r\n"); err != nil {
				return false
			}
		}
	}
	return true
}
