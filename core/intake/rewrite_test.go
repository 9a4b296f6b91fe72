package intake

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/hooks"
)

// rewrites is a plugin that gives the message a body.
func rewrites(name string, body func(old string) string) *hooks.Hook {
	h := edits(name, hooks.Data, func(c *hooks.Call) error {
		w, err := c.Rewrite()
		if err != nil {
			return err
		}
		content := c.Message.Content
		old, err := io.ReadAll(io.NewSectionReader(content, w.From(), content.Size()))
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, body(string(old))); err != nil {
			return err
		}
		return w.Close()
	})
	h.Needs.Edit |= capability.EditBody
	return h
}

// Plugins rewrite a body one after the other; each sees what the one before made, with the header as edited so far.
func TestRewrites(t *testing.T) {
	large := strings.Repeat("large\r\n", 10_000) // in a file, were this store on a disk
	seen := ""
	look := edits("look", hooks.Data, func(c *hooks.Call) error {
		h, err := c.Message.Header()
		v, _ := h.Get("X-One", 0)
		seen = fmt.Sprintf("%s %d %d %v", v, c.Message.Content.Size(), c.Message.Envelope.Size, h.Len())
		return err
	})
	header := edits("header", hooks.Data, func(c *hooks.Call) error {
		return errors.Join(c.AddHeader("X-One", "1"), c.SetHeader("Subject", "two"), c.RemoveHeader("X-Old", 0))
	})
	all := []*hooks.Hook{local, header, rewrites("a", func(old string) string { return "a(" + old + ")\n" }),
		rewrites("b", func(old string) string { return large + old }), look, rewrites("c", func(old string) string { return old[len(large):] + "c" })}
	for i, h := range all {
		h.Order = 10 + i
	}
	r := newRig(t, all...)
	r.set.MaxSize = 1 << 20
	_, ans := r.run(body, "u@example.org")
	if !ans.Reply.Positive() {
		t.Fatal(ans.Reply)
	}
	if want := fmt.Sprintf("1 %d %d 2", 70_037, 70_037); seen != want {
		t.Errorf("seen %s, want %s", seen, want)
	}
	_, rest, _ := strings.Cut(r.sent(), "+0000\r\n")
	if want := "X-One: 1\r\nSubject: two\r\n\r\na(text\r\n)\r\nc\r\n"; rest != want {
		t.Errorf("sent %q, want %q", rest, want)
	}
	for _, steps := range r.records {
		if got := steps[4].Edits; len(got) != 1 || got[0] != fmt.Sprintf("rewrite: %d bytes", 70_037) {
			t.Errorf("record: %q", got)
		}
	}
}

