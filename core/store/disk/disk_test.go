package disk

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/core/store/storetest"
)

var ctx = context.Background()

// base is when the messages of tests arrive.
var base = time.Unix(1_700_000_000, 0).UTC()

// options are for a store whose failures fail the test.
func options(t testing.TB, dir string) Options {
	return Options{
		Dir:     dir,
		Ballast: -1,
		OnFatal: func(line string) { t.Errorf("fatal: %s", line) },
		Capacity: func() (Capacity, error) {
			return Capacity{Free: 1 << 40, Total: 1 << 40}, nil
		},
		misuse: func(what string) { t.Errorf("misuse of Pebble: %s", what) },
	}
}

func mustOpen(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func harness(slow bool, base func(testing.TB) Options) storetest.Open {
	return func(t *testing.T, setup storetest.Setup) storetest.Harness {
		o := base(t)
		o.BodyBudget, o.Patience = setup.Budget, setup.Patience
		s := mustOpen(t, o)
		return storetest.Harness{Store: s, Slow: slow, Reopen: func() store.Store {
			if err := s.Close(); err != nil {
				t.Fatalf("Close: %v", err)
			}
			s = mustOpen(t, o)
			return s
		}}
	}
}

func TestSuite(t *testing.T) {
	storetest.Run(t, harness(false, func(t testing.TB) Options {
		o := options(t, "/data")
		o.FS = vfs.NewMem()
		return o
	}))
}

// TestSuiteOnDisk runs the same on a real file system, without the long comparisons.
func TestSuiteOnDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("syncs a real disk some thousand times")
	}
	storetest.Run(t, harness(true, func(t testing.TB) Options { return options(t, t.TempDir()) }))
}

// commit accepts a message of one recipient and returns it.
func commit(s *Store, content []byte) (*message.Envelope, error) {
	b, err := s.Body(ctx, int64(len(content)))
	if err != nil {
		return nil, err
	}
	defer b.Abort()
	if _, err := b.Write(content); err != nil {
		return nil, err
	}
	env := envelope(b.ID())
	return env, s.Commit(ctx, env, b)
}

func envelope(id store.ID) *message.Envelope {
	a := smtp.Address{Text: "u@example.org", Local: "u", Domain: "example.org"}
	return &message.Envelope{ID: id, Sender: a, Arrived: base, Rcpts: []*message.Rcpt{{Address: a, Original: a}}}
}

func mustCommit(t testing.TB, s *Store, content []byte) *message.Envelope {
	t.Helper()
	env, err := commit(s, content)
	if err != nil {
		t.Fatal(err)
	}
	return env
}

func settled(env *message.Envelope) store.Change {
	return store.Change{ID: env.ID, Settled: true, Del: []store.Entry{store.FirstEntry(env)}}
}

func mustSettle(t testing.TB, s *Store, env *message.Envelope) {
	t.Helper()
	if stale, err := s.Update(ctx, nil, settled(env)); err != nil || len(stale) > 0 {
		t.Fatal(stale, err)
	}
}

// lines collects what a store logs.
type lines struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// eventually waits for something that a goroutine of the store does.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
}

func TestPebbleFormatIsTheNewest(t *testing.T) {
	if pebbleFormat != pebble.FormatNewest {
		t.Errorf("stores are written with format %s, Pebble knows %s: raise it with care, there is no way back", pebbleFormat, pebble.FormatNewest)
	}
	if pebbleFormat < pebble.FormatWALSyncChunks {
		t.Error("before this format damage in the log goes unseen")
	}
}

// TestBodyFiles: what goes into no slot has a file of its own, which is removed when nobody reads it any more.
func TestBodyFiles(t *testing.T) {
	dir := t.TempDir()
	o := options(t, dir)
	o.slotClasses = crashClasses
	s := mustOpen(t, o)
	file := func(id store.ID) string { return filepath.Join(dir, "body", id.String()) }
	const size = 300_000

	big := mustCommit(t, s, make([]byte, size))
	info, err := os.Stat(file(big.ID))
	if err != nil || info.Size() != size+fileHeader || info.Mode().Perm() != 0o600 && os.PathSeparator == '/' {
		t.Fatalf("body file: %v, %v", info, err)
	}
	r, err := s.Open(ctx, big.ID)
	if err != nil {
		t.Fatal(err)
	}
	mustSettle(t, s, big)
	for s.reaper.some() {
	}
	if !exists(file(big.ID)) {
		t.Error("the file went while it was read")
	}
	r.Close()
	eventually(t, "the file of a settled message is removed", func() bool { return !exists(file(big.ID)) })

	b, err := s.Body(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if !exists(file(b.ID())) {
		t.Fatal("content of 300,000 bytes is not in a file while it arrives")
	}
	b.Abort()
	eventually(t, "the file of an aborted message is removed", func() bool { return !exists(file(b.ID())) })
	if s.budget.Free() != s.opts.BodyBudget {
		t.Errorf("%d bytes of the budget are missing", s.opts.BodyBudget-s.budget.Free())
	}
}

func TestReaperKeepsUp(t *testing.T) {
	removed := 0
	r := &reaper{remove: func(bodyName) { removed++ }, wake: make(chan struct{}, 1)}
	for range 10_000 {
		r.add(bodyName{})
	}
	rounds := 0
	for r.some() {
		rounds++
	}
	if removed != 10_000 {
		t.Errorf("%d of 10000 were removed", removed)
	}
	if took := time.Duration(rounds) * reapEvery; took > 10*time.Second {
		t.Errorf("a backlog of 10000 takes %v", took)
	}
}

func TestClosedStore(t *testing.T) {
	s := mustOpen(t, options(t, t.TempDir()))
	env := mustCommit(t, s, make([]byte, 100_000))
	r, err := s.Open(ctx, env.ID)
	if err != nil {
		t.Fatal(err)
	}
	late, err := s.Body(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	for lane, err := range s.Wake(ctx, nil, time.Time{}, base) {
		if err != nil || lane != "" {
			t.Fatal(lane, err)
		}
		done := make(chan error)
		go func() { done <- s.Close() }()
		eventually(t, "the store is closing", func() bool {
			s.gate.mu.Lock()
			defer s.gate.mu.Unlock()
			return s.gate.closed
		})
		if _, _, err := s.Due(ctx, nil, "", nil, base, 1); err == nil {
			t.Error("a call inside Wake is served by a closing store")
		}
		defer func() {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}()
	}
	if err := s.Commit(ctx, &message.Envelope{ID: late.ID()}, late); err == nil {
		t.Error("committed to a closed store")
	}
	late.Abort()
	if n, err := r.ReadAt(make([]byte, 10), 5); n != 10 || err != nil {
		t.Errorf("an open content of a closed store: %d, %v", n, err)
	}
	r.Close()
	if err := s.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}
