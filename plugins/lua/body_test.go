package lua

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/message/messagetest"
	"github.com/stagepost/stagepost/hooks"
)

// data asks a plugin at data about a content, and returns what became of its drafts.
func data(t testing.TB, content message.Content, code string) (*hooks.Call, *recorder, []*messagetest.Draft) {
	t.Helper()
	c, rec := testCall(t, hooks.Data)
	var drafts []*messagetest.Draft
	c.Message.Content, c.Message.MaxSize = content, 100<<20
	c.Message.Draft = func(context.Context, int64) (message.Draft, error) {
		drafts = append(drafts, &messagetest.Draft{})
		return drafts[len(drafts)-1], nil
	}
	g := generationOf(t, mustLoad(t, code, nil))
	g.Chain(hooks.Data)[0].Timeout = time.Minute
	g.Run(c)
	return c, rec, drafts
}

func TestRewriteBody(t *testing.T) {
	const old = "Subject: one\r\n\r\nbody\r\n"
	for _, c := range []struct {
		name, content, code string
		verdict             string
		want                string // the message, or a part of the error
	}{
		{"as it was", old, `m:rewrite(function(chunk) return chunk end)`, "next", old},
		{"changed", old, `m:rewrite(function(chunk, last) return chunk:upper() .. (last and "the end\n" or "") end)`, "next", "Subject: one\r\n\r\nBODY\r\nthe end\r\n"},
		{"emptied", old, `m:rewrite(function() end)`, "next", "Subject: one\r\n\r\n"},
		{"of nothing", "Subject: one\r\n", `m:rewrite(function(chunk, last) return #chunk .. tostring(last) end)`, "next", "Subject: one\r\n\r\n0true\r\n"},
		{"with other edits", old, `m:set_header("Subject", "two") m:rewrite(function(chunk) return "x" end) m.my.done = true`, "next", "Subject: one\r\n\r\nx\r\n"},
		{"read meanwhile", old, `m:rewrite(function(chunk) return m.content:read(m.body_start, 3) .. m.content.size end)`, "next", "Subject: one\r\n\r\nbod22\r\n"},
		{"parts", "Content-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\n\r\nhello\r\n--B\r\nContent-Type: image/png; name=a.png\r\nContent-Transfer-Encoding: base64\r\n\r\nQUJD\r\n--B--",
			`local a, b = m.parts[1], m.parts[2] local all = {} for c in b.content:chunks(2) do all[#all + 1] = c end
			error(#m.parts .. a:text() .. b.type .. b.filename .. b.content:read(1, 5) .. b.content.size .. table.concat(all, "|") .. tostring(m.parts_cut) .. tostring(pcall(b.text, b)), 0)`,
			"error, defer 451 4.3.0", "2helloimage/pnga.pngBC3AB|Cfalsefalse"},
		{"text of what is none", "Content-Type: image/png\r\n\r\nx", `m.parts[1]:text()`, "error, defer 451 4.3.0", "the part is no text: it is image/png"},
		{"composed", old, `m:set_content{subject = "Grüße", text = "hello\n", html = nil}`, "next", "Subject: one\r\n\r\nhello\r\n"},
		{"composed of nothing", old, `m:set_content{subject = "x"}`, "error, defer 451 4.3.0", "set_content: there is neither a text nor HTML"},
		{"composed and rewritten", old, `m:set_content{text = "x"} m:rewrite(function() end)`, "error, defer 451 4.3.0", "rewrite: the handler has written another body already"},
		{"composed, caught", old, `pcall(m.set_content, m, {text = "\255"})`, "next", ""},
		{"composed with a bad subject", old, `m:set_content{text = "x", subject = "a\r\nb: c"}`, "error, defer 451 4.3.0", "header field \"Subject\""},
		{"error half-way", old, `m:rewrite(function(chunk) error("half") end)`, "error, defer 451 4.3.0", "half"},
		{"error behind it", old, `m:rewrite(function(chunk) return chunk end) error("behind")`, "error, defer 451 4.3.0", "behind"},
		{"caught", old, `pcall(m.rewrite, m, function(chunk) error("half") end)`, "next", ""},
		{"caught, then done", old, `pcall(m.rewrite, m, function(chunk) error("half") end) m:rewrite(function(chunk) return "x" end)`, "next", "Subject: one\r\n\r\nx\r\n"},
		{"twice", old, `m:rewrite(function() end) m:rewrite(function() end)`, "error, defer 451 4.3.0", "one handler writes one"},
		{"endless", old, `m:rewrite(function() while true do end end)`, "error, defer 451 4.3.0", "ran out of instructions"},
		{"of a number", old, `m:rewrite(function() return 5 end)`, "error, defer 451 4.3.0", "rewrite: the function returned a number"},
		{"NUL", old, `m:rewrite(function() return "a\0b" end)`, "error, defer 451 4.3.0", "holds a NUL"},
		{"without a function", old, `m:rewrite("x")`, "error, defer 451 4.3.0", "function expected"},
	} {
		t.Run(c.name, func(t *testing.T) {
			call, rec, drafts := data(t, messagetest.Text(c.content), "function on.data(m) "+c.code+" end")
			if rec.steps[0].Verdict != c.verdict {
				t.Fatalf("%+v", rec.steps)
			}
			for i, d := range drafts {
				if d.Used == d.Gone || d.Used && i != len(drafts)-1 {
					t.Errorf("draft %d: used %v, given up %v", i, d.Used, d.Gone)
				}
			}
			got := rec.steps[0].Detail
			if used := len(drafts) > 0 && drafts[len(drafts)-1].Used; used {
				got = drafts[len(drafts)-1].String()
				if call.Message.Content.Size() != int64(len(got)) || call.Message.Envelope.Size != int64(len(got)) {
					t.Errorf("the message has %d bytes", call.Message.Content.Size())
				}
			} else if call.Message.Content != message.Content(messagetest.Text(c.content)) {
				t.Error("the content is another")
			}
			if !strings.Contains(got, c.want) || c.want == "" && got != "" || c.verdict == "next" && got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestRewriteOfMuch rewrites 50 MB in pieces that the budgets hold, though they hold less than that at once.
func TestRewriteOfMuch(t *testing.T) {
	content := &messagetest.Long{Head: "Subject: much\r\n\r\n", Line: strings.Repeat("x", 76) + "\r\n", Lines: 50_000_000 / 78}
	watched := &messagetest.Watched{Content: content}
	_, rec, drafts := data(t, watched, `function on.data(m) m:rewrite(function(chunk) return chunk:gsub("x", "y", 1) .. "!" end) end`)
	if rec.steps[0].Verdict != "next" || !drafts[0].Used || drafts[0].Written < content.Size() {
		t.Fatalf("%+v, %d bytes", rec.steps, drafts[0].Written)
	}
	t.Logf("%d bytes; the heap grew by at most %d KiB", drafts[0].Written, watched.Grown()>>10)
	if watched.Grown() > 4<<20 { // the draft keeps one MiB itself
		t.Errorf("the heap grew by %d bytes", watched.Grown())
	}
}

func BenchmarkRewrite(b *testing.B) {
	content := &messagetest.Long{Head: "Subject: much\r\n\r\n", Line: strings.Repeat("x", 76) + "\r\n", Lines: 10_000_000 / 78}
	b.SetBytes(content.Size())
	for b.Loop() {
		if _, rec, drafts := data(b, content, `function on.data(m) m:rewrite(function(chunk) return chunk end) end`); !drafts[0].Used {
			b.Fatal(rec.steps)
		}
	}
}
