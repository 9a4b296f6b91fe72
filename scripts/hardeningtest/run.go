package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// outcome is the verdict over one play of a case.
type outcome uint8

const (
	passed  outcome = iota
	failed          // it did something else than wanted
	crashed         // it no longer greets
	hanging         // it did nothing for too long
	leftOut         // it lacks what the case needs
)

func (o outcome) String() string {
	return [...]string{"passed", "failed", "crashed", "hung", "left out"}[o]
}

// result is one play of a case.
type result struct {
	script  *script
	way     way
	outcome outcome
	why     string
	said    []string
	token   string
	told    int
}

// runner plays cases.
type runner struct {
	*target
	parallel int
	slow     bool

	alive   sync.RWMutex // held for writing by who brings a server back
	mu      sync.Mutex
	results []*result
	faults  []error // of the harness
	dead    bool    // the server crashed and cannot be started
}

// Times of waiting for messages on their way.
const (
	arrivalFor = 30 * time.Second
	afterLast  = time.Second // in which a message that must not come would come
)

// checkEach is how many generated cases are played for each check that the server still greets.
const checkEach = 25

// play plays the cases that the server can be asked, and judges them.
func (r *runner) play(ctx context.Context, scripts []*script) ([]*result, error) {
	var together, alone, slow []*job
	for _, c := range scripts {
		if lack := r.lacks(c); lack != "" || c.slow && !r.slow {
			if lack == "" {
				lack = "time: it is slow"
			}
			r.keep(&result{script: c, outcome: leftOut, why: lack})
			continue
		}
		jobs := r.jobs(c)
		switch {
		case c.alone:
			alone = append(alone, jobs...)
		case c.slow:
			slow = append(slow, jobs...)
		default:
			together = append(together, jobs...)
		}
	}
	r.all(ctx, together, r.parallel)
	r.all(ctx, alone, 1)
	r.all(ctx, slow, 200)
	if ctx.Err() != nil {
		return nil, errors.New("interrupted")
	}
	if r.sink != nil && !r.dead {
		if err := r.arrivals(); err != nil {
			r.faults = append(r.faults, err)
		}
	}
	return r.results, errors.Join(r.faults...)
}

// job is one play to come.
type job struct {
	script *script
	way    way
	number int
}

// jobs gives the ways of a case. Where the client is gone after some octets, it is so after each number of them from the first mark on.
func (r *runner) jobs(c *script) (jobs []*job) {
	for _, w := range c.ways {
		if w.kind != cut {
			jobs = append(jobs, &job{c, w, 0})
			continue
		}
		p := &play{values: r.variables(fmt.Sprintf("%0*d", tokenLength, 0))}
		total := 0
		first := -1
		for _, s := range c.steps {
			switch s.(type) {
			case send, mark:
				s.do(p)
				if first < 0 && len(p.marks) > 0 {
					first = p.marks[0]
				}
			}
		}
		total = len(p.pending)
		for at := max(first, 0); at < total; at++ {
			w.at = at
			jobs = append(jobs, &job{c, w, 0})
		}
	}
	return jobs
}

// all plays jobs, so many at once.
func (r *runner) all(ctx context.Context, jobs []*job, parallel int) {
	queue := make(chan *job)
	var group sync.WaitGroup
	for range min(parallel, len(jobs)) {
		group.Go(func() {
			for j := range queue {
				if res := r.one(j); res != nil {
					r.keep(res)
				}
			}
		})
	}
	for i, j := range jobs {
		j.number = i
		if ctx.Err() != nil || r.isDead() {
			break
		}
		queue <- j
	}
	close(queue)
	group.Wait()
}

func (r *runner) keep(res *result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results = append(r.results, res)
}

func (r *runner) isDead() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dead
}

// one plays a case. When the server does not greet afterwards, several cases were being played: each of them is played again by
// itself, and that which ends the server then has crashed it.
func (r *runner) one(j *job) *result {
	r.alive.RLock()
	res := r.once(j)
	check := res.outcome != passed || !j.script.generated || j.number%checkEach == 0
	lives := !check || r.greets()
	r.alive.RUnlock()
	if lives {
		return res
	}
	r.alive.Lock()
	defer r.alive.Unlock()
	if !r.back() {
		res.outcome, res.why = crashed, "the server no longer greets; other cases were played at the same time"
		return res
	}
	if res = r.once(j); !r.greets() {
		res.outcome, res.why = crashed, "the server no longer greets"
		r.back()
	}
	return res
}

