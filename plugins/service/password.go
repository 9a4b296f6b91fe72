package service

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/stagepost/stagepost/core/password"
	"github.com/stagepost/stagepost/plugins/pool"
)

// Bounds of password. A check costs more than the steps that a hook has, so it is charged a part of them, and what all hooks check at once
// is bounded by a quota of memory, of which each takes its share of the CPUs, too.
const (
	maxChecks   = 4 // in one hook call
	checkSteps  = 100_000
	checkMemory = 256 << 20 // bytes, over the whole server
)

func passwordService() Service {
	return Service{Name: "password", Doc: "Checks passwords against what is kept of them: argon2id as $argon2id$..., bcrypt as $2a$, $2b$ or $2y$, and the keys of SCRAM-SHA-256 as SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey. " +
		"Passwords are compared as SASLprep (RFC 4013) has them. A hash that demands more than 128 MiB or about a second is an error, and so is one that would not protect anything. " +
		"A hook may check 4 in one call; over the whole server about half of the CPUs check at once, and the others wait, as long as their hooks' time allows.",
		Funcs: []Func{
			{
				Name: "password.verify", Args: []Arg{{Name: "hash", Kind: String}, {Name: "password", Kind: String}}, Result: "boolean",
				Doc: "Whether the password is the one of the hash. For a name that is not there, verify against a hash of the same kind of no password, so that the time does not tell who is there.",
				Call: func(c *Context, args []any) (any, error) {
					return c.verify(args[0].(string), args[1].(string))
				},
			},
			{
				Name: "password.scheme", Args: []Arg{{Name: "hash", Kind: String}}, Result: "string", AtLoad: true, Pure: true,
				Doc: `The kind of a hash that password.verify takes: "argon2id", "bcrypt" or "scram-sha-256". The error for another says what is wrong with it.`,
				Call: func(c *Context, args []any) (any, error) {
					h, err := c.parseHash(args[0].(string))
					if err != nil {
						return nil, err
					}
					return h.Scheme, nil
				},
			},
		},
	}
}

func (c *Context) parseHash(text string) (*password.Hash, error) {
	if err := c.spend(100, 1<<10); err != nil {
		return nil, err
	}
	h, err := password.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("the hash cannot be used: %w", err)
	}
	return h, nil
}

func (c *Context) verify(hash, text string) (any, error) {
	h, err := c.parseHash(hash)
	if err != nil {
		return nil, err
	}
	if c.checks++; c.checks > maxChecks {
		return nil, fmt.Errorf("more than %d passwords in one hook call", maxChecks)
	}
	if err := c.spend(checkSteps, 0); err != nil {
		return nil, err
	}
	c.call.Context() // the call waits, and whoever computes meanwhile has its turn
	n := c.host.checks.part(h)
	if !c.host.checks.Take(n, c.call.Deadline()) {
		return nil, errors.New("too many passwords are being checked: there was no turn in time")
	}
	defer c.host.checks.Give(n)
	return h.Verify(text), nil
}

// checks are the passwords that are checked at once.
type checks struct {
	*pool.Quota
	cpu int64 // what a check takes for each CPU that it keeps busy
}

func newChecks() checks {
	return checks{pool.NewQuota(checkMemory), checkMemory / int64(max(1, runtime.GOMAXPROCS(0)/2))}
}

// part is what a check takes of the quota, never more than there is.
func (q checks) part(h *password.Hash) int64 {
	return min(checkMemory, max(int64(h.Memory), int64(h.Threads)*q.cpu))
}
