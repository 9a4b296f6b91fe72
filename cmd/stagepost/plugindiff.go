package main

import (
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/stagepost/stagepost/plugins/bundled"
	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/consent"
	"github.com/stagepost/stagepost/plugins/catalog/lock"
)

func (a *app) pluginDiffCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Compare two plugins, or two versions of one: rights, settings, code",
		Long: "diff tells what plugin B may do and A may not, and the other way round, what differs in needs, hooks and settings, and how the\n" +
			"files differ. No code of either runs. A and B are each one of:\n\n" +
			"  ID@VERSION            a version in the catalog\n" +
			"  ID                    what is installed, or came with the program, under that name\n" +
			"  PATH                  a folder, or a .lua file\n" +
			"  PLACE#ID[@VERSION]    a version in a registry, a folder or a .tar file of packages\n\n" +
			"An update is looked at with: stagepost plugin diff ID ID@VERSION. The exit code is 1 when B asks for more than A, and else 0.",
		Example: "  stagepost plugin diff acme-greylist acme-greylist@1.3.0\n  stagepost plugin diff relay plugins/relay.lua\n" +
			"  stagepost plugin diff ./packages.tar#acme-greylist@1.2.0 ./packages.tar#acme-greylist@1.3.0",
		Args: cobra.ExactArgs(2),
	}
	asJSON := jsonFlag(cmd, "one JSON object, with code as it is")
	within := timeoutFlag(cmd, "5m")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, cancel, limit, err := within(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		s := sides{app: a, cmd: cmd, limit: limit, bar: !*asJSON}
		var both [2]*catalog.Package
		for i, arg := range args {
			if both[i], err = s.get(ctx, arg); err != nil {
				return err
			}
		}
		d, err := consent.Compare(both[0], both[1])
		if err != nil {
			return &failure{exitData, err}
		}
		return showDiff(outputOf(cmd), d, *asJSON)
	}
	return cmd
}

// sides gets what is compared.
type sides struct {
	app   *app
	cmd   *cobra.Command
	limit time.Duration
	bar   bool
}

// get is the package that an argument names.
func (s *sides) get(ctx context.Context, arg string) (*catalog.Package, error) {
	if isPath := strings.ContainsAny(arg, `/\`) && !strings.Contains(arg, "://") || strings.HasSuffix(arg, ".lua") || arg == "." || arg == ".."; isPath && !strings.Contains(arg, "#") {
		p, err := catalog.PackPath(arg)
		if err != nil {
			return nil, catalogFailure(ctx, err)
		}
		return p, nil
	}
	w, err := parseRequest(arg)
	switch {
	case err != nil:
		return nil, err
	case w.place != "":
		show := newTransfer(s.cmd, s.bar, 1)
		defer show.clear()
		show.next(w.String())
		return w.at(ctx, catalog.Options{Limit: s.limit, Moved: show.moved})
	case w.version != "":
		return s.listed(ctx, w)
	}
	return s.here(ctx, w.id)
}

// listed is a version by the index that its id belongs to. What a version is never changes, so indexes are only fetched when those that are
// kept do not have it.
func (s *sides) listed(ctx context.Context, w request) (*catalog.Package, error) {
	from, err := s.app.stock(s.cmd, s.limit, s.bar)
	if err != nil {
		return nil, err
	}
	defer from.show.clear()
	if from.index == nil {
		return nil, from.noTrust
	}
	f, err := from.index.Find(w.id, w.version)
	if err != nil {
		if err := from.refresh(ctx, []string{w.id}); err != nil {
			return nil, err
		}
		if f, err = from.index.Find(w.id, w.version); err != nil {
			return nil, &failure{exitData, err}
		}
	}
	return from.got(ctx, f)
}

// here is what is installed under a name, or came with the program.
func (s *sides) here(ctx context.Context, id string) (*catalog.Package, error) {
	c, err := s.app.configuration()
	if err == nil {
		locked, err := lock.Read(lock.File(c.File))
		if err != nil {
			return nil, &failure{codeOf(err, exitConfig), err}
		}
		if p, ok := locked.Plugin(id); ok {
			pkg, err := p.Package(c.Data)
			if err != nil {
				return nil, catalogFailure(ctx, err)
			}
			return pkg, nil
		}
	}
	if slices.Contains(bundled.Names(), id) {
		return catalog.PackFS(id, bundled.Open(id))
	}
	where := "none is installed, and none came with the program, under that name"
	if err != nil {
		where = "none came with the program under that name, and what is installed cannot be told: " + err.Error()
	}
	return nil, fail(exitNoInput, "there is no plugin %q: %s; for a version in the catalog write %s@VERSION, for a folder ./%s", id, where, id, id)
}

// showDiff prints a comparison; that the new plugin asks for more is an exit code.
func showDiff(out output, d *consent.Diff, asJSON bool) error {
	if asJSON {
		if err := out.json(d); err != nil {
			return err
		}
	} else {
		for line := range strings.Lines(d.Text(columnsOf(out))) {
			line = strings.TrimSuffix(line, "\n")
			out.printf("%s\n", out.paint(diffPaint(line), line))
		}
	}
	if len(d.More) > 0 {
		return fail(exitFailed, "%s %s asks for more than %s %s", d.New.ID, d.New.Version, d.Old.ID, d.Old.Version)
	}
	return nil
}

// diffPaint is the colour of a line, by its mark.
func diffPaint(line string) paint {
	switch {
	case strings.HasPrefix(line, "+"), strings.HasPrefix(line, "  +"):
		return green
	case strings.HasPrefix(line, "-"):
		return red
	case strings.HasPrefix(line, "==="):
		return bold
	}
	return plain
}

// columnsOf are those of the terminal that is written to; 0: it is none.
func columnsOf(out output) int {
	file, ok := out.Writer.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return 0
	}
	const least = 40
	columns, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 80
	}
	return max(columns, least)
}
