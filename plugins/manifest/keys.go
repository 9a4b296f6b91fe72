package manifest

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
)

// Bounds of what a manifest holds.
const (
	maxName        = 128 // bytes of a name of any sort
	maxList        = 100
	maxSettings    = 200
	maxDescription = 400
	maxDoc         = 1000
	maxOrder       = 10_000
	minTimeout     = 10 * time.Millisecond
	maxTimeout     = 10 * time.Minute
	maxEvery       = 30 * 24 * time.Hour
)

// Key declares one key of a manifest; the decoder and the manual use the same declaration.
type Key struct {
	Name     string // NAME and STAGE stand for any that fit
	Form     string // as written in a Lua header
	Doc      string
	Required bool

	set func(d *decoder, at string, n *node)
}

// Section is a table of a manifest with its keys.
type Section struct {
	Name string // "", "needs", "config.NAME", "facts.NAME", "hook.STAGE", "hook.STAGE.when"
	Keys []Key
}

// Document lists all that may stand in a manifest, in the order of the manual.
func Document() []Section {
	var needs []Key
	for _, c := range capability.Capabilities() {
		needs = append(needs, Key{Name: c.Name, Form: c.Form, Doc: c.Doc})
	}
	return []Section{
		{"", new(Manifest).keys()},
		{"needs", needs},
		{"config.NAME", new(Setting).keys(&raw{})},
		{"facts.NAME", factKeys(new(message.FactRule))},
		{"hook.STAGE", new(HookSpec).keys(hooks.Rcpt)},
		{"hook.STAGE.when", whenKeys(new(hooks.When))},
		{"hook.tick", new(HookSpec).keys(hooks.Tick)},
	}
}

