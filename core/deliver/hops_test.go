package deliver

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/resolve/resolvetest"
)

// hopsZone belongs to out.x.test, the Sender's own name, at 192.0.2.99.
var hopsZone = map[string][]string{
	"out.x.test": {"A 192.0.2.99"},
	"one.test":   {"A 192.0.2.1"},
	"two.test":   {"A 192.0.2.2"},
	"three.test": {"A 192.0.2.3"},
	"both.test":  {"A 192.0.2.1", "A 192.0.2.2", "AAAA 2001:db8::1", "A 192.0.2.3"},
	"six.test":   {"AAAA 2001:db8::1"},
	"none.test":  {"TXT \"no address\""},
	"dead.test":  {"!servfail"},
	"here.test":  {"A 127.0.0.1"},
	"alias.test": {"CNAME one.test"},

	"plain.test":     {"MX 20 two.test", "MX 10 one.test"},
	"null.test":      {"MX 0 ."},
	"nullmixed.test": {"MX 0 .", "MX 10 one.test"},
	"servfail.test":  {"!servfail"},
	"refused.test":   {"!refused"},
	"silent.test":    {"!silent"},
	"half.test":      {"A 192.0.2.1", "!servfail MX"},
	"mxnone.test":    {"MX 10 none.test", "MX 20 nosuch.test"},
	"mxnone2.test":   {"MX 10 none.test", "MX 20 two.test"},
	"mxdead.test":    {"MX 10 dead.test", "MX 10 none.test"},
	"mxdead2.test":   {"MX 10 dead.test", "MX 20 two.test"},
	"mxliteral.test": {"MX 10 192.0.2.1"},
	"mxalias.test":   {"MX 10 alias.test"},
	"own.test":       {"MX 10 OUT.x.test", "MX 20 two.test"},
	"backup.test":    {"MX 10 one.test", "MX 20 out.x.test", "MX 20 two.test", "MX 30 three.test"},
	"equal.test":     {"MX 10 one.test", "MX 10 out.x.test"},
	"ownaddr.test":   {"MX 10 two.test", "MX 20 one.test", "MX 20 here.test", "MX 30 three.test"},
	"localhost":      {"A 127.0.0.1", "AAAA ::1"},
	"mxlocal.test":   {"MX 10 localhost"},
	"any4.test":      {"MX 10 a.any4.test"},
	"a.any4.test":    {"A 0.0.0.0"},
	"any6.test":      {"MX 10 a.any6.test"},
	"a.any6.test":    {"AAAA ::"},
	"mapped.test":    {"AAAA ::ffff:127.0.0.1"},
	"loop127.test":   {"A 127.9.9.9"},
	"selfaddr.test":  {"MX 10 self.test", "MX 20 two.test"},
	"self.test":      {"A 192.0.2.200"},
	"private.test":   {"A 10.0.0.1"},
	"mxinside.test":  {"MX 10 private.test", "MX 20 two.test"},
	"manyaddrs.test": {"MX 10 addrs.test", "MX 20 two.test"},
	"addrs.test":     repeat(100, "A 192.0.3.%d"),
	"manyhosts.test": repeat(200, "MX 10 h%d.test"),
	"samehosts.test": repeat(50, "MX %d addrs.test", "MX %d both.test"),
	"wide.test":      repeat(8, "MX %d w%[1]d.test"),
}

func repeat(n int, formats ...string) []string {
	var all []string
	for i := range n {
		for _, f := range formats {
			all = append(all, fmt.Sprintf(f, i+1))
		}
	}
	return all
}

// granted lets plans of tests lead to private addresses.
const granted = 1<<16 - 1

