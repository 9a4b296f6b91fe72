// Package deliver is the sending side of SMTP (RFC 5321) and LMTP (RFC 2033): one attempt to hand one message to one next
// hop, for some of its recipients. It keeps no queue and retries nothing by itself.
//
// An attempt walks through addresses: those of a plan's hosts in their order, or those of the MX of its domain. Where it
// stops follows from one question: has anybody answered for this message?
//
//   - No connection, a bad greeting, a connection lost or silent before the end of the message: nobody has. The next address
//     is tried, for the recipients that are still open.
//   - A reply to MAIL, RCPT, DATA or the end of the message is the answer of the whole domain. It is final for this attempt,
//     also when it is temporary: another host of the same domain would be a way around its greylisting, not a better route.
//   - Once the final dot may have left, no reply means that the message may have been taken. It is deferred as Unknown, and
//     no other host gets it in this attempt, since that could only make a second copy (RFC 1047).
//
// A recipient fails for good only if a server said so, if its domain cannot have one, or if every host refused to talk
// with a permanent reply, and not in clear where TLS is demanded; all else is deferred.
//
// Most of the cost of a message are round trips and system calls. So connections are kept for the next message to the same
// address, and with PIPELINING (RFC 2920) a message takes two writes and two reads: MAIL, RCPT and DATA, a RSET before them
// where one is owed; then content and dot.
//
// Content goes out as it is: 8-bit content also goes to a server that does not offer 8BITMIME, since all servers take it in
// practice, and the conversion would break signatures. It goes by BDAT where that is offered (chunks.go), else by DATA; stray CR, LF
// and NUL are replaced. Content that was declared binary goes as it is; where that is not to be had, or addresses need SMTPUTF8
// and the server lacks it, the message fails rather than be changed (extensions.go).
package deliver

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/stagepost/stagepost/core/deliver/mtasts"
	"github.com/stagepost/stagepost/core/deliver/tlsrpt"
	"github.com/stagepost/stagepost/core/esmtp"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/smtp"
)

// Timeouts are those of RFC 5321 section 4.5.3.2; zero values are the defaults.
type Timeouts struct {
	Connect time.Duration // 30 s, for one address
	Banner  time.Duration // 5 min
	Helo    time.Duration // 5 min
	Mail    time.Duration // 5 min, also RSET
	Rcpt    time.Duration // 5 min, for each reply
	Data    time.Duration // 2 min, until the 354
	Block   time.Duration // 3 min, for each 64 KiB of content to leave
	TLS     time.Duration // 1 min, for the handshake
	Dot     time.Duration // 10 min, for each reply after the final dot; not cut short by the context
}

// Options of a Sender; zero values are the defaults.
type Options struct {
	Resolver resolve.Resolver // needed for plans that hold names
	Hostname func() string    // this server's name, for the greeting and to know itself in an MX list; default "localhost"
	// Own tells that this server listens at an address. Loopback and unspecified addresses in an MX list are always this server.
	Own  func(netip.AddrPort) bool
	Dial func(ctx context.Context, network, addr string) (net.Conn, error) // default: a net.Dialer
	// DialFrom is Dial for what a source sends, from one of its addresses; default: Dial if there is one, else a net.Dialer.
	DialFrom func(ctx context.Context, from netip.Addr, addr string) (net.Conn, error)
	Source   func(name string) (Source, bool) // default: there are none
	// Transport finds what a plan names that is a transport; default: there are none.
	Transport func(name string) (Transport, bool)
	// Post is the way to a URL that a plan names, to a private address only if that is granted; nil, or without the function: there is none.
	Post func(url string, private bool, secret func() ([]byte, error)) Carrier
	// Secret gives the passwords that plans name; default: there are none.
	Secret   func(name string) (text []byte, ok bool, err error)
	Now      func() time.Time // the clock of records
	Timeouts Timeouts
	TLS      TLSOptions

	MaxMessages int           // on one connection; default 100
	MaxIdle     int           // idle connections; default 1,000; negative: none
	MaxIdleSame int           // of those, to one address under one greeting; default 20
	IdleTime    time.Duration // how long a connection waits for its next message; default 10 s
}

