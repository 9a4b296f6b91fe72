package catalog

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const header = `plugin { id = %q, version = %q, api = 0, description = "says nothing", needs = { dns = true, kv = "own", read = "body", edit = { "headers", "body" }, lookup = { "users", "groups" } } }

function on.rcpt(r) end
`

// sample is the files of a plugin that has everything.
func sample(id, version string) map[string][]byte {
	return map[string][]byte{
		"init.lua":                []byte(fmt.Sprintf(header, id, version)),
		"lib/more.lua":            []byte("return 1\n"),
		"templates/reply.txt":     []byte("Hello\n"),
		"README.md":               []byte("# " + id + "\n"),
		"LICENSE":                 []byte("Do as you like.\n"),
		"tests/first.transcript":  []byte("connect 192.0.2.1\n"),
		"tests/data/message.text": []byte("Subject: x\n\n"),
	}
}

func packSample(t testing.TB, id, version string) *Package {
	t.Helper()
	p, err := Pack(id, sample(id, version))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The digests are those of the format: a change of any of them makes another plugin of every one that was published.
func TestFormatIsFrozen(t *testing.T) {
	p := packSample(t, "sample", "1.0.0")
	got := string(p.manifest.data) + "\n"
	for _, b := range p.blobs {
		got += fmt.Sprintf("%s %d %s %s\n", b.desc.Digest, b.desc.Size, b.desc.MediaType, b.desc.Annotations["org.opencontainers.image.title"])
	}
	got += string(p.blobs[1].data) + "\n" + string(p.Digest) + "\n"
	golden(t, "testdata/sample.golden", got)
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n--- want\n%s\n--- got\n%s", file, want, got)
	}
}

