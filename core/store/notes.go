package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
)

// Notes are small named records that outlive a restart: what the queue has to remember besides messages, such as what is suspended.
// There are few of them.
type Notes interface {
	// Note returns one, or ErrNoNote.
	Note(ctx context.Context, name string) ([]byte, error)
	// PutNote makes or replaces one; it is durable when PutNote returns. The errors are those of Update.
	PutNote(ctx context.Context, name string, value []byte) error
	// DropNote forgets one, durably. One that is not there is no error.
	DropNote(ctx context.Context, name string) error
	// Notes yields those whose names begin with prefix, in order of names.
	Notes(ctx context.Context, prefix string) iter.Seq2[Note, error]
}

// Note is one small record.
type Note struct {
	Name  string
	Value []byte
}

// Bounds of a note, in bytes.
const (
	MaxNoteName  = 1 << 10
	MaxNoteValue = 64 << 10
)

// ErrNoNote says that there is no note of that name.
var ErrNoNote = errors.New("store: no such note")

// Check tells whether any engine can keep the note.
func (n *Note) Check() error {
	switch {
	case n.Name == "" || len(n.Name) > MaxNoteName || strings.IndexByte(n.Name, 0) >= 0:
		return fmt.Errorf("store: note %.40q: a name has 1 to %d bytes and no NUL", n.Name, MaxNoteName)
	case len(n.Value) > MaxNoteValue:
		return fmt.Errorf("store: note %.40q: a value has at most %d bytes", n.Name, MaxNoteValue)
	}
	return nil
}
