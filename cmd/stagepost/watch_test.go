package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/gate"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
)

const watchedAt = "\n[admin]\naddress = \"127.0.0.1:0\"\n"

// TestWatching: the address of [admin] comes and goes with reloads, serves two paths and nothing else, and one that is taken is
// an error with its line that changes nothing.
func TestWatching(t *testing.T) {
	s := newSite(t, minimal)
	d := serveQuietly(t, s.config, daemonOptions{})
	if at := d.bound.watched(); at != "" {
		t.Fatalf("%s is served though nobody asked for it", at)
	}
	s.write("stagepost.toml", minimal+watchedAt)
	s.want(s.run("reload"), 0, "generation 2 is live")
	at := d.bound.watched()
	for path, want := range map[string]int{"/metrics": 200, "/healthz": 200, "/status": 404, "/queue": 404, "/reload": 404, "/": 404} {
		if status, body := fetch(t, at, path); status != want || body == "" {
			t.Errorf("%s: %d %s, want %d", path, status, body, want)
		}
	}
	if resp, err := http.Post("http://"+at+"/metrics", "text/plain", nil); err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %v, %v", resp, err)
	}
	if resp, err := http.Head("http://" + at + "/healthz"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("HEAD: %v, %v", resp, err)
	}
	s.write("stagepost.toml", strings.Replace(minimal+watchedAt, "mx.example.org", "mx2.example.org", 1))
	s.want(s.run("reload"), 0, "generation 3 is live")
	if now := d.bound.watched(); now != at {
		t.Errorf("it moved from %s to %s though nothing changed for it", at, now)
	}

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s.write("stagepost.toml", minimal+strings.Replace(watchedAt, "127.0.0.1:0", taken.Addr().String(), 1))
	s.want(s.run("reload"), exitConfig, "stagepost.toml:10: admin.address: the address of [admin] cannot be opened at "+taken.Addr().String(),
		"another program listens there: stop it, or choose another address", "generation 3 stays")
	if status, body := fetch(t, at, "/metrics"); status != 200 || !strings.Contains(body, "\nstagepost_change_refused 1\n") {
		t.Errorf("%d, and the refusal is not shown", status)
	}
	s.write("stagepost.toml", minimal)
	s.want(s.run("reload"), 0, "generation 4 is live")
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", at)
		if err != nil {
			break
		}
		conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("the address is still served")
		}
	}
}

// TestAddressTakenTwice: [admin] cannot have the address of a listener.
func TestAddressTakenTwice(t *testing.T) {
	s := newSite(t, strings.Replace(minimal, "127.0.0.1:0", "127.0.0.1:2525", 1)+"\n[admin]\naddress = \"127.0.0.1:2525\"\n")
	s.want(s.run("check"), exitConfig, `stagepost.toml:10: admin.address: "127.0.0.1:2525" is taken by the listener on line 6`)
}

// TestHealth: what keeps mail out makes /healthz say so, with the reason.
func TestHealth(t *testing.T) {
	s := newSite(t, minimal+watchedAt)
	d := serveQuietly(t, s.config, daemonOptions{})
	at := d.bound.watched()
	want := func(status int, text string) {
		t.Helper()
		if got, body := fetch(t, at, "/healthz"); got != status || body != text+"\n" {
			t.Errorf("%d %q, want %d %q", got, body, status, text)
		}
	}
	want(200, "ok")
	d.phase.Store(phaseStarting)
	want(503, "the server is starting")
	d.phase.Store(phaseStopping)
	want(503, "the server is shutting down")
	if found, _ := scrape(t, d); value(t, found, "stagepost_healthy") != 0 {
		t.Error("the metric says that it is well")
	}
	d.phase.Store(phaseReady)
	want(200, "ok")
	for _, tt := range []struct {
		store store.Health
		uses  gate.Reading
		want  string
	}{
		{store.Health{}, gate.Reading{Memory: 1e9, MemoryLimit: 2e9, Files: 50, FileLimit: 1000}, "<nil>"},
		{store.Health{Full: true, Free: 5e6}, gate.Reading{}, "the disk has too little space, or too few inodes: 5.0 MB are free; mail is answered 452"},
		{store.Health{Stalled: true}, gate.Reading{}, "the disk does not keep up: writes wait; mail is answered 452"},
		{store.Health{}, gate.Reading{Memory: 19e8, MemoryLimit: 2e9}, "memory is nearly used up: 1.9 GB of 2.0 GB; new connections are answered 421"},
		{store.Health{}, gate.Reading{Files: 800, FileLimit: 1000}, "too many files and connections are open: 800 of 1000; new connections are answered 421"},
	} {
		if got := fmt.Sprint(healthOf(phaseReady, tt.store, tt.uses)); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt, got, tt.want)
		}
	}
}

// TestSlowWatcher: who sends nothing, or too much, is cut off.
func TestSlowWatcher(t *testing.T) {
	s := newSite(t, minimal+watchedAt)
	d := serveQuietly(t, s.config, daemonOptions{})
	conn, err := net.Dial("tcp", d.bound.watched())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Write([]byte("GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 1<<10)
	n, err := conn.Read(answer)
	if errors.Is(err, os.ErrDeadlineExceeded) || n > 0 && !strings.HasPrefix(string(answer[:n]), "HTTP/1.1 431 ") {
		t.Errorf("%q, %v", answer[:n], err)
	}
}

// TestHealthWhileDraining: a server that shuts down says so at the address of [admin] for as long as a session goes on.
func TestHealthWhileDraining(t *testing.T) {
	s := newSite(t, minimal+watchedAt+"\n[plugins]\nenable = [\"domains\"]\n\n[plugin.domains]\ndomains = [\"example.org\"]\n")
	d, err := startDaemon(t.Context(), s.config, daemonOptions{log: slog.New(slog.DiscardHandler), console: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	at := d.bound.watched()
	conn, err := net.Dial("tcp", d.bound.address("mx"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	x := &exchange{conn, smtp.NewReader(conn)}
	x.reader.Attach(make([]byte, 4<<10), 0)
	for _, line := range []string{"", "EHLO client.example", "MAIL FROM:<a@client.example>", "RCPT TO:<u@example.org>", "DATA"} {
		if r, err := x.ask(line); err != nil || !r.Positive() {
			t.Fatalf("%s: %s, %v", line, r.Error(), err)
		}
	}
	done := make(chan error, 1)
	go func() { done <- d.Shutdown(context.Background()) }()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		status, body := fetch(t, at, "/healthz")
		if status == http.StatusServiceUnavailable && body == "the server is shutting down\n" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d %s", status, body)
		}
	}
	if found, _ := scrape(t, d); value(t, found, "stagepost_sessions_open", "listener=mx") != 1 || value(t, found, "stagepost_healthy") != 0 {
		t.Error("the session that goes on is not shown")
	}
	if err := x.content(strings.NewReader("Subject: x\n\nhello\n")); err != nil {
		t.Fatal(err)
	}
	if r, err := x.ask(""); err != nil || r.Code != 250 {
		t.Errorf("%s, %v", r.Error(), err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", at); err == nil {
		t.Error("the address is still served")
	}
}

func TestConnections(t *testing.T) {
	for files, want := range map[int64][2]int{0: {0, 0}, 20: {8, 8}, 128: {32, 16}, 1024: {256, 128}, 16_000: {0, 0}, 1 << 20: {0, 0}} {
		if attempts, idle := connections(files); attempts != want[0] || idle != want[1] {
			t.Errorf("of %d files %d attempts and %d idle connections, want %v", files, attempts, idle, want)
		}
	}
}
