package main

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/plugins/catalog/lock"
)

// change installs candidates, all of them or none: unpack, lock, enable, load. Before the lock is written nothing has changed; if the server
// refuses what comes of it, or would at its next start, lock and configuration are put back as they were. An interrupt comes too late from here on,
// and after a kill what the lock names is there and whole.
func (in *installing) change(all []*candidate, enable bool) error {
	ctx := context.WithoutCancel(in.cmd.Context())
	change, err := in.begin(all)
	if err != nil {
		return err
	}
	defer change.Close()
	put := 0
	for _, c := range all {
		if c.same() {
			continue
		}
		put++
		if err := change.Put(c.pkg, c.entry); err != nil {
			return &failure{exitData, err}
		}
	}
	var names []string
	if enable {
		names = in.notNamed(all)
	}
	if put == 0 && len(names) == 0 {
		return in.report(all, nil, stateCurrent)
	}
	edit, uncertain := planEnable(in.config.File, names, nil)
	if uncertain != nil {
		edit = nil
	}
	err = change.Commit(ctx)
	in.giveToOwner()
	if err != nil {
		return &failure{codeOf(err, exitIO), err}
	}
	if edit != nil {
		if err := edit.write(); err != nil {
			edit, uncertain = nil, err
		}
	}
	live, err := in.load(ctx)
	if err != nil {
		return in.putBack(ctx, change, edit, all, err)
	}
	if err := in.report(all, live, stateInstalled); err != nil {
		return err
	}
	if uncertain != nil {
		return fail(exitConfig, "%s is left as it is (%w), so what was installed is not loaded yet; write:\n%s", in.config.File, uncertain, byHand(in.config, names))
	}
	return nil
}

// begin takes the lock of the plugins, and makes sure that it says what was gone by until now.
func (in *installing) begin(all []*candidate) (*lock.Change, error) {
	change, err := lock.Begin(in.cmd.Context(), lock.File(in.config.File), in.config.Data)
	if err != nil {
		in.giveToOwner()
		code := exitTemporary // another command is at it
		if named := (*fs.PathError)(nil); errors.As(err, &named) {
			code = codeOf(err, exitIO)
		}
		return nil, &failure{code, err}
	}
	for _, c := range all {
		now, there := change.Lock().Plugin(c.entry.ID)
		if there != (c.old != nil) || there && (now.Digest != c.old.Digest || now.Capabilities != c.old.Capabilities || now.Signer != c.old.Signer) {
			change.Close()
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

// live is what came of loading.
type live struct {
	generation uint64 // 0: no server was asked
	plugins    []admin.Plugin
	note       string // about a server that could not be asked
}

// load has the running server load what the files say now. Without one, what it would load is loaded and let go again.
func (in *installing) load(ctx context.Context) (*live, error) {
	client := admin.NewClient(in.config.Data, in.config.File)
	reloaded, err := client.Reload(ctx)
	var gone *admin.Unreachable
	var answer *admin.Error
	switch {
	case errors.As(err, &gone):
		if _, err := in.app.load(in.config.File); err != nil {
			return nil, err
		}
		note := "no server is running, so it will be live with: " + in.app.command("serve")
		if codeOf(err, 0) == exitPermission {
			note = "the running server cannot be asked by this user, and loads it when it sees the files"
		}
		return &live{note: note}, nil
	case errors.As(err, &answer) && answer.Status == http.StatusUnprocessableEntity:
		return nil, err
	case err != nil:
		return &live{note: "the running server gave no answer, and loads it when it sees the files: " + err.Error()}, nil
	}
	l := &live{generation: reloaded.Generation}
	if l.plugins, err = client.Plugins(ctx); err != nil {
		l.note = "the running server does not say what it has loaded: " + err.Error()
	}
	return l, nil
}

// putBack undoes what was refused, so that the server would also start again.
func (in *installing) putBack(ctx context.Context, change *lock.Change, edit *enableChange, all []*candidate, why error) error {
	var names []string
	for _, c := range all {
		names = append(names, c.String())
	}
	var left []string
	if edit != nil {
		if err := edit.undo(); err != nil {
			left = append(left, "enable in "+in.config.File+" still has it: "+err.Error())
		}
	}
	if err := change.Undo(ctx); err != nil {
		left = append(left, err.Error())
	}
	in.giveToOwner()
	_, _ = admin.NewClient(in.config.Data, in.config.File).Reload(ctx) // so that it does not say any more that something was refused
	code := exitConfig
	if own := (*failure)(nil); errors.As(why, &own) {
		code = own.code
	}
	if left != nil {
		return fail(code, "with %s the configuration does not load, and not all could be put back: %s; it was refused because: %w", strings.Join(names, ", "), strings.Join(left, "; "), why)
	}
	return fail(code, "%w\nso %s is not installed, and all is as it was; where it lacks a setting, write that first, or install it with --no-enable", why, strings.Join(names, ", "))
}

// unpack puts code back that the lock names. Nothing is there to be undone: the lock said so before.
func (in *installing) unpack(all []*candidate) error {
	ctx := context.WithoutCancel(in.cmd.Context())
	change, err := in.begin(all)
	if err != nil {
		return err
	}
	defer change.Close()
	for _, c := range all {
		if err := change.Put(c.pkg, c.entry); err != nil {
			return &failure{exitData, err}
		}
	}
	err = change.Commit(ctx)
	in.giveToOwner()
	if err != nil {
		return &failure{codeOf(err, exitIO), err}
	}
	l, err := in.load(ctx)
	if err != nil {
		if reportErr := in.report(all, nil, stateUnpacked); reportErr != nil {
			return reportErr
		}
		return fail(exitConfig, "the code is there again, but the configuration does not load: %w", err)
	}
	return in.report(all, l, stateUnpacked)
}

// report tells what became of each plugin.
func (in *installing) report(all []*candidate, l *live, state string) error {
	if l == nil {
		l = &live{}
	}
	var loaded, idle []string
	for _, c := range all {
		r := c.outcome(state)
		if state == stateInstalled && c.same() {
			r.State = stateCurrent
		}
		r.Enabled = in.enabledNow(c.entry.ID)
		if slices.ContainsFunc(l.plugins, func(p admin.Plugin) bool { return p.Name == c.entry.ID && p.Version == c.entry.Version }) {
			r.Generation = l.generation
		}
		if *in.json {
			if err := in.out.json(r); err != nil {
				return err
			}
			continue
		}
		switch {
		case r.State == stateCurrent:
			in.out.printf("%s is installed already\n", c)
		case r.State == stateUnpacked:
			in.out.printf("%s is there again\n", c)
		case r.From != "":
			in.out.printf("%s is installed, in the place of %s\n", c, r.From)
		default:
			in.out.printf("%s is installed\n", c)
		}
		switch {
		case r.Generation > 0:
			loaded = append(loaded, c.entry.ID)
		case !r.Enabled:
			idle = append(idle, c.entry.ID)
		}
	}
	if *in.json {
		return nil
	}
	if loaded != nil {
		in.out.printf("live in generation %d: %s\n", l.generation, strings.Join(loaded, ", "))
	}
	if l.note != "" {
		in.out.printf("%s\n", printable(l.note))
	}
	if idle != nil && state != stateUnpacked {
		in.out.printf("not loaded, since enable in the configuration does not name it: %s\n", strings.Join(idle, ", "))
	}
	return nil
}

// enabledNow tells whether the configuration names a plugin by now.
func (in *installing) enabledNow(id string) bool {
	if c, err := in.app.configuration(); err == nil {
		in.config = c
	}
	return in.named(id)
}
