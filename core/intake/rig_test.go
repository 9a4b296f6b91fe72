package intake

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/core/store/memory"
	"github.com/stagepost/stagepost/hooks"
)

// fakeQueue commits to a memory store and says what a test tells it to.
type fakeQueue struct {
	*memory.Store
	health     store.Health
	bodyErr    error
	writeErr   error
	insteadErr error
	commitErr  error
	outcomes   []message.Outcome
	relayed    *message.Plan
	committed  *message.Envelope
	open       atomic.Int64 // bodies not given back
}

type fakeBody struct {
	store.BodyWriter
	q      *fakeQueue
	closed bool
}

func (q *fakeQueue) Body(ctx context.Context, hint int64) (store.BodyWriter, error) {
	if q.bodyErr != nil {
		return nil, q.bodyErr
	}
	b, err := q.Store.Body(ctx, hint)
	q.open.Add(1)
	return &fakeBody{b, q, false}, err
}

func (q *fakeQueue) Commit(ctx context.Context, env *message.Envelope, b store.BodyWriter) error {
	if q.commitErr != nil {
		return q.commitErr
	}
	q.committed = env
	return q.Store.Commit(ctx, env, b.(*fakeBody).BodyWriter)
}

func (q *fakeQueue) Relay(_ context.Context, _ *hooks.Generation, env *message.Envelope, _ message.Content, plan *message.Plan, obs hooks.Observer) []message.Outcome {
	q.relayed = plan
	obs.Observe(observe.Step{Stage: "deliver", Verdict: "tried"})
	return q.outcomes
}

func (q *fakeQueue) Health() store.Health { return q.health }

func (b *fakeBody) Instead(ctx context.Context, hint int64) (store.BodyWriter, error) {
	if b.q.insteadErr != nil {
		return nil, b.q.insteadErr
	}
	w, err := b.BodyWriter.Instead(ctx, hint)
	if err == nil {
		b.q.open.Add(1)
		w = &fakeBody{w, b.q, false}
	}
	return w, err
}

func (b *fakeBody) Write(p []byte) (int, error) {
	if b.q.writeErr != nil {
		return 0, b.q.writeErr
	}
	return b.BodyWriter.Write(p)
}

func (b *fakeBody) Abort() {
	if !b.closed {
		b.closed = true
		b.q.open.Add(-1)
	}
	b.BodyWriter.Abort()
}

type records map[string][]observe.Step

func (r records) Append(id string, steps ...observe.Step) {
	r[id] = append(r[id], steps...)
}

// rig is an Intake with plugins, and one transaction brought through it.
type rig struct {
	t       *testing.T
	in      *Intake
	queue   *fakeQueue
	records records
	set     Settings
	log     strings.Builder
	session *message.Session
	closed  atomic.Bool // the generation was given back by all
}

func newRig(t *testing.T, hs ...*hooks.Hook) *rig {
	t.Helper()
	r := &rig{t: t, queue: &fakeQueue{Store: memory.New(memory.Options{})}, records: records{}}
	gen, err := hooks.NewGeneration(7, hs, func() { r.closed.Store(true) })
	if err != nil {
		t.Fatal(err)
	}
	r.set = Settings{Hostname: "mx.example.org", MaxSize: 10_000, MaxRcpts: 50}
	current := hooks.NewCurrent(gen)
	r.in = New(Options{
		Queue: r.queue, Current: current, Records: r.records,
		Settings: func() Settings { return r.set },
		Log:      slog.New(slog.NewTextHandler(&r.log, nil)),
		Now:      func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) },
	})
	r.session = &message.Session{ID: "s1", Role: message.RoleMX, Origin: "smtp", Helo: "client.example", ESMTP: true, IP: netip.MustParseAddr("192.0.2.1")}
	t.Cleanup(func() {
		next, _ := hooks.NewGeneration(8, nil, nil)
		current.Swap(next)
		if !r.closed.Load() {
			t.Error("a transaction still holds its generation")
		}
		if n := r.queue.open.Load(); n != 0 {
			t.Errorf("%d contents were not given back", n)
		}
	})
	return r
}

