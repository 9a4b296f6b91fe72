package certs

import (
	"crypto/tls"
	"crypto/x509"
	"sync"
)

// Ask is whether clients are asked for a certificate.
type Ask string

// A certificate that is requested and missing, or not by one of the authorities, changes nothing; one that is required ends the handshake.
const (
	AskNot     Ask = ""
	AskRequest Ask = "request"
	AskRequire Ask = "require"
)

// Options are those of a Side.
type Options struct {
	Set     func() *Set // in force now
	Tickets bool        // sessions may be resumed
	Ask     Ask
	CA      string // one of Files.CAs
}

// Side is the server's side of handshakes on one listener. It is safe for concurrent use.
type Side struct {
	o      Options
	mu     sync.Mutex
	set    *Set
	config *tls.Config
}

// NewSide makes one.
func NewSide(o Options) *Side { return &Side{o: o} }

// protocol is the one name that clients may ask for by ALPN (RFC 7301). None is registered for SMTP; Exim answers to this one as well. A
// client that asks for others only, a browser that was lured here for instance, gets no connection; one that asks for none does.
const protocol = "smtp"

// Config is for the next handshake. It is another one when the certificates are; tickets of before are worth nothing then.
func (s *Side) Config() *tls.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := s.o.Set()
	if s.config != nil && s.set == set {
		return s.config
	}
	c := &tls.Config{
		MinVersion:             tls.VersionTLS12, // RFC 8996
		NextProtos:             []string{protocol},
		SessionTicketsDisabled: !s.o.Tickets, // else crypto/tls makes keys for this Config alone, and new ones every day
		GetCertificate:         set.choose,
	}
	switch s.o.Ask {
	case AskRequest:
		c.ClientAuth = tls.RequestClientCert
	case AskRequire:
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if s.o.Ask != AskNot {
		c.ClientCAs = set.cas[s.o.CA]
		if c.ClientCAs == nil { // else the system's authorities would do
			c.ClientCAs = x509.NewCertPool()
		}
	}
	s.set, s.config = set, c
	return c
}
