package resolve_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/resolve/resolvetest"
)

var internet = map[string][]string{
	"good.test":       {"MX 20 b.good.test", "MX 10 A.Good.Test.", "TXT \"v=spf1\" \" -all\"", "TXT \"a\\\"b\\\\c\\001\""},
	"a.good.test":     {"A 192.0.2.1", "A 192.0.2.2", "AAAA 2001:db8::1"},
	"b.good.test":     {"A 192.0.2.3", "!silent AAAA"},
	"implicit.test":   {"AAAA 2001:db8::2"},
	"halfdown.test":   {"!servfail A"},
	"nothing.test":    {"TXT \"here\""},
	"null.test":       {"MX 0 ."},
	"mixed.test":      {"MX 10 a.good.test", "MX 0 ."},
	"down.test":       {"!servfail"},
	"refused.test":    {"!refused"},
	"silent.test":     {"!silent"},
	"alias.test":      {"CNAME good.test"},
	"hostless.test":   {"MX 10 bad\\032host.test"},
	"half.test":       {"MX 10 bad\\032host.test", "MX 20 a.good.test"},
	"twice.test":      {"MX 30 a.good.test", "MX 10 a.good.test", "MX 20 b.good.test"},
	"mapped.test":     {"AAAA ::ffff:127.0.0.1", "A 127.0.0.1"},
	"below.only.test": {"A 192.0.2.9"},
	"all.test": {"NS ns.all.test", "SOA ns.all.test host.all.test 1 2 3 4 5", "SRV 1 2 3 srv.all.test",
		"TLSA 3 1 1 00ff", "CAA 0 issue \"ca.test\""},
	"1.2.0.192.in-addr.arpa": {"PTR a.good.test"},
}

func TestLookupMX(t *testing.T) {
	r := resolvetest.New(t, internet)
	for _, c := range []struct {
		domain, want string
		kind         resolve.Kind // where want is empty
		code         int
		enhanced     string
	}{
		{domain: "good.test", want: "10 a.good.test, 20 b.good.test"},
		{domain: "Good.Test.", want: "10 a.good.test, 20 b.good.test"},
		{domain: "alias.test", want: "10 a.good.test, 20 b.good.test"},
		{domain: "twice.test", want: "10 a.good.test, 20 b.good.test"},
		{domain: "half.test", want: "20 a.good.test"},
		{domain: "Implicit.Test", want: "0 implicit.test implicit"},
		{domain: "null.test", kind: resolve.NullMX, code: 556, enhanced: "5.1.10"},
		{domain: "mixed.test", kind: resolve.NullMX, code: 556, enhanced: "5.1.10"},
		{domain: "nowhere.test", kind: resolve.NoSuch, code: 550, enhanced: "5.1.2"},
		{domain: "not a name", kind: resolve.NoSuch, code: 550, enhanced: "5.1.2"},
		{domain: "nothing.test", kind: resolve.NoHost, code: 550, enhanced: "5.4.4"},
		{domain: "only.test", kind: resolve.NoHost, code: 550, enhanced: "5.4.4"},
		{domain: "hostless.test", kind: resolve.NoHost, code: 550, enhanced: "5.4.4"},
		{domain: "down.test", kind: resolve.Temporary, code: 451, enhanced: "4.4.3"},
		{domain: "refused.test", kind: resolve.Temporary, code: 451, enhanced: "4.4.3"},
		{domain: "silent.test", kind: resolve.Temporary, code: 451, enhanced: "4.4.3"},
		{domain: "halfdown.test", kind: resolve.Temporary, code: 451, enhanced: "4.4.3"},
	} {
		got, err := resolve.LookupMX(t.Context(), r, c.domain, nil)
		if c.want != "" {
			var hosts []string
			for _, mx := range got.Hosts {
				hosts = append(hosts, fmt.Sprint(mx.Preference, " ", mx.Host))
			}
			text := strings.Join(hosts, ", ")
			if got.Implicit {
				text += " implicit"
			}
			if err != nil || text != c.want {
				t.Errorf("%s: got %q, %v, want %q", c.domain, text, err, c.want)
			}
			continue
		}
		var e *resolve.Error
		if !errors.As(err, &e) || !errors.Is(err, c.kind) {
			t.Errorf("%s: got %v, %v, want %v", c.domain, got, err, c.kind)
			continue
		}
		if e.Code() != c.code || e.Enhanced() != c.enhanced || e.Temporary() != (c.code == 451) {
			t.Errorf("%s: got %d %s, temporary %v, want %d %s", c.domain, e.Code(), e.Enhanced(), e.Temporary(), c.code, c.enhanced)
		}
	}
}

