package generation

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/bundled"
	"github.com/stagepost/stagepost/plugins/service"
)

// Read reads the plugin at a path, a .lua file or a folder. Messages call it label.
func Read(path, label string) (*Source, error) {
	path = filepath.Clean(path)
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", label, plain(err))
	}
	s, err := readOne(path, label, info, &budget{maxAll, maxEntries})
	if s == nil && err == nil {
		return nil, fmt.Errorf("%s is no plugin: neither a .lua file nor a folder with init.lua or plugin.wasm", label)
	}
	return s, err
}

// ReadBundled reads a plugin that ships with the server.
func ReadBundled(name string) (*Source, error) {
	if known := bundled.Names(); !slices.Contains(known, name) {
		return nil, fmt.Errorf("no plugin %q comes with the program%s", name, didYouMean(name, known))
	}
	return readFS(bundled.Open(name), name)
}

// ReadWatched reads what lies in the folder that the configuration names; nothing where it names none.
func ReadWatched(cfg *config.Config) ([]*Source, error) {
	if cfg.Plugins.Folder == "" {
		return nil, nil
	}
	return readFolder(cfg.Plugins.Folder, Label(cfg))
}

// Label is how messages call the watched folder.
func Label(cfg *config.Config) string {
	return short(cfg, cfg.Plugins.Folder)
}

// Alone builds a generation of one plugin, as a reload would, with its settings in cfg, and with other hooks beside its own.
func Alone(cfg *config.Config, src *Source, host *service.Host, log *slog.Logger, others ...*hooks.Hook) (*hooks.Generation, error) {
	b := builder{host: host, cfg: cfg, log: log, others: others}
	gen, _, err := b.build(1, []*Source{src}, nil)
	return gen, err
}

// Try loads one plugin with its settings in cfg and lets go of it again. What its hooks read need not be there.
func Try(cfg *config.Config, src *Source, host *service.Host, log *slog.Logger) error {
	b := builder{host: host, cfg: cfg, log: log}
	s, err := b.load(src.Name, src, cfg.Runs[src.Name])
	if err == nil {
		s.release()
	}
	return err
}
