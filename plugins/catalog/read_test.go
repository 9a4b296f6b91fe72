package catalog

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
)

// shelf has blobs, whatever their digests say.
type shelf map[digest.Digest][]byte

func (s shelf) Fetch(_ context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	data, ok := s[d.Digest]
	if !ok {
		return nil, errdef.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (s shelf) add(mediaType string, data []byte) ocispec.Descriptor {
	d := content.NewDescriptorFromBytes(mediaType, data)
	s[d.Digest] = data
	return d
}

// parts are a package in pieces that a case changes.
type parts struct {
	shelf    shelf
	manifest ocispec.Manifest
	text     []byte // of the manifest; nil: as it is
	desc     func(*ocispec.Descriptor)
}

func apart(t testing.TB, p *Package) *parts {
	t.Helper()
	s := &parts{shelf: shelf{}, desc: func(*ocispec.Descriptor) {}}
	for _, b := range p.blobs {
		s.shelf[b.desc.Digest] = b.data
	}
	if err := json.Unmarshal(p.manifest.data, &s.manifest); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *parts) read(t testing.TB) (*Package, error) {
	t.Helper()
	text := s.text
	if text == nil {
		var err error
		if text, err = json.Marshal(s.manifest); err != nil {
			t.Fatal(err)
		}
	}
	d := s.shelf.add(ocispec.MediaTypeImageManifest, text)
	s.desc(&d)
	return read(t.Context(), s.shelf, d)
}

func TestReadBack(t *testing.T) {
	p := packSample(t, "sample", "1.0.0")
	got, err := apart(t, p).read(t)
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest != p.Digest || !maps.EqualFunc(got.Files, p.Files, bytes.Equal) {
		t.Error("it is not what was packed")
	}
	if _, err := got.Manifest(); err != nil {
		t.Error(err)
	}
}

func TestBadPackages(t *testing.T) {
	const code, summary, tests = 1, 0, 3
	layer := func(i int, data []byte) func(*parts) {
		return func(s *parts) {
			title := s.manifest.Layers[i].Annotations
			s.manifest.Layers[i] = s.shelf.add(s.manifest.Layers[i].MediaType, data)
			s.manifest.Layers[i].Annotations = title
		}
	}
	for name, tc := range map[string]struct {
		spoil func(s *parts)
		want  string
	}{
		"a layer was changed":      {func(s *parts) { s.shelf[s.manifest.Layers[code].Digest][600] ^= 1 }, "code.tar is not what its digest says (sha256:"},
		"a layer is cut":           {func(s *parts) { d := s.manifest.Layers[code].Digest; s.shelf[d] = s.shelf[d][:1000] }, "code.tar ends before the 4096 bytes"},
		"a layer goes on":          {func(s *parts) { d := s.manifest.Layers[code].Digest; s.shelf[d] = append(s.shelf[d], 0) }, "code.tar goes on after the 4096 bytes"},
		"a layer is gone":          {func(s *parts) { delete(s.shelf, s.manifest.Layers[code].Digest) }, "code.tar cannot be read: not found"},
		"a wrong size":             {func(s *parts) { s.manifest.Layers[code].Size++ }, "code.tar ends before the 4097 bytes"},
		"a size below the real":    {func(s *parts) { s.manifest.Layers[code].Size-- }, "code.tar goes on after the 4095 bytes"},
		"no size":                  {func(s *parts) { s.manifest.Layers[code].Size = 0 }, "code.tar is said to have 0 bytes"},
		"a size below zero":        {func(s *parts) { s.manifest.Layers[code].Size = -1 }, "code.tar is said to have -1 bytes"},
		"10 GB":                    {func(s *parts) { s.manifest.Layers[code].Size = 10 << 30 }, "code.tar is said to have 10737418240 bytes; it has 1 to 33554432"},
		"a large README":           {func(s *parts) { s.manifest.Layers[2].Size = maxFile + 1 }, "README.md is said to have"},
		"another sum":              {func(s *parts) { s.manifest.Layers[code].Digest = digest.SHA512.FromString("x") }, "which is no sha256"},
		"no digest":                {func(s *parts) { s.manifest.Layers[code].Digest = "sha256:../../x" }, `code.tar has the digest "sha256:../../x"`},
		"the manifest was changed": {func(s *parts) { s.desc = func(d *ocispec.Descriptor) { s.shelf[d.Digest][20] ^= 1 } }, "the manifest is not what its digest says"},
		"a large manifest":         {func(s *parts) { s.desc = func(d *ocispec.Descriptor) { d.Size = maxManifest + 1 } }, "the manifest is said to have 65537 bytes"},
		"no JSON":                  {func(s *parts) { s.text = []byte("<html>") }, "the manifest cannot be read: invalid character"},
		"JSON twice":               {func(s *parts) { s.text = []byte("{}{}") }, "the manifest cannot be read: something comes after it"},
		"an unknown key":           {func(s *parts) { s.text = []byte(`{"x":1}`) }, "the manifest cannot be read: json: unknown field"},
		"deep JSON":                {func(s *parts) { s.text = []byte(strings.Repeat("[", 50_000)) }, "the manifest cannot be read"},
		"another kind of manifest": {func(s *parts) { s.manifest.MediaType = ocispec.MediaTypeImageIndex }, "the manifest is no OCI manifest"},
		"an image":                 {func(s *parts) { s.manifest.ArtifactType = "" }, `it is no plugin, but of the type ""`},
		"a config":                 {func(s *parts) { s.manifest.Config = s.shelf.add("x/y", []byte("{ }")) }, "the manifest has a config"},
		"a subject":                {func(s *parts) { s.manifest.Subject = &s.manifest.Config }, "the manifest is about another one"},
		"no layers":                {func(s *parts) { s.manifest.Layers = nil }, "cannot be the name of a package"},
		"an unknown layer": {func(s *parts) {
			s.manifest.Layers = append(s.manifest.Layers, s.shelf.add("application/x-sh", []byte("x")))
		}, `a layer of the type "application/x-sh" has no place there`},
		"two layers of code": {func(s *parts) { s.manifest.Layers = append(s.manifest.Layers, s.manifest.Layers[code]) }, "has no place there"},
		"another order":      {func(s *parts) { slices.Reverse(s.manifest.Layers) }, "has no place there"},
		"a million layers":   {func(s *parts) { s.text = []byte(`{"layers":[` + strings.Repeat("{},", 20_000) + "{}]}") }, "the manifest is no OCI manifest"},
		"no code":            {func(s *parts) { s.manifest.Layers = slices.Delete(s.manifest.Layers, code, code+1) }, "there is no init.lua, nor a plugin.wasm"},
		"a bad archive":      {layer(code, archiveOf(t, file1("../init.lua", ""))), `code.tar: the name "../init.lua" leads out of the plugin's folder`},
		"a stranger in the code": {layer(code, archiveOf(t, file1("init.lua", "x"), file1("run.sh", "x"))),
			`code.tar: "run.sh" has no place there`},
		"code among the tests": {layer(tests, archiveOf(t, file1("lib/x.lua", "x"))), `tests.tar: "lib/x.lua" has no place there`},
		"clash between layers": {func(s *parts) {
			layer(code, archiveOf(t, file1("Tests/x.lua", "x"), file1("init.lua", "x")))(s)
		}, "differ in case only"},
		"a summary with more": {layer(summary, []byte(`{"id":"x","version":"1.0.0","api":0,"engine":"lua","needs":{},"x":1}`)), "plugin.json: json: unknown field"},
		"a summary with an id": {layer(summary, []byte(`{"id":"../x","version":"1.0.0","api":0,"engine":"lua","needs":{}}`)),
			`the id "../x" cannot be the name of a package`},
		"a summary with a version": {layer(summary, []byte(`{"id":"x","version":"latest","api":0,"engine":"lua","needs":{}}`)), `the version "latest"`},
		"a summary with an api":    {layer(summary, []byte(`{"id":"x","version":"1.0.0","api":-1,"engine":"lua","needs":{}}`)), `there is no api -1`},
		"a summary with an engine": {layer(summary, []byte(`{"id":"x","version":"1.0.0","api":0,"engine":"perl","needs":{}}`)), `there is no engine "perl"`},
		"a summary with spaces": {layer(summary, []byte(`{ "id":"sample","version":"1.0.0","api":0,"engine":"lua","needs":{}}`)),
			"it is not written the way packages are"},
		"another key twice":     {func(s *parts) { s.text = twice(t, s.manifest) }, "it is not written the way packages are"},
		"an annotation":         {func(s *parts) { s.manifest.Annotations["x"] = "y" }, "it is not written the way packages are"},
		"another api":           {func(s *parts) { s.manifest.Annotations[annotationAPI] = "1" }, "it is not written the way packages are"},
		"another title":         {func(s *parts) { s.manifest.Layers[code].Annotations[ocispec.AnnotationTitle] = "../x" }, "it is not written the way packages are"},
		"other addresses":       {func(s *parts) { s.manifest.Layers[code].URLs = []string{"https://a.example/"} }, "it is not written the way packages are"},
		"content in a manifest": {func(s *parts) { s.manifest.Layers[code].Data = []byte("x") }, "it is not written the way packages are"},
	} {
		t.Run(name, func(t *testing.T) {
			s := apart(t, packSample(t, "sample", "1.0.0"))
			tc.spoil(s)
			p, err := s.read(t)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") || p != nil {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

// twice is a manifest whose first key is there twice, with the right value last.
func twice(t testing.TB, m ocispec.Manifest) []byte {
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte(`{"schemaVersion":1,`), text[1:]...)
}

// FuzzRead feeds whole packages: a summary, code, tests and a README. Some of their descriptors lie. What is read has the digest that was
// asked for, and packs to itself.
func FuzzRead(f *testing.F) {
	join := func(parts ...[]byte) (out []byte) {
		for _, p := range parts {
			out = append(binary.BigEndian.AppendUint16(out, uint16(len(p))), p...)
		}
		return out
	}
	p := packSample(f, "sample", "1.0.0")
	f.Add(join(p.manifest.data, p.blobs[1].data, p.blobs[2].data, p.blobs[3].data, p.blobs[4].data, p.blobs[5].data))
	f.Add(join(p.manifest.data, p.blobs[1].data, p.blobs[2].data))
	f.Add(join([]byte("{}"), []byte("{}"), archiveOf(f, file1("../x", ""))))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &parts{shelf: shelf{}, desc: func(*ocispec.Descriptor) {}}
		var pieces [][]byte
		for len(data) >= 2 && len(pieces) < 8 {
			n := min(int(binary.BigEndian.Uint16(data)), len(data)-2)
			pieces, data = append(pieces, data[2:2+n]), data[2+n:]
		}
		if len(pieces) == 0 {
			return
		}
		s.text = pieces[0]
		m := ocispec.Manifest{}
		json.Unmarshal(pieces[0], &m)
		for i, piece := range pieces[1:] {
			s.shelf[digest.FromBytes(piece)] = piece
			if i < len(m.Layers) && m.Layers[i].Size%2 == 0 { // or it is found by its digest, or not at all
				m.Layers[i].Digest, m.Layers[i].Size, s.text = digest.FromBytes(piece), int64(len(piece)), nil
			}
		}
		s.manifest = m
		got, err := s.read(t)
		if err != nil {
			return
		}
		again, err := assemble(got.Summary, got.Files)
		if err != nil || again.Digest != got.Digest || got.Digest != digest.FromBytes(got.manifest.data) {
			t.Fatal("it is not what it is", err)
		}
		if _, err := got.Manifest(); err == nil && got.Summary.API != 0 {
			t.Fatal("an api that is not spoken")
		}
	})
}
