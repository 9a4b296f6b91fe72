package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/core/queue"
	"github.com/stagepost/stagepost/core/store"
)

// hands is a queue with two messages, the second of which is held.
type hands struct{ asked []string }

var one, two = store.ID{1}, store.ID{2}

func (h *hands) hand(what string, id store.ID, free bool) error {
	switch {
	case id != one && id != two:
		return store.ErrNotFound
	case free != (id == one):
		return queue.Refused("is not so")
	}
	h.asked = append(h.asked, fmt.Sprint(what, " ", id[0]))
	return nil
}

func (h *hands) Hold(_ context.Context, id store.ID, why string) error {
	return h.hand("hold "+why, id, true)
}
func (h *hands) Release(_ context.Context, id store.ID) error { return h.hand("release", id, false) }
func (h *hands) Retry(_ context.Context, id store.ID) error   { return h.hand("retry", id, true) }
func (h *hands) Delete(_ context.Context, id store.ID) error  { return h.hand("delete", id, true) }

func TestQueueByHand(t *testing.T) {
	s := newSite(t, minimal)
	for _, name := range []string{"hold", "release", "retry", "delete"} {
		s.want(s.run("queue", name, one.String()), exitUnavailable, "no server is running")
		s.want(s.run("queue", name), exitUsage, "requires at least 1 arg(s)", "see: stagepost queue "+name)
	}
	x := &hands{}
	s.serve(func(o *admin.Options) { o.Hands = x })
	none := store.ID{3}.String()
	one, two := one.String(), two.String()
	exactly := func(r result, code int, out, errs string) {
		t.Helper()
		if r.code != code || r.out != out || r.err != errs {
			t.Errorf("exit code %d, output %q, errors %q; want %d, %q, %q", r.code, r.out, r.err, code, out, errs)
		}
	}
	gone := "message " + none + " is not in the queue; if it was here, this says what became of it: stagepost trace " + none + "\n"
	exactly(s.run("queue", "hold", one), 0, one+" held\n", "")
	exactly(s.run("queue", "hold", "--reason", "a look", one), 0, one+" held\n", "")
	exactly(s.run("queue", "release", two), 0, two+" released\n", "")
	exactly(s.run("queue", "retry", one), 0, one+" retried\n", "")
	exactly(s.run("queue", "delete", one), 0, one+" deleted\n", "")
	exactly(s.run("queue", "retry", none), exitNoInput, "", gone)
	exactly(s.run("queue", "retry", two), exitData, "", "message "+two+" is not so\n")
	exactly(s.run("queue", "retry", "x\x1b"), exitData, "", "\"x\\x1b\" is not the id of a message: "+
		"a message id has 16 characters of 0-9 and a-z without i, l, o, u; stagepost queue list shows the ids\n")
	exactly(s.run("queue", "retry", none, one, two), exitNoInput, one+" retried\n", gone+"message "+two+" is not so\nqueue retry failed for 2 of 3 messages\n")
	exactly(s.run("queue", "retry", one, two, none), exitData, one+" retried\n", "message "+two+" is not so\n"+gone+"queue retry failed for 2 of 3 messages\n")
	exactly(s.run("queue", "hold", "--reason", strings.Repeat("x", 501), one), exitData, "", "a reason is one line of at most 500 bytes\n")

	input := func(in string, args ...string) result { return s.runInput(in, append(args, "--config", s.config)...) }
	exactly(input(" "+one+"\n\n"+none+"\t"+one, "queue", "retry", "-"), exitNoInput, one+" retried\n"+one+" retried\n", gone+"queue retry failed for 1 of 3 messages\n")
	exactly(input("", "queue", "retry", "-"), 0, "", "")
	exactly(input(two, "queue", "release", "-", two), 0, two+" released\n"+two+" released\n", "")
	exactly(input(strings.Repeat("x", 1<<20), "queue", "retry", "-"), exitIO, "", "standard input cannot be read: bufio.Scanner: token too long\n")

	exactly(s.run("queue", "retry", one, none, "--json"), exitNoInput, `{"id":"`+one+`","result":"retried"}`+"\n"+
		`{"id":"`+none+`","error":"message `+none+` is not in the queue","hint":"if it was here, this says what became of it: stagepost trace `+none+`"}`+"\n",
		"queue retry failed for 1 of 2 messages\n")
	if got := strings.Join(x.asked[:5], ", "); got != "hold  1, hold a look 1, release 2, retry 1, delete 1" {
		t.Errorf("asked %q", got)
	}
}
