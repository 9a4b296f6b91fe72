package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// settings of one run.
type settings struct {
	program string
	dir     string
	saves   int
	rate    int
	within  time.Duration
	seed    uint64
	warm    time.Duration // how long mail flows before the first save
	wasm    bool
	good    bool
}

func defaults() settings {
	return settings{saves: 200, rate: 1000, within: time.Second, warm: 2 * time.Second}
}

func (s settings) kinds() string {
	if s.good {
		return "all of them good"
	}
	return "half of them broken"
}

// epoch is the time of one version.
type epoch struct {
	stamp       string
	began, live time.Time // its save began; its line was read
}

// saver saves files, one time after the other, and waits for what the server says of each.
type saver struct {
	*report
	*files
	server *server
	rand   *rand.Rand
	number uint64 // of the generation in force
	last   string // the broken save that was the last one
}

// run sends mail, saves, and checks. An error is one of the harness; what the server does wrong stands in the report.
func run(ctx context.Context, s settings, out io.Writer) (*report, error) {
	program, err := filepath.Abs(s.program)
	if err != nil {
		return nil, err
	}
	sink, err := newSink()
	if err != nil {
		return nil, err
	}
	defer sink.close()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer busy.Close()
	free, err := freeAddresses(3)
	if err != nil {
		return nil, err
	}
	f := &files{dir: s.dir, wasm: s.wasm, sink: sink.ln.Addr().String(), busy: busy.Addr().String(), always: free[0], comes: free[1], admin: free[2]}
	if err := f.begin(); err != nil {
		return nil, err
	}
	sv, err := start(program, s.dir, f.admin)
	if err != nil {
		return nil, err
	}
	defer sv.end()
	rep := &report{settings: s, server: sv, sink: sink, epochs: []epoch{{stamp: f.stamp()}}, ways: map[string]int{}}
	fmt.Fprintf(out, "%d saves, %s, at %d messages a second; seed %d, load average %s\n", s.saves, s.kinds(), s.rate, s.seed, loadAverage())

	src := &source{seed: s.seed, always: f.always, comes: f.comes, rate: s.rate, unsure: map[string]bool{}}
	k := &saver{report: rep, files: f, server: sv, rand: rand.New(rand.NewPCG(s.seed, 1<<40)), number: 1}
	if err := k.under(ctx, src, func() error { return k.rest(ctx, s.warm) }); err != nil {
		return nil, err
	}
	if err := k.drain(ctx); err != nil {
		return nil, err
	}
	rep.before, rep.counted = sv.holds(ctx)
	before := src.ids.Load()
	rep.began = time.Now()
	err = k.under(ctx, src, func() error {
		err := k.all(ctx, func(n int) {
			if n%50 == 0 {
				fmt.Fprintf(out, "%6d saves, %.0f s, load average %s\n", n, time.Since(rep.began).Seconds(), loadAverage())
			}
		})
		rep.took = time.Since(rep.began)
		rep.begun = src.ids.Load() - before
		return err
	})
	rep.source = src
	if ctx.Err() != nil {
		return nil, errors.New("interrupted")
	}
	if err != nil {
		rep.violate("save", "%v", err)
	}
	if err = k.drain(ctx); err != nil {
		rep.violate("account", "%v", err)
	}
	rep.after, _ = sv.holds(ctx)
	rep.check()
	if err == nil {
		if err := sv.stop(); err != nil {
			rep.violate("save", "%v", err)
		}
	}
	return rep, nil
}

// under does something while mail flows, and waits until no more of it comes.
func (k *saver) under(ctx context.Context, src *source, do func() error) error {
	sending, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		src.run(sending)
	}()
	err := do()
	stop()
	<-done
	return err
}

// freeAddresses are some at which nobody listened a moment ago.
func freeAddresses(n int) (all []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		all = append(all, l.Addr().String())
	}
	return all, nil
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

