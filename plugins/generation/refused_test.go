package generation

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/config"
)

// mistake is a change that must be refused.
type mistake struct {
	name  string // with a number, if it stands in the list of ways that a reload goes wrong, which ends at Z15
	spoil func(*site)
	want  string
}

// refused makes each mistake while a generation is in force, and mends it again.
func refused(t *testing.T, mistakes []mistake) {
	for _, c := range mistakes {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			s.write("plugins/vip.lua", code("vip", "one"))
			s.mustOpen()
			var log syncBuffer
			s.m.opts.Log = slog.New(slog.NewTextHandler(&log, nil))
			c.spoil(s)
			ch := s.reload()
			if ch.Err == nil || !strings.Contains(ch.Err.Error(), c.want) {
				t.Fatalf("the reload came to %v, want %q", ch.Err, c.want)
			}
			if strings.Count(ch.Err.Error(), "vip.lua: ") > 1 || strings.Contains(ch.Err.Error(), s.dir+"/plugins") {
				t.Errorf("the place is told twice, or with a path that nobody wrote: %v", ch.Err)
			}
			if got := s.says(); got != "one" || s.m.Current().Number() != 1 {
				t.Errorf("generation %d says %q", s.m.Current().Number(), got)
			}
			if out := s.console.String(); !strings.Contains(out, c.want) || !strings.HasSuffix(out, "; generation 1 stays\n") {
				t.Errorf("the console has %q", out)
			}
			if out := log.String(); strings.Count(out, "\n") != 1 || !strings.Contains(out, "the change was refused") || !strings.Contains(out, "generation=1") {
				t.Errorf("the log has %q", out)
			}
			if st := s.m.Status(); !strings.Contains(st.Error, c.want) {
				t.Errorf("status says %q", st.Error)
			}
			before := s.console.String()
			if again := s.reload(); again.Err == nil || s.console.String() != before {
				t.Errorf("the same mistake again: %v, told twice: %v", again.Err, s.console.String() != before)
			}
			// Taken back, it leaves no generation behind.
			s.prepare = nil
			s.remove("plugins")
			s.remove("stagepost.toml")
			s.write("stagepost.toml", base)
			s.write("plugins/vip.lua", code("vip", "one"))
			if ch := s.reload(); ch.Err != nil || ch.Changed || ch.Number != 1 || s.m.Status().Error != "" || !strings.Contains(s.console.String(), "taken back; generation 1 is in force") {
				t.Errorf("taken back: %+v, status %q, console %q", ch, s.m.Status().Error, s.console.String())
			}
			// And it can be mended, also right after it was made again.
			c.spoil(s)
			s.reload()
			s.prepare = nil
			s.remove("plugins")
			s.remove("stagepost.toml")
			s.write("stagepost.toml", base)
			s.write("plugins/vip.lua", code("vip", "mended"))
			if ch := s.reload(); ch.Err != nil || s.says() != "mended" || s.m.Status().Error != "" {
				t.Errorf("after mending: %v, says %q, status %q", ch.Err, s.says(), s.m.Status().Error)
			}
		})
	}
}

// reload reloads, and fails the test if that hangs.
func (s *site) reload() (c Change) {
	s.t.Helper()
	done := make(chan Change, 1)
	go func() { done <- s.m.Reload(s.t.Context()) }()
	select {
	case c = <-done:
	case <-time.After(time.Minute):
		s.t.Fatal("the reload hangs")
	}
	return c
}

// truncate makes a file of any size that takes no space.
func (s *site) truncate(name string, size int64) {
	s.t.Helper()
	if err := os.Truncate(filepath.Join(s.dir, name), size); err != nil {
		s.t.Skip("left out: a file cannot have holes here: ", err)
	}
}

// link puts a link in the place of what is there, in one step.
func (s *site) link(to, name string) {
	s.t.Helper()
	full := filepath.Join(s.dir, name)
	if err := os.Symlink(to, full+".tmp~"); err != nil {
		s.t.Skip("left out: no symbolic links here: ", err)
	}
	if err := os.Rename(full+".tmp~", full); err != nil {
		s.t.Fatal(err)
	}
}

