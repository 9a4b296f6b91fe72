package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestReloadMistakes makes one mistake after the other in front of a running server, and takes each back. The numbers are those of
// the list of ways that a reload goes wrong, of which plugins/generation tests all without a server.
func TestReloadMistakes(t *testing.T) {
	r := newRig(t, nil)
	session := dial(t, r.entry) // stays open all the time
	whole := hello("one")
	text := func(text string) func() { return func() { r.write("plugins/hello.lua", text) } }
	for _, c := range []struct {
		name  string
		spoil func()
		want  string
	}{
		{"Z1 syntax error", text(whole + "function on.rcpt(r\n"), "plugins/hello.lua:6: syntax error at the end of the file"},
		{"Z2 error at load", text(whole + "error('out of order')\n"), "plugins/hello.lua:6: out of order"},
		{"Z3 a load that never ends", text(whole + "while true do end\n"), "plugins/hello.lua:6: ran out of instructions"},
		{"Z4 an empty file", text(""), "plugins/hello.lua:1: the file does not begin with plugin { id"},
		{"Z4 half a file", text(whole[:len(whole)-6]), "plugins/hello.lua:4: "},
		{"Z6 a link that leads nowhere", func() {
			r.remove("plugins/hello.lua")
			r.symlink("../none.lua", "plugins/hello.lua")
		}, "plugins/hello.lua: the link leads nowhere: there is no ../none.lua"},
		{"Z8 the folder is gone", func() { r.rename("plugins", "away") }, "stagepost.toml:13: plugins.folder: there is no folder plugins, and plugins from it are in force"},
		{"Z11 not granted", text(whole + "function on.rcpt(r) return accept 'relay' end\n"), `plugins/hello.lua:6: accept "relay" is not granted: ask with needs = { relay = true }`},
		{"Z12 10 GB", func() {
			if err := os.Truncate(r.path("plugins/hello.lua"), 10<<30); err != nil {
				t.Fatal(err)
			}
		}, "plugins/hello.lua: is larger than 1048576 bytes"},
		{"Z12 a folder", func() {
			r.remove("plugins/hello.lua")
			if err := os.Mkdir(r.path("plugins/hello.lua"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, "plugins/hello.lua: is a folder"},
		{"Z12 a device", func() {
			r.remove("plugins/hello.lua")
			r.symlink("/dev/zero", "plugins/hello.lua")
		}, "plugins/hello.lua: is not a regular file but a device"},
	} {
		mark := r.console.mark()
		c.spoil()
		r.refuses(mark, 1, c.want)
		line := r.console.expect(t, mark, `{"time"`, `"msg":"the change was refused"`)
		var event struct{ Error string }
		if err := json.Unmarshal([]byte(line), &event); err != nil || !strings.Contains(event.Error, c.want) {
			t.Errorf("%s: the log has %s", c.name, line)
		}
		r.expect("one")
		if got := r.saysTo(session); got != "one" {
			t.Errorf("%s: in a session from before, hello says %q", c.name, got)
		}
		mark = r.console.mark()
		if err := os.Rename(r.path("away"), r.path("plugins")); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if err := os.RemoveAll(r.path("plugins/hello.lua")); err != nil {
			t.Fatal(err)
		}
		r.replace("plugins/hello.lua", whole)
		r.console.expect(t, mark, "the change that was refused was taken back; generation 1 is in force")
		if st := r.status(); st.Generation != 1 || st.Error != "" {
			t.Errorf("%s, taken back: generation %d, error %q", c.name, st.Generation, st.Error)
		}
	}
	r.expect("one")
	r.end()
}

func (s *site) symlink(to, name string) {
	s.t.Helper()
	if err := os.Symlink(to, s.path(name)); err != nil {
		s.t.Fatal(err)
	}
}

// TestReloadDeleted (Z7): a transaction ends with the plugin that was there when it began, though its file is gone.
func TestReloadDeleted(t *testing.T) {
	r := newRig(t, nil)
	c := dial(t, r.entry)
	c.want(t, "MAIL FROM:<a@client.example>", "250 ")
	r.remove("plugins/hello.lua")
	line := r.console.expect(t, 0, "generation 2 is live")
	if !strings.HasPrefix(line, "generation 2 is live: -hello (") {
		t.Errorf("the console says %q", line)
	}
	c.want(t, "RCPT TO:<u@example.net>", "250 ")
	c.want(t, "DATA", "354 ")
	const id = "<deleted@client.example>"
	queued(t, c.want(t, letter(id)+".", "250 "))
	if got := field(r.sink.text(id), "X-Hello"); got != "one" {
		t.Errorf("the transaction from before: hello says %q, want one", got)
	}
	r.sent = append(r.sent, id)
	if got := r.saysTo(c); got != "" {
		t.Errorf("the next: hello says %q", got)
	}
	r.end()
}

// TestReloadTouched (Z9, Z13): only what is in a file counts. Touches make no generation, and a save among them is live at once,
// though it is as long as the old one and older.
func TestReloadTouched(t *testing.T) {
	r := newRig(t, nil)
	stop, touched := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for ; ; n++ {
			select {
			case <-tick.C:
			case <-stop:
				touched <- n
				return
			}
			os.Chtimes(r.path("plugins/hello.lua"), time.Time{}, time.Unix(int64(n), 0)) // back to 1970
		}
	}()
	for range 5 {
		r.expect("one")
		time.Sleep(200 * time.Millisecond)
	}
	if st := r.status(); st.Generation != 1 {
		t.Errorf("touches made generation %d", st.Generation)
	}
	began := time.Now()
	r.write("plugins/hello.lua", hello("two"))
	r.live(2)
	took := time.Since(began)
	r.expect("two")
	close(stop)
	t.Logf("%d touches; the save was live after %s", <-touched, took.Round(time.Millisecond))
	if st := r.status(); st.Generation != 2 {
		t.Errorf("touches made generation %d", st.Generation)
	}
	r.end()
}

// TestReloadMore (Z11): a new version that may do more is live, and the console says what.
func TestReloadMore(t *testing.T) {
	r := newRig(t, nil)
	mark := r.console.mark()
	r.write("plugins/hello.lua", strings.Replace(hello("two"), `{ "headers" }`, `{ "headers", "rcpts" }, relay = true`, 1))
	line := r.console.expect(t, mark, "generation 2 is live")
	if !strings.HasPrefix(line, "generation 2 is live: hello (now also: edit rcpts, relay) (") {
		t.Errorf("the console says %q", line)
	}
	r.expect("two")
	r.end()
}

// TestReloadFolderComesBack (Z8): when the folder comes back with other plugins they are live.
func TestReloadFolderComesBack(t *testing.T) {
	r := newRig(t, nil)
	for i, word := range []string{"two", "three"} {
		mark := r.console.mark()
		r.rename("plugins", fmt.Sprintf("away%d", i))
		r.refuses(mark, uint64(i+1), "there is no folder plugins")
		r.write(fmt.Sprintf("next%d/hello.lua", i), hello(word))
		r.rename(fmt.Sprintf("next%d", i), "plugins")
		r.live(uint64(i + 2))
		r.expect(word)
	}
	r.end()
}
