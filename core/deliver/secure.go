package deliver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/stagepost/stagepost/core/deliver/dane"
	"github.com/stagepost/stagepost/core/deliver/tlsrpt"
	"github.com/stagepost/stagepost/core/smtp"
)

// TLSOptions are what a Sender encrypts with; zero values are the defaults.
type TLSOptions struct {
	Roots       *x509.CertPool                       // by whom servers' certificates are verified; default: the system's
	Certificate func(source string) *tls.Certificate // that servers are shown which ask for one; default: none
	Policies    Policies                             // of MTA-STS; nil: nothing is asked
	Results     *tlsrpt.Results                      // nil: nothing is noted
}

// verifyError is why a certificate does not do.
type verifyError struct {
	result tlsrpt.Result
	text   string
}

func (e *verifyError) Error() string { return e.text }

// verify judges the certificates that a server showed. The words say who it is, for people.
func (s *Sender) verify(w *demand, chain []*x509.Certificate) (words string, err error) {
	if len(chain) == 0 {
		return "", &verifyError{tlsrpt.Validation, "the server showed no certificate"}
	}
	if len(w.pins) > 0 {
		words, err = dane.Verify(w.pins, chain, w.names, s.now())
		if err != nil {
			return "", unfit(err, chain[0], w)
		}
		return words, nil
	}
	opts := x509.VerifyOptions{Roots: s.roots, Intermediates: x509.NewCertPool(), CurrentTime: s.now()}
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	if _, err = chain[0].Verify(opts); err == nil {
		err = dane.Named(chain[0], w.names)
	}
	if err != nil {
		return "", unfit(err, chain[0], w)
	}
	return "verified", nil
}

// unfit says an error of package x509 in words, those of RFC 8460 and those of people.
func unfit(err error, leaf *x509.Certificate, w *demand) error {
	bad := &verifyError{tlsrpt.Validation, strings.TrimPrefix(err.Error(), "x509: ")}
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &x509.HostnameError{}):
		names := "nobody"
		if len(leaf.DNSNames) > 0 {
			names = strings.Join(leaf.DNSNames[:min(len(leaf.DNSNames), 5)], ", ")
		}
		bad = &verifyError{tlsrpt.WrongName, fmt.Sprintf("the certificate is for %s, and not for %s", names, strings.Join(w.names, " or "))}
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		bad = &verifyError{tlsrpt.Expired, fmt.Sprintf("the certificate is valid from %s to %s only", invalid.Cert.NotBefore.UTC().Format(time.DateOnly), invalid.Cert.NotAfter.UTC().Format(time.DateOnly))}
	case errors.As(err, &x509.UnknownAuthorityError{}):
		bad = &verifyError{tlsrpt.NotTrusted, "the certificate is by an authority that is not trusted"}
	}
	return bad
}

// dialogue opens a connection and says all that comes before mail: TLS where it is wanted, and the greeting on both sides of it. plain
// means that TLS is left out, which the demand must allow.
func (s *Sender) dialogue(ctx context.Context, h hop, k key, from *Source, w *demand, as *login, plain bool) (*conn, *failure) {
	c, f := s.reach(ctx, h, k, from)
	if f != nil {
		return nil, f
	}
	c.begin(ctx)
	if f = s.opening(c, w, as, plain); f == nil {
		return c, nil
	}
	c.release()
	if c.unusable {
		c.Close()
	} else {
		s.idle.leave(c)
	}
	return nil, f
}

func (s *Sender) opening(c *conn, w *demand, as *login, plain bool) *failure {
	if w.implicit {
		if f := s.handshake(c, w); f != nil {
			return f
		}
	}
	if f := s.greet(c); f != nil {
		if f.remote && f.reply.Code/100 == 5 && w.level >= mustEncrypt && c.protection == "" { // anybody between may have said it
			f = w.failed("4.7.10", "without encryption "+c.label+" says "+text(f.reply))
		}
		f.away = c.ctx.Err() == nil
		return f
	}
	switch {
	case w.implicit, w.level == inClear, plain:
	case c.startTLS:
		if f := s.startTLS(c, w); f != nil {
			return f
		}
	case w.level >= mustEncrypt:
		s.note(w, c.host, localAddr(c), tlsrpt.NoSTARTTLS, "")
		return w.failed("4.7.10", "the server offers no encryption (STARTTLS)")
	default:
		s.note(w, c.host, localAddr(c), tlsrpt.NoSTARTTLS, "")
	}
	if w.requires && !c.requireTLS {
		return failed(550, "5.7.30", c.label+" does not promise to pass the message on encrypted (REQUIRETLS)")
	}
	s.counts.protected(c)
	if as != nil {
		return s.authenticate(c, as)
	}
	return nil
}

// failed makes a failure of a demand that is not met. Who asks for it is told. REQUIRETLS wants the sender to hear of it (RFC 8689
// section 4.2.1); all else may be better at the next try.
func (w *demand) failed(enhanced, text string) *failure {
	text += "; it is asked for by " + w.by
	if w.requires {
		return failed(550, "5.7.10", text)
	}
	return failed(451, enhanced, text)
}

