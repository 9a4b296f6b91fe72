package dmarc

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/resolve/resolvetest"
)

// records makes a DNS of domains and their policy records. Every domain exists that is named, and has no record where the text is "".
func records(t *testing.T, at map[string]string) *resolvetest.Resolver {
	t.Helper()
	names := map[string][]string{}
	for domain, text := range at {
		names[domain] = append(names[domain], "A 192.0.2.1")
		if text != "" {
			names["_dmarc."+domain] = append(names["_dmarc."+domain], "TXT "+quote(text))
		}
	}
	return resolvetest.New(t, names)
}

// quote writes a text as a zone file has it, in strings of 255 bytes.
func quote(text string) string {
	var out []string
	for text != "" {
		n := min(len(text), 255)
		out = append(out, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text[:n])+`"`)
		text = text[n:]
	}
	return strings.Join(out, " ")
}

func spf(domain string) Identifier  { return Identifier{SPF, domain, "pass"} }
func dkim(domain string) Identifier { return Identifier{DKIM, domain, "pass"} }

// TestRFC9989 has each example of the RFC, by its section.
func TestRFC9989(t *testing.T) {
	check := func(t *testing.T, r *resolvetest.Resolver, author string, want Verdict, ids ...Identifier) Result {
		t.Helper()
		res := Check(t.Context(), r, author, ids)
		if res.Verdict != want {
			t.Errorf("%s with %v: %s (%s), want %s", author, ids, res.Verdict, res.Reason, want)
		}
		return res
	}
	aligned := func(id, author string, relaxed, strict bool) func(t *testing.T) {
		return func(t *testing.T) {
			for _, c := range []struct {
				tags string
				want bool
			}{{"", relaxed}, {"; adkim=s; aspf=s", strict}} {
				for _, method := range []string{SPF, DKIM} {
					r := records(t, map[string]string{"example.com": "v=DMARC1; p=reject" + c.tags, "example.net": "v=DMARC1; p=reject"})
					want := Fail
					if c.want {
						want = Pass
					}
					check(t, r, author, want, Identifier{method, id, "pass"})
				}
			}
		}
	}
	t.Run("4.4/relaxed", aligned("foo.example.com", "news.example.com", true, false))
	t.Run("4.4/strict", aligned("news.example.com", "news.example.com", true, true))
	t.Run("4.4/none", aligned("foo.example.net", "news.example.com", false, false))
	t.Run("B.1.1/1", aligned("example.com", "example.com", true, true))
	t.Run("B.1.1/2", aligned("child.example.com", "example.com", true, false))
	t.Run("B.1.1/3", aligned("example.net", "child.example.com", false, false))
	t.Run("B.1.2/1", aligned("example.com", "example.com", true, true))
	t.Run("B.1.2/2", aligned("example.com", "child.example.com", true, false))
	t.Run("B.1.2/3", aligned("example.net", "child.example.com", false, false))

	walked := func(author string, want ...string) func(t *testing.T) {
		return func(t *testing.T) {
			r := records(t, nil)
			check(t, r, author, None)
			for i := range want {
				want[i] = "TXT _dmarc." + want[i]
			}
			if got := r.Asked(); !slices.Equal(got, want) {
				t.Errorf("asked %q, want %q", got, want)
			}
		}
	}
	t.Run("4.10", walked("a.b.c.d.e.f.g.h.i.j.mail.example.com", "a.b.c.d.e.f.g.h.i.j.mail.example.com", "g.h.i.j.mail.example.com", "h.i.j.mail.example.com",
		"i.j.mail.example.com", "j.mail.example.com", "mail.example.com", "example.com", "com"))
	t.Run("5.1.8", walked("mail.a.b.c.d.e.f.g.example.com", "mail.a.b.c.d.e.f.g.example.com", "c.d.e.f.g.example.com", "d.e.f.g.example.com", "e.f.g.example.com",
		"f.g.example.com", "g.example.com", "example.com", "com"))
	t.Run("5.1.8/never found", func(t *testing.T) {
		r := records(t, map[string]string{"example.com": "v=DMARC1; p=none", "b.c.d.e.f.g.example.com": "v=DMARC1; p=reject; psd=n"})
		if res := check(t, r, "mail.a.b.c.d.e.f.g.example.com", Fail); res.Domain != "example.com" {
			t.Errorf("the record of %s", res.Domain)
		}
		r = records(t, map[string]string{"example.com": "v=DMARC1; p=none", "mail.a.b.c.d.e.f.g.example.com": "v=DMARC1; p=reject"})
		if res := check(t, r, "mail.a.b.c.d.e.f.g.example.com", Fail); res.Domain != res.From || res.Policy != PolicyReject {
			t.Errorf("the record of %s, policy %s", res.Domain, res.Policy)
		}
	})

	organization := func(domain, want string, at map[string]string) func(t *testing.T) {
		return func(t *testing.T) {
			w := &walker{ctx: t.Context(), r: records(t, at), asked: map[string]*entry{}}
			if got, err := w.organization(domain); got != want || err != nil {
				t.Errorf("%s, %v, want %s", got, err, want)
			}
		}
	}
	const plain = "v=DMARC1; p=none"
	t.Run("4.10.2/rule 2", organization("mail.example.com", "mail.example.com", map[string]string{"mail.example.com": plain, "example.com": plain + "; psd=y"}))
	t.Run("4.10.2/first", organization("a.mail.example.com", "example.com", map[string]string{"mail.example.com": plain, "example.com": plain}))
	t.Run("4.10.2/second", organization("a.mail.example.com", "mail.example.com", map[string]string{"mail.example.com": plain + "; psd=n", "example.com": plain}))
	t.Run("4.10.2/last", organization("a.mail.example.com", "example.com", map[string]string{"com": plain + "; psd=y"}))
	t.Run("4.10.2/common domain", func(t *testing.T) { // is the organizational domain, and nothing else is asked
		r := records(t, map[string]string{"mail.example.com": plain, "example.com": plain})
		check(t, r, "mail.example.com", Pass, spf("mail.example.com"), dkim("mail.example.com"))
		if got := r.Asked(); len(got) != 1 {
			t.Errorf("asked %q", got)
		}
	})

	record := func(text string, want Record) func(t *testing.T) {
		return func(t *testing.T) {
			got, ok := ParseRecord(text)
			if want.PSD = 'u'; !ok || !reflect.DeepEqual(*got, want) {
				t.Errorf("%+v, want %+v", got, want)
			}
		}
	}
	t.Run("B.2.1", record("v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com", Record{P: PolicyNone, Aggregate: []string{"mailto:dmarc-feedback@example.com"}}))
	t.Run("B.2.2", record("v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com; ruf=mailto:auth-reports@example.com",
		Record{P: PolicyNone, Aggregate: []string{"mailto:dmarc-feedback@example.com"}, Failures: []string{"mailto:auth-reports@example.com"}}))
	t.Run("B.2.3", record("v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com; ruf=mailto:auth-reports@thirdparty.example.net",
		Record{P: PolicyNone, Aggregate: []string{"mailto:dmarc-feedback@example.com"}, Failures: []string{"mailto:auth-reports@thirdparty.example.net"}}))
	t.Run("B.2.3/consumer", record("v=DMARC1;", Record{badPolicy: "it has neither p nor rua"}))
	t.Run("B.2.4", record("v=DMARC1; rua=mailto:aggregate-reports@thirdparty.example.net; ruf=mailto:failure-reports@thirdparty.example.net",
		Record{P: PolicyNone, Aggregate: []string{"mailto:aggregate-reports@thirdparty.example.net"}, Failures: []string{"mailto:failure-reports@thirdparty.example.net"}}))
	both := []string{"mailto:dmarc-feedback@example.com", "mailto:tld-test@thirdparty.example.net"}
	const testing1 = "v=DMARC1; p=quarantine; rua=mailto:dmarc-feedback@example.com,mailto:tld-test@thirdparty.example.net; t=y"
	t.Run("B.2.5", record(testing1, Record{P: PolicyQuarantine, Testing: true, Aggregate: both}))
	t.Run("B.2.5/applied", func(t *testing.T) {
		r := records(t, map[string]string{"test.example.com": testing1})
		if res := check(t, r, "test.example.com", Fail); res.Requested != PolicyQuarantine || res.Policy != PolicyNone {
			t.Errorf("policy %s of %s", res.Policy, res.Requested)
		}
		check(t, r, "example.com", None) // only the subdomain
	})
	t.Run("B.2.5/later", record("v=DMARC1; p=reject; rua=mailto:dmarc-feedback@example.com,mailto:tld-test@thirdparty.example.net", Record{P: PolicyReject, Aggregate: both}))

	t.Run("B.3.1", func(t *testing.T) {
		r := records(t, map[string]string{"example.com": "v=DMARC1; p=reject; aspf=r; rua=mailto:dmarc-feedback@example.com"})
		for _, ids := range [][]Identifier{{spf("mail.example.com"), dkim("example.com")}, {spf("mail.example.com")}, {dkim("example.com")}} {
			check(t, r, "example.com", Pass, ids...)
		}
		if res := check(t, r, "example.com", Fail); res.Policy != PolicyReject {
			t.Errorf("policy %s", res.Policy)
		}
	})

	simple := map[string]string{"example.com": "v=DMARC1; p=reject", "signing.example.com": "v=DMARC1; p=none"}
	t.Run("B.4.1", func(t *testing.T) {
		check(t, records(t, simple), "example.com", Pass, spf("example.com"))
		r := records(t, simple)
		if res := check(t, r, "example.com", Pass, dkim("signing.example.com")); res.Organization != "example.com" || res.Domain != "example.com" {
			t.Errorf("%+v", res)
		}
		if got, want := r.Asked(), []string{"TXT _dmarc.example.com", "TXT _dmarc.com", "TXT _dmarc.signing.example.com"}; !slices.Equal(got, want) {
			t.Errorf("asked %q, want %q: each name once", got, want)
		}
	})
	t.Run("B.4.2", func(t *testing.T) {
		const author = "a.b.c.d.e.f.g.h.i.j.k.example.com"
		for _, id := range []Identifier{spf("example.com"), dkim("signing.example.com")} {
			r := records(t, simple)
			res := check(t, r, author, Pass, id)
			if res.Organization != "example.com" || res.Domain != "example.com" {
				t.Errorf("%+v", res)
			}
			want := []string{author, "g.h.i.j.k.example.com", "h.i.j.k.example.com", "i.j.k.example.com", "j.k.example.com", "k.example.com", "example.com", "com"}
			if id.Method == DKIM {
				want = append(want, "signing.example.com")
			}
			for i := range want {
				want[i] = "TXT _dmarc." + want[i]
			}
			if got := r.Asked(); !slices.Equal(got, want) {
				t.Errorf("asked %q, want %q", got, want)
			}
		}
		if res := check(t, records(t, simple), author, Fail); res.Domain != "example.com" || res.Policy != PolicyReject {
			t.Errorf("%+v", res)
		}
	})
	t.Run("B.4.3", func(t *testing.T) {
		bank := map[string]string{"bank.example": "v=DMARC1; p=reject; psd=y", "giant.bank.example": "v=DMARC1; p=quarantine", "mega.bank.example": "", "mail.mega.bank.example": ""}
		res := check(t, records(t, bank), "giant.bank.example", Pass, spf("mail.giant.bank.example"))
		if res.Organization != "giant.bank.example" || res.Domain != "giant.bank.example" {
			t.Errorf("%+v", res)
		}
		res = check(t, records(t, bank), "giant.bank.example", Fail, dkim("mail.mega.bank.example"))
		if res.Policy != PolicyQuarantine {
			t.Errorf("policy %s", res.Policy)
		}
		organization("mail.mega.bank.example", "mega.bank.example", bank)(t)
		if res = check(t, records(t, bank), "mail.mega.bank.example", Fail); res.Domain != "bank.example" || res.Policy != PolicyReject {
			t.Errorf("%+v", res)
		}
	})
	t.Run("11.8", func(t *testing.T) {
		check(t, records(t, map[string]string{"example.com": plain, "evil.example.com": ""}), "example.com", Pass, spf("evil.example.com"))
		check(t, records(t, map[string]string{"example.com": plain + "; aspf=s", "evil.example.com": ""}), "example.com", Fail, spf("evil.example.com"))
		// With psd=n at the intended organizational domain nobody takes a parent for it.
		own := map[string]string{"example.com": plain, "mail.example.com": plain + "; psd=n"}
		check(t, records(t, own), "a.mail.example.com", Pass, dkim("mail.example.com"))
		check(t, records(t, own), "evil.example.com", Fail, dkim("mail.example.com"))
	})
}
