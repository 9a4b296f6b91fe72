package main

import (
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/queue"
)

// The limits of the file come to the queue, each with its line, and a new file brings new ones.
func TestSiteLimits(t *testing.T) {
	read := func(text string) *config.Config {
		t.Helper()
		c, err := config.Parse("stagepost.toml", []byte("hostname = \"mx.example.org\"\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\nrole = \"mx\"\n"+text), config.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	one := read("[queue]\nrate = \"10/s\"\n[site.\"google.com\"]\nconcurrency = 50\n[site.\"free.example\"]\nrate = \"none\"\nconnection_messages = 7\nprefer = \"ipv6\"\ntls = \"required\"\n")
	var s shaping
	got := s.shape(one)
	if s.shape(one) != got {
		t.Error("the limits of one configuration are made twice")
	}
	want := queue.Limits{Concurrency: 20, Rate: queue.Rate{N: 10, Per: time.Second}, ConnectionMessages: 100, Prefer: "any", TLS: "auto", By: queue.Origin{Rate: "stagepost.toml:7"}}
	if got.Default != want {
		t.Errorf("%+v", got.Default)
	}
	if l, want := got.Sites["google.com"], (queue.Limits{Concurrency: 50, By: queue.Origin{Concurrency: "stagepost.toml:9"}}); l != want {
		t.Errorf("%+v", l)
	}
	if l, want := got.Sites["free.example"], (queue.Limits{Rate: queue.Rate{Per: time.Second}, ConnectionMessages: 7, Prefer: "ipv6", TLS: "required", By: queue.Origin{Rate: "stagepost.toml:11", ConnectionMessages: "stagepost.toml:12", Prefer: "stagepost.toml:13", TLS: "stagepost.toml:14"}}); l != want {
		t.Errorf("%+v", l)
	}
	if s.shape(read("")) == got {
		t.Error("another configuration has the same limits")
	}
}
