package wasm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
)

// tables are what the functions of the ABI look numbers up in. They are made from the declarations once and never change.
type tables struct {
	objects []hooks.Object
	byName  map[string]*hooks.Object
	edits   []func(in *instance, o any, v any) error // by number
}

func newTables() *tables {
	t := &tables{objects: hooks.Objects(), byName: map[string]*hooks.Object{}}
	for i := range t.objects {
		t.byName[t.objects[i].Name] = &t.objects[i]
	}
	for _, name := range hooks.Edits() {
		t.edits = append(t.edits, editFuncs[name])
	}
	return t
}

// object is what the number and index of an object stand for in this call; nil where it is not there. Index 0 of rcpt is the
// recipient that is asked about, and those from 1 the message's; at the other stages the message's, or the delivery's, count from 0.
func (in *instance) object(number, index uint64) (*hooks.Object, any) {
	all := in.plugin.tables.objects
	i := int(uint32(index))
	if uint32(number) >= uint32(len(all)) || in.call == nil {
		return nil, nil
	}
	o, c := &all[uint32(number)], in.call
	if o.Name == "rcpt" {
		if v := rcptOf(c, i); v != nil {
			return o, v
		}
		return o, nil
	}
	if i != 0 {
		return o, nil
	}
	switch {
	case o.Name == "session" && c.Session != nil:
		return o, c.Session
	case o.Name == "login" && c.Login != nil:
		return o, c.Login
	case o.Name == "message" && c.Message != nil:
		return o, c.Message
	case o.Name == "delivery" && c.Delivery != nil:
		return o, c.Delivery
	case o.Name == "tick" && c.Tick != nil:
		return o, c.Tick
	case o.Name == "content" && c.Message != nil:
		if body, err := c.Message.Body(); err == nil && body != nil {
			return o, body
		}
	}
	return o, nil
}

func rcptOf(c *hooks.Call, i int) *hooks.RcptView {
	switch {
	case c.Delivery != nil:
		if i < len(c.Delivery.Rcpts) {
			return c.Delivery.Rcpts[i]
		}
		return nil
	case c.Rcpt != nil && i == 0:
		return c.Rcpt
	case c.Rcpt != nil:
		i--
	}
	if m := c.Message; m != nil && i < len(m.Rcpts) {
		return &hooks.RcptView{Rcpt: m.Rcpts[i], Message: m, Index: i}
	}
	return nil
}

func (in *instance) field(a []uint64) uint64 {
	o, v := in.object(a[0], a[1])
	id := uint32(a[2])
	switch {
	case o == nil:
		return in.refuse(ErrInvalid, fmt.Sprintf("field: there is no object %d", uint32(a[0])))
	case id >= uint32(len(o.Fields)):
		return in.refuse(ErrInvalid, fmt.Sprintf("field: %s has no field %d", o.Name, id))
	case v == nil:
		return errno(ErrNone)
	}
	f := &o.Fields[id]
	value, err := in.value(f, v)
	if err != nil {
		return in.refuse(ErrInvalid, fmt.Sprintf("field: %s.%s: %s", o.Name, f.Name, err))
	}
	if value == nil {
		return errno(ErrNone)
	}
	raw, err := message.EncodeValue(value)
	if err != nil {
		return in.refuse(ErrFailed, fmt.Sprintf("field: %s.%s: %s", o.Name, f.Name, err))
	}
	return in.put(raw, a[3], a[4])
}

// value reads a field in the types of facts. Small objects, such as addresses, are maps of their fields; lists of recipients are
// their number; the large objects have numbers of their own.
func (in *instance) value(f *hooks.Field, o any) (any, error) {
	switch {
	case f.Type == hooks.TypeFacts:
		return in.factsOf(o, ""), nil
	case f.Type == hooks.TypeMyFacts:
		return in.factsOf(o, in.plugin.Name+"."), nil
	case f.Str != nil:
		if s := f.Str(o); s != "" || !f.Optional {
			return s, nil
		}
		return nil, nil
	case f.Int != nil:
		return f.Int(o), nil
	case f.Bool != nil:
		return f.Bool(o), nil
	case f.Time != nil:
		if at := f.Time(o); !at.IsZero() {
			return float64(at.UnixMicro()) / 1e6, nil
		}
		return nil, nil
	}
	switch f.Of {
	case "session", "login", "message", "rcpt", "delivery", "content", "tick":
		if f.Type != hooks.TypeList {
			return nil, fmt.Errorf("it is an object; ask for its fields by its own number")
		}
		if list, ok := f.Value(o).([]*hooks.RcptView); ok {
			return int64(len(list)), nil
		}
		return nil, nil
	}
	v := f.Value(o)
	if v == nil || f.Type != hooks.TypeObject {
		return v, nil
	}
	if p, ok := v.(*message.Plan); ok && p == nil {
		return nil, nil
	}
	inner := in.plugin.tables.byName[f.Of]
	m := make(map[string]any, len(inner.Fields))
	for i := range inner.Fields {
		e, err := in.value(&inner.Fields[i], v)
		if err != nil {
			return nil, err
		}
		if e != nil {
			m[inner.Fields[i].Name] = e
		}
	}
	return m, nil
}

