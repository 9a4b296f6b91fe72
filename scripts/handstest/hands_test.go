package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/scripts/longrun"
)

// TestHands is the short form of scripts/soak hands: what the commands do is checked, and not how long they take.
func TestHands(t *testing.T) {
	s := settings{messages: 2 * domains, look: time.Hour, change: time.Hour, dir: t.TempDir(), program: longrun.Program(t)}
	var out strings.Builder
	violations, err := run(context.Background(), s, &out)
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range violations {
		t.Error(v)
	}
}
