package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// maxVersions bounds how many versions of one plugin a place may have.
const maxVersions = 10_000

// Place is where packages lie: a registry, a folder, of this machine or of a web server, or a file. It is safe for concurrent use.
type Place struct {
	label string // how messages call it
	limit time.Duration
	in    store
	moved func(n int64) // of what comes from disk; what comes over a line is counted there
}

// store is what the kinds of places do each in its own way.
type store interface {
	// resolve gives the descriptor of a version's manifest, or errAbsent.
	resolve(ctx context.Context, id, version string) (ocispec.Descriptor, error)
	// fetch opens what a descriptor names.
	fetch(ctx context.Context, id string, desc ocispec.Descriptor) (io.ReadCloser, error)
	// versions lists the versions of a plugin, in any order.
	versions(ctx context.Context, id string) ([]string, error)
	// put writes a package: the manifest, and what names it, last. settle is asked before anything is written.
	put(ctx context.Context, p *Package, settle settle) error
}

// pinner is a store that finds a manifest by its digest alone.
type pinner interface {
	pinned(ctx context.Context, d digest.Digest) (ocispec.Descriptor, error)
}

var _ pinner = (*web)(nil)

// settle decides about a package of which a version is there already, or errAbsent: errSame ends the writing.
type settle func(there ocispec.Descriptor, err error) error

var (
	errAbsent = errors.New("this version of the plugin is not there")
	errSame   = errors.New("it is there already")
)

// Options are how places are reached. The zero value is fit for use.
type Options struct {
	Limit       time.Duration       // for each call of a Place; default 15 minutes
	Patience    time.Duration       // with a server that neither takes nor sends anything; default a minute
	Credentials auth.CredentialFunc // for registries; default what docker login and oras login keep

	// Moved is told of bytes as they move: what is sent and got over a line, as often as that takes, and what is read from and written to a
	// disk. It may be called from several goroutines at once.
	Moved func(n int64)

	rig rig // of tests
}

