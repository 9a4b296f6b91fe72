package resolvetest

import (
	"context"
	"sync"

	"github.com/stagepost/stagepost/core/resolve"
)

// Turning is a Resolver that answers a question for the first time from one, and from then on from another, as a DNS does that wants the
// address that is judged to be another than the one that is connected to.
type Turning struct {
	First, Then resolve.Resolver

	mu   sync.Mutex
	seen map[string]bool
}

var _ resolve.Resolver = (*Turning)(nil)

// Lookup implements resolve.Resolver.
func (r *Turning) Lookup(ctx context.Context, name string, t resolve.Type) (resolve.Answer, error) {
	key := t.String() + " " + name
	r.mu.Lock()
	if r.seen == nil {
		r.seen = map[string]bool{}
	}
	again := r.seen[key]
	r.seen[key] = true
	r.mu.Unlock()
	if again {
		return r.Then.Lookup(ctx, name, t)
	}
	return r.First.Lookup(ctx, name, t)
}
