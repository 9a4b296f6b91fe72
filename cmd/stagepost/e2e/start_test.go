package e2e

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// TestStartRefuses starts with mistakes in the files: check and serve say the same, with the place and the nearest name.
func TestStartRefuses(t *testing.T) {
	config := relayConfig("127.0.0.1:9")
	edit := func(from, to string) func(*site) {
		return func(s *site) {
			if !strings.Contains(config, from) {
				t.Fatalf("the configuration has no %q", from)
			}
			s.write("stagepost.toml", strings.Replace(config, from, to, 1))
		}
	}
	plugin := func(text string) func(*site) {
		return func(s *site) { s.write("plugins/hello.lua", text) }
	}
	header := func(rest string) string { return `plugin { id = "hello", version = "1.0.0"` + rest + " }\n" }
	for _, tt := range []struct {
		name  string
		wrong func(*site)
		want  []string
	}{
		{"unknown key", edit("hostname", "hostnam"), []string{"stagepost.toml:1: hostnam: unknown key", "did you mean hostname?"}},
		{"unknown key in a table", edit("retry", "rety"), []string{"stagepost.toml:10: queue.rety: unknown key", "did you mean retry?"}},
		{"unknown role", edit(`role = "mx"`, `role = "mix"`), []string{"stagepost.toml:7: listener.role: ", `did you mean "mx"?`}},
		{"not TOML", edit("[queue]", "[queue"), []string{"stagepost.toml:9: this is not valid TOML"}},
		{"unknown plugin", edit(`"route"]`, `"rout"]`), []string{"stagepost.toml:14: plugins.enable: ", `did you mean "route"?`}},
		{"unknown setting of a plugin", edit("networks", "network"), []string{"stagepost.toml:17: ", `"network"`, `did you mean "networks"?`}},
		{"setting that the plugin refuses", edit("127.0.0.0/8", "127.0.0.0/80"), []string{"stagepost.toml:17: plugin.relay.networks: ", "127.0.0.0/80"}},
		{"unknown stage", plugin(broken()), []string{`plugins/hello.lua:3: unknown stage "dta"`, `did you mean "data"?`}},
		{"unknown stage in the header", plugin(header(", hook = { rctp = { order = 1 } }")), []string{`plugins/hello.lua:1: unknown stage "rctp"`, `did you mean "rcpt"?`}},
		{"unknown verdict", plugin(header("") + "\nfunction on.rcpt(r)\n  return rejct \"no\"\nend\n"), []string{`plugins/hello.lua:4: unknown global "rejct"`, `did you mean "reject"?`}},
		{"unknown field of an object", plugin(header("") + "function on.rcpt(r) return reject(r.adress.text) end\n"), []string{`plugins/hello.lua:2: rcpt has no field "adress"`, `did you mean "address"?`}},
		{"capability not asked for", plugin(header("") + "function on.data(m) m:add_header('X-A', '1') end\n"), []string{"plugins/hello.lua:2: ", "add_header is not granted", `edit = {"headers"}`}},
		{"unknown field of the header", plugin(header(`, descripton = "x"`)), []string{`plugins/hello.lua:1: unknown key "descripton"`, `did you mean "description"?`}},
		{"unknown capability", plugin(header(", needs = { edti = { \"headers\" } }")), []string{`plugins/hello.lua:1: unknown capability "edti"`, `did you mean "edit"?`}},
		{"unknown part of a capability", plugin(header(", needs = { edit = { \"heders\" } }")), []string{`plugins/hello.lua:1: `, `"heders"`, `did you mean "headers"?`}},
		{"not Lua", plugin(header("") + "functio on.rcpt(r) end\n"), []string{"plugins/hello.lua:2: "}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, config)
			tt.wrong(s)
			for _, command := range []string{"check", "serve"} {
				r := s.run(command)
				if r.code != exitConfig || r.out != "" {
					t.Errorf("%s: exit code %d, want %d, and on standard output %q", command, r.code, exitConfig, r.out)
				}
				for _, want := range tt.want {
					if !strings.Contains(r.err, want) {
						t.Errorf("%s says %q, want %q in it", command, r.err, want)
					}
				}
			}
		})
	}
}