// At gives the place that where names: a registry as https://HOST[:PORT]/PATH (http:// on this machine only), a folder of a web server as such a
// URL that ends in a slash, a file that ends in .tar, or a folder. Nothing is read yet.
func At(where string, o Options) (*Place, error) {
	p := place(where, o)
	switch scheme, rest, isURL := strings.Cut(where, "://"); {
	case where == "":
		return nil, errors.New("no place is named: a folder, a file that ends in .tar, or a registry as https://registry.example.org/plugins")
	case isURL && isWeb(where):
		w, err := newWeb(where, o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		p.in = w
	case isURL:
		r, err := newRegistry(scheme, rest, o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		p.in = r
	case strings.HasSuffix(where, ".tar"):
		p.in, p.moved = newFile(where, o.Moved), o.Moved
	default:
		p.in, p.moved = newFolder(where, o.Moved), o.Moved
	}
	return p, nil
}

// ReadOnly tells whether nothing can be put there, whoever asks.
func (p *Place) ReadOnly() bool {
	_, is := p.in.(*web)
	return is
}

// place is one that messages call label, with nothing in it.
func place(label string, o Options) *Place {
	p := &Place{label: label, limit: o.Limit}
	if p.limit <= 0 {
		p.limit = 15 * time.Minute
	}
	return p
}

// call runs one call within the time that there is for it, and makes one line of its error.
func (p *Place) call(ctx context.Context, what string, do func(ctx context.Context) error) error {
	late := fmt.Errorf("it took longer than %s", p.limit)
	ctx, cancel := context.WithTimeoutCause(ctx, p.limit, late)
	defer cancel()
	err := do(ctx)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		err = context.Cause(ctx)
	}
	if what != "" {
		what += ": "
	}
	return &placeError{oneLine(fmt.Sprintf("%s: %s%s", p.label, what, err)), err}
}

// placeError is an error in one line, whatever a registry put into it.
type placeError struct {
	line string
	err  error
}

func (e *placeError) Error() string { return e.line }
func (e *placeError) Unwrap() error { return e.err }

// oneLine makes a line of text out of anything.
func oneLine(s string) string {
	const most = 500
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "?"), func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' }), " ")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

// Put writes a package. One that is there already is left as it is; that a version has got other content is an error, since whoever
// has it would never know.
func (p *Place) Put(ctx context.Context, pkg *Package) error {
	return p.call(ctx, pkg.Summary.ID+" "+pkg.Summary.Version, func(ctx context.Context) error {
		err := p.in.put(ctx, pkg, func(there ocispec.Descriptor, err error) error {
			switch {
			case errors.Is(err, errAbsent):
				return nil
			case err != nil:
				return err
			case there.Digest != pkg.Digest:
				return fmt.Errorf("this version is there with other content (%s, and not %s); a version never changes, so raise it", there.Digest, pkg.Digest)
			}
			return errSame
		})
		if errors.Is(err, errSame) {
			return nil
		}
		return err
	})
}

// Get reads the package of one version. pinned is the digest that it must have; "" is any.
func (p *Place) Get(ctx context.Context, id, version string, pinned digest.Digest) (pkg *Package, err error) {
	err = p.call(ctx, id+" "+version, func(ctx context.Context) error {
		desc, err := p.findPinned(ctx, id, version, pinned)
		switch {
		case err != nil:
			return err
		case pinned != "" && desc.Digest != pinned:
			return fmt.Errorf("it is %s there, and not %s, which was asked for", desc.Digest, pinned)
		}
		if pkg, err = read(ctx, p.fetcher(id), desc); err != nil {
			return err
		}
		if pkg.Summary.ID != id || pkg.Summary.Version != version {
			err := fmt.Errorf("it is %s %s", pkg.Summary.ID, pkg.Summary.Version)
			pkg = nil
			return err
		}
		return nil
	})
	return pkg, err
}

// Find tells which version of a plugin is the newest that this server runs.
func (p *Place) Find(ctx context.Context, id string) (version string, err error) {
	err = p.call(ctx, id, func(ctx context.Context) error {
		if !validID(id) {
			return fmt.Errorf("no plugin can be called %s", shown(id))
		}
		all, err := p.in.versions(ctx, id)
		if err != nil {
			return err
		}
		version, err = Newest(id, all, func(v string) (int, error) {
			api, err := p.api(ctx, id, v)
			if err != nil {
				return 0, fmt.Errorf("version %s: %w", v, err)
			}
			return api, nil
		})
		return err
	})
	return version, err
}

// api reads which api a version is for.
func (p *Place) api(ctx context.Context, id, version string) (int, error) {
	desc, err := p.find(ctx, id, version)
	if err != nil {
		return 0, err
	}
	m, err := readManifest(ctx, p.fetcher(id), desc)
	if err != nil {
		return 0, err
	}
	saidID, saidVersion, api, err := said(m)
	if err == nil && (saidID != id || saidVersion != version) {
		err = fmt.Errorf("it is %s %s", shown(saidID), shown(saidVersion))
	}
	return api, err
}

func (p *Place) find(ctx context.Context, id, version string) (ocispec.Descriptor, error) {
	if !validID(id) || !validVersion(version) {
		return ocispec.Descriptor{}, fmt.Errorf("no package can be called %s, version %s", shown(id), shown(version))
	}
	return p.in.resolve(ctx, id, version)
}

// Digest tells which package is there as a version, by its digest, without reading it; "" is none.
func (p *Place) Digest(ctx context.Context, id, version string) (d digest.Digest, err error) {
	err = p.call(ctx, id+" "+version, func(ctx context.Context) error {
		desc, err := p.find(ctx, id, version)
		if errors.Is(err, errAbsent) {
			return nil
		}
		d = desc.Digest
		return err
	})
	return d, err
}

// findPinned is find where the digest is known, which is enough for some.
func (p *Place) findPinned(ctx context.Context, id, version string, d digest.Digest) (ocispec.Descriptor, error) {
	if by, ok := p.in.(pinner); ok && d != "" && validID(id) && validVersion(version) {
		return by.pinned(ctx, d)
	}
	return p.find(ctx, id, version)
}

func (p *Place) fetcher(id string) content.Fetcher {
	return content.FetcherFunc(func(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
		r, err := p.in.fetch(ctx, id, desc)
		if err == nil && p.moved != nil {
			r = countedReader{r, p.moved}
		}
		return r, err
	})
}

// countedReader tells how much was read.
type countedReader struct {
	io.ReadCloser
	moved func(n int64)
}

func (c countedReader) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.moved(int64(n))
	return n, err
}
