package lua

import (
	"time"

	glua "github.com/yuin/gopher-lua"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
)

// verdictKeys are what the table of a verdict may hold.
var verdictKeys = map[hooks.Kind][]string{
	hooks.Accept:  {"user", "groups"},
	hooks.Reject:  {"text", "code", "enhanced", "reason", "delay"},
	hooks.Defer:   {"text", "code", "enhanced", "reason", "delay", "after"},
	hooks.Close:   {"text", "code", "enhanced", "reason", "delay"},
	hooks.RouteTo: {"via", "hosts", "mx", "helo", "sender"},
}

// verdictFunc is the global function that makes a verdict of a kind. What is wrong with it is told at the plugin's line.
func verdictFunc(k hooks.Kind) glua.LGFunction {
	return func(L *glua.LState) int {
		b := bindingOf(L)
		if b.call == nil {
			L.RaiseError("%s is an answer of a handler; it does not work while the plugin loads", k)
		}
		b.in.budget.Alloc(L, 256)
		v := &hooks.Verdict{Kind: k}
		if k == hooks.Each {
			v.Each = eachRcpt(L, b)
		} else if L.GetTop() > 0 {
			b.fill(L, v)
		}
		must(L, v.Check(b.call.Stage))
		L.Push(b.plugin.types.verdict.New(v))
		return 1
	}
}

// fill reads the argument: a text whose meaning depends on the kind, or a table of fields.
func (b *binding) fill(L *glua.LState, v *hooks.Verdict) {
	if s, ok := L.Get(1).(glua.LString); ok {
		switch v.Kind {
		case hooks.Accept:
			v.Class = message.Class(s)
		case hooks.Discard, hooks.Hold:
			v.Reason = string(s)
		case hooks.RouteTo:
			L.RaiseError(`route takes a table, such as route{hosts = {"mail.example.org:25"}}`)
		default:
			v.Text = string(s)
		}
		return
	}
	keys := verdictKeys[v.Kind]
	if keys == nil {
		L.RaiseError("%s takes a text, the reason, not a %s", v.Kind, L.Get(1).Type())
	}
	args := newArgs(L, b, v.Kind.String(), 1, keys...)
	v.Text, _ = args.text("text")
	v.Enhanced, _ = args.text("enhanced")
	v.Reason, _ = args.text("reason")
	v.User, _ = args.text("user")
	v.Groups = args.texts("groups")
	if n, ok := args.number("code"); ok {
		v.Code = int(n)
		if float64(v.Code) != n || v.Code == 0 {
			L.RaiseError("%s: code %v is not an SMTP code", v.Kind, n)
		}
	}
	v.Delay, v.After = args.duration("delay"), args.duration("after")
	if v.Kind == hooks.RouteTo {
		p := &message.Plan{Hosts: args.texts("hosts")}
		p.Via, _ = args.text("via")
		p.MX, _ = args.text("mx")
		p.Helo, _ = args.text("helo")
		if s := args.get("sender"); s != glua.LNil {
			a := addressArg(L, b, s)
			p.Sender = &a
		}
		v.Plan = p
	}
}

// eachRcpt asks the function for a verdict of each recipient.
func eachRcpt(L *glua.LState, b *binding) []*hooks.Verdict {
	fn := L.CheckFunction(1)
	must(L, (&hooks.Verdict{Kind: hooks.Each}).Check(b.call.Stage))
	rcpts := b.call.Rcpts()
	out := make([]*hooks.Verdict, len(rcpts))
	for i, r := range rcpts {
		switch v := call1(L, fn, b.object(r)); {
		case v == glua.LNil:
		default:
			o, ok := b.plugin.types.verdict.Of(v)
			if !ok {
				L.RaiseError("each: the function returned a %s for <%s>; it returns nothing or one verdict", v.Type(), r.Address.Text)
			}
			out[i] = o.(*hooks.Verdict)
		}
	}
	return out
}

// args reads a table of named arguments; unknown names and wrong types are errors.
type args struct {
	L    *glua.LState
	what string
	t    *glua.LTable
}

func newArgs(L *glua.LState, b *binding, what string, at int, known ...string) *args {
	t, ok := L.Get(at).(*glua.LTable)
	if !ok {
		L.RaiseError("%s takes a table, not a %s", what, L.Get(at).Type())
	}
	t.ForEach(func(k, _ glua.LValue) {
		b.in.budget.Step(L, 1)
		name, ok := k.(glua.LString)
		if !ok {
			L.RaiseError("%s takes names, as in %s{%s = ...}; the table has %v", what, what, known[0], k)
		}
		for _, n := range known {
			if n == string(name) {
				return
			}
		}
		hint := ""
		if near := config.Nearest(string(name), known); near != "" {
			hint = "; did you mean " + near + "?"
		}
		L.RaiseError("%s has no %q%s", what, string(name), hint)
	})
	return &args{L, what, t}
}

func (a *args) get(name string) glua.LValue { return a.t.RawGetString(name) }

func (a *args) text(name string) (string, bool) {
	switch v := a.get(name).(type) {
	case glua.LString:
		return string(v), true
	case *glua.LNilType:
		return "", false
	default:
		a.L.RaiseError("%s: %s is a %s; it must be a string", a.what, name, v.Type())
	}
	return "", false
}

func (a *args) number(name string) (float64, bool) {
	switch v := a.get(name).(type) {
	case glua.LNumber:
		return float64(v), true
	case *glua.LNilType:
		return 0, false
	default:
		a.L.RaiseError("%s: %s is a %s; it must be a number", a.what, name, v.Type())
	}
	return 0, false
}

// duration reads seconds.
func (a *args) duration(name string) time.Duration {
	n, _ := a.number(name)
	if n < 0 || n > 1e9 || n != n {
		a.L.RaiseError("%s: %s is %v seconds", a.what, name, n)
	}
	return time.Duration(n * float64(time.Second))
}

// texts reads a list of strings; one string stands for a list of it.
func (a *args) texts(name string) []string {
	switch v := a.get(name).(type) {
	case glua.LString:
		return []string{string(v)}
	case *glua.LNilType:
		return nil
	case *glua.LTable:
		var out []string
		for i := 1; i <= min(v.Len(), 1000); i++ {
			s, ok := v.RawGetInt(i).(glua.LString)
			if !ok {
				a.L.RaiseError("%s: item %d of %s is a %s; it must be a string", a.what, i, name, v.RawGetInt(i).Type())
			}
			out = append(out, string(s))
		}
		return out
	default:
		a.L.RaiseError("%s: %s is a %s; it must be a list of strings", a.what, name, v.Type())
	}
	return nil
}
