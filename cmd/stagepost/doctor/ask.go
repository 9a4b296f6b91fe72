package doctor

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/stagepost/stagepost/core/resolve"
)

// asker is a Resolver with a deadline for each question and a bound on how many there are.
type asker struct {
	resolve.Resolver
	asked atomic.Int64
}

func bounded(r resolve.Resolver) resolve.Resolver { return &asker{Resolver: r} }

// Lookup implements resolve.Resolver.
func (a *asker) Lookup(ctx context.Context, name string, t resolve.Type) (resolve.Answer, error) {
	if a.asked.Add(1) > maxQuestions {
		return resolve.Answer{}, &resolve.Error{Kind: resolve.Temporary, Name: name, Type: t, Err: fmt.Errorf("it was not asked: %d questions are enough", maxQuestions)}
	}
	ctx, cancel := context.WithTimeout(ctx, questionTime)
	defer cancel()
	return a.Resolver.Lookup(ctx, name, t)
}

// validates tells whether the resolver vouches for what DNSSEC secures: it has to for the root, which is signed.
func validates(ctx context.Context, r resolve.Resolver) bool {
	a, err := r.Lookup(ctx, ".", resolve.TypeSOA)
	return err == nil && a.Authenticated
}

// unknown is the finding that a question had no answer.
func unknown(s Subject, about string, err error) Finding {
	return Finding{Subject: s, Level: Unknown, About: about, Text: "it could not be found out: " + cause(err)}
}

// cause is why a question had no answer, without what is said beside it already.
func cause(err error) string {
	if e := (*resolve.Error)(nil); errors.As(err, &e) && e.Err != nil {
		return fmt.Sprintf("%s %s: %v", e.Type, e.Name, e.Err)
	}
	return err.Error()
}
