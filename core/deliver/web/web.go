// Package web delivers by HTTPS: the whole message (RFC 5322) is the body of a POST, the envelope stands in fields of the request.
//
// A request is signed as Standard Webhooks has it, which receivers of many mail senders check already: webhook-signature is
// "v1," and the base64 of HMAC-SHA256 over webhook-id, webhook-timestamp and body, with dots between, under a secret that both sides know. The
// id names the message, its sender and the recipients of this very request, and is the same at each attempt: it is the idempotency key, so a
// receiver that has seen it answers 2xx and forgets the request. That makes a repeat harmless whose first answer was lost.
//
// Answers: 2xx is delivered, 4xx is final but for 408, 425 and 429, and all else is put off, until the time of Retry-After where there is one. Of
// that, an answer that tells of the server and not of the message leaves room for another server (Onward), unless it may come from one that stands
// before the server, which nobody has heard of since it had the message whole. A redirect is not followed, since nobody signed for the other place. The certificate is verified, and the address that the name has is judged
// where the connection is opened: the DNS does not lead into the own network, unless the configuration allows that.
package web

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/deliver"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/smtp"
)

// Options of a Carrier.
type Options struct {
	Name      string   // of the transport; empty: a plan names the URL
	URL       *url.URL // https
	Secret    func() ([]byte, error)
	Private   bool // the server may be at an address that is no host of the Internet
	TimeLimit time.Duration
	Resolver  resolve.Resolver
	Own       func(netip.AddrPort) bool // this server listens there
	Dial      func(ctx context.Context, network, addr string) (net.Conn, error)
	Roots     *x509.CertPool // nil: the system's
	Agent     string
	Now       func() time.Time // nil: time.Now
}

// Bounds of a request.
const (
	maxRcpts  = 50 // of one request, as servers bound the fields that they read
	maxFields = 64 << 10
	maxSaid   = 1 << 10 // bytes of an answer that are read
	maxAfter  = 24 * time.Hour
	maxAddrs  = 6
	dialTime  = 30 * time.Second // for one address
)

// Carrier sends to one URL.
type Carrier struct {
	o      Options
	client *http.Client
}

var _ deliver.Carrier = (*Carrier)(nil)

// New makes a Carrier. Close ends its idle connections.
func New(o Options) *Carrier {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Carrier{o, newClient(&o)}
}

// Poster posts to the URLs that plans name.
type Poster struct {
	o Options
	// What may be private has connections of its own, so nobody without the grant uses one of them.
	public, private *http.Client
}

// NewPoster makes a Poster, by options without Name, URL, Secret and Private. Close ends its idle connections.
func NewPoster(o Options) *Poster {
	if o.Now == nil {
		o.Now = time.Now
	}
	inside := o
	inside.Private = true
	return &Poster{o, newClient(&o), newClient(&inside)}
}

// To is the way to a URL; secret gives what requests are signed with.
func (p *Poster) To(u *url.URL, private bool, secret func() ([]byte, error)) *Carrier {
	c := &Carrier{p.o, p.public}
	if private {
		c.client = p.private
	}
	c.o.URL, c.o.Secret, c.o.Private = u, secret, private
	return c
}

// Close ends idle connections.
func (p *Poster) Close() {
	p.public.CloseIdleConnections()
	p.private.CloseIdleConnections()
}

func newClient(o *Options) *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:            dialer{o}.dial,
			TLSClientConfig:        &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    dialTime,
			TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1: a connection is one request, so none waits for another
			DisableCompression:     true,
			MaxIdleConnsPerHost:    20,
			IdleConnTimeout:        10 * time.Second,
			MaxResponseHeaderBytes: maxFields,
		},
	}
}

// Close ends idle connections.
func (c *Carrier) Close() { c.client.CloseIdleConnections() }

// String implements deliver.Carrier.
func (c *Carrier) String() string { return "https " + c.o.URL.Host }

// Carry implements deliver.Carrier.
func (c *Carrier) Carry(ctx context.Context, job *deliver.Job) []message.Outcome {
	out := make([]message.Outcome, 0, len(job.Rcpts))
	for rcpts := range slices.Chunk(job.Rcpts, maxRcpts) {
		o := deliver.Interrupted()
		if ctx.Err() == nil {
			o = c.post(ctx, job, rcpts)
		}
		for range rcpts {
			out = append(out, o)
		}
	}
	return out
}

// post sends one request.
func (c *Carrier) post(ctx context.Context, job *deliver.Job, rcpts []int) message.Outcome {
	secret, err := c.secret()
	if err != nil {
		o := deliver.Deferral(451, "4.3.5", "the request cannot be signed: %v", err)
		o.Away = true
		return o
	}
	content := job.Sent()
	body := &reader{content: content}
	timed, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.o.TimeLimit)
	defer cancel()
	// Once the message may be there as a whole, only the answer tells whether it was taken, and ctx has no say.
	defer context.AfterFunc(ctx, func() {
		if body.halt() {
			cancel()
		}
	})()
	defer body.end() // the content is its owner's again, while the client may still want to send of it
	req, err := http.NewRequestWithContext(timed, http.MethodPost, c.o.URL.String(), body)
	if err != nil {
		return deliver.Deferral(451, "4.3.5", "%v", err)
	}
	if req.ContentLength = content.Size(); req.ContentLength == 0 {
		req.Body = http.NoBody
	}
	id, stamp := keyOf(job, rcpts), strconv.FormatInt(c.o.Now().Unix(), 10)
	signature, err := sign(secret, id, stamp, content)
	if err != nil {
		return deliver.Deferral(451, "4.3.0", "the content cannot be read: %v", err)
	}
	for name, value := range map[string]string{
		"User-Agent": c.o.Agent, "Content-Type": "message/rfc822", "Idempotency-Key": id,
		"Webhook-Id": id, "Webhook-Timestamp": stamp, "Webhook-Signature": signature,
		"Stagepost-Message": job.Env.ID.String(), "Stagepost-Sender": "<" + job.Sender().Text + ">",
	} {
		req.Header.Set(name, value)
	}
	for _, i := range rcpts {
		req.Header.Add("Stagepost-Recipient", "<"+job.Env.Rcpts[i].Address.Text+">")
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return c.unanswered(ctx, timed, body, err)
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, maxSaid))
	read, _ := body.end()
	return c.outcome(resp, string(said), read == content.Size())
}

