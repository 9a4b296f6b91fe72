package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/queue"
	"github.com/stagepost/stagepost/core/store"
)

// Bounds of what is asked by hand.
const (
	MaxReason     = 500  // bytes of why a message is held
	MaxIDs        = 1000 // of one request
	progressEvery = 200 * time.Millisecond
)

// Handled is one line of the answer to a command by hand: what became of a message, or how far the command has come.
type Handled struct {
	ID         string    `json:"id,omitempty"`
	Result     string    `json:"result,omitempty"`     // held, released, retried ..., or with dry_run what would be
	Recipients []string  `json:"recipients,omitempty"` // that it was about; none: all of the message
	Error      string    `json:"error,omitempty"`
	Hint       string    `json:"hint,omitempty"`
	Status     int       `json:"status,omitempty"` // of the error, as HTTP has it: 404: it is not in the queue; 409: there is nothing to be done
	Progress   *Progress `json:"progress,omitempty"`
}

// Progress is how far a command has come. The last line of each answer has one with End.
type Progress struct {
	Work       uint64           `json:"work"`       // the number by which DELETE /command/N stops it
	Total      int64            `json:"total"`      // messages to be looked at, about
	Looked     int64            `json:"looked"`     // at so many
	Done       int64            `json:"done"`       // messages that were changed, or would be
	Recipients int64            `json:"recipients"` // of those, where the command was about recipients
	Left       map[string]int64 `json:"left"`       // messages for which there was nothing to do, by why
	End        bool             `json:"end"`
	Stopped    bool             `json:"stopped"` // it ended since somebody asked for that
}

// work is one command by hand under way.
type work struct {
	h      *handler
	ctx    context.Context
	order  queue.Order
	choose *queue.Selector
	ids    []string // instead of the whole queue
	each   bool     // a line for each message is wanted
	sent   time.Time
	out    lines
	Progress
}

// works are those under way, by number.
type works struct {
	mu   sync.Mutex
	last uint64
	stop map[uint64]context.CancelCauseFunc
}

var errStopped = errors.New("the command was stopped")

func (w *works) begin(ctx context.Context) (context.Context, uint64, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stop == nil {
		w.stop = map[uint64]context.CancelCauseFunc{}
	}
	w.last++
	n := w.last
	w.stop[n] = cancel
	return ctx, n, func() {
		cancel(nil)
		w.mu.Lock()
		delete(w.stop, n)
		w.mu.Unlock()
	}
}

// stopWork ends a command that is under way; what it has done stays done.
func (h *handler) stopWork(w http.ResponseWriter, req *http.Request) error {
	n, _ := strconv.ParseUint(req.PathValue("n"), 10, 64)
	h.works.mu.Lock()
	stop := h.works.stop[n]
	h.works.mu.Unlock()
	if stop == nil {
		return &Error{http.StatusNotFound, fmt.Sprintf("no command %q is under way", shown(req.PathValue("n"))), ""}
	}
	stop(errStopped)
	return send(w, struct{}{})
}

// hand makes the handler of one verb.
func (h *handler) hand(verb queue.Verb) serve {
	return func(w http.ResponseWriter, req *http.Request) error {
		wk, err := h.read(verb, req)
		if err != nil {
			return &Error{http.StatusBadRequest, err.Error(), ""}
		}
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // or it would end the context
		var end func()
		wk.ctx, wk.Work, end = h.works.begin(req.Context())
		defer end()
		wk.choose.SiteOf = h.sites(wk.ctx)
		wk.out.w = w
		if len(wk.ids) > 0 {
			err = wk.byID()
		} else {
			err = wk.byChoice()
		}
		if errors.Is(context.Cause(wk.ctx), errStopped) {
			wk.Stopped, err = true, nil
		}
		if wk.End = err == nil; wk.End || wk.Done > 0 {
			err = cmp.Or(err, wk.progress(true))
		}
		return wk.out.end(err)
	}
}

