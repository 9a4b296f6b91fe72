// The command killtest kills the real server with SIGKILL again and again while mail flows through it, and then accounts for
// every message: scripts/soak builds both and runs it.
//
// A source sends messages and keeps what it was told at the end of each: ACK (a 2yz was read), NAK (4yz or 5yz), UNK (the
// final dot left and no reply came) or CUT (the dot never left). A sink is the next hop; it takes, defers, refuses, dawdles
// and drops connections after the dot, refuses notices too, and keeps every transaction with the times of its replies and whether the server was
// seen to go on after them. The killer ends the server at a random moment shortly after a chosen event and starts it again on
// the same data folder. At the end the sink takes everything, the queue drains, the server is killed once more, and the
// checker compares the accounts. Nothing is taken from the server's own word but what it lists as failed.
//
// The rules, by the names under which violations are printed:
//
//	N1  ACK: every recipient has the message, or was refused by the sink and is listed as failed, or its sender was told
//	N2  NAK, CUT: the sink never hears of the message
//	N3  UNK: the server has one message or none, and the one as good as an acknowledged one
//	N4  a message comes again only for a reason that this attempt itself had (below)
//	N5  a recipient refused with 5yz is not tried again, but for such a reason; none is failed that took the message
//	N6  what comes is what was sent, with our header fields on top
//	N7  nobody is told of the failure or the delay of one recipient by two notices, whatever crashed in between
//	up  the server starts after each kill, never ends by itself, always answers, and stops on SIGTERM with 0
//
// N4 asks that deliveries - 1 <= U + C for each message and recipient. Here each delivery that is followed by another attempt
// must have its own excuse. U: the sink gave no 2yz for it, or gave it to a server that was killed before reading it. C: the
// process was killed after the reply, and nothing shows that its mark was durable by then. What shows it are messages that the
// server acknowledged after the reply and before the kill: their commits and the mark go through the same log, in order. With
// those, a mark may be late by less than -window; without them, the disk may have stood still. An attempt and its repetition
// by one process have no C, nor has anything before the last kill, when the queue has drained.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/stagepost/stagepost/scripts/longrun"
)

func main() {
	s := defaults()
	flag.StringVar(&s.program, "program", "", "the server's binary")
	flag.IntVar(&s.kills, "kills", 500, "how often the server is killed")
	flag.DurationVar(&s.every, "every", 0, "kill the server so often whatever happens, in place of shortly after chosen events")
	flag.DurationVar(&s.during, "for", 2*time.Minute, "for how long, with -every; -kills does not count then")
	flag.Uint64Var(&s.seed, "seed", uint64(time.Now().UnixNano()), "for sizes, replies and moments; the interleaving is not repeated by it")
	flag.IntVar(&s.sessions, "sessions", s.sessions, "sessions of the source")
	flag.IntVar(&s.backlog, "backlog", s.backlog, "recipients not settled at which the source waits")
	flag.DurationVar(&s.window, "window", s.window, "how late the mark of a delivery may be")
	flag.DurationVar(&s.drain, "drain", s.drain, "how long the queue may take to drain")
	flag.StringVar(&s.dir, "dir", "", "the folder for configuration and data, kept afterwards; default: one that is removed unless a rule is violated")
	flag.Parse()
	if s.every > 0 {
		s.kills = max(1, int(s.during/s.every))
	}
	if s.program == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "killtest: -program is needed, and nothing but flags; run scripts/soak")
		os.Exit(64)
	}
	longrun.Main("killtest", s.dir, func(ctx context.Context, dir string) (bool, error) {
		s.dir = dir
		report, err := run(ctx, s, os.Stdout)
		if err != nil {
			return false, err
		}
		report.print(os.Stdout)
		return len(report.violations) == 0, nil
	})
}
