// The command authbench measures what the authentication of mail costs: scripts/bench auth builds the server and this, and runs it.
//
// Mail of 4 KB comes in by 20 connections at a time, each message by one of its own, and is relayed to one server. That is done with four
// sets of plugins, in turn, for some rounds: bare is relay and route alone; check adds spf, dkim-verify and dmarc, of which each message
// passes all; ed25519 and rsa add dkim-sign besides, with a key of that kind. The signature that is checked is one of RSA-2048, and
// its key, like the other records, comes from a DNS on loopback, which the server may keep as long as its TTL lets it. What is printed are
// medians: messages a second from the first that is sent to the last that arrives, and CPU time of the server for each.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/stagepost/stagepost/scripts/longrun"
)

// settings are the flags.
type settings struct {
	program  string
	dir      string
	rounds   int
	messages int
	senders  int
}

func main() {
	s := defaults()
	flag.StringVar(&s.program, "program", "", "the server's binary")
	flag.IntVar(&s.rounds, "rounds", s.rounds, "rounds")
	flag.IntVar(&s.messages, "messages", s.messages, "messages of each run")
	flag.IntVar(&s.senders, "senders", s.senders, "connections at a time")
	flag.StringVar(&s.dir, "dir", "", "the folder for configuration and data, kept afterwards; default: one that is removed")
	flag.Parse()
	if s.program == "" || flag.NArg() > 0 || s.rounds < 1 || s.messages < 1 || s.senders < 1 {
		fmt.Fprintln(os.Stderr, "authbench: -program is needed, and nothing but flags, which are above 0; run scripts/bench auth")
		os.Exit(64)
	}
	longrun.Main("authbench", s.dir, func(ctx context.Context, dir string) (bool, error) {
		s.dir = dir
		return true, run(ctx, s, os.Stdout)
	})
}

func defaults() settings { return settings{rounds: 3, messages: 5000, senders: 20} }
