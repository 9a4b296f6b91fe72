// Package consent says in plain words what a plugin may do, so that an operator can consent to it, and what another version of it
// asks for beyond that.
//
// A Sheet is made of a package alone, and no code of it runs. What a plugin is able to do has two bounds that its author cannot talk
// away: the capabilities that its manifest asks for, which the server holds it to, and the answers that each of its hooks may give.
// A plugin in Lua has a hook where its main file sets on.STAGE, which is read from the syntax tree, as the engine reads it; and it
// can give no answer whose word its compiled code never reads, since there is no other way for it to come to one. A plugin in
// WebAssembly has the hooks that its manifest names, and may answer there whatever the stage takes. So a sheet says what a plugin
// can do, and not what its author says that it does: of that there is the description, in quotes.
//
// Hash names what is consented to. Two versions with the same rights have the same hash, whatever else changed; the bounds that the
// server sets are no part of it, since they are not what the plugin asks for. Widened compares two sheets, capability by capability
// and hook by hook; what it cannot tell to be no more counts as more.
//
// What strangers wrote goes through Clean before it gets into a Sheet or a Diff: it is one line of bounded length, in which a
// terminal finds nothing to act on; and Text puts each of its lines behind a mark that none of its own lines has.
package consent

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/lua"
	"github.com/stagepost/stagepost/plugins/manifest"
)

// Bounds of what strangers wrote, in columns of a terminal.
const (
	maxDescription = 300
	maxDoc         = 300
)

// Sheet is what one package may do. It is not changed once it was made.
type Sheet struct {
	ID          string        `json:"id"`
	Version     string        `json:"version"`
	Digest      digest.Digest `json:"digest"`
	Engine      string        `json:"engine"` // "lua" or "wasm"
	Description string        `json:"description,omitempty"`
	Rights      string        `json:"rights"` // Hash

	// In plain words.
	Asked    []string `json:"asked"` // at which stages, about which mail
	Reads    []string `json:"reads"`
	Changes  []string `json:"changes"`
	Allows   []string `json:"allows"` // what it can let in
	Contacts []string `json:"contacts"`
	Refuses  []string `json:"refuses"`
	Keeps    []string `json:"keeps"`
	Limits   []string `json:"limits"`

	Settings []Setting      `json:"settings"`
	Needs    map[string]any `json:"needs"` // as in the manifest, lists sorted
	Hooks    []Hook         `json:"hooks"` // in the order of a message's life

	asks  *capability.Needs
	seen  []string        // what it reads because of the stages at which it is asked
	words map[string]bool // globals that its code reads; nil: any
}

// Setting is one that the operator may write, or must.
type Setting struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Required bool   `json:"required,omitempty"`
	Doc      string `json:"doc,omitempty"`
}

// Hook is what the plugin may do at one stage.
type Hook struct {
	Stage      string   `json:"stage"`
	Answers    []string `json:"answers"`  // that it may give, besides next
	OnError    string   `json:"on_error"` // what is answered when it fails: next, defer or reject
	Timeout    string   `json:"timeout"`
	Every      string   `json:"every,omitempty"`      // of tick
	Background bool     `json:"background,omitempty"` // it works beside the session, and answers nothing
	Roles      []string `json:"roles,omitempty"`      // it is asked about mail that came in these alone; none: in any
	Listeners  []string `json:"listeners,omitempty"`
	User       *bool    `json:"user,omitempty"` // only with, or only without a log-in

	stage          hooks.Stage
	answers        hooks.Kinds
	onError        hooks.Kind
	timeout, every time.Duration
}

// Of reads what a package may do. One whose code does not say of itself what the package says, or that this server would not load, is
// an error.
func Of(p *catalog.Package) (*Sheet, error) {
	m, image, err := p.Compile()
	if err != nil {
		return nil, err
	}
	s := &Sheet{ID: m.ID, Version: m.Version, Digest: p.Digest, Engine: p.Summary.Engine, Description: Clean(m.Description, maxDescription), Needs: needs(p.Summary.Needs),
		Settings: []Setting{}, Hooks: []Hook{}, asks: m.Needs}
	for _, part := range s.parts() {
		*part.lines = []string{} // none is not null
	}
	stages, err := s.stages(m, image)
	if err != nil {
		return nil, err
	}
	for _, stage := range stages {
		s.Hooks = append(s.Hooks, s.hook(m, stage))
	}
	for i := range m.Config {
		c := &m.Config[i]
		s.Settings = append(s.Settings, Setting{c.Name, string(c.Type), c.Required, Clean(c.Doc, maxDoc)})
	}
	s.say()
	s.Rights = s.Hash()
	return s, nil
}

