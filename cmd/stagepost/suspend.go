package main

import (
	"net/url"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/queue"
)

// suspendFlags adds the flags that name what is suspended.
func suspendFlags(cmd *cobra.Command) func() (url.Values, error) {
	lists := map[string]*[]string{}
	usage := map[string]string{
		queue.SuspendNextHop: "mail for this next hop, as queue list --json shows it: mx:example.org",
		queue.SuspendSite:    "mail for this site",
		queue.SuspendDomain:  "mail to recipients of this domain",
		queue.SuspendTenant:  "mail of this tenant",
		queue.SuspendSender:  "mail from this address; <> is the null sender",
	}
	for _, kind := range queue.SuspendKinds() {
		list := []string{}
		lists[kind] = &list
		cmd.Flags().StringArrayVar(&list, kind, nil, usage[kind])
	}
	return func() (url.Values, error) {
		q := url.Values{}
		for kind, list := range lists {
			for _, name := range *list {
				if err := (&queue.Suspension{Kind: kind, Name: name}).Check(); err != nil {
					return nil, fail(exitUsage, "--%w", err)
				}
				q.Add(kind, name)
			}
		}
		return q, nil
	}
}

func (a *app) queueSuspendCommand() *cobra.Command {
	var last, reason string
	var listing bool
	cmd := &cobra.Command{
		Use:   "suspend",
		Short: "Do not try the mail of a next hop, site, domain, tenant or sender until it is resumed",
		Long: "suspend lets mail wait: it is accepted, not tried, and expires at its time. Attempts that are under way end as they would. Each\n" +
			"name is a suspension of its own, which lasts until queue resume names it in the same way, or as long as --for says, also over\n" +
			"restarts. In names * stands for any text. With --list, or without anything, it shows what is suspended.",
		Args: cobra.NoArgs,
	}
	names := suspendFlags(cmd)
	cmd.Flags().StringVar(&last, "for", "", "how long, as in 90m or 2d (default until it is resumed)")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who look at the queue")
	cmd.Flags().BoolVar(&listing, "list", false, "show what is suspended")
	asJSON := jsonFlag(cmd, "one JSON array")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q, err := names()
		if err != nil {
			return err
		}
		named := len(q) > 0
		if listing && (named || last != "" || reason != "") || !named && (last != "" || reason != "") {
			return fail(exitUsage, "name what is to be suspended, or use --list alone")
		}
		if last != "" {
			if d, err := config.ParseDuration(last); err != nil || d == 0 {
				return fail(exitUsage, `--for: %q is not a duration such as "90s", "2h" or "1d12h"`, last)
			}
			q.Set("for", last)
		}
		if reason != "" {
			q.Set("reason", reason)
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		out := outputOf(cmd)
		if !named {
			list, err := c.Suspensions(cmd.Context())
			if err != nil {
				return err
			}
			if *asJSON {
				return out.json(list)
			}
			a.showSuspensions(out, list)
			return nil
		}
		done, err := c.Suspend(cmd.Context(), q)
		if err != nil {
			return err
		}
		if *asJSON {
			return out.json(done)
		}
		for _, s := range done {
			until := "until it is resumed"
			if !s.Until.IsZero() {
				until = "until " + moment(s.Until, a.now())
			}
			out.printf("suspended %s %s\n", printable(s.String()), until)
		}
		return nil
	}
	return cmd
}

func (a *app) showSuspensions(out output, list []queue.Suspension) {
	if len(list) == 0 {
		out.printf("nothing is suspended\n")
		return
	}
	t := newTable(out, "SUSPENDED", "SINCE", "UNTIL", "REASON")
	for _, s := range list {
		until := "resumed"
		if !s.Until.IsZero() {
			until = moment(s.Until, a.now())
		}
		why := s.Reason
		if s.By != "" {
			why = "by " + saidBy(s.By, s.Rule, s.Reason)
		}
		t.add(text(s.String()), text(moment(s.Since, a.now())), text(until), text(why))
	}
	t.flush()
}

func (a *app) queueResumeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resume",
		Short: "Try mail again that was suspended",
		Long: "resume ends suspensions, which are named as they were to queue suspend. Their mail is tried at once, as far as there is room. What\n" +
			"plugins do about a site, next hop or tenant that is named so ends, too.",
		Args: cobra.NoArgs,
	}
	names := suspendFlags(cmd)
	all := cmd.Flags().Bool("all", false, "all that is suspended")
	asJSON := jsonFlag(cmd, "one JSON array")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q, err := names()
		if err != nil {
			return err
		}
		if *all == (len(q) > 0) {
			return fail(exitUsage, "name what is to be resumed, or use --all alone")
		}
		if *all {
			q.Set("all", "")
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		done, err := c.Resume(cmd.Context(), q)
		if err != nil {
			return err
		}
		out := outputOf(cmd)
		if *asJSON {
			return out.json(done)
		}
		for _, s := range done {
			out.printf("resumed %s\n", printable(s.String()))
		}
		if len(done) == 0 {
			out.printf("nothing is suspended\n")
		}
		return nil
	}
	return cmd
}

// suspendedWords lists what is suspended on one line.
func suspendedWords(list []queue.Suspension) (words string) {
	for i, s := range list {
		if i == 5 {
			return words + ", ..."
		}
		if i > 0 {
			words += ", "
		}
		words += s.String()
	}
	return words
}
