package e2e

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/scripts/dockerregistry"
)

// artifact is what lies in a place as if it were the package of a plugin hello: every byte of it is the test's own choice. As newArtifact
// makes it, it is the package.
type artifact struct {
	version string
	layers  []artifactLayer
	served  []byte // what the place has in place of the manifest; nil is the manifest
}

type artifactLayer struct {
	mediaType, title string
	data             []byte
	claimed          int64  // the size that the manifest names; 0 is the true one
	served           []byte // what the place has in place of data; nil is data
}

// artifactFile is an entry of a layer's archive.
type artifactFile struct {
	tar.Header
	text string
}

func newArtifact(version string) *artifact {
	needs, _ := json.Marshal(map[string]any{"edit": []string{"headers"}})
	summary := fmt.Sprintf(`{"id":"hello","version":%q,"api":0,"description":"says a word","engine":"lua","needs":%s}`, version, needs)
	return &artifact{version: version, layers: []artifactLayer{
		{mediaType: "application/vnd.stagepost.plugin.summary.v0+json", title: "plugin.json", data: []byte(summary)},
		{mediaType: "application/vnd.stagepost.plugin.code.v0.tar", title: "code.tar", data: artifactTar(artifactFile{text: helloVersion(version, "bad")})},
	}}
}

// helloVersion is the plugin hello of a version.
func helloVersion(version, word string) string {
	return strings.Replace(hello(word), "1.0.0", version, 1)
}

// code replaces the archive with the code.
func (a *artifact) code(files ...artifactFile) { a.layers[1].data = artifactTar(files...) }

// artifactTar writes entries as packages have them, but for what they say themselves.
func artifactTar(files ...artifactFile) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := f.Header
		if h.Name == "" {
			h.Name = "init.lua"
		}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		h.Mode, h.ModTime, h.Format = 0o644, time.Unix(0, 0), tar.FormatUSTAR
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(f.text))
		}
		if err := w.WriteHeader(&h); err != nil {
			panic(err)
		}
		if _, err := io.WriteString(w, f.text); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func (l *artifactLayer) descriptor() ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: l.mediaType, Digest: digest.FromBytes(l.data), Size: int64(len(l.data)), Annotations: map[string]string{ocispec.AnnotationTitle: l.title}}
	if l.claimed > 0 {
		d.Size = l.claimed
	}
	return d
}

// manifest is the artifact's, which names all the rest.
func (a *artifact) manifest() []byte {
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: catalog.ArtifactType, Config: ocispec.DescriptorEmptyJSON, Annotations: map[string]string{
		ocispec.AnnotationCreated: "1970-01-01T00:00:00Z", ocispec.AnnotationTitle: "hello", ocispec.AnnotationVersion: a.version, "com.github.stagepost.plugin.api": "0",
	}}
	for _, l := range a.layers {
		m.Layers = append(m.Layers, l.descriptor())
	}
	text, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return text
}

func (a *artifact) digest() digest.Digest { return digest.FromBytes(a.manifest()) }

// blobs are what the artifact consists of, by digest: as it should be, and as it is served where that is something else.
func (a *artifact) blobs() (right, served map[digest.Digest][]byte) {
	right, served = map[digest.Digest][]byte{ocispec.DescriptorEmptyJSON.Digest: ocispec.DescriptorEmptyJSON.Data}, map[digest.Digest][]byte{}
	for _, l := range a.layers {
		d := digest.FromBytes(l.data)
		right[d] = l.data
		if l.served != nil {
			served[d] = l.served
		}
	}
	if a.served != nil {
		served[a.digest()] = a.served
	}
	return right, served
}

// layout is the artifact as an OCI image layout.
func (a *artifact) layout() map[string][]byte {
	right, served := a.blobs()
	right[a.digest()] = a.manifest()
	maps.Copy(right, served)
	files := map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`)}
	for d, data := range right {
		files["blobs/sha256/"+d.Encoded()] = data
	}
	index, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{{
		MediaType: ocispec.MediaTypeImageManifest, Digest: a.digest(), Size: int64(len(a.manifest())), ArtifactType: catalog.ArtifactType,
		Annotations: map[string]string{ocispec.AnnotationRefName: "hello:" + a.version},
	}}})
	if err != nil {
		panic(err)
	}
	files["index.json"] = index
	return files
}

// lieInFolder writes the artifact into a new folder.
func (a *artifact) lieInFolder(t *testing.T, dir string) {
	t.Helper()
	for name, data := range a.layout() {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// lieInFile writes the artifact into one file.
func (a *artifact) lieInFile(t *testing.T, file string) {
	t.Helper()
	files := a.layout()
	var entries []artifactFile
	for _, name := range slices.Sorted(maps.Keys(files)) {
		entries = append(entries, artifactFile{tar.Header{Name: name}, string(files[name])})
	}
	if err := os.WriteFile(file, artifactTar(entries...), 0o644); err != nil {
		t.Fatal(err)
	}
}

// lieInRegistry sends the artifact to a registry as any client would, and changes its storage afterwards where something else is to be
// served.
func (a *artifact) lieInRegistry(t *testing.T, r *dockerregistry.Registry, path string) {
	t.Helper()
	base := "http://" + r.Address + "/v2/" + path + "/hello/"
	call := func(method, where, mediaType string, body []byte, want int) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, where, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", mediaType)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Fatalf("%s %s: %s\n%s", method, where, resp.Status, text)
		}
		return resp
	}
	right, served := a.blobs()
	for d, data := range right {
		begun := call(http.MethodPost, base+"blobs/uploads/", "", nil, http.StatusAccepted)
		to, err := begun.Location()
		if err != nil {
			t.Fatal(err)
		}
		query := to.Query()
		query.Set("digest", string(d))
		to.RawQuery = query.Encode()
		call(http.MethodPut, to.String(), "application/octet-stream", data, http.StatusCreated)
	}
	call(http.MethodPut, base+"manifests/"+url.PathEscape(a.version), ocispec.MediaTypeImageManifest, a.manifest(), http.StatusCreated)
	for d, data := range served {
		if err := os.WriteFile(r.Blob(d), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestArtifact: an artifact without anything bad in it is the package that the program makes, in all places; so of the others it is what is
// bad that is refused.
func TestArtifact(t *testing.T) {
	r := startRegistry(t, dockerregistry.Options{})
	dir := t.TempDir()
	a := newArtifact("1.0.0")
	want, err := catalog.Pack("hello", map[string][]byte{"init.lua": []byte(helloVersion("1.0.0", "bad"))})
	if err != nil {
		t.Fatal(err)
	}
	a.lieInRegistry(t, r, "plugins")
	a.lieInFolder(t, filepath.Join(dir, "folder"))
	a.lieInFile(t, filepath.Join(dir, "file.tar"))
	for _, where := range []string{"http://" + r.Address + "/plugins", filepath.Join(dir, "folder"), filepath.Join(dir, "file.tar")} {
		if _, err := placeAt(t, where).Get(t.Context(), "hello", "1.0.0", want.Digest); err != nil {
			t.Error(err)
		}
	}
}
