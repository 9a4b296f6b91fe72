package service

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/password"
)

// pencil is what is kept of that password: the example of RFC 7677.
const pencil = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

func TestPassword(t *testing.T) {
	argon2id, err := password.New("grüße", false)
	if err != nil {
		t.Fatal(err)
	}
	newOutside(t, Options{}, &capability.Needs{}).in(func(c *Context) {
		check(t, c, []call{
			{name: "password.verify", args: list(pencil, "pencil"), want: true},
			{name: "password.verify", args: list(pencil, "pencils"), want: false},
			{name: "password.verify", args: list(argon2id, "gru\u0308\u00dfe"), want: true},
			{name: "password.verify", args: list(argon2id, strings.Repeat("x", 1<<20)), want: false},
			{name: "password.verify", args: list(pencil, "pencil"), err: "more than 4 passwords in one hook call"},
			{name: "password.verify", args: list("{SSHA}abc", "pencil"), err: "the hash cannot be used: the scheme {SSHA} is not known"},
			{name: "password.scheme", args: list(pencil), want: "scram-sha-256"},
			{name: "password.scheme", args: list(argon2id), want: "argon2id"},
			{name: "password.scheme", args: list("pencil"), err: "the hash cannot be used: it names no scheme"},
		})
	})
	loading := NewHost(Options{}).Context("vip", &capability.Needs{}, nil)
	check(t, loading, []call{
		{name: "password.scheme", args: list(pencil), want: "scram-sha-256"},
		{name: "password.verify", args: list(pencil, "pencil"), err: "it does not work while the plugin loads"},
	})
}

// TestPasswordCharge: what a check costs is charged before it is done.
func TestPasswordCharge(t *testing.T) {
	o := newOutside(t, Options{}, &capability.Needs{})
	steps := 0
	o.c.charge = func(n, _ int) error { steps += n; return nil }
	o.in(func(c *Context) {
		check(t, c, []call{{name: "password.verify", args: list(pencil, "pencil"), want: true}})
	})
	if steps < checkSteps {
		t.Errorf("%d steps", steps)
	}
}

// TestPasswordsAtOnce: a check waits while others use what there is, until its deadline, and leaves all of it behind.
func TestPasswordsAtOnce(t *testing.T) {
	o := newOutside(t, Options{}, &capability.Needs{})
	all := o.c.host.checks
	if !all.Take(checkMemory, time.Now()) {
		t.Fatal("something is taken at the beginning")
	}
	o.timeout = time.Millisecond
	o.in(func(c *Context) {
		check(t, c, []call{{name: "password.verify", args: list(pencil, "pencil"), err: "there was no turn in time"}})
	})
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			other := &outside{t, o.c.host.Context("vip", &capability.Needs{}, nil), o.session, nil, time.Minute}
			other.in(func(c *Context) {
				check(t, c, []call{{name: "password.verify", args: list(pencil, "pencil"), want: true}})
			})
		})
	}
	all.Give(checkMemory)
	wait.Wait()
	if free := all.Free(); free != checkMemory {
		t.Errorf("%d bytes are free afterwards, of %d", free, int64(checkMemory))
	}
}

func TestPasswordPart(t *testing.T) {
	q := checks{nil, checkMemory / 4}
	for _, tt := range []struct {
		h    password.Hash
		want int64
	}{
		{password.Hash{Threads: 1}, checkMemory / 4},
		{password.Hash{Threads: 2, Memory: 1 << 20}, checkMemory / 2},
		{password.Hash{Threads: 16, Memory: 1 << 20}, checkMemory},
		{password.Hash{Threads: 1, Memory: 100 << 20}, 100 << 20},
	} {
		if got := q.part(&tt.h); got != tt.want {
			t.Errorf("%+v: %d, want %d", tt.h, got, tt.want)
		}
	}
}
