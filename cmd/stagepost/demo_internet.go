package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/resolve/dnszone"
	"github.com/stagepost/stagepost/core/smtp"
)

// internet is what the demo sends to: a DNS, and mail servers at addresses that are set aside for documentation (RFC 5737).
// All of it listens on free loopback ports; dial leads there.
type internet struct {
	resolve.Resolver
	dns     *dnszone.Server
	remotes map[string]*remote // by address, as the DNS has it
}

func openInternet() (*internet, error) {
	zone, err := dnszone.Parse(map[string][]string{
		"good.example":       {"MX 10 mx.good.example"},
		"mx.good.example":    {"A 192.0.2.10"},
		"patient.example":    {"MX 10 mx.patient.example"},
		"mx.patient.example": {"A 192.0.2.20"},
		"down.example":       {"MX 10 mx.down.example"},
		"mx.down.example":    {"A 192.0.2.30"},
		"moved.example":      {`TXT "no mail server of its own any more"`},
	})
	if err != nil {
		return nil, err
	}
	n := &internet{remotes: map[string]*remote{
		"192.0.2.10:25": {name: "mx.good.example"},
		"192.0.2.20:25": {name: "mx.patient.example", greylist: true},
		"192.0.2.40:24": {name: "mailbox.demo.example", lmtp: true},
	}}
	if n.dns, err = dnszone.Serve("127.0.0.1:0", zone); err != nil {
		return nil, err
	}
	if n.Resolver, err = resolve.New(resolve.Options{Servers: []string{n.dns.Addr()}}); err != nil {
		n.close()
		return nil, err
	}
	for _, r := range n.remotes {
		if err := r.listen(); err != nil {
			n.close()
			return nil, err
		}
	}
	return n, nil
}

func (n *internet) close() {
	for _, r := range n.remotes {
		r.close()
	}
	n.dns.Close()
}

// dial connects to a remote. Where none is, the connection is refused: nothing of the demo ever leaves this machine.
func (n *internet) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	r := n.remotes[addr]
	if r == nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	return new(net.Dialer).DialContext(ctx, network, r.listener.Addr().String())
}

// got is the message that a recipient has, wherever it arrived.
func (n *internet) got(rcpt string) (string, bool) {
	for _, r := range n.remotes {
		r.mu.Lock()
		text, ok := r.mailboxes[rcpt]
		r.mu.Unlock()
		if ok {
			return text, true
		}
	}
	return "", false
}

// remote is one mail server. It takes everything and keeps the last message of each recipient.
type remote struct {
	name     string
	lmtp     bool
	greylist bool // each sender and recipient must try twice

	listener  net.Listener
	sessions  sync.WaitGroup
	mu        sync.Mutex
	conns     map[net.Conn]bool // nil: closed
	mailboxes map[string]string
	known     map[string]bool // sender and recipient that tried before
}

// Bounds of a remote.
const (
	remoteSize  = 1 << 20 // bytes of a message
	remoteRcpts = 100     // of a message, and mailboxes
	remoteIdle  = 30 * time.Second
)

func (r *remote) listen() (err error) {
	r.conns, r.mailboxes, r.known = map[net.Conn]bool{}, map[string]string{}, map[string]bool{}
	if r.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return fmt.Errorf("the demo's mail server %s: %w", r.name, err)
	}
	r.sessions.Go(func() {
		for {
			conn, err := r.listener.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			open := r.conns != nil
			if open {
				r.conns[conn] = true
			}
			r.mu.Unlock()
			if !open {
				conn.Close()
				return
			}
			r.sessions.Go(func() {
				r.serve(conn)
				conn.Close()
				r.mu.Lock()
				delete(r.conns, conn)
				r.mu.Unlock()
			})
		}
	})
	return nil
}

