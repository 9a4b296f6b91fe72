package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// relayConfig takes mail from this machine for anybody and passes it to one next hop.
func relayConfig(next string) string {
	return fmt.Sprintf(`hostname = "mx.example.org"
data = "data"

[[listener]]
name = "mx"
address = "127.0.0.1:0"
role = "mx"

[queue]
retry = ["1s"]

[plugins]
folder = "plugins"
enable = ["relay", "route"]

[plugin.relay]
networks = ["127.0.0.0/8"]

[plugin.route]
default = %q
`, next)
}

// postfix finds one of the load tools that come with Postfix.
func postfix(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/" + name); err != nil {
			t.Skipf("left out: %s, which comes with Postfix, is not there", name)
		}
	}
	return path
}

// source runs smtp-source, 20 sessions at once, one message each.
func source(t *testing.T, address string, messages int) {
	t.Helper()
	r := runToEnd(t, exec.Command(postfix(t, "smtp-source"), "-N", "-s", "20", "-m", strconv.Itoa(messages), "-l", "4096",
		"-f", "a@client.example", "-t", "u@example.net", address))
	if r.code != 0 || r.err != "" {
		t.Fatalf("smtp-source: exit code %d\n%s%s", r.code, r.out, r.err)
	}
}

// TestFlow sends much mail through the server: each message comes out once, and nothing stays behind.
func TestFlow(t *testing.T) {
	messages := 10_000
	if text := os.Getenv("STAGEPOST_E2E_MESSAGES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("STAGEPOST_E2E_MESSAGES is %q, not a number", text)
		}
		messages = n
	}
	postfix(t, "smtp-source")
	sink := newSink(t)
	sv := newSite(t, relayConfig(sink.address)).start()
	begin := time.Now()
	source(t, sv.address("mx"), messages)
	accepted := time.Since(begin)
	eventually(t, "delivery of all", func() (bool, any) { n := sink.count(); return n >= messages, n })
	delivered := time.Since(begin)
	sv.empty()
	t.Logf("%d messages of 4 KiB: accepted at %.0f a second, delivered at %.0f a second", messages,
		float64(messages)/accepted.Seconds(), float64(messages)/delivered.Seconds())

	// smtp-source gives each message an id of its own, so as many different ones as messages, each once, is all of them.
	var ids []string
	for id := range sink.took {
		ids = append(ids, id)
	}
	if len(ids) != messages {
		t.Fatalf("%d different messages came out, want %d", len(ids), messages)
	}
	sink.exactly(ids)
	for _, p := range sv.status().Plugins {
		if p.State != "live" || p.Errors != 0 || p.Calls < uint64(messages) {
			t.Errorf("plugin %s: %s, %d calls, %d errors", p.Name, p.State, p.Calls, p.Errors)
		}
	}
	sv.stop()
}

// TestOtherServer passes mail to the sink of Postfix, and looks at what that wrote to files.
func TestOtherServer(t *testing.T) {
	const messages = 500
	path := postfix(t, "smtp-sink")
	postfix(t, "smtp-source")
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	dumps, address := t.TempDir(), freePort(t)
	args := []string{"-d", filepath.Join(dumps, "%M."), address, "100"}
	if os.Getuid() == 0 {
		args = append([]string{"-u", me.Username}, args...)
	}
	cmd := exec.Command(path, args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("smtp-sink said: %s", said.String())
		}
	})
	sv := newSite(t, relayConfig(address)).start()
	source(t, sv.address("mx"), messages)
	sv.empty()
	files, err := filepath.Glob(filepath.Join(dumps, "*"))
	if err != nil || len(files) != messages {
		t.Fatalf("smtp-sink wrote %d messages, want %d (%v)", len(files), messages, err)
	}
	seen := map[string]bool{}
	id := regexp.MustCompile(`(?im)^Message-Id: (\S+)`)
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		m := id.FindSubmatch(text)
		if m == nil || seen[string(m[1])] || !strings.Contains(string(text), "by mx.example.org with SMTP id ") {
			t.Fatalf("a message that came before, or has no Message-Id, or no Received of ours:\n%.800s", text)
		}
		seen[string(m[1])] = true
	}
	sv.stop()
}
