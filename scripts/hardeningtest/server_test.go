package main

import (
	"context"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/scripts/longrun"
)

// TestCases is the short form of scripts/hardening: all cases but the slow ones and the longer neighbours.
func TestCases(t *testing.T) {
	o := options{program: longrun.Program(t), parallel: 48, family: 3}
	var out strings.Builder
	ok, err := run(context.Background(), o, nil, &out)
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		wrong, _, _ := strings.Cut(out.String(), "\ncases ") // said once more below the counts, where it is looked for
		t.Errorf("a case did not pass:\n%s", wrong)
	}
}
