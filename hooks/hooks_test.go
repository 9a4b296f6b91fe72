package hooks

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
)

type record struct{ steps []observe.Step }

func (r *record) Observe(s observe.Step) { r.steps = append(r.steps, s) }

type memory string

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	return strings.NewReader(string(m)).ReadAt(p, off)
}
func (m memory) Size() int64   { return int64(len(m)) }
func (m memory) Bytes() []byte { return []byte(m) }

func hook(plugin string, s Stage, f HandlerFunc) *Hook {
	return &Hook{Plugin: plugin, Stage: s, Handler: f, Order: DefaultOrder, OnError: Defer, Timeout: time.Second, Pos: plugin + ".lua:1",
		Needs: &capability.Needs{Read: capability.ReadBody, Edit: capability.EditHeaders | capability.EditSender | capability.EditRcpts, Relay: true, Route: []string{"mx", "*"}}}
}

func answer(v *Verdict) HandlerFunc { return func(*Call) (*Verdict, error) { return v, nil } }

func generation(t *testing.T, hooks ...*Hook) *Generation {
	t.Helper()
	g, err := NewGeneration(7, hooks, nil)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func address(t *testing.T, s string) smtp.Address {
	t.Helper()
	a, err := smtp.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// call returns a call in rcpt scope, with a header, which other scopes use as well.
func call(t *testing.T, s Stage) (*Call, *record) {
	rec := &record{}
	env := &message.Envelope{Session: &message.Session{Role: message.RoleMX, Listener: "mx"}, Sender: address(t, "a@a.example")}
	rcpt := &message.Rcpt{Address: address(t, "u@example.org"), Original: address(t, "u@example.org")}
	env.Rcpts = []*message.Rcpt{rcpt}
	view := &MessageView{Envelope: env}
	if s >= Data {
		view.Content = memory("Subject: one\r\nX-A: 1\r\nX-A: 2\r\n\r\nbody\r\n")
	}
	return &Call{Stage: s, Session: env.Session, Message: view, Rcpt: &RcptView{Rcpt: rcpt, Message: view}, Observer: rec}, rec
}

func TestTablesAreComplete(t *testing.T) {
	for i, s := range Stages() {
		if int(s.Stage) != i || s.Name == "" || s.Asked == "" || s.Default == "" {
			t.Errorf("stage %d is declared as %+v", i, s)
		}
		if got, ok := StageByName(s.Name); !ok || got != s.Stage {
			t.Errorf("StageByName(%q) = %v, %v", s.Name, got, ok)
		}
	}
	for i, k := range Verdicts() {
		if int(k.Kind) != i || k.Name == "" || k.Doc == "" {
			t.Errorf("verdict %d is declared as %+v", i, k)
		}
	}
	objects := map[string]bool{}
	for _, o := range Objects() {
		objects[o.Name] = true
	}
	for _, o := range Objects() {
		for _, f := range o.Fields {
			getters := 0
			for _, set := range []bool{f.Str != nil, f.Int != nil, f.Bool != nil, f.Time != nil, f.Value != nil} {
				if set {
					getters++
				}
			}
			want := 1
			if f.Type == TypeFacts || f.Type == TypeMyFacts {
				want = 0
			}
			if getters != want || f.Doc == "" {
				t.Errorf("%s.%s has %d getters, want %d, doc %q", o.Name, f.Name, getters, want, f.Doc)
			}
			if f.Of != "" && !objects[f.Of] {
				t.Errorf("%s.%s is of %q, which is not declared", o.Name, f.Name, f.Of)
			}
		}
	}
}

func TestVerdictCheck(t *testing.T) {
	long := strings.Repeat("x", MaxText+1)
	for _, c := range []struct {
		stage Stage
		v     *Verdict
		want  string // part of the error, or the word when it is good
	}{
		{Rcpt, nil, "next"},
		{Rcpt, &Verdict{Kind: Accept, Class: Local}, "accept local"},
		{Rcpt, &Verdict{Kind: Accept}, `names a class, "local" or "relay"`},
		{Auth, &Verdict{Kind: Accept}, "names a user"},
		{Auth, &Verdict{Kind: Accept, User: "u\r\nv"}, "control characters"},
		{Mail, &Verdict{Kind: Accept}, "mail takes reject, defer, close, discard"},
		{Delivered, &Verdict{Kind: Reject}, "delivered takes no verdict"},
		{Rcpt, &Verdict{Kind: Reject}, "reject 550 5.7.1"},
		{Rcpt, &Verdict{Kind: Defer}, "defer 451 4.7.1"},
		{Rcpt, &Verdict{Kind: Close}, "close 421 4.7.0"},
		{Rcpt, &Verdict{Kind: Reject, Code: 552}, "reject 552 5.7.1"},
		{Rcpt, &Verdict{Kind: Close, Code: 521}, "close 521 5.7.0"},
		{Rcpt, &Verdict{Kind: Reject, Code: 250}, "code 250 is not a 5xx reply"},
		{Rcpt, &Verdict{Kind: Defer, Code: 550}, "code 550 is not a 4xx reply"},
		{Rcpt, &Verdict{Kind: Reject, Code: 999}, "code 999 is not"},
		{Rcpt, &Verdict{Kind: Reject, Code: -1}, "code -1 is not"},
		{Rcpt, &Verdict{Kind: Reject, Enhanced: "4.7.1"}, "enhanced"},
		{Rcpt, &Verdict{Kind: Reject, Text: "a\r\n250 ok"}, "reject: "},
		{Rcpt, &Verdict{Kind: Reject, Text: "a\x00"}, "reject: "},
		{Rcpt, &Verdict{Kind: Reject, Text: "\xff"}, "valid UTF-8"},
		{Rcpt, &Verdict{Kind: Reject, Text: long}, "at most"},
		{Rcpt, &Verdict{Kind: Reject, Delay: time.Hour}, "delay is 1h"},
		{Deferred, &Verdict{Kind: Defer, After: -1}, "after is"},
		{Route, &Verdict{Kind: RouteTo}, "no next hop"},
		{Route, &Verdict{Kind: RouteTo, Plan: &message.Plan{Hosts: []string{"a b"}}}, "hosts:"},
		{Deliver, &Verdict{Kind: Each, Each: []*Verdict{nil, {Kind: Hold}}}, "each: verdict 2: deliver takes"},
		{Deliver, &Verdict{Kind: Each, Each: []*Verdict{{Kind: Each}}}, "each: verdict 1 is each, which is no verdict on one recipient"},
		{Data, &Verdict{Kind: Each, Each: []*Verdict{{Kind: Close}}}, "each: verdict 1 is close, which is no verdict on one recipient"},
		{Data, &Verdict{Kind: Each, Each: []*Verdict{{Kind: Accept}}}, "each: verdict 1: data takes"},
		{Queue, &Verdict{Kind: Each}, "queue takes"},
		{Deliver, &Verdict{Kind: Each, Each: []*Verdict{nil, {Kind: Reject}}}, "each"},
		{Rcpt, &Verdict{Kind: 200}, "rcpt takes"},
	} {
		err := c.v.Check(c.stage)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = c.v.Word()
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: %+v: %q, want %q", c.stage, c.v, got, c.want)
		}
	}
}

func TestRun(t *testing.T) {
	fail := func(*Call) (*Verdict, error) { return nil, errors.New("kv is down") }
	onError := func(k Kind, h *Hook) *Hook { h.OnError = k; return h }
	for _, c := range []struct {
		name  string
		stage Stage
		hooks []*Hook
		end   string // Word of Result.End
		by    string
		steps string
	}{
		{"nobody", Rcpt, nil, "next", "", ""},
		{"accept does not end", Rcpt, []*Hook{hook("a", Rcpt, answer(&Verdict{Kind: Accept, Class: Local})), hook("b", Rcpt, answer(&Verdict{Kind: Reject}))},
			"reject 550 5.7.1", "b", "a=accept local b=reject 550 5.7.1"},
		{"reject ends", Rcpt, []*Hook{hook("a", Rcpt, answer(&Verdict{Kind: Reject})), hook("b", Rcpt, answer(nil))}, "reject 550 5.7.1", "a", "a=reject 550 5.7.1"},
		{"error defers", Rcpt, []*Hook{hook("a", Rcpt, fail)}, "defer 451 4.3.0", "a", "a=error, defer 451 4.3.0"},
		{"error rejects", Rcpt, []*Hook{onError(Reject, hook("a", Rcpt, fail))}, "reject 550 5.3.0", "a", "a=error, reject 550 5.3.0"},
		{"error goes on", Rcpt, []*Hook{onError(Next, hook("a", Rcpt, fail)), hook("b", Rcpt, answer(nil))}, "next", "", "a=error, next b=next"},
		{"error at delivered", Delivered, []*Hook{hook("a", Delivered, fail)}, "next", "", "a=error, next"},
		{"panic", Rcpt, []*Hook{hook("a", Rcpt, func(*Call) (*Verdict, error) { panic("oops") })}, "defer 451 4.3.0", "a", "a=error, defer 451 4.3.0"},
		{"wrong verdict", Mail, []*Hook{hook("a", Mail, answer(&Verdict{Kind: Hold}))}, "defer 451 4.3.0", "a", "a=error, defer 451 4.3.0"},
		{"hold then reject", Data, []*Hook{hook("a", Data, answer(&Verdict{Kind: Hold})), hook("b", Data, answer(&Verdict{Kind: Reject}))},
			"reject 550 5.7.1", "b", "a=hold b=reject 550 5.7.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl, rec := call(t, c.stage)
			res := generation(t, c.hooks...).Run(cl)
			var words []string
			for _, s := range rec.steps {
				words = append(words, s.Plugin+"="+s.Verdict)
			}
			if res.End.Word() != c.end || res.By != c.by || strings.Join(words, " ") != c.steps {
				t.Errorf("ended with %q by %q, steps %q", res.End.Word(), res.By, words)
			}
		})
	}
}

