package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/memory"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/plugins/lua"
	"github.com/stagepost/stagepost/plugins/manifest"
	"github.com/stagepost/stagepost/plugins/wasm"
)

// ArtifactType is what registries call a package. What it means is not changed; another form of packages would have another one.
const ArtifactType = "application/vnd.stagepost.plugin.v0"

// annotationAPI says in the OCI manifest which api a package is for, so that a version can be chosen without its layers.
const annotationAPI = "com.github.stagepost.plugin.api"

// epoch is when every package was created, as far as it says so.
const epoch = "1970-01-01T00:00:00Z"

const (
	luaFile  = "init.lua"
	wasmFile = wasm.File
)

// Summary is what a package says of its plugin before the code is there. It is made from the code's own manifest.
type Summary struct {
	ID          string         `json:"id"`
	Version     string         `json:"version"`
	API         int            `json:"api"`
	Description string         `json:"description,omitempty"`
	Engine      string         `json:"engine"` // "lua" or "wasm"
	Needs       map[string]any `json:"needs"`  // what it asks for, as in its manifest
}

// Package is one plugin, packed. It is not changed once it was made.
type Package struct {
	Summary Summary
	Digest  digest.Digest     // of the OCI manifest, so of everything
	Files   map[string][]byte // of the plugin's folder, by path

	manifest blob
	blobs    []blob // the manifest's config and its layers
}

type blob struct {
	desc ocispec.Descriptor
	data []byte
}

// layer is one kind of layer. A package has them in the order of layers, without those that nothing is in.
type layer struct {
	mediaType, title string
	most             int64 // bytes
	archive          bool
	holds            func(name string) bool
}

func layers() []layer {
	return []layer{
		{"application/vnd.stagepost.plugin.summary.v0+json", "plugin.json", 64 << 10, false, func(string) bool { return false }},
		{"application/vnd.stagepost.plugin.code.v0.tar", "code.tar", maxCode, true, IsCode},
		{"text/markdown", "README.md", maxFile, false, func(name string) bool { return name == "README.md" }},
		{"application/vnd.stagepost.plugin.tests.v0.tar", "tests.tar", maxTests, true, func(name string) bool { return strings.HasPrefix(name, "tests/") }},
		{"text/plain", "LICENSE", maxFile, false, func(name string) bool { return name == "LICENSE" }},
	}
}

// IsCode tells the files of a plugin's folder that the server reads.
func IsCode(name string) bool {
	if strings.HasPrefix(name, "tests/") {
		return false
	}
	return name == wasmFile || strings.HasSuffix(name, ".lua") || strings.HasSuffix(name, ".toml") || strings.HasPrefix(name, "templates/")
}

// packed tells the files that have a layer; others stay where they are.
func packed(name string) bool {
	for _, l := range layers() {
		if l.holds(name) {
			return true
		}
	}
	return false
}

