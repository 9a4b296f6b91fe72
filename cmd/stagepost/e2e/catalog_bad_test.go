package e2e

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/index"
	"github.com/stagepost/stagepost/scripts/dockerregistry"
)

// badInput is one thing that somebody serves who means ill, or whose machine is broken.
type badInput struct {
	name  string
	lie   func(a *artifact)
	list  func(x *index.Index)                                  // changes the index before it is signed
	file  func(d *dealer, data, signature []byte) (_, _ []byte) // changes what is served of the index
	kept  bool                                                  // the index that is kept is used on, and nothing is newer in it
	place func(t *testing.T, where string)                      // changes what lies in the folder or file that the name is of
	serve func(w http.ResponseWriter, r *http.Request) bool     // answers in the registry's place
	args  []string                                              // more of them
	code  int
	want  string
}

const (
	gib        = 1 << 30
	oneMillion = 1_000_000
)

func linkTo(target string) artifactFile {
	return artifactFile{tar.Header{Name: "lib.lua", Typeflag: tar.TypeSymlink, Linkname: target}, ""}
}

func withCode(more ...artifactFile) func(a *artifact) {
	return func(a *artifact) {
		a.code(append([]artifactFile{{text: helloVersion(a.version, "bad")}}, more...)...)
	}
}

// before is withCode for what sorts before the code.
func before(more ...artifactFile) func(a *artifact) {
	return func(a *artifact) { a.code(append(more, artifactFile{text: helloVersion(a.version, "bad")})...) }
}

func named(name, text string) artifactFile { return artifactFile{tar.Header{Name: name}, text} }

