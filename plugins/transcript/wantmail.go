package transcript

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/dsn"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/manifest"
)

// What is wanted of the message: facts, fields of the objects, and what was kept.

type (
	wantFact struct {
		owner string
		name  string
		value any // nil: none
	}
	wantField struct {
		path   string // "message.sender.text"
		steps  []step
		object string
		value  any // nil: none
	}
	wantHeader struct {
		who  *smtp.Address // nil: what all have
		name string
		text *pattern // nil: none
	}
	wantContent struct{ text pattern }
	wantRcpts   struct{ list []string }
	wantQueued  struct{ n int }
	wantHeld    struct{ why pattern }
	wantHold    struct {
		who smtp.Address
		why *pattern // nil: none
	}
	wantSchedule struct {
		form  string
		check []func(*message.Envelope) (got string, ok bool)
	}
)

func wantMailLines() []Line {
	lines := []Line{
		{"want fact", "want fact session|message|rcpt NAME = VALUE | NAME none", "A fact, seen from the latest question; `my.NAME` is the plugin's own.", parseWantFact},
		{"want header of", "want header of RCPT NAME = PATTERN | RCPT NAME none", "A field of the copy that one recipient gets.", parseWantHeaderOf},
		{"want header", "want header NAME = PATTERN | NAME none", "A field of the message that was kept last, as it goes out.", parseWantHeader},
		{"want content", "want content PATTERN", `The whole of it, lines divided by \n: …\n\nhello\n`, func(p *parser, rest string) action {
			return &wantContent{newPattern(strings.ReplaceAll(rest, `\n`, "\n"))}
		}},
		{"want rcpts", "want rcpts RCPT ...", "All its recipients, in order.", func(p *parser, rest string) action { return &wantRcpts{strings.Fields(rest)} }},
		{"want queued", "want queued N", "How many messages were kept so far; a held one is one of them.", func(p *parser, rest string) action {
			n, err := strconv.Atoi(rest)
			if err != nil {
				p.fail("write want queued 1")
				return nil
			}
			return &wantQueued{n}
		}},
		{"want schedule", "want schedule [tenant=NAME] [priority=N] [not_before=WHEN] [expires=WHEN]",
			"When and how the message that was kept last is sent; WHEN is +5m behind its arrival, a time, or none.", parseWantSchedule},
		{"want hold of", "want hold of RCPT = PATTERN | RCPT none", "Why one recipient of the message that was kept last is held, while others are not.", parseWantHold},
		{"want held", "want held PATTERN", "Why the message that was kept last is held.", func(p *parser, rest string) action { return &wantHeld{newPattern(unquote(rest))} }},
	}
	for _, o := range []struct{ object, example string }{{"session", "helo = client.example"}, {"message", "sender.text = a@a.example"}, {"rcpt", "class = local"}} {
		lines = append(lines, Line{"want " + o.object, "want " + o.object + " FIELD = VALUE | FIELD none", "A field that plugins see, as `want " + o.object + " " + o.example + "`.",
			func(p *parser, rest string) action { return parseWantField(p, o.object, rest) }})
	}
	return lines
}

// cutWanted divides NAME = VALUE, or NAME none.
func cutWanted(rest string) (name, v string, none, ok bool) {
	if name, ok := strings.CutSuffix(rest, " none"); ok && !strings.Contains(name, "=") {
		return strings.TrimSpace(name), "", true, true
	}
	name, v, ok = strings.Cut(rest, "=")
	name, v = strings.TrimSpace(name), strings.TrimSpace(v)
	return name, v, false, ok && name != "" && v != ""
}

func parseWantFact(p *parser, rest string) action {
	owner, more, _ := strings.Cut(rest, " ")
	name, v, none, ok := cutWanted(strings.TrimSpace(more))
	if !p.oneOf("owner of a fact", owner, []string{"session", "message", "rcpt"}) {
		return nil
	}
	if !ok || !factPattern.MatchString(name) {
		p.fail("write want fact %s NAME = VALUE, or want fact %s NAME none, as greylist.waited = true", owner, owner)
		return nil
	}
	w := &wantFact{owner: owner, name: name}
	if !none {
		if w.value, ok = p.value(v); !ok {
			return nil
		}
	}
	return w
}

func (w *wantFact) do(r *run) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var facts *message.Facts
	switch {
	case w.owner == "session" && r.session != nil:
		facts = &r.session.Facts
	case w.owner == "message" && r.message != nil:
		facts = &r.message.Facts
	case w.owner == "rcpt" && r.rcpt != nil:
		facts = &r.rcpt.Facts
	default:
		return fmt.Errorf("nobody was asked about a %s yet", w.owner)
	}
	name := w.name
	if own, ok := strings.CutPrefix(name, "my."); ok {
		name = r.plugin + "." + own
	}
	got, _ := facts.Get(name)
	return compare("fact "+w.owner+" "+w.name, w.value, got)
}

// step is one step on the way to a field.
type step struct {
	field *hooks.Field
	index int // of a list, from 1; 0 = no list
}

