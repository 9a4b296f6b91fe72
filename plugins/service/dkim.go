package service

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/plugins/mailauth/dkim"
)

// What signatures cost in steps. A body is charged a part of what it takes to hash it, since the budgets of a hook are not made for
// large ones, and whoever computes meanwhile has the hook's turn.
const (
	dkimSteps     = 2_000
	verifySteps   = 2_000 // a signature
	signSteps     = 20_000
	dkimBytes     = 128 << 10
	bytesAStep    = 256
	maxVerified   = 50
	maxVerifyTime = 60 // seconds
	maxSignKeys   = 10
	maxSignKeep   = 1_000 // private keys that are kept read
	maxSignNames  = 100
	maxExpiry     = 10 * 365 * 24 * time.Hour
)

func dkimService() Service {
	return Service{Name: "dkim", Doc: "Signatures of mail by DKIM (RFC 6376), with RSA and Ed25519 keys (RFC 8463). Both functions read the body once, whatever its size and the number of signatures, and need read = \"body\". " +
		"What counts and what does not is told by the page `dkim`.",
		Funcs: []Func{
			{
				Name: "dkim.verify", Args: []Arg{{Name: "options", Kind: Map, Optional: true}}, Result: "table", Needs: "dns", Form: "dkim.verify([{signatures, length, time}])",
				Doc: "What came of the signatures of the message as it came in, from the stage data on. `result` is the best of them: pass, temperror, fail, permerror, or none. `results` has a table for each that was tried: `result`, `reason` why it is no pass, `domain`, `selector`, `identity`, `algorithm`, " +
					"`b` (the first characters of the signature), `key_bits`, and `testing` where the domain only tries, so that it counts only as a pass. `untried` is how many there were beyond `signatures` (1 to 50, 10 without it); those of the author's domain are tried first. " +
					"With `length` true, a signature that leaves out the end of the body (l=) may pass. What the DNS does not tell within `time` seconds (10 without it) is a temperror.",
				Call: func(c *Context, args []any) (any, error) {
					options, _ := args[0].(map[string]any)
					return c.verifyDKIM(options)
				},
			},
			{
				Name: "dkim.sign", Args: []Arg{{Name: "signing", Kind: Map, Of: []string{secretObject}}}, Result: "string[]", Needs: "secrets", Form: "dkim.sign{domain, keys[, sign, oversign, canonicalization, expire]}",
				Doc: "The texts of DKIM-Signature fields for the message as edited so far, one for each of `keys`, to be given to add_header; at the stage queue, where nobody edits any more. `keys` is a list of at most 10 tables of `selector` and `key`, a secret: PEM (PKCS #8 or PKCS #1), or the 32 bytes of an Ed25519 key in base64. " +
					"`sign` is a list of the names of fields that are signed, `oversign` of those of which none may be added later either; From is always one of these. `canonicalization` is \"relaxed/relaxed\" without it; `expire` is for how many seconds the signature holds, for ever without it. A key that cannot be used is an error. There are none where a line in the header of the message is no field, since nobody could verify them.",
				Call: func(c *Context, args []any) (any, error) { return c.signDKIM(args[0].(map[string]any)) },
			},
		}}
}

// wholeMessage gives the content of the call's message for who reads all of it, charged.
func (c *Context) wholeMessage(steps int) (message.Content, error) {
	if err := c.call.Reading(capability.ReadBody); err != nil {
		return nil, err
	}
	if c.call.Message == nil {
		return nil, fmt.Errorf("there is no message at %s", c.call.Stage)
	}
	content, err := c.call.Message.Body()
	if err != nil {
		return nil, err
	}
	if content == nil {
		return nil, errors.New("there is no content yet: it is there from data on")
	}
	return content, c.spend(steps+int(content.Size()/bytesAStep), dkimBytes)
}

// bodyOf reads the body of a content that h was read from.
func bodyOf(h *message.Header, content message.Content) (io.Reader, error) {
	start, err := h.BodyStart(content)
	return io.NewSectionReader(content, start, content.Size()-start), err
}

