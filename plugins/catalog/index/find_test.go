package index

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/plugins/catalog"
)

// found names what was found: ID@VERSION, with the index and those that do not count.
func found(all []Found) string {
	var names []string
	for _, f := range all {
		name := f.Entry.ID + "@" + f.Entry.Version + " " + f.Index
		if f.Others != nil {
			name += " (not " + strings.Join(f.Others, ", ") + ")"
		}
		names = append(names, name)
	}
	return strings.Join(names, "; ")
}

// TestSeveralIndexes: an id belongs to one index, whatever others say of it.
func TestSeveralIndexes(t *testing.T) {
	own, strange, folder := newSite(t, "own"), newSite(t, "main"), t.TempDir()
	strange.key = key(t, 2)
	own.add(own.key, "acme-relay@1.0.0", "greylist@9.0.0")
	own.publish()
	strange.add(strange.key, "acme-relay@99.0.0", "acme-secret@1.0.0", "greylist@1.0.0")
	strange.publish()
	text := fmt.Sprintf("[[index]]\nname = \"own\"\nplace = %q\nnamespaces = [\"acme-*\"]\nkeys = [\"KEY1\"]\n"+
		"[[index]]\nname = \"main\"\nplace = %q\nnamespaces = [\"g*\", \"x\"]\nkeys = [\"KEY2\"]\n", own.file(), strange.file())
	c := open(t, folder, text, &own.now)
	says(t, c.Refresh(t.Context()), "")
	all, err := c.Search(nil)
	says(t, err, "")
	if got, want := found(all), "acme-relay@1.0.0 own (not main); greylist@1.0.0 main (not own)"; got != want {
		t.Errorf("found %s, want %s", got, want)
	}
	f, err := c.Find("acme-relay", "")
	says(t, err, "")
	if found([]Found{f}) != "acme-relay@1.0.0 own (not main)" {
		t.Errorf("found %+v", f)
	}
	_, err = c.Find("acme-relay", "99.0.0")
	says(t, err, `index own: there is no version "99.0.0" of the plugin acme-relay; there are 1.0.0`)
	_, err = c.Find("acme-secret", "")
	says(t, err, `index own: there is no plugin "acme-secret" in it. It is in the index main, which does not count: in trust.toml, the id belongs to own`)
	_, err = c.Find("acme-none", "")
	says(t, err, `index own: there is no plugin "acme-none"`)
	_, err = c.Find("spf", "")
	says(t, err, `"spf" belongs to no index: none in trust.toml has it in its namespaces`)
	_, err = c.Find("../x", "")
	says(t, err, `"../x" belongs to no index`)

	// A list that cannot be read does not make another one count.
	if err := os.Remove(filepath.Join(folder, "index-own")); err != nil {
		t.Fatal(err)
	}
	c = open(t, folder, text, &own.now)
	_, err = c.Find("acme-relay", "")
	says(t, err, "index own: it has never been fetched")
	all, err = c.Search(nil)
	says(t, err, "index own: it has never been fetched")
	if found(all) != "greylist@1.0.0 main" {
		t.Errorf("found %s", found(all))
	}
}

