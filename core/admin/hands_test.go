package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/queue"
	"github.com/stagepost/stagepost/core/store"
)

// hands remembers what it was asked, and answers as it is told.
type hands struct {
	asked []string
	err   error
}

func (h *hands) note(what string, id store.ID) error {
	h.asked = append(h.asked, what+" "+id.String())
	return h.err
}

func (h *hands) Hold(_ context.Context, id store.ID, why string) error {
	return h.note(fmt.Sprintf("hold %q", why), id)
}
func (h *hands) Release(_ context.Context, id store.ID) error { return h.note("release", id) }
func (h *hands) Retry(_ context.Context, id store.ID) error   { return h.note("retry", id) }
func (h *hands) Delete(_ context.Context, id store.ID) error  { return h.note("delete", id) }

func TestHands(t *testing.T) {
	x := &hands{}
	w := newWorld(t, func(o *Options) { o.Hands = x })
	c, ctx, id := w.client, t.Context(), store.ID{9}
	why := strings.Repeat("é ", MaxReason/3-1) + "?&="
	for _, tt := range []struct {
		asked, result string
		do            func() (Changed, error)
	}{
		{`hold ""`, "held", func() (Changed, error) { return c.Hold(ctx, id.String(), "") }},
		{fmt.Sprintf("hold %q", why), "held", func() (Changed, error) { return c.Hold(ctx, id.String(), " "+why) }},
		{"release", "released", func() (Changed, error) { return c.Release(ctx, id.String()) }},
		{"retry", "retried", func() (Changed, error) { return c.Retry(ctx, id.String()) }},
		{"delete", "deleted", func() (Changed, error) { return c.Delete(ctx, id.String()) }},
	} {
		x.asked, x.err = nil, nil
		if ch, err := tt.do(); err != nil || ch != (Changed{id.String(), tt.result}) || len(x.asked) != 1 || x.asked[0] != tt.asked+" "+id.String() {
			t.Errorf("%s: %+v, %v; asked %q", tt.asked, ch, err, x.asked)
		}
		for _, f := range []struct {
			err    error
			status int
			text   string
		}{
			{store.ErrNotFound, http.StatusNotFound, "message " + id.String() + " is not in the queue; if it was here, this says what became of it: stagepost trace " + id.String()},
			{queue.Refused("is not held"), http.StatusConflict, "message " + id.String() + " is not held"},
			{queue.ErrBusy, http.StatusServiceUnavailable, "message " + id.String() + ": the message is being delivered; try again in a moment"},
			{errors.New("disk on fire"), http.StatusInternalServerError, "message " + id.String() + ": disk on fire"},
		} {
			x.err = f.err
			_, err := tt.do()
			if e := (*Error)(nil); !errors.As(err, &e) || e.Status != f.status || e.Error() != f.text {
				t.Errorf("%s: %v, want %d %s", tt.asked, err, f.status, f.text)
			}
		}
	}
}

func TestHandsRefuseNonsense(t *testing.T) {
	x := &hands{}
	w := newWorld(t, func(o *Options) { o.Hands = x })
	id := store.ID{9}.String()
	for _, tt := range []struct {
		method, path string
		status       int
		text         string
	}{
		{"POST", "/queue/x/hold", 400, `"x" is not the id of a message`},
		{"DELETE", "/queue/x", 400, `"x" is not the id of a message`},
		{"POST", "/queue/" + id + "/hold?reason=a%0Ab", 400, "a reason is one line"},
		{"POST", "/queue/" + id + "/hold?reason=%ff", 400, "a reason is one line"},
		{"POST", "/queue/" + id + "/hold?reason=" + strings.Repeat("x", MaxReason+1), 400, "at most 500 bytes"},
		{"POST", "/queue/" + id + "/hold?reasen=x", 400, "nothing but one reason"},
		{"POST", "/queue/" + id + "/hold?reason=x&reason=y", 400, "nothing but one reason"},
		{"POST", "/queue/" + id + "/hold?%", 400, "cannot be read"},
		{"POST", "/queue/" + id, 405, "use DELETE or GET"},
		{"GET", "/queue/" + id + "/release", 405, "use POST"},
		{"POST", "/queue/" + id + "/relase", 404, "there is no"},
	} {
		err := w.client.get(t.Context(), tt.method, tt.path, nil)
		if e := (*Error)(nil); !errors.As(err, &e) || e.Status != tt.status || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s %s: %v, want %d %q", tt.method, tt.path, err, tt.status, tt.text)
		}
	}
	resp, err := w.client.http.Get("http://stagepost/queue/" + id + "/retry")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.Header.Get("Allow") != "POST" {
		t.Errorf("Allow: %q, %v", resp.Header.Get("Allow"), err)
	}
	if len(x.asked) > 0 {
		t.Errorf("asked all the same: %q", x.asked)
	}
}
