package dmarc

import (
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/message"
)

// fromCases are values of a From field, and the author domain in each, or why there is none.
var fromCases = []struct {
	value  string
	domain string
	fault  Fault
}{
	{value: "ceo@bank.example", domain: "bank.example"},
	{value: "CEO@Bank.EXAMPLE", domain: "bank.example"},
	{value: "<ceo@bank.example>", domain: "bank.example"},
	{value: "< ceo@bank.example\t>", domain: "bank.example"},
	{value: "The Bank <ceo@bank.example>", domain: "bank.example"},
	{value: "The Bank, Inc. <ceo@bank.example>", fault: Malformed},
	{value: `"The Bank, Inc." <ceo@bank.example>`, domain: "bank.example"},
	{value: "J. Q. Bank <ceo@bank.example>", domain: "bank.example"},
	{value: "The Bank<ceo@bank.example>", domain: "bank.example"},
	{value: `"The" Bank <ceo@bank.example> (its head)`, domain: "bank.example"},
	{value: "ceo@bank.example (The Bank)", domain: "bank.example"},
	{value: "(The Bank) ceo@bank.example", domain: "bank.example"},
	{value: `(The (old) \) Bank) <ceo@bank.example>`, domain: "bank.example"},
	{value: "=?utf-8?q?B=C3=A4nk?= <ceo@bank.example>", domain: "bank.example"},
	{value: "Bänk <ceo@bank.example>", domain: "bank.example"},
	{value: "B\xe4nk <ceo@bank.example>", domain: "bank.example"},
	{value: "ceo@sub_domain.bank.example", domain: "sub_domain.bank.example"},
	{value: "a@localhost", domain: "localhost"},
	{value: `"c e o"@bank.example`, domain: "bank.example"},
	{value: "a@bank.example, b@bank.example", domain: "bank.example"},
	{value: "A <a@bank.example>, \"B\" <b@BANK.example>", domain: "bank.example"},

	// Internationalized domains.
	{value: "ceo@bänk.example", domain: "xn--bnk-qla.example"},
	{value: "ceo@BÄNK.example", domain: "xn--bnk-qla.example"},
	{value: "ceo@xn--bnk-qla.example", domain: "xn--bnk-qla.example"},
	{value: "ceo@bänk.example, ceo@xn--bnk-qla.example", domain: "xn--bnk-qla.example"},
	{value: "ceo@bank。example", domain: "bank.example"}, // an ideographic full stop is one
	{value: "ceo@bаnk.example", domain: "xn--bnk-6cd.example"},
	{value: "ceo@ba\u200bnk.example", domain: "bank.example"}, // it means nothing to any reader
	{value: "ceo@bank\u2024example", fault: NoDomain},
	{value: "ceo@b\xe4nk.example", fault: NoDomain},

	// Names that speak of addresses.
	{value: `"ceo@bank.example" <a@evil.example>`, domain: "evil.example"}, // as mailing lists write
	{value: `"ceo@bank.example via list" <list@evil.example>`, domain: "evil.example"},
	{value: `"Ceo <ceo@bank.example>" <ceo@bank.example>`, domain: "bank.example"},
	{value: `"I <3 you @home" <a@evil.example>`, domain: "evil.example"},
	{value: "ceo@bank.example <a@evil.example>", fault: Malformed},
	{value: `"Ceo <ceo@bank.example>" <a@evil.example>`, fault: Decoy},
	{value: `"<ceo@bank.example>" <a@evil.example>`, fault: Decoy},
	{value: `"<ceo@bank.example" <a@evil.example>`, fault: Decoy},
	{value: `"\<ceo@bank.example\>" <a@evil.example>`, fault: Decoy},
	{value: "=?utf-8?b?PGNlb0BiYW5rLmV4YW1wbGU+?= <a@evil.example>", fault: Decoy},
	{value: "=?utf-8?q?=3Cceo=40bank=2Eexample=3E?= <a@evil.example>", fault: Decoy},
	{value: "=?utf-8?q?Ceo=0D=0AFrom=3A_ceo?= <a@evil.example>", fault: Decoy},
	{value: "=?utf-8?q?ceo=00?= <a@evil.example>", fault: Decoy},
	{value: "a@evil.example (<ceo@bank.example>)", fault: Decoy},
	{value: "a@evil.example (x (<ceo@bank.example>))", fault: Decoy},
	{value: "(<ceo@bank.example>) a@evil.example", fault: Decoy},

	// Several addresses.
	{value: "ceo@bank.example, a@evil.example", fault: SeveralDomains},
	{value: "<ceo@bank.example>,<a@evil.example>", fault: SeveralDomains},
	{value: "<ceo@bank.example><a@evil.example>", fault: Malformed},
	{value: "<ceo@bank.example> <a@evil.example>", fault: Malformed},
	{value: "ceo@bank.example a@evil.example", fault: Malformed},
	{value: `<ceo@bank.example>\,<a@evil.example>`, fault: Malformed},
	{value: "=?utf-8?b?Y2VvQGJhbmsuZXhhbXBsZQ==?=,<a@evil.example>", fault: Malformed},
	{value: ",a@evil.example", fault: Malformed},
	{value: "a@evil.example,", fault: NoDomain},
	{value: "a@evil.example,,b@evil.example", fault: Malformed},
	{value: strings.Repeat("a@bank.example,", 5000) + "a@evil.example", fault: TooMany},

	// Groups.
	{value: "Friends: ceo@bank.example;", fault: Group},
	{value: "Friends: ceo@bank.example, a@evil.example;", fault: Group},
	{value: "Nobody:;", fault: Group},
	{value: ":;", fault: Group},
	{value: "a@evil.example, Friends: ceo@bank.example;", fault: Group},
	{value: "a@evil.example;", fault: Group},
	{value: "ceo@bank.example:;a@evil.example", fault: Group},

	// No domain.
	{value: "", fault: NoDomain},
	{value: "   ", fault: NoDomain},
	{value: "(comment)", fault: NoDomain},
	{value: "<>", fault: NoDomain},
	{value: "ceo", fault: Malformed},
	{value: "<ceo>", fault: NoDomain},
	{value: "ceo@", fault: NoDomain},
	{value: "<ceo@>", fault: NoDomain},
	{value: "<@bank.example>", fault: Malformed},
	{value: "@bank.example", fault: Malformed},
	{value: "ceo@.", fault: NoDomain},
	{value: "ceo@bank.example.", fault: NoDomain},
	{value: "ceo@.bank.example", fault: NoDomain},
	{value: "ceo@bank..example", fault: NoDomain},
	{value: "ceo@[192.0.2.1]", fault: NoDomain},
	{value: "ceo@192.0.2.1", fault: NoDomain},
	{value: "ceo@bank!.example", fault: NoDomain},
	{value: "ceo@*.example", fault: NoDomain},
	{value: "ceo@" + strings.Repeat("a", 64) + ".example", fault: NoDomain},
	{value: "ceo@" + strings.Repeat("a.", 130) + "example", fault: NoDomain},

	// Obsolete forms, and what is none at all.
	{value: "<@evil.example:ceo@bank.example>", fault: Malformed},
	{value: "<@evil.example,@any.example:ceo@bank.example>", fault: Malformed},
	{value: "ceo @bank.example", fault: Malformed},
	{value: "ceo@ bank.example", fault: NoDomain},
	{value: "ceo@bank .example", fault: Malformed},
	{value: "<ceo@bank .example>", fault: Malformed},
	{value: "ceo@bank.example(.evil.example)", domain: "bank.example"},
	{value: "<ceo@bank.example(.evil.example)>", fault: Malformed},
	{value: "<ceo(x)@bank.example>", fault: Malformed},
	{value: "ceo(<a@evil.example>)@bank.example", fault: Malformed},
	{value: "(ceo@bank.example", fault: Malformed},
	{value: `"ceo@bank.example`, fault: Malformed},
	{value: `"ceo@bank.example\"`, fault: Malformed},
	{value: "<ceo@bank.example", fault: Malformed},
	{value: "ceo@bank.example>", fault: Malformed},
	{value: "<<ceo@bank.example>>", fault: Malformed},
	{value: "ceo@bank.example@evil.example", fault: Malformed},
	{value: "<ceo@bank.example@evil.example>", fault: Malformed},
	{value: "ceo..x@bank.example", fault: Malformed},
	{value: ".ceo@bank.example", fault: Malformed},
	{value: "[x] ceo@bank.example", fault: Malformed},
	{value: `ceo\@bank.example`, fault: Malformed},
	{value: "ceo@bank.example\x00.evil.example", fault: Malformed},
	{value: "ceo\x00@bank.example", fault: Malformed},
	{value: "a@evil.example\rFrom: ceo@bank.example", fault: Malformed},
	{value: "ceo@bank.example\x7f", fault: Malformed},

	// Local parts that look like addresses.
	{value: `"ceo@bank.example"@evil.example`, fault: OddLocal},
	{value: `"ceo@bank.example>,"@evil.example`, fault: OddLocal},
	{value: `<"ceo@bank.example"@evil.example>`, fault: OddLocal},
	{value: `"<ceo"@evil.example`, fault: OddLocal},
	{value: `"c\"eo"@evil.example`, fault: OddLocal},
	{value: `"ceo".x@evil.example`, fault: OddLocal},
	{value: `ceo."x"@evil.example`, fault: Malformed},
	{value: "ceo＠bank.example@evil.example", fault: OddLocal},
}

