package resolve

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stagepost/stagepost/core/resolve/dnszone"
)

// pack is a reply packet of a server with a zone.
func pack(tb testing.TB, names map[string][]string, name string, qtype Type) []byte {
	tb.Helper()
	zone, err := dnszone.Parse(names)
	if err != nil {
		tb.Fatal(err)
	}
	m := zone.Answer(new(dns.Msg).SetQuestion(dns.Fqdn(name), uint16(qtype)))
	m.Compress = true
	packet, err := m.Pack()
	if err != nil {
		tb.Fatal(err)
	}
	return packet
}

// rawReply is a reply with one answer record of any bytes, at the question's name.
func rawReply(tb testing.TB, name string, qtype Type, rdlength int, rdata string) []byte {
	tb.Helper()
	m := new(dns.Msg).SetReply(new(dns.Msg).SetQuestion(dns.Fqdn(name), uint16(qtype)))
	packet, err := m.Pack()
	if err != nil {
		tb.Fatal(err)
	}
	binary.BigEndian.PutUint16(packet[6:], 1)
	packet = append(packet, 0xc0, 12) // the question's name
	packet = binary.BigEndian.AppendUint16(packet, uint16(qtype))
	packet = binary.BigEndian.AppendUint16(packet, dns.ClassINET)
	packet = binary.BigEndian.AppendUint32(packet, 60)
	packet = binary.BigEndian.AppendUint16(packet, uint16(rdlength))
	return append(packet, rdata...)
}

func TestDecodeRefusesMalformedRecords(t *testing.T) {
	good := map[Type]string{
		TypeMX: "\x00\x0a\x01a\x00", TypeTLSA: "\x03\x01\x01\x00", TypeA: "\x7f\x00\x00\x01", TypeTXT: "\x01a", TypePTR: "\x01a\x00",
		TypeAAAA: strings.Repeat("\x00", 16), TypeSRV: "\x00\x01\x00\x02\x00\x03\x01a\x00", TypeCAA: "\x00\x05issuex",
		TypeSOA: "\x01a\x00\x01b\x00" + strings.Repeat("\x00\x00\x00\x01", 5), TypeNS: "\x01a\x00", TypeCNAME: "\x01a\x00",
	}
	for qtype, rdata := range good {
		if a, err := Decode(rawReply(t, "x.test", qtype, len(rdata), rdata), "x.test", qtype); err != nil || len(a.Records) != 1 {
			t.Errorf("%s whole: got %v, %v, want one record", qtype, a, err)
		}
		shortest, _ := qtype.shortest()
		for n := range int(shortest) {
			if a, err := Decode(rawReply(t, "x.test", qtype, n, rdata[:n]), "x.test", qtype); !errors.Is(err, Temporary) {
				t.Errorf("%s of %d bytes: got %v, %v, want a temporary error", qtype, n, a, err)
			}
		}
	}
	for name, packet := range map[string][]byte{
		"rdata overrun":          rawReply(t, "x.test", TypeMX, 500, good[TypeMX]),
		"rdata longer than name": rawReply(t, "x.test", TypeMX, 6, good[TypeMX]+"x"),
		"name points at itself":  rawReply(t, "x.test", TypeMX, 4, "\x00\x0a\xc0\x26"),
		"name points forward":    rawReply(t, "x.test", TypeMX, 4, "\x00\x0a\xc0\xff"),
		"text longer than rdata": rawReply(t, "x.test", TypeTXT, 2, "\x09a"),
		"empty":                  {},
		"header only":            rawReply(t, "x.test", TypeMX, 0, "")[:12],
		"answer missing":         rawReply(t, "x.test", TypeMX, 0, "")[:24],
	} {
		if a, err := Decode(packet, "x.test", TypeMX); !errors.Is(err, Temporary) {
			t.Errorf("%s: got %v, %v, want a temporary error", name, a, err)
		}
	}
}

