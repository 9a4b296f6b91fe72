package bundled_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stagepost/stagepost/core/certs/certstest"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/password"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/generation"
	"github.com/stagepost/stagepost/plugins/service"
)

// door asks the plugins of a configuration who may log in, as the server does.
type door struct {
	t   *testing.T
	gen *hooks.Generation
}

func newDoor(t *testing.T, settings string, connect func(ctx context.Context, where string) (net.Conn, error), files ...string) *door {
	t.Helper()
	return newDoorTo(t, settings, service.Options{Connect: connect}, files...)
}

// newDoorTo is newDoor with what plugins reach.
func newDoorTo(t *testing.T, settings string, o service.Options, files ...string) *door {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "stagepost.toml")
	if err := os.WriteFile(file, []byte(head+settings), 0o644); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	o.Log = log
	m, err := generation.New(generation.Options{File: file, Host: service.NewHost(o), Log: log, Console: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	gen := m.Current().Acquire()
	t.Cleanup(gen.Release)
	return &door{t, gen}
}

// login says what came of credentials: "user GROUPS", "no", or the reply; "failed" where a plugin failed, which its on_error hides.
func (d *door) login(kind, name, secret string) string {
	d.t.Helper()
	session := &message.Session{ID: "s1", Role: message.RoleSubmission, Listener: "mx", IP: netip.MustParseAddr("192.0.2.1"), LocalIP: netip.MustParseAddr("192.0.2.2"), TLS: &message.TLS{}}
	call := &hooks.Call{Stage: hooks.Auth, Session: session, Login: &hooks.LoginView{Session: session, Mechanism: "PLAIN", Name: name, Kind: kind, Secret: secret}, Observer: noObserver{}}
	res := d.gen.Run(call)
	switch {
	case res.Failed:
		return "failed"
	case res.End != nil:
		return fmt.Sprintf("%d %s %s: %s", res.End.Code, res.End.Enhanced, res.End.Text, res.End.Reason)
	case res.Accept == nil:
		return "no"
	}
	return strings.TrimSpace(res.Accept.User + " " + strings.Join(res.Accept.Groups, ",") + " " + res.Accept.Scram)
}

// odd are names and passwords that mean something to a database, a shell, a log or a protocol (hardening A6, A7).
var odd = []string{"*)(uid=*", "' OR 1=1--", "$(id)", ";", "joe\nann", "joe\r\nQUIT", "joe\x00", "joe\x00pencil", "joe\tresp=x", "\x01t", "%s", "../joe", "joe\xff", "grüße", "", " ", "joe ", "#", strings.Repeat("j", 1<<20)}

const pencil = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

func TestAuth(t *testing.T) {
	argon2id, err := password.New("crayon", false)
	if err != nil {
		t.Fatal(err)
	}
	users := "# people\njoe@example.org " + pencil + "   groups=staff,admins\nann\t" + argon2id + "\nbad {CRYPT}x\nnone\nodd " + pencil + " staff\n"
	inline := fmt.Sprintf("[plugin.auth.users]\n\"joe@example.org\" = %q\nann = %q\n", pencil+"   groups=staff,admins", argon2id)
	for kind, d := range map[string]*door{
		"lookup": newDoor(t, "[plugins]\nenable = [\"auth\"]\n[plugin.auth]\nusers = \"lookup:people\"\n[lookup.people]\ntype = \"file\"\nfile = \"users.txt\"\n", nil, "users.txt", users),
		"table":  newDoor(t, "[plugins]\nenable = [\"auth\"]\n"+inline, nil),
	} {
		t.Run(kind, func(t *testing.T) {
			for _, tt := range []struct{ kind, name, secret, want string }{
				{"password", "joe@example.org", "pencil", "joe@example.org staff,admins"},
				{"password", "JOE@Example.org", "pencil", "joe@example.org staff,admins"},
				{"password", "joe@example.org", "pencils", "no"},
				{"password", "joe@example.org", "", "no"},
				{"password", "joe", "pencil", "no"},
				{"password", "ann", "crayon", "ann"},
				{"password", "ann", "pencil", "no"},
				{"password", "ann", strings.Repeat("x", 1<<20), "no"},
				{"scram", "joe@example.org", "", "joe@example.org staff,admins " + pencil},
				{"scram", "ann", "", "no"}, // there are no keys of hers
				{"scram", "nobody", "", "no"},
				{"token", "joe@example.org", "pencil", "no"},
				{"certificate", "joe@example.org", "", "no"},
			} {
				if got := d.login(tt.kind, tt.name, tt.secret); got != tt.want {
					t.Errorf("%s %s %.20q: %s, want %s", tt.kind, tt.name, tt.secret, got, tt.want)
				}
			}
			for _, name := range odd {
				for _, k := range []string{"password", "scram"} {
					if got := d.login(k, name, "pencil"); got != "no" {
						t.Errorf("%s %.20q: %s", k, name, got)
					}
				}
				if got := d.login("password", "joe@example.org", name); got != "no" {
					t.Errorf("the password %.20q: %s", name, got)
				}
			}
			if kind == "lookup" { // entries with mistakes are no way in, and concern nobody else
				for _, name := range []string{"bad", "none", "odd"} {
					if got := d.login("password", name, "x"); got != "failed" {
						t.Errorf("%s: %s", name, got)
					}
				}
			}
		})
	}
}

// TestAuthDecoy: a name that is not there is checked as one that is, by the decoy or else by the most expensive hash of the table. One check of this
// one takes all that the server has for checks, so of several at once some find no turn in their time.
func TestAuthDecoy(t *testing.T) {
	const dear = "$argon2id$v=19$m=131072,t=2,p=16$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	for name, settings := range map[string]string{
		"given":  "decoy = \"" + dear + "\"\n",
		"chosen": "[plugin.auth.users]\nann = \"" + pencil + "\"\njoe = \"" + dear + "\"\nkim = \"$2a$05$u1094ayukmaQRV.l97jX7Otv.PtF3qhW0F/hOgCxc4wFkxGskTDdu\"\n",
	} {
		t.Run(name, func(t *testing.T) {
			d := newDoor(t, "[plugins]\nenable = [\"auth\"]\n[run.auth]\ntimeout = \"10ms\"\n[plugin.auth]\n"+settings, nil)
			var wait sync.WaitGroup
			var failed atomic.Int32
			for range 8 {
				wait.Go(func() {
					if d.login("password", "nobody", "x") == "failed" {
						failed.Add(1)
					}
				})
			}
			wait.Wait()
			if failed.Load() == 0 {
				t.Error("the decoy was not checked")
			}
		})
	}
}

