package esmtp

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/smtp"
)

// Offer is what decides which extensions a session has: what its listener leaves out, and how far it has come.
type Offer struct {
	Without    []string // keywords in lower case, of those that Switchable lists
	StartTLS   bool     // STARTTLS would be answered now
	TLS        bool     // the session is encrypted
	LoggedIn   bool
	Mechanisms []string // for AUTH now; none: AUTH is not offered
	Chunking   bool     // BDAT is answered
	XClient    bool     // the client is a proxy that may say who its own is
	MaxSize    int64    // of a message
	MaxRcpts   int      // of a message
	Now        time.Time
}

// extension is one row of the table.
type extension struct {
	keyword    string
	mail, rcpt []string            // parameters of these commands, in upper case
	args       func(*Offer) string // what follows the keyword; nil: nothing
	when       func(o *Offer) bool // in which state it is offered; nil: always
	switchable bool                // a listener may leave it out
	with       string              // offered only together with this one
}

// table has the extensions in the order of the reply; it is never changed. Those that steer when mail goes are for clients that
// are known: anybody else could fill the queue with mail that is not due, or put theirs before that of others.
var table = []extension{
	{keyword: "PIPELINING"}, // RFC 2920
	{keyword: "SIZE", mail: []string{"SIZE"}, args: func(o *Offer) string { return strconv.FormatInt(o.MaxSize, 10) }}, // RFC 1870
	{keyword: "8BITMIME", mail: []string{"BODY"}},                                                                             // RFC 6152
	{keyword: "ENHANCEDSTATUSCODES"},                                                                                          // RFC 2034
	{keyword: "SMTPUTF8", mail: []string{"SMTPUTF8"}, switchable: true},                                                       // RFC 6531
	{keyword: "CHUNKING", when: func(o *Offer) bool { return o.Chunking }, switchable: true},                                  // RFC 3030
	{keyword: "BINARYMIME", with: "CHUNKING", switchable: true},                                                               // RFC 3030
	{keyword: "DSN", mail: []string{"RET", "ENVID"}, rcpt: []string{"NOTIFY", "ORCPT"}, switchable: true},                     // RFC 3461
	{keyword: "REQUIRETLS", mail: []string{"REQUIRETLS"}, when: encrypted, switchable: true},                                  // RFC 8689
	{keyword: "FUTURERELEASE", mail: []string{"HOLDFOR", "HOLDUNTIL"}, args: futureRelease, when: loggedIn, switchable: true}, // RFC 4865
	{keyword: "DELIVERBY", mail: []string{"BY"}, args: minBy, when: loggedIn, switchable: true},                               // RFC 2852
	{keyword: "MT-PRIORITY", mail: []string{"MT-PRIORITY"}, args: profile, when: loggedIn, switchable: true},                  // RFC 6710
	{keyword: "LIMITS", args: limits, switchable: true},                                                                       // RFC 9422
	{keyword: "STARTTLS", when: func(o *Offer) bool { return o.StartTLS && !o.TLS }},                                          // RFC 3207
	{keyword: "AUTH", args: mechanisms, when: func(o *Offer) bool { return len(o.Mechanisms) > 0 && !o.LoggedIn }},            // RFC 4954
	{keyword: "XCLIENT", args: func(*Offer) string { return xclientNames }, when: func(o *Offer) bool { return o.XClient }},   // of Postfix
	{keyword: "HELP"},
}

func encrypted(o *Offer) bool    { return o.TLS }
func loggedIn(o *Offer) bool     { return o.LoggedIn }
func minBy(*Offer) string        { return strconv.Itoa(int(MinBy / time.Second)) }
func profile(*Offer) string      { return "MIXER" } // RFC 6710 appendix A: nine levels that matter
func mechanisms(o *Offer) string { return strings.Join(o.Mechanisms, " ") }

// futureRelease is how long, and until when, a message may wait (RFC 4865 section 4).
func futureRelease(o *Offer) string {
	return strconv.Itoa(int(MaxHold/time.Second)) + " " + o.Now.Add(MaxHold).UTC().Format(time.RFC3339)
}

// limits has no MAILMAX: messages of a session are not counted.
func limits(o *Offer) string { return "RCPTMAX=" + strconv.Itoa(o.MaxRcpts) }

// Switchable lists the keywords that a listener may leave out, in lower case.
func Switchable() (names []string) {
	for _, e := range table {
		if e.switchable {
			names = append(names, strings.ToLower(e.keyword))
		}
	}
	return names
}

// Has tells whether an extension is offered, named in upper case.
func (o *Offer) Has(keyword string) bool {
	for _, e := range table {
		if e.keyword == keyword {
			return o.has(e)
		}
	}
	return false
}

func (o *Offer) has(e extension) bool {
	switch {
	case e.when != nil && !e.when(o), e.with != "" && !o.Has(e.with):
		return false
	case !e.switchable || len(o.Without) == 0:
		return true
	}
	return !slices.Contains(o.Without, strings.ToLower(e.keyword))
}

// Lines is what follows the host name in the reply to EHLO.
func (o *Offer) Lines() []string {
	lines := make([]string, 0, len(table))
	for _, e := range table {
		switch {
		case !o.has(e):
		case e.args == nil:
			lines = append(lines, e.keyword)
		default:
			lines = append(lines, e.keyword+" "+e.args(o))
		}
	}
	return lines
}

// Mail tells whether parameters may be given with MAIL. An error is a Reply: 555 5.5.4 for one that belongs to no extension
// that is offered.
func (o *Offer) Mail(params smtp.Params) error {
	for i := range params {
		// AUTH may be given where it is known, before a log-in and after (RFC 4954 section 5).
		p := &params[i]
		if !o.known(p.Key, func(e extension) []string { return e.mail }) && !(p.Key == "AUTH" && (o.LoggedIn || len(o.Mechanisms) > 0)) {
			return unknown(p)
		}
		if p.Key == "BODY" && strings.EqualFold(p.Value, string(BodyBinary)) && !o.Has("BINARYMIME") {
			return bad("BODY=BINARYMIME is not offered here")
		}
	}
	return nil
}

// Rcpt tells whether parameters may be given with RCPT, as Mail does for MAIL.
func (o *Offer) Rcpt(params smtp.Params) error {
	for i := range params {
		if !o.known(params[i].Key, func(e extension) []string { return e.rcpt }) {
			return unknown(&params[i])
		}
	}
	return nil
}

func (o *Offer) known(key string, of func(extension) []string) bool {
	for _, e := range table {
		if slices.Contains(of(e), key) {
			return o.has(e)
		}
	}
	return false
}

func unknown(p *smtp.Param) error {
	return smtp.NewReply(555, "5.5.4", "parameter "+p.Key[:min(len(p.Key), 40)]+" is not known, or not offered here")
}
