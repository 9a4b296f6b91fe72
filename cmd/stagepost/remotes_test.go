package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/resolve/dnszone"
)

// The table of remotes: one server as serve starts it, with its store, its queue and a DNS by UDP and TCP, and for each case of
// scripts/faultremote/cases a domain whose servers misbehave so. A message is sent there, and one to a domain without a fault
// while the other hangs, or else with it. Then each is asked for again until the case ends, and what became of every recipient is
// counted.

var (
	writeTable = flag.Bool("table", false, "TestRemotes writes its table into the manual")
	casesLike  = flag.String("cases-like", "", "TestRemotes runs only the cases whose names begin so")
)

const (
	remoteCases = "../../scripts/faultremote/cases"
	wellDomain  = "well.test"
	homeDomain  = "home.test" // of the senders
	attemptsMax = 6
)

// remoteCase is one case and what is made of it.
type remoteCase struct {
	remotetest.Case
	point     string // the file it is from
	domain    string
	remotes   []*remotetest.Remote
	names     []string        // of the exchangers
	addresses map[string]bool // theirs, with ports
	first     []string        // lines of the DNS
	later     []string
	want      wanted
	letter    caseLetter
}

func TestRemotes(t *testing.T) {
	w := newRemoteWorld(t)
	var rows []remoteRow
	for _, c := range w.cases {
		if strings.HasPrefix(c.Name, *casesLike) {
			rows = append(rows, remoteRow{c: c})
		}
	}
	t.Run("cases", func(t *testing.T) {
		for i := range rows {
			t.Run(rows[i].c.Name, func(t *testing.T) {
				t.Parallel()
				w.run(t, &rows[i])
			})
		}
	})
	w.mu.Lock()
	if n := w.asked["["+evilAddress+"]:25"]; n > 0 {
		t.Errorf("%d connections to what only forged answers name", n)
	}
	w.mu.Unlock()
	if *casesLike != "" || t.Failed() {
		t.Log("\n" + formatRows(rows))
		return
	}
	if len(rows) < 60 {
		t.Errorf("%d cases only", len(rows))
	}
	checkTable(t, rows)
}

// remoteWorld is the server and all that is around it.
type remoteWorld struct {
	*outside
	s          *site
	d          *daemon
	dns        *dnszone.Server
	zone       map[string][]string
	spoils     sync.Map // name: kind
	clock      atomic.Int64
	log        *outcomeLog
	cases      []*remoteCase
	well, home *remotetest.Remote
	letters    atomic.Int64
	zoning     sync.Mutex
}

func newRemoteWorld(t *testing.T) *remoteWorld {
	w := &remoteWorld{outside: &outside{t: t, at: map[string]string{}, waiting: map[*dialing]bool{}, asked: map[string]int{}}, log: &outcomeLog{rcpts: map[string]int{}}, zone: map[string][]string{}}
	w.well, w.home = remotetest.New(t), remotetest.New(t)
	w.lead(wellDomain, "mx", netip.MustParseAddr("2001:db8:cafe::1"), w.well.Listen())
	w.lead(homeDomain, "mx", netip.MustParseAddr("2001:db8:cafe::2"), w.home.Listen())
	w.zone[strings.TrimSuffix(evil, ".")] = []string{"AAAA " + evilAddress}
	w.zone["out.test"] = []string{"AAAA 2001:db8:cafe::9"}
	w.zone["localhost"] = []string{"A 127.0.0.1", "AAAA ::1"}
	config := "hostname = \"out.test\"\ndata = \"data\"\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\nrole = \"mx\"\n[queue]\nretry = [\"1h\"]\n" +
		"[plugins]\nenable = [\"relay\", \"route\"]\n[plugin.relay]\nnetworks = [\"127.0.0.0/8\"]\n[plugin.route.domains]\n"
	files, err := filepath.Glob(remoteCases + "/*.case")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no cases", err)
	}
	authority, err := remotetest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		cases, err := remotetest.Parse(string(text), "row", "dns", "later", "down", "unreachable", "send", "want")
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for i := range cases {
			c, err := w.prepare(&cases[i], authority)
			if err != nil {
				t.Fatalf("%s: %s: %v", file, cases[i].Name, err)
			}
			if c.letter.hop != "" {
				config += fmt.Sprintf("%q = %q\n", c.domain, c.letter.hop)
			}
			if c.letter.lmtp {
				config += fmt.Sprintf("%q = \"lmtp:mx1.%s:24\"\n", c.domain, c.domain)
			}
			w.cases = append(w.cases, c)
		}
	}
	if w.dns, err = dnszone.Serve("127.0.0.1:0", nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.dns.Close() })
	w.dns.Spoil(spoiler(func(name string) string {
		kind, _ := w.spoils.Load(name)
		s, _ := kind.(string)
		return s
	}))
	w.publish()
	dead, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dead.Close() })
	resolver, err := resolve.New(resolve.Options{Servers: []string{dead.LocalAddr().String(), w.dns.Addr()}, Timeout: 500 * time.Millisecond,
		Now: func() time.Time { return time.Now().Add(time.Duration(w.clock.Load())) }})
	if err != nil {
		t.Fatal(err)
	}
	w.s = newSite(t, config)
	if w.d, err = startDaemon(t.Context(), w.s.config, daemonOptions{log: slog.New(w.log), console: io.Discard, resolver: resolver, dial: w.dial}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.end()
		if err := w.d.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return w
}

