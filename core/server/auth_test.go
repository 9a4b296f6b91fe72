package server

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xdg-go/scram"

	"github.com/stagepost/stagepost/core/certs"
	"github.com/stagepost/stagepost/core/sasl"
	"github.com/stagepost/stagepost/core/throttle"
	"github.com/stagepost/stagepost/hooks"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// scram goes through the exchange and returns the last reply.
func (c *client) scram(mechanism, name, password string, binding *scram.ChannelBinding) string {
	c.t.Helper()
	of, err := scram.SHA256.NewClient(name, password, "")
	if err != nil {
		c.t.Fatal(err)
	}
	conv := of.NewConversation()
	if binding != nil {
		conv = of.NewConversationWithChannelBinding(*binding)
	}
	message, err := conv.Step("")
	for line := "AUTH " + mechanism + " "; err == nil; line = "" {
		c.send(line + b64(message) + "\r\n")
		reply := c.line()
		challenge, more := strings.CutPrefix(reply, "334 ")
		if !more {
			if strings.HasPrefix(reply, "235") && !conv.Valid() {
				c.t.Error("the server did not prove that it knows the keys")
			}
			return reply
		}
		raw, err64 := base64.StdEncoding.DecodeString(challenge)
		if err64 != nil {
			c.t.Fatal(err64)
		}
		message, err = conv.Step(string(raw))
	}
	c.t.Fatal(err)
	return ""
}

// TestScram: a client that proves that it knows the password is in; whose name is not known is told what a wrong password is told.
func TestScram(t *testing.T) {
	var user, mechanism string
	r := newRig(t, append(byName(), hook(hooks.Mail, func(c *hooks.Call) *hooks.Verdict {
		user, mechanism = c.Session.User, c.Session.Auth
		return nil
	}))...)
	r.srv.After = func(time.Duration) <-chan time.Time { return time.After(0) }
	r.at.Auth, r.at.AuthInClear = []string{sasl.ScramSHA256}, true
	addr := r.listen(t)
	for _, tt := range []struct{ name, password, want string }{
		{"user", "pencil", "235 2.7.0 logged in"},
		{"user", "pen", "535 5.7.8 the credentials are wrong"},
		{"nobody", "pencil", "535 5.7.8 the credentials are wrong"},
		{"defer", "pencil", "454 4.7.0 cannot log in now, try again later"},
		{"reject", "pencil", "535 5.7.8 the credentials are wrong"},
	} {
		c := greeted(t, addr)
		if got := c.scram("SCRAM-SHA-256", tt.name, tt.password, nil); got != tt.want {
			t.Errorf("%s, %s: %q, want %q", tt.name, tt.password, got, tt.want)
		}
		c.send("MAIL FROM:<a@client.example>\r\nQUIT\r\n")
		c.want("250")
		c.want("221")
		want := ""
		if tt.want[0] == '2' {
			want = tt.name
		}
		if user != want || (mechanism == "SCRAM-SHA-256") != (want != "") {
			t.Errorf("%s, %s: user %q by %q", tt.name, tt.password, user, mechanism)
		}
	}
}

