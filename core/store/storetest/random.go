package storetest

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/core/store/memory"
)

// pair is one message in both stores.
type pair struct {
	real, model store.ID
	content     []byte
	entries     []store.Entry // all it has, and some that are gone
}

// random drives the engine and the memory engine with the same operations.
type random struct {
	*testing.T
	rng   *rand.Rand
	real  store.Store
	model store.Store
	pairs []*pair
	ids   map[store.ID]store.ID // real to model
	now   int
}

func testRandom(t *testing.T, open Open) {
	h := open(t, Setup{})
	r := &random{T: t, rng: rand.New(rand.NewPCG(5, 6)), real: h.Store, model: memory.New(memory.Options{}), ids: map[store.ID]store.ID{}}
	ops := 100_000
	if testing.Short() || h.Slow {
		ops = 5000
	}
	for op := range ops {
		switch n := r.rng.IntN(100); {
		case n < 15 && len(r.pairs) < 300 || len(r.pairs) == 0:
			r.commit()
		case n < 55:
			r.update()
		case n < 70:
			r.due()
		case n < 80:
			r.wake()
		case n < 98:
			r.load(r.pairs[r.rng.IntN(len(r.pairs))])
		case n < 99:
			r.scan()
		case h.Reopen != nil && r.rng.IntN(50) == 0:
			r.real = h.Reopen()
		}
		if r.Failed() {
			t.Fatalf("at operation %d of %d", op, ops)
		}
	}
	r.scan()
	if real, model := r.real.Health().Depth, r.model.Health().Depth; real != model {
		t.Errorf("depth is %d, want %d", real, model)
	}
}

var randomLanes = []store.Lane{"", "mx:a", "mx:a.b", "mx:b", "lmtp:127.0.0.1:24", "a", "\xff"}

func (r *random) time() time.Time {
	return at(r.now + r.rng.IntN(200) - 30).Add(time.Duration(r.rng.IntN(3)) * 400 * time.Millisecond)
}

func (r *random) commit() {
	size := r.rng.IntN(200)
	if r.rng.IntN(100) == 0 {
		size = 32<<10 + r.rng.IntN(20_000)
	}
	p := &pair{content: filler(size, r.rng.Uint64())}
	rcpts, arrived, hold := 1+r.rng.IntN(3), r.time(), ""
	if r.rng.IntN(10) == 0 {
		hold = "held"
	}
	edit := func(e *message.Envelope) {
		e.Arrived, e.Hold = arrived, hold
		if arrived.Unix()%3 == 0 {
			e.NotBefore = arrived.Add(time.Minute)
		}
	}
	env := commit(r, r.real, rcpts, p.content, edit)
	p.real, p.model = env.ID, commit(r, r.model, rcpts, p.content, edit).ID
	if hold == "" {
		p.entries = append(p.entries, store.FirstEntry(env))
	}
	r.pairs = append(r.pairs, p)
	r.ids[p.real] = p.model
}

// update applies one to three changes, some of them with a wrong revision, some for the same message.
func (r *random) update() {
	var real, model []store.Change
	var pairs []*pair
	ahead := map[*pair]store.Rev{}
	for range 1 + r.rng.IntN(3) {
		p := r.pairs[r.rng.IntN(len(r.pairs))]
		env, st, err := r.model.Load(ctx, p.model)
		if err != nil {
			r.Error(err)
			return
		}
		c := store.Change{ID: p.real, Rev: st.Rev + ahead[p]}
		switch n := r.rng.IntN(20); {
		case n == 0:
			c.Rev++
		case n < 6:
			c.Settled = true
		case n == 6:
			why := []string{"", "by hand"}[r.rng.IntN(2)]
			c.Held = &why
		}
		if ahead[p]++; c.Settled || r.rng.IntN(2) == 0 {
			c.Del = slices.Clone(p.entries)
		}
		for range r.rng.IntN(3) {
			index := uint16(r.rng.IntN(len(env.Rcpts)))
			c.Rcpts = append(c.Rcpts, store.RcptChange{Index: index, RcptState: tried(r.rng.IntN(1000), "mx:x")})
			e := store.Entry{Lane: randomLanes[r.rng.IntN(len(randomLanes))], At: r.time()}
			if r.rng.IntN(3) > 0 {
				e.Rcpts = []uint16{index}
			}
			c.Add = append(c.Add, e)
		}
		real, pairs = append(real, c), append(pairs, p)
		c.ID = p.model
		model = append(model, c)
	}
	stale, err := r.real.Update(ctx, nil, real...)
	if err != nil {
		r.Error(err)
		return
	}
	want, _ := r.model.Update(ctx, nil, model...)
	if got := r.translate(stale); !slices.Equal(got, want) {
		r.Errorf("stale are %v, want %v, of %+v", got, want, model)
	}
	for i, p := range pairs {
		if p.entries = append(p.entries, real[i].Add...); real[i].Settled {
			if _, _, err := r.model.Load(ctx, p.model); err != nil {
				r.pairs = slices.DeleteFunc(r.pairs, func(q *pair) bool { return p == q })
			}
		}
	}
}

