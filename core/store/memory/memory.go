// Package memory is the engine for tests: everything the contract asks for, kept in maps, and nothing that outlives the
// process. It is also the model that the other engines are compared with, so it is written to be obviously right.
package memory

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

// Options may all be left zero.
type Options struct {
	Now      func() time.Time
	Budget   int64         // bytes of content held by writers and readers; 64 MiB
	Patience time.Duration // how long Body and Write wait for the budget; 1 s
}

// Store is the engine.
type Store struct {
	ids    *message.IDs
	budget *store.Budget

	mu    sync.Mutex
	msgs  map[store.ID]*record
	order []store.ID // keys of msgs, ascending
	lanes map[store.Lane][]due
	notes map[string][]byte
}

type record struct {
	env     []byte // as stored, so that nobody shares memory with it
	content []byte
	rev     store.Rev
	held    *string // nil: as the envelope says
	rcpts   map[uint16]store.RcptState
}

// due is one entry of a lane, in order of time and then id.
type due struct {
	at    uint32
	id    store.ID
	rcpts []uint16
}

func (d due) compare(e due) int {
	if d.at != e.at {
		return int(int64(d.at) - int64(e.at))
	}
	return bytes.Compare(d.id[:], e.id[:])
}

// New returns an empty store.
func New(o Options) *Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Budget == 0 {
		o.Budget = 64 << 20
	}
	if o.Patience == 0 {
		o.Patience = time.Second
	}
	return &Store{
		ids:    message.NewIDs(o.Now, 0, store.ID{}),
		budget: store.NewBudget(o.Budget, o.Patience),
		msgs:   map[store.ID]*record{},
		lanes:  map[store.Lane][]due{},
		notes:  map[string][]byte{},
	}
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, env *message.Envelope, w store.BodyWriter, also ...store.Change) error {
	b, ok := w.(*body)
	if !ok || b.store != s || b.id != env.ID || b.committed {
		return fmt.Errorf("store: the body does not belong to message %s, or is committed already", env.ID)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", store.ErrBusy, ctx.Err())
	}
	if b.err != nil {
		return b.err
	}
	rec, err := env.AppendRecord(nil)
	if err != nil {
		return err
	}
	b.Content()
	entries, also := store.FirstEntries(env, also)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range also {
		if err := also[i].Check(); err != nil {
			return err
		}
		if !s.fits(&also[i]) {
			return store.ErrStale
		}
		if slices.ContainsFunc(also[:i], func(c store.Change) bool { return c.ID == also[i].ID }) {
			return fmt.Errorf("store: two changes of message %s go with one commit", also[i].ID)
		}
	}
	for i := range also {
		s.change(&also[i])
	}
	b.committed = true
	s.msgs[env.ID] = &record{env: rec, content: b.content.bytes, rcpts: map[uint16]store.RcptState{}}
	i, _ := slices.BinarySearchFunc(s.order, env.ID, compareIDs)
	s.order = slices.Insert(s.order, i, env.ID)
	for _, e := range entries {
		s.add(e)
	}
	return nil
}

func compareIDs(a, b store.ID) int { return bytes.Compare(a[:], b[:]) }

// Load implements store.Store.
func (s *Store) Load(_ context.Context, id store.ID) (*message.Envelope, *store.State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.msgs[id]
	if r == nil {
		return nil, nil, store.ErrNotFound
	}
	return r.load()
}

func (r *record) load() (*message.Envelope, *store.State, error) {
	env, err := message.DecodeRecord(r.env)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", store.ErrDamaged, err)
	}
	st := store.Begin(env)
	if st.Rev = r.rev; r.held != nil {
		st.Held = *r.held
	}
	for i, rc := range r.rcpts {
		st.Rcpts[i] = rc
	}
	return env, st, nil
}

