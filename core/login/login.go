// Package login is AUTH (RFC 4954) without the session around it. A Login goes through the exchange of a mechanism (core/sasl), holds back who
// guesses (core/throttle), has the plugins asked at the stage auth, and says what to reply. Only an accept with a user is a log-in;
// when all plugins say next, the credentials are wrong.
//
// What a plugin is asked with depends on the mechanism: a password, a token, a certificate, or nothing but the name. In the last case the answer is
// the user's keys for SCRAM, and whether the client is in is decided by its proof.
package login

import (
	"crypto/x509"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/password"
	"github.com/stagepost/stagepost/core/sasl"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/throttle"
	"github.com/stagepost/stagepost/hooks"
)

// Keeper is what the log-ins of a server share. It is safe for concurrent use.
type Keeper struct {
	failures *throttle.Failures
	decoys   *sasl.Decoys
	pace     throttle.Pace
}

// New makes one that has seen no log-in.
func New() *Keeper { return &Keeper{failures: throttle.New(time.Now), decoys: sasl.NewDecoys()} }

// Client is who wants to log in.
type Client struct {
	IP          netip.Addr
	Offered     []string          // mechanisms
	Binding     *sasl.Binding     // of its connection; nil: none
	Certificate *x509.Certificate // verified; nil: none
	// Ask asks the plugins.
	Ask func(*hooks.LoginView) hooks.Result
}

// Login is an AUTH that is under way. It is used by one goroutine.
type Login struct {
	Mechanism string
	Name      string         // "" until it is known
	Accepted  *hooks.Verdict // once Result is Accepted: who is logged in

	client   *Client
	keeper   *Keeper
	exchange *sasl.Exchange
	try      *throttle.Try
	ended    hooks.Result // the End with which plugins ended it
}

// Step is what to reply.
type Step struct {
	smtp.Reply
	Delay  time.Duration // before it
	Over   bool          // the AUTH has ended
	Result Result        // then
	Ended  hooks.Result  // with an End where plugins said how it ended
}

// Result is what became of a log-in; its value is the place of its name in Results.
type Result int

// The results.
const (
	Accepted Result = iota
	Refused
	Deferred  // nobody could tell
	Throttled // nobody was asked
	Broken    // what the client said was no log-in, or it gave up
)

// Results names them.
func Results() []string { return []string{"accepted", "refused", "deferred", "throttled", "broken"} }

// Begin begins a log-in with the argument of AUTH.
func (k *Keeper) Begin(arg string, c *Client) (*Login, Step) {
	name, initial, given := strings.Cut(arg, " ")
	l := &Login{Mechanism: strings.ToUpper(name), client: c, keeper: k}
	if !slices.Contains(c.Offered, l.Mechanism) {
		return nil, Step{Reply: replyUnsupported}
	}
	o := sasl.Options{Ask: l.ask, Decoys: k.decoys}
	if slices.Contains(c.Offered, sasl.ScramPlus) {
		o.Binding = c.Binding
	}
	l.exchange = sasl.New(l.Mechanism, o)
	if !given {
		return l, l.next(nil, nil)
	}
	return l, l.next(decode(initial, true))
}

// Line takes the client's next line, and wipes it.
func (l *Login) Line(line []byte) Step {
	defer clear(line) // its buffer is used again
	if string(line) == "*" {
		return Step{Reply: replyCancelled, Over: true, Result: Broken}
	}
	return l.next(decode(string(line), false))
}

// errEnded ends an exchange whose answer is in Login.ended, or that has to wait.
var errEnded = errors.New("answered")

// next goes on with the exchange. What may take longer for one name than for another is answered after a common time.
func (l *Login) next(response []byte, err error) (s Step) {
	began := time.Now()
	var challenge []byte
	done := false
	if err == nil {
		challenge, done, err = l.exchange.Next(response)
		clear(response)
	}
	if l.Name != "" || l.try != nil {
		defer func() { s.Delay = l.keeper.pace.Late(began) }()
	}
	switch {
	case err == nil && !done:
		return Step{Reply: request(challenge)}
	case err == nil:
		l.try.OK()
		return Step{Reply: replyDone, Over: true, Result: Accepted}
	case err != errEnded:
		return l.failed(err)
	case l.try == nil:
		return Step{Reply: replyLater, Over: true, Result: Throttled}
	}
	s = Step{Reply: l.ended.End.Reply(), Over: true, Result: Refused, Ended: l.ended}
	if s.Temporary() {
		l.try.Unknown()
		s.Result = Deferred
	}
	return s
}

func (l *Login) failed(err error) Step {
	s := Step{Reply: refusal(err), Over: true, Result: Refused}
	if err != sasl.ErrRefused {
		s.Result = Broken
	}
	return s
}

// ask asks the plugins. For SCRAM the answer is the keys of the name, and no log-in yet.
func (l *Login) ask(c sasl.Credentials) (a sasl.Answer) {
	l.Name = c.Name
	if l.try, _ = l.keeper.failures.Try(strings.ToLower(c.Name), l.client.IP); l.try == nil {
		return sasl.Answer{Err: errEnded}
	}
	view := &hooks.LoginView{Mechanism: c.Mechanism, Name: c.Name, Kind: string(c.Kind), Secret: c.Secret}
	if c.Kind == sasl.Certificate {
		view.Certificate = sasl.Describe(l.client.Certificate)
	}
	res := l.client.Ask(view)
	switch l.Accepted = res.Accept; {
	case res.End != nil:
		l.ended = res
		return sasl.Answer{Err: errEnded}
	case l.Accepted == nil:
		return sasl.Answer{}
	case c.Kind == sasl.Scram:
		a.Keys, _ = password.ParseKeys(l.Accepted.Scram) // they were checked with the verdict
	}
	a.OK = true
	return a
}

// maxFailures is how many log-ins of a session may fail.
const maxFailures = 4

// Fail counts a log-in of a session that was refused: its answer is the later the more there were before, and too many end the session, with the
// reply that is returned. What is added to the delay keeps the common time.
func Fail(failures *int, delay *time.Duration) (end bool, reply smtp.Reply) {
	*delay += time.Duration(*failures) * time.Second
	*failures++
	return *failures >= maxFailures, replyTooMany
}
