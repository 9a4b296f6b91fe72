package esmtp

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/smtp"
)

// Bounds of what a client may ask for. The first is announced with FUTURERELEASE, the second with DELIVERBY.
const (
	MaxHold = 7 * 24 * time.Hour
	MinBy   = time.Minute // of a delivery by a time or not at all: less is over before a first failure can be tried again
)

// Body is the declared kind of a content (RFC 6152, RFC 3030).
type Body string

// The kinds.
const (
	Body7Bit   Body = "7BIT"
	Body8Bit   Body = "8BITMIME"
	BodyBinary Body = "BINARYMIME"
)

// Return is the value of RET (RFC 3461 section 4.3).
type Return string

// The values.
const (
	Full    Return = "FULL"
	Headers Return = "HDRS"
)

// Mail is what the parameters of MAIL say. The zero value is that of none.
type Mail struct {
	Size       int64 // declared, in octets (RFC 1870); one that exceeds an int64 is the largest, so it is above any limit
	Body       Body  // "" when nothing is declared
	UTF8       bool  // SMTPUTF8 (RFC 6531)
	RequireTLS bool  // never to go in clear (RFC 8689)

	Return     Return // what of the message a notice of failure holds
	EnvelopeID string // ENVID, decoded: printable ASCII

	Auth *smtp.Address // who is said to have submitted it (RFC 4954 section 5); the null path: not known; nil: not said

	NotBefore time.Time // HOLDFOR, HOLDUNTIL (RFC 4865); zero: at once
	By        By
	Priority  int // MT-PRIORITY, -9 to 9 (RFC 6710)
}

// By is a time by which a message is to be delivered (RFC 2852).
type By struct {
	At     time.Time // zero: none was asked for
	Return bool      // then it goes back to its sender (R); otherwise the sender is told, and it is tried on (N)
	Trace  bool      // the sender is told of each hop, too (T)
}

// Notify tells whether a time was asked for at which the sender is told (mode N).
func (b *By) Notify() bool { return !b.At.IsZero() && !b.Return }

// bad is the reply to a parameter that is known and not well formed.
func bad(text string) error { return smtp.NewReply(501, "5.5.4", text) }

// ParseMail reads the parameters of MAIL, given at that time, which is what those that name a span count from. Parameters it does
// not know are passed over: which are allowed is told by Offer.Check. An error is a Reply, 501 5.5.4.
func ParseMail(params smtp.Params, given time.Time) (m Mail, err error) {
	if len(params) == 0 {
		return m, nil
	}
	held := false
	_, utf8 := params.Get("SMTPUTF8")
	for i := 0; i < len(params) && err == nil; i++ {
		p := &params[i]
		switch p.Key {
		case "SIZE":
			m.Size, err = size(p.Value)
		case "BODY":
			m.Body = Body(strings.ToUpper(p.Value))
			if m.Body != Body7Bit && m.Body != Body8Bit && m.Body != BodyBinary {
				err = bad("BODY must be 7BIT, 8BITMIME or BINARYMIME")
			}
		case "SMTPUTF8":
			m.UTF8, err = true, bare(p)
		case "REQUIRETLS":
			m.RequireTLS, err = true, bare(p)
		case "RET":
			if m.Return = Return(strings.ToUpper(p.Value)); m.Return != Full && m.Return != Headers {
				err = bad("RET must be FULL or HDRS")
			}
		case "ENVID":
			if m.EnvelopeID, err = xtext(p, maxEnvelopeID); err == nil && !printable(m.EnvelopeID) {
				err = bad("ENVID stands for characters that are not printable ASCII")
			}
		case "AUTH":
			m.Auth, err = submitter(p, utf8)
		case "HOLDFOR", "HOLDUNTIL":
			if held {
				return m, bad("HOLDFOR and HOLDUNTIL do not go together")
			}
			held = true
			m.NotBefore, err = release(p, given)
		case "BY":
			m.By, err = by(p.Value, given)
		case "MT-PRIORITY":
			m.Priority, err = priority(p.Value)
		}
	}
	if err == nil && m.By.Return && !m.By.At.After(m.NotBefore) {
		err = bad("the message is to be held until it is too late to deliver it")
	}
	return m, err
}

// bare refuses a value of a parameter that has none.
func bare(p *smtp.Param) error {
	if p.Value != "" {
		return bad(p.Key + " takes no value")
	}
	return nil
}

func size(s string) (int64, error) {
	if len(s) > 20 || !digits(s) {
		return 0, bad("syntax error in SIZE")
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return math.MaxInt64, nil
	}
	return int64(n), nil
}

// submitter reads AUTH: a mailbox or "<>", as xtext.
func submitter(p *smtp.Param, utf8 bool) (*smtp.Address, error) {
	text, err := xtext(p, maxAuth)
	if err != nil || text == "<>" {
		return &smtp.Address{}, err
	}
	parse := smtp.ParseAddress
	if utf8 {
		parse = smtp.ParseUTF8Address
	}
	a, err := parse(text)
	if err != nil {
		return nil, bad("AUTH is neither <> nor an address")
	}
	return &a, nil
}

// release reads HOLDFOR, in seconds, and HOLDUNTIL, in UTC.
func release(p *smtp.Param, given time.Time) (at time.Time, err error) {
	if p.Key == "HOLDFOR" {
		if len(p.Value) > 9 || !digits(p.Value) || p.Value[0] == '0' {
			return at, bad("HOLDFOR must be a number of seconds from 1 to 999999999")
		}
		n, _ := strconv.Atoi(p.Value) // it fits
		at = given.Add(time.Duration(n) * time.Second)
	} else if at, err = time.Parse("2006-01-02T15:04:05Z", strings.ToUpper(p.Value)); err != nil {
		return at, bad("HOLDUNTIL must be a time such as 2026-01-31T08:00:00Z")
	}
	if !at.After(given) {
		return at, bad("HOLDUNTIL is over")
	}
	if at.After(given.Add(MaxHold)) {
		return at, bad("a message may be held for " + strconv.Itoa(int(MaxHold/time.Second)) + " seconds")
	}
	return at, nil
}

// by reads "[+-]seconds;R" or ";N", with a T behind it for a trace (RFC 2852 section 4).
func by(s string, given time.Time) (b By, err error) {
	span, mode, _ := strings.Cut(strings.ToUpper(s), ";")
	mode, b.Trace = strings.CutSuffix(mode, "T")
	number := strings.TrimPrefix(span, "+")
	if number == span {
		number = strings.TrimPrefix(span, "-")
	}
	if b.Return = mode == "R"; len(number) > 9 || !digits(number) || !b.Return && mode != "N" {
		return By{}, bad("BY must be a number of seconds, \";\", R or N, and perhaps T")
	}
	n, _ := strconv.Atoi(number) // it fits
	if span[0] == '-' {
		n = -n
	}
	wait := time.Duration(n) * time.Second
	if b.Return && wait < MinBy {
		return By{}, bad("BY with R must be at least " + strconv.Itoa(int(MinBy/time.Second)) + " seconds")
	}
	b.At = given.Add(wait)
	return b, nil
}

func priority(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < -9 || n > 9 || strconv.Itoa(n) != s {
		return 0, bad("MT-PRIORITY must be a number from -9 to 9")
	}
	return n, nil
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
