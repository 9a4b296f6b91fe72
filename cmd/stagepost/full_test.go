package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/store/disk"
)

// TestDiskFillsUp fills the disk under a server and frees it again: mail is refused before its content, what was accepted is delivered,
// and with space everything goes on by itself. Where the disk is full to the last byte marks wait, and nothing is sent twice for that.
func TestDiskFillsUp(t *testing.T) {
	plenty := disk.Capacity{Free: 100 << 30, Total: 200 << 30, FreeFiles: 1000, TotalFiles: 1000}
	for _, c := range []struct {
		name  string
		left  disk.Capacity
		errno error // of what is written; nil: there is a little space
	}{
		{"below the watermark", disk.Capacity{Free: 1<<30 - 1, Total: 200 << 30}, nil},
		{"few inodes", disk.Capacity{Free: 100 << 30, Total: 200 << 30, FreeFiles: 49, TotalFiles: 1000}, nil},
		{"full", disk.Capacity{Total: 200 << 30}, syscall.ENOSPC},
		{"quota", plenty, syscall.EDQUOT},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var capacity atomic.Pointer[disk.Capacity]
			var spent atomic.Bool
			capacity.Store(&plenty)
			fs := &faultFS{FS: vfs.Default, fails: func(op, _ string) error {
				if spent.Load() && strings.Contains("create write allocate mkdir", op) {
					return c.errno
				}
				return nil
			}}
			later, taking := remotetest.New(t, remotetest.Script{"MAIL": "451 4.3.0 later"}), remotetest.New(t)
			next := later.Listen()
			s := newSite(t, "hostname = \"mx.example.org\"\ndata = \"data\"\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\nrole = \"mx\"\n[queue]\nretry = [\"1s\"]\n"+
				"[plugins]\nenable = [\"relay\", \"route\"]\n[plugin.relay]\nnetworks = [\"127.0.0.0/8\"]\n[plugin.route]\ndefault = \""+next+"\"\n")
			text := &lines{}
			log, out := observe.NewLog(text, observe.LogOptions{})
			d, err := startDaemon(t.Context(), s.config, daemonOptions{log: log, console: io.Discard, fs: fs, capacity: func() (disk.Capacity, error) { return *capacity.Load(), nil }})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if t.Failed() {
					out.Flush()
					t.Log(text.take())
				}
			}()
			address := d.bound.address("mx")
			var mu sync.Mutex
			acked := map[string]bool{}
			send := func(token string, size int) string {
				r, err := trySending(address, "", token+"@example.net", "Subject: "+token+"\n\n"+strings.Repeat(strings.Repeat("x", 70)+"\n", size/71))
				if err != nil {
					return err.Error()
				}
				mu.Lock()
				defer mu.Unlock()
				acked[token] = r.Code == 250
				return r.Error()
			}
			for i := range 6 {
				if got := send(fmt.Sprintf("before-%d", i), []int{500, 100_000}[i%2]); !strings.HasPrefix(got, "250 ") {
					t.Fatal(got)
				}
			}
			begun := beginMail(t, address) // and content comes when it is too late

			capacity.Store(&c.left)
			spent.Store(c.errno != nil)
			var group sync.WaitGroup
			group.Go(func() { // where nothing shows that the disk is full, somebody has to meet it: this one waits
				if c.errno != nil {
					send("meets", 500)
				}
			})
			refused := func() bool {
				x := beginMail(t, address)
				defer x.conn.Close()
				r, err := x.ask("MAIL FROM:<>")
				return err == nil && r.Code == 452 && r.Enhanced == "4.3.1"
			}
			within(t, "MAIL is answered 452", refused)
			for _, line := range []string{"MAIL FROM:<>"} {
				if r, err := begun.ask(line); err != nil || r.Code != 452 {
					t.Errorf("a session that was open: %v, %v", r, err)
				}
			}
			begun.conn.Close()

			s.write("stagepost.toml", strings.Replace(s.read("stagepost.toml"), next, taking.Listen(), 1))
			if change := d.plugins.Reload(t.Context()); change.Err != nil {
				t.Fatal(change.Err)
			}
			if c.errno == nil { // those that are deferred when it is full are tried again when there is space
				within(t, "what was accepted is delivered and forgotten", func() bool { return len(taking.Messages()) == 6 && d.store.Health().Depth == 0 })
			}
			if !refused() {
				t.Error("mail is taken while the disk is full")
			}

			capacity.Store(&plenty)
			spent.Store(false)
			group.Wait()
			within(t, "mail is taken again", func() bool { return strings.HasPrefix(send("after", 100_000), "250 ") })
			within(t, "everything is delivered", func() bool { return d.store.Health().Depth == 0 })
			if err := d.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
			out.Close()
			came := map[string]int{}
			for _, m := range taking.Messages() {
				_, rest, _ := strings.Cut(string(m.Content), "Subject: ")
				token, _, _ := strings.Cut(rest, "\r\n")
				came[token]++
			}
			for token, taken := range acked {
				if n := came[token]; taken && n != 1 || !taken && n != 0 {
					t.Errorf("%s came %d times, acknowledged %v", token, n, taken)
				}
			}
		})
	}
}

// beginMail opens a session that may send mail.
func beginMail(t *testing.T, address string) *exchange {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	x := newExchange(conn)
	for _, line := range []string{"", "EHLO client.example"} {
		if _, err := x.ask(line); err != nil {
			t.Fatal(err)
		}
	}
	conn.SetDeadline(time.Time{})
	return x
}
