package gate

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/fstest"
	"time"
)

// rig is a gate with a clock and readings of its own.
type rig struct {
	*Gate
	now   time.Time
	reads int
	next  Reading
}

func newRig() *rig {
	r := &rig{now: time.Unix(1_000_000, 0)}
	r.Gate = New(Options{Now: func() time.Time { return r.now }, Read: func() Reading { r.reads++; return r.next }})
	return r
}

func TestClients(t *testing.T) {
	four := netip.MustParseAddr("192.0.2.1")
	for _, c := range []struct {
		name, a, b string
		one        bool // they count as one client
	}{
		{"the same IPv4 address", "192.0.2.1", "192.0.2.1", true},
		{"its neighbour", "192.0.2.1", "192.0.2.2", false},
		{"written as IPv6", "192.0.2.1", "::ffff:192.0.2.1", true},
		{"mapped neighbours", "::ffff:192.0.2.1", "::ffff:192.0.2.2", false},
		{"the same /64", "2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true},
		{"the next /64", "2001:db8::1", "2001:db8:0:1::1", false},
		{"another zone", "fe80::1%eth0", "fe80::2%eth1", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig()
			l := Limits{Sessions: 100, SessionsPerIP: 2}
			for range 2 {
				if why := r.Enter(netip.MustParseAddr(c.a), l); why != Admitted {
					t.Fatal(why)
				}
			}
			want := Admitted
			if c.one {
				want = PerClient
			}
			if got := r.Enter(netip.MustParseAddr(c.b), l); got != want {
				t.Errorf("%d, want %d", got, want)
			}
			r.Leave(netip.MustParseAddr(c.a))
			if got := r.Enter(netip.MustParseAddr(c.b), l); got != Admitted {
				t.Errorf("%d after one left", got)
			}
		})
	}
	r := newRig()
	for range 5 {
		if why := r.Enter(netip.Addr{}, Limits{Sessions: 5, SessionsPerIP: 1}); why != Admitted {
			t.Fatalf("no address: %d", why)
		}
	}
	if why := r.Enter(four, Limits{Sessions: 5, SessionsPerIP: 1}); why != Full {
		t.Errorf("%d where all are taken", why)
	}
}

// Nothing is kept of clients that left.
func TestLeave(t *testing.T) {
	r := newRig()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 1000 {
				ip := netip.AddrFrom4([4]byte{10, byte(i % 3), byte(j >> 8), byte(j)})
				if r.Enter(ip, Limits{Sessions: 1000, SessionsPerIP: 10}) == Admitted {
					r.Leave(ip)
				}
			}
		})
	}
	all.Wait()
	if r.Open() != 0 || len(r.clients) != 0 {
		t.Errorf("%d sessions of %d clients", r.Open(), len(r.clients))
	}
}

func TestWatermarks(t *testing.T) {
	for _, c := range []struct {
		Reading
		want Reason
	}{
		{Reading{}, Admitted},
		{Reading{Memory: 1 << 40}, Admitted}, // no limit
		{Reading{Memory: 849, MemoryLimit: 1000}, Admitted},
		{Reading{Memory: 850, MemoryLimit: 1000}, Memory},
		{Reading{Files: 47, FileLimit: 64}, Admitted},
		{Reading{Files: 48, FileLimit: 64}, Descriptors},
		{Reading{Files: 767, FileLimit: 1024}, Admitted},
		{Reading{Files: 768, FileLimit: 1024}, Descriptors},
		{Reading{Files: 20000 - 1025, FileLimit: 20000}, Admitted},
		{Reading{Files: 20000 - 1024, FileLimit: 20000}, Descriptors},
		{Reading{Files: 5, FileLimit: 10}, Descriptors}, // less than the reserve
	} {
		if got := c.Reached(); got != c.want {
			t.Errorf("%+v: %d, want %d", c.Reading, got, c.want)
		}
	}
}

