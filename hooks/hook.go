package hooks

import (
	"slices"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/message"
)

// DefaultTimeout is a hook's deadline unless its plugin or the operator sets another.
const DefaultTimeout = 10 * time.Second

// DefaultOrder is a hook's order unless its plugin or the operator sets another; lower is asked first.
const DefaultOrder = 50

// Hook is one plugin's place in one stage. It is immutable once in a Generation.
type Hook struct {
	Plugin  string // its name here, which [run.NAME] may have changed
	Stage   Stage
	Handler Handler
	Needs   *Needs
	When    When
	Order   int
	Place   int      // of the plugin in `enable`
	After   []string // plugins asked before this one, if they are there
	Before  []string
	Reads   []string // facts; "name?" when it can do without
	Sets    []string
	OnError Kind // Next, Defer or Reject: the answer when the handler fails
	Timeout time.Duration
	Breaker *Breaker // nil: the generation makes one
	Counts  *Counts  // may be nil
	Pos     string   // file:line of the handler, for messages

	reads  []read
	setter bool // another hook reads what this plugin sets
}

// read is one entry of Reads, resolved.
type read struct {
	fact     string
	optional bool
	plugin   string // that sets it
}

// When restricts a hook to some mail. Empty fields restrict nothing.
type When struct {
	Roles     []message.Role
	Listeners []string
	User      *bool // true: only after a log-in; false: only without
}

func (w *When) holds(s *message.Session) bool {
	if len(w.Roles) > 0 && !slices.Contains(w.Roles, s.Role) {
		return false
	}
	if len(w.Listeners) > 0 && !slices.Contains(w.Listeners, s.Listener) {
		return false
	}
	return w.User == nil || *w.User == (s.User != "")
}

// Needs is what a plugin may do beyond answering, as it asked for and as it was granted. Engines and Call check it; nothing
// else does.
type Needs struct {
	DNS   bool
	KV    bool
	Read  Reading
	Edit  Editing
	Facts []string // facts outside its own name that it sets: a name, or "prefix.*"
	Route []string // next hops: "mx", or a pattern of host:port as "*:587"
	Relay bool     // accept "relay"
}

// Reading is how much of a message a plugin reads.
type Reading uint8

// The levels; each includes those before.
const (
	ReadNothing Reading = iota
	ReadHeaders
	ReadBody
)

// Editing is what of a message a plugin changes.
type Editing uint8

// The parts that can be edited.
const (
	EditHeaders Editing = 1 << iota
	EditSender
	EditRcpts
)

// Capability declares one key of `needs`.
type Capability struct {
	Name   string
	Form   string
	Values []string // what the list or string may hold; nil = anything
	Doc    string
}

// Capabilities declares the keys of `needs`.
func Capabilities() []Capability {
	return []Capability{
		{"dns", "dns = true", nil, "look names up"},
		{"kv", `kv = "own"`, []string{"own"}, "keep values of its own between calls"},
		{"read", `read = "headers"`, []string{"headers", "body"}, "read the header, or header and body"},
		{"edit", `edit = {"headers", "sender", "rcpts"}`, []string{"headers", "sender", "rcpts"}, "change these parts of a message"},
		{"facts", `facts = {"spam.score"}`, nil, "set facts that do not begin with its own name"},
		{"route", `route = {"mx", "*:587"}`, nil, "send mail to these next hops: mx, or patterns of host:port"},
		{"relay", "relay = true", nil, "accept recipients of other systems"},
	}
}

// mayRoute tells whether the plan stays within what the plugin asked for.
func (n *Needs) mayRoute(p *message.Plan) (what string, ok bool) {
	if p.MX != "" && !slices.Contains(n.Route, "mx") {
		return "mx", false
	}
	for _, h := range p.Hosts {
		if !slices.ContainsFunc(n.Route, func(pattern string) bool { return matchHost(pattern, h) }) {
			return h, false
		}
	}
	return "", true
}

// matchHost matches host:port against a pattern in which * stands for any run of characters.
func matchHost(pattern, host string) bool {
	parts := strings.Split(strings.ToLower(pattern), "*")
	if len(parts) == 1 {
		return parts[0] == host
	}
	if !strings.HasPrefix(host, parts[0]) {
		return false
	}
	host = host[len(parts[0]):]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(host, p)
		if i < 0 {
			return false
		}
		host = host[i+len(p):]
	}
	return strings.HasSuffix(host, parts[len(parts)-1])
}

// maySet tells whether the plugin may set the fact.
func (h *Hook) maySet(fact string) bool {
	if own, ok := strings.CutPrefix(fact, h.Plugin); ok && strings.HasPrefix(own, ".") {
		return true
	}
	return slices.ContainsFunc(h.Needs.Facts, func(f string) bool { return coversFact(f, fact) })
}

// coversFact tells whether a declared name ("spam.score", "spam" or "spam.*") covers a fact.
func coversFact(declared, fact string) bool {
	declared = strings.TrimSuffix(declared, ".*")
	return fact == declared || strings.HasPrefix(fact, declared+".")
}
