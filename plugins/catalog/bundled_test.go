package catalog_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/stagepost/stagepost/plugins/bundled"
	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/generation"
)

// What comes with the program can be handed on, and the code in a package is what the server would read of the folder.
func TestBundledPlugins(t *testing.T) {
	for _, name := range bundled.Names() {
		p, err := catalog.PackFS(name, bundled.Open(name))
		if err != nil {
			t.Error(err)
			continue
		}
		src, err := generation.ReadBundled(name)
		if err != nil {
			t.Fatal(err)
		}
		code := map[string][]byte{}
		for file, text := range p.Files {
			if catalog.IsCode(file) {
				code[file] = text
			}
		}
		if !maps.EqualFunc(code, src.Files, bytes.Equal) {
			t.Errorf("%s: packed %v, the server reads %v", name, slices.Sorted(maps.Keys(code)), slices.Sorted(maps.Keys(src.Files)))
		}
		if p.Files["README.md"] == nil || p.Summary.Description == "" {
			t.Errorf("%s: %+v", name, p.Summary)
		}
		if _, err := p.Manifest(); err != nil {
			t.Error(err)
		}
	}
	// the same of names that no bundled plugin has
	fsys, dir := fstest.MapFS{}, filepath.Join(t.TempDir(), "x")
	for _, name := range []string{"init.lua", "a.lua", "a.toml", "a.txt", "lib/tests/b.lua", "templates/a.html", "templates/x/b", "tests/c.lua", "lib/templates/x", "sub/plugin.wasm", "LICENSE", "README.md"} {
		fsys[name] = &fstest.MapFile{Data: []byte("x = 1")}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x = 1"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, err := catalog.ReadFS(fsys)
	if err != nil {
		t.Fatal(err)
	}
	src, err := generation.Read(dir, "x")
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(files, func(name string, _ []byte) bool { return !catalog.IsCode(name) })
	if a, b := slices.Sorted(maps.Keys(files)), slices.Sorted(maps.Keys(src.Files)); !slices.Equal(a, b) {
		t.Errorf("packed %v, the server reads %v", a, b)
	}
}
