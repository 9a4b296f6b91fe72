package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/store"
)

// listed are the notes with a prefix.
func listed(t *testing.T, s store.Store, prefix string) (out []string) {
	t.Helper()
	for n, err := range s.Notes(ctx, prefix) {
		check(t, err)
		out = append(out, n.Name+"="+string(n.Value))
	}
	return out
}

func testNotes(t *testing.T, open Open) {
	h := open(t, Setup{})
	s := h.Store
	commit(t, s, 1, nil, nil) // what else there is does not show
	if _, err := s.Note(ctx, "a/1"); !errors.Is(err, store.ErrNoNote) {
		t.Errorf("a note that was never made: %v", err)
	}
	check(t, s.DropNote(ctx, "a/1"))
	for _, name := range []string{"a/2", "b", "a/1", "a/\xff"} {
		check(t, s.PutNote(ctx, name, []byte("old")))
		check(t, s.PutNote(ctx, name, []byte(strings.ToUpper(name[:1]))))
	}
	check(t, s.PutNote(ctx, "c", nil))
	if v, err := s.Note(ctx, "c"); err != nil || len(v) != 0 {
		t.Errorf("an empty note is %q, %v", v, err)
	}
	check(t, s.DropNote(ctx, "c"))
	want := []string{"a/1=A", "a/2=A", "a/\xff=A"}
	if got := listed(t, s, "a/"); !slices.Equal(got, want) {
		t.Errorf("notes are %q, want %q", got, want)
	}
	for n, err := range s.Notes(ctx, "a/") { // one who reads them may drop them
		check(t, err)
		if n.Name == "a/2" {
			break
		}
		check(t, s.DropNote(ctx, n.Name))
	}
	if h.Reopen != nil {
		s = h.Reopen()
	}
	if got, want := listed(t, s, ""), []string{"a/2=A", "a/\xff=A", "b=B"}; !slices.Equal(got, want) {
		t.Errorf("notes are %q, want %q", got, want)
	}
	if v, err := s.Note(ctx, "b"); err != nil || string(v) != "B" {
		t.Errorf("a note is %q, %v", v, err)
	}
	for what, n := range map[string]store.Note{
		"no name": {}, "a NUL": {Name: "a\x00b"}, "a long name": {Name: strings.Repeat("x", store.MaxNoteName+1)}, "a long value": {Name: "x", Value: make([]byte, store.MaxNoteValue+1)},
	} {
		if err := s.PutNote(ctx, n.Name, n.Value); err == nil {
			t.Errorf("a note with %s was taken", what)
		}
	}
	big := store.Note{Name: strings.Repeat("x", store.MaxNoteName), Value: []byte(strings.Repeat("v", store.MaxNoteValue))}
	check(t, s.PutNote(ctx, big.Name, big.Value))
	if got := listed(t, s, "x"); len(got) != 1 || got[0] != fmt.Sprintf("%s=%s", big.Name, big.Value) {
		t.Error("the largest note is not what was put")
	}
}