// Pack makes the package of a plugin from the files of its folder. Messages call it label.
func Pack(label string, files map[string][]byte) (*Package, error) {
	m, _, err := open(label, files)
	if err != nil {
		return nil, err
	}
	s := summarize(m, files)
	if err = s.Check(); err == nil {
		var p *Package
		if p, err = assemble(s, files); err == nil {
			return p, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", label, err)
}

// open reads the manifest of the plugin that the files are, and compiles it if it is in Lua.
func open(label string, files map[string][]byte) (*manifest.Manifest, *lua.Image, error) {
	path := func(file string) string {
		if strings.HasSuffix(label, ".lua") { // it was a file
			return label
		}
		return label + "/" + file
	}
	isLua, isWasm := files[luaFile] != nil, files[wasmFile] != nil
	switch {
	case isLua && isWasm:
		return nil, nil, fmt.Errorf("%s: there are an %s and a %s; a plugin is one of them", label, luaFile, wasmFile)
	case isWasm:
		m, err := wasm.Open(files, path)
		return m, nil, err
	case isLua:
		return lua.Open(lua.Files{Main: luaFile, Texts: files, Path: path})
	}
	return nil, nil, fmt.Errorf("%s: there is no %s in it, nor a %s, so it is no plugin", label, luaFile, wasmFile)
}

func summarize(m *manifest.Manifest, files map[string][]byte) Summary {
	s := Summary{ID: m.ID, Version: m.Version, API: m.API, Description: m.Description, Engine: "lua", Needs: map[string]any{}}
	if files[wasmFile] != nil {
		s.Engine = "wasm"
	}
	for _, c := range capability.Capabilities() {
		switch v := c.Field(m.Needs).(type) {
		case *bool:
			if *v {
				s.Needs[c.Name] = true
			}
		case *capability.Reading:
			if *v != capability.ReadNothing {
				s.Needs[c.Name] = c.Values[*v-1]
			}
		case *capability.Editing:
			var parts []string
			for i, part := range c.Values {
				if *v&(1<<i) != 0 {
					parts = append(parts, part)
				}
			}
			if parts != nil {
				s.Needs[c.Name] = parts
			}
		case *[]string:
			if len(*v) > 0 {
				s.Needs[c.Name] = *v
			}
		}
	}
	return s
}

// Check tells why a plugin cannot be handed on under its name and version, although the server would run it.
func (s *Summary) Check() error {
	switch {
	case !validID(s.ID):
		return fmt.Errorf("the id %s cannot be the name of a package: registries take small letters and digits, joined by single - or _, and Windows no device", shown(s.ID))
	case !validVersion(s.Version):
		return fmt.Errorf("the version %s cannot be that of a package: it is three numbers, as 1.0.0, with no + and at most %d bytes", shown(s.Version), maxVersion)
	case s.API < 0:
		return fmt.Errorf("there is no api %d", s.API)
	case s.Engine != "lua" && s.Engine != "wasm":
		return fmt.Errorf("there is no engine %s", shown(s.Engine))
	case !utf8.ValidString(s.Description):
		return errors.New("the description is not UTF-8")
	}
	return nil
}

// validID tells ids that are a component of a repository's name, too.
func validID(id string) bool {
	if id == "" || len(id) > 64 || id[0] < 'a' || id[0] > 'z' || device(id) {
		return false
	}
	was := rune('-')
	for _, r := range id {
		joint := r == '-' || r == '_'
		if !joint && (r < 'a' || r > 'z') && (r < '0' || r > '9') || joint && (was == '-' || was == '_') {
			return false
		}
		was = r
	}
	return was != '-' && was != '_'
}

// assemble makes the package of a summary and files. It is all that decides what a package looks like.
func assemble(s Summary, files map[string][]byte) (*Package, error) {
	names := nameSet{}
	for name, data := range files {
		switch err := names.add(name); {
		case err != nil:
			return nil, err
		case !packed(name):
			return nil, fmt.Errorf("%s is no file of a package", shown(name))
		case int64(len(data)) > most(name):
			return nil, fmt.Errorf("%s has %d bytes; the most is %d", shown(name), len(data), most(name))
		}
	}
	p := &Package{Summary: s, Files: files}
	config := ocispec.DescriptorEmptyJSON
	p.blobs = append(p.blobs, blob{config, config.Data})
	var descs []ocispec.Descriptor
	for i, l := range layers() {
		data, err := l.content(files)
		if i == 0 {
			data, err = json.Marshal(s)
		}
		switch {
		case err != nil:
			return nil, err
		case data == nil:
			continue
		case int64(len(data)) > l.most:
			return nil, fmt.Errorf("%s would have %d bytes; the most is %d", l.title, len(data), l.most)
		}
		desc := content.NewDescriptorFromBytes(l.mediaType, data)
		desc.Annotations = map[string]string{ocispec.AnnotationTitle: l.title}
		descs = append(descs, desc)
		p.blobs = append(p.blobs, blob{desc, data})
	}
	ctx, store := context.Background(), memory.New()
	desc, err := oras.PackManifest(ctx, store, oras.PackManifestVersion1_1, ArtifactType, oras.PackManifestOptions{Layers: descs, ManifestAnnotations: map[string]string{
		ocispec.AnnotationCreated: epoch,
		ocispec.AnnotationTitle:   s.ID,
		ocispec.AnnotationVersion: s.Version,
		annotationAPI:             strconv.Itoa(s.API),
	}})
	if err != nil {
		return nil, err
	}
	data, err := content.FetchAll(ctx, store, desc)
	if err != nil {
		return nil, err
	}
	p.Digest = desc.Digest
	p.manifest = blob{ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size, ArtifactType: ArtifactType}, data}
	return p, nil
}

// Size is how many bytes of a package are sent over a line or written to a disk.
func (p *Package) Size() int64 {
	n := p.manifest.desc.Size
	for _, b := range p.blobs {
		n += b.desc.Size
	}
	return n
}

// content is what the layer has of the files; nil is nothing.
func (l *layer) content(files map[string][]byte) ([]byte, error) {
	mine := map[string][]byte{}
	for name, data := range files {
		if l.holds(name) {
			mine[name] = data
		}
	}
	switch {
	case len(mine) == 0:
		return nil, nil
	case len(mine) > maxFiles:
		return nil, fmt.Errorf("%s would have %d files; the most is %d", l.title, len(mine), maxFiles)
	case l.archive:
		return writeArchive(mine)
	}
	if len(mine[l.title]) == 0 {
		return nil, fmt.Errorf("%s is empty", l.title)
	}
	return mine[l.title], nil
}

// Manifest reads the manifest of the plugin in the package out of its code, and checks that the package says the same of it. A package
// for an api that this server does not speak is an error.
func (p *Package) Manifest() (*manifest.Manifest, error) {
	m, _, err := p.Compile()
	return m, err
}

// Compile is Manifest, with what a plugin in Lua was compiled to; none of it has run.
func (p *Package) Compile() (*manifest.Manifest, *lua.Image, error) {
	called := p.Summary.ID + " " + p.Summary.Version
	if !Speaks(p.Summary.API) {
		return nil, nil, fmt.Errorf("%s is for api %d, and this server speaks api %s", called, p.Summary.API, spoken(manifest.API))
	}
	m, image, err := open(p.Summary.ID, p.Files)
	if err != nil {
		return nil, nil, err
	}
	own, err := json.Marshal(summarize(m, p.Files))
	if err != nil {
		return nil, nil, err
	}
	if said := p.blobs[1].data; !bytes.Equal(own, said) {
		return nil, nil, fmt.Errorf("%s: the package does not say of the plugin what its code says", called)
	}
	return m, image, nil
}
