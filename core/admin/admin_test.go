package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/core/store/memory"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type records map[string][]observe.Step

func (r records) Find(_ context.Context, id string) ([]observe.Step, error) { return r[id], nil }

// world is a server with what it stands on.
type world struct {
	store   *memory.Store
	records records
	active  map[store.ID]bool
	reload  ReloadResult
	data    string
	client  *Client
}

func newWorld(t *testing.T, change func(*Options)) *world {
	t.Helper()
	w := &world{store: memory.New(memory.Options{Now: func() time.Time { return noon }}), records: records{}, active: map[store.ID]bool{}, data: t.TempDir()}
	o := Options{
		Status:  func() Status { return Status{Version: "1", Generation: 3, Started: noon} },
		Reload:  func(context.Context) ReloadResult { return w.reload },
		Plugins: func() []Plugin { return []Plugin{{Name: "vip", State: "live", Stages: []string{"rcpt"}}} },
		Order:   func() []StageOrder { return []StageOrder{{Stage: "rcpt", Hooks: []Hook{{Plugin: "vip", Order: 50}}}} },
		Active:  func(id store.ID) bool { return w.active[id] },
		Store:   w.store,
		Records: w.records,
		Now:     func() time.Time { return noon },
	}
	if change != nil {
		change(&o)
	}
	l, err := Listen(w.data)
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(o)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Shutdown(t.Context()); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(filepath.Join(w.data, SocketName)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket is left behind: %v", err)
		}
	})
	w.client = NewClient(w.data, "stagepost.toml")
	return w
}

