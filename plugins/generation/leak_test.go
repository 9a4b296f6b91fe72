package generation

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/fsnotify/fsnotify"

	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/plugins/service"
)

// slowDNS answers when it is let.
type slowDNS struct {
	resolve.Resolver
	asked, answer chan struct{}
}

func (d *slowDNS) Lookup(ctx context.Context, name string, t resolve.Type) (resolve.Answer, error) {
	close(d.asked)
	<-d.answer
	return resolve.Answer{}, nil
}

// TestDeletedDuringACall (Z7): a call ends with the plugin that it began with, whose instances go then.
func TestDeletedDuringACall(t *testing.T) {
	s := newSite(t)
	s.write("plugins/vip.lua", "plugin { id = \"vip\", needs = { dns = true } }\nfunction on.rcpt(r)\n  dns.get('x.example', 'A')\n  return reject 'from the deleted one'\nend\n")
	dns := &slowDNS{asked: make(chan struct{}), answer: make(chan struct{})}
	quiet := slog.New(slog.DiscardHandler)
	m, err := New(Options{File: filepath.Join(s.dir, "stagepost.toml"), Host: service.NewHost(service.Options{Log: quiet, Resolver: dns}), Log: quiet, Console: &s.console})
	if err != nil {
		t.Fatal(err)
	}
	s.m = m
	first := m.state.Load().loaded[0]
	said := make(chan string)
	go func() { said <- s.says() }()
	<-dns.asked
	s.remove("plugins/vip.lua")
	if c := s.reload(); c.Err != nil || !c.Changed || s.says() != "" {
		t.Fatalf("without the plugin: %+v, it says %q", c, s.says())
	}
	if st := first.plugin.Stats(); st.InUse != 1 || first.refs.Load() != 1 {
		t.Errorf("during the call: %+v, held %d times", st, first.refs.Load())
	}
	close(dns.answer)
	if got := <-said; got != "from the deleted one" {
		t.Errorf("the call came to %q", got)
	}
	if st := first.plugin.Stats(); st.InUse+st.Idle != 0 || first.refs.Load() != 0 {
		t.Errorf("after the call: %+v, held %d times", st, first.refs.Load())
	}
}

// TestLeaks (Z14): a thousand changes, half of them refused, leave behind no goroutine, instance, memory, descriptor or watch.
func TestLeaks(t *testing.T) {
	s := newSite(t)
	vip(s)
	s.write("plugins/other/init.lua", code("other", "x"))
	s.mustOpen()
	w, err := fsnotify.NewWatcher()
	if err != nil {
		t.Skip("left out: ", err)
	}
	defer w.Close()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for w.Events != nil || w.Errors != nil {
			select {
			case _, ok := <-w.Events:
				if !ok {
					return
				}
			case <-w.Errors:
			}
		}
	}()
	p := newPlaces(w, s.m.opts.Log)
	var gone []*shared
	cycle := func(i int) {
		text := code("vip", fmt.Sprint(i))
		if i%2 == 1 {
			text += []string{"(", "error('no')\n", "while true do end\n", "function on.dta(m) end\n"}[i/2%4]
		}
		s.write("next/vip.lua", text)
		s.write("next/other/init.lua", code("other", "x"))
		s.write("next/other/lib/x.lua", "return 1") // a folder more or less
		if i%3 == 0 {
			s.remove("next/other/lib")
		}
		s.rename("plugins", "last")
		s.rename("next", "plugins")
		s.remove("last")
		before := s.m.state.Load().loaded
		if c := s.m.Reload(t.Context()); c.Changed != (i%2 == 0) {
			t.Fatalf("change %d: %+v", i, c)
		} else if c.Changed {
			gone = append(gone, before...)
		}
		s.says()
		s.m.follow(p)
	}
	warm, cycles := 20, 1000
	if testing.Short() {
		cycles = 100
	}
	for i := range warm {
		cycle(i)
	}
	type figures struct {
		goroutines, descriptors, watches, watched int
		heap                                      uint64
	}
	count := func() (f figures) {
		gone = nil
		runtime.GC()
		runtime.GC()
		var mem runtime.MemStats
		runtime.ReadMemStats(&mem)
		f = figures{goroutines: runtime.NumGoroutine(), watched: len(w.WatchList()), heap: mem.HeapAlloc}
		f.descriptors, f.watches = descriptors()
		return f
	}
	before := count()
	for i := range cycles {
		cycle(warm + i)
	}
	now := s.m.state.Load().loaded
	for _, g := range gone {
		if st := g.plugin.Stats(); g != now[0] && g != now[1] && (st.InUse+st.Idle != 0 || g.refs.Load() != 0) {
			t.Fatalf("an old %s is left: %+v, held %d times", g.name, st, g.refs.Load())
		}
	}
	var after figures
	s.wait("nothing is left behind", func() bool { // the end of a watch is told by an event
		after = count()
		return after.goroutines <= before.goroutines && after.descriptors <= before.descriptors && after.watches <= before.watches+2 && after.watched <= before.watched+2
	})
	t.Logf("before %+v\nafter %d changes %+v", before, cycles, after)
	if after.heap > before.heap+4<<20 { // an instance is 50 KB
		t.Errorf("the heap grew from %d to %d kB", before.heap>>10, after.heap>>10)
	}
	w.Close()
	<-drained
}

// descriptors counts those of this process and, on Linux, what is watched by them.
func descriptors() (n, watches int) {
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0, 0
	}
	for _, f := range files {
		if info, err := os.ReadFile("/proc/self/fdinfo/" + f.Name()); err == nil {
			n++
			watches += bytes.Count(info, []byte("inotify wd:"))
		}
	}
	return n, watches
}
