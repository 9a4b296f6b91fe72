// Package metrics shows in Prometheus' form what the parts of a server count.
//
// The parts know nothing of it: they hold atomic counters and histograms (observe.Counters, observe.Histogram) and answer what
// they know already, such as how many sessions are open. A Family declares one metric: name, kind, meaning, labels, and the
// function that reads its samples when somebody asks. So counting costs an atomic addition and no label is looked up on a
// message's way. The collector, the manual page (Document) and the tests walk the same declarations.
//
// What a label may hold is part of its declaration: fixed words, or names that the operator gave (listeners, plugins) or a plugin
// (its counters, at most a hundred). Nothing that a client sends ever becomes one by the server's doing, and a family has at most
// maxSamples samples whatever happens.
//
// Each server has a registry of its own; nothing is registered with the library's global one.
package metrics

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/stagepost/stagepost/core/observe"
)

// Kind is what a metric's value does.
type Kind string

// The kinds.
const (
	Counter   Kind = "counter"   // grows only
	Gauge     Kind = "gauge"     // goes up and down
	Histogram Kind = "histogram" // values by size
)

// Family declares one metric.
type Family struct {
	Name   string
	Kind   Kind
	Help   string // one sentence
	Labels []Label
	Read   func(*Samples) // adds all samples there are now
}

// Label tells samples of a family apart.
type Label struct {
	Name   string
	Values []string // all it may hold; nil: see Of
	Of     string   // in words, where the values are names that the operator gave: "names of listeners"
}

// Bounds.
const (
	maxSamples  = 10_000 // of one family
	other       = "other"
	maxScrapes  = 4 // at once
	scrapeGrace = 10 * time.Second
)

// Samples collects the samples of one family.
type Samples struct {
	family *Family
	desc   *prometheus.Desc
	out    chan<- prometheus.Metric
	left   int
}

// Add adds a counter's or a gauge's value, with a value for each label.
func (s *Samples) Add(v float64, labels ...string) {
	kind := prometheus.CounterValue
	if s.family.Kind == Gauge {
		kind = prometheus.GaugeValue
	}
	s.send(func(labels []string) (prometheus.Metric, error) {
		return prometheus.NewConstMetric(s.desc, kind, v, labels...)
	}, labels)
}

// Flag adds a gauge that is 1 or 0.
func (s *Samples) Flag(on bool, labels ...string) {
	v := 0.0
	if on {
		v = 1
	}
	s.Add(v, labels...)
}

// Counters adds one value for each name; the name is the last label.
func (s *Samples) Counters(c *observe.Counters, labels ...string) {
	for i, name := range c.Names() {
		s.Add(float64(c.Get(i)), append(slices.Clone(labels), name)...)
	}
}

// Histogram adds a histogram, with a value for each label.
func (s *Samples) Histogram(h *observe.Histogram, labels ...string) {
	v := h.Show()
	s.send(func(labels []string) (prometheus.Metric, error) {
		return prometheus.NewConstHistogram(s.desc, v.Count, v.Sum, v.Buckets, labels...)
	}, labels)
}

func (s *Samples) send(make func([]string) (prometheus.Metric, error), labels []string) {
	if s.left--; s.left < 0 {
		return
	}
	for i, l := range s.family.Labels {
		if i < len(labels) && l.Values != nil && !slices.Contains(l.Values, labels[i]) {
			labels = slices.Clone(labels)
			labels[i] = other
		}
	}
	m, err := make(labels)
	if err != nil {
		m = prometheus.NewInvalidMetric(s.desc, err)
	}
	s.out <- m
}

// collector reads all families at each scrape.
type collector struct {
	families []Family
	descs    []*prometheus.Desc
}

func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

func (c *collector) Collect(out chan<- prometheus.Metric) {
	for i := range c.families {
		f := &c.families[i]
		f.Read(&Samples{f, c.descs[i], out, maxSamples})
	}
}

// NewRegistry makes a registry of the families, of the process and of the Go runtime.
func NewRegistry(families []Family) (*prometheus.Registry, error) {
	c := &collector{families: families}
	for _, f := range families {
		var labels []string
		for _, l := range f.Labels {
			labels = append(labels, l.Name)
		}
		c.descs = append(c.descs, prometheus.NewDesc(f.Name, f.Help, labels, nil))
	}
	r := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return r, nil
}

// Handler answers scrapes. A family that cannot be read is left out and logged.
func Handler(r *prometheus.Registry, log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelError),
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes,
		Timeout:             scrapeGrace,
	})
}

// Document describes the families in Markdown.
func Document(families []Family) string {
	var b strings.Builder
	for _, f := range families {
		fmt.Fprintf(&b, "- `%s`, %s: %s\n", f.Name, f.Kind, f.Help)
		for _, l := range f.Labels {
			what := l.Of
			if l.Values != nil {
				what = "`" + strings.Join(l.Values, "`, `") + "`"
			}
			fmt.Fprintf(&b, "  - `%s`: %s\n", l.Name, what)
		}
	}
	return b.String()
}
