// Package trust reads trust.toml: whose word counts for which plugins.
//
// An index says which plugins there are; a package is code. Both are signed with minisign, and the keys that count for them stand in
// trust.toml, which only the operator writes. An id belongs to one index: the first in the file whose namespaces have it. What another
// index says of that id does not count, whoever signed it, so a name that is one's own cannot be taken over by a list of strangers
// (dependency confusion). Packages have to be signed with a key of the most specific [namespace] that has their id, or else with one of
// the index. A key is changed by listing the old and the new one for a while; a key or a package that is revoked counts for nothing.
package trust

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/stagepost/stagepost/core/config"
)

// Name is what the file is called, which lies beside stagepost.toml.
const Name = "trust.toml"

// File is where that of a configuration lies.
func File(configuration string) string { return filepath.Join(filepath.Dir(configuration), Name) }

// Trust is one reading of trust.toml. It is read-only and safe for concurrent use.
type Trust struct {
	File    string
	Indexes []Index // in order: an id belongs to the first whose namespaces have it

	names    []names        // the most specific first
	keys     map[Key]string // that are revoked, with the place that says so
	packages map[digest.Digest]string
}

// Index is one [[index]].
type Index struct {
	Name, Place string   // Place is a URL or an absolute path
	Namespaces  []string // patterns of ids
	Keys        []Key
	Mirror      []string // URLs or absolute paths
	Unsigned    bool
}

// names is one [namespace.PATTERN].
type names struct {
	pattern string
	keys    []Key
}

// Read reads a trust.toml. That there is none is an fs.ErrNotExist, with a message that says what to write.
func Read(file string) (*Trust, error) {
	data, err := config.ReadFile(file, config.MaxFile)
	switch named := (*fs.PathError)(nil); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &missing{file, err}
	case errors.As(err, &named):
		return nil, fmt.Errorf("cannot read whom to trust: %w", err)
	case err != nil:
		return nil, fmt.Errorf("cannot read whom to trust: %s %w", file, err)
	}
	return Parse(file, data)
}

// missing says what to write.
type missing struct {
	file string
	err  error
}

func (m *missing) Error() string {
	return fmt.Sprintf("there is no %s, which says whose plugins to trust; write into it: [[index]], and below it "+
		`name = "main", place = "https://plugins.example.org/index.json", namespaces = ["*"], keys = ["RW..."], each on a line, with the key that whoever keeps the index gives you`, m.file)
}

func (m *missing) Unwrap() error { return m.err }

// Parse reads the text of a trust.toml. Messages call it file, and relative paths in it count from its folder.
func Parse(file string, data []byte) (*Trust, error) {
	f, err := config.ParseTrust(file, data)
	if err != nil {
		return nil, err
	}
	t := &Trust{File: file, keys: map[Key]string{}, packages: map[digest.Digest]string{}}
	r := reading{f: f}
	for i, x := range f.Indexes {
		at := []string{"index", config.Index(i)}
		out := Index{Name: x.Name, Place: x.Place, Namespaces: x.Namespaces, Mirror: x.Mirror, Unsigned: x.Unsigned, Keys: r.keys(at, x.Keys)}
		if len(x.Keys) == 0 && !x.Unsigned {
			r.fail(at, `the index %s has no keys, so nobody could sign it; write keys = ["RW..."], or unsigned = true if nobody does`, x.Name)
		}
		if len(x.Namespaces) == 0 {
			r.fail(append(at, "namespaces"), `the index %s has no namespaces, so nothing would be taken from it; write namespaces = ["*"], or the beginning of ids, as ["acme-*"]`, x.Name)
		}
		for j, pattern := range x.Namespaces {
			if first, ok := t.covering(pattern); ok {
				r.fail(append(at, "namespaces", config.Index(j)), "%q belongs to the index %s already, which is before; put the index %s before it", pattern, first, x.Name)
			}
		}
		t.Indexes = append(t.Indexes, out)
	}
	for pattern, n := range f.Namespaces {
		at := []string{"namespace", pattern}
		if len(n.Keys) == 0 {
			r.fail(append(at, "keys"), "nobody could sign what has such ids; write the keys of who may")
		}
		t.names = append(t.names, names{pattern, r.keys(at, n.Keys)})
	}
	// Of two patterns that match one id, the longer is the more specific: * is only at the end. The id itself comes before ID*.
	slices.SortFunc(t.names, func(a, b names) int {
		if c := len(strings.TrimSuffix(b.pattern, "*")) - len(strings.TrimSuffix(a.pattern, "*")); c != 0 {
			return c
		}
		return len(a.pattern) - len(b.pattern)
	})
	for i, k := range r.keys([]string{"revoked"}, f.Revoked.Keys) {
		t.keys[k] = f.Where("revoked", "keys", config.Index(i))
	}
	for i, d := range f.Revoked.Packages {
		at := []string{"revoked", "packages", config.Index(i)}
		d := digest.Digest(d)
		if d.Validate() != nil || d.Algorithm() != digest.SHA256 {
			r.fail(at, "it is no digest of a package, which is sha256: and 64 hexadecimal digits")
		}
		t.packages[d] = f.Where(at...)
	}
	if err := f.Wrong(r.errs); err != nil {
		return nil, err
	}
	return t, nil
}

