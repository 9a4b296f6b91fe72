package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/core/store/crashfs"
)

var (
	imageCount = flag.Int("images", 0, "crash images that are tried; 0: so many as suit a test among others")
	imageSeed  = flag.Uint64("seed", 0, "of mail, moments and images; 0: by the clock")
)

// Moments at which a server is cut.
const (
	cutAny     = "any operation on the disk"
	cutDot     = "the final dot was sent"
	cutAck     = "250 was read"
	cutSeen    = "the sink has a message"
	cutSent    = "2yz of the sink was read"
	cutRefused = "the sink refused or deferred"
	cutBroken  = "the sink broke the connection"
	cutCall    = "a plugin is called"
	cutNotice  = "a notice is made"
	cutFlush   = "a table or a log is begun"
	cutStart   = "a start after a cut"
)

func cuts() []string {
	return []string{cutAny, cutDot, cutAck, cutSeen, cutSent, cutRefused, cutBroken, cutCall, cutNotice, cutFlush, cutStart}
}

const imagePlugin = `plugin { id = "probe", version = "1.0.0", api = 0, description = "tells the test where mail is",
  needs = { dns = true },
  hook = { data = { on_error = "next" }, route = { on_error = "next" }, bounced = { on_error = "next" } } }
local function ask(m, stage) dns.get(stage .. "." .. m.session.role .. ".probe.example", "A") end
function on.data(m) ask(m, "data") end
function on.route(r) ask(r.message, "route") end
function on.bounced(r) ask(r.message, "bounced") end
`

// imageServer is one life of a server on a file system of memory, with its sink.
type imageServer struct {
	*account
	t      *testing.T
	fs     *crashfs.FS
	dir    string
	rough  bool        // the sink defers and breaks connections
	begun  atomic.Bool // the server's own doing; before it the data are moved
	moment func(string)
	said   console
	sink   []net.Listener
	conns  sync.WaitGroup
	daemon *daemon
}

// Lookup implements resolve.Resolver: the plugin asks in its calls, and hears that there is no such name.
func (s *imageServer) Lookup(_ context.Context, name string, _ resolve.Type) (resolve.Answer, error) {
	if strings.Contains(name, "internal") || strings.HasPrefix(name, "bounced") {
		s.at(cutNotice)
	} else {
		s.at(cutCall)
	}
	return resolve.Answer{Name: name, Status: resolve.NoDomain}, nil
}

func (s *imageServer) at(moment string) {
	if s.moment != nil {
		s.moment(moment)
	}
}

// start begins the life. The folder of another server's data is moved to where this one has its own.
func (s *imageServer) start(from string) error {
	s.dir = s.t.TempDir()
	routes := ""
	for i := range 3 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		s.sink = append(s.sink, ln)
		s.conns.Go(func() { s.accept(ln) })
		routes += fmt.Sprintf("\"d%d.example\" = %q\n", i, ln.Addr())
	}
	text := fmt.Sprintf("hostname = \"mx.example.org\"\ndata = \"data\"\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\nrole = \"mx\"\n"+
		"[queue]\nretry = [\"1s\"]\n[plugins]\nfolder = \"plugins\"\nenable = [\"relay\", \"route\"]\n[plugin.relay]\nnetworks = [\"127.0.0.0/8\"]\n"+
		"[plugin.route]\ndefault = %q\n[plugin.route.domains]\n%s", s.sink[0].Addr(), routes)
	file := filepath.Join(s.dir, localConfig)
	data := filepath.Join(s.dir, "data")
	for _, err := range []error{os.WriteFile(file, []byte(text), 0o600), os.Mkdir(filepath.Join(s.dir, "plugins"), 0o700), os.Mkdir(data, 0o700),
		os.WriteFile(filepath.Join(s.dir, "plugins", "probe.lua"), []byte(imagePlugin), 0o600)} {
		if err != nil {
			return err
		}
	}
	if _, err := s.fs.Stat(filepath.Join(from, "data")); from != "" && err == nil {
		if err := s.fs.MkdirAll(s.dir, 0o700); err != nil {
			return err
		}
		if err := s.fs.Rename(filepath.Join(from, "data"), data); err != nil {
			return err
		}
		for dir := s.dir; ; dir = filepath.Dir(dir) {
			f, err := s.fs.OpenDir(dir)
			if err != nil {
				return err
			}
			if err := errors.Join(f.Sync(), f.Close()); err != nil || dir == filepath.Dir(dir) {
				break
			}
		}
	}
	s.begun.Store(true)
	log := slog.New(slog.NewTextHandler(&s.said, &slog.HandlerOptions{Level: slog.LevelWarn}))
	d, err := startDaemon(context.Background(), file, daemonOptions{log: log, console: io.Discard, fs: s.fs, resolver: s})
	if err != nil {
		s.close()
		return err
	}
	s.daemon = d
	return nil
}

// close ends the server and its sink.
func (s *imageServer) close() error {
	var err error
	if s.daemon != nil {
		err = s.daemon.Shutdown(context.Background())
	}
	for _, ln := range s.sink {
		ln.Close()
	}
	s.conns.Wait()
	os.RemoveAll(s.dir)
	return err
}

