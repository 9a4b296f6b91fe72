package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/plugins/catalog/trust"
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
	now := a.now()
	out.printf("stagepost %s, generation %d, started %s\n", printable(s.Version), s.Generation, moment(s.Started, now))
	if s.Error != "" {
		for i, line := range strings.Split(strings.TrimSpace(s.Error), "\n") {
			if i == 0 {
				line = "the latest change was refused: " + line
			}
			out.printf("%s\n", out.paint(red, printable(line)))
		}
	}
	line := func(title, words string) { out.printf("%-10s %s\n", title+":", words) }
	if s.Health == "ok" {
		line("health", out.paint(green, s.Health))
	} else {
		line("health", out.paint(red, printable(s.Health)))
	}
	sessions := 0
	for _, l := range s.Listeners {
		sessions += l.Sessions
	}
	line("sessions", fmt.Sprintf("%d open, %d since the start, %d refused", sessions, s.Traffic.Sessions, s.Traffic.Refused)+
		lately(fmt.Sprintf("%d, %d refused", s.LastMinute.Sessions, s.LastMinute.Refused), s.LastMinute.Sessions+s.LastMinute.Refused > 0))
	line("received", counted(s.Traffic.Received, s.LastMinute.Received, "accepted", "held", "discarded", "rejected", "deferred", "dropped", "unknown"))
	line("outcomes", counted(s.Traffic.Outcomes, s.LastMinute.Outcomes, "delivered", "deferred", "failed", "held", "discarded"))
	line("queue", queueWords(&s.Queue, now))
	if len(s.Suspended) > 0 {
		line("suspended", out.paint(yellow, printable(suspendedWords(s.Suspended))))
	}
	line("store", storeWords(&s.Store))
	if s.Lost.Records+s.Lost.Log > 0 {
		line("lost", out.paint(yellow, fmt.Sprintf("%d entries of records, %d lines of the log", s.Lost.Records, s.Lost.Log)))
	}
	if s.Admin != "" {
		line("metrics", "http://"+s.Admin+"/metrics")
	}
	out.printf("\n")
	t := newTable(out, "LISTENER", "ADDRESS", "ROLE", "TLS", "SESSIONS")
	for _, l := range s.Listeners {
		t.add(text(l.Name), text(l.Address), text(l.Role), text(l.TLS), text(strconv.Itoa(l.Sessions)))
	}
	t.flush()
	out.printf("\n")
	showCertificates(out, s.Certificates, now)
	showPlugins(out, s.Plugins)
}

// counted lists what was counted, in order, and what of it in the last minute.
func counted(all, lastMinute map[string]uint64, names ...string) string {
	list := func(n map[string]uint64) string {
		var parts []string
		for _, name := range names {
			if n[name] > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", n[name], name))
			}
		}
		return strings.Join(parts, ", ")
	}
	words := list(all)
	if words == "" {
		return "none"
	}
	recent := list(lastMinute)
	return words + lately(recent, recent != "")
}

func lately(words string, any bool) string {
	if !any {
		return ""
	}
	return " (last minute: " + words + ")"
}

func storeWords(s *admin.StoreStatus) string {
	words := "how much space is free is not known"
	if s.Free >= 0 {
		words = size(s.Free) + " free"
	}
	if s.Micros > 0 {
		words += ", the last write took " + duration(time.Duration(s.Micros)*time.Microsecond)
	}
	if s.Full {
		words += ", full"
	}
	if s.Stalled {
		words += ", stalled"
	}
	return words
}

func queueWords(q *admin.QueueCounts, now time.Time) string {
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
	if n := q.Recipients.Active + q.Recipients.Deferred + q.Recipients.Held + q.Recipients.Failed; n > 0 {
		words += "; " + count(n, "recipient")
	}
	if q.Oldest != nil {
		words += "; the oldest came " + relative(*q.Oldest, now)
	}
	if q.OldestDeferred != nil && !q.OldestDeferred.Equal(*q.Oldest) {
		words += ", the oldest deferred one " + relative(*q.OldestDeferred, now)
	}
	return words
}

func showPlugins(out output, plugins []admin.Plugin) {
	if len(plugins) == 0 {
		out.printf("no plugin is loaded, so every recipient is refused; enable some in [plugins]\n")
		return
	}
	t := newTable(out, "PLUGIN", "VERSION", "STATE", "CALLS", "ERRORS", "STAGES", "SOURCE", "SIGNER", "MAY", "FACTS")
	for _, p := range plugins {
		errors := text(strconv.FormatUint(p.Errors, 10))
		if p.Errors > 0 {
			errors.paint = red
		}
		t.add(text(p.Name), text(p.Version), cell{p.State, verdictPaint(p.State)}, text(strconv.FormatUint(p.Calls, 10)), errors,
			text(strings.Join(p.Stages, " ")), text(p.Source), text(signerName(p.Signer)), mayWords(&p), text(factWords(&p)))
	}
	t.flush()
}

// factWords lists the facts that a plugin declares, without its name.
func factWords(p *admin.Plugin) string {
	names := make([]string, len(p.Facts))
	for i, f := range p.Facts {
		names[i] = strings.TrimPrefix(f.Name, p.Name+".")
	}
	return strings.Join(names, " ")
}

// signerName is a key by its number, as minisign shows it, or what stands in the place of a key.
func signerName(signer string) string {
	if k, err := trust.ParseKey(signer); err == nil {
		return k.ID()
	}
	return signer
}

// mayWords says what a plugin may do, and what it asked for and may not.
func mayWords(p *admin.Plugin) cell {
	may := strings.Join(p.Granted, ", ")
	if len(p.Withheld) == 0 {
		return text(may)
	}
	return cell{strings.TrimPrefix(may+"; not: "+strings.Join(p.Withheld, ", "), "; "), yellow}
}
