package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestBadRefreshes: whatever is wrong with an index, what was kept stays, and one line says what it is.
func TestBadRefreshes(t *testing.T) {
	edit := func(change func(s *site)) func(s *site) {
		return func(s *site) { change(s); s.write() }
	}
	file := func(suffix string, change func([]byte) []byte) func(s *site) {
		return func(s *site) {
			s.publish()
			name := s.file() + suffix
			text, err := os.ReadFile(name)
			if err == nil {
				err = os.WriteFile(name, change(text), 0o644)
			}
			if err != nil {
				s.t.Fatal(err)
			}
		}
	}
	var said []string
	for name, tc := range map[string]struct {
		spoil func(s *site)
		want  string
	}{
		"expired":      {func(s *site) { s.publish(); s.now = s.index.Expires }, "it expired on 2026-09-29 12:00 UTC; whoever keeps it has to renew it"},
		"replayed":     {edit(func(s *site) { s.index.Serial = 1 }), "it is an old one: its serial is 1, and that of the one that is kept 2"},
		"another one":  {edit(func(s *site) { s.index.Entries = nil }), "it has the serial 2, as the one that is kept, and other content; whoever keeps it has to raise the serial"},
		"time back":    {edit(func(s *site) { s.index.Serial++; s.index.Issued = day.Add(-time.Second) }), "its serial 3 is newer than the 2 of the one that is kept, but it was issued before, on 2026-07-01 11:59 UTC"},
		"from ahead":   {edit(func(s *site) { s.index.Serial++; s.index.Issued = day.Add(2 * time.Hour) }), "it was issued on 2026-07-01 14:00 UTC, and the clock of this machine says that it is 2026-07-01 12:00 UTC; set the clock right"},
		"another name": {edit(func(s *site) { s.index.Name = "other" }), "it calls itself other; the name in trust.toml has to be the same"},
		"another key":  {func(s *site) { s.key = key(s.t, 2); s.publish() }, "it is signed with the key ID2, and not with one that is trusted for it: ID1"},
		"a key that is revoked": {func(s *site) { s.key = key(s.t, 3); s.publish() },
			"the key ID3, with which it is signed, is revoked (trust.toml:7)"},
		"tampered":          {file("", func(b []byte) []byte { b[len(b)/2] ^= 1; return b }), "the signature of the key ID1 is not one of this content, which was damaged or tampered with"},
		"cut":               {file("", func(b []byte) []byte { return b[:len(b)-20] }), "the signature of the key ID1 is not one of this content"},
		"empty":             {file("", func(b []byte) []byte { return nil }), "the signature of the key ID1 is not one of this content"},
		"giant":             {file("", func(b []byte) []byte { return make([]byte, MaxBytes+1) }), "index.json: it has more than 16777216 bytes, the most that is read"},
		"no signature":      {func(s *site) { s.publish(); os.Remove(s.file() + SignatureSuffix) }, "an index needs its signature beside it"},
		"half a signature":  {file(SignatureSuffix, func(b []byte) []byte { return b[:100] }), "the signature cannot be read"},
		"a giant signature": {file(SignatureSuffix, func(b []byte) []byte { return make([]byte, 1<<20) }), "index.json.minisig: it has more than 2048 bytes"},
		"a folder":          {func(s *site) { os.Remove(s.file()); os.Mkdir(s.file(), 0o755) }, "index.json: is not a regular file but a folder"},
		"nothing":           {func(s *site) { os.RemoveAll(s.dir) }, "no such file or directory"},
		"signed, and no index": {func(s *site) {
			text := []byte("{}\n")
			s.put(text, s.key.Sign(text, "x"))
		}, "it is no index: it is cut, or not written the way indexes are"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "main")
			s.add(s.key, "alpha@1.0.0")
			s.publish()
			s.publish()
			c := open(t, t.TempDir(), one(s.file())+"[revoked]\nkeys = [\"KEY3\"]\n", &s.now)
			says(t, c.Refresh(t.Context()), "")
			before, _ := os.ReadFile(filepath.Join(c.folder, "index-main"))
			tc.spoil(s)
			err := c.Refresh(t.Context())
			says(t, err, tc.want)
			if err != nil && !strings.HasPrefix(err.Error(), "index main: ") {
				t.Errorf("it does not name the index: %v", err)
			}
			said = append(said, fmt.Sprint(err))
			if after, err := os.ReadFile(filepath.Join(c.folder, "index-main")); err != nil || string(after) != string(before) || len(before) == 0 {
				t.Errorf("what was kept is another: %v", err)
			}
			s.now = day
			if f, err := c.Find("alpha", ""); err != nil || f.Entry.Version != "1.0.0" {
				t.Errorf("what was kept is not used: %+v, %v", f, err)
			}
			if left, _ := filepath.Glob(filepath.Join(c.folder, ".*unfinished*")); left != nil {
				t.Errorf("%v is left", left)
			}
		})
	}
	t.Run("the manual", func(t *testing.T) {
		listed := messages(t)
		for _, m := range listed {
			if !slices.ContainsFunc(said, m.MatchString) {
				t.Errorf("%s is in the manual, and no message", m)
			}
		}
		if len(listed) < 11 {
			t.Errorf("the manual has %d messages", len(listed))
		}
	})
}

