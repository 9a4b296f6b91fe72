package sasl

import (
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/password"
)

// talk feeds an exchange with messages and writes down what comes of it; nil is no initial response.
func talk(x *Exchange, messages ...[]byte) (said []string) {
	for _, m := range messages {
		challenge, done, err := x.Next(m)
		switch {
		case err != nil:
			return append(said, err.Error())
		case done:
			return append(said, "done")
		}
		said = append(said, string(challenge))
	}
	return said
}

// who answers one user by each kind of credentials, and notes what it was asked.
type who struct {
	t     testing.TB
	asked []Credentials
	keys  *password.Keys
}

func newWho(t testing.TB) *who {
	keys, err := password.ParseKeys("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=")
	if err != nil {
		t.Fatal(err)
	}
	return &who{t: t, keys: keys}
}

func (w *who) ask(c Credentials) Answer {
	w.asked = append(w.asked, c)
	switch {
	case len(w.asked) > 1:
		w.t.Errorf("asked again: %+v", c)
	case !clean(c.Name, MaxName*6) || !clean(c.Secret, MaxToken): // preparing may make a name longer
		w.t.Errorf("asked with %+v", c)
	}
	switch c.Kind {
	case Password:
		return Answer{OK: c.Name == "tim" && c.Secret == "tanstaaftanstaaf"}
	case Token:
		return Answer{OK: c.Secret == "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="}
	case Scram:
		return Answer{OK: c.Name == "user", Keys: w.keys}
	}
	return Answer{OK: c.Name == "" || c.Name == "tim"}
}

func (w *who) exchange(mechanism string) *Exchange {
	return New(mechanism, Options{Ask: w.ask, Decoys: NewDecoys()})
}

const (
	token     = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
	malformed = "a message that the mechanism does not allow"
	refused   = "the credentials are wrong"
)

