package server

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/certs"
	"github.com/stagepost/stagepost/core/certs/certstest"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
)

// shelter is a server with certificates.
type shelter struct {
	*rig
	ca    *certstest.CA
	files certs.Files
	set   *certs.Set
}

func newShelter(t testing.TB, hs ...*hooks.Hook) *shelter {
	s := &shelter{rig: newRig(t, hs...), ca: certstest.New(t, "test CA")}
	folder := t.TempDir()
	for _, name := range []string{"mx.example.org", "lists.example.net"} {
		certificate, key := certstest.Write(t, folder, name, s.ca.Issue(t, nil, name))
		s.files.Pairs = append(s.files.Pairs, certs.Pair{Certificate: certificate, Key: key})
	}
	ca := filepath.Join(folder, "ca.pem")
	certstest.WriteFile(t, ca, certstest.PEM(s.ca.Certificate.Raw))
	s.files.CAs = []string{ca}
	var err error
	if s.set, _, err = certs.Load(s.files, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	return s
}

// listener makes one that encrypts.
func (s *shelter) listener(when Encryption, o certs.Options) *Listener {
	o.Set = func() *certs.Set { return s.set }
	if o.Ask != certs.AskNot {
		o.CA = s.files.CAs[0]
	}
	return &Listener{Name: "mx", Role: message.RoleMX, TLS: TLS{when, certs.NewSide(o)}}
}

func (s *shelter) client() *tls.Config {
	return &tls.Config{RootCAs: s.ca.Pool(), ServerName: "mx.example.org"}
}

// secure makes the handshake.
func (c *client) secure(config *tls.Config) *tls.Conn {
	c.t.Helper()
	conn := tls.Client(c.conn, config)
	if err := conn.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	c.conn, c.r = conn, bufio.NewReader(conn)
	return conn
}

// startTLS says it.
func (c *client) startTLS(config *tls.Config) *tls.Conn {
	c.t.Helper()
	c.send("STARTTLS\r\n")
	c.want("220 2.0.0")
	return c.secure(config)
}

func TestStartTLS(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		var seen *message.TLS
		var helos []string
		s := newShelter(t, append(byName(), hook(hooks.Connect, func(c *hooks.Call) *hooks.Verdict { c.Session.Facts.Set("test.connect", true); return nil }),
			hook(hooks.Helo, func(c *hooks.Call) *hooks.Verdict { c.Session.Facts.Set("test.helo", c.Session.Helo); return nil }),
			hook(hooks.Mail, func(c *hooks.Call) *hooks.Verdict {
				for _, name := range []string{"test.connect", "test.helo"} {
					v, _ := c.Session.Facts.Get(name)
					helos = append(helos, strings.ToLower(strings.TrimSpace(name+" "+text(v))))
				}
				seen = c.Session.TLS
				return nil
			}))...)
		c := greeted(t, s.listenOn(t, s.listener(OnDemand, certs.Options{})))
		config := s.client()
		config.MaxVersion = version
		c.startTLS(config)
		c.send("MAIL FROM:<a@client.example>\r\n")
		c.want("503 5.5.1 say EHLO or HELO first")
		c.send("STARTTLS\r\n")
		c.want("503")
		c.send("EHLO second.example\r\n")
		for line := c.line(); !strings.HasPrefix(line, "250 "); line = c.line() {
			if strings.Contains(line, "STARTTLS") {
				t.Error("STARTTLS is offered twice")
			}
		}
		c.send("STARTTLS\r\n")
		c.want("503 5.5.1 the session is encrypted already")
		c.send(transaction)
		c.want("250")
		c.want("250")
		c.want("354")
		c.send("Subject: x\r\n\r\n" + strings.Repeat("0123456789abcdef\r\n", 10_000) + ".\r\n")
		c.want("250 2.0.0")
		c.send("QUIT\r\n")
		c.want("221")
		c.conn.Close()
		s.settle(t)
		if got := strings.Join(helos, ", "); got != "test.connect true, test.helo second.example" {
			t.Errorf("facts: %s", got)
		}
		name := strings.ReplaceAll(tls.VersionName(version), " ", "v")
		if seen == nil || seen.Version != name || !strings.HasPrefix(seen.Cipher, "TLS_") || seen.SNI != "mx.example.org" || seen.Client != "" {
			t.Errorf("plugins see %+v", seen)
		}
		all := s.queue.all(t)
		if len(all) != 1 || !strings.Contains(string(all[0].env.Prefix), "with ESMTPS id") || !strings.Contains(string(all[0].env.Prefix), "tls "+seen.Cipher+";") {
			t.Fatalf("%d messages: %s", len(all), all[0].env.Prefix)
		}
		if n := len(all[0].content); n < 180_000 {
			t.Errorf("%d octets", n)
		}
	}
}

