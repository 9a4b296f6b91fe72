package service

import (
	"errors"
	"fmt"
	"strings"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/plugins/mailauth/arc"
)

const (
	sealSteps     = 2 * signSteps
	maxARCResults = 2_000 // bytes of what one sealer found
)

func arcService() Service {
	return Service{Name: "arc", Doc: "The Authenticated Received Chain (ARC, RFC 8617): what those who passed a message on found when it came to them, each sealing that and all before. Both functions read the body once, whatever its size and the length of the chain, and need read = \"body\". " +
		"What a chain is worth is told by the page `arc`.",
		Funcs: []Func{
			{
				Name: "arc.verify", Result: "table", Needs: "dns",
				Doc: "What the validation of the chain comes to, of the message as it came in, from the stage data on. `result` is none, pass or fail; `reason` why it failed; `temporary` whether it failed because the DNS did not tell in 20 seconds, so that a later try may come to something else; `instance` the number of the newest set. " +
					"Of a pass, `oldest_pass` is the instance of the oldest message signature that still holds, 0 if all do. `sets` is a list from the oldest, empty where the chain is none or has no sound structure: `instance`, `domain`, `selector`, `algorithm` and `cv` of the seal, `signer`, the domain of the message signature, and `results`, " +
					"the authentication results, at most 2,000 bytes of them. Only of a pass it is sure that they wrote it, and nothing says that it is true.",
				Call: func(c *Context, _ []any) (any, error) { return c.verifyARC() },
			},
			{
				Name: "arc.seal", Args: []Arg{{Name: "sealing", Kind: Map, Of: []string{secretObject}}}, Result: "table?", Needs: "secrets", Form: "arc.seal{domain, selector, key, results[, cv]}",
				Doc: "One more set for the message as edited so far: `seal`, `signature` and `results`, the texts of ARC-Seal, ARC-Message-Signature and ARC-Authentication-Results, to be given to add_header in this order; at the stage queue, where nobody edits any more, and behind other signatures. `instance` and `cv` tell what the seal says. " +
					"`key` is a secret, as for dkim.sign. `results` is what authres.compose gives. `cv` is the `result` of arc.verify; it must be given where the message has a chain, and one that is not sound is sealed as failed whatever it says. nil: no set may follow, since the chain was sealed as failed, or has 50; or nobody could verify it, since the message has no From, or a line in its header that is no field.",
				Call: func(c *Context, args []any) (any, error) { return c.sealARC(args[0].(map[string]any)) },
			},
		}}
}

func (c *Context) verifyARC() (any, error) {
	content, err := c.wholeMessage(dkimSteps)
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
	if err := c.spend(2*verifySteps*min(h.Count(arc.SealField), arc.MaxSets), 0); err != nil {
		return nil, err
	}
	v := arc.Verifier{Resolver: c.host.Resolver, Now: c.host.Now}
	r, err := v.Verify(c.call.Context(), h, content)
	if err != nil {
		return nil, err
	}
	sets := make([]any, len(r.Sets))
	for i := range r.Sets {
		s := &r.Sets[i]
		m := said{"instance": int64(s.Instance), "domain": s.Domain, "selector": s.Selector, "algorithm": s.Algorithm, "cv": string(s.CV), "results": strings.ToValidUTF8(s.Results[:min(len(s.Results), maxARCResults)], "?")}
		m.text("signer", s.Signer)
		sets[i] = map[string]any(m)
	}
	m := said{"result": string(r.Status), "temporary": r.Temporary, "instance": int64(r.Instance), "sets": sets}
	m.text("reason", r.Reason)
	if r.Status == arc.Pass {
		m["oldest_pass"] = int64(r.OldestPass)
	}
	return map[string]any(m), nil
}

func (c *Context) sealARC(m map[string]any) (any, error) {
	if err := knownKeys(m, []string{"domain", "selector", "key", "results", "cv"}); err != nil {
		return nil, err
	}
	s := arc.Sealing{Time: c.host.Now()}
	var cv string
	for _, k := range []struct {
		name string
		must bool
		into *string
	}{{"domain", true, &s.Domain}, {"selector", true, &s.Selector}, {"results", true, &s.Results}, {"cv", false, &cv}} {
		var err error
		if *k.into, err = textKey(m, k.name, k.must); err != nil {
			return nil, err
		}
	}
	switch s.CV = arc.Status(cv); s.CV {
	case "", arc.None, arc.Pass, arc.Fail:
	default:
		return nil, fmt.Errorf("cv is %q; it is none, pass or fail, as arc.verify says", cut(cv))
	}
	t, err := c.thing([]string{secretObject}, m["key"])
	if err != nil {
		return nil, err
	}
	own, ok := t.(*Secret)
	if !ok {
		return nil, fmt.Errorf(`key is %s; it is a secret, as secret("arc/%s")`, TypeName(m["key"]), cut(s.Domain))
	}
	if s.Key, err = c.host.signKeys.read(own.text); err != nil {
		return nil, fmt.Errorf("the secret %q is no key that signs: %w", own.name, err)
	}
	content, err := c.wholeMessage(sealSteps)
	if err != nil {
		return nil, err
	}
	h, err := c.call.Message.Header()
	if err != nil {
		return nil, err
	}
	out, err := arc.Seal(c.call.Context(), h, content, s)
	if out == nil || err != nil {
		return nil, err
	}
	return map[string]any{"seal": out.Seal, "signature": out.Signature, "results": out.Results, "instance": int64(out.Instance), "cv": string(out.CV)}, nil
}
