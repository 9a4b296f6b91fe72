package deliver

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/sasl"
	"github.com/stagepost/stagepost/core/smtp"
)

// A log-in at a next hop (RFC 4954), where the plan names what with. Whatever goes wrong with it is never final for the mail: that a
// password is wrong, missing, or not asked for is a mistake of an operator, here or there. The next host is tried, and then the mail waits.
//
// A password leaves this machine over an encrypted connection alone, unless the plan allows more. It is in no reply, record or log: what a
// server says in a log-in is passed on only if the password is not in it. A log-in that a server refused is not made again for a while
// with the same password, or a full queue would lock the account.

const (
	stageAuth    = "AUTH"
	refusedTime  = 5 * time.Minute // that a refused log-in is not made again
	maxRefusals  = 1000            // that are remembered
	commandLine  = 512             // of AUTH with what comes at once (RFC 4954 section 4)
	maxChallenge = 12 << 10
)

// login is what a connection logs in with.
type login struct {
	message.Auth
	password string
	id       refusal
}

// refusal names a log-in at an address with one password.
type refusal struct {
	key key
	sum [sha256.Size]byte // of the password
}

// refusals are the log-ins that servers refused lately, each with what was said.
type refusals struct {
	mu  sync.Mutex
	all map[refusal]refused
}

type refused struct {
	until time.Time
	f     failure
}

// of is what was said of a log-in lately; nil: nothing.
func (r *refusals) of(id refusal) *failure {
	r.mu.Lock()
	defer r.mu.Unlock()
	was, ok := r.all[id]
	if !ok || !time.Now().Before(was.until) {
		return nil
	}
	f := was.f
	return &f
}

func (r *refusals) add(id refusal, f *failure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.all == nil {
		r.all = map[refusal]refused{}
	}
	if len(r.all) >= maxRefusals {
		for id, was := range r.all {
			if !now.Before(was.until) {
				delete(r.all, id)
			}
		}
	}
	if len(r.all) < maxRefusals {
		r.all[id] = refused{now.Add(refusedTime), *f}
	}
}

// login finds the password for a new connection; nil: none is asked for.
func (s *Sender) login(k key) (*login, *failure) {
	if k.auth == (message.Auth{}) {
		return nil, nil
	}
	wrong := func(why string) (*login, *failure) {
		return nil, failed(451, "4.3.5", fmt.Sprintf("the route logs in with the secret %q: %s", k.auth.Secret, why))
	}
	text, ok, err := s.secret(k.auth.Secret)
	switch {
	case err != nil:
		return wrong(err.Error())
	case !ok:
		return wrong("there is none of that name in the folder of [secrets]")
	}
	l := &login{Auth: k.auth, password: string(text), id: refusal{k, sha256.Sum256(text)}}
	if f := s.refused.of(l.id); f != nil {
		f.reply = smtp.NewReply(f.reply.Code, f.reply.Enhanced, strings.Join(f.reply.Text, " ")+"; it is not tried again for some minutes")
		return nil, f
	}
	return l, nil
}

// auth is what to log in with at a host: with what is meant for a relay, never at the exchangers before it.
func (d *delivery) auth(h hop) message.Auth {
	if d.fallback() && !h.fallback || h.socket != "" {
		return message.Auth{}
	}
	return d.job.Plan.Auth
}

