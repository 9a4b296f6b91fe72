package e2e

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestRestart stops the server while all its mail is deferred, and starts it again when the next hop takes it.
func TestRestart(t *testing.T) {
	const messages = 50
	sink := newSink(t)
	sink.refuses("RCPT", "451 4.3.0 not now")
	s := newSite(t, relayConfig(sink.address))
	sv := s.start()
	c := dial(t, sv.address("mx"))
	var ids []string
	for i := range messages {
		id := fmt.Sprintf("<restart.%d@client.example>", i)
		c.deliver(t, fmt.Sprintf("u%d@example.net", i), id)
		ids = append(ids, id)
	}
	eventually(t, "all are deferred", func() (bool, any) {
		q := s.status().Queue
		return q.Deferred == messages && q.Messages == messages, q
	})
	list := objects[message](s, "queue", "list")
	if len(list) != messages {
		t.Fatalf("queue list: %d messages", len(list))
	}
	for _, m := range list {
		if r := m.Recipients; len(r) != 1 || r[0].Attempts < 1 || !strings.HasPrefix(r[0].LastReply, "451 4.3.0 not now") {
			t.Fatalf("queue list: %+v", m)
		}
	}
	sv.stop()
	if out := s.want(exitUnavailable, "status"); !strings.Contains(out, "stagepost serve") {
		t.Errorf("status without a server: %s", out)
	}
	sink.refuses("RCPT", "")
	sv = s.start()
	s.empty()
	sink.exactly(ids)
	trace := s.want(0, "trace", list[0].ID)
	for _, want := range []string{"451 4.3.0 not now", "delivered", "250 2.0.0 ok"} {
		if !strings.Contains(trace, want) {
			t.Errorf("the trace, which goes over the restart, lacks %q:\n%s", want, trace)
		}
	}
	sv.stop()
}

