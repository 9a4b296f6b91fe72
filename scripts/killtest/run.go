package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"
)

// settings of one run.
type settings struct {
	program  string
	dir      string
	kills    int
	every    time.Duration // 0: after events
	during   time.Duration
	seed     uint64
	sessions int
	backlog  int
	window   time.Duration
	drain    time.Duration
	quiet    time.Duration // that the sink is watched after the last restart
}

func defaults() settings {
	return settings{sessions: 8, backlog: 400, window: 100 * time.Millisecond, drain: 2 * time.Minute, quiet: 3 * time.Second}
}

// killer ends the server again and again.
type killer struct {
	*ledger
	server *server
	rand   *rand.Rand
	every  time.Duration // 0: after events
}

const (
	longest = 50 * time.Millisecond // from the event to the kill
	waiting = 3 * time.Second       // for an event
)

// run sends mail, kills the server, lets the queue drain and checks. An error is one of the harness; what the server does
// wrong stands in the report.
func run(ctx context.Context, s settings, out io.Writer) (*report, error) {
	letters, l := newLetters(s.seed), newLedger()
	sink, err := newSink(l, letters)
	if err != nil {
		return nil, err
	}
	defer sink.close()
	probe, err := newProber(l, s.dir)
	if err != nil {
		return nil, err
	}
	defer probe.close()
	sv, err := newServer(l, s.program, s.dir, probe.address, sink.ln.Addr().String())
	if err != nil {
		return nil, err
	}
	defer sv.end()
	unwatch, err := watchTables(sv)
	if err != nil {
		return nil, err
	}
	defer unwatch()
	fmt.Fprintf(out, "%d kills, seed %d\n", s.kills, s.seed)
	rep := &report{settings: s, log: &sv.log}
	began := time.Now()
	src := newSource(l, letters, sv, s.sessions, s.backlog)
	k := &killer{l, sv, rand.New(rand.NewPCG(s.seed, 1<<42)), s.every}
	err = k.loop(ctx, s.kills, func(n int) {
		if n%50 == 0 {
			fmt.Fprintf(out, "%6d kills, %.0f s\n", n, time.Since(began).Seconds())
		}
	})
	src.stop()
	rep.killing = time.Since(began)
	if ctx.Err() != nil {
		return nil, errors.New("interrupted")
	}
	var left []entry
	if err == nil {
		began = time.Now()
		left, err = settle(ctx, s, sv, sink)
		rep.draining = time.Since(began)
	}
	if ctx.Err() != nil {
		return nil, errors.New("interrupted")
	}
	if sv.process == nil {
		return nil, err
	}
	if err != nil {
		rep.violate("up", -1, "", "%v; it last said:\n%s", err, indent(sv.process.said.tail()))
	}
	l.do(func() { check(rep, l, letters, left) })
	rep.explain(ctx, sv)
	if err == nil {
		if err := sv.stop(); err != nil {
			rep.violate("up", -1, "", "%v", err)
		}
	}
	return rep, nil
}

func indent(text string) string { return "    " + strings.ReplaceAll(text, "\n", "\n    ") }

// loop kills the server so many times, and leaves it running.
func (k *killer) loop(ctx context.Context, kills int, killed func(int)) error {
	choice := append(events(), atDot, atAck, atSeen, atSent2, atSent2, atNotice)
	for n := 0; ; n++ {
		e := choice[k.rand.IntN(len(choice))]
		began := time.Now()
		if err := k.server.launch(); err != nil {
			return err
		}
		if k.every > 0 && n < kills { // whether it is ready by then or not
			up := make(chan error, 1)
			go func() { up <- k.server.ready() }()
			select {
			case <-time.After(k.every - time.Since(began)):
			case <-ctx.Done():
			}
			if err := k.server.kill(atRandom, 0); err != nil {
				return err
			}
			<-up // an error says only that it was not ready
			killed(n + 1)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			continue
		}
		// Half of the kills come within 6 ms, where most of what is made durable is still under way.
		f := k.rand.Float64()
		delay := time.Duration(f * f * f * float64(longest))
		switch {
		case e == atStart && n < kills:
			delay = time.Duration(f * float64(longest))
		case e == atFlush && n < kills && k.flush():
		default:
			if e == atFlush {
				e = atTable
			}
			if e == atReady {
				k.await(e)
			}
			if err := k.server.ready(); err != nil {
				return err
			}
			if n == kills {
				return nil
			}
			if e != atReady {
				e = k.lie(ctx, e)
			}
		}
		time.Sleep(delay)
		if err := k.server.kill(e, delay); err != nil {
			return err
		}
		killed(n + 1)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// flush waits until the store writes a table while it opens; false if the server is ready without.
func (k *killer) flush() bool {
	select {
	case <-k.await(atFlush):
		return true
	case <-k.server.process.said.up:
	case <-k.server.process.ended:
	case <-time.After(waiting):
	}
	k.armed.Store(nil)
	return false
}

// lie waits for the event, after a while of undisturbed mail, a long one now and then.
func (k *killer) lie(ctx context.Context, e event) event {
	undisturbed := time.Duration(k.rand.IntN(300)) * time.Millisecond
	if k.rand.IntN(10) == 0 {
		undisturbed += time.Duration(k.rand.IntN(2000)) * time.Millisecond
	}
	select {
	case <-time.After(undisturbed):
	case <-ctx.Done():
	}
	if e == atRandom {
		return e
	}
	select {
	case <-k.await(e):
		return e
	case <-time.After(waiting):
	case <-ctx.Done():
	}
	k.armed.Store(nil)
	return atRandom
}

// settle lets the queue drain, then kills the server once more, which may not bring anything back, and gives what is left in
// the queue.
func settle(ctx context.Context, s settings, sv *server, sink *sink) ([]entry, error) {
	sink.calm.Store(true)
	deadline := time.Now().Add(s.drain)
	done := false
	for !done && time.Now().Before(deadline) {
		left, err := sv.queue(ctx)
		if err != nil {
			return nil, err
		}
		done = drained(left)
		time.Sleep(s.window)
	}
	if err := sv.kill(atRandom, 0); err != nil {
		return nil, err
	}
	sv.do(func() { sv.process.life.undoes = !done })
	if err := sv.launch(); err != nil {
		return nil, err
	}
	if err := sv.ready(); err != nil {
		return nil, err
	}
	time.Sleep(s.quiet)
	left, err := sv.queue(ctx)
	if err != nil {
		return left, err
	}
	// Body files of no message are removed in the background.
	for {
		files, err := sv.leftBodies(left)
		if err != nil || len(files) == 0 {
			return left, err
		}
		if time.Now().After(deadline) {
			return left, fmt.Errorf("%d body files of no message are left, such as %s", len(files), files[0])
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// drained tells whether nothing is left to be done but to tell senders.
func drained(queue []entry) bool {
	for _, e := range queue {
		for _, r := range e.Recipients {
			if r.State != "failed" && r.State != "delivered" && r.State != "discarded" {
				return false
			}
		}
	}
	return true
}
