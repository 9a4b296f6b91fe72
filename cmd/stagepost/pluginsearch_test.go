package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSearch: what is found, with and without a way to the index.
func TestSearch(t *testing.T) {
	m := newMarket(t, withPlugins)
	m.publish("acme-greylist", "1.0.0", modest, deferer)
	m.publish("acme-greylist", "1.2.0", curious, deferer)
	m.publish("other", "0.1.0", `description = "something else"`, deferer)
	id := m.key.Key().ID() // 16 digits, or fewer where the first are zeros
	want := "PLUGIN         VERSION  INSTALLED  INDEX  " + fmt.Sprintf("%-*s", len(id), "SIGNED BY") + "  DESCRIPTION\n" +
		"acme-greylist  1.2.0    -          main   " + id + "  strangers must try twice\n" +
		"other          0.1.0    -          main   " + id + "  something else\n"
	if r := m.run("plugin", "search"); r.code != 0 || r.out != want || r.err != "" {
		t.Errorf("exit code %d, got\n%s%s, want\n%s", r.code, r.out, r.err, want)
	}
	m.want(m.run("plugin", "search", "TWICE", "dns"), 0, "acme-greylist  1.2.0", "!other ")
	m.want(m.run("plugin", "search", "twice", "http"), 0, "no plugin is like that\n")
	m.want(m.run("plugin", "install", "acme-greylist@1.0.0", "--accept", m.hash["acme-greylist@1.0.0"]), 0)
	var l listed
	r := m.run("plugin", "search", "greylist", "--json")
	if err := json.Unmarshal([]byte(r.out), &l); err != nil || r.code != 0 || l.ID != "acme-greylist" || l.Version != "1.2.0" || l.Installed != "1.0.0" || l.Index != "main" ||
		l.Signer != m.key.Key().String() || l.Needs["dns"] != true || l.Engine != "lua" || len(l.Places) != 1 {
		t.Errorf("exit code %d, %v, %+v", r.code, err, l)
	}

	// the index is not where it was: what is kept is gone by, and said
	for _, name := range []string{"index.json", "packages"} {
		if err := os.Rename(filepath.Join(m.dir, name), filepath.Join(m.dir, name+".gone")); err != nil {
			t.Fatal(err)
		}
	}
	r = m.run("plugin", "search", "greylist")
	m.want(r, 0, "warning: index main: ", "index.json", "the one that is kept is used on, until", "acme-greylist  1.2.0    1.0.0")
	m.want(m.run("plugin", "search", "greylist", "--offline"), 0, "acme-greylist  1.2.0", "!warning")
	m.want(m.run("plugin", "info", "acme-greylist", "--offline"), 0, "acme-greylist 1.2.0\n", "needs       dns, kv\n", "!warning")
	r = m.run("plugin", "info", "acme-greylist")
	m.want(r, exitNoInput, "warning: index main", "needs       dns, kv\n", "packages")
	m.app.now = func() time.Time { return noon.Add(25 * time.Hour) }
	m.want(m.run("plugin", "search", "--offline"), exitData, "index main: it expired on")
	m.want(m.run("plugin", "info", "acme-greylist", "--offline"), exitData, "it expired on")
}

// TestSearchNever: what has never been fetched, and cannot be, is told by the reason; and who interrupts it is not told of a fault.
func TestSearchNever(t *testing.T) {
	m := newMarket(t, withPlugins)
	m.write("trust.toml", m.trusting("main", "https://localhost:1/index.json", m.key))
	m.want(m.run("plugin", "search"), exitUnavailable, "warning: index main: https://localhost:1/index.json", "connection refused", "index main: it has never been fetched\n")
	m.want(m.run("plugin", "info", "acme"), exitUnavailable, "index main: it has never been fetched\n")
	m.want(m.run("plugin", "search", "--offline"), exitData, "index main: it has never been fetched\n", "!warning")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	var out, errs strings.Builder
	a := m.app
	if code := run(ctx, &a, []string{"plugin", "search", "--config", m.config}, strings.NewReader(""), &out, &errs); code != exitTemporary || errs.String() != "enough\n" {
		t.Errorf("exit code %d, %q%q", code, out.String(), errs.String())
	}
}

// TestInfo: the sheet, before anything is installed.
func TestInfo(t *testing.T) {
	m := newMarket(t, withPlugins)
	p := m.publish("acme-greylist", "1.0.0", modest, deferer)
	m.publish("acme-greylist", "1.2.0", curious, deferer)
	before := m.kept()
	m.want(m.run("plugin", "info", "acme-greylist@1.0.0"), 0, "acme-greylist 1.0.0\n", "package "+string(p.Digest), "signed  by key "+m.key.Key().String(), "\n"+m.hash["acme-greylist@1.0.0"]+"\n",
		"index       main\n", "lies at     packages\n", "install     stagepost plugin install acme-greylist@1.0.0 --config stagepost.toml\n")
	m.want(m.run("plugin", "info", "acme-greylist"), 0, "acme-greylist 1.2.0\n", "the DNS, about any name")
	var l listed
	r := m.run("plugin", "info", "acme-greylist", "--json")
	if err := json.Unmarshal([]byte(r.out), &l); err != nil || l.Sheet == nil || l.Sheet.Rights != m.hash["acme-greylist@1.2.0"] || strings.Count(r.out, "\n") != 1 {
		t.Errorf("%v, %s", err, r.out)
	}
	if err := m.list.Yank("acme-greylist", "1.2.0", "it loses mail"); err != nil {
		t.Fatal(err)
	}
	m.renew(0)
	m.want(m.run("plugin", "info", "acme-greylist@1.2.0"), 0, "withdrawn   it loses mail\n")
	m.want(m.run("plugin", "info", "acme-greylist"), 0, "acme-greylist 1.0.0\n")
	m.want(m.run("plugin", "info", "acme-grylist"), exitData, "there is no plugin")
	m.want(m.run("plugin", "info", "./x#acme-greylist"), exitUsage, "what lies at a place")
	if m.kept() != before {
		t.Errorf("something was installed: %s", m.kept())
	}
}
