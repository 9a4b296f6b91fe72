// The command catalogbench measures how plugins are installed: scripts/bench catalog builds the program and this, and runs it.
//
// Twenty plugins, which are copies of the bundled ones, are published to Debian's docker-registry, to a folder and to one file, and installed
// and locked once. Then plugins.lock and the configuration are put beside an empty data folder, and plugin install fetches what is locked,
// from each kind of place in turn, for some rounds. What is printed are medians: the time from the command's start to its end, with all
// plugins on the disk, and, from the registry, the requests and the bytes of their answers, counted between the command and the registry.
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
	program string
	dir     string
	rounds  int
	plugins int
}

func main() {
	s := defaults()
	flag.StringVar(&s.program, "program", "", "the server's binary")
	flag.IntVar(&s.rounds, "rounds", s.rounds, "rounds")
	flag.IntVar(&s.plugins, "plugins", s.plugins, "plugins that are installed")
	flag.StringVar(&s.dir, "dir", "", "the folder for all files, kept afterwards; default: one that is removed")
	flag.Parse()
	if s.program == "" || flag.NArg() > 0 || s.rounds < 1 || s.plugins < 1 {
		fmt.Fprintln(os.Stderr, "catalogbench: -program is needed, and nothing but flags, which are above 0; run scripts/bench catalog")
		os.Exit(64)
	}
	longrun.Main("catalogbench", s.dir, func(ctx context.Context, dir string) (bool, error) {
		s.dir = dir
		return true, run(ctx, s, os.Stdout)
	})
}

func defaults() settings { return settings{rounds: 3, plugins: 20} }