func TestWhen(t *testing.T) {
	yes, no := true, false
	s := &message.Session{Role: message.RoleMX, Listener: "mx", User: ""}
	for _, c := range []struct {
		when When
		want bool
	}{
		{When{}, true},
		{When{Roles: []message.Role{"mx"}}, true},
		{When{Roles: []message.Role{"api"}}, false},
		{When{Listeners: []string{"other"}}, false},
		{When{User: &no}, true},
		{When{User: &yes}, false},
	} {
		if got := c.when.holds(s); got != c.want {
			t.Errorf("%+v holds = %v", c.when, got)
		}
	}
}

func TestPlansMergeFirstSetterWins(t *testing.T) {
	cl, _ := call(t, Route)
	a := &message.Plan{Hosts: []string{"one.example:25"}}
	b := &message.Plan{MX: "other.example", Helo: "mail.example"}
	res := generation(t, hook("a", Route, answer(&Verdict{Kind: RouteTo, Plan: a})), hook("b", Route, answer(&Verdict{Kind: RouteTo, Plan: b}))).Run(cl)
	if got := res.Plan; got.Hosts[0] != "one.example:25" || got.MX != "" || got.Helo != "mail.example" || res.DecidedBy != "a" {
		t.Errorf("plan %+v decided by %q", got, res.DecidedBy)
	}
}

