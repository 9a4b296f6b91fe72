// The command handstest shows how long the commands by hand take on a long queue: scripts/soak hands builds the server and this, and runs
// it.
//
// It fills a data folder through the store's own interface with messages of 1 KB that wait for their next try at a next hop that is dead,
// to 1,000 domains and from 100 senders. The real server is started on it, all is suspended, and each command is run as a person would run it,
// by the same program, on all messages; what each says that it did is compared with what it should have done.
//
// The rules, by the names under which violations are printed:
//
//	right    a command does what it should, for as many messages as it should
//	look     a command that only looks ends within -look
//	change   one that changes messages ends within -change
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
	program      string
	dir          string
	messages     int
	look, change time.Duration
}

func main() {
	s := settings{}
	flag.StringVar(&s.program, "program", "", "the server's binary")
	flag.IntVar(&s.messages, "messages", 100_000, "messages in the queue, whole thousands")
	flag.DurationVar(&s.look, "look", 3*time.Second, "the time that a command may take that changes nothing")
	flag.DurationVar(&s.change, "change", 30*time.Second, "the time that one may take that changes all messages")
	flag.StringVar(&s.dir, "dir", "", "the folder for configuration and data, kept afterwards; default: one that is removed unless a rule is violated")
	flag.Parse()
	if s.program == "" || flag.NArg() > 0 || s.messages < domains || s.messages%domains != 0 {
		fmt.Fprintln(os.Stderr, "handstest: -program is needed, whole thousands of messages, and nothing but flags; run scripts/soak hands")
		os.Exit(64)
	}
	longrun.Main("handstest", s.dir, func(ctx context.Context, dir string) (bool, error) {
		s.dir = dir
		violations, err := run(ctx, s, os.Stdout)
		for _, v := range violations {
			fmt.Println("VIOLATED", v)
		}
		return len(violations) == 0, err
	})
}