// lead gives a domain one exchanger.
func (w *remoteWorld) lead(domain, host string, at netip.Addr, to string) {
	w.zone[domain] = append(w.zone[domain], "MX 10 "+host+"."+domain+".")
	w.zone[host+"."+domain] = []string{"AAAA " + at.String()}
	w.at[netip.AddrPortFrom(at, 25).String()] = to
}

// prepare starts the servers of a case.
func (w *remoteWorld) prepare(pc *remotetest.Case, authority *remotetest.Authority) (*remoteCase, error) {
	n := len(w.cases) + 1
	c := &remoteCase{Case: *pc, domain: fmt.Sprintf("c%d.test", n), addresses: map[string]bool{}}
	c.point, _, _ = strings.Cut(c.Name, ": ")
	var err error
	if c.want, err = parseWanted(c.Of("want")); err != nil {
		return nil, err
	}
	if c.letter, err = parseLetter(c.Of("send")); err != nil {
		return nil, err
	}
	c.letter.mark = fmt.Sprintf("mark-%d-end", n)
	addresses := map[string]string{}
	host := func(name, to string) {
		i := len(c.names) + 1
		if !slices.Contains(c.names, name) {
			c.names = append(c.names, name)
		}
		at := netip.MustParseAddr(fmt.Sprintf("2001:db8:%d::%d", n, i))
		port := uint16(25)
		if c.letter.lmtp {
			port = 24
		}
		a := netip.AddrPortFrom(at, port).String()
		if addresses[name] = at.String(); to != "refused" {
			w.at[a] = to
		}
		c.addresses[a] = true
	}
	for _, name := range c.Of("down") {
		host(name, "refused")
	}
	for _, name := range c.Of("unreachable") {
		host(name, "")
	}
	for _, h := range c.Hosts {
		r := remotetest.Start(remotetest.Options{Name: h.Name + "." + c.domain, Authority: authority, Drip: time.Millisecond, Buffer: 16 << 10}, h.Scripts...)
		w.t.Cleanup(r.Close)
		to, err := r.ListenAt("127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		c.remotes = append(c.remotes, r)
		host(h.Name, to)
	}
	if six, ok := addresses["mx1"]; ok { // which a recipient's domain or a route may be
		four := netip.AddrFrom4([4]byte{198, 51, 100, byte(n)}).String()
		w.at[four+":25"], c.addresses[four+":25"] = w.at["["+six+"]:25"], true
		literal := strings.NewReplacer("ADDRESS6", six, "ADDRESS4", four)
		for i, to := range c.letter.to {
			c.letter.to[i] = literal.Replace(to)
		}
		c.letter.hop = literal.Replace(c.letter.hop)
	}
	if c.first, c.later = c.Of("dns"), c.Of("later"); len(c.first) == 0 {
		slices.Sort(c.names)
		for i, name := range c.names {
			c.first = append(c.first, fmt.Sprintf("@ MX %d %s.DOMAIN.", 10*(i+1), name))
		}
	}
	for name, at := range addresses {
		w.zone[name+"."+c.domain] = []string{"AAAA " + at}
	}
	w.settle(c, c.first)
	return c, nil
}

// settle puts the lines of a case into the DNS.
func (w *remoteWorld) settle(c *remoteCase, lines []string) {
	for _, line := range lines {
		owner, _, _ := strings.Cut(line, " ")
		delete(w.zone, ownerIn(owner, c.domain))
	}
	at := func() string { return strings.TrimPrefix(w.zone["mx1."+c.domain][0], "AAAA ") }
	for _, line := range lines {
		owner, record, _ := strings.Cut(line, " ")
		if strings.Contains(record, "ADDRESS") {
			record = strings.ReplaceAll(record, "ADDRESS", at())
		}
		name := ownerIn(owner, c.domain)
		record = strings.ReplaceAll(record, "DOMAIN", c.domain)
		if kind, ok := strings.CutPrefix(record, "~"); ok {
			w.spoils.Store(name, kind)
			continue
		}
		var many int
		if _, err := fmt.Sscanf(record, "many %d", &many); err == nil {
			for i := range many {
				w.zone[name] = append(w.zone[name], fmt.Sprintf("MX 10 exchanger-number-%d.%s.", i, c.domain))
			}
			continue
		}
		w.zone[name] = append(w.zone[name], record)
	}
}

func ownerIn(owner, domain string) string {
	if owner == "@" {
		return domain
	}
	return owner + "." + domain
}

func (w *remoteWorld) publish() {
	zone, err := dnszone.Parse(w.zone)
	if err != nil {
		w.t.Fatal(err)
	}
	w.dns.Use(zone)
}

// run sends the message of a case and the one beside it, and sees both through.
func (w *remoteWorld) run(t *testing.T, row *remoteRow) {
	c := row.c
	id := w.deliver(t, &c.letter, c.letter.rcpts(c.domain)...)
	beside := ""
	for n := 1; ; n++ {
		var did []outcomeLine
		var waited time.Duration
		passed := false
		w.within(t, c, "the attempt ends", func() bool {
			if did = w.log.attempt(id, n); did != nil {
				return true
			}
			if c.want.waited == "" { // it ends by itself, though its remote may hang by then, as after QUIT
				return false
			}
			if beside == "" && w.hangs(c) { // the neighbour is there before the time passes
				beside = w.neighbour(t)
				within(t, c.Name+": the mail beside it is delivered", func() bool { return w.log.attempt(beside, 1) != nil })
				passed = w.log.attempt(id, n) != nil
			}
			for _, d := range w.pass(c.addresses, c.remotes) {
				waited = max(waited, d)
			}
			return false
		})
		if row.attempts = append(row.attempts, summary(did, c.domain)); waited > row.waited {
			row.waited = waited
		}
		if passed {
			t.Errorf("%s: the attempt ended before its time was let pass", c.Name)
		}
		for _, o := range did {
			if o.unknown() {
				row.unknown++
			}
		}
		if n >= max(len(c.want.attempts), 1) || n == attemptsMax || !slices.ContainsFunc(did, func(o outcomeLine) bool { return o.result == "deferred" }) {
			break
		}
		w.clock.Add(int64(2 * time.Hour))
		if n == 1 && len(c.later) > 0 {
			w.spoils.Delete(c.domain)
			w.zoning.Lock()
			w.settle(c, c.later)
			w.publish()
			w.zoning.Unlock()
		}
		within(t, c.Name+": it is tried again", func() bool { // the line of an outcome is there a moment before its state
			return w.log.attempt(id, n+1) != nil || w.s.run("queue", "retry", id).code == 0
		})
	}
	if beside == "" {
		beside = w.neighbour(t)
	}
	within(t, c.Name+": the mail beside it is delivered", func() bool { return w.log.attempt(beside, 1) != nil })
	row.beside = w.log.attempt(beside, 1)
	w.account(t, c, id, row)
	row.check(t)
}

func (w *remoteWorld) within(t *testing.T, c *remoteCase, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(faultPatience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			for _, r := range c.remotes {
				for _, conn := range r.Conns() {
					t.Logf("hangs %q, commands %q", conn.Hangs(), conn.Commands())
				}
			}
			t.Fatalf("not so: %s", what)
		}
	}
}