func TestAMistakeChangesNothing(t *testing.T) {
	add := func(text string) func(*site) {
		return func(s *site) { s.write("plugins/vip.lua", code("vip", "x")+text) }
	}
	conf := func(text string) func(*site) { return func(s *site) { s.write("stagepost.toml", base+text) } }
	refused(t, []mistake{
		{"Z1 syntax error", add("\nfunction broken(\n"), "plugins/vip.lua:"},
		{"Z1 syntax error in a module", func(s *site) {
			s.remove("plugins/vip.lua")
			s.write("plugins/vip/init.lua", code("vip", "x")+"local x = require 'lib/x'\n")
			s.write("plugins/vip/lib/x.lua", "return 1\nfunction (")
		}, "plugins/vip/lib/x.lua:2: "},
		{"Z2 error in the main chunk", add("error('no')\n"), "plugins/vip.lua:3: no"},
		{"Z2 nil in the main chunk", add("local t = {}\nlocal n = t.a.b\n"), "plugins/vip.lua:4: "},
		{"Z3 the main chunk never ends", add("while true do end\n"), "plugins/vip.lua:3: ran out of"},
		{"Z3 nor under pcall", add("while true do pcall(function() while true do end end) end\n"), "plugins/vip.lua:3: ran out of"},
		{"Z3 nor in a coroutine", add("coroutine.wrap(function() while true do end end)()\n"), "plugins/vip.lua:3: ran out of"},
		{"Z4 nothing written yet", func(s *site) { s.write("plugins/vip.lua", "") }, "plugins/vip.lua:1: the file does not begin with plugin"},
		{"Z4 half of it written", func(s *site) {
			whole := code("vip", "x")
			s.write("plugins/vip.lua", whole[:len(whole)-8])
		}, "plugins/vip.lua:2: "},
		{"Z6 a link that leads nowhere", func(s *site) { s.link("../gone/vip.lua", "plugins/vip.lua") }, "plugins/vip.lua: the link leads nowhere: there is no ../gone/vip.lua"},
		{"Z8 the folder is gone", func(s *site) { s.remove("plugins") }, "stagepost.toml:8: plugins.folder: there is no folder plugins, and plugins from it are in force"},
		{"Z8 another folder that is not there", otherFolder("plugs"), "stagepost.toml:8: plugins.folder: there is no folder plugs"},
		{"Z8 the folder became a file", func(s *site) { s.remove("plugins"); s.write("plugins", "x") }, "plugins: the plugin folder cannot be read: not a directory"},
		{"Z11 more than it asks for", add("function on.data(m) m:add_header('X-A', 'b') end\n"), "plugins/vip.lua:3: add_header is not granted"},
		{"Z12 10 GB", func(s *site) { s.truncate("plugins/vip.lua", 10<<30) }, "plugins/vip.lua: is larger than 1048576 bytes"},
		{"Z12 10 GB of configuration", func(s *site) { s.truncate("stagepost.toml", 10<<30) }, "stagepost.toml:1: the file is larger than"},
		{"Z12 a folder", func(s *site) { s.remove("plugins/vip.lua"); s.mkdir("plugins/vip.lua") }, "plugins/vip.lua: is a folder"},
		{"Z12 a folder with a plugin", func(s *site) {
			s.remove("plugins/vip.lua")
			s.write("plugins/vip.lua/init.lua", code("vip", "x"))
		}, "plugins/vip.lua: is a folder; a plugin that is a folder has no .lua in its name"},
		{"Z12 a folder of configuration", func(s *site) { s.remove("stagepost.toml"); s.mkdir("stagepost.toml") }, "stagepost.toml is not a regular file but a folder"},
		{"the configuration is gone", func(s *site) { s.remove("stagepost.toml") }, "cannot read the configuration: "},
		{"a folder without init.lua", func(s *site) {
			s.remove("plugins/vip.lua")
			s.write("plugins/vip/vip.lua", code("vip", "x"))
		}, "plugins/vip: there is no init.lua in it"},
		{"a circle of links", func(s *site) {
			s.mkdir("plugins/round")
			for i := range 8 {
				s.link(".", fmt.Sprintf("plugins/round/l%d", i))
			}
		}, "plugins/round: "},
		{"other id", func(s *site) { s.write("plugins/vip.lua", code("wip", "x")) }, `plugins/vip.lua:1: the plugin calls itself "wip"`},
		{"unknown stage", add("function on.recpt(r) end\n"), `plugins/vip.lua:3: unknown stage "recpt"`},
		{"hook without code", func(s *site) {
			s.write("plugins/vip.lua", "plugin { id = \"vip\", version = \"1.0.0\", api = 0, description = \"x\",\n hook = { mail = { order = 1 } } }\nfunction on.rcpt(r) end\n")
		}, "plugins/vip.lua:2: hook.mail is declared, but the code has no on.mail"},
		{"two of one name", func(s *site) { s.write("plugins/vip/init.lua", code("vip", "x")) }, `the plugin "vip" is also`},
		{"settings", conf("[plugin.vip]\nwait = 5\n"), "stagepost.toml:10:"},
		{"settings for nobody", conf("[plugin.vipp]\nwait = 5\n"), `there is no plugin "vipp" that these settings are for; did you mean "vip"?`},
		{"unknown bundled", conf("enable = [\"relai\"]\n"), `there is no plugin "relai"; did you mean "relay"?`},
		{"unknown key", conf("enabel = []\n"), "stagepost.toml:9:"},
		{"run of nobody", conf("[run.two]\nplugin = \"vipp\"\n"), `there is no plugin "vipp"; did you mean "vip"?`},
		{"run under the name of another", conf("[run.vip]\nplugin = \"domains\"\n"), "stagepost.toml:9: run.vip: plugins/vip.lua is a plugin of that name; take another name for the second domains"},
		{"other data folder", func(s *site) { s.write("stagepost.toml", strings.Replace(base, `"data"`, `"other"`, 1)) }, "the data folder cannot change"},
		{"order in a circle", func(s *site) {
			s.write("plugins/a.lua", "plugin { id = \"a\", version = \"1.0.0\", api = 0, description = \"x\", hook = { rcpt = { after = {\"b\"} } } }\nfunction on.rcpt(r) end\n")
			s.write("plugins/b.lua", "plugin { id = \"b\", version = \"1.0.0\", api = 0, description = \"x\", hook = { rcpt = { after = {\"a\"} } } }\nfunction on.rcpt(r) end\n")
		}, "goes in a circle"},
		{"a listener that cannot be opened", func(s *site) {
			s.prepare = func(_, next *config.Config) (func(), func(), error) {
				return nil, func() {}, errors.New("stagepost.toml:4: busy")
			}
			s.write("stagepost.toml", base+"enable = []\n")
		}, "stagepost.toml:4: busy"},
	})
}

