package intake

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

// counted lists what the rig's intake counted of messages: "2 accepted, 1 held".
func counted(r *rig) string {
	var parts []string
	c := r.in.Counts(message.RoleMX).Messages
	for i, name := range c.Names() {
		if n := c.Get(i); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, name))
		}
	}
	return strings.Join(parts, ", ")
}

// TestCounts: what verdicts do not bring about is counted, too, with recipients and sizes; a role that there is not harms nobody.
func TestCounts(t *testing.T) {
	r := newRig(t, local)
	r.run(body, "u@example.org", "v@example.org")
	tx, _ := r.begin()
	tx.Rcpt(t.Context(), addr(t, "u@example.org"), nil)
	tx.Drop()
	r.queue.health.Full = true
	r.run(body, "u@example.org")
	r.queue.health.Full = false
	r.queue.commitErr = store.ErrBusy
	r.run(body, "u@example.org")
	r.queue.commitErr = errors.New("the disk is gone")
	r.run(body, "u@example.org")
	if got, want := counted(r), "1 accepted, 2 deferred, 1 dropped, 1 unknown"; got != want {
		t.Errorf("counted %s, want %s", got, want)
	}
	r = newRig(t)
	r.run(body, "u@example.org", "v@example.org")
	c := r.in.Counts(message.RoleMX)
	if got := counted(r); got != "1 rejected" || c.Rcpts.Get(0) != 0 || c.Rcpts.Get(1) != 2 || c.Sizes.Show().Count != 0 || r.in.Seconds().Show().Count != 1 {
		t.Errorf("counted %s; %d recipients accepted, %d refused; %d sizes", got, c.Rcpts.Get(0), c.Rcpts.Get(1), c.Sizes.Show().Count)
	}
	r.session.Role = "elsewhere"
	if codes, _ := r.run(body, "u@example.org"); codes != "250 550" {
		t.Error(codes)
	}
}
