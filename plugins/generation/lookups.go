package generation

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"path/filepath"
	"slices"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/plugins/catalog/lock"
	"github.com/stagepost/stagepost/plugins/catalog/trust"
	"github.com/stagepost/stagepost/plugins/lookup"
	"github.com/stagepost/stagepost/plugins/manifest"
	"github.com/stagepost/stagepost/plugins/service"
)

// tables are the lookups of a configuration, by name.
type tables map[string]*lookup.Table

// readTables reads the files of the lookups that changed, and writes to h what tells that they did.
func (m *Manager) readTables(cfg *config.Config, h io.Writer) (tables, error) {
	all := make(tables, len(cfg.Lookups))
	keep := map[lookup.Source]bool{}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(cfg.Lookups)) {
		src := sourceOf(cfg, name)
		keep[src] = true
		v, err := m.shelf.Read(src)
		fmt.Fprintf(h, "\x00%s\x00%x", name, v.Hash)
		switch {
		case err == nil:
			all[name] = v.Table
		case v.Hash == [32]byte{}:
			errs = append(errs, cfg.Errorf([]string{"lookup", name, "file"}, "%s cannot be read: %v", src.Name, err))
		default:
			errs = append(errs, err)
		}
	}
	if old := m.state.Load(); old != nil { // what is in force may come back
		for name := range old.cfg.Lookups {
			keep[sourceOf(old.cfg, name)] = true
		}
	}
	m.shelf.Keep(keep)
	return all, errors.Join(errs...)
}

func sourceOf(cfg *config.Config, name string) lookup.Source {
	l := cfg.Lookups[name]
	return lookup.Source{Type: l.Type, Path: l.File, Name: short(cfg, l.File)}
}

// short is how messages call a path: as it is seen from the configuration, if it is below.
func short(cfg *config.Config, path string) string {
	if rel, err := filepath.Rel(filepath.Dir(cfg.File), path); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel)
	}
	return path
}

// use lets plugins ask the tables.
func (t tables) use(host *service.Host) {
	all := make(map[string]service.Lookup, len(t))
	for name, table := range t {
		all[name] = table
	}
	host.UseLookups(all)
}

// difference says which tables are others than in old.
func (t tables) difference(old tables) (words []string) {
	for _, name := range slices.Sorted(maps.Keys(t)) {
		switch {
		case old[name] == nil:
			words = append(words, "+lookup "+name)
		case old[name] != t[name]:
			words = append(words, "lookup "+name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		if t[name] == nil {
			words = append(words, "-lookup "+name)
		}
	}
	return words
}

// lookupSettings gives the names of a plugin's settings that are lookups, and of those.
func (b *builder) lookupSettings(name string, man *manifest.Manifest) iter.Seq2[string, string] {
	return func(yield func(setting, lookup string) bool) {
		for i := range man.Config {
			s := &man.Config[i]
			if ref, ok := s.Lookup(b.cfg.Settings[name][s.Name]); ok && !yield(s.Name, ref) {
				return
			}
		}
	}
}

// hasLookups checks that the lookups are there that the operator names in settings of a plugin.
func (b *builder) hasLookups(name string, man *manifest.Manifest) error {
	for setting, ref := range b.lookupSettings(name, man) {
		if _, ok := b.cfg.Lookups[ref]; !ok {
			return b.cfg.Errorf([]string{"plugin", name, setting}, "there is no [lookup.%s]%s", ref, didYouMean(ref, slices.Collect(maps.Keys(b.cfg.Lookups))))
		}
	}
	return nil
}

// lookupHint says of a plugin that does not load that it may want the whole of what is a lookup.
func (b *builder) lookupHint(name string, man *manifest.Manifest, err error) error {
	for setting := range b.lookupSettings(name, man) {
		return fmt.Errorf("%w (%s is a lookup, and the plugin may want the whole of it: then write it out)", err, setting)
	}
	return err
}

// files are the files besides plugins that a configuration is made of.
func files(main string, cfg *config.Config) []string {
	all := []string{main, lock.File(main), trust.File(main)}
	for _, l := range cfg.Lookups {
		all = append(all, l.File)
	}
	for plugin := range cfg.Settings {
		for _, path := range pathsOf(cfg, plugin) {
			all = append(all, path)
		}
	}
	certificates := certificateFiles(cfg)
	for _, p := range slices.Concat(certificates.Pairs, certificates.Clients) {
		all = append(all, p.Certificate, p.Key)
	}
	return append(all, certificates.CAs...)
}
