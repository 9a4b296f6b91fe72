package arc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/plugins/mailauth/dkim"
)

// Status is the Chain Validation Status (RFC 8617 section 4.4).
type Status string

// The three of them, as the tag cv has them.
const (
	None Status = "none"
	Pass Status = "pass"
	Fail Status = "fail"
)

// Result is what the validation of a chain comes to.
type Result struct {
	Status    Status
	Reason    string // why it is Fail
	Temporary bool   // it is Fail because the DNS could not tell; a later try may come to something else
	Instance  int    // the highest
	// OldestPass is the instance of the oldest message signature that still holds, or 0 if all do; of a Pass only.
	OldestPass int
	Sets       []Set // from the oldest, where the chain has a sound structure
}

// Set is what a sealer says.
type Set struct {
	Instance  int
	Domain    string // that sealed, in lower case
	Selector  string
	Algorithm string
	Signer    string // the domain of the message signature
	CV        Status
	Results   string // the authentication results, without the instance: text of the sealer's own
}

// Verifier validates chains. It is safe for concurrent use.
type Verifier struct {
	Resolver resolve.Resolver
	Now      func() time.Time // nil: time.Now
	Time     time.Duration    // for one chain; 0: 20 s
}

// defaultTime is more than DKIM has: a chain may have 100 keys.
const defaultTime = 20 * time.Second

// validation is one of them.
type validation struct {
	resolver resolve.Resolver
	now      time.Time
	chain    *chain
	fields   []message.Field // all of the header
	keys     map[string]answer
	hashes   hashes
}

// failure says why a chain does not hold.
type failure struct {
	why       string
	temporary bool
}

func (f *failure) Error() string { return f.why }

func failed(format string, args ...any) *failure {
	return &failure{why: fmt.Sprintf(format, args...)}
}

// in says of what it is.
func (f *failure) in(format string, args ...any) error {
	return &failure{fmt.Sprintf(format, args...) + f.why, f.temporary}
}

// Verify validates the chain of a message (RFC 8617 section 5.2), whose header is h. The error is that the content cannot be read.
func (v *Verifier) Verify(ctx context.Context, h *message.Header, content message.Content) (*Result, error) {
	c := collect(h)
	if c.none() {
		return &Result{Status: None}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(v.Time, defaultTime))
	defer cancel()
	now := time.Now
	if v.Now != nil {
		now = v.Now
	}
	run := &validation{resolver: v.Resolver, now: now(), chain: c, fields: h.Fields(""), keys: map[string]answer{}}
	r := &Result{Instance: c.highest}
	seals, signatures, err := run.structure(r)
	if err == nil && h.Malformed() {
		err = failed("the header has a line that is no field, so readers do not agree on what belongs to it")
	}
	if err == nil {
		err = run.bodies(ctx, h, content, signatures)
	}
	if err == nil {
		err = run.cryptography(ctx, seals, signatures, r)
	}
	if f := (*failure)(nil); errors.As(err, &f) {
		r.Status, r.Reason, r.Temporary, r.OldestPass = Fail, f.why, f.temporary, 0
		return r, nil
	} else if err != nil {
		return nil, err
	}
	r.Status = Pass
	return r, nil
}

// structure is the second step of section 5.2 and the third: what can be told without a key. Message signatures that are not the newest and
// cannot be read are nil; seals and signatures have the places of their instances.
func (v *validation) structure(r *Result) ([]*seal, []*signature, error) {
	c := v.chain
	if newest := c.newest(); newest != nil {
		if s, err := parseSeal(newest); err == nil && s.cv == Fail {
			return nil, nil, failed("it was sealed as failed by %s", s.Domain)
		}
	}
	if why := c.sound(); why != "" {
		return nil, nil, failed("%s", why)
	}
	seals, signatures, sets := make([]*seal, c.highest+1), make([]*signature, c.highest+1), make([]Set, c.highest)
	for i := 1; i <= c.highest; i++ {
		s, err := parseSeal(c.sets[i].seal)
		if err != nil {
			return nil, nil, failed("the seal %d: %v", i, err)
		}
		want := Pass
		if i == 1 {
			want = None
		}
		if s.cv != want {
			return nil, nil, failed("the seal %d says cv=%s; it must be %s", i, s.cv, want)
		}
		set := Set{Instance: i, Domain: s.Domain, Selector: s.Selector, Algorithm: string(s.Algorithm), CV: s.cv, Results: c.sets[i].assessment}
		m, err := parseSignature(c.sets[i].signature)
		switch {
		case err == nil:
			set.Signer = m.Domain
		case i == c.highest:
			return nil, nil, failed("the message signature %d: %v", i, err)
		}
		seals[i], signatures[i], sets[i-1] = s, m, set
	}
	r.Sets = sets
	return seals, signatures, nil
}

// bodies hashes the body as the signatures want it, in one pass.
func (v *validation) bodies(ctx context.Context, h *message.Header, content message.Content, signatures []*signature) (err error) {
	var forms []dkim.Canon
	for _, s := range signatures {
		if s != nil {
			forms = append(forms, s.Body)
		}
	}
	v.hashes, err = hashBody(ctx, h, content, forms...)
	return err
}

// cryptography is steps 4 to 6.
func (v *validation) cryptography(ctx context.Context, seals []*seal, signatures []*signature, r *Result) error {
	newest := v.chain.highest
	if err := v.signature(ctx, signatures[newest]); err != nil {
		return err.in("the message signature %d: ", newest)
	}
	for i := newest - 1; i >= 1; i-- {
		if v.signature(ctx, signatures[i]) != nil {
			r.OldestPass = i + 1
			break
		}
	}
	for i := newest; i >= 1; i-- {
		if err := v.seal(ctx, seals[i]); err != nil {
			return err.in("the seal %d: ", i)
		}
	}
	return nil
}
