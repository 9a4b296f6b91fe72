package deliver

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/certs/certstest"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/password"
	"github.com/stagepost/stagepost/core/sasl"
)

const hidden = "tanstaaftanstaaf"

// transcript is a server that holds what comes against a dialogue of S: and C: lines.
type transcript struct {
	t     *testing.T
	text  string
	mu    sync.Mutex
	conns int
}

func (d *transcript) dial(context.Context, string, string) (net.Conn, error) {
	d.mu.Lock()
	d.conns++
	d.mu.Unlock()
	ours, theirs := net.Pipe()
	go func() {
		defer ours.Close()
		in := bufio.NewReader(ours)
		for line := range strings.Lines(d.text) {
			who, want, _ := strings.Cut(strings.TrimSpace(line), ": ")
			if who == "S" {
				if _, err := fmt.Fprint(ours, want, "\r\n"); err != nil {
					return
				}
				continue
			}
			got, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if got = strings.TrimRight(got, "\r\n"); got != want {
				d.t.Errorf("the client said %q, want %q", got, want)
				return
			}
		}
	}()
	return theirs, nil
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// TestAuthDialogues: what is said on a connection that may be clear, and what becomes of the mail.
func TestAuthDialogues(t *testing.T) {
	const hello = "S: 220 relay\nC: EHLO out.x.test\nS: 250-relay\nS: 250 AUTH PLAIN LOGIN CRAM-MD5\n"
	const sent = "C: MAIL FROM:<a@x.test>\nS: 250 ok\nC: RCPT TO:<u@y.test>\nS: 250 ok\nC: DATA\nS: 354 go\nC: Subject: hello\nC:\nC: Hello.\nC: .\nS: 250 taken\n"
	plainly := "AUTH PLAIN " + b64("\x00relay\x00"+hidden)
	long := strings.Repeat("x", 400)
	for _, tt := range []struct {
		name, dialogue string
		auth           message.Auth
		secret         string
		want           string // the outcome, with a part of its text
	}{
		{"plain", hello + "C: " + plainly + "\nS: 235 2.7.0 ok\n" + sent, message.Auth{}, hidden, "delivered"},
		{"login", hello + "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: " + b64("relay") + "\nS: 334 UGFzc3dvcmQ6\nC: " + b64(hidden) + "\nS: 235 ok\n" + sent, message.Auth{Mechanism: "LOGIN"}, hidden, "delivered"},
		{"a password that does not fit the command", hello + "C: AUTH PLAIN\nS: 334 \nC: " + b64("\x00relay\x00"+long) + "\nS: 235 ok\n" + sent, message.Auth{}, long, "delivered"},
		{"refused", hello + "C: " + plainly + "\nS: 535 5.7.8 no\n", message.Auth{}, hidden, `deferred 454 4.7.8: the server refused the log-in with the secret "smtp/relay" (PLAIN): 535 5.7.8 no`},
		{"refused with the password in the reply", hello + "C: " + plainly + "\nS: 535 5.7.8 no: " + b64("\x00relay\x00"+hidden) + "\n", message.Auth{}, hidden, "deferred 454 4.7.8: what it said has the password in it"},
		{"not now", hello + "C: " + plainly + "\nS: 454 4.7.0 the directory is down\n", message.Auth{}, hidden, "deferred 454 4.7.0: now (PLAIN): 454 4.7.0 the directory is down"},
		{"a server that cannot do it after all", hello + "C: " + plainly + "\nS: 504 5.5.4 no\n", message.Auth{}, hidden, "deferred 454 4.7.8"},
		{"no end of questions", hello + "C: " + plainly + "\nS: 334 \nC: *\nS: 501 cancelled\n", message.Auth{}, hidden, "deferred 451 4.7.0: does not keep to the mechanism"},
		{"a challenge that is none", hello + "C: AUTH LOGIN\nS: 334 ???\nC: *\nS: 501 cancelled\n", message.Auth{Mechanism: "LOGIN"}, hidden, "deferred 451 4.7.0: does not keep to the mechanism"},
		{"a reply out of step", hello + "C: " + plainly + "\nS: 354 go\n", message.Auth{}, hidden, "deferred 451 4.5.0: 354 to AUTH"},
		{"gone", hello + "C: " + plainly + "\n", message.Auth{}, hidden, "deferred 451 4.4.2: connection lost at AUTH"},
		{"no such mechanism", hello, message.Auth{Mechanism: "SCRAM-SHA-256"}, hidden, "deferred 451 4.7.0: the server offers only PLAIN, LOGIN, CRAM-MD5, but the route wants SCRAM-SHA-256"},
		{"no log-in at all", "S: 220 relay\nC: EHLO out.x.test\nS: 250 relay\n", message.Auth{}, hidden, "deferred 451 4.7.0: the server offers no log-in"},
		{"no secret", "", message.Auth{Secret: "smtp/none"}, hidden, `deferred 451 4.3.5: the route logs in with the secret "smtp/none": there is none of that name`},
		{"a secret that cannot be read", "", message.Auth{Secret: "smtp/broken"}, hidden, "deferred 451 4.3.5: permission denied"},
		{"an empty secret", hello, message.Auth{}, "", "deferred 451 4.3.5: it is empty"},
		{"SCRAM and no proof", strings.Replace(hello, "PLAIN", "SCRAM-SHA-256", 1), message.Auth{Mechanism: "PLAIN"}, hidden, "deferred 451 4.7.0: the server offers only"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := &transcript{t: t, text: strings.ReplaceAll(tt.dialogue, "C:\n", "C: \n")}
			s := newSender(t, nil, Options{Dial: d.dial, MaxIdle: -1, Secret: func(name string) ([]byte, bool, error) {
				if name == "smtp/broken" {
					return nil, false, errors.New("permission denied")
				}
				return []byte(tt.secret), name == "smtp/relay", nil
			}})
			job := newJob(t, memory(plain), "u@y.test")
			if tt.auth.User = "relay"; tt.auth.Secret == "" {
				tt.auth.Secret = "smtp/relay"
			}
			job.Plan = &message.Plan{Hosts: []string{"127.0.0.1:587"}, Private: 1, Auth: tt.auth}
			var steps []string
			job.Record = func(s observe.Step) { steps = append(steps, s.Detail) }
			o := s.Send(t.Context(), job)[0]
			word, text, _ := strings.Cut(tt.want, ": ")
			if brief(o) != word || !strings.Contains(o.Reply.Error(), text) {
				t.Errorf("%s: %s, want %s", brief(o), o.Reply.Error(), tt.want)
			}
			all := o.Reply.Error() + strings.Join(steps, "\n")
			for _, form := range []string{hidden, b64(hidden), b64("\x00relay\x00" + hidden)} {
				if strings.Contains(all, form) {
					t.Errorf("the password is told: %s", all)
				}
			}
		})
	}
}

