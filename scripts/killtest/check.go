package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// rcptAccount is what both ends know of one recipient of one message.
type rcptAccount struct {
	n        int
	address  string
	attempts []int // indexes of the ledger's, by time
	queued   string
	told     []int // attempts of notices that name it as failed
	late     []int // and as late
}

// checker compares the accounts.
type checker struct {
	*report
	letters  *letters
	accounts map[string]*rcptAccount // by address
	notices  map[int][]int           // by number of the message: attempts
	ids      map[int][]string        // by number: the server's ids under which it came or is queued
	acked    map[int][]*submission   // by life
}

// check fills the report. l.mu is held.
func check(rep *report, l *ledger, letters *letters, queue []entry) {
	rep.ledger, rep.ends, rep.killed = l, map[end]int{}, map[event]int{}
	c := &checker{report: rep, letters: letters, accounts: map[string]*rcptAccount{}, notices: map[int][]int{}, ids: map[int][]string{}, acked: map[int][]*submission{}}
	c.gather(queue)
	for _, s := range l.submissions {
		if s.end == ack {
			c.acked[s.life] = append(c.acked[s.life], s)
		}
	}
	for _, s := range l.submissions {
		c.submission(s)
	}
	for _, address := range c.sorted() {
		c.recipient(c.accounts[address])
	}
	for n := range c.notices {
		c.redelivered(n)
	}
	for i, a := range l.attempts {
		if a.fault != "" {
			c.violate("N6", a.owner, a.id, "transaction %d: %s", i, a.fault)
		}
		c.expose(a, i)
	}
	for _, what := range l.strange {
		c.violate("N6", -1, "", "the sink was told %q", what)
	}
	c.restarts()
}

func (c *checker) sorted() []string {
	var list []string
	for address := range c.accounts {
		list = append(list, address)
	}
	slices.SortFunc(list, func(a, b string) int {
		return cmp.Or(cmp.Compare(c.accounts[a].n, c.accounts[b].n), strings.Compare(a, b))
	})
	return list
}

func (c *checker) account(n int, address string) *rcptAccount {
	acc := c.accounts[address]
	if acc == nil {
		acc = &rcptAccount{n: n, address: address}
		c.accounts[address] = acc
	}
	return acc
}

func (c *checker) named(n int, id string) {
	if id != "" && !slices.Contains(c.ids[n], id) {
		c.ids[n] = append(c.ids[n], id)
	}
}

// gather sorts what was seen by messages and recipients.
func (c *checker) gather(queue []entry) {
	for i, a := range c.attempts {
		for _, r := range a.rcpts {
			switch n, sender, ok := c.letters.owner(r.address); {
			case !ok:
				c.violate("N6", -1, "", "transaction %d is for %s, who has no mail here", i, r.address)
			case sender && a.sender != "":
				c.violate("N7", n, "", "transaction %d tells %s of something in the name of %s", i, r.address, a.sender)
			case sender:
				if r.code == 250 && (a.dot/100 == 2 || a.dot/100 == 5) {
					c.notices[n] = append(c.notices[n], i)
				}
			default:
				acc := c.account(n, r.address)
				acc.attempts = append(acc.attempts, i)
			}
		}
		if a.notice == "" && a.owner >= 0 {
			c.named(a.owner, a.id)
		}
	}
	for _, e := range queue {
		for _, r := range e.Recipients {
			n, sender, ok := c.letters.owner(r.Address)
			switch {
			case !ok:
				c.violate("N2", -1, e.ID, "the queue has a message for %s, which nobody sent", r.Address)
			case !sender:
				c.account(n, r.Address).queued = r.State
				c.named(n, e.ID)
			}
		}
	}
	for n, list := range c.notices {
		for _, i := range list {
			for _, address := range c.letters.write(n).rcpts {
				if strings.Contains(c.attempts[i].notice, address) {
					acc := c.account(n, address)
					if c.attempts[i].late {
						acc.late = append(acc.late, i)
					} else {
						acc.told = append(acc.told, i)
					}
				}
			}
		}
	}
}

