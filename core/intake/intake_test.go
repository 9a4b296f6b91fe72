package intake

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/core/store/memory"
	"github.com/stagepost/stagepost/hooks"
)

func TestVerdicts(t *testing.T) {
	none := hooks.Verdict{}
	for _, c := range []struct {
		stage hooks.Stage
		say   hooks.Verdict
		codes string
		fate  string // queued, held, none
		reply string // of the last answer
		close bool
	}{
		{hooks.Mail, none, "250 250 250 250", "queued", "250 2.0.0 queued as", false},
		{hooks.Mail, hooks.Verdict{Kind: hooks.Reject}, "550", "none", "550 5.7.1 refused by policy", false},
		{hooks.Mail, hooks.Verdict{Kind: hooks.Defer, Text: "later"}, "451", "none", "451 4.7.1 later", false},
		{hooks.Mail, hooks.Verdict{Kind: hooks.Close}, "421", "none", "421 4.7.0", true},
		{hooks.Mail, hooks.Verdict{Kind: hooks.Discard}, "250 250 250 250", "none", "250 2.0.0 ok", false},
		{hooks.Rcpt, hooks.Verdict{Kind: hooks.Accept, Class: hooks.Relay}, "250 250 250 250", "queued", "250 2.0.0 queued as", false},
		{hooks.Rcpt, hooks.Verdict{Kind: hooks.Reject, Code: 553, Enhanced: "5.1.1", Text: "nobody"}, "250 553 553", "none", "553 5.1.1 nobody", false},
		{hooks.Rcpt, hooks.Verdict{Kind: hooks.Defer}, "250 451 451", "none", "451 4.7.1", false},
		{hooks.Rcpt, hooks.Verdict{Kind: hooks.Close}, "250 421 421", "none", "421 4.7.0", true},
		{hooks.Rcpt, hooks.Verdict{Kind: hooks.Discard}, "250 250 250 250", "none", "250 2.0.0 ok", false},
		{hooks.Data, hooks.Verdict{Kind: hooks.Reject}, "250 250 250 550", "none", "550 5.7.1", false},
		{hooks.Data, hooks.Verdict{Kind: hooks.Defer}, "250 250 250 451", "none", "451 4.7.1", false},
		{hooks.Data, hooks.Verdict{Kind: hooks.Close}, "250 250 250 421", "none", "421 4.7.0", true},
		{hooks.Data, hooks.Verdict{Kind: hooks.Discard}, "250 250 250 250", "none", "250 2.0.0 ok", false},
		{hooks.Data, hooks.Verdict{Kind: hooks.Hold, Reason: "spam"}, "250 250 250 250", "held", "250 2.0.0 queued as", false},
		{hooks.Queue, hooks.Verdict{Kind: hooks.Reject}, "250 250 250 550", "none", "550 5.7.1", false},
		{hooks.Queue, hooks.Verdict{Kind: hooks.Defer, Delay: time.Second}, "250 250 250 451", "none", "451 4.7.1", false},
		{hooks.Queue, hooks.Verdict{Kind: hooks.Discard}, "250 250 250 250", "none", "250 2.0.0 ok", false},
		{hooks.Queue, hooks.Verdict{Kind: hooks.Hold}, "250 250 250 250", "held", "250 2.0.0 queued as", false},
	} {
		t.Run(fmt.Sprintf("%s %s", c.stage, c.say.Kind), func(t *testing.T) {
			r := newRig(t, local, says("probe", c.stage, c.say))
			if c.say.Kind == hooks.Next {
				r = newRig(t, local, edits("probe", c.stage, func(*hooks.Call) error { return nil }))
			}
			codes, ans := r.run(body, "u@example.org", "v@example.org")
			if codes != c.codes || !strings.HasPrefix(ans.Reply.Error(), c.reply) || ans.Close != c.close || ans.Delay != c.say.Delay {
				t.Errorf("codes %q, last %q close %v delay %s", codes, ans.Reply.Error(), ans.Close, ans.Delay)
			}
			fate, env := "none", r.stored()
			if env != nil {
				fate = "queued"
				if env.Hold != "" {
					fate = "held"
				}
				if len(env.Rcpts) != 2 || env.Generation != 7 || env.Session.Helo != "client.example" {
					t.Errorf("envelope %+v", env)
				}
			}
			if fate != c.fate {
				t.Errorf("fate is %s, want %s", fate, c.fate)
			}
			outcome := map[string]string{"queued": "accepted", "held": "held"}[fate]
			if outcome == "" {
				outcome = map[byte]string{'2': "discarded", '4': "deferred", '5': "rejected"}[codes[strings.LastIndexByte(codes, ' ')+1]]
			}
			if got := counted(r); got != "1 "+outcome {
				t.Errorf("counted %s, want one %s", got, outcome)
			}
			if strings.Count(r.log.String(), "\n") != 1 {
				t.Errorf("log has not one line a message:\n%s", r.log.String())
			}
		})
	}
}

