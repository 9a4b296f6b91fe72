package queue

import (
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/dsn"
	"github.com/stagepost/stagepost/core/esmtp"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
)

// terms are what was agreed on with the client that brought a message: until when it is tried, and of what its sender is told.
type terms struct {
	env      *message.Envelope
	asked    esmtp.Mail
	released time.Time     // since when it may go
	unseen   time.Duration // since then, that no server saw; it does not count
	expires  time.Time     // when it is given up
	times    Times         // that count for it
}

// terms are those for a site; "" is one for which nothing is set apart.
func (s *Settings) terms(env *message.Envelope, site string) terms {
	t := terms{env: env, released: env.Arrived, expires: env.Expires, times: s.times(env, site)}
	t.asked, _ = esmtp.ParseMail(env.Params, env.Arrived) // they were read when they came
	if env.NotBefore.After(t.released) {
		t.released = env.NotBefore
	}
	if t.expires.IsZero() { // a time of its own is one of the wall clock
		t.unseen = s.clock.unseen(t.released)
		t.expires = t.released.Add(t.times.Expire + t.unseen)
	}
	return t
}

// ahead counts the time of a message that came by a clock that was ahead from its first attempt, which was before that, or nothing would
// ever end. m is the message.
func (t *terms) ahead(m *msg, s *Settings) {
	if t.limited() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.state.Rcpts {
		if first := m.state.Rcpts[i].First; !first.IsZero() && first.Before(t.env.Arrived) && first.Before(t.released) {
			t.released, t.unseen = first, s.clock.unseen(first)
			t.expires = t.released.Add(t.times.Expire + t.unseen)
		}
	}
}

// limited tells whether the message has a time of its own, by its client (RFC 2852 section 4, mode R) or a plugin. After that nothing
// is delivered, and it counts also while the message is held.
func (t *terms) limited() bool { return !t.env.Expires.IsZero() }

// lapsed tells whether nothing may be delivered any more.
func (t *terms) lapsed(now time.Time) bool { return t.limited() && !now.Before(t.expires) }

var lapse = message.Outcome{Result: message.Failed, Reply: smtp.NewReply(550, "5.4.7", "the time in which it was to be delivered is over")}

// alarm is when the sender wants to be told that the message is late (RFC 2852 section 4, mode N); zero: at no such time. Where the
// time was over when the message came, a server before this one has told.
func (t *terms) alarm() time.Time {
	if by := t.asked.By; by.Notify() && by.At.After(t.env.Arrived) {
		return by.At
	}
	return time.Time{}
}

// late tells whether the sender of a message that is not delivered yet is to be told so. Of one that is held, only at a time that he
// asked for himself.
func (t *terms) late(now time.Time, held bool) bool {
	alarm, warn := t.alarm(), *t.times.Warn
	return warn > 0 && !held && now.Sub(t.released)-t.unseen >= warn || !alarm.IsZero() && !now.Before(alarm)
}

// next is when a recipient is tried again that would be at that time: once more at the end, then it fails, and once when its
// sender is to be told if it does not succeed.
func (t *terms) next(at, now time.Time) time.Time {
	if last := store.WholeSecond(t.expires); at.After(last) {
		at = last
	}
	if alarm := t.alarm(); alarm.After(now) && at.After(alarm) {
		at = store.WholeSecond(alarm)
	}
	return at
}

// owed tells whether the sender is to be told what became of a recipient. hushed: a plugin said that nobody is to be told of the
// failure.
func (t *terms) owed(i int, state *store.State, o *message.Outcome, late, hushed bool) bool {
	st := &state.Rcpts[i]
	if !dsn.Owed(t.env.Sender) {
		return false
	}
	asked, _ := esmtp.ParseRcpt(t.env.Rcpts[i].Params)
	switch st.Result {
	case message.Failed:
		return !hushed && asked.Notify.Wants(esmtp.Failure)
	case 0, message.Deferred, message.Held:
		return late && !st.Warned && asked.Notify.Wants(esmtp.Delay)
	case message.Delivered:
		if asked.Notify != esmtp.Never && t.env.Rcpts[i].Class == message.ClassRelay && (t.asked.By.Trace || t.asked.By.Notify() && !o.Timed) {
			return true // RFC 2852 section 4: of each hop, or of one that does not know by when it is to be delivered
		}
		if asked.Notify.Wants(esmtp.Success) && t.env.Expanded(i) { // once, of the first that was delivered
			for k, r := range t.env.Rcpts {
				if k != i && r.Original == t.env.Rcpts[i].Original && state.Rcpts[k].Result == message.Delivered {
					return false
				}
			}
			return true
		}
		return !o.Notifies && asked.Notify.Wants(esmtp.Success)
	}
	return false
}

// noticeKind is what a notice that is owed says of a recipient.
func noticeKind(env *message.Envelope, i int, st *store.RcptState) dsn.Kind {
	r := env.Rcpts[i]
	switch {
	case st.Result == message.Failed:
		return dsn.Failed
	case st.Result != message.Delivered:
		return dsn.Delayed
	case env.Expanded(i):
		return dsn.Expanded
	case strings.HasPrefix(st.Lane, message.ViaLMTP+":"), r.Class == message.ClassLocal && (strings.HasPrefix(st.Lane, "plugin:") || strings.HasPrefix(st.Lane, message.HopTransport) || message.IsURL(st.Lane)):
		return dsn.Delivered // by what has mailboxes; SMTP hands on
	}
	return dsn.Relayed
}

// noticeParams are the parameters of MAIL for a notice about a message: what that was not to go without is not given up on its
// way back (RFC 8689 section 5).
func noticeParams(asked esmtp.Mail, to smtp.Address) (params smtp.Params) {
	if !esmtp.IsASCII(to) {
		params = append(params, smtp.Param{Key: "SMTPUTF8"})
	}
	if asked.RequireTLS {
		params = append(params, smtp.Param{Key: "REQUIRETLS"})
	}
	return params
}
