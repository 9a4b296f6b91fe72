package queue

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
)

// What is suspended is not tried until it is resumed, or until its time is over. A suspension is a note in the store. Mail that it
// covers lies in a lane that the waker leaves alone meanwhile: that of the next hop where that is suspended, or else one that is
// called as the suspension is, to which it moves when it would be tried. So it costs a message one write at most, and no memory and no
// worker. What lies there is due since long, and is found when the lane is read again. It expires at its time (review.go), and does so
// without an attempt.

// Kinds of what can be suspended. A name may have * for any text, and letters match in either case.
const (
	SuspendNextHop = ByNextHop // "mx:example.org"
	SuspendSite    = BySite
	SuspendDomain  = ByDomain // of recipients
	SuspendTenant  = ByTenant
	SuspendSender  = BySender // an address; "" is the null sender
)

// SuspendKinds lists them.
func SuspendKinds() []string {
	return []string{SuspendNextHop, SuspendSite, SuspendDomain, SuspendTenant, SuspendSender}
}

// Suspension keeps mail from being tried.
type Suspension struct {
	Kind   string    `json:"kind"`
	Name   string    `json:"name"`
	Reason string    `json:"reason"` // for people; may be empty
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until,omitzero"` // zero: until somebody resumes it

	// Of a measure of a plugin: only what is sent from a source, and of a tenant; whose it is, and by which rule of that plugin.
	Source string `json:"source,omitempty"`
	Tenant string `json:"tenant,omitempty"`
	By     string `json:"by,omitempty"`
	Rule   string `json:"rule,omitempty"`

	measure *Measure
}

// String names it as people do: "domain example.org".
func (s *Suspension) String() string {
	words := s.Kind + " " + cmp.Or(s.Name, "<>")
	if s.Source != "" {
		words += " from " + s.Source
	}
	if s.Tenant != "" {
		words += ", tenant " + s.Tenant
	}
	return words
}

const (
	maxSuspensions = 1000
	maxSuspended   = 512 // bytes of a name
	suspensionNote = "suspension/"
	suspendedLane  = "suspended:" // before the name of a lane for mail that waits for no next hop of its own
)

func (s *Suspension) key() string { return s.Kind + ":" + s.Name }

// lane is where mail lies that it covers and that would go to a next hop.
func (s *Suspension) lane(hop store.Lane) store.Lane {
	if m := s.measure; m != nil && (m.Lane == "" || m.Source != "" || m.Tenant != "") {
		return m.aside()
	}
	if s.Kind == SuspendNextHop {
		return hop
	}
	return suspendedLane + s.key()
}

func (s *Suspension) inForce(now time.Time) bool { return s.Until.IsZero() || now.Before(s.Until) }

// isHop tells whether a lane is of the next hop, which its name may be with or without what else it says.
func (s *Suspension) isHop(lane store.Lane) bool {
	return anyMatches([]string{s.Name}, hopForms(lane)...)
}

func hopForms(lane store.Lane) []string {
	hop, _, _ := message.SplitLane(lane)
	return []string{lane, hop}
}

// covers tells whether a recipient's mail is suspended that would go to a next hop of a site.
func (s *Suspension) covers(env *message.Envelope, i int, hop store.Lane, site string) bool {
	names := []string{s.Name}
	switch s.Kind {
	case SuspendNextHop:
		return s.isHop(hop)
	case SuspendSite:
		_, _, named := message.SplitLane(hop)
		site = cmp.Or(named, site)
		return site != "" && matches(s.Name, strings.ToLower(site))
	case SuspendTenant:
		return anyMatches(names, env.Tenant)
	case SuspendSender:
		return anyMatches(names, env.Sender.Text, env.Sender.Local+"@"+env.Sender.Domain)
	}
	return (&Selector{Domains: names}).rcpt(env.Rcpts[i], &store.RcptState{}, "")
}

// suspensions are those there are. They are read for each job and seldom changed.
type suspensions struct {
	mu      sync.Mutex // of changes
	all     atomic.Pointer[[]*Suspension]
	plugins *measures // suspend, too
}

func (x *suspensions) list() []*Suspension {
	if p := x.all.Load(); p != nil {
		return *p
	}
	return nil
}

// of is what covers a recipient's mail; nil: nothing does.
func (x *suspensions) of(env *message.Envelope, i int, hop store.Lane, site string) *Suspension {
	now := time.Now()
	for _, s := range x.list() {
		if s.inForce(now) && s.covers(env, i, hop, site) {
			return s
		}
	}
	return x.plugins.suspends(env, hop, site)
}

// none tells whether nothing at all is suspended.
func (x *suspensions) none() bool { return len(x.list()) == 0 && x.plugins.none() }

// asleep tells whether the waker is to leave a lane alone.
func (x *suspensions) asleep(lane store.Lane) bool {
	if lane == "" || lane == termsLane || x.none() {
		return false
	}
	now := time.Now()
	return x.plugins.asleep(lane) || slices.ContainsFunc(x.list(), func(s *Suspension) bool {
		return s.inForce(now) && (s.Kind == SuspendNextHop && s.isHop(lane) || s.lane("") == lane)
	})
}

// loadSuspensions reads those of the server before. The time of some may be over.
func (q *Queue) loadSuspensions(ctx context.Context) error {
	var list []*Suspension
	for n, err := range q.Store.Notes(ctx, suspensionNote) {
		if err != nil {
			return fmt.Errorf("what is suspended cannot be read: %w", err)
		}
		s := &Suspension{}
		if err := json.Unmarshal(n.Value, s); err != nil || suspensionNote+s.key() != n.Name {
			q.Log.Error("a suspension cannot be read and is dropped", "name", n.Name, "error", err)
			continue
		}
		list = append(list, s)
		q.endInTime(s)
	}
	q.suspensions.all.Store(&list)
	return nil
}

