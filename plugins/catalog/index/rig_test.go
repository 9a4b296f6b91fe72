package index

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"

	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/trust"
)

// day is when the tests take place, unless they say otherwise.
var day = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// key makes the same key of a number each time.
func key(t testing.TB, n uint64) *Secret {
	t.Helper()
	_, private, err := minisign.GenerateKey(strings.NewReader(strings.Repeat(string(binary.BigEndian.AppendUint64(nil, n)), 8)))
	if err != nil {
		t.Fatal(err)
	}
	return &Secret{private}
}

// plugin makes the package of a plugin that does nothing.
func plugin(t testing.TB, id, version string) *catalog.Package {
	t.Helper()
	p, err := catalog.Pack(id, map[string][]byte{
		"init.lua":  fmt.Appendf(nil, "plugin{ id = %q, version = %q, api = 0, description = \"the plugin %s\", needs = { kv = \"own\", http = { \"api.example.org:443\" } } }\non.mail = function() end\n", id, version, id),
		"README.md": []byte("# " + id + "\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// site is a folder with an index and packages, and what a server has of them.
type site struct {
	t     testing.TB
	dir   string
	now   time.Time
	index *Index
	key   *Secret // of the index
}

// newSite makes a site with an index of a name.
func newSite(t testing.TB, name string) *site {
	return &site{t: t, dir: t.TempDir(), now: day, index: &Index{Name: name, Places: []string{"packages"}}, key: key(t, 1)}
}

func (s *site) file() string { return filepath.Join(s.dir, "index.json") }

// add puts packages into the site, signed with a key, and enters them.
func (s *site) add(k *Secret, names ...string) {
	s.t.Helper()
	place, err := catalog.At(filepath.Join(s.dir, "packages"), catalog.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, name := range names {
		id, version, _ := strings.Cut(name, "@")
		p := plugin(s.t, id, version)
		if err := place.Put(s.t.Context(), p); err != nil {
			s.t.Fatal(err)
		}
		if err := s.index.Add(p, nil, k, s.now); err != nil {
			s.t.Fatal(err)
		}
	}
}

// publish writes the next serial of the index.
func (s *site) publish() {
	s.t.Helper()
	if err := s.index.Renew(s.now, 90*24*time.Hour); err != nil {
		s.t.Fatal(err)
	}
	s.write()
}

// write writes the index as it is.
func (s *site) write() {
	s.t.Helper()
	data, signature, err := s.index.Signed(s.key)
	if err != nil {
		s.t.Fatal(err)
	}
	s.put(data, signature)
}

func (s *site) put(data, signature []byte) {
	s.t.Helper()
	for name, text := range map[string][]byte{s.file(): data, s.file() + SignatureSuffix: signature} {
		if err := os.WriteFile(name, text, 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
}

// open gives the catalog of a trust.toml. In its text, KEY1 is the first key, ID1 what it is called in short, and so on.
func open(t testing.TB, folder, text string, now *time.Time) *Catalog {
	t.Helper()
	for n := uint64(1); n < 5; n++ {
		text = strings.ReplaceAll(text, fmt.Sprintf("KEY%d", n), key(t, n).Key().String())
	}
	tr, err := trust.Parse("trust.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	c := Open(tr, folder, catalog.Options{}, func() time.Time { return *now })
	c.wait = 0
	return c
}

// says holds an error against a part of its message, in one line; "" is no error.
func says(t testing.TB, err error, want string) {
	t.Helper()
	for n := uint64(1); n < 5; n++ {
		want = strings.ReplaceAll(want, fmt.Sprintf("ID%d", n), key(t, n).Key().ID())
	}
	switch {
	case want == "" && err == nil:
	case want == "" || err == nil:
		t.Errorf("got %v, want %q", err, want)
	case !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n"):
		t.Errorf("got %v, want %s", err, want)
	}
}
