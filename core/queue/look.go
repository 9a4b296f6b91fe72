package queue

import (
	"strconv"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

// States of messages and recipients as people see them, besides those of message.Result.
const (
	StateActive   = "active"   // due, or being attempted
	StateDeferred = "deferred" // to be tried later
	StateHeld     = "held"     // waits for somebody to release it
	StateFailed   = "failed"   // nothing is left but to tell the sender
)

// Look is what a message looks like at one moment.
type Look struct {
	State string
	Rcpts []RcptLook
}

// RcptLook is what one of its recipients looks like.
type RcptLook struct {
	State string
	Next  time.Time // of its next attempt; zero: at once, or never
}

// LookAt tells what a message looks like; active: it is being routed or attempted.
func LookAt(it *store.Item, active bool, now time.Time) Look {
	env := it.Envelope
	look := Look{Rcpts: make([]RcptLook, len(env.Rcpts))}
	held := it.State.Held != ""
	var fresh, deferred, stopped, failed bool
	for i := range env.Rcpts {
		var st store.RcptState
		if i < len(it.State.Rcpts) {
			st = it.State.Rcpts[i]
		}
		out := &look.Rcpts[i]
		out.State = st.Result.String()
		next := st.Next
		if st.Result == 0 {
			next = env.NotBefore
		}
		switch {
		case st.Result == message.Held:
			stopped = true
		case st.Result != 0 && st.Result != message.Deferred:
			failed = failed || st.Result == message.Failed
		case held:
			out.State = StateHeld
		case next.After(now):
			out.State, out.Next = StateDeferred, next
			deferred = true
		case st.Result == message.Deferred:
			deferred = true
		default:
			out.State = StateActive
			fresh = true
		}
	}
	switch {
	case held:
		look.State = StateHeld
	case active:
		look.State = StateActive
	case deferred:
		look.State = StateDeferred
	case fresh:
		look.State = StateActive
	case stopped:
		look.State = StateHeld
	case !failed:
		look.State = StateActive // its sender is to be told of a delivery
	default:
		look.State = StateFailed
	}
	return look
}

// LastReply is a recipient's last reply with its codes; "" before the first attempt.
func LastReply(last *message.Last) string {
	if last.Code == 0 {
		return ""
	}
	return strings.Join(strings.Fields(strconv.Itoa(last.Code)+" "+last.Enhanced+" "+last.Text), " ")
}
