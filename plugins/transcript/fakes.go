package transcript

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/queue"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/resolve/dnszone"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/core/store/memory"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/lookup"
	"github.com/stagepost/stagepost/plugins/service"
)

// clock is the time of a transcript.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

// start is when every case begins.
func start() time.Time { return time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC) }

// After advances the clock instead of waiting.
func (c *clock) After(d time.Duration) <-chan time.Time {
	c.set(c.Now().Add(d))
	done := make(chan time.Time, 1)
	done <- c.Now()
	return done
}

// zone is the DNS of a transcript.
type zone struct {
	mu    sync.Mutex
	names map[string][]string
	zone  *dnszone.Zone
	down  bool
}

func parseZone(names map[string][]string) (*dnszone.Zone, error) { return dnszone.Parse(names) }

// say changes what the DNS says. Each part of it was parsed before.
func (z *zone) say(g *givenDNS) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	switch {
	case g == nil:
		z.names, z.down = map[string][]string{}, false
	case g.down, g.up:
		z.down = g.down
	case g.clear:
		delete(z.names, g.name)
	default:
		z.names[g.name] = append(z.names[g.name], g.records...)
	}
	parsed, err := parseZone(z.names)
	z.zone = parsed
	return err
}

// Lookup implements resolve.Resolver.
func (z *zone) Lookup(ctx context.Context, name string, t resolve.Type) (resolve.Answer, error) {
	z.mu.Lock()
	zone, down := z.zone, z.down
	z.mu.Unlock()
	if down {
		return resolve.Answer{}, &resolve.Error{Kind: resolve.Temporary, Name: name, Type: t, Err: errors.New("the DNS is down")}
	}
	return resolve.Offline(zone.Answer).Lookup(ctx, name, t)
}

// kept is the KV of a transcript: the server's own, in memory, that can be made to fail.
type kept struct {
	mu    sync.Mutex
	store *service.Store
	state string // "up", "down", "full"
	keys  map[string]bool
	now   func() time.Time
}

func (k *kept) reset() error {
	s, err := service.OpenStore(service.StoreOptions{Now: k.now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.store, k.state, k.keys = s, "up", map[string]bool{}
	return nil
}

func (k *kept) set(state string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state = state
}

var errDown = errors.New("kv is down")

// use gives the store to a call, or tells why not.
func (k *kept) use(key string, writes bool) (*service.Store, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.state == "down":
		return nil, errDown
	case k.state == "full" && writes:
		return nil, service.ErrFull
	}
	if writes {
		k.keys[key] = true
	}
	return k.store, nil
}

// Get implements service.KV.
func (k *kept) Get(space, key string) (any, bool, error) {
	s, err := k.use(key, false)
	if err != nil {
		return nil, false, err
	}
	return s.Get(space, key)
}

// Set implements service.KV.
func (k *kept) Set(space, key string, v any, ttl time.Duration) error {
	s, err := k.use(key, true)
	if err != nil {
		return err
	}
	return s.Set(space, key, v, ttl)
}

// Add implements service.KV.
func (k *kept) Add(space, key string, v any, ttl time.Duration) (bool, error) {
	s, err := k.use(key, true)
	if err != nil {
		return false, err
	}
	return s.Add(space, key, v, ttl)
}

// Incr implements service.KV.
func (k *kept) Incr(space, key string, n int64, ttl time.Duration) (int64, error) {
	s, err := k.use(key, true)
	if err != nil {
		return 0, err
	}
	return s.Incr(space, key, n, ttl)
}

// Delete implements service.KV.
func (k *kept) Delete(space, key string) error {
	s, err := k.use(key, false)
	if err != nil {
		return err
	}
	return s.Delete(space, key)
}

// Update implements service.KV.
func (k *kept) Update(space, key string, do func(any) (any, time.Duration)) error {
	s, err := k.use(key, true)
	if err != nil {
		return err
	}
	return s.Update(space, key, do)
}

// entries lists the keys that are there.
func (k *kept) entries(space string) (out []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key := range k.keys {
		if _, ok, _ := k.store.Get(space, key); ok {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

// tables are the lookups of a transcript.
type tables struct {
	mu   sync.Mutex
	keys map[string]map[string]any // by name of the lookup
	down map[string]bool
}

func (t *tables) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keys, t.down = map[string]map[string]any{}, map[string]bool{}
}

func (t *tables) say(g *givenLookup) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case g.state != "":
		t.down[g.name] = g.state == "down"
	case g.value == nil:
		delete(t.keys[g.name], g.key)
	default:
		if t.keys[g.name] == nil {
			t.keys[g.name] = map[string]any{}
		}
		t.keys[g.name][g.key] = g.value
	}
}

// table is one of them.
type table struct {
	*tables
	name string
}

// Get implements service.Lookup.
func (t table) Get(key string, _ lookup.Spend) (any, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.down[t.name] {
		return nil, fmt.Errorf("the lookup %s is down", t.name)
	}
	return t.keys[t.name][strings.ToLower(key)], nil
}

// logbook keeps what the plugin logs.
type logbook struct {
	mu    sync.Mutex
	lines []string
}

const maxLog = 1_000 // lines

// Enabled implements slog.Handler.
func (*logbook) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler. A line is "level text name=value ...".
func (l *logbook) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(strings.ToLower(r.Level.String()) + " " + r.Message)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "data" && a.Value.Kind() == slog.KindGroup {
			for _, v := range a.Value.Group() {
				fmt.Fprintf(&b, " %s=%v", v.Key, v.Value)
			}
		}
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) < maxLog {
		l.lines = append(l.lines, b.String())
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (l *logbook) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup implements slog.Handler.
func (l *logbook) WithGroup(string) slog.Handler { return l }

func (l *logbook) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

func (l *logbook) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = nil
}

// spool is the queue of a transcript: what is committed lies in memory, and nothing is sent by itself.
type spool struct {
	*memory.Store
	run *run
	mu  sync.Mutex
	ids []store.ID

	state  string              // of inject: "up", "full", "busy"
	keys   map[string]store.ID // of what was handed in and is not done
	handed []store.ID          // by the plugin, since the last thing that was done
}

// Commit implements intake.Queue.
func (s *spool) Commit(ctx context.Context, env *message.Envelope, body store.BodyWriter) error {
	err := s.Store.Commit(ctx, env, body)
	if err == nil {
		s.mu.Lock()
		s.ids = append(s.ids, env.ID)
		s.handedIn(env)
		s.mu.Unlock()
	}
	return err
}

// Relay implements intake.Queue: the next hop answers at once, as given.
func (s *spool) Relay(ctx context.Context, gen *hooks.Generation, env *message.Envelope, content message.Content, plan *message.Plan, _ hooks.Observer) []message.Outcome {
	m := &mail{env: env, content: content, rcpts: make([]delivery, len(env.Rcpts))}
	out := make([]message.Outcome, len(env.Rcpts))
	for i, r := range env.Rcpts {
		own := *plan
		p, o := queue.Decide(hooks.Result{Plan: &own}, r)
		if o == nil {
			o = &s.run.try(ctx, gen, m, []int{i}, p)[0]
		}
		out[i] = *o
	}
	s.run.note(m, plan, out)
	return out
}

func (s *spool) all() []store.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ids)
}

// noRecord is a Recorder that keeps nothing: the run sees each step when it is taken.
type noRecord struct{}

func (noRecord) Append(string, ...observe.Step) {}
