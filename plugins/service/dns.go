package service

import (
	"context"
	"errors"
	"fmt"

	"github.com/stagepost/stagepost/core/resolve"
)

// Bounds of DNS questions.
const (
	maxLookups     = 100 // in one call of dns.get
	maxCallLookups = 200 // in one hook call
	lookupsAtOnce  = 32
	lookupSteps    = 200
)

func dnsService() Service {
	return Service{Name: "dns", Doc: "Asks the DNS. A name that does not exist, or has no such records, gives an empty list; when the DNS cannot tell, that is an error. " +
		"A hook may ask 200 questions in one call.",
		Funcs: []Func{{
			Name: "dns.get", Args: []Arg{{Name: "name", Kind: String | List}, {Name: "type", Kind: String, Optional: true}},
			Form: "dns.get(name, type) or dns.get{{name, type}, ...}", Result: "any[]", Needs: "dns",
			Doc: `The records of a type: A, AAAA, PTR, NS, CNAME and TXT as strings, MX as {preference, host}, SRV as {priority, weight, port, target}, others as tables likewise. ` +
				`With a list of at most 100 questions all are asked at once: a list with one list of records for each, in which a question that failed has a table with its error in .error.`,
			Call: func(c *Context, args []any) (any, error) {
				if list, ok := args[0].([]any); ok {
					if args[1] != nil {
						return nil, errors.New("a list of questions is the only argument")
					}
					return c.lookupAll(list)
				}
				if args[1] == nil {
					return nil, errors.New(`type is missing; write dns.get(name, "A")`)
				}
				return c.lookup(args[0].(string), args[1].(string))
			},
		}},
	}
}

type question struct{ name, kind string }

// ask charges a number of questions and gives the context that bounds them.
func (c *Context) ask(n int) (context.Context, error) {
	if c.host.Resolver == nil {
		return nil, errors.New("there is no resolver")
	}
	if c.lookups+n > maxCallLookups {
		return nil, fmt.Errorf("more than %d questions in one hook call", maxCallLookups)
	}
	c.lookups += n
	if err := c.spend(n*lookupSteps, n*512); err != nil {
		return nil, err
	}
	return c.call.Context(), nil
}

func (c *Context) lookup(name, kind string) (any, error) {
	ctx, err := c.ask(1)
	if err != nil {
		return nil, err
	}
	a := lookups(ctx, c.host.Resolver, []question{{name, kind}})[0]
	if a.err != nil {
		return nil, a.err
	}
	return a.values, nil
}

func (c *Context) lookupAll(list []any) (any, error) {
	if len(list) > maxLookups {
		return nil, fmt.Errorf("%d questions are too many; the most is %d", len(list), maxLookups)
	}
	questions := make([]question, len(list))
	for i, e := range list {
		pair, _ := e.([]any)
		if len(pair) == 2 {
			questions[i].name, _ = pair[0].(string)
			questions[i].kind, _ = pair[1].(string)
		}
		if questions[i].name == "" || questions[i].kind == "" {
			return nil, fmt.Errorf(`question %d is not a pair of name and type, as {"example.org", "A"}`, i+1)
		}
		if _, err := resolve.ParseType(questions[i].kind); err != nil {
			return nil, fmt.Errorf("question %d: %w", i+1, err)
		}
	}
	ctx, err := c.ask(len(list))
	if err != nil {
		return nil, err
	}
	out := make([]any, len(questions))
	for i, a := range lookups(ctx, c.host.Resolver, questions) {
		if a.err != nil {
			out[i] = map[string]any{"error": a.err.Error()}
		} else {
			out[i] = a.values
		}
	}
	return out, nil
}

type answer struct {
	index  int
	values []any
	err    error
}

// lookups asks the questions, some at once, and gives the answers in their order, at the latest when ctx ends: a resolver that
// does not heed ctx is left alone with its goroutine.
func lookups(ctx context.Context, r resolve.Resolver, questions []question) []answer {
	next := make(chan int, len(questions))
	out := make([]answer, len(questions))
	for i, q := range questions {
		out[i].err = fmt.Errorf("%s %s: %w", q.name, q.kind, errTime)
		next <- i
	}
	close(next)
	answers := make(chan answer, len(questions)) // so that nobody waits to write
	for range min(len(questions), lookupsAtOnce) {
		go func() {
			for i := range next {
				answers <- lookupOne(ctx, r, i, questions[i])
			}
		}()
	}
	for range questions {
		select {
		case a := <-answers:
			out[a.index] = a
		case <-ctx.Done():
			return out
		}
	}
	return out
}

var errTime = errors.New("no answer in time")

func lookupOne(ctx context.Context, r resolve.Resolver, i int, q question) (a answer) {
	a.index = i
	if ctx.Err() != nil { // what is not asked yet is not asked any more
		a.err = fmt.Errorf("%s %s: %w", q.name, q.kind, errTime)
		return a
	}
	defer func() {
		if p := recover(); p != nil {
			a.values, a.err = nil, fmt.Errorf("%s %s: the resolver failed: %v", q.name, q.kind, p)
		}
	}()
	values, err := resolve.Values(ctx, r, q.name, q.kind)
	if err != nil {
		a.err = err
		return a
	}
	for i := range values {
		values[i] = fact(values[i])
	}
	a.values = values
	return a
}

// fact gives a record's plain value in the types of facts.
func fact(v any) any {
	switch v := v.(type) {
	case int:
		return int64(v)
	case map[string]any:
		for k := range v {
			v[k] = fact(v[k])
		}
	}
	return v
}
