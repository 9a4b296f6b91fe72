package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
)

// maxManifest bounds the OCI manifest, in bytes.
const maxManifest = 64 << 10

// fetchAll reads what a descriptor names, and nothing else.
func fetchAll(ctx context.Context, from content.Fetcher, desc ocispec.Descriptor, what string, most int64) ([]byte, error) {
	switch {
	case desc.Digest.Validate() != nil || desc.Digest.Algorithm() != digest.SHA256:
		return nil, fmt.Errorf("%s has the digest %s, which is no sha256", what, shown(string(desc.Digest)))
	case desc.Size <= 0 || desc.Size > most:
		return nil, fmt.Errorf("%s is said to have %d bytes; it has 1 to %d", what, desc.Size, most)
	}
	r, err := from.Fetch(ctx, desc)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", what, err)
	}
	defer r.Close()
	data, err := content.ReadAll(r, desc)
	silent := (*Unavailable)(nil)
	switch {
	case errors.As(err, &silent):
		return nil, fmt.Errorf("%s cannot be read: %w", what, silent)
	case errors.Is(err, content.ErrMismatchedDigest):
		return nil, fmt.Errorf("%s is not what its digest says (%s); it was damaged or tampered with", what, desc.Digest)
	case errors.Is(err, content.ErrTrailingData):
		return nil, fmt.Errorf("%s goes on after the %d bytes that it should have", what, desc.Size)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("%s ends before the %d bytes that it should have", what, desc.Size)
	case err != nil:
		return nil, fmt.Errorf("%s cannot be read: %w", what, err)
	}
	return data, nil
}

// readManifest reads the OCI manifest of a package, as far as can be judged without its layers.
func readManifest(ctx context.Context, from content.Fetcher, desc ocispec.Descriptor) (*ocispec.Manifest, error) {
	data, err := fetchAll(ctx, from, desc, "the manifest", maxManifest)
	if err != nil {
		return nil, err
	}
	m := &ocispec.Manifest{}
	switch err := decode(data, m); {
	case err != nil:
		return nil, fmt.Errorf("the manifest cannot be read: %w", err)
	case m.SchemaVersion != 2 || m.MediaType != ocispec.MediaTypeImageManifest:
		return nil, errors.New("the manifest is no OCI manifest of version 1.1")
	case m.ArtifactType != ArtifactType:
		return nil, fmt.Errorf("it is no plugin, but of the type %s", shown(m.ArtifactType))
	case m.Config.MediaType != ocispec.MediaTypeEmptyJSON || m.Config.Digest != ocispec.DescriptorEmptyJSON.Digest:
		return nil, errors.New("the manifest has a config, which packages have not")
	case m.Subject != nil:
		return nil, errors.New("the manifest is about another one, which packages are not")
	}
	return m, nil
}

// decode reads one JSON value and nothing after it.
func decode(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	switch err := d.Decode(into); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it ends too early")
	case err != nil:
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something comes after it")
	}
	return nil
}

// said is what an OCI manifest says of the plugin.
func said(m *ocispec.Manifest) (id, version string, api int, err error) {
	id, version = m.Annotations[ocispec.AnnotationTitle], m.Annotations[ocispec.AnnotationVersion]
	if api, err = strconv.Atoi(m.Annotations[annotationAPI]); err != nil || api < 0 {
		return "", "", 0, errors.New("the manifest does not say which api the plugin is for")
	}
	return id, version, api, nil
}

// read reads a package from a place that is not trusted. What it gives has the digest of desc, byte for byte.
func read(ctx context.Context, from content.Fetcher, desc ocispec.Descriptor) (*Package, error) {
	m, err := readManifest(ctx, from, desc)
	if err != nil {
		return nil, err
	}
	files, s := map[string][]byte{}, Summary{}
	known, at := layers(), 0
	for _, d := range m.Layers {
		for at < len(known) && known[at].mediaType != d.MediaType {
			at++
		}
		if at == len(known) {
			return nil, fmt.Errorf("a layer of the type %s has no place there: packages have summary, code, README, tests, licence, each once and in this order", shown(d.MediaType))
		}
		l := known[at]
		at++
		data, err := fetchAll(ctx, from, d, l.title, l.most)
		if err != nil {
			return nil, err
		}
		switch {
		case l.archive:
			inside, err := readArchive(data)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", l.title, err)
			}
			for name, text := range inside {
				if !l.holds(name) {
					return nil, fmt.Errorf("%s: %s has no place there", l.title, shown(name))
				}
				files[name] = text
			}
		case l.title == "plugin.json":
			if err := decode(data, &s); err != nil {
				return nil, fmt.Errorf("%s: %w", l.title, err)
			}
		default:
			files[l.title] = data
		}
	}
	if err := s.Check(); err != nil {
		return nil, err
	}
	if files[luaFile] == nil && files[wasmFile] == nil {
		return nil, fmt.Errorf("there is no %s, nor a %s, so it is no plugin", luaFile, wasmFile)
	}
	p, err := assemble(s, files)
	if err != nil {
		return nil, err
	}
	if p.Digest != desc.Digest {
		return nil, errors.New("it is not written the way packages are, although all its digests are right")
	}
	return p, nil
}
