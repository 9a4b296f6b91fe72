package doctor

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/stagepost/stagepost/core/deliver/mtasts"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/resolve/resolvetest"
)

func TestPerfect(t *testing.T) {
	w := newWorld(t)
	for domain, want := range map[string][]Subject{"x.test": {MX, PTR, PTR, SPF, DKIM, DMARC, STS, STS, TLSA, TLSRPT}, "": {Host, PTR, PTR, SPF, SPF}} {
		r := w.examine(t, domain)
		expect(t, r)
		var subjects []Subject
		for _, f := range r.Findings {
			subjects = append(subjects, f.Subject)
		}
		if !slices.Equal(subjects, want) {
			t.Errorf("%q: findings about %v, want %v", domain, subjects, want)
		}
	}
}

// stranger makes the domain one that is not this server's.
func stranger(w *world) { w.o.Keys, w.o.Own, w.o.Certificates = nil, nil, nil }

// selector asks for a key with which this server does not sign.
func selector(w *world) { w.o.Keys, w.o.Selectors = nil, []string{"2026a"} }

// Each case is a change of the domain without a fault, and what is found then.
func TestFindings(t *testing.T) {
	const six = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.0.0.a.2.ip6.arpa"
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKIXPublicKey(weak.Public())
	if err != nil {
		t.Fatal(err)
	}
	short := base64.StdEncoding.EncodeToString(raw)
	for _, c := range []struct {
		name   string
		set    []string
		policy string
		do     func(*world)
		server bool // and not the domain
		want   []string
	}{
		{name: "no such domain", set: []string{"x.test", "2026a._domainkey.x.test", "_dmarc.x.test", "mx1.x.test", "_25._tcp.mx1.x.test", "_mta-sts.x.test", "_smtp._tls.x.test"}, want: []string{"wrong mx x.test: the domain does not exist"}},
		{name: "no MX, an address", set: []string{"x.test: A 203.0.113.9", "9.113.0.203.in-addr.arpa: PTR x.test."}, policy: "version: STSv1\nmode: enforce\nmx: x.test\nmax_age: 604800\n",
			want: []string{"advice mx x.test: there is no MX record, so mail goes to the domain's own address (203.0.113.9)", "wrong spf x.test: this server sends from 203.0.113.1, and that comes to fail", "wrong spf x.test: this server sends from 2a00:db8::1, and that comes to fail", "advice tlsa _25._tcp.x.test: there is no record"}},
		{name: "no MX, no address", set: []string{"x.test: TXT x"}, want: []string{"wrong mx x.test: there is neither an MX record nor an address", "wrong spf x.test: there is no record of who may send"}},
		{name: "null MX", set: []string{"x.test: MX 0 ."}, want: []string{"wrong spf x.test: this server sends from 203.0.113.1, and that comes to fail", "wrong spf x.test: this server sends from 2a00:db8::1, and that comes to fail"}},
		{name: "null MX, and no mail from there either", set: []string{"x.test: MX 0 . | TXT \"v=spf1 -all\""}, do: stranger},
		{name: "null MX, and nothing of SPF", set: []string{"x.test: MX 0 . | TXT x"}, do: stranger, want: []string{"advice spf x.test: there is no record; if the domain sends no mail either"}},
		{name: "null MX among others", set: []string{"x.test: !secure | MX 0 . | MX 10 mx1.x.test."}, want: []string{"wrong mx x.test: it says that the domain takes no mail, beside records"}},
		{name: "MX cannot be asked", set: []string{"x.test: !servfail MX"}, want: []string{"unknown mx x.test: it could not be found out: MX x.test: the server says SERVFAIL", "unknown spf x.test: what the record leads to could not be found out"}},
		{name: "an address as exchanger", set: []string{"x.test: !secure | MX 10 203.0.113.1. | MX 20 mx1.x.test."}, want: []string{"wrong mx 203.0.113.1: the exchanger is an address"}},
		{name: "no name of a host", set: []string{`x.test: !secure | MX 10 a\032b.x.test. | MX 20 mx1.x.test.`}, want: []string{"wrong mx ... not a name that a host can have"}},
		{name: "an exchanger that is not there", set: []string{"x.test: !secure | MX 10 mx1.x.test. | MX 20 mx2.x.test."}, want: []string{"wrong mx mx2.x.test: the exchanger does not exist"}},
		{name: "an exchanger without address", set: []string{"x.test: !secure | MX 10 mx1.x.test. | MX 20 mx2.x.test.", "mx2.x.test: TXT x"}, want: []string{"wrong mx mx2.x.test: the exchanger has no address"}},
		{name: "an exchanger that cannot be asked", set: []string{"x.test: !secure | MX 10 mx1.x.test. | MX 20 mx2.x.test.", "mx2.x.test: !servfail"}, policy: "version: STSv1\nmode: enforce\nmx: *.x.test\nmax_age: 604800\n",
			want: []string{"unknown mx mx2.x.test: it could not be found out", "unknown spf x.test: what the record leads to could not be found out", "advice tlsa _25._tcp.mx2.x.test"}},
		{name: "an alias", set: []string{"x.test: !secure | MX 10 www.x.test.", "www.x.test: !secure | CNAME mx1.x.test.", "_25._tcp.www.x.test: !secure | TLSA 3 1 1 " + strings.Repeat("00", 32)}, policy: "version: STSv1\nmode: enforce\nmx: www.x.test\nmax_age: 604800\n",
			want: []string{"wrong mx www.x.test: the exchanger is an alias (CNAME) of mx1.x.test"}},
		{name: "a private address", set: []string{"x.test: !secure | MX 10 mx1.x.test. | MX 20 mx2.x.test.", "mx2.x.test: !secure | A 10.1.2.3", "_25._tcp.mx2.x.test: !secure | TLSA 3 1 1 " + strings.Repeat("00", 32)}, policy: "version: STSv1\nmode: enforce\nmx: *.x.test\nmax_age: 604800\n",
			want: []string{"wrong mx mx2.x.test: it has the private address 10.1.2.3"}},
		{name: "IPv6 alone", set: []string{"mx1.x.test: !secure | AAAA 2a00:db8::1"}, do: func(w *world) { w.o.Own = nil }, want: []string{"advice mx x.test: no exchanger has an IPv4 address"}},

		{name: "no name of an address", set: []string{"1.113.0.203.in-addr.arpa"}, want: []string{"wrong ptr 203.0.113.1 (this server): the address has no name"}},
		{name: "no name of an address that only takes mail", set: []string{"1.113.0.203.in-addr.arpa"}, do: func(w *world) { w.o.Own = nil }, want: []string{"advice ptr 203.0.113.1 (mx1.x.test): the address has no name"}},
		{name: "a name that does not lead back", set: []string{six + ": PTR else.test.", "else.test: A 203.0.113.7"}, want: []string{"wrong ptr 2a00:db8::1 (this server): the address has the name else.test, but that does not lead back"}},
		{name: "another name that leads back", set: []string{six + ": PTR else.test.", "else.test: AAAA 2a00:db8::1"}, want: []string{"advice ptr 2a00:db8::1 (this server): ... called else.test ... calls itself mx1.x.test"}},
		{name: "another name, by another server", set: []string{six + ": PTR else.test.", "else.test: AAAA 2a00:db8::1"}, do: func(w *world) { w.o.Own = nil }},
		{name: "two names, one leads back", set: []string{six + ": PTR else.test. | PTR mx1.x.test."}},
		{name: "the name cannot be asked", set: []string{six + ": !servfail"}, want: []string{"unknown ptr 2a00:db8::1 (this server): ... SERVFAIL"}},
		{name: "whether it leads back cannot be asked", set: []string{six + ": PTR else.test.", "else.test: !servfail"}, want: []string{"unknown ptr 2a00:db8::1 (this server): ... SERVFAIL"}},

		{name: "no SPF", set: []string{"x.test: !secure | MX 10 mx1.x.test. | TXT x"}, want: []string{"wrong spf x.test: there is no record of who may send"}},
		{name: "two of SPF", set: []string{`x.test: !secure | MX 10 mx1.x.test. | TXT "v=spf1 mx -all" | TXT "v=spf1 ~all"`}, want: []string{"wrong spf x.test: there are 2 records"}},
		{name: "SPF with a mistake", set: []string{`x.test: !secure | MX 10 mx1.x.test. | TXT "v=spf1 mx ipv4:203.0.113.1 -all"`}, want: []string{"wrong spf x.test: every check ends in an error: ... ipv4"}},
		{name: "SPF that asks too much", set: []string{`x.test: !secure | MX 10 mx1.x.test. | TXT "v=spf1 mx` + strings.Repeat(" mx", 10) + ` -all"`}, want: []string{"wrong spf x.test: every check ends in an error: more than 10 terms"}},
		{name: "SPF for everybody", set: []string{`x.test: !secure | MX 10 mx1.x.test. | TXT "v=spf1 mx +all"`}, want: []string{"wrong spf x.test: it lets every host of the Internet send in the domain's name, by +all"}},
		{name: "SPF without an end", set: []string{`x.test: !secure | MX 10 mx1.x.test. | TXT "v=spf1 mx"`}, want: []string{"advice spf x.test: it says nothing of servers that it does not name"}},
		{name: "SPF with ptr", set: []string{`x.test: !secure | MX 10 mx1.x.test. | TXT "v=spf1 mx ptr -all"`}, want: []string{"advice spf x.test: it has ptr"}},
		{name: "SPF that leaves this server out", set: []string{`x.test: !secure | MX 10 mx1.x.test. | TXT "v=spf1 ip4:203.0.113.1 ~all"`}, want: []string{"wrong spf x.test: this server sends from 2a00:db8::1, and that comes to softfail"}},
		{name: "SPF of a domain that is not this server's", set: []string{`x.test: !secure | MX 10 mx2.x.test. | TXT "v=spf1 -all"`, "mx2.x.test: A 203.0.113.7", "7.113.0.203.in-addr.arpa: PTR mx2.x.test."}, do: stranger, policy: "version: STSv1\nmode: enforce\nmx: *.x.test\nmax_age: 604800\n",
			want: []string{"advice dkim _domainkey.x.test", "advice tlsa _25._tcp.mx2.x.test"}},
		{name: "SPF cannot be asked", set: []string{"x.test: !secure | !servfail TXT | MX 10 mx1.x.test."}, want: []string{"unknown spf x.test: it could not be found out"}},
		{name: "SPF of the server's name with a mistake", server: true, set: []string{`mx1.x.test: A 203.0.113.1 | AAAA 2a00:db8::1 | TXT "v=spf1 b -all"`}, want: []string{"wrong spf mx1.x.test: every check ends in an error"}},

		{name: "no key", set: []string{"2026a._domainkey.x.test"}, want: []string{"wrong dkim 2026a._domainkey.x.test: there is no key"}},
		{name: "another key", set: []string{`2026a._domainkey.x.test: TXT "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="`}, want: []string{"wrong dkim 2026a._domainkey.x.test: this server signs with another key"}},
		{name: "a key that was revoked", set: []string{`2026a._domainkey.x.test: TXT "v=DKIM1; p="`}, want: []string{"wrong dkim 2026a._domainkey.x.test: the key cannot be used: the key was revoked"}},
		{name: "a key that was revoked, of somebody else", set: []string{`2026a._domainkey.x.test: TXT "v=DKIM1; p="`}, do: selector, want: []string{"advice dkim 2026a._domainkey.x.test: the key was revoked"}},
		{name: "a key for tests", set: []string{`2026a._domainkey.x.test: TXT "v=DKIM1; t=y; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="`}, do: selector, want: []string{"advice dkim 2026a._domainkey.x.test: it says that the domain only tests"}},
		{name: "a short key", set: []string{`2026a._domainkey.x.test: TXT "v=DKIM1; p=` + short + `"`}, do: selector, want: []string{"advice dkim 2026a._domainkey.x.test: it is an RSA key of 1024 bits"}},
		{name: "no key of base64", set: []string{`2026a._domainkey.x.test: TXT "v=DKIM1; p=%%%"`}, do: selector, want: []string{"wrong dkim 2026a._domainkey.x.test: the key cannot be used: p= is not base64"}},
		{name: "two keys", set: []string{`2026a._domainkey.x.test: TXT "v=DKIM1; p=" | TXT "v=DKIM1; p="`}, do: selector, want: []string{"wrong dkim 2026a._domainkey.x.test: there are several records"}},
		{name: "a key cannot be asked for", set: []string{"2026a._domainkey.x.test: !servfail"}, want: []string{"unknown dkim 2026a._domainkey.x.test: ... SERVFAIL"}},
		{name: "a key that cannot be read here", do: func(w *world) { w.o.Keys[0] = Key{"x.test", "2026a", "", errors.New("permission denied")} }, want: []string{"unknown dkim 2026a._domainkey.x.test: ... permission denied"}},
		{name: "a key that is not here", do: func(w *world) { w.o.Keys[0] = Key{"x.test", "2026a", "", fs.ErrNotExist} }, want: []string{"wrong dkim 2026a._domainkey.x.test: ... has no private key"}},
		{name: "no selector is known", do: stranger, want: []string{"advice dkim _domainkey.x.test: there may be keys, but"}},
		{name: "no selector can be", set: []string{"2026a._domainkey.x.test"}, do: stranger, want: []string{"advice dkim _domainkey.x.test: there is no key"}},

		{name: "no DMARC", set: []string{"_dmarc.x.test"}, want: []string{"wrong dmarc _dmarc.x.test: there is no record"}},
		{name: "two of DMARC", set: []string{`_dmarc.x.test: TXT "v=DMARC1; p=none" | TXT "v=DMARC1; p=reject"`}, want: []string{"wrong dmarc _dmarc.x.test: there are 2 records"}},
		{name: "DMARC without policy", set: []string{`_dmarc.x.test: TXT "v=DMARC1; adkim=s"`}, want: []string{"wrong dmarc _dmarc.x.test: the record cannot be used"}},
		{name: "DMARC with a mistake", set: []string{`_dmarc.x.test: TXT "v=DMARC1; p=reject; adkim=x; rua=mailto:d@x.test"`}, want: []string{"wrong dmarc _dmarc.x.test: a part of it is passed over: adkim"}},
		{name: "DMARC that asks for nothing", set: []string{`_dmarc.x.test: TXT "v=DMARC1; p=none; t=y; pct=20"`}, want: []string{"advice dmarc ... (p=none)", "advice dmarc ... (t=y)", "advice dmarc ... (rua)", "advice dmarc ... pct=20 ... counts no more"}},
		{name: "DMARC that leaves out what is below", set: []string{`_dmarc.x.test: TXT "v=DMARC1; p=reject; sp=none; rua=mailto:d@x.test"`}, want: []string{"advice dmarc ... (sp=none)"}},
		{name: "DMARC reports to who does not want them", set: []string{`_dmarc.x.test: TXT "v=DMARC1; p=reject; rua=mailto:d@other.test,mailto:e@sub.x.test,mailto:f@other.test"`}, want: []string{"wrong dmarc x.test._report._dmarc.other.test: reports shall go to other.test"}},
		{name: "DMARC reports to who wants them", set: []string{`_dmarc.x.test: TXT "v=DMARC1; p=reject; rua=mailto:d@other.test"`, `x.test._report._dmarc.other.test: TXT "v=DMARC1"`}},
		{name: "DMARC reports to who cannot be asked", set: []string{`_dmarc.x.test: TXT "v=DMARC1; p=reject; rua=mailto:d@other.test"`, "x.test._report._dmarc.other.test: !servfail"}, want: []string{"unknown dmarc x.test._report._dmarc.other.test"}},
		{name: "DMARC of the domain above", set: []string{"_dmarc.x.test", `_dmarc.test: TXT "v=DMARC1; p=reject"`}},
		{name: "DMARC cannot be asked", set: []string{"_dmarc.x.test: !servfail"}, want: []string{"unknown dmarc _dmarc.x.test: ... SERVFAIL"}},

		{name: "no MTA-STS", set: []string{"_mta-sts.x.test"}, want: []string{"advice mta-sts _mta-sts.x.test: there is no record", "advice mta-sts https://mta-sts.x.test/.well-known/mta-sts.txt: the policy belongs to the record"}},
		{name: "two MTA-STS records", set: []string{`_mta-sts.x.test: TXT "v=STSv1; id=1" | TXT "v=STSv1; id=2"`}, want: []string{"wrong mta-sts _mta-sts.x.test: there are several MTA-STS records"}},
		{name: "an MTA-STS record without id", set: []string{`_mta-sts.x.test: TXT "v=STSv1;"`}, want: []string{"wrong mta-sts _mta-sts.x.test: the MTA-STS record has no id"}},
		{name: "MTA-STS cannot be asked", set: []string{"_mta-sts.x.test: !servfail"}, want: []string{"unknown mta-sts _mta-sts.x.test: ... SERVFAIL"}},
		{name: "no policy", policy: "error: https://mta-sts.x.test answers 404 Not Found", want: []string{"wrong mta-sts https://mta-sts.x.test/.well-known/mta-sts.txt: the policy cannot be used: ... 404"}},
		{name: "a policy that is none", policy: "hello", want: []string{`wrong mta-sts ... the policy has the line "hello"`}},
		{name: "no answer of the policy host", do: func(w *world) { w.o.Policy = lost }, want: []string{"unknown mta-sts https://mta-sts.x.test/.well-known/mta-sts.txt: it could not be found out"}},
		{name: "another host in the policy", policy: "version: STSv1\nmode: enforce\nmx: mx2.x.test\nmax_age: 604800\n", want: []string{"wrong mta-sts ... does not name mx1.x.test ... bring them no mail"}},
		{name: "another host in a policy for tests", policy: "version: STSv1\nmode: testing\nmx: mx2.x.test\nmax_age: 604800\n", want: []string{"wrong mta-sts ... does not name mx1.x.test ... reports"}},
		{name: "a policy for tests", policy: "version: STSv1\nmode: testing\nmx: mx1.x.test\nmax_age: 604800\n", want: []string{"advice mta-sts ... the mode is testing"}},
		{name: "a policy that says none", policy: "version: STSv1\nmode: none\nmax_age: 604800\n", want: []string{"advice mta-sts ... the mode is none"}},
		{name: "a policy for an hour", policy: "version: STSv1\nmode: enforce\nmx: mx1.x.test\nmax_age: 3600\n", want: []string{"advice mta-sts ... kept for 1h0m0s only"}},

		{name: "no TLSA", set: []string{"_25._tcp.mx1.x.test"}, want: []string{"advice tlsa _25._tcp.mx1.x.test: there is no record, and the zone is signed ... this one"}},
		{name: "no TLSA, of another server", set: []string{"_25._tcp.mx1.x.test"}, do: func(w *world) { w.o.Certificates = nil }, want: []string{"advice tlsa _25._tcp.mx1.x.test: there is no record, and the zone is signed ... 3 1 1"}},
		{name: "TLSA that is not signed", set: []string{"_25._tcp.mx1.x.test: TLSA 3 1 1 " + strings.Repeat("00", 32)}, do: func(w *world) { w.o.Certificates = nil }, want: []string{"wrong tlsa _25._tcp.mx1.x.test: DNSSEC does not vouch"}},
		{name: "TLSA, and a resolver that does not validate", set: []string{".", "_25._tcp.mx1.x.test: TLSA 3 1 1 " + strings.Repeat("00", 32)}, do: func(w *world) { w.o.Certificates = nil }, want: []string{"unknown tlsa _25._tcp.mx1.x.test: whether DNSSEC vouches"}},
		{name: "TLSA, and an MX that is not signed", set: []string{"x.test: MX 10 mx1.x.test."}, want: []string{"advice tlsa x.test: the MX records of the domain are not signed"}},
		{name: "TLSA of another key", set: []string{"_25._tcp.mx1.x.test: !secure | TLSA 3 1 1 " + strings.Repeat("00", 32)}, want: []string{"wrong tlsa _25._tcp.mx1.x.test: the certificate that this server shows is none"}},
		{name: "TLSA that are of no use", set: []string{"_25._tcp.mx1.x.test: !secure | TLSA 1 1 1 " + strings.Repeat("00", 32) + " | TLSA 3 1 1 00ff | TLSA 9 1 1 " + strings.Repeat("00", 32) + " | TLSA 3 0 0 00ff"},
			want: []string{"wrong tlsa ... a record with usage 1", "wrong tlsa ... a record has a hash of 2 octets in place of 32", "wrong tlsa ... a record 9 1 1", "wrong tlsa ... neither a certificate nor a key", "wrong tlsa ... none of the records can be used"}},
		{name: "TLSA cannot be asked", set: []string{"_25._tcp.mx1.x.test: !servfail"}, want: []string{"unknown tlsa _25._tcp.mx1.x.test: ... SERVFAIL; as long as this fails for others"}},

		{name: "no TLS-RPT", set: []string{"_smtp._tls.x.test"}, want: []string{"advice tls-rpt _smtp._tls.x.test: there is no record"}},
		{name: "a TLS-RPT record without destination", set: []string{`_smtp._tls.x.test: TXT "v=TLSRPTv1;"`}, want: []string{"wrong tls-rpt _smtp._tls.x.test: the TLS-RPT record has no rua"}},
		{name: "TLS-RPT cannot be asked", set: []string{"_smtp._tls.x.test: !refused"}, want: []string{"unknown tls-rpt _smtp._tls.x.test: ... REFUSED"}},

		{name: "a server without address", server: true, set: []string{"mx1.x.test"}, want: []string{"wrong host mx1.x.test: ... has no address", "wrong ptr 203.0.113.1 (this server): ... does not lead back", "wrong ptr 2a00:db8::1 (this server): ... does not lead back", "advice spf mx1.x.test: the name has no record"}},
		{name: "a server at another address", server: true, set: []string{"mx1.x.test: A 203.0.113.1"}, want: []string{"advice host mx1.x.test: the name leads to 203.0.113.1, and not to 2a00:db8::1", "wrong ptr 2a00:db8::1 (this server): ... does not lead back", "wrong spf mx1.x.test: ... comes to fail: add ip6:2a00:db8::1"}},
		{name: "a server at a private address", server: true, do: func(w *world) { w.o.Own = nil }, set: []string{"mx1.x.test: A 10.0.0.1"}, want: []string{"wrong host mx1.x.test: it has the private address 10.0.0.1"}},
		{name: "a server that does not know its address", server: true, do: func(w *world) { w.o.Own = nil }, want: []string{"advice host mx1.x.test: ... is not known here"}},
		{name: "a server that cannot be asked for", server: true, do: func(w *world) { w.o.Own = nil }, set: []string{"mx1.x.test: !servfail"}, want: []string{"unknown host mx1.x.test: ... SERVFAIL"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t).set(c.set...)
			if c.policy != "" {
				w.policies["x.test"] = c.policy
			}
			if c.do != nil {
				c.do(w)
			}
			domain := "x.test"
			if c.server {
				domain = ""
			}
			expect(t, w.examine(t, domain), c.want...)
		})
	}
}

