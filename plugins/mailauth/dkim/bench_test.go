package dkim

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
)

// benchBody is 100 KB of text in lines.
func benchBody() string { return strings.Repeat(string(fillerLine), 100_000/len(fillerLine)) }

const benchHeader = "Received: from a.example by b.example; Sat, 28 Nov 2026 11:59:00 +0000\r\nFrom: Ann <ann@example.org>\r\nTo: bob@example.net\r\nSubject: hello\r\n" +
	"Date: Sat, 28 Nov 2026 11:59:00 +0000\r\nMessage-ID: <1@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"

func benchKeys(b *testing.B) map[string]*PrivateKey {
	return map[string]*PrivateKey{"rsa2048": keyFile(b, "rsa2048.pem"), "ed25519": edKey()}
}

func benchSign(b *testing.B, k *PrivateKey, text, body string) string {
	h, err := message.ReadHeader(content(text), message.DefaultHeaderLimits)
	if err != nil {
		b.Fatal(err)
	}
	fields := h.Fields("")
	names, err := Names(fields, []string{"To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type"}, []string{"From"})
	if err != nil {
		b.Fatal(err)
	}
	values, err := Sign(context.Background(), fields, strings.NewReader(body), Signing{Domain: "example.org", Selector: "s1", Key: k, Header: Relaxed, Body: Relaxed, Names: names, Time: noon})
	if err != nil {
		b.Fatal(err)
	}
	return values[0]
}

// BenchmarkSign: one signature of a message of 100 KB.
func BenchmarkSign(b *testing.B) {
	body := benchBody()
	for name, k := range benchKeys(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(benchHeader) + len(body)))
			for b.Loop() {
				benchSign(b, k, benchHeader, body)
			}
		})
	}
}

// BenchmarkVerify: one verification of it, the key at hand.
func BenchmarkVerify(b *testing.B) {
	body := benchBody()
	for name, k := range benchKeys(b) {
		b.Run(name, func(b *testing.B) {
			text := Field + ": " + benchSign(b, k, benchHeader, body) + "\r\n" + benchHeader
			v := Verifier{Resolver: &texts{names: map[string][]string{"s1._domainkey.example.org": {record(b, k)}}}, Now: func() time.Time { return noon }}
			b.ReportAllocs()
			b.SetBytes(int64(len(text) + len(body)))
			for b.Loop() {
				h, err := message.ReadHeader(content(text), message.DefaultHeaderLimits)
				if err != nil {
					b.Fatal(err)
				}
				if r, err := v.Verify(context.Background(), h, strings.NewReader(body), []string{"example.org"}); err != nil || r.Result() != Pass {
					b.Fatal(r, err)
				}
			}
		})
	}
}