var (
	idPattern      = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,63}$`)
	givenName      = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`) // of plugins and listeners, as the configuration has them
	settingPattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
	factPattern    = regexp.MustCompile(`^[a-z][a-z0-9_-]*(\.[A-Za-z0-9_-]+)*(\.\*)?$`)
	ownFactPattern = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(\.\*)?$`) // with the plugin's name before it: factPattern
	readPattern    = regexp.MustCompile(`^[a-z][a-z0-9_-]*(\.[A-Za-z0-9_-]+)+\??$`)
	// Semantic Versioning 2.0.0, item 2, 9 and 10.
	versionPattern = regexp.MustCompile(`^(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$`)
)

const (
	wantName = "a name of lower-case letters, digits, - and _"
	wantFact = `the name of a fact, as "spam.score"`
)

func (m *Manifest) keys() []Key {
	return []Key{
		{Name: "id", Form: `id = "greylist"`, Required: true, Doc: "The plugin's name: up to 64 lower-case letters, digits, - and _, a letter first.",
			set: func(d *decoder, at string, n *node) {
				d.matching(at, n, idPattern, "up to 64 lower-case letters, digits, - and _, a letter first", &m.ID)
			}},
		{Name: "version", Form: `version = "1.0.0"`, Doc: `Its version, by Semantic Versioning; without it "0.0.0".`,
			set: func(d *decoder, at string, n *node) {
				d.matching(at, n, versionPattern, `a semantic version, as "1.0.0"`, &m.Version)
			}},
		{Name: "api", Form: fmt.Sprintf("api = %d", API), Doc: "The version of the plugin contract it is written for; without it 0.",
			set: func(d *decoder, at string, n *node) { m.API, _ = d.number(at, n, API, API) }},
		{Name: "description", Form: `description = "strangers must try twice"`, Doc: "One line for people.",
			set: func(d *decoder, at string, n *node) { d.text(at, n, maxDescription, &m.Description) }},
		{Name: "needs", Form: `needs = { kv = "own" }`, Doc: "What it does beyond answering.",
			set: func(d *decoder, at string, n *node) { d.needs(at, n, m.Needs) }},
		{Name: "config", Form: `config = { wait = { type = "duration", default = "5m", doc = "..." } }`, Doc: "The settings that the operator may write under [plugin.NAME].",
			set: m.setConfig},
		{Name: "facts", Form: `facts = { waited = { type = "bool", of = "message", doc = "..." } }`, Doc: "The facts that it sets, each by its name without the plugin's. With it, no other fact of its own can be set, and none to another value. Without it, any.",
			set: m.setFacts},
		{Name: "hook", Form: `hook = { rcpt = { order = 50 } }`, Doc: "How its hooks are asked, by stage. A hook exists because the code defines it; this only changes its defaults.",
			set: m.setHooks},
	}
}

func (m *Manifest) setHooks(d *decoder, at string, n *node) {
	if !n.isTable() {
		d.want(at, n, "a table by stage")
		return
	}
	for _, e := range n.keys {
		stage, ok := hooks.StageByName(e.name)
		if !ok {
			var names []string
			for _, s := range hooks.Stages() {
				names = append(names, s.Name)
			}
			d.unknown(e.line, "stage", e.name, in(at), names)
			continue
		}
		spec := DefaultHook()
		spec.Line = e.line
		d.keys(join(at, e.name), e.node, spec.keys(stage))
		if spec.Background {
			d.background(join(at, e.name), e.line, stage, &spec)
		}
		m.Hooks[stage] = spec
	}
}

// background checks what a hook in the background must say, and may not.
func (d *decoder) background(at string, line int, stage hooks.Stage, h *HookSpec) {
	switch {
	case stage > hooks.Data || stage == hooks.Auth: // afterwards nothing comes that could wait for it
		d.report(line, "%s: a hook in the background may stand at connect, helo, mail, rcpt or data, not at %s", at, stage)
	case len(h.Sets) == 0:
		d.report(line, "%s: a hook in the background only sets facts; name them, as sets = {\"NAME.score\"}", at)
	case h.Said:
		d.report(line, "%s: a hook in the background answers nothing, so on_error means nothing; what counts is that of the hooks that read its facts", at)
	}
}

func (h *HookSpec) keys(stage hooks.Stage) []Key {
	plugins := func(into *[]string) func(*decoder, string, *node) {
		return func(d *decoder, at string, n *node) { d.names(at, n, givenName, wantName, into) }
	}
	keys := []Key{
		{Name: "when", Form: `when = { role = {"mx"}, user = false }`, Doc: "The mail for which the hook is asked; without it, all.",
			set: func(d *decoder, at string, n *node) { d.keys(at, n, whenKeys(&h.When)) }},
		{Name: "order", Form: "order = 50", Doc: fmt.Sprintf("Its place among the hooks of the stage, the lower first, from %d to %d; without it %d.", -maxOrder, maxOrder, hooks.DefaultOrder),
			set: func(d *decoder, at string, n *node) {
				if v, ok := d.number(at, n, -maxOrder, maxOrder); ok {
					h.Order = v
				}
			}},
		{Name: "after", Form: `after = {"dnsbl"}`, Doc: "Plugins that are asked before this one, if they are there.", set: plugins(&h.After)},
		{Name: "before", Form: `before = {"greylist"}`, Doc: "Plugins that are asked after this one, if they are there.", set: plugins(&h.Before)},
		{Name: "reads", Form: `reads = {"spf.mail", "dnswl.listed?"}`, Doc: `Facts of other plugins that it reads; it is asked after them. With "?" it can do without.`,
			set: func(d *decoder, at string, n *node) { d.names(at, n, readPattern, wantFact, &h.Reads) }},
		{Name: "sets", Form: `sets = {"greylist.waited"}`, Doc: "Facts that it sets; without it, all that begin with the plugin's name.",
			set: func(d *decoder, at string, n *node) { d.names(at, n, factPattern, wantFact, &h.Sets) }},
		{Name: "background", Form: "background = true", Doc: "It runs beside the session, and only sets the facts under `sets`; a hook that `reads` one waits for it.",
			set: func(d *decoder, at string, n *node) { d.boolean(at, n, &h.Background) }},
		{Name: "on_error", Form: `on_error = "next"`, Doc: "The answer when the hook fails: next, defer (the default) or reject.",
			set: func(d *decoder, at string, n *node) {
				word, ok := d.oneOf(at, n, "answer", []string{"next", "defer", "reject"})
				if !ok {
					return
				}
				h.OnError, h.Said = onError(word), true
				if h.OnError != hooks.Next && !stage.Verdicts().Has(h.OnError) {
					d.report(n.line, "%s%q cannot be answered at %s; write \"next\"", prefix(at), word, stage)
				}
			}},
		{Name: "timeout", Form: `timeout = "10s"`, Doc: "The longest time for one call; without it 10s.",
			set: func(d *decoder, at string, n *node) { d.duration(at, n, minTimeout, maxTimeout, &h.Timeout) }},
	}
	if stage != hooks.Tick {
		return keys
	}
	// It comes of no mail, so there is nothing to choose it by, nobody to be asked before or after, and no facts.
	keys = slices.DeleteFunc(keys, func(k Key) bool { return k.Name != "on_error" && k.Name != "timeout" })
	return append(keys, Key{Name: "every", Form: `every = "1m"`,
		Doc: fmt.Sprintf("The time between two calls, at least %s; without it %s.", config.FormatDuration(MinEvery), config.FormatDuration(DefaultEvery)),
		set: func(d *decoder, at string, n *node) { d.duration(at, n, MinEvery, maxEvery, &h.Every) }})
}

func onError(word string) hooks.Kind {
	switch word {
	case "next":
		return hooks.Next
	case "reject":
		return hooks.Reject
	}
	return hooks.Defer
}

func roles() []string {
	return []string{string(message.RoleMX), string(message.RoleSubmission), string(message.RoleLMTP), string(message.RoleAPI),
		string(message.RoleSendmail), string(message.RoleInternal)}
}

func whenKeys(w *hooks.When) []Key {
	return []Key{
		{Name: "role", Form: `role = {"mx"}`, Doc: "Only mail that came in these roles.",
			set: func(d *decoder, at string, n *node) {
				for _, r := range d.words(at, n, "role", roles()) {
					w.Roles = append(w.Roles, message.Role(r))
				}
			}},
		{Name: "listener", Form: `listener = {"mx"}`, Doc: "Only mail that came through these listeners.",
			set: func(d *decoder, at string, n *node) { d.names(at, n, givenName, wantName, &w.Listeners) }},
		{Name: "user", Form: "user = false", Doc: "Only with (true) or without (false) a user logged in.",
			set: func(d *decoder, at string, n *node) {
				var v bool
				d.boolean(at, n, &v)
				w.User = &v
			}},
	}
}
