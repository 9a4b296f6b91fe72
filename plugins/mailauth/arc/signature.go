package arc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/plugins/mailauth/dkim"
)

// Bounds of message signatures.
const (
	maxHashed = 512 << 10       // octets of the header that one covers
	skew      = 5 * time.Minute // by which clocks may differ
)

// signature is an ARC-Message-Signature that was read.
type signature struct {
	*dkim.Signature
	field *field
}

// seal is an ARC-Seal that was read.
type seal struct {
	*dkim.Signature
	field *field
	cv    Status
}

// tagged reads the instance out of a list of tags in which it is not the first.
func tagged(value string) (n int, ok bool) {
	tags, err := dkim.ParseTags(value)
	if err != nil {
		return 0, false
	}
	v, ok := tags.Get("i")
	if !ok {
		return 0, false
	}
	n, rest, ok := position(v)
	return n, ok && rest == ""
}

// tags reads the list without the instance, if that stood first.
func (f *field) tags() (dkim.Tags, error) {
	if f.rest == "" {
		return dkim.ParseTags(f.Value)
	}
	tags, err := dkim.ParseTags(f.rest)
	if _, twice := tags.Get("i"); err == nil && twice {
		err = errors.New("i= stands twice")
	}
	return tags, err
}

// parseSeal reads a seal (RFC 8617 section 4.1.3).
func parseSeal(f *field) (*seal, error) {
	tags, err := f.tags()
	if err != nil {
		return nil, err
	}
	if _, ok := tags.Get("h"); ok {
		return nil, errors.New("it has h=, which no seal may have")
	}
	cv, ok := tags.Get("cv")
	if !ok {
		return nil, errors.New("cv= is missing")
	}
	s := &seal{field: f, cv: Status(strings.ToLower(cv))}
	if s.cv != None && s.cv != Pass && s.cv != Fail {
		return nil, errors.New("cv= is not none, pass or fail")
	}
	s.Signature, err = tags.Seal()
	return s, err
}

// parseSignature reads a message signature (section 4.1.2).
func parseSignature(f *field) (*signature, error) {
	tags, err := f.tags()
	if err != nil {
		return nil, err
	}
	s := &signature{field: f}
	if s.Signature, err = tags.Signature(); err != nil {
		return nil, err
	}
	// It would cover what did not exist when it was made. The other fields of a chain should not be covered, either, but can be.
	if slices.ContainsFunc(s.Names, func(name string) bool { return strings.EqualFold(name, SealField) }) {
		return nil, errors.New("h= has " + SealField + ", which no message signature covers")
	}
	if s.Length >= 0 {
		return nil, errors.New("l= covers a part of the body, and the rest may be anybody's")
	}
	return s, nil
}

// hashes are those of the body, by canonical form.
type hashes [2][]byte

// hashBody hashes the body in one pass, holding nothing of it. Where the time is over there are no hashes.
func hashBody(ctx context.Context, h *message.Header, content message.Content, forms ...dkim.Canon) (sums hashes, err error) {
	start, err := h.BodyStart(content)
	if err != nil {
		return sums, err
	}
	var sha [2]hash.Hash
	var bodies [2]io.WriteCloser
	for _, c := range forms {
		if bodies[c] == nil {
			sha[c] = sha256.New()
			bodies[c] = c.Body(sha[c])
		}
	}
	buf, body := make([]byte, 32<<10), io.NewSectionReader(content, start, content.Size()-start)
	for err == nil {
		if ctx.Err() != nil {
			return sums, nil
		}
		var n int
		n, err = body.Read(buf)
		for _, b := range bodies {
			if b != nil {
				b.Write(buf[:n]) // into a hash, which does not fail
			}
		}
	}
	if err != io.EOF {
		return sums, err
	}
	for c, b := range bodies {
		if b != nil {
			b.Close()
			sums[c] = sha[c].Sum(nil)
		}
	}
	return sums, nil
}

