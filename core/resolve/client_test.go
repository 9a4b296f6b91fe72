package resolve

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/resolve/dnszone"
)

// clock is moved by hand.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Unix(1_800_000_000, 0)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func zone(tb testing.TB, names map[string][]string) *dnszone.Zone {
	tb.Helper()
	z, err := dnszone.Parse(names)
	if err != nil {
		tb.Fatal(err)
	}
	return z
}

func serve(tb testing.TB, names map[string][]string) *dnszone.Server {
	tb.Helper()
	s, err := dnszone.Serve("127.0.0.1:0", zone(tb, names))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	return s
}

func client(tb testing.TB, o Options) *Client {
	tb.Helper()
	c, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// raw is a UDP server that sends the packets that reply returns.
func raw(tb testing.TB, reply func(query []byte) [][]byte) string {
	tb.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			for _, p := range reply(slices.Clone(buf[:n])) {
				pc.WriteTo(p, from)
			}
		}
	})
	tb.Cleanup(func() {
		pc.Close()
		done.Wait()
	})
	return pc.LocalAddr().String()
}

// withID is a copy of a packet with the id of a query, or one beside it.
func withID(packet, query []byte, off uint16) []byte {
	p := slices.Clone(packet)
	binary.BigEndian.PutUint16(p, binary.BigEndian.Uint16(query)+off)
	return p
}

func TestClientTellsOutcomesApart(t *testing.T) {
	records := []string{"A 192.0.2.1", "AAAA 2001:db8::1", "MX 10 m.test", "TXT x", "TLSA 3 1 1 00"}
	s := serve(t, map[string][]string{
		"all.test": records, "none.test": {"NS n.test"},
		"down.test": {"!servfail"}, "refused.test": {"!refused"}, "silent.test": {"!silent"},
	})
	c := client(t, Options{Servers: []string{s.Addr()}, Timeout: 250 * time.Millisecond})
	var all sync.WaitGroup
	for _, qtype := range []Type{TypeA, TypeAAAA, TypeMX, TypeTXT, TypeTLSA} {
		all.Go(func() {
			for name, want := range map[string]Status{"all.test": Found, "none.test": NoData, "nowhere.test": NoDomain} {
				if a, err := c.Lookup(t.Context(), name, qtype); err != nil || a.Status != want || (want == Found) != (len(a.Records) == 1) {
					t.Errorf("%s %s: got %+v, %v, want %v", name, qtype, a, err, want)
				}
			}
			for name, want := range map[string]string{"down.test": "SERVFAIL", "refused.test": "REFUSED", "silent.test": "no answer in 250ms"} {
				_, err := c.Lookup(t.Context(), name, qtype)
				if !errors.Is(err, Temporary) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), s.Addr()) {
					t.Errorf("%s %s: got %v, want a temporary error with %q and the server", name, qtype, err, want)
				}
			}
		})
	}
	all.Wait()
}

func TestClientDoesNotAskForWhatCannotBe(t *testing.T) {
	s := serve(t, nil)
	c := client(t, Options{Servers: []string{s.Addr()}})
	for _, name := range []string{"", "a..b", "a\tb.test", "k\x00.test", strings.Repeat("a", 64) + ".test"} {
		if a, err := c.Lookup(t.Context(), name, TypeTXT); err != nil || a.Status != NoDomain {
			t.Errorf("%q: got %+v, %v, want no such domain", name, a, err)
		}
	}
	if _, err := c.Lookup(t.Context(), "x.test", Type(255)); !errors.Is(err, Temporary) {
		t.Errorf("ANY: got %v, want an error", err)
	}
	if n := s.Queries(); n != 0 {
		t.Errorf("%d questions were sent", n)
	}
}

