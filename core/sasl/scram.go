package sasl

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"sync/atomic"

	"github.com/xdg-go/scram"

	"github.com/stagepost/stagepost/core/password"
)

// beginScram is SCRAM-SHA-256 with or without -PLUS. A client that could bind but thinks that we cannot (flag y), while we offer it, was lied to by
// somebody in between, and is refused (RFC 5802 section 6).
func (x *Exchange) beginScram(response []byte) ([]byte, bool, error) {
	plus := x.mechanism == ScramPlus
	if plus && x.options.Binding == nil {
		return nil, false, ErrRefused
	}
	if !plus && strings.HasPrefix(string(response), "p=") { // that is for -PLUS
		return nil, false, ErrMalformed
	}
	var conv *scram.ServerConversation
	var stop error // why the exchange ends before its proof
	ok := false
	srv, err := scram.SHA256.NewServer(func(name string) (c scram.StoredCredentials, err error) {
		var keys *password.Keys
		if keys, ok, stop = x.keys(conv.AuthzID(), name); stop != nil {
			return c, stop
		}
		c.Salt, c.Iters, c.StoredKey, c.ServerKey = string(keys.Salt), keys.Iterations, keys.StoredKey, keys.ServerKey
		return c, nil
	})
	if err != nil {
		panic(err) // no callback was given, says the library
	}
	if x.nonce != nil {
		srv.WithNonceGenerator(x.nonce)
	}
	switch {
	case plus:
		conv = srv.NewConversationWithChannelBindingRequired(x.options.Binding.of)
	case x.options.Binding != nil:
		conv = srv.NewConversationWithChannelBinding(x.options.Binding.of)
	default:
		conv = srv.NewConversation()
	}
	next := func(response []byte) (string, error) {
		if !clean(string(response), MaxLine) {
			return "", ErrMalformed
		}
		challenge, err := conv.Step(string(response))
		switch {
		case err == nil && len(challenge) > maxChallenge: // it has the client's nonce in it
			return "", ErrMalformed
		case err == nil:
			return challenge, nil
		case stop != nil:
			return "", stop
		case challenge == "":
			return "", ErrMalformed
		}
		return "", ErrRefused // the library says why, but the client is told the same whatever it is
	}
	final := func(response []byte) ([]byte, bool, error) {
		challenge, err := next(response)
		if err == nil && !ok {
			err = ErrRefused
		}
		if err != nil {
			return nil, false, err
		}
		x.step = func(response []byte) ([]byte, bool, error) { // the client has seen our proof
			if len(response) > 0 {
				return nil, false, ErrMalformed
			}
			return nil, true, nil
		}
		return []byte(challenge), false, nil
	}
	challenge, err := next(response)
	if err != nil {
		return nil, false, err
	}
	x.step = final
	return []byte(challenge), false, nil
}

// maxChallenge fits the line of a reply, in base64.
const maxChallenge = 375

// keys are those of a name; where there are none, ones that look as such, and ok is false.
func (x *Exchange) keys(authzid, name string) (keys *password.Keys, ok bool, err error) {
	name, err = prepared(name)
	switch {
	case err != nil:
		return nil, false, err
	case name == "":
		return nil, false, ErrMalformed
	case !same(authzid, name):
		return nil, false, ErrRefused
	}
	a := x.options.Ask(Credentials{x.mechanism, name, Scram, ""})
	switch {
	case a.Err != nil:
		return nil, false, a.Err
	case !a.OK || a.Keys == nil:
		return x.options.Decoys.of(name), false, nil
	}
	x.options.Decoys.like.CompareAndSwap(nil, &shape{a.Keys.Iterations, len(a.Keys.Salt)})
	return a.Keys, true, nil
}

// Decoys make keys for names that have none. They are the same for a name as long as the process lives, and look as the first real
// ones that were seen. It is safe for concurrent use.
type Decoys struct {
	key  [32]byte
	like atomic.Pointer[shape]
}

// shape is what a client sees of keys.
type shape struct{ iterations, salt int }

// NewDecoys draws a key.
func NewDecoys() *Decoys {
	d := &Decoys{}
	rand.Read(d.key[:])
	return d
}

// usual is the shape of those that `stagepost user` makes.
func usual() *shape { return &shape{iterations: 32_768, salt: 16} }

func (d *Decoys) of(name string) *password.Keys {
	sum := func(what string) []byte {
		mac := hmac.New(sha256.New, d.key[:])
		mac.Write([]byte(what + "\x00" + name))
		return mac.Sum(nil)
	}
	like := d.like.Load()
	if like == nil {
		like = usual()
	}
	salt := append(sum("salt"), sum("more")...) // as long as a salt may be
	return &password.Keys{Iterations: like.iterations, Salt: salt[:like.salt], StoredKey: sum("stored"), ServerKey: sum("server")}
}
