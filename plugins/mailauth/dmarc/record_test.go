package dmarc

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseRecord(t *testing.T) {
	for _, tt := range []struct {
		text string
		want *Record // nil: it is none. PSD is u unless it is said
		bad  string  // why the policy cannot be used
	}{
		{text: ""},
		{text: "v=DMARC2; p=reject"},
		{text: "v=dmarc1; p=reject"},
		{text: "v=DMARC1p=reject"},
		{text: "v=DMARC1 p=reject"},
		{text: "v=DMARC10; p=reject"},
		{text: "p=reject; v=DMARC1"},
		{text: " ;v=DMARC1; p=reject"},
		{text: "DMARC1; p=reject"},
		{text: "\"v=DMARC1; p=reject\""},
		{text: "v=DMARC1", want: &Record{}, bad: "it has neither p nor rua"},
		{text: "v=DMARC1;p=none", want: &Record{P: PolicyNone}},
		{text: "v = DMARC1 ;\tp = reject ; ", want: &Record{P: PolicyReject}},
		{text: "V=DMARC1; P=Reject", want: &Record{P: PolicyReject}},
		{text: "v=DMARC1;;; p=reject;;", want: &Record{P: PolicyReject}},
		{text: "v=DMARC1; adkim=s; aspf=s; p=reject", want: &Record{P: PolicyReject, StrictDKIM: true, StrictSPF: true}},
		{text: "v=DMARC1; p=reject; adkim=r; aspf=r", want: &Record{P: PolicyReject}},
		{text: "v=DMARC1; p=reject; adkim=strict; aspf=", want: &Record{P: PolicyReject, Faults: []string{`adkim is "strict", not one of r, s`, `"aspf=" is not a tag with a value`}}},
		{text: "v=DMARC1; p=none; sp=quarantine; np=reject", want: &Record{P: PolicyNone, SP: PolicyQuarantine, NP: PolicyReject}},
		{text: "v=DMARC1; p=none; psd=y", want: &Record{P: PolicyNone, PSD: 'y'}},
		{text: "v=DMARC1; p=none; psd=N", want: &Record{P: PolicyNone, PSD: 'n'}},
		{text: "v=DMARC1; p=none; psd=u", want: &Record{P: PolicyNone}},
		{text: "v=DMARC1; p=none; psd=yes", want: &Record{P: PolicyNone, Faults: []string{`psd is "yes", not one of y, n, u`}}},
		{text: "v=DMARC1; p=reject; t=y", want: &Record{P: PolicyReject, Testing: true}},
		{text: "v=DMARC1; p=reject; t=n", want: &Record{P: PolicyReject}},
		{text: "v=DMARC1; p=reject; t=1", want: &Record{P: PolicyReject, Faults: []string{`t is "1", not one of y, n`}}},
		{text: "v=DMARC1; p=none; fo=1:d:s", want: &Record{P: PolicyNone, FailureOptions: []string{"1", "d", "s"}}},
		{text: "v=DMARC1; p=none; fo=d:0:s", want: &Record{P: PolicyNone, FailureOptions: []string{"d", "0", "s"}}},
		{text: "v=DMARC1; p=none; fo=0:1", want: &Record{P: PolicyNone, Faults: []string{`fo is "0:1"`}}},
		{text: "v=DMARC1; p=none; fo=d:d", want: &Record{P: PolicyNone, Faults: []string{`fo is "d:d"`}}},
		{text: "v=DMARC1; p=none; fo=x", want: &Record{P: PolicyNone, Faults: []string{`fo is "x"`}}},
		{text: "v=DMARC1; p=none; rua=mailto:a@b.example!10m , https://r.example/x", want: &Record{P: PolicyNone, Aggregate: []string{"mailto:a@b.example", "https://r.example/x"}}},
		{text: "v=DMARC1; p=none; rua=a@b.example,mailto:b,mailto:a@b.example", want: &Record{P: PolicyNone, Aggregate: []string{"mailto:a@b.example"}, Faults: []string{`rua: "a@b.example" is not a URI`, `rua: "mailto:b" is not a URI`}}},
		{text: "v=DMARC1; p=none; pct=50; rf=afrf; ri=86400; new=x", want: &Record{P: PolicyNone}},
		{text: "v=DMARC1; p=none; p=reject", want: &Record{P: PolicyNone, Faults: []string{"the tag p is there twice"}}},
		{text: "v=DMARC1; p=none; v=DMARC1", want: &Record{P: PolicyNone, Faults: []string{"the tag v is there twice"}}},
		{text: "v=DMARC1; p=none; reject; p2=x; =x; adkim", want: &Record{P: PolicyNone, Faults: []string{`"reject" is not a tag with a value`, `"p2=x" is not a tag with a value`, `"=x" is not a tag with a value`, `"adkim" is not a tag with a value`}}},
		{text: "v=DMARC1; p=none; adkim=s\x00", want: &Record{P: PolicyNone, Faults: []string{`"adkim=s\x00" is not a tag with a value`}}},
		{text: "v=DMARC1; p=none\u00a0", want: &Record{Faults: []string{`"p=none\u00a0" is not a tag with a value`}}, bad: "it has neither p nor rua"},
		{text: "v=DMARC1; p=deny", want: &Record{Faults: []string{`p is "deny", not one of none, quarantine, reject`}}, bad: `p is "deny"`},
		{text: "v=DMARC1; p=deny; rua=mailto:a@b.example", want: &Record{P: PolicyNone, Aggregate: []string{"mailto:a@b.example"}, Faults: []string{`p is "deny", not one of none, quarantine, reject`}}},
		{text: "v=DMARC1; p=reject; sp=deny", want: &Record{P: PolicyReject, Faults: []string{`sp is "deny", not one of none, quarantine, reject`}}, bad: `sp is "deny"`},
	} {
		t.Run(tt.text, func(t *testing.T) {
			got, ok := ParseRecord(tt.text)
			if ok != (tt.want != nil) || ok != IsRecord(tt.text) {
				t.Fatalf("%v", ok)
			}
			if !ok {
				return
			}
			if tt.want.badPolicy = tt.bad; tt.want.PSD == 0 {
				tt.want.PSD = 'u'
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

// TestRecordBounds: a record holds no more than it may, however long it is.
func TestRecordBounds(t *testing.T) {
	rec, ok := ParseRecord("v=DMARC1; p=reject" + strings.Repeat("; x", 10_000) + "; rua=" + strings.Repeat("mailto:a@b.example,", 100_000))
	if !ok || rec.P != PolicyReject || len(rec.Faults) != maxFaults || len(rec.Aggregate) != maxURIs {
		t.Errorf("%d faults, %d URIs", len(rec.Faults), len(rec.Aggregate))
	}
}

func FuzzRecord(f *testing.F) {
	for _, text := range []string{"v=DMARC1; p=none; sp=quarantine; np=reject; adkim=s; aspf=r; psd=n; t=y; fo=1:d:s; rua=mailto:a@b.example!10m,https://x.example/y; ruf=mailto:a@b.example", "v=DMARC1", "v = DMARC1 ; p=deny;;x"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rec, ok := ParseRecord(text)
		if ok != IsRecord(text) {
			t.Fatal("two answers")
		}
		if !ok {
			return
		}
		if !strings.Contains(text, "DMARC1") || rec.P == "" && rec.badPolicy == "" || rec.PSD != 'y' && rec.PSD != 'n' && rec.PSD != 'u' {
			t.Errorf("%+v", rec)
		}
		if len(rec.Faults) > maxFaults || len(rec.Aggregate) > maxURIs || len(rec.Failures) > maxURIs || len(rec.FailureOptions) > 3 {
			t.Errorf("too much: %+v", rec)
		}
		for _, p := range []Policy{rec.P, rec.SP, rec.NP} {
			if p != "" && p != PolicyNone && p != PolicyQuarantine && p != PolicyReject {
				t.Errorf("policy %q", p)
			}
		}
	})
}
