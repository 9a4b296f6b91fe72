package message

import (
	"slices"
	"sync"
	"testing"
	"time"
)

func TestIDTextKeepsOrderAndParses(t *testing.T) {
	ids := []ID{
		{},
		{0, 0, 0, 0, 0, 1, 0, 0, 0, 0},
		{0, 0, 0, 0, 0, 1, 0, 0, 0xff, 0xff},
		{0, 0, 0, 0, 0, 1, 0, 1, 0, 0},
		{0x01, 0x9a, 0x12, 0x34, 0x56, 0x78, 0, 7, 0x80, 0x01},
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	}
	var last string
	for i, id := range ids {
		s := id.String()
		if i > 0 && s <= last {
			t.Errorf("%x is written %s, which does not sort behind %s", id, s, last)
		}
		last = s
		if back, err := ParseID(s); err != nil || back != id {
			t.Errorf("ParseID(%s) = %x, %v; want %x", s, back, err, id)
		}
	}
	for _, bad := range []string{"", "0", "000000000000000", "00000000000000000", "000000000000000i", "000000000000000A", "00000000-0000000"} {
		if _, err := ParseID(bad); err == nil {
			t.Errorf("ParseID(%q) took it", bad)
		}
	}
}

func TestIDParts(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123)
	id := NewIDs(func() time.Time { return at }, 513, ID{}).Next()
	if !id.Time().Equal(at) || id.Shard() != 513 {
		t.Errorf("id has time %v and shard %d", id.Time(), id.Shard())
	}
}

func TestIDsNeverRepeatNorGoBack(t *testing.T) {
	start := time.UnixMilli(1_700_000_000_000)
	now := start
	ids := NewIDs(func() time.Time { return now }, 3, ID{})
	last := ids.Next()
	next := func(what string) {
		t.Helper()
		id := ids.Next()
		if id.String() <= last.String() {
			t.Fatalf("%s: %s came behind %s", what, id, last)
		}
		last = id
	}
	for range 70_000 {
		next("more in one millisecond than the count holds")
	}
	now = start.Add(-time.Hour)
	next("the clock went back")
	now = time.Unix(-5, 0)
	next("the clock is before 1970")
	now = start.Add(time.Hour)
	next("the clock is right again")
	if !last.Time().Equal(now) {
		t.Errorf("id is of %v, not of now, %v", last.Time(), now)
	}

	now = start
	again := NewIDs(func() time.Time { return now }, 3, last)
	if id := again.Next(); id.String() <= last.String() {
		t.Errorf("after a start with an older clock %s came behind %s", id, last)
	}
}

func TestIDsOfManyGoroutines(t *testing.T) {
	ids := NewIDs(time.Now, 0, ID{})
	all := make([][]ID, 8)
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() {
			for range 2000 {
				all[i] = append(all[i], ids.Next())
			}
		})
	}
	wg.Wait()
	var flat []string
	for _, part := range all {
		for _, id := range part {
			flat = append(flat, id.String())
		}
	}
	slices.Sort(flat)
	if n := len(slices.Compact(flat)); n != 16_000 {
		t.Errorf("%d different ids of 16000", n)
	}
}

func BenchmarkIDString(b *testing.B) {
	id := NewIDs(time.Now, 0, ID{}).Next()
	b.ReportAllocs()
	for b.Loop() {
		_ = id.String()
	}
}
