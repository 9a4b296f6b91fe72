package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/plugins/catalog/lock"
)

// changing is one change of what is installed: of the record, with the code that it names, and of `enable` in the configuration. A running
// server may look at any moment, so enable names nothing that the record does not: what comes is recorded first, and what goes is recorded last.
type changing struct {
	app    *app
	config *config.Config
	lock   *lock.Change
	edit   *enableChange // nil: enable stays
	goes   bool          // plugins go, and do not come
}

// changing begins a change. Another one that goes on is waited for, until ctx ends.
func (a *app) changing(ctx context.Context, c *config.Config) (*changing, error) {
	l, err := lock.Begin(ctx, lock.File(c.File), c.Data)
	giveToOwner(c)
	if err != nil {
		return nil, catalogFailure(ctx, err)
	}
	return &changing{app: a, config: c, lock: l}, nil
}

func (c *changing) close() {
	c.lock.Close()
	giveToOwner(c.config)
}

// commit puts the code and the record there, or changes nothing.
func (c *changing) commit(ctx context.Context) error {
	err := c.lock.Commit(ctx)
	if err != nil {
		if left := c.lock.Undo(ctx); left != nil {
			err = fmt.Errorf("%w; %w", err, left)
		}
		err = catalogFailure(ctx, err)
	}
	giveToOwner(c.config)
	return err
}

// live is what came of loading.
type live struct {
	generation uint64         // 0: no server was asked
	plugins    []admin.Plugin // of it
	stopped    bool           // no server is running
	note       string         // about a server that could not be asked
}

// load has the running server load what the files say now. Without one, what it would load is loaded and let go again.
func (c *changing) load(ctx context.Context) (*live, error) {
	client := admin.NewClient(c.config.Data, c.config.File)
	reloaded, err := client.Reload(ctx)
	var gone *admin.Unreachable
	var answer *admin.Error
	switch {
	case errors.As(err, &gone):
		if _, err := c.app.load(c.config.File); err != nil {
			return nil, err
		}
		if codeOf(err, 0) == exitPermission {
			return &live{note: "the running server cannot be asked by this user, and goes by the files when it sees them"}, nil
		}
		return &live{stopped: true}, nil
	case errors.As(err, &answer) && answer.Status == http.StatusUnprocessableEntity:
		return nil, err
	case err != nil:
		return &live{note: "the running server gave no answer, and goes by the files when it sees them: " + err.Error()}, nil
	}
	l := &live{generation: reloaded.Generation}
	if l.plugins, err = client.Plugins(ctx); err != nil {
		l.note = "the running server does not say what it has loaded: " + err.Error()
	}
	return l, nil
}

// putBack undoes what was refused, so that the server would also start again, and says of it that so is what it was to do.
func (c *changing) putBack(ctx context.Context, why error, so, hint string) error {
	var left []string
	undo := []func() error{
		func() error {
			if c.edit == nil {
				return nil
			}
			return c.edit.undo()
		},
		func() error { return c.lock.Undo(ctx) },
	}
	if c.goes {
		slices.Reverse(undo)
	}
	for _, act := range undo {
		if err := act(); err != nil {
			left = append(left, err.Error())
		}
	}
	giveToOwner(c.config)
	_, _ = admin.NewClient(c.config.Data, c.config.File).Reload(ctx) // so that it does not say any more that something was refused
	code := exitConfig
	if own := (*failure)(nil); errors.As(why, &own) {
		code = own.code
	}
	if left != nil {
		return fail(code, "%w\nso %s; but not all could be put back as it was: %s", why, so, strings.Join(left, "; "))
	}
	return fail(code, "%w\nso %s, and all is as it was%s", why, so, hint)
}

// change installs candidates, all of them or none: unpack, lock, enable, load. Before the lock is written nothing has changed; if the server
// refuses what comes of it, or would at its next start, lock and configuration are put back as they were. An interrupt comes too late from here on,
// and after a kill what the lock names is there and whole.
func (in *installing) change(all []*candidate, enable bool) error {
	ctx := context.WithoutCancel(in.cmd.Context())
	change, err := in.begin(all)
	if err != nil {
		return err
	}
	defer change.close()
	put := 0
	for _, c := range all {
		if c.same() {
			continue
		}
		put++
		if err := change.lock.Put(c.pkg, c.entry); err != nil {
			return catalogFailure(ctx, err)
		}
	}
	var names []string
	if enable {
		names = in.notNamed(all)
	}
	if put == 0 && len(names) == 0 {
		return in.report(all, nil, stateCurrent)
	}
	var uncertain error
	if change.edit, uncertain = planEnable(in.config.File, names, nil); uncertain != nil {
		change.edit = nil
	}
	if err := change.commit(ctx); err != nil {
		return err
	}
	if change.edit != nil {
		if uncertain = change.edit.write(); uncertain != nil {
			change.edit = nil
		}
	}
	live, err := change.load(ctx)
	if err != nil {
		words := make([]string, len(all))
		for i, c := range all {
			words[i] = c.String()
		}
		return change.putBack(ctx, err, strings.Join(words, ", ")+map[bool]string{true: " is", false: " are"}[len(all) == 1]+" not installed",
			"; where it lacks a setting, write that first, or install it with --no-enable")
	}
	if err := in.report(all, live, stateInstalled); err != nil {
		return err
	}
	if uncertain != nil {
		return fail(exitConfig, "%s is left as it is (%w), so what was installed is not loaded yet; write:\n%s", in.config.File, uncertain, byHand(in.config, names))
	}
	return nil
}

// begin begins the change, and makes sure that the record says what was gone by until now.
func (in *installing) begin(all []*candidate) (*changing, error) {
	change, err := in.app.changing(in.cmd.Context(), in.config)
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		now, there := change.lock.Lock().Plugin(c.entry.ID)
		if there != (c.old != nil) || there && (now.Digest != c.old.Digest || now.Capabilities != c.old.Capabilities || now.Signer != c.old.Signer) {
			change.close()
			return nil, &failure{exitTemporary, errChanged}
		}
	}
	return change, nil
}

// notNamed are the plugins that nothing in the configuration names, so that they would not be loaded.
func (in *installing) notNamed(all []*candidate) (names []string) {
	for _, c := range all {
		if !in.named(c.entry.ID) {
			names = append(names, c.entry.ID)
		}
	}
	return names
}

// named tells whether the configuration names a plugin, in enable or in a [run.NAME].
func (in *installing) named(id string) bool {
	if slices.Contains(in.config.Plugins.Enable, id) {
		return true
	}
	for name, run := range in.config.Runs {
		if run.Plugin == id && name != id {
			return true
		}
	}
	return false
}

// unpack puts code back that the lock names. Nothing is there to be undone: the lock said so before.
func (in *installing) unpack(all []*candidate) error {
	ctx := context.WithoutCancel(in.cmd.Context())
	change, err := in.begin(all)
	if err != nil {
		return err
	}
	defer change.close()
	for _, c := range all {
		if err := change.lock.Put(c.pkg, c.entry); err != nil {
			return catalogFailure(ctx, err)
		}
	}
	if err := change.commit(ctx); err != nil {
		return err
	}
	l, err := change.load(ctx)
	if err != nil {
		if reportErr := in.report(all, nil, stateUnpacked); reportErr != nil {
			return reportErr
		}
		return fail(exitConfig, "the code is there again, but the configuration does not load: %w", err)
	}
	return in.report(all, l, stateUnpacked)
}
