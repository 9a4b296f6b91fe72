package intake

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/hooks"
)

// maxReceived is the number of Received fields that a message in a loop has (RFC 5321 section 6.3).
const maxReceived = 100

// Finish ends the transaction after all content was written: plugins have their say at data and queue, then the message is
// made durable. The answer is final.
//
// Hold beats discard, since it can be undone; both beat a plan.
func (t *Transaction) Finish(ctx context.Context) Answer {
	if t.err != nil {
		return t.Refuse(ctx, failed(t.err))
	}
	t.view.Content, t.view.Draft, t.view.MaxSize = t.body.Content(), t.draft, t.set.MaxSize
	t.env.Size = t.view.Content.Size()
	if reply := t.header(); reply.Code != 0 {
		return t.Refuse(ctx, reply)
	}

	if t.lmtp() {
		t.view.Ballot.Told = make(map[*message.Rcpt]smtp.Reply, len(t.told))
		for _, r := range t.told {
			if r != nil {
				t.view.Ballot.Told[r] = smtp.Reply{}
			}
		}
	}
	given := slices.Clone(t.env.Rcpts)
	res := t.run(ctx, hooks.Data)
	if res.End != nil {
		return t.refuse(ctx, res.End, res.By)
	}
	t.take(res)
	if now := t.env.Rcpts; !slices.Equal(now, given) { // some were added, or refused
		t.env.Rcpts, t.seen = nil, nil
		for _, r := range now {
			t.add(r)
		}
	}

	if t.env.Session.Role == message.RoleSubmission {
		if reply := t.complete(); reply.Code != 0 {
			return t.Refuse(ctx, reply)
		}
	}
	res = t.run(ctx, hooks.Queue)
	if res.End != nil {
		return t.refuse(ctx, res.End, res.By)
	}
	t.take(res)
	held := t.view.Ballot.Settle(t.env, t.discard && t.env.Hold == "")
	if len(t.env.Rcpts)+len(held) == 0 {
		return t.discarded(ctx)
	}

	header, err := t.view.Header() // with the edits
	if err != nil {
		return t.Refuse(ctx, t.unreadable(err))
	}
	content := t.body.Content() // with what plugins made of it
	t.env.Arrived = t.in.Now()
	t.env.Prefix, t.env.Skip = header.Result(t.env.AppendReceived(make([]byte, 0, 256), t.set.Hostname))
	t.env.Size = int64(len(t.env.Prefix)) + content.Size() - t.env.Skip
	t.env.Session = stored(t.env.Session)

	if res.Plan != nil && t.env.Hold == "" && len(t.env.Rcpts) > 0 {
		return t.relay(ctx, content, res.Plan, held)
	}
	t.env.Rcpts = append(t.env.Rcpts, held...)
	return t.commit(ctx, smtp.Reply{})
}

// draft is a content that plugins may put in the place of the one that came in.
func (t *Transaction) draft(ctx context.Context, size int64) (message.Draft, error) {
	return store.DraftOf(ctx, t.body, size, func(body store.BodyWriter) {
		t.before, t.body = append(t.before, t.body), body // something in the background may read the one before
	})
}

// header reads the header, bounded, and puts on top what plugins added before it was there. It returns the reply if that
// cannot be.
func (t *Transaction) header() (refusal smtp.Reply) {
	h, err := t.view.Header()
	if err == nil && h.Count("Received") >= maxReceived {
		return replyHops
	}
	for i := 0; err == nil && i < len(t.view.Added); i++ {
		err = h.Add(t.view.Added[i].Name, t.view.Added[i].Value)
	}
	return t.unfit(err)
}

