package service

import (
	"net/mail"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestAddr(t *testing.T) {
	check(t, handler(t, Options{}), []call{
		{name: "addr.parse", args: list(`"a b"@Example.ORG`), want: address(`"a b"@Example.ORG`, "a b", "example.org")},
		{name: "addr.parse", args: list("<a@example.org>"), want: nil},
		{name: "addr.parse", args: list(""), want: nil},
		{name: "addr.network", args: list("192.0.2.9", int64(24), int64(64)), want: "192.0.2.0/24"},
		{name: "addr.network", args: list("::ffff:192.0.2.9", int64(24), int64(64)), want: "192.0.2.0/24"},
		{name: "addr.network", args: list("2001:db8:1:2:3::4%eth0", int64(24), int64(64)), want: "2001:db8:1:2::/64"},
		{name: "addr.network", args: list("192.0.2.9", int64(33), int64(64)), err: "v4bits is 33"},
		{name: "addr.network", args: list("192.0.2", int64(24), int64(64)), err: `"192.0.2" is not an IP address`},
		{name: "addr.within", args: list("192.0.2.9", list("198.51.100.0/24", "192.0.2.0/24")), want: true},
		{name: "addr.within", args: list("::ffff:192.0.2.9", list("192.0.2.9")), want: true},
		{name: "addr.within", args: list("192.0.2.9", list("::/0", "192.0.2.8")), want: false},
		{name: "addr.within", args: list("192.0.2.9", list("::ffff:192.0.2.0/120")), want: true},
		{name: "addr.within", args: list("192.0.3.9", list("::ffff:192.0.2.0/120")), want: false},
		{name: "addr.within", args: list("2001:db8::1", list("2001:db8::/32")), want: true},
		{name: "addr.within", args: list("192.0.2.9", list("192.0.2.9", "192.0.2.0/33")), err: `"192.0.2.0/33" is not a network`},
		{name: "addr.within", args: list("192.0.2.9", list("")), err: `"" is not a network`},
		{name: "addr.within", args: list("192.0.2.9", list(int64(1))), err: "element 1 of networks is a number"},
		{name: "addr.reverse", args: list("192.0.2.9"), want: "9.2.0.192.in-addr.arpa"},
		{name: "addr.reverse", args: list("192.0.2.9", "zen.example.org"), want: "9.2.0.192.zen.example.org"},
		{name: "addr.reverse", args: list("2001:db8::1", ".zen.example.org"), want: "1." + strings.Repeat("0.", 23) + "8.b.d.0.1.0.0.2.zen.example.org"},
		{name: "addr.reverse", args: list("x"), err: "is not an IP address"},
		{name: "addr.list", args: list("no list"), want: nil},
		{name: "addr.list", args: list("undisclosed-recipients:;"), want: []any{}},
		{name: "addr.list", args: list(strings.Repeat("a@b,", maxAddresses+1)), err: "more than 5000 addresses"},
		{name: "addr.list", args: list(strings.Repeat(" ", maxListText+1)), err: "longer than 262144 bytes"},
	})
}

// TestList gives texts and the addresses in them, as text only where mailbox and domain say no more.
func TestList(t *testing.T) {
	for _, tt := range []struct {
		text string
		want string // separated by a blank and a bar; "-" = no list
	}{
		{"", ""},
		{" , ,", ""},
		{"a@example.org", "a@example.org"},
		{"A.b@Example.ORG (comment)", "A.b@example.org"},
		{"<a@example.org>", "a@example.org"},
		{`"Last, F." <a@example.org>, First Last <b@example.org>`, "a@example.org |b@example.org"},
		{"=?utf-8?q?J=C3=B6?= <a@example.org>", "a@example.org"},
		{"J\xf6 <a@example.org>", "a@example.org"},
		{"Jö <ö@exämple.org>", "ö@xn--exmple-cua.org"},
		{"\xf6@example.org", "-"},
		{"team: a@example.org, B <b@example.org>;, c@example.org", "a@example.org |b@example.org |c@example.org"},
		{"team:;", ""},
		{"team: a@example.org", "-"},
		{"team: other: a@example.org;;", "-"},
		{": a@example.org;", "-"},
		{"a@example.org;", "-"},
		{"a@example.org b@example.org", "-"},
		{"a@example.org <b@example.org>", "-"},
		{"<a@example.org> x", "-"},
		{"<a@example.org> (x), (y)", "a@example.org"},
		{"a@b@example.org", "-"},
		{"name", "-"},
		{"<>", "-"},
		{"<a@example.org", "-"},
		{"a@", "-"},
		{"@example.org", "-"},
		{"a@exam ple.org", "-"},
		{"a@example..org", "-"},
		{"a@.example.org", "-"},
		{"a@example.org.", "-"},
		{"a..b@example.org", "-"},
		{".a@example.org", "-"},
		{"a.@example.org", "-"},
		{"a b@example.org", "-"},
		{"a . b @ example (x) . org", "a.b@example.org"},
		{`"a b"@example.org`, `"a b"@example.org`},
		{`"a"."b"@example.org`, "a.b@example.org"},
		{`"a\"b\\"@example.org`, `"a\"b\\"@example.org`},
		{`""@example.org`, `""@example.org`},
		{`"a@example.org`, "-"},
		{`"a\`, "-"},
		{"\"a\x00\"@example.org", "-"},
		{"a@[192.0.2.1]", "a@[192.0.2.1]"},
		{"a@[ipv6:2001:DB8::1]", "a@[IPv6:2001:db8::1]"},
		{"a@[192.0.2.1", "-"},
		{"a@[x]", "-"},
		{"<@r.example,@s.example:a@example.org>", "a@example.org"},
		{"<@r.example a@example.org>", "-"},
		{"<@r.example", "-"},
		{"a(nested (comment) \\) )@example.org", "a@example.org"},
		{"a@example.org (open", "-"},
		{"a@example.org (\\", "-"},
		{"a@example.org )", "-"},
		{"a@ex_ample.org", "a@ex_ample.org"},
		{"a@ex!ample.org", "-"},
		{"a@" + strings.Repeat("x", 64) + ".org", "-"},
		{"a@" + strings.Repeat("x.", 127) + "org", "-"},
		{"a@example.org,\r\n\tb@example.org", "a@example.org |b@example.org"},
		{"\"a\r\n b\" <a@example.org>", "a@example.org"},
	} {
		list, ok, err := parseList(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, a := range list {
			texts = append(texts, a.(map[string]any)["text"].(string))
		}
		got := strings.Join(texts, " |")
		if !ok {
			got = "-"
		}
		if got != tt.want {
			t.Errorf("%q: %s, want %s", tt.text, got, tt.want)
		}
	}
}

func TestListParts(t *testing.T) {
	list, ok, _ := parseList(`"A b" . c@Example.org`)
	want := []any{address(`"A b.c"@example.org`, "A b.c", "example.org")}
	if !ok || !reflect.DeepEqual(list, want) {
		t.Errorf("got %v", list)
	}
}

// FuzzList tests what holds for every list: its addresses, written out again, are the same list; and where the library, on
// texts without what it does otherwise, reads a list, so does the parser.
func FuzzList(f *testing.F) {
	for _, s := range []string{"a@example.org", `"Last, F." <a@example.org>, team: b@example.org;`, "<@r.example:a . b@[192.0.2.1]> (x (y))", "a@b,,", "ö@ö.org"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, ok, err := parseList(text)
		if !ok || err != nil {
			return
		}
		var texts []string
		for _, a := range list {
			a := a.(map[string]any)
			if !utf8.ValidString(a["text"].(string)) || a["domain"] == "" || strings.ContainsAny(a["text"].(string), "\r\n\x00") {
				t.Fatalf("%q gave %q", text, a)
			}
			texts = append(texts, a["text"].(string))
		}
		again, ok, err := parseList(strings.Join(texts, ", "))
		if !ok || err != nil || !reflect.DeepEqual(list, again) {
			t.Fatalf("%q gave %q, and that %q", text, list, again)
		}
		if theirs, err := mail.ParseAddressList(text); err == nil && len(theirs) != len(list) && !strings.ContainsAny(text, ":;") {
			t.Fatalf("%q gave %q; the library reads %v", text, list, theirs)
		}
	})
}

func BenchmarkList(b *testing.B) {
	text := strings.Repeat(`"Last, F." <f.last@example.org>, `, 100)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if list, ok, _ := parseList(text); !ok || len(list) != 100 {
			b.Fatal(len(list))
		}
	}
}