func TestGrants(t *testing.T) {
	for _, c := range []struct {
		name  string
		stage Stage
		needs capability.Needs
		do    HandlerFunc
		want  string
	}{
		{"relay", Rcpt, capability.Needs{}, answer(&Verdict{Kind: Accept, Class: Relay}), "needs = { relay = true }"},
		{"mx", Route, capability.Needs{Route: []string{"*:25"}}, answer(&Verdict{Kind: RouteTo, Plan: &message.Plan{MX: "a.example"}}), `route = {"mx"}`},
		{"host", Route, capability.Needs{Route: []string{"*:587"}}, answer(&Verdict{Kind: RouteTo, Plan: &message.Plan{Hosts: []string{"a.example:25"}}}), `route = {"a.example:25"}`},
		{"other plugin", Route, capability.Needs{Route: []string{"*"}}, answer(&Verdict{Kind: RouteTo, Plan: &message.Plan{Via: "other"}}), `route = {"transport:other"}`},
		{"host beside a transport", Route, capability.Needs{Route: []string{"transport:*"}}, answer(&Verdict{Kind: RouteTo, Plan: &message.Plan{Via: "box", Hosts: []string{"a.example:25"}}}), `route = {"a.example:25"}`},
		{"headers", Data, capability.Needs{}, func(c *Call) (*Verdict, error) { return nil, c.AddHeader("X-A", "1") }, `edit = {"headers"}`},
		{"sender", Data, capability.Needs{}, func(c *Call) (*Verdict, error) { return nil, c.SetSender(smtp.Address{}) }, `edit = {"sender"}`},
		{"rcpts", Rcpt, capability.Needs{}, func(c *Call) (*Verdict, error) { return nil, c.Rename(c.Message.Sender) }, `edit = {"rcpts"}`},
		{"stage", Rcpt, capability.Needs{Edit: capability.EditHeaders}, func(c *Call) (*Verdict, error) { return nil, c.SetHeader("X-A", "1") }, "set_header works at data, not at rcpt"},
		{"foreign fact", Rcpt, capability.Needs{}, func(c *Call) (*Verdict, error) { return nil, c.SetFact(&c.Message.Facts, "spf.mail", true) }, "not this plugin's"},
		{"late fact", Route, capability.Needs{}, func(c *Call) (*Verdict, error) { return nil, c.SetFact(&c.Message.Facts, "p.x", true) }, "the message is stored"},
		{"read", Data, capability.Needs{}, func(c *Call) (*Verdict, error) { return nil, c.Reading(capability.ReadHeaders) }, `read = "headers"`},
		{"bad field", Data, capability.Needs{Edit: capability.EditHeaders}, func(c *Call) (*Verdict, error) { return nil, c.AddHeader("X-A", "1\r\nBcc: x") }, "add_header: "},
		{"null rcpt", Data, capability.Needs{Edit: capability.EditRcpts}, func(c *Call) (*Verdict, error) { return nil, c.AddRcpt(smtp.Address{}, Local) }, "no recipient"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := hook("p", c.stage, c.do)
			h.Needs = &c.needs
			cl, rec := call(t, c.stage)
			if res := generation(t, h).Run(cl); !res.Failed || !strings.Contains(rec.steps[0].Detail, c.want) {
				t.Errorf("failed %v, detail %q, want %q", res.Failed, rec.steps[0].Detail, c.want)
			}
		})
	}
}

