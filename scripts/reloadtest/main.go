// The command reloadtest saves plugins and configuration of the real server again and again while mail flows through it:
// scripts/soak reload builds both and runs it.
//
// The plugin stamp (testdata) writes its version into each message at mail, rcpt, data and queue. Its version has three parts: one
// in its own file, one in a module, one in its settings. Half of the saves change a part, or listeners, in one of the ways in which
// people and programs save; the others are broken in one of many ways, and carry a version that must never be seen. A source
// sends at a steady rate, in sessions that go on over many saves, some of which dawdle so that a transaction lies open
// over a change. A sink takes everything and reads the stamps.
//
// The rules, by the names under which violations are printed:
//
//	session   no session fails: each reply is the one of a server that nobody touches
//	mixed     all stamps of one message are the same: one generation serves a transaction
//	version   they are those of a version that was in force when the transaction began, and never of a broken save
//	save      a good save becomes live and a broken one is refused, each with its line, which `status` repeats
//	slow      from the end of a save until the line that says live or refused it takes at most -within
//	account   each message that was acknowledged comes once, and no other
//	plugin    no call of a plugin fails
//	leak      the server ends with as many descriptors and watches as it had at the begin, and with memory of the same size; both are
//	          counted when no mail flows, the queue is empty and garbage is collected. What is alive and the compiled code of plugins
//	          are printed. The store keeps up to 32 MiB of what was written last, and comes to that with some 50 MiB: to see what reloads
//	          alone leave behind, let that much flow before them (-warm)
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
	flag.IntVar(&s.saves, "saves", s.saves, "how often files are saved")
	flag.IntVar(&s.rate, "rate", s.rate, "messages a second")
	flag.DurationVar(&s.within, "within", s.within, "how long a save may take to become live")
	flag.DurationVar(&s.warm, "warm", s.warm, "how long mail flows before the first save")
	flag.Uint64Var(&s.seed, "seed", uint64(time.Now().UnixNano()), "for the kinds of saves and their order")
	flag.BoolVar(&s.wasm, "wasm", false, "the plugin is written in WebAssembly")
	flag.BoolVar(&s.good, "good", false, "no save is broken")
	flag.StringVar(&s.dir, "dir", "", "the folder for configuration and data, kept afterwards; default: one that is removed unless a rule is violated")
	flag.Parse()
	if s.program == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "reloadtest: -program is needed, and nothing but flags; run scripts/soak reload")
		os.Exit(64)
	}
	longrun.Main("reloadtest", s.dir, func(ctx context.Context, dir string) (bool, error) {
		s.dir = dir
		report, err := run(ctx, s, os.Stdout)
		if err != nil {
			return false, err
		}
		report.print(os.Stdout)
		return len(report.violations) == 0, nil
	})
}
