// Package suspects remembers, across a crash of the process, which messages it had in hand.
//
// A message whose processing ends the process would be tried again at once after the restart, for ever. So what is being
// routed, attempted or told of is noted in a file mapped into memory: a note costs a copy of ten bytes and no system call, and
// the kernel keeps it when the process dies. Power may take it along, and then nobody is suspected. Who is found in hand after
// a crash gets a strike; with MaxStrikes the queue holds the message.
//
// A crash is an end that the Go runtime reports: a panic that nobody recovers, or a fatal error. SIGKILL, a machine that is out
// of memory, and a disk that fails say nothing about the mail, and give no strikes.
//
// Many are in hand when a process crashes, and one of them is to blame at most. The queue sorts that out by trying suspects
// beside all other mail, but few of them at once and, after a second strike, one.
package suspects

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/stagepost/stagepost/core/message"
)

// MaxStrikes is how many strikes hold a message.
const MaxStrikes = 3

// The file: a line that says what it is, the table of strikes, and the messages in hand, both in slots of 16 bytes: the id, then the
// strikes. A slot of zeros is empty.
const (
	title   = "stagepost suspects 1\n"
	headLen = 64
	slotLen = 16
	slots   = 4096
	idLen   = len(message.ID{})
	steps   = 64 // places that Begin looks at
	fileLen = headLen + 2*slots*slotLen
)

// File is the file of a running server. Its methods are safe for concurrent use; with a nil File nobody is ever suspected.
type File struct {
	area   *area
	broken atomic.Bool // the area cannot be written any more
	taken  [slots]atomic.Bool

	some    atomic.Bool // there are suspects: looked at before the lock
	mu      sync.Mutex
	strikes map[message.ID]place
}

type place struct {
	slot    int
	strikes uint8
}

// Open reads the file at path, which a server left there, and begins a new one. crashed says that this server crashed, so that
// what it had in hand gets a strike. A file that is missing or damaged holds nothing.
func Open(path string, crashed bool) (*File, error) {
	old, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	f := &File{strikes: map[message.ID]place{}}
	text := f.renew(old, crashed)
	// The old file is replaced in one step, so that a strike is never counted twice.
	next := path + ".new"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(next, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if f.area, err = newArea(file, fileLen); err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return f, os.Rename(next, path)
}

// renew gives the new file and takes the suspects of the old one into memory.
func (f *File) renew(old []byte, crashed bool) []byte {
	counts := map[message.ID]int{}
	if len(old) == fileLen && bytes.HasPrefix(old, []byte(title)) {
		hand := map[message.ID]bool{}
		for n := range 2 * slots {
			s := old[headLen+n*slotLen:][:slotLen]
			id := message.ID(s[:idLen])
			switch {
			case id == message.ID{}:
			case n < slots:
				counts[id] = max(counts[id], int(s[idLen]))
			case crashed:
				hand[id] = true
			}
		}
		for id := range hand {
			counts[id] = min(counts[id]+1, 255)
		}
	}
	text := make([]byte, fileLen)
	copy(text, title)
	ids := make([]message.ID, 0, len(counts))
	for id := range counts {
		ids = append(ids, id)
	}
	// Where there are too many, those stay that have most strikes, and of these the latest.
	slices.SortFunc(ids, func(a, b message.ID) int {
		if counts[a] != counts[b] {
			return counts[b] - counts[a]
		}
		return bytes.Compare(b[:], a[:])
	})
	for n, id := range ids[:min(len(ids), slots)] {
		f.strikes[id] = place{n, uint8(counts[id])}
		s := text[headLen+n*slotLen:]
		copy(s, id[:])
		s[idLen] = uint8(counts[id])
	}
	f.some.Store(len(f.strikes) > 0)
	return text
}

// Begin notes that the message is in hand, and returns what End takes.
func (f *File) Begin(id message.ID) (slot int) {
	if f == nil || f.broken.Load() {
		return -1
	}
	start := int((binary.BigEndian.Uint32(id[6:]) ^ binary.BigEndian.Uint32(id[2:])) * 2654435769 >> 16) // spread, as ids come in a row
	for i := range steps {
		if n := (start + i) & (slots - 1); f.taken[n].CompareAndSwap(false, true) {
			f.put(slots+n, id[:])
			return n
		}
	}
	return -1 // more is in hand than there is room for: this one cannot be suspected
}

// End says that it is not any more. It must not be deferred: a panic that ends the process runs what is.
func (f *File) End(slot int) {
	if slot < 0 {
		return
	}
	f.put(slots+slot, make([]byte, idLen))
	f.taken[slot].Store(false)
}

func (f *File) put(slot int, b []byte) {
	if !f.broken.Load() && f.area.put(headLen+slot*slotLen, b) != nil {
		f.broken.Store(true)
	}
}

// Strikes is how many a message has.
func (f *File) Strikes(id message.ID) int {
	if f == nil || !f.some.Load() {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return int(f.strikes[id].strikes)
}

// Suspects lists the messages that have strikes. There are none but those that Open found.
func (f *File) Suspects() (ids []message.ID) {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for id := range f.strikes {
		ids = append(ids, id)
	}
	return ids
}

// Forget takes the strikes of a message away.
func (f *File) Forget(id message.ID) {
	if f == nil || !f.some.Load() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if p, ok := f.strikes[id]; ok {
		f.put(p.slot, make([]byte, slotLen))
		delete(f.strikes, id)
		f.some.Store(len(f.strikes) > 0)
	}
}