// TestSecretsOfRoutes: a plan names only secrets that its plugin is granted.
func TestSecretsOfRoutes(t *testing.T) {
	for _, c := range []struct {
		secrets []string
		err     string
	}{
		{[]string{"smtp/*"}, ""},
		{[]string{"smtp/b"}, `the secret "smtp/a" is not granted: ask with needs = { secrets = {"smtp/a"} }`},
		{nil, `the secret "smtp/a" is not granted`},
	} {
		plan := message.Plan{Hosts: []string{"a.example:587"}, Auth: message.Auth{User: "u", Secret: "smtp/a"}}
		err := MayRoute(&capability.Needs{Route: []string{"*"}, Secrets: c.secrets}, &plan)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("with %q: %v, want %q", c.secrets, err, c.err)
		}
	}
}

// TestPrivateHops: a plan notes which of its hosts may have private addresses: those that are named in full, or all where the list
// says so, in what was asked for and in what was granted.
func TestPrivateHops(t *testing.T) {
	hosts := []string{"a.example:25", "10.0.0.7:25", "b.example:25"}
	for _, c := range []struct {
		asked, given []string
		plan         message.Plan
		want         uint16
	}{
		{[]string{"*"}, nil, message.Plan{Hosts: hosts}, 0},
		{[]string{"*", "10.0.0.7:25"}, nil, message.Plan{Hosts: hosts}, 0b010},
		{[]string{"*", "private"}, nil, message.Plan{Hosts: hosts}, 0b111},
		{[]string{"*", "private"}, []string{"*:25"}, message.Plan{Hosts: hosts}, 0},
		{[]string{"*", "private"}, []string{"*:25", "b.example:25"}, message.Plan{Hosts: hosts}, 0b100},
		{[]string{"mx"}, nil, message.Plan{MX: "a.example"}, 0},
		{[]string{"mx", "*", "b.example:25"}, nil, message.Plan{MX: "a.example", Hosts: hosts}, 0b1000},
		{[]string{"mx", "private"}, nil, message.Plan{MX: "a.example"}, 1},
		{[]string{"mx", "*", "private"}, nil, message.Plan{MX: "a.example", Public: true, Hosts: hosts}, 0b1110},
		{[]string{"mx"}, []string{"mx", "private"}, message.Plan{MX: "a.example", Private: 1}, 0},
	} {
		h := hook("p", Route, answer(&Verdict{Kind: RouteTo, Plan: &c.plan}))
		h.Needs = &capability.Needs{Route: c.asked}
		if c.given != nil {
			h.Needs.Given = &capability.Needs{Route: c.given}
		}
		cl, _ := call(t, Route)
		if res := generation(t, h).Run(cl); res.Failed || res.Plan.Private != c.want {
			t.Errorf("%q and %q: failed %v, %b, want %b", c.asked, c.given, res.Failed, res.Plan.Private, c.want)
		}
	}
}

