package e2e

import (
	"encoding/pem"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/plugins/bundled"
	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/index"
	"github.com/stagepost/stagepost/scripts/dockerregistry"
)

// TestCatalogExample makes the catalog of examples/catalog with its script, hosts it with a web server that knows files only, by HTTPS, and copies it
// from there. It holds today's plugins, and the same key makes the same bytes again.
func TestCatalogExample(t *testing.T) {
	s := &site{t: t, dir: t.TempDir()}
	web := httptest.NewTLSServer(http.FileServer(http.Dir(s.path("site"))))
	t.Cleanup(web.Close)
	roots := s.path("roots.pem")
	if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"STAGEPOST_PASSPHRASE": "open sesame", "SOURCE_DATE_EPOCH": "", "SSL_CERT_FILE": roots,
		"PATH": filepath.Dir(program) + string(os.PathListSeparator) + os.Getenv("PATH")} {
		t.Setenv(name, value)
	}
	if err := os.CopyFS(s.dir, os.DirFS(filepath.Join(root, "examples", "catalog"))); err != nil {
		t.Fatal(err)
	}
	publish := func() string {
		t.Helper()
		cmd := exec.Command("sh", "publish.sh", web.URL)
		cmd.Dir = s.dir
		r := runToEnd(t, cmd)
		if r.code != 0 {
			t.Fatalf("%d\n%s%s", r.code, r.out, r.err)
		}
		return r.out
	}
	if out := publish(); !strings.Contains(out, "site/index.json is new") {
		t.Error(out)
	}
	if out := publish(); !strings.Contains(out, "nothing is new") {
		t.Error(out)
	}

	out := s.want(0, "catalog", "mirror", "copy", "--trust", "trust.toml")
	if !strings.Contains(out, "serial 1") {
		t.Error(out)
	}
	site, dup := files(t, s.path("site")), files(t, s.path("copy"))
	delete(site, "catalog.pub")
	if !maps.Equal(site, dup) {
		t.Error("the copy is another catalog")
	}
	for _, name := range bundled.Names() {
		p, err := catalog.PackFS(name, bundled.Open(name))
		if err != nil {
			t.Fatal(err)
		}
		if _, there := site["packages/blobs/sha256/"+p.Digest.Encoded()]; !there || !strings.Contains(site["index.json"], string(p.Digest)) {
			t.Errorf("the catalog has another %s", name)
		}
	}
	if minisign, err := exec.LookPath("minisign"); err != nil {
		t.Log("left out: there is no minisign that could verify the index, too")
	} else if out, err := exec.Command(minisign, "-V", "-m", s.path("site/index.json"), "-p", s.path("site/catalog.pub")).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}

	// At a time that is given, the catalog is the same whenever it is made.
	t.Setenv("SOURCE_DATE_EPOCH", "1790000000")
	var made []map[string]string
	for range 2 {
		if err := os.RemoveAll(s.path("site")); err != nil {
			t.Fatal(err)
		}
		publish()
		made = append(made, files(t, s.path("site")))
	}
	if !maps.Equal(made[0], made[1]) || len(made[0]) < len(site) {
		t.Error("the catalog is another one when it is made again")
	}
}

// files are those below a folder, but for what keeps writers apart.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".") {
			return err
		}
		text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		all[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestMirrorIntoRegistry copies a catalog into Debian's docker-registry. What is there is not sent again.
func TestMirrorIntoRegistry(t *testing.T) {
	r := startRegistry(t, dockerregistry.Options{})
	front := frontOf(t, r.Address)
	s := newSite(t, "")
	key, err := index.Generate()
	if err != nil {
		t.Fatal(err)
	}
	text, err := key.Text("")
	if err != nil {
		t.Fatal(err)
	}
	s.write("catalog.key", string(text))
	s.write("trust.toml", "[[index]]\nname = \"main\"\nplace = \"site/index.json\"\nnamespaces = [\"*\"]\nkeys = [\""+key.Key().String()+"\"]\n")
	s.want(0, "catalog", "publish", "discard", "relay", "--index", "site/index.json", "--to", "site/packages", "--key", "catalog.key")
	mirror := func(want string) {
		t.Helper()
		if out := s.want(0, "catalog", "mirror", front.URL+"/copies", "--trust", "trust.toml", "--index", "copy/index.json"); !strings.Contains(out, want) {
			t.Errorf("want %s in:\n%s", want, out)
		}
	}
	mirror("copied 2 versions")
	mirror("copied 0 versions (0 B); 2 were there already")
	place := placeAt(t, front.URL+"/copies")
	for _, name := range []string{"discard", "relay"} {
		p, err := catalog.PackFS(name, bundled.Open(name))
		if err == nil {
			_, err = place.Get(t.Context(), name, p.Summary.Version, p.Digest)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if made := files(t, s.path("copy")); made["index.json"] != files(t, s.path("site"))["index.json"] || len(made) != 2 {
		t.Error("the index of the copy is another one")
	}
}
