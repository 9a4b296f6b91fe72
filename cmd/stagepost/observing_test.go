package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
)

func observingPage(t *testing.T) string {
	t.Helper()
	for _, p := range pages() {
		if p.name == "observing" {
			return p.text()
		}
	}
	t.Fatal("there is no page observing")
	return ""
}

// TestJSONIsDocumented: each field of `status --json` and `trace --json` is in the manual.
func TestJSONIsDocumented(t *testing.T) {
	page := observingPage(t)
	seen := 0
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct {
			return
		}
		for i := range typ.NumField() {
			f := typ.Field(i)
			if !f.IsExported() {
				continue
			}
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
				seen++
				if !strings.Contains(page, "`"+name+"`") {
					t.Errorf("%s.%s, %s in JSON, is not in the manual", typ, f.Name, name)
				}
			}
			walk(f.Type)
		}
	}
	walk(reflect.TypeFor[admin.Status]())
	walk(reflect.TypeFor[observe.Step]())
	if seen < 40 {
		t.Errorf("only %d fields were found", seen)
	}
}

// TestLogOfMail: each message has a line when it came in and one for each recipient's outcome, each with its id, by which the
// record is found; the fields are in the manual.
func TestLogOfMail(t *testing.T) {
	dir, err := demoFolder(filepath.Join(t.TempDir(), "demo"))
	if err != nil {
		t.Fatal(err)
	}
	world, err := openInternet()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.close)
	file := filepath.Join(dir, localConfig)
	s := &site{t: t, dir: dir, config: file, app: *newApp()}
	s.write("plugins/broken.lua", "plugin { id = \"broken\", hook = { data = { on_error = \"next\" } } }\n"+
		"function on.data(m) log.info('asked', { n = 1 }) error('broken') end\n")
	var text bytes.Buffer
	log, out := observe.NewLog(&text, observe.LogOptions{})
	d, err := startDaemon(t.Context(), file, daemonOptions{log: log, console: io.Discard, resolver: world, dial: world.dial})
	if err != nil {
		t.Fatal(err)
	}
	const letter = "From: <a@red.example>\nDate: Thu, 1 Jan 2026 00:00:00 +0000\n\nhello\n"
	server := d.bound.address("mx")
	id := ""
	for to, code := range map[string]int{"u@demo.example": 250, "v@down.example": 250, "nobody@demo.example": 550} {
		r := sendTo(t, server, "a@red.example", to, letter)
		if r.Code != code {
			t.Errorf("%s: %s", to, r.Error())
		}
		if to == "u@demo.example" {
			id = strings.TrimPrefix(r.Text[0], "queued as ")
		}
	}
	if r := sendTo(t, server, "a@red.example", "u@demo.example", "From: <a@red.example>\n\nno date\n"); r.Code != 550 {
		t.Error(r.Error())
	}
	s.eventually([]string{"trace", id}, "delivered", "<a@red.example>, ", " bytes, by 127.0.0.1 (client.example)")
	s.eventually([]string{"queue", "list"}, "connection refused")
	if err := d.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}

	page := observingPage(t)
	mail := map[string]int{}
	sessions := map[string]bool{}
	var ids []string
	for line := range strings.Lines(text.String()) {
		var event map[string]any
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		for key := range event {
			if !strings.Contains(page, "`"+key+"`") {
				t.Errorf("the field %s is not in the manual: %s", key, line)
			}
		}
		switch msg, _ := event["msg"].(string); msg {
		case "accepted", "rejected", "delivered", "deferred", "a plugin failed", "asked":
			if mail[msg]++; event["id"] == nil {
				t.Errorf("a line about a message without its id: %s", line)
				continue
			}
			ids = append(ids, event["id"].(string))
		}
		if v, ok := event["session"].(string); ok {
			sessions[v] = true
		}
	}
	for msg, least := range map[string]int{"accepted": 2, "rejected": 2, "delivered": 1, "deferred": 1, "a plugin failed": 1, "asked": 2} {
		if mail[msg] < least {
			t.Errorf("%d lines %q, want %d:\n%s", mail[msg], msg, least, text.String())
		}
	}
	for _, id := range ids {
		if _, err := message.ParseID(id); err != nil || sessions[id] {
			t.Errorf("id %s: %v, or a session has it too", id, err)
		}
	}
}
