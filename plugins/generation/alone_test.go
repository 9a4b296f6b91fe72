package generation

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/plugins/bundled"
	"github.com/stagepost/stagepost/plugins/service"
)

// TestTestsAreNoPlugins: what lies beside plugins to test them is no change of anything.
func TestTestsAreNoPlugins(t *testing.T) {
	s := newSite(t)
	s.write("plugins/vip.lua", code("vip", "one"))
	s.write("plugins/folder/init.lua", code("folder", "two"))
	s.mustOpen()
	s.write("plugins/vip.transcript", "connect 192.0.2.1\n")
	s.write("plugins/folder/tests/a.transcript", "connect 192.0.2.1\n")
	s.write("plugins/folder/tests/broken.lua", "(")
	s.write("plugins/folder/README.md", "# folder\n")
	if c := s.m.Reload(t.Context()); c.Changed || c.Err != nil || c.Number != 1 {
		t.Errorf("tests came to %+v", c)
	}
}

func TestOnePlugin(t *testing.T) {
	s := newSite(t)
	s.write("one.lua", code("one", "no"))
	s.write("folder/init.lua", "local l = require \"lib/l\"\n"+strings.Replace(code("folder", "no"), "plugin {", "local x = {", 1))
	s.write("folder/lib/l.lua", "return {}")
	s.write("folder/plugin.toml", `id = "folder"`)
	s.write("notes.txt", "")
	at := func(name string) string { return filepath.Join(s.dir, name) }
	src, err := Read(at("one.lua"), "x/one.lua")
	if err != nil || src.Name != "one" || src.Main != "one.lua" || src.Path("one.lua") != "x/one.lua" {
		t.Errorf("a file: %+v, %v", src, err)
	}
	if src, err = Read(at("folder")+"/", "folder"); err != nil || src.Name != "folder" || len(src.Files) != 3 || src.Path("lib/l.lua") != "folder/lib/l.lua" {
		t.Errorf("a folder: %+v, %v", src, err)
	}
	for name, want := range map[string]string{"none.lua": "none.lua: no such file", "notes.txt": "notes.txt is no plugin", "plugins": "no such file"} {
		if _, err := Read(at(name), name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	for _, name := range bundled.Names() {
		if src, err := ReadBundled(name); err != nil || src.Name != name || src.Files["init.lua"] == nil {
			t.Errorf("%s: %+v, %v", name, src, err)
		}
	}
	if _, err := ReadBundled("relai"); err == nil || !strings.Contains(err.Error(), `did you mean "relay"?`) {
		t.Errorf("a name that is none: %v", err)
	}
}

// TestAlone: a plugin is loaded by itself with the settings that the configuration has for it.
func TestAlone(t *testing.T) {
	s := newSite(t)
	s.write("plugins/vip.lua", code("vip", "alone"))
	src, err := Read(filepath.Join(s.dir, "plugins/vip.lua"), "plugins/vip.lua")
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	host := service.NewHost(service.Options{Log: quiet})
	cfg, err := config.Parse("stagepost.toml", []byte(base), config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	gen, err := Alone(cfg, src, host, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(t, gen); got != "alone" {
		t.Errorf("it says %q", got)
	}
	gen.Release()
	if err := Try(cfg, src, host, quiet); err != nil {
		t.Error(err)
	}
	cfg, err = config.Parse("stagepost.toml", []byte(base+"[plugin.vip]\nx = 1\n"), config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`stagepost.toml:%d: unknown key "x" for the plugin vip`, 2+strings.Count(base, "\n"))
	for name, err := range map[string]error{"Try": Try(cfg, src, host, quiet), "Alone": second(Alone(cfg, src, host, quiet))} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

func second[T any](_ T, err error) error { return err }
