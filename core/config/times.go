package config

import (
	"fmt"
	"strings"
	"time"
)

// Times say when mail is tried again and when it is given up. Empty and nil leave what [queue] says.
type Times struct {
	Retry  []time.Duration // never empty
	Expire time.Duration   // after arrival
	Warn   *time.Duration  // after arrival; 0: never
}

// Sender is one [sender.NAME]: what counts for mail from a domain.
type Sender struct{ Times }

func (t *Times) fields(whose string) []field {
	return []field{
		{
			name: "retry", example: `["1m", "10m", "1h"]`, absent: whose,
			doc: "The waits after the first, second, and further failed attempts. The last one repeats.",
			to:  list(&t.Retry, 100, "a list of durations, each from 1s to 7d", duration(time.Second, 7*day)),
		},
		{
			name: "expire", example: `"1d"`, absent: whose,
			doc: "Mail that could not be delivered for so long is given up.",
			to:  aDuration(&t.Expire, time.Second, 60*day),
		},
		{
			name: "warn", example: `"4h"`, absent: whose,
			doc: "A sender is told once when mail has not been delivered for so long. 0s: never.",
			to:  maybe(&t.Warn, "a duration from 0s to 60d", duration(0, 60*day)),
		},
	}
}

func (s *Sender) fields() []field { return s.Times.fields("that of the site, or of [queue]") }

const senderKind = `in quotes: the domain of senders' addresses in lower case, or "<>" for mail without a sender, such as notices`

// senderName accepts what senders are called by.
func senderName(v any) (string, error) {
	s, err := text(v)
	if err != nil || s == "<>" {
		return s, err
	}
	if s != strings.ToLower(s) {
		return "", fmt.Errorf("%q has capital letters", shorten(s))
	}
	return domainName(s)
}

// checkTimes looks at lists that must not be empty.
func (c *Config) checkTimes(d *decoder) {
	for table, times := range map[string]map[string]*Times{"site": timesOf(c.Sites, func(s *Site) *Times { return &s.Times }), "sender": timesOf(c.Senders, func(s *Sender) *Times { return &s.Times })} {
		for name, t := range times {
			if t.Retry != nil && len(t.Retry) == 0 {
				d.fail([]string{table, name, "retry"}, "the list is empty; write at least one wait, such as retry = [%q]", "5m")
			}
		}
	}
}

func timesOf[T any](tables map[string]T, of func(*T) *Times) map[string]*Times {
	found := map[string]*Times{}
	for name, t := range tables {
		found[name] = of(&t)
	}
	return found
}