// needs is what a plugin asks for in a form in which the same is equal.
func needs(said map[string]any) map[string]any {
	out := make(map[string]any, len(said))
	for name, v := range said {
		switch list := v.(type) {
		case []any: // it was read
			text := make([]string, len(list))
			for i := range list {
				text[i], _ = list[i].(string)
			}
			v = sorted(text)
		case []string:
			v = sorted(list)
		}
		out[name] = v
	}
	return out
}

func sorted(list []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(list)))
}

// stages are those at which the plugin is asked, in order.
func (s *Sheet) stages(m *manifest.Manifest, image *lua.Image) ([]hooks.Stage, error) {
	if image == nil { // WebAssembly
		return slices.Sorted(maps.Keys(m.Hooks)), nil
	}
	s.words = image.Globals()
	var stages []hooks.Stage
	for _, h := range image.Main().Handlers {
		stage, ok := hooks.StageByName(h.Name)
		if !ok {
			return nil, fmt.Errorf("%s:%d: there is no stage %s", image.Main().Name, h.Line, Clean(fmt.Sprintf("%q", h.Name), 40))
		}
		stages = append(stages, stage)
	}
	slices.Sort(stages)
	return slices.Compact(stages), nil
}

// hook tells what the plugin may do at a stage.
func (s *Sheet) hook(m *manifest.Manifest, stage hooks.Stage) Hook {
	spec, ok := m.Hooks[stage]
	if !ok {
		spec = manifest.DefaultHook()
	}
	h := Hook{
		Stage: stage.String(), Answers: []string{}, OnError: hooks.Next.String(), Timeout: config.FormatDuration(spec.Timeout), Background: spec.Background,
		Listeners: sorted(spec.When.Listeners), User: spec.When.User, stage: stage, timeout: spec.Timeout,
	}
	for _, r := range spec.When.Roles {
		h.Roles = append(h.Roles, string(r))
	}
	h.Roles = sorted(h.Roles)
	if stage == hooks.Tick {
		h.every = cmp.Or(spec.Every, manifest.DefaultEvery)
		h.Every = config.FormatDuration(h.every)
	}
	if spec.Background {
		return h
	}
	for _, k := range hooks.Verdicts() {
		if stage.Verdicts().Has(k.Kind) && s.reads(k.Name) {
			h.answers |= 1 << k.Kind
		}
	}
	h.Answers = append(h.Answers, h.answers.Names()...)
	if stage.Verdicts().Has(spec.OnError) {
		h.OnError, h.onError = spec.OnError.String(), spec.OnError
	}
	return h
}

// reads tells whether the plugin's code may read a global.
func (s *Sheet) reads(name string) bool { return s.words == nil || s.words[name] }

// may tells whether it may give an answer at any of the stages, of all without any.
func (s *Sheet) may(k hooks.Kind, stages ...hooks.Stage) bool {
	return slices.ContainsFunc(s.Hooks, func(h Hook) bool {
		return h.answers.Has(k) && (len(stages) == 0 || slices.Contains(stages, h.stage))
	})
}

// Hash names the rights: what the plugin is, what it needs, what it may do at each stage, and what it must be told. "rights:" and a SHA-256.
func (s *Sheet) Hash() string {
	var required []string
	for _, c := range s.Settings {
		if c.Required {
			required = append(required, c.Name)
		}
	}
	text, err := json.Marshal(struct {
		ID, Engine string
		Needs      map[string]any
		Hooks      []Hook
		Required   []string
	}{s.ID, s.Engine, s.Needs, s.Hooks, required})
	if err != nil {
		panic(err) // there are only strings and truth values in it
	}
	sum := sha256.Sum256(text)
	return "rights:" + hex.EncodeToString(sum[:])
}
