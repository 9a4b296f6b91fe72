package server

import (
	"bytes"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/certs"
	"github.com/stagepost/stagepost/core/login"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
)

var modelCommands = flag.Int("commands", 20_000, "commands that TestModel gives")

// rehearsal is a server, the model of one session with it, and the session.
type rehearsal struct {
	t       testing.TB
	rig     *rig
	acts    [2][]*act // by SMTP and by LMTP
	letters []*letter
	side    *certs.Side
	part    part // of the session

	mu    sync.Mutex
	trail []string
}

func newRehearsal(t testing.TB, side *certs.Side) *rehearsal {
	p := &rehearsal{t: t, acts: [2][]*act{acts(false), acts(true)}, side: side}
	see := func(stage string, about func(c *hooks.Call) string) hooks.Handler {
		return hooks.HandlerFunc(func(c *hooks.Call) (*hooks.Verdict, error) {
			what := strings.TrimSpace(stage + " " + about(c))
			p.mu.Lock()
			p.trail = append(p.trail, what)
			p.mu.Unlock()
			return nil, nil
		})
	}
	of := map[hooks.Stage]func(c *hooks.Call) string{
		hooks.Connect:    func(*hooks.Call) string { return "" },
		hooks.Disconnect: func(*hooks.Call) string { return "" },
		hooks.Helo: func(c *hooks.Call) string {
			before, _ := c.Session.Facts.Get("test.helo")
			if err := c.SetFact(&c.Session.Facts, "test.helo", c.Session.Helo); err != nil {
				return err.Error()
			}
			if before == nil {
				return c.Session.Helo
			}
			return fmt.Sprint(c.Session.Helo, " ", before)
		},
		hooks.Mail: func(c *hooks.Call) string {
			if n := len(c.Message.Facts.All()) + len(c.Message.Rcpts); n > 0 {
				return "with something of another message"
			}
			if err := c.SetFact(&c.Message.Facts, "test.seen", true); err != nil {
				return err.Error()
			}
			return c.Message.Sender.Text + " of " + c.Session.Helo + " " + c.Session.User + given(c)
		},
		hooks.Rcpt:  func(c *hooks.Call) string { return c.Rcpt.Address.Text + " from " + c.Message.Sender.Text },
		hooks.Data:  about,
		hooks.Queue: about,
	}
	var hs []*hooks.Hook
	for stage, about := range of {
		h := hook(stage, nil)
		h.Order, h.Handler = 1, see(stage.String(), about)
		hs = append(hs, h)
	}
	hs = append(hs, hook(hooks.Auth, func(c *hooks.Call) *hooks.Verdict {
		see("auth", func(*hooks.Call) string { return c.Login.Name }).Handle(c)
		switch c.Login.Name {
		case "good":
			return &hooks.Verdict{Kind: hooks.Accept, User: c.Login.Name}
		case "defer":
			return &hooks.Verdict{Kind: hooks.Defer}
		}
		return nil
	}))
	stranger := false
	connect := hook(hooks.Connect, func(*hooks.Call) *hooks.Verdict {
		return map[int]*hooks.Verdict{550: {Kind: hooks.Reject}, 451: {Kind: hooks.Defer}}[p.part.connect]
	})
	connect.Plugin, connect.When.User = "strangers", &stranger
	hs = append(hs, connect)
	for _, h := range byName() {
		if h.Stage == hooks.Auth {
			continue
		}
		h.Plugin = "names"
		hs = append(hs, h)
	}
	p.rig = newRig(t, hs...)
	p.rig.srv.Log, p.rig.srv.Intake.Log = slog.New(slog.DiscardHandler), slog.New(slog.DiscardHandler)
	p.rig.srv.After = func(time.Duration) <-chan time.Time { done := make(chan time.Time); close(done); return done }
	p.rig.set.MaxSize, p.rig.set.MaxRcpts = 2000, 4
	p.rig.limits = Limits{Junk: 20, Idle: 20, Refused: 40}
	p.letters = letters(int(p.rig.set.MaxSize))
	return p
}

func about(c *hooks.Call) string {
	rcpts := []string{}
	for _, r := range c.Message.Rcpts {
		rcpts = append(rcpts, r.Address.Text)
	}
	return fmt.Sprintf("%s to %q", c.Message.Sender.Text, rcpts)
}

func given(c *hooks.Call) (s string) {
	for _, p := range c.Message.Params {
		s += " " + strings.TrimSuffix(p.Key+"="+p.Value, "=")
	}
	return s
}

// chooser gives the choices of a client: numbers below n, until there are no more.
type chooser func(n int) (choice int, ok bool)