// Each line to be published is a record, and once all are published nothing is wrong any more, as far as the DNS goes.
func TestCure(t *testing.T) {
	sick := map[string][]string{
		"nothing is there":           {"x.test: !secure | TXT x", "mx1.x.test: !secure | TXT x", "_25._tcp.mx1.x.test", "1.113.0.203.in-addr.arpa", "_mta-sts.x.test", "_smtp._tls.x.test"},
		"all is wrong":               {"x.test: !secure | MX 0 . | MX 10 203.0.113.1. | MX 20 www.x.test.", "www.x.test: !secure | CNAME mx1.x.test.", "1.113.0.203.in-addr.arpa: PTR else.test.", "_25._tcp.mx1.x.test: !secure | TLSA 3 1 1 " + strings.Repeat("00", 32), `_mta-sts.x.test: TXT "v=STSv1; id=1" | TXT "v=STSv1; id=2"`, `_smtp._tls.x.test: TXT "v=TLSRPTv1; rua=\"" | TXT "v=TLSRPTv1; rua=x"`},
		"no mail is vouched for":     {"x.test: !secure | MX 10 mx1.x.test. | TXT x", "2026a._domainkey.x.test", "_dmarc.x.test", "mx1.x.test: !secure | A 203.0.113.1 | AAAA 2a00:db8::1 | TXT x"},
		"all is vouched for wrongly": {`x.test: !secure | MX 10 mx1.x.test. | TXT "v=spf1 ipv4:203.0.113.1 include:a.x.test +all" | TXT "v=spf1 mx/33 include:a.x.test"`, `a.x.test: TXT "v=spf1 ip4:203.0.113.5 -all"`, `2026a._domainkey.x.test: TXT "v=DKIM1; p=" | TXT "nothing"`, `_dmarc.x.test: TXT "v=DMARC1; p=all"`},
		"this server may not send":   {`x.test: !secure | MX 10 mx1.x.test. | TXT "v=spf1 include:a.x.test -all"`, `a.x.test: TXT "v=spf1 ip4:203.0.113.5 -all"`},
		"everybody may send":         {`x.test: !secure | MX 10 mx1.x.test. | TXT "v=spf1 include:a.x.test ALL"`, `a.x.test: TXT "v=spf1 ip4:203.0.113.5 -all"`, `_dmarc.x.test: TXT "v=DMARC1; p=none; rf=afrf;; adkim=x ; sp=reject; rua=mailto:d@other.test"`},
		"unusable TLSA":              {"_25._tcp.mx1.x.test: !secure | TLSA 1 1 1 " + strings.Repeat("00", 32)},
		"no fault":                   nil,
		"another exchanger":          {"x.test: !secure | MX 10 mx2.x.test.", "mx2.x.test: A 203.0.113.2"},
	}
	for name, set := range sick {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t).set(set...)
			for round := 0; ; round++ {
				domain, server := w.examine(t, "x.test"), w.examine(t, "")
				for _, r := range []*Report{domain, server} {
					for _, f := range r.Findings {
						if f.Publish == nil || f.Publish.At != "dns" {
							continue
						}
						for _, l := range append(f.Publish.Lines, f.Publish.Remove...) {
							if rr, err := dns.NewRR(l); err != nil || rr == nil {
								t.Errorf("%q cannot stand in a zone file: %v", l, err)
							}
						}
					}
				}
				wrong := domain.Count(Wrong) + server.Count(Wrong)
				if wrong == 0 {
					break
				}
				if round == 3 {
					t.Fatalf("still wrong:\n\t%s", strings.Join(slices.Concat(told(domain), told(server)), "\n\t"))
				}
				w.apply(t, domain)
				w.apply(t, server)
			}
		})
	}
}

