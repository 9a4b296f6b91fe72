package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/plugins/bundled"
	"github.com/stagepost/stagepost/plugins/catalog/lock"
	"github.com/stagepost/stagepost/plugins/generation"
)

func (a *app) pluginRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove ID ...",
		Short: "Take installed plugins out of the configuration, the record and the data folder",
		Long: "remove takes plugins out of `enable`, out of plugins.lock, and deletes their code; the running server goes on without them, and mail that is\n" +
			"being handled is handled to its end with them. If the configuration does not load without them, all is put back as it was, and each\n" +
			"reason is a line, such as settings in [plugin.ID] that nobody would read; the exit code is 78 then.\n\n" +
			"What a plugin kept (kv) stays in the data folder. A plugin of the watched folder goes when its file is deleted there, and one that\n" +
			"comes with the program when it is taken out of `enable`.",
		Example: "  stagepost plugin remove acme-greylist",
		Args:    cobra.MinimumNArgs(1),
	}
	asJSON := jsonFlag(cmd, "JSON Lines: one object a plugin")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.configuration()
		if err != nil {
			return err
		}
		r := &removal{app: a, config: c, out: outputOf(cmd)}
		if err := r.remove(cmd.Context(), slices.Compact(slices.Sorted(slices.Values(args)))); err != nil {
			return err
		}
		return r.report(*asJSON)
	}
	return cmd
}

// removal is one run of plugin remove.
type removal struct {
	app    *app
	config *config.Config
	out    output

	gone []lock.Plugin
	live *live // without them
}

// removed is what became of one plugin, for --json.
type removed struct {
	ID         string `json:"id"`
	Version    string `json:"version"`
	State      string `json:"state"`
	Generation uint64 `json:"generation,omitempty"`
}

// remove takes all of them out, or none.
func (r *removal) remove(ctx context.Context, ids []string) error {
	change, err := r.app.changing(ctx, r.config)
	if err != nil {
		return err
	}
	defer change.close()
	change.goes = true
	ctx = context.WithoutCancel(ctx) // an interrupt comes too late from here on
	for _, id := range ids {
		p, ok := change.lock.Lock().Plugin(id)
		if !ok {
			return r.elsewhere(change.lock.Lock(), id)
		}
		r.gone = append(r.gone, p)
	}
	for _, id := range ids {
		change.lock.Remove(id)
	}
	edit, err := planEnable(r.config.File, nil, r.notInFolder(ids))
	if err != nil {
		return fail(exitConfig, "%s is left as it is (%w), and so is all; take it out of `enable` by hand first: %s", r.config.File, err, strings.Join(ids, ", "))
	}
	if edit != nil {
		if err := edit.write(); err != nil {
			return catalogFailure(ctx, err)
		}
		change.edit = edit
	}
	if err = change.commit(ctx); err == nil {
		r.live, err = change.load(ctx)
	}
	if err != nil {
		return change.putBack(ctx, err, "nothing is removed", "")
	}
	return nil
}

// elsewhere says how a plugin goes that is not installed.
func (r *removal) elsewhere(l *lock.Lock, id string) error {
	switch {
	case !slices.Contains(r.notInFolder([]string{id}), id):
		return fail(exitNoInput, "%s is not installed; it lies in %s, and goes when it is deleted there", id, generation.Label(r.config))
	case slices.Contains(bundled.Names(), id):
		return fail(exitNoInput, "%s is not installed; it comes with the program, and is not asked when it is taken out of `enable` in %s", id, r.config.File)
	}
	return notInstalled(l, id)
}

// notInFolder leaves out those that the watched folder has: enable gives these their place.
func (r *removal) notInFolder(ids []string) []string {
	watched, err := generation.ReadWatched(r.config)
	if err != nil {
		return ids // the server says what is wrong with it
	}
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		return slices.ContainsFunc(watched, func(s *generation.Source) bool { return s.Name == id })
	})
}

func (r *removal) report(asJSON bool) error {
	for _, p := range r.gone {
		if asJSON {
			if err := r.out.json(removed{p.ID, p.Version, "removed", r.live.generation}); err != nil {
				return err
			}
			continue
		}
		without := ""
		if r.live.generation > 0 {
			without = fmt.Sprintf("; generation %d is live without it", r.live.generation)
		}
		r.out.printf("%s is removed%s\n", p, without)
	}
	for _, p := range r.gone {
		if !asJSON && slices.Contains(r.config.Plugins.Enable, p.ID) && slices.Contains(bundled.Names(), p.ID) {
			r.out.printf("the %s that comes with the program is not asked either; to have it, write it into `enable`\n", p.ID)
		}
	}
	if r.live.note != "" && !asJSON {
		r.out.printf("%s\n", printable(r.live.note))
	}
	return nil
}
