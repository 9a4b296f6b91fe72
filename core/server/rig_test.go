package server

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/gate"
	"github.com/stagepost/stagepost/core/intake"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/core/store/memory"
	"github.com/stagepost/stagepost/hooks"
)

// memoryQueue commits to a memory store and counts the contents that were not given back.
type memoryQueue struct {
	*memory.Store
	open    atomic.Int64
	unknown bool // the outcome of commits is not known
}

type countedBody struct {
	store.BodyWriter
	once sync.Once
	q    *memoryQueue
}

func (q *memoryQueue) Body(ctx context.Context, hint int64) (store.BodyWriter, error) {
	b, err := q.Store.Body(ctx, hint)
	if err != nil {
		return nil, err
	}
	q.open.Add(1)
	return &countedBody{BodyWriter: b, q: q}, nil
}

func (b *countedBody) Abort() {
	b.once.Do(func() { b.q.open.Add(-1) })
	b.BodyWriter.Abort()
}

func (q *memoryQueue) Commit(ctx context.Context, env *message.Envelope, b store.BodyWriter) error {
	if q.unknown {
		return store.ErrUnknown
	}
	return q.Store.Commit(ctx, env, b.(*countedBody).BodyWriter)
}

func (q *memoryQueue) Relay(context.Context, *hooks.Generation, *message.Envelope, message.Content, *message.Plan, hooks.Observer) []message.Outcome {
	return nil
}

// kept is one committed message.
type kept struct {
	env     *message.Envelope
	content string
}

func (q *memoryQueue) all(t testing.TB) (list []kept) {
	t.Helper()
	items, _, err := q.Scan(context.Background(), nil, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range items {
		r, err := q.Open(context.Background(), it.Envelope.ID)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		list = append(list, kept{it.Envelope, string(b)})
	}
	return list
}

type recorder struct {
	mu    sync.Mutex
	steps map[string][]observe.Step
}

func (r *recorder) Append(id string, steps ...observe.Step) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps[id] = append(r.steps[id], steps...)
}

// rig is a server with a memory queue.
type rig struct {
	srv     *Server
	queue   *memoryQueue
	records *recorder
	set     intake.Settings
	limits  Limits
	at      Listener
	log     bytes.Buffer // read when all sessions have ended
}

func newRig(t testing.TB, hs ...*hooks.Hook) *rig {
	t.Helper()
	gen, err := hooks.NewGeneration(1, hs, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{at: mx, queue: &memoryQueue{Store: memory.New(memory.Options{})}, records: &recorder{steps: map[string][]observe.Step{}}}
	r.set = intake.Settings{Hostname: "mx.example.org", MaxSize: 200_000, MaxRcpts: 100}
	r.limits.ErrorDelay = -1
	current := hooks.NewCurrent(gen)
	log := slog.New(slog.NewTextHandler(&r.log, nil))
	if _, bench := t.(*testing.B); bench {
		log = slog.New(slog.DiscardHandler)
	}
	in := intake.New(intake.Options{Queue: r.queue, Current: current, Records: r.records, Log: log, Settings: func() intake.Settings { return r.set }})
	r.srv = New(Options{Intake: in, Current: current, Records: r.records, Log: log, Limits: func() Limits { return r.limits }})
	t.Cleanup(r.srv.cancel) // ends the workers that are kept
	return r
}

var mx = Listener{Name: "mx", Role: message.RoleMX}

// listen serves on loopback until the test ends.
func (r *rig) listen(t testing.TB) string { return r.listenOn(t, &r.at) }

func (r *rig) listenOn(t testing.TB, l *Listener) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.srv.Serve(ctx, ln, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		r.settle(t)
	})
	return ln.Addr().String()
}