// silent never answers.
type silent struct{ asked atomic.Int64 }

func (s *silent) Lookup(ctx context.Context, name string, t resolve.Type) (resolve.Answer, error) {
	s.asked.Add(1)
	<-ctx.Done()
	return resolve.Answer{}, &resolve.Error{Kind: resolve.Temporary, Name: name, Type: t, Err: ctx.Err()}
}

// lost is a policy host that does not answer.
func lost(ctx context.Context, _ string) (*mtasts.Policy, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	<-ctx.Done()
	return nil, ctx.Err()
}

// A DNS that is silent holds nobody for long, whatever is asked.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		r := Domain(t.Context(), Options{Resolver: &silent{}, Now: time.Now}, "x.test")
		if took := time.Since(start); took > 2*questionTime+time.Second || r.Count(Unknown) == 0 || r.Count(Wrong)+r.Count(OK) > 0 {
			t.Errorf("took %v, found\n\t%s", took, strings.Join(told(r), "\n\t"))
		}
	})
}

// mute answers for one name and is silent about others.
type mute struct {
	resolve.Resolver
	silent
}

func (m *mute) Lookup(ctx context.Context, name string, t resolve.Type) (resolve.Answer, error) {
	if t == resolve.TypeMX {
		return m.Resolver.Lookup(ctx, name, t)
	}
	return m.silent.Lookup(ctx, name, t)
}

