package transcript

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/queue"
)

// What the plugin does about mail by shape, and what it is told of the way that mail went.

type (
	givenSite   struct{ site, source string }
	wantMeasure struct{ words *pattern }
)

// shaped keeps the measures of a run.
type shaped struct {
	mu   sync.Mutex
	list []queue.Measure // since the latest attempt
	all  map[string]bool // that were taken, in words
}

func (s *shaped) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list, s.all = nil, map[string]bool{}
}

// Measure implements service.Shaper.
func (s *shaped) Measure(m queue.Measure) (fresh bool, err error) {
	if err := m.Check(); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, m)
	fresh = !s.all[m.String()]
	s.all[m.String()] = true
	return fresh, nil
}

// KeepMeasures implements service.Shaper.
func (s *shaped) KeepMeasures([]string) {}

// attempted begins to look for measures anew.
func (s *shaped) attempted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = nil
}

func measureLines() []Line {
	return []Line{
		{"given site", "given site NAME [source=NAME]", "The site that mail goes to, which plugins are told in the stages of outcomes: its exchangers with commas between them. The first one is who replies. Without it a site is called as the domain, or the first host, of the plan. The source is what mail is sent from where no plan says so.", func(p *parser, rest string) action {
			list := strings.Fields(rest)
			if len(list) == 1 {
				return &givenSite{site: list[0]}
			}
			if len(list) == 2 {
				if name, ok := strings.CutPrefix(list[1], "source="); ok && message.ValidName(name) {
					return &givenSite{list[0], name}
				}
			}
			p.fail("write given site NAME [source=NAME], as given site mx1.example.org,mx2.example.org source=pool")
			return nil
		}},
		{"want measure", "want measure PATTERN | none", "What the plugin did by shape at the latest attempt: `site mx.example.org from pool: slowed to rate 10 in 1m0s, concurrency 1, for 1h0m0s (RULE: REASON)`, and so `suspended` and `sent from SOURCE`, `sent to HOP`.", func(p *parser, rest string) action {
			if rest == "none" {
				return &wantMeasure{}
			}
			words := newPattern(unquote(rest))
			return &wantMeasure{&words}
		}},
	}
}

func (g *givenSite) do(r *run) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.site, r.source = g.site, g.source
	return nil
}

func (w *wantMeasure) do(r *run) error {
	r.shaped.mu.Lock()
	var got []string
	for _, m := range r.shaped.list {
		why := strings.Trim(m.Rule+": "+m.Reason, ": ")
		got = append(got, fmt.Sprintf("%s, for %v (%s)", m.String(), m.Until.Sub(m.Since), why))
	}
	r.shaped.mu.Unlock()
	switch {
	case w.words == nil && len(got) == 0, w.words != nil && slices.ContainsFunc(got, w.words.match):
		return nil
	case w.words == nil:
		return wanted("no measure", strings.Join(got, "\n"))
	case len(got) == 0:
		got = []string{"no measure"}
	}
	return wanted("the measure "+w.words.text, strings.Join(got, "\n"))
}

// way is by which way the mail of a plan went.
func (r *run) way(p *message.Plan) (w message.Way) {
	if p == nil {
		return w
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	w = message.Way{Hop: p.Hop(), Source: p.Source, Site: p.Site}
	if w.Source == "" {
		w.Source = r.source
	}
	if w.Site == "" {
		w.Site = r.site
	}
	if w.Site == "" {
		_, w.Site, _ = strings.Cut(w.Hop, ":")
	}
	return w
}

// replier is who says what the next hop answers.
func (r *run) replier() string {
	if r.site == "" {
		return "the next hop"
	}
	first, _, _ := strings.Cut(r.site, ",")
	return first + "[192.0.2.25]:25"
}
