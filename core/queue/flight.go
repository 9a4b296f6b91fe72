package queue

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

// flight is one due entry in memory.
type flight struct {
	msg   *msg
	entry store.Entry
	rcpts []int // indexes that are really due here
	open  int   // jobs without an outcome; guarded by msg.mu, as keep and again
	keep  bool  // a job was given up: the entry stays
	again bool  // somebody may still be due by the entry: look there once the flight has landed
	left  bool  // there was no room for a job: its lane has more on disk once the flight has landed
	fresh bool  // it began with the commit
	visit bool  // no flight: somebody looks at the message

	landed chan struct{} // closed when it has, if somebody waits for that
}

// msg is one message in memory, shared by its flights. Its state is changed under mu, in the order the marks are written, so
// that within a process no change is ever stale.
type msg struct {
	id      store.ID
	mu      sync.Mutex
	env     *message.Envelope
	state   *store.State
	content store.BodyReader // kept from the session, or opened by the first attempt
	pending atomic.Int32     // marks submitted and not yet written; grows under mu only
	settled bool             // the last mark forgets the message, or it was deleted by hand
	begun   *job             // jobs whose recipients nobody else may decide, linked by next
	flights []*flight        // guarded by the shard's lock
}

// table finds the messages in memory.
type table struct {
	shards [16]struct {
		mu   sync.Mutex
		msgs map[store.ID]*msg
	}
	n atomic.Int64
}

func (t *table) init() {
	for i := range t.shards {
		t.shards[i].msgs = make(map[store.ID]*msg)
	}
}

func (t *table) count() int { return int(t.n.Load()) }

// Active tells whether the message is being routed or attempted.
func (q *Queue) Active(id store.ID) bool {
	s := &q.flights.shards[id[9]&15]
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.msgs[id]
	return m != nil && slices.ContainsFunc(m.flights, func(f *flight) bool { return !f.visit })
}

// fresh registers a message that is about to be committed.
func (t *table) fresh(env *message.Envelope) *flight {
	m := &msg{id: env.ID, env: env, state: store.Begin(env)}
	f := &flight{msg: m, entry: store.FirstEntry(env), fresh: true}
	m.flights = []*flight{f}
	s := &t.shards[env.ID[9]&15]
	s.mu.Lock()
	s.msgs[env.ID] = m
	s.mu.Unlock()
	t.n.Add(1)
	return f
}

// take registers a flight for an entry found on disk; nil if it is in the air already.
func (t *table) take(e store.Entry) *flight {
	s := &t.shards[e.ID[9]&15]
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.msgs[e.ID]
	if m == nil {
		m = &msg{id: e.ID}
		s.msgs[e.ID] = m
	}
	for _, f := range m.flights {
		if !f.visit && f.entry.Lane == e.Lane && f.entry.At.Equal(e.At) {
			return nil
		}
	}
	f := &flight{msg: m, entry: e}
	m.flights = append(m.flights, f)
	t.n.Add(1)
	return f
}

// visit keeps a message in memory without a flight of its own; end gives it up.
func (t *table) visit(id store.ID) *flight {
	s := &t.shards[id[9]&15]
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.msgs[id]
	if m == nil {
		m = &msg{id: id}
		s.msgs[id] = m
	}
	f := &flight{msg: m, visit: true}
	m.flights = append(m.flights, f)
	t.n.Add(1)
	return f
}

// settled notes that a message is forgotten on disk. The caller is within alone.
func (t *table) settled(id store.ID) {
	s := &t.shards[id[9]&15]
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.msgs[id]; m != nil {
		m.settled = true
	}
}

// leaving are the messages that are forgotten on disk, or will be when their last mark is written.
func (t *table) leaving() (ids []store.ID) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		msgs := slices.Collect(maps.Values(s.msgs))
		s.mu.Unlock()
		for _, m := range msgs {
			m.mu.Lock()
			if m.settled {
				ids = append(ids, m.id)
			}
			m.mu.Unlock()
		}
	}
	return ids
}