// peer is a server at the other end of net.open, and what it heard.
type peer struct {
	mu    sync.Mutex
	heard []string
	talk  func(p *peer, r *bufio.Reader, c net.Conn)
}

func (p *peer) connect(context.Context, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		p.talk(p, bufio.NewReader(theirs), theirs)
	}()
	return ours, nil
}

// line is what comes next, noted; "" at the end.
func (p *peer) line(r *bufio.Reader) string {
	text, err := r.ReadString('\n')
	if err != nil {
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = append(p.heard, text)
	return text
}

func (p *peer) all() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.heard)
}

// dovecot answers the question with one line.
func dovecot(greeting, answer string) *peer {
	return &peer{talk: func(p *peer, r *bufio.Reader, c net.Conn) {
		p.line(r) // VERSION
		p.line(r) // CPID
		io.WriteString(c, greeting)
		if p.line(r) != "" {
			io.WriteString(c, answer)
		}
	}}
}

const greeting = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t7\nCUID\t1\nCOOKIE\tabc\nDONE\n"

const onDovecot = "[plugins]\nenable = [\"auth-dovecot\"]\n[plugin.auth-dovecot]\nsocket = \"/run/dovecot/auth\"\n"

func TestAuthDovecot(t *testing.T) {
	const later = "454 4.7.0 temporary authentication failure: "
	for _, tt := range []struct{ name, greeting, answer, want string }{
		{"right", greeting, "OK\t1\tuser=joe@example.org\toriginal_user=JOE\n", "joe@example.org"},
		{"with an escape", greeting, "OK\t1\tx\tuser=a\x011b\n", "failed"}, // a control character in a name
		{"wrong", greeting, "FAIL\t1\tuser=joe\treason=no\n", "no"},
		{"disabled", greeting, "FAIL\t1\tuser=joe\tuser_disabled\n", "no"},
		{"cannot tell", greeting, "FAIL\t1\tuser=joe\ttemp\n", later + "Dovecot cannot tell now; its own log says why"},
		{"another's answer first", greeting, "OK\t2\tuser=evil\nFAIL\t1\n", "no"},
		{"no name", greeting, "OK\t1\n", later + "Dovecot says OK, and does not name the user"},
		{"more is wanted", greeting, "CONT\t1\t\n", later + "Dovecot wants more than PLAIN has"},
		{"it goes", greeting, "", later + "Dovecot closed the connection; its own log says why"},
		{"nonsense", greeting, strings.Repeat("what\n", 200), later + "Dovecot does not answer the question"},
		{"another version", "VERSION\t2\t0\nDONE\n", "", later + "Dovecot speaks version 2 of the protocol; known is 1"},
		{"no PLAIN", "VERSION\t1\t2\nMECH\tLOGIN\nDONE\n", "", later + "Dovecot does not offer PLAIN; add it to auth_mechanisms"},
		{"a greeting without end", strings.Repeat("MECH\tPLAIN\n", 200), "", later + "Dovecot does not come to the end of its greeting"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := tt.want
			if want == "failed" {
				want = later + "Dovecot says OK, and does not name the user"
			}
			if got := newDoor(t, onDovecot, dovecot(tt.greeting, tt.answer).connect).login("password", "joe", "pencil"); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
	nobody := func(context.Context, string) (net.Conn, error) { return nil, fmt.Errorf("nobody listens") }
	if got := newDoor(t, onDovecot, nobody).login("password", "joe", "pencil"); !strings.HasPrefix(got, later) || !strings.Contains(got, "nobody listens") {
		t.Errorf("without Dovecot: %s", got)
	}
	if got := newDoor(t, onDovecot, nobody).login("scram", "joe", ""); got != "no" {
		t.Errorf("SCRAM: %s", got)
	}
}

// TestAuthDovecotOdd: whatever a client gives for name and password is one field of base64.
func TestAuthDovecotOdd(t *testing.T) {
	for _, name := range append(slices.Clone(odd), "joe") {
		p := dovecot(greeting, "FAIL\t1\n")
		d := newDoor(t, onDovecot, p.connect)
		for _, pair := range [][2]string{{name, "pencil"}, {"joe", name}} {
			p.heard = nil
			if got := d.login("password", pair[0], pair[1]); got != "no" {
				t.Errorf("%.20q: %s", pair, got)
			}
			heard := p.all()
			if strings.Contains(pair[0]+pair[1], "\x00") || len(pair[0]+pair[1]) > 2000 {
				if len(heard) > 0 {
					t.Errorf("%.20q: Dovecot was asked", pair)
				}
				continue
			}
			want := "AUTH\t1\tPLAIN\tservice=smtp\tnologin\tlip=192.0.2.2\trip=192.0.2.1\tsecured\tresp=" +
				base64.StdEncoding.EncodeToString([]byte("\x00"+pair[0]+"\x00"+pair[1])) + "\n"
			if len(heard) != 3 || heard[0] != "VERSION\t1\t1\n" || heard[2] != want {
				t.Errorf("%.20q: Dovecot heard %q, want %q", pair, heard, want)
			}
		}
	}
}

// submission is a server that greets, and answers what begins with a word.
func submission(greeting string, answers map[string]string) *peer {
	return &peer{talk: func(p *peer, r *bufio.Reader, c net.Conn) {
		io.WriteString(c, greeting)
		for {
			line := p.line(r)
			if line == "" {
				return
			}
			for word, answer := range answers {
				if strings.HasPrefix(line, word) {
					io.WriteString(c, answer)
				}
			}
		}
	}}
}

const onProxy = "[plugins]\nenable = [\"auth-proxy\"]\n[plugin.auth-proxy]\nserver = \"mail.example.org:465\"\n"

func TestAuthProxy(t *testing.T) {
	const later = "454 4.7.0 temporary authentication failure: the server "
	const both, login = "250-mail.example.org\r\n250-SIZE\r\n250 AUTH LOGIN PLAIN\r\n", "250-mail.example.org\r\n250 AUTH=LOGIN\r\n"
	step := map[string]string{"EHLO": login, "AUTH LOGIN": "334 VXNlcm5hbWU6\r\n", "am9l": "334 UGFzc3dvcmQ6\r\n", "cGVuY2ls": "235 yes\r\n"}
	for _, tt := range []struct {
		name, greeting string
		answers        map[string]string
		want           string
	}{
		{"PLAIN", "220 hello\r\n", map[string]string{"EHLO [192.0.2.2]": both, "AUTH PLAIN AGpvZQBwZW5jaWw=\r\n": "235 2.7.0 yes\r\n"}, "joe"},
		{"LOGIN", "220-hello\r\n220 you\r\n", step, "joe"},
		{"wrong", "220 hello\r\n", map[string]string{"EHLO": both, "AUTH": "535 5.7.8 no\r\n"}, "no"},
		{"wrong in other words", "220 hello\r\n", map[string]string{"EHLO": both, "AUTH": "550 no\r\n"}, "no"},
		{"later", "220 hello\r\n", map[string]string{"EHLO": both, "AUTH": "454 4.7.0 not now\r\n"}, later + "answers AUTH with 454 4.7.0 not now"},
		{"TLS is wanted", "220 hello\r\n", map[string]string{"EHLO": both, "AUTH": "538 5.7.11 TLS\r\n"}, later + "answers AUTH with 538 5.7.11 TLS"},
		{"busy", "421 busy\r\n", nil, later + "answers the connection with 421 busy"},
		{"no AUTH", "220 hello\r\n", map[string]string{"EHLO": "250 mail.example.org\r\n"}, later + "offers neither PLAIN nor LOGIN"},
		{"STARTTLS first", "220 hello\r\n", map[string]string{"EHLO": "250-mail.example.org\r\n250 STARTTLS\r\n"}, later + "wants STARTTLS before a log-in, which is not spoken here; use its port for TLS from the beginning (465)"},
		{"CRAM-MD5 only", "220 hello\r\n", map[string]string{"EHLO": "250-mail.example.org\r\n250 AUTH CRAM-MD5 PLAIN-CLIENTTOKEN\r\n"}, later + "offers neither PLAIN nor LOGIN"},
		{"a challenge that nobody wants", "220 hello\r\n", map[string]string{"EHLO": both, "AUTH": "334 \r\n"}, later + "answers AUTH with 334 "},
		{"no SMTP", "SSH-2.0-x\r\n", nil, "454 4.7.0 temporary authentication failure: the server says what is no reply"},
		{"it goes", "", map[string]string{}, ""},
		{"without end", strings.Repeat("220-hello\r\n", 200), nil, "454 4.7.0 temporary authentication failure: the server's reply has no end"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := submission(tt.greeting, tt.answers)
			if tt.name == "it goes" {
				p.talk = func(*peer, *bufio.Reader, net.Conn) {}
				tt.want = later + "closed the connection"
			}
			if got := newDoor(t, onProxy, p.connect).login("password", "joe", "pencil"); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// TestAuthProxyTLS: a password goes to the server that has the certificate for its name, encrypted, and to no other.
func TestAuthProxyTLS(t *testing.T) {
	ca, other := certstest.New(t, "an authority"), certstest.New(t, "another")
	here := func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }
	starttls := map[string]string{"EHLO": "250-mail.example.org\r\n250 STARTTLS\r\n"}
	logins := map[string]string{"EHLO": "250-mail.example.org\r\n250 AUTH PLAIN\r\n", "AUTH PLAIN AGpvZQBwZW5jaWw=": "235 2.7.0 yes\r\n"}
	const later = "454 4.7.0 temporary authentication failure: "
	for _, tt := range []struct {
		name        string
		certificate *tls.Certificate // nil: in clear
		answers     map[string]string
		tls         bool
		want        string
	}{
		{"from the beginning", new(ca.Issue(t, here, "mail.example.org")), logins, true, "joe"},
		{"somebody else's certificate", new(other.Issue(t, here, "mail.example.org")), logins, true, "x509: certificate signed by unknown authority"},
		{"for another name", new(ca.Issue(t, nil, "mail.example.org")), logins, true, "x509: cannot validate certificate for 127.0.0.1"},
		{"in clear at the first", nil, starttls, true, "first record does not look like a TLS handshake"},
		{"STARTTLS", nil, starttls, false, later + "the server wants STARTTLS before a log-in"},
		{"in clear, as it is told to", nil, logins, false, "joe"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			p := submission("220 hello\r\n", tt.answers)
			go func() {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				if tt.certificate != nil {
					conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*tt.certificate}})
				}
				p.talk(p, bufio.NewReader(conn), conn)
			}()
			at := ln.Addr().String()
			settings := fmt.Sprintf("[plugins]\nenable = [\"auth-proxy\"]\n[plugin.auth-proxy]\nserver = %q\ntls = %t\n[run.auth-proxy]\ngrant = { net = [%q] }\n", at, tt.tls, at)
			got := newDoorTo(t, settings, service.Options{Roots: ca.Pool()}).login("password", "joe", "pencil")
			if got != tt.want && !(strings.HasPrefix(got, later) && strings.Contains(got, tt.want)) {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if heard := strings.Join(p.all(), ""); tt.want != "joe" && strings.Contains(heard, "AUTH") {
				t.Errorf("it heard %q", heard)
			}
		})
	}
}

func TestAuthProxyOdd(t *testing.T) {
	for _, name := range odd {
		p := submission("220 hello\r\n", map[string]string{"EHLO": "250-x\r\n250 AUTH PLAIN\r\n", "AUTH": "535 no\r\n"})
		d := newDoor(t, onProxy, p.connect)
		if got := d.login("password", name, "pencil"); got != "no" {
			t.Errorf("%.20q: %s", name, got)
		}
		heard := p.all()
		if strings.Contains(name, "\x00") || len(name) > 1024 {
			if len(heard) > 0 {
				t.Errorf("%.20q: the server was asked", name)
			}
			continue
		}
		want := "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+name+"\x00pencil")) + "\r\n"
		if len(heard) < 2 || heard[1] != want {
			t.Errorf("%.20q: the server heard %q, want %q", name, heard, want)
		}
	}
}
