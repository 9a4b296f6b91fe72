package service

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/stagepost/stagepost/core/capability"
)

func TestMetric(t *testing.T) {
	c := handler(t, Options{})
	check(t, c, []call{
		{name: "metric.count", args: list("listed")},
		{name: "metric.count", args: list("listed", 2.0)},
		{name: "metric.count", args: list("bytes_2", int64(maxMetricCount))},
		{name: "metric.count", args: list("none", int64(0))},
		{name: "metric.count", args: list("none", int64(-1)), err: "n is -1; a counter only grows"},
		{name: "metric.count", args: list("none", int64(maxMetricCount+1)), err: "by at most"},
		{name: "metric.count", args: list("none", 1.5), err: "n is a number; it must be of type integer"},
	})
	for _, bad := range []string{"", "_a", "1a", "A", "a-b", "a.b", "ä", "a b", "a\n", strings.Repeat("a", 65)} {
		check(t, c, []call{{name: "metric.count", args: list(bad), err: "is no name"}})
	}
	want := []Event{{"bytes_2", maxMetricCount}, {"listed", 3}, {"none", 0}}
	if got := c.host.Events("vip"); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for i := range maxMetrics - len(want) {
		check(t, c, []call{{name: "metric.count", args: list(fmt.Sprintf("name%d", i))}})
	}
	check(t, c, []call{
		{name: "metric.count", args: list("more"), err: "one name too many; a plugin has at most 100"},
		{name: "metric.count", args: list("listed")},
	})
	if n := len(c.host.Events("vip")); n != maxMetrics {
		t.Errorf("%d names", n)
	}
	if got := c.host.Events("other"); got != nil {
		t.Errorf("%v", got)
	}
}

// TestKeep: what a plugin shares goes on with another generation of it, and ends with it.
func TestKeep(t *testing.T) {
	h := NewHost(Options{})
	count := func(plugin string) {
		t.Helper()
		c := h.Context(plugin, &capability.Needs{}, nil)
		if _, err := find(t, "metric.count").Do(c, list("n")); err != nil {
			t.Error(err)
		}
	}
	count("stays")
	count("goes")
	old := h.Context("goes", &capability.Needs{}, nil)
	h.Keep([]string{"stays"})
	if _, err := find(t, "metric.count").Do(old, list("n")); err != nil { // a call of the old generation
		t.Error(err)
	}
	count("stays")
	if got := h.Events("stays"); !reflect.DeepEqual(got, []Event{{"n", 2}}) {
		t.Error(got)
	}
	if got := h.Events("goes"); got != nil {
		t.Error(got)
	}
}

func TestMetricAtOnce(t *testing.T) {
	h := NewHost(Options{})
	f := find(t, "metric.count")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			c := h.Context("vip", nil, nil)
			for range 1000 {
				if _, err := f.Do(c, list("n", int64(3))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got := h.Events("vip"); !reflect.DeepEqual(got, []Event{{"n", 24_000}}) {
		t.Error(got)
	}
}

func BenchmarkMetric(b *testing.B) {
	c := handler(b, Options{})
	f := find(b, "metric.count")
	args := make([]any, 2)
	for b.Loop() {
		args[0], args[1] = "listed", nil
		if _, err := f.Do(c, args); err != nil {
			b.Fatal(err)
		}
	}
}
