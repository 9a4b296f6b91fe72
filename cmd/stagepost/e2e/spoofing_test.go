package e2e

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"

	mail "github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/resolve/dnszone"
	"github.com/stagepost/stagepost/plugins/mailauth/dkim"
)

// spoof is a message that is to look as from bank.example. Whoever sends it owns evil.example, where SPF, DKIM and DMARC are in order,
// and signs it unless it says otherwise.
type spoof struct {
	name   string
	helo   string                               // "": of evil.example
	sender string                               // "": a@evil.example
	header string                               // without Message-ID
	body   string                               // "": one line
	signed func(b *builder, text string) string // "": by evil.example
	want   string                               // of Authentication-Results: dmarc=...; "" the server takes no such message
}

// builder signs.
type builder struct {
	t          *testing.T
	bank, evil *dkim.PrivateKey
}

// sign puts a signature on top of a message; names are what it covers, nil being what Names chooses.
func (b *builder) sign(domain string, key *dkim.PrivateKey, text string, names ...string) string {
	b.t.Helper()
	fields, body := b.split(text)
	if names == nil {
		var err error
		if names, err = dkim.Names(fields, []string{"Subject", "Message-ID"}, nil); err != nil {
			b.t.Fatal(err)
		}
	}
	out, err := dkim.Sign(b.t.Context(), fields, strings.NewReader(body), dkim.Signing{Domain: domain, Selector: "s1", Key: key, Header: dkim.Relaxed, Body: dkim.Relaxed, Names: names})
	if err != nil {
		b.t.Fatal(err)
	}
	return "DKIM-Signature: " + out[0] + "\r\n" + text
}

func (b *builder) split(text string) ([]mail.Field, string) {
	b.t.Helper()
	h, err := mail.ParseHeader([]byte(text), mail.DefaultHeaderLimits)
	if err != nil {
		b.t.Fatal(err)
	}
	_, body, _ := strings.Cut(text, "\r\n\r\n")
	return h.Fields(""), body
}

// length signs for bank.example with l=, which leaves the end of the body to everybody.
func (b *builder) length(text string) string {
	b.t.Helper()
	fields, body := b.split(text)
	sum := sha256.Sum256([]byte(body))
	value := fmt.Sprintf("v=1; a=%s; c=simple/simple; d=bank.example; s=s1; l=%d; h=From:Subject; bh=%s; b=", b.bank.Algorithm(), len(body), base64.StdEncoding.EncodeToString(sum[:]))
	h := sha256.New()
	if _, ok := dkim.HashHeader(h, dkim.Simple, fields, []string{"From", "Subject"}, []byte("DKIM-Signature: "+value), 1<<20); !ok {
		b.t.Fatal("the header could not be hashed")
	}
	signature, err := b.bank.Sign(h.Sum(nil))
	if err != nil {
		b.t.Fatal(err)
	}
	return "DKIM-Signature: " + value + base64.StdEncoding.EncodeToString(signature) + "\r\n" + text
}

