// Package generation builds what is in force and changes it while mail flows.
//
// A generation is made of the configuration and all plugins, read once and whole. Whatever says that something may have
// changed (a file event, SIGHUP, the command reload, the slow look at the content) calls the same Reload: read everything,
// compare its hash with what was tried last, parse, compile and load beside the generation in force, then swap one pointer.
// On any failure the old one stays, and one line with file and line number says why. A plugin whose code and settings did not
// change is not loaded again: the new generation shares it with the old by reference count.
package generation

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/service"
)

// Options are what a Manager works with.
type Options struct {
	File    string // stagepost.toml
	Host    *service.Host
	Log     *slog.Logger
	Console io.Writer // gets one line a change and one a refusal
	// Prepare opens what a new configuration needs, before the swap; commit and abort end it. nil: nothing to open.
	Prepare func(old, next *config.Config) (commit, abort func(), err error)
}

// Manager holds the generation in force.
type Manager struct {
	opts    Options
	current *hooks.Current
	reload  sync.Mutex // one at a time
	tried   [32]byte   // hash of what was last read, whether it became live or not
	outside bool       // it was refused for something outside of the files, such as a busy port: the same files may do later
	state   atomic.Pointer[state]
}

// state is what a reload replaces, apart from the hooks themselves.
type state struct {
	cfg     *config.Config
	loaded  []*shared
	number  uint64
	since   time.Time
	failure string // why the last reload was refused; empty when it was not
}

// Change is what a reload came to.
type Change struct {
	Number  uint64 // of the generation in force afterwards
	Changed bool
	Err     error // why it was refused
	Took    time.Duration
}

// New builds generation 1. It refuses what Reload would refuse. Prepare is not called: the caller starts with Config.
func New(o Options) (*Manager, error) {
	m := &Manager{opts: o}
	cfg, sources, hash, err := m.read()
	if err != nil {
		return nil, err
	}
	b := builder{host: o.Host, cfg: cfg, log: o.Log}
	gen, loaded, err := b.build(1, sources, nil)
	if err != nil {
		return nil, err
	}
	m.tried = hash
	m.current = hooks.NewCurrent(gen)
	m.state.Store(&state{cfg: cfg, loaded: loaded, number: 1, since: time.Now()})
	return m, nil
}

// Current is what the core asks.
func (m *Manager) Current() *hooks.Current { return m.current }

// Config is the configuration in force.
func (m *Manager) Config() *config.Config { return m.state.Load().cfg }

// read reads the configuration and every plugin, once.
func (m *Manager) read() (*config.Config, []*Source, [32]byte, error) {
	cfg, err := config.Load(m.opts.File)
	if err != nil {
		return nil, nil, fileHash(m.opts.File, err), err
	}
	h := sha256.New()
	h.Write(cfg.Hash[:])
	sources, err := readAll(cfg)
	if err != nil {
		io.WriteString(h, err.Error())
		return nil, nil, [32]byte(h.Sum(nil)), err
	}
	for _, s := range sources {
		fmt.Fprintf(h, "%s\x00%x\n", s.Label, s.Hash)
	}
	return cfg, sources, [32]byte(h.Sum(nil)), nil
}

// fileHash stands for a configuration that could not be used, so that the same mistake is told once.
func fileHash(name string, err error) [32]byte {
	data, _ := os.ReadFile(name)
	return sha256.Sum256(append(data[:min(len(data), config.MaxFile)], err.Error()...))
}

// Reload reads everything and puts it in force if it changed and is right. It is safe to call at any time and from anywhere.
func (m *Manager) Reload(ctx context.Context) Change {
	m.reload.Lock()
	defer m.reload.Unlock()
	start := time.Now()
	old := m.state.Load()
	cfg, sources, hash, err := m.read()
	if hash == m.tried && !m.outside {
		c := Change{Number: old.number, Took: time.Since(start)}
		if old.failure != "" {
			c.Err = errors.New(old.failure)
		}
		return c
	}
	m.tried, m.outside = hash, false
	if err == nil {
		err = m.swap(old, cfg, sources)
	}
	took := time.Since(start)
	if err != nil {
		m.refuse(old, err)
		return Change{Number: old.number, Err: err, Took: took}
	}
	next := m.state.Load()
	what := difference(old, next)
	m.opts.Log.Info("generation is live", "generation", next.number, "changed", what, "took", took.Round(time.Millisecond).String())
	fmt.Fprintf(m.opts.Console, "generation %d is live: %s (%d ms)\n", next.number, what, took.Milliseconds())
	return Change{Number: next.number, Changed: true, Took: took}
}

func (m *Manager) swap(old *state, cfg *config.Config, sources []*Source) error {
	if cfg.Data != old.cfg.Data {
		return cfg.Errorf([]string{"data"}, "the data folder cannot change while the server runs; restart it to move from %s", old.cfg.Data)
	}
	b := builder{host: m.opts.Host, cfg: cfg, log: m.opts.Log}
	gen, loaded, err := b.build(old.number+1, sources, old.loaded)
	if err != nil {
		return err
	}
	commit := func() {}
	if m.opts.Prepare != nil {
		var abort func()
		if commit, abort, err = m.opts.Prepare(old.cfg, cfg); err != nil {
			m.outside = true
			abort()
			gen.Release()
			return err
		}
	}
	m.state.Store(&state{cfg: cfg, loaded: loaded, number: gen.Number, since: time.Now()})
	m.current.Swap(gen)
	commit()
	return nil
}

// refuse keeps the old generation and says why, once.
func (m *Manager) refuse(old *state, err error) {
	if m.outside && old.failure == err.Error() {
		return
	}
	failed := *old
	failed.failure = err.Error()
	m.state.Store(&failed)
	m.opts.Log.Error("the change was refused", "generation", old.number, "err", err)
	fmt.Fprintf(m.opts.Console, "%s; generation %d stays\n", strings.ReplaceAll(err.Error(), "\n", "\n  "), old.number)
}

// difference says in words what a new generation changed.
func difference(old, next *state) string {
	var words []string
	was := map[string]*shared{}
	for _, s := range old.loaded {
		was[s.name] = s
	}
	for _, s := range next.loaded {
		switch o := was[s.name]; {
		case o == nil:
			words = append(words, "+"+s.name)
		case o != s:
			words = append(words, s.name)
		}
		delete(was, s.name)
	}
	for _, s := range old.loaded {
		if was[s.name] != nil {
			words = append(words, "-"+s.name)
		}
	}
	if old.cfg.Hash != next.cfg.Hash {
		words = append(words, filepath.Base(next.cfg.File))
	}
	if len(words) == 0 {
		return "as it was before the change that was refused"
	}
	return strings.Join(words, ", ")
}

// Close lets go of the plugins: who still asks finds none, and those in use end with their last user.
func (m *Manager) Close() {
	none, err := hooks.NewGeneration(m.current.Number(), nil, nil)
	if err != nil {
		panic(err) // without hooks there is nothing to be wrong
	}
	m.current.Swap(none)
}