func otherFolder(name string) func(*site) {
	return func(s *site) {
		s.write("stagepost.toml", strings.Replace(base, `folder = "plugins"`, fmt.Sprintf("folder = %q", name), 1))
	}
}

func (s *site) mkdir(name string) {
	s.t.Helper()
	if err := os.Mkdir(filepath.Join(s.dir, name), 0o755); err != nil {
		s.t.Fatal(err)
	}
}

// TestNoPluginsAtAll: taking the plugins out one by one, or the key, is a wish.
func TestNoPluginsAtAll(t *testing.T) {
	s := newSite(t)
	s.write("plugins/vip.lua", code("vip", "one"))
	s.mustOpen()
	s.write("stagepost.toml", strings.Replace(base, "folder = \"plugins\"\n", "", 1))
	if c := s.reload(); c.Err != nil || s.says() != "" {
		t.Errorf("without the key: %v, it says %q", c.Err, s.says())
	}
	s.write("stagepost.toml", base)
	s.reload()
	s.write("plugins/notes/README.md", "a folder of something else")
	s.remove("plugins/vip.lua")
	if c := s.reload(); c.Err != nil || s.says() != "" {
		t.Errorf("an empty folder: %v, it says %q", c.Err, s.says())
	}
	s.remove("plugins")
	if c := s.reload(); c.Err != nil || c.Changed {
		t.Errorf("no folder, which holds no plugins either: %+v", c)
	}
}

// TestMoreIsTold: a new version that may do more says so on the console (Z11).
func TestMoreIsTold(t *testing.T) {
	s := newSite(t)
	s.write("plugins/vip.lua", code("vip", "one"))
	s.mustOpen()
	s.write("plugins/vip.lua", "plugin { id = \"vip\", needs = { relay = true, edit = { \"headers\" } } }\nfunction on.rcpt(r) end\n")
	s.reload()
	if out := s.console.String(); !strings.Contains(out, "generation 2 is live: vip (now also: edit headers, relay) (") {
		t.Errorf("the console has %q", out)
	}
}