// complete adds what a submitted message must have and lacks (RFC 6409 section 8), before it is signed.
func (t *Transaction) complete() (refusal smtp.Reply) {
	h, err := t.view.Header()
	for _, f := range [...][2]string{
		{"Message-ID", "<" + t.env.ID.String() + "@" + t.set.Hostname + ">"},
		{"Date", t.in.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 -0700")},
	} {
		if err == nil && h.Count(f[0]) == 0 {
			if err = h.Add(f[0], f[1]); err == nil {
				t.Observe(observe.Step{Time: t.in.Now(), Stage: stageEnd, Generation: t.gen.Number, Verdict: "completed", Detail: f[0] + " was missing"})
			}
		}
	}
	return t.unfit(err)
}

// unfit is the reply when a header cannot be read, or cannot have what is added; none without an error.
func (t *Transaction) unfit(err error) smtp.Reply {
	if err == nil {
		return smtp.Reply{}
	}
	if limit := (*message.HeaderLimitError)(nil); errors.As(err, &limit) {
		return smtp.NewReply(552, "5.3.4", limit.Error())
	}
	return t.unreadable(err)
}

// unreadable is the reply when our own copy of the content cannot be read.
func (t *Transaction) unreadable(err error) smtp.Reply {
	t.in.Log.Error("the content of a message cannot be read", "id", t.env.ID.String(), "error", err)
	return replyFailed
}

// stored is what is kept of a session: the live one goes on, and is not shared.
func stored(s *message.Session) *message.Session {
	c := *s
	c.Facts, c.History = message.Facts{}, nil
	return &c
}

func (t *Transaction) discarded(ctx context.Context) Answer {
	detail := "a plugin discarded the message"
	if !t.discard {
		detail = "plugins discarded all recipients"
	}
	t.Observe(observe.Step{Time: t.in.Now(), Stage: stageEnd, Generation: t.gen.Number, Verdict: "discarded", Detail: detail})
	t.end(ctx, "discarded", replyDiscarded, t.by)
	return t.answer(replyDiscarded)
}

// commit hands the message to the queue. The reply is for when that succeeded; without one it names the id.
func (t *Transaction) commit(ctx context.Context, reply smtp.Reply) Answer {
	id := t.env.ID.String()
	at, start := t.in.Now(), time.Now() // from here on the queue may write its own steps
	err := t.in.Queue.Commit(ctx, t.env, t.body)
	step := observe.Step{Time: at, Stage: stageEnd, Generation: t.gen.Number, Micros: uint32(time.Since(start).Microseconds())}
	if err == nil {
		if reply.Code == 0 {
			reply = smtp.NewReply(250, "2.0.0", "queued as "+id)
		}
		step.Verdict, step.Detail = "queued", t.about()
		if t.env.Hold != "" {
			step.Verdict, step.Detail = "held", t.env.Hold+"; "+step.Detail
		}
		t.Observe(step)
		t.end(ctx, "accepted", reply, t.by)
		return t.answer(reply)
	}
	step.Detail = err.Error()
	if errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrBusy) {
		reply = failed(err)
		step.Verdict = word(reply)
		t.Observe(step)
		t.end(ctx, "rejected", reply, "")
		return t.answer(reply)
	}
	// The message may be on disk or not: any answer could be false, and the client tries again.
	step.Verdict = "unknown"
	t.Observe(step)
	t.in.Log.LogAttrs(ctx, slog.LevelError, "the outcome of a commit is not known", slog.String("id", id), slog.Any("error", err))
	t.end(ctx, "unknown", smtp.Reply{}, "")
	return Answer{Silent: true, Close: true}
}

// about says which message this is, for people: "<a@b.example>, 4096 bytes, by 192.0.2.1 (mx.b.example)".
func (t *Transaction) about() string {
	b := make([]byte, 0, 128)
	b = append(append(append(b, '<'), t.env.Sender.Text...), ">, "...)
	b = append(strconv.AppendInt(b, t.written, 10), " bytes"...)
	if s := t.env.Session; s.IP.IsValid() {
		b = append(s.IP.AppendTo(append(b, ", by "...)), " ("...)
		b = append(append(b, s.Helo...), ')')
	} else {
		b = append(append(b, ", by "...), s.Origin...)
	}
	return string(b)
}

// relay delivers before the reply, as a plan of the stage queue asks. Once one recipient has the message it is ours: the
// others are queued, those that were refused too, so that the sender is told by the queue; held ones are not delivered. Those that
// have a reply of their own (LMTP) are not queued.
func (t *Transaction) relay(ctx context.Context, content message.Content, plan *message.Plan, held []*message.Rcpt) Answer {
	t.env.Plan = plan
	outcomes := t.in.Queue.Relay(ctx, t.gen, t.env, content, plan, t)
	t.env.Plan = nil
	var open []*message.Rcpt
	var delivered, deferred, refused smtp.Reply
	done := 0
	for i, r := range t.env.Rcpts {
		o := message.Outcome{Result: message.Deferred}
		if i < len(outcomes) {
			o = outcomes[i]
		}
		own := passOn(o.Reply, 250, "2.0.0", "delivered")
		switch o.Result {
		case message.Delivered, message.Discarded:
			done++
			delivered = own
			t.view.Ballot.Tell(r, own)
			continue
		case message.Failed:
			own = passOn(o.Reply, 550, "5.0.0", "refused by the next hop")
			refused = own
		default:
			own = passOn(o.Reply, 451, "4.4.0", "the next hop cannot take it now")
			deferred = own
		}
		if !t.view.Ballot.Tell(r, own) {
			open = append(open, r)
		}
	}
	step := observe.Step{Time: t.in.Now(), Stage: stageEnd, Generation: t.gen.Number, Detail: strconv.Itoa(done) + " of " + strconv.Itoa(len(t.env.Rcpts)) + " recipients delivered before the reply"}
	switch {
	case done > 0 && len(open)+len(held) == 0:
		step.Verdict = "delivered"
		t.Observe(step)
		t.end(ctx, "accepted", delivered, t.by)
		return t.answer(delivered)
	case done > 0 || t.lmtp() && len(held) > 0:
		t.env.Rcpts = append(open, held...)
		return t.commit(ctx, delivered)
	}
	reply := refused
	if deferred.Code != 0 {
		reply = deferred
	}
	step.Verdict = word(reply)
	t.Observe(step)
	t.end(ctx, "rejected", reply, t.by)
	return t.answer(reply)
}

// passOn is a remote's reply with the code that the client is to see; the rest is ours where the remote has nothing fitting.
func passOn(remote smtp.Reply, code int, enhanced, text string) smtp.Reply {
	reply := smtp.NewReply(code, enhanced, text)
	if len(remote.Text) > 0 {
		reply.Text = remote.Text
	}
	if remote.Enhanced != "" && remote.Enhanced[0] == enhanced[0] {
		reply.Enhanced = remote.Enhanced
	}
	return reply
}
