package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	glua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/api"
	"github.com/stagepost/stagepost/plugins/lua"
	"github.com/stagepost/stagepost/plugins/manifest"
	"github.com/stagepost/stagepost/plugins/service"
)

const root = "../.."

func generated(t *testing.T) (stubs, std string) {
	t.Helper()
	all, err := files()
	if err != nil {
		t.Fatal(err)
	}
	return all[0].text, all[1].text
}

func TestInStep(t *testing.T) {
	if err := run(root, true, io.Discard); err != nil {
		t.Error(err)
	}
}

// TestCheck: a file that was changed or is missing is named, and no other.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	if err := run(dir, false, io.Discard); err == nil {
		t.Error("it wrote into a folder that is no repository")
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	all, err := files()
	if err != nil {
		t.Fatal(err)
	}
	if err := run(dir, true, io.Discard); err == nil || strings.Count(err.Error(), "out of step") != len(all) {
		t.Errorf("without files: %v", err)
	}
	var out strings.Builder
	if err := run(dir, false, &out); err != nil {
		t.Fatal(err)
	}
	if strings.Count(out.String(), "\n") != len(all) {
		t.Errorf("it says it wrote %q", out.String())
	}
	if err := run(dir, true, io.Discard); err != nil {
		t.Error(err)
	}
	for _, f := range all {
		name := filepath.Join(dir, filepath.FromSlash(f.path))
		if err := os.WriteFile(name, []byte(f.text+"-- more\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		err := run(dir, true, io.Discard)
		if err == nil || !strings.Contains(err.Error(), f.path+" is out of step") || strings.Count(err.Error(), "out of step") != 1 {
			t.Errorf("%s was changed: %v", f.path, err)
		}
		if err := run(dir, false, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSameEachTime(t *testing.T) {
	stubs, std := generated(t)
	for range 3 {
		if s, l := generated(t); s != stubs || l != std {
			t.Fatal("two runs differ")
		}
	}
	for _, text := range []string{stubs, std} {
		if first, _, _ := strings.Cut(text, "\n"); first != "-- "+notice {
			t.Errorf("the first line is %q", first)
		}
	}
}

// declared is what the stubs declare, read back from the text.
type declared struct {
	classes   map[string]map[string]string // class, field without ?, type and text
	functions map[string][]string          // parameters
}

func readStubs(t *testing.T, text string) declared {
	t.Helper()
	d := declared{map[string]map[string]string{}, map[string][]string{}}
	var class string
	var params []string
	for i, line := range strings.Split(text, "\n") {
		word, rest, _ := strings.Cut(line, " ")
		name, more, _ := strings.Cut(rest, " ")
		switch {
		case word == "---@class" || word == "---@alias":
			class = strings.TrimPrefix(rest, "(exact) ")
			if word == "---@alias" {
				class = name
			}
			if d.classes[class] != nil {
				t.Errorf("line %d: %s is declared twice", i+1, class)
			}
			d.classes[class] = map[string]string{}
		case word == "---@field":
			name = strings.TrimSuffix(name, "?")
			if class == "" {
				t.Fatalf("line %d: the field %s is outside a class", i+1, name)
			}
			if d.classes[class][name] != "" {
				t.Errorf("line %d: %s has the field %s twice", i+1, class, name)
			}
			d.classes[class][name] = more
		case word == "---@param":
			params = append(params, strings.TrimSuffix(name, "?"))
		case word == "function":
			name, args, _ := strings.Cut(strings.TrimSuffix(rest, ") end"), "(")
			if d.functions[name] != nil {
				t.Errorf("line %d: the function %s is declared twice", i+1, name)
			}
			d.functions[name] = append([]string{}, params...)
			if got := strings.Join(params, ", "); got != args {
				t.Errorf("line %d: %s has the parameters %q and annotations of %q", i+1, name, args, got)
			}
		}
		if !strings.HasPrefix(line, "---") {
			class, params = "", nil
		}
	}
	return d
}

// TestStubs: the file is Lua, every name of the API is in it, and every class it mentions is declared.
func TestStubs(t *testing.T) {
	text, _ := generated(t)
	if _, err := parse.Parse(strings.NewReader(text), "stagepost.lua"); err != nil {
		t.Fatal(err)
	}
	d := readStubs(t, text)
	field := func(class, name string) {
		t.Helper()
		if d.classes[class][name] == "" {
			t.Errorf("%s has no field %s", class, name)
		}
	}
	function := func(name string) {
		t.Helper()
		if d.functions[name] == nil {
			t.Errorf("there is no function %s", name)
		}
	}
	for _, s := range hooks.Stages() {
		field("stagepost.on", s.Name)
		field("stagepost.header.hooks", s.Name)
		if got, want := d.classes["stagepost.on"][s.Name], "fun("+s.Scope.Object()[:1]+": stagepost."+s.Scope.Object()+")"; !strings.HasPrefix(got, want) {
			t.Errorf("on.%s is %s, want %s", s.Name, got, want)
		}
	}
	for _, k := range hooks.Verdicts() {
		if k.Kind != hooks.Next {
			function(k.Name)
		}
	}
	for _, o := range hooks.Objects() {
		for _, f := range o.Fields {
			field("stagepost."+o.Name, f.Name)
		}
		for _, m := range o.Methods {
			function(o.Name + ":" + m.Name)
		}
	}
	for _, c := range capability.Capabilities() {
		field("stagepost.header.needs", c.Name)
	}
	for _, s := range manifest.Document() {
		for _, k := range s.Keys {
			field(sectionClass(s.Name), k.Name)
		}
	}
	for _, s := range service.Services() {
		for _, f := range s.Funcs {
			function(f.Name)
		}
	}
	function("plugin")
	for _, global := range []string{"\non = {}\n", "\nconfig = {}\n"} {
		if !strings.Contains(text, global) {
			t.Errorf("the global %q is missing", global)
		}
	}
	for _, line := range strings.Split(text, "\n") {
		if !strings.HasPrefix(line, "---@") {
			continue
		}
		for _, name := range regexp.MustCompile(`stagepost\.\w+(\.\w+)*`).FindAllString(line, -1) {
			if d.classes[name] == nil {
				t.Errorf("%s is not declared: %s", name, line)
			}
		}
	}
}

// TestLuacheck runs the configuration as luacheck does and compares what it allows with what a plugin may name.
func TestLuacheck(t *testing.T) {
	_, text := generated(t)
	L := glua.NewState(glua.Options{SkipOpenLibs: true})
	defer L.Close()
	L.SetGlobal("stds", L.NewTable())
	if err := L.DoString(text); err != nil {
		t.Fatal(err)
	}
	if L.GetGlobal("std").String() != "stagepost" {
		t.Errorf("std is %v", L.GetGlobal("std"))
	}
	std := L.GetField(L.GetField(L.GetGlobal("stds"), "stagepost"), "read_globals").(*glua.LTable)
	got := map[string]bool{}
	std.ForEach(func(k, _ glua.LValue) { got[k.String()] = true })

	want := map[string]bool{"plugin": true, "on": true, "config": true}
	for _, name := range lua.BaseGlobals() {
		want[name] = true
	}
	for _, k := range hooks.Verdicts() {
		want[k.Name] = true // next is in Lua's own
	}
	for _, s := range service.Services() {
		want[s.Name] = true
	}
	if !maps.Equal(got, want) {
		t.Errorf("names %q, want %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
	for _, never := range []string{"os", "io", "debug", "package", "print", "load", "_G"} {
		if got[never] {
			t.Errorf("it allows %s", never)
		}
	}

	fields := func(name string) (list []string) {
		L.GetField(std.RawGetString(name), "fields").(*glua.LTable).ForEach(func(k, _ glua.LValue) { list = append(list, k.String()) })
		slices.Sort(list)
		return list
	}
	for name, want := range map[string][]string{
		"table": {"concat", "insert", "maxn", "remove", "sort"},
		"kv":    {"add", "delete", "get", "incr", "set"},
	} {
		if got := fields(name); !slices.Equal(got, want) {
			t.Errorf("%s has %q, want %q", name, got, want)
		}
	}
	for _, s := range hooks.Stages() {
		if !slices.Contains(fields("on"), s.Name) {
			t.Errorf("on has no %s", s.Name)
		}
	}
}

// TestStrict: what the generator does not understand is an error that says where to put it.
func TestStrict(t *testing.T) {
	translate := func(text string) (string, error) { return objectWords().luaType(text) }
	arguments := func(args string) (string, error) {
		var p []param
		shape, err := api.Args(args)
		if err == nil {
			p, err = params(shape, "stagepost.args.x")
		}
		return fmt.Sprint(p), err
	}
	verdict := func(form string) (string, error) {
		f, err := api.FormOf(hooks.KindInfo{Kind: hooks.Accept, Name: "v", Form: form})
		if err != nil {
			return "", err
		}
		p, err := verdictParam(f, "v")
		return fmt.Sprint(p, f.Table), err
	}
	form := func(text string) (string, error) { return formType(text, nil) }
	chosen := func(text string) (string, error) { return formType(text, []string{"a", "b"}) }
	need := needForm
	for _, tt := range []struct {
		do         func(string) (string, error)
		text, want string // "!" and a part of the error
	}{
		{translate, "string?", "string?"},
		{translate, "{name: string, size?: integer}[]", "{name: string, size?: integer}[]"},
		{translate, "rcpt[]", "stagepost.rcpt[]"},
		{translate, `"local"|"relay"`, `"local"|"relay"`},
		{translate, "fun(): string?", "fun(): string?"},
		{translate, "list", "any[]"},
		{translate, "bytes", `!the word "bytes"`},
		{translate, "", "!no type"},
		{arguments, "name: string, n?: integer", "[{name string} {n? integer}]"},
		{arguments, "address: string | string[]", "[{address stagepost.addresslike|stagepost.addresslike[]}]"},
		{arguments, "{tenant?, expires?}", "[{fields stagepost.args.x}]"},
		{arguments, "", "[]"},
		{arguments, "name", "!no type"},
		{arguments, "name: text", `!the new type "text"`},
		{arguments, "{tenant?, new?}", `!"new" is new`},
		{verdict, `v "local" | v()`, `{answer? "local"|"relay"} []`},
		{verdict, `v "why"`, `{answer string} []`},
		{verdict, `v{text, code}`, `{answer stagepost.args.v} [text code]`},
		{verdict, `v "never"`, "!of no known kind"},
		{verdict, `w "why"`, "!begin with its name"},
		{form, "a = true", "boolean"},
		{form, "a = 5", "integer"},
		{form, `a = "x"`, "string"},
		{form, `a = {"x", "y"}`, "string[]"},
		{form, `a = { b = 1 }`, ""},
		{form, `a = { 1, 2 }`, "!tells no type"},
		{form, `a = nil`, "!tells no type"},
		{form, `a = `, "!is not Lua"},
		{chosen, `a = "a"`, `"a"|"b"`},
		{chosen, `a = {"a"}`, `("a"|"b")[]`},
		{need, "", ""},
		{need, "edit headers", " Needs `edit = {\"headers\"}`."},
		{need, "read", " Needs `read = \"headers\"`."},
		{need, "read body", " Needs `read = \"body\"`."},
		{need, "edit everything", "!is not among"},
		{need, "root", "!is not among"},
	} {
		got, err := tt.do(tt.text)
		if part, fails := strings.CutPrefix(tt.want, "!"); fails {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%q: %q, %v; want an error with %q", tt.text, got, err, part)
			}
		} else if err != nil || got != tt.want {
			t.Errorf("%q: %q, %v; want %q", tt.text, got, err, tt.want)
		}
	}
}
