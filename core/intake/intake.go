// Package intake takes one message, whoever brings it: an SMTP session, a program, or this server itself. It asks the
// plugins at mail, rcpt, data and queue, and hands what they let through to the queue; only after the queue made it durable
// does the answer say 250.
//
// A Transaction is one value that its origin holds by one pointer, from Begin until Finish, Refuse or Drop. It pins one
// generation of the plugins and is never used again: nothing of it is cleared, so nothing of one message can reach the
// next. What happened on the way is collected in it and written to the message's record after the answer is decided.
package intake

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/esmtp"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/core/tally"
	"github.com/stagepost/stagepost/hooks"
)

// Queue is where accepted mail goes. All methods are safe for concurrent use.
type Queue interface {
	// Body begins a content, as store.Store does; the message's id is the content's.
	Body(ctx context.Context, sizeHint int64) (store.BodyWriter, error)
	// Commit makes the message durable. nil is the only licence for 250; of other errors than store.ErrFull and store.ErrBusy
	// nobody may be told anything.
	Commit(ctx context.Context, env *message.Envelope, body store.BodyWriter) error
	// Relay delivers before the reply, as a plan of the stage queue asks, and returns one outcome for each recipient.
	Relay(ctx context.Context, gen *hooks.Generation, env *message.Envelope, content message.Content, plan *message.Plan, obs hooks.Observer) []message.Outcome
	Health() store.Health
}

// Recorder keeps the records of messages; *observe.Records is one. It must not keep steps.
type Recorder interface {
	Append(id string, steps ...observe.Step)
}

// Settings are what of the configuration matters here. A transaction keeps those of its begin.
type Settings struct {
	Hostname string // in Received and in greetings
	MaxSize  int64  // of a content, in bytes
	MaxRcpts int    // of a transaction
}

// Options are what an Intake is made of. All but Now are needed.
type Options struct {
	Queue    Queue
	Current  *hooks.Current
	Settings func() Settings
	Records  Recorder
	Log      *slog.Logger
	Now      func() time.Time
}

// Intake begins transactions. It is safe for concurrent use.
type Intake struct {
	Options
	steps   sync.Pool // of *[]observe.Step, empty
	counts  map[message.Role]*tally.Role
	seconds *observe.Histogram
}

// New makes an Intake.
func New(o Options) *Intake {
	if o.Now == nil {
		o.Now = time.Now
	}
	in := &Intake{Options: o, counts: make(map[message.Role]*tally.Role), seconds: tally.NewSeconds()}
	for _, role := range message.Roles() {
		in.counts[role] = tally.NewRole()
	}
	in.steps.New = func() any { s := make([]observe.Step, 0, 16); return &s }
	return in
}

// Counts are what was counted for a role; nil for one that there is not.
func (in *Intake) Counts(role message.Role) *tally.Role { return in.counts[role] }

// Seconds is how long transactions took, from MAIL to their end.
func (in *Intake) Seconds() *observe.Histogram { return in.seconds }

// Answer is what the origin says to whoever brings the message.
type Answer struct {
	Reply  smtp.Reply
	Each   []smtp.Reply  // LMTP, after content: one for each RCPT that was answered 250, in order (RFC 2033 section 4.2); Reply stands for them elsewhere
	Delay  time.Duration // before the reply
	Close  bool          // end the connection after the reply
	Silent bool          // end the connection without a reply: whether the message was kept is not known
}

// Replies that have no part of the message in them. They are never changed.
var (
	replySender    = smtp.NewReply(250, "2.1.0", "sender ok")
	replyRcpt      = smtp.NewReply(250, "2.1.5", "recipient ok")
	replyDiscarded = smtp.NewReply(250, "2.0.0", "ok")
	replyTooBig    = smtp.NewReply(552, "5.3.4", "message exceeds the size limit")
	replyManyRcpts = smtp.NewReply(452, "4.5.3", "too many recipients in one transaction")
	replyNoRelay   = smtp.NewReply(550, "5.7.1", "relay not permitted")
	replyHops      = smtp.NewReply(554, "5.4.6", "too many hops: the message is in a loop")
	replyFull      = smtp.NewReply(452, "4.3.1", "no room for mail now, try again later")
	replyBusy      = smtp.NewReply(451, "4.3.2", "too much mail at once, try again later")
	replyFailed    = smtp.NewReply(451, "4.3.0", "the message could not be taken, try again later")
)