// TestDistrusted: a plugin of a folder that is not trusted loads when the operator decided about all that it asks for, and may do
// what both say (Z11).
func TestDistrusted(t *testing.T) {
	s := newSite(t)
	distrust := strings.Replace(base, "[plugins]", "[plugins]\ntrust_folder = false\nenable = [\"relay\"]", 1)
	s.write("stagepost.toml", distrust)
	s.write("plugins/vip.lua", code("vip", "one"))
	s.mustOpen()
	asks := "plugin { id = \"vip\", needs = { relay = true, kv = \"own\", edit = { \"headers\" } } }\nfunction on.rcpt(r)\n  kv.get(\"x\")\n  return accept \"relay\"\nend\n"
	s.write("plugins/vip.lua", asks)
	c := s.reload()
	want := "plugins/vip.lua:1: nobody granted what the plugin asks for (kv own, edit headers, relay); to grant it, write\n[run.vip]\n"
	if c.Err == nil || !strings.HasPrefix(c.Err.Error(), want) {
		t.Fatalf("the error is %v", c.Err)
	}
	if s.says() != "one" {
		t.Error("the old generation does not stay")
	}
	_, lines, _ := strings.Cut(c.Err.Error(), "write\n")
	s.write("stagepost.toml", distrust+lines+"\n")
	if c := s.reload(); c.Err != nil {
		t.Fatalf("with the lines that it told: %v", c.Err)
	}
	if got := s.says(); got != "relay" {
		t.Errorf("with all granted it answers %q", got)
	}
	s.write("stagepost.toml", distrust+strings.Replace(lines, `kv = "own"`, "kv = false", 1)+"\n")
	if c := s.reload(); c.Err != nil {
		t.Fatal(c.Err)
	}
	if got := s.says(); got != "a policy check failed, try again later" {
		t.Errorf("without kv it answers %q", got)
	}
	if p := s.m.Status().Plugins; len(p) != 2 || strings.Join(p[1].Withheld, " ") != "kv own" || strings.Join(p[1].Granted, ", ") != "edit headers, relay" {
		t.Errorf("the status is %+v", p)
	}
	s.write("stagepost.toml", distrust+"[run.vip]\ngrant = { kvv = true }\n")
	if c := s.reload(); c.Err == nil || !strings.HasPrefix(c.Err.Error(), s.dir+"/stagepost.toml:12: unknown capability \"kvv\" in run.vip.grant; did you mean \"kv\"?") {
		t.Errorf("the error is %v", c.Err)
	}
}

// TestSlowestLoad (Z15): what takes longest to compile and to run at load is bounded.
func TestSlowestLoad(t *testing.T) {
	s := newSite(t)
	s.write("plugins/vip.lua", code("vip", "one"))
	s.mustOpen()
	var functions strings.Builder
	for i := range 1_900 { // much to check and compile
		fmt.Fprintf(&functions, "do local function f()\n  local a, b = %d, {x = %d, 'text', 1.5}\n  return a + b.x * 2 .. 'x'\nend\nf() end\n", i, i)
	}
	functions.WriteString("local n = 0\nwhile n >= 0 do n = n + 1 end\n") // and to run
	s.write("plugins/slow.lua", code("slow", "x")+functions.String())
	done := make(chan Change, 1)
	began := time.Now()
	go func() { done <- s.m.Reload(t.Context()) }()
	asked := 0
	for {
		select {
		case c := <-done:
			t.Logf("%d calls were answered in the %s that it took to come to: %v", asked, time.Since(began).Round(time.Millisecond), c.Err)
			if c.Err == nil || !strings.Contains(c.Err.Error(), "ran out of instructions") {
				t.Errorf("it came to %v", c.Err)
			}
			return
		case <-time.After(0):
			if got := s.says(); got != "one" {
				t.Fatalf("meanwhile it says %q", got)
			}
			asked++
		}
		if time.Since(began) > time.Minute {
			t.Fatal("the load has no bound")
		}
	}
}

// TestNobodyWaitsForAReload: calls and status are answered while a reload is under way.
func TestNobodyWaitsForAReload(t *testing.T) {
	s := newSite(t)
	s.write("plugins/vip.lua", code("vip", "one"))
	s.mustOpen()
	begun, end := make(chan struct{}), make(chan struct{})
	s.prepare = func(_, _ *config.Config) (func(), func(), error) {
		close(begun)
		<-end
		return func() {}, func() {}, nil
	}
	s.write("plugins/vip.lua", code("vip", "two"))
	done := make(chan Change, 1)
	go func() { done <- s.m.Reload(t.Context()) }()
	<-begun
	if got := s.says(); got != "one" || s.m.Status().Generation != 1 || s.m.Config() == nil {
		t.Errorf("meanwhile it says %q, status %+v", got, s.m.Status())
	}
	close(end)
	if c := <-done; c.Err != nil || s.says() != "two" {
		t.Errorf("%+v, it says %q", c, s.says())
	}
}
