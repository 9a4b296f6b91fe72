package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/queue"
	"github.com/stagepost/stagepost/core/store"
)

// hands remembers what it was asked, and answers as it is told.
type hands struct {
	orders []queue.Order
	asked  []string // "id rcpt ..."
	err    map[store.ID]error
	before func()

	suspended []queue.Suspension
	measures  []queue.Measure
	looked    int // for sites
}

func (h *hands) Handle(ctx context.Context, o queue.Order, chosen []queue.Choice) []queue.Handled {
	if h.before != nil {
		h.before()
	}
	if len(chosen) > 0 {
		h.orders = append(h.orders, o)
	}
	var out []queue.Handled
	for _, c := range chosen {
		words := c.Envelope.ID.String()
		for _, i := range c.Rcpts {
			words += " " + c.Envelope.Rcpts[i].Address.Text
		}
		h.asked = append(h.asked, words)
		d := queue.Handled{ID: c.Envelope.ID, Err: h.err[c.Envelope.ID]}
		if c.Part {
			d.Rcpts = c.Rcpts
		}
		out = append(out, d)
	}
	return out
}

func (h *hands) Suspend(_ context.Context, s queue.Suspension) error {
	if s.Name == "full.example" {
		return queue.Refused("would be one suspension too many")
	}
	h.suspended = append(h.suspended, s)
	return nil
}

func (h *hands) Resume(_ context.Context, kind, name string) error {
	h.asked = append(h.asked, kind+":"+name)
	return nil
}

func (h *hands) Measures() []queue.Measure { return h.measures }

func (h *hands) Suspensions() []queue.Suspension { return h.suspended }

func (h *hands) Explain(_ context.Context, name string) ([]queue.SiteView, error) {
	switch name {
	case "none.example":
		return nil, errors.New("no mail goes to none.example now, and its exchangers cannot be found: no such domain")
	case "mx:slow.example", "slow.example":
		return []queue.SiteView{{Site: "slow.example", Limits: []queue.LimitView{{Name: "concurrency", Value: "20", By: "default"}}, Allowed: 1, Failures: 3, Asleep: noon.Add(time.Minute), Why: "refused",
			Waiting: map[string]int{"acme": 2}, Suspended: h.suspended}}, nil
	}
	return []queue.SiteView{{Site: name, Source: "pool", Lanes: []string{"mx:" + name}}}, nil
}

func (h *hands) SiteOf(_ context.Context, lane store.Lane) string {
	h.looked++
	if strings.HasPrefix(lane, "mx:") {
		return "mail.example"
	}
	return lane
}

func TestExplain(t *testing.T) {
	x := &hands{}
	w := newWorld(t, func(o *Options) { o.Hands = x })
	id := w.put(t, "", nil, "a@slow.example", "b@slow.example", "c@two.example", "d@fresh.example", "e@done.example")
	waits := func(lane string) store.RcptState {
		return store.RcptState{Result: message.Deferred, Lane: lane, Next: noon.Add(time.Hour)}
	}
	w.set(t, id, nil, waits("mx:slow.example"), waits("mx:slow.example source=pool"), waits("mx:two.example"), store.RcptState{}, store.RcptState{Result: message.Delivered, Lane: "mx:done.example"})
	for name, want := range map[string]string{
		"slow.example": `{"sites":[{"site":"slow.example","lanes":[],"exchangers":[],"named":[],"limits":[{"name":"concurrency","value":"20","by":"default"}],"attempts":0,"allowed":1,` +
			`"waiting":{"acme":2},"asleep_until":"2026-03-01T12:01:00Z","probing":false,"failures":3,"why":"refused","suspended":[],"measures":[]}]}`,
		"x.example": `{"sites":[{"site":"x.example","source":"pool","lanes":["mx:x.example"],"exchangers":[],"named":[],"limits":[],"attempts":0,"allowed":0,"waiting":{},"probing":false,"failures":0,"suspended":[],"measures":[]}]}`,
	} {
		if e, err := w.client.Explain(t.Context(), name); err != nil || marshal(e) != want {
			t.Errorf("%s is %s, %v; want %s", name, marshal(e), err, want)
		}
	}
	e, err := w.client.Explain(t.Context(), id.String())
	if err != nil || e.Message == nil || e.Message.ID != id.String() || len(e.Sites) != 2 || e.Sites[0].Site != "slow.example" || e.Sites[1].Site != "mx:two.example" {
		t.Errorf("%s, %v", marshal(e), err)
	}
	for name, want := range map[string]string{"": "is needed", "0000000000000000": "is not in the queue", "none.example": "can be explained", strings.Repeat("x", store.MaxLane+1): "is needed"} {
		if _, err := w.client.Explain(t.Context(), name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.30q: %v, want %q", name, err, want)
		}
	}
}

