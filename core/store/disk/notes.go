package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"github.com/stagepost/stagepost/core/store"
)

func noteKey(name string) []byte { return append([]byte{keyNote}, name...) }

// Note implements store.Notes.
func (s *Store) Note(_ context.Context, name string) ([]byte, error) {
	if err := s.gate.enter(); err != nil {
		return nil, err
	}
	defer s.gate.leave()
	v, closer, err := s.db.Get(noteKey(name))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, store.ErrNoNote
	}
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	return bytes.Clone(v), nil
}

// PutNote implements store.Notes.
func (s *Store) PutNote(_ context.Context, name string, value []byte) error {
	n := store.Note{Name: name, Value: value}
	if err := n.Check(); err != nil {
		return err
	}
	return s.writeNote(func(b *pebble.Batch) error { return b.Set(noteKey(name), value, nil) })
}

// DropNote implements store.Notes.
func (s *Store) DropNote(_ context.Context, name string) error {
	return s.writeNote(func(b *pebble.Batch) error { return b.Delete(noteKey(name), nil) })
}

func (s *Store) writeNote(fill func(*pebble.Batch) error) error {
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	batch := s.db.NewBatch()
	if err := fill(batch); err != nil { // nothing was sent
		batch.Close()
		return fmt.Errorf("%w: %w", store.ErrBusy, err)
	}
	return s.write(batch, func() {})
}

// Notes implements store.Notes.
func (s *Store) Notes(ctx context.Context, prefix string) iter.Seq2[store.Note, error] {
	return func(yield func(store.Note, error) bool) {
		notes, err := s.notes(ctx, noteKey(prefix))
		for _, n := range notes {
			if !yield(n, nil) {
				return
			}
		}
		if err != nil {
			yield(store.Note{}, err)
		}
	}
}

// notes reads all at once, so that a consumer may write others: there are few.
func (s *Store) notes(ctx context.Context, from []byte) (notes []store.Note, err error) {
	if err := s.gate.enter(); err != nil {
		return nil, err
	}
	defer s.gate.leave()
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: from, UpperBound: behind(from)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.First(); it.Valid(); it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return notes, err
		}
		notes = append(notes, store.Note{Name: string(it.Key()[1:]), Value: append([]byte{}, v...)})
	}
	return notes, it.Error()
}
