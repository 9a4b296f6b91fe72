package dkim

import (
	"context"

	"github.com/stagepost/stagepost/core/resolve"
)

// maxKeys is how many records of one selector are looked at. There should be one; of several it is not said which counts (RFC 6376
// section 3.6.2.2), so each is tried.
const maxKeys = 3

// Fetched is one record of a selector.
type Fetched struct {
	Text string
	Key  *Key
	Err  error // why it cannot be used
}

// Fetch asks for the key of a domain and selector. All records that there are, of which the first few are looked at, are returned; without
// one that can be used, an *Error: TempError where the DNS cannot tell, else PermError.
func Fetch(ctx context.Context, r resolve.Resolver, domain, selector string) ([]Fetched, error) {
	name := KeyName(domain, selector)
	texts, err := resolve.LookupTXT(ctx, r, name)
	if err != nil {
		return nil, &Error{Result: TempError, Reason: "the key cannot be fetched now", Err: err}
	}
	if len(texts) == 0 {
		return nil, faulty("there is no key at %s", name)
	}
	var first error
	good := false
	out := make([]Fetched, 0, min(len(texts), maxKeys))
	for _, text := range texts[:min(len(texts), maxKeys)] {
		f := Fetched{Text: text}
		f.Key, f.Err = ParseKey(text)
		if good = good || f.Err == nil; f.Err != nil && first == nil {
			first = f.Err
		}
		out = append(out, f)
	}
	if !good {
		return out, &Error{Result: PermError, Reason: "the key at " + name + " cannot be used", Err: first}
	}
	return out, nil
}
