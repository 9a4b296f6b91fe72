package service

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
)

func logger(to *bytes.Buffer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

func TestLog(t *testing.T) {
	var out bytes.Buffer
	c := handler(t, Options{Log: logger(&out, slog.LevelInfo)})
	session := &message.Session{ID: "s1"}
	c.Begin(&hooks.Call{Stage: hooks.Mail, Session: session, Message: &hooks.MessageView{Envelope: &message.Envelope{Session: session}}})
	id := message.Envelope{}.ID.String()
	big := strings.Repeat("x", maxLogText+1)
	check(t, c, []call{
		{name: "log.debug", args: list("not written")},
		{name: "log.info", args: list("hello\nlevel=ERROR", map[string]any{"n": int64(1), "list": list("a", 1.0), "level": "x", "raw": []byte{0xff}})},
		{name: "log.warn", args: list(big)},
		{name: "log.error", args: list("odd", map[string]any{"deep": list(list(strings.Repeat("y", 3*maxLogText)))})},
	})
	c.Begin(nil)
	check(t, c, []call{{name: "log.info", args: list("loads")}})
	want := `level=INFO msg="hello\nlevel=ERROR" plugin=vip stage=mail session=s1 id=` + id + ` data.level=x data.list="[\"a\",1]" data.n=1 data.raw="/w=="
level=WARN msg=` + big[1:] + `... plugin=vip stage=mail session=s1 id=` + id + `
level=ERROR msg=odd plugin=vip stage=mail session=s1 id=` + id + ` data.deep="(the text is longer than 4096 bytes)"
level=INFO msg=loads plugin=vip
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
}

func TestLogRate(t *testing.T) {
	var out bytes.Buffer
	clk := &clock{now: epoch}
	c := handler(t, Options{Log: logger(&out, slog.LevelInfo), Now: clk.Now})
	lines := func(n int) (written int) {
		out.Reset()
		for range n {
			check(t, c, []call{{name: "log.info", args: list("x")}})
		}
		return strings.Count(out.String(), "msg=x")
	}
	if n := lines(1500); n != logBurst {
		t.Errorf("%d lines at once", n)
	}
	clk.add(500 * time.Millisecond)
	if n := lines(100); n != 50 {
		t.Errorf("%d lines after half a second", n)
	}
	if want := `level=WARN msg="a plugin logs too much" plugin=vip dropped=500`; strings.Count(out.String(), "too much") != 1 || !strings.HasPrefix(out.String(), want) {
		t.Errorf("log begins with %.100s", out.String())
	}
	clk.add(time.Hour)
	if n := lines(1100); n != logBurst {
		t.Errorf("%d lines after an hour", n)
	}
	other := c.host.Context("other", nil, nil)
	check(t, other, []call{{name: "log.info", args: list("from another")}})
	if !strings.Contains(out.String(), "plugin=other") {
		t.Error("one plugin silences another")
	}
}

func TestLogCharge(t *testing.T) {
	var out bytes.Buffer
	steps := 0
	c := NewHost(Options{Log: logger(&out, slog.LevelInfo)}).Context("vip", nil, func(n, _ int) error { steps += n; return nil })
	check(t, c, []call{{name: "log.info", args: list("x")}})
	if steps < 100 {
		t.Errorf("a line costs %d steps", steps)
	}
}