// TestChoice: which version is the one.
func TestChoice(t *testing.T) {
	s := newSite(t, "main")
	s.add(s.key, "alpha@1.0.0", "alpha@1.2.0", "alpha@1.10.0", "beta@1.0.0", "gamma@1.0.0-rc.1", "delta@1.0.0", "omega@1.0.0", "old@1.0.0", "old@1.1.0", "old@1.2.0", "old@1.3.0", "old@1.4.0", "old@1.5.0")
	change := func(id, version string, do func(e *Entry)) {
		e := &s.index.Entries[s.index.at(id, version)]
		do(e)
		e.Signature = string(s.key.Sign(e.Statement(), "x"))
	}
	change("alpha", "1.10.0", func(e *Entry) { e.API = 7 })
	change("beta", "1.0.0", func(e *Entry) { e.API = 7 })
	change("delta", "1.0.0", func(e *Entry) { e.Yanked = "it loops" })
	revoked := s.index.Entries[s.index.at("omega", "1.0.0")].Digest
	s.publish()
	c := open(t, t.TempDir(), one(s.file())+fmt.Sprintf("[revoked]\npackages = [%q]\n", revoked), &s.now)
	says(t, c.Refresh(t.Context()), "")
	for _, tc := range []struct{ id, version, want string }{
		{"alpha", "", "1.2.0"},
		{"alpha", "1.0.0", "1.0.0"},
		{"alpha", "1.10.0", "index main: no version of the plugin alpha is for this server, which speaks api 0; 1.10.0 is for api 7"},
		{"alpha", "2.0.0", `index main: there is no version "2.0.0" of the plugin alpha; there are 1.10.0, 1.2.0, 1.0.0`},
		{"alpha", "latest", `index main: there is no version "latest" of the plugin alpha`},
		{"beta", "", "index main: no version of the plugin beta is for this server"},
		{"gamma", "", "1.0.0-rc.1"},
		{"delta", "", "index main: there is no version left: delta 1.0.0 was yanked: it loops"},
		{"delta", "1.0.0", "1.0.0"},
		{"omega", "", "index main: there is no version left: omega 1.0.0 cannot be installed: the package " + string(revoked) + " is revoked (trust.toml:7)"},
		{"omega", "1.0.0", "index main: omega 1.0.0: the package " + string(revoked) + " is revoked (trust.toml:7)"},
		{"old", "2.0.0", `there are 1.5.0, 1.4.0, 1.3.0, 1.2.0, 1.1.0, older ones`},
	} {
		f, err := c.Find(tc.id, tc.version)
		if err == nil && f.Entry.Version == tc.want && f.Entry.ID == tc.id {
			continue
		}
		says(t, err, tc.want)
	}
	all, err := c.Search(nil)
	says(t, err, "")
	if got, want := found(all), "alpha@1.2.0 main; gamma@1.0.0-rc.1 main; old@1.5.0 main"; got != want {
		t.Errorf("found %s, want %s", got, want)
	}
	for words, want := range map[string]string{
		"ALPHA": "alpha", "plugin gam": "gamma", "gam plugin": "gamma", "lua kv": "alpha gamma old", "http alph": "alpha", "wasm": "", "alpha gamma": "", "delta": "",
	} {
		all, err := c.Search(strings.Fields(words))
		var ids []string
		for _, f := range all {
			ids = append(ids, f.Entry.ID)
		}
		if got := strings.Join(ids, " "); got != want || err != nil {
			t.Errorf("%s: found %s, %v; want %s", words, got, err, want)
		}
	}
}

// TestSignatures: an index cannot pass off what its publisher did not sign.
func TestSignatures(t *testing.T) {
	s := newSite(t, "main")
	s.add(key(t, 2), "alpha@1.0.0", "alpha@1.1.0", "beta@1.0.0")
	s.publish()
	text := one(s.file()) + "[namespace.\"a*\"]\nkeys = [\"KEY2\"]\n"
	entry := func(id, version string) *Entry { return &s.index.Entries[s.index.at(id, version)] }
	for name, tc := range map[string]struct {
		spoil func()
		want  string
	}{
		"another's":          {func() { entry("alpha", "1.1.0").Signature = entry("beta", "1.0.0").Signature }, "alpha 1.1.0: the signature of the key ID2 is not one of this content, which was damaged or tampered with"},
		"an older version's": {func() { entry("alpha", "1.1.0").Signature = entry("alpha", "1.0.0").Signature }, "alpha 1.1.0: the signature of the key ID2 is not one of this content"},
		"other code":         {func() { entry("alpha", "1.1.0").Digest = entry("beta", "1.0.0").Digest }, "alpha 1.1.0: the signature of the key ID2 is not one of this content"},
		"by the index": {func() {
			entry("alpha", "1.1.0").Signature = string(s.key.Sign(entry("alpha", "1.1.0").Statement(), ""))
		}, "alpha 1.1.0: it is signed with the key ID1, and not with one that is trusted for it: ID2"},
		"none": {func() { entry("alpha", "1.1.0").Signature = "" }, "alpha 1.1.0: it is not signed, and has to be with one of the keys ID2"},
	} {
		t.Run(name, func(t *testing.T) {
			entries := slices.Clone(s.index.Entries)
			defer func() { s.index.Entries = entries }()
			s.index.Entries = slices.Clone(entries)
			tc.spoil()
			s.t = t
			s.publish()
			c := open(t, t.TempDir(), text, &s.now)
			says(t, c.Refresh(t.Context()), "")
			_, err := c.Find("alpha", "")
			says(t, err, "index main: "+tc.want)
			if f, err := c.Find("alpha", "1.0.0"); err != nil || f.Entry.Version != "1.0.0" {
				t.Errorf("%+v, %v", f, err)
			}
		})
	}
}

