package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/plugins/transcript"
)

// exitFailed is the exit code when tests ran and failed, or lint has something to say.
const exitFailed = 1

func (a *app) pluginTestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test [NAME | DIR | FILE.lua | FILE.transcript ...]",
		Short: "Run the tests of plugins",
		Long: "test runs transcripts, dialogues with what is to come of them, against plugins: those in tests/ of a plugin's folder, or\n" +
			"NAME.transcript beside NAME.lua. Without arguments it runs those of all plugins in the watched folder. It needs no server\n" +
			"and no network; every case runs in a fresh instance of the plugin and in a used one. \"stagepost manual testing\" says how\n" +
			"transcripts are written. The exit code is 1 when a case failed.",
	}
	asJSON := jsonFlag(cmd, "JSON Lines: one object a case")
	verbose := cmd.Flags().BoolP("verbose", "v", false, "name the cases that pass, too")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return a.testPlugins(cmd, args, *asJSON, *verbose) }
	return cmd
}

func (a *app) testPlugins(cmd *cobra.Command, args []string, asJSON, verbose bool) error {
	targets, err := a.targets(args)
	if err != nil {
		return err
	}
	out := outputOf(cmd)
	var cases, failed, plugins int
	began := time.Now()
	report := func(r transcript.Result) error {
		cases++
		if r.Failure != nil {
			failed++
		}
		if asJSON {
			return out.json(r)
		}
		if r.Failure != nil || verbose {
			showResult(out, &r)
		}
		return nil
	}
	for _, t := range targets {
		if len(t.tests) == 0 {
			if len(args) > 0 {
				return fail(exitNoInput, "%s has no tests; write %s, and see: stagepost manual testing", t.source.Label, firstTest(t))
			}
			continue
		}
		plugins++
		if err := t.test(cmd.Context(), report); err != nil {
			return err
		}
	}
	switch {
	case plugins == 0:
		return fail(exitNoInput, "no plugin in the watched folder has tests; see: stagepost manual testing")
	case failed > 0:
		return fail(exitFailed, "%d of %s failed", failed, count(cases, "case"))
	case !asJSON:
		out.printf("ok: %s of %s, each in a fresh and in a used instance (%d ms)\n", count(cases, "case"), count(plugins, "plugin"), time.Since(began).Milliseconds())
	}
	return nil
}

// test runs the plugin's tests, and reports each case.
func (t *target) test(ctx context.Context, report func(transcript.Result) error) error {
	files, err := transcript.Read(t.files, t.label, t.tests...)
	for _, mistake := range mistakes(err) {
		if err := report(transcript.Result{File: mistake.File, Line: mistake.Line, Plugin: t.source.Name,
			Failure: &transcript.Failure{Line: mistake.Line, Run: "read", Got: mistake.Text}}); err != nil {
			return err
		}
	}
	for _, f := range files {
		for _, c := range f.Cases {
			if ctx.Err() != nil {
				return fail(exitTemporary, "interrupted")
			}
			if err := report(c.Run(ctx, t.source, 0)); err != nil {
				return err
			}
		}
	}
	return nil
}

// firstTest is where a plugin's first test would lie.
func firstTest(t *target) string {
	if t.source.IsFolder() {
		return t.source.Label + "/tests/first" + transcript.Suffix
	}
	return strings.TrimSuffix(t.source.Label, ".lua") + transcript.Suffix
}

// mistakes are the parts of an error that has several, each with its place.
func mistakes(err error) (out []config.Error) {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			out = append(out, mistakes(e)...)
		}
		return out
	}
	var list config.Errors
	var one config.Error
	switch {
	case errors.As(err, &list):
		return list
	case errors.As(err, &one):
		return []config.Error{one}
	}
	return []config.Error{{Text: err.Error()}}
}

func showResult(out output, r *transcript.Result) {
	name := fmt.Sprintf("%s:%d", r.File, r.Line)
	if r.Case != "" {
		name += ": " + r.Case
	}
	f := r.Failure
	if f == nil {
		out.printf("%s  %s (%d ms)\n", out.paint(green, "ok"), printable(name), r.Took.Milliseconds())
		return
	}
	if f.Run == "read" {
		out.printf("%s  %s: %s\n", out.paint(red, "failed"), printable(name), printable(f.Got))
		return
	}
	out.printf("%s  %s\n", out.paint(red, "failed"), printable(name))
	at := fmt.Sprintf("%s:%d: ", r.File, f.Line)
	switch f.Run {
	case "load":
	case "used":
		at += "in an instance that was used before: "
	default:
		at += "in a fresh instance: "
	}
	if f.Wanted == "" {
		showText(out, "  "+at, f.Got)
		return
	}
	out.printf("  %s\n", printable(strings.TrimSuffix(at, ": ")))
	showText(out, "    wanted  ", f.Wanted)
	showText(out, "    got     ", f.Got)
}

// showText writes a text behind a heading, its further lines below the first.
func showText(out output, head, text string) {
	for line := range strings.Lines(text) {
		out.printf("%s%s\n", head, printable(strings.TrimSuffix(line, "\n")))
		head = strings.Repeat(" ", min(len(head), 12))
	}
}

// testingReference lists the lines of transcripts.
func testingReference() string {
	return "## All lines\n\n" + transcript.Manual()
}