// Whatever ends a rewrite half-way, nothing of it is there, and nothing is left over (the rig looks at that).
func TestRewriteGivenUp(t *testing.T) {
	half := func(c *hooks.Call) *message.Rewrite {
		w, err := c.Rewrite()
		if err != nil {
			t.Error(err)
			return nil
		}
		io.WriteString(w, strings.Repeat("half\r\n", 1000))
		return w
	}
	for _, c := range []struct {
		name  string
		do    func(c *hooks.Call) (*hooks.Verdict, error)
		then  *hooks.Hook
		fault func(*fakeQueue)
		codes string
		why   string // in the record
	}{
		{"error", func(c *hooks.Call) (*hooks.Verdict, error) { half(c); return nil, errors.New("broken") }, nil, nil, "250 250 250", "broken"},
		{"error after the end", func(c *hooks.Call) (*hooks.Verdict, error) { half(c).Close(); return nil, errors.New("broken") }, nil, nil, "250 250 250", "broken"},
		{"panic", func(c *hooks.Call) (*hooks.Verdict, error) { half(c).Close(); panic("broken") }, nil, nil, "250 250 250", "broken"},
		{"no end", func(c *hooks.Call) (*hooks.Verdict, error) { half(c); return nil, nil }, nil, nil, "250 250 250", "the new body has no end"},
		{"another edit fails", func(c *hooks.Call) (*hooks.Verdict, error) {
			half(c).Close()
			return nil, c.SetHeader("X-Long", strings.Repeat("x ", 200_000))
		}, nil, nil, "250 250 250", "header"},
		{"given up by itself", func(c *hooks.Call) (*hooks.Verdict, error) { half(c); c.Unwrite(); return nil, nil }, nil, nil, "250 250 250", ""},
		{"twice", func(c *hooks.Call) (*hooks.Verdict, error) { half(c).Close(); _, err := c.Rewrite(); return nil, err }, nil, nil, "250 250 250", "one handler writes one"},
		{"too large", func(c *hooks.Call) (*hooks.Verdict, error) {
			_, err := io.WriteString(half(c), strings.Repeat("x", 10_000))
			return nil, err
		}, nil, nil, "250 250 250", "larger than the 10000 bytes"},
		{"a wrong verdict", func(c *hooks.Call) (*hooks.Verdict, error) {
			half(c).Close()
			return &hooks.Verdict{Kind: hooks.Accept}, nil
		}, nil, nil, "250 250 250", "data takes"},
		{"refused by itself", func(c *hooks.Call) (*hooks.Verdict, error) {
			half(c).Close()
			return &hooks.Verdict{Kind: hooks.Reject}, nil
		}, nil, nil, "250 250 550", ""},
		{"refused by another", func(c *hooks.Call) (*hooks.Verdict, error) { return nil, half(c).Close() }, says("z", hooks.Data, hooks.Verdict{Kind: hooks.Reject}), nil, "250 250 550", ""},
		{"the store is full", func(c *hooks.Call) (*hooks.Verdict, error) { return nil, half(c).Close() }, nil, func(q *fakeQueue) { q.commitErr = store.ErrFull }, "250 250 452", ""},
		{"the store has no room", func(c *hooks.Call) (*hooks.Verdict, error) { _, err := c.Rewrite(); return nil, err }, nil, func(q *fakeQueue) { q.insteadErr = store.ErrBusy }, "250 250 250", "store: busy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := hook("p", hooks.Data, c.do)
			h.Needs.Edit |= capability.EditBody
			h.OnError = hooks.Next
			all := []*hooks.Hook{local, h}
			if c.then != nil {
				all = append(all, c.then)
			}
			r := newRig(t, all...)
			if c.fault != nil {
				c.fault(r.queue)
			}
			codes, _ := r.run(body, "u@example.org")
			if codes != c.codes {
				t.Errorf("codes %s", codes)
			}
			if strings.HasSuffix(c.codes, "250") && !strings.HasSuffix(r.sent(), "\r\n"+body) {
				t.Errorf("sent %q", r.sent())
			}
			for _, steps := range r.records {
				for _, s := range steps {
					if s.Plugin == "p" && (!strings.Contains(s.Detail, c.why) || (c.why != "") != strings.HasPrefix(s.Verdict, "error")) {
						t.Errorf("record: %s: %.200s", s.Verdict, s.Detail)
					}
				}
			}
		})
	}
}

// A body is rewritten at data alone, by whom it was granted to.
func TestRewriteIsRefused(t *testing.T) {
	for _, stage := range []hooks.Stage{hooks.Mail, hooks.Rcpt, hooks.Queue} {
		h := rewrites("p", func(old string) string { return old })
		h.Stage, h.OnError = stage, hooks.Next
		r := newRig(t, local, h)
		r.run(body, "u@example.org")
		for _, steps := range r.records {
			if d := fmt.Sprint(steps); !strings.Contains(d, "rewrite works at data, not at "+stage.String()) {
				t.Error(d)
			}
		}
	}
	h := rewrites("p", func(old string) string { return old })
	h.Needs.Edit = capability.EditHeaders
	r := newRig(t, local, h)
	if codes, _ := r.run(body, "u@example.org"); codes != "250 250 451" {
		t.Error(codes)
	}
}
