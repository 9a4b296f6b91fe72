package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/core/store/memory"
	"github.com/stagepost/stagepost/hooks"
)

// archive is a plugin that gets parcels: it answers as told, the last answer for ever, and remembers what it got.
type archive struct {
	mu      sync.Mutex
	answers []*hooks.Verdict
	got     []string
	other   []string // stages at which anybody was asked besides
}

func (a *archive) hooks() []*hooks.Hook {
	all := []*hooks.Hook{{Plugin: "archive", Stage: hooks.Deliver, OnError: hooks.Defer, Timeout: hooks.DefaultTimeout, Needs: &capability.Needs{}, Handler: hooks.HandlerFunc(a.deliver)}}
	for _, s := range []hooks.Stage{hooks.Route, hooks.Delivered, hooks.Deferred, hooks.Bounced} {
		all = append(all, &hooks.Hook{Plugin: "other", Stage: s, OnError: hooks.Next, Timeout: hooks.DefaultTimeout, Needs: &capability.Needs{}, Handler: hooks.HandlerFunc(func(*hooks.Call) (*hooks.Verdict, error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.other = append(a.other, s.String())
			return nil, nil
		})})
	}
	return all
}

func (a *archive) seen(list *[]string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(*list)
}

func (a *archive) deliver(c *hooks.Call) (*hooks.Verdict, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	d := c.Delivery
	if d.Parcel == nil || d.Message.Content != nil || d.Message.Load != nil || len(d.Rcpts) != 1 || d.Rcpts[0].Key() != d.Message.Key()+"/plugin:archive" {
		return nil, fmt.Errorf("no parcel: %+v", d)
	}
	a.got = append(a.got, fmt.Sprintf("%d %s %q %v depth %d", d.Number, d.Parcel.From, d.Parcel.Key, d.Parcel.Content, c.Message.Injected.Depth))
	v := a.answers[0]
	if len(a.answers) > 1 {
		a.answers = a.answers[1:]
	}
	return v, nil
}

func parcelBench(t *testing.T, answers ...*hooks.Verdict) (*bench, *archive) {
	a := &archive{answers: answers}
	b := newBench(t)
	b.hooks = a.hooks()
	return b, a
}

var (
	accepts = &hooks.Verdict{Kind: hooks.Accept}
	defers  = &hooks.Verdict{Kind: hooks.Defer}
	rejects = &hooks.Verdict{Kind: hooks.Reject}
)

func mine(key string) message.Injected {
	return message.Injected{By: "archive", Via: "archive", Depth: 1, Key: key}
}

func TestParcel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, a := parcelBench(t, defers, defers, accepts)
		b.start()
		id, err := b.q.Parcel(t.Context(), mine("k"), map[string]any{"n": int64(1), "raw": []byte{0xff}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		expect(t, "store after a minute", b.states(), "plugin:archive deferred")
		b.stop() // a restart keeps it
		b.start()
		time.Sleep(time.Hour)
		expect(t, "delivered", a.seen(&a.got), `1 archive "k" map[n:1 raw:[255]] depth 1`, `2 archive "k" map[n:1 raw:[255]] depth 1`, `3 archive "k" map[n:1 raw:[255]] depth 1`)
		expect(t, "asked besides", a.seen(&a.other))
		expect(t, "store", b.states())
		var words []string
		for _, s := range b.recs.of(id) {
			words = append(words, s.Stage+" "+s.Verdict)
		}
		if !slices.Contains(words, "inject queued") || words[len(words)-1] != "outcome delivered" {
			t.Errorf("the record has %q", words)
		}
		b.stop()
	})
}

// TestParcelThatNobodyWants: refused or too old, it goes, and nobody is told but the log.
func TestParcelThatNobodyWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			answer *hooks.Verdict
			says   string
			tries  int
		}{{rejects, "refused by policy", 1}, {defers, "it was not delivered in time", 5}} {
			b, a := parcelBench(t, c.answer)
			b.set.Expire = 90 * time.Minute
			b.start()
			var log bytes.Buffer
			b.q.Log = slog.New(slog.NewTextHandler(&log, nil))
			if _, err := b.q.Parcel(t.Context(), mine(""), "x"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(24 * time.Hour)
			expect(t, "store", b.states())
			expect(t, "asked besides", a.seen(&a.other))
			if n := len(a.seen(&a.got)); n != c.tries {
				t.Errorf("%d tries, want %d", n, c.tries)
			}
			b.stop()
			var lines []string
			for l := range strings.Lines(log.String()) {
				if strings.Contains(l, "level=WARN") {
					lines = append(lines, l)
				}
			}
			if len(lines) != 1 || !strings.Contains(lines[0], "a parcel was given up") || !strings.Contains(lines[0], c.says) {
				t.Errorf("the log says %q", lines)
			}
		}
	})
}

// TestParcelsHaveALaneOfTheirOwn: mail that a plugin delivers does not wait behind them.
func TestParcelsHaveALaneOfTheirOwn(t *testing.T) {
	env := Pack(store.ID{}, mine(""), 1, time.Now())
	if p := ParcelPlan(env); p.Via != "archive" || laneOf(env, p) != "parcel:archive" {
		t.Errorf("plan %+v, lane %s", p, laneOf(env, p))
	}
	mail := &message.Envelope{}
	if p := ParcelPlan(mail); p != nil || laneOf(mail, &message.Plan{Via: "archive"}) != "plugin:archive" {
		t.Errorf("plan of mail %+v", p)
	}
}

