package sasl

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"github.com/stagepost/stagepost/core/certs/certstest"
)

// TestScram7677 is the example of RFC 7677 section 3.
func TestScram7677(t *testing.T) {
	w := newWho(t)
	x := w.exchange(ScramSHA256)
	x.nonce = func() string { return "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0" }
	got := talk(x, []byte("n,,n=user,r=rOprNGfwEbeRWgbNEkqO"),
		[]byte("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="), []byte{})
	want := []string{"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", "done"}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestScramRefused(t *testing.T) {
	const nonce, first = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	const right = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	for _, tt := range []struct{ one, two, want string }{
		{"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", strings.Replace(right, "p=dH", "p=dI", 1), refused},
		{"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", strings.Replace(right, "biws", "eSws", 1), refused}, // another header than was sent
		{"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", strings.Replace(right, "O%h", "O%i", 1), refused},
		{"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", strings.Replace(right, "dVQ=", "dVQ", 1), malformed},
		{"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", "c=biws,r=x,p=AAAA", refused},
		{"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", "", malformed},
		{"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", right + "\n", malformed},
		{"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", right + "\x00", malformed},
	} {
		x := newWho(t).exchange(ScramSHA256)
		x.nonce = func() string { return nonce }
		got := talk(x, []byte(tt.one), []byte(tt.two), []byte{})
		if len(got) != 2 || got[0] != first || got[1] != tt.want {
			t.Errorf("%q: got %q, want %q", tt.two, got, tt.want)
		}
	}
	for one, want := range map[string]string{
		"n,a=user,n=user,r=x":                       "",
		"n,a=ann,n=user,r=x":                        refused,
		"n,,n=,r=x":                                 malformed,
		"n,,n=us=er,r=x":                            refused, // RFC 5802 section 5.1: the exchange fails
		"n,,n=us\xffer,r=x":                         malformed,
		"n,,m=x,n=user,r=x":                         malformed,
		"n,,n=user":                                 malformed,
		"x,,n=user,r=x":                             malformed,
		"p=tls-exporter,,n=user,r=x":                malformed,
		"n,,n=user,r=" + strings.Repeat("x", 400):   malformed,
		"n,,n=" + strings.Repeat("x", 321) + ",r=x": malformed,
	} {
		got := talk(newWho(t).exchange(ScramSHA256), []byte(one))[0]
		if want == "" && !strings.HasPrefix(got, "r=x") || want != "" && got != want {
			t.Errorf("%q: got %q, want %q", one, got, want)
		}
	}
}

// TestDecoys: who is not known goes the whole way, and looks as those who are.
func TestDecoys(t *testing.T) {
	d := NewDecoys()
	try := func(name, password string) []string {
		w := newWho(t)
		x := New(ScramSHA256, Options{Ask: w.ask, Decoys: d})
		client, err := scram.SHA256.NewClient(name, password, "")
		if err != nil {
			t.Fatal(err)
		}
		conv := client.NewConversation()
		var said []string
		for challenge := ""; ; {
			message, err := conv.Step(challenge)
			if err != nil {
				return append(said, "client: "+err.Error())
			}
			got := talk(x, []byte(message))[0]
			if said = append(said, got); got == "done" || got == refused {
				return said
			}
			challenge = got
		}
	}
	salt := func(said []string) string { return said[0][strings.Index(said[0], ",s="):] }
	before := salt(try("nobody", "pencil"))
	if !strings.HasSuffix(before, ",i=32768") || len(before) != len(",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=32768") {
		t.Errorf("%q", before)
	}
	if got := try("user", "pencil"); len(got) != 3 || got[2] != "done" {
		t.Errorf("the user: %q", got)
	}
	if got := try("user", "pen"); len(got) != 2 || got[1] != refused {
		t.Errorf("a wrong password: %q", got)
	}
	one, two, other := try("nobody", "pencil"), try("nobody", "x"), try("somebody", "x")
	if len(one) != 2 || one[1] != refused || salt(one) != salt(two) || salt(one) == salt(other) || !strings.HasSuffix(salt(one), ",i=4096") {
		t.Errorf("%q, %q, %q", one, two, other)
	}
}

// TestBinding: with -PLUS the proof is of the connection, in both versions of TLS; a client that was told that there is none is refused.
func TestBinding(t *testing.T) {
	certificate := certstest.New(t, "an authority").Issue(t, nil, "mx.example.org")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		ours, theirs := connected(t, certificate, version)
		binding := Bind(&ours)
		if binding == nil {
			t.Fatalf("%s: nothing to bind to", tls.VersionName(version))
		}
		theirBinding := func(state *tls.ConnectionState) scram.ChannelBinding {
			if version == tls.VersionTLS12 {
				return scram.NewTLSUniqueBinding(state.TLSUnique)
			}
			b, err := scram.NewTLSExporterBinding(state)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		foreign, _ := connected(t, certificate, version)
		for _, tt := range []struct {
			name, mechanism string
			begin           func(c *scram.Client) *scram.ClientConversation
			want            string
		}{
			{"bound", ScramPlus, func(c *scram.Client) *scram.ClientConversation {
				return c.NewConversationWithChannelBinding(theirBinding(&theirs))
			}, "done"},
			{"bound to another connection", ScramPlus, func(c *scram.Client) *scram.ClientConversation {
				return c.NewConversationWithChannelBinding(theirBinding(&foreign))
			}, refused},
			{"bound without -PLUS", ScramSHA256, func(c *scram.Client) *scram.ClientConversation {
				return c.NewConversationWithChannelBinding(theirBinding(&theirs))
			}, malformed},
			{"not able to", ScramSHA256, func(c *scram.Client) *scram.ClientConversation { return c.NewConversation() }, "done"},
			{"not bound with -PLUS", ScramPlus, func(c *scram.Client) *scram.ClientConversation { return c.NewConversation() }, refused},
			{"lied to", ScramSHA256, func(c *scram.Client) *scram.ClientConversation {
				return c.NewConversationAdvertisingChannelBinding()
			}, refused},
		} {
			x := New(tt.mechanism, Options{Ask: newWho(t).ask, Decoys: NewDecoys(), Binding: binding})
			client, err := scram.SHA256.NewClient("user", "pencil", "")
			if err != nil {
				t.Fatal(err)
			}
			conv := tt.begin(client)
			got := ""
			for got != "done" && got != refused && got != malformed {
				message, err := conv.Step(got)
				if err != nil {
					t.Fatalf("%s: %v", tt.name, err)
				}
				got = talk(x, []byte(message))[0]
			}
			if got != tt.want {
				t.Errorf("%s, %s: got %q, want %q", tls.VersionName(version), tt.name, got, tt.want)
			}
		}
	}
	if got := talk(newWho(t).exchange(ScramPlus), []byte("p=tls-exporter,,n=user,r=x")); got[0] != refused {
		t.Errorf("-PLUS without a binding: %q", got)
	}
}

// connected is both ends' view of a connection.
func connected(t *testing.T, certificate tls.Certificate, version uint16) (server, client tls.ConnectionState) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	s := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: version, MaxVersion: version, SessionTicketsDisabled: true})
	done := make(chan error, 1)
	go func() { done <- s.Handshake() }()
	c := tls.Client(b, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return s.ConnectionState(), c.ConnectionState()
}
