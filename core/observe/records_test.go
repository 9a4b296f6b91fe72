package observe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func open(tb testing.TB, dir string, o RecordOptions) *Records {
	tb.Helper()
	if o.Now == nil {
		o.Now = func() time.Time { return when.Add(time.Hour) }
	}
	r, err := OpenRecords(dir, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { r.Close() })
	return r
}

func closeRecords(tb testing.TB, r *Records) {
	tb.Helper()
	if err := r.Close(); err != nil {
		tb.Fatal(err)
	}
}

func details(tb testing.TB, r *Records, id string) []string {
	tb.Helper()
	steps, err := r.Find(tb.Context(), id)
	if err != nil {
		tb.Fatal(err)
	}
	all := []string{}
	for _, s := range steps {
		all = append(all, s.Detail)
	}
	return all
}

func segments(tb testing.TB, dir string) []string {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.rec"))
	if err != nil {
		tb.Fatal(err)
	}
	return files
}

func TestRecordsSurviveRestart(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, RecordOptions{})
	want := []Step{sample(1), sample(2), sample(3)}
	r.Append("a", want[0], want[1])
	r.Append("b", sample(9))
	r.Append("a", want[2])
	got, err := r.Find(t.Context(), "a") // what was just appended is found
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("before: got %+v, %v, want %+v", got, err, want)
	}
	closeRecords(t, r)
	r.Append("a", sample(5))
	if r.Dropped() != 1 {
		t.Errorf("an append after Close counts %d dropped, want 1", r.Dropped())
	}

	r = open(t, dir, RecordOptions{})
	r.Append("a", sample(4))
	if got := details(t, r, "a"); len(got) != 4 || got[3] != sample(4).Detail {
		t.Errorf("after: got %q", got)
	}
	if got := details(t, r, "none"); len(got) != 0 {
		t.Errorf("an id that is not there: got %q", got)
	}
	if files := segments(t, dir); len(files) != 1 {
		t.Errorf("a whole segment with room is gone on with: got %v", files)
	}
	ids, err := r.Recent(t.Context(), 10)
	if err != nil || !slices.Equal(ids, []string{"a", "b"}) {
		t.Errorf("recent: got %q, %v, want a, b", ids, err)
	}
}

func TestRecordsPassOverDamage(t *testing.T) {
	for name, harm := range map[string]func([]byte) []byte{
		"torn":       func(b []byte) []byte { return b[:len(b)-5] },
		"zeros":      func(b []byte) []byte { return append(b, make([]byte, 100)...) },
		"garbage":    func(b []byte) []byte { return append(b, "garbage that is no entry"...) },
		"huge":       func(b []byte) []byte { return append(b, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1) },
		"header cut": func(b []byte) []byte { return b[:4] },
		"empty":      func([]byte) []byte { return nil },
		"flipped":    func(b []byte) []byte { b[len(b)-3] ^= 1; return b },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			r := open(t, dir, RecordOptions{})
			r.Append("a", sample(1))
			r.Append("a", sample(2))
			closeRecords(t, r)
			file := segments(t, dir)[0]
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			b = harm(b)
			if err := os.WriteFile(file, b, 0o600); err != nil {
				t.Fatal(err)
			}
			want := []string{sample(1).Detail, sample(2).Detail, sample(3).Detail}
			switch name {
			case "torn", "flipped":
				want = slices.Delete(want, 1, 2)
			case "empty", "header cut":
				want = want[2:]
			}
			for range 2 {
				r = open(t, dir, RecordOptions{})
				if r.Append("a", sample(3)); !slices.Equal(details(t, r, "a"), want) {
					t.Errorf("got %q, want %q", details(t, r, "a"), want)
				}
				closeRecords(t, r)
				want = append(want, sample(3).Detail)
			}
			if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, b) {
				t.Errorf("the damaged segment was changed, %v", err)
			}
			if files := segments(t, dir); len(files) != 2 {
				t.Errorf("got %v, want the damaged segment and one new", files)
			}
		})
	}
}

func TestRecordsLeaveForeignFilesAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "records")
	r := open(t, dir, RecordOptions{})
	r.Append("a", sample(1))
	closeRecords(t, r)
	outside := filepath.Join(t.TempDir(), "outside")
	foreign := map[string]string{
		"notes.txt": "x", "0000000000000009.rec": "a mail\n", "00000000000000010.rec": "x", "0000000000000011.rec": "STAGEREC\x02future",
	}
	for name, text := range foreign {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "0000000000000012.rec"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "0000000000000013.rec")); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	r = open(t, dir, RecordOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
	r.Append("a", sample(2))
	if got := details(t, r, "a"); len(got) != 2 {
		t.Errorf("got %q, want both steps", got)
	}
	closeRecords(t, r)
	for name, text := range foreign {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != text {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"notes.txt", "0000000000000009.rec", "00000000000000010.rec", "0000000000000011.rec", "0000000000000012.rec", "0000000000000013.rec"} {
		if !strings.Contains(log.String(), name) {
			t.Errorf("%s is not reported in\n%s", name, log.String())
		}
	}
	if _, err := os.Stat(outside); !os.IsNotExist(err) {
		t.Errorf("a link was followed: %v", err)
	}
}

func TestRecordsAreBoundedInSize(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, RecordOptions{Size: 8 * minSegment})
	full := Step{Detail: strings.Repeat("x", maxDetail)}
	for i := range 2000 { // about 2 MiB, in batches of odd sizes
		r.Append(fmt.Sprint("id", i), full)
		if i%37 == 0 {
			if err := r.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, file := range segments(t, dir) {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if total += info.Size(); info.Size() > minSegment {
			t.Errorf("a segment of %d bytes", info.Size())
		}
	}
	if total > 8*minSegment || total < 6*minSegment {
		t.Errorf("%d bytes are kept, want up to %d", total, 8*minSegment)
	}
	if got := details(t, r, "id0"); len(got) != 0 {
		t.Error("the oldest is kept")
	}
	for i := 1600; i < 2000; i++ {
		if got := details(t, r, fmt.Sprint("id", i)); len(got) != 1 {
			t.Fatalf("id%d: got %d steps, want 1", i, len(got))
		}
	}
	ids, err := r.Recent(t.Context(), 150)
	if err != nil || len(ids) != 150 || ids[0] != "id1999" || ids[149] != "id1850" {
		t.Errorf("recent: got %d, %v: %v", len(ids), err, ids)
	}
	// A smaller bound holds from the start, and new ids are found in old segments that were read by a new process.
	closeRecords(t, r)
	r = open(t, dir, RecordOptions{Size: 4 * minSegment})
	if n := len(segments(t, dir)); n > 4 {
		t.Errorf("%d segments, want 4 at most", n)
	}
	for range 2 { // without and with filters
		if got := details(t, r, "id1999"); len(got) != 1 {
			t.Errorf("got %d steps, want 1", len(got))
		}
	}
}

func TestRecordsAreBoundedInAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := open(t, dir, RecordOptions{Age: 8 * time.Hour, Now: time.Now})
		start := time.Now()
		for i := range 24 { // an entry each hour: a segment each
			r.Append(fmt.Sprint("id", i), Step{})
			time.Sleep(time.Hour + time.Second)
		}
		if n := len(segments(t, dir)); n < 8 || n > 9 {
			t.Errorf("%d segments after a day, want the last 8 hours", n)
		}
		steps, err := r.Find(t.Context(), "id23")
		if err != nil || len(steps) != 1 || !steps[0].Time.Equal(start.Add(23*(time.Hour+time.Second))) {
			t.Errorf("got %+v, %v, want the step with the time of its append", steps, err)
		}
		time.Sleep(9 * time.Hour) // nothing happens, and the last go too
		if n := len(segments(t, dir)); n != 0 {
			t.Errorf("%d segments after a quiet night, want none", n)
		}
		r.Append("new", Step{})
		if got := details(t, r, "new"); len(got) != 1 {
			t.Errorf("after that: got %d steps, want 1", len(got))
		}
		closeRecords(t, r)
	})
}

func TestRecordsAreWrittenSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := open(t, dir, RecordOptions{})
		r.Append("a", sample(1))
		time.Sleep(recordsEvery)
		synctest.Wait()
		size := func() int64 {
			files := segments(t, dir)
			if len(files) != 1 {
				t.Fatalf("got segments %v, want one", files)
			}
			info, err := os.Stat(files[0])
			if err != nil {
				t.Fatal(err)
			}
			return info.Size()
		}
		before := size()
		for range recordsBatch / maxDetail {
			r.Append("a", Step{Detail: strings.Repeat("x", maxDetail)})
		}
		synctest.Wait() // no time passes
		if after := size(); after < before+recordsBatch {
			t.Errorf("%d bytes after a full batch, %d before", after, before)
		}
		closeRecords(t, r)
	})
}

func TestRecordsDropWhatHasNoRoom(t *testing.T) {
	// A writer that stands still: the bound of memory holds, and callers go on.
	r := &Records{}
	r.behind = behind{limit: 10_000, batch: 5_000, every: time.Hour}
	r.behind.first, r.behind.enough = make(chan struct{}, 1), make(chan struct{}, 1)
	step := Step{Time: when, Detail: strings.Repeat("x", 1000)}
	for range 100 {
		r.Append("a", step)
	}
	if n := len(r.behind.waiting); n < 10_000 || n > 12_000 {
		t.Errorf("%d bytes wait, want about 10,000", n)
	}
	if kept := 100 - int(r.Dropped()); kept != r.behind.count || kept < 9 || kept > 10 {
		t.Errorf("%d kept, %d waiting", kept, r.behind.count)
	}
}

func TestRecordsLiveThroughAFullDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "records")
	var log bytes.Buffer
	r := open(t, dir, RecordOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err := os.RemoveAll(dir); err != nil { // stands for a disk that takes nothing
		t.Fatal(err)
	}
	for range 3 {
		r.Append("a", sample(1))
		if err := r.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if r.Dropped() != 3 || strings.Count(log.String(), "cannot be written") != 1 {
		t.Errorf("dropped %d, want 3, told once in\n%s", r.Dropped(), log.String())
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if r.Append("a", sample(2)); len(details(t, r, "a")) != 1 || !strings.Contains(log.String(), "written again") {
		t.Errorf("got %q, log\n%s", details(t, r, "a"), log.String())
	}
}

func TestRecordsManyAtOnce(t *testing.T) {
	r := open(t, t.TempDir(), RecordOptions{Size: 64 << 20})
	const writers, each = 8, 500
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			id := fmt.Sprint("id", w)
			for i := range each {
				r.Append(id, Step{Time: when, Micros: uint32(i)})
				if i%100 == 0 {
					if _, err := r.Find(t.Context(), id); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	for w := range writers {
		steps, err := r.Find(t.Context(), fmt.Sprint("id", w))
		if err != nil || len(steps) != each {
			t.Fatalf("writer %d: %d steps, %v, want %d", w, len(steps), err, each)
		}
		for i, s := range steps {
			if s.Micros != uint32(i) {
				t.Fatalf("writer %d: step %d is number %d", w, i, s.Micros)
			}
		}
	}
}

func TestRecordsCanceled(t *testing.T) {
	r := open(t, t.TempDir(), RecordOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.Append("a", sample(1))
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Find(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func BenchmarkAppend(b *testing.B) {
	r := open(b, b.TempDir(), RecordOptions{Size: 64 << 20})
	step := sample(1)
	b.ReportAllocs()
	for b.Loop() {
		r.Append("0ABCDEFGHJKMNPQR", step)
	}
	b.ReportMetric(float64(r.Dropped())/float64(b.N), "dropped/op")
}

func BenchmarkAppendFiveSteps(b *testing.B) {
	r := open(b, b.TempDir(), RecordOptions{Size: 64 << 20})
	steps := make([]Step, 5)
	for i := range steps {
		steps[i] = sample(i)
	}
	b.ReportAllocs()
	for b.Loop() {
		r.Append("0ABCDEFGHJKMNPQR", steps...)
	}
	b.ReportMetric(float64(r.Dropped())/float64(b.N), "dropped/op")
}

// BenchmarkFind looks in full segments of 256 MiB for an id that is in one of them: first when nothing is known of them, then with
// the filters.
func BenchmarkFind(b *testing.B) {
	dir := b.TempDir()
	r := open(b, dir, RecordOptions{})
	for i := range 1_600_000 {
		r.Append(fmt.Sprintf("%016d", i/4), sample(i))
		if i%10_000 == 0 {
			r.Flush(b.Context())
		}
	}
	closeRecords(b, r)
	b.Run("unknown", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			r := open(b, dir, RecordOptions{})
			b.StartTimer()
			if steps, err := r.Find(b.Context(), "0000000000390000"); err != nil || len(steps) != 4 {
				b.Fatal(len(steps), err)
			}
		}
	})
	r = open(b, dir, RecordOptions{})
	r.Find(b.Context(), "x")
	b.Run("known", func(b *testing.B) {
		for b.Loop() {
			if steps, err := r.Find(b.Context(), "0000000000390000"); err != nil || len(steps) != 4 {
				b.Fatal(len(steps), err)
			}
		}
	})
}

func TestLimitTakesEffectWhileRunning(t *testing.T) {
	dir := t.TempDir()
	r, err := OpenRecords(dir, RecordOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	step := Step{Stage: "rcpt", Detail: strings.Repeat("x", 1000)}
	fill := func() {
		for range 3000 {
			r.Append("0000000000000000", step)
		}
		if err := r.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	fill()
	r.Limit(1<<20, time.Hour)
	fill()
	r.folder.prune()
	var total int64
	for _, seg := range r.folder.list() {
		total += seg.size
	}
	if total > 1<<20+maxSegment {
		t.Errorf("%d bytes are kept after the limit was set to %d", total, 1<<20)
	}
}
