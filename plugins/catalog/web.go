package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// web is a place that is a folder of a web server: an OCI image layout that is served as it lies there. It is only read.
type web struct{ layout webLayout }

// webLayout reads files below a URL.
type webLayout struct {
	base   string // ends in a slash
	client *http.Client
	ctx    context.Context // of the call; a layout is opened for one
}

var errReadOnly = errors.New("a folder of a web server cannot be written to from here; write into the folder that it serves")

func newWeb(where string, o Options) (*web, error) {
	u, err := url.Parse(where)
	switch {
	case err != nil:
		return nil, fmt.Errorf("this is no URL: %w", err)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("a web server is named by https://, and not by %s://", oneLine(u.Scheme))
	case u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "":
		return nil, errors.New("what a web server has is named by host and path only, as https://plugins.example.org/packages/")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, errors.New("http:// is for web servers on this machine only; https:// keeps what is read from being changed on its way")
	}
	return &web{layout: webLayout{base: u.String(), client: newClient(u.Hostname(), o)}}, nil
}

// with is the layout for one call.
func (w *web) with(ctx context.Context) opener {
	return func() (layout, error) {
		l := w.layout
		l.ctx = ctx
		return l, nil
	}
}

func (w *web) resolve(ctx context.Context, id, version string) (ocispec.Descriptor, error) {
	return w.with(ctx).resolve(ctx, id, version)
}

func (w *web) versions(ctx context.Context, id string) ([]string, error) {
	return w.with(ctx).versions(ctx, id)
}

func (w *web) fetch(ctx context.Context, id string, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if desc.Data != nil {
		return io.NopCloser(bytes.NewReader(desc.Data)), nil
	}
	return w.with(ctx).fetch(ctx, id, desc)
}

func (w *web) put(context.Context, *Package, settle) error { return errReadOnly }

// pinned reads a manifest by its digest, without what the layout's index says: a copy of that which some cache has kept may be older.
func (w *web) pinned(ctx context.Context, d digest.Digest) (ocispec.Descriptor, error) {
	if d.Validate() != nil || d.Algorithm() != digest.SHA256 {
		return ocispec.Descriptor{}, fmt.Errorf("%s, which was asked for, is no sha256", shown(string(d)))
	}
	l := w.layout
	l.ctx = ctx
	data, err := slurp(l, blobName(d), maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		err = errAbsent
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: d, Size: int64(len(data)), Data: data}, err
}

func (webLayout) Close() error { return nil }

func (l webLayout) open(name string) (io.ReadCloser, int64, error) {
	r, err := http.NewRequestWithContext(l.ctx, http.MethodGet, l.base+name, nil)
	if err != nil {
		return nil, 0, err
	}
	r.Header.Set("User-Agent", "stagepost")
	resp, err := l.client.Do(r)
	if err != nil {
		return nil, 0, err
	}
	switch {
	case resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusGone:
		err = &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	case resp.StatusCode != http.StatusOK:
		err = &Unavailable{fmt.Errorf("the web server answers %s for %s", resp.Status, name)}
	default:
		return resp.Body, resp.ContentLength, nil
	}
	resp.Body.Close()
	return nil, 0, err
}

// isWeb tells a folder of a web server from a registry.
func isWeb(where string) bool { return strings.HasSuffix(where, "/") }
