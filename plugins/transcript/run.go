package transcript

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/breaker"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/intake"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/sasl"
	"github.com/stagepost/stagepost/core/server"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/core/store/memory"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/generation"
	"github.com/stagepost/stagepost/plugins/service"
)

// DefaultTimeout is the longest that a case may take, in real time.
const DefaultTimeout = 30 * time.Second

// Result is what a case came to.
type Result struct {
	File    string        `json:"file"`
	Case    string        `json:"case,omitempty"`
	Line    int           `json:"line"`
	Plugin  string        `json:"plugin"`
	Failure *Failure      `json:"failure"` // null when all was as wanted
	Took    time.Duration `json:"-"`
}

// Failure is the first line of a case that did not come true.
type Failure struct {
	Line   int    `json:"line"`
	Run    string `json:"run"` // "load"; "fresh" or "used" instance
	Wanted string `json:"wanted,omitempty"`
	Got    string `json:"got"`
}

// Run runs a case twice against a plugin. Each run must end before the timeout; 0 is DefaultTimeout.
func (c *Case) Run(ctx context.Context, src *generation.Source, timeout time.Duration) Result {
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	began := time.Now()
	res := Result{File: c.File.Name, Case: c.Name, Line: c.Line, Plugin: src.Name}
	res.Failure = c.run(ctx, src, timeout)
	res.Took = time.Since(began)
	return res
}

func (c *Case) run(ctx context.Context, src *generation.Source, timeout time.Duration) *Failure {
	w := &world{c: c, plugin: src.Name}
	w.kv.now = w.clock.Now
	w.clock.set(start())
	err := w.load(src)
	if len(c.refused) > 0 {
		if w.current != nil {
			defer w.close()
		}
		return c.checkRefused(err)
	}
	if err != nil {
		return &Failure{Line: c.Line, Run: "load", Wanted: "the plugin loads with the settings of the case", Got: err.Error()}
	}
	defer w.close()
	fresh, failure := w.play(ctx, "fresh", c.lines, timeout)
	if failure != nil {
		return failure
	}
	w.warm(ctx, timeout)
	used, failure := w.play(ctx, "used", c.lines, timeout)
	if failure != nil {
		return failure
	}
	for i := range max(len(fresh), len(used)) {
		var a, b told
		if i < len(fresh) {
			a = fresh[i]
		}
		if i < len(used) {
			b = used[i]
		}
		if a != b {
			return &Failure{Line: max(a.line, b.line), Run: "used", Wanted: "as in the fresh instance: " + a.String(), Got: b.String()}
		}
	}
	return nil
}

// world is what a case runs in: the plugin, loaded once, and all that is made up around it.
type world struct {
	c       *Case
	plugin  string
	current *hooks.Current
	clock   clock
	dns     zone
	kv      kept
	tables  tables
	log     logbook
	outside elsewhere
	host    *service.Host
	events  []service.Event // that were counted before this run

	mu      sync.Mutex
	run     *run            // that is told of answers
	valid   map[*given]bool // whose line was reached
	client  *connect
	warming bool
	hop     smtp.Reply
	site    string // that mail goes to; "": that of its plan
	source  string
	shaped  shaped
}

// reset makes everything as it is at the beginning of a case.
func (w *world) reset() error {
	w.clock.set(start())
	w.log.clear()
	w.tables.reset()
	w.events = w.host.Events(w.plugin)
	w.mu.Lock()
	w.valid, w.client, w.hop = map[*given]bool{}, nil, smtp.NewReply(250, "2.0.0", "ok")
	w.site, w.source = "", ""
	w.mu.Unlock()
	w.shaped.reset()
	w.outside.reset()
	return errors.Join(w.dns.say(nil), w.kv.reset())
}

// load loads the plugin as the server would, with the settings of the case.
func (w *world) load(src *generation.Source) error {
	cfg, err := config.Parse(w.c.File.Name, []byte(w.c.configuration(src.Name)), config.Options{})
	if err != nil {
		return err
	}
	w.host = service.NewHost(service.Options{Hostname: func() string { return hostname }, Resolver: &w.dns, KV: &w.kv, Secrets: &w.outside, Connect: w.outside.connect, Fetch: &w.outside, SPF: w.outside.spf, Now: w.clock.Now, Log: slog.New(&w.log)})
	all := map[string]service.Lookup{}
	for name := range cfg.Lookups {
		all[name] = table{&w.tables, name}
	}
	w.host.UseLookups(all)
	w.host.Shaper(&w.shaped)
	gen, err := generation.Alone(cfg, src, w.host, slog.New(slog.DiscardHandler), w.otherHooks()...)
	if err != nil {
		return err
	}
	gen.Answered = w.watch
	w.current = hooks.NewCurrent(gen)
	return nil
}