func TestLookupMXShufflesEqualsOnly(t *testing.T) {
	r := resolvetest.New(t, map[string][]string{"x.test": {"MX 20 d.test", "MX 10 a.test", "MX 10 b.test", "MX 10 c.test", "MX 5 z.test"}})
	backwards := func(n int, swap func(i, j int)) {
		for i := range n / 2 {
			swap(i, n-1-i)
		}
	}
	asIs := func(int, func(int, int)) {}
	for _, c := range []struct {
		shuffle func(int, func(int, int))
		want    []string
	}{
		{asIs, []string{"z.test", "a.test", "b.test", "c.test", "d.test"}},
		{backwards, []string{"z.test", "c.test", "b.test", "a.test", "d.test"}},
	} {
		got, err := resolve.LookupMX(t.Context(), r, "x.test", c.shuffle)
		if err != nil {
			t.Fatal(err)
		}
		var hosts []string
		for _, mx := range got.Hosts {
			hosts = append(hosts, mx.Host)
		}
		if !slices.Equal(hosts, c.want) {
			t.Errorf("got %v, want %v", hosts, c.want)
		}
	}
}

func TestLookupAddrs(t *testing.T) {
	r := resolvetest.New(t, internet)
	for _, c := range []struct {
		host   string
		want   string
		status resolve.Status
	}{
		{"a.good.test", "[192.0.2.1 192.0.2.2 2001:db8::1]", resolve.Found},
		{"b.good.test", "[192.0.2.3]", resolve.Found}, // the other family is silent
		{"implicit.test", "[2001:db8::2]", resolve.Found},
		{"mapped.test", "[127.0.0.1]", resolve.Found},
		{"nothing.test", "[]", resolve.NoData},
		{"nowhere.test", "[]", resolve.NoDomain},
	} {
		got, err := resolve.LookupAddrs(t.Context(), r, c.host)
		if err != nil || fmt.Sprint(got.Addrs) != c.want || got.Status != c.status {
			t.Errorf("%s: got %v %v, %v, want %v %v", c.host, got.Addrs, got.Status, err, c.want, c.status)
		}
	}
	for _, host := range []string{"halfdown.test", "down.test"} {
		if got, err := resolve.LookupAddrs(t.Context(), r, host); !errors.Is(err, resolve.Temporary) {
			t.Errorf("%s: got %v, %v, want a temporary error", host, got, err)
		}
	}
}

func TestLookupTXTAndPTR(t *testing.T) {
	r := resolvetest.New(t, internet)
	texts, err := resolve.LookupTXT(t.Context(), r, "good.test")
	if want := []string{"v=spf1 -all", "a\"b\\c\x01"}; err != nil || !slices.Equal(texts, want) {
		t.Errorf("TXT: got %q, %v, want %q", texts, err, want)
	}
	if texts, err := resolve.LookupTXT(t.Context(), r, "nowhere.test"); err != nil || len(texts) != 0 {
		t.Errorf("TXT of no domain: got %q, %v, want none", texts, err)
	}
	names, err := resolve.LookupPTR(t.Context(), r, netip.MustParseAddr("::ffff:192.0.2.1"))
	if want := []string{"a.good.test"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("PTR: got %q, %v, want %q", names, err, want)
	}
	if _, err := resolve.LookupTXT(t.Context(), r, "down.test"); !errors.Is(err, resolve.Temporary) {
		t.Errorf("TXT of a failing name: got %v, want a temporary error", err)
	}
}

func TestReverseName(t *testing.T) {
	for ip, want := range map[string]string{
		"192.0.2.1":    "1.2.0.192.in-addr.arpa",
		"2001:db8::1f": "f.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
	} {
		if got := resolve.ReverseName(netip.MustParseAddr(ip)); got != want {
			t.Errorf("%s: got %s, want %s", ip, got, want)
		}
	}
}