func spoofs() []spoof {
	from := func(values ...string) string {
		var b strings.Builder
		for _, v := range values {
			b.WriteString("From: " + v + "\r\n")
		}
		return b.String()
	}
	odd := func(d string) func(*builder, string) string {
		return func(b *builder, text string) string {
			return strings.Replace(b.sign("evil.example", b.evil, text), "d=evil.example", "d="+d, 1)
		}
	}
	bare := func(_ *builder, text string) string { return text }
	const fail, threat, none = "fail", "permerror", "none"
	return []spoof{
		{name: "the domain itself", header: from("ceo@bank.example"), want: fail},
		{name: "as envelope sender, too", sender: "ceo@bank.example", header: from("ceo@bank.example"), signed: bare, want: fail},

		{name: "two From fields", header: from("ceo@bank.example", "a@evil.example"), want: threat},
		{name: "in the other order", header: from("a@evil.example", "ceo@bank.example"), want: threat},
		{name: "the same twice, signed by the bank", header: from("ceo@bank.example"), signed: func(b *builder, text string) string {
			return "From: ceo@bank.example\r\n" + b.sign("bank.example", b.bank, text, "From", "Subject")
		}, want: threat},
		{name: "a second one after the bank has signed", header: from("ceo@bank.example"), signed: func(b *builder, text string) string {
			return "From: a@evil.example\r\n" + b.sign("bank.example", b.bank, text, "From", "Subject")
		}, want: threat},
		{name: "one where the bank has signed its own below", header: from("news@bank.example"), signed: func(b *builder, text string) string {
			return b.sign("evil.example", b.evil, "From: ceo@bank.example\r\n"+b.sign("bank.example", b.bank, text, "From", "Subject"))
		}, want: threat},
		{name: "another after the bank has oversigned", header: from("ceo@bank.example"), signed: func(b *builder, text string) string {
			return "From: ceo@bank.example\r\n" + b.sign("bank.example", b.bank, text)
		}, want: threat},
		{name: "a space before the colon of the second", header: "From: a@evil.example\r\nFrom : ceo@bank.example\r\n", want: threat},
		{name: "other letters in the second", header: "from: a@evil.example\r\nFROM: ceo@bank.example\r\n", want: threat},
		{name: "the second behind what is no field", header: "From: a@evil.example\r\nno field\r\nFrom: ceo@bank.example\r\n", signed: bare, want: threat},
		{name: "no From", header: "Sender: ceo@bank.example\r\nResent-From: ceo@bank.example\r\n", signed: bare, want: threat},
		{name: "From in the body", header: "X: y\r\n", body: "From: ceo@bank.example\r\n\r\nhello\r\n", signed: bare, want: threat},

		{name: "two addresses", header: from("ceo@bank.example, a@evil.example"), want: threat},
		{name: "in the other order", header: from("a@evil.example, ceo@bank.example"), want: threat},
		{name: "two in brackets", header: from("<ceo@bank.example><a@evil.example>"), want: threat},
		{name: "a comma behind a backslash", header: from(`<ceo@bank.example>\,<a@evil.example>`), want: threat},
		{name: "one on each line", header: from("ceo@bank.example,\r\n\ta@evil.example"), want: threat},
		{name: "split within the domain", header: from("ceo@bank\r\n .example"), want: threat},
		{name: "split so that its lines are two", header: from("a@evil.example\r\n ceo@bank.example"), want: threat},
		{name: "a group", header: from("Bank: ceo@bank.example;"), want: threat},
		{name: "a group of both", header: from("Bank: ceo@bank.example, a@evil.example;"), want: threat},
		{name: "an empty group", header: from("ceo@bank.example:;"), want: threat},
		{name: "a group behind an address", header: from("a@evil.example, Bank: ceo@bank.example;"), want: threat},

		{name: "an empty From", header: "From:\r\n", want: threat},
		{name: "no address", header: from("<>"), want: threat},
		{name: "a name and no address", header: from(`"ceo@bank.example" <>`), want: threat},
		{name: "a null domain", header: from("ceo@"), want: threat},
		{name: "in brackets", header: from("<ceo@>"), want: threat},
		{name: "a dot as domain", header: from("ceo@."), want: threat},
		{name: "an address literal", header: from("The Bank <ceo@[127.0.0.1]>"), want: threat},
		{name: "a source route", header: from("<@evil.example,@any.example:ceo@bank.example>"), want: threat},

		{name: "NUL in d=", header: from("ceo@bank.example"), signed: odd("bank.example\x00.evil.example")},
		{name: "NUL in From", header: from("ceo@bank.example\x00.evil.example")},
		{name: "a stray CR before a second From", header: from("a@evil.example\rFrom: ceo@bank.example")},
		{name: "a backslash in d=", header: from("ceo@bank.example"), signed: odd(`bank.example\000.evil.example`), want: fail},
		{name: "quotes in d=", header: from("ceo@bank.example"), signed: odd(`"bank.example"`), want: fail},
		{name: "a space in d=", header: from("ceo@bank.example"), signed: odd("bank.example .evil.example"), want: fail},
		{name: "a star in d=", header: from("ceo@bank.example"), signed: odd("*.bank.example"), want: fail},
		{name: "two d=", header: from("ceo@bank.example"), signed: odd("bank.example; d=evil.example"), want: fail},
		{name: "the public suffix in d=", header: from("ceo@bank.example"), signed: odd("example"), want: fail},
		{name: "the bank's d= with the key of another", header: from("ceo@bank.example"), signed: func(b *builder, text string) string { return b.sign("bank.example", b.evil, text) }, want: fail},

		{name: "SPF of HELO alone", helo: "relay.bank.example", sender: "a@plain.example", header: from("ceo@bank.example"), signed: bare, want: fail},
		{name: "a sender with two @", sender: `"a@bank.example"@evil.example`, header: from("ceo@bank.example"), signed: bare, want: fail},

		{name: "a comment with an address in brackets", header: from("a@evil.example (<ceo@bank.example>)"), want: threat},
		{name: "a comment within the domain", header: from("<ceo@bank.example(.evil.example)>"), want: threat},
		{name: "a comment behind the domain", header: from("ceo@bank.example(.evil.example)"), want: fail},
		{name: "a comment within the local part", header: from("ceo(<a@evil.example>)@bank.example"), want: threat},
		{name: "a comment without an end", header: from("a@evil.example (ceo@bank.example"), want: threat},

		{name: "an address as name", header: from("ceo@bank.example <a@evil.example>"), want: threat},
		{name: "in brackets and quotes", header: from(`"<ceo@bank.example>" <a@evil.example>`), want: threat},
		{name: "with its brackets escaped", header: from(`"Ceo \<ceo@bank.example\>" <a@evil.example>`), want: threat},
		{name: "as an encoded word", header: from("=?utf-8?b?PGNlb0BiYW5rLmV4YW1wbGU+?= <a@evil.example>"), want: threat},
		{name: "an encoded word in the place of an address", header: from("=?utf-8?b?Y2VvQGJhbmsuZXhhbXBsZQ==?=, <a@evil.example>"), want: threat},
		{name: "an encoded line end", header: from("=?utf-8?q?x=0D=0AFrom=3A_ceo=40bank.example?= <a@evil.example>"), want: threat},
		{name: "an encoded NUL", header: from("=?utf-8?q?ceo=40bank.example=00?= <a@evil.example>"), want: threat},
		{name: "quotes that do not end", header: from(`"ceo@bank.example <a@evil.example>`), want: threat},

		{name: "a local part in quotes", header: from(`"ceo@bank.example"@evil.example`), want: threat},
		{name: "that ends the brackets", header: from(`<"ceo@bank.example>"@evil.example>`), want: threat},
		{name: "two @", header: from("ceo@bank.example@evil.example"), want: threat},
		{name: "another form of @", header: from("ceo＠bank.example@evil.example"), want: threat},

		{name: "Cyrillic letters", header: from("ceo@bаnk.example"), want: none},
		{name: "the same as A-label", header: from("ceo@xn--bnk-6cd.example"), want: none},
		{name: "full-width letters", header: from("ceo@ｂａｎｋ.example"), want: fail},
		{name: "an ideographic full stop", header: from("ceo@bank。example"), want: fail},
		{name: "a character that is not seen", header: from("ceo@ba\u200bnk.example"), want: fail},
		{name: "a domain below that looks like the bank", header: from("ceo@bank.example.lookalike.example"), want: none},
		{name: "a domain that ends alike", header: from("ceo@mybank.example"), want: none},

		{name: "the end of a body that l= leaves open", header: from("ceo@bank.example"), signed: func(b *builder, text string) string { return b.length(text) + "Send your money to evil.example.\r\n" }, want: fail},
		{name: "a subdomain without a record", header: from("ceo@secure.bank.example"), want: fail},
		{name: "one that is not there", header: from("ceo@a.b.c.d.e.f.g.h.i.j.bank.example"), want: fail},
		{name: "a neighbour below a public suffix", sender: "a@evil.shops.example", header: from("ceo@bank.shops.example"), signed: bare, want: fail},
		{name: "one that has a record", sender: "a@evil.shops.example", header: from("ceo@own.shops.example"), signed: bare, want: fail},
		{name: "the public suffix itself", sender: "a@evil.shops.example", header: from("ceo@shops.example"), signed: bare, want: fail},
		{name: "a record that cannot be found out", header: from("ceo@down.example"), signed: bare, want: "temperror"},
	}
}

