// Package password checks passwords against what is kept of them.
//
// Nobody keeps a password: kept is a text that tells whether a password is the right one, and is made so that guessing is slow for
// whoever steals it. Three kinds are known. argon2id (RFC 9106), in the form of the PHC string format, makes guessing cost memory as well as
// time. bcrypt is what many older tables hold. The keys of SCRAM-SHA-256 (RFC 5802, RFC 7677) also serve the mechanism of that name, in which the
// server never sees the password; their form is that of PostgreSQL: SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey.
//
// The text names its own cost, and whoever can write it could make a check last for hours. So Parse refuses what costs more than
// about a second of one CPU or MaxMemory, and keys that are too cheap to protect anything.
//
// Passwords are prepared by SASLprep (RFC 4013), as RFC 4616 section 4 and RFC 5802 section 2.2 want it: one that was typed on another keyboard,
// and has other bytes for the same characters, is the same. Texts that other programs made may be of the bytes as they came, so a password
// that preparing changes is tried both ways. The package has no state; its functions and values are safe for concurrent use.
package password

import (
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/xdg-go/stringprep"
)

// The schemes, as Hash.Scheme names them.
const (
	Argon2id = "argon2id"
	Bcrypt   = "bcrypt"
	SCRAM    = "scram-sha-256"
)

// Bounds.
const (
	MaxMemory   = 128 << 20 // bytes that one check may need
	MaxPassword = 1024      // bytes of a password; a longer one is wrong
	maxHash     = 512       // bytes of a text that is kept
)

// Hash is a text that was parsed.
type Hash struct {
	Scheme  string
	Memory  int   // bytes that a check needs
	Threads int   // CPUs that a check uses at once
	Keys    *Keys // those of SCRAM; nil for the others

	matches func(password string) bool
}

// Parse reads a text that is kept of a password. The error says what is wrong with it, and never holds any of it but the name of
// its scheme.
func Parse(text string) (*Hash, error) {
	switch {
	case len(text) > maxHash:
		return nil, fmt.Errorf("it is longer than %d bytes", maxHash)
	case strings.HasPrefix(text, "$argon2id$"):
		return parseArgon2id(text)
	case strings.HasPrefix(text, "$2a$"), strings.HasPrefix(text, "$2b$"), strings.HasPrefix(text, "$2y$"):
		return parseBcrypt(text)
	case strings.HasPrefix(text, scramPrefix):
		keys, err := ParseKeys(text)
		if err != nil {
			return nil, err
		}
		return &Hash{Scheme: SCRAM, Threads: 1, Keys: keys, matches: keys.matches}, nil
	}
	const known = "known are argon2id ($argon2id$...), bcrypt ($2b$...) and SCRAM-SHA-256 (SCRAM-SHA-256$...)"
	if m := schemePattern.FindStringSubmatch(text); m != nil {
		return nil, fmt.Errorf("the scheme %s is not known; %s", m[1], known)
	}
	return nil, errors.New("it names no scheme, so it may be the password itself; " + known)
}

// schemePattern finds the name that other programs put before a hash: $6$, {SSHA256}, SCRAM-SHA-1$.
var schemePattern = regexp.MustCompile(`^(\$[a-z0-9-]{1,20}\$|\{[A-Z0-9.-]{1,30}\}|SCRAM-SHA-[0-9]{1,3}\$)`)

// Verify tells whether the password is the right one. It takes the time and memory that the hash demands, and as long for a wrong
// password as for the right one.
func (h *Hash) Verify(password string) bool {
	if len(password) > MaxPassword {
		h.matches(password[:MaxPassword]) // so that it takes as long
		return false
	}
	prepared, err := Prepare(password)
	if err != nil || h.Keys != nil || prepared == password { // keys make their own of what cannot be prepared
		return h.matches(password)
	}
	return h.matches(prepared) || h.matches(password)
}

// New makes what is kept of a password, by SCRAM if scram is set, else by argon2id. The password is one that Check accepts.
func New(password string, scram bool) (string, error) {
	prepared, err := Prepare(password)
	if err != nil {
		return "", err
	}
	salt := make([]byte, saltSize)
	rand.Read(salt)
	if scram {
		return newKeys(prepared, salt, newIterations).String(), nil
	}
	return newArgon2id(prepared, salt), nil
}

const saltSize = 16

// Check says why a new password cannot be taken; nil if it can.
func Check(password string) error {
	switch prepared, err := Prepare(password); {
	case len(password) > MaxPassword:
		return fmt.Errorf("the password is longer than %d bytes", MaxPassword)
	case err != nil:
		return errors.New("the password has a character that a log-in cannot carry, such as a control character or one of no assigned meaning")
	case prepared == "":
		return errors.New("the password is empty")
	}
	return nil
}

// Prepare is SASLprep (RFC 4013) of a name or a password.
func Prepare(text string) (string, error) {
	ascii := true
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			ascii = false
			break
		}
	}
	if ascii {
		return text, nil
	}
	prepared, err := stringprep.SASLprep.Prepare(text)
	if err != nil || !strings.ContainsRune(text, '\uFFFD') && strings.ContainsRune(prepared, '\uFFFD') { // bytes that are not UTF-8
		return "", errors.New("it has a character that SASLprep (RFC 4013) does not allow")
	}
	return prepared, nil
}
