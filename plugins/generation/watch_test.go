package generation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

// TestRhythm sends events on a fake clock and notes when the files are looked at.
func TestRhythm(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name string
		send func(event func(), lose func())
		want []time.Duration // from the begin
		warn int
	}{
		{"nothing", func(_, _ func()) {}, []time.Duration{slowLook, 2 * slowLook}, 0},
		{"one event", func(event, _ func()) { event() }, []time.Duration{250 * ms, slowLook, 2 * slowLook}, 0},
		{"two saves at once", func(event, _ func()) { event(); time.Sleep(200 * ms); event() }, []time.Duration{450 * ms, slowLook, 2 * slowLook}, 0},
		{"two saves apart", func(event, _ func()) { event(); time.Sleep(600 * ms); event() }, []time.Duration{250 * ms, 850 * ms, slowLook, 2 * slowLook}, 0},
		{"Z9 1,000 touches a second for 2.1 s", func(event, _ func()) {
			for range 2100 {
				event()
				time.Sleep(ms)
			}
		}, []time.Duration{500 * ms, 1000 * ms, 1500 * ms, 2000 * ms, 2349 * ms, slowLook, 2 * slowLook}, 0},
		{"events are lost", func(event, lose func()) { lose(); lose(); event(); lose() }, []time.Duration{250 * ms, slowLook, 2 * slowLook}, 1},
		{"a slow look is due in the middle", func(event, _ func()) { time.Sleep(slowLook - 100*ms); event() }, []time.Duration{slowLook + 150*ms, 2 * slowLook}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				events, errs := make(chan fsnotify.Event), make(chan error)
				var looks []time.Duration
				var log syncBuffer
				begin := time.Now()
				done := make(chan struct{})
				go func() {
					defer close(done)
					watch{events: events, errors: errs, slow: slowLook, matters: func(ev fsnotify.Event) bool { return ev.Name == "a" },
						log: slog.New(slog.NewTextHandler(&log, nil)), look: func() bool { looks = append(looks, time.Since(begin)); return false }}.run(ctx, false)
				}()
				c.send(func() { events <- fsnotify.Event{Name: "a"}; events <- fsnotify.Event{Name: "b"} }, func() { errs <- errors.New("overflow") })
				time.Sleep(time.Until(begin.Add(2*slowLook + time.Second)))
				cancel()
				<-done
				late := len(looks) != len(c.want)
				for i := 0; !late && i < len(looks); i++ {
					d := looks[i] - c.want[i]
					late = d < -ms || d > 10*ms // of which event and timer comes first
				}
				if late {
					t.Errorf("looked at %v, want %v", looks, c.want)
				}
				if n := strings.Count(log.String(), "\n"); n != c.warn {
					t.Errorf("%d warnings, want %d: %s", n, c.warn, log.String())
				}
			})
		})
	}
}

// watched is a site whose changes are seen by events alone: the slow look comes never.
func watched(t *testing.T, prepare func(*site)) *site {
	if w, err := fsnotify.NewWatcher(); err != nil { // a user may have 128 on most systems
		t.Skip("left out: file events cannot be had: ", err)
	} else {
		w.Close()
	}
	s := newSite(t)
	prepare(s)
	s.mustOpen()
	s.m.slow = 24 * time.Hour
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.m.Watch(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	s.wait("it looked once more when the watch began", func() bool { return s.m.Reloads().Sum() > 0 })
	return s
}

func (s *site) until(want string) {
	s.t.Helper()
	s.wait("it says "+want, func() bool { return s.says() == want })
}

func (s *site) wait(what string, so func() bool) {
	s.t.Helper()
	for end := time.Now().Add(30 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("it never came to be that %s; it says %q, the console has %q", what, s.says(), s.console.String())
		}
	}
}

// rest waits until the watch has nothing more to look at, so that only a new event can make it look.
func (s *site) rest() {
	for looks := uint64(0); looks != s.m.Reloads().Sum(); time.Sleep(2 * patience) {
		looks = s.m.Reloads().Sum()
	}
}

func (s *site) rename(from, to string) {
	s.t.Helper()
	if err := os.Rename(filepath.Join(s.dir, from), filepath.Join(s.dir, to)); err != nil {
		s.t.Fatal(err)
	}
}

