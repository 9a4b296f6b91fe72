package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
)

func TestChoose(t *testing.T) {
	const text = "case a\nhost mx1\nbanner: close\nhost mx2\nEHLO: close\ncase b\nrow x\nhost mx1\nMAIL: close"
	for _, c := range []struct{ name, host, stage, mistake string }{
		{"", "", "banner", ""},
		{"a", "mx2", "EHLO", ""},
		{"b", "", "MAIL", ""},
		{"b", "mx2", "", "no host"},
		{"c", "", "", "there are: a; b"},
	} {
		got, err := choose(text, c.name, c.host)
		switch {
		case c.mistake != "":
			if err == nil || !strings.Contains(err.Error(), c.mistake) {
				t.Errorf("%+v: %v", c, err)
			}
		case err != nil || got[0][c.stage] != "close":
			t.Errorf("%+v: %v, %v", c, got, err)
		}
	}
}

// TestCases: each file of cases can be served by hand.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("cases/*.case")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := remotetest.Parse(string(text), notes()...); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}
