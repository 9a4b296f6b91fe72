package admin

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/queue"
)

func (h *handler) suspended() []queue.Suspension {
	if h.Hands == nil {
		return nil
	}
	return h.Hands.Suspensions()
}

func (h *handler) suspensions(w http.ResponseWriter, _ *http.Request) error {
	return send(w, list(h.suspended()))
}

func (h *handler) measures(w http.ResponseWriter, _ *http.Request) error {
	if h.Hands == nil {
		return send(w, list([]queue.Measure(nil)))
	}
	return send(w, list(h.Hands.Measures()))
}

// suspend suspends all that is named, or says what is wrong before anything is.
func (h *handler) suspend(w http.ResponseWriter, req *http.Request) error {
	q, err := url.ParseQuery(req.URL.RawQuery)
	if err != nil {
		return badRequest(err)
	}
	s := queue.Suspension{Since: h.Now().UTC()}
	if s.Reason, err = line(q, "reason"); err != nil {
		return badRequest(err)
	}
	if last := q.Get("for"); q.Has("for") {
		d, err := config.ParseDuration(last)
		if err != nil || d == 0 {
			return badRequest(fmt.Errorf(`for: %q is not a duration such as "90s", "2h" or "1d12h"`, shown(last)))
		}
		s.Until = s.Since.Add(d)
		delete(q, "for")
	}
	named, err := namedIn(q, s)
	if err != nil {
		return badRequest(err)
	}
	for _, s := range named {
		if err := h.Hands.Suspend(req.Context(), s); err != nil {
			if refused := queue.Refused(""); errors.As(err, &refused) {
				return &Error{http.StatusConflict, s.String() + " " + string(refused), ""}
			}
			return err
		}
	}
	return send(w, named)
}

// resume resumes all that is named.
func (h *handler) resume(w http.ResponseWriter, req *http.Request) error {
	q, err := url.ParseQuery(req.URL.RawQuery)
	if err != nil {
		return badRequest(err)
	}
	there := h.suspended()
	if h.Hands != nil {
		for _, m := range h.Hands.Measures() {
			if m.Do != queue.DoSuspend { // those are among the suspensions
				there = append(there, m.Suspension())
			}
		}
	}
	var which []queue.Suspension
	if _, all := q["all"]; all && len(q) == 1 {
		which = there
	} else {
		named, err := namedIn(q, queue.Suspension{})
		if err != nil {
			return badRequest(err)
		}
		for _, n := range named {
			found := false
			for _, s := range there {
				if s.Kind == n.Kind && s.Name == n.Name {
					which, found = append(which, s), true
				}
			}
			if !found {
				return notSuspended(&n)
			}
		}
	}
	for _, s := range which {
		switch err := h.Hands.Resume(req.Context(), s.Kind, s.Name); {
		case errors.Is(err, queue.ErrNotSuspended) && s.By == "": // a measure may have ended with another one, or by itself
			return notSuspended(&s)
		case errors.Is(err, queue.ErrNotSuspended):
		case err != nil:
			return err
		}
	}
	return send(w, list(which))
}

func notSuspended(s *queue.Suspension) error {
	return &Error{http.StatusNotFound, s.String() + " is not suspended", "this lists what is: stagepost queue suspend --list"}
}

// namedIn reads what a query names; each becomes a suspension like s.
func namedIn(q url.Values, s queue.Suspension) (out []queue.Suspension, err error) {
	for _, kind := range queue.SuspendKinds() {
		for _, name := range q[kind] {
			s.Kind, s.Name = kind, name
			if err := s.Check(); err != nil {
				return nil, err
			}
			out = append(out, s)
		}
		delete(q, kind)
	}
	for name := range q {
		return nil, fmt.Errorf("nothing in the query is called %q", shown(name))
	}
	if len(out) == 0 {
		return nil, errors.New("nothing is named: next-hop, site, domain, tenant and sender can be")
	}
	return out, nil
}

func badRequest(err error) error { return &Error{http.StatusBadRequest, err.Error(), ""} }
