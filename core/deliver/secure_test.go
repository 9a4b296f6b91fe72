package deliver

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/certs/certstest"
	"github.com/stagepost/stagepost/core/deliver/remotetest"
	"github.com/stagepost/stagepost/core/deliver/tlsrpt"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
)

// tlsWorld runs a test with a server that offers TLS, and more scripts for its later connections.
func tlsWorld(t *testing.T, f func(t *testing.T, w *secured), scripts ...remotetest.Script) {
	if len(scripts) == 0 {
		scripts = []remotetest.Script{{"EHLO": offersTLS}}
	}
	synctest.Test(t, func(t *testing.T) { f(t, newSecured(t, scripts...)) })
}

func (w *secured) expect(t *testing.T, tls message.TLSLevel, want string) {
	t.Helper()
	job := newJob(t, memory(plain), "u@y.test")
	job.Plan.TLS = tls
	if got := w.send(t, job); got != want {
		t.Errorf("%s: %s, want %s: %s", tls, got, want, w.last())
	}
}

func (w *secured) last() string { return w.steps[len(w.steps)-1].Detail }

// A connection is used again for what asks for the same, and for nothing else: not even by what would be content with less.
func TestNoReuseAcrossProtection(t *testing.T) {
	tlsWorld(t, func(t *testing.T, w *secured) {
		w.opts.MaxIdle = 0
		levels := []message.TLSLevel{message.TLSNone, message.TLSOpportunistic, message.TLSRequired, message.TLSVerified}
		for range 3 {
			for _, l := range levels {
				w.expect(t, l, "delivered")
			}
		}
		if n := len(w.remote.Conns()); n != len(levels) {
			t.Errorf("%d connections for %d levels", n, len(levels))
		}
		if s := w.last(); !strings.Contains(s, "reused, TLS 1.3 TLS_") || !strings.Contains(s, ", verified, 250") {
			t.Errorf("the record has %q", s)
		}
		// Another policy of the same strength is another one, too.
		w.signed(w.pin(t, 3, ""))
		w.expect(t, message.TLSAuto, "delivered")
		w.signed(w.pin(t, 3, ""), w.pin(t, 3, "other"))
		w.expect(t, message.TLSAuto, "delivered")
		if n := len(w.remote.Conns()); n != len(levels)+2 {
			t.Errorf("%d connections", n)
		}
		job := newJob(t, memory(plain), "u@y.test")
		job.Env.Params = smtp.Params{{Key: "REQUIRETLS"}}
		if got := w.send(t, job); got != "delivered" || len(w.remote.Conns()) != len(levels)+3 {
			t.Errorf("%s by %d connections", got, len(w.remote.Conns()))
		}
		conns := w.remote.Conns()
		if c := conns[len(conns)-1].Commands(); !slices.Contains(c, "MAIL FROM:<a@x.test> BODY=8BITMIME REQUIRETLS") && !slices.Contains(c, "MAIL FROM:<a@x.test> REQUIRETLS") {
			t.Errorf("%q", c)
		}
	})
}

// A session is resumed under the demand that it was begun under, and its certificate is judged again.
func TestResumption(t *testing.T) {
	tlsWorld(t, func(t *testing.T, w *secured) {
		resumed := func(want bool) {
			t.Helper()
			conns := w.remote.Conns()
			if s := conns[len(conns)-1].TLS(); s == nil || s.DidResume != want {
				t.Errorf("resumed: %v, want %v", s != nil && s.DidResume, want)
			}
		}
		w.expect(t, message.TLSRequired, "delivered")
		resumed(false)
		w.expect(t, message.TLSRequired, "delivered")
		resumed(true)
		w.expect(t, message.TLSVerified, "delivered")
		resumed(false)
		w.expect(t, message.TLSVerified, "delivered")
		resumed(true)
		w.signed(w.pin(t, 3, "other"))
		n := len(w.remote.Messages())
		w.expect(t, message.TLSVerified, "deferred 451 4.7.5")
		if len(w.remote.Messages()) != n {
			t.Error("a session was resumed under another key's record")
		}
		w.signed(w.pin(t, 3, ""))
		w.expect(t, message.TLSVerified, "delivered")
		resumed(false)
	})
}