func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		return map[bool]string{true: "true", false: "false"}[v]
	}
	return "none"
}

// TestStartTLSInjection: nothing that is sent in clear is taken for a command behind the handshake (CVE-2011-0411).
func TestStartTLSInjection(t *testing.T) {
	s := newShelter(t, byName()...)
	addr := s.listenOn(t, s.listener(OnDemand, certs.Options{}))
	t.Run("in the same segment", func(t *testing.T) {
		c := greeted(t, addr)
		c.send("STARTTLS\r\nEHLO evil\r\nMAIL FROM:<e@x>\r\n")
		c.want("554 5.5.0")
		if got := c.line(); got != "closed" {
			t.Errorf("then %q", got)
		}
	})
	t.Run("without an end of line", func(t *testing.T) {
		c := greeted(t, addr)
		c.send("STARTTLS\r\nEH")
		c.want("554 5.5.0")
		if got := c.line(); got != "closed" {
			t.Errorf("then %q", got)
		}
	})
	t.Run("behind the reply", func(t *testing.T) {
		c := greeted(t, addr)
		c.send("STARTTLS\r\n")
		c.want("220")
		c.send("EHLO evil\r\n")
		if err := tls.Client(c.conn, s.client()).Handshake(); err == nil {
			t.Error("the handshake was made")
		}
	})
	t.Run("with the ClientHello", func(t *testing.T) {
		c := greeted(t, addr)
		c.send("STARTTLS\r\n")
		c.want("220")
		if err := tls.Client(&prefixed{c.conn, "NOOP\r\n"}, s.client()).Handshake(); err == nil {
			t.Error("the handshake was made")
		}
	})
	t.Run("behind the ClientHello", func(t *testing.T) {
		c := greeted(t, addr)
		c.send("STARTTLS\r\n")
		c.want("220")
		if err := tls.Client(&prefixed{c.conn, ""}, s.client()).Handshake(); err != nil {
			t.Fatal(err)
		}
		c.send("NOOP\r\n") // in clear
		for line := c.line(); line != "closed"; line = c.line() {
			if strings.HasPrefix(line, "250") {
				t.Errorf("the server says %q", line)
			}
		}
	})
}

// prefixed sends text before the first octets, in one segment.
type prefixed struct {
	net.Conn
	text string
}

func (p *prefixed) Write(b []byte) (int, error) {
	text := p.text
	p.text = ""
	n, err := p.Conn.Write([]byte(text + string(b)))
	return n - len(text), err
}

func TestStartTLSOutOfPlace(t *testing.T) {
	s := newShelter(t, byName()...)
	addr := s.listenOn(t, s.listener(OnDemand, certs.Options{}))
	c := dial(t, addr)
	c.want("220")
	for _, step := range [][2]string{
		{"STARTTLS", "503 5.5.1 say EHLO or HELO first"}, {"HELO c", "250"}, {"STARTTLS", "503 5.5.1 say EHLO first"}, {"EHLO c", "250"},
		{"STARTTLS now", "501 5.5.4"}, {"MAIL FROM:<a@client.example>", "250"}, {"STARTTLS", "503 5.5.1 bad sequence"}, {"RSET", "250"},
	} {
		c.send(step[0] + "\r\n")
		c.want(step[1])
	}
	c.startTLS(s.client())
	c.send("NOOP\r\n")
	c.want("250")
	clear := greeted(t, newRig(t).listen(t))
	clear.send("STARTTLS\r\n")
	clear.want("502 5.5.1 there is no TLS here")
}

func TestTLSDemanded(t *testing.T) {
	s := newShelter(t, byName()...)
	c := dial(t, s.listenOn(t, s.listener(Demanded, certs.Options{})))
	c.want("220")
	for _, step := range [][2]string{
		{"HELO c", "530 5.7.0 say STARTTLS first"}, {"EHLO c", "250"}, {"MAIL FROM:<a@client.example>", "530 5.7.0"}, {"RCPT TO:<u@example.org>", "530"},
		{"RSET", "530"}, {"VRFY u", "530"}, {"NOOP", "250"}, {"XYZ", "500"},
	} {
		c.send(step[0] + "\r\n")
		c.want(step[1])
	}
	c.startTLS(s.client())
	c.send("EHLO c\r\n")
	c.want("250")
	c.send("MAIL FROM:<a@client.example>\r\n")
	c.want("250")
}

