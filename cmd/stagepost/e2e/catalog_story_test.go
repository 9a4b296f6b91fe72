package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/consent"
	"github.com/stagepost/stagepost/plugins/catalog/index"
	"github.com/stagepost/stagepost/scripts/dockerregistry"
)

// helloFolder is the plugin hello as its author has it: a folder with all that belongs to a plugin. A curious one may ask the DNS, too.
func helloFolder(s *site, version, word string, curious bool) {
	code := helloVersion(version, word)
	if curious {
		code = strings.Replace(code, `{ "headers" } }`, `{ "headers" }, dns = true }, hook = { rcpt = { on_error = "next" } }`, 1) + "\nfunction on.rcpt(r)\n  if r.address == \"nobody@example.net\" then dns.get(\"nobody.example\", \"A\") end\nend\n"
	}
	s.write("hello/init.lua", code)
	s.write("hello/README.md", "# hello\n\nIt writes the field X-Hello into each message.\n")
	s.write("hello/LICENSE", "Anybody may do with it what they like.\n")
	s.write("hello/tests/hello.transcript", `case the word
given rcpt accept local *
connect 192.0.2.1
send a@a.example to u@example.org
C: Subject: a test
C:
C: hello
S: 250 …
want header X-Hello = `+word+"\n")
}

// shop is who writes plugins and publishes them, and the place where they lie.
type shop struct {
	*site
	place string
	index string                   // as trust.toml names it
	key   string                   // the public one
	store *dockerregistry.Registry // nil where the place is none
}

// newShop makes a shop whose place is a registry, a folder or a file. Where it is a registry, its index comes from a web server.
func newShop(t *testing.T, kind string) *shop {
	t.Helper()
	s := &shop{site: &site{t: t, dir: t.TempDir()}}
	s.index = s.path("public/index.json")
	switch kind {
	case "registry":
		s.store = startRegistry(t, dockerregistry.Options{})
		s.place = "http://" + s.store.Address + "/plugins"
		web := httptest.NewServer(http.FileServer(http.Dir(s.path("public"))))
		t.Cleanup(web.Close)
		s.index = web.URL + "/index.json"
	case "folder":
		s.place = s.path("public/packages")
	case "file":
		s.place = s.path("public/packages.tar")
	}
	s.write("public/robots.txt", "")
	s.makeKey()
	return s
}

// makeKey makes a key without a passphrase, since computing with one takes seconds each time.
func (s *shop) makeKey() {
	s.t.Helper()
	key, err := index.Generate()
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := key.Text("")
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("catalog.key", string(text))
	s.key = key.Key().String()
}

