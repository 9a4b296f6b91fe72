// Package dane judges a mail server's certificate by the TLSA records of its host (RFC 7672, with RFC 6698 and RFC 7671).
//
// A record pins something of the chain that the server shows: with usage 3 (DANE-EE) its own certificate, with usage 2 (DANE-TA) that
// of an authority in the chain. Usages 0 and 1 lean on public authorities, which are no ground for mail servers, so they are unusable
// (RFC 7672 section 3.1.3), as are records of other kinds than this package knows, or with a digest of the wrong length. A host that has
// records, but no usable one, is to be talked to under TLS by all means, whoever it says that it is: that is for the caller.
//
// Under usage 3 nothing else of the certificate counts, neither its name nor its dates (section 3.1.1): the record is the
// domain's own word for that key. Under usage 2 the authority may issue for others, too, so name and dates do.
//
// Whether records may be believed, which takes DNSSEC, is not asked here.
package dane

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stagepost/stagepost/core/resolve"
)

// What the numbers in a record mean (RFC 6698 section 7, with the names of RFC 7218).
const (
	usageTA = 2
	usageEE = 3

	selectorCert = 0 // the whole certificate
	selectorKey  = 1 // its SubjectPublicKeyInfo

	matchFull   = 0
	matchSHA256 = 1
	matchSHA512 = 2
)

// ErrNoMatch says that no record is met by any certificate that it may be met by.
var ErrNoMatch = errors.New("the certificate is none of those that the TLSA records name")

// Usable returns the records by which a certificate can be judged.
func Usable(records []resolve.TLSA) []resolve.TLSA {
	var usable []resolve.TLSA
	for _, r := range records {
		if isUsable(r) {
			usable = append(usable, r)
		}
	}
	return usable
}

func isUsable(r resolve.TLSA) bool {
	if r.Usage != usageTA && r.Usage != usageEE {
		return false
	}
	switch r.Matching {
	case matchSHA256:
		return r.Selector <= selectorKey && len(r.Data) == sha256.Size
	case matchSHA512:
		return r.Selector <= selectorKey && len(r.Data) == sha512.Size
	case matchFull:
	default:
		return false
	}
	var err error
	switch r.Selector {
	case selectorCert:
		_, err = x509.ParseCertificate(r.Data)
	case selectorKey:
		_, err = x509.ParsePKIXPublicKey(r.Data)
	default:
		return false
	}
	return err == nil
}

// matches tells whether a record names a certificate.
func matches(r resolve.TLSA, c *x509.Certificate) bool {
	data := c.Raw
	if r.Selector == selectorKey {
		data = c.RawSubjectPublicKeyInfo
	}
	switch r.Matching {
	case matchSHA256:
		sum := sha256.Sum256(data)
		data = sum[:]
	case matchSHA512:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return subtle.ConstantTimeCompare(data, r.Data) == 1
}

// Verify judges the chain that a server showed, its own certificate first, by usable records. names are those that an authority may have
// issued it for: the host's, and the domain's whose mail it takes (RFC 7672 section 3.2.2). The word says by which usage, for people. An
// error is ErrNoMatch, or what package x509 says of a chain to an authority that a record names.
func Verify(usable []resolve.TLSA, chain []*x509.Certificate, names []string, now time.Time) (word string, err error) {
	if len(chain) == 0 {
		return "", ErrNoMatch
	}
	for _, r := range usable {
		if r.Usage == usageEE && matches(r, chain[0]) {
			return "DANE-EE", nil
		}
	}
	err = ErrNoMatch
	for _, r := range usable {
		if r.Usage != usageTA {
			continue
		}
		for _, c := range anchors(r, chain) {
			if err = issued(chain, c, names, now); err == nil {
				return "DANE-TA", nil
			}
		}
	}
	return "", err
}

// anchors are the certificates that a record makes authorities: those in the chain, and the one that it holds whole.
func anchors(r resolve.TLSA, chain []*x509.Certificate) []*x509.Certificate {
	var found []*x509.Certificate
	for _, c := range chain {
		if matches(r, c) {
			found = append(found, c)
		}
	}
	if len(found) == 0 && r.Matching == matchFull && r.Selector == selectorCert {
		if c, err := x509.ParseCertificate(r.Data); err == nil {
			found = append(found, c)
		}
	}
	return found
}

// issued tells why a chain does not lead to an authority for one of the names; nil: it does.
func issued(chain []*x509.Certificate, authority *x509.Certificate, names []string, now time.Time) error {
	opts := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	opts.Roots.AddCert(authority)
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(opts); err != nil {
		return err
	}
	return Named(chain[0], names)
}

// Named tells why a certificate is for none of the names; nil: it is for one of them. Its subject does not count, only its alternative
// names do.
func Named(c *x509.Certificate, names []string) error {
	var last error = x509.HostnameError{Certificate: c}
	if slices.ContainsFunc(names, func(name string) bool {
		last = c.VerifyHostname(name)
		return last == nil
	}) {
		return nil
	}
	if len(names) == 0 {
		return fmt.Errorf("no name is known that the certificate could be for")
	}
	return last
}