func TestClientAsksOddNames(t *testing.T) {
	s := serve(t, map[string][]string{`a\\b.test`: {"TXT backslash"}, `x\@y.test`: {"TXT at"}})
	c := client(t, Options{Servers: []string{s.Addr()}})
	for name, want := range map[string]string{`a\b.test`: "backslash", "x@y.test": "at"} {
		if got, err := LookupTXT(t.Context(), c, name); err != nil || !slices.Equal(got, []string{want}) {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
}

func TestClientTakesTCPWhenCut(t *testing.T) {
	var mx []string
	for i := range 200 {
		mx = append(mx, fmt.Sprintf("MX %d host-with-a-long-name-%d.example-%d.test", i, i, i))
	}
	s := serve(t, map[string][]string{"big.test": mx})
	c := client(t, Options{Servers: []string{s.Addr()}})
	a, err := c.Lookup(t.Context(), "big.test", TypeMX)
	if err != nil || len(a.Records) != maxRecords {
		t.Fatalf("got %d records, %v, want %d", len(a.Records), err, maxRecords)
	}
	if n := s.Queries(); n != 2 {
		t.Errorf("%d questions, want one by UDP and one by TCP", n)
	}
}

func TestClientRefusesCutReplyOverTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			var head [2]byte
			io.ReadFull(conn, head[:])
			query := make([]byte, binary.BigEndian.Uint16(head[:]))
			io.ReadFull(conn, query)
			query[2] |= 0x82 // a reply, cut
			conn.Write(append(head[:], query...))
			conn.Close()
		}
	}()
	c := client(t, Options{Servers: []string{"127.0.0.1:1"}, Timeout: time.Second})
	if r, err := c.exchange(t.Context(), "tcp", l.Addr().String(), "x.test", TypeA); err == nil || !strings.Contains(err.Error(), "cut") {
		t.Errorf("got %+v, %v, want an error", r, err)
	}
}

func TestClientIgnoresForgedReplies(t *testing.T) {
	good := pack(t, map[string][]string{"x.test": {"A 192.0.2.1"}}, "x.test", TypeA)
	forged := pack(t, map[string][]string{"x.test": {"A 192.0.2.66"}}, "x.test", TypeA)
	other := pack(t, map[string][]string{"y.test": {"A 192.0.2.66"}}, "y.test", TypeA)
	addr := raw(t, func(query []byte) [][]byte {
		return [][]byte{{}, []byte("short"), withID(forged, query, 1), withID(other, query, 0), query, withID(good, query, 0)}
	})
	c := client(t, Options{Servers: []string{addr}})
	a, err := c.Lookup(t.Context(), "x.test", TypeA)
	if err != nil || len(a.Records) != 1 || a.Records[0].Plain() != "192.0.2.1" {
		t.Errorf("got %+v, %v, want the true answer", a, err)
	}

	onlyForged := raw(t, func(query []byte) [][]byte { return [][]byte{withID(forged, query, 1)} })
	c = client(t, Options{Servers: []string{onlyForged}, Timeout: 30 * time.Millisecond})
	if a, err := c.Lookup(t.Context(), "x.test", TypeA); !errors.Is(err, Temporary) {
		t.Errorf("forged only: got %+v, %v, want a temporary error", a, err)
	}
}

// A reply with all that is right but where it comes from is none.
func TestClientIgnoresRepliesFromElsewhere(t *testing.T) {
	elsewhere, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	good := pack(t, map[string][]string{"x.test": {"A 192.0.2.1"}}, "x.test", TypeA)
	forged := pack(t, map[string][]string{"x.test": {"A 192.0.2.66"}}, "x.test", TypeA)
	go func() {
		buf := make([]byte, 4096)
		n, from, err := server.ReadFrom(buf)
		if err != nil {
			return
		}
		elsewhere.WriteTo(withID(forged, buf[:n], 0), from)
		server.WriteTo(withID(good, buf[:n], 0), from)
	}()
	c := client(t, Options{Servers: []string{server.LocalAddr().String()}})
	if a, err := c.Lookup(t.Context(), "x.test", TypeA); err != nil || len(a.Records) != 1 || a.Records[0].Plain() != "192.0.2.1" {
		t.Errorf("got %+v, %v, want the true answer", a, err)
	}
}

// Ids and ports are not those of the question before, nor next to them: who forges replies has to guess both.
func TestClientIsHardToGuess(t *testing.T) {
	var mu sync.Mutex
	ids, ports := map[uint16]bool{}, map[string]bool{}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			mu.Lock()
			ids[binary.BigEndian.Uint16(buf)], ports[from.String()] = true, true
			mu.Unlock()
			name := fmt.Sprintf("%s.test", buf[13:13+buf[12]])
			pc.WriteTo(withID(rawReply(t, name, TypeA, 4, "\xc0\x00\x02\x01"), buf[:n], 0), from)
		}
	})
	c := client(t, Options{Servers: []string{pc.LocalAddr().String()}})
	const questions = 50
	for i := range questions {
		if _, err := c.Lookup(t.Context(), fmt.Sprintf("n%d.test", i), TypeA); err != nil {
			t.Fatal(err)
		}
	}
	pc.Close()
	done.Wait()
	if len(ids) < questions*9/10 || len(ports) < questions/2 {
		t.Errorf("%d questions had %d ids and %d ports", questions, len(ids), len(ports))
	}
}

