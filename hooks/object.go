package hooks

import (
	"context"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
)

// The objects that handlers get. Each is a view of core's own values; engines read them through the field tables below and
// never change them: changes are edits of the Call.

// MessageView is the object message.
type MessageView struct {
	*message.Envelope
	Content message.Content                 // nil before data; at data and queue as the client sent it, later as it goes out
	Load    func() (message.Content, error) // brings Content when it is first wanted; may be nil
	// Draft begins a content that may take the place of Content, at data; MaxSize is how large that may be.
	Draft   func(ctx context.Context, size int64) (message.Draft, error)
	MaxSize int64
	Ballot  message.Ballot // what each said, at data
	Added   []HeaderField  // what plugins added before there was a header; intake puts it into the header at data

	header     *message.Header
	asked      []asked
	parts      []*message.Part // of Content, once they were asked for
	partsCut   bool
	views      []*RcptView // of Rcpts
	added      int         // recipients that plugins added
	addedBytes int         // of Added
	ownBytes   int         // of fields that are one recipient\'s own
}

// HeaderField is a field to be added.
type HeaderField struct{ Name, Value string }

// RcptView is the object rcpt. In the queue it also says what was tried so far.
type RcptView struct {
	*message.Rcpt
	Message  *MessageView
	Index    int // in Message.Rcpts
	Attempts int
	FirstTry time.Time
	Last     message.Last
	Way      message.Way // in the stages of outcomes

	name string // <address>, for the record; made on first use
}

// label begins a record's detail with the recipient it is about.
func (r *RcptView) label(detail string) string {
	if detail != "" {
		return "<" + r.Address.Text + "> " + detail
	}
	if r.name == "" {
		r.name = "<" + r.Address.Text + ">"
	}
	return r.name
}

// FactsOf returns the facts of an object as a handler has it; nil for one that has none.
func FactsOf(object any) *message.Facts {
	switch o := object.(type) {
	case *message.Session:
		return &o.Facts
	case *MessageView:
		return &o.Facts
	case *RcptView:
		return &o.Facts
	}
	return nil
}

// DeliveryView is the object delivery: one attempt of recipients that share a plan.
type DeliveryView struct {
	Message *MessageView
	Rcpts   []*RcptView
	Plan    *message.Plan
	Number  int             // of this attempt, from 1
	Parcel  *message.Parcel // instead of mail
}

// LoginView is the object login.
type LoginView struct {
	Session   *message.Session
	Mechanism string
	Name      string
	Kind      string // password, token, certificate, scram
	Secret    string // the password or token

	Certificate map[string]any // for kind certificate
}

// TickView is the object tick.
type TickView struct{ Time time.Time }

// Key is the same at every attempt and for ever: what a remote may use to know a message again.
func (m *MessageView) Key() string { return m.ID.String() }

// Key names this recipient's copy of the message, the same at every attempt.
func (r *RcptView) Key() string {
	return r.Message.Envelope.Key(r.Rcpt, r.Index)
}

// Header returns the header as edited so far; nil before data.
func (m *MessageView) Header() (*message.Header, error) {
	if m.header != nil {
		return m.header, nil
	}
	content, err := m.Body()
	if content == nil || err != nil {
		return nil, err
	}
	h, err := message.ReadHeader(content, message.DefaultHeaderLimits)
	if err != nil {
		return nil, err
	}
	m.header = h
	return h, nil
}

// Body returns the content; nil before data.
func (m *MessageView) Body() (message.Content, error) {
	if m.Content == nil && m.Load != nil {
		c, err := m.Load()
		if err != nil {
			return nil, err
		}
		m.Content = c
	}
	return m.Content, nil
}

// Type is what a field yields.
type Type string

// The types of fields, as the manual and the stubs name them.
const (
	TypeString  Type = "string"
	TypeInt     Type = "integer"
	TypeBool    Type = "boolean"
	TypeTime    Type = "time" // seconds since 1970, as now() gives
	TypeObject  Type = "object"
	TypeList    Type = "list"
	TypeMap     Type = "map"
	TypeFacts   Type = "facts"
	TypeMyFacts Type = "my"
)

// Field declares one field of an object. Exactly one of the getters is set, by Type: Str for strings (an Optional "" reads
// as nil), Int for integers, Bool for booleans, Time for times (zero reads as nil), Value for objects (a pointer to a view,
// smtp.Address, nil, or an error) and for lists and maps (in the types of facts, or a list of objects).
type Field struct {
	Name     string
	Type     Type
	Of       string // the object's name for TypeObject and for lists of objects
	Optional bool
	Read     capability.Reading // what needs.read must have
	Doc      string
	Str      func(o any) string
	Int      func(o any) int64
	Bool     func(o any) bool
	Time     func(o any) time.Time
	Value    func(o any) any
}

// Method declares one method of an object; engines bind them to the methods of Call of the same meaning.
type Method struct {
	Name   string
	Args   string
	Result string // "" = nothing
	Stages []Stage
	Needs  string // what plugin.needs must ask for
	Doc    string
}

// Object declares one object. The place of a field in Fields is its number in the WASM ABI: fields are only ever appended.
type Object struct {
	Name    string
	Doc     string
	Fields  []Field
	Methods []Method
}

// Objects declares them all, by name.
func Objects() []Object {
	return []Object{sessionObject(), loginObject(), messageObject(), rcptObject(), deliveryObject(), addressObject(), planObject(), lastObject(), contentObject(), tickObject(), partObject(), tlsObject()}
}

// ScopeObject is the name of the object that a scope's handlers get.
func (s Scope) Object() string {
	return [...]string{"session", "login", "message", "rcpt", "delivery", "tick"}[s]
}

func params(ps []smtp.Param) map[string]any {
	m := make(map[string]any, len(ps))
	for _, p := range ps {
		m[p.Key] = p.Value
	}
	return m
}