// TestPrivate: an address that is no host of the Internet is connected to only where the plan may, and this server never.
func TestPrivate(t *testing.T) {
	const down = "deferred 451 4.4.1"
	for _, c := range []struct {
		mx, hosts string
		private   uint16
		want      string
		dialed    string
	}{
		{"", "127.0.0.1:24", 1, down, "127.0.0.1:24"},
		{"", "one.test:25 here.test:26 private.test:27 [::1]:28", 0b1010, down, "192.0.2.1:25 127.0.0.1:26 [::1]:28"},
		{"", "private.test:27 10.0.0.9:25", 0, "deferred 451 4.3.5", ""},
		{"", "[::ffff:10.0.0.9]:25", 0, "deferred 451 4.3.5", ""},
		{"", "127.0.0.1:2525", 1, "deferred 451 4.4.6", ""},
		{"", "here.test:2525", 1, "deferred 451 4.4.6", ""},
		{"", "[::ffff:127.0.0.1]:2525 two.test:25", 1, down, "192.0.2.2:25"},
		{"mxinside.test", "", 1, down, "10.0.0.1:25 192.0.2.2:25"},
		{"mxlocal.test", "", 1, down, "127.0.0.1:25 [::1]:25"},
		{"[10.1.2.3]", "", 0, "failed 550 5.4.4", ""},
		{"[10.1.2.3]", "", 1, down, "10.1.2.3:25"},
		{"[192.0.2.200]", "", 1, "failed 554 5.4.6", ""},
		{"selfaddr.test", "", 0, "failed 554 5.4.6", ""},
	} {
		network := &remotetest.Net{}
		own := func(a netip.AddrPort) bool { return a.String() == "127.0.0.1:2525" || a.String() == "192.0.2.200:25" }
		s := newSender(t, network, Options{Resolver: resolvetest.New(t, hopsZone), Own: own})
		job := newJob(t, memory(plain), "u@y.test")
		job.Plan = &message.Plan{MX: c.mx, Hosts: strings.Fields(c.hosts), Private: c.private}
		got, dialed := s.Send(t.Context(), job), strings.Join(network.Dialed(), " ")
		if briefs(got) != c.want || dialed != c.dialed {
			t.Errorf("%s %b: %s (%s), want %s; connections to %q, want %q", c.mx+c.hosts, c.private, briefs(got), got[0].Reply.Error(), c.want, dialed, c.dialed)
		}
	}
}

// TestHops shows where a plan leads when all servers there are down.
func TestHops(t *testing.T) {
	const down = "deferred 451 4.4.1"
	for i := range 8 {
		hopsZone[fmt.Sprintf("w%d.test", i+1)] = repeat(9, fmt.Sprintf("A 192.0.%d.%%d", 10+i))
	}
	for i := range 200 {
		hopsZone[fmt.Sprintf("h%d.test", i+1)] = []string{fmt.Sprintf("A 192.0.4.%d", i+1)}
	}
	for _, c := range []struct {
		mx, hosts string
		want      string
		dialed    string // "": nothing; a number: so many
	}{
		{"plain.test", "", down, "192.0.2.1:25 192.0.2.2:25"},
		{"nosuch.test", "", "failed 550 5.1.2", ""},
		{"null.test", "", "failed 556 5.1.10", ""},
		{"nullmixed.test", "", "failed 556 5.1.10", ""},
		{"servfail.test", "", "deferred 451 4.4.3", ""},
		{"refused.test", "", "deferred 451 4.4.3", ""},
		{"silent.test", "", "deferred 451 4.4.3", ""},
		{"half.test", "", "deferred 451 4.4.3", ""},
		{"one.test", "", down, "192.0.2.1:25"}, // implicit MX
		{"six.test", "", down, "[2001:db8::1]:25"},
		{"alias.test", "", down, "192.0.2.1:25"},
		{"private.test", "", "failed 550 5.4.4", ""},
		{"mxinside.test", "", down, "192.0.2.2:25"},
		{"none.test", "", "failed 550 5.4.4", ""},
		{"mxnone.test", "", "failed 550 5.4.4", ""},
		{"mxnone2.test", "", down, "192.0.2.2:25"},
		{"mxdead.test", "", "deferred 451 4.4.3", ""},
		{"mxdead2.test", "", down, "192.0.2.2:25"},
		{"mxliteral.test", "", "failed 550 5.4.4", ""},
		{"mxalias.test", "", down, "192.0.2.1:25"},
		{"both.test", "", down, "192.0.2.1:25 [2001:db8::1]:25 192.0.2.2:25 192.0.2.3:25"},

		// This server among the exchangers.
		{"own.test", "", "failed 554 5.4.6", ""},
		{"out.x.test", "", "failed 554 5.4.6", ""},
		{"backup.test", "", down, "192.0.2.1:25"},
		{"equal.test", "", "failed 554 5.4.6", ""},
		{"ownaddr.test", "", down, "192.0.2.2:25"},
		{"mxlocal.test", "", "failed 554 5.4.6", ""},
		{"localhost", "", "failed 554 5.4.6", ""},
		{"any4.test", "", "failed 554 5.4.6", ""},
		{"any6.test", "", "failed 554 5.4.6", ""},
		{"mapped.test", "", "failed 554 5.4.6", ""},
		{"loop127.test", "", "failed 554 5.4.6", ""},

		// Bounds.
		{"manyaddrs.test", "", down, "6"},
		{"manyhosts.test", "", down, "10"},
		{"samehosts.test", "", down, "9"},
		{"wide.test", "", down, "20"},

		// Address literals.
		{"[192.0.2.7]", "", down, "192.0.2.7:25"},
		{"[IPv6:2001:db8::7]", "", down, "[2001:db8::7]:25"},
		{"[127.0.0.1]", "", "failed 554 5.4.6", ""},
		{"[IPv6:::1]", "", "failed 554 5.4.6", ""},
		{"[what]", "", "failed 550 5.1.2", ""},

		// Hosts of a plan: never looked for by MX, never ourselves, and a mistake is never final.
		{"", "192.0.2.7:2525", down, "192.0.2.7:2525"},
		{"", "127.0.0.1:24", "deferred 451 4.3.5", ""},
		{"", "plain.test:25", "deferred 451 4.4.4", ""},
		{"", "nosuch.test:25", "deferred 451 4.4.4", ""},
		{"", "dead.test:25", "deferred 451 4.4.3", ""},
		{"", "nosuch.test:25 here.test:26 [2001:db8::7]:27", down, "[2001:db8::7]:27"},
		{"", "two.test:x one.test:25", down, "192.0.2.1:25"},
		{"", "two.test", "deferred 451 4.3.5", ""},
		{"", strings.Join(repeat(16, "192.0.5.%d:25"), " "), down, "16"},
		{"", "both.test:587", down, "192.0.2.1:587 [2001:db8::1]:587 192.0.2.2:587 192.0.2.3:587"},
		{"", "", "deferred 451 4.3.5", ""},
	} {
		network := &remotetest.Net{}
		s := newSender(t, network, Options{Resolver: resolvetest.New(t, hopsZone)})
		job := newJob(t, memory(plain), "u@y.test")
		job.Plan = &message.Plan{MX: c.mx, Hosts: strings.Fields(c.hosts)}
		var steps []observe.Step
		job.Record = func(s observe.Step) { steps = append(steps, s) }
		got := s.Send(t.Context(), job)
		name := c.mx + c.hosts
		if briefs(got) != c.want {
			t.Errorf("%s: %s (%s), want %s", name, briefs(got), got[0].Reply.Error(), c.want)
		}
		if err := got[0].Reply.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		dialed := strings.Join(network.Dialed(), " ")
		if n := fmt.Sprint(len(network.Dialed())); dialed != c.dialed && (n == "0" || n != c.dialed) {
			t.Errorf("%s: %s connections, to %q, want %q", name, n, dialed, c.dialed)
		}
		why := got[0].Reply.Text[0]
		if _, after, ok := strings.Cut(why, ": connection"); ok { // the host stands elsewhere in a step
			why = "connection" + after
		}
		if name != "" && !slices.ContainsFunc(steps, func(s observe.Step) bool { return strings.Contains(s.Detail, why) }) {
			t.Errorf("%s: the record does not say %q: %v", name, why, steps)
		}
	}
}

