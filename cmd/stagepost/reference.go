package main

import (
	"fmt"
	"strings"

	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/manifest"
	"github.com/stagepost/stagepost/plugins/service"
	"github.com/stagepost/stagepost/plugins/wasm"
)

// reference writes the second half of the page plugins from the tables that the server itself works with, so that it is never
// out of step with them.
func reference() string {
	var b strings.Builder
	b.WriteString("# Reference\n\nWhat follows is written by the program from what it checks plugins against.\n")
	referStages(&b)
	referVerdicts(&b)
	referHeader(&b)
	referObjects(&b)
	fmt.Fprintf(&b, "\n## Services\n%s", strings.ReplaceAll("\n"+service.Manual(), "\n## ", "\n### "))
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// wasmReference are the numbers of the page wasm.
func wasmReference() string {
	return "## Numbers\n\nThey are never given out again; new ones come at the end.\n\n" + wasm.Manual()
}

func referStages(b *strings.Builder) {
	b.WriteString("\n## Stages\n\nIn the order of a message's life. A handler may always answer nothing, which is next.\n\n")
	for _, s := range hooks.Stages() {
		answers := "no verdict"
		if names := s.Verdicts.Names(); len(names) > 0 {
			answers = "`" + strings.Join(names, "`, `") + "`"
		}
		fmt.Fprintf(b, "- `on.%s(%s)`: %s. May answer %s.", s.Name, s.Scope.Object(), s.Asked, answers)
		if s.Default != "-" {
			fmt.Fprintf(b, " When all say next: %s.", s.Default)
		}
		b.WriteByte('\n')
	}
}

func referVerdicts(b *strings.Builder) {
	b.WriteString("\n## Verdicts\n\n")
	for _, v := range hooks.Verdicts() {
		forms := strings.Split(v.Form, " | ")
		fmt.Fprintf(b, "- `%s`: %s.\n", strings.Join(forms, "` or `"), v.Doc)
	}
}

func referHeader(b *strings.Builder) {
	b.WriteString("\n## Header\n\nThe keys of `plugin { ... }`, or of `plugin.toml`.\n")
	for _, s := range manifest.Document() {
		name := s.Name
		if name == "" {
			name = "plugin"
		}
		fmt.Fprintf(b, "\n### %s\n\n", name)
		for _, k := range s.Keys {
			required := ""
			if k.Required {
				required = " Required."
			}
			fmt.Fprintf(b, "- `%s`: %s%s\n", k.Form, sentence(k.Doc), required)
		}
	}
}

func referObjects(b *strings.Builder) {
	b.WriteString("\n## Objects\n\nReading a field that does not exist is an error. A field with `?` may be nil.\n")
	for _, o := range hooks.Objects() {
		fmt.Fprintf(b, "\n### %s\n\n%s\n\n", o.Name, strings.ToUpper(o.Doc[:1])+sentence(o.Doc[1:]))
		for _, f := range o.Fields {
			kind := string(f.Type)
			switch {
			case f.Type == hooks.TypeObject:
				kind = f.Of
			case f.Type == hooks.TypeList && f.Of != "":
				kind = "list of " + f.Of
			}
			if f.Optional {
				kind += "?"
			}
			fmt.Fprintf(b, "- `%s` (%s): %s\n", f.Name, kind, sentence(f.Doc))
		}
		for _, m := range o.Methods {
			fmt.Fprintf(b, "- `:%s(%s)`", m.Name, m.Args)
			if m.Result != "" {
				fmt.Fprintf(b, " -> `%s`", m.Result)
			}
			fmt.Fprintf(b, ": %s At %s.", sentence(m.Doc), stageNames(m.Stages))
			if m.Needs != "" {
				fmt.Fprintf(b, " Needs %s.", m.Needs)
			}
			b.WriteByte('\n')
		}
	}
}

func stageNames(stages []hooks.Stage) string {
	names := make([]string, len(stages))
	for i, s := range stages {
		names[i] = s.String()
	}
	return strings.Join(names, ", ")
}

// sentence ends with a full stop.
func sentence(s string) string { return strings.TrimSuffix(s, ".") + "." }
