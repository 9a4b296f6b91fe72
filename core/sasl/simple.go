package sasl

import (
	"bytes"
	"strings"

	"github.com/stagepost/stagepost/core/password"
)

// plain is PLAIN (RFC 4616 section 2): authzid NUL authcid NUL passwd.
func (x *Exchange) plain(response []byte) ([]byte, bool, error) {
	parts := strings.Split(string(response), "\x00")
	if len(parts) != 3 {
		return nil, false, ErrMalformed
	}
	return nil, true, x.password(parts[0], parts[1], parts[2])
}

// password asks about a name and a password. Who wants to act for somebody else (authzid) is refused.
func (x *Exchange) password(authzid, name, secret string) error {
	if name == "" || secret == "" || !clean(authzid, MaxName) || !clean(secret, password.MaxPassword) {
		return ErrMalformed
	}
	if !same(authzid, name) {
		return ErrRefused
	}
	return x.ask(name, Password, secret)
}

// same tells whether an authorization identity is none, or the name itself.
func same(authzid, name string) bool {
	a, err := prepared(authzid)
	n, _ := prepared(name)
	return err == nil && (a == "" || a == n)
}

// loginName and then loginPassword are LOGIN, which has no RFC. The server begins; but clients in wide use, such as those of Python and .NET,
// send the name as an initial response, and every server takes it.
func (x *Exchange) loginName(response []byte) ([]byte, bool, error) {
	name := string(response)
	if name == "" || !clean(name, MaxName) {
		return nil, false, ErrMalformed
	}
	x.step = func(response []byte) ([]byte, bool, error) { return nil, true, x.password("", name, string(response)) }
	return []byte("Password:"), false, nil
}

// external is EXTERNAL (RFC 4422 appendix A): perhaps the name that is wanted.
func (x *Exchange) external(response []byte) ([]byte, bool, error) {
	return nil, true, x.ask(string(response), Certificate, "")
}

// Answers to a token that is refused, which the client has to answer in turn before it is told so (RFC 7628 section 3.2.2, and Google's form).
const (
	bearerError  = `{"status":"invalid_token","schemes":"bearer"}`
	xoauth2Error = `{"status":"401","schemes":"bearer"}`
)

// oauthBearer is OAUTHBEARER (RFC 7628 section 3.1): n,a=NAME,^Ahost=...^Aport=...^Aauth=Bearer TOKEN^A^A.
func (x *Exchange) oauthBearer(response []byte) ([]byte, bool, error) {
	header, pairs, found := bytes.Cut(response, []byte{1})
	flag, rest, _ := strings.Cut(string(header), ",")
	authzid, end, comma := strings.Cut(rest, ",")
	name, given := strings.CutPrefix(authzid, "a=")
	name, ok := saslname(name)
	if !found || !comma || end != "" || flag != "n" && flag != "y" || !given && authzid != "" || !ok {
		return nil, false, ErrMalformed
	}
	return x.bearer(name, pairs, bearerError)
}

// xoauth2 is XOAUTH2: user=NAME^Aauth=Bearer TOKEN^A^A.
func (x *Exchange) xoauth2(response []byte) ([]byte, bool, error) {
	user, pairs, found := bytes.Cut(response, []byte{1})
	name, given := strings.CutPrefix(string(user), "user=")
	if !found || !given || name == "" {
		return nil, false, ErrMalformed
	}
	return x.bearer(name, pairs, xoauth2Error)
}

// bearer finds the token in key=value pairs, each ended by ^A, with one more ^A at their end. Other keys are passed over.
func (x *Exchange) bearer(name string, pairs []byte, failure string) ([]byte, bool, error) {
	text, ok := strings.CutSuffix(string(pairs), "\x01\x01")
	if !ok {
		return nil, false, ErrMalformed
	}
	token, found := "", false
	for _, pair := range strings.Split(text, "\x01") {
		k, v, ok := strings.Cut(pair, "=")
		if !ok || k == "" || !clean(pair, MaxToken) || k == "auth" && found {
			return nil, false, ErrMalformed
		}
		if k == "auth" {
			token, found = v, true
		}
	}
	scheme, token, _ := strings.Cut(token, " ")
	token = strings.TrimLeft(token, " ")
	if !strings.EqualFold(scheme, "bearer") || token == "" {
		return nil, false, ErrMalformed
	}
	err := x.ask(name, Token, token)
	if err != ErrRefused {
		return nil, err == nil, err
	}
	x.step = func([]byte) ([]byte, bool, error) { return nil, false, ErrRefused }
	return []byte(failure), false, nil
}

// saslname is a name in GS2's form (RFC 5801 section 4): "=2C" is a comma, "=3D" an equals sign.
func saslname(text string) (string, bool) {
	plain := strings.NewReplacer("=2C", "", "=3D", "").Replace(text)
	return strings.NewReplacer("=2C", ",", "=3D", "=").Replace(text), !strings.Contains(plain, "=")
}
