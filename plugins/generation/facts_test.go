package generation

import (
	"reflect"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/message"
)

// TestFacts: a hook that cannot do without a fact is not loaded beside a plugin that says it sets no such one; under another name a
// plugin declares facts of that name.
func TestFacts(t *testing.T) {
	const score = `plugin { id = "score", version = "1.0.0", description = "x",
  facts = { mail = { type = "int", of = "message" }, ["zone.*"] = { type = "bool" } } }
function on.mail(m) m.my.mail = 1 end
`
	reader := func(reads string) string {
		return `plugin { id = "reader", needs = { facts = {"other.x"} }, hook = { data = { reads = {` + reads + `} } } }
function on.data(m) end
`
	}
	for _, c := range []struct{ reads, run, err string }{
		{`"score.mail", "score.zone.a"`, "", ""},
		{`"score.mial?"`, "", ""}, // it can do without
		{`"score.mial"`, "", `plugins/reader.lua:2: reader at data reads: unknown fact "score.mial" of the plugin score; did you mean "score.mail"? known: score.mail, score.zone.*`},
		{`"again.mial"`, "[run.again]\nplugin = \"score\"\n", `unknown fact "again.mial" of the plugin again; did you mean "again.mail"?`},
		{`"again.mail"`, "[run.again]\nplugin = \"score\"\n", ""},
		{`"score.given"`, "", ""}, // by the plugin giver
		{`"none.x"`, "", `no plugin that is loaded sets it`},
	} {
		s := newSite(t)
		s.write("stagepost.toml", base+c.run)
		s.write("plugins/score.lua", score)
		s.write("plugins/giver.lua", "plugin { id = \"giver\", needs = { facts = {\"score.given\"} } }\nfunction on.mail(m) m.facts[\"score.given\"] = 1 end\n")
		s.write("plugins/reader.lua", reader(c.reads))
		err := s.open()
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("reads %s: %v, want %q", c.reads, err, c.err)
		}
		if err != nil {
			continue
		}
		for _, p := range s.m.Status().Plugins {
			want := map[string]message.FactRules{
				"score": {{Name: "score.mail", Type: "int", Of: "message", Line: 2}, {Name: "score.zone.*", Type: "bool", Line: 2}},
				"again": {{Name: "again.mail", Type: "int", Of: "message", Line: 2}, {Name: "again.zone.*", Type: "bool", Line: 2}},
			}[p.Name]
			if !reflect.DeepEqual(p.Facts, want) {
				t.Errorf("%s declares %+v, want %+v", p.Name, p.Facts, want)
			}
		}
	}
}
