package generation

import (
	"fmt"
	"testing"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
)

// answers makes a plugin of each runtime in turn that answers a stage so, and asks it; lua is the body of the handler, and wasm the
// verdict, or nil where it traps.
func answers(t *testing.T, stage, lua string, wasm any, ask func(*hooks.Generation) hooks.Result) (both []hooks.Result) {
	t.Helper()
	trap := "export func stagepost_hook i32 -> i64\nunreachable"
	if wasm != nil {
		raw, err := message.EncodeValue(wasm)
		if err != nil {
			t.Fatal(err)
		}
		trap = fmt.Sprintf("data 512 %q\nexport func stagepost_hook i32 -> i64\ni64.const 0x%x\n", raw, 512<<32|len(raw))
	}
	for _, files := range []map[string]string{
		{"plugins/vip.lua": "plugin { id = \"vip\", version = \"1.0.0\", api = 0 }\nfunction on." + stage + "(x)\n" + lua + "\nend\n"},
		{"plugins/vip/plugin.toml": "id = \"vip\"\nversion = \"1.0.0\"\n[hook." + stage + "]\n", "plugins/vip/plugin.wasm": wasmFrom(t, "i32.const 0", trap)},
	} {
		s := newSite(t)
		for name, text := range files {
			s.write(name, text)
		}
		s.openWasm()
		g := s.m.Current().Acquire()
		both = append(both, ask(g))
		g.Release()
	}
	return both
}

// TestAuthAttacks is S19: nothing but the verdict accept lets anybody in.
func TestAuthAttacks(t *testing.T) {
	accept := map[string]any{"kind": int64(hooks.Accept), "user": "u"}
	for _, tt := range []struct {
		name, lua string
		wasm      any
		in        bool
	}{
		{"accept", `return accept { user = "u" }`, accept, true},
		{"a text", `return "accept"`, "accept", false},
		{"true", `return true`, true, false},
		{"a number", `return 1`, int64(hooks.Accept), false},
		{"a table", `return { kind = "accept", user = "u" }`, []any{accept}, false},
		{"a kind as text", `return { accept = true }`, map[string]any{"kind": "accept", "user": "u"}, false},
		{"it fails", `error("no")`, nil, false},
		{"next", `return nil`, map[string]any{"kind": int64(hooks.Next)}, false},
	} {
		for i, res := range answers(t, "auth", tt.lua, tt.wasm, func(g *hooks.Generation) hooks.Result {
			session := &message.Session{Role: message.RoleSubmission}
			return g.Run(&hooks.Call{Stage: hooks.Auth, Session: session, Login: &hooks.LoginView{Session: session, Mechanism: "PLAIN", Name: "u", Kind: "password", Secret: "x"}})
		}) {
			if got := res.Accept != nil && res.End == nil; got != tt.in {
				t.Errorf("%s, runtime %d: %+v", tt.name, i, res)
			}
		}
	}
}

// TestDeliverAttacks is S18: what claims success in another way than for each of the recipients it was given, or fails, delivered nothing, and
// on_error says that it is to be tried again.
func TestDeliverAttacks(t *testing.T) {
	accept := map[string]any{"kind": int64(hooks.Accept)}
	each := func(verdicts ...any) any { return map[string]any{"kind": int64(hooks.Each), "verdicts": verdicts} }
	for _, tt := range []struct {
		name, lua string
		wasm      any
		good      bool
	}{
		{"for each", `return each(function(r) return accept() end)`, each(accept, accept), true},
		{"for one of two", `return each(1)`, each(accept), false},
		{"for one that there is not", `return each { accept(), accept(), accept() }`, each(accept, accept, accept), false},
		{"twice", `return { accept(), accept() }`, []any{accept, accept}, false},
		{"each in each", `return each(function(r) return each(function() return accept() end) end)`, each(each(accept, accept), accept), false},
		{"a text", `return "accept"`, "accept", false},
		{"it dies after the remote's 250", `error("gone")`, nil, false},
	} {
		for i, res := range answers(t, "deliver", tt.lua, tt.wasm, func(g *hooks.Generation) hooks.Result {
			a, err := smtp.ParseAddress("u@example.org")
			if err != nil {
				t.Fatal(err)
			}
			rcpts := []*message.Rcpt{{Address: a, Original: a}, {Address: a, Original: a}}
			view := &hooks.MessageView{Envelope: &message.Envelope{Session: &message.Session{Role: message.RoleMX}, Rcpts: rcpts}}
			d := &hooks.DeliveryView{Message: view, Plan: &message.Plan{Via: "vip"}, Number: 1}
			for n, r := range rcpts {
				d.Rcpts = append(d.Rcpts, &hooks.RcptView{Rcpt: r, Message: view, Index: n})
			}
			res, asked := g.RunPlugin(&hooks.Call{Stage: hooks.Deliver, Session: view.Session, Message: view, Delivery: d}, "vip")
			if !asked {
				t.Error("the plugin was not asked")
			}
			return res
		}) {
			good := !res.Failed && res.End != nil && res.End.Kind == hooks.Each
			if good != tt.good || !good && (res.End == nil || res.End.Kind != hooks.Defer) {
				t.Errorf("%s, runtime %d: %+v", tt.name, i, res)
			}
		}
	}
}
