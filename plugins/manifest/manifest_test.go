package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/yuin/gopher-lua/ast"
	"github.com/yuin/gopher-lua/parse"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
)

var update = flag.Bool("update", false, "write the golden files in testdata anew")

// read gives the manifest in a .toml or .lua file.
func read(name string, data []byte) (*Manifest, error) {
	if strings.HasSuffix(name, ".toml") {
		return FromTOML(name, data)
	}
	chunk, err := parse.Parse(bytes.NewReader(data), name)
	if err != nil {
		return nil, err
	}
	header, err := headerOf(name, chunk)
	if err != nil {
		return nil, err
	}
	return FromLua(name, header)
}

func lua(t *testing.T, source string) *Manifest {
	t.Helper()
	m, err := read("x.lua", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// TestErrors reads each testdata/bad file and compares what is reported with the .errors file beside it.
func TestErrors(t *testing.T) {
	luas, _ := filepath.Glob("testdata/bad/*.lua")
	tomls, _ := filepath.Glob("testdata/bad/*.toml")
	if len(luas) == 0 || len(tomls) == 0 {
		t.Fatal("no test files")
	}
	for _, file := range slices.Concat(luas, tomls) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			m, err := read("plugins/"+filepath.Base(file), data)
			var all config.Errors
			if m != nil || !errors.As(err, &all) || len(all) == 0 {
				t.Fatalf("got %v, error %v", m, err)
			}
			golden(t, file+".errors", err.Error()+"\n")
		})
	}
}

// TestGood reads one manifest in both forms; they say the same.
func TestGood(t *testing.T) {
	var all []*Manifest
	for _, file := range []string{"testdata/good/greylist.lua", "testdata/good/greylist.toml"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m, err := read(file, data)
		if err != nil {
			t.Fatal(err)
		}
		m.File = ""
		for i := range m.Config {
			if m.Config[i].Line == 0 {
				t.Errorf("%s: %s has no line", file, m.Config[i].Name)
			}
			m.Config[i].Line = 0
		}
		for i := range m.Facts {
			if m.Facts[i].Line == 0 {
				t.Errorf("%s: %s has no line", file, m.Facts[i].Name)
			}
			m.Facts[i].Line = 0
		}
		for s, h := range m.Hooks {
			h.Line = 0
			m.Hooks[s] = h
		}
		all = append(all, m)
	}
	if !reflect.DeepEqual(all[0], all[1]) {
		t.Errorf("Lua:  %+v\nTOML: %+v", all[0], all[1])
	}
	text, err := json.MarshalIndent(all[0], "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/good/greylist.json", string(text)+"\n")
}

func TestMinimal(t *testing.T) {
	m := lua(t, `plugin { id = "vip" }`)
	want := &Manifest{File: "x.lua", Line: 1, ID: "vip", Version: "0.0.0", Needs: &capability.Needs{}, Granted: &capability.Needs{}, Hooks: map[hooks.Stage]HookSpec{}}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("got %+v", m)
	}
	h := m.Hook(hooks.Mail, "vip", config.Run{})
	if h.Order != 50 || h.OnError != hooks.Defer || h.Timeout != 10*time.Second || h.Needs != m.Needs || h.Pos != "x.lua:1" || h.Plugin != "vip" || h.Stage != hooks.Mail {
		t.Errorf("hook %+v", h)
	}
}

func TestVersions(t *testing.T) {
	for version, ok := range map[string]bool{
		"1.0.0": true, "0.0.10-rc.1+linux": true, "1.0": false, "01.0.0": false, "v1.0.0": false, "1.0.0-": false, "1.0.0 ": false,
		"1.0.0-" + strings.Repeat("a", 200): false,
	} {
		_, err := FromTOML("plugin.toml", []byte("id = \"vip\"\nversion = \""+version+"\"\n"))
		if (err == nil) != ok {
			t.Errorf("%q: %v", version, err)
		}
	}
}

func TestFileTooLarge(t *testing.T) {
	if _, err := FromTOML("plugin.toml", make([]byte, MaxFile+1)); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Error(err)
	}
}

func TestHeaderTooLarge(t *testing.T) {
	source := `plugin { id = "vip", config = { x = { type = "list", default = {` + strings.Repeat("0,", maxNodes) + `} } } }`
	_, err := read("x.lua", []byte(source))
	if err == nil || !strings.Contains(err.Error(), "more than 20000 values") || strings.Count(err.Error(), "\n") > 0 {
		t.Error(err)
	}
}

