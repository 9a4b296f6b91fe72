package spf

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/resolve/resolvetest"
)

func checkOf(t testing.TB, q Query) *check {
	c := &check{ctx: t.Context(), dns: resolvetest.New(t, nil), query: &q}
	c.local, c.origin = q.sender()
	return c
}

// TestExpand has the examples of section 7.4, and what is at the edges.
func TestExpand(t *testing.T) {
	const sender, domain = "strong-bad@email.example.com", "email.example.com"
	for _, tt := range []struct{ ip, text, want string }{
		{"", "%{s}", "strong-bad@email.example.com"}, {"", "%{o}", "email.example.com"}, {"", "%{d}", "email.example.com"},
		{"", "%{d4}", "email.example.com"}, {"", "%{d3}", "email.example.com"}, {"", "%{d2}", "example.com"}, {"", "%{d1}", "com"},
		{"", "%{dr}", "com.example.email"}, {"", "%{d2r}", "example.email"}, {"", "%{l}", "strong-bad"}, {"", "%{l-}", "strong.bad"},
		{"", "%{lr}", "strong-bad"}, {"", "%{lr-}", "bad.strong"}, {"", "%{l1r-}", "strong"},
		{"", "%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"},
		{"", "%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"},
		{"", "%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"},
		{"", "%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"},
		{"", "%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"},
		{"2001:db8::cb01", "%{ir}.%{v}._spf.%{d2}", "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"},
		{"", "%{d127}", domain}, {"", "%{d128r}", "com.example.email"}, {"", "%{d99r}", "com.example.email"}, {"", "%{d000002}", "example.com"},
		{"", "%{d99999999999999999999}", domain}, {"", "%{D}", domain}, {"", "%{DR}", "com.example.email"},
		{"", "%{S}", "strong-bad%40email.example.com"}, {"", "%{L1r-}", "strong"}, {"", "%%%_%-", "% %20"},
		{"", "%{l.-+,/_=}", "strong.bad"}, {"", "%{s=@}", ""}, {"", "%{h}", "two words"}, {"", "%{H}", "two%20words"}, {"", "%{p}", "unknown"},
		{"", "%{o2}.%{o.1}", ""}, {"", "%{d0}", ""}, {"", "%{d00}", ""}, {"", "%{}", ""}, {"", "%{", ""}, {"", "%", ""}, {"", "a%b", ""},
		{"", "%{c}", ""}, {"", "%{r}", ""}, {"", "%{t}", ""}, {"", "%{drr}", ""}, {"", "%{dr2}", ""}, {"", "%{ d}", ""}, {"", "a b", ""}, {"", "\x80", ""}, {"", "%{\xe4}", ""},
	} {
		m, err := parseMacros(tt.text, inTerm)
		if err != nil {
			if tt.want != "" {
				t.Errorf("%q: %v", tt.text, err)
			}
			continue
		}
		ip := "192.0.2.3"
		if tt.ip != "" {
			ip = tt.ip
		}
		c := checkOf(t, Query{Identity: Mail, IP: netip.MustParseAddr(ip), Sender: sender, Helo: "two words"})
		if got, whole := c.expand(m, domain, domainRoom); !strings.EqualFold(got, tt.want) || !whole {
			t.Errorf("%q: it is %q, want %q", tt.text, got, tt.want)
		}
	}
}

// TestNames: which of the client's names %{p} stands for.
func TestNames(t *testing.T) {
	const reverse = "1.2.0.192.in-addr.arpa"
	for _, tt := range []struct {
		names []string
		want  string
	}{
		{nil, "unknown"},
		{[]string{"a.test", "b.test"}, "a.test"},
		{[]string{"a.test", "m.x.test", "n.x.test"}, "m.x.test"},
		{[]string{"a.test", "m.x.test", "x.test"}, "x.test"},
		{[]string{"badx.test", "X.test"}, "x.test"},
	} {
		zone := map[string][]string{}
		for _, n := range tt.names {
			zone[n] = []string{"A 192.0.2.1"}
			zone[reverse] = append(zone[reverse], "PTR "+n)
		}
		c := checkOf(t, mail("u@x.test"))
		c.dns = resolvetest.New(t, zone)
		if got := c.name("x.test"); got != tt.want || c.terms != 1 || c.limit != nil {
			t.Errorf("%v: it is %q, want %q; %d terms, %v", tt.names, got, tt.want, c.terms, c.limit)
		}
	}
	c := checkOf(t, mail("u@x.test"))
	c.terms = maxTerms
	if c.name("x.test"); c.limit == nil {
		t.Error("one term too many is taken")
	}
}

