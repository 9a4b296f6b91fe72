package queue

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
)

// bureau takes notices as intake does: it commits each to the queue.
type bureau struct {
	b      *bench
	answer []smtp.Reply // one after the other, then 250
	before func()       // the commit; nil: nothing is done
	mu     sync.Mutex
	texts  []string
	times  []time.Time
}

func (n *bureau) got() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.texts)
}

func (n *bureau) submit(ctx context.Context, to smtp.Address, params smtp.Params, of *message.Notice, content func(message.ID) ([]byte, error)) Submitted {
	w, err := n.b.q.Body(ctx, 0)
	if err != nil {
		return Submitted{Reply: smtp.NewReply(451, "4.3.0", err.Error())}
	}
	defer w.Abort()
	if len(n.answer) > 0 {
		r := n.answer[0]
		n.answer = n.answer[1:]
		return Submitted{Reply: r}
	}
	text, err := content(w.ID())
	if err != nil {
		n.b.t.Error(err)
	}
	w.Write(text)
	env := &message.Envelope{ID: w.ID(), Session: &message.Session{Role: message.RoleInternal}, Arrived: time.Now(), Notice: of, Params: params,
		Rcpts: []*message.Rcpt{{Address: to, Original: to, Class: message.ClassRelay}}}
	if n.before != nil {
		n.before()
	}
	if err := n.b.q.Commit(ctx, env, w); err != nil {
		return Submitted{Reply: smtp.NewReply(451, "4.3.0", err.Error())}
	}
	n.mu.Lock()
	for _, p := range params {
		text = append(text, "MAIL "+p.Key...)
	}
	n.texts, n.times = append(n.texts, string(text)), append(n.times, time.Now())
	n.mu.Unlock()
	return Submitted{ID: w.ID(), Reply: smtp.NewReply(250, "2.0.0", "ok")}
}

func TestNotices(t *testing.T) {
	local := smtp.NewReply(550, "5.7.1", "no notices here")
	for _, c := range []struct {
		name   string
		sender string
		rcpts  []string
		set    func(*Settings)
		answer []smtp.Reply
		after  time.Duration
		sent   []string // what the remotes got of notices
		texts  []string // parts of the notices, one each
		store  []string
	}{
		{name: "one for two recipients", rcpts: []string{"u@bad.example", "v@bad.example", "w@good.example"}, after: time.Hour,
			sent: []string{"mx:a.example <a@a.example>"}, texts: []string{"550 5.1.1 no such user"}},
		{name: "none for the null sender", sender: "-", rcpts: []string{"u@bad.example"}, after: time.Hour},
		{name: "tried again", rcpts: []string{"u@bad.example"}, answer: []smtp.Reply{smtp.NewReply(451, "4.3.2", "busy"), {}}, after: time.Hour,
			sent: []string{"mx:a.example <a@a.example>"}, texts: []string{"u@bad.example"}},
		{name: "refused by a plugin", rcpts: []string{"u@bad.example"}, answer: []smtp.Reply{local}, after: time.Hour},
		{name: "expiry", rcpts: []string{"u@slow.example"}, set: func(s *Settings) { s.Expire = time.Hour }, after: 3 * time.Hour,
			sent: []string{"mx:a.example <a@a.example>"}, texts: []string{"Status: 4.4.7"}},
		{name: "delay, told once", rcpts: []string{"u@slow.example"}, set: func(s *Settings) { s.Warn = 30 * time.Minute }, after: 10 * time.Hour,
			sent: []string{"mx:a.example <a@a.example>"}, texts: []string{"Action: delayed"}, store: []string{"u@slow.example deferred"}},
		{name: "a notice that fails makes none", sender: "a@bad.example", rcpts: []string{"u@bad.example"}, after: time.Hour,
			sent: []string{"mx:bad.example <a@bad.example>"}, texts: []string{"u@bad.example"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.set.Hostname = "mx.example"
				b.remote.answer["bad.example"] = []message.Outcome{never}
				b.remote.answer["slow.example"] = []message.Outcome{later}
				if c.set != nil {
					c.set(&b.set)
				}
				b.start()
				desk := &bureau{b: b, answer: c.answer}
				b.q.Notify(desk.submit)
				id := b.send(func(e *message.Envelope) {
					switch c.sender {
					case "":
					case "-":
						e.Sender = smtp.Address{}
					default:
						e.Sender = parse(t, c.sender)
					}
				}, c.rcpts...)
				time.Sleep(c.after)
				var sent []string
				for _, s := range b.remote.got() {
					_, s, _ := strings.Cut(s, " ")
					if strings.Contains(s, "<a@") {
						sent = append(sent, s)
					}
				}
				expect(t, "notices sent", sent, c.sent...)
				texts := desk.got()
				if len(texts) != len(c.texts) {
					t.Fatalf("%d notices, want %d", len(texts), len(c.texts))
				}
				for i, want := range c.texts {
					if !strings.Contains(texts[i], want) {
						t.Errorf("the notice lacks %q:\n%s", want, texts[i])
					}
				}
				expect(t, "store", b.states(), c.store...)
				if len(c.texts) > 0 {
					steps := b.recs.of(id)
					if !slices.ContainsFunc(steps, func(s observe.Step) bool { return s.Stage == "notice" && s.Verdict == "sent" }) {
						t.Errorf("the record does not tell of the notice: %+v", steps)
					}
				}
				b.stop()
			})
		})
	}
}

