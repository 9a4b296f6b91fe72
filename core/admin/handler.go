package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/queue"
	"github.com/stagepost/stagepost/core/store"
)

// Bounds of requests.
const (
	maxRequests = 64               // at once
	bodyTime    = 10 * time.Second // for what a client sends
	maxContent  = 64 << 10         // bytes of that
	writeTime   = 30 * time.Second // for an answer, or for one page of a stream
)

type serve func(http.ResponseWriter, *http.Request) error

type handler struct {
	Options
	busy  chan struct{}
	works works
}

// Handler makes the handlers. They check nothing about who asks: that is for whoever serves them.
func Handler(o Options) http.Handler {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Census == nil {
		o.Census = NewCensus(o.Store, o.Active, o.Now)
	}
	h := newHandler(o)
	all := []route{
		{"GET", "/status", h.status},
		{"POST", "/reload", h.reload},
		{"GET", "/plugins", h.plugins},
		{"GET", "/order", h.order},
		{"GET", "/queue", h.queue},
		{"GET", "/queue/{id}", h.show},
		{"GET", "/shape", h.shape},
		{"GET", "/explain", h.explain},
		{"GET", "/suspensions", h.suspensions},
		{"GET", "/measures", h.measures},
		{"POST", "/suspensions", h.suspend},
		{"DELETE", "/suspensions", h.resume},
		{"DELETE", "/command/{n}", h.stopWork},
		{"GET", "/trace/{id}", h.trace},
		{"GET", "/tlsrpt", h.tlsrpt},
		{"GET", "/metrics", h.metrics},
		{"GET", "/healthz", h.healthz},
	}
	for _, v := range queue.Verbs() {
		all = append(all, route{"POST", "/queue/" + string(v), h.hand(v)})
	}
	return h.routes(all)
}

// Watching makes the handlers of the address that [admin] names: nothing but /metrics and /healthz.
func Watching(o Options) http.Handler {
	h := newHandler(o)
	return h.routes([]route{
		{"GET", "/metrics", h.metrics},
		{"GET", "/healthz", h.healthz},
		{"HEAD", "/healthz", h.healthz},
	})
}

func newHandler(o Options) *handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &handler{Options: o, busy: make(chan struct{}, maxRequests)}
}

type route struct {
	method, path string
	serve        serve
}

func (h *handler) routes(all []route) http.Handler {
	mux := http.NewServeMux()
	var paths []string
	methods := map[string]map[string]serve{} // of each path
	for _, r := range all {
		if methods[r.path] == nil {
			paths = append(paths, r.path)
			methods[r.path] = map[string]serve{}
		}
		methods[r.path][r.method] = r.serve
	}
	for path, known := range methods {
		mux.HandleFunc(path, h.guard(strings.HasPrefix(path, "/queue/") && known["POST"] != nil, func(w http.ResponseWriter, req *http.Request) error {
			if serve := known[req.Method]; serve != nil {
				return serve(w, req)
			}
			names := slices.Sorted(maps.Keys(known))
			w.Header().Set("Allow", strings.Join(names, ", "))
			return &Error{http.StatusMethodNotAllowed, req.Method + " " + req.URL.Path + " is not possible", "use " + strings.Join(names, " or ")}
		}))
	}
	mux.HandleFunc("/", h.guard(false, func(_ http.ResponseWriter, req *http.Request) error {
		e := &Error{http.StatusNotFound, fmt.Sprintf("there is no %q here", req.URL.Path), ""}
		if near := config.Nearest(req.URL.Path, paths); near != "" {
			e.Hint = fmt.Sprintf("did you mean %q?", near)
		}
		return e
	}))
	return mux
}

// guard bounds a request, and turns its error or panic into an answer. content: it may have some.
func (h *handler) guard(content bool, serve serve) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		if req.ContentLength != 0 {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
			req.Body = http.MaxBytesReader(w, req.Body, maxContent)
		}
		if req.ContentLength != 0 && !content {
			w.Header().Set("Connection", "close")
			answer(w, &Error{http.StatusBadRequest, req.Method + " " + req.URL.Path + " takes no content", ""})
			return
		}
		select {
		case h.busy <- struct{}{}:
			defer func() { <-h.busy }()
		default:
			answer(w, &Error{http.StatusServiceUnavailable, fmt.Sprintf("more than %d requests at once", maxRequests), "try again in a moment"})
			return
		}
		defer func() {
			if p := recover(); p != nil {
				h.Log.Error("control request failed", "path", req.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				panic(http.ErrAbortHandler) // a cut answer is seen as such
			}
		}()
		if err := serve(w, req); err != nil {
			answer(w, err)
		}
	}
}

// patience sets until when the client must have taken what is written next.
func patience(w http.ResponseWriter) {
	// A writer that has no deadlines is served without.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTime))
}

// answer sends an error.
func answer(w http.ResponseWriter, err error) {
	e := fault(err)
	patience(w)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Status)
	_ = json.NewEncoder(w).Encode(e)
}

func fault(err error) *Error {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e
	}
	return &Error{Status: http.StatusInternalServerError, Text: err.Error()}
}

func send(w http.ResponseWriter, v any) error {
	patience(w)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a client that went away needs no answer
	return nil
}

func (h *handler) status(w http.ResponseWriter, req *http.Request) error {
	s := h.Status()
	var err error
	if s.Queue, err = h.Census.Count(req.Context(), countTime); err != nil {
		return err
	}
	s.Listeners, s.Plugins, s.Suspended = list(s.Listeners), list(s.Plugins), list(h.suspended())
	return send(w, s)
}

