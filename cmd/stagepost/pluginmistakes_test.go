package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/plugins/catalog/index"
	"github.com/stagepost/stagepost/plugins/catalog/lock"
)

// TestInstallMistakes: what people write wrong. Nothing of it gets as far as the index.
func TestInstallMistakes(t *testing.T) {
	m := newMarket(t, withPlugins)
	before := m.kept()
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"install Acme", exitUsage, `"Acme" names no plugin: the id "Acme" cannot be the name of a package`},
		{"install acme@", exitUsage, `"acme@" names no plugin: the version ""`},
		{"install acme@1.0", exitUsage, `"acme@1.0" names no plugin: the version "1.0" cannot be that of a package`},
		{"install acme@1.0.0+a", exitUsage, "with no +"},
		{"install #acme", exitUsage, `"#acme" names no place before the #`},
		{"install ./packages", exitUsage, `"./packages" looks like a place; write behind it which plugin: ./packages#ID, or ./packages#ID@VERSION`},
		{"install https://registry.example.org/plugins", exitUsage, "looks like a place"},
		{"install packages.tar", exitUsage, "looks like a place"},
		{"install ./packages#", exitUsage, `"./packages#" names no plugin`},
		{"install ./packages#../x --unsigned", exitUsage, "names no plugin"},
		{"install acme acme@1.0.0", exitUsage, "acme is named twice; one version of it can be installed"},
		{"install ./packages#acme", exitUsage, "no index says who signed it; if you know it to be what you want, add --unsigned"},
		{"install ftp://x.example/y#acme --unsigned", exitUsage, "ftp"},
		{"install http://registry.example.org/y#acme --unsigned", exitUsage, "http://"},
		{"install acme --timeout soon", exitUsage, "--timeout"},
		{"install --accept rights:1", exitUsage, "--accept is about plugins that are named"},
		{"install --downgrade", exitUsage, "--downgrade is about plugins that are named"},
		{"install --no-enable", exitUsage, "--no-enable is about plugins that are named"},
		{"install --unsigned", exitUsage, "--unsigned is about plugins that are named"},
		{"install acme", exitData, `there is no plugin "acme"`},
		{"install ./packages#acme --unsigned", exitNoInput, "packages"},
		{"install ./packages.tar#acme@1.0.0 --unsigned", exitNoInput, "packages.tar"},
		{"install", 0, "nothing is installed; name a plugin"},
		{"update", 0, "nothing is installed from an index"},
		{"update acme", exitNoInput, "acme is not installed"},
		{"update acme --downgrade", exitUsage, "unknown flag: --downgrade"},
		{"info", exitUsage, "accepts 1 arg(s)"},
		{"info Acme", exitUsage, "names no plugin"},
		{"serch", exitUsage, `did you mean "search"?`},
	} {
		r := m.run(append([]string{"plugin"}, strings.Fields(tt.args)...)...)
		m.want(r, tt.code, tt.want)
		if strings.Count(r.err, "\n") > 2 {
			t.Errorf("%s: too many words: %s", tt.args, r.err)
		}
		if m.kept() != before {
			t.Fatalf("%s: something was installed: %s", tt.args, m.kept())
		}
	}
}

