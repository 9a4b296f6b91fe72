package queue

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/deliver"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/core/store/memory"
	"github.com/stagepost/stagepost/core/suspects"
	"github.com/stagepost/stagepost/hooks"
)

// remote is the world outside: it answers by domain and remembers what it was sent.
type remote struct {
	mu     sync.Mutex
	answer map[string][]message.Outcome // by domain, one after the other; the last repeats
	sent   []string                     // "time lane id <rcpt>"
	copies []string                     // "<rcpt> <rcpt>: own fields" of each attempt
	start  time.Time
	block  chan struct{} // when set, Send waits for it
	most   int
	now    int
	saw    func(*deliver.Job) // nil: nobody looks
}

func (r *remote) Send(ctx context.Context, j *deliver.Job) []message.Outcome {
	r.mu.Lock()
	r.now++
	r.most = max(r.most, r.now)
	block := r.block
	r.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			r.mu.Lock()
			r.now--
			r.mu.Unlock()
			return all(len(j.Rcpts), message.Outcome{Result: message.Deferred, Reply: smtp.NewReply(451, "4.4.2", "stopped")})
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now--
	if r.saw != nil {
		r.saw(j)
	}
	var out []message.Outcome
	var whose []string
	for _, i := range j.Rcpts {
		whose = append(whose, "<"+j.Env.Rcpts[i].Address.Text+">")
	}
	r.copies = append(r.copies, fmt.Sprintf("%s: %s", strings.Join(whose, " "), j.Env.Rcpts[j.Rcpts[0]].Prefix))
	for _, i := range j.Rcpts {
		a := j.Env.Rcpts[i].Address
		r.sent = append(r.sent, fmt.Sprintf("%v %s <%s>", time.Since(r.start).Round(time.Second), j.Plan.Lane(), a.Text))
		o := message.Outcome{Result: message.Delivered, Host: "mx", Reply: smtp.NewReply(250, "2.0.0", "ok")}
		if list := r.answer[a.Domain]; len(list) > 0 {
			o = list[0]
			if len(list) > 1 {
				r.answer[a.Domain] = list[1:]
			}
		}
		out = append(out, o)
	}
	return out
}

func (r *remote) blocked(c chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.block = c
}

func (r *remote) peak() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.most
}

func (r *remote) got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.sent)
}

// attempts takes what was attempted so far, sorted.
func (r *remote) attempts() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.copies
	r.copies = nil
	slices.Sort(got)
	return got
}

var (
	later = message.Outcome{Result: message.Deferred, Host: "mx", Reply: smtp.NewReply(451, "4.2.0", "later")}
	never = message.Outcome{Result: message.Failed, Host: "mx", Reply: smtp.NewReply(550, "5.1.1", "no such user")}
	yes   = message.Outcome{Result: message.Delivered, Host: "mx", Reply: smtp.NewReply(250, "2.0.0", "ok")}
)

type records struct {
	mu    sync.Mutex
	steps map[string][]observe.Step
}

func (r *records) Append(id string, steps ...observe.Step) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps[id] = append(r.steps[id], steps...)
}

func (r *records) of(id store.ID) []observe.Step {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.steps[id.String()])
}

type bench struct {
	t      testing.TB
	store  store.Store
	remote *remote
	sender Sender // in place of remote
	recs   *records
	hooks  []*hooks.Hook
	doubt  *suspects.File
	wall   func() time.Time // in place of time.Now
	clock  string
	log    io.Writer
	set    Settings

	setting  sync.Mutex
	resolver resolve.Resolver
	q        *Queue
}

func newBench(t testing.TB) *bench {
	return &bench{t: t, store: memory.New(memory.Options{}), remote: &remote{answer: map[string][]message.Outcome{}, start: time.Now()}, recs: &records{steps: map[string][]observe.Step{}},
		set: Settings{Retry: []time.Duration{5 * time.Minute, 15 * time.Minute, time.Hour}, Expire: 5 * 24 * time.Hour, Concurrency: 20}, log: io.Discard}
}

