package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/stagepost/stagepost/plugins/bundled"
	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/consent"
	"github.com/stagepost/stagepost/plugins/catalog/index"
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
		show := newTransfer(cmd, !*asJSON, 0)
		defer show.clear()
		var sides [2]*catalog.Package
		for i, arg := range args {
			if sides[i], err = a.packageNamed(ctx, arg, catalog.Options{Limit: limit, Moved: show.moved}); err != nil {
				return err
			}
		}
		show.clear()
		d, err := consent.Compare(sides[0], sides[1])
		if err != nil {
			return &failure{exitData, err}
		}
		return showDiff(outputOf(cmd), d, *asJSON)
	}
	return cmd
}

// packageNamed is the package that an argument names.
func (a *app) packageNamed(ctx context.Context, arg string, o catalog.Options) (*catalog.Package, error) {
	id, version, pinned := strings.Cut(arg, "@")
	switch at := strings.LastIndexByte(arg, '#'); {
	case at >= 0:
		return packageAt(ctx, arg[:at], arg[at+1:], o)
	case strings.ContainsAny(arg, `/\`), strings.HasSuffix(arg, ".lua"), arg == ".", arg == "..":
		p, err := catalog.PackPath(arg)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, fail(exitNoInput, "%w", err)
		case err != nil:
			return nil, fail(codeOf(err, exitData), "%w", err)
		}
		return p, nil
	case pinned:
		return a.packageListed(ctx, id, version, o)
	}
	c, err := a.configuration()
	if err == nil {
		locked, err := lock.Read(lock.File(c.File))
		if err != nil {
			return nil, fail(codeOf(err, exitConfig), "%w", err)
		}
		if p, ok := locked.Plugin(arg); ok {
			pkg, err := p.Package(c.Data)
			if err != nil {
				return nil, fail(codeOf(err, exitData), "%w", err)
			}
			return pkg, nil
		}
	}
	if slices.Contains(bundled.Names(), arg) {
		return catalog.PackFS(arg, bundled.Open(arg))
	}
	where := "none is installed, and none came with the program, under that name"
	if err != nil {
		where = "none came with the program under that name, and what is installed cannot be told: " + err.Error()
	}
	return nil, fail(exitNoInput, "there is no plugin %q: %s; for a version in the catalog write %s@VERSION, for a folder ./%s", arg, where, arg, arg)
}

// packageAt is a version in a place: the newest unless one is named.
func packageAt(ctx context.Context, where, name string, o catalog.Options) (*catalog.Package, error) {
	at, err := catalog.At(where, o)
	if err != nil {
		return nil, fail(exitUsage, "%w", err)
	}
	id, version, pinned := strings.Cut(name, "@")
	if !pinned {
		if version, err = at.Find(ctx, id); err != nil {
			return nil, fail(transferCode(ctx, err), "%w", err)
		}
	}
	p, err := at.Get(ctx, id, version, "")
	if err != nil {
		return nil, fail(transferCode(ctx, err), "%w", err)
	}
	return p, nil
}

// packageListed is a version by the index that its id belongs to. What a version is never changes, so indexes are only fetched when those
// that are kept do not have it.
func (a *app) packageListed(ctx context.Context, id, version string, o catalog.Options) (*catalog.Package, error) {
	t, err := a.trusted("")
	if err != nil {
		return nil, err
	}
	c, err := a.configuration()
	if err != nil {
		return nil, err
	}
	list := index.Open(t, filepath.Join(c.Data, catalogFolder), o, a.now)
	f, err := list.Find(id, version)
	if err != nil {
		missed := list.Refresh(ctx)
		if f, err = list.Find(id, version); err != nil {
			if missed != nil {
				return nil, fail(transferCode(ctx, missed), "%w\n%w", missed, err)
			}
			return nil, fail(exitData, "%w", err)
		}
	}
	p, err := list.Get(ctx, f)
	if err != nil {
		return nil, fail(transferCode(ctx, err), "%w", err)
	}
	return p, nil
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
