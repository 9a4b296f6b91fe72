package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/plugins/mailauth/dmarc"
)

const (
	dmarcSteps = 200
	dmarcTime  = 8 * time.Second // less than a hook has, so that a slow DNS is a temperror and no failure of the plugin
)

// dmarcKeys are the keys of the table that dmarc.check takes.
var dmarcKeys = []string{"spf", "spf_domain", "dkim"}

func dmarcService() Service {
	return Service{Name: "dmarc", Doc: "DMARC (RFC 9989): whether the domain in From was used with its owner's consent. Needs read = \"headers\", too. The page `dmarc` tells more.",
		Funcs: []Func{{
			Name: "dmarc.check", Args: []Arg{{Name: "results", Kind: Map}}, Result: "table", Needs: "dns", Form: "dmarc.check{spf, spf_domain, dkim}",
			Doc: "Checks the message, from the stage data on, with what SPF and DKIM came to: `spf` is the result for the MAIL identity and `spf_domain` its domain; `dkim` a list of tables with `result` and `domain`, as the fact dkim-verify.results has it. " +
				"`result` is none, pass, fail, temperror or permerror, and `reason` says why. `from` is the author domain; where there is not exactly one, `threat` is true and the result permerror. " +
				"`domain` is where the record stands that applies, `tag` what of it does (p, sp or np), `requested` what that says, and `policy` what is to be done with mail that fails: none, quarantine or reject; less than requested by one where `testing` is true. " +
				"`organization` is the author's organizational domain where it was looked for, `aligned` and `aligned_domain` what made it pass, and `faults` a list of what is wrong in the record. What is not known is nil.",
			Call: func(c *Context, args []any) (any, error) { return c.dmarc(args[0].(map[string]any)) },
		}}}
}

func (c *Context) dmarc(m map[string]any) (any, error) {
	if err := knownKeys(m, dmarcKeys); err != nil {
		return nil, err
	}
	ids, err := identifiers(m)
	if err != nil {
		return nil, err
	}
	header, content, err := c.header()
	if err != nil {
		return nil, err
	}
	if err := c.spend(dmarcSteps+int(min(content.Size(), int64(message.DefaultHeaderLimits.Bytes)))/64, 4<<10); err != nil {
		return nil, err
	}
	author, fault := dmarc.Author(header, content)
	if fault != nil {
		return judged(dmarc.Suspect(fault)), nil
	}
	ctx, cancel := context.WithTimeout(c.call.Context(), dmarcTime)
	defer cancel()
	asker := &asker{c: c}
	res := dmarc.Check(ctx, asker, author, ids)
	if asker.refused != nil {
		return nil, asker.refused
	}
	return judged(res), nil
}

// header gives the header of the call's message, and the content.
func (c *Context) header() (*message.Header, message.Content, error) {
	if err := c.call.Reading(capability.ReadHeaders); err != nil {
		return nil, nil, err
	}
	if c.call.Message == nil {
		return nil, nil, fmt.Errorf("there is no message at %s", c.call.Stage)
	}
	content, err := c.call.Message.Body()
	if err != nil {
		return nil, nil, err
	}
	if content == nil {
		return nil, nil, errors.New("there is no content yet: it is there from data on")
	}
	h, err := c.call.Message.Header()
	return h, content, err
}

// identifiers reads what SPF and DKIM came to.
func identifiers(m map[string]any) (ids []dmarc.Identifier, err error) {
	result, err := textKey(m, "spf", false)
	if err != nil {
		return nil, err
	}
	domain, err := textKey(m, "spf_domain", false)
	if err != nil {
		return nil, err
	}
	if domain != "" {
		ids = append(ids, dmarc.Identifier{Method: dmarc.SPF, Domain: domain, Result: result})
	}
	list, ok := List.accept(m["dkim"])
	if m["dkim"] != nil && !ok {
		return nil, errors.New("dkim is not a list of tables")
	}
	signatures, _ := list.([]any)
	for _, s := range signatures {
		t, ok := s.(map[string]any)
		if !ok {
			return nil, errors.New("dkim is not a list of tables")
		}
		id := dmarc.Identifier{Method: dmarc.DKIM}
		if id.Result, err = textKey(t, "result", false); err != nil {
			return nil, fmt.Errorf("dkim: %w", err)
		}
		if id.Domain, err = textKey(t, "domain", false); err != nil {
			return nil, fmt.Errorf("dkim: %w", err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func judged(res dmarc.Result) map[string]any {
	m := said{"result": string(res.Verdict), "threat": res.Threat}
	m.text("reason", res.Reason)
	m.text("from", res.From)
	m.text("domain", res.Domain)
	m.text("organization", res.Organization)
	m.text("tag", res.Tag)
	m.text("requested", string(res.Requested))
	m.text("policy", string(res.Policy))
	m.text("aligned", res.Aligned.Method)
	m.text("aligned_domain", res.Aligned.Domain)
	if res.Record != nil {
		m["testing"] = res.Record.Testing
		m.list("faults", res.Record.Faults)
	}
	return m
}

// asker is the DNS as a plugin may ask it: each question is charged, counts against those of the call, and is left alone when the call's
// time is up. What the plugin may not do any more is in refused, and to who asks it is no answer.
type asker struct {
	c       *Context
	refused error
}

// Lookup implements resolve.Resolver.
func (a *asker) Lookup(ctx context.Context, name string, t resolve.Type) (resolve.Answer, error) {
	if _, err := a.c.ask(1); err != nil {
		a.refused = err
		return resolve.Answer{}, err
	}
	type answer struct {
		resolve.Answer
		err error
	}
	done := make(chan answer, 1) // so that nobody waits to write
	go func() {
		out := answer{err: fmt.Errorf("%s %s: the resolver failed", name, t)}
		defer func() {
			recover()
			done <- out
		}()
		out.Answer, out.err = a.c.host.Resolver.Lookup(ctx, name, t)
	}()
	select {
	case out := <-done:
		return out.Answer, out.err
	case <-ctx.Done():
		return resolve.Answer{}, &resolve.Error{Kind: resolve.Temporary, Name: name, Type: t, Err: errTime}
	}
}