func TestMatchHost(t *testing.T) {
	for _, c := range []struct {
		pattern, host string
		want          bool
	}{
		{"*", "a.example:25", true}, {"*:25", "a.example:25", true}, {"*:25", "a.example:2525", false}, {"a.example:25", "a.example:25", true},
		{"*.example:25", "a.example:25", true}, {"*.example:25", "a.other:25", false}, {"a*:2*", "a.example:25", true}, {"a*b*c", "abc", true}, {"a*a", "a", false},
	} {
		if got := capability.Matches(c.pattern, c.host); got != c.want {
			t.Errorf("Matches(%q, %q) = %v", c.pattern, c.host, got)
		}
	}
}

func TestEditsCountOnlyWhenTheHandlerReturns(t *testing.T) {
	edits := func(c *Call) error {
		return errors.Join(c.AddHeader("X-New", "n"), c.SetHeader("X-A", "3"), c.RemoveHeader("Subject", 0), c.SetSender(smtp.Address{}),
			c.AddRcpt(address(t, "v@example.org"), Local), c.SetFact(&c.Message.Facts, "p.seen", true), c.Schedule(Schedule{Tenant: new("t1"), Priority: new(3)}))
	}
	good := hook("p", Data, func(c *Call) (*Verdict, error) {
		if err := edits(c); err != nil {
			return nil, err
		}
		if c.Fact(&c.Message.Facts, "p.seen") != true {
			return nil, errors.New("a staged fact is not seen by its own call")
		}
		if _, set := c.Message.Facts.Get("p.seen"); set {
			return nil, errors.New("a fact was set before the handler returned")
		}
		return nil, nil
	})
	bad := hook("p", Data, func(c *Call) (*Verdict, error) {
		if err := edits(c); err != nil {
			return nil, err
		}
		return nil, errors.New("on second thought")
	})
	overflow := hook("p", Data, func(c *Call) (*Verdict, error) {
		if err := edits(c); err != nil {
			return nil, err
		}
		return nil, c.AddHeader("X-Big", strings.Repeat(strings.Repeat("y", 900)+"\r\n ", 400))
	})
	for _, c := range []struct {
		hook    *Hook
		applied bool
	}{{good, true}, {bad, false}, {overflow, false}} {
		cl, rec := call(t, Data)
		generation(t, c.hook).Run(cl)
		m := cl.Message
		h, err := m.Header()
		if err != nil {
			t.Fatal(err)
		}
		prefix, skip := h.Result(nil)
		fact, _ := m.Facts.Get("p.seen")
		got := string(prefix) != "" && skip > 0 && m.Sender.IsNull() && len(m.Rcpts) == 2 && fact == true && m.Tenant == "t1" && m.Priority == 3
		none := string(prefix) == "" && skip == 0 && !m.Sender.IsNull() && len(m.Rcpts) == 1 && fact == nil && m.Tenant == "" && m.Priority == 0
		if c.applied && (!got || string(prefix) != "X-New: n\r\nX-A: 3\r\n") || !c.applied && !none {
			t.Errorf("applied %v: prefix %q skip %d sender %v rcpts %d fact %v; record %+v", c.applied, prefix, skip, m.Sender, len(m.Rcpts), fact, rec.steps)
		}
		if c.applied && len(rec.steps[0].Edits) != 7 {
			t.Errorf("record names the edits %q", rec.steps[0].Edits)
		}
	}
}

func TestRenameToSeveral(t *testing.T) {
	cl, _ := call(t, Rcpt)
	generation(t, hook("p", Rcpt, func(c *Call) (*Verdict, error) {
		return &Verdict{Kind: Accept, Class: Local}, c.Rename(address(t, "x@example.org"), address(t, "y@example.org"))
	})).Run(cl)
	if cl.Rcpt.Address.Text != "x@example.org" || cl.Rcpt.Original.Text != "u@example.org" || len(cl.Renamed()) != 1 || cl.Rcpt.Class != Local {
		t.Errorf("renamed to %v and %v, class %q", cl.Rcpt.Address, cl.Renamed(), cl.Rcpt.Class)
	}
}
