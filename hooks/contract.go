// Package hooks is the contract between the core and the plugins. The core asks at fourteen stages; a plugin answers with
// nothing (next) or one verdict. Stages, verdicts, the fields of the objects that a handler gets, and the edits it may ask
// for are declared here once, as data: the engines bind from these tables, and editor stubs, SDKs, the manual and the checks
// at load are generated from them.
//
// A Generation is an immutable set of hooks in the order they are asked; Current holds the one in force. Generation.Run asks
// the hooks of a stage one by one: each gets a Call, its edits are staged and count only when it returns without error, and
// an error is answered by what the hook declared as on_error. Reject, defer and close end the stage; accept, hold, discard
// and route do not, so no plugin can switch another's check off by being early. What was asked and answered goes to an
// Observer, which keeps the record of the message.
package hooks

import "github.com/stagepost/stagepost/core/message"

// Handler is one plugin's code at one stage. It returns nil for next. It is called from many goroutines at once and must
// keep neither the call nor what it points to.
type Handler interface {
	Handle(*Call) (*Verdict, error)
}

// HandlerFunc makes a Handler of a function.
type HandlerFunc func(*Call) (*Verdict, error)

// Handle calls f.
func (f HandlerFunc) Handle(c *Call) (*Verdict, error) { return f(c) }

// Stage is a point in the life of a session or message at which plugins are asked. Its value is its number in the WASM ABI.
type Stage uint8

// The stages in the order of a message's life.
const (
	Connect Stage = iota
	Helo
	Auth
	Mail
	Rcpt
	Data
	Queue
	Route
	Deliver
	Delivered
	Deferred
	Bounced
	Disconnect
	Tick
	stageCount
)

// Scope is the object that a stage's handlers get.
type Scope uint8

// The scopes.
const (
	ScopeSession Scope = iota
	ScopeLogin
	ScopeMessage
	ScopeRcpt
	ScopeDelivery
	ScopeTick
)

// StageInfo declares one stage.
type StageInfo struct {
	Stage    Stage
	Name     string // as in on.NAME
	Scope    Scope
	Verdicts Kinds // what may be answered, besides next
	Asked    string
	Default  string // what happens when all say next
}

// Stages declares them all, indexed by Stage.
func Stages() []StageInfo { return append([]StageInfo(nil), stages[:]...) }

// Info returns the declaration of s.
func (s Stage) Info() StageInfo { return stages[s] }

// Scope is the object that handlers get at s.
func (s Stage) Scope() Scope { return stages[s].Scope }

// Verdicts are what may be answered at s, besides next.
func (s Stage) Verdicts() Kinds { return stages[s].Verdicts }

// String is the stage's name.
func (s Stage) String() string { return stages[s].Name }

// StageByName finds a stage.
func StageByName(name string) (Stage, bool) {
	for _, s := range stages {
		if s.Name == name {
			return s.Stage, true
		}
	}
	return 0, false
}

var stages = [stageCount]StageInfo{
	{Connect, "connect", ScopeSession, kinds(Reject, Defer, Close), "a client connected, before the greeting", "go on"},
	{Helo, "helo", ScopeSession, kinds(Reject, Defer, Close), "each HELO, EHLO or LHLO", "go on"},
	{Auth, "auth", ScopeLogin, kinds(Accept, Reject, Defer, Close), "a client gave credentials", "reject"},
	{Mail, "mail", ScopeMessage, kinds(Reject, Defer, Close, Discard), "MAIL FROM, or mail without a client begins", "go on"},
	{Rcpt, "rcpt", ScopeRcpt, kinds(Accept, Reject, Defer, Close, Discard), "each recipient", "reject; for role internal: accept \"relay\""},
	{Data, "data", ScopeMessage, kinds(Reject, Defer, Close, Discard, Hold, Each), "all bytes are here, before the reply", "go on"},
	{Queue, "queue", ScopeMessage, kinds(Reject, Defer, Discard, Hold, RouteTo), "edits are applied, before the commit; route delivers before the reply", "the queue on disk"},
	{Route, "route", ScopeRcpt, kinds(RouteTo, Reject, Defer, Discard, Hold), "a recipient is due, at each try", "class relay: by MX; class local: defer 4.3.5"},
	{Deliver, "deliver", ScopeDelivery, kinds(Accept, Reject, Defer, Each), "the plan names this plugin in via; nobody else is asked", "defer"},
	{Delivered, "delivered", ScopeRcpt, 0, "before a delivery is recorded", "as it was"},
	{Deferred, "deferred", ScopeRcpt, kinds(Defer, Reject), "before a deferral is recorded; defer{after} sets when, reject ends it", "as it was"},
	{Bounced, "bounced", ScopeRcpt, kinds(Discard), "before a permanent failure is recorded; discard: nobody is told", "as it was"},
	{Disconnect, "disconnect", ScopeSession, 0, "the session ended", "-"},
	{Tick, "tick", ScopeTick, 0, "each interval, in the newest generation, one call after the other", "-"},
}

// Class names in verdicts.
const (
	Local = message.ClassLocal
	Relay = message.ClassRelay
)