// startTLS encrypts a connection that was greeted, and greets again: nothing that was said before counts (RFC 3207 section 4.2).
func (s *Sender) startTLS(c *conn, w *demand) *failure {
	r, err := c.ask("STARTTLS", s.timeouts.Helo)
	switch {
	case err != nil:
		return s.broken(c, w, c.fail(err, "STARTTLS", s.timeouts.Helo).words(), true)
	case r.Code == 421:
		return c.refusal(r, "STARTTLS")
	case r.Code != 220:
		return s.broken(c, w, "STARTTLS is answered "+text(r), r.Temporary())
	case c.r.Buffered() > 0:
		// Whoever sits between has put his words into the server's mouth (CVE-2021-33515 and its kind): this is no mishap, so no
		// connection in clear takes this one's place.
		f := s.broken(c, w, "the server said more than it was asked before the handshake", false)
		c.unusable, f.weak = true, false
		return f
	}
	if f := s.handshake(c, w); f != nil {
		return f
	}
	c.offers = offers{}
	hello := "EHLO "
	if c.key.lmtp {
		hello = "LHLO "
	}
	if r, err = c.ask(hello+c.key.helo, s.timeouts.Helo); err != nil {
		return s.broken(c, w, c.fail(err, hello[:4]+" after the handshake", s.timeouts.Helo).words(), true)
	}
	if r.Code/100 != 2 {
		f := c.refusal(r, hello[:4])
		f.away = true
		return f
	}
	c.learn(r)
	return nil
}

// broken makes a failure of TLS that did not come about. It is passing if nothing was said against it: the connection was lost, or the
// server cannot just now.
func (s *Sender) broken(c *conn, w *demand, why string, passing bool) *failure {
	if c.ctx.Err() != nil {
		return interrupted()
	}
	s.note(w, c.host, localAddr(c), tlsrpt.Validation, why)
	s.counts.TLS.Add(tlsFailed)
	if w.level >= mustEncrypt {
		f := w.failed("4.7.5", why)
		if passing {
			f = failed(451, "4.7.5", strings.Join(f.reply.Text, " "))
		}
		return f
	}
	f := failed(451, "4.7.5", why)
	f.weak, f.away = true, true
	return f
}

// handshake makes a connection one under TLS.
func (s *Sender) handshake(c *conn, w *demand) *failure {
	var bad *verifyError
	words := "not verified"
	t := tls.Client(c.raw, &tls.Config{
		ServerName:         w.sni,
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // since who the server has to be is no matter of one name and the usual authorities: VerifyConnection tells
		ClientSessionCache: s.tickets.under(c.key),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if w.cert == nil {
				return new(tls.Certificate), nil
			}
			return w.cert, nil
		},
		Time: s.now,
		// It is called for sessions that are resumed, too, with the certificates that were shown at first.
		VerifyConnection: func(cs tls.ConnectionState) error {
			if w.level < mustVerify && !w.testing {
				return nil
			}
			said, err := s.verify(w, cs.PeerCertificates)
			if err != nil {
				errors.As(err, &bad)
				if w.level < mustVerify {
					return nil
				}
				return err
			}
			words = said
			return nil
		},
	})
	err := c.arm(s.timeouts.TLS)
	if err == nil {
		err = t.Handshake()
	}
	if err != nil {
		c.unusable = true
		if c.ctx.Err() != nil {
			return interrupted()
		}
		if bad != nil {
			s.note(w, c.host, localAddr(c), bad.result, bad.text)
			s.counts.TLS.Add(tlsFailed)
			return w.failed("4.7.5", bad.text)
		}
		why, passing := s.handshakeCause(err)
		return s.broken(c, w, "the TLS handshake failed: "+why, passing)
	}
	state := t.ConnectionState()
	c.secure(t, fmt.Sprintf("%s %s, %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite), words), words != "not verified")
	if bad != nil {
		s.note(w, c.host, localAddr(c), bad.result, bad.text)
	} else {
		s.note(w, c.host, localAddr(c), "", "")
	}
	return nil
}

// handshakeCause says why a handshake failed, and whether nothing was said against it.
func (s *Sender) handshakeCause(err error) (why string, passing bool) {
	record, no := tls.RecordHeaderError{}, syscall.Errno(0)
	switch {
	case errors.As(err, &record):
		return "the server does not speak TLS", false
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Sprintf("it took longer than %v", s.timeouts.TLS), true
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrClosedPipe):
		return "closed by the remote server", true
	case errors.As(err, &no):
		return no.Error(), true
	}
	return strings.TrimPrefix(err.Error(), "tls: "), false
}

// secure makes all that follows go by TLS.
func (c *conn) secure(t *tls.Conn, protection string, verified bool) {
	c.Conn, c.protection, c.verified = t, protection, verified
	c.r.Detach()
	c.r = smtp.NewReader(t)
	c.r.Attach(c.buf[:], 0)
}

func localAddr(c *conn) netip.Addr {
	if a, ok := c.raw.LocalAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
