package bundled_test

import (
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/plugins/bundled"
	"github.com/stagepost/stagepost/plugins/generation"
	"github.com/stagepost/stagepost/plugins/manifest"
	"github.com/stagepost/stagepost/plugins/service"
)

// head makes a configuration of what a README writes about plugins.
const head = `hostname = "mx1.example.org"
[[listener]]
name = "mx"
address = "127.0.0.1:0"
role = "mx"
`

// load builds a generation as the server does, through the real engine.
func load(t *testing.T, settings string) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "stagepost.toml")
	if err := os.WriteFile(file, []byte(head+settings), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^file = "([a-z-]+\.txt)"$`).FindAllStringSubmatch(settings, -1) { // of lookups
		if err := os.WriteFile(filepath.Join(filepath.Dir(file), m[1]), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log := slog.New(slog.DiscardHandler)
	m, err := generation.New(generation.Options{File: file, Host: service.NewHost(service.Options{Log: log}), Log: log, Console: io.Discard})
	if err == nil {
		t.Cleanup(m.Close)
	}
	return err
}

// TestReadme: each README has the form of a manual page, names every setting, says so where no service can fail, and its
// examples load.
func TestReadme(t *testing.T) {
	if len(bundled.Names()) == 0 {
		t.Fatal("no plugins")
	}
	for _, name := range bundled.Names() {
		t.Run(name, func(t *testing.T) {
			fsys := bundled.Open(name)
			data, err := fs.ReadFile(fsys, "README.md")
			if err != nil {
				t.Fatal(err)
			}
			readme := string(data)
			var heads []string
			for _, m := range regexp.MustCompile(`(?m)^## (.*)$`).FindAllStringSubmatch(readme, -1) {
				heads = append(heads, m[1])
			}
			if want := []string{"Name", "Description", "Configuration", "Examples", "Facts", "Bugs"}; !slices.Equal(heads, want) {
				t.Errorf("sections %q, want %q", heads, want)
			}

			data, err = fs.ReadFile(fsys, "plugin.toml")
			if err != nil {
				t.Fatal(err)
			}
			man, err := manifest.FromTOML(name+"/plugin.toml", data)
			if err != nil {
				t.Fatal(err)
			}
			if man.ID != name {
				t.Errorf("id is %q", man.ID)
			}
			_, settings, _ := strings.Cut(readme, "## Configuration")
			settings, _, _ = strings.Cut(settings, "## Examples")
			for _, s := range man.Config {
				if !strings.Contains(settings, "`"+s.Name+"`: ") {
					t.Errorf("the setting %s is not explained", s.Name)
				}
				if s.Doc == "" {
					t.Errorf("the setting %s has no doc in plugin.toml", s.Name)
				}
			}

			_, facts, _ := strings.Cut(readme, "## Facts")
			facts, _, _ = strings.Cut(facts, "## Bugs")
			factsOf(t, name, man.Facts, facts)

			if n := man.Needs; !n.DNS && !n.SPF && !n.KV && len(n.Net) == 0 && len(n.Secrets) == 0 && !strings.Contains(readme, "asks no service") {
				t.Error("the description does not say that the plugin asks no service, so nobody knows that none can fail")
			}

			examples := regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(readme, -1)
			if len(examples) == 0 {
				t.Error("no examples")
			}
			for _, ex := range examples {
				text := ex[1]
				if !strings.Contains(text, "[plugins]") {
					text = "[plugins]\nenable = [\"" + name + "\"]\n" + text
				}
				if err := load(t, text); err != nil {
					t.Errorf("%s\n%v", text, err)
				}
			}
		})
	}
}

// factsOf holds what a README says of facts against what the plugin declares.
func factsOf(t *testing.T, plugin string, declared message.FactRules, text string) {
	var names, written []string
	for _, f := range declared {
		names = append(names, plugin+"."+f.Name)
		if f.Of == "" || f.Doc == "" {
			t.Errorf("facts.%s: of or doc is missing", f.Name)
		}
		for _, v := range f.Values {
			if line := lineWith(text, "`"+plugin+"."+f.Name+"`"); !strings.Contains(line, fmt.Sprintf("`%v`", v)) {
				t.Errorf("the README does not say that %s.%s may be %v: %s", plugin, f.Name, v, line)
			}
		}
	}
	for _, m := range regexp.MustCompile("`("+plugin+`\.[a-z0-9_-]+)`+"`").FindAllStringSubmatch(text, -1) {
		if !slices.Contains(written, m[1]) {
			written = append(written, m[1])
		}
	}
	slices.Sort(names)
	slices.Sort(written)
	if !slices.Equal(names, written) {
		t.Errorf("the README has the facts %q, the manifest %q", written, names)
	}
	if none := strings.TrimSpace(text) == "None."; none != (len(names) == 0) {
		t.Errorf("the README says of facts %q", text)
	}
}

// lineWith is the first line that has a name, and all up to the next item or paragraph.
func lineWith(text, name string) string {
	_, after, _ := strings.Cut(text, name)
	for _, end := range []string{"\n- ", "\n\n"} {
		after, _, _ = strings.Cut(after, end)
	}
	return after
}

func TestOpen(t *testing.T) {
	for _, name := range []string{"none", "", "..", "relay/x"} {
		if _, err := fs.ReadFile(bundled.Open(name), "init.lua"); err == nil {
			t.Errorf("%q is a plugin", name)
		}
	}
}
