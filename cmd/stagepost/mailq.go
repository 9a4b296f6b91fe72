package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/admin"
)

// The layout of Postfix's mailq with long queue ids, which programs read.
const (
	mailqRow    = "%-17s %8s %-19s %s\n"
	mailqReason = 76 // characters, at the right of which a reason stands
)

func (a *app) mailqCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mailq",
		Short: "List the queue in the layout of Postfix's mailq",
		Long: "mailq lists the queue as that of Postfix does with long queue ids, for people who are used to it and programs that read it. Behind an\n" +
			"id stands * for a message that is due or being attempted, and ! for one that is held. Recipients that are settled are left out.\n" +
			"A link to this program that is called mailq does the same.",
		Args: cobra.NoArgs,
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		out := outputOf(cmd)
		var n, bytes int64
		for m, err := range c.Queue(cmd.Context(), nil) {
			if err != nil {
				return err
			}
			if n++; n == 1 {
				out.printf(mailqRow, "----Queue ID-----", "--Size--", "---Arrival Time----", "--Sender/Recipient------")
			} else {
				out.printf("\n")
			}
			bytes += m.Size
			mailqMessage(out, &m)
		}
		if n == 0 {
			out.printf("Mail queue is empty\n")
			return nil
		}
		requests := "Requests"
		if n == 1 {
			requests = "Request"
		}
		out.printf("\n-- %d Kbytes in %d %s.\n", bytes/1024, n, requests)
		return nil
	}
	return cmd
}

func mailqMessage(out output, m *admin.Message) {
	id, from := m.ID, m.Sender
	switch m.State {
	case admin.StateActive:
		id += "*"
	case admin.StateHeld:
		id += "!"
	}
	switch {
	case m.Parcel:
		from = "plugin:" + m.Plugin
	case from == "":
		from = "MAILER-DAEMON"
	}
	out.printf(mailqRow, id, fmt.Sprint(m.Size), m.Arrived.Local().Format("Mon Jan _2 15:04:05"), printable(from))
	last := ""
	for _, r := range m.Recipients {
		if !open(r.State) && m.State != admin.StateFailed {
			continue
		}
		why := r.LastReply
		if r.LastHost != "" && why != "" {
			why = "host " + r.LastHost + " said: " + why
		}
		if why != last { // one reason stands for all recipients that follow
			if last = why; why == "" {
				why = "reason unavailable"
			}
			out.printf("%s(%s)\n", strings.Repeat(" ", max(0, mailqReason-len(why))), printable(why))
		}
		out.printf(mailqRow, "", "", "", printable(r.Address))
	}
}

// open tells whether something is still to be done for a recipient in that state.
func open(state string) bool {
	return state == admin.StateActive || state == admin.StateDeferred || state == admin.StateHeld
}

// calledAs puts the command first that the program's own name asks for.
func calledAs(program string, args []string) []string {
	if name := strings.TrimSuffix(filepath.Base(program), ".exe"); name == "mailq" {
		return append([]string{name}, args...)
	}
	return args
}
