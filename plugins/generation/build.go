package generation

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/stagepost/stagepost/core/breaker"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/bundled"
	"github.com/stagepost/stagepost/plugins/manifest"
	"github.com/stagepost/stagepost/plugins/pool"
	"github.com/stagepost/stagepost/plugins/service"
	"github.com/stagepost/stagepost/plugins/template"
	"github.com/stagepost/stagepost/plugins/wasm"
)

// shared is one loaded plugin under one name. Generations that did not change it hold it together.
type shared struct {
	name     string // as in [run.NAME] and facts
	key      [32]byte
	source   *Source
	manifest *manifest.Manifest
	plugin   plugin
	host     *service.Host
	hooks    []*hooks.Hook // as declared; each generation orders copies of its own
	log      *slog.Logger
	refs     atomic.Int64

	told, untold atomic.Int64 // when the log was told of a failure, and how many there were since
}

func (s *shared) release() {
	if s.refs.Add(-1) == 0 {
		s.plugin.Close()
		s.host.Gone(s.manifest.Granted)
	}
}

// readAll reads what the configuration enables and what lies in the watched folder. Of plugins of one name, that in the folder counts, then
// what is installed, then what comes with the program. A folder that is not there holds no
// plugins, unless some of the generation in force are from it: that it is gone is a mistake, or the middle of a deployment, and
// nobody's wish that mail be refused.
func readAll(cfg *config.Config, old *state) (sources []*Source, known []string, err error) {
	in, err := readInstalled(cfg, old)
	if err != nil {
		return nil, nil, err
	}
	known = append(bundled.Names(), in.lock.IDs()...)
	names := slices.Clone(cfg.Plugins.Enable)
	for _, name := range slices.Sorted(maps.Keys(cfg.Runs)) { // in one order, since the hash is made in it
		if r := cfg.Runs[name]; slices.Contains(known, r.Plugin) && !slices.Contains(names, r.Plugin) {
			names = append(names, r.Plugin)
		}
	}
	folder, err := ReadWatched(cfg)
	if errors.Is(err, errNoFolder) {
		err = nil
		if old != nil && slices.ContainsFunc(old.loaded, func(s *shared) bool { return s.source.From == "folder" }) {
			err = cfg.Errorf([]string{"plugins", "folder"}, "there is no folder %s, and plugins from it are in force; to run without them, take this key out", Label(cfg))
		}
	}
	if err != nil {
		return nil, nil, err
	}
	for i, name := range names {
		if slices.ContainsFunc(folder, func(s *Source) bool { return s.Name == name }) {
			continue // the folder's own; enable gives it its place
		}
		if !slices.Contains(known, name) {
			all := slices.Clone(known)
			for _, s := range folder {
				all = append(all, s.Name)
			}
			return nil, nil, cfg.Errorf([]string{"plugins", "enable", config.Index(i)}, "there is no plugin %q%s", name, didYouMean(name, all))
		}
		var s *Source
		if p, ok := in.lock.Plugin(name); ok {
			if s, err = in.read(p); err != nil {
				err = fmt.Errorf("%s: %w", whoNames(cfg, i, name), err)
			}
		} else {
			s, err = readFS(bundled.Open(name), name)
		}
		if err != nil {
			return nil, nil, err
		}
		sources = append(sources, s)
	}
	return append(sources, folder...), known, nil
}

// whoNames is the place where the configuration names the i-th plugin that it wants: in enable, or in a [run].
func whoNames(cfg *config.Config, i int, name string) string {
	if i < len(cfg.Plugins.Enable) {
		return cfg.Where("plugins", "enable", config.Index(i))
	}
	for _, run := range slices.Sorted(maps.Keys(cfg.Runs)) {
		if cfg.Runs[run].Plugin == name {
			return cfg.Where("run", run, "plugin")
		}
	}
	return cfg.Where()
}

func didYouMean(name string, known []string) string {
	if near := config.Nearest(name, known); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return ""
}

// builder makes one generation.
type builder struct {
	host  *service.Host
	cfg   *config.Config
	log   *slog.Logger
	turns *pool.Turns
	wasm  *wasm.Engine // nil: each plugin in WebAssembly gets one of its own
	files setFiles     // others are read when they are needed
	old   []*shared
	known []string // that could be enabled: settings may stand there for them

	others []*hooks.Hook // of no plugin; for tests
}

