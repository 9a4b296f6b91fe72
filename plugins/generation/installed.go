package generation

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/lock"
	"github.com/stagepost/stagepost/plugins/catalog/trust"
	"github.com/stagepost/stagepost/plugins/manifest"
	"github.com/stagepost/stagepost/plugins/wasm"
)

// changeTries is how often what is installed is read while it is being changed.
const changeTries = 3

// installed reads installed plugins. Of what the generation in force has of the same bytes, nothing is checked again.
type installed struct {
	lock  *lock.Lock
	trust *trust.Trust // nil: there is no trust.toml, so nothing is revoked
	data  string
	old   *state
}

func readInstalled(cfg *config.Config, old *state) (*installed, error) {
	l, err := lock.Read(lock.File(cfg.File))
	if err != nil {
		return nil, err
	}
	t, err := trust.Read(trust.File(cfg.File))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return &installed{l, t, cfg.Data, old}, nil
}

// read reads one. Nothing is fetched: what is not there, or not what it should be, is an error.
func (in *installed) read(p lock.Plugin) (*Source, error) {
	if in.trust != nil {
		if why := in.trust.Revoked(p.Signer, p.Digest); why != "" {
			state := "is installed and is not loaded"
			if in.inForce(p) {
				state = "is still in force, and would not be loaded again"
			}
			return nil, fmt.Errorf("%s %s: %s; run: stagepost plugin update %s, or: stagepost plugin remove %s", p, state, why, p.ID, p.ID)
		}
	}
	files, err := p.Read(in.data)
	if err != nil {
		return nil, err
	}
	s := &Source{Name: p.ID, Label: "installed/" + p.ID, Main: "init.lua", Files: files, From: "installed", Locked: &p}
	s.hash() // of all files, also of those that nobody runs: they are part of what was signed
	if !in.known(s) {
		if _, err := p.Verify(in.data, files); err != nil {
			return nil, err
		}
	}
	maps.DeleteFunc(s.Files, func(name string, _ []byte) bool { return !catalog.IsCode(name) })
	if s.Files[wasm.File] != nil {
		s.Main = wasm.File
	}
	return s, nil
}

// inForce tells whether the generation in force has the plugin.
func (in *installed) inForce(p lock.Plugin) bool {
	return in.old != nil && slices.ContainsFunc(in.old.loaded, func(o *shared) bool {
		l := o.source.Locked
		return l != nil && l.ID == p.ID && l.Digest == p.Digest
	})
}

// known tells whether the same files were checked against the same digest before.
func (in *installed) known(s *Source) bool {
	if in.old == nil {
		return false
	}
	for _, o := range in.old.loaded {
		if l := o.source.Locked; l != nil && l.ID == s.Locked.ID && l.Version == s.Locked.Version && l.Digest == s.Locked.Digest && o.source.Hash == s.Hash {
			return true
		}
	}
	return false
}

// lockKey is what tells of the record that a plugin changed; "" where it is not installed.
func (s *Source) lockKey() string {
	if s.Locked == nil {
		return ""
	}
	l := s.Locked
	return fmt.Sprintf("%s %s %s %s %q", l.Version, l.Digest, l.Signer, l.Capabilities, manifest.Words(l.Accepted()))
}

// accepted refuses a plugin that asks for more than was accepted.
func (s *Source) accepted(man *manifest.Manifest) error {
	if s.Locked == nil {
		return nil
	}
	if more := manifest.Beyond(man.Needs, s.Locked.Accepted()); more != nil {
		return fmt.Errorf("%s: the plugin asks for what was not accepted (%s); to see and accept it, run: stagepost plugin install %s@%s",
			s.Locked.Pos(), strings.Join(more, ", "), s.Locked.ID, s.Locked.Version)
	}
	return nil
}

// readSources reads what the configuration names, again where what is installed changes meanwhile: the code of a former version goes
// once the record names another one.
func readSources(cfg *config.Config, old *state) (sources []*Source, known []string, err error) {
	for range changeTries {
		before := recordHash(cfg)
		sources, known, err = readAll(cfg, old)
		if err == nil || !errors.Is(err, lock.ErrMissing) && !errors.Is(err, lock.ErrChanged) && !errors.Is(err, fs.ErrNotExist) || recordHash(cfg) == before {
			break
		}
	}
	return sources, known, err
}

func recordHash(cfg *config.Config) [32]byte {
	data, err := config.ReadFile(lock.File(cfg.File), config.MaxFile)
	if err != nil && !os.IsNotExist(err) {
		data = []byte(err.Error())
	}
	return sha256.Sum256(data)
}
