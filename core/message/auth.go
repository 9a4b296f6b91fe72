package message

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/stagepost/stagepost/core/capability"
)

// Auth is what to log in with at a next hop. The password is not in it: that is a secret of the operator, by name.
type Auth struct {
	User      string
	Secret    string // its name
	Mechanism string // of AuthMechanisms; empty: the best that the server offers
	TLS       string // AuthOptional: also where the connection is not encrypted
}

// AuthOptional is the one value of Auth.TLS that allows a log-in in clear to a host that is not this machine.
const AuthOptional = "optional"

// AuthMechanisms are those that there are, the best first.
func AuthMechanisms() []string {
	return []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"}
}

// NewAuth reads the fields of an Auth by name; the plan's Check tells what is wrong with them.
func NewAuth(m map[string]string) Auth {
	return Auth{User: m["user"], Secret: m["secret"], Mechanism: strings.ToUpper(m["mechanism"]), TLS: m["tls"]}
}

const maxAuthUser = 320

func (a *Auth) check() error {
	switch {
	case *a == Auth{}:
		return nil
	case a.User == "" || a.Secret == "":
		return fmt.Errorf(`auth needs user and secret, as in auth = {user = "relay", secret = "smtp/example.net"}`)
	case len(a.User) > maxAuthUser || !utf8.ValidString(a.User) || strings.ContainsFunc(a.User, unicode.IsControl):
		return fmt.Errorf("auth: the user is not up to %d bytes of UTF-8 without control characters", maxAuthUser)
	case !capability.ValidSecret(a.Secret):
		return unnameable(a.Secret)
	case a.Mechanism != "" && !slices.Contains(AuthMechanisms(), a.Mechanism):
		return fmt.Errorf("auth: the mechanism is one of %s, not %.80q", strings.Join(AuthMechanisms(), ", "), a.Mechanism)
	case a.TLS != "" && a.TLS != AuthOptional:
		return fmt.Errorf("auth: tls is %q or not given, not %.80q", AuthOptional, a.TLS)
	}
	return nil
}

func unnameable(secret string) error {
	return fmt.Errorf(`auth: %.80q cannot name a secret; a name is like "smtp/example.net"`, secret)
}
