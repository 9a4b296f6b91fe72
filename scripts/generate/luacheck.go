package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	glua "github.com/yuin/gopher-lua"

	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/lua"
	"github.com/stagepost/stagepost/plugins/service"
)

// sandbox gives the names of Lua's own that a plugin can reach, each with the fields of its table.
func sandbox() (map[string][]string, error) {
	chunk, err := lua.Parse(lua.Source{Name: "empty.lua"})
	if err != nil {
		return nil, err
	}
	program, err := lua.Compile(chunk, nil)
	if err != nil {
		return nil, err
	}
	image, err := lua.Link(program, func(string) (*lua.Program, error) { return nil, errors.New("there are no modules") })
	if err != nil {
		return nil, err
	}
	in, err := lua.NewInstance(image, lua.Options{})
	if err != nil {
		return nil, err
	}
	defer in.Close()
	names := map[string][]string{}
	for _, name := range lua.BaseGlobals() {
		var fields []string
		if t, ok := in.State().GetGlobal(name).(*glua.LTable); ok {
			t.ForEach(func(k, _ glua.LValue) { fields = append(fields, k.String()) })
			slices.Sort(fields)
		}
		names[name] = fields
	}
	return names, nil
}

// serviceFields gives the functions of a service that is a table; nil for one that is a function itself.
func serviceFields(s service.Service) (fields []string) {
	for _, f := range s.Funcs {
		if f.Name != s.Name {
			fields = append(fields, strings.TrimPrefix(f.Name, s.Name+"."))
		}
	}
	return fields
}

// luacheck is a configuration of luacheck that knows what a plugin can reach, and nothing else.
func luacheck() (string, error) {
	own, err := sandbox()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, `-- %s
-- What a plugin can reach, for luacheck: luacheck --config stagepost.luacheck FILE

std = "stagepost"
allow_defined_top = true -- globals of the main chunk are the plugin's own
stds.stagepost = {
  read_globals = {
`, notice)
	line := func(name, value string) { fmt.Fprintf(&b, "    %s = %s,\n", name, value) }
	table := func(fields []string) string {
		if fields == nil {
			return "{}"
		}
		var t strings.Builder
		t.WriteString("{ fields = {\n")
		for _, f := range fields {
			fmt.Fprintf(&t, "      %s = {},\n", f)
		}
		return t.String() + "    } }"
	}
	b.WriteString("    -- the header and the handlers\n")
	line("plugin", "{}")
	b.WriteString("    on = { fields = {\n")
	for _, s := range hooks.Stages() {
		fmt.Fprintf(&b, "      %s = { read_only = false },\n", s.Name)
	}
	b.WriteString("    } },\n")
	line("config", "{ other_fields = true }")
	b.WriteString("    -- verdicts\n")
	for _, k := range hooks.Verdicts() {
		if k.Kind != hooks.Next {
			line(k.Name, "{}")
		}
	}
	b.WriteString("    -- services\n")
	for _, s := range service.Services() {
		line(s.Name, table(serviceFields(s)))
	}
	b.WriteString("    -- Lua's own\n")
	for _, name := range lua.BaseGlobals() {
		line(name, table(own[name]))
	}
	b.WriteString("  },\n}\n")
	return b.String(), nil
}