// TestLoginOverTLS: what needs TLS is offered behind it, and a log-in is bound to its connection; EXTERNAL needs a certificate, which plugins see.
func TestLoginOverTLS(t *testing.T) {
	var seen map[string]any
	s := newShelter(t, append(byName(), hook(hooks.Auth, func(c *hooks.Call) *hooks.Verdict { seen = c.Login.Certificate; return nil }))...)
	s.srv.After = func(time.Duration) <-chan time.Time { return time.After(0) }
	l := s.listener(OnDemand, certs.Options{Ask: certs.AskRequest})
	l.Auth = sasl.Mechanisms()
	addr := s.listenOn(t, l)
	own := s.ca.Issue(t, nil, "relay.client.example")
	for _, tt := range []struct {
		version     uint16
		certificate bool
		offered     string
	}{
		{tls.VersionTLS13, false, "SCRAM-SHA-256-PLUS SCRAM-SHA-256 OAUTHBEARER XOAUTH2 PLAIN LOGIN"},
		{tls.VersionTLS12, true, "SCRAM-SHA-256-PLUS SCRAM-SHA-256 EXTERNAL OAUTHBEARER XOAUTH2 PLAIN LOGIN"},
		{tls.VersionTLS13, true, "SCRAM-SHA-256-PLUS SCRAM-SHA-256 EXTERNAL OAUTHBEARER XOAUTH2 PLAIN LOGIN"},
	} {
		begin := func() (*client, *tls.Conn) {
			c := dial(t, addr)
			c.want("220")
			c.send("EHLO c\r\n")
			if got := c.lines(); strings.Contains(got, "AUTH") {
				t.Errorf("in clear: %s", got)
			}
			config := s.client()
			config.MinVersion, config.MaxVersion = tt.version, tt.version
			if tt.certificate {
				config.Certificates = []tls.Certificate{own}
			}
			conn := c.startTLS(config)
			c.send("EHLO c\r\n")
			if got := c.lines(); !strings.Contains(got, "AUTH "+tt.offered+"\n") {
				t.Errorf("over TLS: %s", got)
			}
			return c, conn
		}
		c, conn := begin()
		state := conn.ConnectionState()
		binding := scram.NewTLSUniqueBinding(state.TLSUnique)
		if tt.version == tls.VersionTLS13 {
			var err error
			if binding, err = scram.NewTLSExporterBinding(&state); err != nil {
				t.Fatal(err)
			}
		}
		wrong := binding
		wrong.Data = append([]byte("x"), binding.Data[1:]...)
		if got := c.scram("SCRAM-SHA-256-PLUS", "user", "pencil", &wrong); !strings.HasPrefix(got, "535") {
			t.Errorf("bound to another connection: %q", got)
		}
		if got := c.scram("SCRAM-SHA-256-PLUS", "user", "pencil", &binding); !strings.HasPrefix(got, "235") {
			t.Errorf("bound: %q", got)
		}
		c.send("QUIT\r\n")
		c.want("221")
		if !tt.certificate {
			continue
		}
		c, _ = begin()
		c.send("AUTH EXTERNAL =\r\n")
		c.want("235 2.7.0")
		c.send("QUIT\r\n")
		c.want("221")
		sum := sha256.Sum256(own.Leaf.Raw)
		want := map[string]any{"subject": "CN=relay.client.example", "issuer": "CN=test CA", "names": []any{"relay.client.example"}, "fingerprint": hex.EncodeToString(sum[:])}
		if !reflect.DeepEqual(seen, want) {
			t.Errorf("plugins see %v, want %v", seen, want)
		}
	}
}

// lines reads one reply.
func (c *client) lines() string {
	c.t.Helper()
	var all strings.Builder
	for {
		line := c.line()
		if len(line) < 4 {
			c.t.Fatalf("after %q: %q", all.String(), line)
		}
		all.WriteString(line[4:] + "\n")
		if line[3] == ' ' {
			return all.String()
		}
	}
}

// TestLoginTakesItsTime: whatever was found out, and however fast, the answer comes after a common time; further failures are later still.
func TestLoginTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, append(byName(), hook(hooks.Auth, func(c *hooks.Call) *hooks.Verdict {
			if c.Login.Name == "tim" {
				time.Sleep(40 * time.Millisecond) // his password is looked at
			}
			return nil
		}))...)
		r.at.Auth, r.at.AuthInClear = []string{sasl.Plain, sasl.ScramSHA256}, true
		c := piped(t, r)
		c.want("220")
		c.send("EHLO c\r\n")
		c.want("250")
		most := throttle.Least * 6 / 5
		for i, login := range []string{"\x00nobody\x00x", "\x00tim\x00wrong", "\x00tim\x00tanstaaftanstaaf"} {
			late := time.Duration(i) * time.Second
			if i == 2 { // he is in
				late = 0
			}
			began := time.Now()
			c.send("AUTH PLAIN " + b64(login) + "\r\n")
			c.line()
			if took := time.Since(began) - late; took < throttle.Least || took > most {
				t.Errorf("try %d took %s", i, took)
			}
		}
		c.conn.Close()
		r.settle(t)
	})
}