func TestDecodeRefusesOtherQuestions(t *testing.T) {
	packet := pack(t, map[string][]string{"x.test": {"MX 10 a.test"}}, "x.test", TypeMX)
	if _, err := decode(packet, "x.test", TypeMX); err != nil {
		t.Fatal(err)
	}
	if _, err := decode(packet, "y.test", TypeMX); !errors.Is(err, errStray) {
		t.Errorf("other name: got %v", err)
	}
	if _, err := decode(packet, "x.test", TypeA); !errors.Is(err, errStray) {
		t.Errorf("other type: got %v", err)
	}
	packet[2] &^= 0x80
	if _, err := decode(packet, "x.test", TypeMX); !errors.Is(err, errStray) {
		t.Errorf("a query: got %v", err)
	}
}

func TestDecodeUsesOnlyWhatTheQuestionLeadsTo(t *testing.T) {
	m := new(dns.Msg).SetReply(new(dns.Msg).SetQuestion("x.test.", dns.TypeA))
	for _, s := range []string{"x.test. CNAME y.test.", "victim.test. A 192.0.2.66", "y.test. CH A 192.0.2.67", "Y.TEST. A 192.0.2.1"} {
		rr, err := dns.NewRR(s)
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	m.Extra = append(m.Extra, m.Answer[1])
	packet, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	a, err := Decode(packet, "x.test", TypeA)
	if err != nil || len(a.Records) != 1 || a.Records[0].Plain() != "192.0.2.1" || a.Name != "y.test" {
		t.Errorf("got %+v, %v, want the address of y.test alone", a, err)
	}
}

func TestDecodeFollowsAliases(t *testing.T) {
	names := map[string][]string{"loop.test": {"CNAME pool.test"}, "pool.test": {"CNAME loop.test"}}
	for i := range 20 {
		names[fmt.Sprintf("c%d.test", i)] = []string{fmt.Sprintf("CNAME c%d.test", i+1)}
	}
	names["c20.test"] = []string{"A 192.0.2.1"}
	for _, c := range []struct {
		name string
		ok   bool
	}{{"c20.test", true}, {"c12.test", true}, {"c11.test", false}, {"c0.test", false}, {"loop.test", false}} {
		a, err := Decode(pack(t, names, c.name, TypeA), c.name, TypeA)
		if c.ok && (err != nil || a.Name != "c20.test" || len(a.Records) != 1) {
			t.Errorf("%s: got %+v, %v", c.name, a, err)
		}
		if !c.ok && !errors.Is(err, Temporary) {
			t.Errorf("%s: got %+v, %v, want a temporary error", c.name, a, err)
		}
	}
	names["to-nowhere.test"] = []string{"CNAME nowhere.test"}
	if a, err := Decode(pack(t, names, "to-nowhere.test", TypeA), "to-nowhere.test", TypeA); err != nil || a.Status != NoDomain || a.Name != "nowhere.test" {
		t.Errorf("alias of nothing: got %+v, %v, want no such domain", a, err)
	}
	if a, err := Decode(pack(t, names, "c0.test", TypeCNAME), "c0.test", TypeCNAME); err != nil || len(a.Records) != 1 {
		t.Errorf("the alias itself: got %+v, %v", a, err)
	}
}

func TestDecodeCaps(t *testing.T) {
	many := func(n int, format string) (records []string) {
		for i := range n {
			records = append(records, fmt.Sprintf(format, i))
		}
		return records
	}
	for _, c := range []struct {
		name    string
		records []string
		t       Type
		want    int // records; 0 = a temporary error
	}{
		{"1,000 MX", append(many(999, "MX 20 m%d.test"), "MX 10 best.test"), TypeMX, 100},
		{"150 addresses", many(150, "A 192.0.2.%d"), TypeA, 100},
		{"500 TXT", many(500, `TXT "t%d"`), TypeTXT, 500},
		{"501 TXT", many(501, `TXT "t%d"`), TypeTXT, 0},
		{"TXT of 10,000 strings", []string{"TXT" + strings.Repeat(` "x"`, 10000)}, TypeTXT, 1},
		{"TXT of 32 KiB", []string{"TXT" + strings.Repeat(` "`+strings.Repeat("x", 128)+`"`, 256)}, TypeTXT, 1},
		{"TXT of 60 KiB", []string{"TXT" + strings.Repeat(` "`+strings.Repeat("x", 240)+`"`, 256)}, TypeTXT, 0},
	} {
		a, err := Decode(pack(t, map[string][]string{"x.test": c.records}, "x.test", c.t), "x.test", c.t)
		if c.want == 0 && !errors.Is(err, Temporary) || c.want > 0 && err != nil || len(a.Records) != c.want {
			t.Errorf("%s: got %d records, %v, want %d", c.name, len(a.Records), err, c.want)
		}
		if c.t == TypeMX && err == nil && a.Records[0].(MX).Host != "best.test" {
			t.Errorf("%s: the best one was left out", c.name)
		}
	}
}

func TestDecodeTTL(t *testing.T) {
	names := map[string][]string{
		"short.test": {"1 A 192.0.2.1"}, "long.test": {"86400 A 192.0.2.1"}, "plain.test": {"300 A 192.0.2.1", "200 A 192.0.2.2"},
		"alias.test": {"100 CNAME plain.test"},
	}
	for name, want := range map[string]time.Duration{
		"short.test": 5 * time.Second, "long.test": time.Hour, "plain.test": 200 * time.Second, "alias.test": 100 * time.Second,
		"nowhere.test": time.Minute, // of the SOA
	} {
		if a, err := Decode(pack(t, names, name, TypeA), name, TypeA); err != nil || a.TTL != want {
			t.Errorf("%s: got %v, %v, want %v", name, a.TTL, err, want)
		}
	}
	m := new(dns.Msg).SetReply(new(dns.Msg).SetQuestion("x.test.", dns.TypeA))
	for soa, want := range map[string]time.Duration{"": 5 * time.Second, "x. 86400 SOA a. b. 1 2 3 4 86400": 5 * time.Minute, "x. 7 SOA a. b. 1 2 3 4 99": 7 * time.Second} {
		m.Ns = nil
		if rr, _ := dns.NewRR(soa); rr != nil {
			m.Ns = []dns.RR{rr}
		}
		packet, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if a, err := Decode(packet, "x.test", TypeA); err != nil || a.Status != NoData || a.TTL != want {
			t.Errorf("absence with %q: got %v, %v, want %v", soa, a.TTL, err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, known := range types {
		f.Add(rawReply(f, "x.test", known.t, 4, "\x7f\x00\x00\x01"), uint16(known.t))
	}
	f.Add(pack(f, map[string][]string{"x.test": {"CNAME y.test"}, "y.test": {"MX 10 m.test", "MX 20 n.test"}}, "x.test", TypeMX), uint16(TypeMX))
	f.Fuzz(func(t *testing.T, packet []byte, qtype uint16) {
		a, err := Decode(packet, "x.test", Type(qtype))
		if err != nil {
			if !errors.Is(err, Temporary) {
				t.Fatalf("a packet made a lasting error: %v", err)
			}
			return
		}
		if (a.Status == Found) != (len(a.Records) > 0) || len(a.Records) > maxTexts || a.TTL < minTTL || a.TTL > maxTTL {
			t.Fatalf("answer out of bounds: %v, %d records, TTL %v", a.Status, len(a.Records), a.TTL)
		}
		total := 0
		for _, rec := range a.Records {
			total += size(rec)
			if rec.Plain() == nil {
				t.Fatal("a record without a value")
			}
		}
		if total > maxData {
			t.Fatalf("%d bytes of records", total)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	packet := pack(b, map[string][]string{"x.test": {"MX 10 a.test", "MX 20 b.test"}}, "x.test", TypeMX)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(packet, "x.test", TypeMX); err != nil {
			b.Fatal(err)
		}
	}
}
