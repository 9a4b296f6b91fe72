package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stagepost/stagepost/plugins/catalog/desk"
)

// folder is a place that is a folder: an OCI image layout.
type folder struct {
	opener
	dir   string
	moved func(n int64)
}

func newFolder(dir string, moved func(n int64)) folder {
	return folder{func() (layout, error) {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return nil, err
		}
		return folderLayout{root}, nil
	}, dir, moved}
}

// folderLayout reads a folder, and never out of it.
type folderLayout struct{ root *os.Root }

func (l folderLayout) Close() error { return l.root.Close() }

func (l folderLayout) open(name string) (io.ReadCloser, int64, error) {
	info, err := l.root.Lstat(filepath.FromSlash(name))
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", name)
	}
	if err != nil {
		return nil, 0, err
	}
	r, err := l.root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, 0, err
	}
	return r, info.Size(), nil
}

// put writes the blobs that are not there, and then the index. Whoever reads meanwhile sees the former index, or the next.
func (f folder) put(ctx context.Context, p *Package, settle settle) error {
	blobs := filepath.Join(f.dir, ocispec.ImageBlobsDir, string(digest.SHA256))
	before, err := f.before()
	if err != nil {
		return err
	}
	if before == nil {
		if err := f.mayBegin(); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return err
	}
	desk, err := desk.Take(ctx, f.dir, "layout", desk.Options{Moved: f.moved})
	if err != nil {
		return err
	}
	defer desk.Leave()
	if before, err = f.before(); err != nil { // there may be a newer one
		return err
	}
	there, err := ocispec.Descriptor{}, errAbsent
	if before != nil {
		there, err = inIndex(before, p.Summary.ID, p.Summary.Version)
	}
	same := settle(there, err)
	if same != nil && !errors.Is(same, errSame) {
		return same
	}
	for _, b := range append(p.blobs[:len(p.blobs):len(p.blobs)], p.manifest) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if f.has(b) {
			continue
		}
		if err := desk.WriteData(filepath.Join(f.dir, filepath.FromSlash(blobName(b.desc.Digest))), b.data); err != nil {
			return err
		}
	}
	if same != nil { // but what of it was damaged is whole again
		return same
	}
	index, err := indexWith(before, p)
	if err != nil {
		return err
	}
	if before == nil {
		if err := desk.WriteData(filepath.Join(f.dir, ocispec.ImageLayoutFile), []byte(layoutText)); err != nil {
			return err
		}
		for _, dir := range []string{filepath.Dir(blobs), f.dir, filepath.Dir(f.dir)} { // that the folders are there is durable, too
			if err := desk.Sync(dir); err != nil {
				return err
			}
		}
	}
	return desk.WriteData(filepath.Join(f.dir, ocispec.ImageIndexFile), index)
}

// before reads the index that is there; nil is none.
func (f folder) before() (*ocispec.Index, error) {
	root, err := os.OpenRoot(f.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if _, err := root.Lstat(ocispec.ImageIndexFile); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return readIndex(folderLayout{root})
}

// mayBegin keeps a layout from being written among things of another kind.
func (f folder) mayBegin() error {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if name != ocispec.ImageBlobsDir && name != ocispec.ImageLayoutFile && !strings.HasPrefix(name, ".") { // a writing that was cut short
			return fmt.Errorf("the folder is no OCI image layout and not empty: there is %s in it", shown(name))
		}
	}
	return nil
}

// has tells whether a blob is there whole. One that is damaged is written again.
func (f folder) has(b blob) bool {
	l, err := f.opener()
	if err != nil {
		return false
	}
	defer l.Close()
	r, err := openBlob(l, b.desc)
	if err != nil {
		return false
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, b.desc.Size+1))
	return err == nil && bytes.Equal(data, b.data)
}
