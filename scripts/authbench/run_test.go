package main

import (
	"strings"
	"testing"

	"github.com/stagepost/stagepost/scripts/longrun"
)

// TestRun: a small measurement takes each message through each set of plugins.
func TestRun(t *testing.T) {
	s := defaults()
	s.dir, s.program, s.rounds, s.messages, s.senders = t.TempDir(), longrun.Program(t), 1, 20, 4
	var out strings.Builder
	if err := run(t.Context(), s, &out); err != nil {
		t.Fatal(err)
	}
	for _, set := range sets {
		if !strings.Contains(out.String(), "\n"+set.name+" ") {
			t.Errorf("%s is not in:\n%s", set.name, &out)
		}
	}
}
