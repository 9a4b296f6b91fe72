// Package arc verifies Authenticated Received Chains and adds to them (RFC 8617).
//
// A signature of DKIM breaks when a list puts its name before the subject, and SPF breaks whenever mail is forwarded. So each server on
// the way may write down what he found when the message came to him, and seal that. A set is three header fields that have the same
// instance, i=1 for the first server, i=2 for the next. ARC-Authentication-Results is what he found. ARC-Message-Signature is a
// signature of the message as it left him, like DKIM's. ARC-Seal signs all sets so far but no part of the message, and cv= in it tells
// whether the chain was whole when it came: none for the first, then pass. The newest message signature must fit the message;
// older ones need not, since whoever is between may have changed it; all seals must. Nothing is forgiven: what failed once,
// and be it that the DNS did not answer, has failed for all who come behind.
//
// What a chain proves is who handled the message and what each of them says. Whether that is true depends on who they are, and is
// nothing that this package knows.
//
// From below: the fields of a chain and their instances (chain.go), signatures and keys (signature.go), the validation (verify.go), a new
// set (seal.go). Tag lists, canonical forms, keys and what signatures have in common are those of package dkim.
//
// Everything that is read comes from strangers. The number of sets, the length of their fields, what is hashed, the keys that are
// asked for, and time are bounded; no key is asked for before all has been looked at that needs none, each but once, and none
// behind the first failure. The body is read once, and never held.
package arc

import (
	"fmt"
	"strings"

	"github.com/stagepost/stagepost/core/message"
)

// Names of the three fields of a set (RFC 8617 section 4.1).
const (
	SealField      = "ARC-Seal"
	SignatureField = "ARC-Message-Signature"
	ResultsField   = "ARC-Authentication-Results"
)

// Bounds of a chain.
const (
	MaxSets  = 50       // RFC 8617 section 4.2.1
	maxField = 16 << 10 // octets of one field, with its line ends
)

// set holds the fields of one instance.
type set struct {
	seal, signature, results *field
	assessment               string // what the results say, without the instance
}

// field is one of a chain's fields, as it stands in the header.
type field struct {
	message.Field
	instance int
	rest     string // the value behind the instance, if that stands first
}

// chain is what a header holds of ARC.
type chain struct {
	sets    map[int]*set
	highest int    // the highest instance
	broken  string // the first thing that no sound chain has
}

// collect finds the fields of a chain, of whatever state.
func collect(h *message.Header) *chain {
	c := &chain{sets: map[int]*set{}}
	for _, f := range h.Fields("") {
		of := c.place(f.Name)
		if of == nil {
			continue
		}
		c.add(f, of)
	}
	return c
}

// place gives where in a set a field of that name stands; nil: it is no field of ARC.
func (c *chain) place(name string) func(*set) **field {
	switch {
	case strings.EqualFold(name, SealField):
		return func(s *set) **field { return &s.seal }
	case strings.EqualFold(name, SignatureField):
		return func(s *set) **field { return &s.signature }
	case strings.EqualFold(name, ResultsField):
		return func(s *set) **field { return &s.results }
	}
	return nil
}

func (c *chain) add(f message.Field, of func(*set) **field) {
	if len(f.Raw) > maxField {
		c.fault("%s has more than %d octets", f.Name, maxField)
		return
	}
	mine := &field{Field: f}
	var ok bool
	if mine.instance, mine.rest, ok = leading(f.Value); !ok {
		if strings.EqualFold(f.Name, ResultsField) { // which is no list of tags: there it stands first, or there is none
			c.fault("%s does not begin with an instance", f.Name)
			return
		}
		if mine.instance, ok = tagged(f.Value); !ok {
			c.fault("%s has no instance from 1 to %d", f.Name, MaxSets)
			return
		}
	}
	if mine.instance < 1 || mine.instance > MaxSets {
		c.fault("%s has the instance %d, which is not from 1 to %d", f.Name, mine.instance, MaxSets)
		return
	}
	s := c.sets[mine.instance]
	if s == nil {
		s = &set{}
		c.sets[mine.instance] = s
		c.highest = max(c.highest, mine.instance)
	}
	if at := of(s); *at == nil {
		*at = mine
	} else {
		c.fault("there are two %s of the instance %d", f.Name, mine.instance)
	}
}

// fault notes what is wrong; the first counts.
func (c *chain) fault(format string, args ...any) {
	if c.broken == "" {
		c.broken = fmt.Sprintf(format, args...)
	}
}

// none tells whether there is nothing of ARC at all.
func (c *chain) none() bool { return c.highest == 0 && c.broken == "" }

// newest is the seal of the highest instance; nil if it is not there.
func (c *chain) newest() *field {
	if s := c.sets[c.highest]; s != nil {
		return s.seal
	}
	return nil
}

// sound tells why the instances are not 1 to the highest, each with its three fields (RFC 8617 section 5.2, 3.A and 3.B); "" if they are.
func (c *chain) sound() string {
	if c.broken != "" {
		return c.broken
	}
	for i := 1; i <= c.highest; i++ {
		s := c.sets[i]
		switch {
		case s == nil:
			return fmt.Sprintf("there is no set %d, and %d are counted", i, c.highest)
		case s.results == nil:
			return fmt.Sprintf("the set %d has no %s", i, ResultsField)
		case s.signature == nil:
			return fmt.Sprintf("the set %d has no %s", i, SignatureField)
		case s.seal == nil:
			return fmt.Sprintf("the set %d has no %s", i, SealField)
		}
		s.assessment = strings.Trim(s.results.rest, " \t")
	}
	return ""
}

// maxComments is how deep comments may be nested.
const maxComments = 10

// leading reads the instance that a value begins with (RFC 8617 section 3.9), and gives what follows its semicolon.
func leading(value string) (n int, rest string, ok bool) {
	s, ok := skip(value)
	if !ok || !strings.HasPrefix(s, "i") { // the name of a tag is case-sensitive
		return 0, "", false
	}
	if s, ok = skip(s[1:]); !ok || !strings.HasPrefix(s, "=") {
		return 0, "", false
	}
	if s, ok = skip(s[1:]); !ok {
		return 0, "", false
	}
	if n, s, ok = position(s); !ok {
		return 0, "", false
	}
	if s, ok = skip(s); !ok || !strings.HasPrefix(s, ";") {
		return 0, "", false
	}
	return n, s[1:], true
}

// position reads one or two digits.
func position(s string) (n int, rest string, ok bool) {
	i := 0
	for i < len(s) && '0' <= s[i] && s[i] <= '9' {
		n = n*10 + int(s[i]-'0')
		if i++; i > 2 {
			return 0, "", false
		}
	}
	return n, s[i:], i > 0
}

// skip leaves out white space and comments.
func skip(s string) (rest string, ok bool) {
	for depth := 0; s != ""; {
		switch c := s[0]; {
		case c == '(':
			if depth++; depth > maxComments {
				return s, false
			}
		case c == ')' && depth > 0:
			depth--
		case c == '\\' && depth > 0 && len(s) > 1:
			s = s[1:]
		case depth == 0 && c != ' ' && c != '\t':
			return s, true
		}
		if s = s[1:]; s == "" && depth > 0 {
			return s, false
		}
	}
	return s, true
}
