// Package store keeps accepted mail until every recipient is settled. This package is the contract; the engines lie in
// sub-packages (disk on Pebble, memory for tests), and storetest holds the one suite that each of them must pass. An
// engine decides where bytes lie; it decides nothing about mail.
//
// A message is one immutable envelope, one immutable content, and a small state that appears only once an attempt was not
// final. What is due lies in entries, ordered first by lane (the canonical next hop) and then by time, so that a lane with
// a million messages never stands before another lane's. A fresh message lies in the lane "", not routed yet.
package store

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
)

type (
	ID    = message.ID
	Shard = uint16
	Lane  = string // canonical next hop ("mx:example.org"), "" = not routed
	// Rev counts the changes of a message's state; 0 = never changed.
	Rev uint64
)

// Errors of Commit and Update. After ErrUnknown the write may or may not have happened: the caller must say nothing to
// anybody, since either answer could be false.
var (
	ErrFull     = errors.New("store: full")                         // 452 4.3.1, nothing was written
	ErrBusy     = errors.New("store: busy")                         // 451 4.3.2, nothing was written
	ErrUnknown  = errors.New("store: outcome of a write not known") // close the connection without a reply
	ErrNotFound = errors.New("store: no such message")
	ErrStale    = errors.New("store: the message was changed meanwhile")
	ErrDamaged  = errors.New("store: damaged content") // hold the message, never send it
)

// Store is what an engine offers. All methods are safe for concurrent use.
type Store interface {
	// Body takes content while it arrives. Content in memory counts against the engine's byte budget; when that is spent Body
	// and Write wait until ctx ends or the engine's patience does, then fail with ErrBusy.
	Body(ctx context.Context, sizeHint int64) (BodyWriter, error)
	// Commit makes envelope, content and the first due entry (FirstEntry; none when Hold is set) durable, all or nothing. nil is the only licence for 250. It sets nothing in env.
	// also are changes of other messages that happen with it or not at all, such as that the sender of one was told by this
	// one. ErrStale: one of them is stale, and nothing was written. What a change of the message itself adds comes beside its
	// first entry, also when it is held; nothing else of such a change counts.
	Commit(ctx context.Context, env *message.Envelope, body BodyWriter, also ...Change) error
	// Load returns a message with its state, or ErrNotFound.
	Load(ctx context.Context, id ID) (*message.Envelope, *State, error)
	// Open returns the content, valid until Close even when the message is settled meanwhile. ErrDamaged: it is not what was
	// committed.
	Open(ctx context.Context, id ID) (BodyReader, error)

	// Update applies changes, each atomic for its message, and returns when all are durable: callers batch. The ids in stale
	// were changed or settled by somebody else since the caller loaded them; for those nothing was written. To settle what is
	// gone already is no conflict: it deletes the entries in Del, so that an entry without a message can be got rid of.
	Update(ctx context.Context, own Lease, ch ...Change) (stale []ID, err error)
	// Own yields the leases this process holds, as they come: on one machine a single one that never ends. It returns when ctx
	// ends.
	Own(ctx context.Context) iter.Seq2[Lease, error]
	// Wake yields lanes with something due in (from, until], each once, in no order, without loading messages. A zero from
	// means since ever. It may yield a lane with nothing due, never miss one that has.
	Wake(ctx context.Context, own Lease, from, until time.Time) iter.Seq2[Lane, error]
	// Due pages through one lane in order of due time, after the cursor (nil = start), up to until. A nil cursor comes back
	// when the page was the last.
	Due(ctx context.Context, own Lease, lane Lane, after Cursor, until time.Time, limit int) ([]Entry, Cursor, error)
	// Scan pages through all messages, oldest first, for commands; it sees a recent, not an exact, state.
	Scan(ctx context.Context, after Cursor, limit int) ([]Item, Cursor, error)
	Health() Health
	Close() error

	Notes
}

// Cursor is a place in a listing; only the engine that made it can read it.
type Cursor []byte

// BodyWriter takes one message's content. It belongs to one goroutine until Commit.
type BodyWriter interface {
	io.Writer
	ID() ID // in a shard that this node owns
	// Instead begins another content for the same message, with the same ID. Either of the two may be committed; both are to be
	// aborted.
	Instead(ctx context.Context, sizeHint int64) (BodyWriter, error)
	// Content is what was written so far, complete and readable; nothing may be written afterwards. It is the writer's own
	// holder, which Abort closes: Retain before handing it on.
	Content() BodyReader
	Abort() // frees what was taken; always safe, also after Commit, where it only drops this holder's reference
}