// badPackages are packages that no author makes, listed and signed by somebody who is trusted.
func badPackages() []badInput {
	return []badInput{
		{name: "another word in the code", lie: func(a *artifact) {
			a.layers[1].served = bytes.Replace(a.layers[1].data, []byte("bad"), []byte("BAD"), 1)
		}, code: exitData, want: "code.tar is not what its digest says"},
		{name: "another manifest", lie: func(a *artifact) { a.served = bytes.Replace(a.manifest(), []byte(a.version), []byte("9.9.9"), 1) }, code: exitData, want: "the manifest is not what its digest says"},
		{name: "a truncated layer", lie: func(a *artifact) { a.layers[1].served = a.layers[1].data[:700] }, code: exitData, want: "code.tar"},
		{name: "a longer layer", lie: func(a *artifact) { a.layers[1].served = append(bytes.Clone(a.layers[1].data), make([]byte, 512)...) }, code: exitData, want: "code.tar"},
		{name: "a name that leads out", lie: before(named("../out.lua", "")), code: exitData, want: `the name "../out.lua" leads out of the plugin's folder`},
		{name: "an absolute name", lie: before(named("/etc/out.lua", "")), code: exitData, want: `the name "/etc/out.lua" is absolute`},
		{name: "a link", lie: withCode(linkTo("/etc/passwd")), code: exitData, want: `"lib.lua" is a link`},
		{name: "a hard link", lie: withCode(artifactFile{tar.Header{Name: "lib.lua", Typeflag: tar.TypeLink, Linkname: "init.lua"}, ""}), code: exitData, want: `"lib.lua" is a link`},
		{name: "a device", lie: withCode(artifactFile{tar.Header{Name: "lib.lua", Typeflag: tar.TypeBlock, Devmajor: 8}, ""}), code: exitData, want: `"lib.lua" is a device`},
		{name: "a pipe", lie: withCode(artifactFile{tar.Header{Name: "lib.lua", Typeflag: tar.TypeFifo}, ""}), code: exitData, want: `"lib.lua" is a pipe`},
		{name: "a layer of 10 GB, as it says", lie: func(a *artifact) { a.layers[1].claimed = 10 * gib }, code: exitData, want: "code.tar is said to have 10737418240 bytes"},
		{name: "a file of 8 GB, as it says", lie: func(a *artifact) { a.layers[1].data = hugeEntry(a.layers[1].data) }, code: exitData, want: "has 8589934591 bytes"},
		{name: "many entries", lie: manyEntries, code: exitData, want: "there are more than 1000 files in it"},
		{name: "two entries of one name", lie: withCode(named("init.lua", "return")), code: exitData, want: `two entries are named "init.lua"`},
		{name: "names that differ in case", lie: before(named("Init.lua", "return")), code: exitData, want: `"Init.lua" and "init.lua" differ in case only`},
		{name: "folders that differ in case", lie: before(named("Lib/a.lua", "return"), named("lib/b.lua", "return")), code: exitData, want: `"Lib" and "lib" differ in case only`},
		{name: "a summary that asks for less", lie: func(a *artifact) {
			a.layers[0].data = bytes.Replace(a.layers[0].data, []byte(`{"edit":["headers"]}`), []byte(`{}`), 1)
		}, code: exitData, want: "the index says of hello 2.0."},
		{name: "no code", lie: func(a *artifact) { a.layers = a.layers[:1] }, code: exitData, want: "so it is no plugin"},
		{name: "a layer of another kind", lie: func(a *artifact) {
			a.layers = append(a.layers, artifactLayer{mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", title: "x", data: []byte("x")})
		}, code: exitData, want: "has no place there"},
	}
}

// hugeEntry makes the first entry of an archive say that it has 8 GB, with a sum that is right.
func hugeEntry(archive []byte) []byte {
	archive = bytes.Clone(archive)
	copy(archive[124:], "77777777777\x00")
	copy(archive[148:156], "        ")
	sum := 0
	for _, c := range archive[:512] {
		sum += int(c)
	}
	copy(archive[148:], fmt.Sprintf("%06o\x00 ", sum))
	return archive
}

// manyEntries fills the largest layer with entries of nothing.
func manyEntries(a *artifact) {
	var files []artifactFile
	for i := range 60_000 {
		files = append(files, named(fmt.Sprintf("f%05d.lua", i), ""))
	}
	a.code(append(files, artifactFile{text: helloVersion(a.version, "bad")})...)
}

// badIndexes are lists that nobody should follow.
func badIndexes() []badInput {
	return []badInput{
		{name: "another index with the same serial", list: func(x *index.Index) { x.Serial-- }, code: exitData, want: "whoever keeps it has to raise the serial"},
		{name: "an index that was served before", file: func(d *dealer, _, _ []byte) ([]byte, []byte) { return d.first[0], d.first[1] }, code: exitData, want: "somebody may be replaying it"},
		{name: "an index that expired", list: func(x *index.Index) { x.Issued, x.Expires = x.Issued.Add(-48*time.Hour), x.Issued.Add(-24*time.Hour) }, code: exitData, want: "it expired on"},
		{name: "an index of tomorrow", list: func(x *index.Index) { x.Issued, x.Expires = x.Issued.Add(25*time.Hour), x.Expires.Add(25*time.Hour) }, code: exitData, want: "set the clock right"},
		{name: "an index of another name", list: func(x *index.Index) { x.Name = "other" }, code: exitData, want: "it calls itself other"},
		{name: "an index signed with an untrusted key", file: func(d *dealer, data, _ []byte) ([]byte, []byte) {
			return data, newDealer(d.t).key.Sign(data, "stagepost index")
		}, code: exitData, want: "and not with one that is trusted for it"},
		{name: "an index that was changed", file: func(_ *dealer, data, signature []byte) ([]byte, []byte) {
			return bytes.Replace(data, []byte("says a word"), []byte("says a wort"), 1), signature
		}, code: exitData, want: "which was damaged or tampered with"},
		{name: "an index without a signature", file: func(_ *dealer, data, _ []byte) ([]byte, []byte) { return data, nil }, kept: true, want: "an index needs its signature beside it"},
		{name: "a giant index", file: func(_ *dealer, data, signature []byte) ([]byte, []byte) {
			return append(data, make([]byte, index.MaxBytes)...), signature
		}, kept: true, want: "it has more than 16777216 bytes"},
		{name: "no index", file: func(*dealer, []byte, []byte) ([]byte, []byte) { return nil, nil }, kept: true, want: "no such file"},
	}
}

// badPlaces are registries, folders and files that are broken, or are none.
func badPlaces() []badInput {
	blob := func(r *http.Request) bool {
		return r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/")
	}
	part := func(name string) func(t *testing.T, where string) {
		return func(t *testing.T, where string) {
			if err := os.WriteFile(filepath.Join(where, name), []byte("{"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return []badInput{
		{name: "a registry that answers 500", serve: func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(500); return true }, code: exitUnavailable, want: "500"},
		{name: "a registry that hangs", args: []string{"--timeout", "2s"}, serve: func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }, code: exitTemporary, want: "2s"},
		{name: "a registry that hangs within a layer", args: []string{"--timeout", "2s"}, serve: func(w http.ResponseWriter, r *http.Request) bool {
			if !blob(r) {
				return false
			}
			w.Write([]byte("x"))
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return true
		}, code: exitTemporary, want: "2s"},
		{name: "a registry that breaks off", serve: func(_ http.ResponseWriter, r *http.Request) bool {
			if blob(r) {
				panic(http.ErrAbortHandler)
			}
			return false
		}, code: exitUnavailable, want: "plugin.json cannot be read"},
		{name: "a registry that never ends", serve: func(w http.ResponseWriter, r *http.Request) bool {
			if !blob(r) {
				return false
			}
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					break
				}
			}
			return true
		}, code: exitData, want: "goes on after"},
		{name: "a registry that leads elsewhere in clear", serve: func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "http://a.example/", http.StatusTemporaryRedirect)
			return true
		}, code: exitUnavailable, want: "in clear"},
		{name: "a registry without the plugin", serve: func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(404); return true }, code: exitData, want: "is not there"},
		{name: "a folder that is none", place: func(t *testing.T, where string) {
			if err := os.RemoveAll(where); err != nil {
				t.Fatal(err)
			}
		}, code: exitNoInput, want: "no such file"},
		{name: "a folder without its blobs", place: func(t *testing.T, where string) {
			if err := os.RemoveAll(filepath.Join(where, "blobs")); err != nil {
				t.Fatal(err)
			}
		}, code: exitData, want: "there is no blobs/sha256/"},
		{name: "a folder with half an index.json", place: part("index.json"), code: exitData, want: "index.json cannot be read: it ends too early"},
		{name: "a folder with half an oci-layout", place: part("oci-layout"), code: exitData, want: "oci-layout cannot be read: it ends too early"},
		{name: "a file cut short", place: func(t *testing.T, where string) {
			if err := os.Truncate(where, 3000); err != nil {
				t.Fatal(err)
			}
		}, code: exitData, want: "the archive ends within"},
		{name: "a file that is no archive", place: func(t *testing.T, where string) {
			if err := os.WriteFile(where, bytes.Repeat([]byte("no tar\n"), 1000), 0o644); err != nil {
				t.Fatal(err)
			}
		}, code: exitData, want: "the archive cannot be read"},
		{name: "a file with two entries of one name", place: appendEntry(named("index.json", "{}")), code: exitData, want: "two entries of the archive are named"},
		{name: "a file with a link", place: appendEntry(linkTo("index.json")), code: exitData, want: "is a link"},
		{name: "a file with a million entries", place: millionEntries, code: exitData, want: "there are more than 20000 entries in the archive"},
	}
}