// list is never null in JSON.
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

func (h *handler) metrics(w http.ResponseWriter, req *http.Request) error {
	if h.Metrics == nil {
		return &Error{http.StatusNotFound, "this server counts nothing", ""}
	}
	patience(w)
	h.Metrics.ServeHTTP(w, req)
	return nil
}

// healthz is for machines that only look at the status; the text is for people.
func (h *handler) healthz(w http.ResponseWriter, _ *http.Request) error {
	patience(w)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	text := "ok"
	if h.Health != nil {
		if err := h.Health(); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			text = err.Error()
		}
	}
	fmt.Fprintln(w, text)
	return nil
}

func (h *handler) reload(w http.ResponseWriter, req *http.Request) error {
	r := h.Reload(req.Context())
	if r.Err != nil {
		return &Error{http.StatusUnprocessableEntity, r.Err.Error(), fmt.Sprintf("generation %d stays", r.Generation)}
	}
	return send(w, Reloaded{r.Generation, r.Changed, r.Took.Microseconds()})
}

func (h *handler) plugins(w http.ResponseWriter, _ *http.Request) error {
	return send(w, list(h.Plugins()))
}

func (h *handler) order(w http.ResponseWriter, _ *http.Request) error {
	return send(w, list(h.Order()))
}

func (h *handler) queue(w http.ResponseWriter, req *http.Request) error {
	s, err := selection(req)
	if err != nil {
		return err
	}
	s.SiteOf = h.sites(req.Context())
	v := h.viewer()
	out := lines{w: w}
	err = choose(req.Context(), h, s, func(_ int, c queue.Choice) error {
		switch {
		case c.Envelope != nil:
			return out.line(v.message(c.Item))
		case out.count > 0: // the end of a page
			return out.flush()
		}
		return nil
	})
	return out.end(err)
}

// selection reads a query that has nothing but a Selector.
func selection(req *http.Request) (*queue.Selector, error) {
	q, err := url.ParseQuery(req.URL.RawQuery)
	if err != nil {
		return nil, &Error{http.StatusBadRequest, "the query cannot be read: " + err.Error(), ""}
	}
	return selector(q)
}

func selector(q url.Values) (*queue.Selector, error) {
	s, err := queue.ParseSelector(q)
	for name := range q {
		if err == nil {
			err = fmt.Errorf("nothing in the query is called %q", shown(name))
		}
	}
	if err != nil {
		return nil, &Error{http.StatusBadRequest, err.Error(), ""}
	}
	return s, nil
}

func (h *handler) show(w http.ResponseWriter, req *http.Request) error {
	id, err := messageID(req)
	if err != nil {
		return err
	}
	d, err := h.detail(req.Context(), id)
	if errors.Is(err, store.ErrNotFound) {
		return notInQueue(id)
	}
	if err != nil {
		return err
	}
	return send(w, d)
}

func messageID(req *http.Request) (store.ID, error) {
	return parseID(req.PathValue("id"))
}

func parseID(text string) (store.ID, error) {
	id, err := message.ParseID(text)
	if err != nil {
		return id, &Error{http.StatusBadRequest, fmt.Sprintf("%q is not the id of a message: %v", shown(text), err), "stagepost queue list shows the ids"}
	}
	return id, nil
}

func notInQueue(id store.ID) error {
	return &Error{http.StatusNotFound, "message " + id.String() + " is not in the queue", "if it was here, this says what became of it: stagepost trace " + id.String()}
}

func (h *handler) trace(w http.ResponseWriter, req *http.Request) error {
	id := req.PathValue("id")
	steps, err := h.Records.Find(req.Context(), id)
	if len(steps) == 0 {
		if err != nil {
			return err
		}
		return &Error{http.StatusNotFound, fmt.Sprintf("there is no record of %q", shown(id)),
			"ids stand in the reply to a message and in the log; [trace] says how long records are kept"}
	}
	out := lines{w: w}
	for i := range steps {
		steps[i].Edits = list(steps[i].Edits)
		if err := out.line(&steps[i]); err != nil {
			return nil
		}
	}
	return out.end(err)
}

// lines streams JSON Lines.
type lines struct {
	w     http.ResponseWriter
	enc   *json.Encoder
	count int
}

func (l *lines) line(v any) error {
	if l.enc == nil {
		patience(l.w)
		l.w.Header().Set("Content-Type", "application/jsonl")
		l.enc = json.NewEncoder(l.w)
	}
	if l.count++; l.count%scanPage == 0 {
		if err := l.flush(); err != nil {
			return err
		}
	}
	if err := l.enc.Encode(v); err != nil {
		return errGone{err}
	}
	return nil
}

func (l *lines) flush() error {
	patience(l.w)
	if err := http.NewResponseController(l.w).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return errGone{err}
	}
	return nil
}

// end finishes a stream: what went wrong is the answer, or its last line if the answer has begun.
func (l *lines) end(err error) error {
	switch gone := (errGone{}); {
	case errors.As(err, &gone):
		return nil
	case err != nil && l.enc == nil:
		return err
	case err != nil:
		_ = l.enc.Encode(fault(err))
	case l.enc == nil:
		l.w.Header().Set("Content-Type", "application/jsonl")
	}
	return nil
}

// errGone: the client takes no more.
type errGone struct{ error }

// shown is what is repeated of an id that somebody gave.
func shown(id string) string { return id[:min(len(id), 64)] }
