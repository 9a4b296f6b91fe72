package certs

import (
	"crypto/tls"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/certs/certstest"
)

// handshakes makes some, with as many turns as there are.
type handshakes struct {
	t      *testing.T
	side   *Side
	ca     *certstest.CA
	turns  *Turns
	counts *Counts
}

func newHandshakes(t *testing.T, most int) *handshakes {
	h := &handshakes{t: t, ca: certstest.New(t, "test CA"), turns: NewTurns(most)}
	certificate, key := certstest.Write(t, t.TempDir(), "mx", h.ca.Issue(t, nil, "mx.example.org"))
	set, _, err := Load(Files{Pairs: []Pair{{certificate, key}}}, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	h.side, h.counts = NewSide(Options{Set: func() *Set { return set }}), NewCounts(h.turns)
	return h
}

// serve makes the server's side of one, which has so long.
func (h *handshakes) serve(conn net.Conn, d time.Duration) <-chan error {
	done := make(chan error, 1)
	go func() {
		turn := h.counts.Turn(conn)
		turn.SetDeadline(time.Now().Add(d))
		_, _, err := turn.Handshake(tls.Server(turn, h.side.Config()), h.side)
		done <- err
	}()
	return done
}

// client makes the client's.
func (h *handshakes) client(conn net.Conn) <-chan error {
	done := make(chan error, 1)
	go func() {
		done <- tls.Client(conn, &tls.Config{RootCAs: h.ca.Pool(), ServerName: "mx.example.org"}).Handshake()
	}()
	return done
}

func (h *handshakes) idle() {
	h.t.Helper()
	if now, _ := h.turns.Waiting(); now != 0 || len(h.turns.places) != 0 {
		h.t.Errorf("%d wait, %d compute", now, len(h.turns.places))
	}
}

// TestTurns: without a turn a handshake waits, until its deadline or until it has one; who waits for the client has none.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandshakes(t, 1)
		silent, half := net.Pipe()
		never := h.serve(half, time.Minute)
		synctest.Wait()
		if len(h.turns.places) != 0 {
			t.Error("a client that says nothing has a turn")
		}
		silent.Write([]byte("\x16\x03\x01\x02\x00\x01"))
		synctest.Wait()
		if len(h.turns.places) != 0 {
			t.Error("a client that has said half of it has a turn")
		}

		ours, theirs := net.Pipe()
		done, came := h.serve(theirs, time.Minute), h.client(ours)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := <-came; err != nil {
			t.Error(err)
		}
		h.idle()
		if _, waited := h.turns.Waiting(); waited != 0 {
			t.Errorf("%d waited", waited)
		}

		h.turns.places <- struct{}{} // somebody computes
		ours2, theirs2 := net.Pipe()
		done, came = h.serve(theirs2, 20*time.Second), h.client(ours2)
		synctest.Wait()
		if now, waited := h.turns.Waiting(); now != 1 || waited != 1 {
			t.Errorf("%d wait, %d waited", now, waited)
		}
		time.Sleep(10 * time.Second)
		<-h.turns.places
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := <-came; err != nil {
			t.Error(err)
		}
		h.idle()

		h.turns.places <- struct{}{} // and goes on
		ours3, theirs3 := net.Pipe()
		began := time.Now()
		done, came = h.serve(theirs3, 20*time.Second), h.client(ours3)
		if err := <-done; err == nil || failure(err) != "timeout" || time.Since(began) != 20*time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		theirs3.Close()
		<-came
		if err := <-never; err == nil || failure(err) != "timeout" {
			t.Errorf("the silent one: %v", err)
		}
		<-h.turns.places
		h.idle()
		for _, conn := range []net.Conn{silent, half, ours, theirs, ours2, theirs2, ours3} {
			conn.Close()
		}
		if got := h.counts.Made.Get(1); got != 2 {
			t.Errorf("%d were made", got)
		}
	})
}

// TestTurnAfterwards: a connection whose handshake is over needs none.
func TestTurnAfterwards(t *testing.T) {
	h := newHandshakes(t, 1)
	ours, theirs := net.Pipe()
	defer ours.Close()
	turn := h.counts.Turn(theirs)
	done := make(chan error, 1)
	conn := tls.Server(turn, h.side.Config())
	go func() {
		_, _, err := turn.Handshake(conn, h.side)
		done <- err
	}()
	client := tls.Client(ours, &tls.Config{RootCAs: h.ca.Pool(), ServerName: "mx.example.org"})
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	h.turns.places <- struct{}{}
	go client.Write([]byte("hello"))
	var b [5]byte
	if n, err := conn.Read(b[:]); n != 5 || err != nil {
		t.Errorf("%q, %v", b[:n], err)
	}
}
