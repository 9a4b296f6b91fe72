package consent

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/manifest"
)

// Widened tells in words what a plugin may do by one sheet that it may not by an older one. Nothing means that it asks for no more.
func Widened(old, now *Sheet) []string {
	var more []string
	if old.ID != now.ID {
		more = append(more, fmt.Sprintf("is another plugin: %s, and not %s", now.ID, old.ID))
	}
	if old.Engine != now.Engine {
		more = append(more, fmt.Sprintf("is run by the engine for %s, and not by that for %s", engineName(now.Engine), engineName(old.Engine)))
	}
	known := wordsOf()
	for _, need := range manifest.Words(now.asks) {
		name, value, _ := strings.Cut(need, " ")
		covered, why := covers(old.asks, name, value)
		if !covered {
			w := known[name]
			more = append(more, w.kind.verb()+" "+w.say(value)+why)
		}
	}
	for _, what := range now.seen {
		if !slices.Contains(old.seen, what) {
			more = append(more, reads.verb()+" "+what)
		}
	}
	for i := range now.Hooks {
		more = append(more, widenedHook(old, &now.Hooks[i])...)
	}
	for _, c := range now.Settings {
		if c.Required && !slices.ContainsFunc(old.Settings, func(o Setting) bool { return o.Name == c.Name && o.Required }) {
			more = append(more, "must be told "+c.Name)
		}
	}
	return more
}

func engineName(engine string) string {
	if engine == "wasm" {
		return "WebAssembly"
	}
	return "Lua"
}

// widenedHook compares what may happen at one stage.
func widenedHook(sheet *Sheet, now *Hook) (more []string) {
	i := slices.IndexFunc(sheet.Hooks, func(h Hook) bool { return h.stage == now.stage })
	if i < 0 {
		more = append(more, "is asked "+now.asked())
		if may := now.refuses(); may != "" {
			more = append(more, "may "+may)
		}
		return append(more, grants(now, now.answers)...)
	}
	old := &sheet.Hooks[i]
	at := when(now.stage)
	var may []string
	for _, k := range refusing() {
		if now.answers.Has(k) && !old.answers.Has(k) {
			may = append(may, refusal(now.stage, k))
		}
	}
	if may != nil {
		more = append(more, "may "+at+": "+strings.Join(may, ", "))
	}
	more = append(more, grants(now, now.answers&^old.answers)...)
	if harshness(now.onError) > harshness(old.onError) {
		more = append(more, fmt.Sprintf("may %s, when it fails: %s; and not: %s", at, now.failing(), old.failing()))
	}
	if !subset(now.Roles, old.Roles) || !subset(now.Listeners, old.Listeners) || old.User != nil && (now.User == nil || *now.User != *old.User) {
		about := now.about()
		if about == "" {
			about = "of all sorts"
		}
		more = append(more, fmt.Sprintf("is asked %s about more mail: mail %s, and not only mail %s", at, about, old.about()))
	}
	if now.Background && !old.Background {
		more = append(more, "works beside the session "+at)
	}
	if now.timeout > old.timeout {
		more = append(more, fmt.Sprintf("takes %s at most %s, and not %s", now.Timeout, at, old.Timeout))
	}
	if now.every < old.every {
		more = append(more, fmt.Sprintf("is asked %s every %s, and not every %s", at, now.Every, old.Every))
	}
	return more
}

// grants are the answers that refuse nothing.
func grants(h *Hook, answers hooks.Kinds) (more []string) {
	at := " (" + h.Stage + ")"
	switch {
	case !answers.Has(hooks.Accept):
	case h.stage == hooks.Deliver:
		more = append(more, "changes "+delivered+at)
	case h.stage == hooks.Auth:
		more = append(more, "lets in "+users+at)
	default:
		more = append(more, "lets in "+recipients+at)
	}
	if answers.Has(hooks.RouteTo) {
		more = append(more, "changes "+planned+at)
	}
	return more
}

// harshness orders what may be said when a hook fails.
func harshness(k hooks.Kind) int {
	return slices.Index([]hooks.Kind{hooks.Next, hooks.Defer, hooks.Reject}, k)
}

// subset compares two lists of which an empty one means everything.
func subset(now, old []string) bool {
	if len(old) == 0 {
		return true
	}
	return len(now) > 0 && !slices.ContainsFunc(now, func(v string) bool { return !slices.Contains(old, v) })
}

// covers tells whether one of a capability's words is within what was asked for before; why is said of one that is not, though it looks so.
func covers(old *capability.Needs, name, value string) (ok bool, why string) {
	all := capability.Capabilities()
	c := all[slices.IndexFunc(all, func(c capability.Capability) bool { return c.Name == name })]
	switch f := c.Field(old).(type) {
	case *bool:
		return *f, ""
	case *capability.Reading:
		return int(*f) > slices.Index(c.Values, value), ""
	case *capability.Editing:
		return *f&(1<<slices.Index(c.Values, value)) != 0, ""
	case *[]string:
		switch name {
		case "http", "net", "route":
			return coversHost(*f, value)
		case "facts":
			return slices.ContainsFunc(*f, func(o string) bool { return hooks.CoversFact(o, value) }), ""
		}
		return slices.ContainsFunc(*f, func(o string) bool { return capability.Matches(o, value) }), ""
	}
	return false, ""
}

// coversHost tells whether all that an entry of http, net or route allows is allowed by a list. What looks like a pattern is not all
// that counts:
//   - private lets patterns have private addresses, and is in no pattern; nor is a socket of this machine.
//   - A host that is named without * may have a private address, so to name one is more than a pattern that has its name.
//   - A network is all hosts that have an address in it, whatever their names, and private ones if those are in it.
func coversHost(list []string, entry string) (ok bool, why string) {
	private := slices.Contains(list, capability.Private)
	_, port, isNetwork := manifest.Network(entry)
	switch {
	case slices.Contains(list, entry):
		return true, ""
	case entry == capability.Private:
		return false, ""
	case entry == capability.AnySocket || strings.HasPrefix(entry, "unix:/"):
		return slices.Contains(list, capability.AnySocket), ""
	}
	named := !strings.Contains(entry, "*") && entry != "mx" && !strings.HasPrefix(entry, "transport:")
	for _, o := range list {
		_, _, network := manifest.Network(o)
		switch {
		case o == capability.Private || o == capability.AnySocket:
		case network:
			ok = ok || manifest.CoversHost(o, entry)
		case isNetwork:
			ok = ok || private && everyHost(o, port)
		case !capability.Matches(o, entry):
		case named && !private:
			why = ", also at a private address or on this machine, since it is named now"
		default:
			ok = true
		}
	}
	if ok {
		why = ""
	}
	return ok, why
}

// everyHost tells whether a pattern has all hosts with a port.
func everyHost(pattern, port string) bool {
	i := strings.LastIndexByte(pattern, ':')
	if i < 0 {
		return strings.Trim(pattern, "*") == ""
	}
	return strings.Trim(pattern[:i], "*") == "" && pattern[:i] != "" && capability.Matches(pattern[i+1:], port)
}
