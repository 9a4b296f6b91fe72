package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
)

// Counts are of handshakes.
type Counts struct {
	Made   *observe.Counters // by version
	Failed *observe.Counters // by reason
	turns  *Turns
}

// NewCounts makes them for handshakes that take turns.
func NewCounts(t *Turns) *Counts {
	return &Counts{observe.NewCounters("TLSv1.2", "TLSv1.3"), observe.NewCounters(failures[:]...), t}
}

func (n *Counts) handshake(conn *tls.Conn, s *Side) (*message.TLS, *x509.Certificate, error) {
	if err := conn.Handshake(); err != nil {
		why := failure(err)
		n.Failed.Add(slices.Index(failures[:], why))
		return nil, nil, fmt.Errorf("%s: %w", why, err)
	}
	st := conn.ConnectionState()
	agreed := &message.TLS{Version: strings.ReplaceAll(tls.VersionName(st.Version), " ", "v"), Cipher: tls.CipherSuiteName(st.CipherSuite)}
	if smtp.ValidDomain(st.ServerName) { // it may be anything
		agreed.SNI = strings.ToLower(st.ServerName)
	}
	client := verified(s.Config().ClientCAs, &st)
	if client != nil {
		agreed.Client = client.Subject.String()
	}
	n.Made.Add(slices.Index(n.Made.Names(), agreed.Version))
	return agreed, client, nil
}

// verified gives the client's certificate if it is by an authority. That the client has its key, the handshake has shown.
func verified(by *x509.CertPool, st *tls.ConnectionState) *x509.Certificate {
	if len(st.PeerCertificates) == 0 || by == nil {
		return nil
	}
	leaf, between := st.PeerCertificates[0], x509.NewCertPool()
	for _, other := range st.PeerCertificates[1:] {
		between.AddCert(other)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: by, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return nil
	}
	return leaf
}

// failures are the reasons: the client spoke no TLS, or no version or cipher of ours; asked for another protocol; had no certificate that would
// do; refused ours; took too long; closed the connection.
var failures = [...]string{"no_tls", "version", "cipher", "protocol", "client_certificate", "refused", "timeout", "closed", "other"}

// failure gives one of them. crypto/tls has no types for most.
func failure(err error) string {
	var header tls.RecordHeaderError
	var chain *tls.CertificateVerificationError
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(err.Error(), p) })
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "closed"
	case errors.As(err, &header):
		return "no_tls"
	case errors.As(err, &chain), has("client didn't provide a certificate"):
		return "client_certificate"
	case has("remote error"):
		return "refused"
	case has("unsupported application protocols"):
		return "protocol"
	case has("unsupported versions"):
		return "version"
	case has("no cipher suite"):
		return "cipher"
	}
	return "other"
}
