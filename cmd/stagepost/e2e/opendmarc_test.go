package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/resolve/resolvetest"
	"github.com/stagepost/stagepost/plugins/mailauth/authres"
	"github.com/stagepost/stagepost/plugins/mailauth/dmarc"
)

// dmarcCase is one message, as OpenDMARC and dmarc.Check see it.
type dmarcCase struct {
	name   string
	zone   map[string]string // domains and their records
	from   string
	spf    string   // the domain that SPF vouches for; "": it fails
	dkim   []string // those of signatures that verify
	want   string   // verdict, and the policy of the record where one applies
	theirs string   // where OpenDMARC says something else
	why    string   // it does
}

func dmarcCases() []dmarcCase {
	one := func(text string) map[string]string { return map[string]string{"bank.example": text} }
	reject := one("v=DMARC1; p=reject")
	return []dmarcCase{
		{name: "no record", from: "ceo@bank.example", zone: map[string]string{"other.example": "v=DMARC1; p=reject"}, spf: "bank.example", want: "none"},
		{name: "SPF", zone: reject, from: "ceo@bank.example", spf: "bank.example", want: "pass reject"},
		{name: "SPF of a subdomain", zone: reject, from: "ceo@bank.example", spf: "mail.bank.example", want: "pass reject"},
		{name: "SPF of another", zone: reject, from: "ceo@bank.example", spf: "evil.example", want: "fail reject"},
		{name: "DKIM", zone: reject, from: "ceo@bank.example", dkim: []string{"bank.example"}, want: "pass reject"},
		{name: "DKIM of the second", zone: reject, from: "ceo@bank.example", dkim: []string{"evil.example", "bank.example"}, want: "pass reject"},
		{name: "DKIM of a subdomain", zone: reject, from: "ceo@bank.example", dkim: []string{"mail.bank.example"}, want: "pass reject"},
		{name: "DKIM of a sibling", zone: reject, from: "ceo@mail.bank.example", dkim: []string{"www.bank.example"}, want: "pass reject"},
		{name: "DKIM of another", zone: reject, from: "ceo@bank.example", dkim: []string{"evil.example"}, want: "fail reject"},
		{name: "DKIM of a name that ends alike", zone: reject, from: "ceo@bank.example", dkim: []string{"evilbank.example"}, want: "fail reject"},
		{name: "nothing", zone: reject, from: "ceo@bank.example", want: "fail reject"},
		{name: "letters", zone: reject, from: "CEO@BANK.Example", dkim: []string{"bank.EXAMPLE"}, want: "pass reject"},
		{name: "a name, a comment", zone: reject, from: `"The Bank, Inc." (since 1820) <ceo@bank.example>`, dkim: []string{"bank.example"}, want: "pass reject"},
		{name: "an address as name", zone: map[string]string{"bank.example": "v=DMARC1; p=reject", "evil.example": "v=DMARC1; p=none"}, from: `"ceo@bank.example" <a@evil.example>`, dkim: []string{"bank.example"}, want: "fail none"},
		{name: "strict DKIM", zone: one("v=DMARC1; p=reject; adkim=s"), from: "ceo@bank.example", dkim: []string{"mail.bank.example"}, want: "fail reject", theirs: "pass reject", why: "it lets a subdomain pass although the record says adkim=s"},
		{name: "strict DKIM, the same", zone: one("v=DMARC1; p=reject; adkim=s"), from: "ceo@bank.example", dkim: []string{"bank.example"}, want: "pass reject"},
		{name: "strict SPF", zone: one("v=DMARC1; p=reject; aspf=s"), from: "ceo@bank.example", spf: "mail.bank.example", want: "fail reject", theirs: "pass reject", why: "it lets a subdomain pass although the record says aspf=s"},
		{name: "quarantine", zone: one("v=DMARC1; p=quarantine"), from: "ceo@bank.example", want: "fail quarantine"},
		{name: "none", zone: one("v=DMARC1; p=none"), from: "ceo@bank.example", want: "fail none"},
		{name: "a subdomain", zone: reject, from: "ceo@mail.bank.example", want: "fail reject"},
		{name: "with a record", zone: map[string]string{"bank.example": "v=DMARC1; p=reject", "mail.bank.example": "v=DMARC1; p=none"}, from: "ceo@mail.bank.example", want: "fail none"},
		{name: "its signature is by the domain above", zone: map[string]string{"bank.example": "v=DMARC1; p=reject", "mail.bank.example": "v=DMARC1; p=none"}, from: "ceo@mail.bank.example", dkim: []string{"bank.example"}, want: "pass none"},
		{name: "white space", zone: one("v = DMARC1 ; p = reject ; "), from: "ceo@bank.example", want: "fail reject"},
		{name: "unknown tags", zone: one("v=DMARC1; p=reject; new=tag; rua=mailto:a@bank.example"), from: "ceo@bank.example", want: "fail reject"},
		{name: "another version", zone: one("v=DMARC2; p=reject"), from: "ceo@bank.example", want: "none", theirs: "permerror", why: "RFC 9989 section 4.10 passes over what is no record of this version"},
		{name: "far below", zone: reject, from: "ceo@a.b.c.d.e.f.g.h.i.bank.example", dkim: []string{"bank.example"}, want: "pass reject"},

		{name: "sp", zone: map[string]string{"bank.example": "v=DMARC1; p=none; sp=reject", "mail.bank.example": ""}, from: "ceo@mail.bank.example", want: "fail reject"},
		{name: "np", zone: one("v=DMARC1; p=none; np=reject"), from: "ceo@mail.bank.example", want: "fail reject", theirs: "fail none", why: "np is not in RFC 7489"},
		{name: "t", zone: one("v=DMARC1; p=reject; t=y"), from: "ceo@bank.example", want: "fail quarantine", theirs: "fail reject", why: "t is not in RFC 7489"},
		{name: "psd=n", zone: map[string]string{"bank.example": "v=DMARC1; p=none", "mail.bank.example": "v=DMARC1; p=reject; psd=n"}, from: "ceo@mail.bank.example", dkim: []string{"bank.example"}, want: "fail reject", theirs: "pass reject", why: "psd is not in RFC 7489"},
		{name: "psd=y", zone: map[string]string{"example": "v=DMARC1; p=reject; psd=y", "bank.example": ""}, from: "ceo@bank.example", want: "fail reject", theirs: "none", why: "a public suffix has no record in RFC 7489"},
		{name: "no public suffix", zone: map[string]string{"bank.shops.example": "v=DMARC1; p=reject"}, from: "ceo@bank.shops.example", dkim: []string{"evil.shops.example"}, want: "fail reject", theirs: "pass reject", why: "shops.example is not in its list, and so one organization; RFC 9989 finds it by records"},
		{name: "no p, with rua", zone: one("v=DMARC1; rua=mailto:a@bank.example"), from: "ceo@bank.example", want: "fail none", theirs: "permerror", why: "it does not take p=none where there is a rua"},
		{name: "a group", zone: reject, from: "Bank: ceo@bank.example;", dkim: []string{"bank.example"}, want: "permerror", theirs: "pass reject", why: "it takes the address in it"},
		{name: "several domains", zone: reject, from: "ceo@bank.example, a@evil.example", dkim: []string{"bank.example"}, want: "permerror", theirs: "", why: "it says nothing of such mail"},
		{name: "a route", zone: reject, from: "<@evil.example:ceo@bank.example>", dkim: []string{"bank.example"}, want: "permerror", theirs: "pass reject", why: "it reads the obsolete form"},
		{name: "two addresses", zone: map[string]string{"bank.example": "v=DMARC1; p=reject", "evil.example": "v=DMARC1; p=none"}, from: "<ceo@bank.example><a@evil.example>", dkim: []string{"evil.example"}, want: "permerror", theirs: "fail reject", why: "it takes the first"},
		{name: "a comment in the address", zone: reject, from: "<ceo@bank.example(.evil.example)>", dkim: []string{"bank.example"}, want: "permerror", theirs: "pass reject", why: "it reads the form"},
	}
}

