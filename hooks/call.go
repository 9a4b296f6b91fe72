package hooks

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
)

// Call is one question to one handler. The fields of the stage's scope are set, and those above it: in rcpt scope Rcpt,
// Message and Session. It is used by one goroutine and again for the next hook.
type Call struct {
	Stage    Stage
	Session  *message.Session
	Login    *LoginView
	Message  *MessageView
	Rcpt     *RcptView
	Delivery *DeliveryView
	Tick     *TickView

	// Parent bounds what services do for a handler; nil means until the deadline.
	Parent context.Context
	// Waits is told before a handler waits for something outside; the engine sets it for a call.
	Waits func()
	// Observer is told of each hook asked.
	Observer Observer
	// Asked remembers, from stage to stage of a session, whose facts were asked for.
	Asked []asked
	// Late: rejects and defers do not end the stage; they are told later, see Result.Late.
	Late bool

	hook     *Hook
	probe    bool // whether the hook is well again
	deadline time.Time
	ended    time.Time // in the background: when the handler returned
	ctx      context.Context
	cancel   context.CancelFunc
	edits    []edit
	header   *message.Header  // the header with this call's edits
	rewrite  *message.Rewrite // the new body that this call writes
	renamed  []smtp.Address   // what rename at this stage adds beyond the first
}

// Hook is the hook being asked.
func (c *Call) Hook() *Hook { return c.hook }

// Deadline is when the handler's answer is no longer waited for.
func (c *Call) Deadline() time.Time { return c.deadline }

// Context ends at the deadline or when the handler returns. It is made on first use, since most handlers do no I/O. Who asks for
// it is about to wait.
func (c *Call) Context() context.Context {
	if c.Waits != nil {
		c.Waits()
	}
	if c.ctx == nil {
		parent := c.Parent
		if parent == nil {
			parent = context.Background()
		}
		c.ctx, c.cancel = context.WithDeadline(parent, c.deadline)
	}
	return c.ctx
}

// Object is what the handler gets: a *message.Session or one of the views, by the stage's scope.
func (c *Call) Object() any {
	switch c.Stage.Scope() {
	case ScopeSession:
		return c.Session
	case ScopeLogin:
		return c.Login
	case ScopeMessage:
		return c.Message
	case ScopeRcpt:
		return c.Rcpt
	case ScopeDelivery:
		return c.Delivery
	}
	return c.Tick
}

// Renamed is what a rename in this call's stage added beyond the first address.
func (c *Call) Renamed() []smtp.Address { return c.renamed }

type editOp uint8

const (
	opFact editOp = iota
	opAddHeader
	opSetHeader
	opRemoveHeader
	opSetSender
	opAddRcpt
	opRename
	opSchedule
	opRewrite
	opSetContent
)

var editNames = [...]string{"fact", "add_header", "set_header", "remove_header", "set_sender", "add_rcpt", "rename", "schedule", "rewrite", "set_content"}

// Edits are the names of what may be edited. The place of one is its number in the WASM ABI: new ones come at the end.
func Edits() []string { return slices.Clone(editNames[:]) }

type edit struct {
	op    editOp
	rcpt  *message.Rcpt // add_header: only to this one's copy, text being the whole field
	facts *message.Facts
	name  string
	text  string
	n     int
	value any
	addrs []smtp.Address
	class message.Class
	sched Schedule
}

// Schedule changes when and how the queue sends a message. Nil fields stay as they are.
type Schedule struct {
	Tenant    *string
	Priority  *int
	NotBefore *time.Time
	Expires   *time.Time
}

// Bounds of edits.
const (
	maxEdits   = 1000 // in one call
	maxTenant  = 128
	MaxRenames = 100 // recipients that plugins may add to one message
)

// The methods below stage edits: they count only if the handler returns without error. Their errors are for the plugin's
// author and are raised at the line that asked.

// SetFact stages a fact on the session, message or recipient that owns facts.
func (c *Call) SetFact(facts *message.Facts, name string, v any) error {
	if c.Stage > Queue && c.Stage != Disconnect {
		return fmt.Errorf("facts cannot be set at %s: the message is stored", c.Stage)
	}
	if !c.hook.maySet(name) {
		if asked := c.hook.Needs.Asked; asked != nil && (&Hook{Plugin: c.hook.Plugin, Needs: asked}).maySet(name) {
			return capability.Ungranted(fmt.Sprintf("setting the fact %q", name))
		}
		return fmt.Errorf("fact %q is not this plugin's: its own begin with %q, others are listed in needs.facts", name, c.hook.Plugin+".")
	}
	if c.hook.Background && !c.hook.sets(name) {
		return fmt.Errorf("fact %q is not among those that hook.%s.sets lists, as it must be for one that is set in the background", name, c.Stage)
	}
	of := message.OfRcpt
	if facts == &c.Session.Facts {
		of = message.OfSession
	} else if c.Message != nil && facts == &c.Message.Facts {
		of = message.OfMessage
	}
	if err := c.hook.Facts.Check(c.hook.Plugin, name, of, v); err != nil {
		return fmt.Errorf("fact %q: %w", name, err)
	}
	return c.stage(edit{op: opFact, facts: facts, name: name, value: v})
}

// Fact reads a fact, seeing what this call staged.
func (c *Call) Fact(facts *message.Facts, name string) any {
	for i := len(c.edits) - 1; i >= 0; i-- {
		if e := &c.edits[i]; e.op == opFact && e.facts == facts && e.name == name {
			return e.value
		}
	}
	v, _ := facts.Get(name)
	return v
}

