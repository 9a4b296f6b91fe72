// The command milliontest shows that a queue of a million messages for dead sites harms nothing else: scripts/soak million builds the
// server and this, and runs it.
//
// It fills a data folder through the store's own interface: messages of 1 KB with one recipient each, most of them deferred for sites
// that are dead, a quarter of those due at once and the rest over hours, and a share that is due at once for sites that live. Half of
// the dead sites refuse connections, the other half take them and say nothing. Then the real server is started on the folder, and
// while it tries dead sites and empties the lanes of living ones, new messages are sent in. The same is done without dead sites, to
// compare how fast the living ones get theirs.
//
// The rules, by the names under which violations are printed:
//
//	ready    the server is ready within -ready
//	memory   it never has more than -memory MB of its own in memory
//	new      each new message is delivered within -new
//	live     what is queued for living sites is delivered in the time of the test
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
	messages int
	dead     int // sites
	live     int // sites
	share    int // messages for living sites
	during   time.Duration
	ready    time.Duration
	newest   time.Duration // until a new message is delivered
	memory   int64         // MB
}

func main() {
	s := defaults()
	flag.StringVar(&s.program, "program", "", "the server's binary")
	flag.IntVar(&s.messages, "messages", s.messages, "messages in the queue")
	flag.IntVar(&s.dead, "dead", s.dead, "sites that are dead")
	flag.IntVar(&s.live, "live", s.live, "sites that live")
	flag.IntVar(&s.share, "share", s.share, "messages of those that are for living sites")
	flag.DurationVar(&s.during, "during", s.during, "how long new messages are sent in")
	flag.DurationVar(&s.ready, "ready", s.ready, "the time in which the server is to be ready")
	flag.DurationVar(&s.newest, "new", s.newest, "the time in which a new message is to be delivered")
	flag.Int64Var(&s.memory, "memory", s.memory, "the most memory that it may have, in MB")
	flag.StringVar(&s.dir, "dir", "", "the folder for configuration and data, kept afterwards; default: one that is removed unless a rule is violated")
	flag.Parse()
	if s.program == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "milliontest: -program is needed, and nothing but flags; run scripts/soak million")
		os.Exit(64)
	}
	longrun.Main("milliontest", s.dir, func(ctx context.Context, dir string) (bool, error) {
		s.dir = dir
		violations, err := run(ctx, s, os.Stdout)
		for _, v := range violations {
			fmt.Println("VIOLATED", v)
		}
		return len(violations) == 0, err
	})
}

func defaults() settings {
	return settings{messages: 1_000_000, dead: 1000, live: 10, share: 20_000, during: time.Minute, ready: 2 * time.Second, newest: time.Second, memory: 150}
}
