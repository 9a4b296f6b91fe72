package observe

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// lines is the slog.Handler for people: time of day, level, message, key=value. Colours are put around what was made printable
// before, so no value can set one.
type lines struct {
	w      io.Writer // takes one event a call
	colour bool
	level  slog.Leveler
	prefix string // of keys: the open groups
	given  []byte // attributes of With, written already
}

func (h *lines) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level.Level() }

func (h *lines) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	g := *h
	g.prefix += name + "."
	return &g
}

func (h *lines) WithAttrs(attrs []slog.Attr) slog.Handler {
	g := *h
	g.given = append([]byte(nil), h.given...)
	for _, a := range attrs {
		g.given = h.appendAttr(g.given, h.prefix, a)
	}
	return &g
}

func (h *lines) Handle(_ context.Context, r slog.Record) error {
	line := make([]byte, 0, 256)
	if !r.Time.IsZero() {
		line = h.paint(line, dim, func(b []byte) []byte { return r.Time.AppendFormat(b, "15:04:05.000") })
		line = append(line, ' ')
	}
	line = h.paint(line, levelColour(r.Level), func(b []byte) []byte { return fmt.Appendf(b, "%-5s", r.Level) })
	line = append(line, ' ')
	line = h.paint(line, messageColour(r), func(b []byte) []byte { return appendPlain(b, cut(r.Message, maxValue)) })
	for n := utf8.RuneCountInString(r.Message); n < shortMessage; n++ { // the attributes of the lines of mail stand in a column
		line = append(line, ' ')
	}
	line = append(line, h.given...)
	r.Attrs(func(a slog.Attr) bool {
		line = h.appendAttr(line, h.prefix, a)
		return len(line) <= maxLine
	})
	_, err := h.w.Write(append(line, '\n'))
	return err
}

// shortMessage is as long as the longest word that an outcome has.
const shortMessage = len("discarded")

// The colours of a terminal.
const (
	plain  = ""
	dim    = "\x1b[2m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
)

// paint puts a colour around what add appends.
func (h *lines) paint(dst []byte, colour string, add func([]byte) []byte) []byte {
	if !h.colour || colour == plain {
		return add(dst)
	}
	return append(add(append(dst, colour...)), "\x1b[0m"...)
}

func levelColour(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return red
	case l >= slog.LevelWarn:
		return yellow
	}
	return plain
}

// messageColour is that of an outcome, by its word.
func messageColour(r slog.Record) string {
	switch r.Message {
	case "accepted", "delivered":
		return green
	case "deferred", "held", "discarded", "dropped":
		return yellow
	case "rejected", "failed", "unknown":
		return red
	}
	return levelColour(r.Level)
}

func (h *lines) appendAttr(dst []byte, prefix string, a slog.Attr) []byte {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, inner := range v.Group() {
			dst = h.appendAttr(dst, prefix, inner)
		}
		return dst
	}
	if a.Key == "" && v.Any() == nil {
		return dst
	}
	dst = append(dst, ' ')
	dst = h.paint(dst, dim, func(b []byte) []byte { return append(appendWord(b, prefix+a.Key), '=') })
	return appendWord(dst, cut(v.String(), maxValue))
}

// appendWord quotes what would not be told from its surroundings.
func appendWord(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, `""`...)
	}
	for _, r := range s {
		if r <= ' ' || r == '"' || r == '=' || r == '\\' || r == utf8.RuneError || !unicode.IsPrint(r) {
			return strconv.AppendQuote(dst, s) // escapes all that is not printable
		}
	}
	return append(dst, s...)
}

// appendPlain is text without quotes, with what is not printable escaped as in a quoted string.
func appendPlain(dst []byte, s string) []byte {
	for i, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			quoted := strconv.AppendQuote(append(dst, s[:i]...), s[i:])
			start := len(dst) + i
			return append(quoted[:start], quoted[start+1:len(quoted)-1]...)
		}
	}
	return append(dst, s...)
}
