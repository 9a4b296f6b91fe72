package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// ways is a configuration with a transport of each type that stays on this machine; ROOT is a folder.
const ways = minimal + `
[plugins]
folder = "plugins"
enable = ["relay", "route"]

[plugin.relay]
networks = ["127.0.0.0/8"]

[plugin.route.domains]
"box.example" = "transport:boxes"
"prog.example" = "transport:prog"
"lmtp.example" = "transport:dovecot"

[transport.boxes]
type = "maildir"
root = "ROOT"

[transport.prog]
type = "pipe"
command = ["/bin/sh", "-c", "cat > ROOT/piped; echo thanks, $$USER; test $$USER = joe || exit 67"]
concurrency = 1

[transport.dovecot]
type = "lmtp"
socket = "ROOT/lmtp"
`

// carrier is a plugin that delivers mail for its domain itself, to each recipient as its name asks.
const itself = `plugin { id = "itself", version = "1.0.0", needs = { route = { "transport:*" } } }
function on.route(r)
  if r.address.domain == "plugin.example" then return route { via = "itself" } end
  if r.address.domain == "unknown.example" then return route { via = "nowhere" } end
end
function on.deliver(d)
  return each(function(r)
    if r.address.mailbox == "no" then return reject { text = "no " .. r.key, enhanced = "5.2.1" } end
    if r.address.mailbox == "later" then return defer { text = "later", after = 3600 } end
    if r.address.mailbox == "ann" then return accept() end
  end)
end
`

