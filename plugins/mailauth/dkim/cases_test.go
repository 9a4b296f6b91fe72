package dkim

import (
	"crypto"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

func hashOf(k *PrivateKey) crypto.SignerOpts {
	if k.Algorithm() == Ed25519SHA256 {
		return crypto.Hash(0)
	}
	return crypto.SHA256
}

// rsaRecord is a record with any numbers in it.
func rsaRecord(n *big.Int, e *big.Int) string {
	inner, err := asn1.Marshal(struct{ N, E *big.Int }{n, e})
	if err != nil {
		panic(err)
	}
	return "v=DKIM1; p=" + base64.StdEncoding.EncodeToString(inner)
}

// ofBits is an odd number of that many bits.
func ofBits(bits int) *big.Int {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	return n.Add(n, big.NewInt(1))
}

// swap is an edit on the way.
func swap(old, by string) func(string) string {
	return func(s string) string {
		if !strings.Contains(s, old) {
			panic("nothing to swap: " + old)
		}
		return strings.Replace(s, old, by, 1)
	}
}

// TestCases: what is signed with a right key comes out as it should, whatever else it says. The signature is right in all of them but for
// what the case changes.
func TestCases(t *testing.T) {
	r2048, r4096, e3, ed := keyFile(t, "rsa2048.pem"), keyFile(t, "rsa4096.pem"), keyFile(t, "rsa2048e3.pem"), edKey()
	good, other := record(t, ed), record(t, r2048)
	p := strings.TrimPrefix(good, "v=DKIM1; k=ed25519; p=")
	rsaP := strings.TrimPrefix(other, "v=DKIM1; k=rsa; p=")
	n := r2048.signer.Public().(*rsa.PublicKey).N
	unix := func(d time.Duration) string { return fmt.Sprint(noon.Add(d).Unix()) }
	type tc struct {
		name   string
		tags   []string // changes of the signature
		record string   // of the key; "": the right one, "-": none
		more   []string // further records
		key    *PrivateKey
		text   string // the message; "": letter
		edit   func(string) string
		length bool
		want   Result
		why    string
	}
	cases := []tc{
		// what is right
		{name: "ed25519", want: Pass},
		{name: "rsa 2048", key: r2048, want: Pass},
		{name: "rsa 4096", key: r4096, want: Pass},
		{name: "rsa with the exponent 3", key: e3, want: Pass},
		{name: "simple/simple", tags: []string{"c=simple/simple"}, want: Pass},
		{name: "simple/relaxed", tags: []string{"c=simple/relaxed"}, want: Pass},
		{name: "relaxed/simple", tags: []string{"c=relaxed/simple"}, want: Pass},
		{name: "c=relaxed is relaxed/simple", tags: []string{"c=relaxed"}, want: Pass},
		{name: "no c= is simple/simple", tags: []string{"-c"}, want: Pass},
		{name: "white space around tags", tags: []string{"d= example.org ", "h= From : To "}, want: Pass},
		{name: "an unknown tag", tags: []string{"zz=what ever"}, want: Pass},
		{name: "a tag name in another case is another tag", tags: []string{"B=abc"}, want: Pass},
		{name: "no t=", tags: []string{"-t"}, want: Pass},
		{name: "the key as RSAPublicKey alone", key: r2048, record: rsaRecord(n, big.NewInt(65537)), want: Pass},
		{name: "a record without v=", record: "k=ed25519; p=" + p, want: Pass},
		{name: "a record without k= is rsa", key: r2048, record: "v=DKIM1; p=" + rsaP, want: Pass},
		{name: "white space in p=", key: r2048, record: "v=DKIM1; p=" + rsaP[:20] + " \t" + rsaP[20:], want: Pass},
		{name: "a record that ends in ;", record: good + ";", want: Pass},
		{name: "h= of the key with sha256 in it", record: good + "; h=sha1:sha256", want: Pass},
		{name: "s= of the key is all", record: good + "; s=*", want: Pass},
		{name: "s= of the key is email and more", record: good + "; s=other:email", want: Pass},
		{name: "unknown flags of the key", record: good + "; t=q:z", want: Pass},
		{name: "notes of the key", record: good + "; n=some notes", want: Pass},
		{name: "g= of the key is nothing any more", record: good + "; g=nobody", want: Pass},
		{name: "the second of two keys", record: other, more: []string{good}, want: Pass},
		{name: "a record that is no key beside one", record: "v=spf1 -all", more: []string{good}, want: Pass},
		{name: "fields that are not there", tags: []string{"h=From:To:Cc:Reply-To:Subject"}, want: Pass},
		{name: "names in any case", tags: []string{"h=FROM:to:sUBJECT"}, want: Pass},

		// K5: which fields
		{name: "no From in h=", tags: []string{"h=To:Subject:Date"}, want: PermError, why: "without From"},
		{name: "h= is empty", tags: []string{"h="}, want: PermError, why: "h= is empty"},
		{name: "an empty name in h=", tags: []string{"h=From::To"}, want: PermError, why: `h= has ""`},
		{name: "a name that is none", tags: []string{"h=From:Sub ject"}, want: PermError, why: "no name of a field"},
		{name: "10,000 names in h=", tags: []string{"h=From" + strings.Repeat(":X", 10_000)}, want: PermError, why: "10001 names"},
		{name: "as many names as are looked at", tags: []string{"h=From" + strings.Repeat(":X", MaxNames-1)}, want: Pass},
		{name: "a second From above one that was signed once", edit: swap("From: Ann", "From: Eve <eve@example.com>\r\nFrom: Ann"), want: Pass},
		{name: "a second From below it", edit: swap("\r\nSubject:", "\r\nFrom: Eve <eve@example.com>\r\nSubject:"), want: Fail, why: "does not fit the header"},
		{name: "a second From where From was oversigned", tags: []string{"h=From:From:To"}, edit: swap("From: Ann", "From: Eve <eve@example.com>\r\nFrom: Ann"), want: Fail},
		{name: "a Reply-To where none was oversigned", tags: []string{"h=From:Reply-To"}, edit: swap("From: Ann", "Reply-To: eve@example.com\r\nFrom: Ann"), want: Fail},
		{name: "fields in another order", edit: swap("To: bob@example.net\r\nSubject: hello\r\n", "Subject: hello\r\nTo: bob@example.net\r\n"), want: Pass},
		{name: "two of a name change places", text: "X: 1\r\nX: 2\r\n" + letter, tags: []string{"h=From:X:X"}, edit: swap("X: 1\r\nX: 2\r\n", "X: 2\r\nX: 1\r\n"), want: Fail},
		{name: "the lowest is the one", text: "X: 1\r\nX: 2\r\n" + letter, tags: []string{"h=From:X"}, edit: swap("X: 1\r\n", "X: 3\r\n"), want: Pass},
		{name: "the lowest was changed", text: "X: 1\r\nX: 2\r\n" + letter, tags: []string{"h=From:X"}, edit: swap("X: 2\r\n", "X: 3\r\n"), want: Fail},
		{name: "a field that was not signed", tags: []string{"h=From:To"}, edit: swap("Subject: hello", "Subject: bye"), want: Pass},
		{name: "a field that was", edit: swap("Subject: hello", "Subject: bye"), want: Fail},
		{name: "a field is folded on the way, relaxed", edit: swap("Subject: hello", "Subject:\r\n\t hello"), want: Pass},
		{name: "white space before the colon, relaxed", edit: swap("Subject: hello", "subject \t: hello  "), want: Pass},
		{name: "a field is folded on the way, simple", tags: []string{"c=simple/simple"}, edit: swap("Subject: hello", "Subject:\r\n hello"), want: Fail},
		{name: "the case of a name, simple", tags: []string{"c=simple/simple"}, edit: swap("\r\nSubject:", "\r\nsubject:"), want: Fail},
		{name: "h= with other signatures in it", text: "DKIM-Signature: other\r\n" + letter, tags: []string{"h=From:DKIM-Signature:DKIM-Signature"}, want: Pass},
		{name: "a header that ends in no field", text: strings.Replace(letter, "Date:", "no field\r\nDate:", 1), tags: []string{"h=From"}, want: PermError, why: "no field"},

		// b= in odd forms
		{name: "b= folded and spaced", edit: func(s string) string {
			at := strings.Index(s, " b=") + 3
			return s[:at] + " \r\n\t" + s[at:at+10] + "\r\n  " + s[at+10:]
		}, want: Pass},
		{name: "b= in capitals", edit: swap(" b=", " B="), want: PermError, why: "b= is missing"},
		{name: "b= twice", edit: swap("; b=", "; b=AAAA; b="), want: PermError, why: "b= stands twice"},
		{name: "b= is empty", tags: []string{"b=b="}, want: PermError, why: "b= is empty"},
		{name: "b= is not base64", tags: []string{"b=b=*"}, want: PermError, why: "b= is not base64"},
		{name: "b= is of another length", tags: []string{"b=b=AAAA"}, want: Fail},
		{name: "b= is too long", tags: []string{"b=b=" + strings.Repeat("AAAA", 300)}, want: PermError, why: "b= has 900 bytes"},
		{name: "bh= of another body", tags: []string{"bh=" + base64.StdEncoding.EncodeToString(make([]byte, 32))}, want: Fail, why: "body was changed"},
		{name: "bh= is missing", tags: []string{"-bh"}, want: PermError, why: "bh= is missing"},
		{name: "bh= of SHA-1", tags: []string{"bh=" + base64.StdEncoding.EncodeToString(make([]byte, 20))}, want: PermError, why: "bh= is no SHA-256"},

		// K1: the length
		{name: "l= of all", tags: []string{"l=100000"}, want: Fail, why: "l= leaves"},
		{name: "l=0", tags: []string{"l=0"}, want: Fail, why: "l= leaves"},
		{name: "l= with text behind", tags: []string{"l=10"}, edit: func(s string) string { return s + "<script>\r\n" }, want: Fail, why: "l= leaves"},
		{name: "l= where it may be", tags: []string{"l=10"}, edit: func(s string) string { return s + "more\r\n" }, length: true, want: Pass},
		{name: "l= beyond the body", tags: []string{"l=100000"}, length: true, want: Fail, why: "more than the body"},
		{name: "l= that is none", tags: []string{"l=-1"}, length: true, want: PermError, why: "no number of octets"},
		{name: "l= that is too large", tags: []string{"l=" + strings.Repeat("9", 76)}, length: true, want: PermError, why: "no number of octets"},
		{name: "before l= ends", tags: []string{"l=10"}, edit: swap("Dear Bob", "Dear Eve"), length: true, want: Fail, why: "body was changed"},

		// the body
		{name: "a word of the body", edit: swap("hello.\r\n", "bye.\r\n"), want: Fail, why: "body was changed"},
		{name: "empty lines at its end", edit: func(s string) string { return s + "\r\n\r\n" }, want: Pass},
		{name: "white space in it, relaxed", edit: swap("Dear Bob,", "Dear \t Bob,  "), want: Pass},
		{name: "white space in it, simple", tags: []string{"c=relaxed/simple"}, edit: swap("Dear Bob,", "Dear  Bob,"), want: Fail},
		{name: "an empty line in it", edit: swap("Bob,\r\n", "Bob,\r\n\r\n"), want: Fail},
		{name: "no body", text: "From: ann@example.org\r\n\r\n", tags: []string{"h=From"}, want: Pass},
		{name: "no body, simple", text: "From: ann@example.org\r\n\r\n", tags: []string{"h=From", "c=simple"}, want: Pass},
		{name: "no empty line either", text: "From: ann@example.org\r\n", tags: []string{"h=From"}, want: Pass},

		// K3: algorithms and keys
		{name: "rsa-sha1", tags: []string{"a=rsa-sha1"}, want: PermError, why: "SHA-1"},
		{name: "an unknown algorithm", tags: []string{"a=rsa-sha512"}, want: PermError, why: "a=\"rsa-sha512\" is not known"},
		{name: "no algorithm", tags: []string{"-a"}, want: PermError, why: "a= is missing"},
		{name: "an algorithm that is not the key's", tags: []string{"a=rsa-sha256"}, want: PermError, why: "the key is of type ed25519"},
		{name: "rsa 512", record: rsaRecord(ofBits(512), big.NewInt(65537)), want: PermError, why: "512 bits"},
		{name: "rsa 768", record: rsaRecord(ofBits(768), big.NewInt(65537)), want: PermError, why: "768 bits"},
		{name: "rsa 1023", record: rsaRecord(ofBits(1023), big.NewInt(65537)), want: PermError, why: "1023 bits"},
		{name: "rsa 4097", record: rsaRecord(ofBits(4097), big.NewInt(65537)), want: PermError, why: "4097 bits"},
		{name: "rsa 8192", record: rsaRecord(ofBits(8192), big.NewInt(65537)), want: PermError, why: "8192 bits"},
		{name: "rsa 16384", record: rsaRecord(ofBits(16384), big.NewInt(65537)), want: PermError, why: "16384 bits"},
		{name: "rsa 65537", record: rsaRecord(ofBits(65537), big.NewInt(65537)), want: PermError, why: "looked at"},
		{name: "the exponent 1", key: r2048, record: rsaRecord(n, big.NewInt(1)), want: PermError, why: "exponent"},
		{name: "an even exponent", key: r2048, record: rsaRecord(n, big.NewInt(65536)), want: PermError, why: "exponent"},
		{name: "a negative exponent", key: r2048, record: rsaRecord(n, big.NewInt(-3)), want: PermError, why: "exponent"},
		{name: "a huge exponent", key: r2048, record: rsaRecord(n, ofBits(2048)), want: PermError, why: "exponent"},
		{name: "an even modulus", record: rsaRecord(new(big.Int).Lsh(big.NewInt(1), 2047), big.NewInt(3)), want: PermError, why: "even"},
		{name: "another key of the same size", record: "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 32))), want: Fail},
		{name: "an Ed25519 key in ASN.1", record: "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(make([]byte, 44)), want: PermError, why: "without ASN.1"},
		{name: "p= is no key", record: "v=DKIM1; p=AAAA", want: PermError, why: "no RSA public key"},
		{name: "p= with something behind it", key: r2048, record: "v=DKIM1; p=" + rsaP + "AAAA", want: PermError, why: "no RSA public key"},
		{name: "p= is not base64", record: "v=DKIM1; p=?", want: PermError, why: "p= is not base64"},
		{name: "revoked", record: "v=DKIM1; k=ed25519; p=", want: PermError, why: "revoked"},
		{name: "p= is missing", record: "v=DKIM1; k=ed25519", want: PermError, why: "p= is missing"},
		{name: "an unknown type", record: "v=DKIM1; k=x; p=AAAA", want: PermError, why: `k="x" is not known`},
		{name: "another version of records", record: "v=DKIM2; p=AAAA", want: PermError, why: "not DKIM1"},
		{name: "v= that is not the first", record: "k=ed25519; v=DKIM1; p=" + p, want: PermError, why: "not the first"},
		{name: "a record that is no list", record: "hello", want: PermError, why: "is no tag"},
		{name: "a tag twice in the record", record: good + "; p=" + p, want: PermError, why: "p= stands twice"},
		{name: "a key for sha1", record: good + "; h=sha1", want: PermError, why: "not for sha256"},
		{name: "a key for other services", record: good + "; s=other", want: PermError, why: "not for email"},
		{name: "a giant record", record: good + "; n=" + strings.Repeat("x", 64<<10), want: PermError, why: "looked at"},
		{name: "more records than are tried", record: "a=1", more: []string{"a=2", "a=3", good}, want: PermError, why: "cannot be used"},
		{name: "no record", record: "-", want: PermError, why: "there is no key"},
		{name: "a DNS that cannot tell", record: "!", want: TempError, why: "SERVFAIL"},
		{name: "a resolver that panics", record: "!panic", want: TempError, why: "the resolver failed"},
		{name: "a DNS that cannot tell, of a body that was changed", record: "!", edit: swap("hello.", "bye."), want: Fail, why: "body was changed"},

		// K6: times, identities, versions
		{name: "expired", tags: []string{"t=" + unix(-48*time.Hour), "x=" + unix(-24*time.Hour)}, want: Fail, why: "expired"},
		{name: "expired a minute ago: clocks differ", tags: []string{"t=" + unix(-time.Hour), "x=" + unix(-time.Minute)}, want: Pass},
		{name: "not expired", tags: []string{"x=" + unix(time.Hour)}, want: Pass},
		{name: "of tomorrow", tags: []string{"t=" + unix(24*time.Hour)}, want: Fail, why: "future"},
		{name: "a minute ahead: clocks differ", tags: []string{"t=" + unix(time.Minute)}, want: Pass},
		{name: "x= before t=", tags: []string{"t=1795867200", "x=1795867200"}, want: PermError, why: "x= is not after t="},
		{name: "t= that is no time", tags: []string{"t=yesterday"}, want: PermError, why: "is no time"},
		{name: "t= too long", tags: []string{"t=1000000000000"}, want: PermError, why: "twelve digits"},
		{name: "i= at d=", tags: []string{"i=ann@example.org"}, want: Pass},
		{name: "i= without a local part", tags: []string{"i=@example.org"}, want: Pass},
		{name: "i= below d=", tags: []string{"i=@a.example.org"}, want: Pass},
		{name: "i= below d=, with t=s", tags: []string{"i=@a.example.org"}, record: good + "; t=s", want: PermError, why: "t=s"},
		{name: "i= at d=, with t=s", tags: []string{"i=@example.org"}, record: good + "; t=y:s", want: Pass},
		{name: "i= elsewhere", tags: []string{"i=@example.com"}, want: PermError, why: "not within"},
		{name: "i= that ends like d=", tags: []string{"i=@notexample.org"}, want: PermError, why: "not within"},
		{name: "i= above d=", tags: []string{"d=a.example.org", "i=@example.org"}, want: PermError, why: "not within"},
		{name: "i= as long as a line", tags: []string{"i=" + strings.Repeat("a", 998) + "@example.org"}, want: Pass},
		{name: "i= longer than a line", tags: []string{"i=" + strings.Repeat("a", 999) + "@example.org"}, want: PermError, why: "999 octets"},
		{name: "i= without @", tags: []string{"i=example.org"}, want: PermError, why: "no identity"},
		{name: "i= in quoted-printable", tags: []string{"i=a=3Db@example.org"}, want: Pass},
		{name: "i= with a hidden NUL", tags: []string{"i=a=00@example.org"}, want: PermError, why: "no identity"},
		{name: "v=2", tags: []string{"v=2"}, want: PermError, why: "v=\"2\""},
		{name: "no v=", tags: []string{"-v"}, want: PermError, why: "v= is missing"},
		{name: "q=dns/txt", tags: []string{"q=dns/txt"}, want: Pass},
		{name: "q= with others", tags: []string{"q=http:dns/txt"}, want: Pass},
		{name: "q= unknown", tags: []string{"q=http"}, want: PermError, why: "q="},
		{name: "c= unknown", tags: []string{"c=nofws"}, want: PermError, why: "c="},
		{name: "c= of the body unknown", tags: []string{"c=relaxed/nofws"}, want: PermError, why: "c="},
		{name: "a tag without =", edit: swap("; s=", "; what; s="), want: PermError, why: "is no tag"},
		{name: "an empty tag", edit: swap("; s=", ";; s="), want: PermError, why: "empty tag"},

		// K4: names that are cut, or none
		{name: "NUL in s=", tags: []string{"s=s1._domainkey.example.com.\x00.any"}, want: PermError, why: "may have"},
		{name: "NUL in d=", tags: []string{"d=example.org\x00.example.com"}, want: PermError, why: "may have"},
		{name: "a written NUL", tags: []string{`d=example.org\0.example.com`}, want: PermError, why: "characters that no domain"},
		{name: "quotes in d=", tags: []string{`d=example.org".example.com`}, want: PermError, why: "characters that no domain"},
		{name: "an apostrophe in d=", tags: []string{`d=example.org'a.example.com`}, want: PermError, why: "characters that no domain"},
		{name: "a bracket in d=", tags: []string{`d=example.org(.example.com`}, want: PermError, why: "characters that no domain"},
		{name: "a space in d=", tags: []string{"d=exam ple.org"}, want: PermError, why: "characters that no domain"},
		{name: "a line end in d=", tags: []string{"d=exam\r\n ple.org"}, want: PermError, why: "characters that no domain"},
		{name: "a wildcard", tags: []string{"d=*.org"}, want: PermError, why: "characters that no domain"},
		{name: "a slash in s=", tags: []string{"s=a/b"}, want: PermError, why: "characters that no domain"},
		{name: "an empty label", tags: []string{"d=example..org"}, want: PermError, why: "empty label"},
		{name: "a dot at the end", tags: []string{"d=example.org."}, want: PermError, why: "empty label"},
		{name: "one label", tags: []string{"d=org"}, want: PermError, why: "two labels"},
		{name: "a long label", tags: []string{"s=" + strings.Repeat("a", 64)}, want: PermError, why: "63"},
		{name: "a long name", tags: []string{"s=" + strings.Repeat("a.", 130) + "a"}, want: PermError, why: "longer"},
		{name: "a name that is long with the domain", tags: []string{"s=" + strings.Repeat("a.", 115) + "a"}, want: PermError, why: "the name of the key"},
		{name: "no d=", tags: []string{"-d"}, want: PermError, why: "d= is missing"},
		{name: "no s=", tags: []string{"-s"}, want: PermError, why: "s= is missing"},
		{name: "d= in capitals", tags: []string{"d=EXAMPLE.org"}, want: Pass},
		{name: "s= of several labels", tags: []string{"s=s1.sub"}, want: Pass},
		{name: "d= in U-labels", tags: []string{"d=b\u00fccher.example"}, want: Pass},
		{name: "no tags at all", text: "DKIM-Signature: \r\n" + letter, tags: []string{"h=From"}, want: Pass},
	}
	if len(cases) < 100 {
		t.Fatalf("%d cases", len(cases))
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			k := c.key
			if k == nil {
				k = ed
			}
			text := c.text
			if text == "" {
				text = letter
			}
			text = forge(t, text, k, c.tags...)
			if c.edit != nil {
				text = c.edit(text)
			}
			rec := c.record
			if rec == "" {
				rec = record(t, k)
			}
			dns := &texts{names: map[string][]string{}}
			if rec != "-" {
				for _, name := range []string{"s1._domainkey.example.org", "s1.sub._domainkey.example.org", "s1._domainkey.a.example.org", "s1._domainkey.xn--bcher-kva.example"} {
					dns.names[name] = append([]string{rec}, c.more...)
				}
			}
			r := check(t, Verifier{Resolver: dns, Length: c.length}, text)
			at := slices.IndexFunc(r.Checked, func(ch Checked) bool { return ch.Domain != "" })
			if at < 0 {
				at = 0
			}
			got := r.Checked[at]
			if got.Result != c.want || !strings.Contains(got.Reason, c.why) || (got.Reason == "") != (c.want == Pass) {
				t.Errorf("%s %q, want %s %q", got.Result, got.Reason, c.want, c.why)
			}
			if c.want == Pass && (got.Selector == "" || got.Algorithm == "" || len(got.B) != 8 || got.KeyBits == 0 || got.Identity == "") {
				t.Errorf("not all is told: %+v", got)
			}
			if strings.ContainsAny(got.Reason, "\r\n\x00") {
				t.Errorf("the reason has controls: %q", got.Reason)
			}
			for _, name := range dns.asked {
				if _, known := dns.names[name]; rec != "-" && !known {
					t.Errorf("%q was asked for", name)
				}
			}
		})
	}
}