func TestRecord(t *testing.T) {
	r := newRig(t, local, says("q", hooks.Data, hooks.Verdict{Kind: hooks.Hold, Reason: "look"}))
	r.run(body, "u@example.org")
	r.wantRecord("connect early: next", "rcpt domains: accept local", "data q: hold", "intake: held")
	if s := r.queue.committed.Session; s == r.session || s.ID != "s1" || s.History != nil || len(r.session.History) == 0 {
		t.Errorf("the queue has the session %+v", s)
	}
	if !strings.Contains(r.log.String(), "msg=accepted") || !strings.Contains(r.log.String(), "hold=look") {
		t.Errorf("log: %s", r.log.String())
	}
}

func TestRcptDefault(t *testing.T) {
	r := newRig(t)
	codes, ans := r.run(body, "u@example.org")
	if codes != "250 550" || ans.Reply.Error() != "550 5.7.1 relay not permitted" {
		t.Errorf("codes %q, last %q", codes, ans.Reply.Error())
	}
	r.wantRecord("connect early: next", "rcpt: reject 550 5.7.1")
	for _, steps := range r.records {
		if d := steps[1].Detail; !strings.Contains(d, "no plugin accepted <u@example.org>") {
			t.Errorf("detail is %q", d)
		}
	}
	if !strings.Contains(r.log.String(), "msg=rejected") {
		t.Errorf("log: %s", r.log.String())
	}

	r = newRig(t)
	r.session = &message.Session{ID: "i", Role: message.RoleInternal, Origin: "dsn"}
	if codes, _ := r.run(body, "u@example.org"); codes != "250 250 250" || r.stored().Rcpts[0].Class != message.ClassRelay {
		t.Errorf("internal mail: %q, %+v", codes, r.stored())
	}
	if got, want := r.sent(), "Received: by mx.example.org id "; !strings.HasPrefix(got, want) {
		t.Errorf("sent %q", got)
	}
}

func TestReceived(t *testing.T) {
	for _, c := range []struct {
		change func(*message.Session)
		rcpts  []string
		want   string // % is the id
	}{
		{func(*message.Session) {}, []string{"u@example.org"},
			"Received: from client.example ([192.0.2.1])\r\n\tby mx.example.org with ESMTP id %\r\n\tfor <u@example.org>; Sun, 01 Mar 2026 12:00:00 +0000\r\n"},
		{func(s *message.Session) { s.ESMTP, s.IP = false, netip.MustParseAddr("2001:db8::1") }, []string{"u@example.org", "v@example.org"},
			"Received: from client.example ([IPv6:2001:db8::1])\r\n\tby mx.example.org with SMTP id %; Sun, 01 Mar 2026 12:00:00 +0000\r\n"},
		{func(s *message.Session) { s.Role = message.RoleLMTP }, []string{"u@example.org", "u@example.org"},
			"Received: from client.example ([192.0.2.1])\r\n\tby mx.example.org with LMTP id %\r\n\tfor <u@example.org>; Sun, 01 Mar 2026 12:00:00 +0000\r\n"},
	} {
		r := newRig(t, local)
		c.change(r.session)
		r.run(body, c.rcpts...)
		if got, want := r.sent(), strings.ReplaceAll(c.want, "%", r.stored().ID.String())+body; got != want {
			t.Errorf("sent\n%q\nwant\n%q", got, want)
		}
	}
}

