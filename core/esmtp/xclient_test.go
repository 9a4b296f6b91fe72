package esmtp

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/smtp"
)

func TestParseXClient(t *testing.T) {
	before := XClient{IP: netip.MustParseAddr("127.0.0.1"), Port: 5, LocalIP: netip.MustParseAddr("127.0.0.2"), LocalPort: 25, Login: "old"}
	with := func(f func(*XClient)) XClient { x := before; f(&x); return x }
	for arg, want := range map[string]XClient{
		"ADDR=192.0.2.1 PORT=40000":                 with(func(x *XClient) { x.IP, x.Port = netip.MustParseAddr("192.0.2.1"), 40000 }),
		"addr=ipv6:2001:db8::1":                     with(func(x *XClient) { x.IP = netip.MustParseAddr("2001:db8::1") }),
		"ADDR=::ffff:192.0.2.1":                     with(func(x *XClient) { x.IP = netip.MustParseAddr("192.0.2.1") }),
		"ADDR=[UNAVAILABLE] LOGIN=[tempunavail]":    with(func(x *XClient) { x.IP, x.Login = netip.Addr{}, "" }),
		"LOGIN=joe+40example.org":                   with(func(x *XClient) { x.Login = "joe@example.org" }),
		"DESTADDR=192.0.2.9 DESTPORT=587":           with(func(x *XClient) { x.LocalIP, x.LocalPort = netip.MustParseAddr("192.0.2.9"), 587 }),
		"NAME=a.example HELO=b.example PROTO=esmtp": before,
	} {
		if got, err := ParseXClient(arg, before); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", arg, got, err, want)
		}
	}
	for _, arg := range []string{"", "ADDR", "ADDR=", "ADDR=x", "ADDR=fe80::1%25eth0", "PORT=65536", "PORT=-1", "FOO=x", "\u00e9=", "LOGIN=+FF", "ADDR=192.0.2.1  PORT=1", "LOGIN=a+0Ab", "LOGIN=a+C2+85b",
		"LOGIN=+x", "PROTO=HTTP", "HELO=a+20b", "NAME=" + strings.Repeat("x", 256)} {
		if got, err := ParseXClient(arg, before); err == nil || !strings.HasPrefix(fmt.Sprint(err), "501 ") || got != before {
			t.Errorf("%s: got %+v, %v", arg, got, err)
		}
	}
}

func FuzzParseXClient(f *testing.F) {
	for _, seed := range []string{"ADDR=192.0.2.1 NAME=a.example", "ADDR=IPV6:::1 LOGIN=a+2Bb PROTO=ESMTP", "HELO=[UNAVAILABLE] DESTADDR=192.0.2.1 DESTPORT=25", "ADDR=+"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		x, err := ParseXClient(arg, XClient{})
		if err != nil {
			checkReply(t, err)
			return
		}
		if x.IP.Zone() != "" || x.IP.Is4In6() || strings.ContainsFunc(x.Login, smtp.IsControl) {
			t.Errorf("%q: %+v", arg, x)
		}
	})
}