func vip(s *site) { s.write("plugins/vip.lua", code("vip", "one")) }

// TestWatch changes files in all the ways in which editors, people and containers do, and waits for what becomes of it.
func TestWatch(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(*site)
		change  func(*site)
	}{
		{"Z4 truncated, then written", vip, func(s *site) {
			s.write("plugins/vip.lua", "")
			s.write("plugins/vip.lua", code("vip", "two"))
			s.until("two")
		}},
		{"Z5 another file is renamed", vip, func(s *site) {
			s.write("plugins/.vip.lua.swp", "of an editor")
			s.write("plugins/vip.lua~", "of an editor")
			s.write("plugins/vip.lua.tmp", code("vip", "two"))
			s.rename("plugins/vip.lua.tmp", "plugins/vip.lua")
			s.until("two")
		}},
		{"the old file is renamed, the new one created", vip, func(s *site) {
			s.rename("plugins/vip.lua", "plugins/vip.lua~")
			s.write("plugins/vip.lua", code("vip", "two"))
			s.remove("plugins/vip.lua~")
			s.until("two")
		}},
		{"two saves at once", vip, func(s *site) {
			s.write("plugins/vip.lua", code("vip", "two"))
			s.write("plugins/vip.lua", code("vip", "three"))
			s.until("three")
		}},
		{"a file becomes a folder with a module", vip, func(s *site) {
			s.remove("plugins/vip.lua")
			s.write("plugins/vip/init.lua", code("vip", "folder"))
			s.until("folder")
			s.write("plugins/vip/lib/text.lua", `return "from a module"`)
			s.write("plugins/vip/init.lua", "plugin { id = \"vip\" }\nlocal text = require \"lib/text\"\nfunction on.rcpt(r) return reject(text) end\n")
			s.until("from a module")
			s.write("plugins/vip/lib/text.lua", `return "changed module"`)
			s.until("changed module")
		}},
		{"Z6 a mounted ConfigMap", func(s *site) {
			s.write("plugins/..1/vip.lua", code("vip", "one"))
			s.link("..1", "plugins/..data")
			s.link("..data/vip.lua", "plugins/vip.lua")
		}, func(s *site) {
			for i, text := range []string{"two", "three", "four"} { // the watch goes along
				next := fmt.Sprintf("plugins/..%d", i+2)
				s.write(next+"/vip.lua", code("vip", text))
				s.link(filepath.Base(next), "plugins/..data")
				s.remove(fmt.Sprintf("plugins/..%d", i+1))
				s.until(text)
			}
			s.write("plugins/..9/vip.lua", code("vip", "x"))
			s.write("plugins/..9/new.lua", code("new", "new"))
			s.link("..9", "plugins/..data")
			s.link("..data/new.lua", "plugins/new.lua")
			s.until("new")
		}},
		{"Z6 the folder is a link to a link", func(s *site) {
			s.write("v1/vip.lua", code("vip", "one"))
			s.write("v2/vip.lua", code("vip", "two"))
			s.link("v1", "current")
			s.link("current", "plugins")
		}, func(s *site) {
			s.link("v2", "current")
			s.until("two")
			s.write("v2/vip.lua", code("vip", "three"))
			s.until("three")
			s.link("v1", "plugins")
			s.until("one")
		}},
		{"Z6 a link far from the folder is swapped", func(s *site) {
			s.write("far/v1/vip.lua", code("vip", "one"))
			s.write("far/v2/vip.lua", code("vip", "two"))
			s.mkdir("plugins")
			s.link("v1", "far/.current")
			s.link("../far/.current/vip.lua", "plugins/vip.lua")
		}, func(s *site) {
			s.link("v2", "far/.current")
			s.until("two")
		}},
		{"a plugin is a link to a folder", func(s *site) {
			s.write("far/vip/init.lua", code("vip", "one"))
			s.mkdir("plugins")
			s.link("../far/vip", "plugins/vip")
		}, func(s *site) {
			s.write("far/vip/init.lua", code("vip", "two"))
			s.until("two")
		}},
		{"the configuration is a link", func(s *site) {
			s.write("far/1/stagepost.toml", base)
			s.write("far/2/stagepost.toml", base+"[run.vip]\non_error = \"next\"\n")
			s.link("1", "far/data")
			s.remove("stagepost.toml")
			s.link("far/data/stagepost.toml", "stagepost.toml")
			s.write("plugins/vip.lua", code("vip", "one"))
		}, func(s *site) {
			s.link("2", "far/data")
			s.wait("generation 2 is in force", func() bool { return s.m.Current().Number() == 2 })
		}},
		{"Z8 the folder is gone, and comes back", func(s *site) {
			s.write("far/plugins/vip.lua", code("vip", "one"))
			s.write("stagepost.toml", strings.Replace(base, `"plugins"`, `"far/plugins"`, 1))
		}, func(s *site) {
			for i, text := range []string{"two", "three"} {
				s.remove("far/plugins")
				s.wait("its absence is told", func() bool { return strings.Count(s.console.String(), "there is no folder far/plugins") == i+1 })
				if got := s.says(); got == "" {
					s.t.Error("without the folder nobody is asked")
				}
				s.write("far/plugins/vip.lua", code("vip", text))
				s.until(text)
			}
		}},
		{"Z8 and so is the one above", func(s *site) {
			s.write("far/plugins/vip.lua", code("vip", "one"))
			s.write("stagepost.toml", strings.Replace(base, `"plugins"`, `"far/plugins"`, 1))
		}, func(s *site) {
			s.rename("far", "away")
			s.wait("its absence is told", func() bool { return strings.Contains(s.console.String(), "there is no folder") })
			s.write("far/plugins/vip.lua", code("vip", "two"))
			s.until("two")
			s.write("away/plugins/vip.lua", code("vip", "of no interest"))
			s.write("far/plugins/vip.lua", code("vip", "three"))
			s.until("three")
		}},
		{"the configuration is saved", vip, func(s *site) {
			s.write("stagepost.toml", base+"[run.none]\norder = 1\n")
			s.wait("its mistake is told", func() bool { return strings.Contains(s.console.String(), "stagepost.toml:9: ") })
			s.write("unrelated", "x")
			s.write("stagepost.toml", base+"[run.more]\nplugin = \"vip\"\n")
			s.wait("generation 2 is in force", func() bool { return s.m.Current().Number() == 2 })
		}},
		{"the folder above is exchanged by two renames", func(s *site) {
			s.write("far/plugins/vip.lua", code("vip", "one"))
			s.write("stagepost.toml", strings.Replace(base, `"plugins"`, `"far/plugins"`, 1))
		}, func(s *site) {
			s.write("next/plugins/vip.lua", code("vip", "two"))
			s.rename("far", "last")
			s.rename("next", "far")
			s.until("two")
			s.rest()
			s.write("far/plugins/vip.lua", code("vip", "three"))
			s.until("three")
		}},
		{"the folder is exchanged by two renames", vip, func(s *site) {
			s.write("next/vip.lua", code("vip", "two"))
			s.rename("plugins", "last")
			s.rename("next", "plugins")
			s.until("two")
			s.write("plugins/vip.lua", code("vip", "three"))
			s.until("three")
		}},
		{"Z12 a file of the wrong kind, and back", vip, func(s *site) {
			s.remove("plugins/vip.lua")
			s.mkdir("plugins/vip.lua")
			s.wait("it is told", func() bool { return strings.Contains(s.console.String(), "plugins/vip.lua: is a folder") })
			s.remove("plugins/vip.lua")
			s.write("plugins/vip.lua", code("vip", "two"))
			s.until("two")
		}},
		{"Z13 the time goes back, the size stays", vip, func(s *site) {
			full := filepath.Join(s.dir, "plugins/vip.lua")
			info, err := os.Stat(full)
			if err != nil {
				s.t.Fatal(err)
			}
			s.write("plugins/vip.lua", code("vip", "two"))
			if err := os.Chtimes(full, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
				s.t.Fatal(err)
			}
			if now, err := os.Stat(full); err != nil || now.Size() != info.Size() || !now.ModTime().Before(info.ModTime()) {
				s.t.Fatalf("%v, %v", now, err)
			}
			s.until("two")
		}},
		{"a file that may not be read, until it may", vip, func(s *site) {
			if os.Getuid() == 0 {
				s.t.Skip("left out: root may read everything")
			}
			full := filepath.Join(s.dir, "plugins/vip.lua")
			s.write("plugins/vip.lua", code("vip", "two"))
			if err := os.Chmod(full, 0); err != nil {
				s.t.Fatal(err)
			}
			s.wait("it is told", func() bool { return strings.Contains(s.console.String(), "plugins/vip.lua: permission denied") })
			if err := os.Chmod(full, 0o644); err != nil {
				s.t.Fatal(err)
			}
			s.until("two")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := watched(t, c.prepare)
			s.until("one")
			c.change(s)
		})
	}
}