// read reads what is asked.
func (h *handler) read(verb queue.Verb, req *http.Request) (*work, error) {
	q, err := url.ParseQuery(req.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("the query cannot be read: %w", err)
	}
	wk := &work{h: h, order: queue.Order{Verb: verb}}
	wk.Left = map[string]int64{}
	if verb == queue.Hold { // its reason is given, not looked for
		if wk.order.Reason, err = line(q, queue.ByReason); err != nil {
			return nil, err
		}
		q[queue.ByReason] = q["of-reason"]
		delete(q, "of-reason")
	}
	if verb == queue.Bounce && len(q["reply"]) > 0 {
		text, err := line(q, "reply")
		if err != nil {
			return nil, err
		}
		if wk.order.Reply, err = queue.ParseReply(text); err != nil {
			return nil, err
		}
	}
	if verb == queue.Reroute {
		if err := routeIn(q, &wk.order); err != nil {
			return nil, err
		}
	}
	if wk.choose, err = queue.ParseSelector(q); err != nil {
		return nil, err
	}
	flag := func(name string) bool {
		_, there := q[name]
		delete(q, name)
		return there
	}
	all := flag("all")
	wk.order.Dry, wk.each = flag("dry-run"), flag("each")
	for name := range q {
		return nil, fmt.Errorf("%s: nothing in the query is called %q", verb, shown(name))
	}
	if content, err := io.ReadAll(req.Body); err != nil {
		return nil, fmt.Errorf("the content cannot be read: %w", err)
	} else if len(content) > 0 {
		if err := json.Unmarshal(content, &wk.ids); err != nil {
			return nil, fmt.Errorf("the content is not a list of ids in JSON: %w", err)
		}
	}
	switch {
	case len(wk.ids) > MaxIDs:
		return nil, fmt.Errorf("more than %d ids at once", MaxIDs)
	case len(wk.ids) > 0:
		wk.each = true
	case wk.choose.Empty() && !all:
		return nil, fmt.Errorf("%s needs ids, or something to choose by, or \"all\"", verb)
	}
	return wk, nil
}

// routeIn takes out of a query where mail is to go.
func routeIn(q url.Values, o *queue.Order) error {
	_, clear := q["clear"]
	to, err := line(q, "to")
	delete(q, "clear")
	switch {
	case err != nil:
		return err
	case clear == (to != ""):
		return errors.New(`reroute needs a next hop in "to", or "clear"`)
	case clear:
		return nil
	}
	hop, err := message.ParseHop(to)
	if err != nil {
		return err
	}
	o.Route = hop.Hop()
	return nil
}

// line takes one line of text out of a query.
func line(q url.Values, name string) (string, error) {
	list := q[name]
	delete(q, name)
	text := strings.TrimSpace(strings.Join(list, ""))
	if len(list) > 1 || len(text) > MaxReason || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return "", fmt.Errorf("a %s is one line of at most %d bytes", name, MaxReason)
	}
	return text, nil
}

