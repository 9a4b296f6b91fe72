package password

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"golang.org/x/crypto/pbkdf2"
)

const scramPrefix = "SCRAM-SHA-256$"

// Bounds of SCRAM's iterations. The least is that of RFC 7677 section 4. New keys get what the weakest clients can do in less than a second,
// since the client computes it at each log-in; some refuse more than 65,536.
const (
	minIterations = 4096
	newIterations = 32_768
	maxIterations = 1_000_000
)

// Keys are what a server keeps for SCRAM-SHA-256 (RFC 5802 section 3).
type Keys struct {
	Iterations int
	Salt       []byte
	StoredKey  []byte
	ServerKey  []byte
}

var keysPattern = regexp.MustCompile(`^SCRAM-SHA-256\$(\d{1,9}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)$`)

// ParseKeys reads SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey, with base64 with padding.
func ParseKeys(text string) (*Keys, error) {
	m := keysPattern.FindStringSubmatch(text)
	if m == nil || len(text) > maxHash {
		return nil, errors.New("SCRAM-SHA-256: it does not have the form SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey")
	}
	k := &Keys{}
	k.Iterations, _ = strconv.Atoi(m[1])
	var errs [3]error
	for i, to := range []*[]byte{&k.Salt, &k.StoredKey, &k.ServerKey} {
		*to, errs[i] = base64.StdEncoding.DecodeString(m[2+i])
	}
	switch {
	case k.Iterations < minIterations || k.Iterations > maxIterations:
		return nil, fmt.Errorf("SCRAM-SHA-256: %d iterations; it may be %d to %d", k.Iterations, minIterations, maxIterations)
	case errs[0] != nil || len(k.Salt) < minSalt || len(k.Salt) > maxSalt:
		return nil, fmt.Errorf("SCRAM-SHA-256: the salt is not %d to %d bytes in base64", minSalt, maxSalt)
	case errs[1] != nil || errs[2] != nil || len(k.StoredKey) != sha256.Size || len(k.ServerKey) != sha256.Size:
		return nil, fmt.Errorf("SCRAM-SHA-256: a key is not %d bytes in base64", sha256.Size)
	}
	return k, nil
}

// String is the form that ParseKeys reads.
func (k *Keys) String() string {
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s%d:%s$%s:%s", scramPrefix, k.Iterations, b64(k.Salt), b64(k.StoredKey), b64(k.ServerKey))
}

// newKeys computes the keys of a prepared password.
func newKeys(password string, salt []byte, iterations int) *Keys {
	salted := pbkdf2.Key([]byte(password), salt, iterations, sha256.Size, sha256.New)
	sum := func(text string) []byte {
		mac := hmac.New(sha256.New, salted)
		mac.Write([]byte(text))
		return mac.Sum(nil)
	}
	stored := sha256.Sum256(sum("Client Key"))
	return &Keys{Iterations: iterations, Salt: salt, StoredKey: stored[:], ServerKey: sum("Server Key")}
}

// matches tells whether the keys are those of a password. One that cannot be prepared is taken as it is, as PostgreSQL does, so keys of such
// a password serve here as there.
func (k *Keys) matches(password string) bool {
	if prepared, err := Prepare(password); err == nil {
		password = prepared
	}
	got := newKeys(password, k.Salt, k.Iterations)
	return subtle.ConstantTimeCompare(got.StoredKey, k.StoredKey)&subtle.ConstantTimeCompare(got.ServerKey, k.ServerKey) == 1
}
