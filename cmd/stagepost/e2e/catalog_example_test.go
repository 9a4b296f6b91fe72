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
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/plugins/bundled"
	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/scripts/dockerregistry"
)

// TestCatalogExample follows the page of examples/catalog, which makes a catalog with a script and copies it. It holds today's plugins. Then it
// is made again, which comes to the same bytes, to be hosted by a web server that knows files only, by HTTPS, from which it is copied once more.
func TestCatalogExample(t *testing.T) {
	for name, value := range map[string]string{"STAGEPOST_PASSPHRASE": "open sesame", "SOURCE_DATE_EPOCH": strconv.FormatInt(time.Now().Unix(), 10),
		"PATH": filepath.Dir(program) + string(os.PathListSeparator) + os.Getenv("PATH")} {
		t.Setenv(name, value)
	}
	s := follow(t, "examples/catalog/README.md").site
	made := files(t, s.path("site"))
	if !strings.Contains(made["index.json"], `"serial":1,`) { // the second time nothing was new
		t.Errorf("the index begins with %.200s", made["index.json"])
	}
	for _, name := range bundled.Names() {
		p, err := catalog.PackFS(name, bundled.Open(name))
		if err != nil {
			t.Fatal(err)
		}
		if _, there := made["packages/blobs/sha256/"+p.Digest.Encoded()]; !there || !strings.Contains(made["index.json"], string(p.Digest)) {
			t.Errorf("the catalog has another %s", name)
		}
	}
	if minisign, err := exec.LookPath("minisign"); err != nil {
		t.Log("left out: there is no minisign that could verify the index, too")
	} else if out, err := exec.Command(minisign, "-V", "-m", s.path("site/index.json"), "-p", s.path("site/catalog.pub")).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}

	web := httptest.NewTLSServer(http.FileServer(http.Dir(s.path("site"))))
	t.Cleanup(web.Close)
	s.write("roots.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})))
	t.Setenv("SSL_CERT_FILE", s.path("roots.pem"))
	if err := os.RemoveAll(s.path("site")); err != nil {
		t.Fatal(err)
	}
	publish := exec.Command("sh", "publish.sh", web.URL)
	publish.Dir = s.dir
	if r := runToEnd(t, publish); r.code != 0 {
		t.Fatalf("%d\n%s%s", r.code, r.out, r.err)
	}
	if again := files(t, s.path("site")); !maps.Equal(again, made) {
		t.Error("the catalog is another one when it is made again")
	}
	holds(t, s.read("trust.toml"), "place = \""+web.URL+"/index.json\"\n") // it was the path in site before
	holds(t, s.want(0, "catalog", "mirror", "fetched", "--trust", "trust.toml"), "serial 1")
	delete(made, "catalog.pub")
	for _, dir := range []string{"copy", "fetched"} {
		if !maps.Equal(files(t, s.path(dir)), made) {
			t.Errorf("%s is another catalog", dir)
		}
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
	s := newShop(t, "folder")
	s.write("trust.toml", s.trusts())
	s.want(0, "catalog", "publish", "discard", "relay", "--index", "public/index.json", "--to", s.place, "--key", "catalog.key")
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
	if made := files(t, s.path("copy")); made["index.json"] != files(t, s.path("public"))["index.json"] || len(made) != 2 {
		t.Error("the index of the copy is another one")
	}
}
