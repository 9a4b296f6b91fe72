package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
	"github.com/stagepost/stagepost/core/deliver/tlsrpt"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/resolve/dnszone"
)

// What domains publish of their TLS, as one server as serve starts it sees it: the DNS by UDP, with the AD flag of a resolver on this host, a
// policy host by HTTPS, exchangers that show this or that certificate, all on loopback, under names and addresses of a made-up Internet. What
// comes of each message is looked at from without: at the exchanger, in trace, and in tlsrpt.

// policyStep is one message, and what changed before it.
type policyStep struct {
	change func(*policyDomain)
	server string // what the exchanger does: a kind of certificate, or inClear
	want   string // "verified", "encrypted", "in clear" or "waits"
	trace  string // in the line of its attempt; DOMAIN is the domain
}

// inClear is an exchanger that does not offer STARTTLS.
const inClear = "in clear"

// policyCase is one domain.
type policyCase struct {
	name   string
	domain string // a certain one; empty: one of its own
	to     string // the recipients' domain, where that is another
	steps  []policyStep
	report string // of tlsrpt after all of them
}

// policyDomain is the domain of a case.
type policyDomain struct {
	t       *testing.T
	w       *policyWorld
	name    string
	number  int
	at      string // of its exchanger, as it is dialed
	remotes map[string]*remotetest.Remote
	addr    map[string]string // where they are in truth
}

// policyWorld is the server and all around it.
type policyWorld struct {
	*remoteWorld
	authority *remotetest.Authority
	options   daemonOptions
	hosts     policyHosts
	domains   int
}

// policyHosts is the server of all policies.
type policyHosts struct {
	address      string
	mu           sync.Mutex
	texts        map[string]string // by host
	types        map[string]string // of content; default text/plain
	certificates map[string]*tls.Config
	asked        map[string]int
}

func (h *policyHosts) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked[r.Host]++
	text, ok := h.texts[r.Host]
	if !ok || r.URL.Path != "/.well-known/mta-sts.txt" {
		http.NotFound(rw, r)
		return
	}
	kind := "text/plain"
	if other := h.types[r.Host]; other != "" {
		kind = other
	}
	rw.Header().Set("Content-Type", kind)
	io.WriteString(rw, text)
}

func (h *policyHosts) certificate(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.certificates[hello.ServerName]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("nobody is %s", hello.ServerName)
}

const policyConfig = `hostname = "out.test"
data = "data"

[[listener]]
name = "mx"
address = "127.0.0.1:0"
role = "mx"

[queue]
retry = ["4h"]

[plugins]
folder = "plugins"
enable = ["relay", "route"]

[plugin.relay]
networks = ["127.0.0.0/8"]

[plugin.route.domains]
"routed.test" = "mx.relay.test:25"
"moved.test" = "mx:other.test"

[secrets]
folder = "secrets"

[source.one]
address = ["::1"]
helo = "one.test"
`