func TestPackPath(t *testing.T) {
	write := func(t *testing.T, dir string, files map[string][]byte) {
		for name, text := range files {
			full := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(full, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Run("a folder, whatever else lies in it", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "sample")
		write(t, dir, sample("sample", "1.0.0"))
		write(t, dir, map[string][]byte{"main.go": nil, ".git/config": nil, "init.lua~": nil, "#x.lua#": nil, "notes.txt": nil, "tests/.swp": nil, "build/out.o": nil})
		p, err := PackPath(dir)
		if err != nil {
			t.Fatal(err)
		}
		if p.Digest != packSample(t, "sample", "1.0.0").Digest {
			t.Error("another package than that of the same files in memory")
		}
		t.Chdir(dir)
		if again, err := PackPath("."); err != nil || again.Digest != p.Digest {
			t.Error(err)
		}
	})
	t.Run("a single file, and the folder that it stands for", func(t *testing.T) {
		dir := t.TempDir()
		code := []byte(fmt.Sprintf(header, "one", "1.0.0"))
		write(t, dir, map[string][]byte{"one.lua": code, "one.transcript": []byte("x\n"), "two.transcript": []byte("y\n"),
			"f/one/init.lua": code, "f/one/tests/one.transcript": []byte("x\n")})
		single, err := PackPath(filepath.Join(dir, "one.lua"))
		if err != nil {
			t.Fatal(err)
		}
		folder, err := PackPath(filepath.Join(dir, "f/one"))
		if err != nil {
			t.Fatal(err)
		}
		if single.Digest != folder.Digest || single.Files["tests/one.transcript"] == nil {
			t.Errorf("%s and %s", single.Digest, folder.Digest)
		}
	})
	t.Run("WebAssembly", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "guest")
		write(t, dir, map[string][]byte{"plugin.wasm": []byte("\x00asm\x01\x00\x00\x00"), "main.go": []byte("package main\n"),
			"plugin.toml": []byte("id = \"guest\"\nversion = \"0.1.0\"\napi = 0\n[needs]\nnet = [\"a.example:1\"]\n[hook.mail]\n")})
		p, err := PackPath(dir)
		if err != nil {
			t.Fatal(err)
		}
		if p.Summary.Engine != "wasm" || len(p.Files) != 2 || fmt.Sprint(p.Summary.Needs) != "map[net:[a.example:1]]" {
			t.Errorf("%+v", p.Summary)
		}
		if m, err := p.Manifest(); err != nil || m.ID != "guest" {
			t.Error(m, err)
		}
	})
	bad := map[string]struct {
		files map[string][]byte // of the folder "sample"
		link  string
		want  string
	}{
		"no code":           {map[string][]byte{"README.md": []byte("x")}, "", "there is no init.lua in it, nor a plugin.wasm, so it is no plugin"},
		"two engines":       {map[string][]byte{"init.lua": nil, "plugin.wasm": nil}, "", "a plugin is one of them"},
		"a mistake in it":   {map[string][]byte{"init.lua": []byte("plugin {\n  id = 7 }\n")}, "", "sample/init.lua:2: id: "},
		"another name":      {map[string][]byte{"init.lua": []byte(fmt.Sprintf(header, "other", "1.0.0"))}, "", `calls itself "other" but lies in a file or folder named "sample"`},
		"a build":           {map[string][]byte{"init.lua": []byte(fmt.Sprintf(header, "sample", "1.0.0+7"))}, "", `the version "1.0.0+7" cannot be that of a package`},
		"an odd name":       {map[string][]byte{"init.lua": []byte(fmt.Sprintf(header, "sample", "1.0.0")), "lib/a b.lua": nil}, "", `the name "lib/a b.lua" has a character`},
		"a device":          {map[string][]byte{"init.lua": []byte(fmt.Sprintf(header, "sample", "1.0.0")), "lib/NUL.lua": nil}, "", `is a device on Windows`},
		"a large file":      {map[string][]byte{"init.lua": []byte(fmt.Sprintf(header, "sample", "1.0.0")), "x.lua": make([]byte, maxFile+1)}, "", `"x.lua" has more than 1048576 bytes`},
		"an empty README":   {map[string][]byte{"init.lua": []byte(fmt.Sprintf(header, "sample", "1.0.0")), "README.md": nil}, "", `README.md is empty`},
		"case alone":        {map[string][]byte{"init.lua": []byte(fmt.Sprintf(header, "sample", "1.0.0")), "lib/a.lua": nil, "Lib/b.lua": nil}, "", `differ in case only`},
		"a link to a file":  {map[string][]byte{"init.lua": []byte(fmt.Sprintf(header, "sample", "1.0.0"))}, "x.lua", `"x.lua" is no file of its own`},
		"a link elsewhere":  {map[string][]byte{"init.lua": []byte(fmt.Sprintf(header, "sample", "1.0.0"))}, "lib", `"lib" is no file of its own`},
		"a link as licence": {map[string][]byte{"init.lua": []byte(fmt.Sprintf(header, "sample", "1.0.0"))}, "LICENSE", `"LICENSE" is no file of its own`},
	}
	for name, tc := range bad {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "sample")
			write(t, dir, tc.files)
			if tc.link != "" {
				if err := os.Symlink(filepath.Join(dir, "init.lua"), filepath.Join(dir, tc.link)); err != nil {
					t.Skip(err)
				}
			}
			_, err := PackPath(dir)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
	for _, where := range []string{"testdata/none", "testdata/none.lua", "package_test.go"} {
		if _, err := PackPath(where); err == nil || !strings.HasPrefix(err.Error(), where) {
			t.Errorf("%s: %v", where, err)
		}
	}
}

// A summary that says less than the code asks for is found out when the code is there.
func TestSummaryIsHeldAgainstCode(t *testing.T) {
	honest := packSample(t, "sample", "1.0.0")
	for name, lie := range map[string]func(s *Summary){
		"needs":       func(s *Summary) { s.Needs = map[string]any{} },
		"version":     func(s *Summary) { s.Version = "1.0.1" },
		"description": func(s *Summary) { s.Description = "harmless" },
		"engine":      func(s *Summary) { s.Engine = "wasm" },
	} {
		s := honest.Summary
		lie(&s)
		p, err := assemble(s, honest.Files)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Manifest(); err == nil || !strings.Contains(err.Error(), "does not say of the plugin what its code says") {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := honest.Summary
	s.API = 7
	p, err := assemble(s, honest.Files)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Manifest(); err == nil || err.Error() != "sample 1.0.0 is for api 7, and this server speaks api 0" {
		t.Error(err)
	}
}

func TestIDs(t *testing.T) {
	for id, want := range map[string]bool{"a": true, "relay": true, "dkim-sign": true, "a_b2": true, "": false, "A": false, "2a": false, "a-": false, "a__b": false,
		"a-_b": false, "con": false, "com1": false, "com": true, "lpt9": false, "a.b": false, "a/b": false, strings.Repeat("a", 65): false} {
		if validID(id) != want {
			t.Errorf("%q: %v", id, !want)
		}
	}
}
