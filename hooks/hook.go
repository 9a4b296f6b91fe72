package hooks

import (
	"slices"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/breaker"
	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
)

// DefaultTimeout is a hook's deadline unless its plugin or the operator sets another.
const DefaultTimeout = 10 * time.Second

// DefaultOrder is a hook's order unless its plugin or the operator sets another; lower is asked first.
const DefaultOrder = 50

// Hook is one plugin's place in one stage. It is immutable once in a Generation.
type Hook struct {
	Plugin     string // its name here, which [run.NAME] may have changed
	Stage      Stage
	Handler    Handler
	Needs      *capability.Needs
	When       When
	Order      int
	Place      int      // of the plugin in `enable`
	After      []string // plugins asked before this one, if they are there
	Before     []string
	Reads      []string // facts; "name?" when it can do without
	Sets       []string
	Facts      message.FactRules // of the facts that bear its name
	Background bool              // called beside the session; then Sets names all facts that it sets, and readers' OnError answers for it
	OnError    Kind              // Next, Defer or Reject: the answer when the handler fails
	Timeout    time.Duration
	Every      time.Duration                     // between two calls at tick
	Breaker    *breaker.Breaker                  // shared by the copies of the hook in several generations; nil: the generation makes one
	Failed     func(c *Call, h *Hook, err error) // told when a call fails that was made; may be nil
	Counts     *Counts                           // may be nil
	Pos        string                            // file:line of the handler, for messages

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

// maySet tells whether the plugin may set the fact.
func (h *Hook) maySet(fact string) bool {
	if own, ok := strings.CutPrefix(fact, h.Plugin); ok && strings.HasPrefix(own, ".") {
		return true
	}
	for n := h.Needs; n != nil; n = n.Given {
		if !slices.ContainsFunc(n.Facts, func(f string) bool { return CoversFact(f, fact) }) {
			return false
		}
	}
	return true
}

// CoversFact tells whether a declared name ("spam.score", "spam" or "spam.*") covers a fact.
func CoversFact(declared, fact string) bool {
	declared = strings.TrimSuffix(declared, ".*")
	return fact == declared || strings.HasPrefix(fact, declared+".")
}
