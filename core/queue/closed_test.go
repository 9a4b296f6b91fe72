package queue

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/message"
)

// spell is a window that is open at certain times since a start.
type spell struct {
	start       time.Time
	opens, ends time.Duration
}

func (s *spell) Opens(now time.Time) time.Time {
	switch since := now.Sub(s.start); {
	case since < s.opens:
		return s.start.Add(s.opens)
	case since < s.ends:
		return now
	}
	return s.start.Add(s.ends + 100*time.Hour)
}

func (s *spell) String() string { return fmt.Sprintf("%v to %v", s.opens, s.ends) }

func windowed(s *spell, names ...string) *Shape {
	shape := &Shape{Sites: map[string]Limits{}}
	for _, name := range names {
		shape.Sites[name] = Limits{Window: s, By: Origin{Window: "stagepost.toml:7"}}
	}
	return shape
}

// TestWindow: mail for a site waits on disk until its window opens, and what comes after it has closed waits for the next; other mail goes.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.set.Shape = windowed(&spell{time.Now().Round(0), 3 * time.Hour, 5 * time.Hour}, "office.example")
		b.remote.answer["office.example"] = []message.Outcome{yes}
		b.start()
		for i := range 300 {
			b.send(nil, fmt.Sprintf("u%d@office.example", i))
		}
		b.send(nil, "u@open.example")
		time.Sleep(time.Minute)
		expect(t, "at first", b.remote.got(), "0s mx:open.example <u@open.example>")
		if l := b.q.Load(); l.Waiting != 0 || l.Running != 0 || b.q.flights.count() != 0 {
			t.Errorf("in memory: %+v, %d flights", l, b.q.flights.count())
		}
		v, err := b.q.Explain(t.Context(), "office.example")
		if err != nil || len(v) != 1 || time.Until(v[0].Closed).Round(time.Minute) != 179*time.Minute || !strings.Contains(v[0].Shut, "3h0m0s to 5h0m0s") ||
			v[0].Limits[2] != (LimitView{"window", "3h0m0s to 5h0m0s", "stagepost.toml:7"}) {
			t.Errorf("%+v, %v", v, err)
		}
		if last := b.items()[0].State.Rcpts[0].Last; !strings.Contains(last.Text, "opens at") {
			t.Errorf("it says %q", last.Text)
		}
		revs := b.revs()
		time.Sleep(178 * time.Minute)
		if got := len(b.remote.got()); got != 1 || b.revs() != revs {
			t.Errorf("%d were sent, %d changes", got, b.revs()-revs)
		}
		time.Sleep(2 * time.Minute)
		if got := len(b.remote.got()); got != 301 || len(b.items()) != 0 {
			t.Errorf("%d were sent when it opened, %d are left", got, len(b.items()))
		}
		time.Sleep(time.Until(b.remote.start.Add(5 * time.Hour)))
		b.send(nil, "late@office.example")
		time.Sleep(90 * time.Hour)
		if got := len(b.remote.got()); got != 301 {
			t.Errorf("%d were sent after it closed", got-301)
		}
		b.stop()
	})
}

// TestWindowCloses: an attempt goes on to its end, and what waits in memory goes to the disk.
func TestWindowCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.set.Shape = windowed(&spell{time.Now().Round(0), 0, time.Hour}, "office.example")
		b.set.Concurrency = 2
		gate := make(chan struct{})
		b.remote.blocked(gate)
		b.start()
		for i := range 50 {
			b.send(nil, fmt.Sprintf("u%d@office.example", i))
		}
		time.Sleep(61 * time.Minute)
		b.remote.blocked(nil)
		close(gate)
		time.Sleep(time.Minute)
		if got := len(b.remote.got()); got != 2 || len(b.items()) != 48 {
			t.Errorf("%d were sent, %d are left", got, len(b.items()))
		}
		if l := b.q.Load(); l.Waiting != 0 || b.q.flights.count() != 0 {
			t.Errorf("in memory: %+v", l)
		}
		b.stop()
	})
}

// TestWindowReload: a window that a reload takes away keeps nothing back, and the time that mail has goes on in one that is closed.
func TestWindowReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.set.Shape = windowed(&spell{time.Now().Round(0), 100 * time.Hour, 101 * time.Hour}, "office.example", "other.example")
		b.set.Expire = 50 * time.Hour
		b.start()
		b.send(nil, "u@office.example")
		b.send(nil, "u@other.example")
		time.Sleep(time.Hour)
		b.change(func(s *Settings) {
			s.Shape = windowed(&spell{b.remote.start.Round(0), 100 * time.Hour, 101 * time.Hour}, "other.example")
		})
		time.Sleep(reach + 2*time.Second)
		if got := b.remote.got(); len(got) != 1 || !strings.HasSuffix(got[0], "<u@office.example>") {
			t.Errorf("%q were sent", got)
		}
		time.Sleep(50 * time.Hour)
		expect(t, "given up", b.states(), "u@other.example failed owed")
		if got := b.remote.got(); len(got) != 1 {
			t.Errorf("%q were sent", got)
		}
		b.stop()
	})
}
