package wasm

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/message/messagetest"
	"github.com/stagepost/stagepost/hooks"
)

// drafting lets a call rewrite content.
func drafting(c *hooks.Call, content message.Content) *[]*messagetest.Draft {
	var drafts []*messagetest.Draft
	c.Message.Content, c.Message.MaxSize = content, 100<<20
	c.Message.Draft = func(context.Context, int64) (message.Draft, error) {
		drafts = append(drafts, &messagetest.Draft{})
		return drafts[len(drafts)-1], nil
	}
	return &drafts
}

const head = "Subject: one\r\n\r\n"

// rewriter is a hook that begins a new body, copies the old one by pieces, runs what stands in midst for each piece, and ends it by last.
func rewriter(t testing.TB, midst, last string) string {
	op := slices.Index(hooks.Edits(), "rewrite")
	message := slices.IndexFunc(hooks.Objects(), func(o hooks.Object) bool { return o.Name == "message" })
	begin, b := data(t, 3000, "begin")
	end, e := data(t, 3020, "end")
	edit := func(at, n int) string {
		return fmt.Sprintf("i32.const %d i32.const %d i32.const 0 i32.const %d i32.const %d call edit", op, message, at, n)
	}
	return begin + end + "export func stagepost_hook i32 -> i64\nlocals i64 i32\n" +
		fmt.Sprintf("i64.const %d local.set 1 ", len(head)) + edit(3000, b) + " drop\n" +
		"block loop\n" +
		"i32.const 0 local.get 1 i32.const 65536 i32.const 32768 call content_read local.tee 2 i32.eqz br_if 1\n" +
		"i32.const 65536 local.get 2 call content_emit i32.const 0 i32.lt_s br_if 1\n" + midst + "\n" +
		"local.get 1 local.get 2 i64.extend_i32_u i64.add local.set 1 br 0\nend end\n" +
		strings.ReplaceAll(last, "END", edit(3020, e)+" drop")
}

// TestRewriteBody is S15 and what is not: what ends a rewrite half-way leaves the message as it was.
func TestRewriteBody(t *testing.T) {
	for _, c := range []struct{ name, midst, last, verdict, want string }{
		{"to its end", "", "END i64.const 0", "next", ""},
		{"with line ends put right", "i32.const 3030 i32.const 3 call content_emit drop", "END i64.const 0\ndata 3030 \"a\\nb\"", "next", ""},
		{"without an end", "", "i64.const 0", "error, reject 550 5.3.0", "the new body has no end"},
		{"trap half-way", "unreachable", "END i64.const 0", "error, reject 550 5.3.0", "unreachable"},
		{"trap behind the end", "", "END unreachable", "error, reject 550 5.3.0", "unreachable"},
		{"endless half-way", "loop br 0 end", "END i64.const 0", "error, reject 550 5.3.0", "ran out of instructions"},
		{"given up behind the end", "", "END i64.const -5", "error, reject 550 5.3.0", "data gave up (-5)"},
		{"twice", "", strings.Repeat("END ", 1) + "i32.const 8 i32.const 2 i32.const 0 i32.const 3000 i32.const 6 call edit i64.extend_i32_s", "error, reject 550 5.3.0", "one handler writes one"},
		{"NUL", "i32.const 9 i32.const 1 call content_emit drop", "END i64.const -5", "error, reject 550 5.3.0", "holds a NUL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, EngineOptions{})
			g := generationOf(t, r.mustLoad(assembled(t, "", rewriter(t, c.midst, c.last))), 10*time.Second)
			call, rec := testCall(t, hooks.Data)
			old := messagetest.Text(head + "body\r\n")
			drafts := drafting(call, old)
			g.Run(call)
			if rec.last().Verdict != c.verdict || !strings.Contains(rec.last().Detail, c.want) {
				t.Fatalf("%+v", rec.steps)
			}
			d := (*drafts)[0]
			if len(*drafts) != 1 || d.Used != (c.verdict == "next") || d.Gone == d.Used {
				t.Errorf("%d drafts, used %v, given up %v", len(*drafts), d.Used, d.Gone)
			}
			switch want := head + "body\r\n" + map[bool]string{true: "a\r\nb\r\n"}[c.midst != ""]; {
			case d.Used && d.String() != want:
				t.Errorf("the new body is %q", d)
			case !d.Used && call.Message.Content != message.Content(old):
				t.Error("the content is another")
			}
		})
	}
}

