package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
)

// policyCases are MTA-STS and DANE, each in its ways to hold and to fail.
func policyCases() []policyCase {
	enforced := (*policyDomain).enforced
	const (
		mismatch  = "451 4.7.5 the certificate is for other.invalid, and not for mx.DOMAIN; it is asked for by MTA-STS"
		untrusted = "451 4.7.5 the certificate is by an authority that is not trusted; it is asked for by MTA-STS"
		unoffered = "451 4.7.10 the server offers no encryption (STARTTLS); it is asked for by "
		notPinned = "451 4.7.5 the certificate is none of those that the TLSA records name; it is asked for by DANE"
		verified  = ", verified, 250 2.0.0 taken"
		encrypted = ", not verified, 250 2.0.0 taken"
		clear     = "new, 250 2.0.0 taken"
	)
	return []policyCase{
		{name: "nothing is published", steps: []policyStep{
			{server: "self", want: "encrypted", trace: encrypted},
			{server: inClear, want: inClear, trace: clear},
		}, report: "no-policy-found 1/1, 1 starttls-not-supported"},
		{name: "enforce", steps: []policyStep{
			{change: enforced, want: "verified", trace: verified},
			{server: "wrong", want: "waits", trace: mismatch},
			{server: "self", want: "waits", trace: untrusted},
			{server: "expired", want: "waits", trace: "451 4.7.5 the certificate is valid from "},
			{server: inClear, want: "waits", trace: unoffered + "MTA-STS"},
			{want: "verified", trace: verified},
		}, report: "sts 2/4, 1 certificate-host-mismatch, 1 certificate-not-trusted, 1 certificate-expired, 1 starttls-not-supported"},
		{name: "enforce, by a pattern", steps: []policyStep{
			{change: func(d *policyDomain) { d.policy("1", "enforce", "*."+d.name) }, want: "verified", trace: verified},
		}, report: "sts 1/0"},
		{name: "enforce, of other hosts", steps: []policyStep{
			{change: func(d *policyDomain) { d.policy("1", "enforce", "elsewhere.test") }, want: "waits", trace: "451 4.7.5 mx.DOMAIN is not among the hosts that the MTA-STS policy of DOMAIN names"},
		}, report: "sts 0/1, 1 validation-failure"},
		{name: "testing", steps: []policyStep{
			{change: func(d *policyDomain) { d.policy("1", "testing", d.within("mx")) }, want: "verified", trace: verified},
			{server: "wrong", want: "encrypted", trace: encrypted},
			{server: inClear, want: inClear, trace: clear},
			{change: func(d *policyDomain) { d.policy("2", "testing", "elsewhere.test") }, server: inClear, want: inClear, trace: clear},
		}, report: "sts 1/4, 1 certificate-host-mismatch, 2 starttls-not-supported, 1 validation-failure"},
		{name: "none", steps: []policyStep{
			{change: func(d *policyDomain) { d.policy("1", "none") }, server: "wrong", want: "encrypted", trace: encrypted},
			{server: inClear, want: inClear, trace: clear},
		}, report: "no-policy-found 1/1, 1 starttls-not-supported"},
		{name: "the policy host is down, and nothing is kept", steps: []policyStep{
			{change: func(d *policyDomain) { d.enforced(); d.down() }, server: inClear, want: inClear, trace: clear},
			{change: enforced, server: inClear, want: "waits", trace: unoffered + "MTA-STS"},
		}, report: "no-policy-found 0/2, 1 sts-policy-fetch-error, 1 starttls-not-supported; sts 0/1, 1 starttls-not-supported"},
		{name: "the policy host is down, and a policy is kept", steps: []policyStep{
			{change: enforced, want: "verified", trace: verified},
			{change: (*policyDomain).down, server: "wrong", want: "waits", trace: mismatch},
			{change: func(d *policyDomain) { d.policy("2", "none"); d.down() }, server: "wrong", want: "waits", trace: mismatch},
			{want: "verified", trace: verified},
		}, report: "sts 2/4, 2 certificate-host-mismatch, 2 sts-policy-fetch-error"},
		{name: "the record is gone, and a policy is kept", steps: []policyStep{
			{change: enforced, want: "verified", trace: verified},
			{change: func(d *policyDomain) { d.set("_mta-sts"); d.down() }, server: "wrong", want: "waits", trace: mismatch},
			{change: func(d *policyDomain) { d.set("_mta-sts", "!servfail") }, server: inClear, want: "waits", trace: unoffered + "MTA-STS"},
		}, report: "sts 1/2, 1 certificate-host-mismatch, 1 starttls-not-supported"},
		{name: "the id changes", steps: []policyStep{
			{change: enforced, server: "wrong", want: "waits", trace: mismatch},
			{change: func(d *policyDomain) { d.policy("1", "none") }, server: "wrong", want: "waits", trace: mismatch},
			{change: func(d *policyDomain) { d.policy("2", "none") }, server: "wrong", want: "encrypted", trace: encrypted},
			{change: func(d *policyDomain) { d.policy("3", "enforce", d.within("mx")) }, server: "wrong", want: "waits", trace: mismatch},
		}, report: "no-policy-found 1/0; sts 0/3, 3 certificate-host-mismatch"},
		{name: "the policy host has another's certificate", steps: []policyStep{
			{change: func(d *policyDomain) { d.enforced(); d.showAt(d.within("mta-sts"), "wrong") }, server: inClear, want: inClear, trace: clear},
		}, report: "no-policy-found 0/2, 1 sts-webpki-invalid, 1 starttls-not-supported"},
		{name: "the policy is a page", steps: []policyStep{
			{change: func(d *policyDomain) {
				d.enforced()
				d.w.hosts.mu.Lock()
				d.w.hosts.types["mta-sts."+d.name] = "text/html"
				d.w.hosts.mu.Unlock()
			}, server: inClear, want: inClear, trace: clear},
		}, report: "no-policy-found 0/2, 1 sts-policy-invalid, 1 starttls-not-supported"},
		{name: "3 1 1", steps: []policyStep{
			{change: func(d *policyDomain) { d.signed(d.tlsa(3, 1, "self")) }, server: "self", want: "verified", trace: ", DANE-EE, 250 2.0.0 taken"},
			{server: "", want: "waits", trace: notPinned},
			{server: inClear, want: "waits", trace: unoffered + "DANE"},
			{change: func(d *policyDomain) { d.signed(d.tlsa(3, 1, "self"), d.tlsa(3, 1, "")) }, server: "", want: "verified", trace: ", DANE-EE, 250 2.0.0 taken"},
		}, report: "tlsa 2/2, 1 validation-failure, 1 starttls-not-supported"},
		{name: "2 0 1", steps: []policyStep{
			{change: func(d *policyDomain) { d.signed(d.tlsa(2, 0, "")) }, want: "verified", trace: ", DANE-TA, 250 2.0.0 taken"},
			{server: "wrong", want: "waits", trace: "451 4.7.5 the certificate is for other.invalid, and not for mx.DOMAIN or DOMAIN; it is asked for by DANE"},
			{server: "self", want: "waits", trace: "it is asked for by DANE"},
			{server: "expired", want: "waits", trace: "451 4.7.5 the certificate is valid from "},
		}, report: "tlsa 1/3, 1 certificate-host-mismatch, 1 certificate-not-trusted, 1 certificate-expired"},
		{name: "unusable records alone", steps: []policyStep{
			{change: func(d *policyDomain) { d.signed(d.tlsa(1, 1, ""), "TLSA 3 1 1 00ff", "TLSA 3 7 1 00ff") }, server: "self", want: "encrypted", trace: encrypted},
			{server: inClear, want: "waits", trace: unoffered + "DANE"},
		}, report: "tlsa 1/1, 1 starttls-not-supported"},
		{name: "SERVFAIL for TLSA", steps: []policyStep{
			{change: func(d *policyDomain) { d.signed(); d.set("_25._tcp.mx", "!servfail") }, want: "waits", trace: "451 4.7.5 whether mx.DOMAIN has TLSA records (DANE) cannot be told"},
			{change: func(d *policyDomain) { d.signed() }, server: inClear, want: inClear, trace: clear},
		}, report: "no-policy-found 0/1, 1 starttls-not-supported; tlsa 0/1, 1 dnssec-invalid"},
		{name: "a zone that nobody signed", steps: []policyStep{
			{change: func(d *policyDomain) { d.set("_25._tcp.mx", d.tlsa(3, 1, "other")) }, server: "self", want: "encrypted", trace: encrypted},
			{server: inClear, want: inClear, trace: clear},
		}, report: "no-policy-found 1/1, 1 starttls-not-supported"},
		{name: "DANE stands before MTA-STS", steps: []policyStep{
			{change: func(d *policyDomain) {
				d.policy("1", "enforce", "elsewhere.test")
				d.signed(d.tlsa(3, 1, "self"))
			}, server: "self", want: "verified", trace: ", DANE-EE, 250 2.0.0 taken"},
			{server: "", want: "waits", trace: notPinned},
		}, report: "tlsa 1/1, 1 validation-failure"},
		{name: "a relay by its name", domain: "relay.test", to: "routed.test", steps: []policyStep{
			{change: func(d *policyDomain) { d.policy("1", "enforce", "elsewhere.test") }, server: inClear, want: inClear, trace: clear}, // that of the domain above it
			{change: func(d *policyDomain) { d.policyAt("mx", "1", "enforce", "mx.relay.test") }, want: "verified", trace: verified},
			{server: "wrong", want: "waits", trace: mismatch},
			{server: inClear, want: "waits", trace: unoffered + "MTA-STS"},
		}},
		{name: "the MX of another domain", domain: "other.test", to: "moved.test", steps: []policyStep{
			{change: enforced, want: "verified", trace: verified},
			{server: inClear, want: "waits", trace: unoffered + "MTA-STS"},
		}, report: "sts 1/1, 1 starttls-not-supported"},
	}
}

