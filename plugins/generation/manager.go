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
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/lookup"
	"github.com/stagepost/stagepost/plugins/manifest"
	"github.com/stagepost/stagepost/plugins/pool"
	"github.com/stagepost/stagepost/plugins/service"
	"github.com/stagepost/stagepost/plugins/wasm"
)

// Options are what a Manager works with.
type Options struct {
	File    string // stagepost.toml
	Host    *service.Host
	Wasm    *wasm.Engine // nil: each plugin in WebAssembly gets one of its own
	Log     *slog.Logger
	Console io.Writer // gets one line a change and one a refusal
	// Prepare opens what a new configuration needs, before the swap; commit and abort end it. nil: nothing to open.
	Prepare func(old, next *config.Config) (commit, abort func(), err error)
}

// Manager holds the generation in force.
type Manager struct {
	opts    Options
	current *hooks.Current
	turns   *pool.Turns
	slow    time.Duration         // between two looks that no event asked for
	pause   func(context.Context) // between two readings
	reload  sync.Mutex            // one at a time
	tried   [32]byte              // hash of what was last read, whether it became live or not
	outside bool                  // it was refused for something outside of the files, such as a busy port: the same files may do later
	state   atomic.Pointer[state]
	reloads *observe.Counters
	shelf   lookup.Shelf
}

// state is what a reload replaces, apart from the hooks themselves.
type state struct {
	cfg          *config.Config
	hash         [32]byte // of what was read
	loaded       []*shared
	tables       tables
	certificates certified
	number       uint64
	since        time.Time
	failure      string // why the last reload was refused; empty when it was not
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
	m := &Manager{opts: o, turns: pool.NewTurns(), slow: slowLook, pause: pause, reloads: NewReloads()}
	r := m.read()
	if r.err != nil {
		return nil, r.err
	}
	b := builder{host: o.Host, wasm: o.Wasm, cfg: r.cfg, log: o.Log, turns: m.turns, files: r.files, known: r.known}
	gen, loaded, err := b.build(1, r.sources, nil)
	if err != nil {
		return nil, err
	}
	r.tables.use(o.Host)
	m.tried = r.hash
	m.current = hooks.NewCurrent(gen)
	m.state.Store(&state{cfg: r.cfg, hash: r.hash, loaded: loaded, tables: r.tables, certificates: r.certificates, number: 1, since: time.Now()})
	m.warn()
	return m, nil
}

// Current is what the core asks.
func (m *Manager) Current() *hooks.Current { return m.current }

// Config is the configuration in force.
func (m *Manager) Config() *config.Config { return m.state.Load().cfg }

// reading is the configuration and every plugin as they were at one moment, or why they could not be read.
type reading struct {
	cfg          *config.Config
	sources      []*Source
	known        []string // of plugins that could be enabled
	tables       tables
	files        setFiles
	certificates certified
	hash         [32]byte // of all that was read, and of the error
	err          error
}

// read reads everything, once.
func (m *Manager) read() (r reading) {
	h := sha256.New()
	defer func() {
		if r.err != nil {
			io.WriteString(h, r.err.Error())
		}
		h.Sum(r.hash[:0])
	}()
	data, err := config.Read(m.opts.File)
	if err != nil {
		return reading{err: err}
	}
	h.Write(data)
	if r.cfg, r.err = config.Parse(m.opts.File, data, config.Options{Hostname: os.Hostname}); r.err != nil {
		return r
	}
	if r.err = hasTransports(r.cfg); r.err != nil {
		return r
	}
	if r.sources, r.known, r.err = readSources(r.cfg, m.state.Load()); r.err != nil {
		return r
	}
	for _, s := range r.sources {
		fmt.Fprintf(h, "\x00%s\x00%x\x00%s", s.Label, s.Hash, s.lockKey())
	}
	if r.certificates, r.err = m.readCertificates(r.cfg, h); r.err != nil {
		return r
	}
	r.files = readSetFiles(r.cfg, h)
	r.tables, r.err = m.readTables(r.cfg, h)
	return r
}

// What changes while it is read is read again, after a pause, until two readings are the same; not for ever.
const (
	settlePause = 20 * time.Millisecond
	settleTries = 10
)

func pause(ctx context.Context) {
	select {
	case <-time.After(settlePause):
	case <-ctx.Done():
	}
}

// settle reads everything like read, but not the half of what somebody is writing.
func (m *Manager) settle(ctx context.Context) reading {
	r := m.read()
	for try := 0; r.hash != m.tried && try < settleTries; try++ {
		m.pause(ctx)
		last := r.hash
		if r = m.read(); r.hash == last {
			break
		}
	}
	return r
}