// BodyReader is a committed (or about to be committed) content.
type BodyReader interface {
	message.Content
	// Retain returns another holder of the same content, to be closed on its own.
	Retain() BodyReader
	io.Closer
}

// Lease is the right to send what lies in one shard. Valid is asked, with a margin, before each attempt and again before the
// final dot. It fences sending, not writing: what a late owner reports is true and is kept (Rev decides who was first).
type Lease interface {
	Shard() Shard
	Valid(margin time.Duration) bool
	Lost() <-chan struct{}
}

// Entry says that recipients of a message are due in a lane.
type Entry struct {
	ID    ID
	Lane  Lane
	At    time.Time // in WholeSeconds
	Rcpts []uint16  // indexes into Envelope.Rcpts, ascending; empty = all
}

// FirstEntry is the due entry that a commit makes: all recipients, not routed, at once or at NotBefore. It is the same for an
// envelope that was read back, whose times are cut to microseconds.
func FirstEntry(env *message.Envelope) Entry {
	at := env.Arrived
	if env.NotBefore.After(at) {
		at = env.NotBefore
	}
	return Entry{ID: env.ID, At: WholeSecond(at.Truncate(time.Microsecond))}
}

// WholeSecond rounds up to what due entries hold.
func WholeSecond(t time.Time) time.Time {
	if s := t.Truncate(time.Second); !s.Equal(t) {
		return s.Add(time.Second)
	}
	return t
}

// State is what became of the recipients so far. A message nobody changed has Rev 0 and fresh recipients.
type State struct {
	Rev   Rev
	Rcpts []RcptState // one for each recipient of the envelope
	Held  string      // why the message is held; empty: it is not
}

// RcptState is one recipient's state. The zero value is fresh: never tried. One that the envelope holds begins as Held.
type RcptState struct {
	Result   message.Result // 0 = fresh
	Attempts uint16         // those that reached a verdict
	First    time.Time      // of the first attempt
	Tried    time.Time      // of the latest
	Next     time.Time      // when Deferred: due at, in Lane
	Lane     Lane           // when Deferred or Owed: that of the latest attempt
	Last     message.Last
	Owed     bool // the sender is still to be told: of the failure or the delivery, or, while Deferred, of the delay
	Warned   bool // the sender was told of the delay
	// Route is the next hop that somebody chose by hand, as message.Plan.Hop names it; empty: plugins choose.
	Route string
}

// Begin is the state of a message that nobody changed.
func Begin(env *message.Envelope) *State {
	st := &State{Held: env.Hold, Rcpts: make([]RcptState, len(env.Rcpts))}
	for i, r := range env.Rcpts {
		if r.Hold != "" {
			st.Rcpts[i] = RcptState{Result: message.Held, Last: message.Outcome{Reply: smtp.NewReply(250, "2.0.0", r.Hold)}.Last()}
		}
	}
	return st
}

// Open tells whether anything is still to be done for the recipient.
func (r *RcptState) Open() bool {
	return r.Result == 0 || r.Result == message.Deferred || r.Result == message.Held || r.Owed
}

// Change is one atomic step of a message.
type Change struct {
	ID    ID
	Rev   Rev // the state this change starts from; it becomes Rev+1
	Rcpts []RcptChange
	Del   []Entry // due entries that go (Lane and At count)
	Add   []Entry // due entries that come, after those in Del went; one that is there already gets more recipients
	Held  *string // nil = as it was; else the new reason, "" = released
	// Settled: the last recipient is done; message, state, content and all entries in Del are forgotten, Rcpts and Add are
	// ignored.
	Settled bool
}

// RcptChange sets one recipient's state.
type RcptChange struct {
	Index uint16
	RcptState
}

// Item is one message in a listing.
type Item struct {
	Envelope *message.Envelope
	State    *State
}

// Health is cheap enough to be asked at every MAIL.
type Health struct {
	Full    bool          // below the free-space watermark: 452 4.3.1
	Stalled bool          // writes wait: 452 4.3.1
	Free    int64         // bytes on the file system, -1 = unknown
	Depth   int64         // messages not settled
	Sync    time.Duration // the last synced commit
}