// TestDebtsSurviveARestart: a queue that stops before it could tell the sender tells it after the next start, once.
func TestDebtsSurviveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.set.Hostname = "mx.example"
		b.remote.answer["bad.example"] = []message.Outcome{never}
		b.start()
		for i := range 3 {
			b.send(nil, fmt.Sprintf("u%d@bad.example", i))
		}
		time.Sleep(time.Second)
		b.stop()
		expect(t, "store", b.states(), "u0@bad.example failed owed", "u1@bad.example failed owed", "u2@bad.example failed owed")
		for range 2 {
			b.start()
			desk := &bureau{b: b}
			b.q.Notify(desk.submit)
			time.Sleep(time.Minute)
			b.stop()
		}
		expect(t, "store after two starts", b.states())
		n := 0
		for _, s := range b.remote.got() {
			if strings.Contains(s, "<a@a.example>") {
				n++
			}
		}
		if n != 3 {
			t.Errorf("%d notices, want 3", n)
		}
	})
}

// TestADebtEndsMeanwhile: while a notice is written its message goes, or the sender is told already. That is no fault: nothing is queued,
// nothing is said in the log, and nothing is tried again.
func TestADebtEndsMeanwhile(t *testing.T) {
	for name, rcpts := range map[string][]string{"the message is gone": {"u@bad.example"}, "others wait": {"u@bad.example", "v@later.example"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				var log strings.Builder
				b.set.Hostname, b.log = "mx.example", &log
				b.remote.answer["bad.example"], b.remote.answer["later.example"] = []message.Outcome{never}, []message.Outcome{later}
				b.start()
				id := b.send(nil, rcpts...)
				time.Sleep(time.Second)
				tries := 0
				desk := &bureau{b: b}
				desk.before = func() {
					tries++
					err := b.q.alone(t.Context(), id, func(env *message.Envelope, state *store.State) error {
						ch, err := told(&message.Notice{Of: id, Rcpts: []int{0}}, state)
						if err == nil {
							_, err = b.store.Update(t.Context(), b.q.own, ch)
						}
						if err == nil {
							b.q.applied(env, state, ch)
						}
						return err
					})
					if err != nil {
						t.Error(err)
					}
				}
				b.q.Notify(desk.submit)
				time.Sleep(10 * time.Minute)
				b.stop()
				if tries != 1 || len(desk.got()) > 0 || strings.Contains(log.String(), "level=WARN") || strings.Contains(log.String(), "level=ERROR") {
					t.Errorf("%d tries, notices %q, log:\n%s", tries, desk.got(), &log)
				}
			})
		})
	}
}
