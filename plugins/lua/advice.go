package lua

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/manifest"
	"github.com/stagepost/stagepost/plugins/service"
)

// mentions are the names in a plugin's code, as the checker comes across them.
type mentions struct {
	globals  map[string]bool // read, not set
	names    map[string]bool // of fields and methods, and every text
	settings []Mention       // config.NAME
	reads    []Mention       // facts by full name, and "my.NAME"
	sets     []Mention       // of facts
	anyFact  bool            // facts are used in a way that may name any
	anything bool            // a field of an object is named at run time
	all      bool            // config is used as a whole
}

func newMentions() *mentions {
	return &mentions{globals: map[string]bool{}, names: map[string]bool{}}
}

func (m *mentions) global(name string) {
	m.globals[name] = true
	m.all = m.all || name == "config"
}

// adviser gathers what a plugin that loads says without need, or leaves unsaid.
type adviser struct {
	man  *manifest.Manifest
	seen *mentions
	out  []*Error
}

func (a *adviser) say(file string, line int, format string, args ...any) {
	a.out = append(a.out, &Error{File: file, Line: line, Message: fmt.Sprintf(format, args...)})
}

// about says something of the manifest.
func (a *adviser) about(line int, format string, args ...any) {
	if line == 0 {
		line = a.man.Line
	}
	a.say(a.man.File, line, format, args...)
}

// Advise opens a plugin's files, as Open does, and says what in them is likely not meant, though it loads. It says only what is
// certain: of names that code may build at run time nothing is said.
func Advise(f Files) ([]*Error, error) {
	man, image, err := Open(f)
	if err != nil {
		return nil, err
	}
	a := &adviser{man: man, seen: newMentions()}
	used := map[string]bool{f.Main: true}
	for name := range image.modules {
		used[name+".lua"] = true
	}
	for _, name := range slices.Sorted(maps.Keys(f.Texts)) {
		if !strings.HasSuffix(name, ".lua") {
			continue
		}
		if !used[name] {
			a.say(f.Path(name), 1, "no file requires this one; take it away")
			continue
		}
		chunk, err := Parse(Source{Name: f.Path(name), Text: f.Texts[name]})
		if err != nil {
			return nil, err
		}
		c := newChecker(chunk.Name, man.Needs)
		c.block(chunk.Stmts)
		a.file(c)
	}
	if len(image.Main().Handlers) == 0 {
		a.say(image.Main().Name, 1, "it has no function on.STAGE, so it is never asked")
	}
	a.header()
	a.needs()
	a.config()
	a.facts()
	slices.SortStableFunc(a.out, func(x, y *Error) int {
		if x.File != y.File {
			return strings.Compare(x.File, y.File)
		}
		return x.Line - y.Line
	})
	return a.out, nil
}

// file adds the mentions of one file, and says what is wrong in it by itself.
func (a *adviser) file(c *checker) {
	m := c.seen
	maps.Copy(a.seen.globals, m.globals)
	maps.Copy(a.seen.names, m.names)
	a.seen.settings = append(a.seen.settings, m.settings...)
	a.seen.reads = append(a.seen.reads, m.reads...)
	a.seen.sets = append(a.seen.sets, m.sets...)
	a.seen.anyFact, a.seen.anything, a.seen.all = a.seen.anyFact || m.anyFact, a.seen.anything || m.anything, a.seen.all || m.all

	var known []string
	for i := range a.man.Config {
		known = append(known, a.man.Config[i].Name)
	}
	for _, s := range m.settings {
		if !slices.Contains(known, s.Name) {
			a.say(c.file, s.Line, "config.%s is always nil: the header has no such setting%s", s.Name, hint(s.Name, known))
		}
	}
	for _, r := range m.reads {
		if a.foreign(r.Name) && !a.listed(r.Name, func(h manifest.HookSpec) []string { return h.Reads }) {
			a.say(c.file, r.Line, "the fact %q is not in reads of any hook, so the plugin that sets it may be asked later; write reads = {%q}", r.Name, r.Name+"?")
		}
	}
	declared := manifest.FactNames(a.man.ID, a.man.Facts)
	for _, list := range []struct {
		mentions []Mention
		then     string
	}{{m.reads, "it is always nil"}, {m.sets, "to set it is an error"}} {
		for _, f := range list.mentions {
			if key, own := strings.CutPrefix(a.full(f.Name), a.man.ID+"."); a.man.Facts != nil && own && a.man.Facts.Find(key) == nil {
				a.say(c.file, f.Line, "the fact %q is not declared under facts, so %s%s", a.full(f.Name), list.then, hint(a.full(f.Name), declared))
			}
		}
	}
	for _, s := range m.sets {
		name := a.full(s.Name)
		if a.lists(func(h manifest.HookSpec) []string { return h.Sets }) && !a.listed(name, func(h manifest.HookSpec) []string { return h.Sets }) {
			a.say(c.file, s.Line, "the fact %q is not in sets of any hook, and others are: nobody who reads it is asked after this plugin", name)
		}
	}
}

// full is a fact's full name.
func (a *adviser) full(fact string) string {
	if own, ok := strings.CutPrefix(fact, "my."); ok {
		return a.man.ID + "." + own
	}
	return fact
}

// foreign tells whether another plugin sets the fact.
func (a *adviser) foreign(fact string) bool {
	own := append([]string{"my", a.man.ID}, a.man.Needs.Facts...)
	return !slices.ContainsFunc(own, func(o string) bool { return hooks.CoversFact(o, fact) })
}

// listed tells whether a list of any hook covers the fact.
func (a *adviser) listed(fact string, list func(manifest.HookSpec) []string) bool {
	for _, h := range a.man.Hooks {
		if slices.ContainsFunc(list(h), func(d string) bool { return hooks.CoversFact(strings.TrimSuffix(d, "?"), fact) }) {
			return true
		}
	}
	return false
}

