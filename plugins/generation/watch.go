package generation

import (
	"context"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Times of the watch.
const (
	debounce = 250 * time.Millisecond // without events, before the files are looked at
	patience = 500 * time.Millisecond // from the first event to the look, while more of them come
	slowLook = 10 * time.Second       // for what sends no events: NFS, some mounts of containers
)

// Watch reloads when the configuration or a plugin changes, until ctx ends.
func (m *Manager) Watch(ctx context.Context) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		m.opts.Log.Warn("file events cannot be had; changes are found by looking every "+slowLook.String(), "error", err)
		w = &fsnotify.Watcher{} // its channels are nil and never ready
	} else {
		defer w.Close()
	}
	p := newPlaces(w, m.opts.Log)
	more := m.follow(p)
	watch{events: w.Events, errors: w.Errors, slow: m.slow, matters: p.matters, log: m.opts.Log, look: func() bool {
		m.trim()
		m.notice(ctx)
		return m.follow(p)
	}}.run(ctx, more)
}

func (m *Manager) follow(p *places) (more bool) {
	cfg := m.Config()
	return p.follow(files(m.opts.File, cfg), cfg.Plugins.Folder)
}

// trim lets go of instances that plugins needed for a burst of mail.
func (m *Manager) trim() {
	for _, s := range m.state.Load().loaded {
		s.plugin.Trim()
	}
}

// watch turns events into looks at the files: one for a burst of events, when it is over, but also while it goes on for ever;
// and one now and then.
type watch struct {
	events  <-chan fsnotify.Event
	errors  <-chan error
	slow    time.Duration
	matters func(fsnotify.Event) bool
	look    func() (again bool) // again: something may have changed while it looked
	log     interface{ Warn(msg string, args ...any) }
}

func (w watch) run(ctx context.Context, again bool) {
	slow := time.NewTicker(w.slow)
	defer slow.Stop()
	due := time.NewTimer(0)
	due.Stop()
	var first time.Time // of a burst; zero: there is none
	stir := func() {
		now := time.Now()
		if first.IsZero() {
			first = now
		}
		if wait := min(debounce, first.Add(patience).Sub(now)); wait > 0 { // else it is due already
			due.Reset(wait)
		}
	}
	look := func() {
		due.Stop()
		first = time.Time{}
		if w.look() {
			stir()
		}
	}
	if again {
		stir()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case ev, ok := <-w.events:
			if !ok {
				return
			}
			if w.matters(ev) {
				stir()
			}
		case err, ok := <-w.errors:
			if !ok {
				return
			}
			if first.IsZero() {
				w.log.Warn("file events were lost; looking at the files instead", "error", err)
			}
			stir()
		case <-due.C:
			look()
		case <-slow.C:
			if first.IsZero() {
				look()
			}
		}
	}
}