// messages are those that the manual lists.
func messages(t *testing.T) (all []*regexp.Regexp) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "cmd", "stagepost", "manual", "trust.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "| what | the message says |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	for _, m := range regexp.MustCompile("(?m)\\| `([^`]*)` \\|$").FindAllStringSubmatch(table, -1) {
		all = append(all, regexp.MustCompile(strings.ReplaceAll(regexp.QuoteMeta(m[1]), "ID", "[0-9A-F]+")))
	}
	return all
}

// TestBadKept: what lies in the folder counts only if it is signed with a key that is trusted now.
func TestBadKept(t *testing.T) {
	for name, tc := range map[string]struct {
		trust string // in the place of that which fetched it
		spoil func(file string)
		want  string
	}{
		"tampered":      {"", func(f string) { edited(t, f, func(b []byte) []byte { b[len(b)/2] ^= 1; return b }) }, "index main: what is kept of it does not count: the signature of the key ID1 is not one of this content"},
		"cut":           {"", func(f string) { edited(t, f, func(b []byte) []byte { return b[:50] }) }, "index main: what is kept of it is damaged"},
		"empty":         {"", func(f string) { edited(t, f, func(b []byte) []byte { return nil }) }, "index main: what is kept of it is damaged"},
		"not signed":    {"", func(f string) { edited(t, f, func(b []byte) []byte { return append([]byte(unsigned), b...) }) }, "index main: what is kept of it is not signed"},
		"another":       {"", func(f string) { edited(t, f, func(b []byte) []byte { return make([]byte, 20<<20) }) }, "index main: what is kept of it is damaged"},
		"a folder":      {"", func(f string) { os.Remove(f); os.Mkdir(f, 0o755) }, "is not a regular file but a folder"},
		"another key":   {"keys = [\"KEY2\"]", func(string) {}, "index main: what is kept of it does not count: it is signed with the key ID1, and not with one that is trusted for it: ID2"},
		"a revoked key": {"keys = [\"KEY1\"]\n[revoked]\nkeys = [\"KEY1\"]", func(string) {}, "index main: what is kept of it does not count: the key ID1, with which it is signed, is revoked (trust.toml:7)"},
	} {
		t.Run(name, func(t *testing.T) {
			s, folder := newSite(t, "main"), t.TempDir()
			s.add(s.key, "alpha@1.0.0")
			s.publish()
			s.publish()
			says(t, open(t, folder, one(s.file()), &s.now).Refresh(t.Context()), "")
			tc.spoil(filepath.Join(folder, "index-main"))
			text := one(s.file())
			if tc.trust != "" {
				text = strings.Replace(text, "keys = [\"KEY1\"]", tc.trust, 1)
			}
			c := open(t, folder, text, &s.now)
			_, err := c.Find("alpha", "")
			says(t, err, tc.want)
			_, err = c.Search(nil)
			says(t, err, tc.want)
			if tc.trust != "" || name == "a folder" {
				return
			}
			// It does not count as the latest that was seen, either.
			s.index.Serial = 0
			s.publish()
			says(t, c.Refresh(t.Context()), "")
			if f, err := c.Find("alpha", ""); err != nil || f.Entry.Version != "1.0.0" {
				t.Errorf("%+v, %v", f, err)
			}
		})
	}
}

