package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/api"
)

// What the SDKs have in common.

// number is a number of the ABI with its name.
type number struct {
	what, name string // "field", "session.id"
	n          int
}

// numbers are those of the ABI, what belongs together in a row.
func (m *model) numbers() (out []number) {
	add := func(what, name string, n int) { out = append(out, number{what, name, n}) }
	for _, s := range m.Stages {
		add("stage", s.Name, int(s.Stage))
	}
	for _, v := range m.Verdicts {
		add("verdict", v.Name, int(v.KindInfo.Kind))
	}
	for i, name := range m.Edits {
		add("edit", name, i)
	}
	for i, name := range m.Levels {
		add("level", name, i)
	}
	for _, e := range m.Errnos {
		add("errno", e.Name, e.Code)
	}
	for _, o := range m.Objects {
		add("object", o.Name, o.Number)
	}
	for _, o := range m.Objects {
		for _, f := range o.Fields {
			add("field", o.Name+"."+f.Name, f.Number)
		}
	}
	return out
}

// inline tells whether an object comes whole, as a map.
func (m *model) inline(name string) bool {
	i := slices.IndexFunc(m.Objects, func(o objectModel) bool { return o.Name == name })
	return i >= 0 && m.Objects[i].Inline
}

// byHand tells which methods the C and Rust SDKs have by hand: those that read, and those that take a function.
func (m methodModel) byHand() bool {
	return m.Edit < 0 || slices.ContainsFunc(m.Shape, func(a api.Arg) bool { return a.Type == api.Function })
}

// table are the arguments that a verdict takes by name.
func (v verdictModel) table() (keys []api.Arg) {
	for _, a := range v.Keys {
		if slices.Contains(v.Table, a.Name) {
			keys = append(keys, a)
		}
	}
	return keys
}

// oneText tells whether a verdict is mostly written with a text of the author's, as in reject "no".
func (v verdictModel) oneText() bool {
	i := slices.IndexFunc(v.Keys, func(a api.Arg) bool { return a.Name == v.Word })
	return i >= 0 && v.Keys[i].Words == nil
}

func (m methodModel) doc() string {
	at := make([]string, len(m.Stages))
	for i, s := range m.Stages {
		at[i] = s.String()
	}
	doc := m.Doc + ". Works at " + strings.Join(at, ", ")
	if m.Needs != "" {
		doc += "; needs " + m.Needs
	}
	return doc + "."
}

func (f funcModel) doc() string {
	doc := f.Usage()
	if f.Result != "" {
		doc += " -> " + f.Result
	}
	doc += ": " + f.Doc
	if f.Needs != "" {
		doc += " Needs " + f.Needs + "."
	}
	return doc
}

func stageDoc(s hooks.StageInfo) string {
	doc := firstUpper(s.Asked)
	if names := s.Verdicts.Names(); names != nil {
		doc += "; may answer " + strings.Join(names, ", ")
	}
	return doc + "."
}

// comment writes text as lines that begin so, of at most 130 characters.
func comment(b *strings.Builder, begin, text string) {
	line := begin
	for _, word := range strings.Fields(text) {
		if len(line)+1+len(word) > 130 && line != begin {
			b.WriteString(line + "\n")
			line = begin
		}
		line += " " + word
	}
	b.WriteString(line + "\n")
}

func pick(cond bool, yes, no string) string {
	if cond {
		return yes
	}
	return no
}

func firstUpper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// upper makes "session.local_ip" "SESSION_LOCAL_IP".
func upper(s string) string { return strings.ToUpper(strings.ReplaceAll(s, ".", "_")) }

func errNew(what, language string) error {
	return fmt.Errorf("%s is new; say in scripts/generate how %s has it", what, language)
}
