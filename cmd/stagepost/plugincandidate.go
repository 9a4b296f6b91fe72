package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/consent"
	"github.com/stagepost/stagepost/plugins/catalog/index"
	"github.com/stagepost/stagepost/plugins/catalog/lock"
)

// candidate is one plugin that may be installed: it was got and checked, and nothing of it was unpacked.
type candidate struct {
	pkg    *catalog.Package
	sheet  *consent.Sheet
	entry  lock.Plugin  // as it would stand in the lock
	old    *lock.Plugin // as it stands there; nil: it is not installed
	signed string       // for people; "" is nobody
	yanked string       // why it should not be installed
	there  bool         // this very package is installed, and its code is there
	more   []string     // what it may do and the installed one may not
}

// asks tells whether somebody has to agree that it may do what it does.
func (c *candidate) asks() bool { return c.old == nil || len(c.more) > 0 }

func (c *candidate) String() string { return c.entry.ID + " " + c.entry.Version }

// same tells whether it is installed as it is; whoever signed it then, its bytes are the same.
func (c *candidate) same() bool {
	return c.there && c.old.Capabilities == c.entry.Capabilities && (c.entry.Index == "" || c.entry.Index == c.old.Index && c.entry.Signer == c.old.Signer)
}

// fromIndex finds a plugin in the index that it belongs to, and gets it.
func (s *stock) fromIndex(ctx context.Context, w request) (*candidate, error) {
	f, err := s.index.Find(w.id, w.version)
	if err != nil {
		return nil, &failure{exitData, err}
	}
	if f.Others != nil {
		s.warn("%s is also in the index %s, which does not count: in trust.toml, the id belongs to %s", w.id, printable(strings.Join(f.Others, ", ")), f.Index)
	}
	return s.fetched(ctx, f)
}

// got gets the package of what was found in an index.
func (s *stock) got(ctx context.Context, f index.Found) (*catalog.Package, error) {
	s.show.next(f.Entry.ID + " " + f.Entry.Version)
	pkg, err := s.index.Get(ctx, f)
	if err != nil {
		return nil, catalogFailure(ctx, err)
	}
	return pkg, nil
}

// fetched gets what was found in an index, to be installed.
func (s *stock) fetched(ctx context.Context, f index.Found) (*candidate, error) {
	pkg, err := s.got(ctx, f)
	if err != nil {
		return nil, err
	}
	c := &candidate{pkg: pkg, signed: signedBy(f.Signer, f.Index), yanked: f.Entry.Yanked}
	c.entry = lock.Plugin{Index: f.Index, Place: f.Places[len(f.Places)-1], Signer: f.Signer.String()}
	if owner, ok := s.trust.Owner(f.Entry.ID); ok && len(owner.Mirror) < len(f.Places) {
		c.entry.Place = f.Places[len(owner.Mirror)] // the first that the index names
	}
	if c.entry.Place, err = wherever(c.entry.Place); err != nil {
		return nil, err
	}
	if c.entry.Signer == "" {
		c.entry.Signer = lock.Unsigned
	}
	if err := s.complete(c); err != nil {
		return nil, err
	}
	if c.old != nil && c.old.Index != "" && c.old.Index != c.entry.Index { // the name may be that of somebody else's plugin there
		c.more = append(c.more, fmt.Sprintf("comes from another index: %s, and not %s", c.entry.Index, c.old.Index))
	}
	if c.old != nil && c.old.Signer != c.entry.Signer {
		s.warn("%s is signed by another key than %s: %s, and not %s", c, c.old, c.entry.Signer, c.old.Signer)
	}
	return c, nil
}

// at gets the package of a request from its place: the newest, if it names no version.
func (w request) at(ctx context.Context, o catalog.Options) (*catalog.Package, error) {
	at, err := catalog.At(w.place, o)
	if err != nil {
		return nil, &failure{exitUsage, err}
	}
	version := w.version
	if version == "" {
		if version, err = at.Find(ctx, w.id); err != nil {
			return nil, catalogFailure(ctx, err)
		}
	}
	pkg, err := at.Get(ctx, w.id, version, "")
	if err != nil {
		return nil, catalogFailure(ctx, err)
	}
	return pkg, nil
}

// fromPlace gets a plugin from a place of which no index tells who signed what lies there.
func (s *stock) fromPlace(ctx context.Context, w request) (*candidate, error) {
	s.show.next(w.String())
	pkg, err := w.at(ctx, s.options)
	if err != nil {
		return nil, err
	}
	if s.trust != nil {
		if why := s.trust.Revoked("", pkg.Digest); why != "" {
			return nil, fail(exitData, "%s: %s", w.id, why)
		}
		if owner, ok := s.trust.Owner(w.id); ok {
			s.warn("in trust.toml, %s belongs to the index %s; what lies at %s is not from there", w.id, owner.Name, printable(w.place))
		}
	}
	c := &candidate{pkg: pkg, entry: lock.Plugin{Place: w.place, Signer: lock.Unsigned}}
	if err := s.complete(c); err != nil {
		return nil, err
	}
	return c, nil
}