func addr(t testing.TB, s string) smtp.Address {
	t.Helper()
	if s == "" {
		return smtp.Address{}
	}
	a, err := smtp.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (r *rig) begin(params ...smtp.Param) (*Transaction, Answer) {
	r.t.Helper()
	return r.in.Begin(r.t.Context(), &hooks.Call{Session: r.session}, []observe.Step{{Stage: "connect", Plugin: "early", Verdict: "next"}}, addr(r.t, "a@client.example"), params)
}

const body = "Subject: one\r\nX-Old: 1\r\n\r\ntext\r\n"

// run brings a whole message and returns the replies in short, one a step, and the answer of the last.
func (r *rig) run(content string, rcpts ...string) (codes string, last Answer) {
	r.t.Helper()
	tx, ans := r.begin()
	codes = fmt.Sprint(ans.Reply.Code)
	if tx == nil {
		return codes, ans
	}
	for _, to := range rcpts {
		ans = tx.Rcpt(r.t.Context(), addr(r.t, to), nil)
		codes += fmt.Sprint(" ", ans.Reply.Code)
	}
	if tx.Accepted() == 0 {
		tx.Drop()
		return codes, ans
	}
	for i := 0; i < len(content); i += 7 {
		tx.Write([]byte(content[i:min(i+7, len(content))]))
	}
	ans = tx.Finish(r.t.Context())
	if ans.Silent {
		return codes + " silent", ans
	}
	return codes + fmt.Sprint(" ", ans.Reply.Code), ans
}

// stored returns the only message there is, or nil.
func (r *rig) stored() *message.Envelope {
	r.t.Helper()
	items, _, err := r.queue.Scan(r.t.Context(), nil, 10)
	if err != nil || len(items) > 1 {
		r.t.Fatalf("%d messages, error %v", len(items), err)
	}
	if len(items) == 0 {
		return nil
	}
	return items[0].Envelope
}

// sent is the message as it goes to the next hop.
func (r *rig) sent() string {
	r.t.Helper()
	env := r.stored()
	c, err := r.queue.Open(r.t.Context(), env.ID)
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	all, err := io.ReadAll(io.NewSectionReader(c, env.Skip, c.Size()-env.Skip))
	if err != nil {
		r.t.Fatal(err)
	}
	if got := int64(len(env.Prefix) + len(all)); got != env.Size {
		r.t.Errorf("size is %d, %d bytes are sent", env.Size, got)
	}
	return string(env.Prefix) + string(all)
}

func (r *rig) wantRecord(verdicts ...string) {
	r.t.Helper()
	if len(r.records) != 1 {
		r.t.Fatalf("%d records, want 1", len(r.records))
	}
	for _, steps := range r.records {
		var got []string
		for _, s := range steps {
			got = append(got, strings.TrimSpace(s.Stage+" "+s.Plugin)+": "+s.Verdict)
		}
		if !slices.Equal(got, verdicts) {
			r.t.Errorf("record is\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(verdicts, "\n  "))
		}
	}
}

type handler func(*hooks.Call) (*hooks.Verdict, error)

func hook(name string, stage hooks.Stage, f handler) *hooks.Hook {
	return &hooks.Hook{Plugin: name, Stage: stage, Handler: hooks.HandlerFunc(f), Order: hooks.DefaultOrder, OnError: hooks.Defer, Timeout: hooks.DefaultTimeout,
		Needs: &capability.Needs{Relay: true, Read: capability.ReadBody, Edit: capability.EditHeaders | capability.EditSender | capability.EditRcpts, Route: []string{"mx", "*"}}}
}

// says is a plugin that always gives a copy of v.
func says(name string, stage hooks.Stage, v hooks.Verdict) *hooks.Hook {
	return hook(name, stage, func(*hooks.Call) (*hooks.Verdict, error) { c := v; return &c, nil })
}

func edits(name string, stage hooks.Stage, f func(*hooks.Call) error) *hooks.Hook {
	return hook(name, stage, func(c *hooks.Call) (*hooks.Verdict, error) { return nil, f(c) })
}

var local = says("domains", hooks.Rcpt, hooks.Verdict{Kind: hooks.Accept, Class: hooks.Local})