func (b *bench) start() {
	b.t.Helper()
	gen, err := hooks.NewGeneration(1, b.hooks, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	var sender Sender = b.remote
	if b.sender != nil {
		sender = b.sender
	}
	q, err := New(Options{Store: b.store, Sender: sender, Current: hooks.NewCurrent(gen), Resolver: b.resolver, Settings: b.settings, Records: b.recs, Suspects: b.doubt, Now: b.wall, Clock: b.clock,
		Log: slog.New(slog.NewTextHandler(b.log, nil))})
	if err != nil {
		b.t.Fatal(err)
	}
	b.q = q
}

func (b *bench) settings() Settings {
	b.setting.Lock()
	defer b.setting.Unlock()
	return b.set
}

// change reloads the settings.
func (b *bench) change(f func(*Settings)) {
	b.setting.Lock()
	defer b.setting.Unlock()
	f(&b.set)
}

// revs adds up how often the messages in the store were changed.
func (b *bench) revs() (n int) {
	for _, it := range b.items() {
		n += int(it.State.Rev)
	}
	return n
}

func (b *bench) stillWaiting() int { return len(b.items()) }

func (b *bench) items() (items []store.Item) {
	b.t.Helper()
	for cursor := store.Cursor(nil); ; {
		some, next, err := b.store.Scan(context.Background(), cursor, 1000)
		if err != nil {
			b.t.Fatal(err)
		}
		if items = append(items, some...); next == nil {
			return items
		}
		cursor = next
	}
}

func (b *bench) stop() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := b.q.Close(ctx); err != nil {
		b.t.Fatal("Close:", err)
	}
}

// send commits a message; rcpts ending in ! are local.
func (b *bench) send(change func(*message.Envelope), rcpts ...string) store.ID {
	b.t.Helper()
	ctx := context.Background()
	w, err := b.q.Body(ctx, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	io.WriteString(w, "Subject: x\r\n\r\nbody\r\n")
	env := &message.Envelope{ID: w.ID(), Session: &message.Session{Role: message.RoleMX}, Sender: parse(b.t, "a@a.example"), Arrived: b.q.now(), Generation: 1}
	for _, r := range rcpts {
		class := message.ClassRelay
		if s, ok := strings.CutSuffix(r, "!"); ok {
			r, class = s, message.ClassLocal
		}
		env.Rcpts = append(env.Rcpts, &message.Rcpt{Address: parse(b.t, r), Original: parse(b.t, r), Class: class})
	}
	if change != nil {
		change(env)
	}
	if err := b.q.Commit(ctx, env, w); err != nil {
		b.t.Fatal(err)
	}
	w.Abort()
	return env.ID
}

// memoryContent is a content that lies in memory.
type memoryContent string

func (m memoryContent) Size() int64   { return int64(len(m)) }
func (m memoryContent) Bytes() []byte { return []byte(m) }
func (m memoryContent) ReadAt(p []byte, off int64) (int, error) {
	return strings.NewReader(string(m)).ReadAt(p, off)
}

func parse(t testing.TB, s string) smtp.Address {
	a, err := smtp.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// states lists what the store holds, recipient by recipient.
func (b *bench) states() (out []string) {
	b.t.Helper()
	items, _, err := b.store.Scan(context.Background(), nil, 1000)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, it := range items {
		for i, r := range it.State.Rcpts {
			s := fmt.Sprintf("%s %s", it.Envelope.Rcpts[i].Address.Text, r.Result)
			if r.Result == 0 {
				s = it.Envelope.Rcpts[i].Address.Text + " fresh"
			}
			if r.Owed {
				s += " owed"
			}
			out = append(out, s)
		}
	}
	return out
}

func expect(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n  %s\nwant\n  %s", what, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}