// counted is what the plugin counted under a name in this run.
func (w *world) counted(name string) (n uint64) {
	for _, e := range w.host.Events(w.plugin) {
		if e.Name == name {
			n = e.Count
		}
	}
	for _, e := range w.events {
		if e.Name == name {
			n -= e.Count
		}
	}
	return n
}

func (w *world) close() {
	none, err := hooks.NewGeneration(2, nil, nil)
	if err != nil {
		panic(err) // without hooks there is nothing to be wrong
	}
	w.current.Swap(none)
}

func (w *world) watch(c *hooks.Call, s observe.Step) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.run != nil {
		w.run.watch(c, s)
	}
}

// told is one answer, as far as two runs must agree on it.
type told struct {
	line int
	text string
}

func (t told) String() string {
	if t.text == "" {
		return "nobody was asked"
	}
	return t.text
}

// run is one run of a case.
type run struct {
	*world
	ctx    context.Context
	server *server.Server
	in     *intake.Intake
	spool  *spool
	group  sync.WaitGroup
	wire   *wire
	helped bool // the greeting and EHLO are done, for send
	number int  // of the line that is done

	replies []smtp.Reply // that nobody looked at yet, of mail without a client
	delayed time.Duration
	session *message.Session
	message *hooks.MessageView
	rcpt    *hooks.RcptView
	steps   []observe.Step  // since the last thing that was done
	acted   int             // the line of that
	excused map[string]bool // stages at which the plugin was wanted to fail since
	told    []told
	mail    *mail // the latest
	known   int   // messages that were kept when it came
}

const (
	maxSteps = 10_000
	maxTold  = 20_000
)

// play runs lines in a world made new.
func (w *world) play(ctx context.Context, name string, lines []line, timeout time.Duration) (told []told, failure *Failure) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := w.reset(); err != nil {
		return nil, &Failure{Line: w.c.Line, Run: name, Got: err.Error()}
	}
	w.mend()
	r := &run{world: w, ctx: ctx, spool: &spool{Store: memory.New(memory.Options{Now: w.clock.Now}), keys: map[string]store.ID{}}}
	r.spool.run = r
	quiet := slog.New(slog.DiscardHandler)
	r.in = intake.New(intake.Options{Queue: r.spool, Current: w.current, Records: noRecord{}, Log: quiet, Now: w.clock.Now, Settings: func() intake.Settings {
		return intake.Settings{Hostname: hostname, MaxSize: 10 << 20, MaxRcpts: 1000}
	}})
	w.host.Outbox(&service.Outbox{Intake: r.in, Queue: r.spool})
	r.server = server.New(server.Options{Intake: r.in, Current: w.current, Records: noRecord{}, Log: quiet, Limits: func() server.Limits { return server.Limits{} },
		After: func(d time.Duration) <-chan time.Time {
			w.mu.Lock()
			r.delayed += d
			w.mu.Unlock()
			return w.clock.After(d)
		}})
	w.mu.Lock()
	w.run = r
	w.mu.Unlock()
	defer func() {
		if err := r.end(); err != nil && failure == nil {
			failure = &Failure{Line: w.c.Line, Run: name, Got: err.Error()}
		}
		w.mu.Lock()
		told, w.run = r.told, nil
		w.mu.Unlock()
		w.kv.store.Close()
	}()
	for _, l := range lines {
		r.number = l.number
		if err := l.act.do(r); err != nil {
			return nil, failureAt(l.number, name, err)
		}
	}
	if err := r.silent(); err != nil {
		return nil, failureAt(r.number, name, err)
	}
	return nil, nil
}

func failureAt(line int, run string, err error) *Failure {
	f := &Failure{Line: line, Run: run, Got: err.Error()}
	if m := (*mismatch)(nil); errors.As(err, &m) {
		f.Wanted, f.Got = m.wanted, m.got
		if m.line > 0 {
			f.Line = m.line
		}
	}
	return f
}

// mend closes the breakers: that calls were too slow in another run is no matter of this one. Nobody uses the generation now.
func (w *world) mend() {
	gen := w.current.Acquire()
	defer gen.Release()
	for _, s := range hooks.Stages() {
		for _, h := range gen.Chain(s.Stage) {
			h.Breaker = breaker.New(nil, time.Now())
		}
	}
}

// warm uses the instance for mail that has nothing to do with the case. What comes of it does not matter.
func (w *world) warm(ctx context.Context, timeout time.Duration) {
	set := func(warming bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.warming = warming
	}
	set(true)
	defer set(false)
	p := &parser{file: &File{Name: "warm"}}
	at := func(text string) action { return parseSend(p, "", text) }
	w.play(ctx, "warm", []line{
		{0, parseConnect(p, "203.0.113.250 helo=stranger.example")},
		{0, at("stranger@stranger.example to someone@elsewhere.example other@example.org")},
		{0, &leave{}},
		{0, &attempt{}},
	}, timeout)
}

