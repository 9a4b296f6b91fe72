package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/message/messagetest"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/api"
	"github.com/stagepost/stagepost/plugins/lua"
	"github.com/stagepost/stagepost/plugins/service"
)

// The tests here hold what the generator adds to the declarations against what the server does.

func load(src string) (*lua.Plugin, error) {
	man, image, err := lua.Open(lua.Files{Main: "p.lua", Texts: map[string][]byte{"p.lua": []byte(src)}, Path: func(f string) string { return f }})
	if err != nil {
		return nil, err
	}
	settings, err := man.Configure(nil, func(string) string { return "stagepost.toml:1" })
	if err != nil {
		return nil, err
	}
	host := service.NewHost(service.Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	return lua.Load(lua.PluginOptions{Name: man.ID, Image: image, Manifest: man, Settings: settings, Host: host})
}

type steps []observe.Step

func (s *steps) Observe(step observe.Step) { *s = append(*s, step) }

// ask loads a plugin and asks it at a stage; it returns what it answered.
func ask(t *testing.T, stage hooks.Stage, code string) hooks.Result {
	t.Helper()
	const header = `plugin { id = "p", needs = { edit = {"headers", "sender", "rcpts", "body"}, route = {"mx", "*:25"}, secrets = {"s"} } }` + "\n"
	p, err := load(header + code)
	if err != nil {
		t.Fatalf("%v in:\n%s", err, code)
	}
	defer p.Close()
	var all []*hooks.Hook
	for s, h := range p.Handlers() {
		all = append(all, &hooks.Hook{Plugin: p.Name, Stage: s, Handler: h, Needs: p.Manifest.Needs, OnError: hooks.Defer, Timeout: time.Minute})
	}
	gen, err := hooks.NewGeneration(1, all, nil)
	if err != nil {
		t.Fatal(err)
	}
	user, err := smtp.ParseAddress("user@example.org")
	if err != nil {
		t.Fatal(err)
	}
	session := &message.Session{Role: message.RoleMX}
	m := &hooks.MessageView{Envelope: &message.Envelope{Session: session, Sender: user, Rcpts: []*message.Rcpt{{Address: user, Original: user}}}}
	if stage >= hooks.Data {
		m.Content, m.MaxSize = messagetest.Text("Subject: x\r\n\r\nbody\r\n"), 1000
		m.Draft = func(context.Context, int64) (message.Draft, error) { return &messagetest.Draft{}, nil }
	}
	var seen steps
	res := gen.Run(&hooks.Call{Stage: stage, Session: session, Login: &hooks.LoginView{Session: session}, Message: m,
		Rcpt: &hooks.RcptView{Rcpt: m.Rcpts[0], Message: m}, Observer: &seen})
	if res.Failed {
		t.Errorf("it failed: %+v in:\n%s", seen, code)
	}
	return res
}

// TestArguments: the tables of verdicts and methods take all their arguments, with values of the types that are declared.
func TestArguments(t *testing.T) {
	values := map[string]string{
		"string": `"mx"`, "integer": "5", "number": "0.5", "string|string[]": `{"mail.example.org:25"}`, addressLike: "user",
	}
	for _, tt := range []struct {
		kind  hooks.Kind
		stage hooks.Stage
		set   map[string]string // where any value of the type will not do
	}{
		{hooks.Accept, hooks.Auth, map[string]string{"scram": "nil"}},
		{hooks.Reject, hooks.Mail, map[string]string{"code": "554", "enhanced": `"5.7.0"`}},
		{hooks.Defer, hooks.Mail, map[string]string{"code": "450", "enhanced": `"4.7.0"`}},
		{hooks.Close, hooks.Mail, map[string]string{"code": "421", "enhanced": `"4.7.0"`}},
		{hooks.RouteTo, hooks.Route, map[string]string{"via": `"smtp"`, "mx": "nil", "public": "nil", "tls": `"auto"`, "auth": `{user = "u", secret = "s"}`, "helo": `"a.example"`}},
	} {
		info := hooks.Verdicts()[tt.kind]
		f, err := api.FormOf(info)
		if err != nil || f.Table == nil {
			t.Fatalf("%s: %+v, %v", tt.kind, f, err)
		}
		user := map[hooks.Stage]string{hooks.Auth: "nil", hooks.Mail: "x.sender", hooks.Route: "x.message.sender"}[tt.stage]
		res := ask(t, tt.stage, fmt.Sprintf("function on.%s(x) local user = %s return %s%s end", tt.stage, user, info.Name, table(t, f.Table, values, tt.set)))
		if res.End == nil && res.Accept == nil && res.Plan == nil {
			t.Errorf("%s: no answer: %+v", tt.kind, res)
		}
	}
	for _, o := range hooks.Objects() {
		for _, m := range o.Methods {
			if strings.HasPrefix(m.Args, "{") {
				ask(t, m.Stages[0], fmt.Sprintf("function on.%s(x) x:%s%s end", m.Stages[0], m.Name, table(t, api.Split(strings.Trim(m.Args, "{}")), values, nil)))
			}
		}
	}
}

func table(t *testing.T, keys []string, values, set map[string]string) string {
	var fields []string
	for _, key := range keys {
		key = strings.TrimSuffix(key, "?")
		v := set[key]
		if v == "" {
			a, err := api.Key(key)
			if err != nil {
				t.Fatal(err)
			}
			if v, err = argType(a); err != nil {
				t.Fatal(err)
			}
			v = values[v]
		}
		if v == "" {
			t.Fatalf("no value for %s", key)
		}
		fields = append(fields, key+" = "+v)
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

// TestAddressLike: where the stubs allow an address or its text, the engine does.
func TestAddressLike(t *testing.T) {
	for _, code := range []string{`r:rename("a@example.org")`, `r:rename(r.address)`, `r:rename{ "a@example.org", r.message.sender }`} {
		ask(t, hooks.Rcpt, "function on.rcpt(r) "+code+" end")
	}
	for _, code := range []string{`m:set_sender ""`, `m:set_sender(m.rcpts[1].address)`, `m:add_rcpt(m.sender, "local")`} {
		ask(t, hooks.Data, "function on.data(m) "+code+" end")
	}
}

// TestHeaderWords: the words that the stubs allow in a header are those that the decoder knows.
func TestHeaderWords(t *testing.T) {
	for key, header := range map[string]string{
		"config.NAME.type":     `id = "p", config = { a = { type = %q } }`,
		"facts.NAME.type":      `id = "p", facts = { a = { type = %q } }`,
		"facts.NAME.of":        `id = "p", facts = { a = { type = "int", of = %q } }`,
		"hook.STAGE.on_error":  `id = "p", hook = { rcpt = { on_error = %q } }`,
		"hook.STAGE.when.role": `id = "p", hook = { rcpt = { when = { role = {%q} } } }`,
	} {
		words := strings.Split(strings.NewReplacer(`"`, "", "(", "", ")[]", "").Replace(headerTypes()[key]), "|")
		slices.Sort(words)
		_, err := load(fmt.Sprintf("plugin { "+header+" }", "none-of-them"))
		if err == nil {
			t.Fatalf("%s takes anything", key)
		}
		_, known, _ := strings.Cut(err.Error(), "known: ")
		if got := strings.Split(known, ", "); !slices.Equal(got, words) {
			t.Errorf("%s: the decoder knows %q, the stubs have %q", key, got, words)
		}
	}
}

// TestContents: lists and maps of objects hold what the stubs say.
func TestContents(t *testing.T) {
	session := &message.Session{Groups: []string{"a"}, History: []message.Note{{Stage: "connect"}}}
	mail := []smtp.Param{{Key: "SIZE", Value: "1"}}
	m := &hooks.MessageView{Envelope: &message.Envelope{Session: session, Params: mail}}
	samples := map[string]any{
		"session": session, "message": m, "rcpt": &hooks.RcptView{Rcpt: &message.Rcpt{Params: mail}, Message: m}, "plan": &message.Plan{Hosts: []string{"a:25"}},
		"delivery": &hooks.DeliveryView{Parcel: &message.Parcel{}},
		"login":    &hooks.LoginView{Certificate: map[string]any{"subject": "CN=a", "issuer": "CN=b", "names": []any{"a.example"}, "fingerprint": "00"}},
	}
	seen := 0
	for _, o := range hooks.Objects() {
		for _, f := range o.Fields {
			want := contents()[o.Name+"."+f.Name]
			if want == "" {
				continue
			}
			seen++
			if got := typeOf(t, f.Value(samples[o.Name])); got != want {
				t.Errorf("%s.%s is %s, the stubs say %s", o.Name, f.Name, got, want)
			}
		}
	}
	if seen != len(contents()) {
		t.Errorf("%d of %d lists and maps are fields", seen, len(contents()))
	}
}

// typeOf names the type of a value that has one element on each level. Only the note of a session, a parcel and a certificate have several.
func typeOf(t *testing.T, v any) string {
	switch v := v.(type) {
	case nil:
		return "any"
	case string:
		return "string"
	case int64:
		return "integer"
	case []any:
		return typeOf(t, v[0]) + "[]"
	case map[string]any:
		if len(v) == 1 {
			for _, e := range v {
				return "table<string, " + typeOf(t, e) + ">"
			}
		}
		var fields []string
		for _, name := range []string{"stage", "plugin", "verdict", "code", "reason", "from", "key", "content", "subject", "issuer", "names", "fingerprint"} {
			if e, ok := v[name]; ok {
				fields = append(fields, name+": "+typeOf(t, e))
			}
		}
		if len(fields) != len(v) {
			t.Errorf("there are more fields in %v", v)
		}
		return "{" + strings.Join(fields, ", ") + "}"
	}
	t.Fatalf("a %T", v)
	return ""
}

// TestParsedAddress: what addr.parse returns has the fields of the object address, which the stubs give it.
func TestParsedAddress(t *testing.T) {
	var names []string
	for _, o := range hooks.Objects() {
		if o.Name == "address" {
			for _, f := range o.Fields {
				names = append(names, f.Name)
			}
		}
	}
	slices.Sort(names)
	for _, s := range service.Services() {
		for _, f := range s.Funcs {
			if f.Name != "addr.parse" {
				continue
			}
			c := service.NewHost(service.Options{}).Context("p", &capability.Needs{}, nil)
			c.Begin(&hooks.Call{})
			v, err := f.Do(c, []any{"user@example.org"})
			if err != nil {
				t.Fatal(err)
			}
			if got := slices.Sorted(maps.Keys(v.(map[string]any))); !slices.Equal(got, names) {
				t.Errorf("fields %q, want %q", got, names)
			}
			return
		}
	}
	t.Error("there is no addr.parse")
}

// TestReadme: the plugins in the README load.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "sdk", "lua", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```lua\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(examples) == 0 {
		t.Fatal("it has no examples")
	}
	for _, e := range examples {
		p, err := load(e[1])
		if err != nil {
			t.Errorf("%v in:\n%s", err, e[1])
			continue
		}
		if len(p.Handlers()) == 0 {
			t.Errorf("it has no handler:\n%s", e[1])
		}
		p.Close()
	}
}

// TestEditorSettings: the example for lua-language-server points to the stubs and takes away the libraries of Lua 5.1 that
// the sandbox does not have, and no other.
func TestEditorSettings(t *testing.T) {
	folder := filepath.Join(root, "sdk", "lua")
	text, err := os.ReadFile(filepath.Join(folder, ".luarc.json"))
	if err != nil {
		t.Fatal(err)
	}
	var settings struct {
		Builtin map[string]string `json:"runtime.builtin"`
		Library []string          `json:"workspace.library"`
	}
	if err := json.Unmarshal(text, &settings); err != nil {
		t.Fatal(err)
	}
	for _, library := range []string{"coroutine", "debug", "io", "math", "os", "package", "string", "table"} {
		want := "disable"
		if slices.Contains(lua.BaseGlobals(), library) {
			want = ""
		}
		if got := settings.Builtin[library]; got != want {
			t.Errorf("%s is %q, want %q", library, got, want)
		}
	}
	for _, library := range settings.Library {
		if _, err := os.Stat(filepath.Join(folder, library, "stagepost.lua")); err != nil {
			t.Error(err)
		}
	}
	if len(settings.Library) == 0 {
		t.Error("it names no library")
	}
}