// relay is a server that wants TLS and a log-in by this program's own mechanisms, and knows one user.
type relay struct {
	t          *testing.T
	tls        *tls.Config // nil: it speaks in clear
	mechanisms []string
	password   string
	lies       bool // it lets everybody in

	mu     sync.Mutex
	logins []string // "MECHANISM user"
	mails  int
	conns  int
}

func (r *relay) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	r.mu.Lock()
	r.conns++
	r.mu.Unlock()
	ours, theirs := net.Pipe()
	if r.tls == nil {
		go r.serve(ours)
		return theirs, nil
	}
	go func() {
		c := tls.Server(ours, r.tls)
		if c.Handshake() == nil {
			r.serve(c)
		}
		ours.Close()
	}()
	c := tls.Client(theirs, &tls.Config{InsecureSkipVerify: true})
	return c, c.HandshakeContext(ctx)
}

func (r *relay) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	say := func(s string) { fmt.Fprint(c, s, "\r\n") }
	say("220 relay")
	known := false
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case verb == "EHLO":
			say("250-relay\r\n250 AUTH " + strings.Join(r.mechanisms, " "))
		case verb == "AUTH":
			known = r.auth(rest, in, say)
		case !known:
			say("530 5.7.0 log in first")
		case verb == "DATA":
			say("354 go")
			for line != ".\r\n" {
				if line, err = in.ReadString('\n'); err != nil {
					return
				}
			}
			r.mu.Lock()
			r.mails++
			r.mu.Unlock()
			say("250 taken")
		default:
			say("250 ok")
		}
	}
}

func (r *relay) auth(rest string, in *bufio.Reader, say func(string)) bool {
	mechanism, initial, _ := strings.Cut(rest, " ")
	hash, err := password.New(r.password, true)
	if err != nil {
		r.t.Error(err)
	}
	keys, err := password.ParseKeys(hash)
	if err != nil {
		r.t.Error(err)
	}
	o := sasl.Options{Decoys: sasl.NewDecoys(), Ask: func(c sasl.Credentials) sasl.Answer {
		r.mu.Lock()
		r.logins = append(r.logins, c.Mechanism+" "+c.Name)
		r.mu.Unlock()
		return sasl.Answer{OK: c.Kind == sasl.Scram || c.Secret == r.password, Keys: keys}
	}}
	x := sasl.New(mechanism, o)
	message := []byte(nil)
	if initial != "" {
		message, _ = base64.StdEncoding.DecodeString(initial)
	}
	for {
		challenge, done, err := x.Next(message)
		if r.lies && message != nil {
			say("235 2.7.0 whoever you are")
			return true
		}
		switch {
		case err != nil:
			say("535 5.7.8 wrong")
			return false
		case done:
			say("235 2.7.0 ok")
			return true
		}
		say("334 " + base64.StdEncoding.EncodeToString(challenge))
		line, err := in.ReadString('\n')
		if err != nil {
			return false
		}
		if message, err = base64.StdEncoding.DecodeString(strings.TrimSpace(line)); err != nil {
			say("501 cancelled")
			return false
		}
	}
}