// back makes sure that the server greets again.
func (r *runner) back() bool {
	if r.isDead() {
		return false
	}
	if r.greets() {
		return true
	}
	if r.restart != nil && r.restart() == nil && r.greets() {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dead = true
	return false
}

func (r *runner) once(j *job) *result {
	token := r.token()
	p := &play{target: r.target, script: j.script, way: j.way, bound: r.bound, values: r.variables(token), left: j.way.at,
		tickets: tls.NewLRUClientSessionCache(4)}
	if j.script.bound > 0 {
		p.bound = j.script.bound
	}
	err := p.run()
	res := &result{script: j.script, way: j.way, said: p.said.text(), token: token, told: p.told}
	var f *failure
	switch {
	case err == nil:
		return res
	case errors.As(err, &f):
		res.outcome, res.why = failed, f.text
		if f.hung {
			res.outcome = hanging
		}
	default:
		res.outcome, res.why = failed, err.Error()
	}
	return res
}

// arrivals judges what came to the next hop, when all that was accepted has had the time to come.
func (r *runner) arrivals() error {
	for until := time.Now().Add(r.patience); time.Now().Before(until) && slices.ContainsFunc(r.results, r.missing); {
		time.Sleep(50 * time.Millisecond)
	}
	lost := r.canary()
	time.Sleep(afterLast)
	for _, res := range r.results {
		if res.outcome != passed {
			continue
		}
		if err := r.judge(res); err != nil {
			res.outcome, res.why = failed, err.Error()
		}
	}
	return lost
}

// missing tells whether a message of a play is still to come.
func (r *runner) missing(res *result) bool {
	if res.outcome != passed {
		return false
	}
	for _, s := range res.script.steps {
		least := 0
		switch s := s.(type) {
		case arrived:
			least = s.least
		case told:
			least = res.told
		}
		if len(r.sink.of(res.token)) < least {
			return true
		}
	}
	return false
}

func (r *runner) judge(res *result) error {
	came := r.sink.of(res.token)
	values := r.variables(res.token)
	var wants []byte
	withBody := false
	for _, s := range res.script.steps {
		switch s := s.(type) {
		case arrived:
			if n := len(came); n < s.least || n > s.most {
				return fmt.Errorf("%d messages have come to the next hop, want %s: %s", n, s, describe(came))
			}
		case told:
			if n := len(came); res.told >= 0 && n != res.told || n > 1 {
				return fmt.Errorf("%d messages have come to the next hop, but the server told the client of %d: %s", n, max(res.told, 0), describe(came))
			}
		case body:
			wants, withBody = append(wants, s.text.fill(values)...), true
		case recipient:
			for _, a := range came {
				want := string(s.text.fill(values))
				same := func(got string) bool { return got == want || !r.strict && unquoted(got) == unquoted(want) }
				if !slices.ContainsFunc(a.recipients, same) {
					return fmt.Errorf("the next hop is told RCPT TO:<%s>, want <%s>", short(fmt.Sprint(a.recipients)), short(want))
				}
			}
		case sender:
			for _, a := range came {
				if want := string(s.text.fill(values)); a.sender != want {
					return fmt.Errorf("the next hop is told MAIL FROM:<%s>, want <%s>", short(a.sender), short(want))
				}
			}
		case inHeader:
			for _, a := range came {
				got, _, _ := bytes.Cut(a.content, []byte("\r\n\r\n"))
				want := s.text.fill(values)
				if bytes.Contains(bytes.ToLower(got), bytes.ToLower(want)) == s.absent {
					return fmt.Errorf("the next hop is sent the header %q, and %q is in it: %v", short(string(got)), short(string(want)), s.absent)
				}
			}
		}
	}
	for _, a := range came {
		if bad := a.unprintable(); a.sender == "" && bad >= 0 {
			return fmt.Errorf("the notice holds %q", short(string(a.content[max(0, bad-20):min(len(a.content), bad+20)])))
		}
		if a.stray != "" && (a.stray != "NUL" || r.strict) { // RFC 5321 lets NUL pass, however unwisely
			return fmt.Errorf("the next hop is sent a stray %s", a.stray)
		}
		if _, got, _ := bytes.Cut(a.content, []byte("\r\n\r\n")); withBody && !bytes.Equal(got, wants) {
			return fmt.Errorf("the next hop is sent the body %q, want %q", short(string(got)), short(string(wants)))
		}
	}
	return nil
}

func (a arrived) String() string {
	switch {
	case a.most == 0:
		return "none"
	case a.least == 0:
		return fmt.Sprintf("at most %d", a.most)
	}
	return fmt.Sprint(a.least)
}

// unquoted is an address with its local part as it is meant: RFC 5321 lets servers quote it in another way.
func unquoted(address string) string {
	at := strings.LastIndexByte(address, '@')
	if at < 2 || address[0] != '"' || address[at-1] != '"' {
		return address
	}
	var local []byte
	for inner := address[1 : at-1]; inner != ""; inner = inner[1:] {
		if inner[0] == '\\' && len(inner) > 1 {
			inner = inner[1:]
		}
		local = append(local, inner[0])
	}
	return string(local) + address[at:]
}

// unprintable finds the first octet that must not stand in text of 7 bits; -1 if there is none.
func (a *arrival) unprintable() int {
	return bytes.IndexFunc(a.content, func(c rune) bool {
		return c < ' ' && c != '\t' && c != '\r' && c != '\n' || c >= 0x7f
	})
}

func describe(came []*arrival) (text string) {
	for _, a := range came {
		text += fmt.Sprintf(" from <%s> to %s;", short(a.sender), short(fmt.Sprint(a.recipients)))
	}
	return text
}

func (told) do(p *play) error {
	switch p.last.code / 100 {
	case 2:
		p.told++
	case 3:
		p.told = -1
	}
	return nil
}

// These steps say what must have come when all is over; there is nothing to do before.
func (arrived) do(*play) error   { return nil }
func (body) do(*play) error      { return nil }
func (recipient) do(*play) error { return nil }
func (sender) do(*play) error    { return nil }
func (inHeader) do(*play) error  { return nil }
