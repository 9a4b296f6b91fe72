package generation

import (
	"strings"
	"testing"
)

const writes = `plugin { id = "vip", version = "1.0.0" }
local head = template.render("head.txt", {})
function on.rcpt(r)
  local text = template.render("no/such.txt", { to = r.address.text, reasons = { "full", "closed" } })
  return reject(head .. text)
end
`

// TestTemplates: the templates of a plugin are read with it, checked with it, and reloaded with it.
func TestTemplates(t *testing.T) {
	s := newSite(t)
	s.write("plugins/vip/init.lua", writes)
	s.write("plugins/vip/templates/head.txt", "Sorry: ")
	s.write("plugins/vip/templates/no/such.txt", "{{to}} is {{#reasons}}{{.}}, {{/reasons}}so")
	s.write("plugins/vip/templates/x.lua", "no Lua {{! at all }}")
	s.mustOpen()
	if got := s.says(); got != "Sorry: u@example.org is full, closed, so" {
		t.Errorf("it says %q", got)
	}
	s.write("plugins/vip/templates/head.txt", "{{> no/such.txt")
	if ch := s.reload(); ch.Err == nil || !strings.Contains(ch.Err.Error(), "plugins/vip/templates/head.txt:1: a tag is not closed") {
		t.Errorf("%+v", ch)
	}
	s.write("plugins/vip/templates/head.txt", "No: ")
	if ch := s.reload(); ch.Err != nil || !ch.Changed {
		t.Errorf("%+v", ch)
	}
	if got := s.says(); !strings.HasPrefix(got, "No: u@example.org") {
		t.Errorf("it says %q", got)
	}
	s.remove("plugins/vip")
	s.write("plugins/vip.lua", writes)
	if ch := s.reload(); ch.Err == nil || !strings.Contains(ch.Err.Error(), "plugins/vip.lua:2: template.render: the plugin has no templates: they lie in the folder templates") {
		t.Errorf("%+v", ch)
	}
}