// settle waits until no session is left, and checks that nothing else is.
func (r *rig) settle(t testing.TB) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); r.srv.Sessions() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d sessions did not end", r.srv.Sessions())
		}
	}
	if n := r.queue.open.Load(); n != 0 {
		t.Errorf("%d contents were not given back", n)
	}
	if n := r.srv.buffers.Lent(); n != 0 {
		t.Errorf("%d buffers were not given back", n)
	}
}

// pipe is a session over net.Pipe; it returns the client's end.
func (r *rig) pipe() net.Conn { return r.pipeTo(&r.at) }

func (r *rig) pipeTo(l *Listener) net.Conn {
	client, server := net.Pipe()
	r.srv.admit(gate.Arrived(server), l, r.srv.Board.New(l.Name, l.Role))
	return client
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { conn.Close() })
	return &client{t, conn, bufio.NewReader(conn)}
}

// client speaks line by line.
type client struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, s); err != nil {
		c.t.Fatal(err)
	}
}

// line returns the next line without its end, or "closed".
func (c *client) line() string {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return "closed"
	}
	return strings.TrimSuffix(line, "\r\n")
}

// want reads one reply and checks how it begins.
func (c *client) want(prefix string) {
	c.t.Helper()
	line := c.line()
	for len(line) > 3 && line[3] == '-' {
		line = c.line()
	}
	if !strings.HasPrefix(line, prefix) {
		c.t.Fatalf("got %q, want %q", line, prefix)
	}
}

func hook(stage hooks.Stage, f func(*hooks.Call) *hooks.Verdict) *hooks.Hook {
	return &hooks.Hook{Plugin: "test", Stage: stage, Order: hooks.DefaultOrder, OnError: hooks.Defer, Timeout: hooks.DefaultTimeout,
		Needs:   &capability.Needs{Relay: true, Read: capability.ReadBody},
		Handler: hooks.HandlerFunc(func(c *hooks.Call) (*hooks.Verdict, error) { return f(c), nil })}
}

// pencil are the keys of that password: the example of RFC 7677.
const pencil = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

// byName decides by the names that a client gives: a HELO, sender or recipient that begins with the word of a verdict gets it;
// recipients of example.org are local.
func byName() []*hooks.Hook {
	verdict := func(name string) *hooks.Verdict {
		for _, k := range []hooks.Kind{hooks.Reject, hooks.Defer, hooks.Close, hooks.Discard} {
			if strings.HasPrefix(name, k.String()) {
				return &hooks.Verdict{Kind: k}
			}
		}
		return nil
	}
	return []*hooks.Hook{
		hook(hooks.Helo, func(c *hooks.Call) *hooks.Verdict { return verdict(c.Session.Helo) }),
		hook(hooks.Mail, func(c *hooks.Call) *hooks.Verdict { return verdict(c.Message.Sender.Local) }),
		hook(hooks.Rcpt, func(c *hooks.Call) *hooks.Verdict {
			if v := verdict(c.Rcpt.Address.Local); v != nil {
				return v
			}
			if c.Rcpt.Address.Domain == "example.org" {
				return &hooks.Verdict{Kind: hooks.Accept, Class: hooks.Local}
			}
			return nil
		}),
		hook(hooks.Data, func(c *hooks.Call) *hooks.Verdict {
			return verdict(strings.TrimPrefix(c.Message.Sender.Local, "data-"))
		}),
		hook(hooks.Auth, func(c *hooks.Call) *hooks.Verdict {
			if v := verdict(c.Login.Name); v != nil {
				return v
			}
			switch l := c.Login; {
			case l.Kind == "password" && l.Name == "tim" && l.Secret == "tanstaaftanstaaf", l.Kind == "token" && l.Secret == "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==", l.Kind == "certificate":
				return &hooks.Verdict{Kind: hooks.Accept, User: "tim", Groups: []string{"staff"}}
			case l.Kind == "scram" && l.Name == "user":
				return &hooks.Verdict{Kind: hooks.Accept, User: "user", Scram: pencil}
			}
			return nil
		}),
	}
}
