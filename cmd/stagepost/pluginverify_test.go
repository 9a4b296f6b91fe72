package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/index"
	"github.com/stagepost/stagepost/plugins/catalog/lock"
	"github.com/stagepost/stagepost/plugins/catalog/trust"
)

// installedPlugin is a package of a plugin that refuses every recipient.
func installedPlugin(t testing.TB, id, version string) *catalog.Package {
	t.Helper()
	code := fmt.Sprintf("plugin { id = %q, version = %q, api = 0, description = \"x\", needs = { dns = true } }\nfunction on.rcpt(r) return reject(%q) end\n", id, version, "by "+id+" "+version)
	p, err := catalog.Pack(id, map[string][]byte{"init.lua": []byte(code), "README.md": []byte("# x\n")})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// lockIn installs packages in a site, as if they were from an index and signed by key.
func lockIn(t testing.TB, dir, key string, packages ...*catalog.Package) {
	t.Helper()
	c, err := lock.Begin(t.Context(), filepath.Join(dir, lock.Name), filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, p := range packages {
		if err := c.Put(p, lock.Plugin{Index: "main", Place: "/srv", Signer: key, Capabilities: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Everything that can be wrong with an installed plugin, with the exit code; and what is only told.
func TestPluginVerify(t *testing.T) {
	key, err := index.Generate()
	if err != nil {
		t.Fatal(err)
	}
	other, err := index.Generate()
	if err != nil {
		t.Fatal(err)
	}
	vip := installedPlugin(t, "vip", "1.0.0")
	trusts := func(k *index.Secret, more string) string {
		return fmt.Sprintf("[[index]]\nname = \"main\"\nplace = \"index.json\"\nnamespaces = [\"*\"]\nkeys = [%q]\n%s", k.Key(), more)
	}
	folder := filepath.Join("data", "plugins", "vip@"+vip.Digest.Encoded())
	// listed writes an index and keeps it.
	listed := func(s *site, p *catalog.Package, edit func(x *index.Index)) {
		s.t.Helper()
		x := &index.Index{Name: "main"}
		if err := x.Add(p, []string{"./"}, key, noon); err != nil {
			s.t.Fatal(err)
		}
		edit(x)
		if err := x.Renew(noon, 90*24*time.Hour); err != nil {
			s.t.Fatal(err)
		}
		data, signature, err := x.Signed(key)
		if err != nil {
			s.t.Fatal(err)
		}
		s.write("index.json", string(data))
		s.write("index.json.minisig", string(signature))
		t, err := trust.Read(filepath.Join(s.dir, trust.Name))
		if err != nil {
			s.t.Fatal(err)
		}
		if err := index.Open(t, filepath.Join(s.dir, "data", "catalog"), catalog.Options{}, s.app.now).Refresh(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
	}
	as := func(*index.Index) {}
	for _, c := range []struct {
		name  string
		spoil func(s *site)
		code  int
		what  string // comma-separated
		text  string // of the first
	}{
		{"all is well", func(s *site) {}, 0, "", ""},
		{"missing", func(s *site) { os.RemoveAll(filepath.Join(s.dir, folder)) }, 65, "missing", "run: stagepost plugin install"},
		{"changed", func(s *site) { s.write(folder+"/README.md", "# y\n") }, 65, "changed", "is not what was installed"},
		{"a file in its place", func(s *site) { os.RemoveAll(filepath.Join(s.dir, folder)); s.write(folder, "") }, 65, "changed", "is no folder"},
		{"the record says less", func(s *site) { s.swap("plugins.lock", "needs.dns = true\n", "") }, 65, "unaccepted", "plugins.lock:4: it asks for what was not accepted: dns"},
		{"a revoked package", func(s *site) {
			s.write("trust.toml", trusts(key, fmt.Sprintf("[revoked]\npackages = [%q]\n", vip.Digest)))
		}, 65, "revoked", "trust.toml:7"},
		{"a revoked key", func(s *site) {
			s.write("trust.toml", trusts(other, fmt.Sprintf("[revoked]\nkeys = [%q]\n", key.Key())))
		}, 65, "revoked", "trust.toml:7"},
		{"another key is trusted", func(s *site) { s.write("trust.toml", trusts(other, "")) }, 69, "untrusted,unlisted", "does not take packages of this id with that signer any more"},
		{"no trust.toml", func(s *site) { os.Remove(filepath.Join(s.dir, "trust.toml")) }, 69, "untrusted", "so no key is trusted"},
		{"yanked", func(s *site) {
			os.RemoveAll(filepath.Join(s.dir, "data", "catalog"))
			listed(s, vip, func(x *index.Index) {
				if err := x.Yank("vip", "1.0.0", "it loses mail"); err != nil {
					t.Fatal(err)
				}
			})
		}, 69, "yanked", "it loses mail"},
		{"gone from the index", func(s *site) {
			os.RemoveAll(filepath.Join(s.dir, "data", "catalog"))
			listed(s, installedPlugin(t, "vip", "2.0.0"), as)
		}, 0, "unlisted", "there is no version"},
		{"other content in the index", func(s *site) {
			os.RemoveAll(filepath.Join(s.dir, "data", "catalog"))
			p, err := catalog.Pack("vip", map[string][]byte{"init.lua": vip.Files["init.lua"]})
			if err != nil {
				t.Fatal(err)
			}
			listed(s, p, as)
		}, 65, "other content", "has this version with other content, sha256:"},
		{"nothing is kept", func(s *site) { os.RemoveAll(filepath.Join(s.dir, "data", "catalog")) }, 0, "unlisted", "index main: "},
		{"the index expired", func(s *site) { s.app.now = func() time.Time { return noon.Add(1000 * 24 * time.Hour) } }, 0, "unlisted", "expired"},
		{"unsigned", func(s *site) {
			s.swap("plugins.lock", fmt.Sprintf("signer = %q", key.Key()), `signer = "unsigned"`)
			s.swap("plugins.lock", "index = \"main\"\n", "")
		}, 0, "unsigned", "nobody signed it"},
		{"unsigned in a signed index", func(s *site) {
			s.swap("plugins.lock", fmt.Sprintf("signer = %q", key.Key()), `signer = "unsigned"`)
		}, 69, "unsigned,untrusted", "nobody signed it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, minimal)
			s.t = t
			lockIn(t, s.dir, key.Key().String(), vip)
			s.write("trust.toml", trusts(key, ""))
			listed(s, vip, as)
			c.spoil(s)
			r := s.run("plugin", "verify", "--json")
			var v verified
			if err := json.Unmarshal([]byte(r.out), &v); err != nil {
				t.Fatalf("%v: %+v", err, r)
			}
			var what []string
			for _, f := range v.Findings {
				what = append(what, f.What)
			}
			if r.code != c.code || strings.Join(what, ",") != c.what || v.OK != (c.code == 0) || v.ID != "vip" || v.Digest != string(vip.Digest) {
				t.Errorf("%+v", r)
			}
			if c.what != "" && !strings.Contains(v.Findings[0].Text, c.text) {
				t.Errorf("%s\nwant %s", v.Findings[0].Text, c.text)
			}
			human := s.run("plugin", "verify", "vip")
			word := "ok"
			if c.what != "" {
				word, _, _ = strings.Cut(c.what, ",")
			}
			if human.code != c.code || !strings.Contains(human.out, word) || c.code != 0 && human.err != "not as it should be: 1 of 1 plugin\n" {
				t.Errorf("%+v", human)
			}
		})
	}
}

func (s *site) swap(name, old, with string) {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil || !strings.Contains(string(text), old) {
		s.t.Fatalf("%v: no %q in %s", err, old, text)
	}
	s.write(name, strings.ReplaceAll(string(text), old, with))
}

func TestPluginVerifyAround(t *testing.T) {
	s := newSite(t, minimal)
	if r := s.run("plugin", "verify"); r.code != 0 || r.out != "no plugin is installed\n" {
		t.Errorf("%+v", r)
	}
	if r := s.run("plugin", "verify", "vip"); r.code != exitNoInput || r.err != "vip is not installed; no plugin is\n" {
		t.Errorf("%+v", r)
	}
	lockIn(t, s.dir, lock.Unsigned, installedPlugin(t, "vip", "1.0.0"))
	s.write("data/plugins/readme.txt", "x")
	s.write("data/plugins/old@"+strings.Repeat("0", 64)+"/init.lua", "x")
	r := s.run("plugin", "verify")
	if strings.Count(r.err, "\n") != 2 || !strings.Contains(r.err, "was left behind by a change that was cut short") || !strings.Contains(r.err, "readme.txt is no installed plugin") {
		t.Errorf("%+v", r)
	}
	if r := s.run("plugin", "verify", "vap"); r.code != exitNoInput || r.err != "vap is not installed; did you mean vip?\n" {
		t.Errorf("%+v", r)
	}
	s.write("plugins.lock", "[plugin.vip]\n")
	if r := s.run("plugin", "verify"); r.code != exitConfig || !strings.Contains(r.err, "plugins.lock:1: plugin.vip: version is missing") {
		t.Errorf("%+v", r)
	}
}

// list tells where plugins are from, and what is installed and not loaded.
func TestPluginListInstalled(t *testing.T) {
	s := newSite(t, minimal+"[plugins]\nenable = [\"vip\", \"relay\"]\n")
	key, err := index.Generate()
	if err != nil {
		t.Fatal(err)
	}
	vip := installedPlugin(t, "vip", "1.0.0")
	lockIn(t, s.dir, key.Key().String(), vip, installedPlugin(t, "idle", "2.0.0"))
	r := s.run("plugin", "list")
	if r.code != 0 || !strings.Contains(r.out, "installed/vip") || !strings.Contains(r.out, key.Key().ID()) || !strings.HasSuffix(r.out, "\ninstalled, and not loaded: idle 2.0.0\n") {
		t.Errorf("%+v", r)
	}
	r = s.run("plugin", "list", "--json")
	var p struct{ Name, From, Source, Version, Digest, Signer string }
	if err := json.Unmarshal([]byte(strings.SplitN(r.out, "\n", 2)[0]), &p); err != nil {
		t.Fatal(err)
	}
	if p.Name != "vip" || p.From != "installed" || p.Version != "1.0.0" || p.Digest != string(vip.Digest) || p.Signer != key.Key().String() {
		t.Errorf("%+v", p)
	}
}
