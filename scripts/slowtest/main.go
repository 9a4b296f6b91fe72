// The command slowtest shows what clients that mean ill get of the real server: scripts/soak slow builds both and runs it.
//
// The good client sends small messages in a few sessions, each of which the server holds in its queue, so that a reply means a commit.
// It does so on a quiet server and then beside thousands of slow senders, each of which sends an octet in ten seconds: a third of
// them of a command, a third of a header, a third of a chunk. Then come more connections from one address than it may have, and
// clients that never end a line, a header or a chunk.
//
// The rules, by the names under which violations are printed:
//
//	session   no session of the good client fails
//	slow      beside the slow senders its p99 is at most -times that of the quiet server
//	address   of all connections from one address as many are let in as may be, and each other one is told 421
//	endless   what never ends is given up after so many octets
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/stagepost/stagepost/scripts/longrun"
)

// settings are the flags.
type settings struct {
	program  string
	dir      string
	slow     int
	during   time.Duration
	rounds   int
	times    float64
	flood    int
	sessions int // of the good client
}

func main() {
	s := defaults()
	flag.StringVar(&s.program, "program", "", "the server's binary")
	flag.IntVar(&s.slow, "slow", s.slow, "slow senders")
	flag.DurationVar(&s.during, "during", s.during, "how long the good client sends, each time")
	flag.IntVar(&s.rounds, "rounds", s.rounds, "how often both are measured")
	flag.Float64Var(&s.times, "times", s.times, "how much longer its p99 may be beside slow senders")
	flag.IntVar(&s.flood, "flood", s.flood, "connections from one address")
	flag.StringVar(&s.dir, "dir", "", "the folder for configuration and data, kept afterwards; default: one that is removed unless a rule is violated")
	flag.Parse()
	if s.program == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "slowtest: -program is needed, and nothing but flags; run scripts/soak slow")
		os.Exit(64)
	}
	longrun.Main("slowtest", s.dir, func(ctx context.Context, dir string) (bool, error) {
		s.dir = dir
		violations, err := run(ctx, s, os.Stdout)
		for _, v := range violations {
			fmt.Println("VIOLATED", v)
		}
		return len(violations) == 0, err
	})
}

func defaults() settings {
	return settings{slow: 5000, during: 6 * time.Second, rounds: 5, times: 2, flood: 10_000, sessions: 4}
}