// build loads the plugins and puts their hooks in order. What it shares with old it holds once more.
func (b *builder) build(number uint64, sources []*Source, old []*shared) (*hooks.Generation, []*shared, error) {
	b.old = old
	var loaded []*shared
	release := func() {
		for _, s := range loaded {
			s.release()
		}
	}
	var errs []error
	byName := map[string]*Source{}
	for _, src := range sources {
		byName[src.Name] = src
	}
	load := func(name string, src *Source, run config.Run) {
		s, err := b.load(name, src, run)
		if err != nil {
			errs = append(errs, err)
			return
		}
		loaded = append(loaded, s)
	}
	seen := map[string]string{}
	for _, src := range sources {
		if first, ok := seen[src.Name]; ok {
			errs = append(errs, fmt.Errorf("%s: the plugin %q is also %s; rename one of them", src.Label, src.Name, first))
			continue
		}
		seen[src.Name] = src.Label
		load(src.Name, src, b.cfg.Runs[src.Name])
	}
	for _, name := range slices.Sorted(maps.Keys(b.cfg.Runs)) {
		run := b.cfg.Runs[name]
		if run.Plugin == name {
			if byName[name] == nil {
				errs = append(errs, b.cfg.Errorf([]string{"run", name}, "there is no plugin %q to run%s", name, didYouMean(name, keys(byName))))
			}
			continue
		}
		if own := byName[name]; own != nil {
			errs = append(errs, b.cfg.Errorf([]string{"run", name}, "%s is a plugin of that name; take another name for the second %s", own.Label, run.Plugin))
			continue
		}
		src := byName[run.Plugin]
		if src == nil {
			errs = append(errs, b.cfg.Errorf([]string{"run", name, "plugin"}, "there is no plugin %q%s", run.Plugin, didYouMean(run.Plugin, keys(byName))))
			continue
		}
		load(name, src, run)
	}
	for _, name := range slices.Sorted(maps.Keys(b.cfg.Settings)) {
		if !slices.ContainsFunc(loaded, func(s *shared) bool { return s.name == name }) && len(errs) == 0 && !slices.Contains(bundled.Names(), name) && !slices.Contains(b.known, name) {
			errs = append(errs, b.cfg.Errorf([]string{"plugin", name}, "there is no plugin %q that these settings are for%s", name, didYouMean(name, keys(byName))))
		}
	}
	if len(errs) > 0 {
		release()
		return nil, nil, errors.Join(errs...)
	}
	if err := knownFacts(loaded); err != nil {
		release()
		return nil, nil, err
	}
	all := slices.Clone(b.others)
	for _, s := range loaded {
		place := slices.Index(b.cfg.Plugins.Enable, s.name)
		if place < 0 {
			place = len(b.cfg.Plugins.Enable)
		}
		for _, h := range s.hooks {
			own := *h
			own.Place = place
			all = append(all, &own)
		}
	}
	gen, err := hooks.NewGeneration(number, all, release)
	if err != nil {
		release()
		return nil, nil, err
	}
	return gen, loaded, nil
}

func keys(m map[string]*Source) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}

