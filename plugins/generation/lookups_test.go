package generation

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	users = base + "\n[lookup.users]\ntype = \"file\"\nfile = \"users.txt\"\n"
	// asks says what the lookup and the setting hold for the recipient.
	asks = `plugin { id = "vip", version = "1.0.0", needs = { lookup = { "users" } }, config = { boxes = { type = "map", default = {} } } }
function on.rcpt(r)
  local to = r.address.text
  return reject(tostring(lookup("users", to)) .. " " .. tostring(lookup("config.boxes", to)) .. " " .. tostring(config.boxes[to]))
end
`
)

func lookups(s *site) {
	s.write("stagepost.toml", users)
	s.write("users.txt", "u@example.org one\n")
	s.write("plugins/vip.lua", asks)
}

func TestLookups(t *testing.T) {
	s := newSite(t)
	lookups(s)
	s.mustOpen()
	is := func(want string) {
		t.Helper()
		if got := s.says(); got != want {
			t.Errorf("it says %q, want %q; console %s", got, want, s.console.String())
		}
	}
	is("one nil nil")
	plugin, table := s.m.state.Load().loaded[0], s.m.state.Load().tables["users"]
	if ch := s.reload(); ch.Changed || ch.Err != nil {
		t.Errorf("nothing changed: %+v", ch)
	}

	s.write("users.txt", "u@example.org two\n")
	if ch := s.reload(); !ch.Changed || ch.Err != nil || !strings.Contains(s.console.String(), "generation 2 is live: lookup users (") {
		t.Errorf("%+v, console %q", ch, s.console.String())
	}
	is("two nil nil")
	if st := s.m.state.Load(); st.loaded[0] != plugin || st.tables["users"] == table {
		t.Error("the plugin was loaded again, or the table was not")
	}

	for _, bad := range []struct{ file, text, want string }{
		{"users.txt", "u@example.org three\n broken\n", "users.txt:2: the line begins with white space"},
		{"users.txt", "", "stagepost.toml:12: lookup.users.file: users.txt cannot be read: no such file"},
	} {
		if s.remove(bad.file); bad.text != "" {
			s.write(bad.file, bad.text)
		}
		ch := s.reload()
		if ch.Err == nil || !strings.Contains(ch.Err.Error(), bad.want) || s.m.Status().Error != ch.Err.Error() || !strings.HasSuffix(s.console.String(), "; generation 2 stays\n") {
			t.Errorf("%+v, console %q; want %q", ch, s.console.String(), bad.want)
		}
		is("two nil nil")
		before := s.console.String()
		if s.reload(); s.console.String() != before {
			t.Errorf("it is told twice: %q", s.console.String())
		}
	}
	s.write("users.txt", "u@example.org two\n")
	if ch := s.reload(); ch.Changed || ch.Err != nil || s.m.Status().Error != "" {
		t.Errorf("taken back: %+v", ch)
	}

	s.write("stagepost.toml", users+"[plugin.vip]\nboxes = \"lookup:userz\"\n")
	if ch := s.reload(); ch.Err == nil || !strings.Contains(ch.Err.Error(), `stagepost.toml:14: plugin.vip.boxes: there is no [lookup.userz]; did you mean "users"?`) {
		t.Errorf("%+v", ch)
	}
	s.write("stagepost.toml", users+"[plugin.vip]\nboxes = \"lookup:users\"\n")
	s.reload()
	is("two two two")
	shared := s.m.state.Load().loaded[0]
	s.write("stagepost.toml", base+"[plugin.vip]\nboxes = \"lookup:users\"\n") // the plugin is as it was
	if ch := s.reload(); ch.Err == nil || !strings.Contains(ch.Err.Error(), "there is no [lookup.users]") || shared.refs.Load() != 1 {
		t.Errorf("%+v, and %d generations have the plugin", ch, shared.refs.Load())
	}
	s.write("stagepost.toml", users+"[plugin.vip]\nboxes = { \"U@example.org\" = \"x\", \"u@example.org\" = \"y\" }\n")
	s.reload()
	is("two y y")
	s.write("plugins/vip.lua", strings.Replace(asks, "function on", "for k in pairs(config.boxes) do end\nfunction on", 1))
	s.write("stagepost.toml", users+"[plugin.vip]\nboxes = \"lookup:users\"\n")
	if ch := s.reload(); ch.Err == nil || !strings.Contains(ch.Err.Error(), "plugins/vip.lua:2: ") || !strings.Contains(ch.Err.Error(), "(boxes is a lookup, and") {
		t.Errorf("%+v", ch)
	}
	s.write("plugins/vip.lua", asks)
	s.write("stagepost.toml", base)
	if ch := s.reload(); ch.Err != nil || !strings.Contains(s.console.String(), "-lookup users") {
		t.Errorf("%+v, console %q", ch, s.console.String())
	}
}

// TestLookupAtStart: without its file there is no server.
func TestLookupAtStart(t *testing.T) {
	s := newSite(t)
	lookups(s)
	s.remove("users.txt")
	if err := s.open(); err == nil || !strings.Contains(err.Error(), "stagepost.toml:12: lookup.users.file: users.txt cannot be read: ") {
		t.Errorf("%v", err)
	}
	s.write("users.txt", "a\na\n")
	if err := s.open(); err == nil || !strings.Contains(err.Error(), "users.txt:2: the key") {
		t.Errorf("%v", err)
	}
}

// TestLookupWatched: the file of a lookup is watched where it lies, and where a link to it leads.
func TestLookupWatched(t *testing.T) {
	s := watched(t, func(s *site) {
		lookups(s)
		s.remove("users.txt")
		s.write("far/away/users.1", "u@example.org one\n")
		s.write("far/away/users.2", "u@example.org two\n")
		if err := os.Symlink(filepath.Join("far", "away", "users.1"), filepath.Join(s.dir, "users.txt")); err != nil {
			t.Skip("left out: links cannot be made: ", err)
		}
	})
	s.until("one nil nil")
	s.write("far/away/users.1", "u@example.org three\n")
	s.until("three nil nil")
	s.remove("users.txt")
	if err := os.Symlink(filepath.Join("far", "away", "users.2"), filepath.Join(s.dir, "users.txt")); err != nil {
		t.Fatal(err)
	}
	s.until("two nil nil")
}
