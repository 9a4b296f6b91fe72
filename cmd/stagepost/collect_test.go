package main

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"testing"
)

func TestPercentFor(t *testing.T) {
	for _, c := range []struct {
		alive, made uint64
		want        int
	}{
		{0, 0, mostPercent},
		{1 << 20, 0, mostPercent},
		{collectLeast, 0, 100},
		{2 * collectLeast, 0, 50},
		{10 * collectLeast, 0, 20},
		{collectUntil / 4, 1 << 40, 300},
		{collectUntil / 2, collectUntil / 3, 66},
		{collectUntil / 2, 1 << 40, 100},
		{2 * collectUntil, 1 << 40, 50},
		{math.MaxUint64, math.MaxUint64, 50},
	} {
		if got := percentFor(c.alive, c.made); got != c.want {
			t.Errorf("%d alive, %d made: %d, want %d", c.alive, c.made, got, c.want)
		}
	}
}

// What the operator set stays, and a server that ended leaves the collector as it was.
func TestCollectSeldom(t *testing.T) {
	was := debug.SetGCPercent(100)
	defer debug.SetGCPercent(was)
	ctx, end := context.WithCancel(t.Context())
	end()
	percent := func() int {
		now := debug.SetGCPercent(100)
		debug.SetGCPercent(now)
		return now
	}
	t.Setenv("GOGC", "57")
	debug.SetGCPercent(57)
	if collectSeldom(ctx); percent() != 57 {
		t.Errorf("with GOGC=57 it is %d", percent())
	}
	if err := os.Unsetenv("GOGC"); err != nil {
		t.Fatal(err)
	}
	debug.SetGCPercent(100)
	if collectSeldom(ctx); percent() != 100 {
		t.Errorf("after the end it is %d", percent())
	}
}

// A busy server is left alone; a quiet one collects once, and again only when there is new garbage.
func TestQuiet(t *testing.T) {
	const mb = 1 << 20
	var q quiet
	for i, c := range []struct {
		allocated, cycles uint64
		want              bool
	}{
		{100 * mb, 3, false}, // the first look
		{120 * mb, 3, false}, // busy
		{140 * mb, 3, false},
		{140*mb + 1000, 3, true},
		{140*mb + 2000, 4, false}, // collected
		{140*mb + 3000, 4, false},
		{140*mb + quietWorth/2, 5, false},
		{140*mb + quietWorth/2 + 10, 5, false}, // too little
		{145 * mb, 5, false},
		{145 * mb, 5, true},
	} {
		if got := q.look(c.allocated, c.cycles); got != c.want {
			t.Errorf("look %d: %v", i, got)
		}
	}
}