// factsOf are the facts of an object whose names begin so, without that, and with those that this call staged.
func (in *instance) factsOf(o any, prefix string) map[string]any {
	facts := hooks.FactsOf(o)
	m := map[string]any{}
	for _, f := range facts.All() {
		if name, ok := strings.CutPrefix(f.Name, prefix); ok {
			m[name] = f.Value
		}
	}
	for _, s := range in.facts {
		if name, ok := strings.CutPrefix(s.name, prefix); ok && s.facts == facts {
			m[name] = s.value
		}
	}
	in.use(100 * int64(facts.Len()))
	return m
}

func (in *instance) edit(a []uint64) uint64 {
	op := uint32(a[0])
	raw := in.bytesAt("an edit", a[3], a[4], maxValue)
	edits := in.plugin.tables.edits
	if op >= uint32(len(edits)) || edits[op] == nil {
		return in.refuse(ErrAbsent, fmt.Sprintf("edit: this server has no edit %d", op))
	}
	o, v := in.object(a[1], a[2])
	if o == nil {
		return in.refuse(ErrInvalid, fmt.Sprintf("edit: there is no object %d", uint32(a[1])))
	}
	if v == nil {
		return in.refuse(ErrRefused, fmt.Sprintf("edit: there is no %s %d here", o.Name, uint32(a[2])))
	}
	arg, err := in.decode(raw)
	if err != nil {
		return in.refuse(ErrInvalid, fmt.Sprintf("edit: what is given is no CBOR: %s", err))
	}
	if err := edits[op](in, v, arg); err != nil {
		return in.refuse(ErrRefused, err.Error())
	}
	return 0
}

// editFuncs are the edits that package hooks declares, by name. What they take is written in the manual.
var editFuncs = map[string]func(in *instance, o any, v any) error{
	"fact":       editFact,
	"add_header": headerEdit("add_header", (*hooks.Call).AddHeader),
	"set_header": headerEdit("set_header", (*hooks.Call).SetHeader),
	"remove_header": func(in *instance, o any, v any) error {
		list, _ := v.([]any)
		name, ok := textAt(list, 0)
		n := int64(0)
		if len(list) > 1 {
			n, ok = list[1].(int64)
		}
		if !ok || len(list) > 2 || n < 0 || n > 1<<20 || !isMessage(o) {
			return fmt.Errorf("remove_header takes a message and [name] or [name, n], n from 1")
		}
		return in.call.RemoveHeader(name, int(n))
	},
	"set_sender": func(in *instance, o any, v any) error {
		a, err := addressOf(v)
		if !isMessage(o) {
			return fmt.Errorf("set_sender takes a message and an address")
		}
		if err != nil {
			return fmt.Errorf("set_sender: %w", err)
		}
		return in.call.SetSender(a)
	},
	"add_rcpt": func(in *instance, o any, v any) error {
		list, _ := v.([]any)
		class, ok := textAt(list, 1)
		if !ok || len(list) != 2 || !isMessage(o) {
			return fmt.Errorf("add_rcpt takes a message and [address, class]")
		}
		a, err := addressOf(list[0])
		if err != nil {
			return fmt.Errorf("add_rcpt: %w", err)
		}
		return in.call.AddRcpt(a, message.Class(class))
	},
	"rename":   editRename,
	"schedule": editSchedule,
}

func isMessage(o any) bool {
	_, ok := o.(*hooks.MessageView)
	return ok
}

func textAt(list []any, i int) (string, bool) {
	if i >= len(list) {
		return "", false
	}
	return textOf(list[i])
}

