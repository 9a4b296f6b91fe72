// Package sasl is the server's side of log-ins (RFC 4422): what client and server say to each other in a mechanism, without the protocol
// around it.
//
// A mechanism is a few messages to and fro. PLAIN (RFC 4616) and LOGIN bring a name and a password; OAUTHBEARER (RFC 7628) and Google's older
// XOAUTH2 a token; EXTERNAL (RFC 4422 appendix A) nothing but perhaps a name, since the client has shown a certificate. In SCRAM-SHA-256
// (RFC 5802, RFC 7677) the password never comes: the server sends salt and iterations, the client proves that it knows the
// password, and the server that it has the user's keys. With -PLUS the proof is also of the TLS connection, so nobody in between
// can pass it on. CRAM-MD5 and DIGEST-MD5 are left out: they want the password itself kept, and hide it badly from who listens.
//
// An Exchange is one log-in. It is fed with the client's messages; when it knows who wants in, it asks the function that
// it was given, once. It decides nothing itself but whether a SCRAM proof is right. A name for which there are no keys gets salt and
// iterations, too, always the same ones, and fails at the end as a wrong password does.
//
// xdg-go/scram computes SCRAM. The others are written here: of go-sasl's servers the one for OAUTHBEARER panics on an empty
// response after a failure, it has none for LOGIN and XOAUTH2, and what is left are a few lines that would check too little.
package sasl

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/xdg-go/scram"

	"github.com/stagepost/stagepost/core/password"
)

// The mechanisms, as IANA registers them.
const (
	Plain       = "PLAIN"
	Login       = "LOGIN"
	ScramSHA256 = "SCRAM-SHA-256"
	ScramPlus   = "SCRAM-SHA-256-PLUS"
	External    = "EXTERNAL"
	OAuthBearer = "OAUTHBEARER"
	XOAuth2     = "XOAUTH2"
)

// Mechanisms lists all that there are, in the order in which they are offered: what shows least of a secret first.
func Mechanisms() []string {
	return []string{ScramPlus, ScramSHA256, External, OAuthBearer, XOAuth2, Plain, Login}
}

// Bounds, in bytes.
const (
	MaxLine  = 12288 // of a message in base64 (RFC 4954 section 4)
	MaxName  = 320   // of a name
	MaxToken = 8192
)

// Kind is what a client shows.
type Kind string

// The kinds.
const (
	Password    Kind = "password"
	Token       Kind = "token"
	Certificate Kind = "certificate"
	Scram       Kind = "scram" // nothing yet: the keys of Name are wanted
)

// Credentials are who wants in, and with what. The name was prepared (RFC 4013), and neither it nor the secret has control characters.
type Credentials struct {
	Mechanism string
	Name      string // "" where a token or certificate may say it
	Kind      Kind
	Secret    string // the password or the token
}

// Answer is what was said of credentials.
type Answer struct {
	OK   bool           // for Scram: the Keys count
	Keys *password.Keys // for Scram
	Err  error          // ends the exchange at once, with this error
}

// Errors of an exchange.
var (
	ErrMalformed = errors.New("a message that the mechanism does not allow")
	ErrRefused   = errors.New("the credentials are wrong")
)

// Options are what an Exchange is made of.
type Options struct {
	Ask     func(Credentials) Answer // called once at most
	Binding *Binding                 // given if a mechanism with -PLUS is offered
	Decoys  *Decoys
}

// Binding ties a log-in to its TLS connection (RFC 5056).
type Binding struct{ of scram.ChannelBinding }

// Bind gives the binding of a connection: tls-exporter (RFC 9266) in TLS 1.3, tls-unique (RFC 5929) in 1.2; nil where there is none.
func Bind(state *tls.ConnectionState) *Binding {
	if state.Version >= tls.VersionTLS13 {
		if of, err := scram.NewTLSExporterBinding(state); err == nil {
			return &Binding{of}
		}
	} else if len(state.TLSUnique) > 0 {
		return &Binding{scram.NewTLSUniqueBinding(state.TLSUnique)}
	}
	return nil
}

// Offer is which of the configured mechanisms a client may use on a connection that is encrypted, or need not be.
func Offer(configured []string, binding *Binding, certificate *x509.Certificate) (offered []string) {
	for _, m := range Mechanisms() {
		if slices.Contains(configured, m) && (m != ScramPlus || binding != nil) && (m != External || certificate != nil) {
			offered = append(offered, m)
		}
	}
	return offered
}

// Exchange is one log-in. It is used by one goroutine.
type Exchange struct {
	options   Options
	mechanism string
	step      func(response []byte) (challenge []byte, done bool, err error)
	greeting  []byte // what the client gets who sends no initial response
	begun     bool
	nonce     func() string // ours in SCRAM; nil: a random one
}

// New begins an exchange in one of Mechanisms; nil if it is another.
func New(mechanism string, o Options) *Exchange {
	x := &Exchange{options: o, mechanism: mechanism}
	switch mechanism {
	case Plain:
		x.step = x.plain
	case Login:
		x.step, x.greeting = x.loginName, []byte("Username:")
	case ScramSHA256, ScramPlus:
		x.step = x.beginScram
	case External:
		x.step = x.external
	case OAuthBearer:
		x.step = x.oauthBearer
	case XOAuth2:
		x.step = x.xoauth2
	default:
		return nil
	}
	return x
}

// Next takes a message of the client and gives what to answer. The first may be nil: there was no initial response. done
// without an error means that the client is who it says; then there is no challenge. After done or an error the exchange is over. Errors are
// ErrMalformed, ErrRefused, and what Ask gave.
func (x *Exchange) Next(response []byte) (challenge []byte, done bool, err error) {
	if response == nil && !x.begun {
		x.begun = true
		return x.greeting, false, nil
	}
	x.begun = true
	return x.step(response)
}

// Mechanism is the one of the exchange.
func (x *Exchange) Mechanism() string { return x.mechanism }

// ask asks whether somebody may in whom nothing more is expected of.
func (x *Exchange) ask(name string, kind Kind, secret string) error {
	name, err := prepared(name)
	if err != nil {
		return err
	}
	switch a := x.options.Ask(Credentials{x.mechanism, name, kind, secret}); {
	case a.Err != nil:
		return a.Err
	case !a.OK:
		return ErrRefused
	}
	return nil
}

// prepared is SASLprep of a name. What it does not allow is malformed.
func prepared(name string) (string, error) {
	if !clean(name, MaxName) {
		return "", ErrMalformed
	}
	p, err := password.Prepare(name)
	if err != nil || p == "" && name != "" {
		return "", ErrMalformed
	}
	return p, nil
}

// clean tells whether a text is UTF-8 without control characters and not too long.
func clean(text string, most int) bool {
	return len(text) <= most && utf8.ValidString(text) && strings.IndexFunc(text, control) < 0
}

func control(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' }
