package index

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// one is a trust.toml with one index, at a file.
func one(file string) string {
	return fmt.Sprintf("[[index]]\nname = \"main\"\nplace = %q\nnamespaces = [\"*\"]\nkeys = [\"KEY1\"]\n", file)
}

// TestStory: what is published is found, and got; later versions are seen after a refresh, and a catalog works off line until the index
// expires.
func TestStory(t *testing.T) {
	s, folder := newSite(t, "main"), t.TempDir()
	s.add(s.key, "alpha@1.0.0", "alpha@1.1.0", "alpha@2.0.0-rc.1", "beta@0.1.0")
	s.publish()
	c := open(t, folder, one(s.file()), &s.now)
	_, err := c.Find("alpha", "")
	says(t, err, "index main: it has never been fetched")
	says(t, c.Refresh(t.Context()), "")
	f, err := c.Find("alpha", "")
	says(t, err, "")
	if f.Entry.Version != "1.1.0" || f.Index != "main" || f.Signer != s.key.Key() || f.SignerID != s.key.Key().ID() {
		t.Errorf("found %+v", f)
	}
	p, err := c.Get(t.Context(), f)
	says(t, err, "")
	if p.Digest != f.Entry.Digest || p.Summary.Version != "1.1.0" {
		t.Errorf("got %+v", p.Summary)
	}

	says(t, s.index.Yank("alpha", "1.1.0", "it loses mail"), "")
	s.publish()
	if f, _ := c.Find("alpha", ""); f.Entry.Version != "1.1.0" {
		t.Error("it is not what is kept")
	}
	says(t, c.Refresh(t.Context()), "")
	if f, _ := c.Find("alpha", ""); f.Entry.Version != "1.0.0" {
		t.Errorf("a yanked version was chosen: %+v", f)
	}
	if f, err := c.Find("alpha", "1.1.0"); err != nil || f.Entry.Yanked != "it loses mail" {
		t.Errorf("%+v, %v", f, err)
	}

	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	c = open(t, folder, one(s.file()), &s.now)
	err = c.Refresh(t.Context())
	says(t, err, "no such file or directory; an index needs its signature beside it; the one that is kept is used on, until 2026-09-29 12:00 UTC")
	if p, ok := err.(Problems); !ok || !p.Usable() {
		t.Errorf("%T: one cannot go on", err)
	}
	s.now = s.now.Add(90*24*time.Hour - time.Second)
	_, err = c.Find("alpha", "")
	says(t, err, "")
	s.now = s.now.Add(time.Second)
	_, err = c.Find("alpha", "")
	says(t, err, "index main: it expired on 2026-09-29 12:00 UTC; whoever keeps it has to renew it")
	_, err = c.Search(nil)
	says(t, err, "index main: it expired")
	err = c.Refresh(t.Context())
	if p, ok := err.(Problems); !ok || p.Usable() {
		t.Errorf("%v: one can go on with an index that expired", err)
	}
}

// TestReplay: what was seen is not taken back.
func TestReplay(t *testing.T) {
	s := newSite(t, "main")
	s.add(s.key, "alpha@1.0.0")
	s.publish()
	first, _ := os.ReadFile(s.file())
	signature, _ := os.ReadFile(s.file() + SignatureSuffix)
	c := open(t, t.TempDir(), one(s.file()), &s.now)
	says(t, c.Refresh(t.Context()), "")
	says(t, c.Refresh(t.Context()), "")
	s.add(s.key, "alpha@1.0.1")
	s.publish()
	says(t, c.Refresh(t.Context()), "")
	s.put(first, signature)
	err := c.Refresh(t.Context())
	says(t, err, "index main: it is an old one: its serial is 1, and that of the one that is kept 2; somebody may be replaying it")
	if p, ok := err.(Problems); !ok || p.Usable() || !p[0].Usable {
		t.Errorf("%v", err)
	}
	if f, err := c.Find("alpha", ""); err != nil || f.Entry.Version != "1.0.1" {
		t.Errorf("%+v, %v", f, err)
	}
	s.add(s.key, "beta@1.0.0")
	s.write()
	says(t, c.Refresh(t.Context()), "it has the serial 2, as the one that is kept, and other content")
	if _, err := os.Stat(filepath.Join(c.folder, "index-main")); err != nil {
		t.Error(err)
	}
}