// authenticate logs in on a connection that was greeted and, where that is to be, encrypted.
func (s *Sender) authenticate(c *conn, l *login) *failure {
	state := c.encryption()
	if state == nil && l.TLS != message.AuthOptional && !c.key.addr.Addr().Unmap().IsLoopback() {
		return failed(451, "4.7.11", fmt.Sprintf("the connection is not encrypted, so nobody logs in with the secret %q", l.Secret))
	}
	var binding *sasl.Binding
	if state != nil {
		binding = sasl.Bind(state)
	}
	wanted := message.AuthMechanisms()
	if l.Mechanism != "" {
		wanted = []string{l.Mechanism}
	}
	mechanism := sasl.Choose(wanted, c.auth, binding)
	if mechanism == "" {
		offer := "no log-in"
		if len(c.auth) > 0 {
			offer = "only " + strings.Join(c.auth, ", ")
		}
		return failed(451, "4.7.0", fmt.Sprintf("the server offers %s, but the route wants %s", offer, strings.Join(wanted, " or ")))
	}
	client, err := sasl.NewClient(mechanism, l.User, l.password, binding, slices.Contains(c.auth, sasl.ScramPlus))
	if err != nil {
		return failed(451, "4.3.5", fmt.Sprintf("the secret %q cannot be the password of a log-in: %s", l.Secret, err))
	}
	r, f := s.exchange(c, client, mechanism)
	switch {
	case f != nil:
		return f
	case r.Code == 235 && client.Done():
		c.by = mechanism
		return nil
	case r.Code/100 == 2:
		c.unusable = true
		return failed(451, "4.7.0", "the server let the log-in pass without showing that it knows the password")
	case r.Code/100 == 3:
		return c.nonsense(r, stageAuth)
	}
	c.unusable = c.unusable || r.Code == 421
	said := "what it said has the password in it"
	if !l.shown(r) {
		said = r.Error()
	}
	if r.Temporary() {
		return failed(r.Code, "4.7.0", fmt.Sprintf("the server does not take the log-in with the secret %q now (%s): %s", l.Secret, mechanism, said))
	}
	f = failed(454, "4.7.8", fmt.Sprintf("the server refused the log-in with the secret %q (%s): %s", l.Secret, mechanism, said))
	if r.Code == 535 {
		s.refused.add(l.id, f)
	}
	return f
}

// exchange says AUTH and answers challenges. The last reply is not 334.
func (s *Sender) exchange(c *conn, client *sasl.Client, mechanism string) (r smtp.Reply, f *failure) {
	wait := s.timeouts.Helo
	command := "AUTH " + mechanism
	var first []byte
	var err error
	if client.SpeaksFirst() {
		if first, err = client.Next(nil); err != nil {
			return r, failed(451, "4.7.0", err.Error())
		}
		if whole := command + " " + base64.StdEncoding.EncodeToString(first); len(whole)+2 <= commandLine {
			command, first = whole, nil
		}
	}
	defer func() { c.out = wipe(c.out) }()
	for r, err = c.ask(command, wait); err == nil && r.Code == 334; r, err = c.ask(command, wait) {
		if first != nil {
			command, first = base64.StdEncoding.EncodeToString(first), nil
			continue
		}
		challenge, bad := challengeOf(r)
		response, wrong := []byte(nil), error(nil)
		if !bad {
			response, wrong = client.Next(challenge)
		}
		if bad || wrong != nil { // RFC 4954 section 4: the client gives up with a lone asterisk
			if r, err = c.ask("*", wait); err != nil {
				break
			}
			return r, failed(451, "4.7.0", sasl.ErrServer.Error())
		}
		command = base64.StdEncoding.EncodeToString(response)
	}
	if err != nil {
		return r, c.fail(err, stageAuth, wait)
	}
	return r, nil
}

// challengeOf reads the base64 of a challenge.
func challengeOf(r smtp.Reply) (challenge []byte, bad bool) {
	text := strings.TrimSpace(strings.Join(r.Text, ""))
	if text == "=" || text == "" {
		return nil, false
	}
	challenge, err := base64.StdEncoding.DecodeString(text)
	return challenge, err != nil || len(challenge) > maxChallenge
}

// wipe takes a password out of a buffer for commands.
func wipe(b []byte) []byte {
	clear(b[:cap(b)])
	return b[:0]
}

// shown tells whether the password is in a reply, as it is or as it went over the wire.
func (l *login) shown(r smtp.Reply) bool {
	said := []byte(r.Error())
	for _, form := range []string{l.password, base64.StdEncoding.EncodeToString([]byte(l.password)), base64.StdEncoding.EncodeToString([]byte("\x00" + l.User + "\x00" + l.password))} {
		if bytes.Contains(said, []byte(form)) {
			return true
		}
	}
	return false
}

// encryption is the state of TLS; nil: there is none.
func (c *conn) encryption() *tls.ConnectionState {
	if secured, ok := c.Conn.(interface{ ConnectionState() tls.ConnectionState }); ok {
		state := secured.ConnectionState()
		return &state
	}
	return nil
}