func (c *Context) verifyDKIM(options map[string]any) (any, error) {
	v := dkim.Verifier{Resolver: c.host.Resolver, Now: c.host.Now, Signatures: dkim.DefaultSignatures}
	if err := knownKeys(options, []string{"signatures", "length", "time"}); err != nil {
		return nil, err
	}
	if n := options["signatures"]; n != nil {
		n, ok := Int.accept(n)
		if !ok || n.(int64) < 1 || n.(int64) > maxVerified {
			return nil, fmt.Errorf("signatures is %s; it is a number from 1 to %d", describe(options["signatures"]), maxVerified)
		}
		v.Signatures = int(n.(int64))
	}
	if l := options["length"]; l != nil {
		var ok bool
		if v.Length, ok = l.(bool); !ok {
			return nil, fmt.Errorf("length is %s; it is true or false", describe(l))
		}
	}
	if t := options["time"]; t != nil {
		s, ok := Number.accept(t)
		if !ok || !(s.(float64) > 0 && s.(float64) <= maxVerifyTime) {
			return nil, fmt.Errorf("time is %s; it is a number of seconds, at most %d", describe(t), maxVerifyTime)
		}
		v.Time = time.Duration(s.(float64) * float64(time.Second))
	}
	content, err := c.wholeMessage(dkimSteps + v.Signatures*verifySteps)
	if err != nil {
		return nil, err
	}
	if c.host.Resolver == nil {
		return nil, errors.New("there is no resolver")
	}
	h, err := message.ReadHeader(content, message.DefaultHeaderLimits) // without the edits of plugins
	if err != nil {
		return nil, err
	}
	body, err := bodyOf(h, content)
	if err != nil {
		return nil, err
	}
	report, err := v.Verify(c.call.Context(), h, body, authorDomains(h))
	if err != nil {
		return nil, err
	}
	return verified(report), nil
}

// authorDomains are those of the addresses in From that can be read.
func authorDomains(h *message.Header) (domains []string) {
	for _, f := range h.Fields("From") {
		all, _, err := parseList(f.Value)
		if err != nil {
			continue
		}
		for _, a := range all {
			if d, ok := a.(map[string]any)["domain"].(string); ok && len(domains) < maxVerified {
				domains = append(domains, d)
			}
		}
	}
	return domains
}

func verified(r *dkim.Report) map[string]any {
	results := make([]any, 0, len(r.Checked))
	for i := range r.Checked {
		ch := &r.Checked[i]
		m := said{"result": string(ch.Result)}
		m.text("reason", ch.Reason)
		m.text("domain", ch.Domain)
		m.text("selector", ch.Selector)
		m.text("identity", ch.Identity)
		m.text("algorithm", string(ch.Algorithm))
		m.text("b", ch.B)
		if ch.KeyBits > 0 {
			m["key_bits"] = int64(ch.KeyBits)
		}
		if ch.Testing {
			m["testing"] = true
		}
		results = append(results, map[string]any(m))
	}
	return map[string]any{"result": string(r.Result()), "results": results, "untried": int64(r.Untried)}
}

