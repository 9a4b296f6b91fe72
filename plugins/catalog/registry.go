package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// Bounds of what a registry says besides packages.
const (
	maxMetadata = 1 << 20 // bytes of an answer
	maxPages    = 100     // of a list
)

// plugins is a place that is a registry: a repository for each plugin, below one path, and a tag for each version.
type plugins struct {
	base   string // HOST[:PORT]/PATH
	plain  bool
	client remote.Client
}

func newRegistry(scheme, base string, o Options) (*plugins, error) {
	base = strings.TrimSuffix(base, "/")
	r := &plugins{base: base, plain: scheme == "http"}
	ref, err := registry.ParseReference(base + "/plugin")
	switch {
	case scheme != "http" && scheme != "https":
		return nil, fmt.Errorf("a registry is named by https://, and not by %s://", oneLine(scheme))
	case err != nil:
		return nil, fmt.Errorf("this is no registry, which would be https://registry.example.org/plugins: %w", err)
	case strings.ContainsAny(base, "@?#"):
		return nil, errors.New("a registry is named by host and path only; credentials are kept by docker login")
	}
	host := hostOf(ref.Registry)
	if r.plain && !loopback(host) {
		return nil, errors.New("http:// is for registries on this machine only; https:// keeps what is read from being changed on its way")
	}
	keys := o.Credentials
	if keys == nil {
		store, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
		if err != nil {
			return nil, fmt.Errorf("the credentials cannot be read: %w", err)
		}
		keys = func(ctx context.Context, host string) (auth.Credential, error) {
			found, err := credentials.Credential(store)(ctx, host)
			if err != nil { // a helper that fails is not what lies there
				err = &Unavailable{fmt.Errorf("the credentials cannot be read: %w", err)}
			}
			return found, err
		}
	}
	client := &auth.Client{Client: newClient(host, o), Credential: keys, Cache: auth.NewCache(), Header: http.Header{"User-Agent": {"stagepost"}}}
	if loopback(host) {
		client.BlockedRealmPrefixes = []netip.Prefix{} // its tokens may come from this machine, too
	}
	r.client = client
	return r, nil
}

func (r *plugins) repository(id string) (*remote.Repository, error) {
	repo, err := remote.NewRepository(r.base + "/" + id)
	if err != nil {
		return nil, err
	}
	repo.Client, repo.PlainHTTP = r.client, r.plain
	repo.MaxMetadataBytes, repo.TagListMaxPages = maxMetadata, maxPages
	repo.ManifestMediaTypes = []string{ocispec.MediaTypeImageManifest}
	return repo, nil
}

func (r *plugins) resolve(ctx context.Context, id, version string) (ocispec.Descriptor, error) {
	repo, err := r.repository(id)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc, err := repo.Resolve(ctx, version)
	if errors.Is(err, errdef.ErrNotFound) {
		err = errAbsent
	}
	return desc, err
}

func (r *plugins) fetch(ctx context.Context, id string, desc ocispec.Descriptor) (io.ReadCloser, error) {
	repo, err := r.repository(id)
	if err != nil {
		return nil, err
	}
	return repo.Fetch(ctx, desc)
}

func (r *plugins) versions(ctx context.Context, id string) (out []string, err error) {
	repo, err := r.repository(id)
	if err != nil {
		return nil, err
	}
	err = repo.Tags(ctx, "", func(tags []string) error {
		for _, tag := range tags {
			if validVersion(tag) {
				out = append(out, tag)
			}
		}
		if len(out) > maxVersions {
			return fmt.Errorf("there are more than %d versions", maxVersions)
		}
		return nil
	})
	if answer := (*errcode.ErrorResponse)(nil); errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		return nil, nil
	}
	return out, err
}

// put sends the blobs that are not there, and then the manifest under its tag.
func (r *plugins) put(ctx context.Context, p *Package, settle settle) error {
	repo, err := r.repository(p.Summary.ID)
	if err != nil {
		return err
	}
	ctx = auth.AppendRepositoryScope(ctx, repo.Reference, auth.ActionPull, auth.ActionPush) // one token for all of it
	if err := settle(r.resolve(ctx, p.Summary.ID, p.Summary.Version)); err != nil {
		return err
	}
	sent := map[digest.Digest]bool{}
	for _, b := range p.blobs {
		if sent[b.desc.Digest] {
			continue
		}
		sent[b.desc.Digest] = true
		switch there, err := repo.Exists(ctx, b.desc); {
		case err != nil:
			return err
		case there:
			continue
		}
		if err := repo.Push(ctx, b.desc, bytes.NewReader(b.data)); err != nil {
			return err
		}
	}
	return repo.PushReference(ctx, p.manifest.desc, bytes.NewReader(p.manifest.data), p.Summary.Version)
}
