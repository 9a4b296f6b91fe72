package api

import (
	"fmt"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
)

// Default makes a verdict without any argument.
func (f *Form) Default(c *hooks.Call) (*hooks.Verdict, error) {
	return checked(c, &hooks.Verdict{Kind: f.Kind})
}

// Text makes a verdict of the one text that it takes.
func (f *Form) Text(c *hooks.Call, s string) (*hooks.Verdict, error) {
	v := &hooks.Verdict{Kind: f.Kind}
	switch f.Word {
	case "class":
		v.Class = class(s)
	case "reason":
		v.Reason = s
	case "text":
		v.Text = s
	default:
		return nil, fmt.Errorf("%s takes no text; write it as %s", f.Kind, hooks.Verdicts()[f.Kind].Form)
	}
	return checked(c, v)
}

// Named makes a verdict of a table of named arguments.
func (f *Form) Named(c *hooks.Call, table any) (*hooks.Verdict, error) {
	v, err := f.named(table)
	if err != nil {
		return nil, err
	}
	return checked(c, v)
}

// Of makes a verdict of a value that may be a text or a table.
func (f *Form) Of(c *hooks.Call, value any) (*hooks.Verdict, error) {
	if s, ok := value.(string); ok {
		return f.Text(c, s)
	}
	if f.Table == nil {
		return nil, fmt.Errorf("%s takes %s, not %s; write it as %s", f.Kind, f.takes(), typeName(value), hooks.Verdicts()[f.Kind].Form)
	}
	return f.Named(c, value)
}

func (f *Form) takes() string {
	if f.Each {
		return "a function"
	}
	return "a text, the " + f.Word
}

func (f *Form) named(table any) (*hooks.Verdict, error) {
	if f.Keys == nil {
		return nil, fmt.Errorf("%s takes no names", f.Kind)
	}
	m, err := readNamed(f.Kind.String(), table, f.Keys)
	if err != nil {
		return nil, err
	}
	v := &hooks.Verdict{Kind: f.Kind, Text: get[string](m, "text"), Enhanced: get[string](m, "enhanced"), Reason: get[string](m, "reason"), Delay: get[time.Duration](m, "delay"),
		After: get[time.Duration](m, "after"), Class: class(get[string](m, "class")), User: get[string](m, "user"), Groups: get[[]string](m, "groups"), Scram: get[string](m, "scram")}
	if code := given[int64](m, "code"); code != nil {
		if v.Code = int(*code); *code < 100 || *code > 999 {
			return nil, fmt.Errorf("%s: code %d is not an SMTP code", f.Kind, *code)
		}
	}
	if f.Kind == hooks.RouteTo {
		v.Plan = &message.Plan{Via: get[string](m, "via"), Hosts: get[[]string](m, "hosts"), MX: get[string](m, "mx"), Public: get[bool](m, "public"), Auth: message.NewAuth(get[map[string]string](m, "auth")),
			Source: get[string](m, "source"), Helo: get[string](m, "helo"), Sender: given[smtp.Address](m, "sender"), Site: get[string](m, "site"), TLS: message.TLSLevel(get[string](m, "tls"))}
	}
	return v, nil
}

func checked(c *hooks.Call, v *hooks.Verdict) (*hooks.Verdict, error) {
	if err := v.Check(c.Stage); err != nil {
		return nil, err
	}
	return v, nil
}

// Rcpts are the recipients that each answers for, in order; an error where it is no answer.
func Rcpts(c *hooks.Call) ([]*hooks.RcptView, error) {
	if err := (&hooks.Verdict{Kind: hooks.Each}).Check(c.Stage); err != nil {
		return nil, err
	}
	return c.Rcpts(), nil
}

// Each makes the verdict each of one verdict for every one of Rcpts; nil is none.
func Each(c *hooks.Call, each []*hooks.Verdict) (*hooks.Verdict, error) {
	return checked(c, &hooks.Verdict{Kind: hooks.Each, Each: each})
}

// Verdict makes a verdict of a map: kind is its number, the other keys are its named arguments. For each, verdicts is a list with a
// map or nil for every one of Rcpts.
func (a *API) Verdict(c *hooks.Call, value any) (*hooks.Verdict, error) {
	v, err := a.verdict(c, value, false)
	if v == nil || err != nil {
		return nil, err
	}
	return checked(c, v)
}

func (a *API) verdict(c *hooks.Call, value any, within bool) (*hooks.Verdict, error) {
	m, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("a verdict is a map, not %s", typeName(value))
	}
	n, ok := m["kind"].(int64)
	if !ok || n < 0 || n >= int64(len(a.forms)) {
		return nil, fmt.Errorf("kind must be a number from 0 to %d, not %v", len(a.forms)-1, m["kind"])
	}
	delete(m, "kind")
	f := a.forms[n]
	switch {
	case f.Each && within:
		return nil, fmt.Errorf("it is an each itself")
	case f.Each:
		return a.each(c, m)
	case f.Kind == hooks.Next && len(m) == 0:
		return nil, nil
	}
	return f.named(m)
}

func (a *API) each(c *hooks.Call, m map[string]any) (*hooks.Verdict, error) {
	rcpts, err := Rcpts(c)
	if err != nil {
		return nil, err
	}
	list, ok := m["verdicts"].([]any)
	if !ok || len(m) != 1 || len(list) != len(rcpts) {
		return nil, fmt.Errorf("each: verdicts must be a list with one for each of the %d recipients, and nothing else", len(rcpts))
	}
	v := &hooks.Verdict{Kind: hooks.Each, Each: make([]*hooks.Verdict, len(list))}
	for i, e := range list {
		if e == nil {
			continue
		}
		if v.Each[i], err = a.verdict(c, e, true); err != nil {
			return nil, fmt.Errorf("each: verdict %d: %w", i+1, err)
		}
	}
	return v, nil
}
