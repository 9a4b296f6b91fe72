package observe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
)

// sink is a writer that keeps each write, and can be made to block or fail.
type sink struct {
	mu     sync.Mutex
	writes []string
	gate   chan struct{} // where not nil, each write takes one
	err    error
}

func (s *sink) Write(p []byte) (int, error) {
	if s.gate != nil {
		<-s.gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	s.writes = append(s.writes, string(p))
	return len(p), nil
}

func (s *sink) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.writes, "")
}

func (s *sink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.writes)
}

// hostile is text that would break a line, act on a terminal, or turn text around.
const hostile = "a\r\nb\x00\x1b[2J\x07\x7f\u009b31m\u0085\u2028\u2029\u202e\ufeff\U000e0001\xff\"c\\=d\u00e9"

func TestLogOneEventIsOneLine(t *testing.T) {
	for _, format := range []Format{JSON, Lines} {
		w := &sink{}
		log, l := NewLog(w, LogOptions{Format: format})
		log.Info(hostile, hostile, hostile, "error", errors.New(hostile), "any", []string{hostile}, slog.Group(hostile, "in", hostile))
		log.With(hostile, hostile).WithGroup(hostile).Info("x", "k", hostile)
		l.Flush()
		text := w.all()
		if n := strings.Count(text, "\n"); n != 2 || !strings.HasSuffix(text, "\n") {
			t.Errorf("format %d: %d lines, want 2:\n%q", format, n, text)
		}
		for _, r := range strings.ReplaceAll(text, "\n", "") {
			if !unicode.IsPrint(r) {
				t.Errorf("format %d: %U is written as it is", format, r)
			}
		}
		if !strings.Contains(text, "d\u00e9") {
			t.Errorf("format %d: printable text is escaped:\n%s", format, text)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestLogJSONKeepsValues(t *testing.T) {
	w := &sink{}
	log, l := NewLog(w, LogOptions{}) // not a terminal
	log.Warn("m", "s", hostile, "n", 7, "d", time.Second, "long", strings.Repeat("x", 5000), "e", errors.New(strings.Repeat("y", 5000)),
		"nil", (*nilError)(nil))
	l.Flush()
	var got map[string]any
	if err := json.Unmarshal([]byte(w.all()), &got); err != nil {
		t.Fatalf("%v in %s", err, w.all())
	}
	if want := strings.ReplaceAll(hostile, "\xff", "\ufffd"); got["s"] != want {
		t.Errorf("got  %q\nwant %q", got["s"], want)
	}
	if got["level"] != "WARN" || got["msg"] != "m" || got["n"] != 7.0 || got["d"] != 1e9 || len(got["long"].(string)) != maxValue || len(got["e"].(string)) != maxValue {
		t.Errorf("got %v", got)
	}
}

type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

func TestLogLines(t *testing.T) {
	var b bytes.Buffer
	h := &lines{w: &b, level: slog.LevelInfo}
	r := slog.NewRecord(time.Date(2026, 8, 1, 9, 5, 7, 12e6, time.UTC), slog.LevelWarn, "it \"is\" \x1bodd", 0)
	r.AddAttrs(slog.String("empty", ""), slog.String("word", "a.b@c"), slog.String("words", "a b"), slog.Int("n", 3), slog.Duration("took", 1500*time.Millisecond),
		slog.Any("error", io.EOF), slog.Group("g", slog.Bool("yes", true), slog.Group("h", slog.String("eq", "a=b"))), slog.Attr{}, slog.String("bad key", "x"))
	if err := h.WithGroup("").WithAttrs([]slog.Attr{slog.String("id", "0ABC")}).WithGroup("top").Handle(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	want := `09:05:07.012 WARN  it "is" \x1bodd id=0ABC top.empty="" top.word=a.b@c top.words="a b" top.n=3 top.took=1.5s top.error=EOF ` +
		`top.g.yes=true top.g.h.eq="a=b" "top.bad key"=x` + "\n"
	if b.String() != want {
		t.Errorf("got  %swant %s", b.String(), want)
	}
	if h.Enabled(t.Context(), slog.LevelDebug) || !h.Enabled(t.Context(), slog.LevelInfo) {
		t.Error("the level does not hold")
	}
}

func TestLogChoosesFormatAndLevel(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/log") // a file, but no terminal
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	level := new(slog.LevelVar)
	log, l := NewLog(file, LogOptions{Level: level})
	log.Debug("one")
	level.Set(slog.LevelDebug)
	log.Debug("two")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file.Name())
	if err != nil || strings.Contains(string(text), "one") || !strings.Contains(string(text), `"msg":"two"`) {
		t.Errorf("got %s, %v, want the second event as JSON", text, err)
	}
}

func TestLogWritesBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &sink{}
		log, l := NewLog(w, LogOptions{})
		for i := range 100 {
			log.Info("event", "i", i)
		}
		synctest.Wait()
		if n := w.count(); n != 0 {
			t.Errorf("%d writes at once, want none", n)
		}
		time.Sleep(logEvery)
		synctest.Wait()
		if n := w.count(); n != 1 || strings.Count(w.all(), "\n") != 100 {
			t.Errorf("%d writes of %d lines, want one of 100", n, strings.Count(w.all(), "\n"))
		}
		log.Info("last")
		if err := l.Close(); err != nil || !strings.Contains(w.all(), "last") {
			t.Errorf("after Close: %v in %s", err, w.all())
		}
		if log.Info("late"); l.Dropped() != 1 {
			t.Errorf("%d dropped, want the late one", l.Dropped())
		}
		if err := l.Close(); err != nil {
			t.Errorf("the second Close: %v", err)
		}
	})
}

func TestLogDoesNotWaitForItsWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &sink{gate: make(chan struct{})}
		log, l := NewLog(w, LogOptions{})
		line := strings.Repeat("x", 1000)
		for range 5000 { // 5 MB
			log.Info(line)
		}
		if l.Dropped() < 2000 {
			t.Errorf("%d dropped, want most", l.Dropped())
		}
		start := time.Now()
		if l.Flush(); time.Since(start) != logPatience {
			t.Errorf("Flush waited %v, want %v", time.Since(start), logPatience)
		}
		dropped := l.Dropped()
		close(w.gate)
		l.Flush()
		if !strings.Contains(w.all(), fmt.Sprintf(`"msg":"events of the log were dropped","count":%d`, dropped)) {
			t.Errorf("%d dropped, and the log does not tell: it ends with %s", dropped, w.all()[len(w.all())-200:])
		}
		if n := strings.Count(w.all(), line); uint64(n)+dropped != 5000 {
			t.Errorf("%d written and %d dropped of 5000", n, dropped)
		}
		l.Close()
	})
}

func TestLogCountsWhatIsLost(t *testing.T) {
	w := &sink{err: errors.New("no space left")}
	log, l := NewLog(w, LogOptions{})
	log.Info("one")
	log.Info("two")
	l.Flush()
	log.Info("long", "lines", strings.Split(strings.Repeat("x\n", maxLine), "\n"))
	if l.Flush(); l.Dropped() != 3 {
		t.Errorf("%d dropped, want 2 that failed and one that is too long", l.Dropped())
	}
	l.Close()
}

func FuzzLogLine(f *testing.F) {
	f.Add("message", "key", hostile)
	f.Fuzz(func(t *testing.T, message, key, value string) {
		var text bytes.Buffer
		h := &lines{w: &text, level: slog.LevelInfo}
		js := &sink{}
		log, l := NewLog(js, LogOptions{Format: JSON})
		slog.New(h).Info(message, key, value)
		log.Info(message, key, value)
		l.Close()
		for _, line := range []string{text.String(), js.all()} {
			line, ok := strings.CutSuffix(line, "\n")
			if !ok {
				t.Fatalf("no line end: %q", line)
			}
			for _, r := range line {
				if !unicode.IsPrint(r) {
					t.Fatalf("%U in %q", r, line)
				}
			}
		}
		if !json.Valid([]byte(js.all())) {
			t.Fatalf("not JSON: %s", js.all())
		}
	})
}

func benchmarkLog(b *testing.B, format Format) {
	log, l := NewLog(io.Discard, LogOptions{Format: format})
	b.ReportAllocs()
	for b.Loop() {
		log.Info("message accepted", "id", "0ABCDEFGHJKMNPQR", "sender", "a@example.org", "size", 4096, "recipients", 1, "client", "192.0.2.1")
	}
	b.StopTimer()
	b.ReportMetric(float64(l.Dropped())/float64(b.N), "dropped/op")
	l.Close()
}

func BenchmarkLogJSON(b *testing.B)  { benchmarkLog(b, JSON) }
func BenchmarkLogLines(b *testing.B) { benchmarkLog(b, Lines) }

// TestLogColours: what happened is seen by colour, columns stand in line, and no value can set a colour.
func TestLogColours(t *testing.T) {
	for _, tt := range []struct {
		colour bool
		want   string
	}{
		{false, "WARN  accepted  k=v \"a b\"=\"\\x1b[31m\"\n"},
		{true, "\x1b[33mWARN \x1b[0m \x1b[32maccepted\x1b[0m  \x1b[2mk=\x1b[0mv \x1b[2m\"a b\"=\x1b[0m\"\\x1b[31m\"\n"},
	} {
		w := &sink{}
		h := &lines{w: w, level: slog.LevelInfo, colour: tt.colour}
		r := slog.NewRecord(time.Time{}, slog.LevelWarn, "accepted", 0)
		r.Add("k", "v", "a b", "\x1b[31m")
		if err := h.Handle(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if got := w.all(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
	w := &sink{}
	h := &lines{w: w, level: slog.LevelInfo, colour: true}
	if err := h.Handle(t.Context(), slog.NewRecord(time.Time{}, slog.LevelInfo, hostile, 0)); err != nil || strings.Contains(w.all(), "\x1b") {
		t.Errorf("%q, %v", w.all(), err)
	}
}
