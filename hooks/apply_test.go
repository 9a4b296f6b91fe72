package hooks

import (
	"strings"
	"testing"
)

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
