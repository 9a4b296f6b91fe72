package dkim

import (
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/message"
)

func FuzzSignature(f *testing.F) {
	for _, s := range []string{
		"v=1; a=rsa-sha256; d=example.org; s=s1; h=From:To; bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; b=AAAA",
		"v=1;\r\n\ta=ed25519-sha256; c=relaxed/simple; d=example.org; s=a.b; i=a=3Db@x.example.org; l=5; q=dns/txt; t=1; x=2; h=From; bh=; b=;",
		"b=\r\n AA\tAA ; bh=b=; d=\x00", ";;", "=", "a", "d=\u00fc.example", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		s, err := ParseSignature(value)
		if s == nil {
			t.Fatal("nothing is told of a signature")
		}
		for _, name := range []string{s.Domain, s.Selector} {
			if len(name) > 253 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
				t.Fatalf("a name that is none: %q", name)
			}
		}
		if err != nil {
			if e := asError(err); e.Result != PermError || strings.ContainsAny(e.Error(), "\r\n\x00") {
				t.Fatalf("%s: %q", e.Result, e.Error())
			}
			return
		}
		if !strings.HasSuffix(s.Identity, s.Domain) || len(s.Hash) != 32 || len(s.Names) > MaxNames {
			t.Fatalf("%+v", s)
		}
		empty, err := EmptyB([]byte("DKIM-Signature: " + value + "\r\n"))
		if err != nil {
			t.Fatalf("b= was read and is not found: %v", err)
		}
		_, emptied, _ := strings.Cut(string(empty), ":")
		tags, err := ParseTags(emptied)
		if err != nil {
			t.Fatalf("without b= it is no list: %v", err)
		}
		if b, ok := tags.Get("b"); !ok || b != "" {
			t.Fatalf("b= is %q", b)
		}
	})
}

func FuzzKey(f *testing.F) {
	for _, s := range []string{
		"v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
		"v=DKIM1; k=ed25519; t=y:s; s=email; h=sha256; n=x; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "p=", "v=DKIM1; p=MAA=", "k=rsa; p=MAYCAQMCAQM=",
	} {
		f.Add(s)
	}
	sum := make([]byte, 32)
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParseKey(text)
		if err != nil {
			if e := asError(err); e.Result != PermError || strings.ContainsAny(e.Error(), "\r\n\x00") {
				t.Fatalf("%s: %q", e.Result, e.Error())
			}
			return
		}
		if k.Type == "rsa" && (k.Bits < MinBits || k.Bits > MaxBits) {
			t.Fatalf("a key of %d bits", k.Bits)
		}
		for _, a := range []Algorithm{RSASHA256, Ed25519SHA256} {
			if k.Verify(a, sum, sum) == nil {
				t.Fatal("zeros are a signature")
			}
		}
	})
}

// FuzzMessage: whatever comes, it is judged, and nothing passes that nobody signed.
func FuzzMessage(f *testing.F) {
	ed := edKey()
	for _, s := range []string{forge(f, letter, ed), letter, "DKIM-Signature:\r\n\r\n", forge(f, letter, ed, "c=simple", "l=3"), "DKIM-Signature: v=1\r\n x\r\n"} {
		f.Add(s)
	}
	dns := &texts{names: map[string][]string{"s1._domainkey.example.org": {"v=DKIM1; k=ed25519; p=" + "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="}}}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := message.ReadHeader(content(text), message.DefaultHeaderLimits); err != nil {
			return
		}
		if r := check(t, Verifier{Resolver: dns, Length: true}, text); r.Result() == Pass {
			t.Fatalf("%+v", r)
		}
	})
}