func TestValues(t *testing.T) {
	r := resolvetest.New(t, internet)
	for _, c := range []struct {
		name, typ string
		want      []any
	}{
		{"a.good.test", "a", []any{"192.0.2.1", "192.0.2.2"}},
		{"a.good.test", "AAAA", []any{"2001:db8::1"}},
		{"null.test", "MX", []any{map[string]any{"preference": 0, "host": "."}}},
		{"good.test", "TXT", []any{"v=spf1 -all", "a\"b\\c\x01"}},
		{"alias.test", "CNAME", []any{"good.test"}},
		{"1.2.0.192.in-addr.arpa", "PTR", []any{"a.good.test"}},
		{"all.test", "NS", []any{"ns.all.test"}},
		{"all.test", "SOA", []any{map[string]any{"ns": "ns.all.test", "mailbox": "host.all.test", "serial": 1, "refresh": 2, "retry": 3, "expire": 4, "minimum": 5}}},
		{"all.test", "SRV", []any{map[string]any{"priority": 1, "weight": 2, "port": 3, "target": "srv.all.test"}}},
		{"all.test", "TLSA", []any{map[string]any{"usage": 3, "selector": 1, "matching": 1, "data": []byte{0, 0xff}}}},
		{"all.test", "CAA", []any{map[string]any{"flag": 0, "tag": "issue", "value": "ca.test"}}},
		{"all.test", "A", []any{}},
		{"nowhere.test", "MX", []any{}},
	} {
		got, err := resolve.Values(t.Context(), r, c.name, c.typ)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s %s: got %v, %v, want %v", c.name, c.typ, got, err, c.want)
		}
	}
	if _, err := resolve.Values(t.Context(), r, "good.test", "WKS"); err == nil || !strings.Contains(err.Error(), `"WKS"`) {
		t.Errorf("unknown type: got %v, want an error that names it", err)
	}
	if _, err := resolve.Values(t.Context(), r, "down.test", "A"); !errors.Is(err, resolve.Temporary) {
		t.Errorf("failing name: got %v, want a temporary error", err)
	}
}

func TestResolvetestChanges(t *testing.T) {
	r := resolvetest.New(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	status := func() resolve.Status {
		a, err := r.Lookup(ctx, "x.test", resolve.TypeA)
		if err != nil {
			t.Fatal(err)
		}
		return a.Status
	}
	before := status()
	r.Set("x.test", "A 192.0.2.1")
	during := status()
	r.Set("x.test")
	if after := status(); before != resolve.NoDomain || during != resolve.Found || after != resolve.NoDomain {
		t.Errorf("got %v, %v, %v, want no such domain, found, no such domain", before, during, after)
	}
	cancel()
	if _, err := r.Lookup(ctx, "x.test", resolve.TypeA); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: got %v", err)
	}
	if got := r.Asked(); len(got) != 4 || got[0] != "A x.test" {
		t.Errorf("asked: got %q", got)
	}
}

// What DNSSEC vouches for: of two kinds of addresses the one that there is, if the other cannot be told; aliases are told.
func TestVouched(t *testing.T) {
	r := resolvetest.New(t, map[string][]string{
		"both.test":           {"!secure", "A 192.0.2.1", "AAAA 2001:db8::1"},
		"one.test":            {"!secure", "A 192.0.2.1", "!servfail AAAA"},
		"plain.test":          {"A 192.0.2.1"},
		"alias.test":          {"!secure", "CNAME both.test"},
		"out.test":            {"!secure", "CNAME plain.test"},
		"_25._tcp.both.test":  {"!secure", "TLSA 3 1 1 00ff"},
		"_25._tcp.plain.test": {"TLSA 3 1 1 00ff"},
		"_25._tcp.down.test":  {"!servfail"},
	})
	for host, want := range map[string]string{"both.test": "true ", "one.test": "true ", "plain.test": "false ", "alias.test": "true both.test", "out.test": "false plain.test"} {
		a, err := resolve.LookupAddrs(t.Context(), r, host)
		if got := fmt.Sprint(a.Authenticated, " ", a.Alias); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", host, got, err, want)
		}
	}
	for host, want := range map[string]string{"both.test": "1 true", "plain.test": "1 false", "none.test": "0 false"} {
		records, secure, err := resolve.LookupTLSA(t.Context(), r, "_25._tcp."+host)
		if got := fmt.Sprint(len(records), " ", secure); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", host, got, err, want)
		}
	}
	if _, _, err := resolve.LookupTLSA(t.Context(), r, "_25._tcp.down.test"); !errors.Is(err, resolve.Temporary) {
		t.Errorf("down.test: %v", err)
	}
}