func (h *hands) Suspended(*message.Envelope, int, store.Lane) *queue.Suspension { return nil }

func TestSuspensions(t *testing.T) {
	x := &hands{}
	w := newWorld(t, func(o *Options) { o.Hands = x })
	q := url.Values{"domain": {"A.example", "b.example"}, "sender": {"<>"}, "for": {"90m"}, "reason": {" why "}}
	done, err := w.client.Suspend(t.Context(), q)
	if err != nil || len(done) != 3 || done[0] != (queue.Suspension{Kind: "domain", Name: "a.example", Reason: "why", Since: noon, Until: noon.Add(90 * time.Minute)}) {
		t.Errorf("%+v, %v", done, err)
	}
	if list, err := w.client.Suspensions(t.Context()); err != nil || !slices.Equal(list, done) || !slices.Equal(list, x.suspended) {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err := w.client.Resume(t.Context(), url.Values{"sender": {"<>"}, "domain": {"b.EXAMPLE"}}); err != nil || len(list) != 2 || !slices.Equal(x.asked, []string{"domain:b.example", "sender:"}) {
		t.Errorf("%+v, %v; asked %q", list, err, x.asked)
	}
	if list, err := w.client.Resume(t.Context(), url.Values{"all": {""}}); err != nil || len(list) != 3 {
		t.Errorf("%+v, %v", list, err)
	}
	for _, tt := range []struct {
		method, query string
		status        int
		text          string
	}{
		{"POST", "", 400, "nothing is named"}, {"DELETE", "", 400, "nothing is named"}, {"POST", "all", 400, `called "all"`}, {"DELETE", "all&domain=x", 400, `called "all"`},
		{"POST", "domain=x&for=1y", 400, "not a duration"}, {"POST", "domain=x&reason=a%0Ab", 400, "one line"}, {"POST", "domain=", 400, "empty"}, {"POST", "%", 400, "escape"},
		{"POST", "domain=full.example", 409, "domain full.example would be one suspension too many"}, {"DELETE", "domain=none.example", 404, "is not suspended"},
	} {
		err := w.client.get(t.Context(), tt.method, "/suspensions?"+tt.query, nil)
		if e := (*Error)(nil); !errors.As(err, &e) || e.Status != tt.status || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s %s: %v, want %d %q", tt.method, tt.query, err, tt.status, tt.text)
		}
	}
	x.measures = []queue.Measure{{Do: queue.DoSlow, Scope: queue.Scope{Site: "mx.example", Tenant: "acme"}, By: "shaping", Rule: "rules.toml:12", Since: noon, Until: noon.Add(time.Hour), Effect: "slowed to concurrency 1"}}
	if list, err := w.client.Measures(t.Context()); err != nil || !slices.Equal(list, x.measures) {
		t.Errorf("measures %+v, %v", list, err)
	}
	x.asked = nil
	if list, err := w.client.Resume(t.Context(), url.Values{"site": {"mx.example"}}); err != nil || len(list) != 1 || list[0].By != "shaping" || !slices.Equal(x.asked, []string{"site:mx.example"}) {
		t.Errorf("a measure is resumed: %+v, %v; asked %q", list, err, x.asked)
	}
	if s, err := w.client.Status(t.Context()); err != nil || len(s.Suspended) != 3 {
		t.Errorf("status: %+v, %v", s.Suspended, err)
	}
}

// collect reads an answer: the lines but for those of progress, and the last of those.
func collect(t *testing.T, w *world, verb queue.Verb, query string, ids ...string) (lines []Handled, last Progress, err error) {
	t.Helper()
	q, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	for h, err := range w.client.Hand(t.Context(), verb, q, ids) {
		if err != nil {
			return lines, last, err
		}
		if h.Progress != nil {
			last = *h.Progress
		} else {
			lines = append(lines, h)
		}
	}
	return lines, last, nil
}

