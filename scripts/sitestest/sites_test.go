package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/scripts/longrun"
)

// TestSites is the short form of scripts/soak sites. Rates are printed and not a matter of right or wrong here.
func TestSites(t *testing.T) {
	s := settings{sites: 40, slow: 8, rate: 100, senders: 4, during: 3 * time.Second, dir: t.TempDir(), program: longrun.Program(t)}
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
