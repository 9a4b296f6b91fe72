package observe

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"
)

// The short way writes what slog's own handler writes.
func TestFastJSON(t *testing.T) {
	at := time.Date(2026, 5, 1, 12, 0, 0, 123456000, time.FixedZone("", 3600))
	for _, attrs := range [][]slog.Attr{
		nil,
		{slog.String("a", "b"), slog.Int("n", -5), slog.Uint64("u", 1<<63), slog.Bool("yes", true), slog.Duration("d", time.Second)},
		{slog.String("quoted", "a\"b\\c\n\r\t\b\f\x01\x00d"), slog.String("é", "ü→\u2028 \xff\xc3("), slog.String("", "x")},
		{slog.Any("err", errors.New("it failed: \"x\"")), slog.Time("at", at), slog.Float64("f", 3), slog.Float64("g", 1e-9), slog.Float64("h", 1e300)},
		{slog.Float64("delay", 0.012), slog.Float64("neg", -1.5e-6), slog.Float64("zero", math.Copysign(0, -1)), slog.Float64("big", 1e21), slog.Float64("edge", 9.99e20)},
		{slog.Any("nil", nil), slog.Any("list", []string{"a", "b"}), slog.Group("g", slog.Int("n", 1))},
		{slog.String("long", strings.Repeat("é", maxValue))},
		{slog.String("html", "<a&b>"), slog.String("del", "\x7f")},
	} {
		r := slog.NewRecord(at, slog.LevelWarn, "msg \"quoted\"\n", 0)
		r.AddAttrs(attrs...)
		var want bytes.Buffer
		own := slog.NewJSONHandler(&want, &slog.HandlerOptions{ReplaceAttr: shorten})
		if err := own.Handle(context.Background(), r); err != nil {
			t.Fatal(err)
		}
		w := &sink{}
		log, l := NewLog(w, LogOptions{Format: JSON})
		if err := log.Handler().Handle(context.Background(), r); err != nil {
			t.Fatal(err)
		}
		l.Close()
		if got, want := w.all(), string(appendPrintable(nil, want.Bytes())); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