func TestHandsByID(t *testing.T) {
	x := &hands{err: map[store.ID]error{}}
	w := newWorld(t, func(o *Options) { o.Hands = x })
	one, two := w.put(t, "", nil, "u@b.example", "v@c.example"), w.put(t, "", nil, "u@b.example")
	none := store.ID{9}.String()
	gone := Handled{ID: none, Status: 404, Error: "message " + none + " is not in the queue", Hint: "if it was here, this says what became of it: stagepost trace " + none}
	x.err[two] = queue.Refused("is not held")
	for _, verb := range queue.Verbs() {
		query := ""
		if verb == queue.Reroute {
			query = "clear"
		}
		lines, last, err := collect(t, w, verb, query, none, two.String(), "x", one.String())
		want := []Handled{gone, {ID: two.String(), Status: 409, Error: "message " + two.String() + " is not held"}, lines[2], {ID: one.String(), Result: verb.Done()}}
		if got, wanted := marshal(lines), marshal(want); err != nil || got != wanted || lines[2].Status != 400 || !strings.Contains(lines[2].Error, `"x" is not the id`) {
			t.Errorf("%s: %s, %v; want %s", verb, got, err, wanted)
		}
		if !last.End || last.Done != 1 || last.Looked != 4 {
			t.Errorf("%s: at the end %+v", verb, last)
		}
	}
	for _, f := range []struct {
		err    error
		status int
		text   string
	}{
		{store.ErrNotFound, 404, gone.Error},
		{queue.ErrBusy, 503, ": the message is being delivered; try again in a moment"},
		{errors.New("disk on fire"), 500, ": disk on fire"},
	} {
		x.err[two] = f.err
		lines, _, err := collect(t, w, queue.Retry, "", two.String())
		if want := "message " + two.String() + strings.TrimPrefix(f.text, "message "+none); err != nil || lines[0].Status != f.status || lines[0].Error != want {
			t.Errorf("%+v, %v; want %d %s", lines, err, f.status, want)
		}
	}
	x.orders, x.asked = nil, nil
	why := strings.Repeat("é ", MaxReason/3-1) + "?&="
	if _, _, err := collect(t, w, queue.Hold, "dry-run&reason="+url.QueryEscape(" "+why), one.String()); err != nil || !reflect.DeepEqual(x.orders[0], queue.Order{Verb: queue.Hold, Reason: why, Dry: true}) {
		t.Errorf("%v; ordered %+v", err, x.orders)
	}
	if _, _, err := collect(t, w, queue.Reroute, "to=LMTP.example", one.String()); err != nil || x.orders[1].Route != "smtp:lmtp.example:25" {
		t.Errorf("%v; ordered %+v", err, x.orders)
	}
	x.orders, x.asked = x.orders[:1], x.asked[:1]
	lines, _, err := collect(t, w, queue.Bounce, "domain=c.example&reply=5.1.1+no", one.String(), two.String())
	if err != nil || len(x.asked) != 2 || x.asked[1] != one.String()+" v@c.example" || x.orders[1].Reply.Error() != "550 5.1.1 no" {
		t.Errorf("%v; ordered %+v of %q", err, x.orders, x.asked)
	}
	if !slices.Equal(lines[0].Recipients, []string{"v@c.example"}) || lines[1].Error != "message "+two.String()+" is not one of those that were chosen" {
		t.Errorf("ids among what is chosen: %+v", lines)
	}
}