// TestPrefer: a preferred family goes first, of a host and among exchangers that are preferred alike; a worse exchanger stays behind.
func TestPrefer(t *testing.T) {
	resolver := resolvetest.New(t, map[string][]string{
		"y.test": {"MX 10 both.test", "MX 20 one.test", "MX 20 six.test", "MX 30 last.test"}, "both.test": {"A 192.0.2.1", "A 192.0.2.2", "AAAA 2001:db8::1"},
		"one.test": {"A 192.0.2.3"}, "six.test": {"AAAA 2001:db8::3"}, "last.test": {"A 192.0.2.4", "AAAA 2001:db8::4"}})
	for _, c := range []struct{ prefer, want string }{
		{"ipv4", "192.0.2.1:25 [2001:db8::1]:25 192.0.2.2:25 192.0.2.3:25 [2001:db8::3]:25 192.0.2.4:25 [2001:db8::4]:25"},
		{"ipv6", "[2001:db8::1]:25 192.0.2.1:25 192.0.2.2:25 [2001:db8::3]:25 192.0.2.3:25 [2001:db8::4]:25 192.0.2.4:25"},
	} {
		for range 20 { // those of one preference are shuffled
			network := &remotetest.Net{}
			job := newJob(t, memory(plain), "u@y.test")
			job.Prefer = c.prefer
			newSender(t, network, Options{Resolver: resolver}).Send(t.Context(), job)
			if got := strings.Join(network.Dialed(), " "); got != c.want {
				t.Fatalf("%s: %s", c.prefer, got)
			}
		}
	}
}