func TestParcelRefused(t *testing.T) {
	b, _ := parcelBench(t, accepts)
	b.hooks = b.hooks[1:]
	b.start()
	defer b.stop()
	if _, err := b.q.Parcel(t.Context(), mine("k"), "x"); err == nil || err.Error() != "the plugin archive has no on.deliver" {
		t.Errorf("without on.deliver: %v", err)
	}
}

// fullStore has no room.
type fullStore struct {
	store.Store
	health store.Health
	err    error
}

func (f *fullStore) Health() store.Health { return f.health }
func (f *fullStore) Commit(ctx context.Context, env *message.Envelope, b store.BodyWriter, also ...store.Change) error {
	if f.err != nil {
		return f.err
	}
	return f.Store.Commit(ctx, env, b, also...)
}

// TestKeys: while one with a key is queued there is no other; afterwards, or when it could not be kept, there may be.
func TestKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, a := parcelBench(t, defers, accepts)
		full := &fullStore{Store: memory.New(memory.Options{})}
		b.store = full
		b.start()
		parcel := func(key string) (store.ID, error) { return b.q.Parcel(t.Context(), mine(key), "x") }
		full.health.Full = true
		if _, err := parcel("k"); !errors.Is(err, store.ErrFull) {
			t.Errorf("a full disk: %v", err)
		}
		full.health.Full, full.err = false, store.ErrBusy
		if _, err := parcel("k"); !errors.Is(err, store.ErrBusy) {
			t.Errorf("a busy store: %v", err)
		}
		full.err = nil
		first, err := parcel("k")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		again, err := parcel("k")
		other, otherErr := b.q.Parcel(t.Context(), message.Injected{By: "second", Via: "archive", Key: "k"}, "y")
		if err != nil || again != first || otherErr != nil || other == first {
			t.Errorf("the same key: %v, %v; another plugin's: %v, %v", again, err, other, otherErr)
		}
		b.stop()
		b.start() // what lies on disk is known after a restart
		if again, err := parcel("k"); err != nil || again != first {
			t.Errorf("after a restart: %v, %v", again, err)
		}
		time.Sleep(time.Hour)
		expect(t, "store", b.states())
		if next, err := parcel("k"); err != nil || next == first {
			t.Errorf("when it is delivered: %v, %v", next, err)
		}
		time.Sleep(time.Second)
		parcel("one more")
		time.Sleep(time.Minute)
		a.mu.Lock()
		if len(a.got) != 5 { // k deferred, that of second, k again, k anew, one more
			t.Errorf("delivered %q", a.got)
		}
		// Deleted by hand is gone, too.
		a.answers = []*hooks.Verdict{defers}
		a.mu.Unlock()
		id, _ := parcel("d")
		time.Sleep(time.Second)
		if err := b.hand(Order{Verb: Delete}, id); err != nil {
			t.Fatal(err)
		}
		if next, err := parcel("d"); err != nil || next == id {
			t.Errorf("deleted by hand: %v, %v", next, err)
		}
		b.stop()
		if n := len(b.q.keys.ids); n != 1 {
			t.Errorf("%d keys are remembered, want that of the message in the queue", n)
		}
	})
}

// TestKeysAtOnce: of many that hand in the same key at once, one does.
func TestKeysAtOnce(t *testing.T) {
	b, _ := parcelBench(t, defers)
	b.start()
	defer b.stop()
	var group sync.WaitGroup
	var mu sync.Mutex
	ids := map[store.ID]bool{}
	for range 50 {
		group.Go(func() {
			id, err := b.q.Parcel(t.Context(), mine("k"), "x")
			if errors.Is(err, store.ErrBusy) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if ids[id] = true; err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if len(ids) != 1 {
		t.Errorf("%d were handed in", len(ids))
	}
}

// lagging is a store whose updates take as long as it holds them up.
type lagging struct {
	store.Store
	until chan struct{}
}

func (l *lagging) Update(ctx context.Context, own store.Lease, changes ...store.Change) ([]store.ID, error) {
	<-l.until
	return l.Store.Update(ctx, own, changes...)
}

// TestKeyOfWhatIsSettled: what was delivered when the keys on disk are read, and lies there until that is written, leaves no key behind.
func TestKeyOfWhatIsSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := parcelBench(t, defers, accepts)
		lag := &lagging{b.store, make(chan struct{})}
		b.store = lag
		close(lag.until)
		b.start()
		first, err := b.q.Parcel(t.Context(), mine("k"), "x")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		b.stop()
		lag.until = make(chan struct{})
		b.start()
		time.Sleep(time.Hour) // it is delivered, which is not written
		if _, err := b.q.Parcel(t.Context(), mine("other"), "x"); err != nil {
			t.Fatal(err)
		}
		close(lag.until)
		synctest.Wait()
		if again, err := b.q.Parcel(t.Context(), mine("k"), "x"); err != nil || again == first {
			t.Errorf("the key still stands for what was delivered: %v, %v", again, err)
		}
		b.stop()
	})
}