// endInTime ends a suspension when its time is over.
func (q *Queue) endInTime(s *Suspension) {
	if s.Until.IsZero() {
		return
	}
	time.AfterFunc(time.Until(s.Until), func() {
		if q.stopping.Err() == nil {
			if err := q.end(q.stopping, s); err != nil && q.stopping.Err() == nil {
				q.Log.Error("a suspension whose time is over cannot be dropped; it counts no more, and is dropped after the next start", "what", s.String(), "error", err)
			}
		}
	})
}

// Check brings a suspension to the form that is compared, or says what is wrong with it.
func (s *Suspension) Check() error {
	if !slices.Contains(SuspendKinds(), s.Kind) {
		return fmt.Errorf("%q cannot be suspended: %s can", s.Kind, strings.Join(SuspendKinds(), ", "))
	}
	name, err := pattern(s.Kind, s.Name)
	if err != nil {
		return err
	}
	if s.Name = name; len(name) > maxSuspended || strings.IndexByte(name, 0) >= 0 {
		return fmt.Errorf("%s: a name has at most %d bytes and no NUL", s.Kind, maxSuspended)
	}
	return nil
}

// Suspend keeps mail from being tried from now on; attempts that are under way end as they would. It replaces a suspension of the same
// kind and name. The suspension must have passed Check.
func (q *Queue) Suspend(ctx context.Context, s Suspension) error {
	x := &q.suspensions
	x.mu.Lock()
	defer x.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(x.list()), func(o *Suspension) bool { return o.key() == s.key() })
	if len(list) >= maxSuspensions {
		return Refused(fmt.Sprintf("would be one suspension too many: there are %d", len(list)))
	}
	value, err := json.Marshal(&s)
	if err == nil {
		err = q.Store.PutNote(ctx, suspensionNote+s.key(), value)
	}
	if err != nil {
		return err
	}
	list = append(list, &s)
	x.all.Store(&list)
	q.endInTime(&s)
	q.Log.Info("suspended by hand", "what", s.String(), "reason", s.Reason, "until", s.Until)
	return nil
}

// ErrNotSuspended says that there is nothing to be resumed.
var ErrNotSuspended = errors.New("is not suspended")

// Resume ends the suspension of that kind and name, which are given as they were to Suspend, and all measures of plugins about it.
func (q *Queue) Resume(ctx context.Context, kind, name string) error {
	err := ErrNotSuspended
	for _, s := range q.suspensions.list() {
		if s.Kind == kind && s.Name == name {
			err = q.end(ctx, s)
		}
	}
	is := func(m *Measure) bool { s := m.suspension(); return s.Kind == kind && s.Name == name }
	if len(q.measures.end(is)) > 0 && errors.Is(err, ErrNotSuspended) {
		return nil
	}
	return err
}

// end ends a suspension, unless another has taken its place.
func (q *Queue) end(ctx context.Context, s *Suspension) error {
	x := &q.suspensions
	x.mu.Lock()
	defer x.mu.Unlock()
	if !slices.Contains(x.list(), s) {
		return nil
	}
	if err := q.Store.DropNote(ctx, suspensionNote+s.key()); err != nil {
		return err
	}
	list := slices.DeleteFunc(slices.Clone(x.list()), func(o *Suspension) bool { return o == s })
	x.all.Store(&list)
	q.wake.resumed()
	q.Log.Info("resumed", "what", s.String(), "since", s.Since)
	return nil
}

// Suspensions lists those in force, the oldest first.
func (q *Queue) Suspensions() []Suspension {
	var out []Suspension
	now := q.now()
	for _, s := range append(slices.Clone(q.suspensions.list()), q.measures.suspensions()...) {
		if s.inForce(now) {
			out = append(out, *s)
		}
	}
	slices.SortStableFunc(out, func(a, b Suspension) int { return a.Since.Compare(b.Since) })
	return out
}

// Suspended is what keeps a recipient's mail from being tried that waits in a lane; nil: nothing does.
func (q *Queue) Suspended(env *message.Envelope, i int, lane store.Lane) *Suspension {
	return q.suspensions.of(env, i, lane, "")
}

// parked lays those recipients of a job aside whose mail is suspended. It tells whether nobody is left.
func (q *Queue) parked(j *job) bool {
	if q.suspensions.none() {
		return false
	}
	f, m := j.flight, j.flight.msg
	now := store.WholeSecond(q.now())
	m.mu.Lock()
	defer m.mu.Unlock()
	j.claim()
	ch := store.Change{ID: m.id, Rev: m.state.Rev}
	var rest []int
	for _, i := range j.rcpts {
		s := q.suspensions.of(m.env, i, j.lane, j.site)
		if s == nil {
			rest = append(rest, i)
			continue
		}
		lane := s.lane(j.lane)
		if lane == f.entry.Lane { // it lies where it should
			f.keep = true
			continue
		}
		st := &m.state.Rcpts[i]
		st.Result, st.Lane, st.Next = message.Deferred, lane, now
		ch.Rcpts = append(ch.Rcpts, store.RcptChange{Index: uint16(i), RcptState: *st})
		ch.Add = due(ch.Add, m, st, i)
	}
	if len(rest) == len(j.rcpts) && len(rest) > 0 {
		return false
	}
	if len(rest) > 0 {
		f.open++
	}
	j.rcpts = rest
	q.submit(f, ch)
	return len(rest) == 0
}

// suspendedReply is the answer for mail that is suspended where it cannot wait (RFC 3463 section 3.4).
func suspendedReply() message.Outcome {
	return message.Outcome{Result: message.Deferred, Reply: smtp.NewReply(451, "4.3.2", "delivery there is suspended")}
}