func (r *random) translate(ids []store.ID) (out []store.ID) {
	for _, id := range ids {
		out = append(out, r.ids[id])
	}
	return out
}

func (r *random) due() {
	name, until, limit := randomLanes[r.rng.IntN(len(randomLanes))], r.time(), 1+r.rng.IntN(40)
	var after, afterModel store.Cursor
	for range 3 {
		got, next, err := r.real.Due(ctx, nil, name, after, until, limit)
		if err != nil {
			r.Error(err)
			return
		}
		want, nextModel, _ := r.model.Due(ctx, nil, name, afterModel, until, limit)
		for i := range got {
			got[i].ID = r.ids[got[i].ID]
		}
		if !reflect.DeepEqual(got, want) || (next == nil) != (nextModel == nil) {
			r.Errorf("lane %q until %v:\n%v, want\n%v", name, until, got, want)
		}
		if after, afterModel = next, nextModel; after == nil || afterModel == nil {
			return
		}
	}
}

func (r *random) wake() {
	from, until := at(r.now), at(r.now+r.rng.IntN(30))
	switch r.rng.IntN(10) {
	case 0:
		from = time.Time{}
	case 1:
		from = at(r.now - 200)
	default:
		r.now = int(until.Sub(base) / time.Second)
	}
	got := wake(r, r.real, from, until)
	for _, lane := range wake(r, r.model, from, until) {
		if !slices.Contains(got, lane) {
			r.Errorf("Wake(%v, %v) = %q misses %q", from, until, got, lane)
		}
	}
}

func (r *random) load(p *pair) {
	env, st, err := r.real.Load(ctx, p.real)
	wantEnv, wantState, wantErr := r.model.Load(ctx, p.model)
	if err != nil || wantErr != nil {
		r.Errorf("%v, %v", err, wantErr)
		return
	}
	r.same(store.Item{Envelope: env, State: st}, store.Item{Envelope: wantEnv, State: wantState})
	if r.rng.IntN(4) == 0 {
		hasStored(r, r.real, p.real, p.content)
	}
}

func (r *random) same(got, want store.Item) {
	got.Envelope.ID = r.ids[got.Envelope.ID]
	if !reflect.DeepEqual(got, want) {
		r.Errorf("message is\n%s, want\n%s", describe(got), describe(want))
	}
}

func describe(i store.Item) string { return fmt.Sprintf("%+v %+v", i.Envelope, i.State) }

func (r *random) scan() {
	limit := 1 + r.rng.IntN(50)
	var after, afterModel store.Cursor
	for {
		got, next, err := r.real.Scan(ctx, after, limit)
		if err != nil {
			r.Error(err)
			return
		}
		want, nextModel, _ := r.model.Scan(ctx, afterModel, limit)
		if len(got) != len(want) || (next == nil) != (nextModel == nil) {
			r.Errorf("a page lists %d messages, want %d", len(got), len(want))
			return
		}
		for i := range got {
			r.same(got[i], want[i])
		}
		if after, afterModel = next, nextModel; after == nil {
			return
		}
	}
}
