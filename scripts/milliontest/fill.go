package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/core/store/disk"
	"github.com/stagepost/stagepost/scripts/longrun"
)

const (
	writers   = 64  // that share a sync
	batch     = 256 // changes in one update
	spread    = 4 * time.Hour
	dueAtOnce = 4 // one of so many for dead sites
)

// content is 1 KB, and the same in all messages.
var content = bytes.Repeat([]byte("0123456789abcdef0123456789abcde\r\n"), 31)

// queued is one message that is to be in the queue: its recipient's domain, and the lane in which it is due.
type queued struct {
	domain, lane string
	due          time.Time
}

// fill makes a data folder with these messages.
func fill(ctx context.Context, dir string, n int, which func(i int) queued) (err error) {
	st, err := disk.Open(disk.Options{Dir: dir, MinFree: -1, Ballast: -1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	var lease store.Lease
	for l, err := range st.Own(ctx) {
		if err != nil {
			return err
		}
		lease = l
		break
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	next := make(chan int, writers)
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			changes := make([]store.Change, 0, batch)
			put := func() error {
				stale, err := st.Update(ctx, lease, changes...)
				if err == nil && len(stale) > 0 {
					err = fmt.Errorf("%d messages were changed by somebody else", len(stale))
				}
				changes = changes[:0]
				return err
			}
			for i := range next {
				ch, err := commit(ctx, st, which(i))
				if changes = append(changes, ch); err == nil && len(changes) == batch {
					err = put()
				}
				if err != nil {
					stop(err)
					return
				}
			}
			if err := put(); err != nil {
				stop(err)
			}
		})
	}
feed:
	for i := range n {
		select {
		case next <- i:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	all.Wait()
	return context.Cause(ctx)
}

// commit commits one message, and gives the change that makes it a deferred one.
func commit(ctx context.Context, st *disk.Store, m queued) (ch store.Change, err error) {
	body, err := st.Body(ctx, int64(len(content)))
	if err != nil {
		return ch, err
	}
	defer body.Abort()
	if _, err := body.Write(content); err != nil {
		return ch, err
	}
	body.Content()
	arrived := time.Now().Add(-rand.N(spread)).Truncate(time.Second)
	to, err := smtp.ParseAddress(fmt.Sprintf("u%d@%s", rand.N(1_000_000), m.domain))
	if err != nil {
		return ch, err
	}
	from, err := smtp.ParseAddress("sender@client.example")
	if err != nil {
		return ch, err
	}
	env := &message.Envelope{ID: body.ID(), Sender: from, Arrived: arrived, Generation: 1,
		Session: &message.Session{ID: "fill", Role: message.RoleMX, Listener: "mx", Origin: "smtp", IP: netip.MustParseAddr("192.0.2.1"), Helo: "client.example", ESMTP: true},
		Rcpts:   []*message.Rcpt{{Address: to, Original: to, Class: message.ClassRelay, By: "relay"}}}
	env.Prefix = env.AppendReceived(nil, longrun.Hostname)
	env.Size = int64(len(env.Prefix) + len(content))
	if err := st.Commit(ctx, env, body); err != nil {
		return ch, err
	}
	state := store.RcptState{Result: message.Deferred, Attempts: 1, First: arrived, Tried: arrived, Next: store.WholeSecond(m.due), Lane: m.lane,
		Last: message.Last{Code: 451, Enhanced: "4.4.1", Text: strings.TrimPrefix(m.lane, "smtp:") + ": the connection was refused"}}
	return store.Change{ID: env.ID, Rcpts: []store.RcptChange{{RcptState: state}}, Del: []store.Entry{store.FirstEntry(env)},
		Add: []store.Entry{{Lane: m.lane, At: state.Next, Rcpts: []uint16{0}}}}, nil
}
