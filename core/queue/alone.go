package queue

import (
	"context"
	"errors"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

// ErrBusy says that a message could not be changed, since its own outcomes are being written all the time.
var ErrBusy = errors.New("the message is being delivered; try again in a moment")

// Waiting for a message's marks to be written.
const (
	alonePause = 2 * time.Millisecond
	aloneFor   = 10 * time.Second
)

// alone changes a message's state from outside its flights. f sees the state as it is on disk, with no mark on its way, and
// nobody changes it meanwhile; what f does to it must be what it writes. ErrNotFound: the message is gone.
func (q *Queue) alone(ctx context.Context, id store.ID, f func(env *message.Envelope, state *store.State) error) error {
	return q.aloneWith(ctx, id, func(m *msg) error { return f(m.env, m.state) })
}

// aloneWith is alone for one who looks at more.
func (q *Queue) aloneWith(ctx context.Context, id store.ID, f func(*msg) error) error {
	visit := q.flights.visit(id)
	defer q.flights.end(visit)
	m := visit.msg
	for end := time.Now().Add(aloneFor); ; {
		m.mu.Lock()
		if m.pending.Load() == 0 {
			break
		}
		m.mu.Unlock()
		if time.Now().After(end) {
			return ErrBusy
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(alonePause):
		}
	}
	defer m.mu.Unlock()
	if m.env == nil || m.settled {
		env, state, err := q.Store.Load(ctx, id)
		if err != nil {
			return err
		}
		m.env, m.state = env, state
	}
	return f(m)
}
