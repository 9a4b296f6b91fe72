package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/plugins/catalog/lock"
)

const withPlugins = minimal + `
[plugins]
enable = [
  "domains",  # recipients
]
`

// TestInstall: the whole way of a plugin, with a server that runs.
func TestInstall(t *testing.T) {
	m := newMarket(t, withPlugins)
	p := m.publish("acme-greylist", "1.0.0", modest, deferer)
	g := m.running()
	before := m.kept()

	// nobody is there to be asked
	r := m.run("plugin", "install", "acme-greylist")
	m.want(r, exitPermission, "acme-greylist 1.0.0\n", string(p.Digest), m.key.Key().String(), "strangers must try twice",
		"nobody is here to be asked, so nothing is installed; what is shown above is accepted with: --accept "+m.hash["acme-greylist@1.0.0"])
	if m.kept() != before {
		t.Errorf("something was installed: %s", m.kept())
	}

	r = m.run("plugin", "install", "acme-greylist", "--accept", m.hash["acme-greylist@1.0.0"])
	if want := "acme-greylist 1.0.0 is installed\nlive in generation 2: acme-greylist\n"; r.code != 0 || r.out != want || r.err != "" {
		t.Fatalf("exit code %d, %q, want %q, %q", r.code, r.out, want, r.err)
	}
	if got, want := m.read("stagepost.toml"), strings.Replace(withPlugins, "  # recipients\n", "  # recipients\n  \"acme-greylist\",\n", 1); got != want {
		t.Errorf("the configuration became\n%s", got)
	}
	l, err := lock.Read(filepath.Join(m.dir, lock.Name))
	if err != nil || len(l.Plugins) != 1 {
		t.Fatal(l, err)
	}
	if got := l.Plugins[0]; got.Digest != p.Digest || got.Index != "main" || got.Place != filepath.Join(m.dir, "packages") || got.Signer != m.key.Key().String() || got.Capabilities != m.hash["acme-greylist@1.0.0"] || got.Needs["kv"] != "own" {
		t.Errorf("the lock says %+v", got)
	}
	if _, err := l.Plugins[0].Files(filepath.Join(m.dir, "data")); err != nil {
		t.Error(err)
	}
	if st := g.Status(); st.Generation != 2 || st.Error != "" {
		t.Errorf("%+v", st)
	}

	// again: there is nothing to do
	before = m.kept()
	m.want(m.run("plugin", "install", "acme-greylist"), 0, "acme-greylist 1.0.0 is installed already\n", "!live")
	m.want(m.run("plugin", "update"), 0, "acme-greylist 1.0.0 is the newest\n")
	if m.kept() != before || g.Status().Generation != 2 {
		t.Errorf("something changed: %s", m.kept())
	}

	// a newer one with the same rights needs no word
	m.publish("acme-greylist", "1.1.0", modest, deferer+" -- better")
	m.want(m.run("plugin", "update", "--dry-run"), 0, "acme-greylist 1.1.0 would be installed, in the place of 1.0.0\n")
	if m.kept() != before {
		t.Errorf("a dry run changed something: %s", m.kept())
	}
	m.want(m.run("plugin", "update"), 0, "acme-greylist 1.1.0 is installed, in the place of 1.0.0\nlive in generation 3: acme-greylist\n")
	if names, err := os.ReadDir(lock.Folder(filepath.Join(m.dir, "data"))); err != nil || !strings.Contains(m.kept(), "1.1.0") || strings.Contains(m.kept(), p.Digest.Encoded()) {
		t.Errorf("%v, %v, %s", names, err, m.kept())
	}

	// one that asks for more is held, until it is accepted
	before = m.kept()
	m.publish("acme-greylist", "2.0.0", curious, deferer)
	r = m.run("plugin", "update", "acme-greylist")
	m.want(r, exitPermission, "acme-greylist 2.0.0 is held. Beyond what 1.1.0 may do, it\n  - contacts the DNS", "stagepost plugin info acme-greylist@2.0.0 --config", "stagepost plugin update acme-greylist --accept "+m.hash["acme-greylist@2.0.0"]+" --config", "acme-greylist 2.0.0 is held until accepted")
	if m.kept() != before || g.Status().Generation != 3 {
		t.Errorf("something changed: %s", m.kept())
	}
	m.want(m.run("plugin", "update", "--accept", m.hash["acme-greylist@2.0.0"]), 0, "acme-greylist 2.0.0 is installed, in the place of 1.1.0\nlive in generation 4")

	// back only by a word
	before = m.kept()
	m.want(m.run("plugin", "install", "acme-greylist@1.1.0"), exitData, "acme-greylist 2.0.0 is installed, and 1.1.0 is older; to put it in its place nevertheless, add --downgrade")
	if m.kept() != before {
		t.Errorf("something changed: %s", m.kept())
	}
	m.want(m.run("plugin", "install", "acme-greylist@1.1.0", "--downgrade"), 0, "acme-greylist 1.1.0 is installed, in the place of 2.0.0\nlive in generation 5")

	// on a new machine
	if err := os.RemoveAll(lock.Folder(filepath.Join(m.dir, "data"))); err != nil {
		t.Fatal(err)
	}
	m.want(m.run("check"), exitConfig, "stagepost plugin install")
	m.want(m.run("plugin", "install"), 0, "acme-greylist 1.1.0 is there again\n")
	m.want(m.run("plugin", "install"), 0, "all that plugins.lock names is there\n")
	m.want(m.run("check"), 0)
}

