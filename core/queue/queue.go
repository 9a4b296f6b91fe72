// Package queue brings committed mail to its outcomes. It owns no bytes: those lie in core/store. It owns when and in which
// company a recipient is tried.
//
// A flight is one due entry of one message in memory. It is born at the commit, or when the waker finds its entry on disk,
// and goes through three steps: a router asks the stage route for each recipient and groups those with the same plan; each
// group becomes a job in the lane of its next hop, where a bounded number of workers attempts them; the outcomes go
// through delivered, deferred or bounced and are written as marks, many to one synced batch. Only then does the flight end.
// Before that nothing is written for it, so a crash at any point finds the entry where it was and tries again.
//
// Everything in memory is bounded: the window (flights), each lane's jobs, and the content that is kept from the session
// that brought it. What does not fit stays on disk and is found again through its entry: a flight is only ever a hint.
package queue

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/bounce"
	"github.com/stagepost/stagepost/core/deliver"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/core/suspects"
	"github.com/stagepost/stagepost/core/workers"
	"github.com/stagepost/stagepost/hooks"
)

// Bounds.
const (
	window        = 6_000    // flights
	freshReserve  = 1_500    // of the window, kept for mail just accepted
	windowContent = 32 << 20 // bytes of content kept in memory for flights: half of what the store has for it, so that slow next hops leave room for mail that comes
	routers       = 32
	laneJobs      = 64    // jobs that wait in one lane, at least
	attempts      = 4_000 // at once, to all next hops: each holds a connection
	maxSpares     = 64    // goroutines kept for attempts to come
	leaseMargin   = 10 * time.Second
)

// Sender attempts jobs; core/deliver has the real one.
type Sender interface {
	Send(context.Context, *deliver.Job) []message.Outcome
}

// Recorder takes the steps of messages' records; it must not block.
type Recorder interface {
	Append(id string, steps ...observe.Step)
}

// Settings are what a reload may change; each use asks anew.
type Settings struct {
	Hostname    string                 // in notices to senders
	Retry       []time.Duration        // waits after the first, second ... deferral; the last repeats
	Expire      time.Duration          // after arrival, unless the message says otherwise
	Warn        time.Duration          // after arrival a sender is told of the delay; 0: never
	Concurrency int                    // attempts at once to one site, where Shape says nothing
	Shape       *Shape                 // limits of sites; nil: there are none but Concurrency
	HasSource   func(name string) bool // whether mail can be sent from it; nil: from any
	// HasTransport tells whether mail can be sent by a [transport.NAME]; nil: by any.
	HasTransport func(name string) bool
	Classes      *bounce.Table // of what remotes say; nil: those that ship

	clock *clock
}

// Options are what a Queue works with. All are needed but Resolver and what follows it.
type Options struct {
	Store    store.Store
	Sender   Sender
	Current  *hooks.Current
	Settings func() Settings
	Records  Recorder
	Log      *slog.Logger
	Resolver resolve.Resolver // finds the exchangers of domains; nil: each domain is a site of its own
	Suspects *suspects.File   // nil: nobody is suspected
	Now      func() time.Time // the wall clock; nil: time.Now
	Clock    string           // the file that says when a server was last seen; "": none
	Attempts int              // at once, to all next hops; 0, and at most: 4,000
}

// Queue is the running queue. It implements intake.Queue.
type Queue struct {
	Options
	own         store.Lease
	flights     table
	lanes       lanes
	routes      chan *flight
	marks       chan *mark
	slots       slots
	senders     *workers.Pool
	wake        waker
	budget      budget
	notices     notices
	keys        keys
	doubts      doubts
	clock       *clock
	counts      *Counts
	hands       sync.Mutex // held while many messages are locked
	suspensions suspensions
	ramps       ramps
	measures    measures

	stop     context.CancelFunc // ends waking, routing and attempts that have not sent the final dot
	stopping context.Context
	group    sync.WaitGroup // waker and routers
	workers  sync.WaitGroup
	marking  sync.WaitGroup
}

