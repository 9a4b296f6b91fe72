package sasl

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/certs/certstest"
)

// meet has a client and the server of this package talk until one of them is through.
func meet(t *testing.T, c *Client, x *Exchange) string {
	t.Helper()
	var message []byte
	if c.SpeaksFirst() {
		message = next(t, c, nil)
	}
	for range 10 {
		challenge, done, err := x.Next(message)
		if done && err == nil {
			if !c.Done() {
				return "done, unproven"
			}
			return "done"
		}
		if err != nil {
			return err.Error()
		}
		answer, err := c.Next(challenge)
		if err != nil {
			return "client: " + err.Error()
		}
		if message = answer; message == nil {
			message = []byte{}
		}
	}
	return "no end"
}

func next(t *testing.T, c *Client, challenge []byte) []byte {
	t.Helper()
	b, err := c.Next(challenge)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestClientAndServer: both sides of this package come to terms.
func TestClientAndServer(t *testing.T) {
	ours, theirs := connected(t, certstest.New(t, "an authority").Issue(t, nil, "mx.example.org"), tls.VersionTLS13)
	server, client := Bind(&ours), Bind(&theirs)
	for _, tt := range []struct {
		mechanism, name, secret string
		server, client          *Binding
		plus                    bool
		want                    string
	}{
		{Plain, "tim", "tanstaaftanstaaf", nil, nil, false, "done"},
		{Plain, "tim", "x", nil, nil, false, refused},
		{Login, "tim", "tanstaaftanstaaf", nil, nil, false, "done"},
		{Login, "tim", "x", nil, nil, false, refused},
		{ScramSHA256, "user", "pencil", nil, nil, false, "done"},
		{ScramSHA256, "user", "pen", nil, nil, false, refused},
		{ScramSHA256, "us,er=", "pencil", nil, nil, false, refused}, // written as RFC 5802 wants it
		{ScramSHA256, "user", "pencil", server, client, true, "done"},
		{ScramSHA256, "user", "pencil", server, client, false, refused}, // -PLUS was taken from the list on the way
		{ScramSHA256, "user", "pencil", nil, client, false, "done"},
		{ScramPlus, "user", "pencil", server, client, true, "done"},
		{ScramPlus, "user", "pencil", server, Bind(func() *tls.ConnectionState {
			_, other := connected(t, certstest.New(t, "an authority").Issue(t, nil, "mx.example.org"), tls.VersionTLS13)
			return &other
		}()), true, refused},
	} {
		c, err := NewClient(tt.mechanism, tt.name, tt.secret, tt.client, tt.plus)
		if err != nil {
			t.Fatal(err)
		}
		w := newWho(t)
		x := New(tt.mechanism, Options{Ask: w.ask, Decoys: NewDecoys(), Binding: tt.server})
		if got := meet(t, c, x); got != tt.want {
			t.Errorf("%s as %q, %q: %s, want %s", tt.mechanism, tt.name, tt.secret, got, tt.want)
		}
	}
}

// TestRogueServers: what a server may say that does not know the password, or wants the client's time.
func TestRogueServers(t *testing.T) {
	for _, tt := range []struct{ name, first, final string }{
		{"no proof", "r=NONCEx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "v=AAAA"},
		{"another nonce", "r=x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", ""},
		{"iterations without end", "r=NONCEx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1000001", ""},
		{"iterations beyond any number", "r=NONCEx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=99999999999999999999", ""},
		{"no SCRAM at all", "Username:", ""},
		{"an error", "r=NONCEx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "e=other-error"},
		{"nothing", "", ""},
	} {
		c, err := NewClient(ScramSHA256, "user", "pencil", nil, false)
		if err != nil {
			t.Fatal(err)
		}
		first := string(next(t, c, nil))
		ours := first[strings.Index(first, ",r=")+3:]
		_, err = c.Next([]byte(strings.Replace(tt.first, "NONCE", ours, 1)))
		if err == nil && tt.final != "" {
			_, err = c.Next([]byte(tt.final))
		}
		if err != ErrServer || c.Done() {
			t.Errorf("%s: %v, done %v", tt.name, err, c.Done())
		}
	}
	for mechanism, most := range map[string]int{Plain: 1, Login: 2, ScramSHA256: 3} {
		c, err := NewClient(mechanism, "user", "pencil", nil, false)
		if err != nil {
			t.Fatal(err)
		}
		for c.steps < most {
			c.Next(nil)
		}
		if _, err := c.Next(nil); err != ErrServer {
			t.Errorf("%s: it speaks more than %d times: %v", mechanism, most, err)
		}
	}
}

func TestChoose(t *testing.T) {
	_, theirs := connected(t, certstest.New(t, "an authority").Issue(t, nil, "mx.example.org"), tls.VersionTLS13)
	binding := Bind(&theirs)
	all := []string{ScramPlus, ScramSHA256, Plain, Login}
	for _, tt := range []struct {
		wanted, offered []string
		binding         *Binding
		want            string
	}{
		{all, []string{"LOGIN", "PLAIN"}, nil, Plain},
		{all, []string{"LOGIN", ScramSHA256, ScramPlus}, nil, ScramSHA256},
		{all, []string{"LOGIN", ScramSHA256, ScramPlus}, binding, ScramPlus},
		{all, []string{"GSSAPI"}, binding, ""},
		{all, nil, binding, ""},
		{[]string{Login}, []string{"LOGIN", "PLAIN"}, nil, Login},
		{[]string{ScramPlus}, []string{ScramPlus}, nil, ""},
	} {
		if got := Choose(tt.wanted, tt.offered, tt.binding); got != tt.want {
			t.Errorf("of %v: %q, want %q", tt.offered, got, tt.want)
		}
	}
	for _, bad := range []string{"", "a\r\nb", "a\x00b"} {
		if _, err := NewClient(Plain, "user", bad, nil, false); err == nil {
			t.Errorf("%q is a password", bad)
		}
	}
}

// FuzzClient: no challenge makes a client panic, speak without end, or believe a server that knows nothing.
func FuzzClient(f *testing.F) {
	f.Add("SCRAM-SHA-256", "r=x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "v=AAAA")
	f.Add("LOGIN", "Username:", "Password:")
	f.Add("PLAIN", "", "")
	f.Add("SCRAM-SHA-256", ",i=1,i=9999999", "e=x")
	f.Fuzz(func(t *testing.T, mechanism, one, two string) {
		c, err := NewClient(mechanism, "user", "pencil", nil, false)
		if err != nil {
			return
		}
		said := 0
		for _, challenge := range []string{"", one, two, two, one} {
			if _, err := c.Next([]byte(challenge)); err != nil {
				break
			}
			said++
		}
		if said > 3 || strings.HasPrefix(mechanism, "SCRAM") && c.Done() {
			t.Errorf("it spoke %d times, done %v", said, c.Done())
		}
	})
}
