package transcript

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestRead(t *testing.T) {
	fsys := fstest.MapFS{
		"tests/b.transcript":     {Data: []byte("connect 192.0.2.1\n")},
		"tests/a.transcript":     {Data: []byte("case one\nconnect 192.0.2.1\ncase two\nconnect 192.0.2.2\n")},
		"tests/wrong.transcript": {Data: []byte("\nconect\n")},
		"tests/dir.transcript/x": {Data: []byte("x")},
		"tests/large.transcript": {Data: make([]byte, MaxFile+1)},
		"tests/notes.txt":        {Data: []byte("x")},
		"tests/pipe.transcript":  {Mode: fs.ModeNamedPipe},
		"other.transcript":       {Data: []byte("x")},
	}
	names := InFolder(fsys)
	if want := []string{"a", "b", "dir", "large", "pipe", "wrong"}; fmt.Sprint(names) != "[tests/"+strings.Join(want, ".transcript tests/")+".transcript]" {
		t.Errorf("found %v", names)
	}
	files, err := Read(fsys, "p/", append(names, "none.transcript")...)
	var got []string
	for _, f := range files {
		for _, c := range f.Cases {
			got = append(got, c.String())
		}
	}
	if want := []string{"p/tests/a.transcript:1: one", "p/tests/a.transcript:3: two", "p/tests/b.transcript"}; !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
	for _, want := range []string{"p/tests/dir.transcript:1: is not a regular file (d", "p/tests/large.transcript:1: the file is larger", "p/tests/pipe.transcript:1: is not a regular file (p",
		`p/tests/wrong.transcript:2: unknown line "conect"`, "p/none.transcript:1: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error %v lacks %q", err, want)
		}
	}
	if _, err := Read(fsys, "p/", make([]string, maxFiles+1)...); err == nil || !strings.Contains(err.Error(), "201 transcripts are too many") {
		t.Errorf("too many: %v", err)
	}
}
