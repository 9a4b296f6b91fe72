package lock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/desk"
)

const (
	someDigest = "sha256:0263829989b6fd954f72baaf2fc64bc2e2f01d692d4de72986ea808f6e99813f"
	someKey    = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"
)

// pack makes a package of a plugin that refuses every recipient with a text.
func pack(t testing.TB, id, version, says string) *catalog.Package {
	t.Helper()
	code := fmt.Sprintf("plugin { id = %q, version = %q, api = 0, needs = { dns = true, kv = \"own\", http = { \"a.example:443\", \"b.example:443\" } } }\nlocal words = require \"lib/words\"\nfunction on.rcpt(r) return reject(words) end\n", id, version)
	p, err := catalog.Pack(id, map[string][]byte{"init.lua": []byte(code), "lib/words.lua": fmt.Appendf(nil, "return %q\n", says), "README.md": []byte("# " + id + "\n")})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// site is the record and the data folder of a server.
type site struct {
	t          testing.TB
	file, data string
}

func newSite(t testing.TB) *site {
	dir := t.TempDir()
	return &site{t, filepath.Join(dir, Name), filepath.Join(dir, "data")}
}

// change makes one change.
func (s *site) change(do func(c *Change) error) error {
	c, err := Begin(s.t.Context(), s.file, s.data)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := do(c); err != nil {
		return err
	}
	return c.Commit(s.t.Context())
}

func (s *site) install(packages ...*catalog.Package) {
	s.t.Helper()
	err := s.change(func(c *Change) error {
		for _, p := range packages {
			if err := c.Put(p, Plugin{Place: "/srv/plugins", Signer: Unsigned, Capabilities: "x"}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// installed is what is installed and right, as "ID VERSION ...".
func (s *site) installed() string {
	s.t.Helper()
	l, err := Read(s.file)
	if err != nil {
		s.t.Fatal(err)
	}
	var names []string
	for _, p := range l.Plugins {
		if _, err := p.Files(s.data); err != nil {
			s.t.Error(err)
		}
		names = append(names, p.String())
	}
	return strings.Join(names, " ")
}

// holds checks the names in the folder of code.
func (s *site) holds(want ...string) {
	s.t.Helper()
	entries, err := os.ReadDir(Folder(s.data))
	if err != nil {
		s.t.Fatal(err)
	}
	got := []string{}
	for _, e := range entries {
		if e.Name() != ".change.lock" {
			got = append(got, e.Name())
		}
	}
	if len(got) != len(want) {
		s.t.Fatalf("the folder holds %q, want %q", got, want)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			s.t.Errorf("the folder holds %q, want %q", got, want)
		}
	}
}

func TestInstallUpdateRemove(t *testing.T) {
	s := newSite(t)
	if got := s.installed(); got != "" {
		t.Fatalf("%q is installed", got)
	}
	one, two, other := pack(t, "sample", "1.0.0", "one"), pack(t, "sample", "1.1.0", "two"), pack(t, "other", "0.1.0", "x")
	s.install(one, other)
	if got := s.installed(); got != "other 0.1.0 sample 1.0.0" {
		t.Error(got)
	}
	s.holds("other@", "sample@"+one.Digest.Encoded())
	s.install(two)
	if got := s.installed(); got != "other 0.1.0 sample 1.1.0" {
		t.Error(got)
	}
	s.holds("other@", "sample@"+two.Digest.Encoded())
	l, err := Read(s.file)
	if err != nil {
		t.Fatal(err)
	}
	p, ok := l.Plugin("sample")
	if !ok || p.Pos() != s.file+":14" || !p.Accepted().DNS || !p.Accepted().KV || len(p.Accepted().HTTP) != 2 || p.Accepted().Inject {
		t.Errorf("%v %s %+v", ok, p.Pos(), p.Accepted())
	}
	files, err := p.Files(s.data)
	if err != nil || !reflect.DeepEqual(files, two.Files) {
		t.Error(err, files)
	}
	if err := s.change(func(c *Change) error {
		if !c.Remove("sample") || c.Remove("sample") || c.Remove("nobody") {
			t.Error("it is removed once")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := s.installed(); got != "other 0.1.0" {
		t.Error(got)
	}
	s.holds("other@")
}

// What was committed can be taken back until the change is closed: the record is the bytes that it was, and the code is there.
// What the record names is durable before the record is, also where the folder of all code is new.
func TestDurableBeforeTheRecord(t *testing.T) {
	s := newSite(t)
	pkg := pack(t, "sample", "1.0.0", "one")
	var steps []string
	dir, err := filepath.EvalSymlinks(filepath.Dir(s.file))
	if err != nil {
		t.Fatal(err)
	}
	c, err := begin(t.Context(), s.file, s.data, desk.Options{Step: func(op, path string) error {
		if rel, err := filepath.Rel(dir, path); err == nil && (op == "rename" || op == "syncdir") {
			steps = append(steps, op+" "+filepath.ToSlash(rel))
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	commit(t, c, pkg)
	at := -1
	for _, step := range []string{"syncdir data", "rename data/plugins/sample@" + pkg.Digest.Encoded(), "syncdir data/plugins", "rename plugins.lock", "syncdir ."} {
		next := slices.Index(steps[at+1:], step)
		if next < 0 {
			t.Fatalf("%s is not done, or not in its place: %q", step, steps)
		}
		at += 1 + next
	}
}

// commit records a package.
func commit(t *testing.T, c *Change, pkg *catalog.Package) {
	t.Helper()
	if err := c.Put(pkg, Plugin{Place: "x", Signer: Unsigned, Capabilities: "x"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestUndo(t *testing.T) {
	s := newSite(t)
	one, two := pack(t, "sample", "1.0.0", "one"), pack(t, "sample", "1.1.0", "two")
	undone := func(pkg *catalog.Package) {
		t.Helper()
		c, err := Begin(t.Context(), s.file, s.data)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		commit(t, c, pkg)
		if got := s.installed(); got != pkg.Summary.ID+" "+pkg.Summary.Version {
			t.Error(got)
		}
		if err := c.Undo(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	undone(one)
	if _, err := os.Stat(s.file); !errors.Is(err, fs.ErrNotExist) || s.installed() != "" {
		t.Error("there was no record:", err)
	}
	s.holds()
	s.install(one)
	text, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	text = append([]byte("# mine\n"), text...)
	if err := os.WriteFile(s.file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	undone(two)
	if again, err := os.ReadFile(s.file); err != nil || string(again) != string(text) {
		t.Errorf("%v: %s", err, again)
	}
	if got := s.installed(); got != "sample 1.0.0" {
		t.Error(got)
	}
	s.holds("sample@" + one.Digest.Encoded())
}

// What was not committed did not happen.
func TestNothingWithoutCommit(t *testing.T) {
	s := newSite(t)
	s.install(pack(t, "sample", "1.0.0", "one"))
	c, err := Begin(t.Context(), s.file, s.data)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Put(pack(t, "sample", "1.1.0", "two"), Plugin{Place: "x", Signer: Unsigned, Capabilities: "x"}); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if got := s.installed(); got != "sample 1.0.0" {
		t.Error(got)
	}
	s.holds("sample@")
}

func TestPutRefuses(t *testing.T) {
	s, pkg := newSite(t), pack(t, "sample", "1.0.0", "one")
	for _, c := range []struct {
		p    Plugin
		want string
	}{
		{Plugin{ID: "other"}, "the package is sample 1.0.0, and not other "},
		{Plugin{ID: "sample", Version: "2.0.0"}, "the package is sample 1.0.0, and not sample 2.0.0"},
		{Plugin{ID: "sample", Version: "1.0.0", Digest: someDigest}, "the package of sample 1.0.0 is " + string(pkg.Digest) + ", and not " + someDigest},
		{Plugin{Place: "/srv", Signer: "somebody", Capabilities: "x"}, `sample 1.0.0 cannot be recorded: ` + s.file + `:8: plugin.sample.signer: "somebody" is no minisign public key, nor "unsigned"`},
		{Plugin{Place: "/srv", Signer: Unsigned}, `sample 1.0.0 cannot be recorded: ` + s.file + `:4: plugin.sample: capabilities is missing`},
		{Plugin{Signer: Unsigned, Capabilities: "x"}, `sample 1.0.0 cannot be recorded: ` + s.file + `:4: plugin.sample.index: nothing says where it is from; write index or place`},
		{Plugin{Place: "a\nb", Signer: Unsigned, Capabilities: "x"}, `sample 1.0.0 cannot be recorded: ` + s.file + `:7: plugin.sample.place: "a\nb" has a control character`},
	} {
		err := s.change(func(ch *Change) error { return ch.Put(pkg, c.p) })
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%+v: %v\nwant %s", c.p, err, c.want)
		}
	}
	if got := s.installed(); got != "" {
		t.Error(got)
	}
}

// What is written is read back, whatever stands in it.
func TestEncode(t *testing.T) {
	in := &Lock{Plugins: []Plugin{
		{ID: "a", Version: "1.0.0-rc1", Digest: someDigest, Index: "main", Place: "https://plugins.example.org/a/", Signer: someKey, Capabilities: "sha256:1",
			Needs: map[string]any{"dns": true, "kv": "own", "read": "body", "edit": []string{"headers", "rcpts"}, "http": []any{"private", "a.example:443"}}},
		{ID: "b-c", Version: "0.0.1", Digest: someDigest, Place: `C:\Plug ins\"x"\ü.tar`, Signer: Unsigned, Capabilities: "x"},
	}}
	text := in.Encode()
	out, err := Parse("plugins.lock", text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if again := out.Encode(); string(again) != string(text) {
		t.Errorf("%s\nbecame\n%s", text, again)
	}
	if p := out.Plugins[1]; p.Place != in.Plugins[1].Place || len(p.Needs) != 0 {
		t.Errorf("%+v", p)
	}
	if a := out.Plugins[0].Accepted(); !a.DNS || !a.KV || a.Read != 2 || len(a.HTTP) != 2 || a.Edit == 0 {
		t.Errorf("%+v", a)
	}
	golden(t, "testdata/plugins.lock", text)
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || string(want) != string(got) {
		t.Errorf("%v; got\n%s", err, got)
	}
}

// A record that somebody edited: each mistake with its place.
func TestEditedByHand(t *testing.T) {
	good := "[plugin.sample]\nversion = \"1.0.0\"\ndigest = \"" + someDigest + "\"\nindex = \"main\"\nsigner = \"" + someKey + "\"\ncapabilities = \"x\"\nneeds.dns = true\n"
	if _, err := Parse("l", []byte(good)); err != nil {
		t.Fatal(err)
	}
	replace := func(old, with string) string {
		if !strings.Contains(good, old) {
			t.Fatal(old)
		}
		return strings.Replace(good, old, with, 1)
	}
	for _, c := range []struct{ name, text, want string }{
		{"not TOML", replace("version = ", "version "), "l:2: this is not valid TOML"},
		{"twice", good + "\n" + good, "l:9: this is not valid TOML"},
		{"a key twice", replace("index", "version = \"1.0.1\"\nindex"), "l:4: this is not valid TOML"},
		{"unknown key", replace("index", "indx"), "l:4: plugin.sample.indx: unknown key; did you mean index?"},
		{"unknown table", "[plugins.sample]\n", "l:1: plugins: unknown key; did you mean plugin?"},
		{"key above", "sample = 1\n" + good, "l:1: sample: unknown key"},
		{"no table", "plugin = 1\n", "l:1: plugin: 1 stands where a table is wanted"},
		{"plugin is no table", "plugin.sample = 1\n", "l:1: plugin.sample: 1 stands where a table is wanted"},
		{"no version", replace("version = \"1.0.0\"\n", ""), "l:1: plugin.sample: version is missing"},
		{"version no string", replace(`"1.0.0"`, "1.0"), "l:2: plugin.sample.version: 1 is not a string"},
		{"odd version", replace("1.0.0", "1.0"), `l:2: plugin.sample.version: the version "1.0" cannot be that of a package`},
		{"odd id", replace("sample", "Sample"), "l:1: plugin.Sample: "},
		{"id with a path", replace("sample", `"../x"`), `l:1: plugin."../x": `},
		{"id that packages have not", replace("sample", "a--b"), `l:2: plugin.a--b.version: the id "a--b" cannot be the name of a package`},
		{"no digest", replace("digest = \""+someDigest+"\"\n", ""), "l:1: plugin.sample: digest is missing"},
		{"short digest", replace(someDigest, someDigest[:70]), "l:3: plugin.sample.digest: "},
		{"digest with a path", replace(someDigest, "sha256:../../../etc"), "l:3: plugin.sample.digest: "},
		{"another hash", replace(someDigest, "sha512:"+strings.Repeat("0", 128)), "l:3: plugin.sample.digest: "},
		{"capital digest", replace(someDigest, "sha256:"+strings.ToUpper(someDigest[7:])), "l:3: plugin.sample.digest: "},
		{"from nowhere", replace("index = \"main\"\n", ""), "l:1: plugin.sample.index: nothing says where it is from"},
		{"odd index", replace("main", "Main!"), "l:4: plugin.sample.index: "},
		{"no signer", replace("signer = \""+someKey+"\"\n", ""), "l:1: plugin.sample: signer is missing"},
		{"odd signer", replace(someKey, someKey[:50]), "l:5: plugin.sample.signer: "},
		{"no hash", replace("capabilities = \"x\"\n", ""), "l:1: plugin.sample: capabilities is missing"},
		{"long hash", replace(`"x"`, `"`+strings.Repeat("x", 200)+`"`), "l:6: plugin.sample.capabilities: the hash is longer"},
		{"unknown need", replace("needs.dns", "needs.dnss"), `l:7: unknown capability "dnss" in plugin.sample.needs; did you mean "dns"?`},
		{"odd need", replace("dns = true", `dns = "yes"`), `l:7: plugin.sample.needs.dns: "yes"; want true or false`},
		{"odd host", replace("dns = true", `http = ["x y"]`), `l:7: plugin.sample.needs.http: "x y"; want`},
		{"needs no table", replace("needs.dns = true", "needs = 1"), "l:7: plugin.sample.needs: 1 stands where a table is wanted"},
		{"date", replace("needs.dns = true", "needs.dns = 2020-01-01"), "l:7: plugin.sample.needs.dns: "},
		{"two mistakes", replace("needs.dns", "needs.dnss") + strings.ReplaceAll(replace(`digest = "sha256`, `digest = "md5`), "sample", "tample"), "l:7: unknown capability \"dnss\" in plugin.sample.needs; did you mean \"dns\"? known: "},
		{"large", strings.Repeat("#", config.MaxFile+1), "l:1: the file is larger than"},
	} {
		_, err := Parse("l", []byte(c.text))
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v\nwant %s", c.name, err, c.want)
		}
		var faults config.Errors
		var fault config.Error
		if err != nil && !errors.As(err, &faults) && !errors.As(err, &fault) {
			t.Errorf("%s: a %T", c.name, err)
		}
	}
	var many strings.Builder
	for i := range maxPlugins + 1 {
		many.WriteString(strings.ReplaceAll(good, "sample", fmt.Sprintf("p%d", i)))
	}
	if _, err := Parse("l", []byte(many.String())); err == nil || err.Error() != "l:1: 1001 plugins are too many; the most is 1000" {
		t.Error(err)
	}
}

// FuzzParse: whatever stands in a record, what was read is written the same way again.
func FuzzParse(f *testing.F) {
	text, err := os.ReadFile("testdata/plugins.lock")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	for _, seed := range []string{"[plugin.a]\nversion = '1.0.0'\ndigest = '" + someDigest + "'\nplace = \"\\u00e9\\\"\"\nsigner = 'unsigned'\ncapabilities = 'x'\nneeds = { kv = 'own', edit = ['body'] }\n", "[plugin]\na.b = 1", "[[plugin.a]]\n", "plugin = []"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := Parse("l", text)
		if err != nil {
			return
		}
		once := l.Encode()
		again, err := Parse("l", once)
		if err != nil {
			t.Fatalf("%v\n%s", err, once)
		}
		if twice := again.Encode(); string(twice) != string(once) {
			t.Errorf("%s\nbecame\n%s", once, twice)
		}
		for _, p := range again.Plugins {
			if !ours.MatchString(p.folder()) {
				t.Errorf("%q would be a folder", p.folder())
			}
		}
	})
}