// TestExchanges has the examples of RFC 4616 section 4 and RFC 7628 section 4, and what goes wrong.
func TestExchanges(t *testing.T) {
	long := strings.Repeat("x", 320)
	for _, tt := range []struct {
		mechanism string
		messages  string // separated by |; "-" is no initial response
		want      string // joined by |
		name      string // asked with; "" nobody was asked, but for EXTERNAL and tokens
	}{
		{Plain, "\x00tim\x00tanstaaftanstaaf", "done", "tim"},
		{Plain, "-|\x00tim\x00tanstaaftanstaaf", "|done", "tim"},
		{Plain, "tim\x00tim\x00tanstaaftanstaaf", "done", "tim"},
		{Plain, "Ursel\x00Kurt\x00xipj3plmq", refused, ""}, // the second example: for somebody else
		{Plain, "\x00Kurt\x00xipj3plmq", refused, "Kurt"},
		{Plain, "\x00ti\u00adm\x00tanstaaftanstaaf", "done", "tim"}, // a soft hyphen is nothing (RFC 4013)
		{Plain, "\x00\u2168\x00x", refused, "IX"},
		{Plain, "\x00" + long + "\x00x", refused, long},
		{Plain, "\x00" + long + "x\x00x", malformed, ""},
		{Plain, "\x00tim\x00" + strings.Repeat("x", 1025), malformed, ""},
		{Plain, "tim", malformed, ""},
		{Plain, "tim\x00x", malformed, ""},
		{Plain, "\x00tim\x00x\x00", malformed, ""},
		{Plain, "\x00\x00x", malformed, ""},
		{Plain, "\x00tim\x00", malformed, ""},
		{Plain, "\x00\u00ad\x00x", malformed, ""},
		{Plain, "\x00ti\nm\x00x", malformed, ""},
		{Plain, "\x00tim\x00x\ry", malformed, ""},
		{Plain, "\x00ti\u0085m\x00x", malformed, ""},
		{Plain, "\x00ti\u2028m\x00x", malformed, ""},
		{Plain, "\x00ti\u202em\x00x", malformed, ""},
		{Plain, "\x00ti\xffm\x00x", malformed, ""},
		{Plain, "\x00tim\x00\xc0\x80", malformed, ""},
		{Plain, "a\xff\x00tim\x00x", malformed, ""},
		{Login, "-|tim|tanstaaftanstaaf", "Username:|Password:|done", "tim"},
		{Login, "tim|tanstaaftanstaaf", "Password:|done", "tim"},
		{Login, "tim|wrong", "Password:|" + refused, "tim"},
		{Login, "-|", "Username:|" + malformed, ""},
		{Login, "tim|", "Password:|" + malformed, ""},
		{Login, "t\x00m", malformed, ""},
		{External, "", "done", ""},
		{External, "-|tim", "|done", "tim"},
		{External, "ann", refused, "ann"},
		{External, "a\x00b", malformed, ""},
		{OAuthBearer, "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer " + token + "\x01\x01", "done", "user@example.com"},
		{OAuthBearer, "y,,\x01auth=bearer  " + token + "\x01\x01", "done", ""},
		{OAuthBearer, "n,a=a=2Cb=3Dc,\x01auth=Bearer x\x01\x01|\x01", bearerError + "|" + refused, "a,b=c"},
		{OAuthBearer, "n,,\x01auth=Bearer x\x01\x01|", bearerError + "|" + refused, ""},
		{OAuthBearer, "n,,\x01auth=Bearer x\x01\x01|n,,\x01auth=Bearer " + token + "\x01\x01", bearerError + "|" + refused, ""}, // one try
		{OAuthBearer, "p=tls-exporter,,\x01auth=Bearer x\x01\x01", malformed, ""},
		{OAuthBearer, "n,a=a=2D,\x01auth=Bearer x\x01\x01", malformed, ""},
		{OAuthBearer, "n,b=a,\x01auth=Bearer x\x01\x01", malformed, ""},
		{OAuthBearer, "n,\x01auth=Bearer x\x01\x01", malformed, ""},
		{OAuthBearer, "n,,\x01auth=Bearer x\x01", malformed, ""},
		{OAuthBearer, "n,,\x01auth=Bearer \x01\x01", malformed, ""},
		{OAuthBearer, "n,,\x01auth=Basic x\x01\x01", malformed, ""},
		{OAuthBearer, "n,,\x01\x01\x01", malformed, ""},
		{OAuthBearer, "n,,\x01host=a\x01\x01", malformed, ""},
		{OAuthBearer, "n,,\x01auth=Bearer x\x01auth=Bearer " + token + "\x01\x01", malformed, ""},
		{OAuthBearer, "n,,\x01auth=Bearer a\x00b\x01\x01", malformed, ""},
		{OAuthBearer, "n,,\x01auth=Bearer " + strings.Repeat("x", MaxToken) + "\x01\x01", malformed, ""},
		{XOAuth2, "user=someuser@example.com\x01auth=Bearer " + token + "\x01\x01", "done", "someuser@example.com"},
		{XOAuth2, "user=a@b\x01auth=Bearer x\x01\x01|", xoauth2Error + "|" + refused, "a@b"},
		{XOAuth2, "user=\x01auth=Bearer " + token + "\x01\x01", malformed, ""},
		{XOAuth2, "a@b\x01auth=Bearer " + token + "\x01\x01", malformed, ""},
		{XOAuth2, "user=a@b", malformed, ""},
	} {
		w := newWho(t)
		var messages [][]byte
		for m := range strings.SplitSeq(tt.messages, "|") {
			if m == "-" {
				messages = append(messages, nil)
				continue
			}
			messages = append(messages, append([]byte{}, m...))
		}
		if got := strings.Join(talk(w.exchange(tt.mechanism), messages...), "|"); got != tt.want {
			t.Errorf("%s %q: got %q, want %q", tt.mechanism, tt.messages, got, tt.want)
		}
		name := ""
		if len(w.asked) > 0 {
			name = w.asked[0].Name
		}
		if name != tt.name {
			t.Errorf("%s %q: asked for %q, want %q", tt.mechanism, tt.messages, name, tt.name)
		}
	}
	if New("CRAM-MD5", Options{}) != nil {
		t.Error("CRAM-MD5 is spoken")
	}
}

func fuzz(f *testing.F, mechanism string, seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s), []byte("x"))
	}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		w := newWho(t)
		said := talk(w.exchange(mechanism), append([]byte{}, one...), append([]byte{}, two...), []byte{})
		if last := said[len(said)-1]; last == "done" && len(w.asked) != 1 {
			t.Errorf("done, and nobody was asked: %q %q", one, two)
		}
		if strings.HasPrefix(mechanism, "SCRAM") && said[len(said)-1] == "done" {
			t.Errorf("a proof was guessed: %q %q", one, two)
		}
		for _, s := range said {
			if !clean(s, maxChallenge) {
				t.Errorf("a challenge that fits no reply: %q", s)
			}
		}
	})
}

func FuzzPlain(f *testing.F) { fuzz(f, Plain, "\x00tim\x00tanstaaftanstaaf", "a\x00b\x00c\x00d") }

func FuzzLogin(f *testing.F) { fuzz(f, Login, "tim", "") }

func FuzzExternal(f *testing.F) { fuzz(f, External, "", "tim") }

func FuzzOAuthBearer(f *testing.F) {
	fuzz(f, OAuthBearer, "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer "+token+"\x01\x01", "y,a==2C,\x01auth=bearer x\x01\x01")
}

func FuzzXOAuth2(f *testing.F) {
	fuzz(f, XOAuth2, "user=someuser@example.com\x01auth=Bearer "+token+"\x01\x01", "user=\x01\x01\x01")
}

func FuzzScram(f *testing.F) {
	fuzz(f, ScramSHA256, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO", "y,a=user,n=user,r=x,ext", "n,,m=x,n=u,r=x", "p=tls-exporter,,n=u,r=x")
}
