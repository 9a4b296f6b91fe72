package conformance

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/api"
	"github.com/stagepost/stagepost/plugins/service"
	"github.com/stagepost/stagepost/plugins/wasm"
)

// places are where a handler finds the objects that have fields of their own.
func places() map[string]struct {
	stage hooks.Stage
	path  []any
} {
	type place = struct {
		stage hooks.Stage
		path  []any
	}
	return map[string]place{
		"session": {hooks.Connect, nil}, "login": {hooks.Auth, nil}, "message": {hooks.Data, nil}, "rcpt": {hooks.Route, nil}, "delivery": {hooks.Deliver, nil},
		"content": {hooks.Data, l{"content"}}, "tick": {hooks.Tick, nil}, "part": {hooks.Data, l{"parts", int64(1)}},
	}
}

// fromDeclarations are cases that follow from what is declared: the fields of each object, with values and without, from near and from far, and each
// verdict at each stage that takes it.
func fromDeclarations(t *testing.T) []testCase {
	var all []testCase
	fields := func(name, object string, s hooks.Stage, bare bool, path ...any) {
		all = append(all, testCase{name: name, stage: s, bare: bare, do: m{"do": "fields", "object": object, "path": path}, got: expected(t, object, follow(t, input(t, s, bare).Object(), path))})
	}
	for _, o := range hooks.Objects() {
		if wasm.Inline(o.Name) {
			continue // its fields are read with those of the object that holds it
		}
		place, ok := places()[o.Name]
		if !ok {
			t.Errorf("where does a handler find %s? Tell places in plugins/conformance", o.Name)
			continue
		}
		fields("fields of "+o.Name, o.Name, place.stage, false, place.path...)
		if place.path == nil {
			fields("fields of "+o.Name+" that has none", o.Name, place.stage, true)
		}
	}
	fields("session of a recipient", "session", hooks.Rcpt, false, "message", "session")
	fields("session of a delivery", "session", hooks.Deliver, false, "message", "session")
	fields("session of a login", "session", hooks.Auth, false, "session")
	fields("recipient 2 at rcpt", "rcpt", hooks.Rcpt, false, "message", "rcpts", int64(2))
	fields("recipient 2 at data", "rcpt", hooks.Data, false, "rcpts", int64(2))
	fields("recipient 1 of the message at deliver", "rcpt", hooks.Deliver, false, "message", "rcpts", int64(1))
	fields("recipient 1 of the delivery", "rcpt", hooks.Deliver, false, "rcpts", int64(1))
	for _, s := range hooks.Stages() {
		all = append(all, testCase{name: "next at " + s.Name, stage: s.Stage, do: m{"do": "verdict", "verdict": m{"kind": "next"}}})
		for _, k := range hooks.Verdicts() {
			if !s.Verdicts.Has(k.Kind) {
				continue
			}
			v := m{"kind": k.Name}
			switch {
			case k.Kind == hooks.Accept && s.Stage == hooks.Rcpt:
				v["class"] = "local"
			case k.Kind == hooks.Accept && s.Stage == hooks.Auth:
				v["user"] = "alice"
			case k.Kind == hooks.Discard, k.Kind == hooks.Hold:
				v["reason"] = "why"
			case k.Kind == hooks.RouteTo:
				v["mx"] = "example.org"
			case k.Kind == hooks.Each:
				v["verdicts"] = slices.Repeat(l{m{"kind": "next"}}, len(input(t, s.Stage, false).Rcpts()))
			}
			all = append(all, testCase{name: k.Name + " at " + s.Name, stage: s.Stage, do: m{"do": "verdict", "verdict": v}, verdict: k.Name})
		}
	}
	return all
}

// follow finds an object from another one by the names of fields, as they are declared.
func follow(t *testing.T, o any, path []any) any {
	for _, name := range path {
		if i, ok := name.(int64); ok {
			if parts, ok := o.([]*message.Part); ok {
				o = parts[i-1]
				continue
			}
			o = o.([]*hooks.RcptView)[i-1]
			continue
		}
		f := declared(t, o, name.(string))
		o = f.Value(o)
	}
	return o
}

