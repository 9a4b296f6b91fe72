package observe

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

var when = time.Date(2026, 8, 1, 12, 0, 0, 123456789, time.UTC)

func sample(n int) Step {
	return Step{Time: when.Add(time.Duration(n) * time.Second), Stage: "rcpt", Plugin: "greylist", Generation: 7, Verdict: "defer",
		Micros: 480, Edits: []string{"set_header Subject", "add_rcpt b@example.org"}, Detail: fmt.Sprintf("451 4.7.1 try %d", n)}
}

// decodeAll gives the steps of all sound entries.
func decodeAll(tb testing.TB, b []byte) (ids []string, steps []Step) {
	tb.Helper()
	for e, rest, ok := next(b); ok; e, rest, ok = next(rest) {
		if !e.sound() {
			continue
		}
		var err error
		if steps, err = e.appendSteps(steps); err != nil {
			tb.Fatal(err)
		}
		ids = append(ids, string(e.id()))
	}
	return ids, steps
}

func TestEntriesRoundTrip(t *testing.T) {
	odd := Step{Time: time.Unix(0, -5).UTC(), Stage: "x\x00\r\n", Generation: 1<<64 - 1, Micros: 1<<32 - 1, Edits: []string{}, Detail: "\xff\x1b[2J\u2028"}
	want := []Step{sample(1), odd}
	b, n := appendEntries(nil, "0ABC", want, time.Time{})
	ids, got := decodeAll(t, b)
	if n != 1 || len(ids) != 1 || ids[0] != "0ABC" || !reflect.DeepEqual(got, want) {
		t.Errorf("got %d entries %q\n%+v, want one\n%+v", n, ids, got, want)
	}
}

func TestEntriesAreBounded(t *testing.T) {
	long := strings.Repeat("\u00e9", 5000) // two bytes each
	big := Step{Stage: long, Plugin: long, Verdict: long, Detail: "x" + long}
	for range 100 {
		big.Edits = append(big.Edits, long)
	}
	steps := make([]Step, 130)
	for i := range steps {
		steps[i] = big
	}
	b, n := appendEntries(nil, strings.Repeat("i", 100), steps, when)
	ids, got := decodeAll(t, b)
	if n != 3 || len(ids) != 3 || len(got) != 130 || ids[0] != strings.Repeat("i", 64) {
		t.Fatalf("got %d entries, %d steps, id %.80q", n, len(got), ids[0])
	}
	s := got[129]
	if len(s.Stage) != 128 || len(s.Plugin) != 128 || len(s.Verdict) != 128 || len(s.Edits) != 32 || len(s.Edits[31]) != 128 {
		t.Errorf("words of %d, %d, %d bytes and %d edits of %d", len(s.Stage), len(s.Plugin), len(s.Verdict), len(s.Edits), len(s.Edits[31]))
	}
	if len(s.Detail) != 1023 { // not 1024: that would be half a character
		t.Errorf("a detail of %d bytes, want 1023", len(s.Detail))
	}
	if !s.Time.Equal(when) {
		t.Errorf("a step without a time got %v", s.Time)
	}
	for e, rest, ok := next(b); ok; e, rest, ok = next(rest) {
		if len(e.payload) > maxPayload {
			t.Errorf("an entry of %d bytes", len(e.payload))
		}
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		in   string
		n    int
		want string
	}{{"abc", 3, "abc"}, {"abcd", 3, "abc"}, {"ab\u00e9", 3, "ab"}, {"\u20ac\u20ac", 5, "\u20ac"}, {"\x80\x80\x80\x80\x80\x80", 5, "\x80\x80\x80\x80\x80"}, {"\U0001f600", 2, "\xf0\x9f"}} {
		if got := cut(c.in, c.n); got != c.want {
			t.Errorf("%q to %d: got %q, want %q", c.in, c.n, got, c.want)
		}
	}
}

func TestStepJSON(t *testing.T) {
	s := sample(1)
	s.Edits = []string{}
	got, err := json.Marshal(s)
	want := `{"time":"2026-08-01T12:00:01.123456789Z","stage":"rcpt","plugin":"greylist","generation":7,"verdict":"defer","micros":480,"edits":[],"detail":"451 4.7.1 try 1"}`
	if err != nil || string(got) != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
}

func TestEveryFlippedBitIsSeen(t *testing.T) {
	b, _ := appendEntries(nil, "a", []Step{sample(1)}, when)
	whole := len(b)
	b, _ = appendEntries(b, "b", []Step{sample(2)}, when)
	for i := range whole * 8 {
		bad := append([]byte(nil), b...)
		bad[i/8] ^= 1 << (i % 8)
		ids, _ := decodeAll(t, bad)
		for _, id := range ids {
			if id != "b" {
				t.Fatalf("bit %d: entry %q was taken", i, id)
			}
		}
		if i >= 32 && len(ids) != 1 { // the length is whole: the next entry is found
			t.Fatalf("bit %d: the entry after the damaged one is lost", i)
		}
	}
	for n := range whole {
		if ids, _ := decodeAll(t, b[:n]); len(ids) != 0 {
			t.Fatalf("cut to %d bytes: entry %q was taken", n, ids)
		}
	}
}

func FuzzSegment(f *testing.F) {
	b, _ := appendEntries([]byte(segmentHeader), "0ABC", []Step{sample(1), {}}, when)
	f.Add(b)
	f.Add(b[:len(b)-3])
	f.Add([]byte(segmentHeader))
	f.Fuzz(func(t *testing.T, segment []byte) {
		b, ok := body(segment)
		if !ok {
			return
		}
		for e, rest, ok := next(b); ok; e, rest, ok = next(rest) {
			id := string(e.id())
			// CRCs are not a fuzzer's friend: decode what is not sound as well.
			steps, err := e.appendSteps(nil)
			if err != nil || len(steps) == 0 {
				continue
			}
			again, _ := appendEntries(nil, id, steps, when)
			got, _, ok := next(again)
			if !ok || !got.sound() {
				t.Fatal("what was decoded cannot be encoded")
			}
			back, err := got.appendSteps(nil)
			if err != nil || !reflect.DeepEqual(back, steps) || string(got.id()) != id {
				t.Fatalf("decoded %q %+v\nencoded and decoded again %q %+v, %v", id, steps, got.id(), back, err)
			}
		}
	})
}

func BenchmarkEncodeStep(b *testing.B) {
	step := []Step{sample(1)}
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = appendEntries(buf[:0], "0ABCDEFGHJKMNPQR", step, when)
	}
}