// session plays one session, and returns how many commands it had. The client waits for replies, or sends commands in groups;
// a command alone is cut anywhere. What comes back must be what the model says.
func (p *rehearsal) session(choose chooser) (commands int) {
	i, _ := choose(16)
	p.part = parts()[i]
	m := &model{part: p.part, late: [2]int{p.part.connect}, limits: p.rig.limits, maxSize: int(p.rig.set.MaxSize), maxRcpts: p.rig.set.MaxRcpts, trail: []string{"connect"}}
	p.trail = nil
	p.rig.srv.logins = login.New() // what failed before slows nobody here
	before := len(p.rig.queue.all(p.t))
	c := &caller{conn: p.rig.pipeTo(p.listener())}
	conn, replies := c.conn, make(chan string, 100)
	go c.read(replies)
	var said bytes.Buffer
	fail := func(format string, args ...any) int {
		conn.Close()
		p.t.Helper()
		p.t.Errorf(format+"\nthe client said\n%s", append(args, said.String())...)
		return commands
	}
	want := func(code int) bool { return <-replies == strconv.Itoa(code) }
	if !want(220) {
		return fail("no greeting")
	}
	for !m.over {
		n, ok := choose(16)
		if !ok {
			break
		}
		n = max(1, n-11) // most are alone
		if odd, _ := choose(64); !m.esmtp && odd > 0 {
			n = 1
		}
		group := []*act{p.next(m, choose)}
		for len(group) < n {
			a := p.next(m, choose)
			if odd, _ := choose(16); odd > 0 && group[len(group)-1].last {
				break
			}
			group = append(group, a)
		}
		n = len(group)
		var codes []int
		wire := ""
		for i, a := range group {
			wire += a.raw
			if !m.over {
				codes = append(codes, m.step(a, i+1 < len(group))...)
				commands++
			}
		}
		fmt.Fprintf(&said, "%q\n", wire)
		if !m.over && codes[len(codes)-1] == 354 {
			p.send(c.conn, wire, choose)
			for _, code := range codes {
				if got := <-replies; got != strconv.Itoa(code) {
					return fail("got %s, want %d of %d", got, code, codes)
				}
			}
			i, _ := choose(len(p.letters))
			l := p.letters[i]
			wire, codes = l.wire, m.finish(l)
			fmt.Fprintf(&said, "%.200q\n", wire)
		}
		if !m.over && codes[len(codes)-1] == 334 {
			p.send(c.conn, wire, choose)
			for _, code := range codes {
				if got := <-replies; got != strconv.Itoa(code) {
					return fail("got %s, want %d of %d", got, code, codes)
				}
			}
			i, _ := choose(5)
			response := []string{"good", "wrong", "defer", "*", "!!!"}[i]
			wire, codes, n = plain(response)+"\r\n", []int{m.answer(m.auth("PLAIN", response))}, 1
			fmt.Fprintf(&said, "%q\n", wire)
		}
		if group[len(group)-1].secures && codes[len(codes)-1] == 220 {
			if clear, _ := choose(8); clear == 0 {
				c.clear, m.over = "EHLO evil.example\r\nMAIL FROM:<evil@client.example>\r\n", true
				fmt.Fprintf(&said, "in clear: %q\n", c.clear)
			}
		}
		if n > 1 {
			c.conn.Write([]byte(wire)) // an error shows as a reply that is not there
		} else {
			p.send(c.conn, wire, choose)
		}
		for _, code := range codes {
			if got := <-replies; got != strconv.Itoa(code) {
				return fail("got %s, want %d of %d", got, code, codes)
			}
		}
		if m.over {
			if got := <-replies; got != "closed" {
				return fail("got %s after the last reply", got)
			}
		}
	}
	conn.Close()
	p.rig.settle(p.t)
	m.trail = append(m.trail, "disconnect")
	if !slices.Equal(m.trail, p.trail) {
		return fail("plugins were asked\n%s\nwant\n%s", strings.Join(p.trail, "\n"), strings.Join(m.trail, "\n"))
	}
	for i, k := range p.rig.queue.all(p.t)[before:] {
		got := modelMessage{helo: k.env.Session.Helo, sender: k.env.Sender.Text, content: k.content}
		for _, r := range k.env.Rcpts {
			got.rcpts = append(got.rcpts, r.Address.Text)
		}
		for _, q := range k.env.Params {
			got.params += " " + strings.TrimSuffix(q.Key+"="+q.Value, "=")
		}
		if i >= len(m.kept) || got.String() != m.kept[i].String() {
			return fail("kept is %s\nwant %v", got, m.kept)
		}
	}
	if n := len(p.rig.queue.all(p.t)) - before; n != len(m.kept) {
		return fail("%d messages are kept, want %d", n, len(m.kept))
	}
	return commands
}

// next chooses a line: about half of them lead on to a message.
func (p *rehearsal) next(m *model, choose chooser) *act {
	acts, hello := p.acts[0], "EHLO "
	if m.lmtp {
		acts, hello = p.acts[1], "LHLO "
	}
	how, _ := choose(16)
	i, _ := choose(len(acts))
	verb := ""
	switch {
	case how > 8:
	case m.name == "":
		verb = hello
	case m.tls && !m.encrypted && m.esmtp && m.tx == nil && how == 8:
		verb = "STARTTLS"
	case m.tx == nil && m.esmtp && how < 3:
		verb = "AUTH "
	case m.tx == nil:
		verb = "MAIL "
	case m.tx.accepted == 0 || how > 5:
		verb = "RCPT "
	case m.tx.begun || i%2 == 0:
		verb = "BDAT "
	default:
		verb = "DATA"
	}
	// What follows a BDAT without ESMTP may be there at once or not, and then the reply is another.
	for !strings.HasPrefix(acts[i].raw, verb) || acts[i].framed && !m.esmtp {
		i = (i + 1) % len(acts)
	}
	return acts[i]
}

