package message

import (
	"fmt"
	"slices"
	"strings"
)

// TLSLevel says how a connection to a next hop is protected.
type TLSLevel string

// The words. What a receiving domain publishes is DANE (RFC 7672) and MTA-STS (RFC 8461). It may raise what is asked for, and never
// lowers it; TLSNone and TLSOpportunistic do not look at it.
const (
	TLSAuto          TLSLevel = "auto"          // what the domain publishes; where it publishes nothing, as TLSOpportunistic
	TLSNone          TLSLevel = "none"          // never
	TLSOpportunistic TLSLevel = "opportunistic" // where the server offers it, whoever it is; else in clear
	TLSRequired      TLSLevel = "required"      // always, whoever the server is
	TLSVerified      TLSLevel = "verified"      // always, and the server has shown who it is
	TLSImplicit      TLSLevel = "implicit"      // as TLSVerified, and from the outset, without STARTTLS
)

// TLSWords are all of them.
func TLSWords() []TLSLevel {
	return []TLSLevel{TLSAuto, TLSNone, TLSOpportunistic, TLSRequired, TLSVerified, TLSImplicit}
}

// Check tells what is wrong with a word; none is no word at all.
func (t TLSLevel) Check() error {
	if t == "" || slices.Contains(TLSWords(), t) {
		return nil
	}
	var words []string
	for _, w := range TLSWords() {
		words = append(words, string(w))
	}
	return fmt.Errorf("%q is not one of %s", t, strings.Join(words, ", "))
}