func (c *Context) signDKIM(m map[string]any) (any, error) {
	if err := knownKeys(m, []string{"domain", "keys", "sign", "oversign", "canonicalization", "expire"}); err != nil {
		return nil, err
	}
	now := c.host.Now()
	all := dkim.Signing{Header: dkim.Relaxed, Body: dkim.Relaxed, Time: now}
	var err error
	if all.Domain, err = textKey(m, "domain", true); err != nil {
		return nil, err
	}
	if text, err := textKey(m, "canonicalization", false); err != nil {
		return nil, err
	} else if text != "" {
		if all.Header, all.Body, err = dkim.ParseCanon(text); err != nil {
			return nil, fmt.Errorf("canonicalization: %w", err)
		}
	}
	if e := m["expire"]; e != nil {
		s, ok := Number.accept(e)
		if !ok || !(s.(float64) >= 1 && s.(float64) <= maxExpiry.Seconds()) {
			return nil, fmt.Errorf("expire is %s; it is a number of seconds, from 1 to %g", describe(e), maxExpiry.Seconds())
		}
		all.Expires = now.Add(time.Duration(s.(float64) * float64(time.Second)))
	}
	sign, err := fieldNames(m, "sign")
	if err != nil {
		return nil, err
	}
	oversign, err := fieldNames(m, "oversign")
	if err != nil {
		return nil, err
	}
	signings, err := c.signings(all, m["keys"])
	if err != nil {
		return nil, err
	}
	content, err := c.wholeMessage(dkimSteps + len(signings)*signSteps)
	if err != nil {
		return nil, err
	}
	h, err := c.call.Message.Header()
	if err != nil {
		return nil, err
	}
	if h.Malformed() {
		return []any{}, nil
	}
	body, err := bodyOf(h, content)
	if err != nil {
		return nil, err
	}
	fields := h.Fields("")
	names, err := dkim.Names(fields, sign, oversign)
	if err != nil {
		return nil, err
	}
	for i := range signings {
		signings[i].Names = names
	}
	values, err := dkim.Sign(c.call.Context(), fields, body, signings...)
	if err != nil {
		return nil, err
	}
	out := make([]any, len(values))
	for i, v := range values {
		out[i] = v
	}
	return out, nil
}

func fieldNames(m map[string]any, key string) ([]string, error) {
	if m[key] == nil {
		return nil, nil
	}
	v, ok := List.accept(m[key])
	if !ok || len(v.([]any)) > maxSignNames {
		return nil, fmt.Errorf("%s is no list of at most %d names of fields", key, maxSignNames)
	}
	var names []string
	for _, e := range v.([]any) {
		name, ok := e.(string)
		if !ok {
			return nil, fmt.Errorf("%s has %s; it is a list of names of fields", key, TypeName(e))
		}
		names = append(names, strings.TrimSpace(name))
	}
	return names, nil
}

// signings reads the keys.
func (c *Context) signings(all dkim.Signing, v any) ([]dkim.Signing, error) {
	keys, ok := List.accept(v)
	if !ok || len(keys.([]any)) == 0 || len(keys.([]any)) > maxSignKeys {
		return nil, fmt.Errorf("keys must be a list of 1 to %d tables, each of selector and key", maxSignKeys)
	}
	var out []dkim.Signing
	for _, e := range keys.([]any) {
		k, ok := e.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("keys has %s; each is a table of selector and key", TypeName(e))
		}
		if err := knownKeys(k, []string{"selector", "key"}); err != nil {
			return nil, fmt.Errorf("keys: %w", err)
		}
		s := all
		var err error
		if s.Selector, err = textKey(k, "selector", true); err != nil {
			return nil, fmt.Errorf("keys: %w", err)
		}
		t, err := c.thing([]string{secretObject}, k["key"])
		if err != nil {
			return nil, err
		}
		own, ok := t.(*Secret)
		if !ok {
			return nil, fmt.Errorf(`the key of %q is %s; it is a secret, as secret("dkim/%s/%s")`, cut(s.Selector), TypeName(k["key"]), cut(s.Domain), cut(s.Selector))
		}
		if s.Key, err = c.host.signKeys.read(own.text); err != nil {
			return nil, fmt.Errorf("the secret %q is no key that signs: %w", own.name, err)
		}
		out = append(out, s)
	}
	return out, nil
}

// signKeys keeps private keys that were read, by the hash of their text: to read one takes as long as to sign with it. A key whose file
// changes is another one.
type signKeys struct {
	mu   sync.Mutex
	keys map[[sha256.Size]byte]*dkim.PrivateKey
}

func (s *signKeys) read(text []byte) (*dkim.PrivateKey, error) {
	sum := sha256.Sum256(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.keys[sum]; k != nil {
		return k, nil
	}
	k, err := dkim.ParsePrivateKey(text)
	if err != nil {
		return nil, err
	}
	if s.keys == nil || len(s.keys) >= maxSignKeep {
		s.keys = map[[sha256.Size]byte]*dkim.PrivateKey{}
	}
	s.keys[sum] = k
	return k, nil
}
