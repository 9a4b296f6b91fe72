package dkim

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"
)

// letters are messages that every signature has to hold for.
var letters = map[string]string{
	"a letter":       letter,
	"no body":        "From: ann@example.org\r\n\r\n",
	"no end":         "From: ann@example.org\r\nSubject: x\r\n",
	"odd spaces":     "From : Ann\r\n\t<ann@example.org> \r\nSubject:\r\n  two \t words\r\nX-Empty:\r\n\r\n a \t b \r\n\t\r\n\r\n",
	"8 bits":         "From: ann@example.org\r\nSubject: Gr\xc3\xbc\xc3\x9fe\r\n\r\nGr\xc3\xbc\xc3\x9fe\xff\r\n",
	"many of a kind": "Received: 1\r\nReceived: 2\r\nFrom: ann@example.org\r\nComments: a\r\nComments: b\r\nTo: bob@example.net\r\n\r\nx\r\n",
}

var signed = []string{"To", "Subject", "Received", "Comments", "X-Empty", "From"}

// TestSign: what is signed verifies, in every form, with both types of keys at once, and the fields fit on a wire.
func TestSign(t *testing.T) {
	ed, r := edKey(), keyFile(t, "rsa2048.pem")
	dns := &texts{names: map[string][]string{"s1._domainkey.example.org": {record(t, r)}, "a-long-selector.of-two-labels._domainkey.example.org": {record(t, ed)}}}
	for name, text := range letters {
		for _, header := range []Canon{Simple, Relaxed} {
			for _, body := range []Canon{Simple, Relaxed} {
				_, fields, rest := split(t, text)
				names, err := Names(fields, signed, []string{"Subject", "Reply-To"})
				if err != nil {
					t.Fatal(err)
				}
				s := Signing{Domain: "Example.org", Selector: "s1", Key: r, Header: header, Body: body, Names: names, Time: noon, Expires: noon.Add(time.Hour)}
				e := s
				e.Selector, e.Key = "a-long-selector.of-two-labels", ed
				values, err := Sign(context.Background(), fields, strings.NewReader(rest), s, e)
				if err != nil {
					t.Fatal(err)
				}
				for _, v := range values {
					if tags, err := ParseTags(v); err != nil {
						t.Error(err)
					} else if l, ok := tags.Get("l"); ok {
						t.Errorf("it has l=%s", l)
					}
					for line := range strings.SplitSeq("DKIM-Signature: "+v, "\r\n") {
						if len(line) > 78 {
							t.Errorf("a line of %d characters: %s", len(line), line)
						}
					}
					text = Field + ": " + v + "\r\n" + text
				}
				got := check(t, Verifier{Resolver: dns}, text)
				if len(got.Checked) < 2 || slices.ContainsFunc(got.Checked, func(c Checked) bool { return c.Result != Pass || c.Domain != "example.org" }) {
					t.Errorf("%s, %s/%s: %+v\n%s", name, header, body, got, text)
				}
				for _, add := range []string{"From: eve@example.com\r\n", "Subject: bye\r\n", "Reply-To: eve@example.com\r\n"} {
					if got := check(t, Verifier{Resolver: dns}, add+text); got.Result() != Fail {
						t.Errorf("%s, with %q on top: %+v", name, add, got)
					}
				}
				text = letters[name]
			}
		}
	}
}

func TestNames(t *testing.T) {
	_, fields, _ := split(t, letters["many of a kind"])
	got, err := Names(fields, signed, []string{"Reply-To"})
	if want := "From:From:Reply-To:To:Received:Received:Comments:Comments"; err != nil || strings.Join(got, ":") != want {
		t.Errorf("%s, %v; want %s", strings.Join(got, ":"), err, want)
	}
	for _, bad := range []string{"", "a b", "a:b", "a;b", "\u00fc"} {
		if _, err := Names(fields, []string{bad}, []string{bad}); err == nil {
			t.Errorf("%q is a name", bad)
		}
	}
	_, fields, _ = split(t, strings.Repeat("X: y\r\n", 300)+letter)
	if _, err := Names(fields, []string{"X"}, nil); err == nil || !strings.Contains(err.Error(), "more than 256 names") {
		t.Error(err)
	}
}

// TestSignNot: what cannot be signed as asked.
func TestSignNot(t *testing.T) {
	_, fields, _ := split(t, letter)
	good := Signing{Domain: "example.org", Selector: "s1", Key: edKey(), Names: []string{"From"}}
	for _, tt := range []struct {
		why    string
		change func(*Signing)
	}{
		{"d=\"org\" is no domain", func(s *Signing) { s.Domain = "org" }},
		{"characters that no domain name has", func(s *Signing) { s.Domain = "example.org; x=1" }},
		{"characters that no domain name has", func(s *Signing) { s.Selector = "a\r\nb" }},
		{"empty label", func(s *Signing) { s.Selector = "" }},
		{"longer than 253", func(s *Signing) { s.Selector = strings.Repeat("a.", 115) + "a" }},
		{"without From", func(s *Signing) { s.Names = []string{"To"} }},
	} {
		s := good
		tt.change(&s)
		if _, err := Sign(context.Background(), fields, strings.NewReader("x"), s); err == nil || !strings.Contains(err.Error(), tt.why) {
			t.Errorf("%v, want %q", err, tt.why)
		}
	}
	if _, err := Sign(context.Background(), nil, strings.NewReader("x"), good); err == nil || !strings.Contains(err.Error(), "no From") {
		t.Error(err)
	}
	if _, err := Sign(context.Background(), fields, strings.NewReader("x"), make([]Signing, 11)...); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Error(err)
	}
	if _, err := Sign(context.Background(), fields, broken{}, good); err == nil {
		t.Error("a body that cannot be read")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Sign(ctx, fields, strings.NewReader("x"), good); err == nil {
		t.Error("no time")
	}
}

func TestPrivateKeys(t *testing.T) {
	for _, tt := range []struct {
		kind string
		bits int
	}{{"ed25519", 0}, {"rsa", 1024}} {
		k, err := NewPrivateKey(tt.kind, tt.bits)
		if err != nil {
			t.Fatal(err)
		}
		text, err := k.PEM()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParsePrivateKey(text)
		if err != nil || record(t, again) != record(t, k) || again.Algorithm() != k.Algorithm() {
			t.Errorf("%s: %v", tt.kind, err)
		}
		if pub, err := ParseKey(record(t, k)); err != nil || pub.Type != tt.kind {
			t.Errorf("%+v, %v", pub, err)
		}
	}
	if k, err := ParsePrivateKey([]byte(example(t, "rfc6376.pem"))); err != nil || k.Algorithm() != RSASHA256 {
		t.Error(err)
	}
	for _, tt := range []struct{ text, why string }{
		{"", "neither PEM nor"},
		{"AAAA", "neither PEM nor"},
		{example(t, "rsa512.pem"), "512 bits"},
		{"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "of type \"PUBLIC KEY\""},
		{"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "asn1"},
		{"-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n", "asn1"},
	} {
		if _, err := ParsePrivateKey([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.why) {
			t.Errorf("%.40q: %v, want %q", tt.text, err, tt.why)
		}
	}
	for _, tt := range []struct {
		kind string
		bits int
	}{{"rsa", 512}, {"rsa", 8192}, {"dsa", 1024}} {
		if _, err := NewPrivateKey(tt.kind, tt.bits); err == nil {
			t.Errorf("%s %d was made", tt.kind, tt.bits)
		}
	}
}
