package catalog

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Bounds of layouts.
const (
	maxIndex     = 8 << 20 // bytes of index.json
	maxManifests = 10_000  // that it names
)

// layoutText is what the file oci-layout holds.
const layoutText = `{"imageLayoutVersion":"1.0.0"}`

// layout is an OCI image layout, in a folder, of this machine or of a web server, or a file. Its index.json names each package as ID:VERSION.
type layout interface {
	// open opens one of its files. That there is none is fs.ErrNotExist. Of some the size is not known before, and below zero.
	open(name string) (r io.ReadCloser, size int64, err error)
	io.Closer
}

// blobName is where a layout has what has a digest.
func blobName(d digest.Digest) string {
	return ocispec.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded()
}

// slurp reads one of the small files of a layout.
func slurp(l layout, name string, most int64) ([]byte, error) {
	r, size, err := l.open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if size > most {
		return nil, fmt.Errorf("%s has %d bytes; the most is %d", name, size, most)
	}
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if int64(len(data)) > most {
		return nil, fmt.Errorf("%s has more than %d bytes", name, most)
	}
	return data, err
}

// readIndex reads what a layout names.
func readIndex(l layout) (*ocispec.Index, error) {
	text, err := slurp(l, ocispec.ImageLayoutFile, 4<<10)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("it is no OCI image layout: there is no oci-layout in it")
	}
	var head ocispec.ImageLayout
	if err == nil {
		err = decode(text, &head)
	}
	if err != nil {
		return nil, fmt.Errorf("oci-layout cannot be read: %w", err)
	}
	if head.Version != ocispec.ImageLayoutVersion {
		return nil, fmt.Errorf("it is an OCI image layout of version %s, and not %s", shown(head.Version), ocispec.ImageLayoutVersion)
	}
	x := &bounded{}
	if text, err = slurp(l, ocispec.ImageIndexFile, maxIndex); err == nil {
		err = decode(text, x)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("index.json cannot be read: %w", err)
	case x.SchemaVersion != 2:
		return nil, errors.New("index.json is no OCI index")
	}
	x.Index.Manifests = x.Manifests
	seen := map[string]bool{}
	for _, d := range x.Manifests {
		name := refName(d)
		if name != "" && seen[name] {
			return nil, fmt.Errorf("index.json names %s twice", shown(name))
		}
		seen[name] = true
	}
	return &x.Index, nil
}

// bounded is an index of which no more is decoded than may be in it: a descriptor takes forty times the memory of the two bytes that it can be.
type bounded struct {
	ocispec.Index
	Manifests descriptors `json:"manifests"`
}

type descriptors []ocispec.Descriptor

func (all *descriptors) UnmarshalJSON(text []byte) error {
	*all = nil
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	switch first, err := d.Token(); {
	case err != nil:
		return err
	case first == nil: // null
		return nil
	case first != json.Delim('['):
		return errors.New("manifests is no list")
	}
	for d.More() {
		if len(*all) == maxManifests {
			return fmt.Errorf("it names more than %d manifests", maxManifests)
		}
		var one ocispec.Descriptor
		if err := d.Decode(&one); err != nil {
			return err
		}
		*all = append(*all, one)
	}
	return nil
}

func refName(d ocispec.Descriptor) string { return d.Annotations[ocispec.AnnotationRefName] }

// inIndex finds a package in an index.
func inIndex(x *ocispec.Index, id, version string) (ocispec.Descriptor, error) {
	for _, d := range x.Manifests {
		if refName(d) == id+":"+version {
			return d, nil
		}
	}
	return ocispec.Descriptor{}, errAbsent
}

func versionsIn(x *ocispec.Index, id string) (out []string) {
	for _, d := range x.Manifests {
		if name, version, _ := strings.Cut(refName(d), ":"); name == id {
			out = append(out, version)
		}
	}
	return out
}

// indexWith is the index with one more package, in one order however it came about. A nil index has none.
func indexWith(x *ocispec.Index, p *Package) ([]byte, error) {
	next := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	if x != nil {
		next.Manifests, next.Annotations = slices.Clone(x.Manifests), x.Annotations
	}
	d := p.manifest.desc
	d.Annotations = map[string]string{ocispec.AnnotationRefName: p.Summary.ID + ":" + p.Summary.Version}
	next.Manifests = append(next.Manifests, d)
	if len(next.Manifests) > maxManifests {
		return nil, fmt.Errorf("it holds %d packages already, the most of one place", maxManifests)
	}
	slices.SortFunc(next.Manifests, func(a, b ocispec.Descriptor) int {
		return cmp.Or(strings.Compare(refName(a), refName(b)), strings.Compare(string(a.Digest), string(b.Digest)))
	})
	return json.Marshal(next)
}

// openBlob opens what a descriptor names. The size is looked at before anything is read.
func openBlob(l layout, desc ocispec.Descriptor) (io.ReadCloser, error) {
	r, size, err := l.open(blobName(desc.Digest))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no %s in the layout", blobName(desc.Digest))
	case err != nil:
		return nil, err
	case size >= 0 && size != desc.Size:
		r.Close()
		return nil, fmt.Errorf("%s has %d bytes, and not %d", blobName(desc.Digest), size, desc.Size)
	}
	return r, nil
}

// opener opens the layout of a place. That there is none is fs.ErrNotExist.
type opener func() (layout, error)

func (o opener) index() (*ocispec.Index, error) {
	l, err := o()
	if err != nil {
		return nil, plain(err)
	}
	defer l.Close()
	return readIndex(l)
}

func (o opener) resolve(_ context.Context, id, version string) (ocispec.Descriptor, error) {
	x, err := o.index()
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return inIndex(x, id, version)
}

func (o opener) versions(_ context.Context, id string) ([]string, error) {
	x, err := o.index()
	if err != nil {
		return nil, err
	}
	return versionsIn(x, id), nil
}

func (o opener) fetch(_ context.Context, _ string, desc ocispec.Descriptor) (io.ReadCloser, error) {
	l, err := o()
	if err != nil {
		return nil, plain(err)
	}
	r, err := openBlob(l, desc)
	if err != nil {
		l.Close()
		return nil, err
	}
	return both{r, l}, nil
}

// both closes the layout after what was opened in it.
type both struct {
	io.ReadCloser
	layout layout
}

func (b both) Close() error { return errors.Join(b.ReadCloser.Close(), b.layout.Close()) }
