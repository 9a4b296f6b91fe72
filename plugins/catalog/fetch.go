package catalog

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/stagepost/stagepost/core/config"
)

// Fetch reads one file of at most a number of bytes, in the way of places: an https:// URL (http:// on this machine only) or a path. That
// there is no such file is fs.ErrNotExist. Of credentials none are sent.
func Fetch(ctx context.Context, where string, most int64, o Options) (data []byte, err error) {
	p := place(where, o)
	err = p.call(ctx, "", func(ctx context.Context) error {
		if strings.Contains(where, "://") {
			data, err = fetchURL(ctx, where, most, o)
			return plain(err)
		}
		data, err = config.ReadFile(where, most)
		if int64(len(data)) > most {
			data, err = nil, fmt.Errorf("it has more than %d bytes, the most that is read", most)
		}
		return plain(err)
	})
	return data, err
}

func fetchURL(ctx context.Context, where string, most int64, o Options) ([]byte, error) {
	at := strings.LastIndexByte(where, '/') + 1
	name := where[at:]
	if name == "" || strings.ContainsAny(name, "?#") {
		return nil, errors.New("it is no URL of a file, which would be https://plugins.example.org/index.json")
	}
	w, err := newWeb(where[:at], o)
	if err != nil {
		return nil, err
	}
	defer w.layout.client.CloseIdleConnections()
	l := w.layout
	l.ctx = ctx
	data, err := slurp(l, name, most)
	if named := (*url.Error)(nil); errors.As(err, &named) && named.URL == where { // the message begins with it
		err = &Unavailable{named.Err}
	}
	return data, err
}

// Beside is the place that a file at base calls ref: a URL or an absolute path as they are, and anything else from the folder of base.
func Beside(base, ref string) (string, error) {
	switch {
	case ref == "" || strings.ContainsFunc(ref, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`\?#%"`, r) }):
		return "", fmt.Errorf("%s is no place", shown(ref))
	case strings.Contains(ref, "://"):
		return ref, nil
	case strings.HasPrefix(ref, "//"):
		return "", fmt.Errorf("%s is no place", shown(ref))
	}
	if !strings.Contains(base, "://") {
		if path := filepath.FromSlash(ref); !filepath.IsAbs(path) && !strings.HasPrefix(ref, "/") {
			return filepath.Join(filepath.Dir(base), path), nil
		}
		return ref, nil
	}
	from, err := url.Parse(base)
	if err == nil {
		var to *url.URL
		if to, err = from.Parse(ref); err == nil && to.Scheme == from.Scheme && to.Host == from.Host {
			return to.String(), nil
		}
	}
	return "", fmt.Errorf("%s is no place", shown(ref))
}

// Local tells whether a place is on this machine: a path, or a URL of a name or address of it.
func Local(where string) bool {
	if !strings.Contains(where, "://") {
		return true
	}
	u, err := url.Parse(where)
	return err == nil && loopback(u.Hostname())
}