// A certificate that is another one at the next attempt is judged as if there had been none before (O12).
func TestCertificateChanges(t *testing.T) {
	script := func(kind string) remotetest.Script {
		return remotetest.Script{"EHLO": offersTLS, "STARTTLS": "220 2.0.0 go ahead | tls " + kind}
	}
	tlsWorld(t, func(t *testing.T, w *secured) {
		w.sts["y.test"] = enforce("enforce", "mx.y.test")
		w.expect(t, message.TLSAuto, "delivered")
		w.expect(t, message.TLSAuto, "delivered") // another good one
		w.expect(t, message.TLSAuto, "deferred 451 4.7.5")
		if !strings.Contains(w.last(), "the certificate is for other.invalid, and not for mx.y.test") {
			t.Errorf("the record has %q", w.last())
		}
		w.expect(t, message.TLSAuto, "deferred 451 4.7.5")
		if !strings.Contains(w.last(), "by an authority that is not trusted") || !strings.Contains(w.last(), "MTA-STS") {
			t.Errorf("the record has %q", w.last())
		}
		w.expect(t, message.TLSAuto, "delivered")
	}, script(""), script("other"), script("wrong"), script("self"), script(""))
}

// Where TLS failed and a connection in clear did, the next messages begin with that, for a time.
func TestFallBackIsRemembered(t *testing.T) {
	broken := remotetest.Script{"EHLO": offersTLS, "STARTTLS": "454 4.7.0 not now"}
	tlsWorld(t, func(t *testing.T, w *secured) {
		w.expect(t, message.TLSAuto, "delivered")
		if got := w.last(); !strings.Contains(got, "new, in clear since STARTTLS is answered 454 4.7.0 not now, 250") || len(w.remote.Conns()) != 2 {
			t.Errorf("%d connections, the record has %q", len(w.remote.Conns()), got)
		}
		w.expect(t, message.TLSAuto, "delivered")
		if n := len(w.remote.Conns()); n != 3 {
			t.Errorf("%d connections: the second message paid for both", n)
		}
		w.expect(t, message.TLSRequired, "deferred 451 4.7.5") // what is remembered lowers nothing
		time.Sleep(plainTime)
		w.expect(t, message.TLSAuto, "delivered")
		if n := len(w.remote.Conns()); n != 6 {
			t.Errorf("%d connections: TLS was not tried again", n)
		}
	}, broken)
	// Nothing is remembered of a server that cannot be talked to in clear either.
	tlsWorld(t, func(t *testing.T, w *secured) {
		w.expect(t, message.TLSAuto, "deferred 451 4.4.2")
		w.expect(t, message.TLSAuto, "delivered")
		if conns := w.remote.Conns(); conns[len(conns)-1].TLS() == nil {
			t.Error("it went in clear")
		}
	}, broken, remotetest.Script{"banner": "close"}, remotetest.Script{"EHLO": offersTLS})
}

// Once anything was said of a message, nothing makes it go in clear.
func TestNoFallBackWithinAMessage(t *testing.T) {
	for _, at := range []string{"MAIL", "RCPT", "DATA", "dot"} {
		tlsWorld(t, func(t *testing.T, w *secured) {
			want := "deferred 451 4.4.2"
			if at == "dot" {
				want += " unknown"
			}
			w.expect(t, message.TLSOpportunistic, want)
			if n := len(w.remote.Conns()); n != 1 {
				t.Errorf("%s: %d connections", at, n)
			}
		}, remotetest.Script{"EHLO": offersTLS, at: "close"})
	}
}

// The last address has TLS from the outset: by its port, or since the plan says so.
func TestImplicit(t *testing.T) {
	tlsWorld(t, func(t *testing.T, w *secured) {
		w.network.Remotes["192.0.2.1:465"], w.network.Remotes["192.0.2.1:2465"] = w.remote, w.remote
		for _, c := range []struct {
			host  string
			level message.TLSLevel
			want  string
			how   string
		}{
			{"mx.y.test:465", "", "delivered", ", not verified, "},
			{"mx.y.test:465", message.TLSVerified, "delivered", ", verified, "},
			{"192.0.2.1:465", message.TLSVerified, "deferred 451 4.7.5", "not for 192.0.2.1"},
			{"mx.y.test:2465", message.TLSImplicit, "delivered", ", verified, "},
			{"mx.y.test:2465", message.TLSRequired, "deferred 451 4.4.2", "EHLO"},
		} {
			job := newJob(t, memory(plain), "u@y.test")
			job.Plan = &message.Plan{Hosts: []string{c.host}, TLS: c.level}
			if got := w.send(t, job); got != c.want || !strings.Contains(w.last(), c.how) {
				t.Errorf("%s %s: %s, want %s; %s", c.host, c.level, got, c.want, w.last())
			}
		}
	}, remotetest.Script{"banner": "tls | 220 mx.y.test", "EHLO": "250 mx.y.test"}, remotetest.Script{"banner": "tls | 220 mx.y.test"}, remotetest.Script{"banner": "tls | 220 mx.y.test"},
		remotetest.Script{"banner": "tls | 220 mx.y.test"}, remotetest.Script{"banner": "220 mx.y.test", "EHLO": "close"})
}