// lists tells whether any hook has such a list.
func (a *adviser) lists(list func(manifest.HookSpec) []string) bool {
	for _, h := range a.man.Hooks {
		if len(list(h)) > 0 {
			return true
		}
	}
	return false
}

// header looks at what a manifest should say.
func (a *adviser) header() {
	if a.man.Version == "0.0.0" {
		a.about(0, `it has no version; write version = "1.0.0"`)
	}
	if a.man.Description == "" {
		a.about(0, "it has no description, which listings show")
	}
	said := false
	for stage, h := range a.man.Hooks {
		said = said || h.Said || h.Background || stage == hooks.Tick // the last two answer nothing, whatever fails
	}
	if said || a.seen.globals["pcall"] {
		return
	}
	var services []string
	for _, s := range service.Services() {
		if a.seen.globals[s.Name] && slices.ContainsFunc(s.Funcs, func(f service.Func) bool { return f.Needs != "" }) {
			services = append(services, s.Name)
		}
	}
	if len(services) > 0 {
		a.about(0, `%s may fail, and no hook says what then: mail is deferred, since that is the default of on_error; write it, or "next"`, strings.Join(services, " and "))
	}
}

// needs looks for what is asked for and not used.
func (a *adviser) needs() {
	if a.seen.anything {
		return
	}
	unused := func(form, why string) { a.about(0, "needs = { %s }: %s", form, why) }
	n := a.man.Needs
	for _, name := range []string{"dns", "kv", "http", "net", "lookup", "secrets", "inject", "shape"} { // what services do
		if name == "secrets" && a.seen.globals[hooks.RouteTo.String()] && a.seen.names["auth"] {
			continue // plans name some
		}
		if n.Refuse("", name) == nil && !a.serves(name) {
			form, value, _ := strings.Cut(capability.AskFor(name), " = ")
			if strings.HasPrefix(value, "{") {
				value = "..."
			}
			unused(form+" = "+value, "nothing uses it")
		}
	}
	if n.Relay && !a.seen.globals[hooks.Accept.String()] && !a.method("edit rcpts") {
		unused("relay = true", "nothing accepts a recipient")
	}
	if len(n.Route) > 0 && !a.seen.globals[hooks.RouteTo.String()] && !a.serves("shape") {
		unused("route = ...", "nothing routes")
	}
	switch header, body := a.method("read"), a.method("read body"); {
	case n.Read == capability.ReadBody && !body && header:
		unused(`read = "body"`, `only the header is read; write read = "headers"`)
	case n.Read != capability.ReadNothing && !body && !header:
		unused("read = ...", "nothing reads the message")
	}
	for _, e := range []struct {
		part capability.Editing
		name string
	}{{capability.EditHeaders, "headers"}, {capability.EditSender, "sender"}, {capability.EditRcpts, "rcpts"}, {capability.EditBody, "body"}} {
		if n.Edit&e.part != 0 && !a.method("edit "+e.name) {
			unused(fmt.Sprintf("edit = {%q}", e.name), "nothing changes them")
		}
	}
	for _, fact := range n.Facts {
		if !a.seen.anyFact && !slices.ContainsFunc(a.seen.sets, func(m Mention) bool { return hooks.CoversFact(fact, a.full(m.Name)) }) {
			unused(fmt.Sprintf("facts = {%q}", fact), "nothing sets it")
		}
	}
}

// serves tells whether a service is named that needs this.
func (a *adviser) serves(needs string) bool {
	return slices.ContainsFunc(service.Services(), func(s service.Service) bool {
		return a.seen.globals[s.Name] && slices.ContainsFunc(s.Funcs, func(f service.Func) bool { return f.Needs == needs })
	})
}

// method tells whether a method is named that needs this.
func (a *adviser) method(needs string) bool {
	for _, o := range hooks.Objects() {
		for _, m := range o.Methods {
			if m.Needs == needs && a.seen.names[m.Name] {
				return true
			}
		}
	}
	return false
}

// config looks for settings that nothing reads or nobody can understand.
func (a *adviser) config() {
	for i := range a.man.Config {
		s := &a.man.Config[i]
		if s.Doc == "" {
			a.about(s.Line, "the setting %s has no doc, so nobody knows what it is for", s.Name)
		}
		if !a.seen.all && !slices.ContainsFunc(a.seen.settings, func(m Mention) bool { return m.Name == s.Name }) {
			a.about(s.Line, "nothing reads the setting %s", s.Name)
		}
	}
}

// facts looks for facts that are declared and nothing sets, or nobody can understand.
func (a *adviser) facts() {
	for i := range a.man.Facts {
		r := &a.man.Facts[i]
		if r.Doc == "" {
			a.about(r.Line, "the fact %s has no doc, so nobody knows what it tells", r.Name)
		}
		if name := a.man.ID + "." + r.Name; !a.seen.anyFact && !slices.ContainsFunc(a.seen.sets, func(m Mention) bool { return hooks.CoversFact(name, a.full(m.Name)) }) {
			a.about(r.Line, "facts: nothing sets the fact %q", name)
		}
	}
	if a.seen.anyFact {
		return
	}
	for _, s := range hooks.Stages() {
		h := a.man.Hooks[s.Stage]
		for _, fact := range h.Sets {
			if !slices.ContainsFunc(a.seen.sets, func(m Mention) bool { return hooks.CoversFact(fact, a.full(m.Name)) }) {
				a.about(h.Line, "hook.%s.sets: nothing sets the fact %q", s.Name, fact)
			}
		}
	}
}
