package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hello is a plugin that writes a word into each message.
func hello(word string) string {
	return fmt.Sprintf(`plugin { id = "hello", version = "1.0.0", description = "says a word", needs = { edit = { "headers" } } }

function on.data(m)
  m:add_header("X-Hello", %q)
end
`, word)
}

// broken has its mistake in line 3.
func broken() string { return strings.Replace(hello("never"), "on.data", "on.dta", 1) }

// rig is a server with the plugin hello before a sink.
type rig struct {
	*server
	sink  *sink
	sent  []string
	entry string
}

func newRig(t testing.TB, prepare func(s *site)) *rig {
	t.Helper()
	sink := newSink(t)
	s := newSite(t, relayConfig(sink.address))
	if prepare != nil {
		prepare(s)
	} else {
		s.write("plugins/hello.lua", hello("one"))
	}
	r := &rig{server: s.start(), sink: sink}
	r.entry = r.address("mx")
	return r
}

// says sends a message and tells which word hello wrote into it; "" for none.
func (r *rig) says() string {
	r.t.Helper()
	c := dial(r.t, r.entry)
	defer c.conn.Close()
	return r.saysTo(c)
}

func (r *rig) saysTo(c *client) string {
	r.t.Helper()
	id := fmt.Sprintf("<reload.%d@client.example>", len(r.sent))
	r.sent = append(r.sent, id)
	c.deliver(r.t, "u@example.net", id)
	return field(r.sink.text(id), "X-Hello")
}

func (r *rig) expect(word string) {
	r.t.Helper()
	if got := r.says(); got != word {
		r.t.Fatalf("hello says %q, want %q", got, word)
	}
}

// end checks that no message was lost or came twice meanwhile.
func (r *rig) end() {
	r.t.Helper()
	r.empty()
	r.sink.exactly(r.sent)
	r.stop()
}

func TestReloadPlugin(t *testing.T) {
	r := newRig(t, nil)
	session := dial(t, r.entry) // stays open all the time
	r.expect("one")

	r.write("plugins/hello.lua", hello("two"))
	r.live(2)
	r.expect("two")
	if got := r.saysTo(session); got != "two" {
		t.Fatalf("in a session from before, hello says %q, want two", got)
	}

	mark := r.console.mark()
	r.write("plugins/hello.lua", broken())
	r.refuses(mark, 2, `plugins/hello.lua:3: unknown stage "dta"`)
	r.expect("two")
	out := r.want(exitConfig, "check")
	if !strings.Contains(out, "plugins/hello.lua:3: ") || !strings.Contains(out, `did you mean "data"`) {
		t.Errorf("check says %q", out)
	}
	if out := r.want(exitConfig, "reload"); !strings.Contains(out, "plugins/hello.lua:3: ") {
		t.Errorf("reload says %q", out)
	}
	if out := r.want(0, "status"); !strings.Contains(out, "the latest change was refused: plugins/hello.lua:3: ") {
		t.Errorf("status says %q", out)
	}

	r.replace("plugins/hello.lua", hello("three"))
	r.live(3)
	r.expect("three")

	// Back to what is in force after a mistake: nothing changes, and nothing is complained of any more.
	mark = r.console.mark()
	r.write("plugins/hello.lua", broken())
	r.refuses(mark, 3, "plugins/hello.lua:3: ")
	r.replace("plugins/hello.lua", hello("three"))
	eventually(t, "no complaint about a mistake that was taken back", func() (bool, any) {
		st := r.status()
		return st.Error == "" && st.Generation >= 3, st.Error
	})
	r.expect("three")

	r.remove("plugins/hello.lua")
	eventually(t, "no plugin hello", func() (bool, any) {
		st := r.status()
		return len(st.Plugins) == 2, st.Plugins
	})
	r.expect("")
	if out := r.want(0, "reload"); !strings.Contains(out, "nothing changed") {
		t.Errorf("reload without a change: %s", out)
	}
	r.end()
}

// TestReloadTransaction: a transaction that has begun ends with the plugins that it began with.
func TestReloadTransaction(t *testing.T) {
	r := newRig(t, nil)
	c := dial(t, r.entry)
	c.want(t, "MAIL FROM:<a@client.example>", "250 ")
	r.write("plugins/hello.lua", hello("two"))
	r.live(2)
	c.want(t, "RCPT TO:<u@example.net>", "250 ")
	c.want(t, "DATA", "354 ")
	const id = "<pinned@client.example>"
	queued(t, c.want(t, letter(id)+".", "250 "))
	if got := field(r.sink.text(id), "X-Hello"); got != "one" {
		t.Errorf("the transaction from before: hello says %q, want one", got)
	}
	if got := r.saysTo(c); got != "two" {
		t.Errorf("the next: hello says %q, want two", got)
	}
	r.sent = append(r.sent, id)
	r.end()
}

