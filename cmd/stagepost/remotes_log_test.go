package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// outcomeLog takes what the server logs of outcomes.
type outcomeLog struct {
	mu    sync.Mutex
	lines []outcomeLine
	rcpts map[string]int // of each message
}

// attempt gives what came of attempt number n, or nil if it has not ended: those recipients are in it that the one before deferred.
func (l *outcomeLog) attempt(id string, n int) []outcomeLine {
	l.mu.Lock()
	left := l.rcpts[id]
	l.mu.Unlock()
	all := l.of(id)
	for ; len(all) >= left && left > 0; n-- {
		if n == 1 {
			return all[:left]
		}
		deferred := 0
		for _, o := range all[:left] {
			if o.result == "deferred" {
				deferred++
			}
		}
		all, left = all[left:], deferred
	}
	return nil
}

// outcomeLine is the outcome of one recipient in one attempt.
type outcomeLine struct{ result, id, rcpt, host, reply string }

func (o *outcomeLine) unknown() bool {
	return strings.Contains(o.reply, "the message may have been delivered")
}

func (l *outcomeLog) Enabled(context.Context, slog.Level) bool { return true }
func (l *outcomeLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *outcomeLog) WithGroup(string) slog.Handler            { return l }

func (l *outcomeLog) Handle(_ context.Context, r slog.Record) error {
	if !slices.Contains([]string{"delivered", "deferred", "failed"}, r.Message) {
		return nil
	}
	o := outcomeLine{result: r.Message}
	r.Attrs(func(a slog.Attr) bool {
		switch v := a.Value.String(); a.Key {
		case "id":
			o.id = v
		case "rcpt":
			o.rcpt = v
		case "host":
			o.host = v
		case "reply":
			o.reply = v
		}
		return true
	})
	if o.id == "" {
		return errors.New("an outcome without an id")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, o)
	return nil
}

// of gives the outcomes of a message in their order.
func (l *outcomeLog) of(id string) (all []outcomeLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.lines {
		if o.id == id {
			all = append(all, o)
		}
	}
	return all
}

func (l *outcomeLog) last(id string) map[string]string {
	last := map[string]string{}
	for _, o := range l.of(id) {
		last[o.rcpt] = o.result
	}
	return last
}
