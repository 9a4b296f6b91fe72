package observe

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"
)

const (
	recordsWaiting = 8 << 20
	recordsBatch   = 256 << 10
	recordsEvery   = 200 * time.Millisecond

	maxFound  = 100_000 // steps that Find returns
	maxRecent = 10_000  // ids that Recent returns
)

// RecordOptions of Records; zero values are the defaults.
type RecordOptions struct {
	Size int64            // bytes of all segments; default 256 MiB
	Age  time.Duration    // how long entries are kept, up to an eighth more; default 7 days
	Log  *slog.Logger     // for what is wrong with the folder; default: nowhere
	Now  func() time.Time // the clock of ages, and of steps without a time
}

// Records keeps the steps of messages for some time. All methods may be called by many goroutines at once.
type Records struct {
	behind behind
	folder *folder
	now    func() time.Time
	log    *slog.Logger
	failed atomic.Uint64 // entries that could not be written
	broken bool          // the last write failed; of the writing goroutine
}

// OpenRecords opens the records in a folder, which is made when it is missing. What else lies there is left alone and reported to
// the log.
func OpenRecords(dir string, o RecordOptions) (*Records, error) {
	r := &Records{now: o.Now, log: o.Log}
	if r.now == nil {
		r.now = time.Now
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	var err error
	r.folder, err = openFolder(dir, cmp.Or(o.Size, 256<<20), cmp.Or(o.Age, 7*24*time.Hour), r.now, r.log)
	if err != nil {
		return nil, fmt.Errorf("message records: %w", err)
	}
	r.folder.prune()
	r.behind = behind{limit: recordsWaiting, batch: recordsBatch, every: recordsEvery, write: r.write, tidy: r.folder.prune}
	r.behind.start()
	return r, nil
}

// Limit changes how much is kept and for how long; what is too much or too old goes with the next tidying.
func (r *Records) Limit(size int64, age time.Duration) { r.folder.limit(size, age) }

// Append adds steps to the record of a message. It does not wait for the disk; when more waits for it than memory allows, or the
// Records are closed, the steps are dropped and counted. Strings are cut to their bounds; ids to 64 bytes.
func (r *Records) Append(id string, steps ...Step) {
	if len(steps) == 0 {
		return
	}
	var now time.Time
	for i := range steps {
		if steps[i].Time.IsZero() {
			now = r.now()
			break
		}
	}
	buf, ok := r.behind.begin()
	if !ok {
		return
	}
	r.behind.end(appendEntries(buf, id, steps, now))
}

// Dropped counts the entries (appends, mostly) that are lost: for want of memory, or since the disk did not take them.
func (r *Records) Dropped() uint64 { return r.behind.dropped.Load() + r.failed.Load() }

// write puts a batch into segments. An error loses the batch; the next is tried in a new segment.
func (r *Records) write(b []byte, count int) {
	written, err := r.folder.write(b)
	if err != nil {
		r.failed.Add(uint64(count - written))
		if !r.broken {
			r.log.Error("message records cannot be written; they are lost until this works again", "folder", r.folder.dir, "error", err)
		}
	} else if r.broken {
		r.log.Info("message records are written again", "folder", r.folder.dir, "lost", r.failed.Load())
	}
	r.broken = err != nil
}

// Find returns the steps of a message in the order in which they began, up to 100,000; none is no error. Entries that are
// damaged are passed over. A segment that cannot be read makes an error beside the steps of the others.
func (r *Records) Find(ctx context.Context, id string) ([]Step, error) {
	if err := r.behind.flush(ctx); err != nil {
		return nil, err
	}
	want := []byte(cut(id, maxID))
	var steps []Step
	var errs []error
	var buf []byte
	for _, seg := range r.folder.list() {
		if err := ctx.Err(); err != nil {
			return steps, err
		}
		if !r.folder.mayHold(seg, want) {
			continue
		}
		var b []byte
		var err error
		if b, buf, err = r.folder.read(seg, buf); err != nil {
			errs = append(errs, err)
			continue
		}
		seen := new(filter)
		for e, rest, ok := next(b); ok; e, rest, ok = next(rest) {
			at := e.id()
			seen.add(r.folder.hash(at))
			if !bytes.Equal(at, want) || !e.sound() {
				continue
			}
			if steps, err = e.appendSteps(steps); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", seg.path, err))
			}
			if len(steps) >= maxFound {
				return steps[:maxFound], errors.Join(errs...)
			}
		}
		r.folder.learn(seg, seen)
	}
	slices.SortStableFunc(steps, func(a, b Step) int { return a.Time.Compare(b.Time) })
	return steps, errors.Join(errs...)
}

// Recent returns the ids of the messages to which something happened last, the last first; n is at most 10,000.
func (r *Records) Recent(ctx context.Context, n int) ([]string, error) {
	if err := r.behind.flush(ctx); err != nil {
		return nil, err
	}
	n = min(n, maxRecent)
	var ids []string
	var errs []error
	var buf []byte
	seen := make(map[string]bool)
	for _, seg := range slices.Backward(r.folder.list()) {
		if err := ctx.Err(); err != nil {
			return ids, err
		}
		if len(ids) >= n {
			break
		}
		var b []byte
		var err error
		if b, buf, err = r.folder.read(seg, buf); err != nil {
			errs = append(errs, err)
			continue
		}
		var entries []entry
		for e, rest, ok := next(b); ok; e, rest, ok = next(rest) {
			entries = append(entries, e)
		}
		for _, e := range slices.Backward(entries) {
			if len(ids) >= n {
				break
			}
			if id := string(e.id()); !seen[id] && e.sound() {
				seen[id] = true
				ids = append(ids, id)
			}
		}
	}
	return ids, errors.Join(errs...)
}

// Flush returns when all that was appended before was handed to the system, or the context ends.
func (r *Records) Flush(ctx context.Context) error { return r.behind.flush(ctx) }

// Close writes out what waits, for at most 5 s, and drops what comes later.
func (r *Records) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := r.behind.close(ctx); err != nil {
		return fmt.Errorf("message records: %s: the last ones are not written: %w", r.folder.dir, err)
	}
	return r.folder.close()
}
