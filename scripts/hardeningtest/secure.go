package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
)

// hostName is what clients ask for by SNI.
const hostName = "mail.test"

func (e encrypt) do(p *play) error {
	var before []byte
	if e.joined || e.early {
		before = p.pending
		p.pending, p.marks = nil, nil
	} else if err := p.flush(); err != nil {
		return err
	}
	if err := p.conn.settle(p.bound); err != nil {
		return err
	}
	config := &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // what the certificate says is not what is tested
		ServerName:         hostName, MinVersion: tls.VersionTLS10, MaxVersion: e.version,
		NextProtos: e.protocols, CipherSuites: e.suites, ClientSessionCache: p.tickets,
	}
	if e.name != "" {
		config.ServerName = e.name
	}
	if e.shows != "" {
		certificate, err := p.target.clientCertificate(e.shows)
		if err != nil {
			return err
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	if e.early {
		return e.tooEarly(p, config, before)
	}
	err := p.conn.handshake(config, before, e.slow, p.bound)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return hung("no end of the handshake within %s", p.bound)
	case err != nil && !e.fails && !e.may:
		p.said.note("TLS: %v", err)
		return fail("the handshake fails: %v", err)
	case err != nil:
		p.said.note("TLS: %v", err)
		p.over = true
		return nil
	}
	state := p.conn.secure.ConnectionState()
	p.said.note("%s, %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite))
	switch {
	case e.fails:
		return e.found(p)
	case e.resumed && state.DidResume:
		return fail("a session of another listener is resumed")
	case e.resumes && !state.DidResume:
		return fail("the session is not resumed, so nothing is known of others")
	case e.forged:
		return e.forge(p)
	}
	return nil
}

// found judges a handshake that had to fail. In TLS 1.3 a client has done its part when the server looks at its certificate, so the refusal comes
// when it reads on.
func (e encrypt) found(p *play) error {
	state := p.conn.secure.ConnectionState()
	if e.shows != "" && state.Version == tls.VersionTLS13 {
		p.conn.write([][]byte{[]byte("NOOP\r\n")}, 0, p.bound)
		if r, err := p.conn.reply(p.bound); !errors.Is(err, errClosed) {
			return fail("the handshake succeeds, and the server says %q, %v", r, err)
		}
		p.said.note("closed")
		p.over = true
		return nil
	}
	return fail("the handshake succeeds with %s and %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite))
}

// forge goes on with records of our own.
func (e encrypt) forge(p *play) error {
	if err := p.conn.forge(); err != nil {
		return err
	}
	f := p.conn.forger
	if e.updates > 0 {
		p.said.note("%d updates of keys", e.updates)
		var records []byte
		for range e.updates {
			record, err := f.update()
			if err != nil {
				return err
			}
			if records = append(records, record...); len(records) > maxRecord || e.updates == 1 {
				if _, err := f.Conn.Write(records); err != nil {
					break // the server has ended the connection, which is seen when it is read
				}
				records = records[:0]
			}
		}
		f.Conn.Write(records)
	}
	return nil
}

func (again) do(p *play) error {
	f := p.conn.forger
	if f == nil || !f.old {
		return errors.New("\"again\" without \"TLS version=1.2 forged\"")
	}
	p.said.note("another handshake")
	kind, err := f.renegotiate(clientHello(p.conn.secure.ConnectionState().TLSUnique), p.bound)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return hung("the server says nothing to another handshake within %s", p.bound)
	case err == nil && kind != recordAlert:
		return fail("the server answers another handshake with a record of kind %d", kind)
	case err != nil && err != io.EOF:
		return err
	}
	p.over = true
	return nil
}

// clientHello is one of TLS 1.2 that a server which renegotiates takes. finished is what the client's Finished held (RFC 5746 section 3.5).
func clientHello(finished []byte) []byte {
	body := append([]byte{3, 3}, make([]byte, randomSize)...)
	body = append(body, 0)                                  // no session
	body = append(body, 0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0) // ECDHE with AES-128-GCM, no compression
	extensions := []byte{
		0, 10, 0, 4, 0, 2, 0, 23, // P-256
		0, 11, 0, 2, 1, 0, // points as they are
		0, 13, 0, 6, 0, 4, 4, 3, 8, 4, // signatures by ECDSA and RSA
		0, 23, 0, 0, // extended master secret
		0xff, 1, 0, byte(1 + len(finished)), byte(len(finished)),
	}
	extensions = append(extensions, finished...)
	body = append(append(body, 0, byte(len(extensions))), extensions...)
	return append([]byte{messageClientHello, 0, 0, byte(len(body))}, body...)
}

// tooEarly sends data before the handshake. Whether the server took it shows in what arrives.
func (e encrypt) tooEarly(p *play, config *tls.Config, data []byte) error {
	session, ok := p.tickets.Get(config.ServerName)
	if !ok {
		return fail("the server has given no session to offer")
	}
	_, state, err := session.ResumptionState()
	if err != nil {
		return err
	}
	hello, err := newEarly(state, data)
	if err != nil {
		return err
	}
	p.said.note("%d octets of early data", len(data))
	kind, err := p.conn.beginEarly(config, hello, p.bound)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return hung("no answer to ClientHello within %s", p.bound)
	case err != nil && err != io.EOF:
		return err
	case err == nil && kind != recordAlert && p.target.strict:
		return fail("the server answers ClientHello with a record of kind %d", kind)
	}
	p.over = true
	return nil
}

func (decrypt) do(p *play) error {
	if p.conn.secure == nil {
		return errors.New("\"TLS close\" without TLS")
	}
	p.conn.settle(p.bound)
	p.said.note("close_notify")
	p.conn.clear = true
	p.conn.secure.CloseWrite()
	return nil
}

// clientCertificates are what a client may show: keys of RSA of a size that is borne and one that is not (Go's bound is 8192), and one by
// the authority that the server believes, whose subject would do harm in a log.
func clientCertificates() []string { return []string{"rsa7640", "rsa8676", "evil"} }

func (t *target) clientCertificate(name string) (*tls.Certificate, error) {
	switch name {
	case "rsa7640":
		return selfSignedRSA(3217, 4423)
	case "rsa8676":
		return selfSignedRSA(4253, 4423)
	}
	if t.authority == nil {
		return nil, fmt.Errorf("there is no authority for %s", name)
	}
	return t.authority.issue("evil\x1b[31m\r\n{\"level\":\"ERROR\"}\x07\u2028\u202e")
}