func TestParseFrom(t *testing.T) {
	for _, tt := range fromCases {
		name := tt.value[:min(len(tt.value), 80)]
		t.Run(name, func(t *testing.T) {
			domain, err := ParseFrom(tt.value)
			var fault Fault
			if err != nil {
				fault = err.Fault
			}
			if domain != tt.domain || fault != tt.fault {
				t.Errorf("%q, %q, want %q, %q", domain, fault, tt.domain, tt.fault)
			}
		})
	}
}

// TestAuthor: which field of the message it is.
func TestAuthor(t *testing.T) {
	for _, tt := range []struct {
		name, header, body string
		domain             string
		fault              Fault
	}{
		{name: "one", header: "To: b@example.org\r\nFrom: ceo@bank.example\r\n", domain: "bank.example"},
		{name: "folded", header: "From: The\r\n Bank\r\n\t<ceo@bank.example>\r\n", domain: "bank.example"},
		{name: "folded within the address", header: "From: ceo@bank\r\n .example\r\n", fault: Malformed},
		{name: "folded so that each line is an address", header: "From: <ceo@bank.example>\r\n ,<a@evil.example>\r\n", fault: SeveralDomains},
		{name: "letters of either case", header: "fRoM: ceo@bank.example\r\n", domain: "bank.example"},
		{name: "none", header: "To: b@example.org\r\n", fault: NoFrom},
		{name: "only others", header: "Sender: ceo@bank.example\r\nResent-From: ceo@bank.example\r\nX-From: a@bank.example\r\n", fault: NoFrom},
		{name: "two", header: "From: ceo@bank.example\r\nFrom: a@evil.example\r\n", fault: SeveralFrom},
		{name: "the same twice", header: "From: ceo@bank.example\r\nFrom: ceo@bank.example\r\n", fault: SeveralFrom},
		{name: "the second with a space before the colon", header: "From: ceo@bank.example\r\nFrom : a@evil.example\r\n", fault: SeveralFrom},
		{name: "the second with a tab", header: "From\t: ceo@bank.example\r\nfrom: a@evil.example\r\n", fault: SeveralFrom},
		{name: "the second behind what is no field", header: "From: a@evil.example\r\n", body: "no field\r\nFrom: ceo@bank.example\r\n\r\nbody\r\n", fault: StrayFrom},
		{name: "there, with a space before it", header: "From: a@evil.example\r\n", body: "x\r\n\tFrom\t: ceo@bank.example\r\n\r\nbody\r\n", fault: StrayFrom},
		{name: "what is no field is it", header: "From: a@evil.example\r\n", body: "\x00From: ceo@bank.example\r\n\r\nbody\r\n", fault: StrayFrom},
		{name: "behind what is no field, and no From", header: "From: a@evil.example\r\n", body: "hello\r\nfrom me\r\n\r\nFrom: ceo@bank.example\r\n", domain: "evil.example"},
		{name: "in the body", header: "From: a@evil.example\r\n", body: "\r\nFrom: ceo@bank.example\r\n", domain: "evil.example"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			content := text(tt.header + tt.body)
			h, err := message.ReadHeader(content, message.DefaultHeaderLimits)
			if err != nil {
				t.Fatal(err)
			}
			domain, fault := Author(h, content)
			if fault == nil {
				fault = &FromError{}
			}
			if domain != tt.domain || fault.Fault != tt.fault {
				t.Errorf("%q, %q, want %q, %q", domain, fault.Fault, tt.domain, tt.fault)
			}
		})
	}
}

// text is a content in memory.
type text string

func (s text) ReadAt(p []byte, off int64) (int, error) {
	return strings.NewReader(string(s)).ReadAt(p, off)
}
func (s text) Size() int64   { return int64(len(s)) }
func (s text) Bytes() []byte { return []byte(s) }

func FuzzFrom(f *testing.F) {
	for _, c := range fromCases {
		if len(c.value) < 1000 {
			f.Add(c.value)
		}
	}
	f.Fuzz(func(t *testing.T, value string) {
		domain, err := ParseFrom(value)
		if err != nil {
			if domain != "" || err.Fault == "" {
				t.Errorf("%q and %q", domain, err.Fault)
			}
			return
		}
		if again, ok := canonical(domain); !ok || again != domain {
			t.Errorf("%q is not canonical", domain)
		}
		if !strings.Contains(value, "@") || strings.ContainsAny(value, "\r\n\x00") {
			t.Errorf("%q has a domain", value)
		}
		// Whoever adds an address of another domain is found out.
		if _, err := ParseFrom(value + ",x@other.invalid"); err == nil && domain != "other.invalid" {
			t.Errorf("%q with another address has one domain", value)
		}
	})
}
