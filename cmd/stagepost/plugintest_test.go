package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/plugins/bundled"
	"github.com/stagepost/stagepost/plugins/transcript"
	"github.com/stagepost/stagepost/sdk"
)

const vip = `plugin { id = "vip", version = "1.0.0", description = "refuses nobody", config = { box = { type = "string", default = "nobody", doc = "whom" } } }
function on.rcpt(r)
  if r.address.mailbox == config.box then return reject "nobody reads this mailbox" end
end
`

const vipTest = `given rcpt accept local *@example.org
connect 192.0.2.1

case nobody
send a@a.example to nobody@example.org
S: 550 5.7.1 nobody reads this mailbox
want reject at rcpt

case another
config box = other
send a@a.example to nobody@example.org
S: 250 …
want next at rcpt
`

func TestPluginTest(t *testing.T) {
	s := newSite(t, minimal+"[plugins]\nfolder = \"plugins\"\n")
	s.write("plugins/vip.lua", vip)
	s.write("plugins/plain.lua", `plugin { id = "plain" }`)
	s.want(s.run("plugin", "test"), exitNoInput, "no plugin in the watched folder has tests")
	s.want(s.run("plugin", "test", "vip"), exitNoInput, "plugins/vip.lua has no tests; write plugins/vip.transcript")
	s.write("plugins/vip.transcript", vipTest)
	s.write("plugins/folder/init.lua", `plugin { id = "folder" }`)
	s.write("plugins/folder/tests/a.transcript", "connect 192.0.2.1\nS: 220 …\n")

	s.want(s.run("check"), 0, "3 plugins")
	s.want(s.run("plugin", "test"), 0, "ok: 3 cases of 2 plugins", "!nobody")
	s.want(s.run("plugin", "test", "vip", "-v"), 0, "ok  plugins/vip.transcript:4: nobody (", "ok: 2 cases of 1 plugin")
	s.want(s.runInput("", "plugin", "test", s.dir+"/plugins/vip.transcript", s.dir+"/plugins/folder/tests/a.transcript"), 0, "ok: 3 cases of 2 plugins")
	s.want(s.runInput("", "plugin", "test", s.dir+"/plugins/folder", s.dir+"/plugins/vip.lua"), 0, "ok: 3 cases of 2 plugins")
	s.want(s.runInput("", "plugin", "test", "relay"), 0, "of 1 plugin")
	s.want(s.run("plugin", "test", "vpi"), exitNoInput, `there is no plugin "vpi": no such one came with the program, and none lies in plugins; did you mean "vip"?`)
	s.want(s.run("plugin", "test", s.dir+"/none.lua"), exitNoInput, "none.lua: no such file")
	s.want(s.run("plugin", "test", s.dir+"/plugins/none.transcript"), exitNoInput, "none.transcript: no such file")

	s.write("plugins/vip.transcript", strings.Replace(vipTest, "S: 250 …", "S: 550 …", 1))
	r := s.run("plugin", "test")
	s.want(r, exitFailed, "failed  plugins/vip.transcript:9: another\n  plugins/vip.transcript:12: in a fresh instance\n    wanted  550 …\n    got     250 2.0.0 queued as ", "1 of 3 cases failed")
	r = s.run("plugin", "test", "--json")
	var last transcript.Result
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || r.code != exitFailed || len(lines) != 3 {
		t.Fatalf("%d: %s%s: %v", r.code, r.out, r.err, err)
	}
	if last.File != "plugins/vip.transcript" || last.Plugin != "vip" || last.Failure == nil || last.Failure.Line != 12 || last.Failure.Run != "fresh" {
		t.Errorf("%+v, %+v", last, last.Failure)
	}

	s.write("plugins/vip.transcript", "conect 192.0.2.1\nsend a to b\n")
	s.want(s.run("plugin", "test", "vip"), exitFailed, `failed  plugins/vip.transcript:1: unknown line "conect"; did you mean "connect"?`, "plugins/vip.transcript:2: ", "2 of 2 cases failed")
	s.write("plugins/vip.lua", vip+"function on.dta() end\n")
	s.write("plugins/vip.transcript", vipTest)
	s.want(s.run("plugin", "test", "vip"), exitFailed, "plugins/vip.lua:5: unknown stage", "2 of 2 cases failed")
	s.want(s.runInput("", "plugin", "test", "--config", s.dir+"/none.toml"), exitConfig, "no such file")
}

