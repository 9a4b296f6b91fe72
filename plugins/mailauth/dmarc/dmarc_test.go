package dmarc

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/resolve/resolvetest"
)

// TestCheck: what is published, what is authenticated, and what comes of it.
func TestCheck(t *testing.T) {
	txt := func(texts ...string) (out []string) {
		for _, text := range texts {
			out = append(out, "TXT "+quote(text))
		}
		return out
	}
	type zone = map[string][]string
	for _, tt := range []struct {
		name   string
		zone   zone
		author string
		ids    []Identifier
		want   string // verdict, and policy of a tag where there is a record: "fail reject p"
	}{
		{"no record", zone{}, "bank.example", []Identifier{spf("bank.example")}, "none"},
		{"another TXT record", zone{"_dmarc.bank.example": txt("v=spf1 -all")}, "bank.example", []Identifier{spf("bank.example")}, "none"},
		{"beside another TXT record", zone{"_dmarc.bank.example": txt("v=spf1 -all", "v=DMARC1; p=reject")}, "bank.example", nil, "fail reject p"},
		{"two records are none", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject", "v=DMARC1; p=none")}, "bank.example", nil, "none"},
		{"two records are none, and that above counts", zone{"_dmarc.mail.bank.example": txt("v=DMARC1; p=none", "v=DMARC1; p=none"), "_dmarc.bank.example": txt("v=DMARC1; p=reject")}, "mail.bank.example", nil, "fail reject p"},
		{"an alias", zone{"_dmarc.bank.example": {"CNAME policy.host.example"}, "policy.host.example": txt("v=DMARC1; p=reject")}, "bank.example", nil, "fail reject p"},
		{"a chain of aliases without an end", zone{"_dmarc.bank.example": {"CNAME a.host.example"}, "a.host.example": {"CNAME _dmarc.bank.example"}}, "bank.example", nil, "temperror"},
		{"a record in several strings", zone{"_dmarc.bank.example": {`TXT "v=DMARC1; p=rej" "ect"`}}, "bank.example", nil, "fail reject p"},
		{"a large record", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject; rua=mailto:a@bank.example" + strings.Repeat(",mailto:a@bank.example", 300))}, "bank.example", nil, "fail reject p"},

		{"SPF alone", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject")}, "bank.example", []Identifier{spf("bank.example")}, "pass reject p"},
		{"letters of either case", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject")}, "Bank.Example", []Identifier{dkim("BANK.example.")}, "pass reject p"},
		{"an A-label and its U-label", zone{"_dmarc.xn--bnk-qla.example": txt("v=DMARC1; p=reject; adkim=s")}, "bänk.example", []Identifier{dkim("xn--bnk-qla.example")}, "pass reject p"},
		{"what fails is not aligned", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject")}, "bank.example", []Identifier{{SPF, "bank.example", "softfail"}, {DKIM, "bank.example", "fail"}, {DKIM, "bank.example", "policy"}, {DKIM, "bank.example", ""}}, "fail reject p"},
		{"the second signature", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject")}, "bank.example", []Identifier{dkim("evil.example"), dkim("bank.example")}, "pass reject p"},
		{"adkim=s says nothing of SPF", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject; adkim=s"), "mail.bank.example": {"A 192.0.2.1"}}, "bank.example", []Identifier{dkim("mail.bank.example"), spf("mail.bank.example")}, "pass reject p"},
		{"NUL in d=", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject")}, "bank.example", []Identifier{dkim("bank.example\x00.evil.example"), dkim("bank.example\x00"), dkim("evil.example.\x00.bank.example")}, "fail reject p"},
		{"quotes, spaces and stars in d=", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject")}, "bank.example", []Identifier{dkim(`"bank.example"`), dkim(" bank.example"), dkim("*.bank.example"), dkim("bank.example..")}, "fail reject p"},
		{"the end of the name is not a domain above", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject"), "_dmarc.evilbank.example": txt("v=DMARC1; p=none")}, "bank.example", []Identifier{spf("evilbank.example")}, "fail reject p"},
		{"a domain above in the public suffix", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject")}, "bank.example", []Identifier{spf("example")}, "fail reject p"},
		{"siblings without records of a suffix without one", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject")}, "bank.example", []Identifier{spf("evil.example")}, "fail reject p"},
		{"siblings below a suffix that does not say that it is one", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject"), "_dmarc.example": txt("v=DMARC1; p=none")}, "bank.example", []Identifier{spf("evil.example")}, "pass reject p"},
		{"which psd=n cures", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject; psd=n"), "_dmarc.example": txt("v=DMARC1; p=none")}, "bank.example", []Identifier{spf("evil.example")}, "fail reject p"},
		{"siblings below one that does", zone{"_dmarc.example": txt("v=DMARC1; p=reject; psd=y"), "bank.example": {"A 192.0.2.1"}}, "bank.example", []Identifier{spf("evil.example")}, "fail reject p"},
		{"the suffix itself", zone{"_dmarc.example": txt("v=DMARC1; p=reject; psd=y")}, "bank.example", []Identifier{spf("example")}, "fail reject p"},
		{"the suffix as author", zone{"_dmarc.example": txt("v=DMARC1; p=quarantine; psd=y")}, "example", []Identifier{spf("bank.example")}, "fail quarantine p"},
		{"the record between does not count below a suffix", zone{"_dmarc.mail.bank.example": txt("v=DMARC1; p=none"), "_dmarc.example": txt("v=DMARC1; p=reject; psd=y")}, "a.mail.bank.example", nil, "fail reject p"},

		{"sp for one that exists", zone{"_dmarc.bank.example": txt("v=DMARC1; p=none; sp=quarantine; np=reject"), "mail.bank.example": {"A 192.0.2.1"}}, "mail.bank.example", nil, "fail quarantine sp"},
		{"np for one that does not", zone{"_dmarc.bank.example": txt("v=DMARC1; p=none; sp=quarantine; np=reject")}, "mail.bank.example", nil, "fail reject np"},
		{"what has names below it exists", zone{"_dmarc.bank.example": txt("v=DMARC1; p=none; sp=quarantine; np=reject"), "a.mail.bank.example": {"A 192.0.2.1"}}, "mail.bank.example", nil, "fail quarantine sp"},
		{"what has something at _dmarc exists", zone{"_dmarc.bank.example": txt("v=DMARC1; p=none; np=reject"), "_dmarc.mail.bank.example": txt("hello")}, "mail.bank.example", nil, "fail none p"},
		{"no np: sp", zone{"_dmarc.bank.example": txt("v=DMARC1; p=none; sp=reject")}, "mail.bank.example", nil, "fail reject sp"},
		{"no np, no sp: p", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject")}, "mail.bank.example", nil, "fail reject p"},
		{"np, no sp, exists: p", zone{"_dmarc.bank.example": txt("v=DMARC1; p=none; np=reject"), "mail.bank.example": {"A 192.0.2.1"}}, "mail.bank.example", nil, "fail none p"},
		{"sp and np say nothing of the domain itself", zone{"_dmarc.bank.example": txt("v=DMARC1; p=none; sp=reject; np=reject")}, "bank.example", nil, "fail none p"},
		{"sp of a subdomain's record is not used", zone{"_dmarc.bank.example": txt("v=DMARC1; p=none"), "_dmarc.mail.bank.example": txt("v=DMARC1; p=quarantine; sp=reject"), "a.mail.bank.example": {"A 192.0.2.1"}}, "a.mail.bank.example", nil, "fail none p"},
		{"a test of reject", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject; t=y")}, "bank.example", nil, "fail quarantine p"},
		{"a test of quarantine", zone{"_dmarc.bank.example": txt("v=DMARC1; p=quarantine; t=y")}, "bank.example", nil, "fail none p"},
		{"a test of nothing", zone{"_dmarc.bank.example": txt("v=DMARC1; p=none; t=y")}, "bank.example", nil, "fail none p"},
		{"a test of np", zone{"_dmarc.bank.example": txt("v=DMARC1; p=none; np=reject; t=y")}, "mail.bank.example", nil, "fail quarantine np"},
		{"pct is history", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject; pct=0")}, "bank.example", nil, "fail reject p"},

		{"a policy that is none, with rua", zone{"_dmarc.bank.example": txt("v=DMARC1; p=block; rua=mailto:a@bank.example")}, "bank.example", nil, "fail none p"},
		{"without", zone{"_dmarc.bank.example": txt("v=DMARC1; p=block")}, "bank.example", []Identifier{spf("bank.example")}, "permerror"},
		{"a wrong sp, with rua", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject; sp=block; rua=mailto:a@bank.example")}, "bank.example", nil, "fail none p"},
		{"a wrong np, without", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject; np=block")}, "bank.example", nil, "permerror"},
		{"rua that is no URI", zone{"_dmarc.bank.example": txt("v=DMARC1; rua=a@bank.example")}, "bank.example", nil, "permerror"},
		{"an own record that cannot be used is not passed over", zone{"_dmarc.mail.bank.example": txt("v=DMARC1;"), "_dmarc.bank.example": txt("v=DMARC1; p=reject")}, "mail.bank.example", nil, "permerror"},

		{"the DNS fails at the domain", zone{"_dmarc.bank.example": {"!servfail"}}, "bank.example", []Identifier{spf("bank.example"), dkim("bank.example")}, "temperror"},
		{"says nothing", zone{"_dmarc.bank.example": {"!silent"}}, "bank.example", []Identifier{spf("bank.example")}, "temperror"},
		{"refuses", zone{"_dmarc.bank.example": {"!refused"}}, "bank.example", []Identifier{spf("bank.example")}, "temperror"},
		{"fails above, where it matters", zone{"_dmarc.example": {"!servfail"}}, "bank.example", []Identifier{spf("bank.example")}, "temperror"},
		{"fails above, where only another is aligned", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject"), "_dmarc.example": {"!servfail"}}, "bank.example", []Identifier{spf("mail.bank.example")}, "temperror reject p"},
		{"fails above, where it does not matter", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject"), "_dmarc.example": {"!servfail"}}, "bank.example", []Identifier{dkim("mail.bank.example"), spf("bank.example")}, "pass reject p"},
		{"fails on the walk of an identifier", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject"), "_dmarc.mail.bank.example": {"!servfail"}}, "bank.example", []Identifier{dkim("mail.bank.example")}, "temperror reject p"},
		{"fails on that of one, and another passes", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject"), "_dmarc.mail.bank.example": {"!servfail"}}, "bank.example", []Identifier{dkim("mail.bank.example"), spf("a.bank.example")}, "pass reject p"},
		{"fails where the domain is looked for", zone{"_dmarc.bank.example": txt("v=DMARC1; p=none; np=reject"), "mail.bank.example": {"!servfail A"}}, "mail.bank.example", nil, "temperror"},
		{"SPF could not tell", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject")}, "bank.example", []Identifier{{SPF, "bank.example", "temperror"}}, "temperror reject p"},
		{"DKIM could not tell of a subdomain", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject")}, "bank.example", []Identifier{{DKIM, "mail.bank.example", "temperror"}}, "temperror reject p"},
		{"of what is not aligned anyhow", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject")}, "bank.example", []Identifier{{DKIM, "evil.example", "temperror"}}, "fail reject p"},
		{"of what would be aligned but for strictness", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject; adkim=s")}, "bank.example", []Identifier{{DKIM, "mail.bank.example", "temperror"}}, "fail reject p"},
		{"of one, and another passes", zone{"_dmarc.bank.example": txt("v=DMARC1; p=reject")}, "bank.example", []Identifier{{SPF, "bank.example", "temperror"}, dkim("bank.example")}, "pass reject p"},

		{"an author domain that is none", zone{}, "bank..example", []Identifier{spf("bank.example")}, "permerror"},
		{"one that is too long to have a record", zone{}, strings.Repeat("a.", 123) + "example", nil, "none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := resolvetest.New(t, tt.zone)
			res := Check(t.Context(), r, tt.author, tt.ids)
			got := string(res.Verdict)
			if res.Policy != "" {
				got += fmt.Sprintf(" %s %s", res.Policy, res.Tag)
			}
			if got != tt.want || res.Reason == "" {
				t.Errorf("got %q (%s), want %q", got, res.Reason, tt.want)
			}
		})
	}
}

// TestQuestions: no walk asks more than eight, whatever the name, and the most that a message can make is bounded.
func TestQuestions(t *testing.T) {
	for labels := 1; labels <= 40; labels++ {
		r := resolvetest.New(t, nil)
		Check(t.Context(), r, strings.TrimPrefix(strings.Repeat(".a", labels), "."), nil)
		if got, want := len(r.Asked()), min(labels, 8); got != want {
			t.Errorf("%d labels: %d questions, want %d", labels, got, want)
		}
	}
	ids := make([]Identifier, 500)
	for i := range ids {
		ids[i] = dkim(fmt.Sprintf("a.b.c.d.e.f.g.x%d.bank.example", i))
	}
	at := map[string]string{"bank.example": "v=DMARC1; p=reject"}
	for i := range ids {
		at[fmt.Sprintf("x%d.bank.example", i)] = "v=DMARC1; p=none; psd=n"
	}
	r := records(t, at)
	if res := Check(t.Context(), r, "bank.example", ids); res.Verdict != Fail {
		t.Errorf("%s", res.Verdict)
	}
	if got := len(r.Asked()); got > 2+8*maxIdentifiers {
		t.Errorf("%d questions", got)
	}
}

// TestEnded: a check whose time is up is a temperror.
func TestEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if res := Check(ctx, records(t, map[string]string{"bank.example": "v=DMARC1; p=reject"}), "bank.example", []Identifier{spf("bank.example")}); res.Verdict != TempError {
		t.Errorf("%s", res.Verdict)
	}
}

// odd is a DNS that answers with records of another type, which no server should.
type odd struct{}

func (odd) Lookup(context.Context, string, resolve.Type) (resolve.Answer, error) {
	return resolve.Answer{Records: []resolve.Record{resolve.Name("v=DMARC1; p=none")}}, nil
}

func TestOddRecords(t *testing.T) {
	if res := Check(t.Context(), odd{}, "bank.example", []Identifier{spf("bank.example")}); res.Verdict != None {
		t.Errorf("%s", res.Verdict)
	}
}
