package main

import (
	"cmp"
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/lock"
)

func (a *app) pluginUpdateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "update [ID ...]",
		Short: "Install newer versions of what is installed",
		Long: "update looks in the indexes for newer versions of the plugins that are named, or of all that are installed, and installs those that ask\n" +
			"for no more than what was accepted. One that asks for more is held: what it may do beyond the installed one is printed, nothing of it is\n" +
			"installed, and the exit code is 77. It is accepted with --accept HASH, as printed.\n\n" +
			"One that cannot be looked at stays as it is, keeps no other from its update, and is told by the exit code.\n\n" +
			"What was installed from a place, and not from an index, is not looked for; install it again from there. An older version never takes\n" +
			"the place of a newer one here." + aboutInstalling,
		Example: "  stagepost plugin update --dry-run\n  stagepost plugin update\n  stagepost plugin update acme-greylist --accept rights:0263...",
	}
	in := &installing{app: a}
	in.accept = acceptFlag(cmd)
	dry := cmd.Flags().Bool("dry-run", false, "only say what there is; nothing is installed")
	limit := timeoutFlag(cmd, "15m")
	in.json = jsonFlag(cmd, "JSON Lines: one object a plugin")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in.cmd, in.out = cmd, outputOf(cmd)
		ctx, cancel, most, err := limit(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		if in.stock, err = a.stock(cmd, most, !*in.json); err != nil {
			return err
		}
		defer in.show.clear()
		chosen, err := in.updatable(args)
		if err != nil {
			return err
		}
		return in.update(ctx, chosen, *dry)
	}
	return cmd
}

// updatable are the installed plugins with the ids, or all, of which an index tells what is newer.
func (in *installing) updatable(ids []string) (all []lock.Plugin, err error) {
	chosen, err := in.chosen(ids)
	if err != nil {
		return nil, err
	}
	for _, p := range chosen {
		switch {
		case p.Index != "":
			all = append(all, p)
		case len(ids) > 0:
			return nil, fail(exitUsage, "%s was installed from a place, where no index tells what is newer; look there with: %s", p.ID, in.app.command("plugin", "install", "'"+p.Place+"#"+p.ID+"'", "--unsigned"))
		default:
			in.warn("%s was installed from a place, where no index tells what is newer", p)
		}
	}
	return all, nil
}

func (in *installing) update(ctx context.Context, chosen []lock.Plugin, dry bool) error {
	if len(chosen) == 0 {
		if !*in.json {
			in.out.printf("nothing is installed from an index\n")
		}
		return nil
	}
	ids := make([]string, len(chosen))
	for i, p := range chosen {
		ids[i] = p.ID
	}
	if err := in.refresh(ctx, ids); err != nil {
		return err
	}
	in.show.expect(len(chosen) + 1)
	var take, held []*candidate
	var current []lock.Plugin
	var missed error // why one could not be looked at, which keeps no other from its update
	for _, p := range chosen {
		c, err := in.newer(ctx, p)
		switch {
		case err != nil && (ctx.Err() != nil || errors.Is(err, errTampered) || len(chosen) == 1):
			return err
		case err != nil:
			in.warn("%s stays as it is: %s", p, printable(err.Error()))
			missed = cmp.Or(missed, err)
			if *in.json {
				if err := in.say(&candidate{entry: p, old: &p}, stateMissed); err != nil {
					return err
				}
			}
		case c == nil:
			current = append(current, p)
		case c.asks() && !in.accepts(c):
			held = append(held, c)
		default:
			take = append(take, c)
		}
	}
	in.show.clear()
	for _, p := range current {
		if err := in.say(&candidate{entry: p, old: &p}, stateCurrent); err != nil {
			return err
		}
	}
	for _, c := range held {
		if err := in.say(c, stateHeld); err != nil {
			return err
		}
	}
	switch {
	case dry:
		for _, c := range take {
			if err := in.say(c, stateNewer); err != nil {
				return err
			}
		}
	case len(take) > 0:
		if err := in.change(take, false); err != nil {
			return err
		}
	}
	if missed != nil {
		return fail(catalogCode(ctx, missed), "not all could be brought up to date")
	}
	if len(held) > 0 {
		return fail(exitPermission, "%s held until accepted", map[bool]string{true: held[0].String() + " is", false: count(len(held), "update") + " are"}[len(held) == 1])
	}
	return nil
}

func (in *installing) accepts(c *candidate) bool {
	for _, rights := range *in.accept {
		if rights == c.entry.Capabilities {
			return true
		}
	}
	return false
}

// newer gets the newest version of an installed plugin if it is a newer one; nil is that there is none.
func (in *installing) newer(ctx context.Context, p lock.Plugin) (*candidate, error) {
	if why := in.trust.Revoked(p.Signer, p.Digest); why != "" {
		in.warn("%s: %s; to take it out: %s", p, why, in.app.command("plugin", "remove", p.ID))
	}
	f, err := in.index.Find(p.ID, "")
	if err != nil {
		return nil, &failure{exitData, err}
	}
	if now, err := in.index.Find(p.ID, p.Version); err == nil && now.Entry.Yanked != "" {
		in.warn("%s was withdrawn: %s", p, printable(now.Entry.Yanked))
	}
	switch order := catalog.CompareVersions(f.Entry.Version, p.Version); {
	case order == 0 && f.Entry.Digest != p.Digest:
		return nil, fail(exitData, "%s is installed as %s, and is %s in the index %s: %w", p, p.Digest, f.Entry.Digest, f.Index, errTampered)
	case order < 0:
		in.warn("the newest that there is of %s is %s, which is older than what is installed; to go back to it: %s", p.ID, f.Entry.Version, in.app.command("plugin", "install", p.ID+"@"+f.Entry.Version, "--downgrade"))
		return nil, nil
	case order == 0:
		return nil, nil
	}
	return in.fetched(ctx, f)
}

// say tells of one plugin that is not installed now.
func (in *installing) say(c *candidate, state string) error {
	if *in.json {
		r := c.outcome(state)
		r.Enabled = in.named(c.entry.ID)
		return in.out.json(r)
	}
	switch state {
	case stateCurrent:
		in.out.printf("%s is the newest\n", c)
	case stateNewer:
		in.out.printf("%s would be installed, in the place of %s\n", c, c.old.Version)
	case stateHeld:
		in.out.printf("%s is held. Beyond what %s may do, it\n", c, c.old.Version)
		in.list(c.more)
		in.out.printf("to see all that it may do: %s\nto accept it: %s\n", in.app.command("plugin", "info", c.entry.ID+"@"+c.entry.Version),
			in.app.command("plugin", "update", c.entry.ID, "--accept", c.entry.Capabilities))
	}
	return nil
}
