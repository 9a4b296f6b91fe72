package service

import (
	"context"
	"encoding/base64"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Bounds of a plugin's log.
const (
	logRate    = 100  // lines a second, in the long run
	logBurst   = 1000 // lines at once
	maxLogText = 2048 // bytes of a text or of one value; more is cut off
	maxLogKeys = 32
)

func logService() Service {
	s := Service{Name: "log", Doc: "Writes to the server's log. A line names the plugin, the session and the message by itself; the table's values stand under `data`. " +
		"A plugin may write 100 lines a second, and 1,000 at once; what is beyond is counted and said later."}
	for _, l := range []struct {
		level slog.Level
		name  string
		doc   string
	}{
		{slog.LevelDebug, "debug", "For the plugin's author."},
		{slog.LevelInfo, "info", "What happened."},
		{slog.LevelWarn, "warn", "What somebody should look at some time."},
		{slog.LevelError, "error", "What somebody should look at now."},
	} {
		s.Funcs = append(s.Funcs, Func{
			Name: "log." + l.name, Args: []Arg{{Name: "text", Kind: String}, {Name: "values", Kind: Map, Optional: true}}, AtLoad: true, Doc: l.doc,
			Call: func(c *Context, args []any) (any, error) {
				values, _ := args[1].(map[string]any)
				return nil, c.log(l.level, args[0].(string), values)
			},
		})
	}
	return s
}

func (c *Context) log(level slog.Level, text string, values map[string]any) error {
	log := c.host.Log
	if !log.Enabled(context.Background(), level) {
		return nil
	}
	if err := c.spend(100, len(text)); err != nil {
		return err
	}
	ok, dropped := c.state.log.allow(c.host.Now())
	if dropped > 0 {
		log.Warn("a plugin logs too much", "plugin", c.Plugin, "dropped", dropped)
	}
	if !ok {
		return nil
	}
	attrs := make([]slog.Attr, 0, 5)
	attrs = append(attrs, slog.String("plugin", c.Plugin))
	if c.call != nil {
		attrs = append(attrs, slog.String("stage", c.call.Stage.String()))
		if s := c.call.Session; s != nil {
			attrs = append(attrs, slog.String("session", s.ID))
		}
		if m := c.call.Message; m != nil && m.Envelope != nil {
			attrs = append(attrs, slog.String("id", m.ID.String()))
		}
	}
	if len(values) > 0 {
		keys := slices.Sorted(maps.Keys(values))
		data := make([]any, 0, min(len(keys), maxLogKeys))
		for _, k := range keys[:min(len(keys), maxLogKeys)] {
			data = append(data, slog.Any(cut(k), logValue(values[k])))
		}
		attrs = append(attrs, slog.Group("data", data...))
	}
	log.LogAttrs(context.Background(), level, cut(text), attrs...)
	return nil
}

// logValue bounds one value: lists and tables become JSON.
func logValue(v any) any {
	switch v := v.(type) {
	case nil, bool, int64, float64:
		return v
	case string:
		return cut(v)
	case []byte:
		if !utf8.Valid(v) {
			return cut(base64.StdEncoding.EncodeToString(v[:min(len(v), maxLogText)]))
		}
		return cut(string(v))
	}
	e := jsonEncoder{most: 2 * maxLogText}
	if err := e.value(v, 0); err != nil {
		return "(" + err.Error() + ")"
	}
	return cut(string(e.out))
}

func cut(s string) string {
	if len(s) <= maxLogText {
		return s
	}
	return strings.ToValidUTF8(s[:maxLogText], "") + "..."
}

// limiter is a token bucket that counts what it refuses.
type limiter struct {
	mu      sync.Mutex
	spent   float64 // tokens taken and not yet made good
	last    time.Time
	dropped int
}

// allow takes a token. The number of those refused before is told once, with the first that is allowed again.
func (l *limiter) allow(now time.Time) (ok bool, dropped int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if passed := now.Sub(l.last); passed > 0 {
		l.spent = max(0, l.spent-passed.Seconds()*logRate)
	}
	l.last = now
	if l.spent+1 > logBurst {
		l.dropped++
		return false, 0
	}
	l.spent++
	dropped, l.dropped = l.dropped, 0
	return true, dropped
}