// TestPluginNewLanguage: what `plugin new --lang` writes is compiled, loads, and its tests pass; the command that it names compiles it
// again. Without the compiler nothing is written.
func TestPluginNewLanguage(t *testing.T) {
	for _, l := range sdk.Languages() {
		t.Run(l.Name, func(t *testing.T) {
			if l.Name == "go" && testing.Short() {
				t.Skip("a module in Go is large: with the race detector it does not compile in time")
			}
			s := newSite(t, minimal+"[plugins]\nfolder = \"plugins\"\n")
			got := s.run("plugin", "new", "first", "--lang", l.Name)
			if got.code == exitUnavailable {
				if _, err := os.Stat(filepath.Join(s.dir, "plugins", "first")); err == nil || strings.Contains(got.err, "panic") {
					t.Error("without a compiler it wrote something")
				}
				t.Skip("left out: ", got.err)
			}
			s.want(got, 0, "wrote plugins/first with a first test", "it loads")
			s.want(s.run("plugin", "test", "first"), 0, "ok: 2 cases of 1 plugin")
			s.want(s.run("plugin", "lint", "first"), 0, "ok: 1 plugin")
			code := filepath.Join(s.dir, "plugins", "first", "plugin.wasm")
			if err := os.Remove(code); err != nil {
				t.Fatal(err)
			}
			_, command, _ := strings.Cut(got.out, "after a change: sh ")
			command, _, _ = strings.Cut(command, "\n")
			words := strings.Fields(command)
			if len(words) != 2 {
				t.Fatalf("the command is %q", command)
			}
			t.Chdir(s.dir)
			if err := l.Compile(t.Context(), words[0], words[1]); err != nil {
				t.Fatal(err)
			}
			s.want(s.run("plugin", "test", "first"), 0, "ok: 2 cases of 1 plugin")
			s.want(s.run("plugin", "new", "first", "--lang", l.Name), exitCantCreate, "plugins/first exists already")
		})
	}
}

// TestPluginNewTests: what `plugin new` writes loads, and its tests pass under its own name.
func TestPluginNewTests(t *testing.T) {
	s := newSite(t, minimal+"[plugins]\nfolder = \"plugins\"\nenable = [\"relay\", \"spf\", \"dkim-verify\"]\n") // the last two set what dmarc reads
	s.want(s.run("plugin", "new", "first"), 0, "first.transcript", "run its tests with: stagepost plugin test first --config ")
	s.want(s.run("plugin", "test", "first"), 0, "ok: 1 case of 1 plugin")
	for _, from := range bundled.Names() {
		s.want(s.run("plugin", "new", "my-"+from, "--from", from), 0, "wrote plugins/my-"+from+", a copy of "+from+" with its tests", "it loads")
		readme, err := os.ReadFile(filepath.Join(s.dir, "plugins", "my-"+from, "README.md"))
		if err != nil || !strings.HasPrefix(string(readme), "# my-"+from+"\n") || !strings.Contains(string(readme), "\nmy-"+from+" - ") || strings.Contains(string(readme), "[plugin."+from+"]") {
			t.Errorf("%v: the README is not of my-%s:\n%s", err, from, readme)
		}
	}
	s.want(s.run("plugin", "new", "relay", "--from", "relay"), 0, "a copy of relay")
	s.want(s.run("plugin", "list"), 0, "plugins/relay", "!bundled/relay")
	s.want(s.run("plugin", "test"), 0, fmt.Sprintf("of %d plugins", len(bundled.Names())+2))
	s.want(s.run("plugin", "new", "relay", "--from", "relay"), exitCantCreate, "plugins/relay exists already")
	s.want(s.run("plugin", "new", "first", "--from", "relay"), exitCantCreate, "plugins/first.lua exists already")
	s.want(s.run("plugin", "new", "other", "--from", "relai"), exitUsage, `no plugin "relai" came with the program; did you mean "relay"?`)
	entries, err := os.ReadDir(filepath.Join(s.dir, "plugins"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("%s was left behind", e.Name())
		}
	}
}
