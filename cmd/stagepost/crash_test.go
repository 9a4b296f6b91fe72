package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
	"github.com/stagepost/stagepost/core/observe"
)

const (
	crashVariable = "STAGEPOST_TEST_CRASH"
	deadlyHop     = "127.0.0.9:9" // an attempt to deliver there ends the process
)

// TestCrashChild is a server with a fault: who connects to one next hop panics where nobody recovers.
func TestCrashChild(t *testing.T) {
	file := os.Getenv(crashVariable)
	if file == "" {
		t.Skip("runs within TestPoison and TestStorm")
	}
	log, out := observe.NewLog(os.Stderr, observe.LogOptions{Format: observe.JSON})
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == deadlyHop {
			panic("a fault in the dialer")
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	d, err := startDaemon(context.Background(), file, daemonOptions{log: log, flush: out.Flush, console: os.Stderr, dial: dial, reports: true})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(os.Stderr, d.ready())
	bufio.NewReader(os.Stdin).ReadString('\n')
	if err := d.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	out.Close()
}

func crashSite(t *testing.T, next string) *site {
	return newSite(t, "hostname = \"mx.example.org\"\ndata = \"data\"\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\nrole = \"mx\"\n"+
		"[plugins]\nenable = [\"relay\", \"route\"]\n[plugin.relay]\nnetworks = [\"127.0.0.0/8\"]\n[plugin.route]\ndefault = \""+next+"\"\n"+
		"[plugin.route.domains]\n\"poison.example\" = \""+deadlyHop+"\"\n")
}

// within waits for what is soon so.
func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(faultPatience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not so: " + what)
		}
	}
}

// TestPoison: a message that crashes the process wherever it is tried is held after three crashes, which queue show tells; all other mail is
// delivered. Released, it is tried again.
func TestPoison(t *testing.T) {
	t.Parallel()
	taking := remotetest.New(t)
	s := crashSite(t, taking.Listen())
	start := func() *child { return spawn(t, "TestCrashChild", crashVariable+"="+s.config) }
	sv := start()
	address, acked := sv.address(), 0
	for i := range 30 {
		to := fmt.Sprintf("u%d@example.net", i)
		if i == 20 {
			to = "u@poison.example"
		}
		// From the poison on, the process may be gone at any moment.
		if r, err := trySending(address, "sender@example.org", to, "Subject: "+to+"\n\nhello\n"); err == nil && r.Code == 250 && i != 20 {
			acked++
		} else if i < 20 {
			t.Fatal(r, err)
		}
	}
	crashes := 0
	for crashed := true; crashed; {
		select {
		case <-sv.ended:
			if code := sv.cmd.ProcessState.ExitCode(); code != 2 {
				t.Fatalf("exit code %d", code)
			}
			if crashes++; crashes > 3 {
				t.Fatal("the process crashed more than three times")
			}
			sv = start()
		case <-time.After(5 * time.Millisecond):
			crashed = !strings.Contains(strings.Join(sv.said.lines(100), ""), "a message is held")
		}
	}
	sv.address()
	if crashes != 3 {
		t.Errorf("%d crashes, want 3", crashes)
	}
	if text, err := os.ReadFile(filepath.Join(s.dir, "data", lastCrash)); err != nil || !strings.HasPrefix(string(text), "panic: a fault in the dialer") {
		t.Errorf("the report of the crash: %.100q, %v", text, err)
	}
	within(t, "all other mail is delivered", func() bool { return len(taking.Messages()) >= acked })
	if n := len(taking.Messages()); n > acked+crashes {
		t.Errorf("%d messages came for %d", n, acked)
	}
	var id string
	within(t, "the message is held", func() bool {
		for _, line := range strings.Split(s.run("queue", "list", "--json").out, "\n") {
			if _, rest, ok := strings.Cut(line, `"id":"`); ok && strings.Contains(line, "poison.example") && strings.Contains(line, `"state":"held"`) {
				id, _, _ = strings.Cut(rest, `"`)
			}
		}
		return id != ""
	})
	s.want(s.run("queue", "show", id), 0, "the server crashed 3 times while it worked on this message")
	s.want(s.run("queue", "release", id), 0)
	if code := sv.end(); code != 2 {
		t.Errorf("released, it ended the process with %d", code)
	}
	s.write("stagepost.toml", strings.Replace(s.read("stagepost.toml"), deadlyHop, taking.Listen(), 1))
	sv = start()
	within(t, "it is delivered once the fault is mended", func() bool {
		for _, m := range taking.Messages() {
			if strings.Contains(m.Rcpts[0], "poison.example") {
				return true
			}
		}
		return false
	})
	io.WriteString(sv.in, "stop\n")
	if code := sv.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestStorm: SIGKILL says nothing about the mail that was in hand. What waits for a slow next hop through a storm of kills is
// not held for that.
func TestStorm(t *testing.T) {
	t.Parallel()
	silent, taking := remotetest.New(t, remotetest.Script{"banner": "silent"}), remotetest.New(t)
	hop := silent.Listen()
	s := crashSite(t, hop)
	const kills = 5
	for n := range kills {
		sv := spawn(t, "TestCrashChild", crashVariable+"="+s.config)
		address := sv.address()
		if n == 0 {
			if r := sendTo(t, address, "sender@example.org", "u@example.net", "hello\n"); r.Code != 250 {
				t.Fatal(r.Error())
			}
		}
		within(t, "the message is tried", func() bool { return len(silent.Conns()) > n })
		sv.cmd.Process.Kill()
		<-sv.ended
	}
	s.write("stagepost.toml", strings.Replace(s.read("stagepost.toml"), hop, taking.Listen(), 1))
	sv := spawn(t, "TestCrashChild", crashVariable+"="+s.config)
	within(t, "the message is delivered", func() bool { return len(taking.Messages()) == 1 })
	io.WriteString(sv.in, "stop\n")
	if code := sv.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
