package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/stagepost/stagepost/core/store"
)

// What is due lies in two indexes. q holds the entries, lane by lane and then by time. t says which lanes have an entry in
// which 16 seconds: an entry of a routed lane sets it in the same batch, and nothing but a sweep deletes it, so it may name a
// lane with nothing due any more and never lacks one. Wake reads the few buckets that a tick covers; where buckets were swept,
// or are many, it steps through the lanes of q instead, one or two seeks each, which costs in proportion to the number of
// lanes and not of entries. The lane "" has no t keys at all: every message passes it, one seek tells whether it is due.
//
// A caller that asks tick by tick never needs the buckets behind its own clock again, so Wake sweeps those below from. The
// boundary is kept in memory and, in the batch that sweeps, on disk: a Wake from before it, after a restart or with a clock
// that went back, reads q. So nothing is missed whatever a caller asks, and nothing has to be rebuilt when the store opens.

// manyBuckets is where stepping through the lanes is cheaper, or at least no caller in a hurry.
const manyBuckets = 64

// Own implements store.Store.
func (s *Store) Own(ctx context.Context) iter.Seq2[store.Lease, error] { return store.Alone(ctx) }

// Due implements store.Store. The cursor is the tail of the last entry's key.
func (s *Store) Due(ctx context.Context, _ store.Lease, lane store.Lane, after store.Cursor, until time.Time, limit int) (page []store.Entry, next store.Cursor, err error) {
	_, last := store.Window(time.Time{}, until)
	lower := lanePrefix(lane)
	if after != nil {
		if len(after) != dueTail-1 {
			return nil, nil, errors.New("store: bad cursor")
		}
		lower = append(append(lower, after...), 0)
	}
	upper := dueFrom(lane, last+1)
	if bytes.Compare(lower, upper) >= 0 {
		return nil, nil, nil
	}
	if err := s.gate.enter(); err != nil {
		return nil, nil, err
	}
	defer s.gate.leave()
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.First(); it.Valid(); it.Next() {
		_, second, id, ok := splitDue(it.Key())
		if !ok {
			continue
		}
		if len(page) == max(limit, 1) {
			return page, next, nil
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, nil, err
		}
		rcpts, err := readNumbers(v)
		if err != nil {
			s.log.Error("store: a due entry is damaged; it stands for all recipients of its message", "id", id.String(), "lane", lane)
			rcpts = nil
		}
		page = append(page, store.Entry{ID: id, Lane: lane, At: time.Unix(int64(second), 0).UTC(), Rcpts: rcpts})
		next = append(next[:0], it.Key()[len(it.Key())-dueTail+1:]...)
	}
	return page, nil, it.Error()
}

// Wake implements store.Store.
func (s *Store) Wake(ctx context.Context, _ store.Lease, from, until time.Time) iter.Seq2[store.Lane, error] {
	return func(yield func(store.Lane, error) bool) {
		first, last := store.Window(from, until)
		if first > last {
			return
		}
		if err := s.gate.enter(); err != nil {
			yield("", err)
			return
		}
		defer s.gate.leave()
		switch more, err := s.wake(ctx, first, last, yield); {
		case !more: // nothing may be yielded any more, not even an error
		case err != nil:
			yield("", err)
		case !from.IsZero():
			s.sweep(uint32(first / bucketLen))
		}
	}
}

// wake yields the lanes due in the seconds first to last; more is false when the consumer has enough.
func (s *Store) wake(ctx context.Context, first, last int64, yield func(store.Lane, error) bool) (more bool, err error) {
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: []byte{keyDue}, UpperBound: []byte{keyWake + 1}})
	if err != nil {
		return true, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if it.SeekGE(dueFrom("", first)) && bytes.Compare(it.Key(), dueFrom("", last+1)) < 0 && !yield("", nil) {
		return false, nil
	}
	low, high := first/bucketLen, last/bucketLen
	// The boundary is read after the iterator was made: a sweep that the iterator sees has moved it before.
	if low < int64(s.swept.boundary()) || high-low >= manyBuckets {
		return s.wakeFromEntries(it, first, last, yield)
	}
	return s.wakeFromBuckets(it, uint32(low), uint32(high), yield)
}

