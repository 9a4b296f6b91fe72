package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/plugins/mailauth/spf"
)

// Bounds of spf.
const (
	maxSenders = 5 // identities in one hook call; each asks the DNS 130 questions at most
	spfSteps   = 2000
	spfBytes   = 64 << 10
)

func spfService() Service {
	return Service{Name: "spf", Doc: "The Sender Policy Framework (RFC 7208): whether a host may send mail in the name of a domain. A check takes 20 seconds at most, and nine tenths of the hook's time, after which its result is temperror; " +
		"a hook may make five in one call. The page `spf` has more.",
		Funcs: []Func{{
			Name: "spf.check", Args: []Arg{{Name: "question", Kind: Map}}, Form: "spf.check{ip, helo, sender}", Result: "table", Needs: "spf",
			Doc: "Checks an identity of the client with the address `ip`: the domain of `sender`, the text of an address as in `m.sender.text`, or that of `helo` where `sender` is \"\"; and where there is no `sender`, the name `helo` itself. " +
				"`result` is none, neutral, pass, fail, softfail, temperror or permerror; a DNS that cannot tell is temperror, and no error. `identity` is mailfrom or helo; `domain` what was checked, `mechanism` what fitted of its record, `problem` what is wrong, where there is such a thing. " +
				"`explanation` is what the domain says about a fail, in at most 300 characters of ASCII: a stranger's text. `received` is the text of a field Received-SPF.",
			Call: func(c *Context, args []any) (any, error) { return c.spf(args[0].(map[string]any)) },
		}}}
}

func (c *Context) spf(question map[string]any) (any, error) {
	if c.host.Resolver == nil {
		return nil, errors.New("there is no resolver")
	}
	if c.senders >= maxSenders {
		return nil, fmt.Errorf("more than %d checks in one hook call", maxSenders)
	}
	c.senders++
	if err := c.spend(spfSteps, spfBytes); err != nil {
		return nil, err
	}
	q, err := c.query(question)
	if err != nil {
		return nil, err
	}
	ctx := c.call.Context()
	if deadline, ok := ctx.Deadline(); ok { // so that the handler can still answer
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/10*9)
		defer cancel()
	}
	v, err := c.sender(ctx, q)
	if err != nil {
		return nil, err
	}
	t := said{"result": string(v.Result), "identity": string(q.Identity), "received": q.Received(v)}
	t.text("domain", v.Domain)
	t.text("mechanism", v.Mechanism)
	t.text("problem", v.Problem)
	t.text("explanation", v.Explanation)
	return map[string]any(t), nil
}

// sender checks on a goroutine of its own: a resolver that does not heed ctx is left alone with it.
func (c *Context) sender(ctx context.Context, q spf.Query) (spf.Verdict, error) {
	type outcome struct {
		spf.Verdict
		err error
	}
	check, resolver := c.host.SPF, c.host.Resolver
	done := make(chan outcome, 1) // so that nobody waits to write
	go func() {
		var o outcome
		defer func() {
			if p := recover(); p != nil {
				o.err = fmt.Errorf("the resolver failed: %v", p)
			}
			done <- o
		}()
		o.Verdict = check(ctx, resolver, q)
	}()
	select {
	case o := <-done:
		return o.Verdict, o.err
	case <-c.call.Context().Done():
		return spf.Verdict{}, errTime
	}
}

func (c *Context) query(question map[string]any) (q spf.Query, err error) {
	texts := map[string]string{}
	for name, v := range question {
		text, ok := v.(string)
		switch {
		case !slices.Contains([]string{"ip", "helo", "sender"}, name):
			return q, fmt.Errorf("%q is nothing that can be asked; there are ip, helo and sender", cut(name))
		case !ok:
			return q, fmt.Errorf("%s is %s; it is text", name, TypeName(v))
		}
		texts[name] = text
	}
	q = spf.Query{Identity: spf.Helo, Helo: texts["helo"], Time: c.host.Now()}
	if q.IP, err = parseIP(texts["ip"]); err != nil {
		return q, fmt.Errorf("ip: %w", err)
	}
	if c.host.Hostname != nil {
		q.Receiver = c.host.Hostname()
	}
	if sender, ok := texts["sender"]; ok {
		q.Identity, q.Sender = spf.Mail, sender
		if a, err := smtp.ParseUTF8Address(sender); err == nil { // the domain in A-labels, the rest as it came
			q.Sender = sender[:strings.LastIndexByte(sender, '@')+1] + a.Domain
		}
	}
	return q, nil
}
