package deliver

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
)

// single is a Sender with one server, at 192.0.2.1.
func single(t *testing.T, o Options, scripts ...remotetest.Script) (*Sender, *remotetest.Remote, *remotetest.Net) {
	remote := remotetest.New(t, scripts...)
	network := &remotetest.Net{Remotes: map[string]*remotetest.Remote{"192.0.2.1:25": remote}}
	return newSender(t, network, o), remote, network
}

// direct is a job for 192.0.2.1.
func direct(t *testing.T, rcpts ...string) *Job {
	job := newJob(t, memory(plain), rcpts...)
	job.Plan = &message.Plan{Hosts: []string{"192.0.2.1:25"}}
	return job
}

func expect(t *testing.T, s *Sender, job *Job, want string) {
	t.Helper()
	if got := briefs(s.Send(t.Context(), job)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// With PIPELINING a message on a connection takes two writes.
func TestReuse(t *testing.T) {
	s, remote, _ := single(t, Options{})
	var details []string
	job := direct(t, "u@y.test", "v@y.test")
	job.Record = func(s observe.Step) { details = append(details, s.Detail) }
	for range 3 {
		expect(t, s, job, "delivered, delivered")
	}
	if n := len(remote.Conns()); n != 1 {
		t.Fatalf("%d connections, want 1", n)
	}
	c := remote.Conns()[0]
	if got, want := verbs(c.Commands()), "EHLO"+strings.Repeat(" MAIL RCPT RCPT DATA .", 3); got != want {
		t.Errorf("commands %s, want %s", got, want)
	}
	if c.Segments() != 1+3*2 {
		t.Errorf("%d writes, want 7", c.Segments())
	}
	if details[0] != "[192.0.2.1]:25 new, 250 2.0.0 taken" || details[2] != "[192.0.2.1]:25 reused, 250 2.0.0 taken" {
		t.Errorf("details %q", details)
	}
}

// Connections are not shared between what must not be.
func TestNoReuseAcrossKeys(t *testing.T) {
	remote := remotetest.New(t)
	network := &remotetest.Net{Remotes: map[string]*remotetest.Remote{"192.0.2.1:25": remote, "192.0.2.2:25": remote, "192.0.2.1:26": remote}}
	s := newSender(t, network, Options{})
	plans := []*message.Plan{
		{Hosts: []string{"192.0.2.1:25"}},
		{Hosts: []string{"192.0.2.2:25"}},
		{Hosts: []string{"192.0.2.1:26"}},
		{Hosts: []string{"192.0.2.1:25"}, Via: "lmtp"},
		{Hosts: []string{"192.0.2.1:25"}, Helo: "other.x.test"},
	}
	for range 2 {
		for _, plan := range plans {
			job := newJob(t, memory(plain), "u@y.test")
			job.Plan = plan
			expect(t, s, job, "delivered")
		}
	}
	if n := len(remote.Conns()); n != len(plans) {
		t.Errorf("%d connections, want %d", n, len(plans))
	}
	for _, c := range remote.Conns() {
		if n := strings.Count(verbs(c.Commands()), "DATA"); n != 2 {
			t.Errorf("%s: %d messages, want 2", c.Commands()[0], n)
		}
	}
	// The same server under other names, and for another domain, is the same connection.
	job := newJob(t, memory(plain), "u@y.test")
	expect(t, s, job, "delivered")
	if n := len(remote.Conns()); n != len(plans) {
		t.Errorf("%d connections after a message by MX, want %d", n, len(plans))
	}
}

// An idle connection that the server has given up costs nobody anything, once. The answers of one that is not idle count.
func TestStaleConnection(t *testing.T) {
	for _, c := range []struct {
		name  string
		first remotetest.Script // its first message is delivered
		want  string            // of the second
		conns int
	}{
		{"closed", remotetest.Script{"dot": "250 2.0.0 ok | close"}, "delivered", 2},
		{"closed at MAIL", remotetest.Script{"MAIL#2": "close"}, "delivered", 2},
		{"421 before", remotetest.Script{"dot": "250 2.0.0 ok", "MAIL#2": "421 4.4.2 idle | close"}, "delivered", 2},
		{"421 and closed", remotetest.Script{"dot": "250 2.0.0 ok\n421 4.4.2 idle | close"}, "delivered", 2},
		{"silent", remotetest.Script{"MAIL#2": "silent"}, "deferred 451 4.4.2", 1},
		{"garbage", remotetest.Script{"MAIL#2": "raw \r\n"}, "deferred 451 4.5.0", 1},
		{"refused", remotetest.Script{"MAIL#2": "451 4.7.1 later"}, "deferred 451 4.7.1", 1},
		{"closed at RCPT", remotetest.Script{"RCPT#2": "close"}, "deferred 451 4.4.2", 1},
		{"421 at RCPT", remotetest.Script{"RCPT#2": "421 4.3.2 bye | close"}, "deferred 421 4.3.2", 1},
		{"closed at the dot", remotetest.Script{"dot#2": "close"}, "deferred 451 4.4.2 unknown", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, remote, _ := single(t, Options{}, c.first, remotetest.Script{})
				expect(t, s, direct(t, "u@y.test"), "delivered")
				synctest.Wait()
				var steps []observe.Step
				job := direct(t, "u@y.test")
				job.Record = func(s observe.Step) { steps = append(steps, s) }
				expect(t, s, job, c.want)
				if n := len(remote.Conns()); n != c.conns {
					t.Errorf("%d connections, want %d", n, c.conns)
				}
				if len(steps) != 1 || c.conns == 2 && !strings.Contains(steps[0].Detail, " new, ") {
					t.Errorf("steps %v", steps)
				}
			})
		})
	}
}