// end forgets a flight, and its message with the last one.
func (t *table) end(f *flight) {
	s := &t.shards[f.msg.id[9]&15]
	s.mu.Lock()
	m := f.msg
	m.flights = slices.DeleteFunc(m.flights, func(o *flight) bool { return o == f })
	last := len(m.flights) == 0
	if last {
		delete(s.msgs, m.id)
	}
	s.mu.Unlock()
	t.n.Add(-1)
	if last {
		m.close()
	}
}

func (m *msg) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.content != nil {
		m.content.Close()
		m.content = nil
	}
}

// load fetches envelope and state if the message was found on disk, and finds which recipients are due by this entry: a
// crash may have left an entry whose recipients were partly done. Of a message that is held nobody is due.
func (f *flight) load(ctx context.Context, st store.Store) error {
	m := f.msg
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.env == nil {
		env, state, err := st.Load(ctx, m.id)
		if err != nil {
			return err
		}
		m.env, m.state = env, state
	}
	if m.settled {
		return store.ErrNotFound
	}
	f.rcpts = f.rcpts[:0]
	if m.state.Held != "" {
		return nil
	}
	for i := range m.state.Rcpts {
		if len(f.entry.Rcpts) > 0 && !slices.Contains(f.entry.Rcpts, uint16(i)) {
			continue
		}
		if f.due(i) {
			f.rcpts = append(f.rcpts, i)
		}
	}
	return nil
}

// due tells whether a recipient is due by this entry. m.mu is held.
func (f *flight) due(i int) bool {
	r := &f.msg.state.Rcpts[i]
	if r.Result == message.Deferred {
		return r.Lane == f.entry.Lane && r.Next.Equal(f.entry.At)
	}
	return r.Result == 0 && f.entry.Lane == ""
}

// claim leaves in a job who is still to be tried by it: the time of others was over while it waited. m.mu is held.
func (j *job) claim() {
	n := 0
	for k, i := range j.rcpts {
		if !j.flight.due(i) || j.flight.msg.isBegun(i) {
			continue
		}
		if j.rcpts[n] = i; j.decided != nil {
			j.decided[n] = j.decided[k]
		}
		n++
	}
	if j.rcpts = j.rcpts[:n]; j.decided != nil {
		j.decided = j.decided[:n]
	}
}

// isBegun tells whether somebody decides on a recipient right now. m.mu is held.
func (m *msg) isBegun(i int) bool {
	for j := m.begun; j != nil; j = j.next {
		if slices.Contains(j.rcpts, i) {
			return true
		}
	}
	return false
}

// begins is called with m.mu held, as ends is.
func (m *msg) begins(j *job) { j.next, m.begun = m.begun, j }

func (m *msg) ends(j *job) {
	for at := &m.begun; *at != nil; at = &(*at).next {
		if *at == j {
			*at = j.next
			return
		}
	}
}

// body returns the content, opened once for all flights of the message.
func (m *msg) body(ctx context.Context, st store.Store) (message.Content, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.content == nil {
		c, err := st.Open(ctx, m.id)
		if err != nil {
			return nil, err
		}
		m.content = c
	}
	return m.content, nil
}

// keep holds the content that the session brought, within the budget, with all of its buffer.
func (m *msg) keep(q *Queue, c store.BodyReader) {
	if n := int64(cap(c.Bytes())); n > 0 && q.budget.take(n) {
		m.mu.Lock()
		m.content = &kept{BodyReader: c.Retain(), give: func() { q.budget.give(n) }}
		m.mu.Unlock()
	}
}

// kept gives its bytes back to the budget when it is closed.
type kept struct {
	store.BodyReader
	give func()
}

func (k *kept) Close() error {
	k.give()
	return k.BodyReader.Close()
}

// budget counts bytes of content held for flights.
type budget struct{ used atomic.Int64 }

func (b *budget) take(n int64) bool {
	if b.used.Add(n) <= windowContent {
		return true
	}
	b.used.Add(-n)
	return false
}

func (b *budget) give(n int64) { b.used.Add(-n) }
