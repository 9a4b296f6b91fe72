package message

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/stagepost/stagepost/core/smtp"
)

func address(text string) smtp.Address {
	local, domain := splitAddress(text)
	return smtp.Address{Text: text, Local: local, Domain: domain}
}

// plainEnvelope is what most mail is.
func plainEnvelope() *Envelope {
	return &Envelope{
		ID: ID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10},
		Session: &Session{
			ID: "01hx3mkq7c9v", Role: RoleMX, Listener: "mx", Origin: "smtp", IP: netip.MustParseAddr("192.0.2.7"),
			LocalIP: netip.MustParseAddr("192.0.2.1"), Port: 40321, LocalPort: 25, Helo: "mail.example.org", ESMTP: true,
		},
		Sender:     address("sender@example.org"),
		Params:     []smtp.Param{{Key: "SIZE", Value: "4321"}, {Key: "BODY", Value: "8BITMIME"}},
		Rcpts:      []*Rcpt{{Address: address("user@example.net"), Original: address("user@example.net"), Class: ClassRelay, By: "relay"}},
		Arrived:    time.UnixMicro(1_700_000_000_123_456).UTC(),
		Generation: 3,
		Size:       4500,
		Prefix:     []byte("Received: from mail.example.org ([192.0.2.7]) by mx1.example.net with ESMTP id 0; Tue, 14 Nov 2023 22:13:20 +0000\r\n"),
	}
}

func fullEnvelope(t testing.TB) *Envelope {
	e := plainEnvelope()
	set := func(f *Facts, name string, v any) {
		if err := f.Set(name, v); err != nil {
			t.Fatal(err)
		}
	}
	set(&e.Facts, "spf.mail", "pass")
	set(&e.Facts, "spam.score", 1.0)
	set(&e.Facts, "spam.hits", int64(1))
	set(&e.Facts, "p.raw", []byte{0, 0xff})
	set(&e.Facts, "p.not-utf8", "a\xff")
	set(&e.Facts, "p.nil", nil)
	set(&e.Facts, "p.tree", map[string]any{"a": []any{int64(-1), false, map[string]any{}}, "b": []any{}})
	e.Tenant, e.Priority, e.Hold, e.Skip = "acme", -9, "a plugin wants it seen", 777
	e.NotBefore, e.Expires = time.Unix(0, 0).UTC(), time.Unix(-1, 0).UTC()
	e.Session.User, e.Session.Groups, e.Session.Early, e.Session.Errors = "u", []string{"a", ""}, true, 3
	e.Session.IP = netip.MustParseAddr("fe80::1%eth0")
	e.Injected = &Injected{By: "digest", Depth: 3, Key: "2026-03-01"}
	long := &Rcpt{
		Address:  smtp.Address{Text: `"a b"@` + strings.Repeat("x", 200) + ".Example", Local: "a b", Domain: strings.Repeat("x", 200) + ".example"},
		Original: address("list@example.net"),
		Params:   []smtp.Param{{Key: "NOTIFY", Value: "NEVER"}, {Key: "FLAG"}},
		Class:    ClassLocal,
		Hold:     "refused by p",
		Prefix:   []byte("X-Own: 1\r\n"),
	}
	set(&long.Facts, "alias.of", "list")
	e.Rcpts = append(e.Rcpts, long, &Rcpt{Address: address("no-original@example.net")}, &Rcpt{})
	return e
}