// A stale connection is replaced once: the next failure is that of the host.
func TestStaleConnectionOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, remote, _ := single(t, Options{}, remotetest.Script{"MAIL#2": "close"}, remotetest.Script{"MAIL": "close"})
		expect(t, s, direct(t, "u@y.test"), "delivered")
		expect(t, s, direct(t, "u@y.test"), "deferred 451 4.4.2")
		if n := len(remote.Conns()); n != 2 {
			t.Errorf("%d connections, want 2", n)
		}
	})
}

// After a transaction that was not ended by a dot the next one begins with a RSET, in the same write.
func TestReset(t *testing.T) {
	stepwise := "250 remote.test"
	for _, c := range []struct {
		name     string
		script   remotetest.Script
		first    string
		second   string
		commands string
		conns    int
	}{
		{"sender refused", remotetest.Script{"MAIL#1": "550 5.7.1 no"}, "failed 550 5.7.1", "delivered", "MAIL RCPT DATA MAIL RCPT DATA .", 1},
		{"recipient refused", remotetest.Script{"RCPT#1": "550 5.1.1 no"}, "failed 550 5.1.1", "delivered", "MAIL RCPT DATA RSET MAIL RCPT DATA .", 1},
		{"recipient refused, stepwise", remotetest.Script{"EHLO": stepwise, "RCPT#1": "550 5.1.1 no"}, "failed 550 5.1.1", "delivered", "MAIL RCPT RSET MAIL RCPT DATA .", 1},
		{"DATA refused", remotetest.Script{"DATA#1": "451 4.3.0 no"}, "deferred 451 4.3.0", "delivered", "MAIL RCPT DATA RSET MAIL RCPT DATA .", 1},
		{"RSET refused", remotetest.Script{"DATA#1": "451 4.3.0 no", "RSET": "500 what"}, "deferred 451 4.3.0", "delivered", "MAIL RCPT DATA RSET MAIL", 2},
		// It may have been said before the end of the content; a second reply would be taken for that of the next MAIL.
		{"dot refused", remotetest.Script{"dot#1": "550 5.7.1 no"}, "failed 550 5.7.1", "delivered", "MAIL RCPT DATA . QUIT", 2},
		{"a reply too many", remotetest.Script{"dot#1": "raw 250 a\r\n250 b\r\n"}, "delivered", "delivered", "MAIL RCPT DATA . QUIT", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, remote, _ := single(t, Options{}, c.script, remotetest.Script{})
				expect(t, s, direct(t, "u@y.test"), c.first)
				synctest.Wait()
				expect(t, s, direct(t, "u@y.test"), c.second)
				synctest.Wait()
				if got := verbs(remote.Conns()[0].Commands()[1:]); got != c.commands {
					t.Errorf("commands %s, want %s", got, c.commands)
				}
				if n := len(remote.Conns()); n != c.conns {
					t.Errorf("%d connections, want %d", n, c.conns)
				}
			})
		})
	}
}

