// Package carriertest has jobs for the tests of what delivers by another way than SMTP and LMTP.
package carriertest

import (
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/deliver"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
)

// NewJob makes a job for a content, from a sender ("" is the null sender) to recipients. It is the same message each time.
func NewJob(t testing.TB, c message.Content, sender string, rcpts ...string) *deliver.Job {
	t.Helper()
	env := &message.Envelope{ID: message.ID{1, 2, 3}, Arrived: time.Unix(1_700_000_000, 0), Session: &message.Session{}}
	if sender != "" {
		env.Sender = Address(t, sender)
	}
	j := &deliver.Job{Env: env, Content: c, Plan: &message.Plan{Via: "box", Transport: true}}
	for i, r := range rcpts {
		a := Address(t, r)
		env.Rcpts = append(env.Rcpts, &message.Rcpt{Address: a, Original: a})
		j.Rcpts = append(j.Rcpts, i)
	}
	return j
}

// Address reads an address.
func Address(t testing.TB, s string) smtp.Address {
	t.Helper()
	a, err := smtp.ParseUTF8Address(s)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return a
}
