package server

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stagepost/stagepost/core/deliver"
	"github.com/stagepost/stagepost/core/gate"
	"github.com/stagepost/stagepost/core/intake"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/queue"
	"github.com/stagepost/stagepost/core/store/crashfs"
	"github.com/stagepost/stagepost/core/store/disk"
	"github.com/stagepost/stagepost/hooks"
)

// effect is one thing that was done to the outside, in the order of doing: to the disk, or a reply to a client.
type effect struct {
	op   string // create, write, sync, reply
	file string
}

// tracedFS notes what is done to the disk. A sync takes a while and takes effect at its end, as that of a disk does: what does
// not wait for it comes before it.
type tracedFS struct {
	vfs.FS
	delay time.Duration

	mu      sync.Mutex
	effects []effect
}

func (f *tracedFS) note(op, file string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.effects = append(f.effects, effect{op, file})
}

// kind is what the syncs of a file are counted under.
func kind(file string) string {
	switch base := filepath.Base(file); {
	case file == "/data/body/256k":
		return "body folder"
	case strings.HasPrefix(file, "/data/body/"):
		return "body"
	case strings.HasSuffix(base, ".log"):
		return "log"
	}
	return "other"
}

func (f *tracedFS) traced(op, name string, file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	if op != "" {
		f.note(op, name)
	}
	return &tracedFile{file, f, name}, nil
}

func (f *tracedFS) Unwrap() vfs.FS { return f.FS }

func (f *tracedFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	return f.traced("create", name, file, err)
}

func (f *tracedFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.OpenReadWrite(name, c, o...)
	return f.traced("create", name, file, err)
}

func (f *tracedFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.ReuseForWrite(old, name, c)
	return f.traced("create", name, file, err)
}

func (f *tracedFS) OpenDir(name string) (vfs.File, error) {
	file, err := f.FS.OpenDir(name)
	return f.traced("", name, file, err)
}

type tracedFile struct {
	vfs.File
	fs   *tracedFS
	name string
}

func (f *tracedFile) Write(p []byte) (int, error) {
	f.fs.note("write", f.name)
	return f.File.Write(p)
}

func (f *tracedFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.note("write", f.name)
	return f.File.WriteAt(p, off)
}

func (f *tracedFile) sync(do func() error) error {
	time.Sleep(f.fs.delay)
	err := do()
	f.fs.note("sync", f.name)
	return err
}

func (f *tracedFile) Sync() error     { return f.sync(f.File.Sync) }
func (f *tracedFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *tracedFile) SyncTo(n int64) (whole bool, err error) {
	err = f.sync(func() (err error) { whole, err = f.File.SyncTo(n); return err })
	return whole, err
}

// witness is a client's connection that calls replied before a 250 that promises a message goes out.
type witness struct {
	net.Conn
	replied func(id string)
}

func (w witness) Write(p []byte) (int, error) {
	if _, rest, ok := bytes.Cut(p, []byte("250 2.0.0 queued as ")); ok {
		id, _, _ := bytes.Cut(rest, []byte("\r\n"))
		w.replied(string(id))
	}
	return w.Conn.Write(p)
}

// nobody is a next hop that keeps everybody waiting, so that nothing but mail coming in writes to the disk.
type nobody struct{}

func (nobody) Send(ctx context.Context, j *deliver.Job) []message.Outcome {
	<-ctx.Done()
	out := make([]message.Outcome, len(j.Rcpts))
	for i := range out {
		out[i].Result = message.Deferred
	}
	return out
}

// durableRig is sessions, intake and queue over the store on a disk that is made of memory.
type durableRig struct {
	t     *testing.T
	srv   *Server
	mem   *crashfs.FS
	store *disk.Store
	fs    *tracedFS
	start int // of the effects that count

	looked atomic.Int64

	mu   sync.Mutex
	sent map[string]string // content by its first line
}

func diskOptions(fs vfs.FS) disk.Options {
	return disk.Options{Dir: "/data", FS: fs, Ballast: -1, MinFree: -1, Capacity: func() (disk.Capacity, error) { return disk.Capacity{Free: 1 << 40, Total: 1 << 40}, nil }}
}

