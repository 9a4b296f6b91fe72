package server

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/hooks"
)

// discard is what a benchmark's server does with mail.
func discard() []*hooks.Hook {
	return []*hooks.Hook{hook(hooks.Rcpt, func(*hooks.Call) *hooks.Verdict { return &hooks.Verdict{Kind: hooks.Discard} })}
}

func BenchmarkCommand(b *testing.B) {
	r := newRig(b, byName()...)
	r.limits.Idle = 1 << 60
	c := greeted(b, r.listen(b))
	b.ReportAllocs()
	for b.Loop() {
		io.WriteString(c.conn, "NOOP\r\n")
		if c.line() != "250 2.0.0 ok" {
			b.Fatal("not ok")
		}
	}
	c.conn.Close()
}

func BenchmarkTransaction(b *testing.B) {
	for _, size := range []int{4 << 10, 100 << 10} {
		b.Run(fmt.Sprint(size>>10, "KiB"), func(b *testing.B) {
			r := newRig(b, discard()...)
			c := greeted(b, r.listen(b))
			content := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", size/78) + ".\r\n"
			b.SetBytes(int64(len(content)))
			b.ReportAllocs()
			for b.Loop() {
				io.WriteString(c.conn, transaction)
				c.line()
				c.line()
				c.line()
				io.WriteString(c.conn, content)
				if got := c.line(); got != "250 2.0.0 ok" {
					b.Fatal(got)
				}
			}
			c.conn.Close()
		})
	}
}

// BenchmarkConnection is a connection with one message, as most clients bring it.
func BenchmarkConnection(b *testing.B) {
	r := newRig(b, discard()...)
	addr := r.listen(b)
	content := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 50) + ".\r\n"
	b.ReportAllocs()
	for b.Loop() {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		buf := make([]byte, 4096)
		for _, send := range []string{"", "EHLO c\r\n", transaction, content, "QUIT\r\n"} {
			io.WriteString(conn, send)
			if _, err := conn.Read(buf); err != nil {
				b.Fatal(err)
			}
		}
		conn.Close()
	}
}

// BenchmarkIdle shows what a session takes that waits after EHLO, the client's end in this process included.
func BenchmarkIdle(b *testing.B) {
	const sessions = 2000
	r := newRig(b, byName()...)
	r.limits = Limits{Sessions: 2 * sessions, SessionsPerIP: 2 * sessions}
	addr := r.listen(b)
	for b.Loop() {
		before := inUse()
		conns := make([]net.Conn, 0, sessions)
		buf := make([]byte, 4096)
		for range sessions {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				b.Fatal(err)
			}
			conn.Read(buf)
			io.WriteString(conn, "EHLO client.example\r\n")
			conn.Read(buf)
			conns = append(conns, conn)
		}
		b.ReportMetric(float64(inUse()-before)/sessions, "B/session")
		for _, conn := range conns {
			conn.Close()
		}
		r.settle(b)
	}
}

func inUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
