package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/core/observe"
)

func (a *app) traceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trace ID",
		Short: "Show everything that was decided and done about one message",
		Long: "trace prints the record of one message: each plugin that was asked, with its verdict, time and edits; each attempt with\n" +
			"the remote's reply; each outcome. ID stands in the reply to the message and in the log. Records are kept as [trace] says.",
		Args: cobra.ExactArgs(1),
	}
	asJSON := jsonFlag(cmd, "JSON Lines: one object a step")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		out := outputOf(cmd)
		var trace *traceTable
		for step, err := range c.Trace(cmd.Context(), args[0]) {
			if err != nil {
				trace.flush()
				return err
			}
			if *asJSON {
				if err := out.json(step); err != nil {
					return err
				}
				continue
			}
			if trace == nil {
				out.printf("%s, first step %s\n\n", out.paint(bold, printable(args[0])), moment(step.Time, a.now()))
				trace = newTraceTable(out, step.Time)
			}
			trace.add(&step)
		}
		trace.flush()
		if !*asJSON {
			a.showWhereabouts(cmd, out, c, args[0])
		}
		return nil
	}
	return cmd
}

// showWhereabouts says what is still to come for a message that is in the queue.
func (a *app) showWhereabouts(cmd *cobra.Command, out output, c *admin.Client, id string) {
	m, err := c.Message(cmd.Context(), id)
	if err != nil {
		return // it is settled, or was never queued: the record has said so
	}
	var next *time.Time
	for _, r := range m.Recipients {
		if r.NextAttempt != nil && (next == nil || r.NextAttempt.Before(*next)) {
			next = r.NextAttempt
		}
	}
	words := m.State
	if m.Held != "" {
		words += ": " + m.Held
	}
	if next != nil {
		words += "; the next attempt is " + relative(*next, a.now())
	}
	out.printf("\nIt is in the queue, %s. More: %s\n", printable(words), a.command("queue", "show", printable(id)))
}

// traceTable shows steps, with their time since the first one.
type traceTable struct {
	table *table
	first time.Time
}

func newTraceTable(out output, first time.Time) *traceTable {
	return &traceTable{newTable(out, "AT", "STAGE", "PLUGIN", "GEN", "VERDICT", "TOOK", "WHAT"), first}
}

func (t *traceTable) add(s *observe.Step) {
	took := ""
	if s.Micros > 0 {
		took = duration(time.Duration(s.Micros) * time.Microsecond)
	}
	generation := ""
	if s.Generation > 0 {
		generation = strconv.FormatUint(s.Generation, 10)
	}
	what := s.Detail
	if len(s.Edits) > 0 {
		what = strings.TrimSuffix("edits: "+strings.Join(s.Edits, ", ")+"; "+what, "; ")
	}
	t.table.add(text("+"+duration(s.Time.Sub(t.first))), text(s.Stage), text(s.Plugin), text(generation), cell{s.Verdict, verdictPaint(s.Verdict)}, text(took), text(what))
}

func (t *traceTable) flush() {
	if t != nil {
		t.table.flush()
	}
}

// duration is short for people: "12µs", "3.4ms", "1.25s", "3m".
func duration(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + duration(-d)
	case d < time.Millisecond:
		return fmt.Sprintf("%dµs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%.1fms", float64(d.Microseconds())/1e3)
	case d < time.Minute:
		return fmt.Sprintf("%.2fs", d.Seconds())
	}
	return span(d)
}
