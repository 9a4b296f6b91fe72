package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/core/queue"
)

func (a *app) queueCommand() *cobra.Command {
	return parent("queue", "Look into the queue, and change it by hand",
		a.queueListCommand(), a.queueShowCommand(), a.queueShapeCommand(), a.queueExplainCommand(), a.queueHoldCommand(), a.queueReleaseCommand(), a.queueRetryCommand(),
		a.queueBounceCommand(), a.queueDeleteCommand(), a.queueRerouteCommand(), a.queueSuspendCommand(), a.queueResumeCommand())
}

func (a *app) queueListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the messages in the queue, oldest first",
		Long: "list shows the messages in the queue, oldest first: all, or those that flags choose. All that are given must be true, and where one\n" +
			"is given several times, one of its values. In names * stands for any text; upper and lower case are the same.",
		Args: cobra.NoArgs,
	}
	query := selectorFlags(cmd, queue.ByReason)
	asJSON := jsonFlag(cmd, "JSON Lines: one object a message")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q, err := query()
		if err != nil {
			return err
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		out := outputOf(cmd)
		var t *table
		for m, err := range c.Queue(cmd.Context(), q) {
			if err != nil {
				if t != nil {
					t.flush()
				}
				return err
			}
			if *asJSON {
				if err := out.json(m); err != nil {
					return err
				}
				continue
			}
			if t == nil {
				t = newTable(out, "ID", "ARRIVED", "SIZE", "STATE", "SENDER", "RECIPIENTS", "LAST REPLY")
			}
			a.queueRow(t, &m)
		}
		switch {
		case t != nil:
			t.flush()
		case *asJSON:
		case len(q) > 0:
			out.printf("no message is like that\n")
		default:
			out.printf("the queue is empty\n")
		}
		return nil
	}
	return cmd
}

// queueRow shows a message on one line: of the recipients the first that is not settled stands for all.
func (a *app) queueRow(t *table, m *admin.Message) {
	first := 0
	for i, r := range m.Recipients {
		if r.State == m.State {
			first = i
			break
		}
	}
	var rcpts, last string
	if len(m.Recipients) > 0 {
		r := &m.Recipients[first]
		rcpts, last = r.Address, r.LastReply
		if n := len(m.Recipients) - 1; n > 0 {
			rcpts += fmt.Sprintf(" +%d", n)
		}
		switch {
		case r.Suspended != "":
			last = "suspended, " + r.Suspended + "; " + last
		case r.NextAttempt != nil:
			last = strings.TrimSpace("next " + relative(*r.NextAttempt, a.now()) + "; " + last)
		}
	}
	t.add(text(m.ID), text(relative(m.Arrived, a.now())), text(size(m.Size)), cell{m.State, verdictPaint(m.State)}, text(sender(m)), text(rcpts),
		text(strings.TrimRight(last, "; ")))
}

func sender(m *admin.Message) string {
	switch {
	case m.Parcel:
		return "(parcel of " + m.Plugin + ")"
	case m.Sender == "":
		return "<>"
	}
	return m.Sender
}

func (a *app) queueShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one message of the queue: envelope, recipients, header",
		Args:  cobra.ExactArgs(1),
	}
	asJSON := jsonFlag(cmd, "one JSON object")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		m, err := c.Message(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		out := outputOf(cmd)
		if *asJSON {
			return out.json(m)
		}
		a.showMessage(out, &m)
		return nil
	}
	return cmd
}

func (a *app) showMessage(out output, m *admin.MessageDetail) {
	now := a.now()
	line := func(name, value string) {
		if value != "" {
			out.printf("%-11s %s\n", name, printable(value))
		}
	}
	line("id", m.ID)
	line("state", strings.TrimSuffix(m.State+": "+m.Held, ": "))
	line("sender", sender(&m.Message))
	line("size", size(m.Size))
	line("arrived", moment(m.Arrived, now))
	line("from", originWords(&m.Origin))
	line("plugin", m.Plugin)
	line("key", m.Key)
	line("generation", strconv.FormatUint(m.Generation, 10))
	line("tenant", m.Tenant)
	if m.Priority != 0 {
		line("priority", strconv.Itoa(m.Priority))
	}
	if m.NotBefore != nil {
		line("not before", moment(*m.NotBefore, now))
	}
	if m.Expires != nil {
		line("expires", moment(*m.Expires, now))
	}
	out.printf("\n")
	t := newTable(out, "RECIPIENT", "STATE", "ATTEMPTS", "NEXT ATTEMPT", "NEXT HOP", "LAST REPLY")
	for _, r := range m.Recipients {
		next := ""
		switch {
		case r.Suspended != "":
			next = "suspended, " + r.Suspended
		case r.NextAttempt != nil:
			next = moment(*r.NextAttempt, now)
		}
		hop, last := r.NextHop, r.LastReply
		if r.Rerouted != "" {
			hop = r.Rerouted + " (chosen by hand)"
		}
		if r.LastHost != "" {
			last += " (" + r.LastHost + ")"
		}
		t.add(text(r.Address), cell{r.State, verdictPaint(r.State)}, text(strconv.Itoa(r.Attempts)), text(next), text(hop), text(last))
	}
	t.flush()
	out.printf("\n")
	if m.NoHeader != "" {
		out.printf("%s\n", out.paint(red, "the content cannot be read: "+printable(m.NoHeader)))
		return
	}
	for l := range strings.Lines(m.Header) {
		out.printf("%s\n", printable(strings.TrimSuffix(l, "\n")))
	}
}

func originWords(o *admin.Origin) string {
	var parts []string
	for _, p := range []struct{ name, value string }{{"role ", o.Role}, {"listener ", o.Listener}, {"", o.IP}, {"helo ", o.Helo}, {"user ", o.User}} {
		if p.value != "" {
			parts = append(parts, p.name+p.value)
		}
	}
	return strings.Join(parts, ", ")
}