// AddHeader stages a field on top of the header.
func (c *Call) AddHeader(name, text string) error {
	if err := c.editing(opAddHeader, capability.EditHeaders, "headers", Mail, Rcpt, Data, Queue); err != nil {
		return err
	}
	if err := message.CheckField(name, text); err != nil {
		return fmt.Errorf("add_header: %w", err)
	}
	return c.stage(edit{op: opAddHeader, name: name, text: text})
}

// AddRcptHeader stages a field on top of one recipient's copy.
func (c *Call) AddRcptHeader(r *RcptView, name, text string) error {
	if err := c.editing(opAddHeader, capability.EditHeaders, "headers", Data); err != nil {
		return err
	}
	field, err := message.ComposeField(name, text)
	if err != nil {
		return fmt.Errorf("add_header: %w", err)
	}
	return c.stage(edit{op: opAddHeader, rcpt: r.Rcpt, name: name, text: string(field)})
}

// SetHeader stages the replacement of a field.
func (c *Call) SetHeader(name, text string) error {
	if err := c.editing(opSetHeader, capability.EditHeaders, "headers", Data); err != nil {
		return err
	}
	if err := message.CheckField(name, text); err != nil {
		return fmt.Errorf("set_header: %w", err)
	}
	return c.stage(edit{op: opSetHeader, name: name, text: text})
}

// RemoveHeader stages the removal of the n-th field of that name, counted from 1 at the top; 0 means all.
func (c *Call) RemoveHeader(name string, n int) error {
	if err := c.editing(opRemoveHeader, capability.EditHeaders, "headers", Data); err != nil {
		return err
	}
	if n < 0 {
		return fmt.Errorf("remove_header: n is %d; fields are counted from 1", n)
	}
	return c.stage(edit{op: opRemoveHeader, name: name, n: n})
}

// SetSender stages another reverse-path; the zero Address is the null one.
func (c *Call) SetSender(a smtp.Address) error {
	if err := c.editing(opSetSender, capability.EditSender, "sender", Data); err != nil {
		return err
	}
	return c.stage(edit{op: opSetSender, addrs: []smtp.Address{a}})
}

// AddRcpt stages one more recipient.
func (c *Call) AddRcpt(a smtp.Address, class message.Class) error {
	if err := c.editing(opAddRcpt, capability.EditRcpts, "rcpts", Data); err != nil {
		return err
	}
	if class == Relay && !c.hook.Needs.Relay {
		return c.hook.Needs.Refuse(relaying, "relay")
	}
	if class != Local && class != Relay {
		return fmt.Errorf(`add_rcpt: class is "local" or "relay", not %q`, string(class))
	}
	if a.IsNull() {
		return fmt.Errorf("add_rcpt: the null address is no recipient")
	}
	return c.stage(edit{op: opAddRcpt, addrs: []smtp.Address{a}, class: class})
}

// Rename stages other addresses for the recipient in question.
func (c *Call) Rename(to ...smtp.Address) error {
	if err := c.editing(opRename, capability.EditRcpts, "rcpts", Rcpt); err != nil {
		return err
	}
	if len(to) == 0 || len(to) > MaxRenames {
		return fmt.Errorf("rename: to %d addresses; it may be 1 to %d", len(to), MaxRenames)
	}
	if slices.ContainsFunc(to, smtp.Address.IsNull) {
		return fmt.Errorf("rename: the null address is no recipient")
	}
	return c.stage(edit{op: opRename, addrs: to})
}

// Schedule stages when and how the message is sent.
func (c *Call) Schedule(s Schedule) error {
	if err := c.at(opSchedule, Mail, Rcpt, Data, Queue); err != nil {
		return err
	}
	if s.Priority != nil && (*s.Priority < -9 || *s.Priority > 9) {
		return fmt.Errorf("schedule: priority is %d; it may be -9 to 9", *s.Priority)
	}
	if s.Tenant != nil && (len(*s.Tenant) > maxTenant || strings.ContainsFunc(*s.Tenant, func(r rune) bool { return r < ' ' || r == 0x7f })) {
		return fmt.Errorf("schedule: tenant is printable text of at most %d bytes", maxTenant)
	}
	return c.stage(edit{op: opSchedule, sched: s})
}

const relaying = `accept "relay"`

func (c *Call) editing(op editOp, part capability.Editing, name string, at ...Stage) error {
	if err := c.at(op, at...); err != nil {
		return err
	}
	if c.hook.Needs.Edit&part == 0 {
		return c.hook.Needs.Refuse(editNames[op], "edit "+name)
	}
	return nil
}

func (c *Call) at(op editOp, stages ...Stage) error {
	if slices.Contains(stages, c.Stage) {
		return nil
	}
	names := make([]string, len(stages))
	for i, s := range stages {
		names[i] = s.String()
	}
	return fmt.Errorf("%s works at %s, not at %s", editNames[op], strings.Join(names, ", "), c.Stage)
}

// Forget drops what the handler staged so far.
func (c *Call) Forget() {
	c.Unwrite()
	c.edits = c.edits[:0]
}

func (c *Call) stage(e edit) error {
	if c.hook.Background && e.op != opFact {
		return fmt.Errorf("%s: a hook in the background only sets facts", editNames[e.op])
	}
	if len(c.edits) >= maxEdits {
		return fmt.Errorf("more than %d edits in one call", maxEdits)
	}
	c.edits = append(c.edits, e)
	return nil
}

// Reading checks that the plugin may read that much of the message.
func (c *Call) Reading(level capability.Reading) error {
	if c.hook.Needs.Read >= level {
		return nil
	}
	return c.hook.Needs.Refuse("reading the "+level.String(), "read "+level.String())
}