// signature verifies a message signature, which is nil if it could not be read.
func (v *validation) signature(ctx context.Context, s *signature) *failure {
	if s == nil {
		return failed("it cannot be read")
	}
	switch {
	case !s.Expires.IsZero() && v.now.After(s.Expires.Add(skew)):
		return failed("it expired at %s", s.Expires.Format(time.RFC3339))
	case s.Signed.After(v.now.Add(skew)):
		return failed("it is of the future: %s", s.Signed.Format(time.RFC3339))
	case v.hashes[s.Body] == nil:
		return noTime()
	case !bytes.Equal(v.hashes[s.Body], s.Hash): // before the DNS is asked
		return failed("the body was changed: its hash is not that of bh=")
	}
	own, err := dkim.EmptyB(s.field.Raw)
	if err != nil {
		return failed("%v", err)
	}
	fields := v.fields
	if slices.ContainsFunc(s.Names, func(name string) bool { return strings.EqualFold(name, SignatureField) }) { // not itself
		fields = slices.DeleteFunc(slices.Clone(fields), func(f message.Field) bool { return &f.Raw[0] == &s.field.Raw[0] })
	}
	sum := sha256.New()
	if n, ok := dkim.HashHeader(sum, s.Header, fields, s.Names, own, maxHashed); !ok {
		return failed("it covers %d octets of the header; %d are looked at", n, maxHashed)
	}
	return v.key(ctx, s.Signature, sum.Sum(nil))
}

// seal verifies a seal, of all sets up to its own (section 5.1.1).
func (v *validation) seal(ctx context.Context, s *seal) *failure {
	sum := sha256.New()
	if err := v.chain.sealed(sum, 1, s.field.instance, s.field.Raw); err != nil {
		return failed("%v", err)
	}
	return v.key(ctx, s.Signature, sum.Sum(nil))
}

// sealed writes what a seal signs: the fields of the sets from first to last in their order, the seal of the last, given whole, with
// an empty b=.
func (c *chain) sealed(w io.Writer, first, last int, own []byte) error {
	own, err := dkim.EmptyB(own)
	if err != nil {
		return err
	}
	var buf []byte
	put := func(raw []byte) {
		buf = dkim.Relaxed.Header(buf[:0], raw)
		w.Write(buf) // a hash
	}
	for i := first; i <= last; i++ {
		s := c.sets[i]
		put(s.results.Raw)
		put(s.signature.Raw)
		if i < last {
			put(s.seal.Raw)
		}
	}
	buf = dkim.Relaxed.Header(buf[:0], own)
	_, err = w.Write(buf[:len(buf)-len("\r\n")])
	return err
}

// answer is what the DNS has for a key.
type answer struct {
	keys []dkim.Fetched
	err  error
}

// fetch leaves a resolver that does not heed ctx alone with its goroutine.
func (v *validation) fetch(ctx context.Context, s *dkim.Signature) answer {
	if ctx.Err() != nil {
		return answer{err: noTime().dkim()}
	}
	done := make(chan answer, 1) // so that nobody waits to write
	go func() {
		a := answer{err: &dkim.Error{Result: dkim.TempError, Reason: "the key cannot be fetched now: the resolver failed"}}
		defer func() {
			recover()
			done <- a
		}()
		a.keys, a.err = dkim.Fetch(ctx, v.resolver, s.Domain, s.Selector)
	}()
	select {
	case a := <-done:
		return a
	case <-ctx.Done():
		return answer{err: noTime().dkim()}
	}
}

func noTime() *failure { return &failure{"there was no time left", true} }

// dkim is the failure as an error of package dkim.
func (f *failure) dkim() error { return &dkim.Error{Result: dkim.TempError, Reason: f.why} }

// key verifies a signature over a hash. Each key is asked for once.
func (v *validation) key(ctx context.Context, s *dkim.Signature, sum []byte) *failure {
	name := dkim.KeyName(s.Domain, s.Selector)
	a, asked := v.keys[name]
	if !asked {
		a = v.fetch(ctx, s)
		v.keys[name] = a
	}
	if a.err != nil {
		e := (*dkim.Error)(nil)
		return &failure{a.err.Error(), errors.As(a.err, &e) && e.Result == dkim.TempError}
	}
	var err error
	for _, k := range a.keys {
		if k.Err != nil {
			continue
		}
		if err = k.Key.Verify(s.Algorithm, sum, s.Value); err == nil {
			return nil
		}
	}
	return failed("%v", err)
}