func parseWantField(p *parser, object, rest string) action {
	path, v, none, ok := cutWanted(rest)
	if !ok {
		p.fail("write want %s FIELD = VALUE, or want %s FIELD none", object, object)
		return nil
	}
	w := &wantField{path: path, object: object}
	if !none {
		if w.value, ok = p.value(v); !ok {
			return nil
		}
	}
	objects := hooks.Objects()
	at := object
	var list *step
	for _, name := range strings.Split(path, ".") {
		if list != nil {
			if list.index, _ = strconv.Atoi(name); list.index < 1 {
				p.fail("%q is no place in the list; write 1 for the first", name)
				return nil
			}
			list = nil
			continue
		}
		i := slices.IndexFunc(objects, func(o hooks.Object) bool { return o.Name == at })
		if i < 0 {
			p.fail("%s has no fields, so %q cannot follow it", w.steps[len(w.steps)-1].field.Name, name)
			return nil
		}
		f := slices.IndexFunc(objects[i].Fields, func(f hooks.Field) bool { return f.Name == name })
		if f < 0 {
			var names []string
			for _, f := range objects[i].Fields {
				names = append(names, f.Name)
			}
			p.fail("%s", manifest.Unknown("field", name, " of "+at, names))
			return nil
		}
		w.steps = append(w.steps, step{field: &objects[i].Fields[f]})
		if at = objects[i].Fields[f].Of; objects[i].Fields[f].Type == hooks.TypeList && at != "" {
			list = &w.steps[len(w.steps)-1]
		}
	}
	switch last := w.steps[len(w.steps)-1]; {
	case last.field.Type == hooks.TypeFacts, last.field.Type == hooks.TypeMyFacts:
		p.fail("facts are wanted with want fact %s NAME = VALUE", object)
		return nil
	case list != nil:
		p.fail("%s is a list; write %s.1 for its first", path, path)
		return nil
	case !none && (last.field.Type == hooks.TypeObject || last.field.Of != ""):
		p.fail("%s is an object; go on to one of its fields", path)
		return nil
	}
	return w
}

func (w *wantField) do(r *run) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var o any
	switch {
	case w.object == "session" && r.session != nil:
		o = r.session
	case w.object == "message" && r.message != nil:
		o = r.message
	case w.object == "rcpt" && r.rcpt != nil:
		o = r.rcpt
	default:
		return fmt.Errorf("nobody was asked about a %s yet", w.object)
	}
	what := w.object + " " + w.path
	for _, s := range w.steps {
		o = s.get(o)
		if o == nil {
			break
		}
	}
	return compare(what, w.value, o)
}

// get reads a field; nil is none.
func (s *step) get(o any) any {
	f := s.field
	switch {
	case f.Str != nil:
		if v := f.Str(o); v != "" || !f.Optional {
			return v
		}
	case f.Int != nil:
		return f.Int(o)
	case f.Bool != nil:
		return f.Bool(o)
	case f.Time != nil:
		if t := f.Time(o); !t.IsZero() {
			return t.UTC().Format(time.RFC3339)
		}
	case f.Value != nil:
		v := f.Value(o)
		if s.index == 0 {
			return v
		}
		switch list := v.(type) {
		case []*hooks.RcptView:
			if s.index <= len(list) {
				return list[s.index-1]
			}
		case []*message.Part:
			if s.index <= len(list) {
				return list[s.index-1]
			}
		}
	}
	return nil
}

func parseWantHeader(p *parser, rest string) action {
	name, v, none, ok := cutWanted(rest)
	if !ok {
		if name, found := strings.CutSuffix(rest, "="); found { // an empty field
			text := newPattern("")
			return &wantHeader{name: strings.TrimSpace(name), text: &text}
		}
		p.fail("write want header NAME = PATTERN, or want header NAME none")
		return nil
	}
	if none {
		return &wantHeader{name: name}
	}
	text := newPattern(unquote(v))
	return &wantHeader{name: name, text: &text}
}

func parseWantHeaderOf(p *parser, rest string) action {
	who, rest, _ := strings.Cut(rest, " ")
	a, ok := p.address(who)
	if !ok {
		return nil
	}
	w, ok := parseWantHeader(p, strings.TrimSpace(rest)).(*wantHeader)
	if !ok {
		return nil
	}
	w.who = &a
	return w
}

func (w *wantHeader) do(r *run) error {
	m, err := r.latest()
	if err != nil {
		return err
	}
	sent := m.env.Sent(m.content)
	if w.who != nil {
		places, err := m.some([]smtp.Address{*w.who})
		if err != nil {
			return err
		}
		sent = m.env.SentTo(m.content, places[0])
	}
	h, err := message.ReadHeader(sent, message.DefaultHeaderLimits)
	if err != nil {
		return err
	}
	var got []string
	for _, f := range h.Fields(w.name) {
		if got = append(got, f.Value); w.text != nil && w.text.match(f.Value) {
			return nil
		}
	}
	switch {
	case w.text == nil && len(got) == 0:
		return nil
	case w.text == nil:
		return wanted("no field "+w.name, strings.Join(got, "\n"))
	case len(got) == 0:
		return wanted(w.name+": "+w.text.text, "no such field")
	}
	return wanted(w.name+": "+w.text.text, strings.Join(got, "\n"))
}