func objectOf(o any) string {
	switch o.(type) {
	case *message.Session:
		return "session"
	case *hooks.LoginView:
		return "login"
	case *hooks.MessageView:
		return "message"
	case *hooks.RcptView:
		return "rcpt"
	case *hooks.DeliveryView:
		return "delivery"
	case *message.Part:
		return "part"
	}
	return fmt.Sprintf("%T", o)
}

func declared(t *testing.T, o any, name string) hooks.Field {
	for _, d := range hooks.Objects() {
		for _, f := range d.Fields {
			if d.Name == objectOf(o) && f.Name == name {
				return f
			}
		}
	}
	t.Fatalf("%s has no field %s", objectOf(o), name)
	return hooks.Field{}
}

// expected is what the plugins report of an object's fields: what the declarations read.
func expected(t *testing.T, object string, o any) map[string]any {
	i := slices.IndexFunc(hooks.Objects(), func(d hooks.Object) bool { return d.Name == object })
	out := m{}
	for _, f := range hooks.Objects()[i].Fields {
		switch {
		case f.Type == hooks.TypeFacts || f.Type == hooks.TypeMyFacts:
			known := m{}
			if v, ok := hooks.FactsOf(o).Get("p.known"); ok {
				known["known"] = v
			}
			out[f.Name] = known
		case f.Str != nil:
			if s := f.Str(o); s != "" || !f.Optional {
				out[f.Name] = s
			}
		case f.Int != nil:
			out[f.Name] = f.Int(o)
		case f.Bool != nil:
			out[f.Name] = f.Bool(o)
		case f.Time != nil:
			if at := f.Time(o); !at.IsZero() {
				out[f.Name] = float64(at.UnixMicro()) / 1e6
			}
		default:
			v := f.Value(o)
			rcpts, isList := v.([]*hooks.RcptView)
			parts, isParts := v.([]*message.Part)
			switch {
			case isParts:
				list := l{}
				for _, p := range parts {
					list = append(list, p.Type)
				}
				out[f.Name] = list
			case v == nil || reflect.ValueOf(v).Kind() == reflect.Pointer && reflect.ValueOf(v).IsNil():
			case isList:
				list := l{}
				for _, r := range rcpts {
					list = append(list, r.Address.Text)
				}
				out[f.Name] = list
			case f.Type == hooks.TypeObject && wasm.Inline(f.Of):
				out[f.Name] = expected(t, f.Of, v)
			case f.Type == hooks.TypeObject:
				out[f.Name] = "object"
			default:
				out[f.Name] = v
			}
		}
	}
	return out
}

// TestConformance runs the table and prints it.
func TestConformance(t *testing.T) {
	table := append(fromDeclarations(t), cases()...)
	langs := languages(t)
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "\nfeature")
	for _, lang := range langs {
		fmt.Fprint(w, "\t", lang.name)
	}
	fmt.Fprintln(w)
	passed := make([]int, len(langs))
	came := map[string]string{} // what each case came to, in the language that was first
	named := map[string]bool{}
	for i := range table {
		c := &table[i]
		if named[c.name] {
			t.Errorf("two cases are called %s", c.name)
		}
		named[c.name] = true
		fmt.Fprint(w, c.name)
		for j, lang := range langs {
			word := "ok"
			if !t.Run(lang.name+"/"+c.name, func(t *testing.T) { check(t, lang, c, came) }) {
				word = "FAILS"
			} else {
				passed[j]++
			}
			fmt.Fprint(w, "\t", word)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "of %d", len(table))
	for j := range langs {
		fmt.Fprint(w, "\t", passed[j])
	}
	fmt.Fprintln(w)
	w.Flush()
	t.Log(out.String())
}