// drained waits until nothing is in the queue; what is left is told when that takes too long, or will not change.
func (s *imageServer) drained() (left string, held bool) {
	for end := time.Now().Add(faultPatience); ; time.Sleep(20 * time.Millisecond) {
		items, _, err := s.daemon.store.Scan(context.Background(), nil, 5)
		if err == nil && len(items) == 0 {
			return "", false
		}
		held = slices.ContainsFunc(items, func(it store.Item) bool { return slices.ContainsFunc(it.State.Rcpts, isHeld) })
		if held || time.Now().After(end) { // who is held waits for ever
			for _, it := range items {
				left += fmt.Sprintf("%s %+v; ", it.Envelope.ID, it.State)
			}
			return fmt.Sprintf("%s %v\n%s", left, err, strings.Join(s.said.lines(10), "")), held
		}
	}
}

func isHeld(r store.RcptState) bool { return r.Result == message.Held }

func (s *imageServer) accept(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		s.conns.Go(func() {
			defer conn.Close()
			(&imageGuest{imageServer: s, conn: conn, r: bufio.NewReaderSize(conn, 64<<10)}).serve()
		})
	}
}

// imageGuest is one connection at the sink.
type imageGuest struct {
	*imageServer
	conn net.Conn
	r    *bufio.Reader
	now  *tried
	last *tried // its last reply is not known to be read
}

func (g *imageGuest) serve() {
	say := func(reply string) { io.WriteString(g.conn, reply+"\r\n") }
	say("220 sink.example")
	for {
		g.conn.SetReadDeadline(time.Now().Add(faultPatience))
		line, err := g.r.ReadString('\n')
		if t := g.last; t != nil && (err == nil || err == io.EOF) {
			g.last = nil
			g.do(func() { t.confirmed = true })
			if t.dot/100 == 2 {
				g.at(cutSent)
			}
		}
		if err != nil {
			return
		}
		switch verb := strings.ToUpper(line[:min(4, len(line))]); verb {
		case "EHLO":
			say("250-sink.example\r\n250-PIPELINING\r\n250 8BITMIME")
		case "MAIL":
			g.now = &tried{life: g.life}
			say("250 ok")
		case "RCPT":
			say(g.rcpt(line))
		case "DATA":
			if g.now == nil || !g.now.open() {
				say("554 no recipients")
				continue
			}
			say("354 go on")
			if !g.data(say) {
				return
			}
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

func (t *tried) open() bool {
	for _, code := range t.codes {
		if code == 250 {
			return true
		}
	}
	return false
}

func (g *imageGuest) rcpt(line string) string {
	_, address, _ := strings.Cut(line, "<")
	address, _, _ = strings.Cut(address, ">")
	kind, _ := numberOf(address)
	code := 250
	switch {
	case kind == rcptNever:
		code = 550
	case kind == rcptLater && g.rough && rand.IntN(2) == 0:
		code = 451
	}
	g.do(func() {
		t := g.now
		if len(t.rcpts) == 0 {
			g.tries = append(g.tries, t)
		}
		t.rcpts, t.codes = append(t.rcpts, address), append(t.codes, code)
		t.replied = time.Now()
		t.confirmed = code != 250 // who goes on has read it; what never comes to data has no other reply
	})
	if code != 250 {
		g.at(cutRefused)
	}
	return fmt.Sprintf("%d so it is", code)
}

// data takes a content and answers it; false ends the connection.
func (g *imageGuest) data(say func(string)) bool {
	var content []byte
	for {
		line, err := g.r.ReadBytes('\n')
		if err != nil {
			return false
		}
		if string(line) == ".\r\n" {
			break
		}
		if line[0] == '.' {
			line = line[1:]
		}
		content = append(content, line...)
	}
	t, breaks := g.now, false
	g.now = nil
	g.do(func() {
		g.examine(t, content)
		t.confirmed = false
		for _, r := range t.rcpts {
			kind, _ := numberOf(r)
			breaks = breaks || g.rough && kind == rcptBreak && rand.IntN(2) == 0
		}
	})
	g.at(cutSeen)
	if breaks {
		g.at(cutBroken)
		return false
	}
	g.do(func() { t.dot, t.replied = 250, time.Now() }) // from now on the server may read it
	say("250 2.0.0 taken")
	g.last = t
	return true
}

// send is one session of the source, which lasts until stop.
func (s *imageServer) send(address string, next *atomic.Int64, rng *rand.Rand, stop <-chan struct{}) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		s.t.Error(err)
		return
	}
	defer conn.Close()
	x := newExchange(conn)
	x.ask("")
	x.ask("EHLO src.example")
	for {
		select {
		case <-stop:
			x.ask("QUIT")
			return
		default:
		}
		p := newPost(int(next.Add(1)), rng)
		s.do(func() { s.posts[p.n] = p })
		if reply, err := x.ask("MAIL FROM:<" + p.sender + ">"); err != nil || !reply.Positive() {
			s.t.Errorf("MAIL: %v %v", reply, err)
			return
		}
		for _, r := range p.rcpts {
			if reply, err := x.ask("RCPT TO:<" + r + ">"); err == nil && reply.Positive() {
				s.do(func() { p.taken = append(p.taken, r) })
			}
		}
		x.ask("DATA")
		conn.Write(p.content)
		s.do(func() { p.end, p.dot = postDot, time.Now() })
		io.WriteString(conn, ".\r\n")
		s.at(cutDot)
		reply, err := x.ask("")
		if err != nil || !reply.Positive() {
			s.t.Errorf("the end of message %d: %v %v", p.n, reply, err)
			s.do(func() { p.end = postNak })
			return
		}
		s.do(func() { p.end, p.at = postAck, time.Now() })
		s.at(cutAck)
		time.Sleep(time.Duration(rng.IntN(4)) * time.Millisecond)
	}
}