// TestInstallNot: what cannot be installed is refused with one clear line, and all stays as it is.
func TestInstallNot(t *testing.T) {
	other, err := index.Generate()
	if err != nil {
		t.Fatal(err)
	}
	install := "install acme --accept RIGHTS"
	t.Parallel()
	for _, tt := range []struct {
		name   string
		spoil  func(m *market)
		args   string
		code   int
		want   string
		before bool // it is installed before, as 1.0.0
	}{
		{"no trust.toml", func(m *market) { os.Remove(filepath.Join(m.dir, "trust.toml")) }, install, exitConfig, "there is no trust.toml, which says whose plugins to trust; write into it", false},
		{"a wrong trust.toml", func(m *market) { m.write("trust.toml", "[[index]]\nnam = \"x\"\n") }, install, exitConfig, "trust.toml:2: index.nam: unknown key", false},
		{"a key of somebody else", func(m *market) { m.write("trust.toml", m.trusting("main", "index.json", other)) }, install, exitData, "and not with one that is trusted", false},
		{"a key that is revoked", func(m *market) {
			m.write("trust.toml", m.trusting("main", "index.json", m.key, `[revoked]`, `keys = ["`+m.key.Key().String()+`"]`))
		}, install, exitData, "is revoked (trust.toml:", false},
		{"a package that is revoked", func(m *market) {
			e := m.list.Entries[0]
			m.write("trust.toml", m.trusting("main", "index.json", m.key, `[revoked]`, `packages = ["`+string(e.Digest)+`"]`))
		}, install, exitData, "is revoked (trust.toml:", false},
		{"an id of no index", func(m *market) {
			m.write("trust.toml", strings.Replace(m.read("trust.toml"), `["*"]`, `["own-*"]`, 1))
		}, install, exitData, "belongs to no index", false},
		{"an id of another index", func(m *market) {
			m.write("mine.json", m.read("index.json")) // of no signature
			own := "[[index]]\nname = \"mine\"\nplace = \"empty.json\"\nnamespaces = [\"acme*\"]\nunsigned = true\n\n"
			empty := &index.Index{Name: "mine", Places: []string{"packages"}}
			if err := empty.Renew(noon, time.Hour); err != nil {
				m.t.Fatal(err)
			}
			m.write("empty.json", string(empty.Encode()))
			m.write("trust.toml", own+m.read("trust.toml"))
		}, install, exitData, "It is in the index main, which does not count: in trust.toml, the id belongs to mine", false},
		{"no index", func(m *market) { os.Remove(filepath.Join(m.dir, "index.json")) }, install, exitNoInput, "index main: ", false},
		{"a changed index", func(m *market) { m.write("index.json", strings.Replace(m.read("index.json"), "twice", "once!", 1)) }, install, exitData, "damaged or tampered with", false},
		{"no signature", func(m *market) { os.Remove(filepath.Join(m.dir, "index.json.minisig")) }, install, exitNoInput, "needs its signature beside it", false},
		{"an expired index", func(m *market) { m.app.now = func() time.Time { return noon.Add(25 * time.Hour) } }, install, exitData, "it expired on", false},
		{"an index of the future", func(m *market) { m.app.now = func() time.Time { return noon.Add(-25 * time.Hour) } }, install, exitData, "set the clock right", false},
		{"an index that is played again", func(m *market) {
			old, signature := m.read("index.json"), m.read("index.json.minisig")
			m.renew(time.Minute)
			m.want(m.run("plugin", "search"), 0)
			m.write("index.json", old)
			m.write("index.json.minisig", signature)
		}, install, exitData, "somebody may be replaying it", false},
		{"no packages", func(m *market) { os.RemoveAll(filepath.Join(m.dir, "packages")) }, install, exitNoInput, "packages", false},
		{"a changed package", func(m *market) { m.spoilBlobs() }, install, exitData, "packages: acme 1.0.0: ", false},
		{"a version that is not there", nil, "install acme@3.0.0", exitData, `there is no version "3.0.0" of the plugin acme; there are 1.0.0`, false},
		{"another hash", nil, "install acme --accept rights:0263", exitPermission, "nobody is here to be asked, so nothing is installed", false},
		{"half of the hash", nil, "install acme --accept rights:", exitPermission, "nobody is here to be asked", false},
		{"one of two is accepted", func(m *market) { m.publish("more", "1.0.0", curious, deferer) }, "install acme more --accept RIGHTS", exitPermission, "what is shown above is accepted with: --accept rights:", false},
		{"one of two is not there", nil, "install acme none --accept RIGHTS", exitData, `there is no plugin "none"`, false},
		{"a file in the watched folder", func(m *market) {
			m.write("stagepost.toml", strings.Replace(withPlugins, "enable", "folder = \"plugins\"\nenable", 1))
			m.write("plugins/acme.lua", `plugin { id = "acme", version = "0.1.0" }`)
		}, install, exitConfig, "plugins/acme.lua lies in the watched folder, and is what would be loaded as acme; move it away first", false},
		{"a folder in the watched folder", func(m *market) {
			m.write("stagepost.toml", strings.Replace(withPlugins, "enable", "folder = \"plugins\"\nenable", 1))
			m.write("plugins/acme/init.lua", `plugin { id = "acme", version = "0.1.0" }`)
		}, install, exitConfig, "plugins/acme lies in the watched folder", false},
		{"a lock with a mistake", func(m *market) { m.write(lock.Name, "[plugin.acme]\nversion = 1\n") }, install, exitConfig, "plugins.lock:", false},
		{"a configuration with a mistake", func(m *market) { m.write("stagepost.toml", withPlugins+"x = 1\n") }, install, exitConfig, "stagepost.toml:", false},
		{"a file where the code goes", func(m *market) { m.write("data/plugins", "") }, install, exitIO, "data/plugins", false},

		{"the same version with other content", func(m *market) {
			p := m.pack("acme", "1.0.0", modest, deferer+" -- other")
			m.list.Entries = nil
			m.put(p, "others")
			m.list.Places = []string{"others"}
			if err := m.list.Add(p, nil, m.key, noon); err != nil {
				m.t.Fatal(err)
			}
			m.renew(time.Minute)
		}, "install acme", exitData, "a version never changes, so one of them was tampered with; nothing is changed", true},
		{"the same, by update", func(m *market) {
			p := m.pack("acme", "1.0.0", modest, deferer+" -- other")
			m.list.Entries = nil
			m.put(p, "others")
			m.list.Places = []string{"others"}
			if err := m.list.Add(p, nil, m.key, noon); err != nil {
				m.t.Fatal(err)
			}
			m.renew(time.Minute)
		}, "update", exitData, "a version never changes, so one of them was tampered with; nothing is changed", true},
		{"an older one", func(m *market) { m.publish("acme", "0.9.0", modest, deferer) }, "install acme@0.9.0", exitData, "acme 1.0.0 is installed, and 0.9.0 is older; to put it in its place nevertheless, add --downgrade", true},
		{"a wider one from a place", func(m *market) { m.put(m.pack("acme", "1.1.0", curious, deferer), "elsewhere") }, "install DIR/elsewhere#acme --unsigned", exitPermission,
			"in trust.toml, acme belongs to the index main; what lies at elsewhere is not from there", true},
		{"an update of what is revoked", func(m *market) {
			e := m.list.Entries[0]
			m.publish("acme", "0.9.0", modest, deferer)
			m.write("trust.toml", m.trusting("main", "index.json", m.key, `[revoked]`, `packages = ["`+string(e.Digest)+`"]`))
		}, "update", 0, "is revoked (trust.toml:", true},
		{"an update of what was withdrawn", func(m *market) {
			m.publish("acme", "0.9.0", modest, deferer)
			if err := m.list.Yank("acme", "1.0.0", "it loses mail"); err != nil {
				m.t.Fatal(err)
			}
			m.renew(time.Minute)
		}, "update", 0, "acme 1.0.0 was withdrawn: it loses mail\nthe newest that there is of acme is 0.9.0, which is older than what is installed; to go back to it: stagepost plugin install acme@0.9.0 --downgrade --config stagepost.toml", true},
		{"an update of something else", nil, "update acm", exitNoInput, "acm is not installed; did you mean acme?", true},
		{"nothing is left of it", func(m *market) { m.list.Entries = nil; m.renew(time.Minute) }, "update", exitData, `index main: there is no plugin "acme"`, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMarket(t, withPlugins)
			m.publish("acme", "1.0.0", modest, deferer)
			rights := m.hash["acme@1.0.0"]
			if tt.before {
				m.want(m.run("plugin", "install", "acme", "--accept", rights), 0)
			}
			if tt.spoil != nil {
				tt.spoil(m)
			}
			before := m.kept()
			r := m.run(append([]string{"plugin"}, strings.Fields(strings.NewReplacer("RIGHTS", rights, "DIR", m.dir).Replace(tt.args))...)...)
			m.want(r, tt.code, tt.want)
			if m.kept() != before {
				t.Errorf("something changed: %s\nwant %s", m.kept(), before)
			}
		})
	}
}

