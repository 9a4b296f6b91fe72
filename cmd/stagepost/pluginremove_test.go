package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/lock"
)

func TestPluginRemove(t *testing.T) {
	const plugins = "[plugins]\nfolder = \"plugins\"\nenable = [\n  \"relay\", # own\n  \"vip\", # of a stranger\n]\n"
	for _, c := range []struct {
		name, more string
		args       []string
		code       int
		out, err   string // err: what it contains, in one of its lines
		locked     string
		enable     string // what it has afterwards
	}{
		{"one", "", []string{"vip"}, 0, "vip 1.0.0 is removed\n", "", "other", "enable = [\n  \"relay\", # own\n]\n"},
		{"one that is not enabled", "", []string{"other"}, 0, "other 2.0.0 is removed\n", "", "vip", "\"vip\", # of a stranger"},
		{"both, one of them twice", "", []string{"vip", "other", "vip"}, 0, "other 2.0.0 is removed\nvip 1.0.0 is removed\n", "", "", "enable = [\n  \"relay\", # own\n]\n"},
		{"JSON", "", []string{"vip", "--json"}, 0, `{"id":"vip","version":"1.0.0","state":"removed"}` + "\n", "", "other", "# own\n]"},
		{"one that is bundled, too", "", []string{"spf"}, 0, "spf 3.0.0 is removed\nthe spf that comes with the program is not asked either; to have it, write it into `enable`\n", "", "other vip", "# of a stranger\n]"},
		{"one of two is not installed", "", []string{"other", "nobody"}, exitNoInput, "", "nobody is not installed; installed are other, vip", "other vip", "\"vip\""},
		{"a bundled one", "", []string{"relay"}, exitNoInput, "", "relay is not installed; it comes with the program, and is not asked when it is taken out of `enable` in ", "other vip", "\"relay\""},
		{"one of the folder", "", []string{"mine"}, exitNoInput, "", "mine is not installed; it lies in plugins, and goes when it is deleted there", "other vip", ""},
		{"settings are there", "[plugin.vip]\n", []string{"vip"}, exitConfig, "", `there is no plugin "vip" that these settings are for`, "other vip", "\"vip\", # of a stranger"},
		{"a second name is there", "[run.second]\nplugin = \"vip\"\n", []string{"vip"}, exitConfig, "", `run.second.plugin: there is no plugin "vip"`, "other vip", "\"vip\", # of a stranger"},
		{"nothing", "", nil, exitUsage, "", "requires at least 1 arg", "other vip", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, minimal+plugins+c.more)
			s.write("plugins/mine.lua", "plugin { id = \"mine\", version = \"1.0.0\", api = 0 }\nfunction on.rcpt(r) end\n")
			lockIn(t, s.dir, lock.Unsigned, installedPlugin(t, "vip", "1.0.0"), installedPlugin(t, "other", "2.0.0"))
			if c.args != nil && c.args[0] == "spf" {
				lockIn(t, s.dir, lock.Unsigned, installedPlugin(t, "spf", "3.0.0"))
				s.swap("stagepost.toml", "  \"vip\"", "  \"spf\",\n  \"vip\"")
			}
			before := s.read("plugins.lock") + s.read("stagepost.toml")
			r := s.run(append([]string{"plugin", "remove"}, c.args...)...)
			if r.code != c.code || r.out != c.out || !strings.Contains(r.err, c.err) {
				t.Errorf("%+v", r)
			}
			l, err := lock.Read(filepath.Join(s.dir, lock.Name))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(l.IDs(), " "); got != c.locked || !strings.Contains(s.read("stagepost.toml"), c.enable) {
				t.Errorf("%q is locked; %s", got, s.read("stagepost.toml"))
			}
			if after := s.read("plugins.lock") + s.read("stagepost.toml"); c.code != 0 && after != before {
				t.Errorf("it is not as it was:\n%s", after)
			}
			for _, p := range l.Plugins {
				if _, err := p.Files(filepath.Join(s.dir, "data")); err != nil {
					t.Error(err)
				}
			}
			if left, _, err := l.Strangers(filepath.Join(s.dir, "data")); left != nil || err != nil {
				t.Errorf("%q is left, %v", left, err)
			}
			if r := s.run("check"); r.code != 0 {
				t.Errorf("afterwards: %+v", r)
			}
		})
	}
}