// appendEntry puts one more entry before the end of an archive.
func appendEntry(f artifactFile) func(t *testing.T, where string) {
	return func(t *testing.T, where string) {
		text, err := os.ReadFile(where)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(where, append(text[:len(text)-1024], artifactTar(f)...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// millionEntries puts a million entries before those that are there.
func millionEntries(t *testing.T, where string) {
	text, err := os.ReadFile(where)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(where)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	header := artifactTar(named("some/where/0000000", ""))[:512]
	const sumOfZeros = 7 * '0'
	base := 0
	for i, c := range header {
		if i < 148 || i >= 156 {
			base += int(c)
		}
	}
	base += 8*' ' - sumOfZeros
	for i := range oneMillion {
		name := fmt.Sprintf("%07d", i)
		sum := base
		for _, c := range []byte(name) {
			sum += int(c)
		}
		copy(header[11:], name)
		copy(header[148:], fmt.Sprintf("%06o\x00 ", sum))
		w.Write(header)
	}
	w.Write(text)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
}

// dealer keeps an index by hand, so that whatever is wrong is signed by somebody who is trusted.
type dealer struct {
	*site
	key    *index.Secret
	serial uint64
	first  [2][]byte // that was served, and its signature
}

func newDealer(t testing.TB) *dealer {
	t.Helper()
	key, err := index.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return &dealer{site: &site{t: t, dir: t.TempDir()}, key: key, serial: 10}
}

func (d *dealer) trusts() string {
	return trusting(d.path("index.json"), d.key.Key().String())
}

// deals lists one artifact, and serves the index.
func (d *dealer) deals(t *testing.T, a *artifact, place string, b *badInput) {
	t.Helper()
	d.serial++
	now := time.Now().UTC().Truncate(time.Second)
	x := &index.Index{Name: "main", Serial: d.serial, Issued: now, Expires: now.Add(24 * time.Hour), Places: []string{place}}
	needs := map[string]any{"edit": []any{"headers"}}
	pkg := &catalog.Package{Digest: a.digest(), Summary: catalog.Summary{ID: "hello", Version: a.version, Description: "says a word", Engine: "lua", Needs: needs}}
	if err := x.Add(pkg, nil, d.key, now); err != nil {
		t.Fatal(err)
	}
	if b.list != nil {
		b.list(x)
	}
	data, signature, err := x.Signed(d.key)
	if err != nil {
		t.Fatal(err)
	}
	if d.first[0] == nil {
		d.first = [2][]byte{data, signature}
	}
	if b.file != nil {
		data, signature = b.file(d, data, signature)
	}
	for name, text := range map[string][]byte{"index.json": data, "index.json.minisig": signature} {
		if text == nil {
			d.remove(name)
			continue
		}
		d.write(name, string(text))
	}
}

// state is all that a command that fails must leave as it was: the installed plugins, byte for byte, the lock, the configuration, and the
// generation that serves.
func (s *site) state() string {
	s.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "generation %d\n", s.status().Generation)
	for _, root := range []string{"data/plugins", "plugins.lock", "stagepost.toml"} {
		err := filepath.WalkDir(s.path(root), func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if strings.HasPrefix(e.Name(), ".") && strings.HasSuffix(e.Name(), ".lock") { // by it, commands wait for each other
				return nil
			}
			sum := [32]byte{}
			if !e.IsDir() {
				text, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				sum = sha256.Sum256(text)
			}
			fmt.Fprintf(&b, "%s %s %x\n", strings.TrimPrefix(path, s.dir), e.Type(), sum[:4])
			return nil
		})
		if err != nil && !os.IsNotExist(err) {
			s.t.Fatal(err)
		}
	}
	return b.String()
}

// TestCatalogBadInput serves what is bad to a running server's operator, in each kind of place, and asks for it to be installed with all
// consent that there is: one line says what is wrong, and nothing changes.
func TestCatalogBadInput(t *testing.T) {
	store := startRegistry(t, dockerregistry.Options{})
	front := frontOf(t, store.Address)
	d := newDealer(t)
	r := newRig(t, func(server *site) { server.write("trust.toml", d.trusts()) })
	good := &badInput{name: "good"}
	lies := func(t *testing.T, kind string, a *artifact) (where string) {
		switch kind {
		case "registry":
			a.lieInRegistry(t, store, "plugins")
			return front.URL + "/plugins"
		case "folder":
			where = filepath.Join(t.TempDir(), "packages")
			a.lieInFolder(t, where)
		case "file":
			where = filepath.Join(t.TempDir(), "packages.tar")
			a.lieInFile(t, where)
		}
		return where
	}
	first := newArtifact("1.0.0")
	consent := rightsOf(t, first)
	install := func(args ...string) result {
		return r.run(append([]string{"plugin", "install", "hello", "--accept", consent}, args...)...)
	}
	d.deals(t, first, lies(t, "registry", first), good)
	if out := install(); out.code != 0 {
		t.Fatalf("what is good is not installed: exit code %d\n%s%s", out.code, out.out, out.err)
	}
	r.expect("bad")

	var table strings.Builder
	n := 0
	try := func(t *testing.T, b *badInput, kind string) {
		n++
		a := newArtifact(fmt.Sprintf("2.0.%d", n))
		if b.lie != nil {
			b.lie(a)
		}
		where := lies(t, kind, a)
		if b.place != nil {
			b.place(t, where)
		}
		if b.kept {
			d.deals(t, first, lies(t, kind, first), good)
			r.want(0, "plugin", "search")
		}
		d.deals(t, a, where, b)
		front.Instead(b.serve)
		defer front.Instead(nil)
		before := r.state()
		out := install(b.args...)
		if out.code != b.code {
			t.Errorf("exit code %d, want %d", out.code, b.code)
		}
		if line := strings.TrimSuffix(out.err, "\n"); strings.Contains(line, "\n") || !strings.Contains(line, b.want) {
			t.Errorf("it says %q, want one line with %q", out.err, b.want)
		}
		if after := r.state(); after != before {
			t.Errorf("before\n%s\nand after\n%s", before, after)
		}
		fmt.Fprintf(&table, "%s, %s: %d: %s", b.name, kind, out.code, out.err)
	}
	all := []string{"registry", "folder", "file"}
	for _, group := range []struct {
		list  []badInput
		kinds []string
	}{{badPackages(), all}, {badIndexes(), []string{"folder"}}, {badPlaces(), all}} {
		for i := range group.list {
			b := &group.list[i]
			for _, kind := range group.kinds {
				if b.place != nil && !strings.HasPrefix(b.name, "a "+kind) || b.serve != nil && kind != "registry" {
					continue
				}
				t.Run(b.name+"/"+kind, func(t *testing.T) { try(t, b, kind) })
			}
		}
	}
	t.Logf("%d bad inputs:\n%s", n, &table)
	r.expect("bad")
	last := newArtifact("3.0.0")
	last.code(artifactFile{text: helloVersion("3.0.0", "good")})
	d.deals(t, last, lies(t, "file", last), good)
	if out := install(); out.code != 0 {
		t.Fatalf("after all that, what is good is not installed: exit code %d\n%s%s", out.code, out.out, out.err)
	}
	r.expect("good")
	r.end()
}

// rightsOf is the hash that stands for what an artifact asks for, if it is a package.
func rightsOf(t *testing.T, a *artifact) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "packages")
	a.lieInFolder(t, dir)
	pkg, err := placeAt(t, dir).Get(t.Context(), "hello", a.version, digest.Digest(""))
	if err != nil {
		t.Fatal(err)
	}
	return rights(t, pkg)
}
