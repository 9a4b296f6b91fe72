// Package message holds the plain values that mail is made of between the wire and the store: the envelope and its
// recipients, what is known of the session that brought it, facts that plugins attached, the header with its edits, the
// plan that says where a recipient goes, and the outcome of an attempt. Nothing here does I/O or decides anything; the
// values are filled by core/intake, looked at through package hooks, kept by core/store and sent by core/deliver.
//
// A message is one immutable envelope and one immutable content. Header edits never copy the content: the envelope's
// Prefix stands in place of its first Skip bytes, so what is sent is always Prefix followed by content[Skip:]. With
// nothing but added fields Skip is 0 and Prefix holds only those; a changed or removed field moves the whole header block
// into Prefix. A recipient may have a Prefix of its own, which stands before that of the envelope; recipients whose copies
// differ are never sent in one transaction.
package message

import (
	"io"
	"net/netip"
	"strconv"
	"time"

	"github.com/stagepost/stagepost/core/smtp"
)

// Role says through which door mail came; hooks select on it.
type Role string

// The roles. The last three have no SMTP client: their mail starts at the stage mail.
const (
	RoleMX         Role = "mx"
	RoleSubmission Role = "submission"
	RoleLMTP       Role = "lmtp"
	RoleAPI        Role = "api"
	RoleSendmail   Role = "sendmail"
	RoleInternal   Role = "internal"
)

// Roles lists them all.
func Roles() []Role {
	return []Role{RoleMX, RoleSubmission, RoleLMTP, RoleAPI, RoleSendmail, RoleInternal}
}

// Class is what the plugin that accepted a recipient said of it: "" until then.
type Class string

// Local recipients are delivered by this system, relay ones are passed on by MX unless a route says otherwise.
const (
	ClassNone  Class = ""
	ClassLocal Class = "local"
	ClassRelay Class = "relay"
)

// Session is what is known of the client. It belongs to one goroutine while the session lasts; a stored envelope holds a
// copy without facts and history.
type Session struct {
	ID        string
	Role      Role
	Listener  string
	Origin    string // "smtp", or the program or plugin that brought mail without a client
	IP        netip.Addr
	LocalIP   netip.Addr
	Port      uint16
	LocalPort uint16
	Helo      string
	ESMTP     bool
	TLS       *TLS   // nil in clear
	User      string // empty before a log-in
	Auth      string // SASL mechanism of the log-in
	Groups    []string
	Early     bool // the client spoke before the greeting
	Errors    int  // refused commands so far
	History   []Note
	Facts     Facts
	Life      *Life // until its end; nil where nobody tells that
}

// TLS is what was agreed on when the connection was encrypted. It is never changed.
type TLS struct {
	Version string // "TLSv1.3"
	Cipher  string // its registered name: "TLS_AES_128_GCM_SHA256"
	SNI     string // the name that the client asked for; empty: none
	Client  string // subject of the client's certificate if it was verified: "CN=relay.example.org"
}

// Note is one verdict other than next that a plugin gave in this session, oldest first.
type Note struct {
	Stage, Plugin, Verdict string
	Code                   int
	Reason                 string
}

// Envelope is one message without its content. Until the commit it belongs to the transaction; afterwards nobody
// changes it.
type Envelope struct {
	ID         ID
	Session    *Session
	Sender     smtp.Address // the zero Address is the null reverse-path
	Params     []smtp.Param // of MAIL FROM
	Rcpts      []*Rcpt
	Facts      Facts
	Tenant     string
	Priority   int8 // -9 to 9 (RFC 6710), 0 unless a plugin or client set it
	Arrived    time.Time
	NotBefore  time.Time // zero: at once
	Expires    time.Time // zero: the queue's default
	Hold       string    // why the message is held from the start; empty: it is not
	Generation uint64    // the generation that served the transaction
	Plan       *Plan     // set at the stage queue: delivered before the reply, never queued on this machine
	Notice     *Notice   // set when the message tells the sender of another one; not stored
	Injected   *Injected // set when a plugin handed the message in
	Size       int64     // bytes sent to the next hop: len(Prefix) + content size - Skip
	Prefix     []byte    // header fields that stand before content[Skip:]
	Skip       int64
}

// Expanded tells whether the address that the i-th recipient was given as stands for several here (RFC 3461 section 5.2.7.3).
func (e *Envelope) Expanded(i int) bool {
	for k, r := range e.Rcpts {
		if k != i && r.Original == e.Rcpts[i].Original {
			return true
		}
	}
	return false
}

// Key names the copy of a recipient, the i-th, the same at every attempt.
func (e *Envelope) Key(r *Rcpt, i int) string {
	key := e.ID.String() + "/" + r.Original.Text
	for k, other := range e.Rcpts {
		if k != i && other.Original == r.Original { // the address stands for several, each with a copy
			return key + "/" + strconv.Itoa(i)
		}
	}
	return key
}

// Notice says of which message and which of its recipients a notification tells the sender. Its commit is what settles
// that.
type Notice struct {
	Of    ID
	Rcpts []int
	Over  bool // when it was to be queued, the sender was not to be told any more
}

// Rcpt is one recipient of an envelope.
type Rcpt struct {
	Address  smtp.Address
	Original smtp.Address // as given at RCPT, before any rename
	Params   []smtp.Param // of RCPT TO
	Class    Class
	By       string // the plugin that accepted it, for the record
	Prefix   []byte // header fields that stand above all others in this recipient's copy alone
	Hold     string // why this recipient is held from the start while others are not; empty: it is not
	Facts    Facts
}

// Content is the message as the client sent it, dots removed, before any edit. It is safe for concurrent readers.
type Content interface {
	io.ReaderAt
	Size() int64
	Bytes() []byte // the whole content if it lies in memory, else nil; never to be changed
}