// A reading is taken once a second, and what was let in since counts.
func TestReadings(t *testing.T) {
	r := newRig()
	ip, l := netip.MustParseAddr("192.0.2.1"), Limits{Sessions: 1000, SessionsPerIP: 1000}
	r.next = Reading{Files: 38, FileLimit: 64}
	for i := range 10 {
		if why := r.Enter(ip, l); why != Admitted {
			t.Fatalf("session %d: %d", i, why)
		}
	}
	if why := r.Enter(ip, l); why != Descriptors {
		t.Errorf("%d with 48 files open", why)
	}
	r.now = r.now.Add(time.Second - 1)
	if why := r.Enter(ip, l); why != Descriptors || r.reads != 1 {
		t.Errorf("%d after %d readings", why, r.reads)
	}
	r.now = r.now.Add(1)
	if why := r.Enter(ip, l); why != Admitted || r.reads != 2 {
		t.Errorf("%d after %d readings", why, r.reads)
	}
	r.next = Reading{Memory: 90, MemoryLimit: 100}
	r.now = r.now.Add(-time.Hour) // the clock was set
	if why := r.Enter(ip, l); why != Memory || !r.Stressed() {
		t.Errorf("%d, stressed %t", why, r.Stressed())
	}
	if r.reads != 3 {
		t.Errorf("%d readings", r.reads)
	}
}

func TestStress(t *testing.T) {
	r := newRig()
	ip, l := netip.MustParseAddr("192.0.2.1"), Limits{Sessions: 10, SessionsPerIP: 10}
	var got string
	for range 10 {
		r.Enter(ip, l)
		got += fmt.Sprintf("%t ", r.Stressed())
	}
	for range 3 {
		r.Leave(ip)
		got += fmt.Sprintf("%t ", r.Stressed())
	}
	if want := "false false false false false false false true true true true true false "; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestTell(t *testing.T) {
	r := newRig()
	told := 0
	for range 100 {
		if r.Tell() {
			told++
		}
		r.now = r.now.Add(100 * time.Millisecond)
	}
	if told != 10 {
		t.Errorf("told %d times in ten seconds", told)
	}
}

func TestMemoryOf(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	info := file("MemFree: 1 kB\nMemTotal:  2048 kB\n")
	for _, c := range []struct {
		name string
		root fstest.MapFS
		want int64
	}{
		{"another system", fstest.MapFS{}, 0},
		{"no group", fstest.MapFS{"proc/meminfo": info}, 2048 << 10},
		{"a group without a bound", fstest.MapFS{"proc/meminfo": info, "proc/self/cgroup": file("0::/a.slice/b\n"), "sys/fs/cgroup/a.slice/b/memory.max": file("max\n")}, 2048 << 10},
		{"a group with one", fstest.MapFS{"proc/meminfo": info, "proc/self/cgroup": file("0::/a.slice/b\n"), "sys/fs/cgroup/a.slice/b/memory.max": file("1000000\n")}, 1000000},
		{"a group above with one", fstest.MapFS{"proc/meminfo": info, "proc/self/cgroup": file("0::/a.slice/b\n"),
			"sys/fs/cgroup/a.slice/memory.max": file("500000\n"), "sys/fs/cgroup/a.slice/b/memory.max": file("1000000\n")}, 500000},
		{"in a container", fstest.MapFS{"proc/meminfo": info, "proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("700000\n")}, 700000},
		{"more than the machine has", fstest.MapFS{"proc/meminfo": info, "proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("700000000000\n")}, 2048 << 10},
		{"version 1", fstest.MapFS{"proc/meminfo": info, "proc/self/cgroup": file("5:cpu:/x\n4:memory:/docker/x\n0::/\n"),
			"sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": file("600000\n"), "sys/fs/cgroup/memory/memory.limit_in_bytes": file("9223372036854771712\n")}, 600000},
	} {
		if got := MemoryOf(c.root); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// What this process says of itself makes sense.
func TestProcess(t *testing.T) {
	r := newProcess().read()
	if r.Memory <= 0 {
		t.Errorf("%d bytes of memory", r.Memory)
	}
	if r.FileLimit > 0 && (r.Files <= 0 || r.Files > r.FileLimit) {
		t.Errorf("%d files of %d", r.Files, r.FileLimit)
	}
}
