package main

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// end is what the source was told of a message.
type end string

const (
	ack end = "ACK" // 2yz at the end of the message
	nak end = "NAK" // 4yz or 5yz, there or before
	unk end = "UNK" // the final dot was sent, and the connection broke or was silent
	cut end = "CUT" // the final dot never left
)

// submission is one message that the source sent, or began to send.
type submission struct {
	n      int
	life   int      // of the server
	rcpts  []string // those that were accepted
	end    end
	reply  string    // or what broke the connection
	id     string    // of an ACK
	dot    time.Time // when it was sent
	at     time.Time // when the reply was read
	silent bool      // the server lived and did not answer
}

// attempt is one transaction at the sink.
type attempt struct {
	life      int // of the server: its connection was opened in this one
	began     time.Time
	sender    string
	rcpts     []answer
	seen      time.Time // the final dot came
	dot       int       // the reply to it; 0: none was written
	replied   time.Time // when the last reply was written, or the connection dropped instead
	settled   bool      // all recipients were answered, or the sink dropped the connection
	confirmed bool      // the server went on afterwards: another command, or a clean close
	owner     int       // number of the message by its content, -1: none of ours
	id        string    // the server's, from its Received field
	hash      string    // of the content
	fault     string    // what was wrong with it
	notice    string    // the content, if it went to the sender of a message
	late      bool      // the notice is of a delay
}

// answer is the reply to one RCPT.
type answer struct {
	address string
	code    int
}

// taken tells whether a recipient was accepted.
func (a *attempt) taken() bool {
	return slices.ContainsFunc(a.rcpts, func(r answer) bool { return r.code == 250 })
}

// result is the last reply that a recipient had: to RCPT, unless that was positive, or to the dot; 0: none.
func (a *attempt) result(r answer) int {
	if r.code != 250 {
		return r.code
	}
	return a.dot
}

// final tells whether that reply ends the matter.
func (a *attempt) final(r answer) bool {
	code := a.result(r)
	return code/100 == 2 || code/100 == 5
}

// copied tells whether the recipient may have the message: the sink has all of it and did not say no.
func (a *attempt) copied(r answer) bool {
	return r.code == 250 && !a.seen.IsZero() && (a.dot == 0 || a.dot/100 == 2)
}

// life is one process of the server.
type life struct {
	started, ready, killed, ended time.Time
	event                         event // that it was killed after
	delay                         time.Duration
	undoes                        bool   // the kill may have undone marks
	slow                          string // what its start waited for, if it took long
}

// event is a moment after which the server may be killed.
type event string

const (
	atStart  event = "start"   // the process was started
	atReady  event = "ready"   // it says that it is
	atDot    event = "dot"     // the source sent a whole message
	atAck    event = "ack"     // the source read 2yz for it
	atSeen   event = "seen"    // the sink has a whole message
	atSent2  event = "sent2"   // the sink answered it 2yz
	atSent4  event = "sent4"   // the sink answered it, or a recipient, 4yz
	atSent5  event = "sent5"   // the sink refused it, or a recipient, for good
	atNoDot  event = "dropped" // the sink dropped the connection instead
	atCall   event = "call"    // a plugin is asked
	atNotice event = "notice"  // a plugin is asked about a notice that is being made
	atFlush  event = "flush"   // the store writes a table before the server is ready
	atTable  event = "table"   // it begins to flush or compact while mail flows
	atRandom event = "random"
)

// events lists them in the order of a report.
func events() []event {
	return []event{atStart, atFlush, atReady, atDot, atCall, atAck, atSeen, atSent2, atSent4, atSent5, atNoDot, atNotice, atTable, atRandom}
}

// ledger holds what both ends and the killer saw.
type ledger struct {
	mu          sync.Mutex
	submissions []*submission
	attempts    []*attempt
	lives       []*life
	strange     []string // what the sink was asked that no server asks

	owed, settled map[string]bool // recipients of ACKs; those with a final answer of the sink
	open          atomic.Int64    // the first without the second
	armed         atomic.Pointer[trap]
}

func newLedger() *ledger { return &ledger{owed: map[string]bool{}, settled: map[string]bool{}} }

// owe counts the recipients of an acknowledged message as open. The sink may have had them already. l.mu is held.
func (l *ledger) owe(rcpts []string) {
	for _, r := range rcpts {
		if l.owed[r] = true; !l.settled[r] {
			l.open.Add(1)
		}
	}
}

// settle ends a transaction at the sink. l.mu is held.
func (l *ledger) settle(a *attempt, at time.Time) {
	a.replied, a.settled = at, true
	for _, r := range a.rcpts {
		if a.final(r) && !l.settled[r.address] {
			if l.settled[r.address] = true; l.owed[r.address] {
				l.open.Add(-1)
			}
		}
	}
}

// trap waits for an event.
type trap struct {
	event  event
	sprung chan struct{}
}

// note tells of an event.
func (l *ledger) note(e event) {
	if t := l.armed.Load(); t != nil && t.event == e && l.armed.CompareAndSwap(t, nil) {
		close(t.sprung)
	}
}

// await returns a channel that is closed with the next event of the kind.
func (l *ledger) await(e event) <-chan struct{} {
	t := &trap{e, make(chan struct{})}
	l.armed.Store(t)
	return t.sprung
}

// life is the number of the latest process.
func (l *ledger) life() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lives) - 1
}

// do changes or reads an entry.
func (l *ledger) do(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}