var errTooBig = errors.New("message exceeds the size limit")

// failed is the reply for content that could not be taken, when nothing was committed.
func failed(err error) smtp.Reply {
	switch {
	case errors.Is(err, errTooBig):
		return replyTooBig
	case errors.Is(err, store.ErrFull):
		return replyFull
	case errors.Is(err, store.ErrBusy):
		return replyBusy
	}
	return replyFailed
}

// Begin starts a transaction with the sender and the parameters of MAIL. from is the call of the stages before: it brings the
// session, and which facts were asked for; steps are what is known of those stages. The Transaction is nil when it was
// refused.
func (in *Intake) Begin(ctx context.Context, from *hooks.Call, steps []observe.Step, sender smtp.Address, params smtp.Params) (*Transaction, Answer) {
	set := in.Settings()
	asked, err := esmtp.ParseMail(params, in.Now())
	if err != nil {
		reply := smtp.NewReply(501, "5.5.4", "syntax error in parameters")
		errors.As(err, &reply)
		return in.turnAway(ctx, from.Session, sender, reply)
	}
	if asked.Size > set.MaxSize {
		return in.turnAway(ctx, from.Session, sender, replyTooBig)
	}
	if h := in.Queue.Health(); h.Full || h.Stalled {
		return in.turnAway(ctx, from.Session, sender, replyFull)
	}
	body, err := in.Queue.Body(ctx, asked.Size)
	if err != nil {
		return in.turnAway(ctx, from.Session, sender, failed(err))
	}
	gen := in.Current.Acquire()
	env := &message.Envelope{ID: body.ID(), Session: from.Session, Sender: sender, Params: params, Generation: gen.Number, Size: asked.Size,
		NotBefore: asked.NotBefore, Priority: int8(asked.Priority)}
	if asked.By.Return {
		env.Expires = asked.By.At
	}
	if m := from.Message; m != nil { // of a Submission
		env.Notice, env.Injected = m.Notice, m.Injected
	}
	t := &Transaction{in: in, began: time.Now(), set: set, gen: gen, env: env, body: body, steps: in.steps.Get().(*[]observe.Step)}
	t.view.Envelope = env
	t.call = hooks.Call{Session: from.Session, Asked: from.Asked, Message: &t.view, Observer: t}
	*t.steps = append(*t.steps, steps[:min(len(steps), maxSteps)]...)

	t.call.Late = from.Late
	res := t.run(ctx, hooks.Mail)
	t.call.Late, t.late = false, res.Late
	if res.End != nil {
		return nil, t.refuse(ctx, res.End, res.By)
	}
	t.take(res)
	return t, Answer{Reply: replySender}
}

// turnAway refuses what has no id yet and so no record: the log is all there is.
func (in *Intake) turnAway(ctx context.Context, s *message.Session, sender smtp.Address, reply smtp.Reply) (*Transaction, Answer) {
	in.counts[s.Role].Rejected(reply)
	in.Log.LogAttrs(ctx, slog.LevelInfo, "rejected", slog.String("session", s.ID), slog.String("from", sender.Text),
		slog.String("ip", s.IP.String()), slog.String("reply", reply.Error()))
	return nil, Answer{Reply: reply}
}

// word is a refusal as records write it: "reject 550 5.7.1".
func word(r smtp.Reply) string {
	kind := hooks.Reject
	if r.Temporary() {
		kind = hooks.Defer
	}
	return kind.String() + " " + strconv.Itoa(r.Code) + " " + r.Enhanced
}
