package disk

import (
	"cmp"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stagepost/stagepost/core/store"
)

// Content above maxInline lies in slots, files that are used again and again: to make and remove a file for each message costs
// a file system many times what the content does. A slot is used by the one message whose record names it. It is free again
// when that record is gone for good and nobody reads from it, so what is in use is known from the records alone, and a start
// takes all others as free.
//
// Slots come in classes, so that a small content is not kept in what a large one left. A slot takes as much of the disk as the
// largest content that it had, which is allocated before a byte is overwritten: a full disk is met there, and not half-way.

const (
	classes  = 3
	maxFree  = 512 << 20 // bytes in free slots; those beyond it are removed
	maxOpen  = 128       // slots that are kept open for the next content
	slotPage = 4 << 10   // what is written is rounded up to this, so that nothing of a slot has to be read for it
)

// slotClasses is how much goes into a slot, its header included; slotFolders are where they lie. What goes into none has a file
// of its own.
var (
	slotClasses = [classes]int64{256 << 10, 1 << 20, 8 << 20}
	slotFolders = [classes]string{"256k", "1m", "8m"}
)

// slotID names a slot. Numbers are not given twice while the store is open.
type slotID struct {
	class uint8 // 1 for the first of slotClasses; 0: no slot
	n     uint64
}

const slotBits = 48 // of a number

func (a slotID) compare(b slotID) int {
	return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(a.n, b.n))
}

// bodyName names what holds a content outside of Pebble.
type bodyName struct {
	slot slotID
	file store.ID // of a content that has a file of its own
}

func (s *Store) bodyPath(name bodyName) string {
	if c := name.slot.class; c > 0 {
		return s.path(bodyFolder, slotFolders[c-1], strconv.FormatUint(name.slot.n, 10))
	}
	return s.path(bodyFolder, name.file.String())
}

// slot belongs to one goroutine: to that of a content, or to whoever took it from the free ones.
type slot struct {
	slotID
	file  vfs.File // for reading and writing; nil: it is not open
	size  int64    // bytes that it is known to have on the disk
	named bool     // its name is durable
	bad   bool     // a write or a sync of it failed: it is not used again
}

func (sl *slot) name() bodyName { return bodyName{slot: sl.slotID} }

// slots are the free ones, and those that are open and in nobody's hands.
type slots struct {
	most   int64        // bytes
	opened atomic.Int64 // slots that are open, whoever has them

	mu     sync.Mutex
	next   [classes]uint64
	free   [classes][]*slot // the last one was used last: what it holds is in memory still
	held   [classes]int64   // bytes
	parked map[slotID]*slot // open ones of messages that most likely are settled soon
	shut   bool
}

// take gives a free slot of a class, or a new one that has no file yet.
func (t *slots) take(class uint8) *slot {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := class - 1
	if n := len(t.free[c]); n > 0 {
		return t.remove(c, n-1)
	}
	sl := &slot{slotID: slotID{class, t.next[c]}}
	t.next[c]++
	return sl
}

// roomy gives a free slot of a class or a larger one that has n bytes on the disk already; nil: there is none.
func (t *slots) roomy(class uint8, n int64) *slot {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := class - 1; c < classes; c++ {
		for i, sl := range t.free[c] {
			if sl.size >= n {
				return t.remove(c, i)
			}
		}
	}
	return nil
}

func (t *slots) remove(c uint8, i int) *slot {
	sl := t.free[c][i]
	t.free[c] = append(t.free[c][:i], t.free[c][i+1:]...)
	t.held[c] -= sl.size
	return sl
}

// put makes a slot free. It returns those that are too many now: of the class with most bytes, what was not used for longest.
func (t *slots) put(sl *slot) (surplus []*slot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.crowded() {
		t.close(sl)
	}
	if t.shut {
		return nil
	}
	c := sl.class - 1
	t.free[c] = append(t.free[c], sl)
	t.held[c] += sl.size
	for {
		total, most := int64(0), uint8(0)
		for c, n := range t.held {
			if total += n; n > t.held[most] {
				most = uint8(c)
			}
		}
		if total <= t.most {
			return surplus
		}
		surplus = append(surplus, t.remove(most, 0))
	}
}

// park keeps a slot open while its message is there.
func (t *slots) park(sl *slot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.crowded() {
		t.close(sl)
		return
	}
	t.parked[sl.slotID] = sl
}

// unpark gives the slot of a message that is gone; nil: it is not parked.
func (t *slots) unpark(id slotID) *slot {
	t.mu.Lock()
	defer t.mu.Unlock()
	sl := t.parked[id]
	delete(t.parked, id)
	return sl
}

