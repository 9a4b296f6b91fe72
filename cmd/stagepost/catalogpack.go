package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/stagepost/stagepost/plugins/bundled"
	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/transcript"
	"github.com/stagepost/stagepost/sdk"
)

// packing is how plugins are made into packages that can be published.
type packing struct {
	allowWarnings bool
	noTests       bool
	out           output
	quiet         bool // JSON is written
}

// pack compiles a plugin if it has to be, looks at it, runs its tests, and makes its package. What was tested is what is packed.
func (a *app) pack(ctx context.Context, arg string, o packing) (*catalog.Package, error) {
	t, err := a.target(arg)
	if t, err = a.compiled(ctx, arg, t, err); err != nil {
		return nil, err
	}
	t.config = nil // what it is published for is not this server
	before, err := t.pack()
	if err == nil && before.Summary.Version == "0.0.0" { // what a manifest without one has
		err = fmt.Errorf("%s has no version; write version = \"1.0.0\" into its manifest", t.source.Label)
	}
	if err != nil {
		return nil, &failure{exitData, err}
	}
	if err := o.lint(t); err != nil {
		return nil, err
	}
	if err := o.test(ctx, t); err != nil {
		return nil, err
	}
	p, err := t.pack()
	if err == nil && p.Digest != before.Digest {
		err = fmt.Errorf("%s was changed while its tests ran; publish it again", t.source.Label)
	}
	if err != nil {
		return nil, &failure{exitData, err}
	}
	return p, nil
}

// compiled compiles the plugin in a folder that has the script of an SDK, and reads it again. t is what it is before, if it is something.
func (a *app) compiled(ctx context.Context, arg string, t *target, before error) (*target, error) {
	dir := arg
	if t != nil {
		dir = t.path
	} else if c, err := a.configuration(); err == nil && filepath.Base(arg) == arg && c.Plugins.Folder != "" {
		dir = filepath.Join(c.Plugins.Folder, arg)
	}
	if dir == "" { // it came with the program
		return t, before
	}
	l, ok := sdk.Of(dir)
	if !ok {
		return t, before
	}
	err := l.Compile(ctx, filepath.Join(dir, filepath.FromSlash(sdk.Build)), dir)
	switch missing := (*sdk.Missing)(nil); {
	case errors.As(err, &missing):
		return nil, fail(exitUnavailable, "%s: %w", dir, err)
	case ctx.Err() != nil:
		return nil, fail(exitTemporary, "%s: %w", dir, context.Cause(ctx))
	case err != nil:
		return nil, fail(exitData, "%s does not compile: %w", dir, err)
	}
	return a.target(arg)
}

// pack makes the package of the plugin as it is now.
func (t *target) pack() (*catalog.Package, error) {
	if t.path == "" {
		return catalog.PackFS(t.source.Name, bundled.Open(t.source.Name))
	}
	return catalog.PackPath(t.path)
}

// lint stops what does not load, and what is likely not meant.
func (o packing) lint(t *target) error {
	errs, warnings := 0, 0
	var lines []string
	for _, f := range t.lint() {
		switch {
		case f.Severity == "error":
			errs++
		case o.allowWarnings, o.noTests && len(t.tests) == 0 && f.File == firstTest(t):
			continue
		default:
			warnings++
		}
		lines = append(lines, fmt.Sprintf("%s:%d: %s: %s", f.File, f.Line, f.Severity, f.Text))
	}
	switch {
	case errs > 0:
		return fail(exitConfig, "%s\n%s is not published: %s, %s", strings.Join(lines, "\n"), t.source.Label, count(errs, "error"), count(warnings, "warning"))
	case warnings > 0:
		return fail(exitFailed, "%s\n%s is not published: %s; mend it, or publish it with --allow-warnings", strings.Join(lines, "\n"), t.source.Label, count(warnings, "warning"))
	}
	return nil
}

// test runs the plugin's tests. Without any, nobody knows that it works.
func (o packing) test(ctx context.Context, t *target) error {
	if len(t.tests) == 0 {
		if o.noTests {
			return nil
		}
		return fail(exitFailed, "%s has no tests; write %s (see: stagepost manual testing), or publish it with --no-tests", t.source.Label, firstTest(t))
	}
	cases, failed := 0, 0
	err := t.test(ctx, func(r transcript.Result) error {
		cases++
		if r.Failure != nil {
			failed++
			if !o.quiet {
				showResult(o.out, &r)
			}
		}
		return nil
	})
	if err == nil && failed > 0 {
		err = fail(exitFailed, "%s is not published: %d of %s failed", t.source.Label, failed, count(cases, "case"))
	}
	return err
}
