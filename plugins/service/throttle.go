package service

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/config"
)

// throttleSpace is what the name of the space of a plugin's buckets ends with, beside that of its kv.
const throttleSpace = ".throttle"

// Bounds of throttles. With them all sums below are exact in 64 bits, up to the year 2200.
const (
	maxThrottleKey = 400
	maxRateCount   = 1_000_000
	minRatePeriod  = time.Second
	maxRatePeriod  = 366 * 24 * time.Hour
)

func throttleService() Service {
	return Service{Name: "throttle", Doc: "Rates that clients, senders or whatever a key stands for keep to. Each key and rate of a plugin is a bucket, full at first, which fills evenly: " +
		`of "100/1h" a hundred may be taken at once, and another one every 36 seconds. ` +
		"Buckets live in memory as values of `kv` do: through reloads, and through restarts but for the last 10 seconds before a crash. " +
		"A plugin has at most 200,000 buckets that are not full, and more is an error until some are.",
		Funcs: []Func{{
			Name: "throttle.take", Args: []Arg{{Name: "key", Kind: String}, {Name: "rate", Kind: String}, {Name: "n", Kind: Int, Optional: true}},
			Result: "boolean, number",
			Doc: `Takes n, or 1, from the bucket. True and 0 if so much was in it; else nothing is taken, and there are false and the seconds until it is. ` +
				`The rate is a number from 1 to 1,000,000 and a duration from 1s to 366d, as in "100/1h"; the key has 1 to 400 bytes.`,
			Call: func(c *Context, args []any) (any, error) {
				n := int64(1)
				if args[2] != nil {
					n = args[2].(int64)
				}
				return c.take(args[0].(string), args[1].(string), n)
			},
		}},
	}
}

// rate is how fast a bucket fills, and how much is in a full one.
type rate struct {
	count  int64
	period int64 // milliseconds
}

func parseRate(text string) (rate, error) {
	count, period, ok := strings.Cut(text, "/")
	if n, err := strconv.ParseUint(count, 10, 32); ok && err == nil && n >= 1 && n <= maxRateCount {
		if d, err := config.ParseDuration(period); err == nil && d >= minRatePeriod && d <= maxRatePeriod {
			return rate{int64(n), d.Milliseconds()}, nil
		}
	}
	return rate{}, fmt.Errorf(`%q is no rate; write a number from 1 to %d, a slash and a duration from 1s to 366d, as "100/1h"`, cut(text), maxRateCount)
}

// take tells of a bucket when it will be full: the generic cell rate algorithm (ITU-T I.371), whose one number also says when
// the bucket can be forgotten. It is kept in parts of a millisecond, as many as the rate's count, so that nothing is rounded:
// one costs as many parts as the period has milliseconds.
func (r rate) take(full, now, n int64) (next int64, wait time.Duration) {
	most := r.period * r.count
	now *= r.count
	full = min(max(full, now), now+most) // the clock may have been set back
	next = full + n*r.period
	if over := next - now - most; over > 0 {
		return full, time.Duration((over+r.count-1)/r.count) * time.Millisecond
	}
	return next, 0
}

func (c *Context) take(key, text string, n int64) (any, error) {
	r, err := parseRate(text)
	switch {
	case err != nil:
		return nil, err
	case key == "" || len(key) > maxThrottleKey:
		return nil, fmt.Errorf("the key has %d bytes; it may have 1 to %d", len(key), maxThrottleKey)
	case n < 1 || n > r.count:
		return nil, fmt.Errorf("n is %d; of %q at most %d can be taken, and at least 1", n, text, r.count)
	case c.host.KV == nil:
		return nil, errors.New("there is no store")
	}
	if err := c.spend(kvSteps, 0); err != nil {
		return nil, err
	}
	var wait time.Duration
	bucket := fmt.Sprintf("%d/%d %s", r.count, r.period, key)
	err = c.host.KV.Update(c.Plugin+throttleSpace, bucket, func(old any) (any, time.Duration) {
		full, _ := old.(int64)
		now := c.host.Now().UnixMilli()
		full, wait = r.take(full, now, n)
		left := full - now*r.count
		return full, time.Duration((left+r.count-1)/r.count) * time.Millisecond
	})
	if err != nil {
		return nil, err
	}
	return Several{wait == 0, wait.Seconds()}, nil
}