// However many hosts a domain names, it is looked at in a minute, and few of them are.
func TestBounds(t *testing.T) {
	var records, addrs []string
	for i := range 90 {
		records = append(records, fmt.Sprintf("MX %d mx%d.x.test.", i, i))
		addrs = append(addrs, fmt.Sprintf("A 203.0.113.%d", i))
	}
	names := map[string][]string{"x.test": append(slices.Clone(records), longTXT("v=spf1", " mx:x.test ptr a:mx1.x.test", " -all")),
		"_dmarc.x.test": {longTXT("v=DMARC1; p=none", "; pct=1; rua=mailto:a@y.test; adkim=%", "")}, "_smtp._tls.x.test": {longTXT("v=TLSRPTv1", "; rua=https://x", "")}}
	for i := range 90 {
		names[fmt.Sprintf("mx%d.x.test", i)] = addrs
		names[fmt.Sprintf("%d.113.0.203.in-addr.arpa", i)] = slices.Repeat([]string{"PTR a.x.test.", "PTR b.x.test.", "PTR c.x.test.", "PTR d.x.test."}, 1)
	}
	dns := resolvetest.New(t, names)
	o := Options{Resolver: dns, Now: time.Now, Policy: lost}
	r := Domain(t.Context(), o, "x.test")
	if n := len(dns.Asked()); n > maxQuestions {
		t.Errorf("%d questions", n)
	}
	if len(r.Findings) > 200 {
		t.Errorf("%d findings", len(r.Findings))
	}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		o.Resolver = &mute{Resolver: dns}
		Domain(t.Context(), o, "x.test")
		if took := time.Since(start); took > domainTime+time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// longTXT is a record of 20 KiB.
func longTXT(begin, middle, end string) string {
	return strings.TrimPrefix(textLine("", begin+strings.Repeat(middle, 20<<10/len(middle))+end), ". 3600 IN ")
}

func TestName(t *testing.T) {
	for s, want := range map[string]string{"X.Test.": "x.test", "x.test": "x.test", "u@x.test": "", "[192.0.2.1]": "", "": "", "a..b": "", "x y": "", "bücher.test": ""} {
		if got, err := Name(s); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", s, got, err, want)
		}
	}
	if _, err := Name("u@x.test"); err == nil || !strings.Contains(err.Error(), `"x.test"`) {
		t.Errorf("an address: %v", err)
	}
}

// FuzzTextLine: whatever a text holds, the line is one record, which means that text again.
func FuzzTextLine(f *testing.F) {
	for _, s := range []string{"", "v=spf1 -all", `a"b\c;d`, "\x00\x7f\xff\n", strings.Repeat("x", 600)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 2000 {
			return
		}
		l := textLine("x.test", text)
		if strings.ContainsAny(l, "\r\n\x1b") {
			t.Fatalf("%q", l)
		}
		got, err := resolve.LookupTXT(t.Context(), resolvetest.New(t, map[string][]string{"x.test": {strings.TrimPrefix(l, "x.test. 3600 IN ")}}), "x.test")
		if err != nil || len(got) != 1 || got[0] != text {
			t.Fatalf("%q became %q, %v", text, got, err)
		}
	})
}
