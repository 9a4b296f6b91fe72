package admin

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/queue"
	"github.com/stagepost/stagepost/core/store"
)

// What a shape can be by. By domain, next hop and site recipients are counted, by sender and tenant messages.
const (
	ShapeDomain  = queue.ByDomain
	ShapeNextHop = queue.ByNextHop
	ShapeSite    = queue.BySite
	ShapeSender  = queue.BySender
	ShapeTenant  = queue.ByTenant
)

// Shapes lists them.
func Shapes() []string {
	return []string{ShapeDomain, ShapeNextHop, ShapeSite, ShapeSender, ShapeTenant}
}

// ShapeAges are the upper bounds of the ages that a shape tells apart, in minutes; one more has what is older.
func ShapeAges() []int { return []int{5, 10, 20, 40, 80, 160, 320, 640, 1280} }

const (
	maxShape    = 20_000 // names that are told apart
	otherShapes = "(others)"
)

// Shape is one line of the shape of the queue: how much of a name there is, in all and of each age. The first has no name and is the
// sum.
type Shape struct {
	Name  string  `json:"name"`
	Total int64   `json:"total"`
	Ages  []int64 `json:"ages"` // since arrival, as ShapeAges has them
}

func (s *Shape) add(age int) {
	s.Total++
	s.Ages[age]++
}

// shape counts the queue by name and age.
func (h *handler) shape(w http.ResponseWriter, req *http.Request) error {
	q, err := url.ParseQuery(req.URL.RawQuery)
	if err != nil {
		return &Error{http.StatusBadRequest, "the query cannot be read: " + err.Error(), ""}
	}
	by := cmp.Or(q.Get("by"), ShapeDomain)
	delete(q, "by")
	if !slices.Contains(Shapes(), by) {
		return &Error{http.StatusBadRequest, fmt.Sprintf("by: %q is none of domain, next-hop, site, sender, tenant", shown(by)), ""}
	}
	s, err := selector(q)
	if err != nil {
		return err
	}
	now := h.Now()
	s.SiteOf = h.sites(req.Context())
	names := map[string]*Shape{}
	sum := &Shape{Ages: make([]int64, len(ShapeAges())+1)}
	err = choose(req.Context(), h, s, func(_ int, c queue.Choice) error {
		if c.Envelope == nil {
			return nil
		}
		age := ageOf(now.Sub(c.Envelope.Arrived))
		for name := range shapeNames(by, &c, s.SiteOf) {
			if len(names) >= maxShape && names[name] == nil {
				name = otherShapes
			}
			if names[name] == nil {
				names[name] = &Shape{Name: name, Ages: make([]int64, len(sum.Ages))}
			}
			names[name].add(age)
			sum.add(age)
		}
		return nil
	})
	if err != nil {
		return err
	}
	all := make([]*Shape, 0, len(names))
	for _, s := range names {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *Shape) int { return cmp.Or(cmp.Compare(b.Total, a.Total), cmp.Compare(a.Name, b.Name)) })
	out := lines{w: w}
	for _, s := range append([]*Shape{sum}, all...) {
		if err := out.line(s); err != nil {
			return out.end(err)
		}
	}
	return out.end(nil)
}

// shapeNames yields what a message counts for: a name for each recipient that is left, or one for all.
func shapeNames(by string, c *queue.Choice, siteOf func(store.Lane) string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		switch by {
		case ShapeTenant:
			yield(c.Envelope.Tenant)
			return
		case ShapeSender:
			yield(cmp.Or(c.Envelope.Sender.Domain, "<>"))
			return
		}
		for _, i := range c.Rcpts {
			name := c.Envelope.Rcpts[i].Address.Domain
			switch by {
			case ShapeNextHop:
				name = nextHop(&c.State.Rcpts[i])
			case ShapeSite:
				name = siteOf(nextHop(&c.State.Rcpts[i]))
			}
			if !yield(name) {
				return
			}
		}
	}
}

// nextHop is where a recipient waits; "" before it was routed.
func nextHop(r *store.RcptState) string {
	if r.Result == message.Delivered { // and its sender is still to be told
		return ""
	}
	return r.Lane
}

func ageOf(age time.Duration) int {
	ages := ShapeAges()
	for i, most := range ages {
		if age < time.Duration(most)*time.Minute {
			return i
		}
	}
	return len(ages)
}
