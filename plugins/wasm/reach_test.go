package wasm

import (
	"slices"
	"testing"

	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/api"
	"github.com/stagepost/stagepost/plugins/service"
)

// TestReach: a guest reaches each method, by an edit or by a function of the ABI, and each function of the services.
func TestReach(t *testing.T) {
	reading := map[string]string{ // what an SDK makes each reading method of
		"message.header": "header", "message.headers": "header", "content.read": "content_read", "content.chunks": "content_read",
		"part.text":       "content_read",
		"message.rewrite": "content_emit",
	}
	a, err := api.New()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range hooks.Objects() {
		for _, m := range o.Methods {
			if a.Method(o.Name, m.Name).Edits() {
				continue
			}
			by := reading[o.Name+"."+m.Name]
			if !slices.ContainsFunc(hostFuncs(), func(f hostFunc) bool { return f.name == by }) {
				t.Errorf("a guest cannot call %s.%s: it is no edit of plugins/api, and no function of the ABI is known to do it", o.Name, m.Name)
			}
		}
	}
	for _, s := range service.Services() {
		for _, f := range s.Funcs {
			if funcs()[f.Name] == nil {
				t.Errorf("a guest cannot call %s", f.Name)
			}
		}
	}
}
