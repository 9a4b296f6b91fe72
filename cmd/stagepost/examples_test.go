package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/smtp"
)

// TestExampleTenantRelay runs examples/tenant-relay as it is, but for the port it listens on, and sends mail through it. The
// servers it sends to are remotes of the demo.
func TestExampleTenantRelay(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../examples/tenant-relay")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, localConfig)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	free := strings.Replace(string(text), `"127.0.0.1:2525"`, `"127.0.0.1:0"`, 1)
	if free == string(text) {
		t.Fatal("the example listens elsewhere")
	}
	if err := os.WriteFile(file, []byte(free), 0o644); err != nil {
		t.Fatal(err)
	}
	red, blue, mailboxes := &remote{name: "red"}, &remote{name: "blue"}, &remote{name: "mailboxes", lmtp: true}
	world := &internet{remotes: map[string]*remote{"127.0.0.1:2526": red, "127.0.0.1:2527": blue, "127.0.0.1:2524": mailboxes}}
	for _, r := range world.remotes {
		if err := r.listen(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.close)
	}
	d := serveQuietly(t, file, daemonOptions{dial: world.dial})

	const letter = "From: <a@red.example>\nDate: Thu, 1 Jan 2026 00:00:00 +0000\nX-Originating-IP: 192.0.2.9\n\nhello\n"
	tests := []struct {
		name, from, to, text string
		reply                int
		at                   *remote
		rcpt                 string // where that is not to
	}{
		{"red by its smart host", "user@red.example", "u@elsewhere.example", letter, 250, red, ""},
		{"blue by its own", "ben@blue.example", "v@elsewhere.example", letter, 250, blue, ""},
		{"local", "user@red.example", "Sales+news@example.org", letter, 250, mailboxes, ""},
		{"postmaster", "user@red.example", "postmaster", letter, 250, mailboxes, "postmaster@example.org"},
		{"no such mailbox", "user@red.example", "support@example.org", letter, 550, nil, ""},
		{"no Date", "user@red.example", "w@elsewhere.example", "From: <a@red.example>\n\nhello\n", 550, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reply := sendTo(t, d.bound.address("mx"), tt.from, tt.to, tt.text)
			if reply.Code != tt.reply {
				t.Fatalf("answered %s, want %d", reply.Error(), tt.reply)
			}
			if tt.at == nil {
				return
			}
			rcpt := tt.to
			if tt.rcpt != "" {
				rcpt = tt.rcpt
			}
			got := arrived(t, tt.at, rcpt)
			_, tenant, _ := strings.Cut(tt.from, "@")
			tenant = strings.TrimSuffix(tenant, ".example")
			if fieldOf(got, "X-Tenant") != tenant || fieldOf(got, "X-Originating-IP") != "" {
				t.Errorf("arrived as\n%s", got)
			}
		})
	}
}

// TestExampleTests runs the tests of the example's own plugins.
func TestExampleTests(t *testing.T) {
	s := newSite(t, minimal)
	s.want(s.runInput("", "plugin", "test", "--config", "../../examples/tenant-relay/stagepost.toml"), 0, "of 2 plugins")
}

// sendTo sends one message and returns the reply that decided it.
func sendTo(t *testing.T, server, from, to, text string) smtp.Reply {
	t.Helper()
	reply, err := trySending(server, from, to, text)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// trySending gives the reply at which it ended.
func trySending(server, from, to, text string) (reply smtp.Reply, err error) {
	conn, err := net.Dial("tcp", server)
	if err != nil {
		return reply, err
	}
	defer conn.Close()
	x := newExchange(conn)
	for _, line := range []string{"", "EHLO client.example", "MAIL FROM:<" + from + ">", "RCPT TO:<" + to + ">", "DATA"} {
		if reply, err = x.ask(line); err != nil || !reply.Positive() {
			return reply, err
		}
	}
	if err := x.content(strings.NewReader(text)); err != nil {
		return reply, err
	}
	return x.ask("")
}

// arrived waits for a message to reach a remote.
func arrived(t *testing.T, r *remote, rcpt string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), demoPatience)
	defer cancel()
	world := &internet{remotes: map[string]*remote{"": r}}
	for {
		if text, ok := world.got(rcpt); ok {
			return text
		}
		if sleep(ctx, 5*time.Millisecond) != nil {
			t.Fatalf("nothing arrived at %s for <%s>", r.name, rcpt)
		}
	}
}