// crowded tells whether a slot is to be closed. While too many are open, one that is parked goes first.
func (t *slots) crowded() bool {
	if t.opened.Load() > maxOpen {
		for id, sl := range t.parked {
			t.close(sl)
			delete(t.parked, id)
			break
		}
	}
	return t.shut || t.opened.Load() > maxOpen
}

// drain takes all free slots.
func (t *slots) drain() (all []*slot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.free {
		all = append(all, t.free[c]...)
		t.free[c], t.held[c] = nil, 0
	}
	return all
}

// bytes is what free slots have on the disk.
func (t *slots) bytes() (n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, held := range t.held {
		n += held
	}
	return n
}

// stop closes what nobody uses, and each that nobody uses later.
func (t *slots) stop() {
	t.mu.Lock()
	t.shut = true
	t.mu.Unlock()
	t.relax()
}

// relax closes what nobody uses, and tells whether that was anything.
func (t *slots) relax() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	open := 0
	shut := func(sl *slot) {
		if sl.file != nil {
			open++
			t.close(sl)
		}
	}
	for _, free := range t.free {
		for _, sl := range free {
			shut(sl)
		}
	}
	for _, sl := range t.parked {
		shut(sl)
	}
	clear(t.parked)
	return open > 0
}

func (t *slots) close(sl *slot) {
	if sl.file != nil {
		sl.file.Close()
		sl.file = nil
		t.opened.Add(-1)
	}
}

// takeSlot gives a slot that is open and has room for n bytes on the disk. On a full disk a larger one that is there will do.
func (s *Store) takeSlot(class uint8, n int64) (*slot, error) {
	sl := s.slots.take(class)
	err := s.ready(sl, n)
	if errors.Is(err, syscall.ENOSPC) {
		s.discard(sl)
		if sl = s.slots.roomy(class, n); sl == nil {
			return nil, err
		}
		err = s.ready(sl, n)
	}
	if err != nil {
		s.discard(sl)
		return nil, err
	}
	return sl, nil
}

func (s *Store) ready(sl *slot, n int64) error {
	if err := s.openSlot(sl); err != nil {
		return err
	}
	return sl.allocate(n)
}

// discard gives a slot up that could not be made ready: an old one is as good as before, a new one goes.
func (s *Store) discard(sl *slot) {
	switch {
	case sl.named:
		s.free(sl)
	case sl.file != nil:
		s.slots.close(sl)
		s.reaper.add(sl.name())
	}
}

func (s *Store) openSlot(sl *slot) error {
	if sl.file != nil {
		return nil
	}
	f, err := s.createFile(sl.name())
	if noFilesLeft(err) && s.slots.relax() {
		f, err = s.createFile(sl.name())
	}
	if err != nil {
		return err
	}
	sl.file = f
	s.slots.opened.Add(1)
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if sl.size = info.Size(); sl.size == 0 { // a new one, or somebody removed the one that was there
		sl.named = false
	}
	return nil
}

// allocate makes sure of n bytes on the disk before any is overwritten. In a new slot none is, so writing allocates, which costs
// less; as it does where a file system cannot do anything else.
func (sl *slot) allocate(n int64) error {
	if n <= sl.size || sl.size == 0 {
		return nil
	}
	err := sl.file.Preallocate(sl.size, n-sl.size)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err == nil {
		sl.size = n
	}
	return err
}

// reap frees what held a content, now that nobody knows of it any more: a slot for the next content, a file, or a slot that
// failed, to be removed. sl is nil where nobody has it open.
func (s *Store) reap(name bodyName, sl *slot) {
	switch {
	case name.slot.class == 0:
		s.reaper.add(name)
		return
	case sl == nil:
		if sl = s.slots.unpark(name.slot); sl == nil {
			sl = &slot{slotID: name.slot, named: true}
		}
	case sl.bad:
		s.slots.close(sl)
		s.reaper.add(name)
		return
	}
	if s.wiping.Load() {
		s.wiper.add(sl)
		return
	}
	s.free(sl)
}

// free makes a slot free for the next content. One that cannot be asked for its size is left to the next start.
func (s *Store) free(sl *slot) {
	if sl.file == nil && sl.size == 0 {
		info, err := s.fs.Stat(s.bodyPath(sl.name()))
		if err != nil {
			return
		}
		sl.size = info.Size()
	}
	for _, sl := range s.slots.put(sl) {
		s.slots.close(sl)
		s.reaper.add(sl.name())
	}
}

// giveUpSlots removes the free slots: on a full disk their space is worth more than what they save.
func (s *Store) giveUpSlots() {
	for _, sl := range s.slots.drain() {
		s.slots.close(sl)
		s.reaper.add(sl.name())
	}
}
