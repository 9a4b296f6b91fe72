package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

// Load implements store.Store. Envelope and state come from one moment: a revision read together with an older state would
// let a change through that knows nothing of the last one.
func (s *Store) Load(_ context.Context, id store.ID) (*message.Envelope, *store.State, error) {
	if err := s.gate.enter(); err != nil {
		return nil, nil, err
	}
	defer s.gate.leave()
	it, err := s.db.NewIter(nil)
	if err != nil {
		return nil, nil, err
	}
	defer it.Close()
	key := idKey(keyMessage, id)
	if !it.SeekGE(key) || !bytes.Equal(it.Key(), key) {
		if err := it.Error(); err != nil {
			return nil, nil, damaged(id, err)
		}
		return nil, nil, store.ErrNotFound
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return nil, nil, damaged(id, err)
	}
	env, err := readEnvelope(id, v)
	if err != nil {
		return nil, nil, err
	}
	st, err := readState(env, it, it)
	if err != nil {
		return nil, nil, err
	}
	return env, st, nil
}

func readEnvelope(id store.ID, value []byte) (*message.Envelope, error) {
	_, rec, err := readRecord(value)
	if err != nil {
		return nil, damaged(id, err)
	}
	env, err := message.DecodeRecord(rec)
	if err != nil {
		return nil, fmt.Errorf("%w: message %s: %w", store.ErrDamaged, id, err)
	}
	if env.ID != id {
		return nil, fmt.Errorf("%w: message %s: its record is of %s", store.ErrDamaged, id, env.ID)
	}
	return env, nil
}

// readState reads the state with iterators that may be positioned anywhere.
func readState(env *message.Envelope, changes, rcpts *pebble.Iterator) (*store.State, error) {
	st := store.Begin(env)
	key := idKey(keyState, env.ID)
	if !changes.SeekGE(key) || !bytes.Equal(changes.Key(), key) {
		return st, damaged(env.ID, changes.Error())
	}
	v, err := changes.ValueAndErr()
	if err != nil {
		return nil, damaged(env.ID, err)
	}
	c, err := readChange(v)
	if err != nil {
		return nil, damaged(env.ID, err)
	}
	if st.Rev = c.rev; c.held != nil {
		st.Held = *c.held
	}
	prefix := idKey(keyRcpt, env.ID)
	for ok := rcpts.SeekGE(prefix); ok && bytes.HasPrefix(rcpts.Key(), prefix); ok = rcpts.Next() {
		if len(rcpts.Key()) != len(prefix)+2 {
			continue
		}
		n := binary.BigEndian.Uint16(rcpts.Key()[len(prefix):])
		if int(n) >= len(st.Rcpts) {
			continue
		}
		v, err := rcpts.ValueAndErr()
		if err != nil {
			return nil, damaged(env.ID, err)
		}
		if st.Rcpts[n], err = readRcpt(v); err != nil {
			return nil, damaged(env.ID, err)
		}
	}
	return st, damaged(env.ID, rcpts.Error())
}

// Open implements store.Store. Small content is copied out, which does not count against the budget: whoever opens bounds
// how many it opens.
func (s *Store) Open(_ context.Context, id store.ID) (store.BodyReader, error) {
	if err := s.gate.enter(); err != nil {
		return nil, err
	}
	defer s.gate.leave()
	c, err := s.openContent(id)
	if err != nil {
		return nil, err
	}
	c.store = s
	c.kept.Store(true)
	c.holders.Store(1)
	return &reader{content: c}, nil
}

func (s *Store) openContent(id store.ID) (*content, error) {
	v, closer, err := s.db.Get(idKey(keyMessage, id))
	if err != nil {
		return nil, notFoundOr(id, err)
	}
	p, _, err := readRecord(v)
	closer.Close()
	if err != nil {
		return nil, damaged(id, err)
	}
	if !p.inline() {
		name := p.name(id)
		s.files.hold(name)
		f, err := s.openHeld(id, p)
		if err != nil {
			s.files.release(name, nil)
			return nil, err
		}
		return &content{size: p.size, out: output{name: name, file: f}}, nil
	}
	v, closer, err = s.db.Get(idKey(keyContent, id))
	if err != nil {
		if errors.Is(err, pebble.ErrNotFound) {
			if _, exists, _ := s.place(id); exists {
				return nil, fmt.Errorf("%w: message %s: its content is gone", store.ErrDamaged, id)
			}
		}
		return nil, notFoundOr(id, err)
	}
	defer closer.Close()
	if int64(len(v)) != p.size || crc32.Checksum(v, castagnoli) != p.crc {
		return nil, fmt.Errorf("%w: message %s: its content has another checksum", store.ErrDamaged, id)
	}
	return &content{size: p.size, memory: true, buf: append(make([]byte, 0, len(v)), v...)}, nil
}

// openHeld opens the content of a message whose record was read before what it names was held. It may have been settled in
// between, and its slot be another message's by now.
func (s *Store) openHeld(id store.ID, p place) (vfs.File, error) {
	_, exists, err := s.place(id)
	if err != nil {
		return nil, err
	}
	if !exists {
		return nil, store.ErrNotFound
	}
	return s.openFile(id, p)
}

func notFoundOr(id store.ID, err error) error {
	if errors.Is(err, pebble.ErrNotFound) {
		return store.ErrNotFound
	}
	return damaged(id, err)
}

// Scan implements store.Store: three walks side by side, of messages, states and recipients, in the order of ids. What is
// damaged is left out and logged.
func (s *Store) Scan(ctx context.Context, after store.Cursor, limit int) (page []store.Item, next store.Cursor, err error) {
	from := []byte{keyMessage}
	if after != nil {
		if len(after) != idLen {
			return nil, nil, errors.New("store: bad cursor")
		}
		from = append(idKey(keyMessage, store.ID(after)), 0)
	}
	if err := s.gate.enter(); err != nil {
		return nil, nil, err
	}
	defer s.gate.leave()
	snapshot := s.db.NewSnapshot()
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	var walks [3]*pebble.Iterator
	for i, kind := range []byte{keyMessage, keyState, keyRcpt} {
		it, iterErr := snapshot.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: []byte{kind}, UpperBound: []byte{kind + 1}})
		if iterErr != nil {
			return nil, nil, iterErr
		}
		defer func() { err = errors.Join(err, it.Close()) }()
		walks[i] = it
	}
	messages, changes, rcpts := walks[0], walks[1], walks[2]
	for ok := messages.SeekGE(from); ok; ok = messages.Next() {
		id, valid := idOf(messages.Key())
		if !valid {
			continue
		}
		if len(page) == max(limit, 1) {
			return page, next, nil
		}
		v, err := messages.ValueAndErr()
		if err != nil {
			return nil, nil, err
		}
		env, err := readEnvelope(id, v)
		var st *store.State
		if err == nil {
			st, err = readState(env, changes, rcpts)
		}
		if err != nil {
			s.log.Error("store: a message is left out of a listing", "id", id.String(), "error", err)
			continue
		}
		page, next = append(page, store.Item{Envelope: env, State: st}), id[:]
	}
	return page, nil, messages.Error()
}
