package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/bundled"
	"github.com/stagepost/stagepost/plugins/catalog/lock"
	"github.com/stagepost/stagepost/plugins/generation"
	"github.com/stagepost/stagepost/plugins/lua"
	"github.com/stagepost/stagepost/plugins/manifest"
	"github.com/stagepost/stagepost/plugins/service"
	"github.com/stagepost/stagepost/plugins/transcript"
)

// finding is one thing that lint says.
type finding struct {
	Plugin   string `json:"plugin"`
	File     string `json:"file"`
	Line     int    `json:"line"`
	Severity string `json:"severity"` // "error": it does not load; "warning"
	Text     string `json:"text"`
}

func (a *app) pluginLintCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lint [NAME | DIR | FILE.lua ...]",
		Short: "Say what is wrong with plugins, and what is likely not meant",
		Long: "lint loads plugins as the server would, with their settings if they are in its configuration, and prints errors and warnings,\n" +
			"each with file and line. Without arguments it looks at all plugins of the watched folder, and whether they go together. A\n" +
			"warning is certain: what is asked for in needs and never used, a setting that nothing reads, a fact of another plugin that no\n" +
			"hook reads in order, or that it does not set, a fact of its own that it does not declare, an answer to failures that nobody\n" +
			"chose, no version, description, README or test. The exit code is 78 after an error and 1 after warnings.",
	}
	asJSON := jsonFlag(cmd, "JSON Lines: one object a finding")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		targets, err := a.targets(args)
		if err != nil {
			return err
		}
		var found []finding
		for _, t := range targets {
			found = append(found, t.lint()...)
		}
		if len(args) == 0 { // what only shows when all are loaded together
			found = append(found, a.together(found)...)
		}
		return showFindings(outputOf(cmd), found, len(targets), *asJSON)
	}
	return cmd
}

// together is what keeps the whole configuration from being loaded, besides what was found already.
func (a *app) together(found []finding) (more []finding) {
	file, err := a.file()
	if err == nil {
		_, err = a.load(file)
	}
	for _, f := range findingsOf("", err) {
		if !slices.ContainsFunc(found, func(o finding) bool {
			return o.Severity == f.Severity && o.File == f.File && o.Line == f.Line && o.Text == f.Text
		}) {
			more = append(more, f)
		}
	}
	return more
}

// findingsOf are the errors in one, each with its place.
func findingsOf(plugin string, err error) (out []finding) {
	if err == nil {
		return nil
	}
	for text := range strings.SplitSeq(err.Error(), "\n") {
		f := finding{Plugin: plugin, Severity: "error", Text: text}
		if at, rest, ok := strings.Cut(text, ": "); ok {
			f.File, f.Text = at, rest
			if i := strings.LastIndexByte(at, ':'); i > 0 {
				if line, err := strconv.Atoi(at[i+1:]); err == nil {
					f.File, f.Line = at[:i], line
				}
			}
		}
		out = append(out, f)
	}
	return out
}

// noConfiguration is what a plugin outside of any is loaded with.
const noConfiguration = "hostname = \"localhost\"\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\nrole = \"mx\"\n"

// lint looks at one plugin.
func (t *target) lint() (out []finding) {
	s := t.source
	warn := func(file string, line int, format string, args ...any) {
		out = append(out, finding{s.Name, file, line, "warning", fmt.Sprintf(format, args...)})
	}
	var advice []*lua.Error
	var err error
	if !s.IsWasm() {
		advice, err = lua.Advise(lua.Files{Main: s.Main, Texts: s.Files, Path: s.Path})
	}
	if err == nil {
		err = t.load()
	}
	out = findingsOf(s.Name, err)
	for _, e := range advice {
		warn(e.File, max(e.Line, 1), "%s", e.Message)
	}
	if err == nil {
		t.reads(warn)
	}
	if s.IsFolder() && !exists(t.files, "README.md") {
		warn(s.Label+"/README.md", 1, "there is no such file, so nobody can look up what the plugin does")
	}
	if len(t.tests) == 0 {
		warn(firstTest(t), 1, "there is no such file, nor another test; see: stagepost manual testing")
		return out
	}
	_, err = transcript.Read(t.files, t.label, t.tests...)
	return append(out, findingsOf(s.Name, err)...)
}

// reads looks for facts that are read of plugins which came with the program and do not set them.
func (t *target) reads(warn func(file string, line int, format string, args ...any)) {
	man, err := t.source.Manifest()
	if err != nil {
		return // load has said so
	}
	for _, s := range hooks.Stages() {
		for _, fact := range man.Hooks[s.Stage].Reads {
			fact = strings.TrimSuffix(fact, "?")
			name, key, _ := strings.Cut(fact, ".")
			if name == t.source.Name || !slices.Contains(bundled.Names(), name) || t.neighbour(name) {
				continue
			}
			src, err := generation.ReadBundled(name)
			if err != nil {
				continue
			}
			other, err := src.Manifest()
			if err == nil && other.Facts.Find(key) == nil {
				warn(man.File, man.Hooks[s.Stage].Line, "hook.%s.reads: %s", s.Name, manifest.Unknown("fact", fact, " of the plugin "+name, manifest.FactNames(name, other.Facts)))
			}
		}
	}
}

// neighbour tells whether another plugin of that name takes the place of the one that came with the program.
func (t *target) neighbour(name string) bool {
	if t.config == nil {
		return false
	}
	if _, copied := t.config.Runs[name]; copied && t.config.Runs[name].Plugin != name {
		return true
	}
	if l, err := lock.Read(lock.File(t.config.File)); err == nil && slices.Contains(l.IDs(), name) {
		return true
	}
	folder := t.config.Plugins.Folder
	return folder != "" && (exists(os.DirFS(folder), name) || exists(os.DirFS(folder), name+".lua"))
}

// load loads the plugin as the server would. Outside of a configuration only one that needs no setting can be.
func (t *target) load() error {
	c := t.config
	if c == nil {
		man, err := t.source.Manifest()
		if err != nil {
			return err
		}
		for i := range man.Config {
			if man.Config[i].Required {
				return nil
			}
		}
		if c, err = config.Parse(localConfig, []byte(noConfiguration), config.Options{}); err != nil {
			return err
		}
	}
	quiet := slog.New(slog.DiscardHandler)
	return generation.Try(c, t.source, service.NewHost(service.Options{Log: quiet}), quiet)
}

func showFindings(out output, found []finding, plugins int, asJSON bool) error {
	bad, warnings := 0, 0
	for _, f := range found {
		paint := yellow
		if f.Severity == "error" {
			bad++
			paint = red
		} else {
			warnings++
		}
		if asJSON {
			if err := out.json(f); err != nil {
				return err
			}
			continue
		}
		at := f.File
		if f.Line > 0 {
			at += ":" + strconv.Itoa(f.Line)
		}
		if at != "" {
			at += ": "
		}
		out.printf("%s%s: %s\n", printable(at), out.paint(paint, f.Severity), printable(f.Text))
	}
	switch {
	case bad > 0:
		return &failure{exitConfig, errors.New(count(bad, "error") + ", " + count(warnings, "warning"))}
	case warnings > 0:
		return fail(exitFailed, "%s", count(warnings, "warning"))
	case !asJSON:
		out.printf("ok: %s\n", count(plugins, "plugin"))
	}
	return nil
}
