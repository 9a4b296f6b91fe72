package admin

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/queue"
	"github.com/stagepost/stagepost/core/store"
)

const maxExplained = 20 // sites that one answer tells of

// Explained is why mail goes, or waits: what is asked for is a message, with the sites its recipients wait for, or a site.
type Explained struct {
	Message *Message `json:"message,omitempty"`
	Sites   []Site   `json:"sites"`
}

// Site is what is known of a site; queue.SiteView has the words.
type Site struct {
	Site       string             `json:"site"`
	Source     string             `json:"source,omitempty"`
	Lanes      []string           `json:"lanes"` // next hops with work in memory that lead there
	Exchangers []string           `json:"exchangers"`
	Named      []string           `json:"named"` // which plugins named the site or the source
	Limits     []Limit            `json:"limits"`
	Attempts   int                `json:"attempts"` // now
	Allowed    int                `json:"allowed"`  // that may run at once, now
	Waiting    map[string]int     `json:"waiting"`  // in memory, by tenant
	Next       time.Time          `json:"next,omitzero"`
	Closed     time.Time          `json:"closed_until,omitzero"`
	Shut       string             `json:"closed_why,omitempty"`
	Asleep     time.Time          `json:"asleep_until,omitzero"`
	Probing    bool               `json:"probing"`
	Failures   int                `json:"failures"`
	Why        string             `json:"why,omitempty"`
	Suspended  []queue.Suspension `json:"suspended"`
	Measures   []queue.Measure    `json:"measures"` // of plugins, about the site, its next hops, and tenants
}

// Limit is one limit in force.
type Limit struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	By    string `json:"by"` // a place in a file, or "default"
}

func siteOf(v *queue.SiteView) Site {
	s := Site{Site: v.Site, Source: v.Source, Lanes: list(v.Lanes), Exchangers: list(v.Exchangers), Named: list(v.Named), Limits: []Limit{}, Attempts: v.Attempts, Allowed: v.Allowed,
		Waiting: v.Waiting, Next: v.Next, Closed: v.Closed, Shut: v.Shut, Asleep: v.Asleep, Probing: v.Probing, Failures: v.Failures, Why: v.Why, Suspended: list(v.Suspended), Measures: list(v.Measures)}
	if s.Waiting == nil {
		s.Waiting = map[string]int{}
	}
	for _, l := range v.Limits {
		s.Limits = append(s.Limits, Limit{l.Name, l.Value, l.By})
	}
	return s
}

// explain tells of a message, a site, a domain or a next hop.
func (h *handler) explain(w http.ResponseWriter, req *http.Request) error {
	name := req.URL.Query().Get("name")
	if name == "" || len(name) > store.MaxLane {
		return &Error{http.StatusBadRequest, "name: that of a site, a domain, a next hop or a message is needed", ""}
	}
	e := Explained{Sites: []Site{}}
	names := []string{name}
	if id, err := message.ParseID(name); err == nil {
		env, state, err := h.Store.Load(req.Context(), id)
		if errors.Is(err, store.ErrNotFound) {
			return notInQueue(id)
		}
		if err != nil {
			return err
		}
		m := h.viewer().message(store.Item{Envelope: env, State: state})
		e.Message, names = &m, hopsOf(state)
	}
	for _, name := range names {
		if err := h.addSites(req.Context(), &e, name); err != nil {
			if e.Message == nil {
				return &Error{http.StatusNotFound, err.Error(), "a site, a domain, a next hop as stagepost queue list --json shows it, or the id of a message can be explained"}
			}
			break // the message is explained all the same
		}
	}
	return send(w, &e)
}

// hopsOf lists where the recipients of a message wait.
func hopsOf(state *store.State) (hops []string) {
	for i := range state.Rcpts {
		r := &state.Rcpts[i]
		if hop, _, _ := message.SplitLane(r.Lane); r.Open() && hop != "" && !slices.Contains(hops, hop) && len(hops) < maxExplained {
			hops = append(hops, hop)
		}
	}
	return hops
}

func (h *handler) addSites(ctx context.Context, e *Explained, name string) error {
	views, err := h.Hands.Explain(ctx, name)
	if err != nil {
		return err
	}
	for i := range views {
		known := slices.ContainsFunc(e.Sites, func(s Site) bool { return s.Site == views[i].Site && s.Source == views[i].Source })
		if !known && len(e.Sites) < maxExplained {
			e.Sites = append(e.Sites, siteOf(&views[i]))
		}
	}
	return nil
}
