// Package disk is the engine for one machine: Pebble for everything small, slots for content above 32 KiB, which are files that
// are used again and again.
//
// The data folder:
//
//	store/         Pebble: records, states, due entries, small content (keys.go)
//	body/CLASS/N   slots: content above 32 KiB (slot.go)
//	body/ID        content that is larger than any slot, and all above 32 KiB of stores of format 1: a file for each (file.go)
//	lock           held with flock while the store is open, with the process id in it
//	ballast        64 MiB that are given up when the disk is full, as some open files are when no more may be opened (spare.go)
//
// A commit writes and syncs the slot first, if the content needs one, then its folder, if the slot is new, then one Pebble batch.
// The batch is synced by Pebble's commit pipeline, which takes the syncs of all sessions together. So a record never names content
// that is not there. What no record names is left over from a commit that was never answered with 250, or from a message that is
// settled: a slot is free then, and a file is removed.
//
// Failure is where a store is easily wrong. Pebble reports a failed write of its log by Logger.Fatalf and then goes on as if
// nothing had been, so Fatalf must not return: it ends the process, nobody hears an answer, and the log decides at the next
// start. Where Pebble would panic instead, the file system below it ends the process first (guard.go), and a panic that comes
// all the same ends it too: no recover brings a store back whose commits are locked. A full disk makes Pebble wait instead of fail: the ballast is released, deliveries
// go on in what that gives, and Health.Stalled keeps new mail out until there is space again (full.go).
//
// What is due lies lane by lane, so that one lane's million entries never stand before another's. A second, small index
// tells which lanes have something due in which 16 seconds (due.go).
package disk

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

// Options say where the data lies. Only Dir must be set.
type Options struct {
	Dir string
	Now func() time.Time
	Log *slog.Logger // what people should know of; default: nothing

	BodyBudget int64         // bytes of content in memory; 64 MiB
	Patience   time.Duration // how long Body and Write wait for the budget; 1 s
	MinFree    int64         // bytes that must be free to accept mail; 0: 1 GiB or 2 % of the file system; -1: none
	Ballast    int64         // size of the ballast; 0: 64 MiB; -1: none
	Wipe       bool          // as by Store.Wipe
	Since      time.Time     // before that, ids may have been given away; new ones are later
	Known      []string      // names in Dir that belong to other parts of the server and are not reported

	// OnFatal is called with one line when the disk failed in a way that leaves the outcome of writes unknown. It must end the
	// process; where it returns, the caller of the store waits for ever. Default: write the line to standard error, exit 74.
	OnFatal func(line string)

	FS       vfs.FS                   // for tests; the data folder is then not locked by us
	Capacity func() (Capacity, error) // for tests; default: what the operating system says of Dir

	misuse      func(string)   // of Pebble, for tests
	pause       time.Duration  // before a broken table is tried again, for tests
	memTable    uint64         // bytes; smaller in tests, for more logs and tables
	slotClasses [classes]int64 // for tests
	freeSlots   int64          // bytes in free slots, for tests
}

// Store is the engine.
type Store struct {
	opts Options
	log  *slog.Logger
	now  func() time.Time
	fs   vfs.FS // with quota errors as ENOSPC; below Pebble's, which waits
	lock *folderLock

	db       *pebble.DB
	created  time.Time   // when db was made
	opening  atomic.Bool // Pebble is
	running  atomic.Bool // from Open to Close, whose own errors are returned
	dead     atomic.Bool // fatal was called
	gate     gate
	closing  sync.Once
	ids      *message.IDs
	budget   *store.Budget
	buffers  [len(bufferSizes)]sync.Pool
	scratch  sync.Pool              // *[]byte, for the record of an envelope
	pieces   sync.Pool              // of *[pieceSize]byte
	bodySync [1 + classes]groupSync // of the folders of files and of slots
	ride     ride
	files    files
	slots    slots
	wiping   atomic.Bool
	wiper    wiper
	looking  sync.WaitGroup // for slots that no record names
	reaper   *reaper
	spare    spare

	update sync.Mutex // from reading a revision to writing the next
	swept  sweep
	depth  atomic.Int64
	health health
}

var _ store.Store = (*Store)(nil)

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.BodyBudget == 0 {
		o.BodyBudget = 64 << 20
	}
	if o.Patience == 0 {
		o.Patience = time.Second
	}
	if o.Ballast == 0 {
		o.Ballast = 64 << 20
	}
	if o.OnFatal == nil {
		o.OnFatal = func(line string) {
			fmt.Fprintln(os.Stderr, line)
			os.Exit(74) // EX_IOERR of sysexits
		}
	}
	if o.pause == 0 {
		o.pause = pauseBroken
	}
	if o.memTable == 0 {
		o.memTable = 4 << 20
	}
	if o.slotClasses[0] == 0 {
		o.slotClasses = slotClasses
	}
	if o.freeSlots == 0 {
		o.freeSlots = maxFree
	}
	if o.misuse == nil {
		o.misuse = func(what string) { o.Log.Error("store: misuse of Pebble", "what", what) }
	}
	return o
}

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.opts.Dir}, elem...)...)
}

// fatal ends the process. It never returns: after a failed write of the log any answer to anybody could be false. The first
// failure is the one that is told; those that follow from it wait for the end.
func (s *Store) fatal(line string) {
	if !s.dead.Swap(true) {
		s.log.Error("store: the disk failed, the process ends", "error", line)
		s.opts.OnFatal("stagepost: store: " + line)
	}
	select {}
}

// apply gives a batch to Pebble. A panic in there leaves its commits locked for ever, so whoever recovers further up, as
// servers of requests do, must not come to it.
func (s *Store) apply(batch *pebble.Batch, write func(*pebble.Batch, *pebble.WriteOptions) error, o *pebble.WriteOptions) error {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("store: panic while the log was written", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			s.fatal(fmt.Sprintf("panic while the log was written: %v", p))
		}
	}()
	return write(batch, o)
}

// Close waits for calls under way and closes the store. Contents that are open stay readable.
func (s *Store) Close() error {
	s.closing.Do(func() { close(s.health.quit) }) // nobody waits for space any more
	if !s.gate.close() {
		return nil
	}
	s.reaper.stop()
	s.looking.Wait()
	s.wiper.stop()
	s.slots.stop()
	s.running.Store(false)
	err := s.db.Close()
	s.spare.close()
	if lockErr := s.lock.release(); err == nil {
		err = lockErr
	}
	return err
}

// gate keeps Close from closing what calls use. It is no RWMutex: a consumer of Wake calls other methods inside.
type gate struct {
	mu     sync.Mutex
	inside int
	closed bool
	empty  chan struct{}
}

func (g *gate) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return fmt.Errorf("%w: %w", store.ErrBusy, os.ErrClosed)
	}
	g.inside++
	return nil
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.closed && g.inside == 0 {
		close(g.empty)
	}
}

// close shuts the gate and waits until nobody is inside; false if it was shut already.
func (g *gate) close() bool {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return false
	}
	g.closed, g.empty = true, make(chan struct{})
	if g.inside == 0 {
		close(g.empty)
	}
	g.mu.Unlock()
	<-g.empty
	return true
}