// textOf is a string, which may be written as bytes.
func textOf(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case []byte:
		return string(v), true
	}
	return "", false
}

func addressOf(v any) (smtp.Address, error) {
	s, ok := textOf(v)
	if !ok {
		return smtp.Address{}, fmt.Errorf("an address is text")
	}
	if s == "" {
		return smtp.Address{}, nil
	}
	a, err := smtp.ParseAddress(s)
	if err != nil {
		return a, fmt.Errorf("%q is not an address", s[:min(len(s), 320)])
	}
	return a, nil
}

func editFact(in *instance, o any, v any) error {
	list, _ := v.([]any)
	name, ok := textAt(list, 0)
	facts := hooks.FactsOf(o)
	if !ok || len(list) != 2 || facts == nil {
		return fmt.Errorf("fact takes a session, message or rcpt, and [name, value]")
	}
	if err := in.call.SetFact(facts, name, list[1]); err != nil {
		return err
	}
	in.facts = append(in.facts, stagedFact{facts, name, list[1]})
	return nil
}

func headerEdit(what string, edit func(c *hooks.Call, name, text string) error) func(in *instance, o any, v any) error {
	return func(in *instance, o any, v any) error {
		list, _ := v.([]any)
		name, ok := textAt(list, 0)
		text, ok2 := textAt(list, 1)
		if !ok || !ok2 || len(list) != 2 || !isMessage(o) {
			return fmt.Errorf("%s takes a message and [name, text]", what)
		}
		return edit(in.call, name, text)
	}
}

func editRename(in *instance, o any, v any) error {
	r, ok := o.(*hooks.RcptView)
	if !ok || in.call.Rcpt == nil || r.Rcpt != in.call.Rcpt.Rcpt {
		return fmt.Errorf("rename works on the recipient that is asked about")
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var to []smtp.Address
	for _, e := range list[:min(len(list), hooks.MaxRenames+1)] {
		a, err := addressOf(e)
		if err != nil {
			return fmt.Errorf("rename: %w", err)
		}
		to = append(to, a)
	}
	return in.call.Rename(to...)
}

func editSchedule(in *instance, o any, v any) error {
	m, ok := v.(map[string]any)
	if !ok || !isMessage(o) {
		return fmt.Errorf("schedule takes a message and a map")
	}
	k := keys{what: "schedule", m: m}
	k.known([]string{"tenant", "priority", "not_before", "expires"})
	var s hooks.Schedule
	if v, ok := k.text("tenant"); ok {
		s.Tenant = &v
	}
	if v, ok := k.number("priority"); ok {
		n := int(v)
		s.Priority = &n
	}
	if v, ok := k.number("not_before"); ok {
		s.NotBefore = seconds(v)
	}
	if v, ok := k.number("expires"); ok {
		s.Expires = seconds(v)
	}
	if k.err != nil {
		return k.err
	}
	return in.call.Schedule(s)
}

// keys reads a map of named values; unknown names and wrong types are errors, of which the first is kept.
type keys struct {
	what string
	m    map[string]any
	err  error
}

func (k *keys) fail(format string, args ...any) {
	if k.err == nil {
		k.err = fmt.Errorf("%s: %s", k.what, fmt.Sprintf(format, args...))
	}
}

func (k *keys) known(names []string) {
	for name := range k.m {
		if !slices.Contains(names, name) {
			k.fail("there is no %q; it may have %s", name[:min(len(name), 64)], strings.Join(names, ", "))
		}
	}
}

func (k *keys) text(name string) (string, bool) {
	v := k.m[name]
	if v == nil {
		return "", false
	}
	s, ok := textOf(v)
	if !ok {
		k.fail("%s must be a string", name)
	}
	return s, ok
}

func (k *keys) number(name string) (float64, bool) {
	switch v := k.m[name].(type) {
	case nil:
	case int64:
		return float64(v), true
	case float64:
		return v, true
	default:
		k.fail("%s must be a number", name)
	}
	return 0, false
}

func (k *keys) texts(name string) (out []string) {
	v := k.m[name]
	if s, ok := textOf(v); ok {
		return []string{s}
	}
	list, ok := v.([]any)
	if v != nil && !ok || len(list) > 1000 {
		k.fail("%s must be a list of strings", name)
		return nil
	}
	for _, e := range list {
		s, ok := textOf(e)
		if !ok {
			k.fail("%s must be a list of strings", name)
		}
		out = append(out, s)
	}
	return out
}