// watch notes an answer. w.mu is held.
func (r *run) watch(c *hooks.Call, s observe.Step) {
	if c.Session != nil {
		r.session = c.Session
	}
	if c.Message != nil {
		r.message = c.Message
	}
	if c.Rcpt != nil {
		rcpt := *c.Rcpt // the view is used again for the next recipient
		r.rcpt = &rcpt
	}
	if s.Plugin == others && s.Verdict == hooks.Next.String() {
		return
	}
	if len(r.steps) < maxSteps {
		r.steps = append(r.steps, s)
	}
	if len(r.told) < maxTold {
		r.told = append(r.told, told{r.number, strings.Join(append([]string{s.Verdict + " at " + s.Stage}, s.Edits...), ", ")})
	}
}

// asked is the answers since the last thing that was done.
func (r *run) asked() []observe.Step {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.steps)
}

// begin is the beginning of something that is done. What was said before must have been looked at.
func (r *run) begin() error {
	if reply, ok := r.next(); ok {
		return fmt.Errorf("the server also said %q, which no line S: awaits", reply.Error())
	}
	if err := r.silent(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps, r.delayed, r.acted, r.excused = nil, 0, r.number, map[string]bool{}
	r.log.clear()
	r.spool.mu.Lock()
	defer r.spool.mu.Unlock()
	r.spool.handed = nil
	return nil
}

// silent checks that the plugin did not fail without being wanted to: on_error may have hidden it.
func (r *run) silent() error {
	for _, s := range r.asked() {
		if s.Plugin == r.plugin && failed(s) && !r.excused[s.Stage] {
			return &mismatch{line: r.acted, wanted: "no failure of the plugin, or a line: want error at " + s.Stage, got: s.Verdict + " at " + s.Stage + ": " + s.Detail}
		}
	}
	return nil
}

// failed tells whether an answer is that of on_error.
func failed(s observe.Step) bool { return strings.HasPrefix(s.Verdict, "error, ") }

// next takes the next reply.
func (r *run) next() (smtp.Reply, bool) {
	if len(r.replies) > 0 {
		reply := r.replies[0]
		r.replies = r.replies[1:]
		return reply, true
	}
	if r.wire == nil {
		return smtp.Reply{}, false
	}
	return r.wire.reply()
}

// settle waits until the server is done with what it was given; over tells that it closed the connection.
func (r *run) settle() (over bool, err error) {
	if over, err = r.wire.settle(r.ctx); err != nil || !over {
		return over, err
	}
	return true, r.gone()
}

// gone waits for the end of the session, with its stage disconnect.
func (r *run) gone() error {
	for wait := 10 * time.Microsecond; r.server.Sessions() > 0; wait = min(2*wait, 5*time.Millisecond) {
		select {
		case <-r.ctx.Done():
			return errSlow
		case <-time.After(wait):
		}
	}
	return nil
}

// hangUp ends the connection, if there is one.
func (r *run) hangUp() error {
	if r.wire == nil {
		return nil
	}
	r.wire.leave()
	err := r.gone()
	r.wire, r.helped = nil, false
	return err
}

// end lets go of everything.
func (r *run) end() error {
	err := r.hangUp()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), time.Second)
	defer cancel()
	err = errors.Join(err, r.server.Shutdown(ctx))
	r.group.Wait()
	return err
}

// dial begins a session.
func (r *run) dial(c *connect) error {
	if err := r.hangUp(); err != nil {
		return err
	}
	if err := r.begin(); err != nil {
		return err
	}
	r.mu.Lock()
	r.world.client = c
	r.mu.Unlock()
	r.wire = newWire(net.TCPAddr{IP: net.IP(c.ip.AsSlice()), Port: 40000, Zone: c.ip.Zone()})
	ln := newOnce(r.wire)
	r.group.Go(func() {
		r.server.Serve(r.ctx, ln, &server.Listener{Name: c.listener, Role: c.role, Auth: mechanisms, AuthInClear: true})
	})
	_, err := r.settle()
	return err
}

// mechanisms are those that a transcript can be written for: they have nothing random. They are offered without TLS.
var mechanisms = []string{sasl.Plain, sasl.Login, sasl.OAuthBearer, sasl.XOAuth2}

// mismatch is a line that did not come true: the one that is carried out, or another.
type mismatch struct {
	wanted, got string
	line        int
}

func (m *mismatch) Error() string { return "wanted " + m.wanted + ", got " + m.got }

func wanted(want string, got string) error { return &mismatch{wanted: want, got: got} }
