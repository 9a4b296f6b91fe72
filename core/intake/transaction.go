package intake

import (
	"cmp"
	"context"
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

// Transaction is one message on its way in. It belongs to one goroutine, and is over after Finish, Refuse or Drop.
type Transaction struct {
	in     *Intake
	began  time.Time
	set    Settings
	gen    *hooks.Generation
	env    *message.Envelope
	body   store.BodyWriter
	before []store.BodyWriter // contents that another took the place of
	call   hooks.Call
	view   hooks.MessageView
	rcpt   hooks.RcptView

	accepted int              // recipients that were answered 250
	refused  int              // recipients that were not
	seen     map[mailbox]bool // made when a list is no longer short
	written  int64            // bytes of content
	err      error            // why no more content is taken
	discard  bool             // a plugin wants the message forgotten
	by       string           // the plugin that decided last
	refusal  smtp.Reply       // the last one that a recipient got
	told     []*message.Rcpt  // LMTP: of each RCPT that was answered 250, its recipient; nil where nobody is kept
	steps    *[]observe.Step  // of the session and of this transaction
	late     []hooks.Late     // what was said before RCPT and is told there
	left     int              // steps for which there was no room
}

// Bounds of the record that a transaction collects, and of the memory that is kept for the next one's.
const (
	maxSteps  = 1000
	keepSteps = 64
)

// ID names the message.
func (t *Transaction) ID() message.ID { return t.env.ID }

// Accepted is how many recipients were answered 250. Without one there is nobody to take content for.
func (t *Transaction) Accepted() int { return t.accepted }

// MaxSize is the largest content that is taken, in bytes.
func (t *Transaction) MaxSize() int64 { return t.set.MaxSize }

// Err tells why Write takes no more content; Finish has the answer.
func (t *Transaction) Err() error { return t.err }

// Observe collects a step for the record; it is for hooks and the queue.
func (t *Transaction) Observe(s observe.Step) {
	if len(*t.steps) >= maxSteps {
		t.left++
		return
	}
	*t.steps = append(*t.steps, s)
}

func (t *Transaction) run(ctx context.Context, stage hooks.Stage) hooks.Result {
	t.call.Stage, t.call.Parent = stage, ctx
	return t.gen.Run(&t.call)
}

// take remembers what a stage decided without ending it.
func (t *Transaction) take(res hooks.Result) {
	if res.Discard != nil {
		t.discard = true
	}
	if res.Hold != nil && t.env.Hold == "" {
		t.env.Hold = res.Hold.Reason
		if t.env.Hold == "" {
			t.env.Hold = "held by " + res.HoldBy
		}
	}
	if by := cmp.Or(res.HoldBy, res.DiscardBy, res.DecidedBy); by != "" {
		t.by = by
	}
}

// Late adds what was said at the stages of the session, to be told at each Rcpt as long as it holds.
func (t *Transaction) Late(before ...hooks.Late) { t.late = append(before, t.late...) }

// Rcpt adds a recipient, with the parameters of RCPT.
func (t *Transaction) Rcpt(ctx context.Context, to smtp.Address, params smtp.Params) Answer {
	if t.has(to, false) && (!t.lmtp() || len(t.told) < t.set.MaxRcpts) {
		t.tell(t.told, func(r *message.Rcpt) *smtp.Address { return &r.Original }, to)
		return Answer{Reply: replyRcpt}
	}
	if max(t.accepted, len(t.told)) >= t.set.MaxRcpts {
		return t.refuseRcpt(replyManyRcpts, to, "")
	}
	for _, l := range t.late {
		if l.Holds(t.env.Session) {
			ans := t.refuseRcpt(l.Reply(), to, "<"+to.Text+">: "+l.Hook.Plugin+" said so at "+l.Hook.Stage.String())
			t.by, ans.Delay = l.Hook.Plugin, l.Delay
			return ans
		}
	}
	r := &message.Rcpt{Address: to, Original: to, Params: params}
	t.rcpt = hooks.RcptView{Rcpt: r, Message: &t.view, Index: len(t.env.Rcpts)}
	t.call.Rcpt = &t.rcpt
	res := t.run(ctx, hooks.Rcpt)
	t.call.Rcpt = nil
	more := t.call.Renamed()
	if len(more) > 0 { // they are this recipient's, not the next one's
		t.call = hooks.Call{Session: t.call.Session, Asked: t.call.Asked, Message: &t.view, Observer: t}
	}
	if res.End != nil {
		t.by, t.refusal = res.By, res.End.Reply()
		t.refused++
		return Answer{Reply: t.refusal, Delay: res.End.Delay, Close: res.End.Kind == hooks.Close}
	}
	if res.Discard != nil { // wanted by nobody else, perhaps: 250 and nothing more
		t.accepted++
		t.tell(nil, nil, to)
		return Answer{Reply: replyRcpt}
	}
	if r.Class == message.ClassNone {
		if t.env.Session.Role != message.RoleInternal {
			return t.refuseRcpt(replyNoRelay, to, "no plugin accepted <"+to.Text+">; `domains` or `relay` would")
		}
		r.Class = message.ClassRelay
	}
	t.accepted++
	t.add(r)
	for _, a := range more {
		copied := &message.Rcpt{Address: a, Original: r.Original, Params: params, Class: r.Class, By: r.By}
		for _, f := range r.Facts.All() {
			copied.Facts.Set(f.Name, f.Value) // it fitted there, so it fits here
		}
		t.add(copied)
	}
	if len(more) > 0 { // what becomes of several is not one reply
		t.tell(nil, nil, to)
	} else {
		t.tell(t.env.Rcpts, func(r *message.Rcpt) *smtp.Address { return &r.Address }, r.Address)
	}
	return Answer{Reply: replyRcpt}
}

func (t *Transaction) lmtp() bool { return t.env.Session.Role == message.RoleLMTP }

// tell notes whose reply a RCPT will have that is answered 250: of that recipient among those with the address; of nobody's, that
// of the whole.
func (t *Transaction) tell(among []*message.Rcpt, of func(*message.Rcpt) *smtp.Address, a smtp.Address) {
	if !t.lmtp() {
		return
	}
	var whose *message.Rcpt
	if i := slices.IndexFunc(among, func(r *message.Rcpt) bool { return r != nil && of(r).Local == a.Local && of(r).Domain == a.Domain }); i >= 0 {
		whose = among[i]
	}
	t.told = append(t.told, whose)
}

// answer is the answer to a content.
func (t *Transaction) answer(reply smtp.Reply) Answer {
	ans := Answer{Reply: reply}
	for _, r := range t.told {
		own := t.view.Ballot.Told[r]
		if own.Code == 0 {
			own = reply
		}
		ans.Each = append(ans.Each, own)
	}
	return ans
}

// refuseRcpt is a refusal of the core's own.
func (t *Transaction) refuseRcpt(reply smtp.Reply, to smtp.Address, detail string) Answer {
	if detail == "" {
		detail = "<" + to.Text + ">: " + reply.Text[0]
	}
	t.by, t.refusal = "", reply
	t.refused++
	t.Observe(observe.Step{Time: t.in.Now(), Stage: hooks.Rcpt.String(), Generation: t.gen.Number, Verdict: word(reply), Detail: detail})
	return Answer{Reply: reply}
}

// mailbox is what makes recipients the same: as the client gave them, and as they are sent to.
type mailbox struct {
	local, domain string
	final         bool
}

const shortList = 16

// has tells whether a recipient of that address is there, as given by the client or as it is sent to.
func (t *Transaction) has(a smtp.Address, final bool) bool {
	if t.seen != nil {
		return t.seen[mailbox{a.Local, a.Domain, final}]
	}
	for _, r := range t.env.Rcpts {
		b := &r.Original
		if final {
			b = &r.Address
		}
		if b.Local == a.Local && b.Domain == a.Domain {
			return true
		}
	}
	return false
}

// add keeps a recipient, unless one with its address is kept already.
func (t *Transaction) add(r *message.Rcpt) {
	if t.has(r.Address, true) {
		return
	}
	t.env.Rcpts = append(t.env.Rcpts, r)
	if len(t.env.Rcpts) < shortList {
		return
	}
	fresh := t.env.Rcpts[len(t.env.Rcpts)-1:]
	if t.seen == nil {
		t.seen, fresh = make(map[mailbox]bool, 4*shortList), t.env.Rcpts
	}
	for _, r := range fresh {
		t.seen[mailbox{r.Original.Local, r.Original.Domain, false}] = true
		t.seen[mailbox{r.Address.Local, r.Address.Domain, true}] = true
	}
}

// Write takes content while it arrives. After an error it takes no more; who cannot be told in the middle reads on to the
// end and then gets the answer from Finish.
func (t *Transaction) Write(p []byte) (int, error) {
	if t.err == nil && t.written+int64(len(p)) > t.set.MaxSize {
		t.err = errTooBig
	}
	if t.err != nil {
		return 0, t.err
	}
	n, err := t.body.Write(p)
	t.written += int64(n)
	t.err = err
	return n, err
}

// Drop ends a transaction that its origin gave up, or whose origin was lost.
func (t *Transaction) Drop() {
	reply := t.refusal
	if reply.Code != 0 && t.accepted == 0 {
		t.end(context.Background(), "rejected", reply, t.by)
		return
	}
	t.Observe(observe.Step{Time: t.in.Now(), Stage: stageEnd, Generation: t.gen.Number, Verdict: "dropped", Detail: "given up before the end of the content"})
	t.end(context.Background(), "dropped", smtp.Reply{}, "")
}

// Refuse ends a transaction whose content could not be received as it should be.
func (t *Transaction) Refuse(ctx context.Context, reply smtp.Reply) Answer {
	detail := ""
	if len(reply.Text) > 0 {
		detail = reply.Text[0]
	}
	t.Observe(observe.Step{Time: t.in.Now(), Stage: hooks.Data.String(), Generation: t.gen.Number, Verdict: word(reply), Detail: detail})
	t.end(ctx, "rejected", reply, "")
	return t.answer(reply)
}

// refuse ends a transaction by a plugin's verdict.
func (t *Transaction) refuse(ctx context.Context, v *hooks.Verdict, by string) Answer {
	reply := v.Reply()
	t.end(ctx, "rejected", reply, by)
	ans := t.answer(reply)
	ans.Delay, ans.Close = v.Delay, v.Kind == hooks.Close
	return ans
}

// stageEnd is the stage of the core's own last step in a record.
const stageEnd = "intake"

// end gives back what the transaction held, after its answer was decided, and leaves the record and one line in the log.
// The envelope may be the queue's by now: it is only read.
func (t *Transaction) end(ctx context.Context, outcome string, reply smtp.Reply, by string) {
	t.view.Abandon() // before the content goes, which it may read
	for _, body := range append(t.before, t.body) {
		body.Abort()
	}
	t.gen.Release()
	t.in.seconds.Took(time.Since(t.began))
	if c := t.in.counts[t.env.Session.Role]; c != nil {
		c.Rcpts.AddN(0, t.accepted)
		c.Rcpts.AddN(1, t.refused)
		c.Ended(outcome, reply, t.env.Hold != "", t.env.Size)
	}
	if t.left > 0 {
		*t.steps = append(*t.steps, observe.Step{Time: t.in.Now(), Stage: stageEnd, Verdict: outcome, Detail: strconv.Itoa(t.left) + " steps were left out"})
	}
	id := t.env.ID.String()
	if len(*t.steps) > 0 {
		t.in.Records.Append(id, *t.steps...)
	}
	if cap(*t.steps) <= keepSteps {
		clear(*t.steps)
		*t.steps = (*t.steps)[:0]
		t.in.steps.Put(t.steps)
	}
	if !t.in.Log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	s := t.env.Session
	attrs := make([]slog.Attr, 0, 10)
	attrs = append(attrs, slog.String("id", id), slog.String("session", s.ID), slog.String("from", t.env.Sender.Text),
		slog.Int("nrcpt", len(t.env.Rcpts)), slog.Int64("size", t.written))
	if s.IP.IsValid() {
		attrs = append(attrs, slog.String("ip", s.IP.String()))
	}
	if by != "" {
		attrs = append(attrs, slog.String("plugin", by))
	}
	if t.env.Hold != "" {
		attrs = append(attrs, slog.String("hold", t.env.Hold))
	}
	if reply.Code != 0 {
		attrs = append(attrs, slog.String("reply", reply.Error()))
	}
	t.in.Log.LogAttrs(ctx, slog.LevelInfo, outcome, attrs...)
}
