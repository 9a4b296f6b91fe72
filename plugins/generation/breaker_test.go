package generation

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/breaker"
)

// loops is a plugin that uses up its instructions at rcpt.
func loops(id, more string) string {
	return "plugin { id = \"" + id + "\", version = \"1.0.0\", api = 0, description = \"x\" }\n" +
		"function on.rcpt(r)\n  while true do end\nend\nfunction on.mail(m) end\n" + more
}

// TestBreakerOverReloads: a breaker stays open while its plugin is what it was, and a change of the plugin begins anew. The log
// has one line for it, however many calls it answers.
func TestBreakerOverReloads(t *testing.T) {
	s := newSite(t)
	var log syncBuffer
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	s.write("plugins/vip.lua", loops("vip", ""))
	s.mustOpen()
	vip := func() HookStatus {
		t.Helper()
		for _, p := range s.m.Status().Plugins {
			if p.Name == "vip" {
				if p.Stages[0] != "mail" || p.Stages[1] != "rcpt" || p.Hooks[0].Open || p.Calls != p.Hooks[1].Calls {
					t.Errorf("status %+v", p)
				}
				return p.Hooks[1]
			}
		}
		t.Fatal("the plugin is not there")
		return HookStatus{}
	}
	for range 20 {
		if got := s.says(); got != "a policy check failed, try again later" {
			t.Fatalf("it says %q", got)
		}
	}
	if st := vip(); !st.Open || st.Calls != 10 || st.Errors != 10 || st.Skipped != 10 || st.Why != breaker.OverInstructions {
		t.Errorf("after 20 calls: %+v", st)
	}
	const line = "a plugin is not asked for now"
	if text := log.String(); strings.Count(text, line) != 1 || !strings.Contains(text, "plugin=vip stage=rcpt last=\"ran out of instructions\" on_error=defer pos=plugins/vip.lua:2") {
		t.Errorf("the log: %s", text)
	}
	s.write("plugins/other.lua", code("other", "no"))
	if c := s.m.Reload(t.Context()); c.Err != nil || !c.Changed {
		t.Fatalf("%+v", c)
	}
	if st := vip(); !st.Open || st.Calls != 10 {
		t.Errorf("after another plugin was added: %+v", st)
	}
	s.write("plugins/vip.lua", loops("vip", "-- changed\n"))
	if c := s.m.Reload(t.Context()); c.Err != nil {
		t.Fatalf("%+v", c)
	}
	if st := vip(); st.Open || st.Calls != 0 {
		t.Errorf("after it was changed: %+v", st)
	}
	if n := strings.Count(log.String(), line); n != 1 {
		t.Errorf("the log has %d lines", n)
	}
}