// unanswered is what becomes of a request without an answer.
func (c *Carrier) unanswered(ctx, timed context.Context, body *reader, err error) message.Outcome {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	read, failed := body.end()
	if failed != nil {
		return deliver.Deferral(451, "4.3.0", "the content cannot be read: %v", failed)
	}
	whole := read == body.content.Size() // of a part nobody thinks that it is the whole
	switch {
	case ctx.Err() != nil && !whole:
		return deliver.Interrupted()
	case timed.Err() != nil:
		err = fmt.Errorf("no answer within %v", c.o.TimeLimit)
	}
	o := deliver.Deferral(451, "4.4.2", "%s: %v", c.o.URL.Host, err)
	refused, bad := (*closed)(nil), (*tls.CertificateVerificationError)(nil)
	switch {
	case errors.As(err, &refused):
		o.Reply.Enhanced = "4.3.5"
	case errors.As(err, &bad):
		o.Reply.Enhanced = "4.7.5"
	}
	o.Unknown = whole && read > 0
	o.Away = !o.Unknown
	return o
}

// outcome is what an answer says. whole: the message was sent to its end before.
func (c *Carrier) outcome(resp *http.Response, said string, whole bool) message.Outcome {
	o := message.Outcome{Result: message.Deferred, Host: c.o.URL.Host}
	code, enhanced := 451, "4.3.0"
	switch s := resp.StatusCode; {
	case s/100 == 2:
		o.Result, code, enhanced = message.Delivered, 250, "2.0.0"
	case s == http.StatusRequestTimeout, s == http.StatusTooEarly, s == http.StatusTooManyRequests:
	case s == http.StatusRequestEntityTooLarge:
		o.Result, code, enhanced = message.Failed, 552, "5.3.4"
	case s == http.StatusUnauthorized, s == http.StatusForbidden:
		o.Result, code, enhanced = message.Failed, 550, "5.7.1"
	case s == http.StatusNotFound, s == http.StatusGone:
		o.Result, code, enhanced = message.Failed, 550, "5.1.1"
	case s/100 == 4:
		o.Result, code, enhanced = message.Failed, 554, "5.3.0"
	case whole && (s == http.StatusBadGateway || s == http.StatusGatewayTimeout): // who stands behind may have taken it
		o.Unknown = true
	default:
		o.Onward = true
	}
	if o.Result == message.Deferred {
		o.After = c.after(resp.Header.Get("Retry-After"))
	}
	text := "HTTP " + strconv.Itoa(resp.StatusCode)
	if said != "" {
		text += ": " + said
	}
	o.Reply = smtp.NewReply(code, enhanced, deliver.Printable(text, 400))
	return o
}

// after reads Retry-After (RFC 9110 section 10.2.3); 0: it says nothing.
func (c *Carrier) after(s string) time.Duration {
	var wait time.Duration
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		wait = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(s); err == nil {
		wait = at.Sub(c.o.Now())
	}
	return max(0, min(wait, maxAfter))
}

// keyOf names what one request is about.
func keyOf(job *deliver.Job, rcpts []int) string {
	h := sha256.New()
	io.WriteString(h, job.Sender().Text)
	for _, i := range rcpts {
		fmt.Fprintf(h, "\x00%d %s", i, job.Env.Rcpts[i].Address.Text)
	}
	return job.Env.ID.String() + "-" + hex.EncodeToString(h.Sum(nil)[:8])
}

// secret is what requests are signed with. One in the form that Standard Webhooks has is what its base64 stands for.
func (c *Carrier) secret() ([]byte, error) {
	secret, err := c.o.Secret()
	if inner, ok := strings.CutPrefix(string(secret), "whsec_"); ok && err == nil {
		if secret, err = base64.StdEncoding.DecodeString(inner); err != nil {
			err = errors.New("the secret begins with whsec_, and what follows is not base64")
		}
	}
	if err == nil && len(secret) == 0 {
		err = errors.New("the secret is empty")
	}
	return secret, err
}

// sign makes the signature of Standard Webhooks.
func sign(secret []byte, id, stamp string, content message.Content) (string, error) {
	var h hash.Hash = hmac.New(sha256.New, secret)
	io.WriteString(h, id+"."+stamp+".")
	if _, err := io.Copy(h, &reader{content: content}); err != nil {
		return "", err
	}
	return "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil)), nil
}

// reader reads a content once. It is no file that could be read again, so a request is never repeated by the client itself.
type reader struct {
	content message.Content

	mu     sync.Mutex
	off    int64
	failed error // to read the content
	ended  bool
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	left := r.content.Size() - r.off
	switch {
	case r.ended:
		return 0, errors.New("the request is over")
	case left <= 0:
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), left)]
	n, err := r.content.ReadAt(p, r.off)
	r.off += int64(n)
	if n == len(p) {
		return n, nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	r.failed = err
	return n, err
}

// halt lets nobody read on, unless all was read; then it returns false.
func (r *reader) halt() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = r.ended || r.off < r.content.Size()
	return r.ended
}

// end lets nobody read on, and tells how much was read.
func (r *reader) end() (read int64, failed error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	return r.off, r.failed
}
