package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/index"
	"github.com/stagepost/stagepost/plugins/catalog/lock"
	"github.com/stagepost/stagepost/plugins/catalog/trust"
)

// stock is what the commands that find and install plugins work with: what there is, and what is installed.
type stock struct {
	app     *app
	cmd     *cobra.Command
	config  *config.Config
	locked  *lock.Lock
	trust   *trust.Trust   // nil: there is no trust.toml
	noTrust error          // why
	index   *index.Catalog // nil without trust
	options catalog.Options
	show    *transfer
}

// stock opens it. Nothing is fetched yet; limit is for each call of a place.
func (a *app) stock(cmd *cobra.Command, limit time.Duration, bar bool) (*stock, error) {
	c, err := a.configuration()
	if err != nil {
		return nil, err
	}
	s := &stock{app: a, cmd: cmd, config: c, show: newTransfer(cmd, bar, 0)}
	s.options = catalog.Options{Limit: limit, Moved: s.show.moved}
	if s.locked, err = lock.Read(lock.File(c.File)); err != nil {
		return nil, &failure{codeOf(err, exitConfig), err}
	}
	switch s.trust, err = readTrust(trust.File(c.File)); {
	case errors.Is(err, fs.ErrNotExist):
		s.noTrust = err
	case err != nil:
		return nil, err
	default:
		s.index = index.Open(s.trust, filepath.Join(c.Data, catalogFolder), s.options, a.now)
	}
	return s, nil
}

// readTrust reads a trust.toml. That there is none is fs.ErrNotExist, and says what to write.
func readTrust(file string) (*trust.Trust, error) {
	t, err := trust.Read(file)
	if err != nil {
		return nil, &failure{codeOf(err, exitConfig), err}
	}
	return t, nil
}

// warn says on the way what whoever runs the command should know.
func (s *stock) warn(format string, args ...any) {
	s.show.clear()
	s.cmd.PrintErrf(format+"\n", args...)
}

// fetch brings the indexes up to date. Where some could not be, its error has the problems of each.
func (s *stock) fetch(ctx context.Context) error {
	if err := os.MkdirAll(s.config.Data, 0o700); err != nil { // as the server makes it
		return catalogFailure(ctx, err)
	}
	s.show.next("indexes")
	err := s.index.Refresh(ctx)
	giveToOwner(s.config)
	if ctx.Err() != nil {
		return &failure{exitTemporary, context.Cause(ctx)}
	}
	return err
}

// refresh is fetch before something is changed. What cannot be fetched is used as it is kept, while it may be; what was refused, or is not there,
// is an error if one of the plugins belongs to it, and else a warning.
func (s *stock) refresh(ctx context.Context, ids []string) error {
	if s.index == nil {
		return s.noTrust
	}
	err := s.fetch(ctx)
	var problems, bad index.Problems
	if !errors.As(err, &problems) {
		return err
	}
	for _, p := range problems {
		if p.Missed && p.Usable || !slices.ContainsFunc(ids, func(id string) bool { return s.owns(p, id) }) {
			s.warn("warning: %s", printable(p.Error()))
			continue
		}
		p.Usable = false // for this command it is not
		bad = append(bad, p)
	}
	if bad != nil {
		return catalogFailure(ctx, bad)
	}
	return nil
}

// owns tells whether a plugin belongs to the index that has a problem.
func (s *stock) owns(p *index.Problem, id string) bool {
	owner, ok := s.trust.Owner(id)
	return ok && owner.Name == p.Index
}

// request is a plugin as it is named to the commands: ID, ID@VERSION, or PLACE#ID@VERSION.
type request struct{ place, id, version string }

func (w request) String() string {
	if w.version == "" {
		return w.id
	}
	return w.id + "@" + w.version
}

func parseRequest(arg string) (request, error) {
	w := request{id: arg}
	if i := strings.LastIndexByte(arg, '#'); i >= 0 {
		if w.place, w.id = arg[:i], arg[i+1:]; w.place == "" {
			return w, fail(exitUsage, "%q names no place before the #", arg)
		}
	} else if strings.ContainsAny(arg, `/\`) || strings.HasSuffix(arg, ".tar") {
		return w, fail(exitUsage, "%q looks like a place; write behind it which plugin: %s#ID, or %s#ID@VERSION", arg, arg, arg)
	}
	id, version, pinned := strings.Cut(w.id, "@")
	w.id, w.version = id, version
	probe := catalog.Summary{ID: id, Version: version, Engine: "lua"}
	if !pinned {
		probe.Version = "0.0.0"
	}
	if err := probe.Check(); err != nil {
		return w, fail(exitUsage, "%q names no plugin: %w", arg, err)
	}
	if w.place != "" {
		var err error
		if w.place, err = wherever(w.place); err != nil {
			return w, err
		}
	}
	return w, nil
}

// wherever is what a place is called in whatever folder a command is run.
func wherever(place string) (string, error) {
	if strings.Contains(place, "://") {
		return place, nil
	}
	path, err := filepath.Abs(place)
	if err != nil {
		return "", fail(exitNoInput, "%w", err)
	}
	return path, nil
}

// parseRequests reads all arguments; each plugin may be named once.
func parseRequests(args []string) (all []request, err error) {
	for _, arg := range args {
		w, err := parseRequest(arg)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(all, func(o request) bool { return o.id == w.id }) {
			return nil, fail(exitUsage, "%s is named twice; one version of it can be installed", w.id)
		}
		all = append(all, w)
	}
	return all, nil
}

// signedBy says who signed, for a sheet; "" is nobody.
func signedBy(key trust.Key, indexName string) string {
	if key.String() == "" {
		return ""
	}
	return "key " + key.String() + " (" + key.ID() + "), which trust.toml names for the index " + indexName
}

// giveToOwner gives what a command made to whom the data folder belongs, and beside the configuration to whom that belongs, if the command runs
// as root: the server runs as another user, and so may the next command.
func giveToOwner(c *config.Config) {
	giveBelow(c.Data, c.Data, catalogFolder, config.InstalledFolder)
	giveBelow(filepath.Dir(c.File), c.File, lock.Beside()...)
}

// giveBelow gives what lies below a folder, and may have been put there by somebody else, so no link is followed out of the folder.
func giveBelow(dir, like string, names ...string) {
	info, err := os.Stat(like)
	if err != nil || os.Geteuid() != 0 {
		return
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return
	}
	defer root.Close()
	for _, name := range names {
		_ = fs.WalkDir(root.FS(), name, func(path string, _ fs.DirEntry, err error) error {
			if err == nil {
				giveOwner(root, path, info)
			}
			return nil
		})
	}
}
