// Package dkim signs mail and verifies signatures (RFC 6376, RFC 8301, RFC 8463).
//
// A signature is a header field: a list of tags such as d=example.org. It names a domain (d=), a selector (s=), the header fields
// that it covers (h=) and two hashes. bh= is the hash of the body; b= signs the hash of the header fields in h= and of the signature
// itself, its b= being empty. The public key is a TXT record at SELECTOR._domainkey.DOMAIN. Since servers on the way touch white space
// and case, both are brought to a canonical form first, by one of two algorithms (c=): simple changes next to nothing, relaxed makes
// white space and the names of fields alike. Of fields with the same name the lowest is taken first, so a field that somebody adds on
// top later is not the one that was signed; a name that stands in h= once more than there are such fields forbids to add one at all.
//
// What is here from below: tag lists (tags.go), canonical forms (canon.go, body.go), the choice of fields (fields.go), the fields of a
// signature (signature.go), key records (record.go) and how they are fetched (fetch.go), private keys (private.go), and on top of these
// Verifier and Sign. Package arc stands on the same parts.
//
// Everything that is read comes from strangers, so everything is bounded: signatures that are tried, names in h=, bytes of the header
// that are hashed, sizes of keys and their exponents, records, time. The body goes once through the hashes of all signatures
// and is never held. Nothing that the DNS cannot tell is a pass.
//
// The library go-msgauth serves the tests, which sign with it and let it verify. At work it is not used, because it reads
// the header of a message with net/textproto, which takes a bare LF for a line end and which nothing from the network may reach here;
// it hands no context to the DNS, and it has no bounds on h=, on the bytes of a header, on large keys, and on several signatures at once
// (it reads the body into memory or once more for each).
package dkim

import (
	"fmt"
)

// Field is the name of the header field of a signature.
const Field = "DKIM-Signature"

// Result is what came of a signature, in the words of RFC 8601 section 2.7.1.
type Result string

// The results. A message without signatures has the result None.
const (
	None      Result = "none"
	Pass      Result = "pass"
	Fail      Result = "fail"      // the signature does not fit the message, or its time is over
	TempError Result = "temperror" // the key could not be fetched now
	PermError Result = "permerror" // it can never be verified: a fault in the signature, or no key that may be used
)

// Error is why a signature, or a key, is not good.
type Error struct {
	Result Result
	Reason string // for people, in one line
	Err    error  // the cause, where there is more to say
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Reason + ": " + e.Err.Error()
	}
	return e.Reason
}

func (e *Error) Unwrap() error { return e.Err }

func failed(format string, args ...any) *Error {
	return &Error{Result: Fail, Reason: fmt.Sprintf(format, args...)}
}

func faulty(format string, args ...any) *Error {
	return &Error{Result: PermError, Reason: fmt.Sprintf(format, args...)}
}

// quote shows text of strangers in an error: in quotes, no control characters, not too much of it.
func quote(s string) string {
	const most = 60
	if len(s) > most {
		return fmt.Sprintf("%+q...", s[:most])
	}
	return fmt.Sprintf("%+q", s)
}