// newSpoofSite is a server that checks mail by the DNS in which all of this is published.
func newSpoofSite(t *testing.T, b *builder, next, settings string) *site {
	record := func(k *dkim.PrivateKey) string {
		text, err := k.Record()
		if err != nil {
			t.Fatal(err)
		}
		var parts []string
		for text != "" {
			n := min(len(text), 250)
			parts = append(parts, `"`+text[:n]+`"`)
			text = text[n:]
		}
		return "TXT " + strings.Join(parts, " ")
	}
	zone, err := dnszone.Parse(map[string][]string{
		"bank.example": {`TXT "v=spf1 -all"`}, "_dmarc.bank.example": {`TXT "v=DMARC1; p=reject"`}, "s1._domainkey.bank.example": {record(b.bank)},
		"relay.bank.example": {`TXT "v=spf1 ip4:192.0.2.9 -all"`},
		"evil.example":       {`TXT "v=spf1 ip4:192.0.2.9 -all"`}, "_dmarc.evil.example": {`TXT "v=DMARC1; p=none"`}, "s1._domainkey.evil.example": {record(b.evil)},
		"mail.evil.example":    {`TXT "v=spf1 ip4:192.0.2.9 -all"`},
		"_dmarc.shops.example": {`TXT "v=DMARC1; p=reject; psd=y"`}, "evil.shops.example": {`TXT "v=spf1 ip4:192.0.2.9 -all"`}, "bank.shops.example": {"A 192.0.2.1"},
		"_dmarc.own.shops.example": {`TXT "v=DMARC1; p=reject"`},
		"_dmarc.down.example":      {"!servfail"},
	})
	if err != nil {
		t.Fatal(err)
	}
	dns, err := dnszone.Serve("127.0.0.1:0", zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dns.Close() })
	config := strings.NewReplacer(`enable = [`, `enable = ["spf", "dkim-verify", "dmarc", "auth-results", `, "role = \"mx\"\n", "role = \"mx\"\nproxy_protocol = [\"127.0.0.0/8\"]\n", "[\"127.0.0.0/8\"]", "[\"192.0.2.0/24\"]").Replace(relayConfig(next))
	return newSite(t, config+
		fmt.Sprintf("[resolver]\nservers = [%q]\n[plugin.spf]\nfail = \"none\"\nhelo_fail = \"none\"\n%s", dns.Addr(), settings))
}