func newDurableRig(t *testing.T, delay time.Duration, change ...func(*disk.Options)) *durableRig {
	t.Helper()
	r := &durableRig{t: t, mem: crashfs.New(), sent: map[string]string{}}
	r.fs = &tracedFS{FS: r.mem, delay: delay}
	gen, err := hooks.NewGeneration(1, []*hooks.Hook{hook(hooks.Rcpt, func(*hooks.Call) *hooks.Verdict {
		return &hooks.Verdict{Kind: hooks.Accept, Class: hooks.Relay}
	})}, nil)
	if err != nil {
		t.Fatal(err)
	}
	current, records, log := hooks.NewCurrent(gen), &recorder{steps: map[string][]observe.Step{}}, slog.New(slog.DiscardHandler)
	o := diskOptions(r.fs)
	for _, f := range change {
		f(&o)
	}
	st, err := disk.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	r.store = st
	q, err := queue.New(queue.Options{Store: st, Sender: nobody{}, Current: current, Records: records, Log: log, Settings: func() queue.Settings {
		return queue.Settings{Hostname: "mx.example.org", Retry: []time.Duration{time.Hour}, Expire: 24 * time.Hour, Concurrency: 20}
	}})
	if err != nil {
		t.Fatal(err)
	}
	in := intake.New(intake.Options{Queue: q, Current: current, Records: records, Log: log, Settings: func() intake.Settings {
		return intake.Settings{Hostname: "mx.example.org", MaxSize: 10 << 20, MaxRcpts: 100}
	}})
	r.srv = New(Options{Intake: in, Current: current, Records: records, Log: log, Limits: func() Limits { return Limits{} }})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := r.srv.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := q.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	r.start = len(r.fs.effects)
	return r
}

// promised looks at the disk in the moment in which a client is about to be told that the server has its message: what would
// be left if the power went now must hold it whole, whether nothing that was not synced is kept, or parts are, or the removals alone.
func (r *durableRig) promised(id string) {
	kind := []crashfs.Image{crashfs.Synced, crashfs.Removals, crashfs.Mixed}[r.looked.Add(1)%3]
	var image *crashfs.FS
	r.mem.Stop(func(m *crashfs.Moment) { image = m.Image(kind, rand.New(rand.NewPCG(1, uint64(r.looked.Load())))) })
	r.fs.note("reply", id)
	st, err := disk.Open(diskOptions(image))
	if err != nil {
		r.t.Errorf("%s: the store does not open on what is synced: %v", id, err)
		return
	}
	defer st.Close()
	key, err := message.ParseID(id)
	if err != nil {
		r.t.Error(err)
		return
	}
	env, _, err := st.Load(context.Background(), key)
	if err != nil {
		r.t.Errorf("%s is promised and not synced: %v", id, err)
		return
	}
	content, err := st.Open(context.Background(), key)
	if err != nil {
		r.t.Errorf("%s is promised, and its content is not synced: %v", id, err)
		return
	}
	defer content.Close()
	all, err := io.ReadAll(io.NewSectionReader(content, 0, content.Size()))
	if err != nil {
		r.t.Error(err)
	}
	line, _, _ := strings.Cut(string(all), "\r\n")
	r.mu.Lock()
	want := r.sent[line]
	r.mu.Unlock()
	if string(all) != want || len(env.Rcpts) != 1 {
		r.t.Errorf("%s is synced with other content (%d octets, sent were %d) or %d recipients", id, len(all), len(want), len(env.Rcpts))
	}
	entries := 0
	for lane, err := range st.Wake(context.Background(), nil, time.Time{}, time.Now().Add(time.Minute)) {
		if err != nil {
			r.t.Error(err)
			return
		}
		page, _, err := st.Due(context.Background(), nil, lane, nil, time.Now().Add(time.Minute), 100_000)
		if err != nil {
			r.t.Error(err)
		}
		for _, e := range page {
			if e.ID == key {
				entries++
			}
		}
	}
	if entries != 1 {
		r.t.Errorf("%s is synced with %d due entries, want 1", id, entries)
	}
}