// hangs tells whether the server waits for one of the case's remotes.
func (w *remoteWorld) hangs(c *remoteCase) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for d := range w.waiting {
		if c.addresses[d.address] {
			return true
		}
	}
	return slices.ContainsFunc(c.remotes, func(r *remotetest.Remote) bool { return len(r.Hanging()) > 0 })
}

// neighbour sends a message to the domain without a fault.
func (w *remoteWorld) neighbour(t *testing.T) string {
	return w.deliver(t, &caseLetter{mark: "beside"}, fmt.Sprintf("n%d@%s", w.letters.Add(1), wellDomain))
}

// command runs one of the server's commands.
func (w *remoteWorld) command(t *testing.T, args ...string) string {
	t.Helper()
	r := w.s.run(args...)
	if r.code != 0 {
		t.Errorf("%v: exit code %d: %s", args, r.code, r.err)
	}
	return r.out
}

// account counts what became of each recipient.
func (w *remoteWorld) account(t *testing.T, c *remoteCase, id string, row *remoteRow) {
	last := w.log.last(id)
	for _, rcpt := range c.letter.rcpts(c.domain) {
		copies := 0
		for _, r := range c.remotes {
			for _, m := range r.Seen() {
				for i, to := range m.Rcpts {
					if answer := m.Answers[min(i, len(m.Answers)-1)]; strings.Contains(to, "<"+rcpt+">") && (answer == "" || answer[0] < '4') {
						if copies++; !strings.Contains(string(m.Content), c.letter.mark) {
							t.Errorf("%s: what came is not what was sent:\n%.500q", c.Name, m.Content)
						}
					}
				}
			}
		}
		row.copies += copies
		switch last[rcpt] {
		case "delivered":
			if copies == 0 {
				row.lost++
			}
		case "failed":
			shown := rcpt
			if local, domain, _ := strings.Cut(rcpt, "@"); strings.ContainsFunc(local, func(r rune) bool { return r > '~' }) {
				shown = "@" + domain
			}
			told := func() bool {
				return slices.ContainsFunc(w.home.Messages(), func(m remotetest.Message) bool {
					return strings.Contains(string(m.Content), shown) && strings.Contains(string(m.Content), "Action: failed")
				})
			}
			within(t, c.Name+": the sender of "+rcpt+" is told", told)
		case "deferred":
			if row.kept = true; !strings.Contains(w.command(t, "queue", "show", id), rcpt) {
				row.lost++
			}
		default:
			row.lost++
		}
		row.beyond += max(0, copies-1-row.unknown)
	}
	if row.kept {
		w.command(t, "queue", "delete", id)
	}
}