// TestOpenDMARC: OpenDMARC reads our Authentication-Results and comes to the same result, but where it knows only RFC 7489; and we read its.
func TestOpenDMARC(t *testing.T) {
	program, folder := find(t, "opendmarc"), t.TempDir()
	for _, c := range dmarcCases() {
		t.Run(c.name, func(t *testing.T) {
			ids := []dmarc.Identifier{{Method: dmarc.SPF, Domain: c.spf, Result: "pass"}}
			spf := authres.Result{Method: "spf", Value: "pass", Properties: []authres.Property{{Type: "smtp", Name: "mailfrom", Value: c.spf}}}
			if c.spf == "" {
				ids, spf.Value = nil, "none"
			}
			results := []authres.Result{spf}
			for _, d := range c.dkim {
				ids = append(ids, dmarc.Identifier{Method: dmarc.DKIM, Domain: d, Result: "pass"})
				results = append(results, authres.Result{Method: "dkim", Value: "pass", Properties: []authres.Property{{Type: "header", Name: "d", Value: d}}})
			}
			if got := ourDMARC(t, &c, ids); got != c.want {
				t.Errorf("dmarc.Check says %q, want %q", got, c.want)
			}
			field, err := authres.Compose("mx.example.org", results)
			if err != nil {
				t.Fatal(err)
			}
			want := c.want
			if c.why != "" {
				want = c.theirs
			}
			if got, said := openDMARC(t, folder, program, &c, field); got != want {
				t.Errorf("OpenDMARC says %q, want %q (%s)\n%s", got, want, c.why, said)
			}
		})
	}
}