// load shares the plugin with the old generation if nothing of it changed, or loads it.
func (b *builder) load(name string, src *Source, run config.Run) (*shared, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%s\x00%x\x00%#v\x00%s\x00%t\x00%s\x00%s", src.Label, src.Hash, b.cfg.Settings[name], runKey(run), b.cfg.Plugins.TrustFolder, b.fileKey(name), src.lockKey())
	key := [32]byte(h.Sum(nil))
	for _, o := range b.old {
		if o.name == name && o.key == key {
			if err := b.hasLookups(name, o.manifest); err != nil {
				return nil, err
			}
			o.refs.Add(1)
			return o, nil
		}
	}
	man, load, err := open(src)
	if err != nil {
		return nil, err
	}
	if man.ID != src.Name {
		return nil, fmt.Errorf("%s: the plugin calls itself %q but lies in a file or folder named %q; the two must be the same", man.Pos(), man.ID, src.Name)
	}
	if err := src.accepted(man); err != nil {
		return nil, err
	}
	place := func(key string) config.Error {
		return b.cfg.Errorf(append([]string{"run", name, "grant"}, strings.Fields(key)...), "")
	}
	man, err = man.Grant(manifest.Grant{Name: name, Table: run.Grant, Trusted: src.From != "folder" || b.cfg.Plugins.TrustFolder, Place: place})
	if err != nil {
		return nil, err
	}
	settings, err := man.Configure(b.cfg.Settings[name], func(key string) string { return b.cfg.Where("plugin", name, key) })
	if err != nil {
		return nil, err
	}
	if err := b.hasLookups(name, man); err != nil {
		return nil, err
	}
	if err := b.fillFiles(name, man, src, settings); err != nil {
		return nil, err
	}
	templates, err := template.Parse(src.Files, src.Path)
	if err != nil {
		return nil, err
	}
	plugin, err := load(loadOptions{name, man, settings, templates, b.host, run.Instances, b.turns, b.wasm})
	if err != nil {
		if at, ok := b.fileError(man, settings, err); ok {
			return nil, at
		}
		return nil, b.lookupHint(name, man, b.settingError(name, err))
	}
	s := &shared{name: name, key: key, source: src, manifest: man, plugin: plugin, host: b.host, log: b.log}
	s.refs.Store(1)
	for stage, handler := range plugin.Handlers() {
		hk := man.Hook(stage, name, run)
		hk.Handler, hk.Breaker, hk.Counts = handler, breaker.New(func(st breaker.State) { s.turned(hk, st) }, time.Now()), hooks.NewCounts()
		hk.Failed = s.failed
		hk.Pos = plugin.Pos(stage)
		s.hooks = append(s.hooks, hk)
	}
	slices.SortFunc(s.hooks, func(a, b *hooks.Hook) int { return cmp.Compare(a.Stage, b.Stage) })
	if run.Every > 0 && plugin.Pos(hooks.Tick) == "" {
		s.release()
		return nil, b.cfg.Errorf([]string{"run", name, "every"}, "the plugin %s is not asked at intervals: it has no on.tick", name)
	}
	for stage, spec := range man.Hooks {
		if plugin.Pos(stage) == "" {
			s.release()
			return nil, fmt.Errorf("%s:%d: hook.%s is declared, but the code has no on.%s", man.File, spec.Line, stage, stage)
		}
	}
	return s, nil
}

// runKey is the part of a [run] that plugins are loaded by.
func runKey(r config.Run) string {
	user, order := "", ""
	if r.When.User != nil {
		user = fmt.Sprint(*r.When.User)
	}
	if r.Order != nil {
		order = fmt.Sprint(*r.Order)
	}
	return fmt.Sprintf("%q %q %q %s %s %q %q %d %d %d %#v", r.Plugin, r.When.Role, r.When.Listener, user, order, r.After, r.OnError, r.Timeout, r.Every, r.Instances, r.Grant)
}

// failWait is the least time between two lines about failures of one plugin.
const failWait = time.Second

// failed tells the log where the plugin fails.
func (s *shared) failed(c *hooks.Call, h *hooks.Hook, err error) {
	s.untold.Add(1)
	now := time.Now().UnixNano()
	if last := s.told.Load(); now-last >= int64(failWait) && s.told.CompareAndSwap(last, now) {
		at := make([]any, 0, 10)
		if c.Message != nil {
			at = append(at, "id", c.Message.ID.String())
		} else if c.Session != nil {
			at = append(at, "session", c.Session.ID)
		}
		s.log.Warn("a plugin failed", append(at, "plugin", s.name, "stage", h.Stage.String(), "error", err, "failures", s.untold.Swap(0))...)
	}
}

// turned tells the log that the breaker of a hook opened or closed.
func (s *shared) turned(h *hooks.Hook, st breaker.State) {
	at := []any{"plugin", s.name, "stage", h.Stage.String()}
	if !st.Open {
		s.log.Info("a plugin is asked again: a call ended within its bounds", append(at, "skipped", st.Skipped)...)
		return
	}
	s.log.Error("a plugin is not asked for now: ten calls in a minute, and half of all, overran; one is tried every 30 s",
		append(at, "last", st.Why.Error(), "on_error", h.OnError.String(), "pos", h.Pos)...)
}
