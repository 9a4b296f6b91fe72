package main

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

// TestMailq compares with a golden file, in which ids are 16 times the same letter and times those of UTC.
func TestMailq(t *testing.T) {
	s := newSite(t, minimal)
	st := s.serve(nil)
	if r := s.run("mailq"); r.code != 0 || r.out != "Mail queue is empty\n" {
		t.Errorf("%d %q %s", r.code, r.out, r.err)
	}
	greylisted := message.Last{Code: 451, Enhanced: "4.7.1", Text: "Greylisted, come back later", Host: "mx1.example.org[192.0.2.1]:25"}
	later := func(last message.Last) store.RcptState {
		return store.RcptState{Result: message.Deferred, Attempts: 1, Next: noon.Add(time.Hour), Lane: "mx:example.org", Last: last}
	}
	var ids []string
	add := func(sender string, size int, held string, states []store.RcptState, rcpts ...string) {
		id := put(t, st, sender, strings.Repeat("x", size), rcpts...)
		ids = append(ids, id.String())
		ch := store.Change{ID: id}
		for i, r := range states {
			if r.Result != 0 {
				ch.Rcpts = append(ch.Rcpts, store.RcptChange{Index: uint16(i), RcptState: r})
			}
		}
		if held != "" {
			ch.Held = &held
		}
		if len(ch.Rcpts) > 0 || ch.Held != nil {
			if stale, err := st.Update(t.Context(), nil, ch); err != nil || len(stale) > 0 {
				t.Fatal(stale, err)
			}
		}
	}
	add("a@example.net", 1234, "", nil, "u@example.org", "v@example.org")
	add("", 10, "a look", []store.RcptState{{}}, "u@example.org")
	add("list@example.net", 1<<20, "", []store.RcptState{later(greylisted), later(greylisted), {Result: message.Delivered}, later(message.Last{Code: 451, Enhanced: "4.4.1", Text: strings.Repeat("no route to anybody ", 5)}), {}},
		"u@example.org", "v@example.org", "done@example.org", "w@example.com", "x@example.com")
	r := s.run("mailq")
	for i, id := range ids {
		r.out = strings.ReplaceAll(r.out, id, strings.Repeat(string(rune('A'+i)), 16))
	}
	r.out = strings.ReplaceAll(r.out, noon.Add(-2*time.Hour).Local().Format("Mon Jan _2 15:04:05"), "Sun Mar  1 10:00:00")
	golden, err := os.ReadFile("testdata/mailq.golden")
	if err != nil || r.code != 0 || r.out != string(golden) {
		t.Errorf("%v; exit code %d, %s\n%s", err, r.code, r.err, r.out)
	}
	for program, want := range map[string][]string{"/usr/bin/mailq": {"mailq", "--help"}, "/usr/bin/stagepost": {"--help"}, "mailq.exe": {"mailq", "--help"}} {
		if got := calledAs(program, []string{"--help"}); !slices.Equal(got, want) {
			t.Errorf("called as %s: %q, want %q", program, got, want)
		}
	}
}

func TestShape(t *testing.T) {
	s := newSite(t, minimal)
	st := s.serve(nil)
	s.want(s.run("queue", "shape"), 0, "all     0")
	put(t, st, "a@example.net", "x", "u@example.org", "v@example.org", "w@example.com")
	s.want(s.run("queue", "shape"), 0, "DOMAIN       TOTAL  5  10", "1280  1280+", "all          3      0  0   0   0   0   3", "example.org  2", "example.com  1")
	s.want(s.run("queue", "shape", "--by", "sender", "--json"), 0, `{"name":"","total":1,"ages":[0,0,0,0,0,1,0,0,0,0]}`, `{"name":"example.net","total":1,`)
	s.want(s.run("queue", "shape", "--by", "age"), exitUsage, "none of domain, next-hop, site, sender, tenant")
}
