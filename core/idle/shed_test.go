package idle

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"
	"unsafe"

	"github.com/stagepost/stagepost/core/certs/certstest"
)

// TestShed: what waits keeps no large buffer, whatever came before, and what comes then is read all the same.
func TestShed(t *testing.T) {
	if len(kept) != 2 {
		t.Fatalf("%d of the buffers of a tls.Conn are known: see what this version of Go has", len(kept))
	}
	ca := certstest.New(t, "test CA")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	raw, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	below, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var buffers Buffers
	conn, source := TLS(below, New(below, &buffers), &buffers, &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, nil, "mx.example.org")}})
	defer conn.Close()
	client := tls.Client(raw, &tls.Config{RootCAs: ca.Pool(), ServerName: "mx.example.org"})
	done := make(chan error, 1)
	go func() { done <- client.Handshake() }()
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	block := bytes.Repeat([]byte("0123456789abcdef"), 16<<10)
	for range 3 {
		go func() {
			_, err := client.Write(block)
			done <- err
		}()
		if _, err := io.ReadFull(conn, make([]byte, len(block)-100)); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		for left := 100; left > 0; {
			buf, n, err := source.Read(Line)
			if err != nil || !bytes.Equal(buf[:n], block[len(block)-left:][:n]) {
				t.Fatalf("%d octets, %v", n, err)
			}
			buffers.Put(buf)
			left -= n
		}
		conn.SetReadDeadline(time.Now().Add(time.Millisecond))
		if buf, _, err := source.Read(Line); err == nil {
			t.Fatalf("there is %q", buf)
		}
		conn.SetReadDeadline(time.Time{})
		for _, at := range kept {
			if n := (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(conn), at)).Cap(); n > smallEnough {
				t.Errorf("it keeps %d octets", n)
			}
		}
	}
	if n := buffers.Lent(); n != 0 {
		t.Errorf("%d buffers are lent", n)
	}
}