func (k *saver) rest(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-k.server.ended:
		return errors.New("the server ended")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// all makes the saves, in an order of chance, each kind as often as the others.
func (k *saver) all(ctx context.Context, saved func(n int)) error {
	goods, brokens := goodSaves(k.wasm), brokenSaves(k.wasm)
	k.rand.Shuffle(len(goods), func(i, j int) { goods[i], goods[j] = goods[j], goods[i] })
	k.rand.Shuffle(len(brokens), func(i, j int) { brokens[i], brokens[j] = brokens[j], brokens[i] })
	turns := k.rand.Perm(k.saves)
	for n, turn := range turns {
		var err error
		if k.settings.good {
			err = k.good(ctx, goods[turn%len(goods)])
		} else if turn%2 == 0 {
			err = k.good(ctx, goods[turn/2%len(goods)])
		} else {
			err = k.broken(ctx, brokens[turn/2%len(brokens)])
		}
		if err == nil {
			err = k.rest(ctx, time.Duration(k.rand.IntN(150))*time.Millisecond)
		}
		if err != nil {
			return err
		}
		saved(n + 1)
	}
	return k.mend()
}

// mend undoes the last broken save.
func (k *saver) mend() error {
	undo := k.undo
	if k.undo = nil; undo == nil {
		return nil
	}
	return undo()
}

func (k *saver) good(ctx context.Context, g good) error {
	k.edition++
	began := time.Now()
	if err := errors.Join(k.mend(), g.save(k.files, fmt.Sprint(k.edition))); err != nil {
		return fmt.Errorf("%s: %w", g.name, err)
	}
	ended := time.Now()
	l, said, err := k.verdict(fmt.Sprintf("generation %d is live", k.number+1), fmt.Sprintf("; generation %d stays", k.number))
	if err != nil {
		return fmt.Errorf("%s: %w", g.name, err)
	}
	k.number++
	k.last = ""
	k.ways[g.name]++
	k.interim += strings.Count(said, " stays\n")
	k.live = append(k.live, l.at.Sub(ended))
	k.epochs = append(k.epochs, epoch{k.stamp(), began, l.at})
	if d := l.at.Sub(ended); d > k.within {
		k.violate("slow", "%s: live after %s", g.name, d)
	}
	return nil
}

func (k *saver) broken(ctx context.Context, b broken) error {
	k.edition++
	err := k.mend()
	if err == nil && b.name == k.last { // the same mistake is told once, so it is taken back first
		_, _, err = k.verdict("taken back", "")
	}
	if err == nil {
		k.last = b.name
		k.undo, err = b.save(k.files, fmt.Sprint(k.edition))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", b.name, err)
	}
	ended := time.Now()
	l, said, err := k.verdict(fmt.Sprintf("; generation %d stays", k.number), "taken back")
	if err != nil {
		return fmt.Errorf("%s: %w", b.name, err)
	}
	k.ways[b.name]++
	k.refused = append(k.refused, l.at.Sub(ended))
	if d := l.at.Sub(ended); d > k.within {
		k.violate("slow", "%s: refused after %s", b.name, d)
	}
	if !strings.Contains(said, b.want) {
		k.violate("save", "%s: the console has %q, want %q in it", b.name, said, b.want)
	}
	st, err := k.server.status(ctx)
	if err != nil {
		return err
	}
	if st.Generation != k.number || !strings.Contains(st.Error, b.want) {
		k.violate("save", "%s: status says generation %d, want %d, and %q, want %q in it", b.name, st.Generation, k.number, st.Error, b.want)
	}
	return nil
}

// verdict waits for the line that ends with what is wanted. Before it may come lines with also, about the moment between two
// steps of the save; said is everything up to the line.
func (k *saver) verdict(want, also string) (l line, said string, err error) {
	for late := time.After(patience); ; {
		if l, err = k.server.next(late); err != nil {
			return l, said, err
		}
		said += l.text + "\n"
		switch {
		case strings.Contains(l.text, want):
			return l, said, nil
		case strings.Contains(l.text, " is live: "), strings.Contains(l.text, " stays") && (also == "" || !strings.Contains(l.text, also)):
			return l, said, fmt.Errorf("the console says %q, want %q", said, want)
		}
	}
}

// drain waits until everything is delivered.
func (k *saver) drain(ctx context.Context) error {
	for end := time.Now().Add(patience); ; {
		st, err := k.server.status(ctx)
		if err != nil || st.Queue.Messages == 0 {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d messages are left in the queue", st.Queue.Messages)
		}
		time.Sleep(200 * time.Millisecond)
	}
}
