package store

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
)

func TestFirstEntry(t *testing.T) {
	for _, c := range []struct {
		name string
		env  message.Envelope
		at   int64
	}{
		{"arrival, rounded up", message.Envelope{Arrived: time.Unix(1000, 1000)}, 1001},
		{"less than a record keeps", message.Envelope{Arrived: time.Unix(1000, 999)}, 1000},
		{"later", message.Envelope{Arrived: time.Unix(1000, 1), NotBefore: time.Unix(5000, 0)}, 5000},
		{"not before the arrival", message.Envelope{Arrived: time.Unix(1000, 1000), NotBefore: time.Unix(5, 0)}, 1001},
	} {
		e := FirstEntry(&c.env)
		if e.At.Unix() != c.at || e.At.Nanosecond() != 0 || int64(DueSecond(e.At)) != c.at || e.Lane != "" {
			t.Errorf("%s: %+v", c.name, e)
		}
	}
}

func TestSeconds(t *testing.T) {
	for _, c := range []struct {
		t    time.Time
		want uint32
	}{
		{time.Unix(7, 0), 7},
		{time.Unix(7, 1), 8},
		{time.Unix(-7, 1), 0},
		{time.Time{}, 0},
		{time.Unix(math.MaxUint32, 1), math.MaxUint32},
		{time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC), math.MaxUint32},
	} {
		if got := DueSecond(c.t); got != c.want {
			t.Errorf("DueSecond(%v) = %d, want %d", c.t, got, c.want)
		}
	}
	for _, c := range []struct {
		from, until time.Time
		first, last int64
	}{
		{time.Time{}, time.Unix(9, 5), 0, 9},
		{time.Unix(7, 0), time.Unix(9, 0), 8, 9},
		{time.Unix(7, 5), time.Unix(7, 9), 8, 7},
		{time.Unix(-9, 0), time.Unix(-3, 0), 0, -3},
	} {
		if first, last := Window(c.from, c.until); first != c.first || last != c.last {
			t.Errorf("Window(%v, %v) = %d, %d", c.from, c.until, first, last)
		}
	}
}

func TestChangeCheck(t *testing.T) {
	for _, c := range []struct {
		lane string
		ok   bool
	}{{"mx:example.org", true}, {"", true}, {"a\x00b", false}, {strings.Repeat("x", MaxLane), true}, {strings.Repeat("x", MaxLane+1), false}} {
		add, del := Change{Add: []Entry{{Lane: c.lane}}}, Change{Del: []Entry{{Lane: c.lane}}}
		if (add.Check() == nil) != c.ok || (del.Check() == nil) != c.ok {
			t.Errorf("lane %.10q: %v, %v", c.lane, add.Check(), del.Check())
		}
	}
}
