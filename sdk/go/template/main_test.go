package main

import (
	"testing"

	stagepost "github.com/stagepost/stagepost/sdk/go"
	"github.com/stagepost/stagepost/sdk/go/plugintest"
)

func TestRcpt(t *testing.T) {
	server := plugintest.New()
	if err := server.Configure(map[string]any{"unwanted": []any{"sales"}}); err != nil {
		t.Fatal(err)
	}
	for mailbox, want := range map[string]string{"sales": "reject", "user": "next"} {
		server.Set("rcpt.address", stagepost.Address{Text: mailbox + "@example.org", Mailbox: mailbox, Domain: "example.org"})
		if got := server.Ask("rcpt"); got.Verdict != want {
			t.Errorf("%s: %+v, want %s", mailbox, got, want)
		}
	}
}