// TestAuthNeedsTLS: nothing of a log-in is said in clear to another machine unless the plan says so.
func TestAuthNeedsTLS(t *testing.T) {
	certificate := certstest.New(t, "an authority").Issue(t, nil, "relay.example.org")
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	for _, tt := range []struct {
		name, host, optional string
		tls                  *tls.Config
		want                 string
	}{
		{"in clear", "198.51.100.1:587", "", nil, "deferred 451 4.7.11"},
		{"in clear, as the plan allows", "198.51.100.1:587", message.AuthOptional, nil, "delivered"},
		{"on this machine", "127.0.0.1:587", "", nil, "delivered"},
		{"on this machine by IPv6", "[::1]:587", "", nil, "delivered"},
		{"encrypted", "198.51.100.1:587", "", config, "delivered"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &relay{t: t, tls: tt.tls, mechanisms: []string{"PLAIN", "SCRAM-SHA-256"}, password: hidden}
			s := newSender(t, nil, Options{Dial: r.dial, Secret: func(string) ([]byte, bool, error) { return []byte(hidden), true, nil }})
			job := newJob(t, memory(plain), "u@y.test")
			job.Plan = &message.Plan{Hosts: []string{tt.host}, Private: 1, Auth: message.Auth{User: "relay", Secret: "s", TLS: tt.optional}}
			if o := s.Send(t.Context(), job)[0]; brief(o) != tt.want {
				t.Errorf("%s: %s, want %s", brief(o), o.Reply.Error(), tt.want)
			}
			if logins := strings.Join(r.logins, ", "); (tt.want == "delivered") != (logins == "SCRAM-SHA-256 relay") {
				t.Errorf("log-ins: %s", logins)
			}
		})
	}
}

// TestAuthIdentities: a connection is used again for the same log-in alone.
func TestAuthIdentities(t *testing.T) {
	r := &relay{t: t, mechanisms: []string{"PLAIN"}, password: hidden}
	s := newSender(t, nil, Options{Dial: r.dial, Secret: func(string) ([]byte, bool, error) { return []byte(hidden), true, nil }})
	for _, a := range []message.Auth{{User: "one", Secret: "s"}, {User: "two", Secret: "s"}, {User: "one", Secret: "s"}, {User: "two", Secret: "s"}, {User: "two", Secret: "t"}} {
		job := newJob(t, memory(plain), "u@y.test")
		job.Plan = &message.Plan{Hosts: []string{"127.0.0.1:587"}, Private: 1, Auth: a}
		if o := s.Send(t.Context(), job)[0]; o.Result != message.Delivered {
			t.Fatal(o.Reply.Error())
		}
	}
	if want := []string{"PLAIN one", "PLAIN two", "PLAIN two"}; !slices.Equal(r.logins, want) || r.mails != 5 {
		t.Errorf("log-ins %q, %d mails", r.logins, r.mails)
	}
}

// TestAuthFallback: where a log-in fails the next host of the plan is tried, and a server that proves nothing gets no mail.
func TestAuthFallback(t *testing.T) {
	liar := &relay{t: t, mechanisms: []string{"SCRAM-SHA-256"}, password: "another", lies: true}
	good := &relay{t: t, mechanisms: []string{"SCRAM-SHA-256"}, password: hidden}
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr == "127.0.0.1:1" {
			return liar.dial(ctx, network, addr)
		}
		return good.dial(ctx, network, addr)
	}
	s := newSender(t, nil, Options{Dial: dial, Secret: func(string) ([]byte, bool, error) { return []byte(hidden), true, nil }})
	job := newJob(t, memory(plain), "u@y.test")
	job.Plan = &message.Plan{Hosts: []string{"127.0.0.1:1", "127.0.0.1:2"}, Private: 3, Auth: message.Auth{User: "relay", Secret: "s"}}
	if o := s.Send(t.Context(), job)[0]; o.Result != message.Delivered || liar.mails != 0 || good.mails != 1 {
		t.Errorf("%s; the liar has %d, the other %d", o.Reply.Error(), liar.mails, good.mails)
	}
}

// TestAuthIsNotRepeated: a refused password is not tried again for a while, but another one at once.
func TestAuthIsNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &relay{t: t, mechanisms: []string{"PLAIN"}, password: hidden}
		secret := "wrong"
		s := newSender(t, nil, Options{Dial: r.dial, Secret: func(string) ([]byte, bool, error) { return []byte(secret), true, nil }})
		send := func(conns int, want string) {
			t.Helper()
			job := newJob(t, memory(plain), "u@y.test")
			job.Plan = &message.Plan{Hosts: []string{"127.0.0.1:587"}, Private: 1, Auth: message.Auth{User: "relay", Secret: "s"}}
			if o := s.Send(t.Context(), job)[0]; brief(o) != want || o.Away || r.conns != conns {
				t.Errorf("%s, away %v, %d connections; want %s, %d: %s", brief(o), o.Away, r.conns, want, conns, o.Reply.Error())
			}
		}
		send(1, "deferred 454 4.7.8")
		send(1, "deferred 454 4.7.8")
		time.Sleep(refusedTime)
		send(2, "deferred 454 4.7.8")
		secret = hidden
		send(3, "delivered")
		s.Close()
	})
}
