package api

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
)

// Method is a method of an object with the shape of its arguments.
type Method struct {
	hooks.Method
	Object string
	Shape  []Arg
	edit   func(c *hooks.Call, o any, a []any) error // nil: it reads, or takes a function, which engines do in ways of their own
}

// Edits tells whether the method edits, so that Do carries it out.
func (m *Method) Edits() bool { return m.edit != nil }

// Edit is the number of the edit in the WASM ABI; -1 for a method that reads, or takes a function.
func (m *Method) Edit() int {
	if m.edit == nil {
		return -1
	}
	return slices.Index(hooks.Edits(), m.Name)
}

// Usage is how the method is called: "add_header(name: string, text: string)".
func (m *Method) Usage() string {
	if strings.HasPrefix(m.Args, "{") {
		return m.Name + m.Args
	}
	return m.Name + "(" + m.Args + ")"
}

// edits are what methods do with their arguments, which were checked: there is one for each of the shape, nil for an optional one that
// was left out.
var edits = map[string]func(c *hooks.Call, o any, a []any) error{
	"add_header": func(c *hooks.Call, o any, a []any) error {
		if r, ok := o.(*hooks.RcptView); ok {
			return c.AddRcptHeader(r, a[0].(string), a[1].(string))
		}
		return c.AddHeader(a[0].(string), a[1].(string))
	},
	"set_header": func(c *hooks.Call, _ any, a []any) error { return c.SetHeader(a[0].(string), a[1].(string)) },
	"remove_header": func(c *hooks.Call, _ any, a []any) error {
		n, given := a[1].(int64)
		if given && (n < 1 || n > 1<<20) {
			return fmt.Errorf("remove_header: n is %d; fields are counted from 1", n)
		}
		return c.RemoveHeader(a[0].(string), int(n))
	},
	"set_sender": func(c *hooks.Call, _ any, a []any) error { return c.SetSender(a[0].(smtp.Address)) },
	"add_rcpt": func(c *hooks.Call, _ any, a []any) error {
		return c.AddRcpt(a[0].(smtp.Address), class(a[1].(string)))
	},
	"rename": func(c *hooks.Call, o any, a []any) error {
		if asked := c.Rcpt; asked != nil && o.(*hooks.RcptView).Rcpt != asked.Rcpt {
			return fmt.Errorf("rename works on the recipient that the handler got, not on another one of the message")
		}
		return c.Rename(a[0].([]smtp.Address)...)
	},
	"set_content": func(c *hooks.Call, _ any, a []any) error {
		m := a[0].(map[string]any)
		return c.SetContent(given[string](m, "subject"), given[string](m, "text"), given[string](m, "html"))
	},
	"schedule": func(c *hooks.Call, _ any, a []any) error {
		m := a[0].(map[string]any)
		s := hooks.Schedule{Tenant: given[string](m, "tenant"), NotBefore: given[time.Time](m, "not_before"), Expires: given[time.Time](m, "expires")}
		if p := given[int64](m, "priority"); p != nil {
			n := int(*p)
			s.Priority = &n
		}
		return c.Schedule(s)
	},
}

// Do checks the arguments and stages the edit that a method asks for on o, an object of its kind.
func (m *Method) Do(c *hooks.Call, o any, args []any) error {
	if len(args) > len(m.Shape) {
		return fmt.Errorf("%s: %d arguments are too many; call it as %s", m.Name, len(args), m.Usage())
	}
	checked := make([]any, len(m.Shape))
	for i := range m.Shape {
		a := &m.Shape[i]
		var err error
		switch {
		case a.Type == Named && len(args) > i:
			checked[i], err = readNamed(m.Name, args[i], a.Of)
		case len(args) > i && args[i] != nil:
			checked[i], err = a.read(m.Name+": "+a.Name, args[i])
		case !a.Optional:
			err = fmt.Errorf("%s: %s is missing or nil; call it as %s", m.Name, a.Name, m.Usage())
		}
		if err != nil {
			return err
		}
	}
	return m.edit(c, o, checked)
}

// Fact stages a fact on an object, by its full name.
func Fact(c *hooks.Call, o any, name string, v any) error {
	facts := hooks.FactsOf(o)
	if facts == nil {
		return fmt.Errorf("fact: a session, message or rcpt has facts, nothing else")
	}
	return c.SetFact(facts, name, v)
}
