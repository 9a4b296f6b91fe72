package store

import (
	"context"
	"iter"
	"time"
)

// Alone yields the one lease of an engine that shares its data with nobody: shard 0, never lost. It returns when ctx ends.
func Alone(ctx context.Context) iter.Seq2[Lease, error] {
	return func(yield func(Lease, error) bool) {
		if yield(endless{}, nil) {
			<-ctx.Done()
		}
	}
}

type endless struct{}

func (endless) Shard() Shard             { return 0 }
func (endless) Valid(time.Duration) bool { return true }
func (endless) Lost() <-chan struct{}    { return nil }
