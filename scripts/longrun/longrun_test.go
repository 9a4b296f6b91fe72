package longrun

import (
	"context"
	"errors"
	"os"
	"testing"
)

func TestFolder(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	given := t.TempDir()
	for _, c := range []struct {
		name string
		dir  string
		ok   bool
		err  error
		kept bool
	}{
		{"nothing was found", "", true, nil, false},
		{"a rule was violated", "", false, nil, true},
		{"it broke off", "", false, errors.New("broken"), true},
		{"a folder that was named", given, true, nil, true},
	} {
		var used string
		ok, err := inFolder(t.Context(), c.dir, func(_ context.Context, dir string) (bool, error) {
			used = dir
			return c.ok, c.err
		})
		_, missing := os.Stat(used)
		if ok != c.ok || !errors.Is(err, c.err) || (missing == nil) != c.kept || c.dir != "" && used != c.dir {
			t.Errorf("%s: ok %v, error %v, folder %s: %v", c.name, ok, err, used, missing)
		}
	}
}
