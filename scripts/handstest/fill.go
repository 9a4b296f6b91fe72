package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/core/store/disk"
)

const (
	domains = 1000
	senders = 100
	writers = 64 // that share a sync
	hop     = "smtp:127.0.0.1:1"
)

// fill makes a data folder with n messages.
func fill(ctx context.Context, dir string, n int) (err error) {
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
	var next atomic.Int64
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(n) && ctx.Err() == nil; i = next.Add(1) - 1 {
				if err := commit(ctx, st, lease, int(i), n); err != nil {
					stop(err)
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// commit puts the i-th message into the queue: it was tried once, and waits for its next try.
func commit(ctx context.Context, st *disk.Store, lease store.Lease, i, n int) error {
	content := bytes.Repeat([]byte("0123456789abcdef0123456789abcde\r\n"), 31)
	body, err := st.Body(ctx, int64(len(content)))
	if err != nil {
		return err
	}
	defer body.Abort()
	if _, err := body.Write(content); err != nil {
		return err
	}
	body.Content()
	to, err := smtp.ParseAddress(fmt.Sprintf("u%d@d%d.example", i, i%domains))
	if err != nil {
		return err
	}
	from, err := smtp.ParseAddress(fmt.Sprintf("s%d@client.example", i%senders))
	if err != nil {
		return err
	}
	arrived := time.Now().Add(-time.Duration(i) * 24 * time.Hour / time.Duration(n)).Truncate(time.Second)
	env := &message.Envelope{ID: body.ID(), Sender: from, Arrived: arrived, Generation: 1, Size: int64(len(content)),
		Session: &message.Session{ID: "fill", Role: message.RoleMX, Listener: "mx", Origin: "smtp", Helo: "client.example", ESMTP: true},
		Rcpts:   []*message.Rcpt{{Address: to, Original: to, Class: message.ClassRelay, By: "relay"}}}
	if err := st.Commit(ctx, env, body); err != nil {
		return err
	}
	due := store.WholeSecond(time.Now().Add(4 * time.Hour))
	state := store.RcptState{Result: message.Deferred, Attempts: 1, First: arrived, Tried: arrived, Next: due, Lane: hop,
		Last: message.Last{Code: 451, Enhanced: "4.4.1", Text: "127.0.0.1:1: the connection was refused"}}
	_, err = st.Update(ctx, lease, store.Change{ID: env.ID, Rcpts: []store.RcptChange{{RcptState: state}}, Del: []store.Entry{store.FirstEntry(env)},
		Add: []store.Entry{{Lane: hop, At: due, Rcpts: []uint16{0}}}})
	return err
}
