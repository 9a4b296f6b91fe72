package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
)

// TestClockOfTheServer lets the wall clock of the whole server jump while it runs and between two starts: mail flows all the time, what
// waits is delivered once its next hop takes it, and ids only grow.
func TestClockOfTheServer(t *testing.T) {
	const hour, years = time.Hour, 365 * 24 * time.Hour
	later, taking := remotetest.New(t, remotetest.Script{"MAIL": "451 4.3.0 later"}), remotetest.New(t)
	waiting := later.Listen()
	s := newSite(t, "hostname = \"mx.example.org\"\ndata = \"data\"\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\nrole = \"mx\"\n[queue]\nretry = [\"1s\"]\n"+
		"[plugins]\nenable = [\"relay\", \"route\"]\n[plugin.relay]\nnetworks = [\"127.0.0.0/8\"]\n[plugin.route]\ndefault = \""+taking.Listen()+"\"\n"+
		"[plugin.route.domains]\n\"later.example\" = \""+waiting+"\"\n")
	var offset atomic.Int64
	start := func() *daemon {
		d, err := startDaemon(t.Context(), s.config, daemonOptions{log: slog.New(slog.DiscardHandler), console: io.Discard, now: func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := start()
	last, n := "", 0
	take := func(to string) {
		t.Helper()
		n++
		var reply string
		within(t, "mail is taken", func() bool { // a write under way in the jump seems to last for hours, as this clock has no monotonic side
			reply = sendTo(t, d.bound.address("mx"), "", fmt.Sprintf("u%d@%s", n, to), "hello\n").Error()
			return !strings.HasPrefix(reply, "452 ")
		})
		_, id, ok := strings.Cut(reply, "250 2.0.0 queued as ")
		if !ok || id <= last {
			t.Fatalf("%s, after the id %q", reply, last)
		}
		last = id
	}
	went := 0
	for _, by := range []time.Duration{0, hour, -hour, -hour, hour, 10 * years, -10 * years, -56 * years, 56 * years} {
		offset.Add(int64(by))
		for restart := range 2 {
			if restart == 1 {
				if err := d.Shutdown(context.Background()); err != nil {
					t.Fatal(err)
				}
				offset.Add(int64(-by)) // and once more between two starts
				d = start()
				offset.Add(int64(by))
			}
			take("later.example")
			take("now.example")
			went++
			within(t, fmt.Sprintf("new mail goes after a jump by %v", by), func() bool { return len(taking.Messages()) >= went })
		}
	}
	s.write("stagepost.toml", strings.Replace(s.read("stagepost.toml"), waiting, taking.Listen(), 1))
	if err := d.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	d = start()
	within(t, "what waited goes", func() bool { return d.store.Health().Depth == 0 })
	if err := d.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := len(taking.Messages()); got != n {
		t.Errorf("%d messages came, of %d", got, n)
	}
}

// TestAttemptsHaveTheServersClock: an attempt is made, and noted, by the clock by which its message is due.
func TestAttemptsHaveTheServersClock(t *testing.T) {
	taking := remotetest.New(t)
	s := newSite(t, "hostname = \"mx.example.org\"\ndata = \"data\"\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\nrole = \"mx\"\n"+
		"[plugins]\nenable = [\"relay\", \"route\"]\n[plugin.relay]\nnetworks = [\"127.0.0.0/8\"]\n[plugin.route]\ndefault = \""+taking.Listen()+"\"\n")
	ahead := func() time.Time { return time.Now().Add(30 * 24 * time.Hour) }
	d, err := startDaemon(t.Context(), s.config, daemonOptions{log: slog.New(slog.DiscardHandler), console: io.Discard, now: ahead})
	if err != nil {
		t.Fatal(err)
	}
	_, id, _ := strings.Cut(sendTo(t, d.bound.address("mx"), "", "u@y.example", "hello\n").Error(), "queued as ")
	within(t, "the message goes", func() bool { return len(taking.Messages()) == 1 && d.store.Health().Depth == 0 })
	steps, err := d.records.Find(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, step := range steps {
		if step.Stage == "deliver" || step.Stage == "outcome" {
			if seen++; step.Time.Before(time.Now().Add(29 * 24 * time.Hour)) {
				t.Errorf("%s stands at %v", step.Stage, step.Time)
			}
		}
	}
	if seen != 2 {
		t.Errorf("%d steps of an attempt: %v", seen, steps)
	}
	if err := d.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
}
