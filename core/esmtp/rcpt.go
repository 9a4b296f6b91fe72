package esmtp

import (
	"strings"

	"github.com/stagepost/stagepost/core/smtp"
)

// Notify says what the sender wants to be told of a recipient (RFC 3461 section 4.1).
type Notify uint8

// What can be asked for. Never goes with nothing else; the zero Notify says that nothing was asked for, so the sender is told of
// a failure, and of a delay if that is this server's way.
const (
	Success Notify = 1 << iota
	Failure
	Delay
	Never
)

// Recipient is the address that a recipient had where the message was sent first (RFC 3461 section 4.2).
type Recipient struct {
	Type    string // "rfc822", "utf-8" (RFC 6533) or another, in lower case; "" for none
	Address string // decoded: printable
}

// Rcpt is what the parameters of RCPT say. The zero value is that of none.
type Rcpt struct {
	Notify   Notify
	Original Recipient
}

// ParseRcpt reads the parameters of RCPT, as ParseMail does those of MAIL.
func ParseRcpt(params smtp.Params) (r Rcpt, err error) {
	for i := 0; i < len(params) && err == nil; i++ {
		switch p := &params[i]; p.Key {
		case "NOTIFY":
			r.Notify, err = notify(p.Value)
		case "ORCPT":
			r.Original, err = original(p)
		}
	}
	return r, err
}

func notify(s string) (n Notify, err error) {
	for word := range strings.SplitSeq(strings.ToUpper(s), ",") {
		switch word {
		case "SUCCESS":
			n |= Success
		case "FAILURE":
			n |= Failure
		case "DELAY":
			n |= Delay
		case "NEVER":
			n |= Never
		default:
			return 0, bad("NOTIFY must be NEVER, or a list of SUCCESS, FAILURE and DELAY")
		}
	}
	if n&Never != 0 && n != Never {
		return 0, bad("NOTIFY=NEVER goes with nothing else")
	}
	return n, nil
}

// String returns the value of the parameter, "" for what was not given.
func (n Notify) String() string {
	var words []string
	for i, word := range []string{"SUCCESS", "FAILURE", "DELAY", "NEVER"} {
		if n&(1<<i) != 0 {
			words = append(words, word)
		}
	}
	return strings.Join(words, ",")
}

// Wants tells whether the sender is to be told of one of these.
func (n Notify) Wants(of Notify) bool {
	if n == 0 {
		n = Failure | Delay
	}
	return n&of != 0
}

func original(p *smtp.Param) (r Recipient, err error) {
	kind, _, ok := strings.Cut(p.Value, ";")
	if r.Type = strings.ToLower(kind); !ok || !smtp.IsKeyword(kind) || len(p.Value) > maxOriginal {
		return Recipient{}, bad("ORCPT must be a type of address, \";\" and an address")
	}
	rest := &smtp.Param{Key: p.Key, Value: p.Value[len(kind)+1:]}
	if r.Type == typeUTF8 {
		r.Address, err = utf8Address(rest)
	} else if r.Address, err = xtext(rest, maxOriginal); err == nil && !printable(r.Address) {
		err = bad("ORCPT stands for characters that are not printable ASCII")
	}
	return r, err
}

// String returns the value of the parameter, in ASCII, "" for none.
func (r Recipient) String() string {
	switch r.Type {
	case "":
		return ""
	case typeUTF8:
		return r.Type + ";" + EncodeUTF8(r.Address)
	}
	return r.Type + ";" + EncodeXtext(r.Address)
}

// UTF8 is the value of the parameter where SMTPUTF8 is spoken: characters beyond ASCII are themselves (RFC 6533 section 3).
func (r Recipient) UTF8() string {
	if r.Type == typeUTF8 {
		return r.Type + ";" + encodeUTF8(r.Address, true)
	}
	return r.String()
}

// Field is the value of the field Original-Recipient, in ASCII (RFC 3464 section 2.3.1, RFC 6533 section 3).
func (r Recipient) Field() string {
	if r.Type == typeUTF8 {
		return r.Type + "; " + EncodeUTF8(r.Address)
	}
	return r.Type + "; " + r.Address
}
