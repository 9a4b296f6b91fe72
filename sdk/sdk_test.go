package sdk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/plugins/generation"
	"github.com/stagepost/stagepost/plugins/transcript"
)

// compile builds the plugin in a folder; without its compiler the test is left out.
func compile(t *testing.T, l Language, script, dir string) {
	t.Helper()
	err := l.Compile(t.Context(), script, dir)
	if missing := (*Missing)(nil); errors.As(err, &missing) {
		t.Skip("left out: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "plugin.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("plugin.wasm has %d bytes", info.Size())
}

// runTests runs the transcripts of the plugin in a folder.
func runTests(t *testing.T, dir string) {
	t.Helper()
	src, err := generation.Read(dir, filepath.Base(dir))
	if err != nil {
		t.Fatal(err)
	}
	fsys := os.DirFS(dir)
	read, err := transcript.Read(fsys, src.Label, transcript.InFolder(fsys)...)
	if err != nil || len(read) == 0 {
		t.Fatal("no tests", err)
	}
	for _, f := range read {
		for _, c := range f.Cases {
			if res := c.Run(t.Context(), src, 0); res.Failure != nil {
				t.Errorf("%s: %+v", c, res.Failure)
			}
		}
	}
}

// TestTemplates: the files of a new plugin compile as its first lines say, without a warning, and its test passes.
func TestTemplates(t *testing.T) {
	for _, l := range Languages() {
		t.Run(l.Name, func(t *testing.T) {
			if l.Name == "go" && testing.Short() {
				t.Skip("a module in Go is large: with the race detector it does not compile in time")
			}
			dir := filepath.Join(t.TempDir(), "vip")
			all, err := l.Files("vip")
			if err != nil {
				t.Fatal(err)
			}
			for p, text := range all {
				if strings.Contains(text, "NAME") && !strings.HasPrefix(p, Folder) {
					t.Errorf("%s has a NAME", p)
				}
				name := filepath.Join(dir, filepath.FromSlash(p))
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			compile(t, l, filepath.Join(dir, Build), dir)
			runTests(t, dir)
		})
	}
}

// TestExamples: the routing plugins compile, and their tests pass. That in Go is in a module which has tests of its own.
func TestExamples(t *testing.T) {
	for _, l := range Languages() {
		if l.Name == "go" {
			continue
		}
		t.Run(l.Name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "hops")
			if err := os.CopyFS(dir, os.DirFS(filepath.Join(l.Name, "examples", "hops"))); err != nil {
				t.Fatal(err)
			}
			compile(t, l, filepath.Join(l.Name, "build.sh"), dir)
			runTests(t, dir)
		})
	}
}

// TestPages: every plugin that a page shows compiles. The pages for Go are tested in its module.
func TestPages(t *testing.T) {
	for _, l := range Languages() {
		if l.Name == "go" {
			continue
		}
		for _, page := range []string{l.Name + "/README.md", "../cmd/stagepost/manual/" + l.Name + ".md"} {
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			blocks := strings.Split(string(text), "```"+l.Name+"\n")[1:]
			if len(blocks) == 0 {
				t.Errorf("%s shows no plugin", page)
			}
			for i, block := range blocks {
				t.Run(fmt.Sprintf("%s %d", filepath.ToSlash(page), i+1), func(t *testing.T) {
					dir := t.TempDir()
					code, _, _ := strings.Cut(block, "```")
					name := map[string]string{"c": "plugin.c", "rust": "src/lib.rs"}[l.Name]
					if err := os.MkdirAll(filepath.Join(dir, "src"), 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(filepath.Join(dir, name), []byte(code), 0o644); err != nil {
						t.Fatal(err)
					}
					compile(t, l, filepath.Join(l.Name, "build.sh"), dir)
				})
			}
		}
	}
}