// A server that refuses to talk is believed where it may talk in clear, and under TLS, but not in clear where TLS is demanded.
func TestRefusalInClear(t *testing.T) {
	for _, c := range []struct {
		level  message.TLSLevel
		script remotetest.Script
		want   string
	}{
		{message.TLSOpportunistic, remotetest.Script{"banner": "554 5.7.1 no"}, "failed 554 5.7.1"},
		{message.TLSOpportunistic, remotetest.Script{"EHLO": "550 5.7.1 no"}, "failed 550 5.7.1"},
		{message.TLSRequired, remotetest.Script{"banner": "554 5.7.1 no"}, "deferred 451 4.7.10"},
		{message.TLSRequired, remotetest.Script{"EHLO": "550 5.7.1 no"}, "deferred 451 4.7.10"},
		{message.TLSImplicit, remotetest.Script{"banner": "tls | 554 5.7.1 no"}, "failed 554 5.7.1"},
	} {
		tlsWorld(t, func(t *testing.T, w *secured) { w.expect(t, c.level, c.want) }, c.script)
	}
}

// What a server says in clear of REQUIRETLS is not believed, and one that does not say it under TLS gets nothing.
func TestRequireTLSIsPromised(t *testing.T) {
	for name, c := range map[string]struct {
		inside string
		want   string
	}{
		"promised":          {offersTLS, "delivered"},
		"promised in clear": {"250-mx.y.test\n250 8BITMIME", "failed 550 5.7.30"},
	} {
		t.Run(name, func(t *testing.T) {
			tlsWorld(t, func(t *testing.T, w *secured) {
				w.sts["y.test"] = enforce("enforce", "mx.y.test")
				job := newJob(t, memory(plain), "u@y.test")
				job.Env.Params = smtp.Params{{Key: "REQUIRETLS"}}
				if got := w.send(t, job); got != c.want {
					t.Errorf("%s, want %s: %s", got, c.want, w.last())
				}
			}, remotetest.Script{"EHLO#1": offersTLS, "EHLO#2": c.inside, "STARTTLS": "220 2.0.0 go ahead | tls"})
		})
	}
}

