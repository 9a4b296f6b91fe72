package smtp

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

func TestParseAddress(t *testing.T) {
	name64, label63 := strings.Repeat("l", 64), strings.Repeat("d", 63)
	domain189 := label63 + "." + label63 + "." + strings.Repeat("e", 61)
	for _, c := range []struct {
		in     string
		local  string
		domain string
	}{
		{"a@b", "a", "b"},
		{"User.Name@Example.ORG", "User.Name", "example.org"},
		{"a+tag!#$%&'*+-/=?^_`{|}~@x.test", "a+tag!#$%&'*+-/=?^_`{|}~", "x.test"},
		{"a@xn--bcher-kva.test", "a", "xn--bcher-kva.test"},
		{"a@3com.test", "a", "3com.test"},
		{"a@b.c3", "a", "b.c3"},
		// X3: the local part is opaque.
		{"victim%ext.test@our.test", "victim%ext.test", "our.test"},
		{"ext!v@our.test", "ext!v", "our.test"},
		{`"v@ext"@our.test`, "v@ext", "our.test"},
		// X4: quoting.
		{`"a"@x`, "a", "x"},
		{`"a b"@x`, "a b", "x"},
		{`"a\"b"@x`, `a"b`, "x"},
		{`"a@b"@x`, "a@b", "x"},
		{`""@x`, "", "x"},
		{`"a\\"@x`, `a\`, "x"},
		{`"\a\b"@x`, "ab", "x"},
		{`"<script>"@x`, "<script>", "x"},
		{`"a..b"@x`, "a..b", "x"},
		// X6: literals.
		{"v@[127.0.0.1]", "v", "[127.0.0.1]"},
		{"v@[IPv6:::1]", "v", "[IPv6:::1]"},
		{"v@[ipv6:2001:DB8:0::1]", "v", "[IPv6:2001:db8::1]"},
		{"v@[IPv6:::ffff:1.2.3.4]", "v", "[1.2.3.4]"},
		// X13: to a shell this would be something.
		{"${run{x}}@localhost", "${run{x}}", "localhost"},
		// X7: lengths.
		{name64 + "@x", name64, "x"},
		{`"` + name64 + `"@x`, name64, "x"},
		{name64 + "@" + domain189, name64, domain189},
		{"a@" + label63 + ".test", "a", label63 + ".test"},
	} {
		a, err := ParseAddress(c.in)
		if want := (Address{c.in, c.local, c.domain}); err != nil || a != want {
			t.Errorf("%s: got %+v, %v, want %+v", c.in, a, err, want)
		}
		if a.String() != c.in || a.IsNull() {
			t.Errorf("%s: String returns %q, IsNull %v", c.in, a, a.IsNull())
		}
	}
}

func TestParseAddressRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                                "501 5.1.3 local part ends too early",
		"a":                               "501 5.1.3 local part ends too early",
		"a@":                              "501 5.1.3 domain ends too early",
		"@b":                              `501 5.1.3 unexpected '@' in local part`,
		"<a@b>":                           `501 5.1.3 unexpected '<' in local part`,
		"postmaster":                      "501 5.1.3 local part ends too early",
		" a@b":                            `501 5.1.3 unexpected ' ' in local part`,
		"a@b ":                            `501 5.1.3 unexpected ' ' in address`,
		"a@b\r\nRCPT TO:<c@d>":            `501 5.1.3 unexpected '\r' in address`,
		".a@b":                            `501 5.1.3 unexpected '.' in local part`,
		"a.@b":                            `501 5.1.3 unexpected '@' in local part`,
		"a..b@c":                          `501 5.1.3 unexpected '.' in local part`,
		"ext.test!victim":                 "501 5.1.3 local part ends too early",
		"v@ext@our.test":                  `501 5.1.3 unexpected '@' in address`,
		"v@our:25":                        `501 5.1.3 unexpected ':' in address`,
		"v@ext.":                          "501 5.1.3 domain ends too early",
		"v@.ext":                          `501 5.1.3 unexpected '.' in domain`,
		"v@a..b":                          `501 5.1.3 unexpected '.' in domain`,
		"v@-a.test":                       "501 5.1.3 label of the domain starts or ends with a hyphen",
		"v@a-.test":                       "501 5.1.3 label of the domain starts or ends with a hyphen",
		"v@a_b.test":                      `501 5.1.3 unexpected '_' in address`,
		"v@127.0.0.1":                     "501 5.1.3 domain ends in digits only; an IP address is written in brackets",
		"(c)a@x":                          `501 5.1.3 unexpected '(' in local part`,
		"a(c)@x":                          `501 5.1.3 unexpected '(' in local part`,
		"a@x(c)":                          `501 5.1.3 unexpected '(' in address`,
		"a\x07b@c":                        `501 5.1.3 unexpected '\a' in local part`,
		"a\x00b@c":                        `501 5.1.3 unexpected '\x00' in local part`,
		"a\x7f@c":                         `501 5.1.3 unexpected '\x7f' in local part`,
		"\"a\tb\"@c":                      `501 5.1.3 unexpected '\t' in local part`,
		"\"a\\\x01b\"@c":                  `501 5.1.3 unexpected '\x01' in local part`,
		`"a`:                              "501 5.1.3 local part ends too early",
		`"a\`:                             "501 5.1.3 local part ends too early",
		`"a"b@c`:                          `501 5.1.3 unexpected 'b' in local part`,
		"v@[127.0.0.1":                    "501 5.1.3 address literal has no closing bracket",
		"v@[999.1.1.1]":                   "501 5.1.3 address literal is neither IPv4 nor IPv6: and an IPv6 address",
		"v@[127.0.0.01]":                  "501 5.1.3 address literal is neither IPv4 nor IPv6: and an IPv6 address",
		"v@[::1]":                         "501 5.1.3 address literal is neither IPv4 nor IPv6: and an IPv6 address",
		"v@[IPv6:1.2.3.4]":                "501 5.1.3 address literal is neither IPv4 nor IPv6: and an IPv6 address",
		"v@[IPv6:fe80::1%eth0]":           "501 5.1.3 address literal is neither IPv4 nor IPv6: and an IPv6 address",
		"v@[X25:1]":                       "501 5.1.3 address literal is neither IPv4 nor IPv6: and an IPv6 address",
		"v@[]":                            "501 5.1.3 address literal is neither IPv4 nor IPv6: and an IPv6 address",
		"v@[127.0.0.1]x":                  `501 5.1.3 unexpected 'x' in address`,
		"u@b\u00fccher.test":              "553 5.6.7 non-ASCII characters need SMTPUTF8",
		"\u00e9@x":                        "553 5.6.7 non-ASCII characters need SMTPUTF8",
		"\"\u00e9\"@x":                    "553 5.6.7 non-ASCII characters need SMTPUTF8",
		"u@x\u3002test":                   "553 5.6.7 non-ASCII characters need SMTPUTF8",
		"u\uff20x":                        "553 5.6.7 non-ASCII characters need SMTPUTF8",
		"\xc0\x80@x":                      "501 5.1.3 local part is not valid UTF-8",
		strings.Repeat("l", 65) + "@x":    "501 5.1.3 local part is longer than 64 octets",
		"a@" + strings.Repeat("d", 64):    "501 5.1.3 label of the domain is longer than 63 octets",
		"a@" + strings.Repeat("d.", 126):  "501 5.1.3 domain ends too early",
		"a@" + strings.Repeat("d.", 1000): "501 5.1.3 address is longer than 254 octets",
	} {
		a, err := ParseAddress(in)
		if err == nil || err.Error() != want || a != (Address{}) {
			t.Errorf("%q: got %+v, %v, want %s", in, a, err, want)
		}
		var reply Reply
		if !errors.As(err, &reply) || reply.Check() != nil {
			t.Errorf("%q: the error is not a reply that can be sent: %v", in, err)
		}
	}
}

func TestValidDomain(t *testing.T) {
	for s, want := range map[string]bool{
		"a": true, "Mail.example.org": true, "3com.test": true,
		"": false, "a.": false, ".a": false, "a..b": false, "-a": false, "a_b": false, "127.0.0.1": false,
		"[127.0.0.1]": false, "a b": false, "b\u00fccher.test": false, strings.Repeat("d.", 128) + "d": false,
	} {
		if got := ValidDomain(s); got != want {
			t.Errorf("%q: got %v, want %v", s, got, want)
		}
	}
}

func TestLiteral(t *testing.T) {
	for in, want := range map[string]string{
		"a@[192.0.2.1]":               "192.0.2.1",
		"a@[IPv6:2001:DB8::1]":        "2001:db8::1",
		"a@[IPv6:::ffff:127.0.0.1]":   "127.0.0.1",
		"a@[IPv6:0:0:0:0:0:0:0:0001]": "::1",
		"a@example.org":               "",
	} {
		a, err := ParseAddress(in)
		if err != nil {
			t.Fatal(err)
		}
		ip, ok := a.Literal()
		if ok != (want != "") || ok && ip.String() != want {
			t.Errorf("%s: got %v, %v, want %s", in, ip, ok, want)
		}
	}
}

// TestUTF8Address: what SMTPUTF8 lets through is compared in one form, and goes on in that in which it came.
func TestUTF8Address(t *testing.T) {
	for in, want := range map[string]Address{
		"a@example.org":                   {"a@example.org", "a", "example.org"},
		"u@b\u00fccher.test":              {"u@b\u00fccher.test", "u", "xn--bcher-kva.test"},
		"u@B\u00dcCHER.test":              {"u@B\u00dcCHER.test", "u", "xn--bcher-kva.test"},
		"u@xn--bcher-kva.test":            {"u@xn--bcher-kva.test", "u", "xn--bcher-kva.test"},
		"u@bu\u0308cher.test":             {"u@bu\u0308cher.test", "u", "xn--bcher-kva.test"},
		"u@a\u3002test":                   {"u@a\u3002test", "u", "a.test"},
		"u@\uff45xample.test":             {"u@\uff45xample.test", "u", "example.test"},
		"\u00e9@x":                        {"\u00e9@x", "\u00e9", "x"},
		"e\u0301@x":                       {"e\u0301@x", "\u00e9", "x"},
		"\"\u00e9 \\\"\"@x":               {"\"\u00e9 \\\"\"@x", "\u00e9 \"", "x"},
		"\u0915\u094d\u200d\u0937@x":      {"\u0915\u094d\u200d\u0937@x", "\u0915\u094d\u200d\u0937", "x"},
		"\u4e2d.\u6587@\u4f8b\u5b50.test": {"\u4e2d.\u6587@\u4f8b\u5b50.test", "\u4e2d.\u6587", "xn--fsqu00a.test"},
		"u@stra\u00dfe.test":              {"u@stra\u00dfe.test", "u", "xn--strae-oqa.test"},
		"\u00e9@[IPv6:2001:DB8:0::1]":     {"\u00e9@[IPv6:2001:DB8:0::1]", "\u00e9", "[IPv6:2001:db8::1]"},
	} {
		a, err := ParseUTF8Address(in)
		if err != nil || a != want {
			t.Errorf("%+q: got %+q, %v, want %+q", in, a, err, want)
		}
	}
	for in, want := range map[string]string{
		"a\u202eb@x":                        "control character in local part",
		"a\u200fb@x":                        "control character in local part",
		"a\u0085b@x":                        "control character in local part",
		"a\u2028b@x":                        "control character in local part",
		"\ufeffa@x":                         "control character in local part",
		"a\ufffe@x":                         "control character in local part",
		"a\xc0\x80@x":                       "local part is not valid UTF-8",
		"a\xed\xa0\x80@x":                   "local part is not valid UTF-8",
		"a@x\xff":                           "domain is not a name as RFC 5890 has it",
		"a@x\u202ey":                        "domain is not a name as RFC 5890 has it",
		"a@x\u2024y":                        "domain is not a name as RFC 5890 has it",
		"a@\u00e9-":                         "domain is not a name as RFC 5890 has it",
		"a@\u00e9..x":                       "unexpected '.' in domain",
		"a@" + strings.Repeat("\u00e9", 64): "label of the domain is longer than 63 octets",
		"a@\uff11\uff12":                    "domain ends in digits only; an IP address is written in brackets",
		"a\uff20x":                          "local part ends too early",
		strings.Repeat("\u00e9", 33) + "@x": "local part is longer than 64 octets",
	} {
		a, err := ParseUTF8Address(in)
		if want := "501 5.1.3 " + want; errorText(err) != want {
			t.Errorf("%+q: got %+q, %v, want %s", in, a, err, want)
		}
	}
}

func FuzzParseUTF8Address(f *testing.F) {
	for _, seed := range []string{"a@b", "u@b\u00fccher.test", "e\u0301@x", "\"\u00e9\"@\u4f8b\u5b50.test", "a@x\u3002y", "\u202ea@x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseUTF8Address(s)
		if err != nil {
			checkRefusal(t, []byte(s), err)
			if _, err := ParseAddress(s); err == nil {
				t.Fatalf("%q is an address without SMTPUTF8, and none with it", s)
			}
			return
		}
		if a.Text != s || !utf8.ValidString(s) || strings.ContainsFunc(s, IsControl) || !norm.NFC.IsNormalString(a.Local) {
			t.Fatalf("%q: got %q", s, a)
		}
		if !ValidDomain(a.Domain) && !strings.HasPrefix(a.Domain, "[") || a.Domain != strings.ToLower(a.Domain) && !strings.HasPrefix(a.Domain, "[IPv6:") {
			t.Fatalf("%q: bad domain %q", s, a.Domain)
		}
		if b, err := ParseAddress(s); ascii(s) != (err == nil) || err == nil && a != b {
			t.Fatalf("%q: %q with SMTPUTF8, %q, %v without", s, a, b, err)
		}
		// The domain in its other forms is the same one.
		if b, err := ParseUTF8Address("x@" + a.Domain); err != nil || b.Domain != a.Domain {
			t.Fatalf("%q: the domain %q becomes %q, %v", s, a.Domain, b.Domain, err)
		}
	})
}

func FuzzParseAddress(f *testing.F) {
	for _, seed := range []string{"a@b", `"a\"b"@[IPv6:::1]`, "a..b@c", "v@ext@our", "u@b\u00fccher.test"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			var reply Reply
			if !errors.As(err, &reply) || reply.Check() != nil || reply.Code/100 != 5 {
				t.Fatalf("%q: bad error %v", s, err)
			}
			return
		}
		checkAddress(t, a)
		if a.Text != s {
			t.Fatalf("%q: Text is %q", s, a.Text)
		}
		// Each way to write an address that is accepted names the same mailbox on the way out.
		for _, parse := range []func(string) (Address, Params, error){
			func(s string) (Address, Params, error) { return ParseMail("FROM:<" + s + ">") },
			func(s string) (Address, Params, error) { return ParseRcpt("TO:<@a,@b:"+s+">", false) },
		} {
			if b, _, err := parse(s); err == nil && b != a {
				t.Fatalf("%q: %+v in a path, %+v without", s, b, a)
			}
		}
		canonical := Address{Local: a.Local, Domain: a.Domain}
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(a.Local) + `"@` + a.Domain
		if b, err := ParseAddress(quoted); err == nil && (Address{Local: b.Local, Domain: b.Domain}) != canonical {
			t.Fatalf("%q: %+v when quoted, %+v as given", s, b, a)
		}
	})
}

// checkAddress checks what holds for every address that a parser returned.
func checkAddress(t *testing.T, a Address) {
	t.Helper()
	if len(a.Text) > maxPath-2 || len(a.Local) > maxLocal || len(a.Domain) > maxDomain {
		t.Fatalf("%+v is too long", a)
	}
	for _, part := range []string{a.Text, a.Local, a.Domain} {
		for i := range len(part) {
			if !isPrintable(part[i]) {
				t.Fatalf("%+v holds %q", a, part[i])
			}
		}
	}
	if a.Domain != strings.ToLower(a.Domain) && !strings.HasPrefix(a.Domain, "[IPv6:") {
		t.Fatalf("%+v: the domain is not in lower case", a)
	}
	if _, ok := a.Literal(); ok != strings.HasPrefix(a.Domain, "[") {
		t.Fatalf("%+v: Literal returns %v", a, ok)
	}
}