// deliver sends messages in one session.
func (r *durableRig) deliver(session, messages, size int) error {
	ours, theirs := net.Pipe()
	defer ours.Close()
	r.srv.admit(gate.Arrived(witness{theirs, r.promised}), &mx, r.srv.Board.New(mx.Name, mx.Role))
	ours.SetDeadline(time.Now().Add(time.Minute))
	in := bufio.NewReader(ours)
	ask := func(text, want string) error {
		if text != "" {
			if _, err := io.WriteString(ours, text); err != nil {
				return err
			}
		}
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return err
			}
			if len(line) > 3 && line[3] == '-' {
				continue
			}
			if !strings.HasPrefix(line, want) {
				return fmt.Errorf("%q to %.30q", line, text)
			}
			return nil
		}
	}
	if err := ask("", "220 "); err != nil {
		return err
	}
	if err := ask("EHLO client.example\r\n", "250 "); err != nil {
		return err
	}
	for i := range messages {
		line := fmt.Sprintf("Subject: %d of session %d", i, session)
		content := line + "\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", size/72)
		r.mu.Lock()
		r.sent[line] = content
		r.mu.Unlock()
		for _, step := range [][2]string{{"MAIL FROM:<a@client.example>\r\n", "250 "}, {"RCPT TO:<u@example.net>\r\n", "250 "}, {"DATA\r\n", "354 "}, {content + ".\r\n", "250 2.0.0 queued as "}} {
			if err := ask(step[0], step[1]); err != nil {
				return err
			}
		}
	}
	return ask("QUIT\r\n", "221 ")
}

// syncs counts the syncs by what was synced, and the replies.
func (r *durableRig) syncs() map[string]int {
	r.fs.mu.Lock()
	defer r.fs.mu.Unlock()
	n := map[string]int{}
	for _, e := range r.fs.effects[r.start:] {
		switch e.op {
		case "sync":
			n[kind(e.file)]++
		case "reply":
			n["reply"]++
		}
	}
	return n
}

// order is what was done for one message to body and log, the last of each, in order.
func (r *durableRig) order() string {
	r.fs.mu.Lock()
	defer r.fs.mu.Unlock()
	var steps []string
	for _, e := range r.fs.effects[r.start:] {
		step := e.op + " " + kind(e.file)
		switch {
		case e.op == "reply":
			step = e.op
		case kind(e.file) == "other":
			continue
		}
		if len(steps) == 0 || steps[len(steps)-1] != step {
			steps = append(steps, step)
		}
	}
	return strings.Join(steps, ", ")
}

// TestSyncedBeforeReply: every octet and every name of a message is synced before its 250 is written.
func TestSyncedBeforeReply(t *testing.T) {
	const small, large = 4 << 10, 100 << 10
	for _, tt := range []struct {
		name  string
		size  int
		order string
	}{
		{"small", small, "write log, sync log, reply"},
		{"largest in the log", 32<<10 - 100, "write log, sync log, reply"},
		{"large", large, "create body, write body, sync body, sync body folder, write log, sync log, reply"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newDurableRig(t, 0)
			if err := r.deliver(0, 1, tt.size); err != nil {
				t.Fatal(err)
			}
			if got := r.order(); got != tt.order {
				t.Errorf("the order of effects is\n  %s\nwant\n  %s", got, tt.order)
			}
		})
	}
	for _, tt := range []struct {
		name                     string
		size, sessions, messages int // messages of each session
	}{
		{"small, one after the other", small, 1, 10},
		{"small, 16 at once", small, 16, 6},
		{"large, one after the other", large, 1, 8},
		{"large, 16 at once", large, 16, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newDurableRig(t, time.Millisecond)
			var group sync.WaitGroup
			for n := range tt.sessions {
				group.Go(func() {
					if err := r.deliver(n, tt.messages, tt.size); err != nil {
						t.Error(err)
					}
				})
			}
			group.Wait()
			n := r.syncs()
			all := tt.sessions * tt.messages
			if n["reply"] != all {
				t.Errorf("%d messages were looked at, want %d", n["reply"], all)
			}
			each := func(kind string) string {
				return fmt.Sprintf("%d of the %s (%.2f a message)", n[kind], kind, float64(n[kind])/float64(all))
			}
			t.Logf("%d messages of %d kB: syncs before their 250: %s, %s, %s; others %d", all, tt.size>>10, each("log"), each("body"), each("body folder"), n["other"])
			if tt.sessions == 1 && n["log"] < all || tt.size == large && n["body"] != all {
				t.Error("there are fewer syncs than messages")
			}
		})
	}
}