// byID handles the messages that were named, in that order.
func (wk *work) byID() error {
	h := wk.h
	wk.Total = int64(len(wk.ids))
	for rest := wk.ids; len(rest) > 0; {
		part := rest[:min(len(rest), queue.MaxHandle)]
		rest = rest[len(part):]
		lines := make([]*Handled, len(part))
		var chosen []queue.Choice
		for k, text := range part {
			id, err := parseID(text)
			if err == nil {
				var it store.Item
				var c queue.Choice
				var ok bool
				if it.Envelope, it.State, err = h.Store.Load(wk.ctx, id); err == nil {
					if c, ok = wk.choose.Choose(it, h.Active(id), h.Now()); ok {
						chosen = append(chosen, c)
						continue
					}
					err = queue.Refused("is not one of those that were chosen")
				}
				err = wordsOf(id, err)
			}
			lines[k] = failure(shown(text), err)
		}
		done := h.Hands.Handle(wk.ctx, wk.order, chosen)
		patience(wk.out.w) // it took its time
		for k := range lines {
			if lines[k] == nil {
				lines[k] = wk.line(&done[0], chosen[0].Envelope)
				done, chosen = done[1:], chosen[1:]
			}
			wk.Looked++
			if err := wk.out.line(lines[k]); err != nil {
				return err
			}
		}
		if err := wk.out.flush(); err != nil {
			return err
		}
		if err := wk.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// byChoice goes through the queue and handles what is chosen.
func (wk *work) byChoice() error {
	h := wk.h
	wk.Total = h.Store.Health().Depth
	if err := wk.progress(true); err != nil {
		return err
	}
	var chosen []queue.Choice
	flush := func() error {
		if len(chosen) == 0 {
			return wk.progress(false)
		}
		done := h.Hands.Handle(wk.ctx, wk.order, chosen)
		patience(wk.out.w) // it took its time
		for k, d := range done {
			l := wk.line(&d, chosen[k].Envelope)
			var refused queue.Refused
			switch {
			case d.Err == nil:
			case errors.As(d.Err, &refused):
				why, _, _ := strings.Cut(string(refused), ":")
				wk.Left[why]++
			case errors.Is(d.Err, store.ErrNotFound):
				wk.Left["left the queue meanwhile"]++
			case errors.Is(d.Err, queue.ErrBusy):
				wk.Left["is being delivered; try again in a moment"]++
			default:
				return d.Err
			}
			if wk.each {
				if err := wk.out.line(l); err != nil {
					return err
				}
			}
		}
		chosen = chosen[:0]
		return wk.progress(false)
	}
	err := choose(wk.ctx, h, wk.choose, func(looked int, c queue.Choice) error {
		if wk.Looked += int64(looked); c.Envelope != nil {
			chosen = append(chosen, c)
		}
		switch {
		case len(chosen) == queue.MaxHandle:
			return flush()
		case c.Envelope == nil:
			return wk.progress(false)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}

// line says what became of a message, and counts what was done.
func (wk *work) line(d *queue.Handled, env *message.Envelope) *Handled {
	if d.Err != nil {
		return failure(d.ID.String(), wordsOf(d.ID, d.Err))
	}
	l := &Handled{ID: d.ID.String(), Result: wk.order.Verb.Done()}
	if wk.order.Dry {
		l.Result = "would be " + l.Result
	}
	for _, i := range d.Rcpts {
		l.Recipients = append(l.Recipients, env.Rcpts[i].Address.Text)
	}
	wk.Done++
	wk.Recipients += int64(len(d.Rcpts))
	return l
}

// sites finds the site of each lane once for a command.
func (h *handler) sites(ctx context.Context) func(store.Lane) string {
	known := map[store.Lane]string{}
	return func(lane store.Lane) string {
		site, ok := known[lane]
		if !ok {
			if site = h.Hands.SiteOf(ctx, lane); len(known) < maxShape {
				known[lane] = site
			}
		}
		return site
	}
}

// progress tells how far it is, not too often unless it must.
func (wk *work) progress(must bool) error {
	if now := time.Now(); must || now.Sub(wk.sent) >= progressEvery {
		wk.sent = now
		p := wk.Progress
		p.Left = maps.Clone(p.Left)
		if err := wk.out.line(&Handled{Progress: &p}); err != nil {
			return err
		}
		return wk.out.flush()
	}
	return nil
}

// choose yields what a selector chooses, with how many messages were looked at since the last; a page without any yields no message.
func choose(ctx context.Context, h *handler, s *queue.Selector, yield func(looked int, c queue.Choice) error) error {
	now, looked, n := h.Now(), 0, 0
	err := scan(ctx, h.Store, func(items []store.Item) error {
		for _, it := range items {
			looked++
			c, ok := s.Choose(it, h.Active(it.Envelope.ID), now)
			if !ok {
				continue
			}
			n++
			if err := yield(looked, c); err != nil {
				return err
			}
			if looked = 0; s.Limit > 0 && n >= s.Limit {
				return errEnough
			}
		}
		err := yield(looked, queue.Choice{})
		looked = 0
		return err
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

var errEnough = errors.New("enough")

// failure is the line of a message for which nothing was done.
func failure(id string, err error) *Handled {
	e := fault(err)
	return &Handled{ID: id, Error: e.Text, Hint: e.Hint, Status: e.Status}
}

// wordsOf makes an error with a message one for people.
func wordsOf(id store.ID, err error) error {
	var refused queue.Refused
	switch {
	case errors.Is(err, store.ErrNotFound):
		return notInQueue(id)
	case errors.As(err, &refused):
		return &Error{http.StatusConflict, "message " + id.String() + " " + string(refused), ""}
	case errors.Is(err, queue.ErrBusy):
		return &Error{http.StatusServiceUnavailable, "message " + id.String() + ": " + err.Error(), ""}
	}
	return fmt.Errorf("message %s: %w", id, err)
}
