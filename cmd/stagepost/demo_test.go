package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestDemo runs the whole demo, which checks for itself how every message ended.
func TestDemo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kept")
	var buf bytes.Buffer
	if err := runDemo(context.Background(), output{Writer: &sharedWriter{w: &buf}}, dir, false); err != nil {
		t.Fatalf("%v\n%s", err, buf.String())
	}
	text := buf.String()
	t.Log("\n" + text)
	for _, line := range []string{
		`  connect +hello +next`,
		`  helo +hello +next`,
		`  mail +hello +next +\S+ +edits: fact hello\.bounce`,
		`  rcpt +domains +accept local`,
		`  rcpt +relay +accept relay`,
		`  rcpt +hello +reject 550 5\.7\.1 +\S+ +<nobody@good\.example> nobody reads this mailbox`,
		`  data +headers +next +\S+ +edits: remove_header X-Secret`,
		`  data +hello +next +\S+ +edits: set_header Subject`,
		`  queue +hello +next +\S+ +edits: add_header X-Hello`,
		`  route +hello +route +\S+ +<user@moved\.example> mx:good\.example`,
		`  route +route +route +\S+ +<user@demo\.example> lmtp:192\.0\.2\.40:24`,
		`  deliver +- +delivered +.*192\.0\.2\.10`,
		`  deliver +- +deferred 451 4\.7\.1 +.*192\.0\.2\.20`,
		`  deliver +- +deferred .*refused`,
		`  outcome +- +delivered +.*<user@patient\.example>`,
		`  outcome +- +deferred +.*<user@down\.example>`,
		`5 messages in .*: 4 recipients delivered, 1 of them at the second try; 1 refused; 1 waits for its server\.`,
	} {
		if !regexp.MustCompile(`(?m)^` + line).MatchString(text) {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Contains(text, "\x1b") {
		t.Error("colours, though this is no terminal")
	}

	// What is kept is ready for serve, which goes on with the message that waits.
	file := filepath.Join(dir, localConfig)
	config, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^address = "127\.0\.0\.1:[1-9][0-9]*"$`).Match(config) {
		t.Errorf("the address that was listened on is not in\n%s", config)
	}
	d := serveQuietly(t, file, daemonOptions{dial: new(internet).dial})
	if n := d.status().Listeners; len(n) != 1 {
		t.Errorf("listeners: %v", n)
	}
	if err := runDemo(context.Background(), output{Writer: &buf}, dir, false); err == nil {
		t.Error("the demo wrote into a folder that is in use")
	}
}

// serveQuietly runs a server until the test ends.
func serveQuietly(t *testing.T, file string, o daemonOptions) *daemon {
	t.Helper()
	o.log, o.console = slog.New(slog.DiscardHandler), io.Discard
	d, err := startDaemon(t.Context(), file, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return d
}

// TestDemoFails: an unexpected end is an error, told with its reason, and what was there is cleaned up.
func TestDemoFails(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var buf bytes.Buffer
	err := runDemo(ctx, output{Writer: &sharedWriter{w: &buf}}, "", false)
	if err == nil || !strings.Contains(err.Error(), "broken off") {
		t.Errorf("error %v", err)
	}
	if left, _ := os.ReadDir(os.TempDir()); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestDemoEndings: each way in which a message can end otherwise than it should is seen.
func TestDemoEndings(t *testing.T) {
	tests := []struct {
		want     ending
		outcomes string
		ended    bool
		wrong    string
	}{
		{arrives, "", false, ""},
		{arrives, "delivered", true, ""},
		{arrives, "deferred", true, "it was deferred, and should have been delivered"},
		{arrives, "failed", true, "it was failed"},
		{arrivesLater, "deferred", false, ""},
		{arrivesLater, "deferred delivered", true, ""},
		{arrivesLater, "delivered", true, "it was delivered, and should have been deferred, then delivered"},
		{arrivesLater, "deferred deferred", true, "it was deferred, then deferred"},
		{waits, "", false, ""},
		{waits, "deferred", true, ""},
		{waits, "deferred deferred", true, ""},
		{waits, "delivered", true, "it was delivered, and should have been deferred"},
		{refused, "", true, "RCPT was answered 0"},
	}
	for _, tt := range tests {
		p := &posted{demoLetter: &demoLetter{to: []string{"u@x.example"}, want: []ending{tt.want}},
			outcomes: map[string][]string{"u@x.example": strings.Fields(tt.outcomes)}}
		ended, err := p.ended()
		if ended != tt.ended || (err == nil) != (tt.wrong == "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
			t.Errorf("%d, %q: ended %t, %v; want %t, %s", tt.want, tt.outcomes, ended, err, tt.ended, tt.wrong)
		}
	}
}

// TestDemoGoesOn changes the plugin as the demo suggests and waits for the line that is marked.
func TestDemoGoesOn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kept")
	ctx, cancel := context.WithTimeout(context.Background(), demoPatience)
	defer cancel()
	w := &lineWriter{lines: make(chan string, 1000)}
	done := make(chan error, 1)
	go func() { done <- runDemo(ctx, output{Writer: &sharedWriter{w: w}}, dir, true) }()
	w.wait(t, "The server goes on")
	w.wait(t, "nobody reads this mailbox")
	file := filepath.Join(dir, "plugins", "hello.lua")
	code, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	edited := strings.Replace(string(code), "return reject \"nobody", "return defer \"nobody", 1)
	if err := os.WriteFile(file, []byte(edited), 0o644); err != nil {
		t.Fatal(err)
	}
	line := w.wait(t, "<- changed in generation 2")
	if !strings.Contains(line, "defer 451 4.7.1") {
		t.Errorf("marked: %s", line)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// lineWriter hands on what is written, line by line.
type lineWriter struct {
	rest  string
	lines chan string
}

func (w *lineWriter) Write(p []byte) (int, error) {
	lines := strings.Split(w.rest+string(p), "\n")
	for _, line := range lines[:len(lines)-1] {
		select {
		case w.lines <- line:
		default: // nobody reads any more
		}
	}
	w.rest = lines[len(lines)-1]
	return len(p), nil
}

func (w *lineWriter) wait(t *testing.T, want string) string {
	t.Helper()
	for end := time.After(demoPatience); ; {
		select {
		case line := <-w.lines:
			if strings.Contains(line, want) {
				return line
			}
		case <-end:
			t.Fatalf("no line with %q", want)
		}
	}
}