func TestRewriteByCalls(t *testing.T) {
	within(t, hooks.Data, func(g *guest) {
		drafting(g.in.call, messagetest.Text(head))
		emit := func(s string) int {
			at, n := g.put(space, []byte(s))
			return int(int32(g.in.contentEmit([]uint64{at, n})))
		}
		for _, step := range []struct {
			what string
			got  func() int
			want int
		}{
			{"emit before", func() int { return emit("x") }, ErrRefused},
			{"end before", func() int { return g.edit("rewrite", "message", 0, "end") }, ErrRefused},
			{"no word", func() int { return g.edit("rewrite", "message", 0, true) }, ErrRefused},
			{"no message", func() int { return g.edit("rewrite", "session", 0, "begin") }, ErrRefused},
			{"compose", func() int { return g.edit("set_content", "message", 0, map[string]any{"text": "x"}) }, 0},
			{"begin behind it", func() int { return g.edit("rewrite", "message", 0, "begin") }, ErrRefused},
			{"compose again", func() int { g.in.call.Unwrite(); return g.edit("set_content", "message", 0, map[string]any{}) }, ErrRefused},
			{"begin", func() int { return g.edit("rewrite", "message", 0, "begin") }, 0},
			{"begin again", func() int { return g.edit("rewrite", "message", 0, "begin") }, ErrRefused},
			{"emit", func() int { return emit("x\n") }, 0},
			{"end", func() int { return g.edit("rewrite", "message", 0, "end") }, 0},
			{"emit behind", func() int { return emit("x") }, ErrRefused},
		} {
			if got := step.got(); got != step.want {
				t.Errorf("%s: %d (%s)", step.what, got, g.in.told)
			}
		}
		if got := g.field("message.body_start", 0); got != int64(len(head)) {
			t.Errorf("the body begins at %v", got)
		}
	})
	within(t, hooks.Rcpt, func(g *guest) {
		if got := g.edit("rewrite", "message", 0, "begin"); got != ErrRefused || g.in.told != "rewrite works at data, not at rcpt" {
			t.Errorf("%d %s", got, g.in.told)
		}
	})
}

// TestRewriteOfMuch rewrites 50 MB in pieces, with fuel for less than that at once.
func TestRewriteOfMuch(t *testing.T) {
	content := &messagetest.Watched{Content: &messagetest.Long{Head: head, Line: strings.Repeat("x", 76) + "\r\n", Lines: 50_000_000 / 78}}
	r := newRig(t, EngineOptions{})
	g := generationOf(t, r.mustLoad(assembled(t, "", rewriter(t, "", "END i64.const 0"))), time.Minute)
	call, rec := testCall(t, hooks.Data)
	drafts := drafting(call, content)
	if g.Run(call); rec.last().Verdict != "next" || (*drafts)[0].Written != content.Size() {
		t.Fatalf("%+v", rec.last())
	}
	t.Logf("%d bytes; the heap grew by at most %d KiB", content.Size(), content.Grown()>>10)
	if content.Grown() > 4<<20 {
		t.Errorf("the heap grew by %d bytes", content.Grown())
	}
}

func BenchmarkRewrite(b *testing.B) {
	content := &messagetest.Long{Head: head, Line: strings.Repeat("x", 76) + "\r\n", Lines: 10_000_000 / 78}
	r := newRig(b, EngineOptions{})
	g := generationOf(b, r.mustLoad(assembled(b, "", rewriter(b, "", "END i64.const 0"))), time.Minute)
	b.SetBytes(content.Size())
	for b.Loop() {
		call, rec := testCall(b, hooks.Data)
		if drafts := drafting(call, content); g.Run(call).Failed || (*drafts)[0].Written != content.Size() {
			b.Fatalf("%+v", rec.last())
		}
	}
}