// put commits a message.
func (w *world) put(t *testing.T, content string, change func(*message.Envelope), rcpts ...string) store.ID {
	t.Helper()
	body, err := w.store.Body(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	body.Write([]byte(content))
	env := &message.Envelope{ID: body.ID(), Session: &message.Session{Role: message.RoleMX, Helo: "a.example"}, Arrived: noon.Add(-time.Hour), Size: int64(len(content))}
	env.Sender, _ = smtp.ParseAddress("s@a.example")
	for _, r := range rcpts {
		a, err := smtp.ParseAddress(r)
		if err != nil {
			t.Fatal(err)
		}
		env.Rcpts = append(env.Rcpts, &message.Rcpt{Address: a, Original: a, Class: message.ClassLocal})
	}
	if change != nil {
		change(env)
	}
	if err := w.store.Commit(t.Context(), env, body); err != nil {
		t.Fatal(err)
	}
	body.Abort()
	return env.ID
}

// set changes the states of a message's recipients.
func (w *world) set(t *testing.T, id store.ID, held *string, states ...store.RcptState) {
	t.Helper()
	_, st, err := w.store.Load(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	ch := store.Change{ID: id, Rev: st.Rev, Held: held}
	for i, s := range states {
		ch.Rcpts = append(ch.Rcpts, store.RcptChange{Index: uint16(i), RcptState: s})
	}
	for lease, err := range w.store.Own(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if stale, err := w.store.Update(t.Context(), lease, ch); err != nil || len(stale) > 0 {
			t.Fatal(stale, err)
		}
		break
	}
}

func TestQueueStates(t *testing.T) {
	w := newWorld(t, nil)
	next := noon.Add(5 * time.Minute)
	deferred := store.RcptState{Result: message.Deferred, Attempts: 2, First: noon, Next: next, Lane: "mx:b.example",
		Last: message.Last{Code: 451, Enhanced: "4.7.1", Host: "mx.b.example", Text: "try later"}}
	done := store.RcptState{Result: message.Delivered, Attempts: 1, Last: message.Last{Code: 250, Text: "ok"}}
	failed := store.RcptState{Result: message.Failed, Attempts: 1, Owed: true, Last: message.Last{Code: 550, Enhanced: "5.1.1", Text: "unknown"}}
	overdue := deferred
	overdue.Next = noon
	why := "by hand"

	fresh := w.put(t, "", nil, "u@b.example")
	later := w.put(t, "", func(e *message.Envelope) { e.NotBefore = next }, "u@b.example")
	waits := w.put(t, "", nil, "u@b.example", "v@b.example")
	w.set(t, waits, nil, done, deferred)
	due := w.put(t, "", nil, "u@b.example")
	w.set(t, due, nil, overdue)
	tried := w.put(t, "", nil, "u@b.example")
	w.set(t, tried, nil, deferred)
	w.active[tried] = true
	held := w.put(t, "", nil, "u@b.example")
	w.set(t, held, &why)
	stopped := w.put(t, "", nil, "u@b.example")
	w.set(t, stopped, nil, store.RcptState{Result: message.Held, Attempts: 1})
	owed := w.put(t, "", nil, "u@b.example")
	w.set(t, owed, nil, failed)

	want := []struct {
		id    store.ID
		state string
		rcpts string
	}{
		{fresh, "active", "u@b.example active 0"},
		{later, "deferred", "u@b.example deferred 0 +5m0s"},
		{waits, "deferred", "u@b.example delivered 1 [250 ok], v@b.example deferred 2 +5m0s [451 4.7.1 try later] by mx.b.example"},
		{due, "deferred", "u@b.example deferred 2 [451 4.7.1 try later] by mx.b.example"},
		{tried, "active", "u@b.example deferred 2 +5m0s [451 4.7.1 try later] by mx.b.example"},
		{held, "held", "u@b.example held 0"},
		{stopped, "held", "u@b.example held 1"},
		{owed, "failed", "u@b.example failed 1 [550 5.1.1 unknown]"},
	}
	i := 0
	for m, err := range w.client.Queue(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		var rcpts []string
		for _, r := range m.Recipients {
			s := fmt.Sprintf("%s %s %d", r.Address, r.State, r.Attempts)
			if r.NextAttempt != nil {
				s += " +" + r.NextAttempt.Sub(noon).String()
			}
			if r.LastReply != "" {
				s += " [" + r.LastReply + "]"
			}
			if r.LastHost != "" {
				s += " by " + r.LastHost
			}
			rcpts = append(rcpts, s)
		}
		got := strings.Join(rcpts, ", ")
		if i < len(want) && (m.ID != want[i].id.String() || m.State != want[i].state || got != want[i].rcpts) {
			t.Errorf("message %d: %s %s %q, want %s %s %q", i, m.ID, m.State, got, want[i].id, want[i].state, want[i].rcpts)
		}
		i++
	}
	if i != len(want) {
		t.Errorf("%d messages, want %d", i, len(want))
	}
	s, err := w.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at := func(id store.ID) *time.Time { return oldest(t, w, id) }
	if want := (QueueCounts{Messages: 8, Counted: 8, States: States{2, 3, 2, 1}, Recipients: States{1, 4, 2, 1}, Oldest: at(fresh), OldestDeferred: at(later), CountedAt: noon}); !reflect.DeepEqual(s.Queue, want) {
		t.Errorf("counts %+v, want %+v", s.Queue, want)
	}
}

// oldest is the arrival of a message, as a count gives it.
func oldest(t *testing.T, w *world, id store.ID) *time.Time {
	t.Helper()
	env, _, err := w.store.Load(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return &env.Arrived
}

// pages is a store that counts how it is read, and fails where it is told to.
type pages struct {
	store.Store
	scans, failAt int
}

func (p *pages) Scan(ctx context.Context, after store.Cursor, limit int) ([]store.Item, store.Cursor, error) {
	if p.scans++; p.scans == p.failAt {
		return nil, nil, errors.New("disk on fire")
	}
	return p.Store.Scan(ctx, after, limit)
}

func TestQueueIsPaged(t *testing.T) {
	var p *pages
	w := newWorld(t, func(o *Options) { p = &pages{Store: o.Store}; o.Store = p })
	if n := length(t, w); n != 0 {
		t.Errorf("an empty queue has %d messages", n)
	}
	const many = 2*scanPage + 10
	for range many {
		w.put(t, "", nil, "u@b.example")
	}
	p.scans = 0
	if n := length(t, w); n != many || p.scans < 3 {
		t.Errorf("%d messages in %d pages, want %d in 3", n, p.scans, many)
	}
	p.scans, p.failAt = 0, 2
	n := 0
	var last error
	for _, err := range w.client.Queue(t.Context(), nil) {
		if last = err; err == nil {
			n++
		}
	}
	if e := (*Error)(nil); n != scanPage || !errors.As(last, &e) || !strings.Contains(e.Text, "disk on fire") {
		t.Errorf("%d messages, then %v; want a page and then the store's error", n, last)
	}
	for range w.client.Queue(t.Context(), nil) {
		break // the rest is not asked for
	}
}

func length(t *testing.T, w *world) (n int) {
	t.Helper()
	for _, err := range w.client.Queue(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

func TestShow(t *testing.T) {
	w := newWorld(t, nil)
	for _, tt := range []struct {
		content, prefix string
		skip            int64
		want            string
	}{
		{"Subject: one\r\nX: 2\r\n\r\nbody\r\n\r\nSubject: no\r\n", "Received: here\r\n", 0, "Received: here\nSubject: one\nX: 2"},
		{"Subject: one\r\n\r\nbody", "Subject: two\r\n\r\n", 16, "Subject: two"},
		{"\r\nbody", "", 0, ""},
		{"Subject: only\r\n", "", 0, "Subject: only\n"},
	} {
		id := w.put(t, tt.content, func(e *message.Envelope) {
			e.Prefix, e.Skip = []byte(tt.prefix), tt.skip
			e.Tenant, e.Hold, e.Generation = "t1", "a reason", 7
		}, "u@b.example")
		m, err := w.client.Message(t.Context(), id.String())
		if err != nil {
			t.Fatal(err)
		}
		if m.Header != tt.want || m.NoHeader != "" {
			t.Errorf("%q: header %q (%s), want %q", tt.content, m.Header, m.NoHeader, tt.want)
		}
		if m.Held != "a reason" || m.State != StateHeld || m.Tenant != "t1" || m.Generation != 7 || m.Origin.Helo != "a.example" || m.Expires != nil {
			t.Errorf("detail %+v", m)
		}
	}
}

func TestTrace(t *testing.T) {
	w := newWorld(t, nil)
	w.records["x"] = []observe.Step{{Stage: "rcpt", Plugin: "vip", Verdict: "accept local"}, {Stage: "outcome", Edits: []string{"e"}}}
	var got []string
	for s, err := range w.client.Trace(t.Context(), "x") {
		if err != nil {
			t.Fatal(err)
		}
		b, _ := json.Marshal(s.Edits)
		got = append(got, s.Stage+" "+string(b))
	}
	if strings.Join(got, ", ") != `rcpt [], outcome ["e"]` {
		t.Errorf("got %q", got)
	}
}

func TestReload(t *testing.T) {
	w := newWorld(t, nil)
	w.reload = ReloadResult{Generation: 4, Changed: true, Took: 12 * time.Millisecond}
	if r, err := w.client.Reload(t.Context()); err != nil || r != (Reloaded{4, true, 12_000}) {
		t.Errorf("%+v %v", r, err)
	}
	w.reload = ReloadResult{Generation: 3, Err: errors.New("plugins/vip.lua:7: no")}
	_, err := w.client.Reload(t.Context())
	if e := (*Error)(nil); !errors.As(err, &e) || e.Status != http.StatusUnprocessableEntity || err.Error() != "plugins/vip.lua:7: no; generation 3 stays" {
		t.Errorf("refused: %v", err)
	}
}

func TestErrors(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Plugins = func() []Plugin { panic("x") } })
	c := w.client
	for _, tt := range []struct {
		method, path string
		status       int
		text         string
	}{
		{"GET", "/queue/nonsense", 400, `"nonsense" is not the id of a message`},
		{"GET", "/queue/0000000000000000", 404, "stagepost trace 0000000000000000"},
		{"GET", "/trace/unknown", 404, `there is no record of "unknown"`},
		{"GET", "/trace/" + strings.Repeat("x", 1000), 404, strings.Repeat("x", 64) + `"`},
		{"GET", "/satus", 404, `did you mean "/status"?`},
		{"GET", "/", 404, `there is no "/" here`},
		{"POST", "/status", 405, "use GET"},
		{"GET", "/reload", 405, "use POST"},
	} {
		err := c.get(t.Context(), tt.method, tt.path, nil)
		if e := (*Error)(nil); !errors.As(err, &e) || e.Status != tt.status || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s %s: %v, want %d %q", tt.method, tt.path, err, tt.status, tt.text)
		}
	}
	if _, err := c.Plugins(t.Context()); err == nil {
		t.Error("a panic is an answer")
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("after a panic: %v", err)
	}
}

func TestNoContent(t *testing.T) {
	w := newWorld(t, nil)
	resp, err := w.client.http.Post("http://stagepost/reload", "text/plain", strings.NewReader("now"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var e Error
	if err := json.NewDecoder(resp.Body).Decode(&e); err != nil || resp.StatusCode != http.StatusBadRequest || e.Text != "POST /reload takes no content" {
		t.Errorf("%s %+v %v", resp.Status, e, err)
	}
}

func TestBusy(t *testing.T) {
	enter, leave := make(chan bool), make(chan bool)
	w := newWorld(t, func(o *Options) {
		o.Order = func() []StageOrder { enter <- true; <-leave; return nil }
	})
	done := make(chan error)
	for range maxRequests {
		go func() { _, err := w.client.Order(context.Background()); done <- err }()
	}
	for range maxRequests {
		<-enter
	}
	_, err := w.client.Plugins(t.Context())
	if e := (*Error)(nil); !errors.As(err, &e) || e.Status != http.StatusServiceUnavailable {
		t.Errorf("one request too many: %v", err)
	}
	close(leave)
	for range maxRequests {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestUnreachable(t *testing.T) {
	dir := t.TempDir()
	check := func(want string) {
		t.Helper()
		_, err := NewClient(dir, "my.toml").Status(t.Context())
		if u := (*Unreachable)(nil); !errors.As(err, &u) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "my.toml") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	check("no socket at " + filepath.Join(dir, SocketName) + "); start it with: stagepost serve")
	leaveStale(t, filepath.Join(dir, SocketName))
	check("nobody answers")
}

// leaveStale leaves a socket as a dead process does.
func leaveStale(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Skip("the folder for temporary files has too long a path for a socket: ", err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

func TestListen(t *testing.T) {
	short, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(short) })
	path := filepath.Join(short, SocketName)
	leaveStale(t, path)
	l, err := Listen(short)
	if err != nil {
		t.Fatal("a stale socket is not replaced: ", err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	if _, err := Listen(short); err == nil || !strings.Contains(err.Error(), "a server is running with this data folder already") {
		t.Errorf("a second server: %v", err)
	}
	left, _ := os.ReadDir(short)
	if len(left) != 1 {
		t.Errorf("left in the folder: %v", left)
	}
	// The socket of another server, which took over, is not removed.
	os.Remove(path)
	leaveStale(t, path)
	l.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("a socket of somebody else was removed: %v", err)
	}
	os.Remove(path)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(short); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("a file in its place: %v", err)
	}
}

func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100), strings.Repeat("e", 100))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(Options{Plugins: func() []Plugin { return nil }})
	go s.Serve(l)
	defer s.Shutdown(context.Background())
	if p, err := NewClient(dir, "c").Plugins(t.Context()); err != nil || p == nil || len(p) != 0 {
		t.Errorf("%v %v", p, err)
	}
	if _, err := Listen(dir); err == nil {
		t.Error("a second server starts")
	}
	t.Setenv("TMPDIR", dir)
	if _, err := dial(t.Context(), filepath.Join(dir, SocketName)); err == nil || !strings.Contains(err.Error(), "shorter path") {
		t.Errorf("with a long temporary folder: %v", err)
	}
}
