package wasm

import (
	"fmt"
	"strings"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/api"
	"github.com/stagepost/stagepost/plugins/service"
)

// tables are what the functions of the ABI look numbers up in. They are made from the declarations once and never change.
type tables struct {
	objects []hooks.Object
	byName  map[string]*hooks.Object
	edits   []string // by number
	api     *api.API
}

func newTables() (*tables, error) {
	read, err := api.New()
	if err != nil {
		return nil, err
	}
	t := &tables{objects: hooks.Objects(), byName: map[string]*hooks.Object{}, edits: hooks.Edits(), api: read}
	for i := range t.objects {
		t.byName[t.objects[i].Name] = &t.objects[i]
	}
	return t, nil
}

// object is what the number and index of an object stand for in this call; nil where it is not there. Index 0 of rcpt is the
// recipient that is asked about, and those from 1 the message's; at deliver the delivery's come first, then the message's.
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
	if p := service.Part(c, i); p != nil && o.Name == "part" {
		return o, p
	}
	if o.Name == "content" && c.Message != nil {
		if body, err := service.Content(c, int64(i)); err == nil && body != nil {
			return o, body
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
	}
	return o, nil
}

func rcptOf(c *hooks.Call, i int) *hooks.RcptView {
	switch {
	case c.Delivery != nil:
		if i < len(c.Delivery.Rcpts) {
			return c.Delivery.Rcpts[i]
		}
		i -= len(c.Delivery.Rcpts)
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
	if f.Read > 0 {
		if err := in.call.Reading(f.Read); err != nil {
			return nil, err
		}
	}
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
	if !Inline(f.Of) {
		if f.Type != hooks.TypeList {
			return nil, fmt.Errorf("it is an object; ask for its fields by its own number")
		}
		switch list := f.Value(o).(type) {
		case error:
			return nil, list
		case []*hooks.RcptView:
			return int64(len(list)), nil
		case []*message.Part:
			if c := in.call.Message.Content; c != nil {
				in.granted(c.Size())
				in.use(c.Size() / 4)
			}
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

// Inline tells whether fields yield the object, by its name, as a map of its fields. A guest asks for the fields of others by their own number.
func Inline(object string) bool {
	switch object {
	case "session", "login", "message", "rcpt", "delivery", "content", "tick", "part":
		return false
	}
	return true
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
	if op >= uint32(len(edits)) {
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
	if op == editFact {
		err = in.fact(v, arg)
	} else if edits[op] == "rewrite" && o.Name == "message" {
		err = in.rewrite(arg)
	} else if m := in.plugin.tables.api.Method(o.Name, edits[op]); m != nil && m.Edits() {
		args, ok := arg.([]any)
		if !ok || len(m.Shape) == 1 { // where a method takes one argument, that is all there is
			args = []any{arg}
		}
		if err = m.Do(in.call, v, args); edits[op] == "set_content" { // the disk may have made it wait
			in.waited()
		}
	} else {
		return in.refuse(ErrRefused, fmt.Sprintf("edit: %s has no %s", o.Name, edits[op]))
	}
	if err != nil {
		return in.refuse(ErrRefused, err.Error())
	}
	return 0
}

// rewrite begins or ends a new body; content_emit writes it.
func (in *instance) rewrite(arg any) error {
	in.waits() // the disk may make it wait
	defer in.waited()
	switch w := in.call.Rewriting(); {
	case arg == "begin":
		_, err := in.call.Rewrite()
		return err
	case arg != "end":
		return fmt.Errorf(`rewrite takes "begin" or "end"`)
	case w == nil:
		return fmt.Errorf("rewrite: nothing was begun")
	default:
		return w.Close()
	}
}

// editFact is the number of the one edit that is no method.
const editFact = 0

func (in *instance) fact(o any, arg any) error {
	list, _ := arg.([]any)
	if len(list) != 2 {
		return fmt.Errorf("fact takes [name, value]")
	}
	name, ok := list[0].(string)
	if !ok {
		return fmt.Errorf("fact: the name is %s; it must be a string", service.TypeName(list[0]))
	}
	if strings.HasPrefix(name, ".") { // one of its own: what it is called here, the code cannot know
		name = in.plugin.Name + name
	}
	if err := api.Fact(in.call, o, name, list[1]); err != nil {
		return err
	}
	in.facts = append(in.facts, stagedFact{hooks.FactsOf(o), name, list[1]})
	return nil
}