// TestTouches (Z9): a file that is touched all the time makes no generation, and a save in the middle of it does not wait for the
// end.
func TestTouches(t *testing.T) {
	s := watched(t, vip)
	stop, done := make(chan struct{}), make(chan int)
	go func() {
		touched := 0
		for tick := time.NewTicker(time.Millisecond); ; touched++ {
			select {
			case <-tick.C:
			case <-stop:
				done <- touched
				return
			}
			now := time.Now()
			os.Chtimes(filepath.Join(s.dir, "plugins/vip.lua"), now, now)
			os.WriteFile(filepath.Join(s.dir, "plugins/noise"), []byte("x"), 0o644)
		}
	}()
	time.Sleep(time.Second) // of touches alone
	began := time.Now()
	s.write("plugins/vip.lua", code("vip", "two"))
	s.until("two")
	live := time.Since(began)
	close(stop)
	t.Logf("%d touches; the save was live after %s", <-done, live.Round(time.Millisecond))
	if n := s.m.Current().Number(); n != 2 {
		t.Errorf("generation %d, want 2", n)
	}
}

// TestHalfIsNotTaken (Z4): what is still being written when it is looked at is looked at again.
func TestHalfIsNotTaken(t *testing.T) {
	s := newSite(t)
	vip(s)
	s.mustOpen()
	whole := code("vip", "two") + "function on.mail(m) end\n"
	for end := 60; end < len(whole); end += 10 { // the first half is a plugin too, which would be live
		s.write("plugins/vip.lua", whole[:end])
		pauses := 0
		s.m.pause = func(context.Context) {
			if pauses++; pauses == 1 {
				s.write("plugins/vip.lua", whole[:end+5])
			}
			if pauses == 2 {
				s.write("plugins/vip.lua", whole)
			}
		}
		s.m.notice(t.Context())
		if pauses < 2 {
			t.Errorf("read %d times", pauses+1)
		}
	}
	s.m.pause = func(context.Context) { s.write("plugins/vip.lua", code("vip", time.Now().String())) }
	if c := s.m.notice(t.Context()); c.Err != nil || c.Changed {
		t.Errorf("nothing changed: %+v", c)
	}
	s.m.pause(t.Context())
	if c := s.m.notice(t.Context()); c.Err != nil || !c.Changed {
		t.Errorf("what never rests is taken in the end: %+v", c)
	}
	if out := s.console.String(); strings.Count(out, "\n") != 2 || !strings.Contains(out, "generation 2 is live: vip (") {
		t.Errorf("the console has %q", out)
	}
}

// TestGoneSinceFound: a folder that goes after it was found and before it is watched leaves no event that anybody would know.
func TestGoneSinceFound(t *testing.T) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		t.Skip("left out: file events cannot be had: ", err)
	}
	defer w.Close()
	s := newSite(t)
	s.write("far/plugins/vip.lua", code("vip", "one"))
	file, folder := filepath.Join(s.dir, "stagepost.toml"), filepath.Join(s.dir, "far", "plugins")
	p := newPlaces(w, slog.New(slog.DiscardHandler))
	p.follow([]string{file}, folder)
	f := find([]string{file}, folder)
	s.rename("far", "away")
	if !p.take(f) {
		t.Error("nobody looks again")
	}
	p.follow([]string{file}, folder)
	if above := p.dirs[s.dir]; above == nil || !above.names["far"] {
		t.Errorf("another one is not waited for: %v", p.dirs)
	}
	if p.follow([]string{file}, folder) {
		t.Error("it looks for ever")
	}
}