// Sender attempts deliveries. It is safe for concurrent use; how many run at once is for its callers to bound.
type Sender struct {
	resolver    resolve.Resolver
	hostname    func() string
	own         func(netip.AddrPort) bool
	dial        func(ctx context.Context, network, addr string) (net.Conn, error)
	dialFrom    func(ctx context.Context, from netip.Addr, addr string) (net.Conn, error)
	source      func(name string) (Source, bool)
	secret      func(name string) ([]byte, bool, error)
	refused     refusals
	transport   func(name string) (Transport, bool)
	poster      func(url string, private bool, secret func() ([]byte, error)) Carrier
	turn        atomic.Uint32 // of the addresses of sources
	now         func() time.Time
	timeouts    Timeouts
	roots       *x509.CertPool
	certificate func(source string) *tls.Certificate
	policies    Policies
	results     *tlsrpt.Results
	tickets     tickets
	plainly     plainly
	maxMessages int
	idle        *pool
	chunkless   chunkless
	counts      *Counts
}

// New makes a Sender. It does nothing until the first Send.
func New(o Options) *Sender {
	s := &Sender{
		resolver:  o.Resolver,
		hostname:  o.Hostname,
		own:       o.Own,
		dial:      o.Dial,
		dialFrom:  o.DialFrom,
		source:    o.Source,
		transport: o.Transport,
		poster:    o.Post,
		secret:    o.Secret,
		now:       o.Now,
		timeouts: Timeouts{
			Connect: cmp.Or(o.Timeouts.Connect, 30*time.Second),
			Banner:  cmp.Or(o.Timeouts.Banner, 5*time.Minute),
			Helo:    cmp.Or(o.Timeouts.Helo, 5*time.Minute),
			Mail:    cmp.Or(o.Timeouts.Mail, 5*time.Minute),
			Rcpt:    cmp.Or(o.Timeouts.Rcpt, 5*time.Minute),
			Data:    cmp.Or(o.Timeouts.Data, 2*time.Minute),
			Block:   cmp.Or(o.Timeouts.Block, 3*time.Minute),
			TLS:     cmp.Or(o.Timeouts.TLS, time.Minute),
			Dot:     cmp.Or(o.Timeouts.Dot, 10*time.Minute),
		},
		roots:       o.TLS.Roots,
		certificate: o.TLS.Certificate,
		policies:    o.TLS.Policies,
		results:     o.TLS.Results,
		tickets:     newTickets(),
		maxMessages: cmp.Or(o.MaxMessages, 100),
		counts:      NewCounts(),
		idle:        newPool(cmp.Or(o.MaxIdle, 1000), cmp.Or(o.MaxIdleSame, 20), cmp.Or(o.IdleTime, 10*time.Second)),
	}
	if s.hostname == nil {
		s.hostname = func() string { return "localhost" }
	}
	if s.own == nil {
		s.own = func(netip.AddrPort) bool { return false }
	}
	if s.dialFrom == nil {
		s.dialFrom = dialFrom
		if s.dial != nil {
			s.dialFrom = func(ctx context.Context, _ netip.Addr, addr string) (net.Conn, error) {
				return s.dial(ctx, "tcp", addr)
			}
		}
	}
	if s.source == nil {
		s.source = func(string) (Source, bool) { return Source{}, false }
	}
	if s.secret == nil {
		s.secret = func(string) ([]byte, bool, error) { return nil, false, nil }
	}
	if s.poster == nil {
		s.poster = func(string, bool, func() ([]byte, error)) Carrier { return nil }
	}
	if s.transport == nil {
		s.transport = func(string) (Transport, bool) { return Transport{}, false }
	}
	if s.dial == nil {
		s.dial = new(net.Dialer).DialContext
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.certificate == nil {
		s.certificate = func(string) *tls.Certificate { return nil }
	}
	s.plainly.now = s.now
	return s
}

// Close ends the idle connections. No Send may be under way or follow.
func (s *Sender) Close() { s.idle.close() }

// Job is what one attempt is asked to do. Nothing in it is changed.
type Job struct {
	Env     *message.Envelope
	Content message.Content // as the client sent it; Env.Prefix and Env.Skip are applied here
	Rcpts   []int           // indexes into Env.Rcpts, each once; all of them get the same copy (Envelope.SameCopy)
	Plan    *message.Plan   // with Hosts, MX or a transport; MX may be an address literal, such as "[192.0.2.1]"
	Record  func(observe.Step)
	TLS     message.TLSLevel // where the plan says nothing; empty: TLSAuto
	// HostTLS is TLS for one of the plan's hosts, "host:port"; empty, or without the function: that of TLS.
	HostTLS func(host string) message.TLSLevel
	// Again: an attempt before this one, perhaps of another process, may have delivered without anybody knowing.
	Again bool
	// ConnectionMessages bounds those that go over one connection; 0: Options.MaxMessages.
	ConnectionMessages int
	Prefer             string // "ipv4" or "ipv6": addresses that are tried before others, among exchangers that are preferred alike
}

// own are the fields that stand in the copy of these recipients alone.
func (j *Job) own() []byte {
	if len(j.Rcpts) == 0 {
		return nil
	}
	return j.Env.Rcpts[j.Rcpts[0]].Prefix
}

// Send attempts a job and returns one outcome for each of Job.Rcpts, in their order: Delivered, Deferred or Failed. Record,
// which may be nil, gets a step for each address that was tried, and for what kept the rest from being tried.
//
// When ctx ends, what is still open is deferred, but a message whose final dot is on its way gets its time to be
// answered: Send may then outlive ctx by Timeouts.Block and Timeouts.Dot.
func (s *Sender) Send(ctx context.Context, job *Job) []message.Outcome {
	d := &delivery{
		Sender:   s,
		ctx:      ctx,
		job:      job,
		lmtp:     job.Plan.Via == message.ViaLMTP,
		size:     int64(len(job.own())+len(job.Env.Prefix)) + job.Content.Size() - job.Env.Skip,
		outcomes: make([]message.Outcome, len(job.Rcpts)),
		open:     len(job.Rcpts),
	}
	d.asked, d.accepted = d.small[0][:0], d.small[1][:0]
	d.says, _ = esmtp.ParseMail(job.Env.Params, job.Env.Arrived) // they were read when they came
	if d.open == 0 {
		return d.outcomes
	}
	if job.Plan.Transport {
		t, f := d.transported()
		switch {
		case f != nil:
			d.missing("the transport "+job.Plan.Via, f)
			d.giveUp()
			return d.outcomes
		case t.Carrier != nil:
			d.carry(t.Carrier)
			return d.outcomes
		}
		d.socket, d.lmtp = t.Socket, true
	}
	if name := job.Plan.Source; name != "" && d.socket == "" {
		var known bool
		if d.from, known = s.source(name); !known {
			d.missing("source "+name, failed(451, "4.3.5", "the route names the source "+name+", but the configuration has no [source."+name+"]"))
			d.giveUp()
			return d.outcomes
		}
	}
	d.helo = cmp.Or(job.Plan.Helo, d.from.Helo, s.hostname())
	for h := range d.hops() {
		if d.try(h); d.open == 0 || d.ctx.Err() != nil {
			break
		}
	}
	if d.open > 0 {
		d.giveUp()
	}
	return d.outcomes
}

// delivery is one Send.
type delivery struct {
	*Sender
	ctx    context.Context
	job    *Job
	from   Source // where the plan names one
	helo   string
	lmtp   bool
	socket string     // the next hop, where a transport has one
	size   int64      // octets of the message, Prefix included
	says   esmtp.Mail // what came with MAIL

	sts    map[string]mtasts.Found // by domain; what is not there was not looked up yet
	waiver *bool                   // nil: not looked for yet

	utf8     bool // the transaction that runs needs SMTPUTF8
	chunked  bool // it goes by BDAT
	binary   bool // and as binary content
	notifies bool // its server does what says and the recipients' parameters want told
	timed    bool // its server was told by when it is to be delivered

	unchunked bool // a server did not know BDAT

	outcomes []message.Outcome // Result 0: open
	open     int
	why      failure // what to say of recipients that no host answered for
	whyHost  string  // who said it
	away     bool    // a host could not be talked to
	met      bool    // one could
	stage    string  // the command that drew the last reply other than a positive one

	small    [2][8]int // what asked and accepted begin with
	asked    []int     // recipients of the transaction, as indexes of outcomes
	accepted []int     // those of asked with a positive reply to RCPT, not decided yet
}

// decide sets the outcome of one recipient by a remote's reply.
func (d *delivery) decide(i int, reply smtp.Reply, host, stage string) {
	result := message.Deferred
	switch {
	case reply.Code/100 == 2:
		result = message.Delivered
	case reply.Code/100 == 5 && !(reply.Code == 552 && stage == stageRcpt): // "too many recipients", RFC 5321 4.5.3.1.10
		result = message.Failed
	}
	d.set(i, message.Outcome{Result: result, Reply: reply, Host: host, Notifies: result == message.Delivered && d.notifies, Timed: result == message.Delivered && d.timed})
	if result != message.Delivered {
		d.stage = stage
	}
}

// decideAll sets the outcome of all recipients that are open.
func (d *delivery) decideAll(reply smtp.Reply, host, stage string) {
	for i := range d.outcomes {
		if d.outcomes[i].Result == 0 {
			d.decide(i, reply, host, stage)
		}
	}
}

func (d *delivery) set(i int, o message.Outcome) {
	d.outcomes[i] = o
	d.open--
}

// failure is why a host could not be used, or why there is none: the next one may be of use. A nil *failure means that all
// is decided.
type failure struct {
	reply  smtp.Reply
	remote bool          // the reply is the remote's own
	away   bool          // it is about the host, or the way there, and not about the message
	weak   bool          // TLS did not come about, and was not demanded
	gone   bool          // the connection ended
	after  time.Duration // the remote's wish when to try again; 0: it has none
}

// words are the text of a failure in a line.
func (f *failure) words() string {
	return line(strings.Join(f.reply.Text, " "))
}

func failed(code int, enhanced, text string) *failure {
	return &failure{reply: smtp.NewReply(code, enhanced, text)}
}

// blame keeps what to say of the recipients that stay open: the last temporary failure, or the last permanent one if none
// was temporary.
func (d *delivery) blame(f *failure, host string) {
	d.away = d.away || f.away
	if d.why.reply.Code == 0 || f.reply.Temporary() || !d.why.reply.Temporary() {
		d.why, d.whyHost = *f, host
	}
}

// giveUp decides what no host answered for.
func (d *delivery) giveUp() {
	d.away = d.away && !d.met
	if d.ctx.Err() != nil {
		d.why, d.whyHost, d.away = *interrupted(), "", false
	}
	reply, host := d.why.reply, d.whyHost
	if !d.why.remote {
		// Nobody but us said this, so the host, if there was one, stands in the text.
		if host != "" {
			reply.Text = []string{host + ": " + strings.Join(reply.Text, " ")}
		}
		host = ""
	}
	for i := range d.outcomes {
		if d.outcomes[i].Result == 0 {
			d.decide(i, reply, host, "")
			if o := &d.outcomes[i]; o.Result == message.Deferred {
				o.Away, o.After = d.away, d.why.after
			}
		}
	}
}

func interrupted() *failure { return failed(451, "4.3.2", "the attempt was interrupted") }
