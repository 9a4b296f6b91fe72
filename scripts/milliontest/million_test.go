package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/store/disk"
	"github.com/stagepost/stagepost/scripts/longrun"
)

// TestMillion is the short form of scripts/soak million. Times and memory are printed and not a matter of right or wrong here.
func TestMillion(t *testing.T) {
	s := settings{messages: 5000, dead: 50, live: 5, share: 1000, during: 5 * time.Second, ready: time.Hour, newest: time.Hour, memory: 1 << 20,
		dir: t.TempDir(), program: longrun.Program(t)}
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

// TestFill: a filled folder has so many messages, each due once in its own lane.
func TestFill(t *testing.T) {
	const n = 1000
	dir, began := t.TempDir(), time.Now()
	err := fill(t.Context(), dir, n, func(i int) queued {
		return queued{[]string{"a.example", "b.example"}[i%2], []string{"smtp:a:25", "smtp:b:25"}[i%2], began.Add(time.Duration(i) * time.Second)}
	})
	if err != nil {
		t.Fatal(err)
	}
	st, err := disk.Open(disk.Options{Dir: dir, MinFree: -1, Ballast: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if depth := st.Health().Depth; depth != n {
		t.Errorf("%d messages", depth)
	}
	for lane, want := range map[string]int{"": 0, "smtp:a:25": n / 2, "smtp:b:25": n / 2} {
		entries, _, err := st.Due(t.Context(), nil, lane, nil, began.Add(n*time.Second), 2*n)
		if err != nil || len(entries) != want {
			t.Errorf("%d entries in the lane %q, %v", len(entries), lane, err)
		}
		for _, e := range entries {
			_, state, err := st.Load(t.Context(), e.ID)
			if err != nil || len(state.Rcpts) != 1 || state.Rcpts[0].Lane != lane || !state.Rcpts[0].Next.Equal(e.At) {
				t.Fatalf("a message due in %q at %v is %+v, %v", lane, e.At, state, err)
			}
		}
	}
}
