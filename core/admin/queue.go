package admin

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/queue"
	"github.com/stagepost/stagepost/core/store"
)

// Bounds of what one request reads.
const (
	scanPage  = 256
	maxHeader = 64 << 10 // bytes of a header that are shown
)

// States of messages and recipients, besides those of message.Result.
const (
	StateActive   = queue.StateActive
	StateDeferred = queue.StateDeferred
	StateHeld     = queue.StateHeld
	StateFailed   = queue.StateFailed
)

// Message is one message in the queue.
type Message struct {
	ID         string      `json:"id"`
	Sender     string      `json:"sender"` // "" is the null one
	Size       int64       `json:"size"`
	Arrived    time.Time   `json:"arrived"`
	State      string      `json:"state"`
	Recipients []Recipient `json:"recipients"`
	Plugin     string      `json:"plugin,omitempty"` // that handed it in
	Key        string      `json:"key,omitempty"`    // that the plugin gave it
	Parcel     bool        `json:"parcel,omitempty"` // it is no mail: its recipient is a plugin, as "plugin:archive"
}

// Recipient is one recipient of a message in the queue.
type Recipient struct {
	Address     string     `json:"address"`
	State       string     `json:"state"`
	Attempts    int        `json:"attempts"`
	NextAttempt *time.Time `json:"next_attempt"`        // null: at once, or never
	LastReply   string     `json:"last_reply"`          // with its codes; "" before the first attempt
	LastHost    string     `json:"last_host"`           // who said it; "" was this server
	NextHop     string     `json:"next_hop"`            // where it waits for; "" before it was routed
	Rerouted    string     `json:"rerouted,omitempty"`  // the next hop that was chosen by hand
	Suspended   string     `json:"suspended,omitempty"` // what keeps it from being tried: "domain example.org: a reason"
}

// MessageDetail is all that is known of one message.
type MessageDetail struct {
	Message
	Held       string     `json:"held"` // why; "" when it is not
	Generation uint64     `json:"generation"`
	Tenant     string     `json:"tenant"`
	Priority   int        `json:"priority"`
	NotBefore  *time.Time `json:"not_before"`
	Expires    *time.Time `json:"expires"` // null: as [queue] says
	Origin     Origin     `json:"origin"`
	Header     string     `json:"header"`       // as it goes out, cut at 64 KiB
	NoHeader   string     `json:"header_error"` // why there is no header
}

// Origin is the session that brought a message.
type Origin struct {
	Role     string `json:"role"`
	Listener string `json:"listener"`
	IP       string `json:"ip"` // "" without a client
	Helo     string `json:"helo"`
	User     string `json:"user"`
}

// viewer describes messages at one moment.
type viewer struct {
	active func(store.ID) bool
	hands  Hands // nil: nothing is suspended
	now    time.Time
}

func (v viewer) message(it store.Item) Message {
	env := it.Envelope
	m := Message{ID: env.ID.String(), Sender: env.Sender.Text, Size: env.Size, Arrived: env.Arrived, Recipients: make([]Recipient, len(env.Rcpts))}
	if in := env.Injected; in != nil {
		m.Plugin, m.Key, m.Parcel = in.By, in.Key, in.Via != ""
	}
	look := queue.LookAt(&it, v.active(env.ID), v.now)
	m.State = look.State
	for i, r := range env.Rcpts {
		var st store.RcptState
		if i < len(it.State.Rcpts) {
			st = it.State.Rcpts[i]
		}
		m.Recipients[i] = Recipient{Address: r.Address.Text, State: look.Rcpts[i].State, Attempts: int(st.Attempts), NextAttempt: known(look.Rcpts[i].Next),
			LastReply: queue.LastReply(&st.Last), LastHost: st.Last.Host, NextHop: st.Lane, Rerouted: st.Route}
	}
	for i := range m.Recipients {
		if r := &m.Recipients[i]; v.hands != nil && (r.State == StateActive || r.State == StateDeferred) {
			if s := v.hands.Suspended(env, i, r.NextHop); s != nil {
				r.Suspended = suspension(s)
			}
		}
	}
	return m
}

func (h *handler) viewer() viewer { return viewer{h.Active, h.Hands, h.Now()} }

// suspension says in words what keeps a recipient from being tried.
func suspension(s *queue.Suspension) string {
	return strings.TrimSuffix(s.String()+": "+s.Reason, ": ")
}

// scan yields pages of the whole queue. A page is valid until the next one.
func scan(ctx context.Context, st store.Store, yield func([]store.Item) error) error {
	var after store.Cursor
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		items, next, err := st.Scan(ctx, after, scanPage)
		if err != nil {
			return fmt.Errorf("the queue cannot be read: %w", err)
		}
		if err := yield(items); err != nil || next == nil {
			return err
		}
		after = next
	}
}

func (h *handler) detail(ctx context.Context, id store.ID) (*MessageDetail, error) {
	env, state, err := h.Store.Load(ctx, id)
	if err != nil {
		return nil, err
	}
	d := &MessageDetail{
		Message:    h.viewer().message(store.Item{Envelope: env, State: state}),
		Held:       state.Held,
		Generation: env.Generation,
		Tenant:     env.Tenant,
		Priority:   int(env.Priority),
		NotBefore:  known(env.NotBefore),
		Expires:    known(env.Expires),
	}
	if s := env.Session; s != nil {
		d.Origin = Origin{Role: string(s.Role), Listener: s.Listener, Helo: s.Helo, User: s.User}
		if s.IP.IsValid() {
			d.Origin.IP = s.IP.String()
		}
	}
	if d.Header, err = h.header(ctx, env); err != nil {
		d.NoHeader = err.Error()
	}
	return d, nil
}

func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// header returns the header as the next hop gets it.
func (h *handler) header(ctx context.Context, env *message.Envelope) (string, error) {
	if env.IsParcel() {
		return "", nil
	}
	content, err := h.Store.Open(ctx, env.ID)
	if err != nil {
		return "", err
	}
	defer content.Close()
	rest := io.NewSectionReader(content, env.Skip, max(content.Size()-env.Skip, 0))
	b, err := io.ReadAll(io.LimitReader(io.MultiReader(bytes.NewReader(env.Prefix), rest), maxHeader))
	if err != nil {
		return "", err
	}
	if bytes.HasPrefix(b, []byte("\r\n")) {
		return "", nil
	}
	head, _, _ := bytes.Cut(b, []byte("\r\n\r\n"))
	return strings.ReplaceAll(string(head), "\r\n", "\n"), nil
}