// Update implements store.Store.
func (s *Store) Update(_ context.Context, _ store.Lease, ch ...store.Change) (stale []store.ID, err error) {
	for i := range ch {
		if err := ch[i].Check(); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range ch {
		if c := &ch[i]; !s.change(c) {
			stale = append(stale, c.ID)
		}
	}
	return stale, nil
}

// fits tells whether a change starts from the state that there is.
func (s *Store) fits(c *store.Change) bool {
	r := s.msgs[c.ID]
	return r == nil && c.Settled || r != nil && r.rev == c.Rev
}

func (s *Store) change(c *store.Change) bool {
	if !s.fits(c) {
		return false
	}
	r := s.msgs[c.ID]
	for _, e := range c.Del {
		s.del(c.ID, e)
	}
	if c.Settled {
		if i, ok := slices.BinarySearchFunc(s.order, c.ID, compareIDs); ok {
			s.order = slices.Delete(s.order, i, i+1)
		}
		delete(s.msgs, c.ID)
		return true
	}
	r.rev++
	if c.Held != nil {
		held := *c.Held
		r.held = &held
	}
	for _, rc := range c.Rcpts {
		r.rcpts[rc.Index] = rc.RcptState
	}
	for _, e := range c.Add {
		e.ID = c.ID
		s.add(e)
	}
	return true
}

func (s *Store) add(e store.Entry) {
	d := due{store.DueSecond(e.At), e.ID, slices.Compact(slices.Sorted(slices.Values(e.Rcpts)))}
	lane := s.lanes[e.Lane]
	i, there := slices.BinarySearchFunc(lane, d, due.compare)
	if !there {
		s.lanes[e.Lane] = slices.Insert(lane, i, d)
		return
	}
	if len(d.rcpts) == 0 || len(lane[i].rcpts) == 0 { // one of the two means all
		lane[i].rcpts = nil
		return
	}
	both := append(slices.Clone(lane[i].rcpts), d.rcpts...)
	slices.Sort(both)
	lane[i].rcpts = slices.Compact(both)
}

func (s *Store) del(id store.ID, e store.Entry) {
	lane := s.lanes[e.Lane]
	i, there := slices.BinarySearchFunc(lane, due{at: store.DueSecond(e.At), id: id}, due.compare)
	if !there {
		return
	}
	if lane = slices.Delete(lane, i, i+1); len(lane) == 0 {
		delete(s.lanes, e.Lane)
	} else {
		s.lanes[e.Lane] = lane
	}
}

// Own implements store.Store.
func (s *Store) Own(ctx context.Context) iter.Seq2[store.Lease, error] {
	return store.Alone(ctx)
}

// Wake implements store.Store.
func (s *Store) Wake(_ context.Context, _ store.Lease, from, until time.Time) iter.Seq2[store.Lane, error] {
	return func(yield func(store.Lane, error) bool) {
		first, last := store.Window(from, until)
		s.mu.Lock()
		var lanes []store.Lane
		for name, lane := range s.lanes {
			if slices.ContainsFunc(lane, func(d due) bool { return int64(d.at) >= first && int64(d.at) <= last }) {
				lanes = append(lanes, name)
			}
		}
		s.mu.Unlock()
		for _, lane := range lanes {
			if !yield(lane, nil) {
				return
			}
		}
	}
}

// Due implements store.Store.
func (s *Store) Due(_ context.Context, _ store.Lease, name store.Lane, after store.Cursor, until time.Time, limit int) ([]store.Entry, store.Cursor, error) {
	_, last := store.Window(time.Time{}, until)
	s.mu.Lock()
	defer s.mu.Unlock()
	lane := s.lanes[name]
	i := 0
	if after != nil {
		if len(after) != 4+len(store.ID{}) {
			return nil, nil, fmt.Errorf("store: bad cursor")
		}
		d := due{at: binary.BigEndian.Uint32(after), id: store.ID(after[4:])}
		var there bool
		if i, there = slices.BinarySearchFunc(lane, d, due.compare); there {
			i++
		}
	}
	var page []store.Entry
	for ; i < len(lane) && int64(lane[i].at) <= last; i++ {
		if len(page) == max(limit, 1) {
			cursor := binary.BigEndian.AppendUint32(nil, lane[i-1].at)
			return page, append(cursor, lane[i-1].id[:]...), nil
		}
		page = append(page, store.Entry{ID: lane[i].id, Lane: name, At: time.Unix(int64(lane[i].at), 0).UTC(), Rcpts: slices.Clone(lane[i].rcpts)})
	}
	return page, nil, nil
}

// Scan implements store.Store.
func (s *Store) Scan(_ context.Context, after store.Cursor, limit int) ([]store.Item, store.Cursor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := 0
	if after != nil {
		if len(after) != len(store.ID{}) {
			return nil, nil, fmt.Errorf("store: bad cursor")
		}
		var there bool
		if i, there = slices.BinarySearchFunc(s.order, store.ID(after), compareIDs); there {
			i++
		}
	}
	var page []store.Item
	for ; i < len(s.order); i++ {
		if len(page) == max(limit, 1) {
			last := page[len(page)-1].Envelope.ID
			return page, last[:], nil
		}
		env, st, err := s.msgs[s.order[i]].load()
		if err != nil {
			return nil, nil, err
		}
		page = append(page, store.Item{Envelope: env, State: st})
	}
	return page, nil, nil
}

// Health implements store.Store.
func (s *Store) Health() store.Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	return store.Health{Free: -1, Depth: int64(len(s.msgs))}
}

// Close implements store.Store.
func (s *Store) Close() error { return nil }

var _ store.Store = (*Store)(nil)
