// Conformance is the plugin in Go that does what a case says. See plugins/conformance.
package main

import (
	"errors"
	"fmt"
	"io"

	stagepost "github.com/stagepost/stagepost/sdk/go"
)

func init() {
	stagepost.OnLoad(func(s stagepost.Settings) error {
		if s.Map("case")["do"] == "refuse" {
			return errors.New("these settings are refused")
		}
		return nil
	})
	register(do)
}

func do(asked any) stagepost.Verdict {
	c := stagepost.Config().Map("case")
	o := asked
	for _, name := range list(c["path"]) {
		if i, ok := name.(int64); ok {
			if parts, ok := o.([]stagepost.Part); ok {
				o = parts[i-1]
				continue
			}
			o = o.([]stagepost.Rcpt)[i-1]
		} else {
			o = member(o, text(name))
		}
	}
	switch text(c["do"]) {
	case "fields":
		report(fields(o))
	case "verdict":
		return verdict(object(c["verdict"]))
	case "edits":
		for _, e := range list(c["edits"]) {
			a := list(e)
			edit(o, text(a[0]), a[1:])
		}
	case "service":
		v, err := service(text(c["service"]), list(c["args"]))
		if err != nil {
			return stagepost.Fail(err)
		}
		report(v)
	case "fact":
		facts, my := factsOf(o)
		my.Set(text(c["my"]), c["value"])
		facts.Set(text(c["name"]), c["value"])
		report([]any{my.Get(text(c["my"])), facts.Get(text(c["name"]))})
	case "header":
		m, name := o.(stagepost.Message), text(c["name"])
		first, _ := m.Header(name)
		second, _ := m.HeaderAt(name, 2)
		_, third := m.HeaderAt(name, 3)
		report([]any{first, second, third})
	case "headers":
		var all []any
		for _, f := range o.(stagepost.Message).Headers(text(c["name"])) {
			all = append(all, map[string]any{"name": f.Name, "value": f.Value, "raw": f.Raw})
		}
		report(all)
	case "read":
		content := o.(stagepost.Message).Content()
		whole, err := io.ReadAll(content.Reader())
		if err != nil {
			return stagepost.Fail(err)
		}
		report([]any{string(content.Read(9, 3)), string(content.Read(1000, 3)), len(whole)})
	case "chunks":
		var all []any
		for piece := range o.(stagepost.Message).Content().Chunks(16) {
			all = append(all, string(piece))
		}
		report(all)
	case "text":
		p := o.(stagepost.Message).Parts()[0]
		report([]any{p.Text(), string(p.Content().Read(0, 4)), p.Content().Size()})
	case "post":
		m := o.(stagepost.Message)
		var got []string
		for _, c := range []stagepost.Content{m.Parts()[0].Content(), *m.Content()} {
			r, err := stagepost.HTTP.Request(map[string]any{"url": "https://api.example/", "body": c.Number()})
			if err != nil {
				return stagepost.Fail(err)
			}
			got = append(got, r.Body)
		}
		report([]any{got[0], len(got[1])})
	case "talk":
		return talk()
	case "rewrite":
		m := o.(stagepost.Message)
		var seen []any
		m.Rewrite(func(chunk []byte, last bool) []byte {
			seen = []any{m.BodyStart(), string(chunk), last}
			return append(chunk, "end"...)
		})
		report(seen)
	case "settings":
		s := stagepost.Config()
		report([]any{s.Bool("bool"), s.Int("int"), s.Text("string"), s.Duration("duration").Seconds(), s.Int("size"), s.List("list"), s.Map("map")})
	case "fail":
		return stagepost.Fail(errors.New("it cannot be told"))
	default:
		return stagepost.Fail(fmt.Errorf("nothing is known of %v", c["do"]))
	}
	return nil
}

func talk() stagepost.Verdict {
	n := stagepost.Net
	c, err := n.Open("talk.example:7")
	first := n.Send(c, "one\r\ntwo")
	line, _, err1 := n.Line(c)
	two, _, err2 := n.Read(c, 3)
	second := n.Send(c, "end\n")
	last, _, err3 := n.Line(c)
	_, more, err4 := n.Line(c)
	if err := errors.Join(err, first, err1, err2, second, err3, err4, n.Close(c)); err != nil {
		return stagepost.Fail(err)
	}
	_, _, closed := n.Line(c)
	report([]any{line, two, last, !more, closed != nil})
	return nil
}

func report(v any) {
	if err := stagepost.Log.Info("got", map[string]any{"value": v}); err != nil {
		panic(err)
	}
}

func factsOf(o any) (facts, my stagepost.Facts) {
	switch o := o.(type) {
	case stagepost.Session:
		return o.Facts(), o.My()
	case stagepost.Message:
		return o.Facts(), o.My()
	}
	r := o.(stagepost.Rcpt)
	return r.Facts(), r.My()
}

func main() {}