// The bounds of the pool: messages on a connection, time, connections to one server and in all.
func TestPoolBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, remote, _ := single(t, Options{MaxMessages: 3})
		for range 7 {
			expect(t, s, direct(t, "u@y.test"), "delivered")
		}
		synctest.Wait()
		var counts []string
		for _, c := range remote.Conns() {
			counts = append(counts, verbs(c.Commands()))
		}
		three := "EHLO" + strings.Repeat(" MAIL RCPT DATA .", 3) + " QUIT"
		if len(counts) != 3 || counts[0] != three || counts[1] != three || counts[2] != "EHLO MAIL RCPT DATA ." {
			t.Errorf("connections %q", counts)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s, remote, _ := single(t, Options{})
		expect(t, s, direct(t, "u@y.test"), "delivered")
		time.Sleep(9 * time.Second)
		expect(t, s, direct(t, "u@y.test"), "delivered")
		time.Sleep(9 * time.Second)
		expect(t, s, direct(t, "u@y.test"), "delivered")
		if n := len(remote.Conns()); n != 1 {
			t.Errorf("%d connections before the idle time, want 1", n)
		}
		start := time.Now()
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		if got := remote.Conns()[0].Commands(); got[len(got)-1] != "QUIT" {
			t.Errorf("%v later the last command is %s, want QUIT", time.Since(start), got[len(got)-1])
		}
		expect(t, s, direct(t, "u@y.test"), "delivered")
		if n := len(remote.Conns()); n != 2 {
			t.Errorf("%d connections after the idle time, want 2", n)
		}
	})
	for _, c := range []struct {
		o        Options
		addrs    int
		want     int // idle connections left
		parallel int
	}{
		{Options{MaxIdleSame: 2}, 1, 2, 5},
		{Options{}, 1, 5, 5},
		{Options{MaxIdle: 3}, 3, 3, 2},
		{Options{MaxIdle: -1}, 2, 0, 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			slow := remotetest.Script{"dot": "drip 250 ok"} // so that all are open at once
			remote := remotetest.New(t, slow)
			network := &remotetest.Net{Remotes: map[string]*remotetest.Remote{}}
			s := newSender(t, network, c.o)
			var wait sync.WaitGroup
			for i := range c.addrs {
				addr := fmt.Sprintf("192.0.2.%d:25", i+1)
				network.Remotes[addr] = remote
			}
			for i := range c.addrs {
				for range c.parallel {
					job := newJob(t, memory(plain), "u@y.test")
					job.Plan = &message.Plan{Hosts: []string{fmt.Sprintf("192.0.2.%d:25", i+1)}}
					wait.Go(func() { expect(t, s, job, "delivered") })
				}
			}
			wait.Wait()
			synctest.Wait()
			left := 0
			for _, conn := range remote.Conns() {
				if got := conn.Commands(); got[len(got)-1] != "QUIT" {
					left++
				}
			}
			if left != c.want || len(remote.Conns()) != c.addrs*c.parallel {
				t.Errorf("%+v: %d of %d connections are kept, want %d", c.o, left, len(remote.Conns()), c.want)
			}
		})
	}
}

// Close ends what is idle and waits for nobody long.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, remote, _ := single(t, Options{}, remotetest.Script{"QUIT": "silent"})
		expect(t, s, direct(t, "u@y.test"), "delivered")
		start := time.Now()
		s.Close()
		if took := time.Since(start); took != quitTime {
			t.Errorf("Close took %v, want %v", took, quitTime)
		}
		if got := verbs(remote.Conns()[0].Commands()); got != "EHLO MAIL RCPT DATA . QUIT" {
			t.Errorf("commands %s", got)
		}
	})
}

// Idle connections of keys that are not used again leave nothing behind.
func TestPoolForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		remote := remotetest.New(t)
		network := &remotetest.Net{Remotes: map[string]*remotetest.Remote{}}
		s := newSender(t, network, Options{})
		for i := range 50 {
			network.Remotes[fmt.Sprintf("192.0.2.%d:25", i+1)] = remote
			job := newJob(t, memory(plain), "u@y.test")
			job.Plan = &message.Plan{Hosts: []string{fmt.Sprintf("192.0.2.%d:25", i+1)}}
			expect(t, s, job, "delivered")
			expect(t, s, job, "delivered")
			time.Sleep(time.Second)
		}
		size := func() (keys, connections int) {
			s.idle.mu.Lock()
			defer s.idle.mu.Unlock()
			return len(s.idle.idle), s.idle.count
		}
		if n, _ := size(); n > 11 {
			t.Errorf("%d keys are kept, want at most those of the last ten seconds", n)
		}
		time.Sleep(20 * time.Second)
		if n, m := size(); n != 0 || m != 0 {
			t.Errorf("%d keys and %d connections are left", n, m)
		}
	})
}