func edited(t *testing.T, file string, change func([]byte) []byte) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, change(text), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestUnsignedIndex: the explicit word, and what it does not allow.
func TestUnsignedIndex(t *testing.T) {
	s, folder := newSite(t, "main"), t.TempDir()
	s.add(nil, "alpha@1.0.0", "acme-x@1.0.0")
	s.key = nil
	s.publish()
	if err := os.Remove(s.file() + SignatureSuffix); err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(one(s.file()), "keys = [\"KEY1\"]", "unsigned = true", 1)
	c := open(t, folder, text+"[namespace.\"acme-*\"]\nkeys = [\"KEY2\"]\n", &s.now)
	says(t, c.Refresh(t.Context()), "")
	if f, err := c.Find("alpha", ""); err != nil || f.SignerID != Unsigned || f.Signer.String() != "" {
		t.Errorf("%+v, %v", f, err)
	} else if _, err := c.Get(t.Context(), f); err != nil {
		t.Error(err)
	}
	_, err := c.Find("acme-x", "")
	says(t, err, "index main: acme-x 1.0.0: it is not signed, and has to be with one of the keys ID2")
	s.index.Serial = 0
	s.index.Entries = nil
	data, _, err := s.index.Signed(nil)
	if err == nil {
		t.Fatal("an index with the serial 0", data)
	}
	s.publish()
	says(t, c.Refresh(t.Context()), "it has the serial 1, as the one that is kept, and other content")
	_, err = open(t, folder, one(s.file()), &s.now).Find("alpha", "")
	says(t, err, "index main: what is kept of it is not signed")
}

// TestRotation: an index is signed with the new key while both are listed; entries of the old key count until it is taken out, or revoked.
func TestRotation(t *testing.T) {
	s, folder := newSite(t, "main"), t.TempDir()
	s.add(key(t, 1), "alpha@1.0.0", "beta@1.0.0")
	s.publish()
	with := func(keys, more string) *Catalog {
		return open(t, folder, strings.Replace(one(s.file()), "keys = [\"KEY1\"]", "keys = ["+keys+"]", 1)+more, &s.now)
	}
	only := with(`"KEY1"`, "")
	says(t, only.Refresh(t.Context()), "")
	s.key = key(t, 2)
	s.publish()
	says(t, only.Refresh(t.Context()), "it is signed with the key ID2, and not with one that is trusted for it: ID1; the one that is kept is used on, until 2026-09-29 12:00 UTC")
	both := with(`"KEY1", "KEY2"`, "")
	says(t, both.Refresh(t.Context()), "")
	if f, err := both.Find("alpha", ""); err != nil || f.Signer != key(t, 1).Key() {
		t.Errorf("%+v, %v", f, err)
	}
	s.add(key(t, 2), "alpha@1.0.0") // signed anew
	s.publish()
	says(t, both.Refresh(t.Context()), "")
	if f, err := both.Find("alpha", ""); err != nil || f.Signer != key(t, 2).Key() {
		t.Errorf("%+v, %v", f, err)
	}
	if f, err := both.Find("beta", ""); err != nil || f.Signer != key(t, 1).Key() {
		t.Errorf("%+v, %v", f, err)
	}
	for _, c := range []*Catalog{with(`"KEY2"`, ""), with(`"KEY1", "KEY2"`, "[revoked]\nkeys = [\"KEY1\"]\n")} {
		if f, err := c.Find("alpha", ""); err != nil || f.Signer != key(t, 2).Key() {
			t.Errorf("%+v, %v", f, err)
		}
		if _, err := c.Find("beta", ""); err == nil || !strings.Contains(err.Error(), "beta 1.0.0: ") || !strings.Contains(err.Error(), key(t, 1).Key().ID()) {
			t.Errorf("got %v", err)
		}
		found, err := c.Search(nil)
		if len(found) != 1 || found[0].Entry.ID != "alpha" || err == nil || !strings.Contains(err.Error(), "beta 1.0.0") {
			t.Errorf("%+v, %v", found, err)
		}
	}
	// The same index with another signature is the same index.
	data, signature, err := s.index.Signed(key(t, 1))
	says(t, err, "")
	s.put(data, signature)
	says(t, both.Refresh(t.Context()), "")
	if f, err := with(`"KEY1"`, "").Find("beta", ""); err != nil || f.Entry.ID != "beta" {
		t.Errorf("%+v, %v", f, err)
	}
}

