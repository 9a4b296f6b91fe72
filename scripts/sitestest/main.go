// The command sitestest shows what slow sites take from the others: scripts/soak sites builds the server and this, and runs it.
//
// There are 1,000 sites, each with a server of its own. As much mail as the server takes goes to the good ones, all of them alike, for
// some time; in the second of two runs there are 50 slow sites besides, which get mail all the time, too: ones that let each
// command wait, that send an octet a second, that answer the final dot late, and that take connections and say nothing. How many
// messages a second came to the good sites is compared.
//
// The rules, by the names under which violations are printed:
//
//	rest     the good sites get at least -least of what they get alone
//	lost     each message for a good site that was accepted is delivered
//	doubled  none is delivered twice
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
	program string
	dir     string
	sites   int
	slow    int // of them
	rate    int // messages a second to the slow ones together
	senders int
	during  time.Duration
	least   float64
}

func main() {
	s := defaults()
	flag.StringVar(&s.program, "program", "", "the server's binary")
	flag.IntVar(&s.sites, "sites", s.sites, "sites in all")
	flag.IntVar(&s.slow, "slow", s.slow, "sites of them that are slow")
	flag.IntVar(&s.rate, "rate", s.rate, "messages a second to the slow sites together")
	flag.IntVar(&s.senders, "senders", s.senders, "connections by which mail for the others comes in")
	flag.DurationVar(&s.during, "during", s.during, "how long mail comes in")
	flag.Float64Var(&s.least, "least", s.least, "the part of the rate without slow sites that is to be left")
	flag.StringVar(&s.dir, "dir", "", "the folder for configuration and data, kept afterwards; default: one that is removed unless a rule is violated")
	flag.Parse()
	if s.program == "" || flag.NArg() > 0 || s.slow >= s.sites || s.slow < 0 {
		fmt.Fprintln(os.Stderr, "sitestest: -program is needed, nothing but flags, and more sites than slow ones; run scripts/soak sites")
		os.Exit(64)
	}
	longrun.Main("sitestest", s.dir, func(ctx context.Context, dir string) (bool, error) {
		s.dir = dir
		violations, err := run(ctx, s, os.Stdout)
		for _, v := range violations {
			fmt.Println("VIOLATED", v)
		}
		return len(violations) == 0, err
	})
}

func defaults() settings {
	return settings{sites: 1000, slow: 50, rate: 200, senders: 16, during: 30 * time.Second, least: 0.8}
}