// send writes in one piece, octet by octet, or in two pieces.
func (p *rehearsal) send(conn net.Conn, wire string, choose chooser) {
	cut := len(wire)
	switch how, _ := choose(8); how {
	case 0:
		cut = 1
	case 1:
		at, _ := choose(256)
		cut = 1 + at*len(wire)/256
	}
	if cut == 1 && len(wire) < 300 {
		for i := range len(wire) {
			conn.Write([]byte(wire[i : i+1]))
		}
		return
	}
	conn.Write([]byte(wire[:min(cut, len(wire))]))
	if cut < len(wire) {
		conn.Write([]byte(wire[cut:]))
	}
}

// caller is the client's end of a session.
type caller struct {
	conn  net.Conn // TLS once the handshake was made, which is before the reply to STARTTLS is passed on
	clear string   // is said in the place of the handshake
}

// read passes on the code of each reply, then "closed".
func (c *caller) read(to chan<- string) {
	defer close(to)
	conn, greeted := c.conn, false
	buf := make([]byte, 0, 4096)
	for {
		if i := bytes.IndexByte(buf, '\n'); i >= 0 {
			line := string(buf[:i+1])
			buf = buf[:copy(buf, buf[i+1:])]
			switch {
			case len(line) < 5 || !strings.HasSuffix(line, "\r\n") || len(line) > 512:
				to <- fmt.Sprintf("the line %q", line)
			case line[3] == ' ' && line[:3] == "220" && greeted && c.clear != "":
				go io.WriteString(conn, c.clear)
				io.Copy(io.Discard, conn) // an alert
				to <- line[:3]
				to <- "closed"
				return
			case line[3] == ' ' && line[:3] == "220" && greeted:
				secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
				if err := secure.Handshake(); err != nil || len(buf) > 0 {
					to <- fmt.Sprintf("%q and the error %v in the handshake", buf, err)
					return
				}
				c.conn, conn = secure, secure
				to <- line[:3]
			case line[3] == ' ':
				greeted = true
				to <- line[:3]
			}
			continue
		}
		n, err := conn.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err != nil {
			to <- "closed"
			return
		}
	}
}

// parts are the kinds of sessions, as often as they should come up; most are in clear, for the sake of speed.
func parts() [16]part {
	return [16]part{
		7:  {lmtp: true},
		8:  {lmtp: true, atRcpt: true},
		9:  {lmtp: true},
		10: {atRcpt: true},
		11: {atRcpt: true, connect: 550},
		12: {atRcpt: true, connect: 451},
		13: {tls: true},
		14: {tls: true, lmtp: true},
		15: {tls: true, atRcpt: true, connect: 550},
	}
}

// listener is where a session of the part comes in.
func (p *rehearsal) listener() *Listener {
	l := &Listener{Name: "mx", Role: message.RoleMX, RejectAtRcpt: p.part.atRcpt, Auth: []string{"PLAIN"}, AuthInClear: true}
	if p.part.lmtp {
		l.Role = message.RoleLMTP
	}
	if p.part.tls {
		l.TLS = TLS{OnDemand, p.side}
	}
	return l
}

func FuzzModel(f *testing.F) {
	side := newShelter(f).listener(OnDemand, certs.Options{}).TLS.Side
	f.Fuzz(func(t *testing.T, choices []byte) {
		p := newRehearsal(t, side)
		p.session(func(n int) (int, bool) {
			if len(choices) == 0 {
				return 0, false
			}
			c := int(choices[0])
			choices = choices[1:]
			if n > 256 && len(choices) > 0 {
				c = c<<8 | int(choices[0])
				choices = choices[1:]
			}
			return c % n, true
		})
	})
}

// TestModel plays sessions at random; -commands says how many commands there are in all.
func TestModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	side := newShelter(t).listener(OnDemand, certs.Options{}).TLS.Side
	began, commands, sessions, messages := time.Now(), 0, 0, 0
	for commands < *modelCommands && !t.Failed() {
		p := newRehearsal(t, side)
		for range 200 {
			left := 20 + r.IntN(3000)
			commands += p.session(func(n int) (int, bool) { left--; return r.IntN(n), left > 0 })
			sessions++
			if t.Failed() {
				return
			}
		}
		messages += len(p.rig.queue.all(t))
	}
	t.Logf("%d commands in %d sessions with %d messages, %s", commands, sessions, messages, time.Since(began).Round(time.Millisecond))
}