// TestReloadUnderLoad changes the plugin again and again while mail flows.
func TestReloadUnderLoad(t *testing.T) {
	r := newRig(t, nil)
	stop, done := make(chan struct{}), make(chan error, 1)
	var sent []string
	go func() {
		c, err := connect(r.entry)
		for i := 0; err == nil; i++ {
			select {
			case <-stop:
				c.conn.Close()
				done <- nil
				return
			default:
			}
			id := fmt.Sprintf("<load.%d@client.example>", i)
			sent = append(sent, id)
			var reply string
			if reply, err = c.send("u@example.net", id); err == nil && !strings.HasPrefix(reply, "250 ") {
				err = fmt.Errorf("%s: %s", id, reply)
			}
		}
		done <- err
	}()
	const changes = 5
	for i := range uint64(changes) {
		r.write("plugins/hello.lua", hello(fmt.Sprintf("word %d", i)))
		r.live(i + 2)
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r.sent = sent
	r.empty()
	words := map[string]int{}
	for _, id := range sent {
		words[field(r.sink.text(id), "X-Hello")]++
	}
	t.Logf("%d messages met %d generations: %v", len(sent), len(words), words)
	if words[""] > 0 || len(words) < 2 || len(words) > changes+1 {
		t.Errorf("what hello said: %v", words)
	}
	r.end()
}

// TestReloadLinks changes files the way containers do: what lies in the folder are links, and a link far up is swapped.
func TestReloadLinks(t *testing.T) {
	link := func(r *site, target, name string) {
		if err := os.Symlink(target, r.path(name+".new")); err != nil {
			r.t.Fatal(err)
		}
		r.rename(name+".new", name)
	}
	t.Run("the folder is a link", func(t *testing.T) {
		r := newRig(t, func(s *site) {
			s.write("v1/hello.lua", hello("one"))
			s.write("v2/hello.lua", hello("two"))
			link(s, "v1", "plugins")
		})
		r.expect("one")
		begin := time.Now()
		link(r.site, "v2", "plugins")
		r.live(2)
		t.Logf("live after %s", time.Since(begin).Round(100*time.Millisecond))
		r.expect("two")
		r.end()
	})
	t.Run("a mounted ConfigMap", func(t *testing.T) {
		r := newRig(t, func(s *site) {
			s.write("plugins/..2026_1/hello.lua", hello("1"))
			link(s, "..2026_1", "plugins/..data")
			link(s, filepath.Join("..data", "hello.lua"), "plugins/hello.lua")
		})
		r.expect("1")
		for i := 2; i <= 3; i++ { // as kubelet does it, the second time too
			name := fmt.Sprintf("..2026_%d", i)
			r.write("plugins/"+name+"/hello.lua", hello(fmt.Sprint(i)))
			begin := time.Now()
			link(r.site, name, "plugins/..data")
			if err := os.RemoveAll(r.path(fmt.Sprintf("plugins/..2026_%d", i-1))); err != nil {
				t.Fatal(err)
			}
			r.live(uint64(i))
			t.Logf("live after %s", time.Since(begin).Round(100*time.Millisecond))
			r.expect(fmt.Sprint(i))
		}
		r.end()
	})
}

// TestReloadSignals changes a file behind the back of the watch, through another name of it in another folder. The slow look
// finds it in the end; right after such a look, SIGHUP and the command find the next changes long before the following one.
func TestReloadSignals(t *testing.T) {
	r := newRig(t, func(s *site) {
		s.write("elsewhere/hello", hello("one"))
		if err := os.Mkdir(s.path("plugins"), 0o755); err != nil {
			s.t.Fatal(err)
		}
		if err := os.Link(s.path("elsewhere/hello"), s.path("plugins/hello.lua")); err != nil {
			s.t.Skipf("left out: a file cannot have two names here: %v", err)
		}
	})
	r.write("elsewhere/hello", hello("two"))
	r.live(2)
	looked := time.Now()

	r.write("elsewhere/hello", hello("three"))
	r.signal(syscall.SIGHUP)
	r.live(3)
	hup := time.Since(looked)

	r.write("elsewhere/hello", hello("four"))
	out := r.want(0, "reload")
	if !strings.HasPrefix(out, "generation 4 is live (") {
		t.Errorf("reload says %q", out)
	}
	if hup > 9*time.Second { // the next look comes 10 s after the last
		t.Errorf("live %s after SIGHUP: the look found the change, and not the signal", hup)
	}
	r.live(4)
	r.expect("four")
	r.end()
}

// TestReloadConfig changes stagepost.toml.
func TestReloadConfig(t *testing.T) {
	r := newRig(t, nil)
	config := relayConfig(r.sink.address)
	old := dial(t, r.entry)
	address := freePort(t)
	second := strings.Replace(config, "[queue]", fmt.Sprintf("[[listener]]\nname = \"second\"\naddress = %q\nrole = \"mx\"\n\n[queue]", address), 1)

	r.write("stagepost.toml", second)
	r.live(2)
	if got := r.address("second"); got != address {
		t.Fatalf("the new listener is at %q, want %s", got, address)
	}
	if got := r.address("mx"); got != r.entry {
		t.Fatalf("the listener that stays moved from %s to %s", r.entry, got)
	}
	first := r.entry
	r.entry = address
	r.expect("one")
	r.entry = first
	r.expect("one")

	// A key that nobody knows.
	mark := r.console.mark()
	line := 1 + strings.Count(second, "\n")
	r.write("stagepost.toml", second+"\n[limits]\nrecipient = 10\n")
	r.refuses(mark, 2, fmt.Sprintf("stagepost.toml:%d: limits.recipient: unknown key; did you mean recipients?", line+2))
	r.expect("one")
	r.write("stagepost.toml", second+"\n[limits]\nrecipients = 1\n")
	r.live(3)
	c := dial(t, first)
	c.want(t, "MAIL FROM:<a@client.example>", "250 ")
	c.want(t, "RCPT TO:<u@example.net>", "250 ")
	c.want(t, "RCPT TO:<v@example.net>", "452 4.5.3 ")

	// An address that another program has: nothing changes, and the listeners stay.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	mark = r.console.mark()
	r.write("stagepost.toml", strings.Replace(second, address, taken.Addr().String(), 1))
	r.refuses(mark, 3, "another program listens there")
	r.entry = address
	r.expect("one")

	// The data folder belongs to the process. Only the console is asked: commands look for the server in the folder that is named.
	mark = r.console.mark()
	r.write("stagepost.toml", strings.Replace(second, `data = "data"`, `data = "other"`, 1))
	r.console.expect(t, mark, "stagepost.toml:2: data: the data folder cannot change while the server runs", "; generation 3 stays")

	// The first listener goes. Who came in by it may go on.
	r.write("stagepost.toml", strings.Replace(second, "[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\nrole = \"mx\"\n", "", 1))
	r.live(4)
	r.closed(first)
	if st := r.status(); len(st.Listeners) != 1 || st.Listeners[0].Name != "second" {
		t.Fatalf("listeners: %+v", st.Listeners)
	}
	r.expect("one")
	if got := r.saysTo(old); got != "one" {
		t.Fatalf("in a session of the listener that is gone, hello says %q", got)
	}

	// The same address under another name: no connection is refused meanwhile, and sessions know the new name.
	r.write("stagepost.toml", strings.Replace(config, "name = \"mx\"\naddress = \"127.0.0.1:0\"", fmt.Sprintf("name = \"third\"\naddress = %q", address), 1))
	r.live(5)
	if got := r.address("third"); got != address {
		t.Fatalf("the listener that was named anew is at %q, want %s", got, address)
	}
	r.expect("one")
	r.end()
}

// TestReloadTwoFreePorts adds a second listener on any free port: it gets a port of its own.
func TestReloadTwoFreePorts(t *testing.T) {
	r := newRig(t, nil)
	r.write("stagepost.toml", strings.Replace(relayConfig(r.sink.address), "[queue]", "[[listener]]\nname = \"second\"\naddress = \"127.0.0.1:0\"\nrole = \"mx\"\n\n[queue]", 1))
	r.live(2)
	second := r.address("second")
	if second == "" || second == r.entry {
		t.Fatalf("the second listener is at %q, the first at %q", second, r.entry)
	}
	r.entry = second
	r.expect("one")
	r.end()
}
