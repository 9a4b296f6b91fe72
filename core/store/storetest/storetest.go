// Package storetest is the suite that every engine of package store must pass. An engine's own tests call Run with a
// function that opens an empty store; faults, crashes and what lies on the disk are the engine's own affair.
package storetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
)

// Setup is what a test asks of the store; zero values mean the engine's defaults.
type Setup struct {
	Budget   int64 // bytes of content in memory
	Patience time.Duration
}

// Harness is an opened, empty store. The function that made it closes the store when the test ends.
type Harness struct {
	Store store.Store
	// Reopen closes the store and opens the same data again; nil for an engine that keeps nothing.
	Reopen func() store.Store
	Slow   bool // writes reach a real disk: fewer random operations
}

// Open makes an empty store.
type Open func(t *testing.T, s Setup) Harness

// Run runs the suite.
func Run(t *testing.T, open Open) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Open)
	}{
		{"Content", testContent},
		{"Envelope", testEnvelope},
		{"BodyWriter", testBodyWriter},
		{"BadCommit", testBadCommit},
		{"Instead", testInstead},
		{"ContentOutlivesMessage", testContentOutlivesMessage},
		{"Budget", testBudget},
		{"FirstEntry", testFirstEntry},
		{"Update", testUpdate},
		{"Stale", testStale},
		{"Entries", testEntries},
		{"SettleWhatIsGone", testSettleWhatIsGone},
		{"CommitWithChanges", testCommitWithChanges},
		{"HoldAndRelease", testHoldAndRelease},
		{"OneMessageTwiceInACall", testTwiceInACall},
		{"BadLane", testBadLane},
		{"DuePages", testDuePages},
		{"Wake", testWake},
		{"ScanWhileDeleting", testScanWhileDeleting},
		{"Own", testOwn},
		{"Notes", testNotes},
		{"Concurrent", testConcurrent},
		{"Reopen", testReopen},
		{"Random", testRandom},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open) })
	}
}

// base is a time in the middle of a minute, in whole seconds.
var base = time.Unix(1_700_000_000, 0).UTC()

func at(seconds int) time.Time { return base.Add(time.Duration(seconds) * time.Second) }

var ctx = context.Background()

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// filler is content that differs for each size and seed.
func filler(size int, seed uint64) []byte {
	b := make([]byte, size)
	rng := rand.NewPCG(seed, uint64(size))
	for i := 0; i < size; i += 8 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], rng.Uint64())
		copy(b[i:], word[:])
	}
	return b
}

func address(local string) smtp.Address {
	return smtp.Address{Text: local + "@example.org", Local: local, Domain: "example.org"}
}

// commit accepts a message with n recipients that arrived at base.
func commit(t testing.TB, s store.Store, n int, content []byte, edit func(*message.Envelope)) *message.Envelope {
	t.Helper()
	b, err := s.Body(ctx, 0)
	check(t, err)
	defer b.Abort()
	_, err = b.Write(content)
	check(t, err)
	env := &message.Envelope{ID: b.ID(), Sender: address("sender"), Arrived: base, Size: int64(len(content)),
		Session: &message.Session{ID: "s", Role: message.RoleMX, IP: netip.MustParseAddr("192.0.2.1")}}
	for i := range n {
		a := address("rcpt" + string(rune('a'+i)))
		env.Rcpts = append(env.Rcpts, &message.Rcpt{Address: a, Original: a, Class: message.ClassRelay})
	}
	if edit != nil {
		edit(env)
	}
	check(t, s.Commit(ctx, env, b))
	return env
}

// update applies changes of which none may be stale.
func update(t testing.TB, s store.Store, ch ...store.Change) {
	t.Helper()
	stale, err := s.Update(ctx, nil, ch...)
	check(t, err)
	if len(stale) != 0 {
		t.Fatalf("stale: %v", stale)
	}
}

// settle forgets a message that was never changed.
func settle(t testing.TB, s store.Store, env *message.Envelope) {
	t.Helper()
	update(t, s, store.Change{ID: env.ID, Settled: true, Del: []store.Entry{store.FirstEntry(env)}})
}

// lane returns all entries of a lane due by until.
func lane(t testing.TB, s store.Store, name store.Lane, until time.Time) []store.Entry {
	t.Helper()
	entries, next, err := s.Due(ctx, nil, name, nil, until, 10_000)
	check(t, err)
	if next != nil {
		t.Fatalf("lane %q has more than 10,000 entries", name)
	}
	return entries
}

func wake(t testing.TB, s store.Store, from, until time.Time) []store.Lane {
	t.Helper()
	var lanes []store.Lane
	for l, err := range s.Wake(ctx, nil, from, until) {
		check(t, err)
		lanes = append(lanes, l)
	}
	slices.Sort(lanes)
	if len(slices.Compact(slices.Clone(lanes))) != len(lanes) {
		t.Fatalf("a lane was yielded twice: %q", lanes)
	}
	return lanes
}

func load(t testing.TB, s store.Store, id store.ID) *store.State {
	t.Helper()
	_, st, err := s.Load(ctx, id)
	check(t, err)
	return st
}

func isGone(t testing.TB, s store.Store, id store.ID) {
	t.Helper()
	if _, _, err := s.Load(ctx, id); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Load of %s: %v, want ErrNotFound", id, err)
	}
	if r, err := s.Open(ctx, id); !errors.Is(err, store.ErrNotFound) {
		if err == nil {
			r.Close()
		}
		t.Errorf("Open of %s: %v, want ErrNotFound", id, err)
	}
}

// hasContent reads a content in full and in part and compares.
func hasContent(t testing.TB, r store.BodyReader, want []byte) {
	t.Helper()
	if r.Size() != int64(len(want)) {
		t.Fatalf("content has %d bytes, want %d", r.Size(), len(want))
	}
	got, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()+1))
	check(t, err)
	if !bytes.Equal(got, want) {
		t.Fatalf("content of %d bytes is not what was written", len(want))
	}
	if b := r.Bytes(); b != nil && !bytes.Equal(b, want) {
		t.Fatalf("Bytes of %d bytes are not what was written", len(want))
	}
	if n := len(want); n > 2 {
		part := make([]byte, n/2)
		if m, err := r.ReadAt(part, int64(n/3)); m != len(part) || err != nil && err != io.EOF || !bytes.Equal(part, want[n/3:n/3+n/2]) {
			t.Fatalf("ReadAt(%d) = %d, %v", n/3, m, err)
		}
	}
	if m, err := r.ReadAt(make([]byte, 1), r.Size()); m != 0 || err != io.EOF {
		t.Fatalf("ReadAt behind the end = %d, %v", m, err)
	}
}

func hasStored(t testing.TB, s store.Store, id store.ID, want []byte) {
	t.Helper()
	r, err := s.Open(ctx, id)
	check(t, err)
	defer r.Close()
	hasContent(t, r, want)
}