// TestTwoRefreshes: of many that refresh at once, by several catalogs, none puts an older index in the place of a newer one.
func TestTwoRefreshes(t *testing.T) {
	s, folder := newSite(t, "main"), t.TempDir()
	s.add(s.key, "alpha@1.0.0")
	var texts [][2][]byte
	for range 8 {
		if err := s.index.Renew(s.now, time.Hour); err != nil {
			t.Fatal(err)
		}
		data, signature, err := s.index.Signed(s.key)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, [2][]byte{data, signature})
	}
	var all sync.WaitGroup
	for _, text := range texts {
		all.Go(func() {
			dir := t.TempDir()
			file := filepath.Join(dir, "index.json")
			if err := errors.Join(os.WriteFile(file, text[0], 0o644), os.WriteFile(file+SignatureSuffix, text[1], 0o644)); err != nil {
				t.Error(err)
			}
			if err := open(t, folder, one(file), &s.now).Refresh(t.Context()); err != nil && !strings.Contains(err.Error(), "it is an old one") {
				t.Error(err)
			}
		})
	}
	all.Wait()
	c := open(t, folder, one(s.file()), &s.now)
	x, err := c.load(&c.trust.Indexes[0])
	if err != nil || x.Serial != 8 {
		t.Errorf("%+v, %v", x, err)
	}
}

// TestWebServer: the signature of another moment is read again; a server that is gone leaves what is kept; what it names on this machine is
// not read for it.
func TestWebServer(t *testing.T) {
	s := newSite(t, "main")
	s.index.Places = []string{"packages/"}
	s.add(s.key, "alpha@1.0.0")
	s.publish()
	old, _ := os.ReadFile(s.file() + SignatureSuffix)
	s.publish()
	asked := 0
	files := http.FileServer(http.Dir(s.dir))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, SignatureSuffix) {
			if asked++; asked < 3 {
				w.Write(old)
				return
			}
		}
		files.ServeHTTP(w, r)
	}))
	defer server.Close()
	c := open(t, t.TempDir(), one(server.URL+"/index.json"), &s.now)
	says(t, c.Refresh(t.Context()), "")
	f, err := c.Find("alpha", "")
	says(t, err, "")
	if asked != 3 || fmt.Sprint(f.Places) != "["+server.URL+"/packages/]" {
		t.Errorf("asked %d times; found %+v", asked, f)
	}
	p, err := c.Get(t.Context(), f)
	says(t, err, "")
	if p != nil && p.Summary.ID != "alpha" {
		t.Errorf("got %+v", p.Summary)
	}
	server.Close()
	err = c.Refresh(t.Context())
	says(t, err, "index main: "+server.URL+"/index.json.minisig: ")
	if all := (Problems)(nil); !errors.As(err, &all) || !all.Usable() {
		t.Errorf("one cannot go on after %v", err)
	}
	_, err = c.Get(t.Context(), f)
	says(t, err, server.URL+"/packages/: alpha 1.0.0: ")

	// The index is elsewhere, and says that its packages are here.
	for _, place := range []string{"http://127.0.0.1:25/packages/", "https://localhost/packages/", "https://[::1]/packages"} {
		s.index.Places = []string{place}
		owner := c.trust.Indexes[0]
		owner.Place = "https://plugins.example.org/index.json"
		_, err := c.found(&owner, s.index, s.index.Entries[0])
		says(t, err, fmt.Sprintf("alpha 1.0.0: the place %q is on this machine, and the index is not", place))
	}
}

// TestGivenUp: who waits can stop.
func TestGivenUp(t *testing.T) {
	s := newSite(t, "main")
	s.publish()
	c := open(t, t.TempDir(), strings.Replace(one(s.file()), "*", "a*", 1)+strings.Replace(one(s.file()), "main", "next", 1), &s.now)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("it was given up"))
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was asked") }))
	defer server.Close()
	c.trust.Indexes[0].Place, c.trust.Indexes[1].Place = server.URL+"/a.json", server.URL+"/b.json"
	err := c.Refresh(ctx)
	if want := "index main: " + server.URL + "/a.json.minisig: it was given up\nindex next: " + server.URL + "/b.json.minisig: it was given up"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// FuzzKept: what is taken from a file that was kept is all of it.
func FuzzKept(f *testing.F) {
	data, signature, err := sample(f).Signed(key(f, 1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pack(signature, data))
	f.Add(pack(nil, data))
	now := day
	signed := open(f, "", one("index.json"), &now)
	free := open(f, "", strings.Replace(one("index.json"), "keys = [\"KEY1\"]", "unsigned = true", 1), &now)
	f.Fuzz(func(t *testing.T, text []byte) {
		if x, err := signed.read(&signed.trust.Indexes[0], text); err == nil && !bytes.Equal(x.Encode(), data) {
			t.Fatalf("something else counts: %q", text)
		}
		x, err := free.read(&free.trust.Indexes[0], text)
		if err != nil {
			return
		}
		signature, data, err := unpack(text)
		if err != nil || !bytes.Equal(pack(signature, data), text) || !bytes.Equal(x.Encode(), data) {
			t.Fatalf("%v: %q", err, text)
		}
	})
}