func ourDMARC(t *testing.T, c *dmarcCase, ids []dmarc.Identifier) string {
	names := map[string][]string{}
	for domain, text := range c.zone {
		names[domain] = []string{"A 192.0.2.1"}
		if text != "" {
			names["_dmarc."+domain] = []string{`TXT "` + text + `"`}
		}
	}
	author, fault := dmarc.ParseFrom(c.from)
	if fault != nil {
		return string(dmarc.Suspect(fault).Verdict)
	}
	res := dmarc.Check(t.Context(), resolvetest.New(t, names), author, ids)
	return strings.TrimSpace(string(res.Verdict) + " " + string(res.Policy))
}

var openResult = regexp.MustCompile(`(?m)^### INSHEADER: idx=0 hname='Authentication-Results' hvalue='(mx2\.example\.org; dmarc=([a-z]+)(?: \(p=([a-z]+) [^)]*\))? [^']*)'$`)

// openDMARC runs the program's own test of a message, with DNS data of its own, and gives the result and policy that it says; "" if it
// adds no result.
func openDMARC(t *testing.T, folder, program string, c *dmarcCase, field string) (result, said string) {
	dir, err := os.MkdirTemp(folder, "case") // a comma in the name would be two names to the program
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	var data strings.Builder
	for domain, text := range c.zone {
		if text != "" {
			data.WriteString("_dmarc." + domain + " " + text + "\n")
		}
	}
	config := write("opendmarc.conf", "TestDNSData "+write("dns", data.String())+"\nPublicSuffixList "+write("suffixes", "// all there are\nexample\norg\n")+
		"\nAuthservID mx2.example.org\nTrustedAuthservIDs mx.example.org\nRejectFailures false\nSyslog false\nSoftwareHeader false\nRequiredHeaders false\n")
	letter := write("message.eml", "Authentication-Results: "+field+"\r\nFrom: "+c.from+"\r\nDate: Sat, 28 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@client.example>\r\n\r\nhello\r\n")
	cmd := exec.Command(program, "-c", config, "-v", "-v", "-t", letter)
	sender := c.spf
	if sender == "" {
		sender = "evil.example"
	}
	cmd.Env = append(os.Environ(), "OPENDMARC_TEST_ENVFROM=a@"+sender, "RES_OPTIONS=attempts:1 timeout:1")
	r := runToEnd(t, cmd)
	m := openResult.FindStringSubmatch(r.out)
	if m == nil {
		return "", r.out + r.err
	}
	if authres.Forged(m[1], "mx.example.org") || !authres.Forged(m[1], "mx2.example.org") {
		t.Errorf("%q is not read as it is", m[1])
	}
	if m[2] == "none" {
		return m[2], r.out
	}
	return strings.TrimSpace(m[2] + " " + m[3]), r.out
}