// over dials a listener that encrypts from the outset.
func (s *shelter) over(t testing.TB, addr string, config *tls.Config) (*client, error) {
	c := dial(t, addr)
	conn := tls.Client(c.conn, config)
	if err := conn.Handshake(); err != nil {
		return nil, err
	}
	return &client{t, conn, bufio.NewReader(conn)}, nil
}

func TestImplicitTLS(t *testing.T) {
	var seen *message.TLS
	s := newShelter(t, append(byName(), hook(hooks.Connect, func(c *hooks.Call) *hooks.Verdict { seen = c.Session.TLS; return nil }))...)
	addr := s.listenOn(t, s.listener(FromTheOutset, certs.Options{}))
	for name, want := range map[string]string{"": "mx.example.org", "lists.example.net": "lists.example.net", "other.example": "mx.example.org"} {
		c, err := s.over(t, addr, &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		c.want("220 mx.example.org ESMTP")
		if seen == nil || seen.SNI != name {
			t.Errorf("at connect plugins see %+v", seen)
		}
		if got := c.conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Subject.CommonName; got != want {
			t.Errorf("for %q the certificate is that of %s", name, got)
		}
		c.send("EHLO c\r\n")
		for line := c.line(); !strings.HasPrefix(line, "250 "); line = c.line() {
			if strings.Contains(line, "STARTTLS") {
				t.Error("STARTTLS is offered")
			}
		}
		c.send("STARTTLS\r\n")
		c.want("503 5.5.1 the session is encrypted already")
		c.conn.Close()
	}
}

// TestRefusedHandshakes: old versions, other protocols, no TLS at all; what is said is counted and logged.
func TestRefusedHandshakes(t *testing.T) {
	s := newShelter(t, byName()...)
	l := s.listener(FromTheOutset, certs.Options{Ask: certs.AskRequire})
	addr := s.listenOn(t, l)
	own := s.ca.Issue(t, nil, "relay.client.example")
	stranger := certstest.New(t, "another CA").Issue(t, nil, "relay.client.example")
	for reason, change := range map[string]func(*tls.Config){
		"version": func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 },
		"cipher": func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA}
		},
		"protocol":           func(c *tls.Config) { c.NextProtos = []string{"http/1.1", "h2"} },
		"client_certificate": func(c *tls.Config) { c.Certificates = nil },
		"refused":            func(c *tls.Config) { c.RootCAs = x509.NewCertPool() },
	} {
		config := s.client()
		config.Certificates = []tls.Certificate{own}
		change(config)
		c, err := s.over(t, addr, config)
		if err == nil { // in TLS 1.3 the client is done before the server
			if got := c.line(); got != "closed" {
				t.Errorf("%s: %q", reason, got)
			}
			c.conn.Close()
		}
		s.settle(t)
		if !strings.Contains(s.log.String(), "error=\""+reason+": ") {
			t.Errorf("%s: the log has\n%s", reason, s.log.String())
		}
		s.log.Reset()
	}
	config := s.client()
	config.Certificates = []tls.Certificate{stranger}
	if c, err := s.over(t, addr, config); err == nil {
		if got := c.line(); got != "closed" {
			t.Errorf("a client with a stranger's certificate gets %q", got)
		}
	}
	c := dial(t, addr)
	c.send("EHLO client.example\r\n")
	io.Copy(io.Discard, c.conn)
	c.conn.Close()
	gone := dial(t, addr)
	gone.conn.(*net.TCPConn).CloseWrite()
	io.Copy(io.Discard, gone.conn)
	s.settle(t)
	tally := s.srv.Board.Listeners()[0].TLS
	got := map[string]uint64{}
	for i, name := range tally.Failed.Names() {
		got[name] = tally.Failed.Get(i)
	}
	if got["version"] != 1 || got["no_tls"] != 1 || got["closed"] != 1 || got["client_certificate"] != 2 || got["other"] != 0 || tally.Made.Sum() != 0 {
		t.Errorf("counted: %v, %d made", got, tally.Made.Sum())
	}
	config.Certificates = []tls.Certificate{own}
	config.NextProtos = []string{"smtp"}
	if c, err := s.over(t, addr, config); err != nil {
		t.Error(err)
	} else {
		c.want("220")
	}
}

