package throttle

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// clock is a time that passes when it is told to.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

func (c *clock) pass(d time.Duration) { c.Time = c.Add(d) }

func newFailures() (*Failures, *clock) {
	c := &clock{time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}
	return New(c.now), c
}

func ip(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)}) }

// fail fails so often, and tells how many tries were allowed.
func fail(f *Failures, n int, account string, from netip.Addr) (allowed int) {
	for range n {
		if _, wait := f.Try(account, from); wait == 0 {
			allowed++
		}
	}
	return allowed
}

// TestAccount: guessing at one account from many places ends, and the waits grow up to a bound.
func TestAccount(t *testing.T) {
	f, c := newFailures()
	for i := range freeAccount {
		if fail(f, 1, "joe", ip(i)) != 1 {
			t.Fatalf("try %d was held back", i)
		}
	}
	for _, want := range []time.Duration{10, 20, 40, 80, 160, 320, 640, 900, 900} {
		_, wait := f.Try("joe", ip(999))
		if wait != want*time.Second {
			t.Errorf("the wait is %s, want %s", wait, want*time.Second)
		}
		if c.pass(wait - time.Second); fail(f, 3, "joe", ip(999)) != 0 {
			t.Error("the wait was shorter")
		}
		if c.pass(time.Second); fail(f, 1, "joe", ip(999)) != 1 {
			t.Error("the wait was longer")
		}
	}
	if fail(f, 1, "ann", ip(1)) != 1 {
		t.Error("another account has to wait")
	}
	if c.pass(forget); fail(f, freeAccount+1, "joe", ip(1)) != freeAccount {
		t.Error("it is not forgotten")
	}
}

// TestNetwork: guessing at many accounts from one network ends.
func TestNetwork(t *testing.T) {
	f, _ := newFailures()
	allowed := 0
	for i := range 100 {
		a := netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i+1)) // of one /64
		allowed += fail(f, 1, fmt.Sprint("user", i), a)
	}
	if allowed != freeNetwork {
		t.Errorf("%d tries, want %d", allowed, freeNetwork)
	}
	if fail(f, 1, "user", netip.MustParseAddr("2001:db8:0:1::1")) != 1 {
		t.Error("another network has to wait")
	}
}

// TestAtOnce: tries that have not ended count.
func TestAtOnce(t *testing.T) {
	f, _ := newFailures()
	var tries []*Try
	for range 100 {
		if try, wait := f.Try("joe", ip(1)); wait == 0 {
			tries = append(tries, try)
		}
	}
	if len(tries) != freeAccount {
		t.Errorf("%d tries at once", len(tries))
	}
	for _, try := range tries {
		try.Unknown()
	}
	if n := fail(f, 100, "joe", ip(1)); n != freeAccount {
		t.Errorf("%d tries after those of which nobody could tell", n)
	}
}

// TestKnown: others cannot lock out an account from where it is used, and it locks out nobody else there.
func TestKnown(t *testing.T) {
	f, _ := newFailures()
	home := ip(1)
	try, _ := f.Try("joe", home)
	try.OK()
	fail(f, 100, "joe", ip(2))
	for range 100 {
		fail(f, 1, "nobody", home)
		fail(f, 1, "nobody2", home)
		fail(f, 1, "nobody3", home)
		fail(f, 1, "nobody4", home)
	}
	if try, wait := f.Try("joe", home); wait > 0 {
		t.Errorf("joe has to wait %s at home", wait)
	} else {
		try.OK()
	}
	if _, wait := f.Try("ann", home); wait == 0 {
		t.Error("the network does not have to wait")
	}
	f, c := newFailures()
	try, _ = f.Try("joe", home)
	try.OK()
	if n := fail(f, 100, "joe", home); n != freeAccount {
		t.Errorf("joe may try %d times at home", n)
	}
	if fail(f, 1, "ann", home) != 1 || fail(f, 1, "joe", ip(2)) != 1 {
		t.Error("joe's old password holds back others")
	}
	if c.pass(know); fail(f, 1, "joe", home) != 1 || len(f.known) != 1 {
		t.Error("after a long time")
	}
	if n := fail(f, 100, "joe", home); n != freeAccount-1 {
		t.Errorf("joe may try %d times more where he is not known any longer", n)
	}
}

// TestOthersWait: a log-in that succeeds does not lift the wait that others' failures brought about.
func TestOthersWait(t *testing.T) {
	f, c := newFailures()
	mine, _ := f.Try("mallory", ip(1))
	for i := range freeNetwork - 1 {
		fail(f, 1, fmt.Sprint("user", i), ip(1))
	}
	mine.OK()
	if _, wait := f.Try("ann", ip(1)); wait == 0 {
		t.Error("nobody has to wait")
	}
	c.pass(forget)
	if fail(f, 1, "ann", netip.Addr{}) != 1 || fail(f, 1, "", netip.Addr{}) != 1 {
		t.Error("without an address or an account")
	}
}

// TestBounded: however many fail, so many are remembered.
func TestBounded(t *testing.T) {
	f, c := newFailures()
	fail(f, freeAccount, "joe", ip(1))
	c.pass(time.Minute)
	for i := range maxEntries {
		fail(f, 1, fmt.Sprint("user", i), ip(i%5000))
	}
	if len(f.failed) != maxEntries {
		t.Errorf("%d entries", len(f.failed))
	}
}
