package service

import (
	"container/heap"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"regexp"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/message"
)

// What one plugin may keep unless StoreOptions say otherwise.
const (
	StoreEntries = 200_000
	StoreBytes   = 64 << 20
)

// StoreOptions say where a Store keeps its files and how much it holds. The zero value of each but Folder has a default.
type StoreOptions struct {
	Folder  string        // made if it is not there; "": nothing is written, nothing survives
	Every   time.Duration // between two writings of a space that changed; 10 s
	Entries int           // in one space; 200,000
	Bytes   int           // in one space, keys and a share of the bookkeeping included; 64 MiB
	Now     func() time.Time
	Log     *slog.Logger
}

// Bounds of a Store besides those of StoreOptions.
const (
	maxSpaces     = 1000
	entryOverhead = 160 // bytes of bookkeeping for each entry, about
)

// Store is the KV of one server: entries in memory, and a snapshot of each space in a file, written when the Store is closed
// and every 10 seconds in which something changed. A crash loses what changed since. A space that holds as much as it may
// refuses more until something expires: it never drops what is alive, since then a flood of new keys would push out the old.
type Store struct {
	StoreOptions

	mu     sync.RWMutex
	spaces map[string]*space
	closed bool

	stop chan struct{}
	done chan struct{}
}

var _ KV = (*Store)(nil)

// space is what one plugin keeps.
type space struct {
	mu      sync.RWMutex
	entries map[string]*entry
	due     due
	bytes   int
	changes uint64
	saved   uint64 // changes that the file holds; the writer's alone
}

type entry struct {
	key     string
	value   any
	bytes   int
	expires int64 // milliseconds since 1970
	at      int   // in due
}

// due is a heap of the entries by expiry.
type due []*entry

func (d due) Len() int           { return len(d) }
func (d due) Less(i, j int) bool { return d[i].expires < d[j].expires }
func (d due) Swap(i, j int)      { d[i], d[j] = d[j], d[i]; d[i].at, d[j].at = i, j }
func (d *due) Push(x any)        { e := x.(*entry); e.at = len(*d); *d = append(*d, e) }
func (d *due) Pop() any {
	last := len(*d) - 1
	e := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	return e
}

// OpenStore reads the snapshots in the folder. One that is damaged is reported, set aside under the name NAME.cbor.damaged, and its
// space starts empty.
func OpenStore(o StoreOptions) (*Store, error) {
	if o.Every <= 0 {
		o.Every = 10 * time.Second
	}
	if o.Entries <= 0 {
		o.Entries = StoreEntries
	}
	if o.Bytes <= 0 {
		o.Bytes = StoreBytes
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	s := &Store{StoreOptions: o, spaces: map[string]*space{}, stop: make(chan struct{}), done: make(chan struct{})}
	if o.Folder == "" {
		close(s.done)
		return s, nil
	}
	if err := s.load(); err != nil {
		return nil, err
	}
	go s.write()
	return s, nil
}

// Close writes what changed and ends the Store; later calls fail.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	<-s.done
	if s.Folder == "" {
		return nil
	}
	return s.save()
}