func (s *Store) wakeFromBuckets(it *pebble.Iterator, low, high uint32, yield func(store.Lane, error) bool) (bool, error) {
	seen := map[store.Lane]bool{} // in the buckets before the last
	for ok := it.SeekGE(wakeKey(low, "")); ok; ok = it.Next() {
		bucket, name, ok := splitWake(it.Key())
		if !ok || bucket > high || it.Key()[0] != keyWake {
			break
		}
		if seen[string(name)] {
			continue
		}
		lane := string(name)
		if bucket < high {
			seen[lane] = true
		}
		if !yield(lane, nil) {
			return false, nil
		}
	}
	return true, it.Error()
}

// wakeFromEntries steps from lane to lane. Where a lane's first entry is too early, one more seek finds the first in time.
func (s *Store) wakeFromEntries(it *pebble.Iterator, first, last int64, yield func(store.Lane, error) bool) (bool, error) {
	for ok := it.SeekGE(laneEnd("")); ok && it.Key()[0] == keyDue; {
		name, second, _, valid := splitDue(it.Key())
		switch lane := string(name); {
		case !valid:
			ok = it.Next()
		case int64(second) < first:
			ok = it.SeekGE(dueFrom(lane, first))
		default:
			if int64(second) <= last && !yield(lane, nil) {
				return false, nil
			}
			ok = it.SeekGE(laneEnd(lane))
		}
	}
	return true, it.Error()
}

// sweep is the boundary below which t has been swept.
type sweep struct {
	mu    sync.Mutex
	below uint32
}

func (w *sweep) boundary() uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.below
}

// sweep deletes the buckets below one that a caller has passed, if there are any. It leaves alone what lies ahead of the clock,
// so that a caller with a wrong one does not spoil the index. Nothing is lost when it fails.
func (s *Store) sweep(below uint32) {
	below = min(below, store.DueSecond(s.now())/bucketLen)
	s.swept.mu.Lock()
	defer s.swept.mu.Unlock()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: wakeKey(0, ""), UpperBound: wakeKey(below, "")})
	if err != nil {
		return
	}
	any := it.First()
	if it.Close() != nil || !any {
		return
	}
	batch := s.db.NewBatch()
	defer batch.Close()
	boundary := max(s.swept.below, below)
	err = errors.Join(
		batch.DeleteRange(wakeKey(0, ""), wakeKey(below, ""), nil),
		batch.Set([]byte{keySwept}, binary.BigEndian.AppendUint32(nil, boundary), nil))
	if err != nil {
		return
	}
	s.swept.below = boundary
	if err := s.apply(batch, s.db.Apply, pebble.NoSync); err != nil {
		s.fatal(fmt.Sprintf("writing the log: %v", err))
	}
}

// loadSweep reads the boundary when the store opens. If the clock has gone back behind it, the buckets from now on are
// written again, or every Wake until then would have to step through all lanes.
func (s *Store) loadSweep() error {
	v, closer, err := s.db.Get([]byte{keySwept})
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(v) == 4 {
		s.swept.below = binary.BigEndian.Uint32(v)
	}
	closer.Close()
	now := store.DueSecond(s.now()) / bucketLen
	if s.swept.below <= now {
		return nil
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: laneEnd(""), UpperBound: []byte{keyDue + 1}})
	if err != nil {
		return err
	}
	defer it.Close()
	batch := s.db.NewBatch()
	defer func() { batch.Close() }()
	var last []byte
	for it.First(); it.Valid(); it.Next() {
		lane, second, _, ok := splitDue(it.Key())
		bucket := second / bucketLen
		if !ok || bucket < now || bucket >= s.swept.below {
			continue
		}
		key := wakeKey(bucket, string(lane))
		if bytes.Equal(key, last) {
			continue
		}
		last = key
		if err := batch.Set(key, nil, nil); err != nil {
			return err
		}
		if batch.Len() > 1<<20 {
			if err := s.db.Apply(batch, pebble.NoSync); err != nil {
				return err
			}
			batch.Close()
			batch = s.db.NewBatch()
		}
	}
	if err := it.Error(); err != nil {
		return err
	}
	if err := batch.Set([]byte{keySwept}, binary.BigEndian.AppendUint32(nil, now), nil); err != nil {
		return err
	}
	s.swept.below = now
	return s.db.Apply(batch, pebble.Sync)
}