// submission checks what the source was told against what the sink knows: N1, N2, N3.
func (c *checker) submission(s *submission) {
	c.ends[s.end]++
	held := len(c.ids[s.n]) > 0
	for _, address := range c.letters.write(s.n).rcpts {
		held = held || c.accounts[address] != nil && len(c.accounts[address].attempts) > 0
	}
	ids := c.ids[s.n]
	if s.silent {
		c.violate("up", s.n, "", "the server lived and did not answer: %s", s.reply)
	}
	rule := "N1"
	switch s.end {
	case nak, cut:
		if held {
			c.violate("N2", s.n, first(ids), "%s (%s), and yet the sink or the queue knows it", s.end, s.reply)
		}
		return
	case unk:
		if !held {
			return
		}
		c.unkHeld++
		rule = "N3"
	}
	if hopeless(s.n) {
		c.violate("N2", s.n, s.id, "it has 100 Received fields and was not refused")
	}
	if len(ids) > 1 {
		c.violate("N3", s.n, ids[0], "%s once, and yet it came as %s", s.end, strings.Join(ids, " and as "))
	}
	if s.end == ack && len(ids) > 0 && !slices.Contains(ids, s.id) {
		c.violate("N3", s.n, s.id, "acknowledged as %s, it came as %s", s.id, ids[0])
	}
	for _, address := range s.rcpts {
		c.fate(rule, s, address)
	}
}

func first(ids []string) string {
	if len(ids) == 0 {
		return ""
	}
	return ids[0]
}

// fate checks that a recipient of a message the server took had the message, or that its failure is known.
func (c *checker) fate(rule string, s *submission, address string) {
	acc := c.account(s.n, address)
	id := cmp.Or(s.id, first(c.ids[s.n]))
	last, came := 0, false
	for _, i := range acc.attempts {
		a := c.attempts[i]
		r := a.of(address)
		came = came || r.code == 250 && a.dot/100 == 2
		if a.final(r) {
			last = a.result(r)
		}
	}
	c.rcpts++
	switch {
	case came && acc.queued != "" && acc.queued != "delivered" && acc.queued != "failed":
		c.violate(rule, s.n, id, "%s: <%s> has it, and is still %s in the queue", s.end, address, acc.queued)
	case last/100 == 2 && (acc.queued == "failed" || len(acc.told) > 0):
		c.violate("N5", s.n, id, "<%s> took it last, and is listed or told of as failed", address)
	case last/100 == 5:
		switch sender := c.letters.write(s.n).sender; {
		case acc.queued == "failed":
			c.failedListed++
		case len(acc.told) > 0:
			c.failedTold++
		case sender == "":
			c.failedNull++
		case !came:
			c.violate(rule, s.n, id, "%s: <%s> was refused with %d, and nobody was told", s.end, address, last)
		}
	case came:
		c.delivered++
	case acc.queued == "" && len(acc.told) > 0:
		c.expired++
	case acc.queued != "":
		c.violate(rule, s.n, id, "%s: <%s> has nothing, and is %s in the queue after all that time", s.end, address, acc.queued)
	default:
		c.lost++
		c.violate(rule, s.n, id, "%s: <%s> has nothing, and nothing is in the queue: lost", s.end, address)
	}
	c.composed(s.n, acc, "failure", acc.told)
	c.composed(s.n, acc, "delay", acc.late)
	if len(acc.late) > 0 {
		c.late++
	}
	if len(acc.told) == 0 {
		return
	}
	// That the sender is owed a notice is durable before it is made, so no crash undoes this.
	told := c.attempts[acc.told[0]]
	for _, i := range acc.attempts {
		if a := c.attempts[i]; a.began.After(told.seen) {
			c.violate("N5", s.n, id, "<%s> is tried in transaction %d, after its sender was told that it failed", address, i)
		}
	}
}

// composed checks that the sender was told once of what became of a recipient, whatever crashed in between. A notice that was
// delivered again is another matter: it has the same id.
func (c *checker) composed(n int, acc *rcptAccount, what string, told []int) {
	var once []*attempt // the first delivery of each notice
	for _, i := range told {
		a := c.attempts[i]
		if !slices.ContainsFunc(once, func(b *attempt) bool { return a.id == b.id }) {
			once = append(once, a)
		}
	}
	if len(once) > 1 {
		c.violate("N7", n, once[1].id, "the sender was told of the %s of <%s> by %d notices, %s and %s", what, acc.address, len(once), once[0].id, once[1].id)
	}
}

// redelivered checks the deliveries of notices as those of other mail: N4.
func (c *checker) redelivered(n int) {
	for k, i := range c.notices[n] {
		a := c.attempts[i]
		if a.dot/100 == 5 {
			c.unwanted++
		}
		for _, j := range c.notices[n][k+1:] {
			next := c.attempts[j]
			if a.id == "" || a.id != next.id {
				continue
			}
			c.noticesAgain++
			if a.life == next.life || !c.excused(a) {
				c.violate("N4", n, a.id, "the notice of transaction %d came again in %d", i, j)
			}
			break
		}
	}
}

// of finds the answer to a recipient, the last if there are more.
func (a *attempt) of(address string) (r answer) {
	for _, have := range a.rcpts {
		if have.address == address {
			r = have
		}
	}
	return r
}