// deliver hands the message over and gives the reply to it, or to what was refused before.
func (s *spoof) deliver(t *testing.T, b *builder, address, id string) string {
	t.Helper()
	text := s.header + "Subject: your account\r\nMessage-ID: " + id + "\r\n\r\n" + s.body
	if s.body == "" {
		text += "Please tell us your password.\r\n"
	}
	switch {
	case s.signed != nil:
		text = s.signed(b, text)
	case strings.Contains(text, "\x00") || strings.Contains(strings.ReplaceAll(text, "\r\n", ""), "\r"): // no reader of ours takes such
	default:
		text = b.sign("evil.example", b.evil, text)
	}
	helo, sender := s.helo, s.sender
	if helo == "" {
		helo = "mail.evil.example"
	}
	if sender == "" {
		sender = "a@evil.example"
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &client{conn, bufio.NewReader(conn)}
	c.want(t, "PROXY TCP4 192.0.2.9 192.0.2.1 4000 25", "220") // SPF does not check clients of this machine
	c.want(t, "EHLO "+helo, "250")
	for _, line := range []string{"MAIL FROM:<" + sender + ">", "RCPT TO:<u@example.net>", "DATA"} {
		reply, err := c.ask(line)
		if err != nil {
			t.Fatal(err)
		}
		if reply[0] != '2' && reply[0] != '3' {
			return reply
		}
	}
	reply, err := c.ask(text + ".")
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

var dmarcResult = regexp.MustCompile(`(?s)^.*?\r\nAuthentication-Results: mx\.example\.org;.*?\tdmarc=([a-z]+)`)

// TestSpoofing: of messages that are to look as from another domain none ends in pass, whatever they try, and what can be refused is
// refused. Mail that is what it says passes.
func TestSpoofing(t *testing.T) {
	key := func() *dkim.PrivateKey {
		k, err := dkim.NewPrivateKey("ed25519", 0)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	sink := newSink(t)
	b := &builder{t, key(), key()}
	marks := newSpoofSite(t, b, sink.address, "[plugin.dmarc]\nfail_reject = \"none\"\nthreat = \"none\"\ntemperror = \"none\"\n").start()
	refuses := newSpoofSite(t, b, sink.address, "").start()
	honest := []spoof{
		{name: "what is signed by the bank", sender: "a@plain.example", header: "From: The Bank <ceo@bank.example>\r\n", signed: func(b *builder, text string) string { return b.sign("bank.example", b.bank, text) }, want: "pass"},
		{name: "what is sent as itself", header: "From: a@evil.example\r\n", signed: func(_ *builder, text string) string { return text }, want: "pass"},
		{name: "what is signed as itself", sender: "a@plain.example", header: "From: a@evil.example\r\n", want: "pass"},
	}
	attacks := spoofs()
	for i, s := range append(honest, attacks...) {
		t.Run(s.name, func(t *testing.T) {
			id := fmt.Sprintf("<%d@evil.example>", i)
			reply := s.deliver(t, b, marks.address("mx"), id)
			if s.want == "" {
				if reply[0] != '5' {
					t.Errorf("it was answered %q", reply)
				}
				return
			}
			queued(t, reply)
			got := dmarcResult.FindStringSubmatch("\r\n" + sink.text(id))
			if got == nil || got[1] != s.want || i >= len(honest) && got[1] == "pass" {
				t.Errorf("%q, want %s", got, s.want)
			}
			want := map[string]string{"pass": "250", "none": "250", "fail": "550 5.7.1", "permerror": "550 5.7.1", "temperror": "451 4.4.3"}[s.want]
			if reply := s.deliver(t, b, refuses.address("mx"), fmt.Sprintf("<%d-again@evil.example>", i)); !strings.HasPrefix(reply, want) {
				t.Errorf("by default it is answered %q, want %q", reply, want)
			}
		})
	}
	if len(attacks) < 60 {
		t.Errorf("%d attacks", len(attacks))
	}
	marks.stop()
	refuses.stop()
}
