package server

import (
	"bufio"
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/certs"
	"github.com/stagepost/stagepost/core/gate"
	"github.com/stagepost/stagepost/core/message"
)

// TestSlowHandshake: it has half a minute, whatever comes.
func TestSlowHandshake(t *testing.T) {
	for name, write := range map[string]bool{"silent": false, "an octet every 5 seconds": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShelter(t)
				conn, server := net.Pipe()
				start := time.Now()
				s.srv.admit(gate.Arrived(server), s.listener(FromTheOutset, certs.Options{}), s.srv.Board.New("mx", message.RoleMX))
				if write {
					go func() {
						for _, b := range []byte("\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03") {
							if _, err := conn.Write([]byte{b}); err != nil {
								return
							}
							time.Sleep(5 * time.Second)
						}
					}()
				}
				for s.srv.Sessions() > 0 {
					time.Sleep(time.Second)
				}
				if took := time.Since(start); took < handshakeTime || took > handshakeTime+5*time.Second {
					t.Errorf("it took %s", took)
				}
				conn.Close()
				time.Sleep(6 * time.Second)
				s.settle(t)
			})
		})
	}
}

// TestHandshakesCount: who is in the middle of a handshake has a session like any other.
func TestHandshakesCount(t *testing.T) {
	s := newShelter(t, byName()...)
	s.limits.SessionsPerIP = 2
	addr := s.listenOn(t, s.listener(FromTheOutset, certs.Options{}))
	for range 2 {
		dial(t, addr).send("\x16\x03\x01")
	}
	for end := time.Now().Add(10 * time.Second); s.srv.Sessions() < 2 && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	dial(t, addr).want("421 4.7.0 too many connections from your address")
	if err := s.srv.Shutdown(context.Background()); err != nil { // does not wait for them
		t.Error(err)
	}
}

// TestIdleTLSHoldsNoBuffers: with a whole record, with the half of one, between records and in content.
func TestIdleTLSHoldsNoBuffers(t *testing.T) {
	s := newShelter(t, byName()...)
	c := greeted(t, s.listenOn(t, s.listener(OnDemand, certs.Options{})))
	tear := &torn{Conn: c.conn}
	c.conn = tear
	idle := func() {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); s.srv.buffers.Lent() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d buffers are held", s.srv.buffers.Lent())
			}
		}
	}
	conn := c.startTLS(s.client())
	c.conn, c.r = conn, bufio.NewReader(conn)
	idle()
	c.send("EHLO c\r\n")
	c.want("250 HELP")
	idle()
	tear.on = true
	c.send("NOOP\r\n")
	idle()
	tear.rest()
	c.want("250")
	c.send("MAIL FROM:<a@client.example>\r\n")
	c.send("RCPT TO:<u@example.org>\r\n") // two records, one segment
	tear.rest()
	c.want("250")
	c.want("250")
	idle()
	tear.on = false
	c.send("DATA\r\n")
	c.want("354")
	idle()
	c.send(strings.Repeat("0123456789abcdef\r\n", 2000)) // records of 16 KiB: more than one buffer at once
	c.send("text\r\n.\r\n")
	c.want("250 2.0.0 queued")
	idle()
	c.send("NOOP" + strings.Repeat(" ", 1000) + "\r\nQUIT\r\n")
	c.want("554") // in one record
}

// torn keeps back the second half of what is written while on.
type torn struct {
	net.Conn
	on   bool
	kept []byte
}

func (c *torn) Write(b []byte) (int, error) {
	n := len(b)
	if c.on {
		b = append(c.kept, b...)
		c.kept = append([]byte(nil), b[len(b)/2:]...)
		b = b[:len(b)/2]
	}
	_, err := c.Conn.Write(b)
	return n, err
}

func (c *torn) rest() {
	c.Conn.Write(c.kept)
	c.kept = nil
}