func TestEdits(t *testing.T) {
	r := newRig(t, local,
		edits("a", hooks.Mail, func(c *hooks.Call) error {
			return errors.Join(c.AddHeader("X-Mail", "m"), c.SetFact(&c.Message.Facts, "a.seen", true))
		}),
		edits("b", hooks.Rcpt, func(c *hooks.Call) error {
			err := c.SetFact(&c.Rcpt.Facts, "b.size", int64(1))
			if c.Rcpt.Address.Local == "list" {
				err = errors.Join(err, c.Rename(addr(t, "x@example.org"), addr(t, "y@example.org"), addr(t, "u@example.org")))
			}
			return err
		}),
		edits("c", hooks.Data, func(c *hooks.Call) error {
			return errors.Join(c.SetHeader("Subject", "two"), c.RemoveHeader("X-Old", 0), c.SetSender(addr(t, "b@other.example")),
				c.AddRcpt(addr(t, "z@example.org"), hooks.Local), c.AddRcpt(addr(t, "x@example.org"), hooks.Local))
		}),
		edits("d", hooks.Queue, func(c *hooks.Call) error {
			h, err := c.Message.Header()
			if s, _ := h.Get("Subject", 0); s != "two" {
				t.Errorf("at queue the subject is %q", s)
			}
			tenant, at := "acme", time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
			return errors.Join(err, c.AddHeader("X-Signed", "yes"), c.Schedule(hooks.Schedule{Tenant: &tenant, NotBefore: &at}))
		}))
	if codes, ans := r.run(body, "list@example.org", "u@example.org", "u@EXAMPLE.org", "w@example.org"); codes != "250 250 250 250 250 250" {
		t.Fatal(codes, ans)
	}
	env := r.stored()
	var to []string
	for _, rc := range env.Rcpts {
		to = append(to, rc.Address.Text+"("+rc.Original.Text+")")
		if _, ok := rc.Facts.Get("b.size"); !ok && rc.Address.Text != "z@example.org" {
			t.Errorf("%s lost its facts", rc.Address.Text)
		}
	}
	if want := "x@example.org(list@example.org) y@example.org(list@example.org) u@example.org(list@example.org) w@example.org(w@example.org) z@example.org(z@example.org)"; strings.Join(to, " ") != want {
		t.Errorf("recipients\n%s\nwant\n%s", strings.Join(to, " "), want)
	}
	if _, ok := env.Facts.Get("a.seen"); !ok || env.Sender.Text != "b@other.example" || env.Tenant != "acme" || env.NotBefore.Day() != 2 {
		t.Errorf("envelope %+v", env)
	}
	_, rest, _ := strings.Cut(r.sent(), "+0000\r\n")
	if want := "X-Mail: m\r\nX-Signed: yes\r\nSubject: two\r\n\r\ntext\r\n"; rest != want {
		t.Errorf("sent %q, want %q", rest, want)
	}
}

// What a plugin renamed one recipient to is never given to the next one.
func TestRenameOfRefusedRecipient(t *testing.T) {
	r := newRig(t, local,
		edits("b", hooks.Rcpt, func(c *hooks.Call) error {
			if c.Rcpt.Address.Local != "list" {
				return nil
			}
			return c.Rename(addr(t, "x@example.org"), addr(t, "y@example.org"))
		}),
		hook("c", hooks.Rcpt, func(c *hooks.Call) (*hooks.Verdict, error) {
			if c.Rcpt.Original.Local == "list" {
				return &hooks.Verdict{Kind: hooks.Reject}, nil
			}
			return nil, nil
		}))
	codes, _ := r.run(body, "list@example.org", "u@example.org")
	if env := r.stored(); codes != "250 550 250 250" || len(env.Rcpts) != 1 {
		t.Errorf("%s, %d recipients", codes, len(env.Rcpts))
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		onError hooks.Kind
		f       handler
		codes   string
	}{
		{hooks.Next, func(*hooks.Call) (*hooks.Verdict, error) { return nil, errors.New("broken") }, "250 250 250"},
		{hooks.Defer, func(*hooks.Call) (*hooks.Verdict, error) { return nil, errors.New("broken") }, "250 250 451"},
		{hooks.Reject, func(*hooks.Call) (*hooks.Verdict, error) { return nil, errors.New("broken") }, "250 250 550"},
		{hooks.Defer, func(*hooks.Call) (*hooks.Verdict, error) { panic("broken") }, "250 250 451"},
		{hooks.Defer, func(c *hooks.Call) (*hooks.Verdict, error) {
			c.SetHeader("Subject", "staged")
			panic("broken")
		}, "250 250 451"},
	} {
		h := hook("bad", hooks.Data, c.f)
		h.OnError = c.onError
		r := newRig(t, local, h)
		codes, ans := r.run(body, "u@example.org")
		if codes != c.codes {
			t.Errorf("on_error %s: %s, %s", c.onError, codes, ans.Reply.Error())
		}
		if r.stored() != nil && strings.Contains(r.sent(), "staged") {
			t.Error("edits of a handler that failed count")
		}
	}
}

