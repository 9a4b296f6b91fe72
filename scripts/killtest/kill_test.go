package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/scripts/longrun"
)

// TestKill is the short form of scripts/soak.
func TestKill(t *testing.T) {
	s := defaults()
	s.dir, s.kills, s.seed = t.TempDir(), 20, uint64(time.Now().UnixNano())
	s.program = longrun.Program(t)
	var out strings.Builder
	report, err := run(context.Background(), s, &out)
	if err != nil {
		t.Fatal(err)
	}
	report.print(&out)
	t.Log(out.String())
	if len(report.violations) > 0 {
		t.Error("a rule is violated")
	}
	if report.delivered == 0 || report.ends[ack] == 0 || report.ends[nak] == 0 {
		t.Error("hardly any mail flowed, so nothing was tried")
	}
}