func TestClientTakesMalformedForFailure(t *testing.T) {
	bad := rawReply(t, "x.test", TypeTLSA, 3, "\x03\x01\x01")
	asked := atomic.Int32{}
	addr := raw(t, func(query []byte) [][]byte {
		asked.Add(1)
		return [][]byte{withID(bad, query, 0)}
	})
	c := client(t, Options{Servers: []string{addr}})
	if a, err := c.Lookup(t.Context(), "x.test", TypeTLSA); !errors.Is(err, Temporary) || !strings.Contains(err.Error(), "malformed") {
		t.Errorf("got %+v, %v, want a temporary error", a, err)
	}
	if n := asked.Load(); n != rounds {
		t.Errorf("asked %d times, want %d", n, rounds)
	}
}

func TestClientFollowsDanglingAliases(t *testing.T) {
	// A server that gives aliases without their targets, as an authoritative one may: x -> y -> an address, and a loop of a and b.
	target := map[byte]byte{'x': 'y', 'a': 'b', 'b': 'a'}
	addr := raw(t, func(query []byte) [][]byte {
		name := query[13]
		if to, ok := target[name]; ok {
			p := rawReply(t, string(rune(name))+".test", TypeA, 4, "\x01"+string(rune(to))+"\xc0\x0e") // the rest of the question's name
			binary.BigEndian.PutUint16(p[len(p)-14:], uint16(TypeCNAME))
			return [][]byte{withID(p, query, 0)}
		}
		return [][]byte{withID(rawReply(t, string(rune(name))+".test", TypeA, 4, "\xc0\x00\x02\x01"), query, 0)}
	})
	c := client(t, Options{Servers: []string{addr}, Timeout: time.Second})
	a, err := c.Lookup(t.Context(), "x.test", TypeA)
	if err != nil || a.Status != Found || a.Name != "y.test" || len(a.Records) != 1 {
		t.Errorf("got %+v, %v, want the address of y.test", a, err)
	}
	if a, err := c.Lookup(t.Context(), "a.test", TypeA); !errors.Is(err, Temporary) || !strings.Contains(err.Error(), "loop") {
		t.Errorf("loop: got %+v, %v, want a temporary error", a, err)
	}
}

func TestClientGoesRoundServers(t *testing.T) {
	dead := raw(t, func([]byte) [][]byte { return nil })
	failing := serve(t, map[string][]string{"x.test": {"!servfail"}, "y.test": {"!servfail"}})
	good := serve(t, map[string][]string{"x.test": {"A 192.0.2.1"}, "y.test": {"A 192.0.2.2"}})
	c := client(t, Options{Servers: []string{dead, failing.Addr(), good.Addr()}, Timeout: 250 * time.Millisecond})
	for range 2 {
		for _, name := range []string{"x.test", "y.test"} {
			if a, err := c.Lookup(t.Context(), name, TypeA); err != nil || a.Status != Found {
				t.Errorf("%s: got %+v, %v", name, a, err)
			}
		}
	}
	if failing.Queries() != 1 || good.Queries() != 2 {
		t.Errorf("failing server asked %d times and good one %d times, want 1 and 2: the one that answered is asked first", failing.Queries(), good.Queries())
	}
}

func TestClientRecoversAfterOutage(t *testing.T) {
	clk := newClock()
	s := serve(t, map[string][]string{"x.test": {"!servfail"}})
	c := client(t, Options{Servers: []string{s.Addr()}, Now: clk.now})
	lookup := func() error {
		_, err := LookupMX(t.Context(), c, "x.test", nil)
		return err
	}
	if err := lookup(); !errors.Is(err, Temporary) {
		t.Fatalf("got %v, want a temporary error", err)
	}
	asked := s.Queries()
	if err := lookup(); !errors.Is(err, Temporary) || s.Queries() != asked {
		t.Errorf("a failure is kept for 5 s: got %v, %d more questions", err, s.Queries()-asked)
	}
	s.Use(zone(t, map[string][]string{"x.test": {"MX 10 m.test"}}))
	clk.add(minTTL)
	if err := lookup(); err != nil {
		t.Errorf("after the outage: got %v", err)
	}
}

