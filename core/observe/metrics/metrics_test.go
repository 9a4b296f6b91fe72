package metrics

import (
	"log/slog"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/observe"
)

func scrape(t *testing.T, families ...Family) string {
	t.Helper()
	r, err := NewRegistry(families)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	Handler(r, slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

func TestShown(t *testing.T) {
	c := observe.NewCounters("ok", "bad")
	c.AddN(1, 3)
	h := observe.NewTimes(time.Second)
	h.Took(1500 * time.Millisecond)
	got := scrape(t,
		Family{Name: "x_total", Kind: Counter, Help: "X.", Labels: []Label{{"who", nil, "names"}, {"result", c.Names(), ""}}, Read: func(s *Samples) { s.Counters(c, "me\n\"") }},
		Family{Name: "x_on", Kind: Gauge, Help: "On.", Read: func(s *Samples) { s.Flag(true) }},
		Family{Name: "x_seconds", Kind: Histogram, Help: "Took.", Read: func(s *Samples) { s.Histogram(h) }},
	)
	for _, want := range []string{
		"# HELP x_total X.\n# TYPE x_total counter\n" + `x_total{result="bad",who="me\n\""} 3` + "\n" + `x_total{result="ok",who="me\n\""} 0`,
		"# TYPE x_on gauge\nx_on 1\n",
		"# TYPE x_seconds histogram\nx_seconds_bucket{le=\"1\"} 0\nx_seconds_bucket{le=\"+Inf\"} 1\nx_seconds_sum 1.5\nx_seconds_count 1\n",
		"\ngo_goroutines ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

// TestBounds: a value that a label was not declared with is not shown as it is, there are never too many samples, and a family
// that is wrong hides no other.
func TestBounds(t *testing.T) {
	got := scrape(t,
		Family{Name: "x_kind", Kind: Gauge, Help: "X.", Labels: []Label{{"kind", []string{"a"}, ""}}, Read: func(s *Samples) {
			s.Add(1, "a")
			s.Add(2, "anything\nelse")
		}},
		Family{Name: "x_many", Kind: Gauge, Help: "X.", Labels: []Label{{"name", nil, "names"}}, Read: func(s *Samples) {
			for i := range maxSamples + 100 {
				s.Add(1, strconv.Itoa(i))
			}
		}},
		Family{Name: "x_wrong", Kind: Gauge, Help: "X.", Labels: []Label{{"name", nil, "names"}}, Read: func(s *Samples) { s.Add(1) }},
	)
	if !strings.Contains(got, `x_kind{kind="a"} 1`) || !strings.Contains(got, `x_kind{kind="other"} 2`) || strings.Contains(got, "anything") {
		t.Error("a label holds what it was not declared with, or not what it should")
	}
	if n := strings.Count(got, "\nx_many{"); n != maxSamples {
		t.Errorf("%d samples of one family", n)
	}
	if strings.Contains(got, "x_wrong{") {
		t.Error("a sample without its label is shown")
	}
}

func TestDocument(t *testing.T) {
	got := Document([]Family{{Name: "x_total", Kind: Counter, Help: "X.", Labels: []Label{{"who", nil, "names of plugins"}, {"result", []string{"a", "b"}, ""}}}})
	if want := "- `x_total`, counter: X.\n  - `who`: names of plugins\n  - `result`: `a`, `b`\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
