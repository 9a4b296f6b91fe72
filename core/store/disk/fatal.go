package disk

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// pebbleLogger takes what Pebble says. Its informational lines are of no use to an operator.
type pebbleLogger struct{ s *Store }

func (l pebbleLogger) Infof(string, ...any) {}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.s.log.Error("store: " + fmt.Sprintf(format, args...))
}

// Fatalf never returns: Pebble would go on and answer every later commit with success.
func (l pebbleLogger) Fatalf(format string, args ...any) { l.s.fatal(fmt.Sprintf(format, args...)) }

func (l pebbleLogger) Eventf(context.Context, string, ...any) {}
func (l pebbleLogger) IsTracingEnabled(context.Context) bool  { return false }

// listener tells what Pebble reports by events. A corrupt block is logged and its message comes back as damaged; without a
// handler of ours it would end the process, and every process after it.
func (s *Store) listener() *pebble.EventListener {
	return &pebble.EventListener{
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			s.log.Error("store: a file is damaged; the messages in it are held", "file", i.Path, "error", fmt.Sprint(i.Details))
		},
		PossibleAPIMisuse: func(i pebble.PossibleAPIMisuseInfo) { s.opts.misuse(i.String()) },
		BackgroundError:   func(err error) { s.log.Error("store: background work failed and is tried again", "error", err) },
		WriteStallBegin:   func(pebble.WriteStallBeginInfo) { s.health.stalls.Add(1) },
		WriteStallEnd:     func() { s.health.stalls.Add(-1) },
	}
}
