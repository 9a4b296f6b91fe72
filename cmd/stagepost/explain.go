package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/admin"
)

func (a *app) queueExplainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain NAME",
		Short: "Tell why mail goes or waits: a site, a domain, a next hop or a message",
		Long: "explain tells what bounds the mail to a site, and how it fares: each limit in force with the line of the configuration that set it, the\n" +
			"plugins that named it, what plugins do about it for a time and by which rule, attempts that run and may run, what waits in memory, and until when nobody is tried because nobody answers.\n" +
			"NAME is a site, a recipient domain, a next hop as queue list --json shows it, or the id of a message, of which it tells what its\n" +
			"recipients wait for. Of a domain to which no mail goes now it tells what would count, and may ask the DNS for that.",
		Args: cobra.ExactArgs(1),
	}
	asJSON := jsonFlag(cmd, "one JSON object")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		e, err := c.Explain(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		out := outputOf(cmd)
		if *asJSON {
			return out.json(e)
		}
		if e.Message != nil {
			a.explainMessage(out, e.Message)
		}
		for i := range e.Sites {
			if i > 0 || e.Message != nil {
				out.printf("\n")
			}
			a.explainSite(out, &e.Sites[i])
		}
		return nil
	}
	return cmd
}

func (a *app) explainMessage(out output, m *admin.Message) {
	out.printf("message %s from %s is %s\n", printable(m.ID), printable(sender(m)), out.paint(verdictPaint(m.State), m.State))
	for _, r := range m.Recipients {
		words := r.State
		switch {
		case r.Suspended != "":
			words += "; suspended, " + r.Suspended
		case r.State == admin.StateHeld:
			words += " until it is released"
		case r.NextAttempt != nil:
			words += "; the next attempt is due " + relative(*r.NextAttempt, a.now())
		case r.State == admin.StateActive || r.State == admin.StateDeferred:
			words += "; it is due, and waits for its turn"
		}
		switch {
		case r.Rerouted != "":
			words += "; to " + r.Rerouted + ", chosen by hand"
		case r.NextHop != "":
			words += "; to " + r.NextHop
		case r.State == admin.StateActive || r.State == admin.StateDeferred:
			words += "; not routed yet"
		}
		if r.LastReply != "" {
			words += "; the last answer was: " + r.LastReply
		}
		out.printf("  %s: %s\n", printable(r.Address), printable(words))
	}
}

func (a *app) explainSite(out output, s *admin.Site) {
	now := a.now()
	line := func(name, value string) {
		if value != "" {
			out.printf("%-12s %s\n", name, printable(value))
		}
	}
	line("site", s.Site)
	line("source", s.Source)
	line("named", strings.Join(s.Named, "; "))
	line("exchangers", strings.Join(s.Exchangers, ", "))
	line("next hops", strings.Join(s.Lanes, ", "))
	for _, l := range s.Limits {
		line("limit", fmt.Sprintf("%s = %s (%s)", l.Name, l.Value, l.By))
	}
	line("attempts", fmt.Sprintf("%d run, %d may at once", s.Attempts, s.Allowed))
	var waiting []string
	for _, tenant := range slices.Sorted(maps.Keys(s.Waiting)) {
		words := fmt.Sprint(s.Waiting[tenant])
		if tenant != "" {
			words += " of tenant " + tenant
		}
		waiting = append(waiting, words)
	}
	line("waiting", strings.Join(waiting, ", "))
	if !s.Next.IsZero() {
		line("rate", "the next message may go "+relative(s.Next, now))
	}
	if !s.Closed.IsZero() {
		line("closed", "nothing is tried until "+moment(s.Closed, now)+": "+s.Shut)
	}
	if s.Failures > 0 {
		rest := "the next attempt tells whether it answers again"
		if !s.Asleep.IsZero() {
			rest = "nothing is tried until " + moment(s.Asleep, now)
		}
		line("back-off", fmt.Sprintf("nobody answered %d times in a row; %s; the last was: %s", s.Failures, rest, s.Why))
	}
	for i := range s.Measures {
		m := &s.Measures[i]
		line("measure", fmt.Sprintf("%s until %s, by %s", m.String(), moment(m.Until, now), saidBy(m.By, m.Rule, m.Reason)))
	}
	for _, x := range s.Suspended {
		if x.By != "" { // it is among the measures
			continue
		}
		words := x.String()
		if x.Reason != "" {
			words += ": " + x.Reason
		}
		if !x.Until.IsZero() {
			words += ", until " + moment(x.Until, now)
		}
		line("suspended", words)
	}
}

// saidBy names the plugin that took a measure, with its rule and the reason.
func saidBy(plugin, rule, reason string) string {
	words := plugin
	if rule != "" {
		words += " (" + rule + ")"
	}
	if reason != "" {
		words += ": " + reason
	}
	return words
}