// Hosts of one preference share the work, and a worse one is never tried before.
func TestEqualPreferenceIsShuffled(t *testing.T) {
	zone := map[string][]string{"y.test": {"MX 10 one.test", "MX 10 two.test", "MX 20 three.test"}}
	for _, name := range []string{"one.test", "two.test", "three.test"} {
		zone[name] = hopsZone[name]
	}
	resolver := resolvetest.New(t, zone)
	orders := map[string]int{}
	for range 200 {
		network := &remotetest.Net{}
		newSender(t, network, Options{Resolver: resolver}).Send(t.Context(), newJob(t, memory(plain), "u@y.test"))
		orders[strings.Join(network.Dialed(), " ")]++
	}
	first, second := orders["192.0.2.1:25 192.0.2.2:25 192.0.2.3:25"], orders["192.0.2.2:25 192.0.2.1:25 192.0.2.3:25"]
	if first+second != 200 || first == 0 || second == 0 {
		t.Errorf("orders: %v", orders)
	}
}

// faulty panics over some names, as a fault in a resolver would.
type faulty struct {
	resolve.Resolver
	names string
}

func (f faulty) Lookup(ctx context.Context, name string, t resolve.Type) (resolve.Answer, error) {
	if strings.Contains(f.names, strings.TrimSuffix(name, ".")) {
		panic("a fault in the resolver")
	}
	return f.Resolver.Lookup(ctx, name, t)
}

// A resolver that panics over a host could not tell; the others are tried.
func TestResolverPanics(t *testing.T) {
	zone := resolvetest.New(t, map[string][]string{"y.test": {"MX 10 one.test", "MX 10 two.test", "MX 10 three.test"},
		"one.test": hopsZone["one.test"], "two.test": hopsZone["two.test"], "three.test": hopsZone["three.test"]})
	for names, want := range map[string]string{"one.test": "deferred 451 4.4.1", "two.test three.test": "deferred 451 4.4.1", "one.test two.test three.test": "deferred 451 4.4.3"} {
		network := &remotetest.Net{}
		got := newSender(t, network, Options{Resolver: faulty{zone, names}}).Send(t.Context(), newJob(t, memory(plain), "u@y.test"))
		if tried := 3 - len(strings.Fields(names)); briefs(got) != want || len(network.Dialed()) != tried {
			t.Errorf("%s: %s (%s), want %s; connections to %v, want %d", names, briefs(got), got[0].Reply.Error(), want, network.Dialed(), tried)
		}
	}
}

// A temporary failure of the DNS is not final when it comes back.
func TestRecoversFromDNS(t *testing.T) {
	resolver := resolvetest.New(t, map[string][]string{"y.test": {"!silent"}})
	remote := remotetest.New(t)
	s := newSender(t, &remotetest.Net{Remotes: map[string]*remotetest.Remote{"192.0.2.1:25": remote}}, Options{Resolver: resolver})
	job := newJob(t, memory(plain), "u@y.test")
	var got []string
	got = append(got, briefs(s.Send(t.Context(), job)))
	resolver.Set("y.test", "A 192.0.2.1")
	got = append(got, briefs(s.Send(t.Context(), job)))
	if !slices.Equal(got, []string{"deferred 451 4.4.3", "delivered"}) {
		t.Errorf("got %q", got)
	}
}

// TestRebinding: the address that is connected to is the one that was judged, though the DNS gives another one a moment later.
func TestRebinding(t *testing.T) {
	zone := func(ip string) *resolvetest.Resolver {
		return resolvetest.New(t, map[string][]string{"y.test": {"MX 10 mx.y.test"}, "mx.y.test": {"A " + ip}})
	}
	for _, c := range []struct{ first, then, want, dialed string }{
		{"192.0.2.1", "127.0.0.1", "deferred 451 4.4.1", "192.0.2.1:25"},
		{"192.0.2.1", "10.0.0.1", "deferred 451 4.4.1", "192.0.2.1:25"},
		{"10.0.0.1", "192.0.2.1", "failed 550 5.4.4", ""},
	} {
		for _, plan := range []*message.Plan{{MX: "y.test"}, {Hosts: []string{"mx.y.test:25"}}} {
			network := &remotetest.Net{}
			s := newSender(t, network, Options{Resolver: &resolvetest.Turning{First: zone(c.first), Then: zone(c.then)}})
			job := newJob(t, memory(plain), "u@y.test")
			job.Plan = plan
			got, dialed := s.Send(t.Context(), job), strings.Join(network.Dialed(), " ")
			want := c.want
			if plan.MX == "" && c.dialed == "" {
				want = "deferred 451 4.3.5" // a mistake in the plan is never final
			}
			if briefs(got) != want || dialed != c.dialed {
				t.Errorf("%s, and then %s: %s, want %s; connections to %q, want %q", c.first, c.then, briefs(got), want, dialed, c.dialed)
			}
		}
	}
}
