package generation

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/lock"
)

// packed is a package of a plugin that refuses with a text.
func packed(t testing.TB, id, version, text, needs string) *catalog.Package {
	t.Helper()
	code := fmt.Sprintf("plugin { id = %q, version = %q, api = 0, description = \"x\", needs = { %s } }\nlocal words = require \"words\"\nfunction on.rcpt(r) return reject(words) end\n", id, version, needs)
	p, err := catalog.Pack(id, map[string][]byte{"init.lua": []byte(code), "words.lua": fmt.Appendf(nil, "return %q\n", text), "README.md": []byte("# x\n"), "tests/a.lua": []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (s *site) change(do func(c *lock.Change)) {
	s.t.Helper()
	c, err := lock.Begin(context.Background(), filepath.Join(s.dir, lock.Name), filepath.Join(s.dir, "data"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	do(c)
	if err := c.Commit(context.Background()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) install(p *catalog.Package) {
	s.t.Helper()
	s.change(func(c *lock.Change) {
		if err := c.Put(p, lock.Plugin{Place: "/srv", Signer: lock.Unsigned, Capabilities: "x"}); err != nil {
			s.t.Fatal(err)
		}
	})
}

// enabled is the configuration with plugins enabled, and more.
func enabled(more string, names ...string) string {
	for i := range names {
		names[i] = fmt.Sprintf("%q", names[i])
	}
	return base + "enable = [" + strings.Join(names, ", ") + "]\n" + more
}

// folderOf is where the code of an installed plugin lies.
func (s *site) folderOf(p *catalog.Package) string {
	return filepath.Join("data", "plugins", p.Summary.ID+"@"+p.Digest.Encoded())
}

func (s *site) reloads(wantChange bool, wantErr string) {
	s.t.Helper()
	c := s.m.Reload(s.t.Context())
	switch {
	case wantErr == "" && (c.Err != nil || c.Changed != wantChange):
		s.t.Errorf("the reload came to %+v", c)
	case wantErr != "" && (c.Err == nil || !strings.Contains(c.Err.Error(), wantErr) || strings.Contains(c.Err.Error(), "\n")):
		s.t.Errorf("the reload came to %+v\nwant %s", c, wantErr)
	}
}

func TestInstalled(t *testing.T) {
	s := newSite(t)
	one, two := packed(t, "vip", "1.0.0", "one", "dns = true"), packed(t, "vip", "1.1.0", "two", "dns = true, kv = 'own'")
	s.mustOpen()
	defer s.m.Close()
	s.install(one)
	s.reloads(false, "") // what enable does not name is not loaded
	s.write("stagepost.toml", enabled("", "vip"))
	s.reloads(true, "")
	if got := s.says(); got != "one" {
		t.Errorf("it says %q", got)
	}
	p := s.m.Status().Plugins[0]
	if p.From != "installed" || p.Source != "installed/vip" || p.Version != "1.0.0" || p.Signer != lock.Unsigned || p.Digest != string(one.Digest) || !slices.Equal(p.Granted, []string{"dns"}) {
		t.Errorf("%+v", p)
	}
	held := s.m.Current().Acquire()
	first := s.m.state.Load().loaded[0]
	s.reloads(false, "")
	s.install(packed(t, "other", "1.0.0", "x", ""))
	s.reloads(false, "") // another one, which is not enabled
	s.install(two)
	s.reloads(true, "")
	if got := s.says(); got != "two" {
		t.Errorf("after the update it says %q", got)
	}
	if got := ask(t, held); got != "one" { // its code is gone from the disk
		t.Errorf("who has the former generation hears %q", got)
	}
	held.Release()
	if n := first.refs.Load(); n != 0 {
		t.Errorf("the former version is held %d times", n)
	}
	if out := s.console.String(); !strings.Contains(out, "generation 3 is live: vip (now also: kv own) (") {
		t.Errorf("the console has %q", out)
	}
	s.change(func(c *lock.Change) { c.Remove("vip") })
	s.reloads(false, `stagepost.toml:9: plugins.enable: there is no plugin "vip"`)
	if got := s.says(); got != "two" {
		t.Errorf("after the removal was refused it says %q", got)
	}
	s.write("stagepost.toml", base)
	s.reloads(true, "")
	if got := s.says(); got != "" {
		t.Errorf("without the plugin it says %q", got)
	}
}

// Of plugins of one name, the folder's counts, then the installed one, then the bundled one.
func TestWhoseNameItIs(t *testing.T) {
	s := newSite(t)
	s.write("stagepost.toml", enabled("", "discard"))
	s.mustOpen()
	defer s.m.Close()
	from := func(want string) {
		t.Helper()
		st := s.m.Status()
		if len(st.Plugins) != 1 || st.Plugins[0].Source != want {
			t.Errorf("%+v", st.Plugins)
		}
	}
	from("bundled/discard")
	pkg := packed(t, "discard", "9.0.0", "installed", "")
	s.install(pkg)
	s.reloads(true, "")
	from("installed/discard")
	s.write("plugins/discard.lua", code("discard", "folder"))
	s.reloads(true, "")
	from("plugins/discard.lua")
	s.remove(s.folderOf(pkg)) // nobody looks at it
	s.reloads(false, "")
	s.remove("plugins/discard.lua")
	s.reloads(false, "stagepost.toml:9: discard 9.0.0 is in plugins.lock, and its code is not in")
	s.change(func(c *lock.Change) { c.Remove("discard") })
	s.reloads(true, "")
	from("bundled/discard")
}

// A second name for an installed plugin, the operator's grant within what was accepted, and settings that wait for it.
func TestInstalledIsConfigured(t *testing.T) {
	s := newSite(t)
	s.install(packed(t, "vip", "1.0.0", "one", "dns = true, http = { 'a.example:443', 'b.example:443' }"))
	s.write("stagepost.toml", base+"[plugin.vip]\n")
	s.mustOpen()
	defer s.m.Close()
	s.write("stagepost.toml", enabled("[run.vip]\ngrant = { http = [\"a.example:443\"], dns = false }\n[run.second]\nplugin = \"vip\"\norder = 7\n", "vip"))
	s.reloads(true, "")
	if chain := s.m.Order(hooks.Rcpt); len(chain) != 2 || chain[0].Plugin != "second" || chain[0].Pos != "installed/vip/init.lua:3" {
		t.Errorf("%+v", chain)
	}
	for _, p := range s.m.Status().Plugins {
		want := []string{"dns", "http a.example:443", "http b.example:443"}
		if p.Name == "vip" {
			want = []string{"http a.example:443"}
		}
		if !slices.Equal(p.Granted, want) {
			t.Errorf("%s: %v", p.Name, p.Granted)
		}
	}
	s.write("stagepost.toml", base+"[run.second]\nplugin = \"vip\"\n") // it names it, too
	s.reloads(true, "")
}

// Whatever is wrong with what is installed: one line, and what is in force stays; also where it is the same in every look. When it is right
// again, nothing has happened.
func TestInstalledIsSpoilt(t *testing.T) {
	one := packed(t, "vip", "1.0.0", "one", "dns = true")
	in := func(s *site, name string) string { return filepath.Join(s.dir, s.folderOf(one), name) }
	for _, c := range []struct {
		name  string
		spoil func(s *site)
		want  string
	}{
		{"a byte", func(s *site) { s.write(s.folderOf(one)+"/words.lua", "return \"onE\"\n") }, "is not what was installed: its digest is sha256:"},
		{"a byte of the tests", func(s *site) { s.write(s.folderOf(one)+"/tests/a.lua", "y") }, "is not what was installed: its digest is sha256:"},
		{"a file more", func(s *site) { s.write(s.folderOf(one)+"/more.lua", "return 1\n") }, "is not what was installed: its digest is sha256:"},
		{"a file less", func(s *site) { s.remove(s.folderOf(one) + "/words.lua") }, "is not what was installed: vip/init.lua:2: require \"words\": there is no vip/words.lua; to get it again"},
		{"no code", func(s *site) { s.remove(s.folderOf(one) + "/init.lua") }, "is not what was installed: vip: there is no init.lua in it"},
		{"not Lua", func(s *site) { s.write(s.folderOf(one)+"/init.lua", "plugin {") }, "is not what was installed: vip/init.lua:1:"},
		{"no folder", func(s *site) { s.remove(s.folderOf(one)) }, "stagepost.toml:9: vip 1.0.0 is in plugins.lock, and its code is not in "},
		{"nothing", func(s *site) { s.remove("data/plugins") }, "; to get it again, run: stagepost plugin install"},
		{"a file in place of the folder", func(s *site) { s.remove(s.folderOf(one)); s.write(s.folderOf(one), "x") }, "is no folder; to get it again"},
		{"a link to a file", func(s *site) {
			s.write("elsewhere.lua", "return \"one\"\n")
			os.Remove(in(s, "words.lua"))
			if err := os.Symlink(filepath.Join(s.dir, "elsewhere.lua"), in(s, "words.lua")); err != nil {
				t.Skip(err)
			}
		}, "is not what was installed: \"words.lua\" is no file of its own, but a link"},
		{"a link to a folder", func(s *site) {
			if err := os.Rename(filepath.Join(s.dir, s.folderOf(one)), filepath.Join(s.dir, "moved")); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(filepath.Join(s.dir, "moved"), filepath.Join(s.dir, s.folderOf(one))); err != nil {
				t.Skip(err)
			}
		}, "is no folder; to get it again"},
		{"a large file", func(s *site) { s.write(s.folderOf(one)+"/words.lua", strings.Repeat("-", 2<<20)) }, "is not what was installed: \"words.lua\" has more than"},
		{"the record is no TOML", func(s *site) { s.write("plugins.lock", "[plugin.vip\n") }, "plugins.lock:1: this is not valid TOML"},
		{"the record has another digest", func(s *site) { s.edit("plugins.lock", one.Digest.Encoded(), strings.Repeat("0", 64)) }, "vip 1.0.0 is in plugins.lock, and its code is not in "},
		{"the record has another version", func(s *site) { s.edit("plugins.lock", "1.0.0", "1.0.1") }, "plugins.lock:4 says that it is vip, version 1.0.1"},
		{"less was accepted", func(s *site) { s.edit("plugins.lock", "needs.dns = true\n", "") }, "plugins.lock:4: the plugin asks for what was not accepted (dns); to see and accept it, run: stagepost plugin install vip@1.0.0"},
		{"revoked", func(s *site) { s.write("trust.toml", fmt.Sprintf("[revoked]\npackages = [%q]\n", one.Digest)) },
			"trust.toml:2); run: stagepost plugin update vip, or: stagepost plugin remove vip"},
		{"trust.toml is wrong", func(s *site) { s.write("trust.toml", "[revoked]\nkeyz = []\n") }, "trust.toml:2: revoked.keyz: unknown key; did you mean keys?"},
		{"the record is a folder", func(s *site) {
			s.remove("plugins.lock")
			s.write("plugins.lock/x", "")
		}, "the record of installed plugins cannot be read: "},
		{"the record is gone", func(s *site) { s.remove("plugins.lock") }, `stagepost.toml:9: plugins.enable: there is no plugin "vip"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			s.install(one)
			s.write("stagepost.toml", enabled("", "vip"))
			s.mustOpen()
			defer s.m.Close()
			record, err := os.ReadFile(filepath.Join(s.dir, "plugins.lock"))
			if err != nil {
				t.Fatal(err)
			}
			c.spoil(s)
			for range 3 {
				s.reloads(false, c.want)
			}
			if got := s.says(); got != "one" {
				t.Errorf("it says %q", got)
			}
			if out := s.console.String(); strings.Count(out, "\n") != 1 || !strings.HasSuffix(out, "; generation 1 stays\n") {
				t.Errorf("the console has %q", out)
			}
			if _, err := New(s.m.opts); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("a start came to %v", err)
			}
			s.remove("plugins.lock")
			s.remove("trust.toml")
			s.remove("data/plugins")
			s.install(one)
			s.write("plugins.lock", string(record))
			s.reloads(false, "")
			if st := s.m.Status(); st.Error != "" || st.Generation != 1 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// What is revoked while it is in force is said to be: nothing but a command takes it out.
func TestRevokedWhileInForce(t *testing.T) {
	s, one := newSite(t), packed(t, "vip", "1.0.0", "one", "")
	s.install(one)
	s.write("stagepost.toml", enabled("", "vip"))
	s.mustOpen()
	defer s.m.Close()
	s.write("trust.toml", fmt.Sprintf("[revoked]\npackages = [%q]\n", one.Digest))
	s.reloads(false, "vip 1.0.0 is still in force, and would not be loaded again: the package "+string(one.Digest)+" is revoked")
	if _, err := New(s.m.opts); err == nil || !strings.Contains(err.Error(), "vip 1.0.0 is installed and is not loaded: the package ") {
		t.Errorf("a start came to %v", err)
	}
	s.install(packed(t, "vip", "1.0.1", "two", ""))
	s.reloads(true, "")
	if got := s.says(); got != "two" {
		t.Errorf("it says %q", got)
	}
}

func (s *site) edit(name, old, with string) {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil || !strings.Contains(string(text), old) {
		s.t.Fatalf("%v: %s", err, text)
	}
	s.write(name, strings.ReplaceAll(string(text), old, with))
}

// TestInstalledWhileCallsGoOn asks from several goroutines while versions come and go, in the order in which commands do it, and while
// somebody else reloads all the time: each answer is one of those versions, and no reload is refused.
func TestInstalledWhileCallsGoOn(t *testing.T) {
	s := newSite(t)
	var versions []*catalog.Package
	for i := range 8 {
		versions = append(versions, packed(t, "vip", fmt.Sprintf("1.0.%d", i), fmt.Sprintf("v%d", i), ""))
	}
	s.install(versions[0])
	s.write("stagepost.toml", enabled("", "vip"))
	s.mustOpen()
	defer s.m.Close()
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got := s.says(); !strings.HasPrefix(got, "v") {
					t.Errorf("a caller got %q", got)
					return
				}
			}
		})
	}
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if c := s.m.Reload(t.Context()); c.Err != nil {
				t.Error(c.Err)
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	for i := range 24 {
		s.install(versions[(i+1)%len(versions)])
	}
	close(stop)
	group.Wait()
	s.m.Reload(t.Context())
	if got := s.says(); got != "v0" {
		t.Errorf("at the end it says %q", got)
	}
}

// TestRecordIsWatched: the record is looked at for its events, and so is where it would appear.
func TestRecordIsWatched(t *testing.T) {
	s := newSite(t)
	s.write("stagepost.toml", enabled("", "discard"))
	s.mustOpen()
	defer s.m.Close()
	s.m.slow = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.m.Watch(ctx); close(done) }()
	until := func(source string) {
		t.Helper()
		for begin := time.Now(); s.m.Status().Plugins[0].Source != source; time.Sleep(10 * time.Millisecond) {
			if time.Since(begin) > 30*time.Second {
				t.Fatalf("%+v, %s", s.m.Status(), s.console.String())
			}
		}
	}
	s.install(packed(t, "discard", "9.0.0", "installed", ""))
	until("installed/discard")
	s.change(func(c *lock.Change) { c.Remove("discard") })
	until("bundled/discard")
	cancel()
	<-done
}