func (w *wantContent) do(r *run) error {
	m, err := r.latest()
	if err != nil {
		return err
	}
	sent := m.env.Sent(m.content)
	all, err := io.ReadAll(io.NewSectionReader(sent, 0, sent.Size()))
	if err != nil {
		return err
	}
	if text := strings.ReplaceAll(string(all), "\r\n", "\n"); !w.text.match(text) {
		return wanted(strconv.Quote(w.text.text), strconv.Quote(text))
	}
	return nil
}

func (w *wantRcpts) do(r *run) error {
	m, err := r.latest()
	if err != nil {
		return err
	}
	var got []string
	for _, rc := range m.env.Rcpts {
		got = append(got, rc.Address.Text)
	}
	if !slices.Equal(got, w.list) {
		return wanted("recipients "+strings.Join(w.list, " "), strings.Join(got, " "))
	}
	return nil
}

func (w *wantQueued) do(r *run) error {
	if got := len(r.spool.all()); got != w.n {
		return wanted(fmt.Sprintf("%d messages kept", w.n), strconv.Itoa(got))
	}
	return nil
}

func (w *wantHeld) do(r *run) error {
	m, err := r.latest()
	if err != nil {
		return err
	}
	if !w.why.match(m.env.Hold) || m.env.Hold == "" {
		return wanted("held: "+w.why.text, show(m.env.Hold))
	}
	return nil
}

func parseWantHold(p *parser, rest string) action {
	name, v, none, ok := cutWanted(rest)
	if !ok {
		p.fail("write want hold of RCPT = PATTERN, or want hold of RCPT none")
		return nil
	}
	w := &wantHold{}
	if w.who, ok = p.address(name); !ok {
		return nil
	}
	if !none {
		why := newPattern(unquote(v))
		w.why = &why
	}
	return w
}

func (w *wantHold) do(r *run) error {
	m, err := r.latest()
	if err != nil {
		return err
	}
	places, err := m.some([]smtp.Address{w.who})
	if err != nil {
		return err
	}
	switch why := m.env.Rcpts[places[0]].Hold; {
	case w.why == nil && why != "":
		return wanted("a recipient that is not held", "held: "+why)
	case w.why != nil && (why == "" || !w.why.match(why)):
		return wanted("held: "+w.why.text, show(why))
	}
	return nil
}

// owes tells whether a sender is told of failures at all.
func owes(env *message.Envelope) bool { return dsn.Owed(env.Sender) }

func parseWantSchedule(p *parser, rest string) action {
	w := &wantSchedule{form: "schedule " + rest}
	for _, word := range strings.Fields(rest) {
		key, v, _ := strings.Cut(word, "=")
		if !p.oneOf("key", key, []string{"tenant", "priority", "not_before", "expires"}) {
			return nil
		}
		var check func(*message.Envelope) (string, bool)
		switch key {
		case "tenant":
			check = func(e *message.Envelope) (string, bool) { return e.Tenant, e.Tenant == v }
		case "priority":
			n, err := strconv.Atoi(v)
			if err != nil {
				p.fail("write priority=3")
				return nil
			}
			check = func(e *message.Envelope) (string, bool) { return strconv.Itoa(int(e.Priority)), int(e.Priority) == n }
		default:
			at, ok := p.moment(v)
			if !ok {
				return nil
			}
			check = func(e *message.Envelope) (string, bool) {
				got := e.NotBefore
				if key == "expires" {
					got = e.Expires
				}
				if got.IsZero() {
					return "none", v == "none"
				}
				return got.UTC().Format(time.RFC3339Nano), v != "none" && got.Equal(at(e.Arrived))
			}
		}
		w.check = append(w.check, func(e *message.Envelope) (string, bool) {
			got, ok := check(e)
			return key + "=" + got, ok
		})
	}
	if len(w.check) == 0 {
		p.fail("write want schedule priority=3 not_before=+5m")
		return nil
	}
	return w
}

// moment reads +5m, a time or none; the function gives it for an arrival.
func (p *parser) moment(text string) (at func(arrived time.Time) time.Time, ok bool) {
	if by, relative := strings.CutPrefix(text, "+"); relative {
		if d, err := config.ParseDuration(by); err == nil {
			return func(t time.Time) time.Time { return t.Add(d) }, true
		}
	} else if t, err := time.Parse(time.RFC3339, text); err == nil || text == "none" {
		return func(time.Time) time.Time { return t }, true
	}
	p.fail("%q is no time; write +5m, 2026-03-01T12:00:00Z or none", text)
	return nil, false
}

func (w *wantSchedule) do(r *run) error {
	m, err := r.latest()
	if err != nil {
		return err
	}
	var got []string
	all := true
	for _, check := range w.check {
		text, ok := check(m.env)
		got, all = append(got, text), all && ok
	}
	if !all {
		return wanted(w.form, "schedule "+strings.Join(got, " "))
	}
	return nil
}