// TestPluginRemoveNot: what keeps a change from being made is told by its exit code, and all stays.
func TestPluginRemoveNot(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(s *site)
		code  int
		err   string
	}{
		{"a record with a mistake", func(s *site) { s.write("plugins.lock", "[plugin.vip]\nversion = 1\n") }, exitConfig, "plugins.lock:"},
		{"a folder where the record is written", func(s *site) {
			if err := os.Remove(filepath.Join(s.dir, "plugins.lock")); err != nil {
				s.t.Fatal(err)
			}
			s.write("plugins.lock/x", "")
		}, exitData, "is not a regular file but a folder"},
		{"a file where the code lies", func(s *site) {
			if err := os.RemoveAll(filepath.Join(s.dir, "data/plugins")); err != nil {
				s.t.Fatal(err)
			}
			s.write("data/plugins", "")
		}, exitIO, "not a directory"},
		{"a folder where the configuration is written", func(s *site) { s.write(".stagepost.toml.unfinished/x", "") }, exitTemporary, ".stagepost.toml.unfinished exists"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, minimal+"[plugins]\nenable = [\"vip\"]\n")
			lockIn(t, s.dir, lock.Unsigned, installedPlugin(t, "vip", "1.0.0"))
			c.spoil(s)
			before := s.read("stagepost.toml")
			if r := s.run("plugin", "remove", "vip"); r.code != c.code || !strings.Contains(r.err, c.err) || r.out != "" {
				t.Errorf("%+v, want %d", r, c.code)
			}
			if s.read("stagepost.toml") != before {
				t.Error(s.read("stagepost.toml"))
			}
		})
	}
}

// Mail flows while a plugin is installed, gets newer versions, and is removed: each change is what the next message meets, whatever
// happens at once with others; and all that was taken arrives, once.
func TestInstalledWhileMailFlows(t *testing.T) {
	remote := remotetest.New(t)
	s := newSite(t, minimal+"[plugins]\nenable = [\"relay\", \"route\"]\n[plugin.relay]\nnetworks = [\"127.0.0.0/8\"]\n[plugin.route]\ndefault = \""+remote.Listen()+"\"\n")
	d, err := startDaemon(t.Context(), s.config, daemonOptions{log: slog.New(slog.DiscardHandler), console: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	version := func(n int) *catalog.Package {
		code := fmt.Sprintf("plugin { id = \"mark\", version = \"1.0.%d\", api = 0, needs = { edit = { \"headers\" } } }\nfunction on.data(m) m:add_header(\"X-Mark\", \"%d\") end\n", n, n)
		p, err := catalog.Pack("mark", map[string][]byte{"init.lua": []byte(code)})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	address := d.bound.address("mx")
	var mu sync.Mutex
	taken := map[string]bool{}
	send := func(token string) {
		r, err := trySending(address, "", token+"@example.net", "Subject: "+token+"\n\nx\n")
		if err != nil || r.Code != 250 {
			t.Errorf("%s: %v %v", token, r, err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		taken[token] = true
	}
	stop := make(chan struct{})
	var group sync.WaitGroup
	for who := range 2 {
		group.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					send(fmt.Sprintf("flow-%d-%d", who, i))
				}
			}
		})
	}
	const versions = 4
	for n := range versions {
		lockIn(t, s.dir, lock.Unsigned, version(n))
		if n == 0 {
			s.swap("stagepost.toml", `"route"]`, `"route", "mark"]`)
		}
		if c := d.plugins.Reload(t.Context()); c.Err != nil {
			t.Fatal(c.Err)
		}
		send(fmt.Sprintf("after-%d", n))
	}
	r := s.run("plugin", "remove", "mark")
	if want := fmt.Sprintf("mark 1.0.%d is removed; generation %d is live without it\n", versions-1, d.plugins.Status().Generation); r.code != 0 || r.out != want {
		t.Errorf("%+v, want %s", r, want)
	}
	send("after-all")
	close(stop)
	group.Wait()
	within(t, "everything is delivered", func() bool { return d.store.Health().Depth == 0 })
	if err := d.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	came, marks := map[string]int{}, map[string]string{}
	for _, m := range remote.Messages() {
		head, _, _ := strings.Cut(string(m.Content), "\r\n\r\n")
		field := func(name string) string {
			_, rest, _ := strings.Cut("\r\n"+head, "\r\n"+name+": ")
			value, _, _ := strings.Cut(rest, "\r\n")
			return value
		}
		came[field("Subject")]++
		marks[field("Subject")] = field("X-Mark")
	}
	for token := range taken {
		if came[token] != 1 {
			t.Errorf("%s came %d times", token, came[token])
		}
	}
	for n := range versions {
		if got := marks[fmt.Sprintf("after-%d", n)]; got != fmt.Sprint(n) {
			t.Errorf("what was sent when version %d was live met %q", n, got)
		}
	}
	if got := marks["after-all"]; got != "" {
		t.Errorf("what was sent when it was removed met %q", got)
	}
}
