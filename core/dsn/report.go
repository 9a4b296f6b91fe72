// Package dsn composes delivery status notifications: the mail that tells a sender what became of a message that was
// accepted and not delivered (RFC 5321 section 6.1, RFC 3464). It decides what such a message says and to whom one is
// owed; when it is sent, and by which way, is the queue's affair.
//
// A notification is one multipart/report (RFC 6522) with three parts that say the same to three readers: plain text for
// people, message/delivery-status for programs, and the header of the message that it is about, so that both recognize it.
// Where that message came by SMTPUTF8 and these would not hold what is beyond ASCII in it, their counterparts of RFC 6533 take their
// place. Whether the way back knows SMTPUTF8 is not known when a notification is composed, so these go in 7-bit encodings, which any
// server takes, unless the sender's own address asks for SMTPUTF8 anyhow.
//
// Everything but the fixed words comes from outside: the addresses from a client, the answers from a remote server, the
// header from anybody. All of it is data. In text and fields whatever is not printable ASCII becomes "?", so nothing
// can end a line, a field or a part; only addresses have other characters, in the text as they are, in fields encoded (RFC
// 6533); the remote's words stand quoted, so that nobody takes them for ours; a header that
// is more than plain lines goes as quoted-printable, which loses nothing; and the boundary occurs in none of the parts.
// The same report always gives the same bytes.
package dsn

import (
	"net/netip"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/esmtp"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
)

// Kind is what a report says of all its recipients: the Action of RFC 3464 section 2.3.3.
type Kind uint8

// The kinds.
const (
	Failed    Kind = iota + 1 // given up
	Delayed                   // not delivered yet, still being tried
	Delivered                 // it lies where the recipient finds it
	Relayed                   // handed to a server that does not tell what becomes of it
	Expanded                  // the address stands for several, and the message went on to these
)

// Kinds lists them all.
func Kinds() []Kind { return []Kind{Failed, Delayed, Delivered, Relayed, Expanded} }

// String returns the action-value, or "" for what is no kind.
func (k Kind) String() string {
	switch k {
	case Failed:
		return "failed"
	case Delayed:
		return "delayed"
	case Delivered:
		return "delivered"
	case Relayed:
		return "relayed"
	case Expanded:
		return "expanded"
	}
	return ""
}

// Owed tells whether a message with that reverse-path may be answered by a notification. One with the null reverse-path
// never is: it may be a notification itself, and two systems would bounce bounces for ever (RFC 5321 sections 4.5.5, 6.1).
func Owed(sender smtp.Address) bool { return !sender.IsNull() }

// Report is one notification about one message. Recipients that came to the same end in the same step share one.
//
// Its envelope is for the caller to make: from the null reverse-path, to Sender.
type Report struct {
	ID           message.ID // of the notification itself; its Message-ID is <ID@ReportingMTA>
	Date         time.Time  // when it is made
	Kind         Kind
	ReportingMTA string // this server's host name

	Message    message.ID // what the report is about; a postmaster finds the record by it
	Arrived    time.Time
	Sender     smtp.Address // the reverse-path, to whom the report goes; never null
	EnvelopeID string       // of the sender's own choice (ENVID, RFC 3461 section 4.4), decoded; empty: none given
	Rcpts      []Rcpt       // at least one

	// Original is the message as it was sent on (see message.Envelope.Sent); nil leaves the third part out. ReturnFull
	// asks for all of it instead of its header; see Compose for when that is not done. Global: it was sent with SMTPUTF8.
	Original   message.Content
	ReturnFull bool
	Global     bool
}

// wide tells whether the notification itself needs SMTPUTF8 on its way, so that it need not be encoded.
func (r *Report) wide() bool { return !esmtp.IsASCII(r.Sender) }

// Rcpt is what a report says of one recipient.
type Rcpt struct {
	Final    smtp.Address    // as this server accepted it (RFC 3464 section 2.3.2), not what it was renamed to
	Original esmtp.Recipient // as the sender's own server got it (ORCPT), the zero value if nobody said (section 2.3.1)

	Status         string    // see Status; what cannot be one is replaced
	Diagnostic     string    // the last reply with its codes on one line, or our own words; empty: none
	RemoteMTA      string    // who gave that reply, a host name or "[192.0.2.1]"; empty: this server
	LastAttempt    time.Time // last; zero: never
	WillRetryUntil time.Time // told only of what is Delayed; zero: not known
}

// NewRcpt says what is known of a recipient after an attempt at that time.
func NewRcpt(kind Kind, r *message.Rcpt, last message.Last, attempted time.Time) Rcpt {
	diagnostic := last.Text
	if last.Code != 0 {
		diagnostic = smtp.NewReply(last.Code, last.Enhanced, last.Text).Error()
	}
	asked, _ := esmtp.ParseRcpt(r.Params) // they were read when they came
	return Rcpt{
		Final:       r.Original,
		Original:    asked.Original,
		Status:      Status(kind, last.Code, last.Enhanced),
		Diagnostic:  diagnostic,
		RemoteMTA:   remoteName(last.Host),
		LastAttempt: attempted,
	}
}

// remoteName returns what the world may know of an outcome's host: of "mx1.example.org[192.0.2.1]:25" the name, of
// "[192.0.2.1]:25" the address. Other hosts, such as plugins, are parts of this system.
func remoteName(host string) string {
	name, rest, _ := strings.Cut(host, "[")
	ip, _, ok := strings.Cut(rest, "]")
	switch {
	case !ok:
		return ""
	case name != "":
		return mtaName(name)
	}
	return mtaName("[" + ip + "]")
}

// mtaName returns a name as the MTA-name-type dns has it, an address literal in canonical form, or "" for anything else.
func mtaName(name string) string {
	if smtp.ValidDomain(name) {
		return name
	}
	inner, ok := strings.CutPrefix(name, "[")
	inner, ok2 := strings.CutSuffix(inner, "]")
	ip, err := netip.ParseAddr(strings.TrimPrefix(inner, ipv6Tag))
	switch {
	case !ok || !ok2 || err != nil || ip.Zone() != "": // a zone may hold any byte
		return ""
	case ip.Unmap().Is4():
		return "[" + ip.Unmap().String() + "]"
	}
	return "[" + ipv6Tag + ip.String() + "]"
}

const ipv6Tag = "IPv6:" // RFC 5321 section 4.1.3