// TestUnknownFieldAtWork: a field of an object that does not exist is found when the plugin asks for it. The message waits with
// the client, and the record says where.
func TestUnknownFieldAtWork(t *testing.T) {
	r := newRig(t, func(s *site) {
		s.write("plugins/hello.lua", "plugin { id = \"hello\", version = \"1.0.0\" }\n\nlocal function special(r)\n  return r.adress.mailbox == \"x\"\nend\n\nfunction on.rcpt(r)\n  if special(r) then return end\nend\n")
	})
	c := dial(t, r.entry)
	c.want(t, "MAIL FROM:<a@client.example>", "250 ")
	c.want(t, "RCPT TO:<u@example.net>", "451 4.3.0 ")
	c.want(t, "QUIT", "221 ")
	trace := r.want(0, "trace", r.logged("rejected"))
	for _, want := range []string{"plugins/hello.lua:4: ", `"adress"`, `did you mean "address"?`} {
		if !strings.Contains(trace, want) {
			t.Errorf("the trace lacks %q:\n%s", want, trace)
		}
	}
	r.end()
}

// TestNotRelayed: what no plugin accepts is refused, and the record says what would accept it.
func TestNotRelayed(t *testing.T) {
	s := newSite(t, strings.Replace(relayConfig("127.0.0.1:9"), "127.0.0.0/8", "192.0.2.0/24", 1))
	sv := s.start()
	c := dial(t, sv.address("mx"))
	c.want(t, "MAIL FROM:<a@client.example>", "250 ")
	if reply := c.want(t, "RCPT TO:<u@example.net>", "550 5.7.1 "); reply != "550 5.7.1 relay not permitted" {
		t.Errorf("reply %q", reply)
	}
	c.want(t, "DATA", "554 ")
	c.want(t, "QUIT", "221 ")
	id := sv.logged("rejected")
	const why = "no plugin accepted <u@example.net>; `domains` or `relay` would"
	if trace := s.want(0, "trace", id); !strings.Contains(trace, why) {
		t.Errorf("the trace lacks %q:\n%s", why, trace)
	}
	found := slices.ContainsFunc(objects[step](s, "trace", id), func(st step) bool {
		return st.Stage == "rcpt" && st.Plugin == "" && strings.HasPrefix(st.Verdict, "reject") && st.Detail == why
	})
	if !found {
		t.Errorf("no step of the core says so: %+v", objects[step](s, "trace", id))
	}
	r := s.run("send", "--from", "a@client.example", "--to", "u@example.net")
	if r.code != exitUnavailable || !strings.Contains(r.err, "550 5.7.1 relay not permitted") {
		t.Errorf("send: exit code %d, %s%s", r.code, r.out, r.err)
	}
	s.empty()
	sv.stop()
}

// TestBusyPort starts where another program listens.
func TestBusyPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := newSite(t, strings.Replace(relayConfig("127.0.0.1:9"), "127.0.0.1:0", l.Addr().String(), 1))
	if out := s.want(exitUnavailable, "serve"); !strings.Contains(out, `the listener "mx" cannot be opened at `+l.Addr().String()) {
		t.Errorf("serve says %q", out)
	}
	l.Close()
	s.start().stop() // what the failed start left behind is no obstacle
}

