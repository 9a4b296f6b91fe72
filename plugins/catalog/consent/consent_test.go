package consent_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stagepost/stagepost/plugins/bundled"
	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/consent"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares a text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what comes; if that is meant, go test -update:\n%s", file, got)
	}
}

// TestBundledSheets holds the sheet of each plugin that ships against what was read over.
func TestBundledSheets(t *testing.T) {
	for _, name := range bundled.Names() {
		p, err := catalog.PackFS(name, bundled.Open(name))
		if err != nil {
			t.Fatal(err)
		}
		s, err := consent.Of(p)
		if err != nil {
			t.Fatal(err)
		}
		s.Digest = "sha256:DIGEST" // of the code, which changes without the sheet
		golden(t, "sheets/"+name+".txt", s.Text(""))
	}
}
