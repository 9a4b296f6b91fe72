package memory

import (
	"bytes"
	"context"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/core/store"
)

// Note implements store.Notes.
func (s *Store) Note(_ context.Context, name string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.notes[name]
	if !ok {
		return nil, store.ErrNoNote
	}
	return bytes.Clone(v), nil
}

// PutNote implements store.Notes.
func (s *Store) PutNote(_ context.Context, name string, value []byte) error {
	n := store.Note{Name: name, Value: value}
	if err := n.Check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes[name] = append([]byte{}, value...)
	return nil
}

// DropNote implements store.Notes.
func (s *Store) DropNote(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.notes, name)
	return nil
}

// Notes implements store.Notes.
func (s *Store) Notes(_ context.Context, prefix string) iter.Seq2[store.Note, error] {
	return func(yield func(store.Note, error) bool) {
		s.mu.Lock()
		notes := maps.Clone(s.notes)
		s.mu.Unlock()
		for _, name := range slices.Sorted(maps.Keys(notes)) {
			if strings.HasPrefix(name, prefix) && !yield(store.Note{Name: name, Value: bytes.Clone(notes[name])}, nil) {
				return
			}
		}
	}
}