// TestDataFolder starts with data folders that cannot be used.
func TestDataFolder(t *testing.T) {
	config := relayConfig("127.0.0.1:9")
	refused := func(t *testing.T, s *site, code int, want string) {
		t.Helper()
		if out := s.want(code, "serve"); !strings.Contains(out, want) || !strings.Contains(out, "data folder data ") {
			t.Errorf("serve says %q, want the folder and %q", out, want)
		}
	}
	t.Run("in use", func(t *testing.T) {
		s := newSite(t, config)
		sv := s.start()
		refused(t, s, exitTemporary, "is in use by another stagepost")
		sv.alive()
		if st := s.status(); st.Generation != 1 {
			t.Errorf("status of the first: %+v", st)
		}
		sv.stop()
	})
	t.Run("a file", func(t *testing.T) {
		s := newSite(t, config)
		s.write("data", "not a folder")
		refused(t, s, exitCantCreate, "cannot be used")
		if text, err := os.ReadFile(s.path("data")); string(text) != "not a folder" {
			t.Errorf("the file now holds %q (%v)", text, err)
		}
	})
	t.Run("not writable", func(t *testing.T) {
		if os.Geteuid() == 0 {
			t.Skip("left out: for root every folder is writable")
		}
		s := newSite(t, config)
		if err := os.Mkdir(s.path("data"), 0o500); err != nil {
			t.Fatal(err)
		}
		refused(t, s, exitCantCreate, "permission denied")
	})
	t.Run("of a newer version", func(t *testing.T) {
		s := newSite(t, config)
		s.start().stop()
		version := newerFormat(t, s.path("data/store"))
		refused(t, s, exitData, "was written by a newer version")
		if again := readFormat(t, s.path("data/store")); again != version {
			t.Errorf("the record of the format was changed from %x to %x", version, again)
		}
	})
}

func openStore(t testing.TB, dir string) *pebble.DB {
	t.Helper()
	db, err := pebble.Open(dir, &pebble.Options{FormatMajorVersion: 24, Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

type quiet struct{ pebble.Logger }

func (quiet) Infof(string, ...any) {}

// newerFormat raises the number in the record of the store's format: a version byte, then a tag, then the number.
func newerFormat(t testing.TB, dir string) string {
	t.Helper()
	db := openStore(t, dir)
	defer db.Close()
	value, closer, err := db.Get([]byte("V"))
	if err != nil {
		t.Fatal(err)
	}
	changed := slices.Clone(value)
	closer.Close()
	changed[2]++
	if err := db.Set([]byte("V"), changed, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	return string(changed)
}

func readFormat(t testing.TB, dir string) string {
	t.Helper()
	db := openStore(t, dir)
	defer db.Close()
	value, closer, err := db.Get([]byte("V"))
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	return string(value)
}

// TestStrangeFiles starts with things in the data folder that do not belong there: they are told of and left alone.
func TestStrangeFiles(t *testing.T) {
	sink := newSink(t)
	s := newSite(t, relayConfig(sink.address))
	strange := map[string]string{
		"data/notes.txt":       "notes",
		"data/old/queue.db":    "an old queue",
		"data/body/junk":       "not a name of ours",
		"data/.hidden":         "hidden",
		"data/body/folder/one": "one",
	}
	for name, text := range strange {
		s.write(name, text)
	}
	for range 2 { // the second start finds them again
		sv := s.start()
		for _, name := range []string{"data/notes.txt", "data/old", "data/body/junk", "data/.hidden", "data/body/folder"} {
			sv.console.expect(t, 0, `{"time"`, "does not belong there and is left alone", `"file":"`+filepath.FromSlash(name)+`"`)
		}
		sv.stop()
	}
	sv := s.start()
	dial(t, sv.address("mx")).deliver(t, "u@example.net", "<strange@client.example>")
	s.empty()
	sink.exactly([]string{"<strange@client.example>"})
	sv.stop()
	for name, text := range strange {
		if got, err := os.ReadFile(s.path(name)); string(got) != text {
			t.Errorf("%s now holds %q (%v)", name, got, err)
		}
	}
	if err := filepath.WalkDir(s.path("data"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), ".control") {
			t.Errorf("%s is left over", path)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}
