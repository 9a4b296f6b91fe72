package main

import (
	"reflect"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/admin"
)

// TestLastMinute: what was counted in the last minute is told from what was counted before, and little is remembered.
func TestLastMinute(t *testing.T) {
	counted := func(n uint64) admin.Traffic {
		return admin.Traffic{Sessions: n, Refused: 2 * n, Received: map[string]uint64{"accepted": n}, Outcomes: map[string]uint64{"failed": n}}
	}
	var tr traffic
	for i := range 100 {
		at := noon.Add(time.Duration(i) * trafficEvery)
		n := uint64(10 * i)
		tr.note(at, counted(n))
		want := counted(min(n, 60))
		if got := tr.last(at, counted(n)); !reflect.DeepEqual(got, want) {
			t.Fatalf("after %d looks: %+v, want %+v", i+1, got, want)
		}
		if len(tr.seen) > 7 {
			t.Fatalf("%d looks are kept", len(tr.seen))
		}
	}
	if got := tr.last(noon.Add(99*trafficEvery+5*time.Second), counted(995)); got.Sessions != 65 {
		t.Errorf("between two looks: %+v", got)
	}
	if got := tr.last(noon.Add(99*trafficEvery), counted(1)); got.Sessions != 0 {
		t.Errorf("a count that began anew: %+v", got)
	}
}