// TestLongNames: the end of a name counts, by whole labels, whatever macros make before it.
func TestLongNames(t *testing.T) {
	label := strings.Repeat("a", 60)
	for _, tt := range []struct{ text, want string }{
		{"x." + strings.Repeat(label+".", 4) + "test", "x." + strings.Repeat(label+".", 4) + "test"}, // 250
		{"xxxxxxx." + strings.Repeat(label+".", 4) + "test", strings.Repeat(label+".", 4) + "test"},
		{strings.Repeat("%{s}.", 3000) + "example.test", ""},
		{strings.Repeat("a", 300) + ".test", "test"},
		{strings.Repeat("a", 300), ""},
		{"%{h}.test", "test"},
	} {
		m, err := parseMacros(tt.text, inTerm)
		if err != nil {
			t.Fatal(err)
		}
		q := mail("joe@x.test")
		q.Helo = strings.Repeat("h", 100_000)
		got := checkOf(t, q).target(m, "x.test")
		if len(got) > 253 || tt.want != "" && got != tt.want || tt.want == "" && strings.Contains(tt.text, ".") && !strings.HasSuffix(got, ".joe@x.test.example.test") {
			t.Errorf("%.40q: it is %q (%d bytes), want %q", tt.text, got, len(got), tt.want)
		}
	}
}

// macroPattern and the function below are section 7 once more, in another way.
var macroPattern = regexp.MustCompile(`%(?:\{([A-Za-z])([0-9]*)([rR]?)([.\-+,/_=]*)\}|[%_-])`)

func expandAgain(text string, value func(letter byte) string) string {
	return macroPattern.ReplaceAllStringFunc(text, func(m string) string {
		if len(m) == 2 {
			return map[string]string{"%%": "%", "%_": " ", "%-": "%20"}[m]
		}
		g := macroPattern.FindStringSubmatch(m)
		v := value(strings.ToLower(g[1])[0])
		if g[2]+g[3]+g[4] != "" {
			for _, d := range g[4] {
				v = strings.ReplaceAll(v, string(d), "\x00")
			}
			if g[4] == "" {
				v = strings.ReplaceAll(v, ".", "\x00")
			}
			parts := strings.Split(v, "\x00")
			if g[3] != "" {
				slices.Reverse(parts)
			}
			if n, err := strconv.Atoi(g[2]); err == nil && g[2] != "" && n < len(parts) {
				parts = parts[len(parts)-n:]
			}
			v = strings.Join(parts, ".")
		}
		if g[1] < "a" {
			escaped := ""
			for _, b := range []byte(v) {
				if regexp.MustCompile(`^[A-Za-z0-9._~-]$`).Match([]byte{b}) {
					escaped += string(rune(b))
				} else {
					escaped += "%" + strings.ToUpper(strconv.FormatUint(uint64(b)+0x100, 16)[1:])
				}
			}
			v = escaped
		}
		return v
	})
}

// FuzzExpand: macros give what they give done in another way, and a name is never longer than one may be.
func FuzzExpand(f *testing.F) {
	f.Add("%{ir}.%{v}._spf.%{d2}", "strong-bad@email.example.com", "mail.example.com", "example.com", false)
	f.Fuzz(func(t *testing.T, text, sender, helo, domain string, v6 bool) {
		if strings.Contains(sender+helo+domain, "\x00") || len(text)+len(sender)+len(helo)+len(domain) > 4096 {
			t.Skip() // the other way divides by NUL
		}
		q := Query{Identity: Mail, IP: netip.MustParseAddr("192.0.2.3"), Sender: sender, Helo: helo, Time: time.Unix(1, 0)}
		if v6 {
			q.IP = netip.MustParseAddr("2001:db8::cb01")
		}
		c := checkOf(t, q)
		for _, where := range []place{inTerm, inExplanation} {
			m, err := parseMacros(text, where)
			if err != nil {
				continue
			}
			got, whole := c.expand(m, domain, explainRoom)
			want := expandAgain(text, func(letter byte) string { return c.value(letter, domain) })
			if whole && got != want || !whole && !strings.HasSuffix(want, got) {
				t.Errorf("it is %q, want %q", got, want)
			}
			if where == inTerm {
				name := c.target(m, domain)
				if len(name) > 253 || !strings.HasSuffix(strings.TrimSuffix(want, "."), name) {
					t.Errorf("%q is no name made of %q", name, want)
				}
			}
		}
	})
}
