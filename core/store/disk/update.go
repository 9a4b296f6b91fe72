package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/stagepost/stagepost/core/store"
)

// Update implements store.Store: all changes in one batch, which a commit or a sync of its own makes durable. Between reading a
// revision and writing the next nobody else writes; waiting for the disk is outside of that, so calls share a sync as commits
// do.
func (s *Store) Update(_ context.Context, _ store.Lease, ch ...store.Change) (stale []store.ID, err error) {
	for i := range ch {
		if err := ch[i].Check(); err != nil {
			return nil, err
		}
	}
	if err := s.gate.enter(); err != nil {
		return nil, err
	}
	defer s.gate.leave()

	u := updating{store: s}
	s.update.Lock()
	for i := range ch {
		ok, err := u.stage(&ch[i])
		if err != nil {
			s.update.Unlock()
			return nil, u.drop(err)
		}
		if !ok {
			stale = append(stale, ch[i].ID)
		}
	}
	if u.batch == nil {
		s.update.Unlock()
		return stale, nil
	}
	start := s.health.begin()
	err = s.apply(u.batch, s.db.Apply, pebble.NoSync)
	s.update.Unlock()
	if err != nil {
		s.health.end(start)
		return nil, fmt.Errorf("%w: %w", store.ErrUnknown, err)
	}
	rode := s.ride.wait()
	s.health.leave()
	u.batch.Close()
	if !rode {
		if err := s.sync(); err != nil {
			return nil, err
		}
	}
	s.depth.Add(-u.settled)
	s.forget(u.outside)
	return stale, nil
}

// forget frees what held the contents of messages that are forgotten for good.
func (s *Store) forget(names []bodyName) {
	for _, name := range names {
		s.files.forget(name)
	}
}

// sync makes durable what was written to the log before.
func (s *Store) sync() error {
	batch := s.db.NewBatch()
	if err := batch.LogData(nil, nil); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnknown, err)
	}
	return s.write(batch, func() {})
}

// write makes a batch durable. unlock is called when it is in the log, before the wait for the disk, so that others can share
// the sync.
func (s *Store) write(batch *pebble.Batch, unlock func()) error {
	start, n := s.health.begin(), s.ride.begin()
	err := s.apply(batch, s.db.ApplyNoSyncWait, pebble.Sync)
	unlock()
	if err != nil {
		s.health.end(start)
		return fmt.Errorf("%w: %w", store.ErrUnknown, err)
	}
	if err := batch.SyncWait(); err != nil {
		s.fatal(fmt.Sprintf("syncing the log: %v", err))
	}
	s.ride.end(n)
	s.health.end(start)
	batch.Close()
	return nil
}

// updating is one call of Update.
type updating struct {
	store   *Store
	batch   *pebble.Batch
	seen    []store.ID // changed in the batch
	sent    bool       // a batch before this one, not synced yet
	settled int64
	outside []bodyName // what held the contents of settled messages
}

// drop gives the batch up for an error.
func (u *updating) drop(err error) error {
	if u.batch != nil {
		u.batch.Close()
	}
	if u.sent && !errors.Is(err, store.ErrUnknown) {
		return fmt.Errorf("%w: %w", store.ErrUnknown, err)
	}
	return err
}

// stageAll adds changes of different messages to a batch that was begun; with an error it is of no use.
func (u *updating) stageAll(ch []store.Change) error {
	for i := range ch {
		if err := ch[i].Check(); err != nil {
			return err
		}
		if slices.Contains(u.seen, ch[i].ID) {
			return fmt.Errorf("store: two changes of message %s go with one commit", ch[i].ID)
		}
		switch ok, err := u.stage(&ch[i]); {
		case err != nil:
			return fmt.Errorf("%w: %w", store.ErrBusy, err)
		case !ok:
			return store.ErrStale
		}
	}
	return nil
}

// stage adds a change to the batch, or tells that it is stale. A damaged record must not keep a message in the queue for
// ever: one that cannot be read counts as matching.
func (u *updating) stage(c *store.Change) (ok bool, err error) {
	s := u.store
	if slices.Contains(u.seen, c.ID) {
		if err := u.next(); err != nil {
			return false, err
		}
	}
	p, exists, err := s.place(c.ID)
	if err != nil {
		return false, err
	}
	old, changed, err := s.change(c.ID)
	switch {
	case errors.Is(err, store.ErrDamaged):
		old, changed, err = change{rev: c.Rev}, true, nil
	case err != nil:
		return false, err
	}
	if !exists && !c.Settled || exists && old.rev != c.Rev {
		return false, nil
	}
	if u.batch == nil {
		u.batch = s.db.NewBatch()
	}
	u.seen = append(u.seen, c.ID)
	for _, e := range c.Del {
		err = errors.Join(err, u.batch.Delete(dueKey(e.Lane, store.DueSecond(e.At), c.ID), nil))
	}
	if c.Settled {
		return true, errors.Join(err, u.settle(c.ID, p, exists, changed))
	}

	next := change{rev: old.rev + 1, held: old.held}
	if c.Held != nil {
		next.held = c.Held
	}
	err = errors.Join(err, u.batch.Set(idKey(keyState, c.ID), next.append(nil), nil))
	for i := range c.Rcpts {
		r := &c.Rcpts[i]
		err = errors.Join(err, u.batch.Set(rcptKey(c.ID, r.Index), appendRcpt(nil, &r.RcptState), nil))
	}
	return true, errors.Join(err, u.add(c, p.rcpts != 1))
}

