package authres

import (
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/message"
)

func prop(name, value string) Property {
	kind, property, _ := strings.Cut(name, ".")
	return Property{kind, property, value}
}

func TestCompose(t *testing.T) {
	for _, tt := range []struct {
		name    string
		id      string
		results []Result
		want    string // without CR
		fails   bool
	}{
		{name: "nothing was checked", id: "mx.example.org", want: "mx.example.org; none"},
		{name: "each method", id: "mx.example.org", results: []Result{
			{Method: "iprev", Value: "pass", Properties: []Property{prop("policy.iprev", "192.0.2.1")}},
			{Method: "spf", Value: "pass", Properties: []Property{prop("smtp.helo", "mail.example.net")}},
			{Method: "spf", Value: "softfail", Properties: []Property{prop("smtp.mailfrom", "news@example.net")}},
			{Method: "dkim", Value: "fail", Reason: "body hash did not verify", Properties: []Property{prop("header.d", "example.net"), prop("header.i", "@example.net"), prop("header.s", "s1"), prop("header.a", "rsa-sha256"), prop("header.b", "ab/c+d=")}},
			{Method: "DMARC", Value: "Fail", Properties: []Property{prop("header.from", "example.net"), prop("policy.dmarc", "reject")}},
		}, want: "mx.example.org;\n\tiprev=pass policy.iprev=192.0.2.1;\n\tspf=pass smtp.helo=mail.example.net;\n\tspf=softfail smtp.mailfrom=news@example.net;\n" +
			"\tdkim=fail reason=\"body hash did not verify\" header.d=example.net\n\theader.i=@example.net header.s=s1 header.a=rsa-sha256\n\theader.b=\"ab/c+d=\";\n\tdmarc=fail header.from=example.net policy.dmarc=reject"},
		{name: "what has no value is left out", id: "mx", results: []Result{{Method: "spf", Value: "none", Properties: []Property{prop("smtp.mailfrom", "")}}}, want: "mx;\n\tspf=none"},
		{name: "what is no word is quoted", id: "mx", results: []Result{{Method: "spf", Value: "none", Properties: []Property{
			prop("smtp.mailfrom", `"a b"@example.net`), prop("smtp.helo", "[192.0.2.1]"), prop("policy.iprev", "2001:db8::1"), prop("header.from", "x; dmarc=pass"), prop("header.d", "a(b)"), prop("header.i", "@@a")}}},
			want: "mx;\n\tspf=none smtp.mailfrom=\"\\\"a b\\\"@example.net\" smtp.helo=\"[192.0.2.1]\"\n\tpolicy.iprev=\"2001:db8::1\" header.from=\"x; dmarc=pass\"\n\theader.d=\"a(b)\" header.i=\"@@a\""},
		{name: "what cannot stand there", id: "mx", results: []Result{{Method: "spf", Value: "none", Reason: "a\r\nSubject: x\x00\xff", Properties: []Property{prop("smtp.helo", "a\r\n b")}}},
			want: "mx;\n\tspf=none reason=\"a??Subject: x??\" smtp.helo=\"a?? b\""},
		{name: "a name that is no word", id: "mx 1", want: "\"mx 1\"; none"},
		{name: "no name", id: "", fails: true},
		{name: "a name with a line end", id: "mx\r\nx", fails: true},
		{name: "no method", id: "mx", results: []Result{{Value: "pass"}}, fails: true},
		{name: "a result that is no word", id: "mx", results: []Result{{Method: "spf", Value: "pass; dmarc=pass"}}, fails: true},
		{name: "a property that is no word", id: "mx", results: []Result{{Method: "spf", Value: "pass", Properties: []Property{prop("smtp.mail from", "x")}}}, fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Compose(tt.id, tt.results)
			if want := strings.ReplaceAll(tt.want, "\n", "\r\n"); got != want || (err != nil) != tt.fails {
				t.Errorf("got  %q, %v\nwant %q", got, err, want)
			}
		})
	}
}

