package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/catalog/lock"
)

func (a *app) pluginCommand() *cobra.Command {
	return parent("plugin", "Write, look at, and install plugins", a.pluginNewCommand(), a.pluginListCommand(), a.pluginOrderCommand(), a.pluginTestCommand(), a.pluginLintCommand(),
		a.pluginSearchCommand(), a.pluginInfoCommand(), a.pluginInstallCommand(), a.pluginUpdateCommand(), a.pluginDiffCommand(), a.pluginRemoveCommand(), a.pluginVerifyCommand())
}

// described asks the running server, or loads the files if there is none; running tells which.
func described[T any](a *app, ask func(*admin.Client) (T, error), read func(*loaded) T) (v T, running bool, err error) {
	c, err := a.client()
	if err != nil {
		return v, false, err
	}
	v, err = ask(c)
	if gone := (*admin.Unreachable)(nil); !errors.As(err, &gone) {
		return v, true, err
	}
	l, err := a.offline()
	if err != nil {
		return v, false, err
	}
	return read(l), false, nil
}

const notRunning = "no server is running; this is what it would load:\n\n"

func (a *app) pluginListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the plugins that are live, or would be",
		Long: "list shows the plugins of the generation in force, or what would be loaded if no server runs: where each is from (a file or folder of\n" +
			"the watched folder, installed, or bundled with the program), who signed it, by the number of the key, and what it may do. Those that are\n" +
			"installed and that the configuration does not name are in a last line.",
		Args: cobra.NoArgs,
	}
	asJSON := jsonFlag(cmd, "JSON Lines: one object a plugin")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		plugins, running, err := described(a, func(c *admin.Client) ([]admin.Plugin, error) { return c.Plugins(cmd.Context()) },
			func(l *loaded) []admin.Plugin { return l.plugins })
		if err != nil {
			return err
		}
		out := outputOf(cmd)
		if *asJSON {
			for _, p := range plugins {
				if err := out.json(p); err != nil {
					return err
				}
			}
			return nil
		}
		if !running {
			out.printf(notRunning)
		}
		showPlugins(out, plugins)
		return a.showIdle(out, plugins)
	}
	return cmd
}

// showIdle names what is installed and not loaded.
func (a *app) showIdle(out output, plugins []admin.Plugin) error {
	file, err := a.file()
	if err != nil {
		return err
	}
	l, err := lock.Read(lock.File(file))
	if err != nil {
		return &failure{exitConfig, err}
	}
	var idle []string
	for _, p := range l.Plugins {
		if !slices.ContainsFunc(plugins, func(q admin.Plugin) bool { return q.Source == "installed/"+p.ID }) {
			idle = append(idle, p.String())
		}
	}
	if idle != nil {
		out.printf("\ninstalled, and not loaded: %s\n", strings.Join(idle, ", "))
	}
	return nil
}

func (a *app) pluginOrderCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "order [STAGE]",
		Short: "Show in which order plugins are asked, at one stage or at all",
		Args:  cobra.MaximumNArgs(1),
	}
	asJSON := jsonFlag(cmd, "JSON Lines: one object a stage")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			if err := knownStage(args[0]); err != nil {
				return err
			}
		}
		order, running, err := described(a, func(c *admin.Client) ([]admin.StageOrder, error) { return c.Order(cmd.Context()) },
			func(l *loaded) []admin.StageOrder { return l.order })
		if err != nil {
			return err
		}
		if len(args) > 0 {
			order = slices.DeleteFunc(order, func(s admin.StageOrder) bool { return s.Stage != args[0] })
		}
		out := outputOf(cmd)
		if *asJSON {
			for _, s := range order {
				if err := out.json(s); err != nil {
					return err
				}
			}
			return nil
		}
		if !running {
			out.printf(notRunning)
		}
		showOrder(out, order)
		return nil
	}
	return cmd
}

func knownStage(name string) error {
	if _, ok := hooks.StageByName(name); ok {
		return nil
	}
	var names []string
	for _, s := range hooks.Stages() {
		names = append(names, s.Name)
	}
	hint := "they are " + strings.Join(names, ", ")
	if near := config.Nearest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return fail(exitUsage, "there is no stage %q; %s", name, hint)
}

func showOrder(out output, order []admin.StageOrder) {
	if len(order) == 0 {
		out.printf("no plugin is asked\n")
		return
	}
	t := newTable(out, "STAGE", "NR", "PLUGIN", "ORDER", "ON ERROR", "TIMEOUT", "CODE", "WHY HERE, AND WHEN")
	for _, s := range order {
		for i, h := range s.Hooks {
			t.add(text(s.Stage), text(strconv.Itoa(i+1)), text(h.Plugin), text(strconv.Itoa(h.Order)), text(h.OnError), text(h.Timeout), text(h.Pos), text(orderWords(&h)))
		}
	}
	t.flush()
}

func orderWords(h *admin.Hook) string {
	var parts []string
	for _, p := range []struct {
		word  string
		names []string
	}{{"reads ", h.Reads}, {"after ", h.After}, {"before ", h.Before}, {"sets ", h.Sets}} {
		if len(p.names) > 0 {
			parts = append(parts, p.word+strings.Join(p.names, ", "))
		}
	}
	if h.Background {
		parts = append(parts, "in the background")
	}
	if h.When != "" {
		parts = append(parts, "when "+h.When)
	}
	return strings.Join(parts, "; ")
}
