package observe

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// fastJSON is the handler of slog's own JSON with a short way for the events that there are many of: without groups and given
// attributes, and with values that need no reflection. What it writes is the same.
type fastJSON struct {
	slog.Handler // slog's own
	w            queue
}

// Handle writes one event.
func (h fastJSON) Handle(ctx context.Context, r slog.Record) error {
	var room [1024]byte
	line := append(room[:0], `{"time":`...)
	line = appendTime(line, r.Time)
	line = append(line, `,"level":"`...)
	line = append(line, r.Level.String()...)
	line = append(line, `","msg":`...)
	line = appendQuoted(line, r.Message)
	plain := !r.Time.IsZero()
	r.Attrs(func(a slog.Attr) bool {
		line = append(line, ',')
		line = appendQuoted(line, a.Key)
		line = append(line, ':')
		line, plain = appendValue(line, a)
		return plain
	})
	if !plain {
		return h.Handler.Handle(ctx, r)
	}
	_, err := h.w.Write(append(line, '}', '\n'))
	return err
}

// WithAttrs and WithGroup leave the short way.
func (h fastJSON) WithAttrs(attrs []slog.Attr) slog.Handler { return h.Handler.WithAttrs(attrs) }
func (h fastJSON) WithGroup(name string) slog.Handler       { return h.Handler.WithGroup(name) }

// appendValue appends a value; plain is false for one that only slog itself can write.
func appendValue(dst []byte, a slog.Attr) (_ []byte, plain bool) {
	switch v := a.Value; v.Kind() {
	case slog.KindString:
		return appendQuoted(dst, v.String()), a.Key != ""
	case slog.KindInt64:
		return strconv.AppendInt(dst, v.Int64(), 10), true
	case slog.KindUint64:
		return strconv.AppendUint(dst, v.Uint64(), 10), true
	case slog.KindBool:
		return strconv.AppendBool(dst, v.Bool()), true
	case slog.KindDuration:
		return strconv.AppendInt(dst, int64(v.Duration()), 10), true
	case slog.KindFloat64:
		f := v.Float64()
		abs := math.Abs(f) // beyond these bounds slog writes an exponent
		return strconv.AppendFloat(dst, f, 'f', -1, 64), f == 0 || abs >= 1e-6 && abs < 1e21
	case slog.KindTime:
		return appendTime(dst, v.Time()), true
	case slog.KindAny:
		if err, ok := v.Any().(error); ok {
			return appendQuoted(dst, fmt.Sprint(err)), true // Sprint survives an Error that panics
		}
	}
	return dst, false
}

func appendTime(dst []byte, t time.Time) []byte {
	dst = append(dst, '"')
	dst = t.Round(0).AppendFormat(dst, time.RFC3339Nano)
	return append(dst, '"')
}

// appendQuoted quotes s, cut to its bound, for JSON (RFC 8259 section 7). What is not printable beyond ASCII is left to
// appendPrintable.
func appendQuoted(dst []byte, s string) []byte {
	s = cut(s, maxValue)
	dst = append(dst, '"')
	copied := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
		}
		dst = append(dst, s[copied:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		case '\b':
			dst = append(dst, `\b`...)
		case '\f':
			dst = append(dst, `\f`...)
		default:
			r := rune(c)
			if c >= utf8.RuneSelf {
				r = utf8.RuneError
			}
			dst = fmt.Appendf(dst, `\u%04x`, r)
		}
		i++
		copied = i
	}
	dst = append(dst, s[copied:]...)
	return append(dst, '"')
}