// TestCapabilities holds the decoder against what package capability declares: each is decoded, and its own form is accepted.
func TestCapabilities(t *testing.T) {
	for _, c := range capability.Capabilities() {
		m := lua(t, `plugin { id = "vip", needs = { `+c.Form+` } }`)
		words := Words(m.Needs)
		if reflect.DeepEqual(*m.Needs, capability.Needs{}) || len(words) == 0 || !strings.HasPrefix(words[0], c.Name) {
			t.Errorf("%s grants %q", c.Form, words)
		}
		if err := m.Needs.Refuse("it", c.Name); err != nil {
			t.Errorf("%s: %v", c.Form, err)
		}
		for _, v := range c.Values {
			asked := lua(t, `plugin { id = "vip", needs = { `+capability.AskFor(c.Name+" "+v)+` } }`).Needs
			if err := asked.Refuse("it", c.Name+" "+v); err != nil || !slices.Contains(Words(asked), c.Name+" "+v) {
				t.Errorf("%s %s: %v; asked is %q", c.Name, v, err, Words(asked))
			}
		}
		if err := new(capability.Needs).Refuse("it", c.Name); err == nil || err.Error() != "it is not granted: ask with needs = { "+c.Form+" }" {
			t.Errorf("%s: nothing is asked for, and the refusal is %v", c.Name, err)
		}
	}
}

// TestLists reads what may stand in the lists of needs, and what may not.
func TestLists(t *testing.T) {
	for _, c := range []struct{ key, good, bad string }{
		{"http", `"*", "private", "api.example.org:443", "*.example.org:*", "192.0.2.1:80", "[2001:db8::1]:443"`, `"api.example.org", "API.example.org:443", "mx", "https://a:1", "a:b", "unix:/x"`},
		{"net", `"*:10040", "private", "unix:/run/policyd.sock", "unix:*"`, `"unix:x", "unix:/a b", "mx", "host"`},
		{"lookup", `"users", "*", "user-*"`, `"Users", "a b", "", "a.b"`},
		{"secrets", `"dkim/*", "api_token", "dkim/example.org"`, `"/dkim", "dkim/", "../dkim", "dkim/..", "a//b", ".x"`},
		{"route", `"mx", "*", "private", "*:587", "[::1]:25"`, `"unix:/x", "host", "a:b"`},
	} {
		good, bad := strings.Split(c.good, ", "), strings.Split(c.bad, ", ")
		m := lua(t, fmt.Sprintf(`plugin { id = "vip", needs = { %s = {%s} } }`, c.key, c.good))
		if n := len(Words(m.Needs)); n != len(good) {
			t.Errorf("%s = {%s} is %q", c.key, c.good, Words(m.Needs))
		}
		for _, b := range bad {
			if _, err := read("x.lua", fmt.Appendf(nil, `plugin { id = "vip", needs = { %s = {%s} } }`, c.key, b)); err == nil || !strings.Contains(err.Error(), "needs."+c.key+": "+b+"; want ") {
				t.Errorf("%s = {%s}: %v", c.key, b, err)
			}
		}
	}
}

// TestForms reads the forms that the manual shows.
func TestForms(t *testing.T) {
	around := map[string]string{
		"": `plugin { %s }`, "needs": `plugin { id = "vip", needs = { %s } }`,
		"config.NAME":     `plugin { id = "vip", config = { x = { type = "duration", %s } } }`,
		"facts.NAME":      `plugin { id = "vip", facts = { x = { %s } } }`,
		"hook.STAGE":      `plugin { id = "greylist", hook = { rcpt = { %s } } }`,
		"hook.STAGE.when": `plugin { id = "vip", hook = { rcpt = { when = { %s } } } }`,
		"hook.tick":       `plugin { id = "vip", hook = { tick = { %s } } }`,
	}
	for _, section := range Document() {
		for _, k := range section.Keys {
			if k.Doc == "" || !strings.HasPrefix(k.Form, k.Name+" = ") {
				t.Errorf("%s.%s: form %q, doc %q", section.Name, k.Name, k.Form, k.Doc)
			}
			form := k.Form
			switch {
			case section.Name == "" && k.Name != "id":
				form = `id = "vip", ` + form
			case k.Name == "background":
				form += `, sets = {"greylist.seen"}`
			case section.Name == "facts.NAME" && k.Name != "type":
				form = `type = "string", ` + form
			case section.Name == "config.NAME" && k.Name == "type":
				form = "" // stands there already
			}
			lua(t, strings.Replace(around[section.Name], "%s", form, 1))
		}
	}
}

