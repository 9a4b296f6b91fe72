package main

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/plugins/catalog/consent"
	"github.com/stagepost/stagepost/plugins/catalog/index"
)

// listed is one plugin of an index, for programs.
type listed struct {
	ID          string         `json:"id"`
	Version     string         `json:"version"`
	API         int            `json:"api"`
	Description string         `json:"description,omitempty"`
	Engine      string         `json:"engine"`
	Needs       map[string]any `json:"needs"`
	Digest      string         `json:"digest"`
	Issued      time.Time      `json:"issued"`
	Index       string         `json:"index"`
	Signer      string         `json:"signer"` // public key, or "unsigned"
	Places      []string       `json:"places"`
	Yanked      string         `json:"yanked,omitempty"`
	Others      []string       `json:"others,omitempty"`    // indexes that list it and do not count
	Installed   string         `json:"installed,omitempty"` // version
	Sheet       *consent.Sheet `json:"sheet,omitempty"`     // of info
}

func (s *stock) listed(f *index.Found) *listed {
	e := &f.Entry
	l := &listed{ID: e.ID, Version: e.Version, API: e.API, Description: e.Description, Engine: e.Engine, Needs: e.Needs, Digest: string(e.Digest), Issued: e.Issued, Index: f.Index,
		Signer: f.Signer.String(), Places: f.Places, Yanked: e.Yanked, Others: f.Others}
	if l.Signer == "" {
		l.Signer = index.Unsigned
	}
	if p, ok := s.locked.Plugin(e.ID); ok {
		l.Installed = p.Version
	}
	return l
}

func offlineFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("offline", false, "go by what is kept of the indexes, and fetch nothing")
}

// look opens the stock for a command that only looks: indexes that cannot be brought up to date are gone by as they are kept. What kept them
// from being so is missed.
func (a *app) look(ctx context.Context, cmd *cobra.Command, limit time.Duration, offline, bar bool) (s *stock, missed, err error) {
	s, err = a.stock(cmd, limit, bar)
	switch {
	case err != nil:
		return nil, nil, err
	case s.index == nil:
		return nil, nil, s.noTrust
	case offline:
		return s, nil, nil
	}
	// Find and Search tell what cannot be used at all.
	if missed = s.fetch(ctx); missed != nil {
		if cmd.Context().Err() != nil { // somebody does not want to know any more
			return nil, nil, missed
		}
		for line := range strings.Lines(missed.Error()) {
			s.warn("warning: %s", printable(strings.TrimSuffix(line, "\n")))
		}
	}
	return s, missed, nil
}

func (a *app) pluginSearchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "search [WORD ...]",
		Short: "Find plugins in the indexes that trust.toml names",
		Long: "search brings the indexes up to date and lists the plugins in which every word occurs: in the id, the description, the engine, or the names\n" +
			"of what it needs. Without a word it lists all. Of each plugin it shows the newest version for this server that was not withdrawn.\n\n" +
			"Indexes are kept below the data folder: without a network, or with --offline, search goes by what is kept, as long as that has not expired.",
		Example: "  stagepost plugin search greylist\n  stagepost plugin search wasm dns --json",
	}
	offline := offlineFlag(cmd)
	limit := timeoutFlag(cmd, "1m")
	asJSON := jsonFlag(cmd, "JSON Lines: one object a plugin")
	cmd.RunE = func(cmd *cobra.Command, words []string) error {
		ctx, cancel, most, err := limit(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		s, missed, err := a.look(ctx, cmd, most, *offline, !*asJSON)
		if err != nil {
			return err
		}
		found, wrong := s.index.Search(words)
		s.show.clear()
		out := outputOf(cmd)
		var t *table
		for i := range found {
			l := s.listed(&found[i])
			if *asJSON {
				if err := out.json(l); err != nil {
					return err
				}
				continue
			}
			if t == nil {
				t = newTable(out, "PLUGIN", "VERSION", "INSTALLED", "INDEX", "SIGNED BY", "DESCRIPTION")
			}
			t.add(text(l.ID), text(l.Version), text(l.Installed), text(l.Index), text(found[i].SignerID), text(consent.Clean(l.Description, 100)))
		}
		switch {
		case t != nil:
			t.flush()
		case !*asJSON && wrong == nil:
			out.printf("no plugin is like that\n")
		}
		if wrong != nil {
			return &failure{catalogCode(ctx, cmp.Or(missed, wrong)), wrong}
		}
		return nil
	}
	return cmd
}

func (a *app) pluginInfoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "info ID[@VERSION]",
		Short: "Show what a plugin of an index may do, before installing it",
		Args:  cobra.ExactArgs(1),
		Long: "info shows who signed a plugin, where it lies, and the sheet that install shows: what it could read, change, contact and refuse. The package\n" +
			"is fetched and checked for that, and nothing of it is kept. With --offline it shows what the index says.\n\n" +
			"The last line of the sheet is the hash that install and update take with --accept.",
		Example: "  stagepost plugin info acme-greylist\n  stagepost plugin info acme-greylist@1.2.0 --json",
	}
	offline := offlineFlag(cmd)
	limit := timeoutFlag(cmd, "15m")
	asJSON := jsonFlag(cmd, "one JSON object")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		w, err := parseRequest(args[0])
		if err != nil {
			return err
		}
		if w.place != "" {
			return fail(exitUsage, "info tells of plugins in an index; what lies at a place is shown by install, before it asks")
		}
		ctx, cancel, most, err := limit(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		s, missed, err := a.look(ctx, cmd, most, *offline, !*asJSON)
		if err != nil {
			return err
		}
		f, err := s.index.Find(w.id, w.version)
		if err != nil {
			s.show.clear()
			if problems := (index.Problems)(nil); errors.As(missed, &problems) && !slices.ContainsFunc(problems, func(p *index.Problem) bool { return s.owns(p, w.id) }) {
				missed = nil // of another index
			}
			return &failure{catalogCode(ctx, cmp.Or(missed, err)), err}
		}
		l := s.listed(&f)
		missed = nil // what was kept will do
		if !*offline {
			var c *candidate
			if c, missed = s.fetched(ctx, f); missed == nil {
				l.Sheet = c.sheet
			}
		}
		s.show.clear()
		out := outputOf(cmd)
		if *asJSON {
			err = out.json(l)
		} else {
			a.showListed(out, l, signedBy(f.Signer, f.Index))
		}
		return errors.Join(err, missed)
	}
	return cmd
}

// showListed shows one plugin of an index: its sheet, or what the index says of it.
func (a *app) showListed(out output, l *listed, signed string) {
	line := func(name, value string) {
		if value != "" {
			out.printf("%-11s %s\n", name, printable(value))
		}
	}
	if l.Sheet != nil {
		out.printf("%s\n", l.Sheet.Text(signed))
	} else {
		line("plugin", l.ID+" "+l.Version)
		line("package", l.Digest)
		if signed == "" {
			signed = "nobody"
		}
		line("signed by", signed)
		line("engine", l.Engine)
		line("its author", consent.Clean(l.Description, 300))
		line("needs", strings.Join(slices.Sorted(maps.Keys(l.Needs)), ", "))
	}
	line("index", l.Index)
	line("issued", moment(l.Issued, a.now()))
	for _, place := range l.Places {
		line("lies at", place)
	}
	line("withdrawn", l.Yanked)
	if l.Others != nil {
		line("also in", strings.Join(l.Others, ", ")+", which does not count")
	}
	switch l.Installed {
	case "":
		line("install", a.command("plugin", "install", l.ID+"@"+l.Version))
	default:
		line("installed", l.Installed)
	}
}
