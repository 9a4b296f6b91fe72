// Package resolvetest is a Resolver for tests: a zone in memory, no sockets. Answers are packed and go through resolve.Decode, so
// tests see what they would see of a server with the same zone.
package resolvetest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/resolve/dnszone"
)

// Resolver answers from a zone that the test may change.
type Resolver struct {
	tb testing.TB

	mu    sync.Mutex
	names map[string][]string
	zone  *dnszone.Zone
	asked []string
}

var _ resolve.Resolver = (*Resolver)(nil)

// New makes a Resolver of names and their records, as package dnszone describes them. A mistake in them fails the test.
func New(tb testing.TB, names map[string][]string) *Resolver {
	tb.Helper()
	r := &Resolver{tb: tb, names: maps.Clone(names)}
	if r.names == nil {
		r.names = make(map[string][]string)
	}
	r.parse()
	return r
}

// Set replaces the records of one name; with none, the name no longer exists.
func (r *Resolver) Set(name string, records ...string) {
	r.tb.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names[name] = records
	if len(records) == 0 {
		delete(r.names, name)
	}
	r.parse()
}

func (r *Resolver) parse() {
	r.tb.Helper()
	zone, err := dnszone.Parse(r.names)
	if err != nil {
		r.tb.Fatal(err)
	}
	r.zone = zone
}

// Asked returns the questions so far, such as "MX example.org".
func (r *Resolver) Asked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.asked)
}

// Lookup implements resolve.Resolver. Silence is a time-out at once.
func (r *Resolver) Lookup(ctx context.Context, name string, t resolve.Type) (resolve.Answer, error) {
	r.mu.Lock()
	r.asked = append(r.asked, t.String()+" "+name)
	zone := r.zone
	r.mu.Unlock()

	return resolve.Offline(zone.Answer).Lookup(ctx, name, t)
}