// spoilBlobs changes a byte of each blob of code.
func (m *market) spoilBlobs() {
	m.t.Helper()
	files, err := filepath.Glob(filepath.Join(m.dir, "packages", "blobs", "sha256", "*"))
	if err != nil || len(files) == 0 {
		m.t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(file, []byte(strings.ReplaceAll(string(text), "later", "never")), 0o644)
		}
		if err != nil {
			m.t.Fatal(err)
		}
	}
}

// TestInstallByHand: a configuration that is not edited with certainty stays, and the line to write is printed.
func TestInstallByHand(t *testing.T) {
	const odd = "plugins = { enable = [\"domains\"], folder = \"plugins\" }\n" + minimal
	m := newMarket(t, odd)
	m.publish("acme", "1.0.0", modest, deferer)
	if err := os.Mkdir(filepath.Join(m.dir, ".stagepost.toml.unfinished"), 0o755); err != nil { // it cannot be written
		t.Fatal(err)
	}
	m.write(".stagepost.toml.unfinished/x", "")
	m.want(m.run("plugin", "install", "acme", "--accept", m.hash["acme@1.0.0"]), exitConfig, "acme 1.0.0 is installed\n", "stagepost.toml is left as it is", "so what was installed is not loaded yet; write:\n[plugins]\nenable = [\"domains\", \"acme\"]\n")
	if m.read("stagepost.toml") != odd {
		t.Error(m.read("stagepost.toml"))
	}
	os.RemoveAll(filepath.Join(m.dir, ".stagepost.toml.unfinished"))
	m.want(m.run("plugin", "install", "acme"), 0, "acme 1.0.0 is installed already\n")
	if got := m.read("stagepost.toml"); !strings.HasPrefix(got, "plugins = { enable = [\"domains\", \"acme\"], folder") {
		t.Error(got)
	}

	// a plugin that a [run.NAME] names is loaded by that
	m = newMarket(t, minimal+"\n[run.mine]\nplugin = \"acme\"\n")
	m.publish("acme", "1.0.0", modest, deferer)
	before := m.read("stagepost.toml")
	m.want(m.run("plugin", "install", "acme", "--accept", m.hash["acme@1.0.0"]), 0, "acme 1.0.0 is installed\n", "!not loaded")
	if m.read("stagepost.toml") != before {
		t.Error(m.read("stagepost.toml"))
	}
	m.want(m.run("plugin", "list"), 0, "mine")
}

