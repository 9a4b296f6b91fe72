// Package api reads what plugins hand over, the same for every engine: the arguments of methods that edit, and verdicts.
//
// Package hooks declares methods and verdicts in words, such as "address: string, class: \"local\"|\"relay\"" and
// "reject{text, code}", which the manual and the editor stubs show as they are. Here these words become shapes (Methods, Forms):
// names, types, which may be left out. By the shapes an API checks and converts what it gets, calls hooks.Call or makes a
// hooks.Verdict, and words the errors. scripts/generate makes the SDKs from the same shapes.
//
// An engine only turns its own values into the types of facts (nil, bool, int64, float64, string, []byte, []any and
// map[string]any; an address may also be a *smtp.Address) and says where in the plugin an error happened.
package api

import (
	"fmt"

	"github.com/stagepost/stagepost/hooks"
)

// API has the shapes of all methods and verdicts. It never changes.
type API struct {
	methods map[string]*Method // by object and name: "message.add_header"
	forms   []*Form            // by kind
}

// New reads the declarations of package hooks.
func New() (*API, error) {
	a := &API{methods: map[string]*Method{}}
	for _, o := range hooks.Objects() {
		for _, m := range o.Methods {
			args, err := Args(m.Args)
			if err != nil {
				return nil, fmt.Errorf("%s.%s: %w", o.Name, m.Name, err)
			}
			a.methods[o.Name+"."+m.Name] = &Method{Method: m, Object: o.Name, Shape: args, edit: edits[m.Name]}
		}
	}
	for _, k := range hooks.Verdicts() {
		f, err := FormOf(k)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.Name, err)
		}
		a.forms = append(a.forms, f)
	}
	return a, nil
}

// Method finds a method of an object; nil where there is none.
func (a *API) Method(object, name string) *Method { return a.methods[object+"."+name] }

// Form is how a verdict of that kind is written.
func (a *API) Form(k hooks.Kind) *Form { return a.forms[k] }