func roundTrip(t *testing.T, e *Envelope) *Envelope {
	t.Helper()
	b, err := e.AppendRecord(nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	again, err := got.AppendRecord(nil)
	if err != nil || !bytes.Equal(again, b) {
		t.Fatalf("encoded once more it is another record (%v):\n%x\n%x", err, b, again)
	}
	return got
}

// sameEnvelope compares facts by name, since their order in memory means nothing.
func sameEnvelope(a, b *Envelope) bool {
	facts := func(e *Envelope) (out []any) {
		out = append(out, e.Facts.All(), e.Facts.Bytes())
		for _, r := range e.Rcpts {
			out = append(out, r.Facts.All(), r.Facts.Bytes())
		}
		return out
	}
	bare := func(e *Envelope) Envelope {
		c := *e
		c.Facts, c.Rcpts = Facts{}, nil
		for _, r := range e.Rcpts {
			q := *r
			q.Facts = Facts{}
			c.Rcpts = append(c.Rcpts, &q)
		}
		return c
	}
	return fmt.Sprintf("%#v", facts(a)) == fmt.Sprintf("%#v", facts(b)) && reflect.DeepEqual(bare(a), bare(b))
}

func TestRecordRoundTrip(t *testing.T) {
	for name, e := range map[string]*Envelope{"empty": {}, "parcel": {Injected: &Injected{By: "a", Depth: 1, Key: "k", Via: "a"}}, "plain": plainEnvelope(), "full": fullEnvelope(t)} {
		if got := roundTrip(t, e); !sameEnvelope(e, got) {
			t.Errorf("%s:\n%+v\ncame back as\n%+v", name, e, got)
		}
	}
}

func TestRecordKeepsTypesOfFacts(t *testing.T) {
	got := roundTrip(t, fullEnvelope(t))
	for name, want := range map[string]any{"spam.score": 1.0, "spam.hits": int64(1), "p.nil": nil, "p.not-utf8": "a\xff"} {
		if v, ok := got.Facts.Get(name); !ok || v != want {
			t.Errorf("%s is %T %v, want %T %v", name, v, v, want, want)
		}
	}
}

func TestRecordLeavesOutWhatIsNotStored(t *testing.T) {
	e := plainEnvelope()
	e.Session.History = []Note{{Stage: "rcpt"}}
	e.Session.Facts.Set("p.k", true)
	e.Plan = &Plan{MX: "x.example"}
	if got := roundTrip(t, e); !sameEnvelope(plainEnvelope(), got) {
		t.Errorf("stored was %+v", got)
	}
}

func TestRecordOfRandomEnvelopes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	text := func() string {
		b := make([]byte, rng.IntN(3)*rng.IntN(90))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return string(b)
	}
	addr := func() smtp.Address {
		if rng.IntN(2) == 0 {
			return address(text())
		}
		return smtp.Address{Text: text(), Local: text(), Domain: text()}
	}
	params := func() (p []smtp.Param) {
		for range rng.IntN(3) {
			p = append(p, smtp.Param{Key: text(), Value: text()})
		}
		return p
	}
	for range 2000 {
		e := &Envelope{Sender: addr(), Params: params(), Tenant: text(), Priority: int8(rng.Uint32()), Hold: text(),
			Generation: rng.Uint64(), Size: rng.Int64(), Skip: rng.Int64()}
		for range rng.IntN(4) {
			r := &Rcpt{Address: addr(), Original: addr(), Params: params(), Class: Class(text()), By: text()}
			r.Facts.Set(text(), text())
			e.Rcpts = append(e.Rcpts, r)
			e.Facts.Set(text(), rng.Int64()-rng.Int64())
		}
		if rng.IntN(2) == 0 {
			e.Session = &Session{ID: text(), Helo: text(), Port: uint16(rng.Uint32())}
			e.Arrived = time.UnixMicro(rng.Int64N(1<<52) - 1<<51).UTC()
		}
		if p := text(); p != "" {
			e.Prefix = []byte(p)
		}
		if got := roundTrip(t, e); !sameEnvelope(e, got) {
			t.Fatalf("%#v\ncame back as\n%#v", e, got)
		}
	}
}

func TestDecodeRecordSkipsUnknownFields(t *testing.T) {
	b, _ := fullEnvelope(t).AppendRecord(nil)
	b = protowire.AppendString(protowire.AppendTag(b, 900, protowire.BytesType), "of a newer version")
	b = protowire.AppendVarint(protowire.AppendTag(b, 901, protowire.VarintType), 7)
	b = protowire.AppendFixed32(protowire.AppendTag(b, 1, protowire.Fixed32Type), 7)
	got, err := DecodeRecord(b)
	if err != nil || !sameEnvelope(fullEnvelope(t), got) {
		t.Errorf("%v: %+v", err, got)
	}
}

