package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/admin"
)

func (a *app) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the running server is doing",
		Args:  cobra.NoArgs,
	}
	asJSON := jsonFlag(cmd, "one JSON object")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		s, err := c.Status(cmd.Context())
		if err != nil {
			return err
		}
		out := outputOf(cmd)
		if *asJSON {
			return out.json(s)
		}
		a.showStatus(out, &s)
		return nil
	}
	return cmd
}

func (a *app) showStatus(out output, s *admin.Status) {
	out.printf("stagepost %s, generation %d, started %s\n", printable(s.Version), s.Generation, moment(s.Started, a.now()))
	if s.Error != "" {
		for i, line := range strings.Split(strings.TrimSpace(s.Error), "\n") {
			if i == 0 {
				line = "the latest change was refused: " + line
			}
			out.printf("%s\n", out.paint(red, printable(line)))
		}
	}
	out.printf("queue: %s\n\n", queueWords(&s.Queue))
	t := newTable(out, "LISTENER", "ADDRESS", "ROLE", "SESSIONS")
	for _, l := range s.Listeners {
		t.add(text(l.Name), text(l.Address), text(l.Role), text(strconv.Itoa(l.Sessions)))
	}
	t.flush()
	out.printf("\n")
	showPlugins(out, s.Plugins)
}

func queueWords(q *admin.QueueCounts) string {
	if q.Messages == 0 {
		return "empty"
	}
	var parts []string
	for _, p := range []struct {
		n    int64
		word string
	}{{q.Active, admin.StateActive}, {q.Deferred, admin.StateDeferred}, {q.Held, admin.StateHeld}, {q.Failed, admin.StateFailed}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.word))
		}
	}
	words := count(q.Messages, "message")
	if q.Counted < q.Messages {
		words += fmt.Sprintf("; of the oldest %d", q.Counted)
	}
	if len(parts) > 0 {
		words += ": " + strings.Join(parts, ", ")
	}
	return words
}

func showPlugins(out output, plugins []admin.Plugin) {
	if len(plugins) == 0 {
		out.printf("no plugin is loaded, so every recipient is refused; enable some in [plugins]\n")
		return
	}
	t := newTable(out, "PLUGIN", "VERSION", "STATE", "CALLS", "ERRORS", "STAGES", "SOURCE")
	for _, p := range plugins {
		errors := text(strconv.FormatUint(p.Errors, 10))
		if p.Errors > 0 {
			errors.paint = red
		}
		t.add(text(p.Name), text(p.Version), cell{p.State, verdictPaint(p.State)}, text(strconv.FormatUint(p.Calls, 10)), errors,
			text(strings.Join(p.Stages, " ")), text(p.Source))
	}
	t.flush()
}