// TestGet: mirrors are asked first, then where the index says; what is wrong with each is told; what is wrong in one is got from the next.
func TestGet(t *testing.T) {
	s, mirror := newSite(t, "main"), t.TempDir()
	s.add(s.key, "alpha@1.0.0")
	s.index.Entries[0].Places = []string{"nowhere.tar", "packages"}
	s.publish()
	text := one(s.file()) + fmt.Sprintf("mirror = [%q]\n", mirror)
	c := open(t, t.TempDir(), text, &s.now)
	says(t, c.Refresh(t.Context()), "")
	f, err := c.Find("alpha", "")
	says(t, err, "")
	packages := filepath.Join(s.dir, "packages")
	if want := []string{mirror, filepath.Join(s.dir, "nowhere.tar"), packages}; !slices.Equal(f.Places, want) {
		t.Errorf("places are %q, want %q", f.Places, want)
	}
	p, err := c.Get(t.Context(), f)
	says(t, err, "")
	put := func(dir string, p *catalog.Package) {
		t.Helper()
		at, err := catalog.At(dir, catalog.Options{})
		if err == nil {
			err = at.Put(t.Context(), p)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put(mirror, p)
	if err := os.Rename(packages, packages+".gone"); err != nil {
		t.Fatal(err)
	}
	if p, err := c.Get(t.Context(), f); err != nil || p.Digest != f.Entry.Digest {
		t.Errorf("from the mirror: %v", err)
	}
	blob := filepath.Join(mirror, "blobs", "sha256", f.Entry.Digest.Encoded())
	edited(t, blob, func(b []byte) []byte { b[10] ^= 1; return b })
	_, err = c.Get(t.Context(), f)
	says(t, err, "alpha 1.0.0 could not be got from any of 3 places: "+mirror+": alpha 1.0.0: the manifest is not what its digest says ("+string(f.Entry.Digest)+"); it was damaged or tampered with; "+filepath.Join(s.dir, "nowhere.tar")+": alpha 1.0.0: ")
	if err := os.Rename(packages+".gone", packages); err != nil {
		t.Fatal(err)
	}
	if p, err := c.Get(t.Context(), f); err != nil || p.Digest != f.Entry.Digest {
		t.Errorf("past a mirror that is damaged: %v", err)
	}
	lies := f
	lies.Places = []string{packages}
	lies.Entry.Description = "harmless"
	_, err = c.Get(t.Context(), lies)
	says(t, err, "the index says of alpha 1.0.0 what the package does not say")
	lies.Entry = f.Entry
	lies.Entry.Needs = map[string]any{"kv": true}
	_, err = c.Get(t.Context(), lies)
	says(t, err, "the index says of alpha 1.0.0 what the package does not say")
	lies.Entry.Digest = plugin(t, "beta", "1.0.0").Digest
	_, err = c.Get(t.Context(), lies)
	says(t, err, packages+": alpha 1.0.0: it is "+string(f.Entry.Digest)+" there, and not "+string(lies.Entry.Digest)+", which was asked for")

	s.index.Places, s.index.Entries[0].Places = nil, nil
	s.publish()
	says(t, c.Refresh(t.Context()), "")
	if f, err := c.Find("alpha", ""); err != nil || len(f.Places) != 1 {
		t.Errorf("%+v, %v", f, err)
	}
	_, err = open(t, c.folder, one(s.file()), &s.now).Find("alpha", "")
	says(t, err, "index main: alpha 1.0.0: the index does not say where it lies")
}
