package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/plugins/bundled"
	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/consent"
	"github.com/stagepost/stagepost/plugins/catalog/lock"
)

// TestPluginDiff compares plugins from each of the places in which they can lie.
func TestPluginDiff(t *testing.T) {
	h := newHosted(t)
	h.write("new/vip.lua", "plugin { id = \"vip\", version = \"2.0.0\", needs = { dns = true } }\nfunction on.rcpt(r) return reject \"no\" end\n")
	h.write("same/vip.lua", "plugin { id = \"vip\", version = \"2.0.1\", needs = { dns = true } }\nfunction on.rcpt(r) if r then return reject \"none\" end end\n")
	newer, same, site := h.path("new/vip.lua"), h.path("same/vip.lua"), h.path("site/packages")

	r := h.run("plugin", "diff", "vip@1.0.0", "vip@1.1.0")
	h.want(r, 0, "--- vip 1.0.0\n", "+++ vip 1.1.0\n", "Both may do the same: rights:", "=== ", "!\x1b[")
	asked := h.asked.Load()
	h.want(h.run("plugin", "diff", newer, "vip@1.0.0"), 0, "vip 1.0.0 asks for no more than vip 2.0.0", "vip 2.0.0 asks for more\n  - contacts the DNS")
	if got := h.asked.Load(); got > asked+8 { // the package, and no index
		t.Errorf("%d requests", got-asked)
	}
	h.want(h.run("plugin", "diff", "vip@1.1.0", newer), exitFailed, "vip 2.0.0 asks for more\n  - contacts the DNS, about any name\n", "  + dns: true\n", "vip 2.0.0 asks for more than vip 1.1.0")
	h.want(h.run("plugin", "diff", newer, same), 0, "Both may do the same")
	h.want(h.run("plugin", "diff", site+"#vip@1.0.0", site+"#vip"), 0, "--- vip 1.0.0\n", "+++ vip 1.1.0\n")
	h.want(h.run("plugin", "diff", h.url+"/packages/#vip@1.0.0", "relay"), exitFailed, "+++ relay 1.0.0\n", "is another plugin: relay, and not vip")
	h.want(h.run("plugin", "diff", "relay", "relay"), 0, "All files are the same")

	// What is installed under a name comes before what came with the program.
	p, err := catalog.PackPath(newer)
	if err != nil {
		t.Fatal(err)
	}
	s, err := consent.Of(p)
	if err != nil {
		t.Fatal(err)
	}
	c, err := lock.Begin(t.Context(), lock.File(h.config), h.path("data"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Put(p, lock.Plugin{ID: "vip", Version: "2.0.0", Digest: p.Digest, Place: "here", Signer: lock.Unsigned, Capabilities: s.Hash(), Needs: s.Needs}); err != nil {
		c.Close()
		t.Fatal(err)
	}
	err = c.Commit(t.Context())
	c.Close()
	if err != nil {
		t.Fatal(err)
	}
	h.want(h.run("plugin", "diff", "vip", "vip@1.1.0"), 0, "--- vip 2.0.0\n", "vip 1.1.0 asks for no more than vip 2.0.0")

	var d consent.Diff
	r = h.run("plugin", "diff", "--json", "vip@1.1.0", newer)
	if err := json.Unmarshal([]byte(r.out), &d); err != nil || r.code != exitFailed || d.Old.Version != "1.1.0" || d.New.Digest != p.Digest || len(d.More) == 0 || len(d.Files) == 0 {
		t.Errorf("%d: %v: %s", r.code, err, r.out)
	}
}

// TestPluginDiffMistakes: what cannot be compared is said, with what to do.
func TestPluginDiffMistakes(t *testing.T) {
	h := newHosted(t)
	h.write("broken/x.lua", "plugin { id = \"x\", version = \"1.0.0\" }\nfunction on.recipient(r) end\n")
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"relay", exitUsage, "accepts 2 arg(s)"},
		{"relay relai", exitNoInput, `there is no plugin "relai": none is installed, and none came with the program, under that name; for a version in the catalog write relai@VERSION, for a folder ./relai`},
		{"relay ./relai", exitNoInput, "relai"},
		{"relay vip@9.0.0", exitData, `there is no version "9.0.0" of the plugin vip; there are`},
		{"relay none@1.0.0", exitData, `there is no plugin "none"`},
		{"relay " + h.path("broken/x.lua"), exitData, "init.lua:2: there is no stage"},
		{"relay " + h.path("site/packages") + "#vip@9.0.0", exitData, "this version of the plugin is not there"},
		{"relay #vip", exitUsage, "names no place before the #"},
		{"relay Vip", exitUsage, `"Vip" names no plugin`},
		{"relay " + h.url + "/packages/", exitUsage, "looks like a place; write behind it which plugin"},
		{"relay relay --timeout soon", exitUsage, `--timeout: "soon" is no time`},
	} {
		h.want(h.run(append([]string{"plugin", "diff"}, strings.Fields(c.args)...)...), c.code, c.want)
	}
	if err := os.Remove(h.path("trust.toml")); err != nil {
		t.Fatal(err)
	}
	h.want(h.run("plugin", "diff", "relay", "vip@1.0.0"), exitConfig, "trust.toml")
	h.want(h.runInput("", "plugin", "diff", "--config", h.path("none.toml"), "relay", "relay"), 0, "All files are the same")
	h.want(h.runInput("", "plugin", "diff", "--config", h.path("none.toml"), "relay", "other"), exitNoInput, "what is installed cannot be told")
}

// TestManualSheet: the sheet in the manual is what the program prints.
func TestManualSheet(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("manual", "catalog.md"))
	if err != nil {
		t.Fatal(err)
	}
	const name = "iprev"
	p, err := catalog.PackFS(name, bundled.Open(name))
	if err != nil {
		t.Fatal(err)
	}
	s, err := consent.Of(p)
	if err != nil {
		t.Fatal(err)
	}
	s.Digest = "sha256:..."
	var want strings.Builder
	for line := range strings.Lines(s.Text("key RWQ..., which trust.toml names for the index main")) {
		want.WriteString("    " + line)
	}
	if !strings.Contains(string(text), want.String()) {
		t.Errorf("the page catalog has not this sheet:\n%s", want.String())
	}
}
