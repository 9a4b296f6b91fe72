package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/admin"
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
		Args: cobra.MinimumNArgs(1),
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

	gone       []lock.Plugin
	generation uint64 // that is live without them; 0: no server was asked
	note       string
}

// removed is what became of one plugin, for --json.
type removed struct {
	ID         string `json:"id"`
	Version    string `json:"version"`
	State      string `json:"state"`
	Generation uint64 `json:"generation,omitempty"`
}

// remove takes all of them out, or none: first out of enable, so that nothing ever names what is not there, then out of the record.
func (r *removal) remove(ctx context.Context, ids []string) error {
	ctx = context.WithoutCancel(ctx)
	change, err := lock.Begin(ctx, lock.File(r.config.File), r.config.Data)
	if err != nil {
		return &failure{exitTemporary, err}
	}
	defer change.Close()
	for _, id := range ids {
		p, ok := change.Lock().Plugin(id)
		if !ok {
			return r.elsewhere(change.Lock(), id)
		}
		r.gone = append(r.gone, p)
	}
	for _, id := range ids {
		change.Remove(id)
	}
	edit, err := planEnable(r.config.File, nil, r.notInFolder(ids))
	if err != nil {
		return fail(exitConfig, "%s is left as it is (%w), and so is all; take it out of `enable` by hand first: %s", r.config.File, err, strings.Join(ids, ", "))
	}
	if edit != nil {
		if err := edit.write(); err != nil {
			return &failure{exitCantCreate, err}
		}
	}
	if err = change.Commit(ctx); err == nil {
		err = r.load(ctx)
	}
	if err != nil {
		return r.putBack(ctx, change, edit, err)
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

// load has the running server load what the files say now; without one, this process does, and lets go again.
func (r *removal) load(ctx context.Context) error {
	reloaded, err := admin.NewClient(r.config.Data, r.config.File).Reload(ctx)
	var gone *admin.Unreachable
	var answer *admin.Error
	switch {
	case errors.As(err, &gone):
		_, err = r.app.load(r.config.File)
		return err
	case errors.As(err, &answer) && answer.Status == http.StatusUnprocessableEntity:
		return err
	case err != nil:
		r.note = "the running server gave no answer, and goes on without them when it sees the files: " + err.Error()
		return nil
	}
	r.generation = reloaded.Generation
	return nil
}

// putBack undoes what was refused.
func (r *removal) putBack(ctx context.Context, change *lock.Change, edit *enableChange, why error) error {
	err := change.Undo(ctx)
	if edit != nil {
		err = errors.Join(err, edit.undo())
	}
	_, _ = admin.NewClient(r.config.Data, r.config.File).Reload(ctx) // so that it does not say any more that something was refused
	code := exitConfig
	if own := (*failure)(nil); errors.As(why, &own) {
		code = own.code
	}
	if err != nil {
		return fail(code, "%w\nso nothing is removed; but not all could be put back as it was: %w", why, err)
	}
	return fail(code, "%w\nso nothing is removed, and all is as it was", why)
}

func (r *removal) report(asJSON bool) error {
	for _, p := range r.gone {
		if asJSON {
			if err := r.out.json(removed{p.ID, p.Version, "removed", r.generation}); err != nil {
				return err
			}
			continue
		}
		without := ""
		if r.generation > 0 {
			without = fmt.Sprintf("; generation %d is live without it", r.generation)
		}
		r.out.printf("%s is removed%s\n", p, without)
	}
	for _, p := range r.gone {
		if !asJSON && slices.Contains(r.config.Plugins.Enable, p.ID) && slices.Contains(bundled.Names(), p.ID) {
			r.out.printf("the %s that comes with the program is not asked either; to have it, write it into `enable`\n", p.ID)
		}
	}
	if r.note != "" && !asJSON {
		r.out.printf("%s\n", printable(r.note))
	}
	return nil
}