func TestPolicies(t *testing.T) {
	w := newPolicyWorld(t)
	for _, c := range policyCases() {
		t.Run(c.name, func(t *testing.T) {
			w.sameDay()
			d := w.domain(t, c.domain)
			to := c.to
			if to == "" {
				to = d.name
			}
			for i := range c.steps {
				d.play(to, &c.steps[i])
			}
			if got := w.report(t, d.name); got != c.report {
				t.Errorf("tlsrpt has %q\nwant %q", got, c.report)
			}
			if c.to != "" && w.report(t, c.to) != "" {
				t.Errorf("tlsrpt has %q of the recipients' domain", w.report(t, c.to))
			}
		})
	}
	if got, want := w.report(t, "mx.relay.test"), "no-policy-found 0/1, 1 starttls-not-supported; sts 1/2, 1 certificate-host-mismatch, 1 starttls-not-supported"; got != want {
		t.Errorf("of the relay tlsrpt has %q\nwant %q", got, want)
	}
	t.Run("kept over a restart", func(t *testing.T) {
		w.sameDay()
		d := w.domain(t, "")
		d.play(d.name, &policyStep{change: (*policyDomain).enforced, want: "verified", trace: ", verified, 250"})
		w.stop()
		d.down()
		w.start()
		d.play(d.name, &policyStep{server: "wrong", want: "waits", trace: "it is asked for by MTA-STS"})
		d.play(d.name, &policyStep{want: "verified", trace: ", verified, 250"})
		if got := w.report(t, d.name); got != "sts 2/1, 1 certificate-host-mismatch" {
			t.Errorf("tlsrpt has %q", got)
		}
	})
	t.Run("connections are shared by what is alike alone", w.shared)
}

