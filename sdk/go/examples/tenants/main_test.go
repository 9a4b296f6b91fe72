package main

import (
	"strings"
	"testing"
	"time"

	stagepost "github.com/stagepost/stagepost/sdk/go"
	"github.com/stagepost/stagepost/sdk/go/plugintest"
)

func server(t *testing.T) *plugintest.Server {
	t.Helper()
	clear(relays)
	s := plugintest.New()
	if err := s.Configure(map[string]any{"relays": map[string]any{"Acme.example": "out.acme.example:25"}, "wait": int64(900)}); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestMail(t *testing.T) {
	s := server(t)
	s.Set("message.sender", stagepost.Address{Text: "a@acme.example", Mailbox: "a", Domain: "acme.example"})
	got := s.Ask("mail")
	if got.Verdict != "next" || len(got.Edits) != 1 || got.Edits[0].Name != "schedule" || got.Edits[0].Args.(map[string]any)["tenant"] != "acme.example" {
		t.Errorf("%+v", got)
	}
	s.Set("message.sender", stagepost.Address{})
	if got := s.Ask("mail"); len(got.Edits) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestRoute(t *testing.T) {
	s := server(t)
	for _, tt := range []struct{ tenant, class, want string }{{"acme.example", "relay", "route"}, {"acme.example", "local", "next"}, {"other.example", "relay", "next"}} {
		s.Set("message.tenant", tt.tenant)
		s.Set("rcpt.class", tt.class)
		got := s.Ask("route")
		if got.Verdict != tt.want || tt.want == "route" && got.Fields["hosts"].([]any)[0] != "out.acme.example:25" {
			t.Errorf("%+v: %+v", tt, got)
		}
	}
}

func TestDeferred(t *testing.T) {
	s := server(t)
	s.Set("message.tenant", "acme.example")
	if got := s.Ask("deferred"); got.Verdict != "next" {
		t.Errorf("without an outcome: %+v", got)
	}
	s.Set("rcpt.last", stagepost.Last{Code: 450, Text: "busy"})
	if got := s.Ask("deferred"); got.Verdict != "defer" || got.Fields["after"] != (15*time.Minute).Seconds() {
		t.Errorf("%+v", got)
	}
}

func TestWrongSettings(t *testing.T) {
	err := plugintest.New().Configure(map[string]any{"relays": map[string]any{"acme.example": "nowhere"}})
	if err == nil || !strings.Contains(err.Error(), "the next hop of acme.example is nowhere") {
		t.Error(err)
	}
}