// TestInstallElsewhere: what the record says of a place is true in any folder.
func TestInstallElsewhere(t *testing.T) {
	m := newMarket(t, withPlugins)
	m.publish("acme", "1.0.0", modest, deferer)
	t.Chdir(m.dir)
	a := m.app
	var out, errs strings.Builder
	if code := run(t.Context(), &a, []string{"plugin", "install", "acme", "--accept", m.hash["acme@1.0.0"]}, strings.NewReader(""), &out, &errs); code != 0 {
		t.Fatal(code, out.String(), errs.String())
	}
	if l, err := lock.Read(lock.Name); err != nil || l.Plugins[0].Place != filepath.Join(m.dir, "packages") {
		t.Errorf("%+v, %v", l, err)
	}
	for _, gone := range []string{"trust.toml", "data"} {
		if err := os.RemoveAll(gone); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir("/")
	m.want(m.run("plugin", "install"), 0, "acme 1.0.0 is there again\n")
}

// TestInstallWithdrawn: that a version was withdrawn is said also where nothing is asked.
func TestInstallWithdrawn(t *testing.T) {
	m := newMarket(t, withPlugins)
	m.publish("acme", "1.0.0", modest, deferer)
	m.publish("acme", "1.1.0", modest, deferer)
	if err := m.list.Yank("acme", "1.1.0", "it loses mail"); err != nil {
		t.Fatal(err)
	}
	m.renew(time.Minute)
	m.want(m.run("plugin", "install", "acme@1.1.0"), exitPermission, "It was withdrawn: it loses mail\n", "nobody is here to be asked")
	accept := []string{"--accept", m.hash["acme@1.0.0"]}
	m.want(m.run(append([]string{"plugin", "install", "acme"}, accept...)...), 0, "acme 1.0.0 is installed\n", "!withdrawn")
	m.want(m.run("plugin", "install", "acme@1.1.0"), 0, "acme 1.1.0 was withdrawn: it loses mail\n", "acme 1.1.0 is installed, in the place of 1.0.0\n")
	m.want(m.run(append([]string{"plugin", "install", "acme@1.1.0"}, accept...)...), 0, "acme 1.1.0 was withdrawn: it loses mail\n", "acme 1.1.0 is installed already\n")
}

// TestUpdateFromAnotherIndex: where an id belongs to another index by now, the plugin of that name there may be somebody else's. It is held,
// although it asks for no more.
func TestUpdateFromAnotherIndex(t *testing.T) {
	m := newMarket(t, withPlugins)
	m.publish("acme-greylist", "1.0.0", modest, deferer)
	accept := m.hash["acme-greylist@1.0.0"]
	m.want(m.run("plugin", "install", "acme-greylist", "--accept", accept), 0, "acme-greylist 1.0.0 is installed\n")
	before := m.kept()
	m.list.Name = "other"
	m.write("trust.toml", m.trusting("other", "index.json", m.key))
	m.publish("acme-greylist", "1.1.0", modest, deferer+" -- better")
	const why = "comes from another index: other, and not main"
	m.want(m.run("plugin", "update"), exitPermission, "acme-greylist 1.1.0 is held", why)
	m.want(m.run("plugin", "install", "acme-greylist"), exitPermission, why)
	if m.kept() != before {
		t.Errorf("it was installed: %s", m.kept())
	}
	m.want(m.run("plugin", "update", "--accept", accept), 0, "acme-greylist 1.1.0 is installed, in the place of 1.0.0\n")
	m.want(m.run("plugin", "update"), 0, "acme-greylist 1.1.0 is the newest\n")
}

// TestUpdateOthers: a plugin of which there is no version left, or that cannot be got, keeps no other from being brought up to date.
func TestUpdateOthers(t *testing.T) {
	m := newMarket(t, withPlugins)
	for _, id := range []string{"acme", "beta", "gamma"} {
		m.publish(id, "1.0.0", modest, deferer)
	}
	m.want(m.run("plugin", "install", "acme", "beta", "gamma", "--accept", m.hash["acme@1.0.0"], "--accept", m.hash["beta@1.0.0"], "--accept", m.hash["gamma@1.0.0"]), 0)
	if err := m.list.Yank("acme", "1.0.0", "it loses mail"); err != nil {
		t.Fatal(err)
	}
	if err := m.list.Add(m.pack("beta", "1.1.0", modest, deferer), []string{"https://localhost:1/plugins"}, m.key, noon); err != nil {
		t.Fatal(err)
	}
	m.publish("gamma", "1.1.0", modest, deferer)
	m.want(m.run("plugin", "update"), exitData, "acme 1.0.0 stays as it is: index main: there is no version left: acme 1.0.0 was yanked: it loses mail\n",
		"beta 1.0.0 stays as it is: ", "gamma 1.1.0 is installed, in the place of 1.0.0\n", "not all could be brought up to date\n")
	m.want(m.run("plugin", "update", "beta", "gamma"), exitUnavailable, "beta 1.0.0 stays as it is: ", "gamma 1.1.0 is the newest\n")
	m.want(m.run("plugin", "update", "--json", "acme", "gamma"), exitData, `{"id":"acme","version":"1.0.0","state":"missed",`, `{"id":"gamma","version":"1.1.0","state":"current",`)
	m.want(m.run("plugin", "update", "beta"), exitUnavailable, "beta 1.1.0", "!stays")
}

// TestInstallJSON: what programs get.
func TestInstallJSON(t *testing.T) {
	m := newMarket(t, withPlugins)
	m.publish("acme-greylist", "1.0.0", modest, deferer)
	rights := m.hash["acme-greylist@1.0.0"]
	read := func(r result, code int) (o outcome) {
		t.Helper()
		if err := json.Unmarshal([]byte(r.out), &o); err != nil || r.code != code || strings.Count(r.out, "\n") != 1 {
			t.Fatalf("exit code %d, %v, %q, %q", r.code, err, r.out, r.err)
		}
		return o
	}
	if o := read(m.run("plugin", "install", "acme-greylist", "--json"), exitPermission); o.State != stateAsked || o.Rights != rights || o.Sheet == nil || o.Sheet.Rights != rights || o.Signer != m.key.Key().String() {
		t.Errorf("%+v", o)
	}
	if o := read(m.run("plugin", "install", "acme-greylist", "--json", "--accept", rights), 0); o.State != stateInstalled || !o.Enabled || o.Generation != 0 || o.Index != "main" || o.Sheet != nil {
		t.Errorf("%+v", o)
	}
	if o := read(m.run("plugin", "update", "--json"), 0); o.State != stateCurrent || !o.Enabled {
		t.Errorf("%+v", o)
	}
	m.publish("acme-greylist", "2.0.0", curious, deferer)
	if o := read(m.run("plugin", "update", "--json"), exitPermission); o.State != stateHeld || o.From != "1.0.0" || len(o.More) != 1 || o.Sheet == nil {
		t.Errorf("%+v", o)
	}
	if o := read(m.run("plugin", "update", "--json", "--dry-run", "--accept", m.hash["acme-greylist@2.0.0"]), 0); o.State != stateNewer || o.From != "1.0.0" {
		t.Errorf("%+v", o)
	}
	m.running()
	if o := read(m.run("plugin", "update", "--json", "--accept", m.hash["acme-greylist@2.0.0"]), 0); o.State != stateInstalled || o.From != "1.0.0" || o.Generation != 2 {
		t.Errorf("%+v", o)
	}
	os.RemoveAll(lock.Folder(filepath.Join(m.dir, "data")))
	if o := read(m.run("plugin", "install", "--json"), 0); o.State != stateUnpacked || o.Version != "2.0.0" {
		t.Errorf("%+v", o)
	}
}

// TestInstallRefused: what the server refuses is put back, all of it, and so is what it would refuse at its next start.
func TestInstallRefused(t *testing.T) {
	for _, running := range []bool{true, false} {
		m := newMarket(t, withPlugins)
		m.publish("acme-greylist", "1.0.0", modest, deferer)
		m.publish("acme-friends", "1.0.0", strict, deferer)
		m.publish("acme-late", "1.0.0", modest, deferer)
		if running {
			m.running()
		}
		m.want(m.run("plugin", "install", "acme-late", "--accept", m.hash["acme-late@1.0.0"]), 0)
		before := m.kept()
		r := m.run("plugin", "install", "acme-greylist", "acme-friends", "--accept", m.hash["acme-greylist@1.0.0"], "--accept", m.hash["acme-friends@1.0.0"])
		m.want(r, exitConfig, "friends", "so acme-greylist 1.0.0, acme-friends 1.0.0 are not installed, and all is as it was", "--no-enable")
		if m.kept() != before {
			t.Errorf("running %t: not put back: %s, want %s", running, m.kept(), before)
		}
		m.want(m.run("check"), 0)
		if running {
			m.want(m.run("reload"), 0, "nothing changed; generation 2")
		}
		// an update that the settings do not fit
		m.publish("acme-late", "1.1.0", strict, deferer)
		m.want(m.run("plugin", "update", "acme-late", "--accept", m.hash["acme-late@1.1.0"]), exitConfig, "friends", "so acme-late 1.1.0 is not installed, and all is as it was")
		if m.kept() != before {
			t.Errorf("running %t: not put back: %s, want %s", running, m.kept(), before)
		}
		m.want(m.run("check"), 0)

		m.want(m.run("plugin", "install", "acme-friends", "--no-enable", "--accept", m.hash["acme-friends@1.0.0"]), 0, "acme-friends 1.0.0 is installed\n", "not loaded, since enable in the configuration does not name it: acme-friends\n")
		m.want(m.run("check"), 0)
		m.write("stagepost.toml", m.read("stagepost.toml")+"[plugin.acme-friends]\nfriends = [\"a\"]\n")
		m.want(m.run("plugin", "install", "acme-friends"), 0, "acme-friends 1.0.0 is installed already")
		m.want(m.run("check"), 0)
		if !strings.Contains(m.read("stagepost.toml"), "  \"acme-late\",\n  \"acme-friends\",\n]") {
			t.Errorf("%s", m.read("stagepost.toml"))
		}
	}
}