func newPolicyWorld(t *testing.T) *policyWorld {
	w := &policyWorld{remoteWorld: &remoteWorld{outside: &outside{t: t, at: map[string]string{}}, log: &outcomeLog{rcpts: map[string]int{}}, zone: map[string][]string{}},
		hosts: policyHosts{texts: map[string]string{}, types: map[string]string{}, certificates: map[string]*tls.Config{}, asked: map[string]int{}}}
	var err error
	if w.authority, err = remotetest.NewAuthority(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.hosts.address = l.Addr().String()
	web := &http.Server{Handler: &w.hosts, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	var serving sync.WaitGroup
	serving.Go(func() { web.Serve(tls.NewListener(l, &tls.Config{GetConfigForClient: w.hosts.certificate})) })
	t.Cleanup(func() {
		web.Close()
		serving.Wait()
	})
	if w.dns, err = dnszone.Serve("127.0.0.1:0", nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.dns.Close() })
	w.publish()
	w.s = newSite(t, policyConfig)
	now := func() time.Time { return time.Now().Add(time.Duration(w.clock.Load())) }
	resolver, err := resolve.New(resolve.Options{Servers: []string{w.dns.Addr()}, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	w.options = daemonOptions{log: slog.New(w.log), console: io.Discard, resolver: resolver, dial: w.connect, roots: w.authority.Pool(), now: now}
	w.start()
	t.Cleanup(w.stop)
	return w
}

func (w *policyWorld) start() {
	var err error
	if w.d, err = startDaemon(context.Background(), w.s.config, w.options); err != nil {
		w.t.Fatal(err)
	}
}

func (w *policyWorld) stop() {
	if err := w.d.Shutdown(context.Background()); err != nil {
		w.t.Error(err)
	}
}

// connect leads to where a made-up address is in truth.
func (w *policyWorld) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	w.mu.Lock()
	to := w.at[addr]
	w.mu.Unlock()
	if to == "" {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	return new(net.Dialer).DialContext(ctx, network, to)
}

// pass lets go what was kept of the DNS, and of fetches that failed. A case never begins in the last hours of a day, whose results stand
// under another one.
func (w *policyWorld) pass(d time.Duration) { w.clock.Add(int64(d)) }

func (w *policyWorld) sameDay() {
	now := w.options.now().UTC()
	if midnight := now.Truncate(24 * time.Hour).Add(24 * time.Hour); midnight.Sub(now) < 3*time.Hour {
		w.pass(midnight.Sub(now) + time.Second)
	}
}

// domain makes one whose only exchanger is mx.NAME.
func (w *policyWorld) domain(t *testing.T, name string) *policyDomain {
	w.domains++
	if name == "" {
		name = fmt.Sprintf("p%d.test", w.domains)
	}
	ip := netip.MustParseAddr(fmt.Sprintf("2001:db8:%x::25", w.domains))
	d := &policyDomain{t: t, w: w, name: name, number: w.domains, at: netip.AddrPortFrom(ip, 25).String(), remotes: map[string]*remotetest.Remote{}, addr: map[string]string{}}
	d.set("", "MX 10 mx."+name+".")
	d.set("mx", "AAAA "+ip.String())
	return d
}

// set puts records at a name within the domain, with a life that ends before the next step.
func (d *policyDomain) set(label string, records ...string) {
	name := d.within(label)
	delete(d.w.zone, name)
	for _, r := range records {
		if !strings.HasPrefix(r, "!") {
			r = "60 " + r
		}
		d.w.zone[name] = append(d.w.zone[name], r)
	}
}

func (d *policyDomain) within(label string) string {
	if label == "" {
		return d.name
	}
	return label + "." + d.name
}

// remote is the exchanger that shows a kind of certificate.
func (d *policyDomain) remote(kind string) *remotetest.Remote {
	d.t.Helper()
	if r := d.remotes[kind]; r != nil {
		return r
	}
	script := remotetest.Script{"EHLO": "250-mx\n250-STARTTLS\n250 8BITMIME", "STARTTLS": "220 2.0.0 go ahead | tls " + kind, "dot": "250 2.0.0 taken | close"}
	if kind == inClear {
		script = remotetest.Script{"EHLO": "250 mx", "dot": "250 2.0.0 taken | close"}
	}
	r := remotetest.Start(remotetest.Options{Name: d.within("mx"), Authority: d.w.authority, Change: func(c *tls.Config) {
		chain := &c.Certificates[0].Certificate
		*chain = append(*chain, d.w.authority.Certificate().Raw) // for those who look for the authority in it
	}}, script)
	d.t.Cleanup(r.Close)
	address, err := r.ListenAt("127.0.0.1:0")
	if err != nil {
		d.t.Fatal(err)
	}
	d.remotes[kind], d.addr[kind] = r, address
	return r
}

// lead makes what follows go to the exchanger of a kind.
func (d *policyDomain) lead(kind string) *remotetest.Remote {
	r := d.remote(kind)
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	d.w.at[d.at] = d.addr[kind]
	return r
}

// policy publishes one at the domain, or at a name within it: an id in the DNS, and what the policy host serves.
func (d *policyDomain) policyAt(label, id, mode string, mx ...string) {
	d.t.Helper()
	name := d.within(label)
	host := "mta-sts." + name
	text := "version: STSv1\r\nmode: " + mode + "\r\nmax_age: 604800\r\n"
	for _, m := range mx {
		text += "mx: " + m + "\r\n"
	}
	d.showAt(host, "")
	d.w.hosts.mu.Lock()
	d.w.hosts.texts[host] = text
	d.w.hosts.mu.Unlock()
	join := func(first string) string { return strings.TrimSuffix(first+"."+label, ".") }
	if id != "" {
		d.set(join("_mta-sts"), `TXT "v=STSv1; id=`+id+`;"`)
	}
	ip := fmt.Sprintf("2001:db8:%x:1::%x", d.number, 0x80+len(label))
	d.set(join("mta-sts"), "AAAA "+ip)
	d.w.mu.Lock()
	d.w.at["["+ip+"]:443"] = d.w.hosts.address
	d.w.mu.Unlock()
}

func (d *policyDomain) policy(id, mode string, mx ...string) { d.policyAt("", id, mode, mx...) }

// enforced publishes a policy that names the exchanger.
func (d *policyDomain) enforced() { d.policy("1", "enforce", d.within("mx")) }

// showAt makes a policy host show a kind of certificate.
func (d *policyDomain) showAt(host, kind string) {
	c, err := d.w.authority.Config(kind, host)
	if err != nil {
		d.t.Fatal(err)
	}
	d.w.hosts.mu.Lock()
	defer d.w.hosts.mu.Unlock()
	d.w.hosts.certificates[host] = c
}

// down ends the policy host.
func (d *policyDomain) down() {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	maps.DeleteFunc(d.w.at, func(addr, _ string) bool {
		return strings.HasPrefix(addr, fmt.Sprintf("[2001:db8:%x:1:", d.number))
	})
}

// signed makes DNSSEC vouch for the domain, with TLSA records.
func (d *policyDomain) signed(tlsa ...string) {
	for _, name := range []string{d.name, d.within("mx")} {
		d.w.zone[name] = append(d.w.zone[name], "!secure")
	}
	d.set("_25._tcp.mx", append([]string{"!secure"}, tlsa...)...)
}

// tlsa pins the certificate of a kind, or its authority's.
func (d *policyDomain) tlsa(usage, selector int, kind string) string {
	d.t.Helper()
	c, err := d.remote(kind).Certificate(kind)
	if err != nil {
		d.t.Fatal(err)
	}
	if usage == 2 {
		c = d.w.authority.Certificate()
	}
	data := c.Raw
	if selector == 1 {
		data = c.RawSubjectPublicKeyInfo
	}
	return fmt.Sprintf("TLSA %d %d 1 %x", usage, selector, sha256.Sum256(data))
}

// play sends one message and sees what comes of it.
func (d *policyDomain) play(to string, s *policyStep) {
	d.t.Helper()
	w := d.w
	w.pass(11 * time.Minute)
	remote := d.lead(s.server)
	before, conns := len(remote.Messages()), len(remote.Conns())
	if s.change != nil {
		s.change(d)
	}
	w.publish()
	within(d.t, "the store takes mail", func() bool { return w.d.health() == nil }) // to a write under way the time that was let pass is a stall
	id := w.deliver(d.t, &caseLetter{mark: "policy"}, "u@"+to)
	within(d.t, "the attempt ends", func() bool { return w.log.attempt(id, 1) != nil })
	result := w.log.attempt(id, 1)[0].result
	got := "waits"
	if result == "delivered" {
		got = "nothing came"
		if all := remote.Conns(); len(remote.Messages()) == before+1 {
			if got = "encrypted"; all[len(all)-1].TLS() == nil {
				got = inClear
			}
		}
	} else if result != "deferred" || len(remote.Messages()) != before {
		got = result
	}
	want := strings.ReplaceAll(s.trace, "DOMAIN", d.name)
	trace := ""
	defer func() {
		if d.t.Failed() {
			d.t.Logf("trace has:\n%s", trace)
		}
	}()
	within(d.t, "trace has "+want, func() bool { // it is written behind what is logged
		trace = w.command(d.t, "trace", id)
		return strings.Contains(trace, want)
	})
	if got == "encrypted" && (strings.Contains(trace, ", verified, ") || strings.Contains(trace, ", DANE-")) {
		got = "verified"
	}
	if got != s.want {
		d.t.Errorf("%s, want %s", got, s.want)
	}
	for _, c := range remote.Conns()[conns:] {
		said := slices.ContainsFunc(c.Commands(), func(line string) bool { return strings.HasPrefix(line, "MAIL") })
		if c.TLS() == nil && said && s.want != inClear {
			d.t.Errorf("MAIL was said in clear: %q", c.Commands())
		}
	}
	if got == "waits" { // its state is there a moment after its outcome
		within(d.t, "it is deleted", func() bool { return w.s.run("queue", "delete", id).code == 0 })
	}
}

// report is what tlsrpt says of a domain, each policy as "TYPE PROTECTED/FAILED, COUNT RESULT ...".
func (w *policyWorld) report(t *testing.T, domain string) string {
	t.Helper()
	var all []string
	for line := range strings.Lines(w.command(t, "tlsrpt", domain, "--json")) {
		var s tlsrpt.Summary
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		text := fmt.Sprintf("%s %d/%d", s.Policy.Type, s.Summary.Success, s.Summary.Failure)
		for _, d := range s.Details {
			text += fmt.Sprintf(", %d %s", d.Count, d.Result)
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}
