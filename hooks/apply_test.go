package hooks

import (
	"errors"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/message"
)

// Fields of one recipient's copy count when the handler returns, for as much as all recipients may have together.
func TestRcptHeaders(t *testing.T) {
	n, fail := 0, false
	g := generation(t, hook("p", Data, func(c *Call) (*Verdict, error) {
		for range n {
			if err := c.AddRcptHeader(c.Rcpts()[0], "X-A", strings.Repeat("a", 900)); err != nil {
				return nil, err
			}
		}
		if err := c.AddRcptHeader(c.Rcpts()[0], "Bad name", "x"); err == nil {
			t.Error("a bad name was taken")
		}
		if err := c.AddRcptHeader(c.Rcpts()[0], "X-A", "a\r\nb: c"); err == nil {
			t.Error("a second field was taken")
		}
		if fail {
			return nil, errors.New("broken")
		}
		return nil, c.AddRcptHeader(c.Rcpts()[0], "Subject", "Grüße")
	}))
	cl, rec := call(t, Data)
	r := &message.Rcpt{}
	cl.Message.Rcpts = []*message.Rcpt{r}
	g.Run(cl)
	if got := string(r.Prefix); got != "Subject: =?utf-8?b?R3LDvMOfZQ==?=\r\n" || rec.steps[0].Edits[0] != "add_header Subject for <>" {
		t.Errorf("added %q: %+v", got, rec.steps)
	}
	fail = true
	g.Run(cl)
	fail, n = false, 300
	if res := g.Run(cl); !res.Failed || len(r.Prefix) != 35 {
		t.Errorf("failed %v, %d bytes", res.Failed, len(r.Prefix))
	}
	if n = 280; g.Run(cl).Failed || !g.Run(cl).Failed {
		t.Error("the bound is not for all calls together")
	}
	if err := cl.AddRcptHeader(&RcptView{Rcpt: r}, "X-A", "1"); err != nil {
		t.Error(err)
	}
	cl.Stage = Queue
	if err := cl.AddRcptHeader(&RcptView{Rcpt: r}, "X-A", "1"); err == nil || err.Error() != "add_header works at data, not at queue" {
		t.Error(err)
	}
}

// TestFieldsBeforeTheHeaderAreBounded: each call keeps its bounds, and there is one for each recipient.
func TestFieldsBeforeTheHeaderAreBounded(t *testing.T) {
	g := generation(t, hook("p", Rcpt, func(c *Call) (*Verdict, error) {
		for range 100 {
			if err := c.AddHeader("X-A", strings.Repeat("a", 900)); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}))
	cl, _ := call(t, Rcpt)
	failed := 0
	for range 10 {
		if g.Run(cl).Failed {
			failed++
		}
	}
	if n := len(cl.Message.Added); n != 200 || failed != 8 {
		t.Errorf("%d fields were added, %d calls failed", n, failed)
	}
}
