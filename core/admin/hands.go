package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/stagepost/stagepost/core/queue"
	"github.com/stagepost/stagepost/core/store"
)

// MaxReason bounds, in bytes, why a message is held.
const MaxReason = 500

// Changed is one message that was changed by hand.
type Changed struct {
	ID     string `json:"id"`
	Result string `json:"result"` // held, released, retried, deleted
}

// hand makes the handler of one command.
func (h *handler) hand(result string, do func(Hands, context.Context, store.ID) error) serve {
	return func(w http.ResponseWriter, req *http.Request) error {
		id, err := messageID(req)
		if err != nil {
			return err
		}
		var refused queue.Refused
		switch err := do(h.Hands, req.Context(), id); {
		case err == nil:
			return send(w, &Changed{id.String(), result})
		case errors.Is(err, store.ErrNotFound):
			return notInQueue(id)
		case errors.As(err, &refused):
			return &Error{http.StatusConflict, "message " + id.String() + " " + string(refused), ""}
		case errors.Is(err, queue.ErrBusy):
			return &Error{http.StatusServiceUnavailable, "message " + id.String() + ": " + err.Error(), ""}
		default:
			return fmt.Errorf("message %s: %w", id, err)
		}
	}
}

func (h *handler) hold(w http.ResponseWriter, req *http.Request) error {
	why, err := reason(req.URL.RawQuery)
	if err != nil {
		return &Error{http.StatusBadRequest, err.Error(), ""}
	}
	return h.hand("held", func(x Hands, ctx context.Context, id store.ID) error { return x.Hold(ctx, id, why) })(w, req)
}

func reason(query string) (string, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return "", fmt.Errorf("the query cannot be read: %w", err)
	}
	for key, list := range values {
		if key != "reason" || len(list) != 1 {
			return "", errors.New("the query of hold has nothing but one reason")
		}
	}
	why := strings.TrimSpace(values.Get("reason"))
	if len(why) > MaxReason || !utf8.ValidString(why) || strings.ContainsFunc(why, unicode.IsControl) {
		return "", fmt.Errorf("a reason is one line of at most %d bytes", MaxReason)
	}
	return why, nil
}