// TestInstallFromPlace: without an index, by the word for it.
func TestInstallFromPlace(t *testing.T) {
	m := newMarket(t, withPlugins)
	os.Remove(filepath.Join(m.dir, "trust.toml"))
	m.put(m.pack("acme", "1.0.0", modest, deferer), "elsewhere")
	m.put(m.pack("acme", "1.1.0", modest, deferer), "elsewhere")
	at := filepath.Join(m.dir, "elsewhere")
	m.want(m.run("plugin", "install", at+"#acme", "--unsigned"), exitPermission, "signed  by nobody", "It lies at elsewhere. No index vouches for it, and nobody signed it.\n", "acme 1.1.0\n")
	m.want(m.run("plugin", "install", at+"#acme@1.0.0", "--unsigned", "--accept", m.hash["acme@1.0.0"]), 0, "acme 1.0.0 is installed\n")
	l, err := lock.Read(filepath.Join(m.dir, lock.Name))
	if err != nil || l.Plugins[0].Signer != lock.Unsigned || l.Plugins[0].Place != at || l.Plugins[0].Index != "" {
		t.Errorf("%+v, %v", l, err)
	}
	m.want(m.run("plugin", "update"), 0, "acme 1.0.0 was installed from a place, where no index tells what is newer\n", "nothing is installed from an index\n")
	m.want(m.run("plugin", "update", "acme"), exitUsage, "look there with: stagepost plugin install 'elsewhere#acme' --unsigned --config stagepost.toml")
	m.want(m.run("plugin", "install", at+"#acme", "--unsigned"), 0, "acme 1.1.0 is installed, in the place of 1.0.0\n")
	if err := os.RemoveAll(lock.Folder(filepath.Join(m.dir, "data"))); err != nil {
		t.Fatal(err)
	}
	m.want(m.run("plugin", "install"), 0, "acme 1.1.0 is there again\n")
	os.RemoveAll(lock.Folder(filepath.Join(m.dir, "data")))
	os.RemoveAll(at)
	before := m.kept()
	m.want(m.run("plugin", "install"), exitNoInput, "acme 1.1.0 cannot be got: elsewhere: ")
	if m.kept() != before {
		t.Error(m.kept())
	}
}