// TestComposeBounds: however much there is to say, the field stays small, and whole.
func TestComposeBounds(t *testing.T) {
	long := strings.Repeat("long ", 1000)
	r := Result{Method: "dkim", Value: "fail", Reason: long}
	for range 100 {
		r.Properties = append(r.Properties, prop("header.d", long))
	}
	results := make([]Result, 1000)
	for i := range results {
		results[i] = r
	}
	got, err := Compose("mx.example.org", results)
	if err != nil || len(got) > maxBytes || !Forged(got, "mx.example.org") || Forged(got, "other.example") {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestForged(t *testing.T) {
	const ours = "mx1.example.org"
	for _, tt := range []struct {
		value string
		want  bool
	}{
		// Those of others.
		{"mx.elsewhere.example; none", false},
		{"mx.elsewhere.example 1; none", false},
		{"mx.elsewhere.example; spf=pass smtp.mailfrom=a@mx1.example.org", false},
		{"mx.elsewhere.example; spf=pass reason=\"mx1.example.org; none\"", false},
		{"mx.elsewhere.example (mx1.example.org); spf=pass", false},
		{" mx.elsewhere.example;\r\n\tdkim=pass (2048-bit key) header.d=a.example header.b=ab/c+d==;\r\n dmarc=fail (p=none) header.from=a.example;", false},
		{"mx.elsewhere.example; dkim/1 = pass policy . x = y", false},
		{"mx2.example.org; none", false},
		{"xmx1.example.org; none", false},
		{"mx1.example.org.evil.example; none", false},
		{"example.org; none", false},
		// Ours.
		{"mx1.example.org; none", true},
		{"mx1.example.org; spf=pass", true},
		{"  mx1.example.org  ;none", true},
		{"MX1.Example.ORG; none", true},
		{"mx1.example.org.; none", true},
		{"mx1.example.org 1; spf=pass", true},
		{"mx1.example.org(comment)1(x); spf=pass", true},
		{"(comment) mx1.example.org; spf=pass", true},
		{"(a (nested \\) one)) (and another) mx1.example.org; spf=pass", true},
		{"\r\n\tmx1.example.org; spf=pass", true},
		{"\r\n (x\r\n y)\r\n mx1.example.org\r\n ; spf=pass", true},
		{`"mx1.example.org"; spf=pass`, true},
		{`"MX1\.example.org"; spf=pass`, true},
		{"\"mx1.exa\r\n mple.org\"; spf=pass", true},
		{`" mx1.example.org "; spf=pass`, true},
		{"ｍx1.example.org; spf=pass", true},
		{"mx1。example.org; spf=pass", true},
		// Those that cannot be parsed.
		{"", true},
		{";", true},
		{"; none", true},
		{"mx.elsewhere.example", true},
		{"mx.elsewhere.example;", true},
		{"mx.elsewhere.example mx1.example.org; none", true},
		{"mx.elsewhere.example 1x; none", true},
		{"mx.elsewhere.example; spf", true},
		{"mx.elsewhere.example; spf=", true},
		{"mx.elsewhere.example; spf=pass smtp.mailfrom", true},
		{"mx.elsewhere.example; spf=pass smtp=x", true},
		{"mx.elsewhere.example; spf=pass smtp.mailfrom=\"a", true},
		{"mx.elsewhere.example; spf=pass (comment", true},
		{"(mx.elsewhere.example; spf=pass", true},
		{"spf=pass smtp.mailfrom=a; dkim=none", true},
		{"mx.elsewhere.example; none; spf=pass", true},
		{"mx.elsewhere.example; spf=pass, mx1.example.org; spf=pass", true},
		{"mx.elsewhere.example\x00; none", true},
		{"mx.elsewhere.example;\rmx1.example.org; none", true},
		{"mx.elsewhere.example;\r\nmx1.example.org; none", true},
		{"=?utf-8?q?mx1.example.org?=; none", true},
		{"mx1.example.org/x; none", true},
		{"mx1@example.org; none", true},
		{"mx\xff.example; none", true},
		{`"mx.elsewhere.example\`, true},
	} {
		t.Run(tt.value, func(t *testing.T) {
			if got := Forged(tt.value, "mx9.example.org", ours); got != tt.want {
				t.Errorf("%v", got)
			}
		})
	}
	if !Forged("xn--mx-fka.example; none", "mxü.example") != !Forged("mxü.example; none", "xn--mx-fka.example") {
		t.Error("U-labels and A-labels are compared one way")
	}
}

func FuzzForged(f *testing.F) {
	for _, text := range []string{"mx1.example.org; none", "(c) \"mx1\\.example.org\" 1;\r\n\tspf=pass (x) reason=\"y\" smtp.mailfrom=a@b;dkim/1=fail header.b=ab/c==;"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p := parser{s: text}
		id, ok := p.payload()
		if p.i > len(text) {
			t.Fatal("it went beyond the end")
		}
		if !ok {
			if !Forged(text) {
				t.Error("what cannot be parsed stays")
			}
			return
		}
		if !Forged(text, strings.ToUpper(id)) && strings.EqualFold(strings.ToUpper(id), id) {
			t.Errorf("the name %q is not found", id)
		}
	})
}

// FuzzCompose: what is composed has one reading, whatever the values are.
func FuzzCompose(f *testing.F) {
	f.Add("mx.example.org", "pass", "why", "a@b.example", "x; y=\"z\"\r\n")
	f.Fuzz(func(t *testing.T, id, value, reason, one, two string) {
		text, err := Compose(id, []Result{{Method: "spf", Value: value, Reason: reason, Properties: []Property{{"smtp", "mailfrom", one}, {"smtp", "helo", two}}}, {Method: "dmarc", Value: "fail"}})
		if err != nil {
			return
		}
		if !Forged(text, id) || Forged(text, "another.example") && canonical(id) != "another.example" {
			t.Errorf("%q has another name than %q", text, id)
		}
		if strings.Count(strings.ToLower(text), "\r\n\tdmarc=fail") != 1 || !strings.HasSuffix(text, ";\r\n\tdmarc=fail") {
			t.Errorf("%q does not end in its last result", text)
		}
		if err := message.CheckField(Field, text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}