// TestTransports: mail goes out by each of them, each attempt stands in the record as one by SMTP does, and a reload changes them.
func TestTransports(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no /bin/sh")
	}
	root := t.TempDir()
	config := strings.ReplaceAll(ways, "ROOT", root)
	s := newSite(t, config)
	if err := os.Mkdir(filepath.Join(s.dir, "plugins"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.write("plugins/itself.lua", itself)
	box := &remote{name: "mailboxes", lmtp: true}
	if err := box.listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(box.close)
	world := &internet{remotes: map[string]*remote{root + "/lmtp": box}}
	d := serveQuietly(t, s.config, daemonOptions{dial: func(ctx context.Context, _, addr string) (net.Conn, error) { return world.dial(ctx, "tcp", addr) }})

	// told waits for the record of a message to say something.
	told := func(id, something string) (text string) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			d.records.Flush(t.Context())
			steps, err := d.records.Find(t.Context(), id)
			text = ""
			for _, step := range steps {
				text += strings.TrimSpace(step.Stage+" "+step.Plugin+" "+step.Verdict) + ": " + step.Detail + "\n"
			}
			if err == nil && strings.Contains(text, something) {
				return text
			}
			if time.Now().After(deadline) {
				t.Fatalf("there is no %q in the record\n%s", something, text)
			}
		}
	}
	// send sends to a recipient, and waits for the record to say what became of it.
	send := func(rcpt string, wants ...string) (id string) {
		t.Helper()
		reply := sendTo(t, d.bound.address("mx"), "a@client.example", rcpt, "Subject: x\n\nhello\n")
		if reply.Code != 250 {
			t.Fatalf("%s: %s", rcpt, reply.Error())
		}
		fields := strings.Fields(reply.Error())
		id = fields[len(fields)-1]
		text := told(id, "\noutcome")
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s: there is no %q in\n%s", rcpt, want, text)
			}
		}
		return id
	}
	send("Joe+x@box.example", "> to transport:boxes\n", "deliver  delivered: transport:boxes (maildir "+root+"), 250 2.0.0 delivered to box.example/joe\n", "outcome  delivered: <Joe+x@box.example> by transport:boxes: 250 2.0.0 ")
	if got := boxed(t, root, "box.example/joe"); !strings.HasPrefix(got, "Return-Path: <a@client.example>\nDelivered-To: Joe+x@box.example\nReceived: from ") || !strings.HasSuffix(got, "\n\nhello\n") {
		t.Errorf("the mailbox has\n%s", got)
	}
	send("joe@prog.example", `deliver  delivered: transport:prog (pipe /bin/sh), 250 2.0.0 delivered by /bin/sh: "thanks, joe"`)
	if got, err := os.ReadFile(filepath.Join(root, "piped")); err != nil || !strings.HasSuffix(string(got), "\n\nhello\n") {
		t.Errorf("the program got %q, %v", got, err)
	}
	send("ann@prog.example", `deliver  failed 550 5.1.1: transport:prog (pipe /bin/sh), 550 5.1.1 /bin/sh ended with 67, the user is unknown: "thanks, ann"`, "outcome  failed: <ann@prog.example> by transport:prog: 550 5.1.1 ")
	send("joe@lmtp.example", "deliver  delivered: unix:"+root+"/lmtp new, 250 2.", "outcome  delivered: <joe@lmtp.example> by unix:"+root+"/lmtp: ")
	arrived(t, box, "joe@lmtp.example")
	send("ann@plugin.example", "deliver itself each: ", "outcome  delivered: <ann@plugin.example> by plugin:itself: 250 2.0.0 delivered by itself")
	send("no@plugin.example", "outcome  failed: <no@plugin.example> by plugin:itself: 550 5.2.1 no ", "/no@plugin.example\n")
	send("later@plugin.example", "outcome  deferred: <later@plugin.example> by plugin:itself: 451 4.7.1 later")
	send("x@plugin.example", "outcome  deferred: <x@plugin.example> 451 4.3.0 itself gave no verdict for this recipient")
	waits := send("x@unknown.example", "outcome  deferred: <x@unknown.example> 451 4.3.5 the route names the transport nowhere, but the configuration has no [transport.nowhere]")

	if l := d.shaping.shape(d.plugins.Config()).Sites["transport:prog"]; l.Concurrency != 1 || !strings.HasSuffix(l.By.Concurrency, "stagepost.toml:28") {
		t.Errorf("its limits: %+v", l)
	}

	other := t.TempDir()
	s.write("stagepost.toml", strings.Replace(config, `root = "`+root, `root = "`+other, 1))
	s.want(s.run("reload"), 0, "generation 2 is live")
	send("joe@box.example", "deliver  delivered: transport:boxes (maildir "+other+")")
	boxed(t, other, "box.example/joe")
	s.write("stagepost.toml", strings.Replace(config, "[transport.boxes]", "[transport.box]", 1))
	s.want(s.run("reload"), exitConfig, `stagepost.toml:17: plugin.route.domains."box.example": there is no [transport.boxes]`, "generation 2 stays")
	// Mail that waits goes by a transport that is chosen by hand, and by one that a plugin chooses for a time.
	s.want(s.run("queue", "reroute", "--to", "transport:boxes", waits), 0, "rerouted")
	told(waits, "delivered: transport:boxes (maildir "+other+"), 250 2.0.0 delivered to unknown.example/x")
	s.write("plugins/turns.lua", `plugin { id = "turns", needs = { shape = { "next-hop:*" }, route = { "transport:boxes" } } }
function on.deferred(r)
  if r.address.domain == "unknown.example" then
    shape.reroute { next_hop = r.next_hop, to = { via = "boxes" }, time = 60 }
    return defer { after = 1 }
  end
end
`)
	s.write("stagepost.toml", config)
	s.want(s.run("reload"), 0, "generation 3 is live")
	told(send("y@unknown.example", "transport nowhere"), "delivered: transport:boxes (maildir "+root+"), 250 2.0.0 delivered to unknown.example/y")
}

// boxed is the one message of a mailbox.
func boxed(t *testing.T, root, folder string) string {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(root, folder, "new"))
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	text, err := os.ReadFile(filepath.Join(root, folder, "new", list[0].Name()))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
