package password

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// What new passwords get: the second choice of OWASP's list, which needs 19 MiB.
const (
	newMemory  = 19 << 10 // KiB
	newPasses  = 2
	newThreads = 1
	newLength  = 32
)

// Bounds of argon2id.
const (
	minMemory  = 8                   // KiB for each thread, RFC 9106 section 3.1
	maxWork    = 8 * MaxMemory >> 10 // KiB times passes
	maxThreads = 16
	minSalt    = 8 // bytes, RFC 9106 section 3.1
	maxSalt    = 64
	minLength  = 16 // bytes of the hash
	maxLength  = 64
)

var argon2idPattern = regexp.MustCompile(`^\$argon2id\$v=(\d{1,3})\$m=(\d{1,10}),t=(\d{1,10}),p=(\d{1,10})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$`)

// parseArgon2id reads $argon2id$v=19$m=KIB,t=PASSES,p=THREADS$salt$hash, with base64 without padding.
func parseArgon2id(text string) (*Hash, error) {
	m := argon2idPattern.FindStringSubmatch(text)
	if m == nil {
		return nil, errors.New("argon2id: it does not have the form $argon2id$v=19$m=19456,t=2,p=1$salt$hash")
	}
	number := func(i int) int { n, _ := strconv.Atoi(m[i]); return n } // of so few digits that all fit
	memory, passes, threads := number(2), number(3), number(4)
	salt, err1 := base64.RawStdEncoding.DecodeString(m[5])
	want, err2 := base64.RawStdEncoding.DecodeString(m[6])
	switch {
	case number(1) != argon2.Version:
		return nil, fmt.Errorf("argon2id: its version is %s; only %d is known", m[1], argon2.Version)
	case threads < 1 || threads > maxThreads:
		return nil, fmt.Errorf("argon2id: p is %d; it may be 1 to %d", threads, maxThreads)
	case memory < minMemory*threads || memory > MaxMemory>>10:
		return nil, fmt.Errorf("argon2id: m is %d (KiB); it may be %d to %d", memory, minMemory*threads, MaxMemory>>10)
	case passes < 1 || passes > maxWork/memory:
		return nil, fmt.Errorf("argon2id: t is %d; with m=%d it may be 1 to %d", passes, memory, maxWork/memory)
	case err1 != nil || len(salt) < minSalt || len(salt) > maxSalt:
		return nil, fmt.Errorf("argon2id: the salt is not %d to %d bytes in base64", minSalt, maxSalt)
	case err2 != nil || len(want) < minLength || len(want) > maxLength:
		return nil, fmt.Errorf("argon2id: the hash is not %d to %d bytes in base64", minLength, maxLength)
	}
	return &Hash{Scheme: Argon2id, Memory: memory << 10, Threads: threads, matches: func(password string) bool {
		got := argon2.IDKey([]byte(password), salt, uint32(passes), uint32(memory), uint8(threads), uint32(len(want)))
		return subtle.ConstantTimeCompare(got, want) == 1
	}}, nil
}

func newArgon2id(password string, salt []byte) string {
	hash := argon2.IDKey([]byte(password), salt, newPasses, newMemory, newThreads, newLength)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, newMemory, newPasses, newThreads, b64.EncodeToString(salt), b64.EncodeToString(hash))
}

// maxCost of bcrypt takes about a second; each one more would double it.
const maxCost = 14

var bcryptPattern = regexp.MustCompile(`^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$`)

// parseBcrypt takes the three letters for one: they tell apart programs that had mistakes once, which none has any more.
func parseBcrypt(text string) (*Hash, error) {
	m := bcryptPattern.FindStringSubmatch(text)
	if m == nil {
		return nil, errors.New("bcrypt: it does not have the form $2b$12$ and 53 characters")
	}
	if cost, _ := strconv.Atoi(m[1]); cost < bcrypt.MinCost || cost > maxCost {
		return nil, fmt.Errorf("bcrypt: the cost is %d; it may be %d to %d", cost, bcrypt.MinCost, maxCost)
	}
	return &Hash{Scheme: Bcrypt, Threads: 1, matches: func(password string) bool {
		return bcrypt.CompareHashAndPassword([]byte(text), []byte(password)) == nil
	}}, nil
}
