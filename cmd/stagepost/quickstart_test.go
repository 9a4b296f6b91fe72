package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestQuickstart goes the way of the manual page: a new site, its server, messages, a plugin changed while it runs.
func TestQuickstart(t *testing.T) {
	s := newSite(t, minimal)
	dir := filepath.Join(s.dir, "first")
	s.want(s.runInput("", "init", dir), 0)
	s.config = filepath.Join(dir, "stagepost.toml")
	s.app.now = time.Now
	edit(t, s.config, "127.0.0.1:2525", "127.0.0.1:0")
	hello := filepath.Join(dir, "plugins", "hello.lua")

	d, err := startDaemon(t.Context(), s.config, daemonOptions{log: slog.New(slog.DiscardHandler), console: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	send := func(to string) (id string) {
		t.Helper()
		r := s.run("send", "--to", to)
		s.want(r, 0, "250 2.0.0 queued as ", "stagepost trace ")
		fields := strings.Fields(r.out)
		return fields[len(fields)-3] // before --config FILE
	}
	id := send("you@example.org")
	s.eventually([]string{"trace", id}, "accept local", "edits: add_header X-Hello", "hello.lua ends local mail", "discarded")
	s.eventually([]string{"queue", "list"}, "the queue is empty")
	s.want(s.run("send", "--to", "you@example.com"), exitUnavailable, "<you@example.com> was refused: 550 5.7.1 relay not permitted")
	s.want(s.run("send", "--to", "nobody@example.org"), exitUnavailable, "nobody reads this mailbox")

	edit(t, hello, `"nobody"`, `"somebody"`)
	s.want(s.run("reload"), 0, "generation")
	s.want(s.run("send", "--to", "nobody@example.org"), 0)
	edit(t, hello, "on.data", "on.dta")
	s.want(s.run("reload"), exitConfig, "plugins/hello.lua:", "dta", "stays")
	s.want(s.run("check"), exitConfig, "plugins/hello.lua:")
	s.want(s.run("status"), 0, "the latest change was refused: plugins/hello.lua:")
	id = send("nobody@example.org")
	s.eventually([]string{"trace", id}, "edits: add_header X-Hello")
	edit(t, hello, "on.dta", "on.data")
	s.want(s.run("plugin", "new", "greeter"), 0, "live in generation")
	s.want(s.run("plugin", "test", "greeter"), 0, "ok: 1 case of 1 plugin")
	s.want(s.run("plugin", "new", "sink", "--from", "discard"), 0, "a copy of discard", "live in generation")
	s.want(s.run("plugin", "test", "sink"), 0, "of 1 plugin")
	s.want(s.run("plugin", "list"), 0, "greeter", "sink")
	s.want(s.run("plugin", "order"), 0, "greeter.lua:", "!no server")

	edit(t, hello, "function on.route", "local function route_later")
	s.want(s.run("reload"), 0)
	id = send("you@example.org")
	s.eventually([]string{"queue", "list"}, id, "deferred", "4.3.5")
	s.want(s.run("queue", "show", id), 0, "X-Hello: ", "Received: from ", "you@example.org")
}

// eventually runs a command until its output holds the parts: what follows the reply to a message takes its time.
func (s *site) eventually(args []string, parts ...string) {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		r := s.run(args...)
		missing := ""
		for _, p := range parts {
			if !strings.Contains(r.out, p) {
				missing = p
			}
		}
		if r.code == 0 && missing == "" {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("stagepost %s never shows %q:\n%s%s", strings.Join(args, " "), missing, r.out, r.err)
		}
	}
}

// edit replaces text in a file.
func edit(t *testing.T, file, old, new string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte(old)) {
		t.Fatalf("%s does not hold %q", file, old)
	}
	if err := os.WriteFile(file, bytes.ReplaceAll(b, []byte(old), []byte(new)), 0o644); err != nil {
		t.Fatal(err)
	}
}