// A server of before must not deliver what is held, so it must not read the record; all other records it can.
func TestRecordVersions(t *testing.T) {
	old, _ := plainEnvelope().AppendRecord(nil)
	own, _ := fullEnvelope(t).AppendRecord(nil)
	e := plainEnvelope()
	e.Injected = &Injected{By: "archive", Depth: 1, Via: "archive"}
	parcel, _ := e.AppendRecord(nil)
	e.Injected.Via = ""
	mail, _ := e.AppendRecord(nil)
	if old[0] != 1 || own[0] != 2 || parcel[0] != 2 || mail[0] != 1 {
		t.Errorf("versions are %d, %d, %d of a parcel and %d of mail of a plugin", old[0], own[0], parcel[0], mail[0])
	}
}

func TestDecodeRecordRefusesGarbage(t *testing.T) {
	whole, _ := fullEnvelope(t).AppendRecord(nil)
	for name, b := range map[string][]byte{
		"nothing":          nil,
		"another version":  append([]byte{recordOwn + 1}, whole[1:]...),
		"half an id":       {recordVersion, 1<<3 | 2, 5, 1, 2, 3, 4, 5},
		"priority of 1000": appendSigned([]byte{recordVersion}, envPriority, 1000),
		"negative size":    appendSigned([]byte{recordVersion}, envSize, -1),
		"port of 70000":    appendMessage([]byte{recordVersion}, envSession, &struct{}{}, func(b []byte, _ *struct{}) []byte { return appendUint(b, sessPort, 70000) }),
		"an IP of 3 bytes": appendMessage([]byte{recordVersion}, envSession, &struct{}{}, func(b []byte, _ *struct{}) []byte { return appendString(b, sessIP, "abc") }),
		"facts no map":     appendString([]byte{recordVersion}, envFacts, "\x01"),
		"facts twice":      appendString([]byte{recordVersion}, envFacts, "\xa2\x61k\x01\x61k\x02"),
		"fact with a tag":  appendString([]byte{recordVersion}, envFacts, "\xa1\x61k\xc1\x01"),
		"fact too large":   appendString([]byte{recordVersion}, envFacts, "\xa1\x61k\x1b\xff\xff\xff\xff\xff\xff\xff\xff"),
	} {
		if _, err := DecodeRecord(b); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cut := 0
	for n := range whole {
		if _, err := DecodeRecord(whole[:n]); err != nil {
			cut++
		}
	}
	if cut < len(whole)*9/10 {
		t.Errorf("only %d of %d cuts are seen", cut, len(whole))
	}
}

func TestAppendRecordRefusesTooManyRecipients(t *testing.T) {
	e := &Envelope{Rcpts: make([]*Rcpt, maxRcpts+1)}
	if _, err := e.AppendRecord(nil); err == nil {
		t.Error("65537 recipients were taken")
	}
}

// FuzzDecodeRecord checks that no bytes make decoding panic, and that what it takes is stored and read again as the same.
func FuzzDecodeRecord(f *testing.F) {
	for _, e := range []*Envelope{{}, plainEnvelope(), fullEnvelope(f)} {
		b, _ := e.AppendRecord(nil)
		f.Add(b)
	}
	f.Add([]byte{recordVersion, 0x32, 0x05, 0xa1, 0x61, 'k', 0x9f, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeRecord(b)
		if err != nil {
			if !errors.Is(err, ErrRecord) {
				t.Fatal(err)
			}
			return
		}
		roundTrip(t, e)
	})
}

func BenchmarkAppendRecord(b *testing.B) {
	for _, c := range []struct {
		name string
		e    *Envelope
	}{{"plain", plainEnvelope()}, {"facts", fullEnvelope(b)}} {
		b.Run(c.name, func(b *testing.B) {
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf, _ = c.e.AppendRecord(buf[:0])
			}
		})
	}
}

func BenchmarkDecodeRecord(b *testing.B) {
	rec, _ := plainEnvelope().AppendRecord(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeRecord(rec); err != nil {
			b.Fatal(err)
		}
	}
}
