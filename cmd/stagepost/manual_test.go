package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/manifest"
)

// documents are the pages of the manual, the README, and the long help of all commands.
func documents(t *testing.T) map[string]string {
	t.Helper()
	docs := map[string]string{}
	for _, p := range pages() {
		docs["manual "+p.name] = p.text()
	}
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	docs["README.md"] = string(readme)
	return docs
}

func TestManual(t *testing.T) {
	s := newSite(t, minimal)
	r := s.runInput("", "manual")
	for _, p := range pages() {
		s.want(r, 0, "stagepost manual "+p.name, p.about)
		page := s.runInput("", "manual", p.name)
		if page.code != 0 || !strings.HasPrefix(page.out, "# ") || len(page.out) < 1000 || strings.Contains(page.out, "%!") {
			t.Errorf("page %s: %d, begins %.40q", p.name, page.code, page.out)
		}
	}
	plugins := s.runInput("", "manual", "plugins")
	for _, st := range hooks.Stages() {
		s.want(plugins, 0, "`on."+st.Name+"(")
	}
	s.want(plugins, 0, "`kv.get(key)`", "`route{", "`:add_header(", "### hook.STAGE.when")
}

// TestCommandsExist: each command that a document names is one, with these flags.
func TestCommandsExist(t *testing.T) {
	inline := regexp.MustCompile("`stagepost ([^`]*)`")
	fence := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")
	for name, doc := range documents(t) {
		var lines []string
		for _, m := range inline.FindAllStringSubmatch(doc, -1) {
			lines = append(lines, m[1])
		}
		for _, m := range fence.FindAllStringSubmatch(doc, -1) {
			for line := range strings.Lines(m[1]) {
				line, _, _ = strings.Cut(strings.TrimSpace(line), " #")
				for _, start := range []string{"stagepost ", "./stagepost ", "go run ./cmd/stagepost "} {
					if rest, ok := strings.CutPrefix(line, start); ok {
						lines = append(lines, rest)
					}
				}
			}
		}
		for _, line := range lines {
			words := strings.Fields(line)
			cmd, rest, err := newApp().root().Find(words)
			if err != nil || cmd.HasSubCommands() {
				t.Errorf("%s: there is no command %q", name, "stagepost "+line)
				continue
			}
			if err := cmd.ParseFlags(rest); err != nil {
				t.Errorf("%s: stagepost %s: %v", name, line, err)
			} else if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
				t.Errorf("%s: stagepost %s: %v", name, line, err)
			}
		}
		if name != "manual config" && len(lines) == 0 {
			t.Errorf("%s names no command; this test would see none", name)
		}
	}
}

// TestLuaExamples: each plugin in a document loads.
func TestLuaExamples(t *testing.T) {
	fence := regexp.MustCompile("(?ms)^```(\\w+)( \\w+)?\n(.*?)^```$")
	id := regexp.MustCompile(`id = "([^"]*)"`)
	examples := 0
	for name, doc := range documents(t) {
		for _, m := range fence.FindAllStringSubmatch(doc, -1) {
			if m[1] != "lua" || m[2] != "" {
				continue
			}
			examples++
			s := newSite(t, minimal+"\n[plugins]\nfolder = \"plugins\"\n")
			plugin := id.FindStringSubmatch(m[3])
			if plugin == nil {
				t.Errorf("%s: an example without id:\n%s", name, m[3])
				continue
			}
			s.write("plugins/"+plugin[1]+".lua", m[3])
			if r := s.run("check"); r.code != 0 {
				t.Errorf("%s: %s\n%s", name, r.err, m[3])
			}
		}
	}
	if examples < 5 {
		t.Errorf("only %d examples were found", examples)
	}
}

// TestTranscriptExamples: each transcript in a document comes true with the plugin before it.
func TestTranscriptExamples(t *testing.T) {
	fence := regexp.MustCompile("(?ms)^```(lua|transcript)\n(.*?)^```$")
	id := regexp.MustCompile(`id = "([^"]*)"`)
	examples := 0
	for name, doc := range documents(t) {
		var plugin, code string
		for _, m := range fence.FindAllStringSubmatch(doc, -1) {
			if m[1] == "lua" {
				plugin, code = "", m[2]
				if found := id.FindStringSubmatch(code); found != nil {
					plugin = found[1]
				}
				continue
			}
			examples++
			s := newSite(t, minimal+"\n[plugins]\nfolder = \"plugins\"\n")
			s.write("plugins/"+plugin+".lua", code)
			s.write("plugins/"+plugin+".transcript", m[2])
			if r := s.run("plugin", "test", plugin); r.code != 0 {
				t.Errorf("%s: %s%s\n%s", name, r.out, r.err, m[2])
			}
		}
	}
	if examples < 5 {
		t.Errorf("only %d examples were found", examples)
	}
}

// TestTomlExamples: each piece of configuration in a document is right, but for what is left out of it; so is each plugin.toml.
func TestTomlExamples(t *testing.T) {
	fence := regexp.MustCompile("(?ms)^```toml\n(.*?)^```$")
	for name, doc := range documents(t) {
		for _, m := range fence.FindAllStringSubmatch(doc, -1) {
			text := m[1]
			if strings.HasPrefix(text, "id = ") {
				if _, err := manifest.FromTOML("plugin.toml", []byte(text)); err != nil {
					t.Errorf("%s: %v\n%s", name, err, text)
				}
				continue
			}
			if !strings.Contains(text, "[[listener]]") {
				text = minimal + "\n" + text
			}
			if _, err := config.Parse("stagepost.toml", []byte(text), config.Options{}); err != nil {
				t.Errorf("%s: %v\n%s", name, err, m[1])
			}
		}
	}
}
