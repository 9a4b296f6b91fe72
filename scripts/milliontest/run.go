package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/stagepost/stagepost/scripts/longrun"
)

const (
	newEvery   = 500 * time.Millisecond
	sampled    = 200 * time.Millisecond
	drainedFor = 5 * time.Minute // for what is queued for living sites
)

// run does all of it, and gives the violations.
func run(ctx context.Context, s settings, out io.Writer) (violations []string, err error) {
	s.share = min(s.share, s.messages)
	alone, more, err := once(ctx, s, "without", 0, s.share, out)
	if err != nil {
		return more, err
	}
	violations = append(violations, more...)
	beside, more, err := once(ctx, s, "with", s.dead, s.messages, out)
	if violations = append(violations, more...); err != nil {
		return violations, err
	}
	fmt.Fprintf(out, "messages that were queued for living sites: %.0f a second without dead ones, %.0f a second with %d of them\n", alone, beside, s.dead)
	return violations, nil
}

// once fills a folder and looks at a server on it. rate is how many of the messages for living sites were delivered a second.
func once(ctx context.Context, s settings, name string, dead, messages int, out io.Writer) (rate float64, violations []string, err error) {
	dir := filepath.Join(s.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, nil, err
	}
	sites, err := newSites(dead, s.live)
	if err != nil {
		return 0, nil, err
	}
	defer sites.close()
	if err := longrun.Configure(dir, sites.hops); err != nil {
		return 0, nil, err
	}
	began := time.Now()
	err = fill(ctx, filepath.Join(dir, "data"), messages, func(i int) queued {
		if i%messages < s.share {
			domain := sites.live[i%len(sites.live)]
			return queued{domain, sites.lane(domain), began.Add(-time.Minute)}
		}
		domain := sites.dead[i%len(sites.dead)]
		m := queued{domain, sites.lane(domain), began.Add(-time.Minute)}
		if i/len(sites.dead)%dueAtOnce != 0 {
			m.due = began.Add(time.Duration(i) * spread / time.Duration(messages))
		}
		return m
	})
	if err != nil {
		return 0, nil, fmt.Errorf("filling the queue: %w", err)
	}
	fmt.Fprintf(out, "%s dead sites: %d messages queued in %s, %d of them for %d living sites\n", name, messages, time.Since(began).Round(time.Second), s.share, s.live)

	srv, err := longrun.Start(ctx, s.program, dir)
	if err != nil {
		return 0, nil, err
	}
	defer srv.Stop()
	started := time.Now()
	ready := srv.Ready
	w := watch(srv)
	took, err := sites.newOnes(ctx, srv.Address, s.during)
	if err != nil {
		return 0, nil, err
	}
	for sites.delivered.Load() < int64(s.share) && time.Since(started) < drainedFor && ctx.Err() == nil {
		time.Sleep(sampled)
	}
	seen, err := w.end()
	if err != nil {
		return 0, nil, err
	}
	delivered := sites.delivered.Load()
	rate = float64(delivered) / time.Unix(0, sites.last.Load()).Sub(started).Seconds()
	slices.Sort(took)
	later := "" // a short run ends before
	if seen.later > 0 {
		later = fmt.Sprintf(", %d MB after 30 s", seen.later)
	}
	fmt.Fprintf(out, "  ready after %s; memory %d MB then%s, %d MB at most\n", ready.Round(time.Millisecond), seen.first, later, seen.most)
	fmt.Fprintf(out, "  a new message was delivered after %s (median of %d), %s at most\n", took[len(took)/2].Round(time.Millisecond), len(took), took[len(took)-1].Round(time.Millisecond))
	fmt.Fprintf(out, "  %d of %d messages for living sites delivered, %.0f a second; %.0f attempts; at most %.0f attempts at once, %.0f goroutines, %.0f descriptors; %.1f s of CPU\n",
		delivered, s.share, rate, seen.attempts, seen.running, seen.goroutines, seen.descriptors, seen.cpu)
	if ready > s.ready {
		violations = append(violations, fmt.Sprintf("ready: %s dead sites, it took %s", name, ready))
	}
	if seen.most > s.memory {
		violations = append(violations, fmt.Sprintf("memory: %s dead sites, it had %d MB", name, seen.most))
	}
	if worst := took[len(took)-1]; worst > s.newest {
		violations = append(violations, fmt.Sprintf("new: %s dead sites, one took %s", name, worst))
	}
	if delivered < int64(s.share) {
		violations = append(violations, fmt.Sprintf("live: %s dead sites, %d of %d messages for living ones were delivered", name, delivered, s.share))
	}
	return rate, violations, nil
}

// newOnes sends new messages in, one after the other, each to another living site.
func (s *sites) newOnes(ctx context.Context, address string, during time.Duration) (took []time.Duration, err error) {
	for end := time.Now().Add(during); len(took) == 0 || time.Now().Before(end); time.Sleep(newEvery) {
		n := len(took)
		t, err := s.send(ctx, address, fmt.Sprint("new", n), s.live[n%len(s.live)])
		if err != nil {
			return took, err
		}
		took = append(took, t)
	}
	return took, nil
}

// seen is what was seen of a server while it ran.
type seen struct {
	first, later, most            int64 // MB
	attempts, running, goroutines float64
	descriptors, cpu              float64
	err                           error
}

// watcher looks at a server now and then.
type watcher struct {
	srv  *longrun.Server
	quit chan struct{}
	done sync.WaitGroup
	seen seen
}

func watch(srv *longrun.Server) *watcher {
	w := &watcher{srv: srv, quit: make(chan struct{})}
	w.look(0)
	w.done.Go(func() {
		began := time.Now()
		for {
			select {
			case <-w.quit:
				return
			case <-time.After(sampled):
				w.look(time.Since(began))
			}
		}
	})
	return w
}

func (w *watcher) look(after time.Duration) {
	s := &w.seen
	mb, err := w.srv.Memory()
	if err != nil {
		s.err = err
		return
	}
	if s.most = max(s.most, mb); after == 0 {
		s.first = mb
	}
	if s.later == 0 && after >= 30*time.Second {
		s.later = mb
	}
	m, err := w.srv.Metrics()
	if err != nil {
		s.err = err
		return
	}
	s.attempts, s.cpu = m["stagepost_attempts_total"], m["process_cpu_seconds_total"]
	s.running = max(s.running, m[`stagepost_queue_jobs{state="running"}`])
	s.goroutines, s.descriptors = max(s.goroutines, m["go_goroutines"]), max(s.descriptors, m["process_open_fds"])
}

func (w *watcher) end() (seen, error) {
	close(w.quit)
	w.done.Wait()
	return w.seen, w.seen.err
}
