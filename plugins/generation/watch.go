package generation

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Times of the watch. A burst of events is waited out, but not for ever; where a file system sends no events (NFS, some
// containers) the slow poll finds the change by its content.
const (
	debounce = 250 * time.Millisecond
	patience = time.Second
	poll     = 10 * time.Second
	maxWatch = 1_000
)

// Watch reloads when the configuration or a plugin changes, until ctx ends.
func (m *Manager) Watch(ctx context.Context) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		m.opts.Log.Warn("file events cannot be had; changes are found by looking every 10 s", "err", err)
		w = &fsnotify.Watcher{} // its channels are nil and never ready
	} else {
		defer w.Close()
	}
	m.follow(w)
	slow := time.NewTicker(poll)
	defer slow.Stop()
	var quiet <-chan time.Time // runs while events come
	var first time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case ev, ok := <-w.Events:
			if !ok {
				return
			}
			if ignored(filepath.Base(ev.Name)) && !isDataLink(ev.Name) || ev.Op == fsnotify.Chmod {
				continue
			}
			now := time.Now()
			if quiet == nil {
				first = now
			}
			quiet = time.After(max(0, min(debounce, first.Add(patience).Sub(now))))
		case err, ok := <-w.Errors:
			if !ok {
				return
			}
			m.opts.Log.Warn("file events were lost; looking at the content", "err", err)
			m.Reload(ctx)
		case <-quiet:
			quiet = nil
			m.Reload(ctx)
			m.follow(w)
		case <-slow.C:
			m.trim()
			m.Reload(ctx)
			m.follow(w)
		}
	}
}

// trim lets go of instances that plugins needed for a burst of mail.
func (m *Manager) trim() {
	for _, s := range m.state.Load().loaded {
		s.plugin.Trim()
	}
}

// isDataLink tells the link by which Kubernetes swaps a mounted folder; its name begins with dots.
func isDataLink(name string) bool { return filepath.Base(name) == "..data" }

// follow watches the folders that matter now. Folders, not files: an editor replaces the file that a watch would hold on to.
func (m *Manager) follow(w *fsnotify.Watcher) {
	if w.Events == nil {
		return
	}
	cfg := m.Config()
	folders := []string{filepath.Dir(m.opts.File)}
	if cfg.Plugins.Folder != "" {
		root := cfg.Plugins.Folder
		if real, err := filepath.EvalSymlinks(root); err == nil {
			folders = append(folders, filepath.Dir(root)) // the link itself may be swapped
			root = real
		}
		filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if err != nil || len(folders) > maxWatch {
				return fs.SkipDir
			}
			if d.IsDir() {
				folders = append(folders, p)
			} else if d.Type()&os.ModeSymlink != 0 {
				if real, err := filepath.EvalSymlinks(p); err == nil {
					folders = append(folders, filepath.Dir(real))
				}
			}
			return nil
		})
	}
	have := map[string]bool{}
	for _, p := range w.WatchList() {
		have[p] = true
	}
	for _, f := range folders {
		if !have[f] {
			have[f] = true
			w.Add(f) // one that went away again is found by the poll
		}
	}
}