// burst sends from some sessions at once until the server goes away, and calls taken with the number of messages that were
// answered 250 so far. It gives the ids of those, and of all.
func burst(address, name string, sessions int, taken func(int)) (acked, all []string) {
	var mu sync.Mutex
	var group sync.WaitGroup
	for n := range sessions {
		group.Go(func() {
			c, err := connect(address)
			if err != nil {
				return
			}
			defer c.conn.Close()
			for i := range 10_000 {
				id := fmt.Sprintf("<%s.%d.%d@client.example>", name, n, i)
				mu.Lock()
				all = append(all, id)
				mu.Unlock()
				reply, err := c.send("u@example.net", id)
				if err != nil {
					return
				}
				if strings.HasPrefix(reply, "250 ") {
					mu.Lock()
					acked = append(acked, id)
					taken(len(acked))
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	return acked, all
}

// TestCrash kills the server in the middle of mail that comes in: whatever was answered 250 comes out.
func TestCrash(t *testing.T) {
	for _, tt := range []struct {
		name   string
		reply  string // of the next hop while the server lives
		beyond int    // messages that may come twice: those whose delivery was not recorded yet
	}{
		// Nothing was delivered before the crash, so each message comes exactly once after it.
		{"waiting", "451 4.3.0 not now", 0},
		// A delivery that the crash overtook is made again (RFC 1047): those under way, at most the concurrency, and those
		// whose marks were being gathered for one write.
		{"delivering", "", 20 + 256},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sink := newSink(t)
			sink.refuses("dot", tt.reply)
			s := newSite(t, relayConfig(sink.address))
			sv := s.start()
			acked, all := burst(sv.address("mx"), tt.name, 8, func(n int) {
				if n == 400 {
					sv.cmd.Process.Kill()
				}
			})
			sv.wait()
			early := sink.count()
			if tt.reply != "" && early > 0 {
				t.Fatalf("the sink took %d messages before the crash", early)
			}
			sink.refuses("dot", "")
			sv = s.start()
			s.empty()

			sink.mu.Lock()
			var lost []string
			for _, id := range acked {
				if sink.took[id] == 0 {
					lost = append(lost, id)
				}
			}
			ghosts, twice := 0, 0
			known := map[string]bool{}
			for _, id := range all {
				known[id] = true
			}
			for id, n := range sink.took {
				if !known[id] {
					t.Errorf("the sink took %s, which nobody sent", id)
				}
				twice += n - 1
			}
			ghosts = len(sink.took) - (len(acked) - len(lost))
			sink.mu.Unlock()
			t.Logf("%d answered 250, %d delivered before the crash, %d came twice, %d came whose answer the crash cut off", len(acked), early, twice, ghosts)
			if len(lost) > 0 {
				t.Errorf("%d of %d messages that were answered 250 are lost: %.300q", len(lost), len(acked), lost)
			}
			if twice > tt.beyond {
				t.Errorf("%d messages came twice, at most %d may", twice, tt.beyond)
			}
			sv.stop()
		})
	}
}

// TestCrashLargeContent crashes with messages in the queue whose content lies in files of its own.
func TestCrashLargeContent(t *testing.T) {
	const messages = 5
	sink := newSink(t)
	sink.refuses("RCPT", "451 4.3.0 not now")
	s := newSite(t, relayConfig(sink.address))
	sv := s.start()
	c := dial(t, sv.address("mx"))
	padding := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 3000)
	var ids []string
	for i := range messages {
		id := fmt.Sprintf("<large.%d@client.example>", i)
		c.want(t, "MAIL FROM:<a@client.example>", "250 ")
		c.want(t, "RCPT TO:<u@example.net>", "250 ")
		c.want(t, "DATA", "354 ")
		c.want(t, letter(id)+padding+".", "250 2.0.0 queued as ")
		ids = append(ids, id)
	}
	sv.kill()
	sink.refuses("RCPT", "")
	sv = s.start()
	s.empty()
	sink.exactly(ids)
	for _, id := range ids {
		if !strings.HasSuffix(sink.text(id), padding) {
			t.Errorf("%s came damaged", id)
		}
	}
	sv.stop()
}

// TestStopInContent stops the server while a client sends content: it may finish, and is answered.
func TestStopInContent(t *testing.T) {
	sink := newSink(t)
	s := newSite(t, relayConfig(sink.address))
	sv := s.start()
	address := sv.address("mx")
	c, idle := dial(t, address), dial(t, address)
	c.want(t, "MAIL FROM:<a@client.example>", "250 ")
	c.want(t, "RCPT TO:<u@example.net>", "250 ")
	c.want(t, "DATA", "354 ")
	const id = "<stop@client.example>"
	text := letter(id)
	if err := c.write(text[:40]); err != nil {
		t.Fatal(err)
	}
	sv.signal(syscall.SIGTERM)
	// A session between commands is told to go; when that is done, the server is stopping.
	reply, err := idle.read()
	if err != nil || !strings.HasPrefix(reply, "421 4.3.2 ") {
		t.Fatalf("the idle session: %q, %v", reply, err)
	}
	sv.alive()
	if err := c.write(text[40:] + ".\r\n"); err != nil {
		t.Fatal(err)
	}
	if reply, err = c.read(); err != nil {
		t.Fatal(err)
	}
	queued(t, reply)
	if code := sv.wait(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	s.start()
	s.empty()
	sink.exactly([]string{id})
}

// TestSideBySide runs two servers in two folders: mail goes through one to the other and on to the sink.
func TestSideBySide(t *testing.T) {
	const messages = 20
	sink := newSink(t)
	last := newSite(t, relayConfig(sink.address))
	second := last.start()
	first := newSite(t, relayConfig(second.address("mx"))).start()
	c := dial(t, first.address("mx"))
	var ids []string
	for i := range messages {
		ids = append(ids, fmt.Sprintf("<both.%d@client.example>", i))
		c.deliver(t, "u@example.net", ids[i])
	}
	first.empty()
	second.empty()
	sink.exactly(ids)
	if n := strings.Count(sink.text(ids[0]), "\r\n\tby mx.example.org with ESMTP id "); n != 2 {
		t.Errorf("%d of the two servers are in Received:\n%s", n, sink.text(ids[0]))
	}
	first.stop()
	second.alive()
	if st := second.status(); len(st.Listeners) != 1 {
		t.Errorf("the other one: %+v", st)
	}
	second.stop()
}

// TestStopWhileDelivering stops the server while the next hop keeps it waiting for the reply to the final dot.
func TestStopWhileDelivering(t *testing.T) {
	sink := newSink(t)
	waiting, release := make(chan struct{}), make(chan struct{})
	sink.hold(func() {
		close(waiting)
		<-release
	})
	s := newSite(t, relayConfig(sink.address))
	sv := s.start()
	const id = "<slow@client.example>"
	address := sv.address("mx")
	dial(t, address).deliver(t, "u@example.net", id)
	select {
	case <-waiting:
	case <-time.After(patience):
		t.Fatal("the message did not come to the sink")
	}
	sv.signal(syscall.SIGTERM)
	sv.closed(address)
	close(release)
	if code := sv.wait(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	s.start()
	s.empty()
	sink.exactly([]string{id})
}