// TestGuessing: who failed often enough is held back in other sessions, too, even with the right password; plugins are not asked then.
func TestGuessing(t *testing.T) {
	asked := 0
	r := newRig(t, append(byName(), hook(hooks.Auth, func(*hooks.Call) *hooks.Verdict { asked++; return nil }))...)
	r.srv.After = func(time.Duration) <-chan time.Time { return time.After(0) }
	r.at.Auth, r.at.AuthInClear = []string{sasl.Plain}, true
	addr := r.listen(t)
	guess := func(login string) string {
		c := greeted(t, addr)
		defer c.conn.Close()
		c.send("AUTH PLAIN " + b64(login) + "\r\n")
		return c.line()
	}
	for i := range 10 {
		if got := guess(fmt.Sprintf("\x00Tim\x00wrong%d", i)); !strings.HasPrefix(got, "535 5.7.8") {
			t.Fatalf("guess %d: %s", i, got)
		}
	}
	if got := guess("\x00tim\x00tanstaaftanstaaf"); got != "454 4.7.0 too many log-ins failed, try again later" || asked != 10 {
		t.Errorf("then %s, and plugins were asked %d times", got, asked)
	}
	if got := guess("\x00ann\x00wrong"); !strings.HasPrefix(got, "535") || asked != 11 {
		t.Errorf("for somebody else %s", got)
	}
}

// TestSecretsStay: what was said in a log-in is not in the log, in the record or in what plugins see of the session.
func TestSecretsStay(t *testing.T) {
	var history string
	r := newRig(t, append(byName(), hook(hooks.Disconnect, func(c *hooks.Call) *hooks.Verdict {
		history = fmt.Sprintf("%+v", *c.Session)
		return nil
	}))...)
	r.srv.After = func(time.Duration) <-chan time.Time { return time.After(0) }
	r.at.Auth, r.at.AuthInClear = sasl.Mechanisms(), true
	c := greeted(t, r.listen(t))
	say := func(line, want string) {
		t.Helper()
		c.send(line + "\r\n")
		c.want(want)
	}
	say("AUTH PLAIN "+b64("\x00tim\x00hunter2"), "535")
	say("AUTH PLAIN "+b64("\x00reject\x00hunter2"), "535")
	say("AUTH XOAUTH2", "334 ")
	say(b64("user=tim\x01auth=Bearer hunter2\x01\x01"), "334 ")
	say("", "535")
	say("AUTH LOGIN", "334")
	say(b64("tim"), "334")
	say(b64("tanstaaftanstaaf"), "235")
	say("QUIT", "221")
	r.settle(t)
	r.records.mu.Lock()
	defer r.records.mu.Unlock()
	kept := r.log.String() + fmt.Sprintf("%+v", r.records.steps) + history
	for _, secret := range []string{"hunter2", "tanstaaf", b64("\x00tim\x00hunter2"), b64("tanstaaftanstaaf")} {
		if strings.Contains(kept, secret) {
			t.Errorf("%q is kept: %s", secret, kept)
		}
	}
	for _, want := range []string{"PLAIN tim", "LOGIN tim", "result=accepted", "result=refused", "mechanism=XOAUTH2"} {
		if !strings.Contains(kept, want) {
			t.Errorf("there is no %q in %s", want, kept)
		}
	}
	for i, want := range map[string]uint64{sasl.Plain: 2, sasl.XOAuth2: 1, sasl.Login: 1} {
		for n, m := range sasl.Mechanisms() {
			if got := r.srv.Board.Listeners()[0].Logins[n].Sum(); m == i && got != want {
				t.Errorf("%d log-ins by %s are counted, want %d", got, m, want)
			}
		}
	}
}
