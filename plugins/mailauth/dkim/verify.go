package dkim

import (
	"cmp"
	"context"
	"crypto/sha256"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/resolve"
)

// Bounds of a message's signatures.
const (
	DefaultSignatures = 10 // that are tried
	maxParsed         = 100
	maxHeaderBytes    = 1 << 20 // hashed for all signatures of a message
	defaultTime       = 10 * time.Second
	skew              = 5 * time.Minute // by which clocks may differ
	startOfB          = 8               // characters (RFC 6008 section 3)
)

// Verifier verifies the signatures of messages.
type Verifier struct {
	Resolver   resolve.Resolver
	Now        func() time.Time // nil: time.Now
	Signatures int              // that are tried of one message; 0: DefaultSignatures
	Time       time.Duration    // for one message; 0: 10 s
	// Length tells that a signature may leave a part of the body out by l=. Whoever adds to such a message can make of it what he wants, so
	// otherwise it fails.
	Length bool
}

// Checked is what came of one signature.
type Checked struct {
	Result    Result
	Reason    string // why it is no pass
	Domain    string // d=; like those that follow, empty where it could not be read
	Selector  string
	Identity  string
	Algorithm Algorithm
	B         string // the first characters of b=, by which RFC 6008 tells signatures apart
	KeyBits   int    // 0: there was no key
	Testing   bool   // the domain only tries (t=y): a signature that is no pass is as none
}

// Report is what came of a message: of the signatures that were tried, those first that are aligned with its author.
type Report struct {
	Checked []Checked
	Untried int // signatures beyond the bounds
}

// Result is the best that a signature came to; those of domains that only try count when they pass.
func (r *Report) Result() Result {
	for _, want := range []Result{Pass, TempError, Fail, PermError} {
		if slices.ContainsFunc(r.Checked, func(c Checked) bool { return c.Result == want && (want == Pass || !c.Testing) }) {
			return want
		}
	}
	return None
}

// attempt is one signature on its way to a result.
type attempt struct {
	place int // of its field
	sig   *Signature
	err   error
	b     string
	keys  *fetching
	body  *bodyHash
	key   *Key
}

// Verify verifies the signatures of a message with that header, as it came in, and body. Those are tried first whose domain is that of
// an author (from, in lower case), above or below it. It fails only when the body cannot be read.
func (v *Verifier) Verify(ctx context.Context, h *message.Header, body io.Reader, from []string) (*Report, error) {
	report := &Report{}
	fields := h.Fields("")
	var tries []*attempt
	for i := range fields {
		if !strings.EqualFold(fields[i].Name, Field) {
			continue
		}
		if len(tries) == maxParsed {
			report.Untried++
			continue
		}
		tries = append(tries, parse(fields, i))
	}
	if len(tries) == 0 {
		return report, nil
	}
	slices.SortStableFunc(tries, func(a, b *attempt) int { return cmp.Compare(a.rank(from), b.rank(from)) })
	if most := cmp.Or(v.Signatures, DefaultSignatures); len(tries) > most {
		report.Untried += len(tries) - most
		tries = tries[:most]
	}

	ctx, cancel := context.WithTimeout(ctx, cmp.Or(v.Time, defaultTime))
	defer cancel()
	now := time.Now
	if v.Now != nil {
		now = v.Now
	}
	at := now()
	fetches := map[string]*fetching{}
	var bodies bodyHashes
	for _, t := range tries {
		if t.err == nil && h.Malformed() {
			t.err = faulty("the header has a line that is no field, so readers do not agree on what belongs to it")
		}
		if t.err == nil {
			t.err = v.timely(t.sig, at)
		}
		if t.err != nil {
			continue
		}
		name := KeyName(t.sig.Domain, t.sig.Selector)
		if fetches[name] == nil {
			fetches[name] = v.fetch(ctx, t.sig)
		}
		t.keys = fetches[name]
		t.body = bodies.hash(t.sig.Body, t.sig.Length)
	}
	if err := bodies.read(ctx, body); err != nil {
		return nil, err
	}
	left := maxHeaderBytes
	for _, t := range tries {
		if t.err == nil {
			t.err = t.verify(ctx, fields, &left)
		}
		report.Checked = append(report.Checked, t.checked())
	}
	return report, nil
}

