package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/plugins/bundled"
)

func TestPluginLint(t *testing.T) {
	s := newSite(t, minimal+"[plugins]\nfolder = \"plugins\"\n")
	s.write("plugins/vip.lua", vip)
	s.write("plugins/vip.transcript", vipTest)
	s.want(s.run("plugin", "lint"), 0, "ok: 1 plugin\n")

	s.write("plugins/lazy.lua", "plugin { id = \"lazy\", needs = { dns = true },\n  config = { a = { type = \"int\" } } }\nfunction on.rcpt(r) local b = config.b end\n")
	r := s.run("plugin", "lint")
	s.want(r, exitFailed, "plugins/lazy.lua:1: warning: it has no version", "plugins/lazy.lua:1: warning: needs = { dns = true }: nothing uses it",
		"plugins/lazy.lua:2: warning: nothing reads the setting a", "plugins/lazy.lua:3: warning: config.b is always nil",
		"plugins/lazy.transcript:1: warning: there is no such file, nor another test", "7 warnings", "!error", "!README")
	s.want(s.run("plugin", "lint", "vip"), 0, "ok: 1 plugin")
	r = s.run("plugin", "lint", "lazy", "--json")
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	var f finding
	if err := json.Unmarshal([]byte(lines[len(lines)-2]), &f); err != nil || len(lines) != 7 || f.Plugin != "lazy" || f.Severity != "warning" || f.Line != 3 {
		t.Errorf("%v: %d lines, the last but one %+v", err, len(lines), f)
	}

	s.write("plugins/folder/init.lua", "function on.rcpt(r) return rject \"x\" end\nfunction on.dta(m) end\n")
	s.write("plugins/folder/plugin.toml", "id = \"folder\"\nversion = \"1.0.0\"\ndescription = \"x\"\n")
	s.want(s.run("plugin", "lint", "folder"), exitConfig, `plugins/folder/init.lua:1: error: unknown global "rject"; did you mean "reject"?`, "plugins/folder/README.md:1: warning: ", "1 error, 2 warnings")
	s.write("plugins/folder/init.lua", "function on.dta(m) end\n")
	s.write("plugins/folder/README.md", "# folder\n")
	s.write("plugins/folder/tests/a.transcript", "conect 192.0.2.1\n")
	s.want(s.run("plugin", "lint", "folder"), exitConfig, `plugins/folder/init.lua:1: error: unknown stage "dta" in on; did you mean "data"?`,
		`plugins/folder/tests/a.transcript:1: error: unknown line "conect"; did you mean "connect"?`, "2 errors, 0 warnings")
	s.want(s.run("plugin", "lint"), exitConfig, "2 errors")

	// What only shows when all are loaded together, and the settings of the configuration.
	s.write("plugins/folder/init.lua", "function on.rcpt(r) end\n")
	s.write("plugins/folder/plugin.toml", "id = \"folder\"\nversion = \"1.0.0\"\ndescription = \"x\"\n[hook.rcpt]\nreads = [\"spam.score\"]\n")
	s.write("plugins/folder/tests/a.transcript", "connect 192.0.2.1\n")
	s.want(s.run("plugin", "lint", "folder"), 0, "ok")
	s.want(s.run("plugin", "lint"), exitConfig, `error: folder at rcpt reads the fact "spam.score", and no plugin that is loaded sets it`, "1 error")
	s.write("stagepost.toml", minimal+"[plugins]\nfolder = \"plugins\"\n[plugin.vip]\nbxo = \"x\"\n")
	s.want(s.run("plugin", "lint", "vip"), exitConfig, `stagepost.toml:11: error: unknown key "bxo"`, `did you mean "box"?`)
	s.want(s.runInput("", "plugin", "lint", s.dir+"/plugins/vip.lua"), 0, "ok") // not that configuration's

	// Facts of plugins that came with the program.
	reader := func(fact string) {
		s.write("reader.lua", "plugin { id = \"reader\", version = \"1.0.0\", description = \"x\",\n  hook = { data = { reads = {\""+fact+"\"} } } }\nfunction on.data(m) if m.facts[\""+strings.TrimSuffix(fact, "?")+"\"] then return end end\n")
	}
	s.write("reader.transcript", "connect 192.0.2.1\n")
	for fact, want := range map[string]string{
		"dmarc.rsult?": `reader.lua:2: warning: hook.data.reads: unknown fact "dmarc.rsult" of the plugin dmarc; did you mean "dmarc.result"?`,
		"relay.any":    `reader.lua:2: warning: hook.data.reads: unknown fact "relay.any" of the plugin relay; none is known`,
	} {
		reader(fact)
		s.want(s.runInput("", "plugin", "lint", s.dir+"/reader.lua"), exitFailed, want, "1 warning")
	}
	reader("dmarc.result?")
	s.want(s.runInput("", "plugin", "lint", s.dir+"/reader.lua"), 0, "ok")
	reader("dmarc.rsult?") // in a folder with another dmarc
	s.write("stagepost.toml", minimal+"[plugins]\nfolder = \"other\"\n")
	for _, name := range []string{"reader.lua", "reader.transcript"} {
		data, err := os.ReadFile(s.dir + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		s.write("other/"+name, string(data))
	}
	s.want(s.run("plugin", "lint", "reader"), exitFailed, `did you mean "dmarc.result"?`)
	s.write("other/dmarc.lua", "plugin { id = \"dmarc\" }\n")
	s.want(s.run("plugin", "lint", "reader"), 0, "ok")

	s.write("needs.lua", `plugin { id = "needs", version = "1.0.0", description = "x", config = { a = { type = "int", required = true, doc = "x" } } }
function on.rcpt(r) local a = config.a + 1 end
`)
	s.write("needs.transcript", "config a = 1\nconnect 192.0.2.1\n")
	s.want(s.runInput("", "plugin", "lint", s.dir+"/needs.lua"), 0, "ok")
}

// TestShippedPluginsLint: what comes with the program is free of warnings.
func TestShippedPluginsLint(t *testing.T) {
	s := newSite(t, minimal+"[plugins]\nfolder = \"plugins\"\n")
	s.want(s.runInput("", append([]string{"plugin", "lint"}, bundled.Names()...)...), 0, "ok")
	s.want(s.runInput("", "plugin", "lint", "--config", "../../examples/tenant-relay/stagepost.toml"), 0, "ok: 2 plugins")
	s.want(s.run("plugin", "new", "first"), 0)
	s.want(s.run("plugin", "lint"), 0, "ok")
}