func TestConfigure(t *testing.T) {
	m := lua(t, `plugin { id = "greylist", config = {
		wait = { type = "duration", default = "5m" }, most = { type = "size" }, zone = { type = "string", required = true },
		on = { type = "bool", default = true }, n = { type = "int" }, nets = { type = "list", default = {"127.0.0.0/8"} },
		hosts = { type = "map", default = { a = "b" } } } }`)
	pos := func(key string) string { return "stagepost.toml:" + map[string]string{"": "3", "wait": "4"}[key] }
	for _, tt := range []struct {
		name string
		in   map[string]any
		want Settings
		err  string
	}{
		{name: "defaults", in: map[string]any{"zone": ""},
			want: Settings{"wait": int64(300), "zone": "", "on": true, "nets": []any{"127.0.0.0/8"}, "hosts": map[string]any{"a": "b"}}},
		{name: "all", in: map[string]any{"wait": "1500ms", "most": "1KiB", "zone": "z", "on": false, "n": int64(-3), "nets": []any{int64(1)}, "hosts": map[string]any{"x": []any{1.5}}},
			want: Settings{"wait": 1.5, "most": int64(1024), "zone": "z", "on": false, "n": int64(-3), "nets": []any{int64(1)}, "hosts": map[string]any{"x": []any{1.5}}}},
		{name: "missing", err: "stagepost.toml:3: zone is missing; the plugin greylist wants a string"},
		{name: "unknown", in: map[string]any{"zone": "z", "wiat": "5m"},
			err: `stagepost.toml:: unknown key "wiat" for the plugin greylist; did you mean "wait"? known: hosts, most, n, nets, on, wait, zone`},
		{name: "not a duration", in: map[string]any{"zone": "z", "wait": "5x"},
			err: `stagepost.toml:4: wait: "5x" is not a duration; the plugin greylist wants a duration, as "5m"`},
		{name: "types", in: map[string]any{"zone": int64(1), "wait": int64(300), "most": true, "on": "yes", "n": 1.5, "nets": "127.0.0.1", "hosts": []any{}},
			err: `stagepost.toml:: hosts: a list is not of type map; the plugin greylist wants a table, or "lookup:NAME"
stagepost.toml:: most: true is not of type size; the plugin greylist wants a size, as "10MB"
stagepost.toml:: n: 1.5 is not of type int; the plugin greylist wants a whole number, as 5
stagepost.toml:: nets: "127.0.0.1" is not of type list; the plugin greylist wants a list, as ["a", "b"], or "lookup:NAME"
stagepost.toml:: on: "yes" is not of type bool; the plugin greylist wants true or false
stagepost.toml:4: wait: 300 is not of type duration; the plugin greylist wants a duration, as "5m"
stagepost.toml:: zone: 1 is not of type string; the plugin greylist wants a string`},
		{name: "no plain value", in: map[string]any{"zone": "z", "nets": []any{time.Time{}}},
			err: `stagepost.toml:: nets: a time.Time cannot stand in a setting; the plugin greylist wants a list, as ["a", "b"], or "lookup:NAME"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := m.Configure(tt.in, pos)
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Errorf("error\n%v\nwant\n%s", err, tt.err)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %#v, %v", got, err)
			}
		})
	}
}

// TestConfigureCopies changes the operator's values afterwards.
func TestConfigureCopies(t *testing.T) {
	m := lua(t, `plugin { id = "vip", config = { a = { type = "list" } } }`)
	in := []any{map[string]any{"k": "v"}}
	got, err := m.Configure(map[string]any{"a": in}, nil)
	if err != nil {
		t.Fatal(err)
	}
	in[0].(map[string]any)["k"] = "changed"
	if v := got["a"].([]any)[0].(map[string]any)["k"]; v != "v" {
		t.Errorf("k = %v", v)
	}
}

func TestRun(t *testing.T) {
	m := lua(t, `plugin { id = "greylist", needs = { facts = {"spam"} }, hook = { rcpt = { when = { role = {"mx"}, user = false }, order = 40, after = {"a"},
		before = {"b"}, reads = {"greylist.seen", "greylister.x?"}, sets = {"greylist.waited", "spam.x"}, on_error = "next", timeout = "2s" } } }`)
	order, user := 0, true
	run := config.Run{When: config.When{Role: []string{"submission"}, Listener: []string{"in"}, User: &user}, Order: &order, After: []string{"c"},
		OnError: "reject", Timeout: time.Minute}
	got := m.Hook(hooks.Rcpt, "second", run)
	want := &hooks.Hook{Plugin: "second", Stage: hooks.Rcpt, Needs: m.Needs,
		When:  hooks.When{Roles: []message.Role{"submission"}, Listeners: []string{"in"}, User: &user},
		After: []string{"c"}, Before: []string{"b"}, Reads: []string{"second.seen", "greylister.x?"}, Sets: []string{"second.waited", "spam.x"},
		OnError: hooks.Reject, Timeout: time.Minute, Pos: "x.lua:1"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	beat := lua(t, `plugin { id = "vip", hook = { tick = { every = "5m" } } }`)
	for every, h := range map[time.Duration]*hooks.Hook{
		time.Minute:     lua(t, `plugin { id = "vip" }`).Hook(hooks.Tick, "vip", config.Run{}),
		5 * time.Minute: beat.Hook(hooks.Tick, "vip", config.Run{}),
		time.Hour:       beat.Hook(hooks.Tick, "vip", config.Run{Every: time.Hour}),
		0:               m.Hook(hooks.Rcpt, "vip", config.Run{}),
	} {
		if h.Every != every {
			t.Errorf("asked every %s, want %s", h.Every, every)
		}
	}
	if same := m.Hooks[hooks.Rcpt].Apply(config.Run{}); !reflect.DeepEqual(same, m.Hooks[hooks.Rcpt]) {
		t.Errorf("the zero Run changes %+v", same)
	}
	if m.Hooks[hooks.Rcpt].Sets[0] != "greylist.waited" {
		t.Error("the manifest was changed")
	}
}

// checkAny tests what holds for every input.
func checkAny(t *testing.T, m *Manifest, err error) {
	if err != nil {
		var all config.Errors
		if m != nil || !errors.As(err, &all) || len(all) == 0 || len(all) > maxErrors {
			t.Fatalf("manifest %v with error %v", m, err)
		}
		for _, e := range all {
			if e.Line < 1 || strings.ContainsAny(e.Text, "\n\r") {
				t.Fatalf("line %d: %q", e.Line, e.Text)
			}
		}
		return
	}
	if !idPattern.MatchString(m.ID) || m.Needs == nil || m.Granted != m.Needs {
		t.Fatalf("%+v", m)
	}
	for _, s := range m.Config {
		if s.Default == nil {
			continue
		}
		if _, err := copied(s.Default, maxValueDepth); err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
	}
	for stage := range m.Hooks {
		m.Hook(stage, "other", config.Run{})
	}
}

func seeds(f *testing.F, ext string) {
	for _, folder := range []string{"good", "bad"} {
		files, _ := filepath.Glob("testdata/" + folder + "/*" + ext)
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
}

func FuzzFromTOML(f *testing.F) {
	seeds(f, ".toml")
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := FromTOML("plugin.toml", data)
		checkAny(t, m, err)
	})
}

func FuzzFromLua(f *testing.F) {
	seeds(f, ".lua")
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4096 {
			return // the parser's own bounds are the engine's business
		}
		chunk, err := parse.Parse(bytes.NewReader(data), "x.lua")
		if err != nil {
			return
		}
		header, err := headerOf("x.lua", chunk)
		if err != nil {
			return
		}
		m, err := FromLua("x.lua", header)
		checkAny(t, m, err)
	})
}

// headerOf finds the literal of a Lua file's header: its first statement is plugin { ... }. The error is of type config.Errors.
func headerOf(file string, chunk []ast.Stmt) (ast.Expr, error) {
	line := 1
	if len(chunk) > 0 {
		line = max(chunk[0].Line(), 1)
		if s, ok := chunk[0].(*ast.FuncCallStmt); ok {
			if call, ok := s.Expr.(*ast.FuncCallExpr); ok && len(call.Args) == 1 {
				if name, ok := call.Func.(*ast.IdentExpr); ok && name.Value == "plugin" {
					return call.Args[0], nil
				}
			}
		}
	}
	return nil, config.Errors{{File: file, Line: line, Text: fmt.Sprintf(
		`a plugin begins with its header; write plugin { id = "name", version = "1.0.0", api = %d } as the first statement`, API)}}
}
