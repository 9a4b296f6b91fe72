package deliver

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/deliver/mtasts"
	"github.com/stagepost/stagepost/core/deliver/remotetest"
	"github.com/stagepost/stagepost/core/deliver/tlsrpt"
	"github.com/stagepost/stagepost/core/message"
)

// askedPolicies notes what is asked for.
type askedPolicies struct {
	stsPolicies
	asked []string
}

func (p *askedPolicies) Lookup(ctx context.Context, domain string) mtasts.Found {
	p.asked = append(p.asked, domain)
	return p.stsPolicies.Lookup(ctx, domain)
}

// TestSmartHosts: where a plan names hosts it is the policy of their names that holds, and that of the recipient's domain does not (RFC 8461
// section 3.4). The mail is for y.test throughout, whose policy names other hosts than this one.
func TestSmartHosts(t *testing.T) {
	starttls := func(what string) remotetest.Script {
		return remotetest.Script{"EHLO": offersTLS, "STARTTLS": "220 2.0.0 go ahead | tls " + what}
	}
	good, wrong, inClear := starttls(""), starttls("wrong"), remotetest.Script{}
	named := func(hosts ...string) message.Plan { return message.Plan{Hosts: hosts} }
	smart := map[string]mtasts.Found{"mx.y.test": enforce("enforce", "mx.y.test")}
	const mx = "mx.y.test:25"
	for _, c := range []struct {
		name   string
		plan   message.Plan
		sts    map[string]mtasts.Found
		script remotetest.Script
		want   string
		how    string // in the record
		asked  string
	}{
		{"it keeps to its policy", named(mx), smart, good, "delivered", ", verified, 250", "mx.y.test"},
		{"another name", named(mx), smart, wrong, "deferred 451 4.7.5", "not for mx.y.test; it is asked for by MTA-STS", "mx.y.test"},
		{"it offers no TLS", named(mx), smart, inClear, "deferred 451 4.7.10", "asked for by MTA-STS", "mx.y.test"},
		{"its own policy does not name it", named(mx), map[string]mtasts.Found{"mx.y.test": enforce("enforce", "*.mx.y.test")}, good, "deferred 451 4.7.5", "mx.y.test is not among the hosts that the MTA-STS policy of mx.y.test names", "mx.y.test"},
		{"testing", named(mx), map[string]mtasts.Found{"mx.y.test": enforce("testing", "mx.y.test")}, wrong, "delivered", "not verified", "mx.y.test"},
		{"it has none", named(mx), nil, inClear, "delivered", "new, 250", "mx.y.test"},
		{"verified is asked for already", message.Plan{Hosts: []string{mx}, TLS: message.TLSVerified}, smart, wrong, "deferred 451 4.7.5", "not for mx.y.test", "mx.y.test"},
		{"what is published is not to be looked at", message.Plan{Hosts: []string{mx}, TLS: message.TLSOpportunistic}, smart, wrong, "delivered", "not verified", ""},
		{"an address has none", named("192.0.2.1:25"), smart, inClear, "delivered", "new, 250", ""},
		{"nor has a name within a network", named("mx:25"), map[string]mtasts.Found{"mx": enforce("enforce", "mx")}, inClear, "delivered", "new, 250", ""},
		{"nor has LMTP", message.Plan{Hosts: []string{mx}, Via: message.ViaLMTP}, smart, inClear, "delivered", "new, 250", ""},
		{"the second of two", named("gone.test:25", mx), smart, wrong, "deferred 451 4.7.5", "asked for by MTA-STS", "gone.test mx.y.test"},
		{"where mail falls back to", message.Plan{MX: "gone.test", Hosts: []string{mx}}, smart, wrong, "deferred 451 4.7.5", "asked for by MTA-STS", "gone.test mx.y.test"},
		{"the MX of another domain", message.Plan{MX: "z.test"}, map[string]mtasts.Found{"z.test": enforce("enforce", "mx.y.test")}, wrong, "deferred 451 4.7.5", "asked for by MTA-STS", "z.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tlsWorld(t, func(t *testing.T, w *secured) {
				w.dns.Set("z.test", "MX 10 mx.y.test")
				w.dns.Set("mx", "A 192.0.2.1")
				w.dns.Set("gone.test", "MX 10 gone.test", "A 192.0.2.9")
				results, err := tlsrpt.New(tlsrpt.Options{})
				if err != nil {
					t.Fatal(err)
				}
				policies := &askedPolicies{stsPolicies: c.sts}
				if policies.stsPolicies == nil {
					policies.stsPolicies = stsPolicies{}
				}
				w.opts.TLS.Policies, w.opts.TLS.Results = policies, results
				job := newJob(t, memory(plain), "u@y.test")
				job.Plan = &c.plan
				if got := w.send(t, job); got != c.want || !strings.Contains(w.last(), c.how) {
					t.Errorf("%s, want %s: %s", got, c.want, w.last())
				}
				if got := strings.Join(policies.asked, " "); got != c.asked {
					t.Errorf("the policies of %q are asked for, want %q", got, c.asked)
				}
				list, err := results.Day("")
				if err != nil {
					t.Fatal(err)
				}
				if slices.ContainsFunc(list, func(s tlsrpt.Summary) bool { return s.Policy.Domain == "y.test" }) {
					t.Errorf("it is counted for the recipient's domain: %+v", list)
				}
			}, c.script)
		})
	}
}
