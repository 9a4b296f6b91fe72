package queue

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/store"
)

// Measures are taken by calls of plugins, and a storm of deferrals makes many: so one that changes nothing costs a look at a table
// that nobody changes, and nothing waits for the disk. A suspension counts at once and is written behind; one that a crash forgets is
// taken anew with the next reply. What ends is found by one timer.

const measureNote = "measure/"

// measures are those in force.
type measures struct {
	q     *Queue
	table atomic.Pointer[measureTable]

	mu    sync.Mutex // of changes
	timer *time.Timer
	dirty map[string]*Measure // by key: to be written, or forgotten where it is in force no more
	kick  chan struct{}
}

func (x *measures) init(q *Queue) {
	x.q, x.dirty, x.kick = q, map[string]*Measure{}, make(chan struct{}, 1)
	x.table.Store(newMeasureTable(map[string]*Measure{}))
}

// Measure takes a measure, and tells whether that is news: false where one that is in force does the same for about as long.
func (q *Queue) Measure(m Measure) (fresh bool, err error) {
	if err := m.Check(); err != nil {
		return false, err
	}
	if missing := q.missing(&m); missing != "" {
		return false, fmt.Errorf("there is no [%s]", missing)
	}
	m.Effect = m.effect()
	x := &q.measures
	key := m.key()
	if o := x.table.Load().all[key]; o != nil && o.outlasts(&m) {
		return false, nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.table.Load().all[key]
	switch {
	case old != nil && old.outlasts(&m):
		return false, nil
	case old == nil && len(x.table.Load().all) >= MaxMeasures:
		return false, fmt.Errorf("there are %d measures in force, and no more can be taken until some end", MaxMeasures)
	}
	all := maps.Clone(x.table.Load().all)
	all[key] = &m
	fresh = old == nil || !old.inForce(m.Since) || !old.same(&m)
	if fresh {
		q.Log.Info("a plugin takes a measure", "plugin", m.By, "rule", m.Rule, "whose", m.Scope.String(), "effect", m.Effect, "until", m.Until, "reason", m.Reason)
	}
	x.publish(all, &m)
	if m.Do == DoReroute && fresh {
		q.wake.resumed() // what sleeps may go by the other way
	}
	return fresh, nil
}

// publish puts others in force; changed are those that came and went. mu is held.
func (x *measures) publish(all map[string]*Measure, changed ...*Measure) {
	x.table.Store(newMeasureTable(all))
	var first time.Time
	for _, m := range all {
		if first.IsZero() || m.Until.Before(first) {
			first = m.Until
		}
	}
	if x.timer != nil {
		x.timer.Stop()
	}
	if !first.IsZero() {
		x.timer = time.AfterFunc(time.Until(first), x.sweep)
	}
	for _, m := range changed {
		if m.Do == DoSuspend {
			x.dirty[m.key()] = m
		}
	}
	select {
	case x.kick <- struct{}{}:
	default:
	}
}

// sweep ends measures whose time is over.
func (x *measures) sweep() {
	if x.q.stopping.Err() == nil {
		now := time.Now()
		x.end(func(m *Measure) bool { return !m.inForce(now) })
	}
}

// end ends those that are chosen, and returns them. Mail that they held up goes on.
func (x *measures) end(which func(*Measure) bool) (ended []*Measure) {
	x.mu.Lock()
	all := map[string]*Measure{}
	for key, m := range x.table.Load().all {
		if which(m) {
			ended = append(ended, m)
		} else {
			all[key] = m
		}
	}
	if len(ended) == 0 {
		if len(all) > 0 {
			x.publish(all) // the timer went off an instant early
		}
		x.mu.Unlock()
		return nil
	}
	x.publish(all, ended...)
	x.mu.Unlock()
	for _, m := range ended {
		x.q.Log.Info("a measure ended", "plugin", m.By, "rule", m.Rule, "whose", m.Scope.String(), "effect", m.Effect, "since", m.Since)
	}
	x.relax()
	x.q.wake.resumed()
	return ended
}

// relax lets sites begin attempts that their limits allow now.
func (x *measures) relax() {
	set, now := x.q.Settings(), time.Now()
	for _, s := range x.q.lanes.all() {
		s.mu.Lock()
		if s.measured != x.table.Load() && s.jobs.n > 0 {
			s.refresh(&set)
			s.start(now)
		}
		s.mu.Unlock()
	}
}

// KeepMeasures ends the measures of plugins that are not named: they are not there any more.
func (q *Queue) KeepMeasures(plugins []string) {
	if len(q.measures.table.Load().all) > 0 {
		q.measures.end(func(m *Measure) bool { return !slices.Contains(plugins, m.By) })
	}
}

// Measures lists those in force, the oldest first.
func (q *Queue) Measures() (list []Measure) {
	now := time.Now()
	for _, m := range q.measures.table.Load().all {
		if m.inForce(now) {
			list = append(list, *m)
		}
	}
	slices.SortFunc(list, func(a, b Measure) int {
		if c := a.Since.Compare(b.Since); c != 0 {
			return c
		}
		return strings.Compare(a.key(), b.key())
	})
	return list
}

// ofSite lists what is in force about a site, about lanes that lead there, and about tenants wherever their mail goes.
func (x *measures) ofSite(site string, lanes ...store.Lane) (list []Measure) {
	for _, m := range x.q.Measures() {
		hop := func(lane store.Lane) bool { h, _, _ := message.SplitLane(lane); return strings.ToLower(h) == m.Lane }
		if m.Site == strings.ToLower(site) || m.Lane != "" && slices.ContainsFunc(lanes, hop) || m.Site == "" && m.Lane == "" {
			list = append(list, m)
		}
	}
	return list
}

// suspensions are those that keep mail from being tried.
func (x *measures) suspensions() (list []*Suspension) {
	now := time.Now()
	for _, m := range x.table.Load().all {
		if m.Do == DoSuspend && m.inForce(now) {
			list = append(list, m.suspension())
		}
	}
	return list
}

// none tells whether there are none.
func (x *measures) none() bool {
	t := x.table.Load()
	return t == nil || len(t.all) == 0
}

// suspends is a measure that suspends a recipient's mail; nil: none does.
func (x *measures) suspends(env *message.Envelope, lane store.Lane, site string) *Suspension {
	if m := x.table.Load().first(suspending, lane, site, env.Tenant); m != nil {
		return m.suspension()
	}
	return nil
}

// asleep tells whether all mail of a lane is suspended.
func (x *measures) asleep(lane store.Lane) bool {
	t := x.table.Load()
	if len(t.all) == 0 {
		return false
	}
	if strings.HasPrefix(lane, suspendedLane) {
		return t.aside[lane]
	}
	hop, _, _ := message.SplitLane(lane)
	now := time.Now()
	return slices.ContainsFunc(t.index[suspending].lane[strings.ToLower(hop)], func(m *Measure) bool { return m.Source == "" && m.Tenant == "" && m.inForce(now) })
}

// loadMeasures reads the suspensions of plugins that were in force before.
func (q *Queue) loadMeasures(ctx context.Context) error {
	x, now := &q.measures, time.Now()
	all := map[string]*Measure{}
	var over []*Measure
	for n, err := range q.Store.Notes(ctx, measureNote) {
		if err != nil {
			return fmt.Errorf("what plugins suspended cannot be read: %w", err)
		}
		m := &Measure{}
		if err := json.Unmarshal(n.Value, m); err != nil || m.Do != DoSuspend || m.Check() != nil || m.note() != n.Name {
			q.Log.Error("what a plugin suspended cannot be read and is dropped", "name", n.Name, "error", err)
			continue
		}
		if all[m.key()] = m; !m.inForce(now) || len(all) > MaxMeasures {
			delete(all, m.key())
			over = append(over, m)
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.publish(all, over...)
	return nil
}

func (m *Measure) note() string {
	sum := sha256.Sum256([]byte(m.key()))
	return measureNote + hex.EncodeToString(sum[:16])
}

// keep writes suspensions behind, as they come and go.
func (x *measures) keep() {
	ctx := x.q.stopping
	for {
		select {
		case <-ctx.Done():
			return
		case <-x.kick:
		}
		x.mu.Lock()
		dirty := x.dirty
		x.dirty = map[string]*Measure{}
		x.mu.Unlock()
		for key, m := range dirty {
			var err error
			if now := x.table.Load().all[key]; now == nil {
				err = x.q.Store.DropNote(ctx, m.note())
			} else if value, failed := json.Marshal(now); failed != nil {
				err = failed
			} else {
				err = x.q.Store.PutNote(ctx, now.note(), value)
			}
			if err != nil && ctx.Err() == nil {
				x.q.Log.Warn("a suspension by a plugin cannot be noted; it counts until it ends, but a restart forgets or repeats it", "plugin", m.By, "whose", m.Scope.String(), "error", err)
			}
		}
	}
}

// missing is the table that the configuration would need for mail to be sent by the other way of a measure: "source.one"; "" is none.
func (q *Queue) missing(m *Measure) string {
	if m.Do != DoReroute {
		return ""
	}
	set := q.Settings()
	from, by := m.To.Source, m.To.Via
	switch {
	case from != "" && set.HasSource != nil && !set.HasSource(from) && (set.Shape == nil || set.Shape.Pools[from] == nil):
		return "source." + from
	case m.To.Transport && set.HasTransport != nil && !set.HasTransport(by):
		return "transport." + by
	}
	return ""
}

// turned sends a job by another way if a measure says so, and tells whether it did. That happens once to a job. No lock is held.
func (q *Queue) turned(j *job) bool {
	t := q.measures.table.Load()
	env := j.flight.msg.env
	if j.turned || len(t.all) == 0 || env.IsParcel() {
		return false
	}
	m := t.first(rerouting, j.lane, j.site, env.Tenant)
	if m == nil || q.missing(m) != "" {
		return false
	}
	plan := m.turn(j.plan)
	spare := j.spare
	if m.To.Source != "" {
		set := q.Settings()
		spare = set.draw(plan, env.ID, env.Rcpts[j.rcpts[0]].Address.Domain) // it may be a pool
	}
	lane := laneOf(env, plan)
	if lane == j.lane {
		return false
	}
	other := *j
	other.plan, other.lane, other.la, other.site, other.turned, other.generation = plan, lane, nil, "", true, 0
	other.spare = spare
	other.steps.steps = append(slices.Clone(j.steps.steps), observe.Step{Time: q.now(), Stage: "route", Plugin: m.By, Generation: q.Current.Number(), Verdict: "route",
		Detail: "to " + lane + ", since " + j.lane + " is " + m.Effect + " (" + m.who() + ")"})
	q.lanes.push(&other)
	return true
}

// turns tells whether all mail of a lane goes by another way.
func (q *Queue) turns(lane store.Lane, s *site) bool {
	m := q.measures.table.Load().first(rerouting, lane, s.key.name, "")
	return m != nil && q.missing(m) == ""
}

// turn is a plan by the other way.
func (m *Measure) turn(p *message.Plan) *message.Plan {
	if m.To.Source != "" {
		q := *p
		q.Source, q.SourceBy = m.To.Source, m.By
		return &q
	}
	return byHand(m.To, p)
}