func parse(fields []message.Field, i int) *attempt {
	t := &attempt{place: i}
	t.sig, t.err = ParseSignature(fields[i].Value)
	if tags, err := ParseTags(fields[i].Value); err == nil {
		b, _ := tags.Get("b")
		b = noSpace(b)
		t.b = b[:min(len(b), startOfB)]
	}
	return t
}

// rank is the lower the sooner a signature is tried.
func (t *attempt) rank(from []string) int {
	d := t.sig.Domain
	switch {
	case d == "":
		return 3
	case slices.Contains(from, d):
		return 0
	case slices.ContainsFunc(from, func(f string) bool { return strings.HasSuffix(f, "."+d) || strings.HasSuffix(d, "."+f) }):
		return 1
	}
	return 2
}

// timely judges what needs neither key nor body.
func (v *Verifier) timely(s *Signature, now time.Time) error {
	switch {
	case !s.Expires.IsZero() && now.After(s.Expires.Add(skew)):
		return failed("the signature expired at %s", s.Expires.Format(time.RFC3339))
	case s.Signed.After(now.Add(skew)):
		return failed("the signature is of the future: %s", s.Signed.Format(time.RFC3339))
	case s.Length >= 0 && !v.Length:
		return failed("l= leaves the end of the body to everybody")
	}
	return nil
}

// fetching is a key that is asked for beside the hashing of the body.
type fetching struct {
	done chan struct{}
	keys []Fetched
	err  error
}

// fetch leaves a resolver that does not heed ctx alone with its goroutine.
func (v *Verifier) fetch(ctx context.Context, s *Signature) *fetching {
	f := &fetching{done: make(chan struct{})}
	go func() {
		defer close(f.done)
		defer func() {
			if p := recover(); p != nil {
				f.err = &Error{Result: TempError, Reason: "the key cannot be fetched now: the resolver failed"}
			}
		}()
		f.keys, f.err = Fetch(ctx, v.Resolver, s.Domain, s.Selector)
	}()
	return f
}

func lateError() error { return &Error{Result: TempError, Reason: "there was no time left"} }

// verify judges a signature once the body is hashed.
func (t *attempt) verify(ctx context.Context, fields []message.Field, left *int) error {
	select {
	case <-t.keys.done:
	case <-ctx.Done():
		return lateError()
	}
	for _, f := range t.keys.keys {
		if f.Key != nil && t.key == nil {
			t.key = f.Key
		}
	}
	bodyErr := t.body.compare(t.sig)
	if e := asError(t.keys.err); e != nil {
		if e.Result == TempError && bodyErr != nil { // whatever the key is
			return bodyErr
		}
		return e
	}
	if bodyErr != nil {
		return bodyErr
	}
	own, err := EmptyB(fields[t.place].Raw)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(t.sig.Names, func(name string) bool { return strings.EqualFold(name, Field) }) { // others of this name, not itself
		fields = slices.Delete(slices.Clone(fields), t.place, t.place+1)
	}
	h := sha256.New()
	n, ok := HashHeader(h, t.sig.Header, fields, t.sig.Names, own, *left)
	if !ok {
		return faulty("the signatures of the message cover more than %d bytes of its header, all together", maxHeaderBytes)
	}
	*left -= n
	return t.try(h.Sum(nil))
}

// try tries the keys one after the other.
func (t *attempt) try(sum []byte) (err error) {
	for _, f := range t.keys.keys {
		if f.Err != nil {
			continue
		}
		t.key = f.Key
		if f.Key.Strict && !t.sig.exact() {
			err = faulty("the key is for d= itself (t=s), and i= is below it")
		} else if err = f.Key.Verify(t.sig.Algorithm, sum, t.sig.Value); err == nil {
			return nil
		}
	}
	return err
}

func (t *attempt) checked() Checked {
	c := Checked{Result: Pass, Domain: t.sig.Domain, Selector: t.sig.Selector, Identity: t.sig.Identity, Algorithm: t.sig.Algorithm, B: t.b}
	if t.key != nil {
		c.KeyBits, c.Testing = t.key.Bits, t.key.Testing
	}
	if e := asError(t.err); e != nil {
		c.Result, c.Reason = e.Result, e.Error()
	}
	return c
}

// asError gives an error of this package, which all are.
func asError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := err.(*Error); ok {
		return e
	}
	return &Error{Result: PermError, Reason: "the signature cannot be verified", Err: err}
}
