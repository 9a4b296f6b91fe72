// Package admin is the control interface of a running server: HTTP/1.1 over the Unix socket DATA/control.sock, which only the
// owner of the data folder can open (mode 0600), and the Client that the commands use.
//
//	GET    /status              one Status
//	POST   /reload              one ReloadResult; 422 when the new generation is refused and the old one stays
//	GET    /plugins             a list of Plugin
//	GET    /order               a list of StageOrder
//	GET    /queue               one Message a line, oldest first; the query chooses (queue.Selector)
//	GET    /queue/{id}          one MessageDetail
//	POST   /queue/hold          one Handled a line, and Progress; so release, retry, bounce, delete and reroute. The content is a list of ids, or
//	                            the query chooses; "all" takes all, "dry-run" only says what would be done, "each" wants a line for each
//	                            message, "reason" is why it is held ("of-reason" chooses), "reply" what a bounce says, "to" the next hop
//	                            of reroute, which "clear" takes back
//	GET    /shape               one Shape a line, the largest first; "by" is domain, next-hop, site, sender or tenant, the rest chooses
//	GET    /explain             one Explained; "name" is that of a site, a domain, a next hop or a message
//	GET    /suspensions         a list of queue.Suspension
//	GET    /measures            a list of queue.Measure
//	POST   /suspensions         suspends what the query names by next-hop, site, domain, tenant or sender, "for" a time, with a "reason", and
//	                            answers with the list of what it suspended
//	DELETE /suspensions         resumes what the query names, or "all", and answers with the list of that; 404 when it is not suspended
//	DELETE /command/{n}            stops such a command
//	GET    /trace/{id}          one observe.Step a line, in order
//	GET    /tlsrpt              one tlsrpt.Summary a line, those with failures first; "day" is another than today
//	GET    /metrics             in Prometheus' text format
//	GET    /healthz             200, or 503 with a reason, as plain text
//
// An answer is JSON; lists that may be long are JSON Lines, written page by page as they are read from the store, so that a
// queue of a million messages is never held in memory. An error is {"error", "hint"} with a status of 400 or more. One that comes
// up in the middle of a stream is its last line.
//
// What the server knows is asked through the functions of Options. So this package knows neither plugins nor sessions, and the
// handlers can stand behind another door with a check of its own.
package admin

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/stagepost/stagepost/core/deliver/tlsrpt"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/queue"
	"github.com/stagepost/stagepost/core/store"
)

// Options are what the handlers ask. All but Log and Now are needed; the functions are called by many goroutines at once.
type Options struct {
	Status  func() Status                      // but for Queue, which is counted here
	Reload  func(context.Context) ReloadResult // reads configuration and plugins now
	Plugins func() []Plugin                    // of the generation in force
	Order   func() []StageOrder                // in order of stages; those without hooks are left out
	Active  func(store.ID) bool                // the message is being routed or attempted
	Hands   Hands
	TLS     func(day string) ([]tlsrpt.Summary, error) // how connections to others fared
	Store   store.Store
	Records Finder
	Census  *Census          // default: one of its own
	Metrics http.Handler     // nil: there are none
	Health  func() error     // why no mail is taken; nil: always well
	Log     *slog.Logger     // for faults; default: nowhere
	Now     func() time.Time // the clock of states; default: time.Now
}

// Finder finds records of messages, as *observe.Records does.
type Finder interface {
	Find(ctx context.Context, id string) ([]observe.Step, error)
}

// Hands changes messages in the queue, as *queue.Queue does and says.
type Hands interface {
	Handle(ctx context.Context, o queue.Order, chosen []queue.Choice) []queue.Handled
	Suspend(ctx context.Context, s queue.Suspension) error
	Resume(ctx context.Context, kind, name string) error
	Suspensions() []queue.Suspension
	Measures() []queue.Measure
	Explain(ctx context.Context, name string) ([]queue.SiteView, error)
	SiteOf(ctx context.Context, lane store.Lane) string
	Suspended(env *message.Envelope, i int, lane store.Lane) *queue.Suspension
}

// Status is the state of the server as a whole.
type Status struct {
	Version      string        `json:"version"`
	Started      time.Time     `json:"started"`
	Health       string        `json:"health"` // "ok", or why no mail is taken
	Generation   uint64        `json:"generation"`
	Since        time.Time     `json:"generation_since"` // when it became live
	Error        string        `json:"generation_error"` // why the latest reload was refused; "" when it was not
	Listeners    []Listener    `json:"listeners"`
	Certificates []Certificate `json:"certificates"`
	Admin        string        `json:"admin"` // where [admin] is bound; "" when it is not
	Traffic      Traffic       `json:"traffic"`
	LastMinute   Traffic       `json:"traffic_last_minute"` // of the last 60 to 70 seconds
	Queue        QueueCounts   `json:"queue"`
	Store        StoreStatus   `json:"store"`
	Lost         Lost          `json:"lost"`
	Plugins      []Plugin      `json:"plugins"`

	Suspended []queue.Suspension `json:"suspended"` // what is not tried until somebody resumes it
}

// Traffic is what came in and what became of it: since the start, or in some time.
type Traffic struct {
	Sessions uint64            `json:"sessions"`
	Refused  uint64            `json:"sessions_refused"`
	Received map[string]uint64 `json:"received"` // messages by outcome: accepted, held, discarded, rejected, deferred, dropped, unknown
	Outcomes map[string]uint64 `json:"outcomes"` // recipients by the result of attempts: delivered, deferred, failed, held, discarded
}