func marshal(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

func TestHandsByChoice(t *testing.T) {
	x := &hands{err: map[store.ID]error{}}
	w := newWorld(t, func(o *Options) { o.Hands = x })
	const many = 2*queue.MaxHandle + 20
	var ids []store.ID
	for i := range 3 * many {
		ids = append(ids, w.put(t, "", nil, fmt.Sprintf("u@d%d.example", i%3)))
	}
	x.err[ids[0]] = queue.Refused("is held already: why")
	x.err[ids[3]] = queue.Refused("is held already: because")
	lines, last, err := collect(t, w, queue.Hold, "domain=d0.example")
	if err != nil || len(lines) != 0 || last.Done != many-2 || last.Looked != 3*many || last.Total != 3*many || last.Left["is held already"] != 2 || len(last.Left) != 1 || !last.End || last.Stopped {
		t.Errorf("%d lines, %+v, %v", len(lines), last, err)
	}
	if len(x.asked) != many || len(x.orders) != 3 {
		t.Errorf("asked for %d in %d batches, want %d in 3", len(x.asked), len(x.orders), many)
	}
	x.asked = nil
	if lines, last, err = collect(t, w, queue.Retry, "all&limit=5&each&dry-run"); err != nil || len(lines) != 5 || lines[0].Status != 409 || lines[1].Result != "would be retried" || last.Done != 3 || len(x.asked) != 5 {
		t.Errorf("%+v, %+v, %v; asked %d", lines, last, err, len(x.asked))
	}
	x.err[ids[0]], x.asked, x.orders = errors.New("disk on fire"), nil, nil
	if _, _, err = collect(t, w, queue.Delete, "all"); err == nil || !strings.Contains(err.Error(), "disk on fire") || len(x.orders) != 1 {
		t.Errorf("after %d batches: %v", len(x.orders), err)
	}
}

func TestHandsStop(t *testing.T) {
	x := &hands{}
	w := newWorld(t, func(o *Options) { o.Hands = x })
	for range 3 * queue.MaxHandle {
		w.put(t, "", nil, "u@b.example")
	}
	work := make(chan uint64, 1)
	batches := 0
	x.before = func() {
		if batches++; batches == 2 {
			if err := w.client.StopWork(t.Context(), <-work); err != nil {
				t.Error(err)
			}
		}
	}
	var last Progress
	for h, err := range w.client.Hand(t.Context(), queue.Hold, url.Values{"all": {""}}, nil) {
		if err != nil {
			t.Fatal(err)
		}
		if last = *h.Progress; last.Done == 0 {
			work <- last.Work
		}
	}
	if !last.End || !last.Stopped || last.Done != 2*queue.MaxHandle {
		t.Errorf("stopped in the second batch: %+v", last)
	}
	if err := w.client.StopWork(t.Context(), last.Work); err == nil || !strings.Contains(err.Error(), "is under way") {
		t.Errorf("stopped twice: %v", err)
	}
}

func TestQueueChoice(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 2 * scanPage {
		w.put(t, "", func(e *message.Envelope) { e.Tenant = fmt.Sprint(i % 100) }, fmt.Sprintf("u@d%d.example", i%2))
	}
	for query, want := range map[string]int{"": 2 * scanPage, "domain=D1.example": scanPage, "domain=none.example": 0, "tenant=7": 6, "tenant=7&domain=d0.example": 0, "limit=3": 3} {
		q, _ := url.ParseQuery(query)
		n := 0
		for _, err := range w.client.Queue(t.Context(), q) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != want {
			t.Errorf("%q lists %d, want %d", query, n, want)
		}
	}
}

func TestHandsRefuseNonsense(t *testing.T) {
	x := &hands{}
	w := newWorld(t, func(o *Options) { o.Hands = x })
	id := w.put(t, "", nil, "u@b.example").String()
	for _, tt := range []struct {
		method, path, content string
		status                int
		text                  string
	}{
		{"POST", "/queue/hold?reason=a%0Ab", `["` + id + `"]`, 400, "a reason is one line"},
		{"POST", "/queue/hold?reason=%ff", `["` + id + `"]`, 400, "a reason is one line"},
		{"POST", "/queue/hold?reason=" + strings.Repeat("x", MaxReason+1), `["` + id + `"]`, 400, "at most 500 bytes"},
		{"POST", "/queue/hold?reason=x&reason=y", `["` + id + `"]`, 400, "one line"},
		{"POST", "/queue/hold?reasen=x", `["` + id + `"]`, 400, `nothing in the query is called "reasen"`},
		{"POST", "/queue/hold?%", `["` + id + `"]`, 400, "cannot be read"},
		{"POST", "/queue/bounce?reply=450+x", `["` + id + `"]`, 400, "5yz"},
		{"POST", "/queue/bounce?reply=", `["` + id + `"]`, 400, "needs a text"},
		{"POST", "/queue/reroute", `["` + id + `"]`, 400, "needs a next hop"},
		{"POST", "/queue/reroute?to=a&clear", `["` + id + `"]`, 400, "needs a next hop"},
		{"POST", "/queue/reroute?to=plugin:x", `["` + id + `"]`, 400, "port"},
		{"POST", "/queue/retry", "", 400, "needs ids"},
		{"POST", "/queue/retry?limit=5", "[]", 400, "needs ids"},
		{"POST", "/queue/retry?limit=0", "", 400, "limit"},
		{"POST", "/queue/retry?state=new", "", 400, "none of active"},
		{"POST", "/queue/retry", "{}", 400, "not a list of ids"},
		{"POST", "/queue/retry", `["` + strings.Repeat("x", 65<<10) + `"]`, 400, "too large"},
		{"POST", "/queue/retry", "[" + strings.Repeat(`"",`, MaxIDs) + `""]`, 400, "more than 1000 ids"},
		{"POST", "/queue/" + id, "", 405, "use GET"},
		{"PUT", "/queue/release", "", 405, "use POST"},
		{"POST", "/queue/relase", "", 405, "use GET"},
		{"GET", "/queue?senders=x", "", 400, `nothing in the query is called "senders"`},
		{"GET", "/queue?older=x", "", 400, "not a duration"},
		{"DELETE", "/command/x", "", 404, `no command "x" is under way`},
	} {
		body, err := w.client.open(t.Context(), tt.method, tt.path, []byte(tt.content))
		if err == nil {
			body.Close()
		}
		if e := (*Error)(nil); !errors.As(err, &e) || e.Status != tt.status || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s %s: %v, want %d %q", tt.method, tt.path, err, tt.status, tt.text)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), "PUT", "http://stagepost/queue/retry", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := w.client.http.Do(req)
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