// DANE by aliases, by an authority, and where the resolver is not believed.
func TestDANE(t *testing.T) {
	const good = "delivered"
	for _, c := range []struct {
		name string
		do   func(t *testing.T, w *secured)
		want string
		how  string
	}{
		{"the key", func(t *testing.T, w *secured) { w.signed(w.pin(t, 3, "")) }, good, "DANE-EE"},
		{"one of two keys", func(t *testing.T, w *secured) { w.signed(w.pin(t, 3, "other"), w.pin(t, 3, "")) }, good, "DANE-EE"},
		{"another key", func(t *testing.T, w *secured) { w.signed(w.pin(t, 3, "other")) }, "deferred 451 4.7.5", "none of those that the TLSA records name; it is asked for by DANE"},
		{"the authority", func(t *testing.T, w *secured) {
			w.signed(fmt.Sprintf("TLSA 2 0 0 %x", w.remote.Authority.Certificate().Raw))
		}, good, "DANE-TA"},
		{"the authority, of usage 0 beside a wrong key", func(t *testing.T, w *secured) {
			w.signed(fmt.Sprintf("TLSA 0 0 0 %x", w.remote.Authority.Certificate().Raw), w.pin(t, 3, "other"))
		}, "deferred 451 4.7.5", "none of those"},
		{"the MX is not signed", func(t *testing.T, w *secured) { w.signed(w.pin(t, 3, "other")); w.dns.Set("y.test", "MX 10 mx.y.test") }, good, "not verified"},
		{"the address is not signed", func(t *testing.T, w *secured) { w.signed(w.pin(t, 3, "other")); w.dns.Set("mx.y.test", "A 192.0.2.1") }, good, "not verified"},
		{"the record is not signed", func(t *testing.T, w *secured) {
			w.signed()
			w.dns.Set("_25._tcp.mx.y.test", w.pin(t, 3, "other"))
		}, good, "not verified"},
		{"an address of one kind cannot be told", func(t *testing.T, w *secured) {
			w.signed(w.pin(t, 3, "other"))
			w.dns.Set("mx.y.test", "!secure", "A 192.0.2.1", "!servfail AAAA")
		}, "deferred 451 4.7.5", "none of those"},
		{"an alias, at the end of it", func(t *testing.T, w *secured) {
			w.signed()
			w.dns.Set("mx.y.test", "!secure", "CNAME real.y.test")
			w.dns.Set("real.y.test", "!secure", "A 192.0.2.1")
			w.dns.Set("_25._tcp.real.y.test", "!secure", w.pin(t, 3, ""))
			w.dns.Set("_25._tcp.mx.y.test", "!secure", w.pin(t, 3, "other"))
		}, good, "DANE-EE"},
		{"an alias, at the beginning of it", func(t *testing.T, w *secured) {
			w.signed(w.pin(t, 3, ""))
			w.dns.Set("mx.y.test", "!secure", "CNAME real.y.test")
			w.dns.Set("real.y.test", "!secure", "A 192.0.2.1")
		}, good, "DANE-EE"},
		{"an alias that leads to where nothing is signed", func(t *testing.T, w *secured) {
			w.signed(w.pin(t, 3, "other"))
			w.dns.Set("mx.y.test", "!secure", "CNAME real.z.test")
			w.dns.Set("real.z.test", "A 192.0.2.1")
		}, "deferred 451 4.7.5", "none of those"},
		{"an alias that is not signed", func(t *testing.T, w *secured) {
			w.signed(w.pin(t, 3, "other"))
			w.dns.Set("mx.y.test", "CNAME real.z.test")
			w.dns.Set("real.z.test", "!secure", "A 192.0.2.1")
		}, good, "not verified"},
		{"no time-out passes for no record", func(t *testing.T, w *secured) { w.signed(); w.dns.Set("_25._tcp.mx.y.test", "!silent") }, "deferred 451 4.7.5", "cannot be told"},
		{"refused", func(t *testing.T, w *secured) { w.signed(); w.dns.Set("_25._tcp.mx.y.test", "!refused") }, "deferred 451 4.7.5", "cannot be told"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tlsWorld(t, func(t *testing.T, w *secured) {
				c.do(t, w)
				w.expect(t, message.TLSAuto, c.want)
				if !strings.Contains(w.last(), c.how) {
					t.Errorf("the record has %q", w.last())
				}
			})
		})
	}
}

// A certificate for a name that the DNS alone has is worth nothing.
func TestVerifiedNames(t *testing.T) {
	for _, c := range []struct {
		name, server string // whose certificate it is
		zone         map[string][]string
		plan         *message.Plan
		want         string
	}{
		{"within the domain", "mx.y.test", map[string][]string{"y.test": {"MX 10 mx.y.test"}}, nil, "delivered"},
		{"the domain itself", "y.test", map[string][]string{"y.test": {"MX 10 mx.z.test"}, "mx.z.test": {"A 192.0.2.1"}}, nil, "delivered"},
		{"elsewhere", "mx.z.test", map[string][]string{"y.test": {"MX 10 mx.z.test"}, "mx.z.test": {"A 192.0.2.1"}}, nil, "deferred 451 4.7.5"},
		{"like the domain", "mx.evil-y.test", map[string][]string{"y.test": {"MX 10 mx.evil-y.test"}, "mx.evil-y.test": {"A 192.0.2.1"}}, nil, "deferred 451 4.7.5"},
		{"elsewhere, signed", "mx.z.test", map[string][]string{"y.test": {"!secure", "MX 10 mx.z.test"}, "mx.z.test": {"A 192.0.2.1"}}, nil, "delivered"},
		{"a host of the plan", "mx.z.test", map[string][]string{"mx.z.test": {"A 192.0.2.1"}}, &message.Plan{Hosts: []string{"mx.z.test:25"}}, "delivered"},
		{"another host than the plan's", "mx.z.test", map[string][]string{"a.z.test": {"A 192.0.2.1"}}, &message.Plan{Hosts: []string{"a.z.test:25"}}, "deferred 451 4.7.5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tlsWorld(t, func(t *testing.T, w *secured) {
				w.remote.Name = c.server
				for name, records := range c.zone {
					w.dns.Set(name, records...)
				}
				job := newJob(t, memory(plain), "u@y.test")
				if c.plan != nil {
					job.Plan = c.plan
				}
				job.Plan.TLS = message.TLSVerified
				if got := w.send(t, job); got != c.want {
					t.Errorf("%s, want %s: %s", got, c.want, w.last())
				}
			})
		})
	}
}