var (
	errClosed    = errors.New("kv is closed")
	spacePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}(` + regexp.QuoteMeta(throttleSpace) + `)?$`) // a space names a file
)

// space finds a space, or makes it if told so; else it may be nil.
func (s *Store) space(name string, create bool) (*space, error) {
	s.mu.RLock()
	sp, closed := s.spaces[name], s.closed
	s.mu.RUnlock()
	switch {
	case closed:
		return nil, errClosed
	case sp != nil || !create:
		return sp, nil
	case !spacePattern.MatchString(name):
		return nil, fmt.Errorf("%q cannot name a space", name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if sp := s.spaces[name]; sp != nil {
		return sp, nil
	}
	if len(s.spaces) >= maxSpaces {
		return nil, ErrFull
	}
	sp = newSpace()
	s.spaces[name] = sp
	return sp, nil
}

func newSpace() *space { return &space{entries: map[string]*entry{}} }

// Get implements KV.
func (s *Store) Get(name, key string) (any, bool, error) {
	sp, err := s.space(name, false)
	if sp == nil {
		return nil, false, err
	}
	now := s.Now().UnixMilli()
	sp.mu.RLock()
	defer sp.mu.RUnlock()
	e := sp.entries[key]
	if e == nil || e.expires <= now {
		return nil, false, nil
	}
	return e.value, true, nil
}

// change runs do in the space, with what expired removed.
func (s *Store) change(name string, do func(sp *space, now int64) error) error {
	sp, err := s.space(name, true)
	if err != nil {
		return err
	}
	now := s.Now().UnixMilli()
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.expire(now)
	return do(sp, now)
}

// Set implements KV.
func (s *Store) Set(name, key string, v any, ttl time.Duration) error {
	return s.change(name, func(sp *space, now int64) error {
		return sp.put(s, key, v, now+ttl.Milliseconds())
	})
}

// Add implements KV.
func (s *Store) Add(name, key string, v any, ttl time.Duration) (added bool, err error) {
	err = s.change(name, func(sp *space, now int64) error {
		if sp.entries[key] != nil {
			return nil
		}
		added = true
		return sp.put(s, key, v, now+ttl.Milliseconds())
	})
	return added && err == nil, err
}

// Incr implements KV.
func (s *Store) Incr(name, key string, n int64, ttl time.Duration) (sum int64, err error) {
	err = s.change(name, func(sp *space, now int64) error {
		e := sp.entries[key]
		if e == nil {
			sum = n
			return sp.put(s, key, n, now+ttl.Milliseconds())
		}
		old, ok := e.value.(int64)
		if f, is := e.value.(float64); is {
			old, ok = whole(f)
		}
		if !ok || (n > 0 && old > math.MaxInt64-n) || (n < 0 && old < math.MinInt64-n) {
			return ErrNotNumber
		}
		sum = old + n
		return sp.put(s, key, sum, e.expires)
	})
	return sum, err
}

// Delete implements KV.
func (s *Store) Delete(name, key string) error {
	sp, err := s.space(name, false)
	if sp == nil {
		return err
	}
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.drop(sp.entries[key])
	return nil
}

// Update implements KV.
func (s *Store) Update(name, key string, do func(old any) (any, time.Duration)) error {
	return s.change(name, func(sp *space, now int64) error {
		e := sp.entries[key]
		var old any
		if e != nil {
			old = e.value
		}
		v, ttl := do(old)
		if v == nil || ttl <= 0 {
			sp.drop(e)
			return nil
		}
		return sp.put(s, key, v, now+ttl.Milliseconds())
	})
}

// put sets a value if the space has room for it.
func (sp *space) put(s *Store, key string, v any, expires int64) error {
	n, err := message.SizeOf(v)
	if err != nil {
		return err
	}
	n += len(key) + entryOverhead
	e := sp.entries[key]
	old := 0
	if e != nil {
		old = e.bytes
	}
	if sp.bytes-old+n > s.Bytes || e == nil && len(sp.entries) >= s.Entries {
		return ErrFull
	}
	sp.bytes += n - old
	sp.changes++
	if e == nil {
		e = &entry{key: key, value: v, bytes: n, expires: expires}
		sp.entries[key] = e
		heap.Push(&sp.due, e)
		return nil
	}
	e.value, e.bytes = v, n
	if e.expires != expires {
		e.expires = expires
		heap.Fix(&sp.due, e.at)
	}
	return nil
}

// expire removes what is over.
func (sp *space) expire(now int64) {
	for len(sp.due) > 0 && sp.due[0].expires <= now {
		sp.remove(heap.Pop(&sp.due).(*entry))
	}
}

// drop removes an entry, if there is one.
func (sp *space) drop(e *entry) {
	if e != nil {
		heap.Remove(&sp.due, e.at)
		sp.remove(e)
	}
}

// remove forgets an entry that is no longer in due.
func (sp *space) remove(e *entry) {
	delete(sp.entries, e.key)
	sp.bytes -= e.bytes
	sp.changes++
}
