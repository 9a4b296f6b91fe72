package lua

import (
	glua "github.com/yuin/gopher-lua"

	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/api"
)

// verdictFunc is the global function that makes a verdict. What is wrong with it is told at the plugin's line.
func verdictFunc(f *api.Form) glua.LGFunction {
	return func(L *glua.LState) int {
		b := bindingOf(L)
		if b.call == nil {
			L.RaiseError("%s is an answer of a handler; it does not work while the plugin loads", f.Kind)
		}
		b.in.budget.Alloc(L, 256)
		v, err := b.verdict(L, f)
		must(L, err)
		L.Push(b.plugin.types.verdict.New(v))
		return 1
	}
}

func (b *binding) verdict(L *glua.LState, f *api.Form) (*hooks.Verdict, error) {
	switch {
	case f.Each:
		return b.each(L)
	case L.GetTop() == 0:
		return f.Default(b.call)
	}
	if s, ok := L.Get(1).(glua.LString); ok {
		return f.Text(b.call, string(s))
	}
	arg, err := b.argument(L, L.Get(1))
	if err != nil {
		return nil, err
	}
	return f.Of(b.call, arg)
}

// each asks the function for a verdict of each recipient.
func (b *binding) each(L *glua.LState) (*hooks.Verdict, error) {
	fn := L.CheckFunction(1)
	rcpts, err := api.Rcpts(b.call)
	if err != nil {
		return nil, err
	}
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
	return api.Each(b.call, out)
}
