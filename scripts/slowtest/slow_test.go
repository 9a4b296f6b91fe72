package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/scripts/longrun"
)

// TestSlow is the short form of scripts/soak slow. How long messages take is printed and not a matter of right or wrong here.
func TestSlow(t *testing.T) {
	s := settings{slow: 100, during: time.Second, rounds: 1, times: 1e9, flood: 500, sessions: 2, dir: t.TempDir(), program: longrun.Program(t)}
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