// The site's word counts where the plan has none.
func TestLevelOfTheSite(t *testing.T) {
	tlsWorld(t, func(t *testing.T, w *secured) {
		job := newJob(t, memory(plain), "u@y.test")
		job.TLS = message.TLSRequired
		if got := w.send(t, job); got != "deferred 451 4.7.10" || !strings.Contains(w.last(), "asked for by the configuration") {
			t.Errorf("%s: %s", got, w.last())
		}
		job.Plan.TLS = message.TLSAuto
		if got := w.send(t, job); got != "delivered" {
			t.Error(got)
		}
	}, remotetest.Script{})
}

// A server that asks for a certificate gets the source's.
func TestClientCertificate(t *testing.T) {
	ca := certstest.New(t, "authority")
	own := ca.Issue(t, nil, "out.x.test")
	var asked []string
	w := newSecured(t, remotetest.Script{"EHLO": offersTLS})
	w.remote.Change = func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }
	w.opts.TLS.Certificate = func(source string) *tls.Certificate {
		asked = append(asked, source)
		return &own
	}
	w.opts.Dial = nil
	addr := w.remote.Listen()
	job := newJob(t, memory(plain), "u@y.test")
	job.Plan = &message.Plan{Hosts: []string{addr}, Private: 1, TLS: message.TLSRequired}
	if got := w.send(t, job); got != "delivered" || !slices.Equal(asked, []string{""}) {
		t.Errorf("%s, asked for %q: %s", got, asked, w.last())
	}
	if s := w.remote.Conns()[0].TLS(); s == nil || len(s.PeerCertificates) == 0 || !s.PeerCertificates[0].Equal(own.Leaf) {
		t.Error("the server did not see it")
	}
}

// Over TCP: a reset in the handshake.
func TestResetInTheHandshake(t *testing.T) {
	for _, level := range []message.TLSLevel{message.TLSAuto, message.TLSRequired} {
		w := newSecured(t, remotetest.Script{"EHLO": offersTLS, "STARTTLS": "220 2.0.0 go ahead | heard | reset"})
		w.opts.Dial = nil
		job := newJob(t, memory(plain), "u@y.test")
		job.Plan = &message.Plan{Hosts: []string{w.remote.Listen()}, Private: 1, TLS: level}
		want := map[message.TLSLevel]string{message.TLSAuto: "delivered", message.TLSRequired: "deferred 451 4.7.5"}[level]
		if got := w.send(t, job); got != want {
			t.Errorf("%s: %s, want %s: %s", level, got, want, w.last())
		}
	}
}

// What happened is noted for the domain, under the policy that was applied.
func TestResults(t *testing.T) {
	script := func(what string) remotetest.Script {
		return remotetest.Script{"EHLO": offersTLS, "STARTTLS": "220 2.0.0 go ahead | tls " + what}
	}
	tlsWorld(t, func(t *testing.T, w *secured) {
		results, err := tlsrpt.New(tlsrpt.Options{})
		if err != nil {
			t.Fatal(err)
		}
		w.opts.TLS.Results = results
		w.expect(t, message.TLSAuto, "delivered")
		w.sts["y.test"] = enforce("enforce", "mx.y.test")
		for _, want := range []string{"delivered", "deferred 451 4.7.5", "deferred 451 4.7.5", "deferred 451 4.7.5"} {
			w.expect(t, message.TLSAuto, want)
		}
		w.signed(w.pin(t, 3, "other"))
		w.expect(t, message.TLSAuto, "deferred 451 4.7.5")
		got := ""
		list, _ := results.Day("")
		for _, s := range list {
			got += fmt.Sprintf("%s %s %d %d", s.Policy.Domain, s.Policy.Type, s.Summary.Success, s.Summary.Failure)
			for _, d := range s.Details {
				got += fmt.Sprintf(" %s@%s[%s]", d.Result, d.Host, d.IP)
			}
			got += "\n"
		}
		const at = "@mx.y.test[192.0.2.1]"
		if want := "y.test sts 1 3 certificate-host-mismatch" + at + " certificate-not-trusted" + at + " certificate-expired" + at + "\ny.test tlsa 0 1 validation-failure" + at + "\ny.test no-policy-found 1 0\n"; got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
	}, script(""), script(""), script("wrong"), script("self"), script("expired"), script(""))
}
