package queue

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/deliver"
	"github.com/stagepost/stagepost/core/message"
)

// half answers for live.example, and says nothing to others.
type half struct{ *remote }

func (h half) Send(ctx context.Context, j *deliver.Job) []message.Outcome {
	if j.Env.Rcpts[j.Rcpts[0]].Address.Domain == "live.example" {
		return h.remote.Send(ctx, j)
	}
	<-ctx.Done()
	return all(len(j.Rcpts), interrupted)
}

// TestStuckMailLeavesRoom: what was left on disk for lack of room is looked for as soon as there is some, also while more than half of
// the window is stuck and does not move.
func TestStuckMailLeavesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.sender = half{b.remote}
		b.start()
		for i := range (window-freshReserve)/2 + 100 {
			b.send(nil, fmt.Sprintf("u@dead%d.example", i)) // each has a place, however many there are
		}
		time.Sleep(time.Minute)
		if n := b.q.flights.count(); n <= (window-freshReserve)/2 {
			t.Fatalf("%d flights are stuck, too few to show anything", n)
		}
		w, err := b.store.Body(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, "Subject: x\r\n\r\nbody\r\n")
		to := parse(t, "u@live.example")
		env := &message.Envelope{ID: w.ID(), Session: &message.Session{}, Sender: parse(t, "a@a.example"), Arrived: time.Now(), Generation: 1,
			Rcpts: []*message.Rcpt{{Address: to, Original: to, Class: message.ClassRelay}}}
		if err := b.store.Commit(t.Context(), env, w); err != nil { // behind the queue's back, as one that had no room
			t.Fatal(err)
		}
		b.q.wake.missed()
		time.Sleep(time.Minute)
		if got := b.remote.got(); !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "<u@live.example>") }) {
			t.Errorf("it was not sent; sent was %q", got)
		}
		b.stop()
	})
}
