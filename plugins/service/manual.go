package service

import (
	"fmt"
	"strings"
)

// Manual is the reference of the services, in Markdown.
func Manual() string {
	var b strings.Builder
	for _, s := range Services() {
		fmt.Fprintf(&b, "## %s\n\n%s\n\n", s.Name, s.Doc)
		for i := range s.Funcs {
			s.Funcs[i].manual(&b)
		}
		for _, o := range s.Objects {
			fmt.Fprintf(&b, "\n`%s`: %s", o.Name, o.Doc)
			if len(o.Methods) > 0 {
				b.WriteString(" Its methods, which in WebAssembly are functions with its number before the other arguments, such as `" + o.Methods[0].Name + "`:\n")
			}
			b.WriteByte('\n')
			for i := range o.Methods {
				o.Methods[i].manual(&b)
			}
		}
		b.WriteByte('\n')
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (f *Func) manual(b *strings.Builder) {
	fmt.Fprintf(b, "- `%s`", f.Usage())
	if f.Result != "" {
		fmt.Fprintf(b, " -> `%s`", f.Result)
	}
	fmt.Fprintf(b, ": %s", f.Doc)
	if f.AtLoad {
		b.WriteString(" Works while the plugin loads, too.")
	}
	if f.Needs != "" {
		fmt.Fprintf(b, " Needs `%s`.", f.Needs)
	}
	b.WriteByte('\n')
}
