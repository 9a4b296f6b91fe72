package main

import (
	"regexp"
	"testing"

	"github.com/stagepost/stagepost/core/bounce"
)

// TestClassesInManual: the page returns lists the classes, as they are declared.
func TestClassesInManual(t *testing.T) {
	page, err := manualFiles.ReadFile("manual/returns.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| ([^|]*) \\| [^|]* \\| [^|]* \\|$").FindAllStringSubmatch(string(page), -1)
	classes := bounce.Classes()
	if len(rows) != len(classes) {
		t.Fatalf("%d rows for %d classes", len(rows), len(classes))
	}
	for i, c := range classes {
		if rows[i][1] != string(c.Class) || rows[i][2] != c.Doc {
			t.Errorf("row %d is %q, want %q: %s", i+1, rows[i][1:], c.Class, c.Doc)
		}
	}
}