// A hook may read at one stage what another set at an earlier one, in the session too.
func TestReadsAcrossStages(t *testing.T) {
	asked := ""
	set := edits("spf", hooks.Mail, func(c *hooks.Call) error { return c.SetFact(&c.Message.Facts, "spf.mail", "pass") })
	read := edits("dmarc", hooks.Data, func(c *hooks.Call) error {
		asked += fmt.Sprint(c.Fact(&c.Message.Facts, "spf.mail"))
		return nil
	})
	read.Reads = []string{"spf.mail"}
	quiet := edits("dnsbl", hooks.Connect, func(*hooks.Call) error { return nil })
	needs := edits("score", hooks.Rcpt, func(*hooks.Call) error { asked += " score"; return nil })
	needs.Reads = []string{"dnsbl.listed"}
	r := newRig(t, local, set, read, quiet, needs)

	gen := r.in.Current.Acquire()
	from := hooks.Call{Stage: hooks.Connect, Session: r.session}
	gen.Run(&from)
	gen.Release()
	tx, _ := r.in.Begin(t.Context(), &from, nil, addr(t, "a@client.example"), nil)
	tx.Rcpt(t.Context(), addr(t, "u@example.org"), nil)
	io.WriteString(tx, body)
	tx.Finish(t.Context())
	if asked != " scorepass" {
		t.Errorf("asked: %q", asked)
	}
}

func TestHeaderBounds(t *testing.T) {
	received := "Received: by x; y\r\n"
	for _, c := range []struct {
		name, content, reply string
	}{
		{"99 hops", strings.Repeat(received, 99) + body, "250 2.0.0 queued as"},
		{"100 hops", strings.Repeat(received, 100) + body, "554 5.4.6"},
		{"many fields", strings.Repeat("A: b\r\n", 10_001) + body, "552 5.3.4"},
		{"long header", "A: " + strings.Repeat("x", 300<<10) + "\r\n" + body, "552 5.3.4"},
		{"no header", "\r\ntext\r\n", "250 2.0.0"},
		{"nothing", "", "250 2.0.0"},
	} {
		r := newRig(t, local)
		r.set.MaxSize = 1 << 20
		if _, ans := r.run(c.content, "u@example.org"); !strings.HasPrefix(ans.Reply.Error(), c.reply) {
			t.Errorf("%s: %s, want %s", c.name, ans.Reply.Error(), c.reply)
		}
	}
}

func TestStoreErrors(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault func(*fakeQueue)
		codes string
		reply string
	}{
		{"full at mail", func(q *fakeQueue) { q.health.Full = true }, "452", "452 4.3.1"},
		{"stalled at mail", func(q *fakeQueue) { q.health.Stalled = true }, "452", "452 4.3.1"},
		{"no body", func(q *fakeQueue) { q.bodyErr = store.ErrBusy }, "451", "451 4.3.2"},
		{"content not taken", func(q *fakeQueue) { q.writeErr = fmt.Errorf("x: %w", store.ErrBusy) }, "250 250 451", "451 4.3.2"},
		{"content fails", func(q *fakeQueue) { q.writeErr = io.ErrShortWrite }, "250 250 451", "451 4.3.0"},
		{"full at commit", func(q *fakeQueue) { q.commitErr = store.ErrFull }, "250 250 452", "452 4.3.1"},
		{"busy at commit", func(q *fakeQueue) { q.commitErr = store.ErrBusy }, "250 250 451", "451 4.3.2"},
		{"unknown at commit", func(q *fakeQueue) { q.commitErr = store.ErrUnknown }, "250 250 silent", ""},
		{"other at commit", func(q *fakeQueue) { q.commitErr = io.ErrClosedPipe }, "250 250 silent", ""},
	} {
		r := newRig(t, local)
		c.fault(r.queue)
		codes, ans := r.run(body, "u@example.org")
		if codes != c.codes || !ans.Silent && !strings.HasPrefix(ans.Reply.Error(), c.reply) {
			t.Errorf("%s: %s, %s", c.name, codes, ans.Reply.Error())
		}
		if ans.Silent != (c.reply == "") || ans.Silent && !ans.Close {
			t.Errorf("%s: silent %v, close %v", c.name, ans.Silent, ans.Close)
		}
	}
}