// sharing names ways to one exchanger that differ in one thing each: how it is protected, who logs in, where it is sent from, and by which name.
const sharing = `plugin { id = "sharing", needs = { route = { "*" }, secrets = { "smtp/*" } } }
local function to(t)
  t.hosts = { "mx.shared.test:25" }
  return t
end
local function login(user, secret) return { user = user, secret = secret } end
local ways = {
  clear = to { tls = "none" }, may = to { tls = "opportunistic" }, must = to { tls = "required" }, verified = to { tls = "verified" },
  one = to { tls = "required", auth = login("one", "smtp/a") }, two = to { tls = "required", auth = login("two", "smtp/a") },
  other = to { tls = "required", auth = login("one", "smtp/b") },
  source = to { tls = "required", source = "one" }, helo = to { tls = "required", helo = "other.test" },
}
function on.route(r)
  if r.address.domain == "shared.test" then return route(ways[r.address.mailbox]) end
end
`

// shared sends a message each way, three times over: each way has one connection, and on that nothing else goes.
func (w *policyWorld) shared(t *testing.T) {
	w.s.write("plugins/sharing.lua", sharing)
	for _, name := range []string{"a", "b"} {
		w.s.write("secrets/smtp/"+name, "pencil")
		if err := os.Chmod(filepath.Join(w.s.dir, "secrets/smtp/"+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.s.want(w.s.run("reload"), 0)
	d := w.domain(t, "shared.test")
	ways := []string{"clear", "may", "must", "verified", "one", "two", "other", "source", "helo"}
	remote := remotetest.Start(remotetest.Options{Name: "mx.shared.test", Authority: w.authority}, remotetest.Script{
		"EHLO": "250-mx\n250-STARTTLS\n250 AUTH PLAIN", "STARTTLS": "220 2.0.0 go ahead | tls", "AUTH": "235 2.7.0 welcome"})
	t.Cleanup(remote.Close)
	address, err := remote.ListenAt("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	w.at[d.at] = address
	w.mu.Unlock()
	w.publish()
	const each = 3
	for range each {
		for _, way := range ways {
			id := w.deliver(t, &caseLetter{mark: way}, way+"@shared.test")
			within(t, way+" is delivered", func() bool { return w.log.attempt(id, 1) != nil })
			if o := w.log.attempt(id, 1)[0]; o.result != "delivered" {
				t.Fatalf("%s: %+v\n%s", way, o, w.command(t, "trace", id))
			}
		}
	}
	var got []string
	for _, c := range remote.Conns() {
		said := c.Commands()
		var to []string
		for _, line := range said {
			if rcpt, ok := strings.CutPrefix(line, "RCPT TO:<"); ok {
				to = append(to, strings.TrimSuffix(rcpt, "@shared.test>"))
			}
		}
		if len(to) != each || len(slices.Compact(slices.Clone(to))) != 1 {
			t.Errorf("a connection has the mail of %q: %q", to, said)
			continue
		}
		is := func(begin string) bool {
			return slices.ContainsFunc(said, func(line string) bool { return strings.HasPrefix(line, begin) })
		}
		want := map[string]string{"clear": "false EHLO out.test false", "source": "true EHLO one.test false", "helo": "true EHLO other.test false",
			"one": "true EHLO out.test true", "two": "true EHLO out.test true", "other": "true EHLO out.test true"}[to[0]]
		if want == "" {
			want = "true EHLO out.test false"
		}
		if is := fmt.Sprintf("%t %s %t", c.TLS() != nil, said[0], is("AUTH ")); is != want {
			t.Errorf("%s: TLS, greeting, log-in: %s, want %s", to[0], is, want)
		}
		got = append(got, to[0])
	}
	slices.Sort(got)
	slices.Sort(ways)
	if !slices.Equal(got, ways) {
		t.Errorf("connections of %q, want %q", got, ways)
	}
}