// reading gathers what is wrong.
type reading struct {
	f    *config.TrustFile
	errs config.Errors
}

func (r *reading) fail(at []string, format string, args ...any) {
	r.errs = append(r.errs, r.f.Errorf(at, format, args...))
}

// keys reads the keys that stand at a table.
func (r *reading) keys(at []string, texts []string) (out []Key) {
	for i, text := range texts {
		at := append(slices.Clip(at), "keys", config.Index(i))
		k, err := ParseKey(text)
		switch {
		case err != nil:
			r.fail(at, "%v", err)
		case slices.Contains(out, k):
			r.fail(at, "the key %s is there twice", k.ID())
		}
		out = append(out, k)
	}
	return out
}

// covering finds the index that has all ids of a pattern.
func (t *Trust) covering(pattern string) (string, bool) {
	for _, x := range t.Indexes {
		for _, p := range x.Namespaces {
			if p == pattern || strings.HasSuffix(p, "*") && strings.HasPrefix(pattern, strings.TrimSuffix(p, "*")) {
				return x.Name, true
			}
		}
	}
	return "", false
}

// matches tells whether a pattern has an id.
func matches(pattern, id string) bool {
	start, open := strings.CutSuffix(pattern, "*")
	return id == pattern || open && strings.HasPrefix(id, start)
}

// Owner is the index that an id belongs to.
func (t *Trust) Owner(id string) (*Index, bool) {
	for i := range t.Indexes {
		if slices.ContainsFunc(t.Indexes[i].Namespaces, func(p string) bool { return matches(p, id) }) {
			return &t.Indexes[i], true
		}
	}
	return nil, false
}

// signers are the keys for packages of an id, also those that are revoked.
func (t *Trust) signers(id string) []Key {
	for _, n := range t.names {
		if matches(n.pattern, id) {
			return n.keys
		}
	}
	if x, ok := t.Owner(id); ok {
		return x.Keys
	}
	return nil
}

// Signers are the keys one of which must have signed a package of an id. With none, packages of it need no signature, if the index that
// the id belongs to is unsigned.
func (t *Trust) Signers(id string) []Key {
	return slices.DeleteFunc(slices.Clone(t.signers(id)), func(k Key) bool { return t.keys[k] != "" })
}

// Revoked tells why a package counts for nothing: for its digest, or for the key that signed it, in whole or by its number; "" is that it
// is not revoked.
func (t *Trust) Revoked(key string, d digest.Digest) (why string) {
	if at := t.packages[d]; at != "" {
		return fmt.Sprintf("the package %s is revoked (%s)", d, at)
	}
	for k, at := range t.keys {
		if key != "" && (key == k.String() || key == k.ID()) {
			return fmt.Sprintf("the key %s, with which it is signed, is revoked (%s)", k.ID(), at)
		}
	}
	return ""
}

// VerifyIndex tells who signed an index; no key, if it needs no signature.
func (t *Trust) VerifyIndex(x *Index, data, signature []byte) (Key, error) {
	if x.Unsigned {
		return Key{}, nil
	}
	return t.verify(x.Keys, data, signature)
}

// VerifyPackage tells who signed what an index states of a package; no key, if it needs no signature.
func (t *Trust) VerifyPackage(id string, statement, signature []byte) (Key, error) {
	keys := t.signers(id)
	x, owned := t.Owner(id)
	switch {
	case !owned:
		return Key{}, fmt.Errorf("no index in %s has it in its namespaces", t.File)
	case len(keys) == 0 && x.Unsigned:
		return Key{}, nil
	case len(signature) == 0:
		return Key{}, fmt.Errorf("it is not signed, and has to be with one of the keys %s", listed(keys))
	}
	return t.verify(keys, statement, signature)
}

func (t *Trust) verify(keys []Key, data, signature []byte) (Key, error) {
	k, err := signed(keys, data, signature)
	if err != nil {
		if why := t.Revoked(idOf(signature), ""); why != "" {
			err = errors.New(why)
		}
		return Key{}, err
	}
	if why := t.Revoked(k.String(), ""); why != "" {
		return Key{}, errors.New(why)
	}
	return k, nil
}