func (r *remote) close() {
	if r.listener == nil {
		return
	}
	r.listener.Close()
	r.mu.Lock()
	for conn := range r.conns {
		conn.Close()
	}
	r.conns = nil
	r.mu.Unlock()
	r.sessions.Wait()
}

// serve is a whole session, as short as SMTP and LMTP allow.
func (r *remote) serve(conn net.Conn) {
	reader := smtp.NewReader(conn)
	reader.Attach(make([]byte, 8<<10), 0)
	var out []byte
	say := func(replies ...smtp.Reply) error {
		for _, reply := range replies {
			out = reply.Append(out)
		}
		if reader.Buffered() > 0 { // the client sent more commands at once
			return nil
		}
		_, err := conn.Write(out)
		out = out[:0]
		return err
	}
	ok := smtp.NewReply(250, "2.0.0", "ok")
	err := say(smtp.NewReply(220, "", r.name+" ready"))
	var sender string
	var rcpts []string
	for err == nil {
		conn.SetDeadline(time.Now().Add(remoteIdle))
		line, readErr := reader.ReadLine()
		cmd, parseErr := smtp.ParseCommand(line)
		if err = errors.Join(readErr, parseErr); err != nil {
			return
		}
		switch cmd.Verb {
		case "HELO", "EHLO", "LHLO":
			sender, rcpts = "", nil
			err = say(smtp.NewReply(250, "", r.name, "PIPELINING", "8BITMIME", "SIZE"))
		case "MAIL":
			a, _, pathErr := smtp.ParseMail(cmd.Arg)
			sender, rcpts, err = a.Text, nil, pathErr
			if err == nil {
				err = say(ok)
			}
		case "RCPT":
			a, _, pathErr := smtp.ParseRcpt(cmd.Arg, false)
			switch {
			case pathErr != nil || len(rcpts) >= remoteRcpts:
				err = say(smtp.NewReply(452, "4.5.3", "not this recipient"))
			case r.stranger(sender, a.Text):
				err = say(smtp.NewReply(451, "4.7.1", "we do not know each other yet, try again in a moment"))
			default:
				rcpts = append(rcpts, a.Text)
				err = say(ok)
			}
		case "DATA":
			if len(rcpts) == 0 {
				err = say(smtp.NewReply(554, "5.5.1", "no valid recipients"))
				break
			}
			if err = say(smtp.NewReply(354, "", "go on")); err != nil {
				return
			}
			var text bytes.Buffer
			if _, err = io.Copy(&text, reader.Data(remoteSize, remoteSize)); err != nil {
				return
			}
			r.keep(rcpts, text.String())
			replies := []smtp.Reply{smtp.NewReply(250, "2.0.0", "taken by "+r.name)}
			for r.lmtp && len(replies) < len(rcpts) { // one for each recipient, RFC 2033 section 4.2
				replies = append(replies, replies[0])
			}
			rcpts = nil
			err = say(replies...)
		case "RSET":
			sender, rcpts = "", nil
			err = say(ok)
		case "QUIT":
			say(smtp.NewReply(221, "2.0.0", "bye"))
			return
		default:
			err = say(smtp.NewReply(502, "5.5.1", "not here"))
		}
	}
}

// stranger tells whether this sender and recipient are to try again, and knows them from then on.
func (r *remote) stranger(sender, rcpt string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := sender + " " + rcpt
	if !r.greylist || r.known[key] {
		return false
	}
	if len(r.known) < remoteRcpts {
		r.known[key] = true
	}
	return true
}

func (r *remote) keep(rcpts []string, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rcpt := range rcpts {
		if _, ok := r.mailboxes[rcpt]; ok || len(r.mailboxes) < remoteRcpts {
			r.mailboxes[rcpt] = text
		}
	}
}

// fieldOf finds a field of one line in a message's header.
func fieldOf(text, name string) string {
	header, _, _ := strings.Cut(text, "\r\n\r\n")
	for line := range strings.SplitSeq(header, "\r\n") {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(key, name) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
