package catalog

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/stagepost/stagepost/plugins/catalog/desk"
)

// Bounds of a place that is a file.
const (
	maxParts   = 20_000  // entries of the archive
	maxArchive = 4 << 30 // bytes of all of them
)

// file is a place that is one file: an OCI image layout in a tar archive.
type file struct {
	opener
	path  string
	moved func(n int64)
}

func newFile(path string, moved func(n int64)) file {
	return file{func() (layout, error) {
		l, err := openTar(path)
		if err != nil { // no typed nil
			return nil, err
		}
		return l, nil
	}, path, moved}
}

// tarLayout knows where in an archive its files are.
type tarLayout struct {
	file  *os.File
	parts map[string]part
}

type part struct{ at, size int64 }

func (l *tarLayout) Close() error { return l.file.Close() }

func (l *tarLayout) open(name string) (io.ReadCloser, int64, error) {
	p, ok := l.parts[name]
	if !ok {
		return nil, 0, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return io.NopCloser(io.NewSectionReader(l.file, p.at, p.size)), p.size, nil
}

// openTar goes over the headers of an archive once. Content is not read. Archives of other programs, with folders in them and names
// that begin with "./", will do, since digests say what is right.
func openTar(path string) (_ *tarLayout, err error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no file")
	}
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	l, r := &tarLayout{f, map[string]part{}}, tar.NewReader(f)
	entries, total := 0, int64(0)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return l, nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // such names are not found below
			return nil, fmt.Errorf("the archive cannot be read: %w", err)
		}
		name := strings.TrimPrefix(h.Name, "./")
		what := kindOf(h.Typeflag)
		if entries++; entries > maxParts {
			return nil, fmt.Errorf("there are more than %d entries in the archive", maxParts)
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		if total += h.Size; h.Size < 0 || total > maxArchive {
			return nil, fmt.Errorf("the archive holds more than %d bytes", int64(maxArchive))
		}
		_, twice := l.parts[name]
		switch {
		case what != "":
			return nil, fmt.Errorf("%s in the archive is %s", shown(h.Name), what)
		case twice:
			return nil, fmt.Errorf("two entries of the archive are named %s", shown(name))
		case !fs.ValidPath(name):
			return nil, fmt.Errorf("%s in the archive is a name that leads elsewhere", shown(h.Name))
		}
		at, err := f.Seek(0, io.SeekCurrent) // the reader takes no more than the header
		if err != nil {
			return nil, err
		}
		if at+h.Size > info.Size() {
			return nil, fmt.Errorf("the archive ends within %s", shown(name))
		}
		l.parts[name] = part{at, h.Size}
	}
}

// put writes the whole archive anew, with one more package, and moves it to its place. The same packages make the same archive, in
// whatever order they came.
func (f file) put(ctx context.Context, p *Package, settle settle) error {
	dir, name := filepath.Split(f.path)
	if dir == "" {
		dir = "."
	}
	desk, err := desk.Take(ctx, dir, name, desk.Options{Moved: f.moved})
	if err != nil {
		return err
	}
	defer desk.Leave()
	there, blobs := errAbsent, map[string]source{}
	var found ocispec.Descriptor
	var index *ocispec.Index
	old, err := openTar(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		defer old.Close()
		if index, err = readIndex(old); err != nil {
			return err
		}
		found, there = inIndex(index, p.Summary.ID, p.Summary.Version)
		for _, name := range slices.Sorted(maps.Keys(old.parts)) {
			if d, ok := digestOf(name); ok {
				blobs[name] = source{old, ocispec.Descriptor{Digest: d, Size: old.parts[name].size}, nil}
			}
		}
	}
	if err := settle(found, there); err != nil {
		return err
	}
	text, err := indexWith(index, p)
	if err != nil {
		return err
	}
	for _, b := range append(p.blobs[:len(p.blobs):len(p.blobs)], p.manifest) {
		blobs[blobName(b.desc.Digest)] = source{nil, b.desc, b.data}
	}
	blobs[ocispec.ImageLayoutFile] = source{nil, ocispec.Descriptor{Size: int64(len(layoutText))}, []byte(layoutText)}
	blobs[ocispec.ImageIndexFile] = source{nil, ocispec.Descriptor{Size: int64(len(text))}, text}
	return desk.Write(f.path, func(w io.Writer) error {
		err := writeTar(ctx, w, blobs)
		if old != nil {
			old.Close() // what is open cannot be replaced on Windows
		}
		return err
	})
}

// source is where a part of a new archive comes from: the former one, or memory.
type source struct {
	old  *tarLayout
	desc ocispec.Descriptor
	data []byte
}

// writeTar writes parts in the order of their names. What comes from a former archive has to be what its digest says.
func writeTar(ctx context.Context, to io.Writer, parts map[string]source) error {
	if len(parts) > maxParts {
		return fmt.Errorf("the archive would have more than %d entries", maxParts)
	}
	var total int64
	w := tar.NewWriter(to)
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		s := parts[name]
		if total += s.desc.Size; total > maxArchive {
			return fmt.Errorf("the archive would hold more than %d bytes", int64(maxArchive))
		}
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: s.desc.Size, Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR})
		if err != nil {
			return err
		}
		if s.old == nil {
			if _, err := io.Copy(w, bytes.NewReader(s.data)); err != nil {
				return err
			}
			continue
		}
		r, err := openBlob(s.old, s.desc)
		if err != nil {
			return err
		}
		checked := content.NewVerifyReader(r, s.desc)
		if _, err = io.Copy(w, checked); err == nil {
			err = checked.Verify()
		}
		if err != nil {
			return fmt.Errorf("%s in the archive is damaged: %w", name, err)
		}
	}
	return w.Close()
}

// digestOf reads the digest in the name of a blob.
func digestOf(name string) (digest.Digest, bool) {
	hex, ok := strings.CutPrefix(name, ocispec.ImageBlobsDir+"/"+string(digest.SHA256)+"/")
	d := digest.NewDigestFromEncoded(digest.SHA256, hex)
	return d, ok && d.Validate() == nil
}