// complete works out what the plugin may do, and what of that is new.
func (s *stock) complete(c *candidate) (err error) {
	if c.sheet, err = consent.Of(c.pkg); err != nil {
		return &failure{exitData, err}
	}
	c.entry.ID, c.entry.Version, c.entry.Digest = c.pkg.Summary.ID, c.pkg.Summary.Version, c.pkg.Digest
	c.entry.Capabilities = c.sheet.Hash()
	old, installed := s.locked.Plugin(c.entry.ID)
	if !installed {
		return nil
	}
	c.old = &old
	if old.Version == c.entry.Version && old.Digest != c.entry.Digest {
		return fail(exitData, "%s is installed as %s, and is %s there: %w", c, old.Digest, c.entry.Digest, errTampered)
	}
	was, err := old.Package(s.config.Data)
	c.there = err == nil && old.Digest == c.entry.Digest
	if old.Capabilities == c.entry.Capabilities {
		return nil
	}
	var sheet *consent.Sheet
	if err == nil {
		sheet, err = consent.Of(was)
	}
	switch {
	case err != nil:
		c.more = []string{"may do something else than " + old.String() + ", of which the code is not there, so nobody can say what"}
	case sheet.Hash() != old.Capabilities:
		c.more = []string{"may do something else than what was accepted of " + old.String()}
	default:
		c.more = consent.Widened(sheet, c.sheet)
	}
	return nil
}

// restored gets a plugin again that the lock names: the package with that digest and no other, so it does not matter where from.
func (s *stock) restored(ctx context.Context, p lock.Plugin) (*catalog.Package, error) {
	if s.trust != nil {
		if why := s.trust.Revoked(p.Signer, p.Digest); why != "" {
			return nil, fail(exitData, "%s: %s; take it out with: %s", p, why, s.app.command("plugin", "remove", p.ID))
		}
	}
	s.show.next(p.String())
	var errs []string
	var last error
	for _, where := range s.placesOf(p) {
		at, err := catalog.At(where, s.options)
		if err == nil {
			var pkg *catalog.Package
			if pkg, err = at.Get(ctx, p.ID, p.Version, p.Digest); err == nil {
				return pkg, nil
			}
		}
		errs, last = append(errs, err.Error()), err
		if ctx.Err() != nil {
			break
		}
	}
	if last == nil {
		return nil, fail(exitConfig, "%s: nothing says where it lies: neither %s, nor an index", p, lock.Name)
	}
	return nil, fail(catalogCode(ctx, last), "%s cannot be got: %s", p, strings.Join(errs, "; "))
}

// placesOf are where a plugin of the lock may lie: mirrors first, then where it was, then where the index says now that it is.
func (s *stock) placesOf(p lock.Plugin) (places []string) {
	add := func(all ...string) {
		for _, where := range all {
			if where != "" && !slices.Contains(places, where) {
				places = append(places, where)
			}
		}
	}
	if s.trust != nil {
		if owner, ok := s.trust.Owner(p.ID); ok {
			add(owner.Mirror...)
		}
	}
	add(p.Place)
	if s.index != nil {
		if f, err := s.index.Find(p.ID, p.Version); err == nil && f.Entry.Digest == p.Digest {
			add(f.Places...)
		}
	}
	return places
}

// shadow tells what in the watched folder would be loaded in the place of a plugin.
func (s *stock) shadow(id string) string {
	folder := s.config.Plugins.Folder
	if folder == "" {
		return ""
	}
	for _, name := range []string{id, id + ".lua"} {
		if info, err := os.Stat(filepath.Join(folder, name)); err == nil && (info.IsDir() || name != id) {
			return filepath.Join(folder, name)
		}
	}
	return ""
}

// downgrade tells why a candidate may not take the place of what is installed.
func (c *candidate) downgrade() error {
	if c.old != nil && catalog.CompareVersions(c.entry.Version, c.old.Version) < 0 {
		return fmt.Errorf("%s is installed, and %s is older; to put it in its place nevertheless, add --downgrade", c.old, c.entry.Version)
	}
	return nil
}

// errTampered: a version has got other content.
var errTampered = errors.New("a version never changes, so one of them was tampered with; nothing is changed")

// errChanged: what is installed is not what it was when the command began.
var errChanged = errors.New("another command changed what is installed meanwhile; nothing is changed, run this one again")