func TestSizes(t *testing.T) {
	r := newRig(t, local)
	if _, ans := r.begin(smtp.Param{Key: "SIZE", Value: "10001"}); ans.Reply.Error() != "552 5.3.4 message exceeds the size limit" {
		t.Error(ans.Reply.Error())
	}
	if _, ans := r.begin(smtp.Param{Key: "SIZE", Value: "1x"}); ans.Reply.Code != 501 {
		t.Error(ans.Reply.Error())
	}
	codes, _ := r.run(body+strings.Repeat("x", 10_000-len(body)), "u@example.org")
	if codes != "250 250 250" {
		t.Error("at the limit:", codes)
	}
	r = newRig(t, local)
	if codes, _ := r.run(body+strings.Repeat("x", 10_001-len(body)), "u@example.org"); codes != "250 250 552" || r.stored() != nil {
		t.Error("above the limit:", codes)
	}
}

func TestManyRecipients(t *testing.T) {
	r := newRig(t, local)
	var to []string
	for i := range 52 {
		to = append(to, fmt.Sprintf("u%d@example.org", i))
	}
	to = append(to, to[3], to[49]) // known ones are accepted still
	codes, _ := r.run(body, to...)
	if want := "250" + strings.Repeat(" 250", 50) + " 452 452 250 250 250"; codes != want {
		t.Errorf("codes\n%s\nwant\n%s", codes, want)
	}
	if n := len(r.stored().Rcpts); n != 50 {
		t.Errorf("%d recipients", n)
	}
}

func TestRelay(t *testing.T) {
	out := func(result message.Result, code int, enhanced, text string) message.Outcome {
		return message.Outcome{Result: result, Reply: smtp.NewReply(code, enhanced, text)}
	}
	ok := out(message.Delivered, 250, "2.6.0", "remote took it")
	later, never := out(message.Deferred, 452, "4.2.2", "mailbox full"), out(message.Failed, 550, "5.1.1", "no such user")
	for _, c := range []struct {
		name     string
		outcomes []message.Outcome
		reply    string
		left     int // recipients in the queue
	}{
		{"all delivered", []message.Outcome{ok, ok}, "250 2.6.0 remote took it", 0},
		{"some later", []message.Outcome{ok, later}, "250 2.6.0 remote took it", 1},
		{"some never", []message.Outcome{never, ok}, "250 2.6.0 remote took it", 1},
		{"all later", []message.Outcome{later, later}, "451 4.2.2 mailbox full", 0},
		{"later and never", []message.Outcome{never, later}, "451 4.2.2 mailbox full", 0},
		{"never", []message.Outcome{never, never}, "550 5.1.1 no such user", 0},
		{"fewer outcomes than recipients", []message.Outcome{never}, "451 4.4.0 the next hop cannot take it now", 0},
	} {
		r := newRig(t, local, says("front", hooks.Queue, hooks.Verdict{Kind: hooks.RouteTo, Plan: &message.Plan{Hosts: []string{"127.0.0.1:25"}}}))
		r.queue.outcomes = c.outcomes
		_, ans := r.run(body, "u@example.org", "v@example.org")
		left := 0
		if env := r.stored(); env != nil {
			left = len(env.Rcpts)
			if r.queue.committed.Plan != nil {
				t.Errorf("%s: the plan was queued", c.name)
			}
		}
		if ans.Reply.Error() != c.reply || left != c.left || r.queue.relayed == nil {
			t.Errorf("%s: %s, %d left; want %s, %d", c.name, ans.Reply.Error(), left, c.reply, c.left)
		}
	}
}

// A message that one plugin wants held is held, whatever others do with it.
func TestHoldComesFirst(t *testing.T) {
	r := newRig(t, local,
		says("a", hooks.Mail, hooks.Verdict{Kind: hooks.Discard}),
		says("b", hooks.Data, hooks.Verdict{Kind: hooks.Hold, Reason: "evidence"}),
		says("b", hooks.Queue, hooks.Verdict{Kind: hooks.Hold, Reason: "more"}),
		says("c", hooks.Queue, hooks.Verdict{Kind: hooks.RouteTo, Plan: &message.Plan{Hosts: []string{"127.0.0.1:25"}}}))
	r.run(body, "u@example.org")
	if env := r.stored(); env == nil || env.Hold != "evidence" || r.queue.relayed != nil {
		t.Errorf("envelope %+v", env)
	}
}

