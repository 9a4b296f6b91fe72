package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Sizes of the small file system: mail is refused when less than 1 GiB of it is free.
const (
	smallDisk = 1300 << 20
	watermark = 1 << 30
)

// smallRig is a server whose data folder has a file system of its own, before a sink that takes nothing yet.
type smallRig struct {
	*server
	sink   *sink
	client *client
	ids    []string
}

func newSmallRig(t *testing.T, options ...string) *smallRig {
	t.Helper()
	sink := newSink(t)
	sink.refuses("RCPT", "451 4.3.0 not now")
	s := newSite(t, relayConfig(sink.address))
	data := s.path("data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("stagepost-e2e", data, "tmpfs", 0, strings.Join(append(options, fmt.Sprintf("size=%d", smallDisk)), ",")); err != nil {
		t.Skipf("left out: a small file system cannot be mounted: %v", err)
	}
	t.Cleanup(func() { // after the server ended, which is cleaned up before
		if err := syscall.Unmount(data, syscall.MNT_DETACH); err != nil {
			t.Errorf("%s is still mounted: %v", data, err)
		}
	})
	sv := s.start()
	return &smallRig{server: sv, sink: sink, client: dial(t, sv.address("mx"))}
}

func (r *smallRig) accept(messages int) {
	r.t.Helper()
	for range messages {
		id := fmt.Sprintf("<full.%d@client.example>", len(r.ids))
		r.ids = append(r.ids, id)
		r.client.deliver(r.t, "u@example.net", id)
	}
}

// answers waits until MAIL is answered so. Free space is looked at about once a second.
func (r *smallRig) answers(want string) {
	r.t.Helper()
	eventually(r.t, want+"to MAIL", func() (bool, any) {
		reply, err := r.client.ask("MAIL FROM:<a@client.example>")
		if err != nil {
			r.t.Fatal(err)
		}
		if strings.HasPrefix(reply, "250 ") {
			r.client.want(r.t, "RSET", "250 ")
		}
		return strings.HasPrefix(reply, want), reply
	})
}

// TestLowDisk fills the disk below the watermark: mail is refused for the time being and deliveries go on.
func TestLowDisk(t *testing.T) {
	r := newSmallRig(t)
	r.accept(10)
	reserve(t, r.path("data/filler"), free(t, r.path("data"))-watermark+64<<20)
	r.answers("452 4.3.1 ")
	r.sink.refuses("RCPT", "")
	r.empty()
	r.sink.exactly(r.ids)
	r.remove("data/filler")
	r.answers("250 ")
	r.accept(10)
	r.empty()
	r.sink.exactly(r.ids)
	r.stop()
}

// TestFewInodes leaves the disk with space but with fewer than one inode in twenty: mail is refused likewise.
func TestFewInodes(t *testing.T) {
	const inodes = 4000
	r := newSmallRig(t, fmt.Sprintf("nr_inodes=%d", inodes))
	r.accept(10)
	if err := os.Mkdir(r.path("data/fillers"), 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range inodes * 96 / 100 {
		f, err := os.Create(r.path(fmt.Sprintf("data/fillers/%d", i)))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	r.answers("452 4.3.1 ")
	if h := r.status().Health; !strings.Contains(h, "too few inodes") {
		t.Errorf("health: %s", h)
	}
	r.sink.refuses("RCPT", "")
	r.empty()
	if err := os.RemoveAll(r.path("data/fillers")); err != nil {
		t.Fatal(err)
	}
	r.answers("250 ")
	r.accept(10)
	r.empty()
	r.sink.exactly(r.ids)
	r.stop()
}

// TestFullDisk fills the disk to the last byte while there is much to write, until the store waits for space. Then nothing is
// accepted and nothing is lost, commands are answered, and with space everything goes on without a restart.
func TestFullDisk(t *testing.T) {
	r := newSmallRig(t)
	r.accept(2000)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for waits := 0; waits < 10; waits++ { // in a row, for a second: what the store frees by itself is taken too
		if !r.waitsForSpace() {
			waits = 0
		}
		fill(t, r.path("data/filler"))
		select {
		case <-ctx.Done():
			t.Fatalf("the store still finds space after %s", patience)
		case <-time.After(100 * time.Millisecond):
		}
	}
	r.answers("452 4.3.1 ")
	r.alive()
	if q := r.status().Queue; q.Messages != int64(len(r.ids)) {
		t.Errorf("status while the disk is full: %+v", q)
	}
	r.sink.refuses("RCPT", "")
	r.remove("data/filler")
	r.answers("250 ")
	r.accept(10)
	r.empty()
	r.sink.exactly(r.ids)
	r.stop()
	again := r.site.start()
	r.empty()
	r.sink.exactly(r.ids)
	again.stop()
}

// waitsForSpace tells whether the last that the log says of the disk is that it is full.
func (r *smallRig) waitsForSpace() bool {
	return r.console.last(`"msg":"store: the disk is full`) > r.console.last(`"msg":"store: there is space on the disk again`)
}

func free(t testing.TB, dir string) int64 {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Bavail) * int64(st.Bsize)
}

// reserve makes a file that takes n bytes.
func reserve(t testing.TB, name string, n int64) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Fallocate(int(f.Fd()), 0, 0, n); err != nil {
		t.Fatal(err)
	}
}

// fill lengthens a file as far as there is room.
func fill(t testing.TB, name string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
