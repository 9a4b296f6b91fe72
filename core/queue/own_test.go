package queue

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
)

// Recipients whose copies differ never share an attempt, also after a restart.
func TestOwnFieldsDivideRecipients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.remote.answer["one.example"] = []message.Outcome{later, later, later, later, yes}
		b.start()
		b.send(func(e *message.Envelope) {
			e.Rcpts[1].Prefix, e.Rcpts[2].Prefix, e.Rcpts[3].Prefix = []byte("X-A: 1"), []byte("X-A: 2"), []byte("X-A: 1")
		}, "u@one.example", "v@one.example", "w@one.example", "x@one.example")
		time.Sleep(time.Minute)
		want := []string{"<u@one.example>: ", "<v@one.example> <x@one.example>: X-A: 1", "<w@one.example>: X-A: 2"}
		expect(t, "attempts", b.remote.attempts(), want...)
		b.stop()
		b.start()
		time.Sleep(time.Hour)
		expect(t, "attempts after a restart", b.remote.attempts(), want...)
		expect(t, "store", b.states())
		b.stop()
	})
}

// A plugin that delivers sees the copy that it delivers, also before the reply.
func TestOwnFieldsAreSeenAtDeliver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var mu sync.Mutex
		var seen []string
		b.hooks = append(b.hooks, hook("p", hooks.Route, func(c *hooks.Call) (*hooks.Verdict, error) {
			return &hooks.Verdict{Kind: hooks.RouteTo, Plan: &message.Plan{Via: "p"}}, nil
		}), hook("p", hooks.Deliver, func(c *hooks.Call) (*hooks.Verdict, error) {
			h, err := c.Message.Header()
			own, _ := h.Get("X-A", 0)
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, fmt.Sprintf("%d %s %d", len(c.Delivery.Rcpts), own, c.Message.Content.Size()))
			return &hooks.Verdict{Kind: hooks.Accept}, err
		}))
		b.start()
		b.send(func(e *message.Envelope) { e.Rcpts[1].Prefix = []byte("X-A: 1\r\n") }, "u@one.example", "v@one.example", "w@two.example")
		time.Sleep(time.Minute)
		env := &message.Envelope{Session: &message.Session{}, Rcpts: []*message.Rcpt{{Prefix: []byte("X-A: 3\r\n")}, {}}}
		gen := b.q.Current.Acquire()
		b.q.Relay(t.Context(), gen, env, memoryContent("Subject: x\r\n\r\n"), &message.Plan{Via: "p"}, &recorded{})
		gen.Release()
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(seen)
		expect(t, "seen", seen, "1  14", "1 1 28", "1 3 22", "2  20")
		b.stop()
	})
}