func check(t *testing.T, lang language, c *testCase, came map[string]string) {
	call, rec, err := run(t, lang, c)
	if c.do["do"] == "refuse" {
		if err == nil || !strings.Contains(err.Error(), c.verdict) {
			t.Errorf("it loads, %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	want, why := c.verdict, ""
	for _, prefix := range []string{failed, failedLogin} {
		if rest, ok := strings.CutPrefix(want, prefix); ok {
			want, why = prefix, strings.TrimSpace(rest)
		}
	}
	if want == "" {
		want = "next"
	}
	if got := rec.verdict(); !strings.HasPrefix(strings.Replace(got, "<u@example.org> ", "", 1), want) && !strings.HasPrefix(got, want) || !strings.Contains(got, why) {
		t.Errorf("it answered %q, want %q with %q", got, want, why)
	}
	got, reported := rec.got()
	if want := show(c.got); c.got != nil && show(got) != want || c.got == nil && reported && got != nil {
		t.Errorf("it reported %s, want %s", show(got), want)
	}
	if !slices.Equal(rec.step.Edits, c.edits) {
		t.Errorf("it changed %q, want %q", rec.step.Edits, c.edits)
	}
	if c.facts != nil {
		facts := m{}
		for _, f := range hooks.FactsOf(call.Object()).All() {
			facts[f.Name] = f.Value
		}
		if show(facts) != show(c.facts) {
			t.Errorf("the facts are %s, want %s", show(facts), show(c.facts))
		}
	}
	state := rec.step.Verdict + "\n" + after(t, call)
	if first, ok := came[c.name]; ok && state != first {
		t.Errorf("it left\n%s\nand the first language\n%s", state, first)
	}
	came[c.name] = state
	for _, want := range c.log {
		if !slices.ContainsFunc(rec.log, func(l line) bool { return l.level+" "+l.text+" "+show(l.data) == want }) {
			t.Errorf("the log has %+v, not %q", rec.log, want)
		}
	}
}

// TestEverythingHasACase: what is declared without a case is named.
func TestEverythingHasACase(t *testing.T) {
	read, err := api.New()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{"method message.header": true, "method message.headers": true, "method content.read": true, "method content.chunks": true, "method message.rewrite": true, "method part.text": true}
	for _, name := range []string{"send", "line", "read", "close"} { // by the case that talks
		seen["service net."+name] = true
	}
	var verdict func(v map[string]any)
	verdict = func(v map[string]any) {
		for key := range v {
			seen[fmt.Sprintf("verdict %s.%s", v["kind"], key)] = true
		}
		if list, ok := v["verdicts"].([]any); ok {
			for _, e := range list {
				verdict(e.(map[string]any))
			}
		}
	}
	for _, c := range append(cases(), fromDeclarations(t)...) {
		if v, ok := c.do["verdict"].(map[string]any); ok {
			verdict(v)
		}
		if list, ok := c.do["edits"].([]any); ok {
			for _, e := range list {
				seen["method "+e.([]any)[0].(string)] = true
			}
		}
		if c.do["service"] != nil {
			seen["service "+c.do["service"].(string)] = true
		}
	}
	for _, k := range hooks.Verdicts() {
		for _, a := range read.Form(k.Kind).Keys {
			if !seen["verdict "+k.Name+"."+a.Name] {
				t.Errorf("no case answers with %s{%s}; write one with answer(...) in plugins/conformance", k.Name, a.Name)
			}
		}
	}
	for _, o := range hooks.Objects() {
		for _, method := range o.Methods {
			if name := o.Name + "." + method.Name; !seen["method "+name] {
				t.Errorf("no case calls %s; write one with edits(...) in plugins/conformance", name)
			}
		}
	}
	for _, s := range service.Services() {
		for _, f := range s.All() {
			if !seen["service "+f.Name] {
				t.Errorf("no case calls %s; write service(%q, result, arguments...) in plugins/conformance", f.Usage(), f.Name)
			}
		}
	}
}