// next sends what is staged, so that a second change of the same message reads the first. It is durable with the last
// batch, which comes behind it in the log.
func (u *updating) next() error {
	err := u.store.apply(u.batch, u.store.db.Apply, pebble.NoSync)
	if err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnknown, err)
	}
	u.sent = true
	u.batch.Close()
	u.batch, u.seen = u.store.db.NewBatch(), u.seen[:0]
	return u.batch.LogData(nil, nil) // a batch of nothing would not sync
}

// settle forgets a message. One that is gone already still needs the batch, for the sync that makes sure of it.
func (u *updating) settle(id store.ID, p place, exists, changed bool) error {
	if !exists {
		return u.batch.LogData(nil, nil)
	}
	u.settled++
	err := u.batch.Delete(idKey(keyMessage, id), nil)
	if !p.inline() {
		u.outside = append(u.outside, p.name(id))
	}
	if p.inline() || p.rcpts == 0 { // where the record is damaged it may be either
		err = errors.Join(err, u.batch.Delete(idKey(keyContent, id), nil))
	}
	if !changed {
		return err
	}
	err = errors.Join(err, u.batch.Delete(idKey(keyState, id), nil))
	prefix := idKey(keyRcpt, id)
	it, iterErr := u.store.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: behind(prefix)})
	if iterErr == nil {
		for it.First(); it.Valid(); it.Next() {
			err = errors.Join(err, u.batch.Delete(it.Key(), nil))
		}
		iterErr = it.Close()
	}
	if pebble.IsCorruptionError(iterErr) { // what cannot be read can still be forgotten
		return errors.Join(err, u.batch.DeleteRange(prefix, behind(prefix), nil))
	}
	return errors.Join(err, iterErr)
}

// add puts due entries in the batch. An entry of the same message, lane and second is there already when two attempts were
// deferred to the same time: it gets the recipients of both. With one recipient there is nothing to add, and nothing to read.
func (u *updating) add(c *store.Change, many bool) (err error) {
	type added struct {
		key   []byte
		rcpts []uint16
	}
	var all []added
	for _, e := range c.Add {
		a := added{dueKey(e.Lane, store.DueSecond(e.At), c.ID), e.Rcpts}
		if len(a.rcpts) > 0 {
			a.rcpts = union(a.rcpts, a.rcpts)
		}
		if i := slices.IndexFunc(all, func(b added) bool { return bytes.Equal(a.key, b.key) }); i >= 0 {
			all[i].rcpts = union(all[i].rcpts, a.rcpts)
			continue
		}
		deleted := slices.ContainsFunc(c.Del, func(d store.Entry) bool {
			return d.Lane == e.Lane && store.DueSecond(d.At) == store.DueSecond(e.At)
		})
		if many && !deleted {
			if there, ok, err := u.store.entry(a.key); err != nil {
				return err
			} else if ok {
				a.rcpts = union(there, a.rcpts)
			}
		}
		all = append(all, a)
		if e.Lane != "" {
			err = errors.Join(err, u.batch.Set(wakeKey(store.DueSecond(e.At)/bucketLen, e.Lane), nil, nil))
		}
	}
	for _, a := range all {
		err = errors.Join(err, u.batch.Set(a.key, appendNumbers(nil, a.rcpts), nil))
	}
	return err
}

// place reads where the content of a message lies. A damaged record counts as there, with content in a file and an unknown
// number of recipients.
func (s *Store) place(id store.ID) (p place, exists bool, err error) {
	v, closer, err := s.db.Get(idKey(keyMessage, id))
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return p, false, nil
	case pebble.IsCorruptionError(err):
		return place{inFile: true, damaged: true}, true, nil
	case err != nil:
		return p, false, err
	}
	defer closer.Close()
	if p, _, err = readRecord(v); err != nil {
		p = place{inFile: true, damaged: true}
	}
	return p, true, nil
}

// change reads what became of a message; ok is false when it was never changed.
func (s *Store) change(id store.ID) (c change, ok bool, err error) {
	v, closer, err := s.db.Get(idKey(keyState, id))
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return c, false, nil
	case err != nil:
		return c, false, damaged(id, err)
	}
	defer closer.Close()
	if c, err = readChange(v); err != nil {
		return c, false, damaged(id, err)
	}
	return c, true, nil
}

// entry reads the recipients of a due entry; one that cannot be read stands for all of them.
func (s *Store) entry(key []byte) (rcpts []uint16, ok bool, err error) {
	v, closer, err := s.db.Get(key)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return nil, false, nil
	case pebble.IsCorruptionError(err):
		return nil, true, nil
	case err != nil:
		return nil, false, err
	}
	defer closer.Close()
	if rcpts, err = readNumbers(v); err != nil {
		rcpts = nil
	}
	return rcpts, true, nil
}

// damaged makes what a corrupt block or record gives into ErrDamaged, and leaves other errors as they are.
func damaged(id store.ID, err error) error {
	if pebble.IsCorruptionError(err) || errors.Is(err, errRecord) {
		return fmt.Errorf("%w: message %s: %w", store.ErrDamaged, id, err)
	}
	return err
}