// StoreStatus is how the store does.
type StoreStatus struct {
	Free    int64 `json:"free"` // bytes on the file system; -1: not known
	Full    bool  `json:"full"`
	Stalled bool  `json:"stalled"`
	Micros  int64 `json:"last_write_micros"` // how long the last synced write took
}

// Lost counts what could not be written down since the start.
type Lost struct {
	Records uint64 `json:"records"` // entries of messages' records
	Log     uint64 `json:"log"`     // lines
}

// Listener is one address on which sessions arrive.
type Listener struct {
	Name     string `json:"name"`
	Address  string `json:"address"` // as bound, with the real port
	Role     string `json:"role"`
	TLS      string `json:"tls"`      // as configured
	Sessions int    `json:"sessions"` // open now
}

// Certificate is one that clients are shown.
type Certificate struct {
	File    string    `json:"file"`
	Names   []string  `json:"names"`
	Expires time.Time `json:"expires"`
}

// QueueCounts says how many messages there are, and in which states those are that were counted last. Counted differs from
// Messages when a first count of a long queue is not finished, or while they change.
type QueueCounts struct {
	Messages       int64      `json:"messages"` // now
	Counted        int64      `json:"counted"`
	States                    // of messages
	Recipients     States     `json:"recipients"`      // those that are not settled
	Oldest         *time.Time `json:"oldest"`          // arrival of the oldest message; null: there is none
	OldestDeferred *time.Time `json:"oldest_deferred"` // of the oldest that waits for another try
	CountedAt      time.Time  `json:"counted_at"`      // when the count was begun
}

// States are how many messages or recipients are in each state.
type States struct {
	Active   int64 `json:"active"`
	Deferred int64 `json:"deferred"`
	Held     int64 `json:"held"`
	Failed   int64 `json:"failed"` // nothing is left but to tell the sender
}

// Plugin is one plugin of the generation in force.
type Plugin struct {
	Name        string            `json:"name"` // in this server, as [run.NAME] gives it
	Version     string            `json:"version"`
	State       string            `json:"state"` // live; or "open at rcpt": the breaker of that hook keeps it from being asked
	Calls       uint64            `json:"calls"`
	Errors      uint64            `json:"errors"`
	Source      string            `json:"source"`           // "bundled/relay", "installed/vip", or the path
	From        string            `json:"from"`             // folder, installed or bundled
	Digest      string            `json:"digest,omitempty"` // of an installed one's package
	Signer      string            `json:"signer,omitempty"` // of an installed one: the key, or unsigned
	Description string            `json:"description,omitempty"`
	Stages      []string          `json:"stages"`
	Needs       []string          `json:"needs"`   // what it asks for, in the words of the manifest
	Granted     []string          `json:"granted"` // what of that it may do
	Withheld    []string          `json:"withheld,omitempty"`
	Facts       []Fact            `json:"facts"` // that it declares
	Hooks       []Calls           `json:"hooks"`
	Events      map[string]uint64 `json:"events"` // that the plugin counted, by name
}

// Fact is what a plugin declares of one of its facts.
type Fact struct {
	Name   string `json:"name"` // "spf.mail"; "zones.*" is all that begin so
	Type   string `json:"type"`
	Values []any  `json:"values,omitempty"` // there are no others
	Of     string `json:"of,omitempty"`     // session, message or rcpt; without it any of them
	Doc    string `json:"doc,omitempty"`
}

// Calls is what became of the calls of one hook since its plugin was last changed.
type Calls struct {
	Stage   string            `json:"stage"`
	Calls   uint64            `json:"calls"`
	Errors  uint64            `json:"errors"`
	Overran map[string]uint64 `json:"overran"` // by what ran out: time, instructions, memory, busy
	Skipped uint64            `json:"skipped"` // answered by on_error, because the breaker was open
	Open    bool              `json:"open"`    // the breaker: the plugin is not asked
	Why     string            `json:"why,omitempty"`
	Since   *time.Time        `json:"since,omitempty"`
}

// StageOrder are the hooks of one stage in the order they are asked.
type StageOrder struct {
	Stage string `json:"stage"`
	Hooks []Hook `json:"hooks"`
}

// Hook is one plugin's place in a stage.
type Hook struct {
	Plugin     string   `json:"plugin"`
	Order      int      `json:"order"`
	After      []string `json:"after,omitempty"`
	Before     []string `json:"before,omitempty"`
	Reads      []string `json:"reads,omitempty"`
	Sets       []string `json:"sets,omitempty"`
	Background bool     `json:"background,omitempty"`
	When       string   `json:"when,omitempty"` // in words: "role mx; no user"
	OnError    string   `json:"on_error"`
	Timeout    string   `json:"timeout"`
	Pos        string   `json:"pos"` // file:line of the code
}

// ReloadResult is what a reload came to.
type ReloadResult struct {
	Generation uint64        // in force now
	Changed    bool          // false: the files are what they were
	Err        error         // the new generation was refused; Generation is the old one
	Took       time.Duration //
}

// Reloaded is a ReloadResult without error, as it is sent.
type Reloaded struct {
	Generation uint64 `json:"generation"`
	Changed    bool   `json:"changed"`
	Micros     int64  `json:"micros"`
}

// Error is what the server answers when it cannot do what it was asked.
type Error struct {
	Status int    `json:"-"`     // of HTTP
	Text   string `json:"error"` // what happened
	Hint   string `json:"hint"`  // what to do; may be empty
}

// Error gives text and hint.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Text
	}
	return e.Text + "; " + e.Hint
}