// New starts the queue on what the store holds; entries already due are tried at once.
func New(o Options) (*Queue, error) {
	ctx, stop := context.WithCancel(context.Background())
	q := &Queue{Options: o, counts: NewCounts(), stop: stop, stopping: ctx, routes: make(chan *flight, window), marks: make(chan *mark, 4096), senders: workers.New(maxSpares, ctx.Done())}
	q.clock = newClock(o.Now, o.Clock)
	classes := bounce.New(nil)
	q.Settings = func() Settings {
		s := o.Settings()
		s.clock = q.clock
		s.Classes = cmp.Or(s.Classes, classes)
		return s
	}
	q.flights.init()
	q.slots.most = int32(min(attempts, cmp.Or(o.Attempts, attempts)))
	q.lanes.init(q)
	q.wake.init(q)
	q.notices.init(q)
	q.measures.init(q)
	q.suspensions.plugins = &q.measures
	for lease, err := range o.Store.Own(ctx) {
		if err != nil {
			stop()
			return nil, err
		}
		q.own = lease
		break
	}
	for _, load := range []func(context.Context) error{q.loadSuspensions, q.loadMeasures, q.loadRamps} {
		if err := load(ctx); err != nil {
			stop()
			return nil, err
		}
	}
	q.group.Go(q.measures.keep)
	q.marking.Add(1)
	go q.writeMarks()
	q.startProbing()
	for range routers {
		q.group.Go(q.route)
	}
	q.group.Go(q.wake.loop)
	q.group.Go(q.patrol)
	return q, nil
}

// Close stops attempts: those that have not sent the final dot are dropped and their entries stay due; for those that have,
// the reply is waited for until ctx ends. What was not written by then is tried again after a restart.
func (q *Queue) Close(ctx context.Context) error {
	q.stop()
	if err := q.clock.keep(true); err != nil {
		q.Log.Warn("when the server was last seen cannot be noted", "error", err)
	}
	done := make(chan struct{})
	go func() {
		q.group.Wait()
		q.workers.Wait()
		q.ramps.close()
		close(q.marks)
		q.marking.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("attempts did not end in time; their mail is tried again after the next start: %w", ctx.Err())
	}
}

// now is the time that stands in records.
func (q *Queue) now() time.Time { return q.clock.now() }

// Body takes content; see store.Store.
func (q *Queue) Body(ctx context.Context, sizeHint int64) (store.BodyWriter, error) {
	return q.Store.Body(ctx, sizeHint)
}

// Health is the store's.
func (q *Queue) Health() store.Health { return q.Store.Health() }

// Commit makes the message durable, which nil says, and starts its delivery from memory if there is room.
func (q *Queue) Commit(ctx context.Context, env *message.Envelope, body store.BodyWriter) error {
	now := q.now()
	if env.Hold != "" || env.NotBefore.After(now) {
		if err := q.commit(ctx, env, body); err != nil {
			return err
		}
		if env.Hold == "" {
			q.wake.at("", env.NotBefore)
		}
		return nil
	}
	// The flight is known before the entry can be found on disk, so that the waker never starts a second one.
	f := q.flights.fresh(env)
	if err := q.commit(ctx, env, body); err != nil {
		q.flights.end(f)
		return err
	}
	if q.flights.count() > window {
		q.flights.end(f)
		q.wake.missed()
		return nil
	}
	f.msg.keep(q, body.Content())
	select {
	case q.routes <- f:
	default:
		q.land(f)
		q.wake.missed()
	}
	return nil
}

func (q *Queue) commit(ctx context.Context, env *message.Envelope, body store.BodyWriter) error {
	if env.Notice != nil {
		return q.commitNotice(ctx, env, body)
	}
	also := q.appoint(env)
	if err := q.Store.Commit(ctx, env, body, also...); err != nil {
		return err
	}
	q.keys.committed(env)
	q.appointed(also)
	return nil
}

// land ends a flight: its marks, if any, are durable.
func (q *Queue) land(f *flight) {
	q.flights.end(f)
	if f.landed != nil {
		close(f.landed)
	}
	q.wake.landed(f)
}