func TestRefuseAndDrop(t *testing.T) {
	r := newRig(t, local)
	tx, _ := r.begin()
	tx.Rcpt(t.Context(), addr(t, "u@example.org"), nil)
	if ans := tx.Refuse(t.Context(), smtp.NewReply(550, "5.5.2", "stray LF")); ans.Reply.Code != 550 {
		t.Error(ans)
	}
	r.wantRecord("connect early: next", "rcpt domains: accept local", "data: reject 550 5.5.2")
	r = newRig(t, local)
	tx, _ = r.begin()
	tx.Rcpt(t.Context(), addr(t, "u@example.org"), nil)
	tx.Drop()
	r.wantRecord("connect early: next", "rcpt domains: accept local", "intake: dropped")
	if !strings.Contains(r.log.String(), "msg=dropped") {
		t.Errorf("log: %s", r.log.String())
	}
}

func TestStepsAreBounded(t *testing.T) {
	r := newRig(t)
	tx, _ := r.begin()
	for i := range 3 * maxSteps / 2 {
		tx.Rcpt(t.Context(), addr(t, fmt.Sprintf("u%d@example.org", i)), nil)
	}
	tx.Drop()
	for _, steps := range r.records {
		if len(steps) != maxSteps+1 || steps[maxSteps].Detail != "501 steps were left out" {
			t.Errorf("%d steps, the last is %+v", len(steps), steps[len(steps)-1])
		}
	}
}

func BenchmarkTransaction(b *testing.B) {
	content := []byte(body + strings.Repeat("some text of a message, some text of a message\r\n", 80))
	for _, plugins := range []int{0, 5} {
		b.Run(fmt.Sprint(plugins, " plugins"), func(b *testing.B) {
			hs := []*hooks.Hook{local, says("discard", hooks.Queue, hooks.Verdict{Kind: hooks.Discard})}
			for i := range plugins {
				for _, s := range []hooks.Stage{hooks.Mail, hooks.Rcpt, hooks.Data} {
					hs = append(hs, edits(fmt.Sprint("p", i), s, func(*hooks.Call) error { return nil }))
				}
			}
			gen, err := hooks.NewGeneration(1, hs, nil)
			if err != nil {
				b.Fatal(err)
			}
			q := &fakeQueue{Store: memory.New(memory.Options{})}
			in := New(Options{Queue: q, Current: hooks.NewCurrent(gen), Records: noRecords{}, Log: slog.New(slog.DiscardHandler),
				Settings: func() Settings { return Settings{"mx.example.org", 1 << 20, 100} }})
			from := &hooks.Call{Session: &message.Session{ID: "s", Role: message.RoleMX, Helo: "client.example"}}
			sender, to := addr(b, "a@client.example"), addr(b, "u@example.org")
			b.ReportAllocs()
			for b.Loop() {
				tx, _ := in.Begin(b.Context(), from, nil, sender, nil)
				tx.Rcpt(b.Context(), to, nil)
				tx.Write(content)
				if ans := tx.Finish(b.Context()); ans.Reply.Code != 250 {
					b.Fatal(ans)
				}
			}
		})
	}
}

type noRecords struct{}

func (noRecords) Append(string, ...observe.Step) {}

// TestBackgroundFactsOfRenamedRecipients: what is set in the background at rcpt is on all copies of a recipient.
func TestBackgroundFactsOfRenamedRecipients(t *testing.T) {
	behind := edits("b", hooks.Rcpt, func(c *hooks.Call) error { return c.SetFact(&c.Rcpt.Facts, "b.x", "set") })
	behind.Background, behind.Sets = true, []string{"b.x"}
	r := newRig(t, local, behind, edits("two", hooks.Rcpt, func(c *hooks.Call) error {
		return c.Rename(addr(t, "one@example.org"), addr(t, "two@example.org"))
	}))
	if codes, _ := r.run("Subject: x\r\n\r\n", "u@example.org"); codes != "250 250 250" {
		t.Fatal(codes)
	}
	for _, rcpt := range r.stored().Rcpts {
		if v, _ := rcpt.Facts.Get("b.x"); v != "set" {
			t.Errorf("%s has %v", rcpt.Address.Text, v)
		}
	}
}