func TestClientBelievesADOfThisHostOnly(t *testing.T) {
	s := serve(t, map[string][]string{"s.test": {"!secure", "A 192.0.2.1"}, "x.test": {"A 192.0.2.1"}})
	c := client(t, Options{Servers: []string{s.Addr()}})
	for name, want := range map[string]bool{"s.test": true, "x.test": false} {
		if a, err := c.Lookup(t.Context(), name, TypeA); err != nil || a.Authenticated != want {
			t.Errorf("%s: got %v, %v, want %v", name, a.Authenticated, err, want)
		}
	}
	c = client(t, Options{Servers: []string{s.Addr()}, Cache: 1})
	c.trustAD = false // as with a server that is not on this host
	if a, err := c.Lookup(t.Context(), "s.test", TypeA); err != nil || a.Status != Found || a.Authenticated {
		t.Errorf("of a server that is not believed: got %+v, %v", a, err)
	}
	for _, o := range []struct {
		Options
		want bool
	}{
		{Options{Servers: []string{"127.0.0.1", "::1"}}, true},
		{Options{Servers: []string{"127.0.0.1", "192.0.2.53"}}, false},
		{Options{Servers: []string{"192.0.2.53"}, TrustAD: true}, true},
	} {
		if c := client(t, o.Options); c.trustAD != o.want {
			t.Errorf("%v, TrustAD %v: got %v, want %v", o.Servers, o.TrustAD, c.trustAD, o.want)
		}
	}
}

func TestClientCanceledCallerLeaves(t *testing.T) {
	asked := make(chan struct{}, 10)
	addr := raw(t, func([]byte) [][]byte { asked <- struct{}{}; return nil })
	c := client(t, Options{Servers: []string{addr}, Timeout: 250 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if _, err := c.Lookup(ctx, "x.test", TypeA); !errors.Is(err, Temporary) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want a temporary error because it was canceled", err)
	}
}

func TestServersAreChecked(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1": "127.0.0.1:53", "127.0.0.1:5353": "127.0.0.1:5353", "::1": "[::1]:53", "[::1]": "[::1]:53", "[::1]:54": "[::1]:54",
		"fe80::1%eth0": "[fe80::1%eth0]:53",
		"localhost":    "", "127.0.0.1:0": "", "": "", "127.0.0.1:dns": "",
	} {
		got, err := parseServer(in)
		if want == "" && err == nil || want != "" && (err != nil || got.String() != want) {
			t.Errorf("%q: got %v, %v, want %q", in, got, err, want)
		}
	}
	if _, err := New(Options{Servers: []string{"dns.test"}}); err == nil || !strings.Contains(err.Error(), "[resolver] servers") {
		t.Errorf("got %v, want an error that names the setting", err)
	}
	if _, err := New(Options{Servers: slices.Repeat([]string{"127.0.0.1"}, maxServers+1)}); err == nil {
		t.Error("too many servers are taken")
	}
}

func TestSystemServers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	for text, want := range map[string]string{
		"":                                 "127.0.0.1",
		"nameserver 192.0.2.1":             "192.0.2.1",
		"# nameserver 192.0.2.9\nsearch a": "127.0.0.1",
		"domain a\nnameserver\t192.0.2.1\r\nnameserver ::1 # x\nnameserver name\nnameserver\n": "192.0.2.1 ::1",
		strings.Repeat("nameserver 192.0.2.1\n", 20):                                           strings.TrimSpace(strings.Repeat("192.0.2.1 ", maxServers)),
		strings.Repeat("#", 70<<10) + "\nnameserver 192.0.2.1":                                 "127.0.0.1",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := systemServers(file); err != nil || strings.Join(got, " ") != want {
			t.Errorf("%.40q: got %q, %v, want %q", text, got, err, want)
		}
	}
	if _, err := systemServers(file + ".missing"); err == nil || !strings.Contains(err.Error(), "set [resolver] servers") {
		t.Errorf("no file: got %v, want an error that says what to set", err)
	}
}

func BenchmarkClientCached(b *testing.B) {
	s := serve(b, map[string][]string{"x.test": {"MX 10 m.test"}})
	c := client(b, Options{Servers: []string{s.Addr()}})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Lookup(b.Context(), "x.test", TypeMX); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkClientAsked(b *testing.B) {
	s := serve(b, nil)
	c := client(b, Options{Servers: []string{s.Addr()}, Cache: 1})
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		if _, err := c.Lookup(b.Context(), fmt.Sprintf("n%d.test", n), TypeMX); err != nil {
			b.Fatal(err)
		}
	}
}
