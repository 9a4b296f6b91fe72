package service

import (
	"errors"
	"fmt"
	"time"

	"github.com/stagepost/stagepost/core/message"
)

// Bounds of one entry.
const (
	MaxKey   = 512
	MaxValue = 64 << 10
	maxTTL   = 3660 * 24 * time.Hour
	kvSteps  = 10
)

// KV keeps values with an expiry, in spaces: each plugin has the space of its name. Implementations are safe for concurrent
// use, answer from memory, and do each of these in one step. Values are in the types of facts, shared, and never changed.
// Callers keep the bounds above; how much a space holds is the implementation's, and ErrFull says that it holds no more.
type KV interface {
	Get(space, key string) (v any, ok bool, err error)
	Set(space, key string, v any, ttl time.Duration) error
	// Add sets the value if there is none, and tells whether it did.
	Add(space, key string, v any, ttl time.Duration) (bool, error)
	// Incr adds n to a whole number and returns the sum. An entry that it makes counts from 0 and lives for ttl; one that is
	// there keeps its expiry. Another value is ErrNotNumber.
	Incr(space, key string, n int64, ttl time.Duration) (int64, error)
	Delete(space, key string) error
	// Update puts what do makes of the value that is there, nil for none, in its place, until ttl has passed; nil removes it. do
	// may be called more than once, and calls nothing that waits.
	Update(space, key string, do func(old any) (v any, ttl time.Duration)) error
}

// Errors of a KV.
var (
	ErrFull      = errors.New("kv is full")
	ErrNotNumber = errors.New("the value is not a whole number, or the sum is out of range")
)

func kvService() Service {
	key, value, ttl := Arg{Name: "key", Kind: String}, Arg{Name: "value", Kind: Any}, Arg{Name: "ttl", Kind: Number}
	def := func(name, result, doc string, call func(c *Context, key string, args []any) (any, error), args ...Arg) Func {
		return Func{Name: name, Args: args, Result: result, Doc: doc, Needs: "kv", Pure: name == "kv.get", Call: func(c *Context, args []any) (any, error) {
			key := args[0].(string)
			switch {
			case c.host.KV == nil:
				return nil, errors.New("there is no store")
			case key == "" || len(key) > MaxKey:
				return nil, fmt.Errorf("the key has %d bytes; it may have 1 to %d", len(key), MaxKey)
			}
			if err := c.spend(kvSteps, 0); err != nil {
				return nil, err
			}
			return call(c, key, args)
		}}
	}
	return Service{Name: "kv", Doc: "The plugin's own values, kept between calls and through restarts, each until its ttl in seconds has passed. " +
		"A key has at most 512 bytes, a value 64 KiB; a plugin keeps at most 200,000 entries and 64 MiB, and more is an error until some expire. " +
		"What was written in the last 10 seconds before a crash may be lost.",
		Funcs: []Func{
			def("kv.get", "any", "The value, or nil.", func(c *Context, key string, _ []any) (any, error) {
				v, ok, err := c.host.KV.Get(c.Plugin, key)
				if err != nil || !ok {
					return nil, err
				}
				if c.charge != nil {
					n, _ := message.SizeOf(v)
					err = c.charge(n/256, n)
				}
				return v, err
			}, key),
			def("kv.set", "", "Sets it, whatever was there.", func(c *Context, key string, args []any) (any, error) {
				v, life, err := c.entry(args)
				if err != nil {
					return nil, err
				}
				return nil, c.host.KV.Set(c.Plugin, key, v, life)
			}, key, value, ttl),
			def("kv.add", "boolean", "Sets it if there is none; true if it did.", func(c *Context, key string, args []any) (any, error) {
				v, life, err := c.entry(args)
				if err != nil {
					return nil, err
				}
				ok, err := c.host.KV.Add(c.Plugin, key, v, life)
				return ok, err
			}, key, value, ttl),
			def("kv.incr", "integer", "Adds n and returns the sum. The first one starts from 0 and sets the ttl, later ones leave it.", func(c *Context, key string, args []any) (any, error) {
				life, err := lifetime(args[2].(float64))
				if err != nil {
					return nil, err
				}
				sum, err := c.host.KV.Incr(c.Plugin, key, args[1].(int64), life)
				return sum, err
			}, key, Arg{Name: "n", Kind: Int}, ttl),
			def("kv.delete", "", "Removes it, if it is there.", func(c *Context, key string, _ []any) (any, error) {
				return nil, c.host.KV.Delete(c.Plugin, key)
			}, key),
		},
	}
}

// entry checks the value and the ttl of set and add.
func (c *Context) entry(args []any) (any, time.Duration, error) {
	n, err := message.SizeOf(args[1])
	if err != nil {
		return nil, 0, err
	}
	if n > MaxValue {
		return nil, 0, fmt.Errorf("the value has %d bytes; it may have %d", n, MaxValue)
	}
	if err := c.spend(n/256, 0); err != nil {
		return nil, 0, err
	}
	life, err := lifetime(args[2].(float64))
	return args[1], life, err
}

func lifetime(seconds float64) (time.Duration, error) {
	if !(seconds > 0 && seconds <= maxTTL.Seconds()) {
		return 0, fmt.Errorf("ttl is %v seconds; it must be more than 0 and at most %.0f", seconds, maxTTL.Seconds())
	}
	return max(time.Duration(seconds*float64(time.Second)), time.Millisecond), nil
}