// recipient checks each attempt that follows a final answer or a delivery: N4, N5.
func (c *checker) recipient(acc *rcptAccount) {
	var copies int
	for k, i := range acc.attempts {
		a := c.attempts[i]
		r := a.of(acc.address)
		if a.copied(r) {
			copies++
		}
		if k+1 == len(acc.attempts) {
			break
		}
		next := c.attempts[acc.attempts[k+1]]
		rule := "N4"
		if a.result(r)/100 == 5 {
			rule = "N5"
		}
		switch {
		case a.copied(r) && a.dot == 0: // no 2yz was written
			c.unconfirmed++
		case !a.final(r): // it had to be tried again
		case a.life == next.life:
			c.violate(rule, acc.n, first(c.ids[acc.n]), "<%s> was answered %d and tried again %s later by the same process",
				acc.address, a.result(r), next.began.Sub(a.replied).Round(time.Millisecond))
		case c.excused(a):
			if rule == "N4" && a.confirmed {
				c.crashed++
			} else if rule == "N4" {
				c.unconfirmed++
			} else {
				c.refusedAgain++
			}
		case !c.lives[a.life].undoes:
			c.violate(rule, acc.n, first(c.ids[acc.n]), "<%s> was answered %d and tried again after the last kill, before which the queue had drained", acc.address, a.result(r))
		default:
			c.violate(rule, acc.n, first(c.ids[acc.n]), "<%s> was answered %d and tried again; the crash came %s after that reply, and what was acknowledged in between shows that its mark was late by %s",
				acc.address, a.result(r), c.before(a).Round(time.Millisecond), c.lag(a).Round(time.Millisecond))
		}
	}
	if copies > 1 {
		c.repeated += copies - 1
		c.most = max(c.most, copies)
	}
}

// before is how long before the end of its process the last reply of a transaction was given.
func (c *checker) before(a *attempt) time.Duration {
	l := c.lives[a.life]
	end := l.killed
	if end.IsZero() {
		end = l.ended
	}
	if end.IsZero() {
		end = time.Now()
	}
	return end.Sub(a.replied)
}

// lag is how long the mark of a transaction was certainly late, if it was not durable at the kill. Mark and commits go through
// one log, so two acknowledged messages bear witness however slow the disk was: once the first is durable, whatever kept the
// writer of marks busy when the reply came has ended, and what it wrote then is durable with the second. The lag is by how
// much the first was sent after the reply, and the second after the acknowledgement of the first; the smaller counts.
func (c *checker) lag(a *attempt) (longest time.Duration) {
	var second time.Time
	for _, s := range c.acked[a.life] {
		if s.dot.After(second) {
			second = s.dot
		}
	}
	for _, s := range c.acked[a.life] {
		longest = max(longest, min(s.dot.Sub(a.replied), second.Sub(s.at)))
	}
	return longest
}

// excused tells whether a crash may have undone what came of a transaction.
func (c *checker) excused(a *attempt) bool {
	return c.lives[a.life].undoes && (!a.settled || c.lag(a) < c.window)
}

// expose counts the transactions by the time between their last reply and the kill, and those of which something was repeated.
func (c *checker) expose(a *attempt, i int) {
	if !a.settled || a.dot/100 != 2 || !c.lives[a.life].undoes {
		return
	}
	d := c.before(a)
	repeated := false
	for _, r := range a.rcpts {
		if acc := c.accounts[r.address]; acc != nil && r.code == 250 {
			repeated = repeated || acc.attempts[len(acc.attempts)-1] != i
		}
	}
	k := 0
	for k < len(exposures) && d >= exposures[k] {
		k++
	}
	c.exposed[k]++
	if repeated {
		c.undone[k]++
		c.latest, c.lagged = max(c.latest, d), max(c.lagged, c.lag(a))
	}
}

// restarts collects how long the server took.
func (c *checker) restarts() {
	for i, l := range c.lives {
		if l.event != "" {
			c.killed[l.event]++
		}
		if i > 0 && !l.ready.IsZero() {
			c.readyAfter = append(c.readyAfter, l.ready.Sub(l.started))
			if l.slow != "" {
				c.slow = append(c.slow, fmt.Sprintf("%s, after the kill at %q: %s", l.ready.Sub(l.started).Round(time.Millisecond), c.lives[i-1].event, l.slow))
			}
		}
	}
	slices.Sort(c.readyAfter)
	for _, s := range c.submissions {
		if s.end == ack {
			c.gaps = append(c.gaps, s.at.Sub(s.dot))
		}
	}
	slices.Sort(c.gaps)
}