// Reload reads everything and puts it in force if it changed and is right. It is safe to call at any time and from anywhere.
func (m *Manager) Reload(context.Context) Change {
	m.reload.Lock()
	defer m.reload.Unlock()
	start := time.Now()
	return m.take(m.read(), start)
}

// notice is Reload for those who do not know whether the change is over.
func (m *Manager) notice(ctx context.Context) Change {
	m.reload.Lock()
	defer m.reload.Unlock()
	start := time.Now()
	return m.take(m.settle(ctx), start)
}

// take puts a reading in force if it is another one and right.
func (m *Manager) take(r reading, start time.Time) Change {
	old := m.state.Load()
	switch {
	case r.hash == old.hash:
		m.tried, m.outside = r.hash, false
		m.reloads.Add(reloadUnchanged)
		if old.failure != "" {
			m.mended(old)
		}
		return Change{Number: old.number, Took: time.Since(start)}
	case r.hash == m.tried && !m.outside:
		m.reloads.Add(reloadUnchanged)
		return Change{Number: old.number, Err: errors.New(old.failure), Took: time.Since(start)}
	}
	m.tried, m.outside = r.hash, false
	err := r.err
	if err == nil {
		err = m.swap(old, r)
	}
	took := time.Since(start)
	if err != nil {
		m.reloads.Add(reloadRefused)
		m.refuse(old, err)
		return Change{Number: old.number, Err: err, Took: took}
	}
	m.reloads.Add(reloadLive)
	next := m.state.Load()
	what := difference(old, next)
	m.opts.Log.Info("generation is live", "generation", next.number, "changed", what, "took", took.Round(time.Millisecond).String())
	fmt.Fprintf(m.opts.Console, "generation %d is live: %s (%d ms)\n", next.number, what, took.Milliseconds())
	if next.certificates != old.certificates {
		m.warn()
	}
	return Change{Number: next.number, Changed: true, Took: took}
}

func (m *Manager) swap(old *state, r reading) error {
	cfg := r.cfg
	if cfg.Data != old.cfg.Data {
		return cfg.Errorf([]string{"data"}, "the data folder cannot change while the server runs; restart it to move from %s", old.cfg.Data)
	}
	b := builder{host: m.opts.Host, wasm: m.opts.Wasm, cfg: cfg, log: m.opts.Log, turns: m.turns, files: r.files, known: r.known}
	gen, loaded, err := b.build(old.number+1, r.sources, old.loaded)
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
	m.state.Store(&state{cfg: cfg, hash: r.hash, loaded: loaded, tables: r.tables, certificates: r.certificates, number: gen.Number, since: time.Now()})
	r.tables.use(m.opts.Host)
	m.current.Swap(gen)
	m.opts.Host.Keep(m.Names())
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
	m.opts.Log.Error("the change was refused", "generation", old.number, "error", err)
	fmt.Fprintf(m.opts.Console, "%s; generation %d stays\n", strings.ReplaceAll(err.Error(), "\n", "\n  "), old.number)
}

// mended forgets a refusal: what is in force lies in the files again.
func (m *Manager) mended(old *state) {
	well := *old
	well.failure = ""
	m.state.Store(&well)
	m.opts.Log.Info("the change that was refused was taken back", "generation", old.number)
	fmt.Fprintf(m.opts.Console, "the change that was refused was taken back; generation %d is in force\n", old.number)
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
			words = append(words, s.name+mayMore(o.manifest, s.manifest))
		}
		delete(was, s.name)
	}
	for _, s := range old.loaded {
		if was[s.name] != nil {
			words = append(words, "-"+s.name)
		}
	}
	words = append(words, next.tables.difference(old.tables)...)
	if old.certificates.hash != next.certificates.hash {
		words = append(words, "certificates")
	}
	if old.cfg.Hash != next.cfg.Hash {
		words = append(words, filepath.Base(next.cfg.File))
	}
	return strings.Join(words, ", ")
}

// mayMore says what a new version of a plugin may do and the old one might not: who writes into the folder grants it, but
// whoever reads the console should know.
func mayMore(old, next *manifest.Manifest) string {
	had, _ := old.GrantedWords()
	more, _ := next.GrantedWords()
	more = slices.DeleteFunc(more, func(w string) bool { return slices.Contains(had, w) })
	if len(more) == 0 {
		return ""
	}
	return " (now also: " + strings.Join(more, ", ") + ")"
}

// Close lets go of the plugins: who still asks finds none, and those in use end with their last user.
func (m *Manager) Close() {
	none, err := hooks.NewGeneration(m.current.Number(), nil, nil)
	if err != nil {
		panic(err) // without hooks there is nothing to be wrong
	}
	m.current.Swap(none)
}