// publicKey reads a key as minisign writes it: a comment, and the key.
func publicKey(t testing.TB, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

// publish publishes a version of the plugin hello, and gives its package.
func (s *shop) publish(version, word string, curious bool) *catalog.Package {
	s.t.Helper()
	helloFolder(s.site, version, word, curious)
	s.want(0, "catalog", "publish", "./hello", "--index", "public/index.json", "--to", s.place, "--key", "catalog.key")
	pkg, err := catalog.PackPath(s.path("hello"))
	if err != nil {
		s.t.Fatal(err)
	}
	return pkg
}

// rights is the hash that stands for what a package asks for.
func rights(t testing.TB, pkg *catalog.Package) string {
	t.Helper()
	sheet, err := consent.Of(pkg)
	if err != nil {
		t.Fatal(err)
	}
	return sheet.Hash()
}

// trusts is a trust.toml that takes all from the shop.
func (s *shop) trusts() string {
	return trusting(s.index, s.key)
}

// trusting is a trust.toml that takes all from an index with a key.
func trusting(place, key string) string {
	return fmt.Sprintf("[[index]]\nname = \"main\"\nplace = %q\nnamespaces = [\"*\"]\nkeys = [%q]\n", place, key)
}

// change changes what has a digest in the place, behind everybody's back, and gives what takes that back.
func (s *shop) change(d digest.Digest, change func([]byte) []byte) (back func()) {
	s.t.Helper()
	file, from, to := s.place, []byte(nil), []byte(nil)
	switch {
	case s.store != nil:
		file = s.store.Blob(d)
	case !strings.HasSuffix(s.place, ".tar"):
		file = filepath.Join(s.place, "blobs", "sha256", d.Encoded())
	}
	was, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	if from = was; file == s.place { // in the archive, it is the part with this digest
		for at := 0; from != nil; at += 512 {
			if at >= len(was) {
				s.t.Fatalf("%s is not in %s", d, file)
			}
			if bytes.HasPrefix(was[at:], []byte("blobs/sha256/"+d.Encoded())) {
				var size int
				fmt.Sscanf(string(was[at+124:at+135]), "%o", &size)
				from = was[at+512 : at+512+size]
				break
			}
		}
	}
	to = change(bytes.Clone(from))
	if err := os.WriteFile(file, bytes.Replace(bytes.Clone(was), from, to, 1), 0o644); err != nil {
		s.t.Fatal(err)
	}
	return func() {
		if err := os.WriteFile(file, was, 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
}

// codeOf is the digest of the layer with the code.
func (s *shop) codeOf(pkg *catalog.Package) digest.Digest {
	return digest.FromBytes(artifactTar(artifactFile{text: string(pkg.Files["init.lua"])}))
}

// stream sends mail until it is ended, at a pace that leaves the machine to what is tested.
type stream struct {
	stop chan struct{}
	done chan error
	sent []string
}

func (r *rig) stream() *stream {
	s := &stream{stop: make(chan struct{}), done: make(chan error, 1)}
	go func() {
		pace := time.NewTicker(20 * time.Millisecond)
		defer pace.Stop()
		c, err := connect(r.entry)
		for i := 0; err == nil; i++ {
			select {
			case <-s.stop:
				c.conn.Close()
				s.done <- nil
				return
			case <-pace.C:
			}
			id := fmt.Sprintf("<stream.%d@client.example>", i)
			s.sent = append(s.sent, id)
			var reply string
			if reply, err = c.send("u@example.net", id); err == nil && !strings.HasPrefix(reply, "250 ") {
				err = fmt.Errorf("%s: %s", id, reply)
			}
		}
		s.done <- err
	}()
	return s
}

// end ends the stream; all that it sent has to arrive, too.
func (s *stream) end(r *rig) {
	r.t.Helper()
	close(s.stop)
	if err := <-s.done; err != nil {
		r.t.Fatal(err)
	}
	r.sent = append(r.sent, s.sent...)
}

var generationWords = regexp.MustCompile(`generation (\d+)`)

// tells checks that a command said in which generation its change is live, and that it is.
func (r *rig) tells(out string) {
	r.t.Helper()
	m := generationWords.FindStringSubmatch(out)
	if m == nil {
		r.t.Fatalf("it does not say in which generation it is live:\n%s", out)
	}
	if st := r.status(); fmt.Sprint(st.Generation) != m[1] || st.Error != "" {
		r.t.Fatalf("status: generation %d, error %q, and the command said\n%s", st.Generation, st.Error, out)
	}
}

// holds fails the test unless a text has all the words.
func holds(t testing.TB, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in:\n%s", w, text)
		}
	}
}

// TestCatalogStory is the life of a plugin from its author to the server and out of it again, with each kind of place: mail flows all the
// time, through one server that is never started again.
func TestCatalogStory(t *testing.T) {
	for _, kind := range []string{"registry", "folder", "file"} {
		t.Run(kind, func(t *testing.T) { catalogStory(t, newShop(t, kind)) })
	}
}

func catalogStory(t *testing.T, s *shop) {
	first := s.publish("1.0.0", "one", false)
	r := newRig(t, func(server *site) { server.write("trust.toml", s.trusts()) })
	mail := r.stream()
	r.expect("")

	// It is found and looked at, and nothing is installed by that.
	holds(t, r.want(0, "plugin", "search"), "hello", "1.0.0", "says a word")
	holds(t, r.want(0, "plugin", "search", "word", "HELLO"), "hello")
	holds(t, r.want(0, "plugin", "info", "hello"), "1.0.0", string(first.Digest), rights(t, first))

	// Nobody is there to be asked, so nothing is installed; and the hash of other rights is not that of these.
	refusedOut := r.run("plugin", "install", "hello")
	if refusedOut.code == 0 {
		t.Errorf("it was installed without consent:\n%s", refusedOut.out)
	}
	holds(t, refusedOut.out+refusedOut.err, rights(t, first), "--accept")
	if other := r.run("plugin", "install", "hello", "--accept", strings.Repeat("0", len(rights(t, first)))); other.code == 0 {
		t.Errorf("it was installed with another consent:\n%s", other.out)
	}
	r.expect("")
	r.tells(r.want(0, "plugin", "install", "hello", "--accept", rights(t, first)))
	r.expect("one")
	holds(t, r.read("stagepost.toml"), `"hello"`)
	holds(t, r.read("plugins.lock"), "[plugin.hello]", string(first.Digest), rights(t, first), s.key)
	holds(t, r.want(0, "plugin", "list"), "hello", "installed", "1.0.0")
	r.want(0, "plugin", "verify")

	// A new version that asks for no more is taken without a question; one that asks for more is held until it is accepted.
	s.publish("1.1.0", "two", false)
	holds(t, r.want(0, "plugin", "update", "--dry-run"), "hello", "1.0.0", "1.1.0")
	r.expect("one")
	r.tells(r.want(0, "plugin", "update"))
	r.expect("two")
	wide := s.publish("1.2.0", "three", true)
	held := r.run("plugin", "update")
	if held.code == 0 {
		t.Errorf("an update that asks for more ended with 0:\n%s%s", held.out, held.err)
	}
	holds(t, held.out+held.err, "1.2.0", rights(t, wide), "DNS")
	r.expect("two")
	holds(t, r.read("plugins.lock"), "1.1.0")
	holds(t, r.run("plugin", "diff", "hello@1.1.0", "hello@1.2.0").out, "DNS", `"three"`)
	r.tells(r.want(0, "plugin", "update", "--accept", rights(t, wide)))
	r.expect("three")

	// The way back is closed, unless one says so.
	down := r.run("plugin", "install", "hello@1.0.0", "--accept", rights(t, first))
	if down.code == 0 {
		t.Errorf("an older version was installed without a word:\n%s", down.out)
	}
	holds(t, down.err, "--downgrade")
	r.expect("three")

	catalogTamper(t, s, r, wide)
	catalogMirror(t, s, r)

	r.tells(r.want(0, "plugin", "remove", "hello"))
	r.expect("")
	if text := r.read("stagepost.toml"); strings.Contains(text, "hello") {
		t.Errorf("it is still enabled:\n%s", text)
	}
	if left := r.installed(); len(left) > 0 {
		t.Errorf("it is still there: %q", left)
	}
	mail.end(r)
	r.end()
}

// read gives a file of the site; "" is none.
func (s *site) read(name string) string {
	s.t.Helper()
	text, err := os.ReadFile(s.path(name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
	return string(text)
}

// installed are the folders of plugins in the data folder.
func (s *site) installed() (names []string) {
	s.t.Helper()
	entries, err := os.ReadDir(s.path("data/plugins"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}

// another is a second site with what an operator carries over to it: the configuration, the lock, and whom to trust.
func (r *rig) another(trust string) *site {
	r.t.Helper()
	s := newSite(r.t, r.read("stagepost.toml"))
	s.write("plugins.lock", r.read("plugins.lock"))
	s.write("trust.toml", trust)
	if err := os.Mkdir(s.path("data"), 0o700); err != nil {
		r.t.Fatal(err)
	}
	return s
}

// catalogTamper changes code where it lies: in the place, so that nobody gets it, and on the disk of the server, which stays with what it
// runs, says so, and is mended by the same command that installs.
func catalogTamper(t *testing.T, s *shop, r *rig, pkg *catalog.Package) {
	another := r.another(s.trusts())
	for _, of := range []digest.Digest{s.codeOf(pkg), pkg.Digest} {
		back := s.change(of, func(text []byte) []byte { return bytes.Replace(text, []byte("e"), []byte("E"), 1) })
		out := another.run("plugin", "install")
		if out.code == 0 {
			t.Errorf("what was tampered with was installed:\n%s", out.out)
		}
		holds(t, out.err, "tampered")
		if left := another.installed(); len(left) > 0 {
			t.Errorf("after it was refused, there are %q", left)
		}
		back()
	}
	another.want(0, "plugin", "install")
	holds(t, another.want(0, "plugin", "verify"), "hello")

	folders := r.installed()
	if len(folders) != 1 {
		t.Fatalf("folders of plugins: %q", folders)
	}
	code := "data/plugins/" + folders[0] + "/init.lua"
	was, before := r.read(code), r.status().Generation
	r.write(code, strings.Replace(was, "three", "thief", 1))
	if out := r.run("plugin", "verify"); out.code == 0 || !strings.Contains(out.out+out.err, "hello") {
		t.Errorf("verify of what was tampered with: exit code %d\n%s%s", out.code, out.out, out.err)
	}
	if out := r.run("reload"); out.code == 0 || !strings.Contains(out.err, "hello") {
		t.Errorf("reload of what was tampered with: exit code %d\n%s%s", out.code, out.out, out.err)
	}
	if st := r.status(); st.Generation != before {
		t.Errorf("generation %d became live, after %d", st.Generation, before)
	}
	r.expect("three")
	r.want(0, "plugin", "install")
	r.want(0, "plugin", "verify")
	if r.read(code) != was {
		t.Error("it was not mended")
	}
	r.want(0, "reload")
	r.expect("three")
}

// catalogMirror takes a copy of what is locked, and installs from it once nothing else can be reached: on a server that has never seen the
// shop.
func catalogMirror(t *testing.T, s *shop, r *rig) {
	mirror := t.TempDir()
	type copied struct {
		Copied int
		Trust  string
	}
	made := objects[copied](r.site, "catalog", "mirror", mirror)
	if len(made) != 1 || made[0].Copied != 3 {
		t.Fatalf("the copy: %+v", made)
	}
	if s.store != nil {
		s.store.Stop()
		defer func() {
			if err := s.store.Again(); err != nil {
				t.Fatal(err)
			}
		}()
	} else {
		moved := s.place + ".away"
		if err := os.Rename(s.place, moved); err != nil {
			t.Fatal(err)
		}
		defer os.Rename(moved, s.place)
	}
	without := r.another(s.trusts())
	if out := without.run("plugin", "install"); out.code == 0 {
		t.Errorf("it was installed from nowhere:\n%s", out.out)
	}
	with := r.another(made[0].Trust)
	with.want(0, "plugin", "search", "hello")
	with.want(0, "plugin", "install")
	sv := with.start()
	second := &rig{server: sv, sink: r.sink, entry: sv.address("mx"), sent: r.sent}
	second.expect("three")
	r.sent = second.sent
	sv.stop()
}

// TestCatalogMinisign: Debian's minisign verifies what is signed here with a key made here, and its keys sign here.
func TestCatalogMinisign(t *testing.T) {
	minisign := find(t, "minisign")
	s := newShop(t, "folder")
	t.Setenv("STAGEPOST_PASSPHRASE", "a coach and four")
	s.remove("catalog.key")
	s.want(0, "catalog", "keygen", "catalog.key")
	s.key = publicKey(t, s.path("catalog.pub"))
	s.publish("1.0.0", "one", false)
	verify := func(key string, args ...string) {
		t.Helper()
		cmd := exec.Command(minisign, append([]string{"-V", "-P", key}, args...)...)
		cmd.Dir = s.dir
		if r := runToEnd(t, cmd); r.code != 0 || !strings.Contains(r.out, "Signature and comment signature verified") {
			t.Errorf("minisign %q: exit code %d\n%s%s", args, r.code, r.out, r.err)
		}
	}
	verify(s.key, "-m", "public/index.json")
	var entry struct{ ID, Version, Digest, Signature string }
	lines := strings.Split(s.read("public/index.json"), "\n")
	if err := json.Unmarshal([]byte(strings.TrimSuffix(lines[1], ",")), &entry); err != nil {
		t.Fatal(err)
	}
	s.write("statement", "stagepost plugin hello 1.0.0 "+entry.Digest+"\n")
	s.write("statement.minisig", entry.Signature)
	verify(s.key, "-m", "statement")

	made := exec.Command(minisign, "-G", "-W", "-s", s.path("other.key"), "-p", s.path("other.pub"))
	if r := runToEnd(t, made); r.code != 0 {
		t.Fatalf("minisign -G: exit code %d\n%s%s", r.code, r.out, r.err)
	}
	s.want(exitData, "catalog", "publish", "--index", "public/index.json", "--key", "other.key")
	s.want(0, "catalog", "publish", "--index", "public/index.json", "--key", "other.key", "--former", "catalog.pub")
	verify(publicKey(t, s.path("other.pub")), "-m", "public/index.json")
}
