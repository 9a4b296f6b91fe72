package disk

import (
	"context"
	"errors"
	"fmt"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

// Commit implements store.Store: three keys in one synced batch, after the slot or file if there is one.
func (s *Store) Commit(ctx context.Context, env *message.Envelope, body store.BodyWriter, also ...store.Change) error {
	w, ok := body.(*writer)
	if !ok || w.store != s || w.id != env.ID {
		return fmt.Errorf("store: the body does not belong to message %s", env.ID)
	}
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	c := w.complete().content
	switch {
	case w.err != nil:
		return w.err
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", store.ErrBusy, ctx.Err())
	case s.health.waiting.Load():
		return fmt.Errorf("%w: the disk has no space left", store.ErrFull)
	}
	scratch, _ := s.scratch.Get().(*[]byte)
	if scratch == nil {
		scratch = new([]byte)
	}
	defer s.scratch.Put(scratch)
	rec, err := env.AppendRecord((*scratch)[:0])
	if err != nil {
		return fmt.Errorf("%w: message %s: %w", store.ErrBusy, env.ID, err)
	}
	if *scratch = rec; cap(rec) > maxInline {
		*scratch = nil
	}
	if w.committed.Swap(true) {
		return fmt.Errorf("store: message %s is committed already", env.ID)
	}
	outside := w.size > maxInline
	if outside {
		if w.err = w.persist(c); w.err != nil {
			return w.err
		}
	}

	batch := s.db.NewBatch()
	p := place{size: w.size, crc: w.crc, rcpts: len(env.Rcpts)}
	if outside {
		p.lies(c.out.name, env.ID)
	}
	op := batch.SetDeferred(1+idLen, recordLen(p, rec))
	copy(op.Key, idKey(keyMessage, env.ID))
	putRecord(op.Value[:0], p, rec)
	err = op.Finish()
	if !outside {
		err = errors.Join(err, batch.Set(idKey(keyContent, env.ID), c.buf, nil))
	}
	entries, also := store.FirstEntries(env, also)
	for _, e := range entries {
		err = errors.Join(err, batch.Set(dueKey(e.Lane, store.DueSecond(e.At), env.ID), nil, nil))
		if e.Lane != "" {
			err = errors.Join(err, batch.Set(wakeKey(store.DueSecond(e.At)/bucketLen, e.Lane), nil, nil))
		}
	}
	if err != nil { // of a batch that was not sent
		batch.Close()
		return fmt.Errorf("%w: %w", store.ErrBusy, err)
	}
	u, unlock := updating{store: s, batch: batch}, func() {}
	if len(also) > 0 {
		s.update.Lock()
		if err := u.stageAll(also); err != nil {
			s.update.Unlock()
			batch.Close()
			return err
		}
		unlock = s.update.Unlock
	}
	c.kept.Store(true)
	if err := s.write(batch, unlock); err != nil {
		return err
	}
	s.depth.Add(1 - u.settled)
	s.forget(u.outside)
	c.keep()
	return nil
}
