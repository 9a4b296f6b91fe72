package main

import (
	"bufio"
	"crypto/rsa"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// echo is a server of TLS that says each line again, in capitals.
func echo(t *testing.T) (address string) {
	t.Helper()
	pem, err := selfSigned(hostName)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := tls.X509KeyPair(pem, pem)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequestClientCert})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for r := bufio.NewReader(conn); ; {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					fmt.Fprint(conn, strings.ToUpper(line))
				}
			}()
		}
	}()
	return ln.Addr().String()
}

func meet(t *testing.T, address string, config *tls.Config) *conn {
	t.Helper()
	c, err := dial(address, "", defaultBound)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.end(closing) })
	config.InsecureSkipVerify, config.ServerName = true, hostName
	if err := c.handshake(config, nil, 0, defaultBound); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestForged: a server takes what is forged for what it would be from a true client.
func TestForged(t *testing.T) {
	address := echo(t)
	hear := func(t *testing.T, c *conn, text string) {
		t.Helper()
		if _, err := c.stream().Write([]byte(text + "\n")); err != nil {
			t.Fatal(err)
		}
		c.plain.SetReadDeadline(time.Now().Add(defaultBound))
		if got, err := c.lines.ReadString('\n'); err != nil || got != strings.ToUpper(text)+"\n" {
			t.Fatalf("%q is heard as %q, %v", text, got, err)
		}
	}
	t.Run("TLS 1.2", func(t *testing.T) {
		suites, err := parseSuites("ECDSA_WITH_AES_128_GCM")
		if err != nil {
			t.Fatal(err)
		}
		c := meet(t, address, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: suites})
		if err := c.forge(); err != nil {
			t.Fatal(err)
		}
		hear(t, c, "one")
		hear(t, c, strings.Repeat("a long line ", 4000))
		if _, err := c.forger.update(); err == nil {
			t.Error("TLS 1.2 has new keys")
		}
		kind, err := c.forger.renegotiate(clientHello(c.secure.ConnectionState().TLSUnique), defaultBound)
		if kind != recordAlert || err != nil {
			t.Errorf("another handshake: kind %d, %v", kind, err)
		}
	})
	t.Run("TLS 1.3", func(t *testing.T) {
		c := meet(t, address, &tls.Config{})
		if err := c.forge(); err != nil {
			t.Fatal(err)
		}
		for n := range 5 {
			record, err := c.forger.update()
			if err == nil {
				_, err = c.plain.Write(record)
			}
			if err != nil {
				t.Fatal(err)
			}
			hear(t, c, fmt.Sprint("after ", n))
		}
	})
	t.Run("early data", func(t *testing.T) {
		tickets := tls.NewLRUClientSessionCache(1)
		hear(t, meet(t, address, &tls.Config{ClientSessionCache: tickets}), "a ticket comes before this")
		session, ok := tickets.Get(hostName)
		if !ok {
			t.Fatal("no ticket came")
		}
		_, state, err := session.ResumptionState()
		if err != nil {
			t.Fatal(err)
		}
		e, err := newEarly(state, []byte("early\n"))
		if err != nil {
			t.Fatal(err)
		}
		c, err := dial(address, "", defaultBound)
		if err != nil {
			t.Fatal(err)
		}
		defer c.end(closing)
		kind, err := c.beginEarly(&tls.Config{InsecureSkipVerify: true, ServerName: hostName, ClientSessionCache: tickets}, e, defaultBound)
		if kind != recordAlert || err != nil { // crypto/tls takes none
			t.Errorf("kind %d, %v", kind, err)
		}
	})
}

// TestClientHello: the announcement of early data stands before the session, and only where one is offered.
func TestClientHello(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	go tls.Client(ours, &tls.Config{ServerName: hostName}).Handshake()
	record := make([]byte, 8<<10)
	n, err := theirs.Read(record)
	if err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	for size := range n + 1 {
		if at, _, err := findPSK(record[:size]); err == nil {
			t.Fatalf("in %d of %d octets a session is found at %d", size, n, at)
		}
	}
}

// TestLargeKey: the keys are what they are said to be.
func TestLargeKey(t *testing.T) {
	for name, bits := range map[string]int{"rsa7640": 7640, "rsa8676": 8676} {
		certificate, err := (&target{}).clientCertificate(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := publicBits(certificate); got != bits {
			t.Errorf("%s has %d bits", name, got)
		}
	}
}

func publicBits(c *tls.Certificate) int {
	key, ok := c.PrivateKey.(*rsa.PrivateKey)
	if !ok || key.Validate() != nil {
		return 0
	}
	return key.N.BitLen()
}
