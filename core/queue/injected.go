package queue

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/hooks"
)

// What plugins hand in. Mail comes by way of intake like any other. A parcel is no mail: it waits in the queue under a lane of
// its own, is tried as mail is, and its content goes to the deliver of one plugin; no stage is asked about it, and nobody is
// told when it expires but the log.

// MaxParcel bounds the content of a parcel, in bytes as facts count them; maxPacked is what that may be in CBOR.
const (
	MaxParcel = 1 << 20
	maxPacked = 2 << 20
)

// Pack is the envelope of a parcel.
func Pack(id store.ID, in message.Injected, size int, now time.Time) *message.Envelope {
	to := smtp.Address{Text: message.ParcelTo(in.Via), Local: message.ParcelTo(in.Via)}
	return &message.Envelope{
		ID: id, Session: &message.Session{Role: message.RoleInternal, Origin: in.By}, Rcpts: []*message.Rcpt{{Address: to, Original: to}},
		Arrived: now, Size: int64(size), Injected: &in,
	}
}

// Unpack gives a delivery the content of its parcel, if it is one.
func Unpack(d *hooks.DeliveryView, content message.Content) error {
	in := d.Message.Injected
	if in == nil || in.Via == "" {
		return nil
	}
	raw, err := io.ReadAll(io.NewSectionReader(content, 0, min(content.Size(), maxPacked)))
	if err != nil {
		return err
	}
	v, err := message.DecodeValue(raw)
	if err != nil {
		return err
	}
	d.Parcel = &message.Parcel{From: in.By, Key: in.Key, Content: v}
	d.Message.Content, d.Message.Load = nil, nil
	return nil
}

// ParcelPlan is where a parcel goes; nil for mail.
func ParcelPlan(env *message.Envelope) *message.Plan {
	if !env.IsParcel() {
		return nil
	}
	return &message.Plan{Via: env.Injected.Via}
}

// laneOf keeps parcels apart from the mail that a plugin delivers.
func laneOf(env *message.Envelope, p *message.Plan) store.Lane {
	if env.IsParcel() {
		return store.Lane("parcel:" + p.Via)
	}
	return store.Lane(p.Lane())
}

// Parcel makes a value durable, for the deliver of a plugin of the generation in force. Of its errors, those that are store.ErrFull
// or store.ErrBusy say that nothing is kept.
func (q *Queue) Parcel(ctx context.Context, in message.Injected, v any) (store.ID, error) {
	content, err := message.EncodeValue(v)
	if err != nil {
		return store.ID{}, err
	}
	gen := q.Current.Acquire()
	defer gen.Release()
	if gen.Plugin(hooks.Deliver, in.Via) == nil {
		return store.ID{}, fmt.Errorf("the plugin %s has no on.deliver", in.Via)
	}
	return q.Once(ctx, in.By, in.Key, func() (store.ID, error) {
		if h := q.Health(); h.Full || h.Stalled {
			return store.ID{}, store.ErrFull
		}
		body, err := q.Body(ctx, int64(len(content)))
		if err != nil {
			return store.ID{}, err
		}
		defer body.Abort()
		if _, err := body.Write(content); err != nil {
			return store.ID{}, err
		}
		body.Content()
		env := Pack(body.ID(), in, len(content), q.now())
		env.Generation = gen.Number
		if err := q.Commit(ctx, env, body); err != nil {
			return store.ID{}, err
		}
		id := env.ID.String()
		q.Records.Append(id, observe.Step{Time: q.now(), Stage: "inject", Generation: gen.Number, Verdict: "queued",
			Detail: fmt.Sprintf("a parcel of %d bytes, by %s for %s", len(content), in.By, in.Via)})
		q.Log.Info("parcel", "id", id, "plugin", in.By, "via", in.Via, "size", len(content), "key", in.Key)
		return env.ID, nil
	})
}

// keys knows the messages in the queue that were handed in with a key. What lies on disk is read when the first key is asked
// for; from then on commits and settlements keep it.
type keys struct {
	reading sync.Mutex // one at a time
	mu      sync.Mutex
	known   bool
	ids     map[keyHash]*keyed
	gone    map[store.ID]bool // settled while the disk is read
}

type keyHash [16]byte

// keyed is a message, or one that is being handed in, whose id is zero.
type keyed struct{ id store.ID }

func hashKey(by, key string) keyHash {
	sum := sha256.Sum256([]byte(by + "\x00" + key))
	return keyHash(sum[:16])
}

// Once hands a message in by do, unless one of the same plugin with the same key is queued, whose id it then returns. Without a
// key it is just do.
func (q *Queue) Once(ctx context.Context, by, key string, do func() (store.ID, error)) (store.ID, error) {
	if key == "" {
		return do()
	}
	k := &q.keys
	if err := k.learn(ctx, q.Store, &q.flights); err != nil {
		return store.ID{}, err
	}
	hash, own := hashKey(by, key), &keyed{}
	k.mu.Lock()
	other := k.ids[hash]
	var id store.ID
	if other == nil {
		k.ids[hash] = own
	} else {
		id = other.id
	}
	k.mu.Unlock()
	switch {
	case other != nil && id == store.ID{}:
		return id, fmt.Errorf("%w: another call hands in the same key right now", store.ErrBusy)
	case other != nil:
		return id, nil
	}
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.ids[hash] == own && (own.id == store.ID{}) { // it was not committed
			delete(k.ids, hash)
		}
	}()
	return do()
}

// learn reads which keys lie on disk. Messages that were settled before it began, and still lie there until that is written, are in the air.
func (k *keys) learn(ctx context.Context, st store.Store, inAir *table) error {
	k.reading.Lock()
	defer k.reading.Unlock()
	k.mu.Lock()
	known := k.known
	if !known {
		k.gone = map[store.ID]bool{}
		if k.ids == nil {
			k.ids = map[keyHash]*keyed{}
		}
	}
	k.mu.Unlock()
	if known {
		return nil
	}
	leaving := inAir.leaving()
	k.mu.Lock()
	for _, id := range leaving {
		k.gone[id] = true
	}
	k.mu.Unlock()
	for cursor := store.Cursor(nil); ; {
		items, next, err := st.Scan(ctx, cursor, page)
		if err != nil {
			return err
		}
		k.mu.Lock()
		for _, it := range items {
			if !k.gone[it.Envelope.ID] {
				k.put(it.Envelope)
			}
		}
		if k.known = next == nil; k.known {
			k.gone = nil
		}
		k.mu.Unlock()
		if cursor = next; cursor == nil {
			return nil
		}
	}
}

// put is called with mu held.
func (k *keys) put(env *message.Envelope) {
	if in := env.Injected; in != nil && in.Key != "" && k.ids != nil {
		hash := hashKey(in.By, in.Key)
		if own := k.ids[hash]; own != nil {
			own.id = env.ID
		} else {
			k.ids[hash] = &keyed{env.ID}
		}
	}
}

// committed notes a message before it can be settled.
func (k *keys) committed(env *message.Envelope) {
	if env.Injected != nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.put(env)
	}
}

// settled forgets a message.
func (k *keys) settled(env *message.Envelope) {
	in := env.Injected
	if in == nil || in.Key == "" {
		return
	}
	hash := hashKey(in.By, in.Key)
	k.mu.Lock()
	defer k.mu.Unlock()
	if own := k.ids[hash]; own != nil && own.id == env.ID {
		delete(k.ids, hash)
	}
	if k.gone != nil {
		k.gone[env.ID] = true
	}
}