// TestClientCertificates: on request it is what plugins see if it was verified, and changes nothing if it was not.
func TestClientCertificates(t *testing.T) {
	var seen string
	s := newShelter(t, hook(hooks.Connect, func(c *hooks.Call) *hooks.Verdict { seen = c.Session.TLS.Client; return nil }))
	addr := s.listenOn(t, s.listener(FromTheOutset, certs.Options{Ask: certs.AskRequest}))
	own := s.ca.Issue(t, nil, "relay.client.example")
	for _, c := range []struct {
		list []tls.Certificate
		want string
	}{
		{nil, ""}, {[]tls.Certificate{own}, "CN=relay.client.example"},
		{[]tls.Certificate{certstest.New(t, "another CA").Issue(t, nil, "relay.client.example")}, ""},
		{[]tls.Certificate{s.ca.Issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, "server.example")}, ""},
		{[]tls.Certificate{s.ca.Issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "expired.example")}, ""},
	} {
		config := s.client()
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if c.list == nil {
				return &tls.Certificate{}, nil
			}
			return &c.list[0], nil
		}
		conn, err := s.over(t, addr, config)
		if err != nil {
			t.Fatal(err)
		}
		conn.want("220")
		if seen != c.want {
			t.Errorf("plugins see %q, want %q", seen, c.want)
		}
		conn.conn.Close()
	}
}

// TestTickets: one from a listener is worth nothing at another, and some give none.
func TestTickets(t *testing.T) {
	s := newShelter(t, byName()...)
	cached := func(cache tls.ClientSessionCache, l string, version uint16) bool {
		config := s.client()
		config.ClientSessionCache, config.MaxVersion = cache, version
		c, err := s.over(t, l, config)
		if err != nil {
			t.Fatal(err)
		}
		c.want("220")
		c.send("QUIT\r\n")
		c.want("221")
		c.conn.Close()
		return c.conn.(*tls.Conn).ConnectionState().DidResume
	}
	a := s.listenOn(t, s.listener(FromTheOutset, certs.Options{Tickets: true}))
	b := s.listenOn(t, s.listener(FromTheOutset, certs.Options{Tickets: true}))
	without := s.listenOn(t, s.listener(FromTheOutset, certs.Options{}))
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cache := tls.NewLRUClientSessionCache(1)
		for i, step := range []struct {
			addr    string
			resumed bool
		}{{a, false}, {a, true}, {b, false}, {b, true}, {a, false}, {without, false}} {
			if got := cached(cache, step.addr, version); got != step.resumed {
				t.Errorf("%s, step %d: resumed %t", tls.VersionName(version), i, got)
			}
		}
		cache = tls.NewLRUClientSessionCache(1)
		cached(cache, without, version)
		if cached(cache, without, version) {
			t.Error("a session was resumed where none should")
		}
	}
}

// TestNewCertificate: the next handshake has it.
func TestNewCertificate(t *testing.T) {
	s := newShelter(t, byName()...)
	addr := s.listenOn(t, s.listener(OnDemand, certs.Options{}))
	first := greeted(t, addr).startTLS(s.client()).ConnectionState().PeerCertificates[0]
	certstest.Write(t, filepath.Dir(s.files.Pairs[0].Certificate), "mx.example.org", s.ca.Issue(t, nil, "mx.example.org"))
	c := greeted(t, addr)
	next, _, err := certs.Load(s.files, s.set, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.set = next
	if c.startTLS(s.client()).ConnectionState().PeerCertificates[0].Equal(first) {
		t.Error("it is the old one")
	}
}

// TestClearBehindTheEnd: what is sent in clear behind the end of TLS is not read, and the transaction is dropped (CVE-2026-45185).
func TestClearBehindTheEnd(t *testing.T) {
	s := newShelter(t, byName()...)
	c := greeted(t, s.listenOn(t, s.listener(OnDemand, certs.Options{})))
	raw := c.conn
	secure := c.startTLS(s.client())
	c.send("EHLO c\r\n")
	c.want("250")
	c.send(transaction)
	c.want("250")
	c.want("250")
	c.want("354")
	c.send("Subject: x\r\n")
	secure.CloseWrite()
	io.WriteString(raw, "A\r\n.\r\n")
	if got := c.line(); got != "closed" {
		t.Errorf("the server says %q", got)
	}
	raw.Close()
	s.settle(t)
	if n := len(s.queue.all(t)); n != 0 {
		t.Errorf("%d messages", n)
	}
}

// TestHTTP: a browser gets no dialog, in whatever state the session is.
func TestHTTP(t *testing.T) {
	s := newShelter(t, byName()...)
	for _, l := range []*Listener{&mx, s.listener(Demanded, certs.Options{})} {
		for _, before := range []string{"", "EHLO c\r\n"} {
			c := dial(t, s.listenOn(t, l))
			c.want("220")
			if before != "" {
				c.send(before)
				c.want("250")
			}
			c.send("POST / HTTP/1.1\r\n")
			c.want("554 5.5.0 this is SMTP, not HTTP")
			if got := c.line(); got != "closed" {
				t.Errorf("then %q", got)
			}
		}
	}
}
