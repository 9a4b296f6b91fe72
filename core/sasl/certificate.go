package sasl

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
)

// maxNames bounds what is told of a certificate's names.
const maxNames = 100

// Describe tells of a client's certificate what plugins may decide by: subject and issuer (RFC 2253), its DNS names and mail
// addresses, and the SHA-256 of the whole, in hexadecimal.
func Describe(c *x509.Certificate) map[string]any {
	sum := sha256.Sum256(c.Raw)
	names := []any{}
	for _, list := range [][]string{c.DNSNames, c.EmailAddresses} {
		for _, name := range list {
			if len(names) < maxNames && clean(name, MaxName) {
				names = append(names, name)
			}
		}
	}
	return map[string]any{"subject": c.Subject.String(), "issuer": c.Issuer.String(), "names": names, "fingerprint": hex.EncodeToString(sum[:])}
}
