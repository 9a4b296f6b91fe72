package observe

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// Format is how events are written to the log.
type Format uint8

const (
	Auto  Format = iota // Lines on a terminal, else JSON
	JSON                // one object a line
	Lines               // for people
)

const (
	logWaiting  = 1 << 20
	logBatch    = 64 << 10
	logEvery    = 100 * time.Millisecond
	logPatience = 2 * time.Second // for a writer that blocks

	maxValue = 4 << 10  // bytes of a message or value; the rest is cut off
	maxLine  = 64 << 10 // a longer event is dropped
)

// LogOptions of NewLog; zero values are the defaults.
type LogOptions struct {
	Level  slog.Leveler // default: Info
	Format Format
}

// Log is the end of a log: what its logger writes passes through it.
type Log struct {
	behind behind
	w      io.Writer
	direct *slog.Logger  // writes at once; of the writing goroutine
	long   atomic.Uint64 // events that were too long
	failed atomic.Uint64 // events that the writer did not take
	told   uint64        // drops that the log itself told of; of the writing goroutine
}

// NewLog makes a logger that writes to w, and the Log to flush and close. A call of the logger waits for nothing; events that
// have no room are dropped, counted, and told of in the log when there is room again. An event is one line whatever its
// values are: controls, line ends of any kind and what turns text around are escaped, in both formats.
func NewLog(w io.Writer, o LogOptions) (*slog.Logger, *Log) {
	l := &Log{w: w}
	l.behind = behind{limit: logWaiting, batch: logBatch, every: logEvery, write: l.write}
	handler := func(w io.Writer) slog.Handler {
		level := cmp.Or[slog.Leveler](o.Level, slog.LevelInfo)
		if o.Format == Lines || o.Format == Auto && isTerminal(l.w) {
			return &lines{w: w, level: level, colour: isTerminal(l.w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
		}
		return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: shorten})
	}
	l.direct = slog.New(handler(w))
	l.behind.start()
	h := handler(queue{l})
	if js, ok := h.(*slog.JSONHandler); ok {
		h = fastJSON{js, queue{l}}
	}
	return slog.New(h), l
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// Dropped counts the events that were lost.
func (l *Log) Dropped() uint64 {
	return l.behind.dropped.Load() + l.long.Load() + l.failed.Load()
}

// Flush returns when all events so far are written, or after 2 s when the writer blocks: it is what a process does before it
// dies.
func (l *Log) Flush() {
	ctx, cancel := context.WithTimeout(context.Background(), logPatience)
	defer cancel()
	l.behind.flush(ctx) // the only error is that time is up
}

// Close flushes the log and drops later events. It leaves the writer open.
func (l *Log) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), logPatience)
	defer cancel()
	if err := l.behind.close(ctx); err != nil {
		return fmt.Errorf("log: the last events are not written: %w", err)
	}
	return nil
}

func (l *Log) write(b []byte, count int) {
	if _, err := l.w.Write(b); err != nil {
		l.failed.Add(uint64(count))
		return
	}
	// Events that cannot be written are not told of: that would fail too.
	if n := l.behind.dropped.Load() + l.long.Load(); n > l.told {
		l.direct.Warn("events of the log were dropped", "count", n-l.told)
		l.told = n
	}
}

// queue takes what a handler writes, one event a call.
type queue struct{ *Log }

func (q queue) Write(p []byte) (int, error) {
	if len(p) > maxLine {
		q.long.Add(1)
		return len(p), nil
	}
	if buf, ok := q.behind.begin(); ok {
		q.behind.end(appendPrintable(buf, p), 1)
	}
	return len(p), nil
}

// shorten bounds the values of JSON events.
func shorten(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString:
		if s := a.Value.String(); len(s) > maxValue {
			a.Value = slog.StringValue(cut(s, maxValue))
		}
	case slog.KindAny:
		if err, ok := a.Value.Any().(error); ok {
			a.Value = slog.StringValue(cut(fmt.Sprint(err), maxValue)) // Sprint survives an Error that panics
		}
	}
	return a
}

// appendPrintable copies a line of JSON and escapes the characters that are not printable, but for the line end: the encoder
// leaves DEL, the C1 controls and what turns text around. Beyond ASCII they stand inside strings only.
func appendPrintable(dst, line []byte) []byte {
	copied := 0
	for i := 0; i < len(line); {
		if line[i] < 0x7f {
			i++
			continue
		}
		r, n := utf8.DecodeRune(line[i:])
		if !unicode.IsPrint(r) {
			dst = append(dst, line[copied:i]...)
			if r > 0xffff {
				// A pair of surrogates (RFC 8259 section 7).
				r -= 0x10000
				dst = fmt.Appendf(dst, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
			} else {
				dst = fmt.Appendf(dst, `\u%04x`, r)
			}
			copied = i + n
		}
		i += n
	}
	return append(dst, line[copied:]...)
}
