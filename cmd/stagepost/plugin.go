package main

import (
	_ "embed"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/hooks"
)

//go:embed template/plugin.lua
var newPlugin string

func (a *app) pluginCommand() *cobra.Command {
	return parent("plugin", "Write and look at plugins", a.pluginNewCommand(), a.pluginListCommand(), a.pluginOrderCommand(), a.pluginTestCommand())
}

func (a *app) pluginNewCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "new NAME",
		Short: "Write a new plugin into the watched folder",
		Long: "new writes NAME.lua, a plugin with comments that changes nothing yet, into the folder that [plugins] names. If the server\n" +
			"runs, it prints the generation in which the plugin became live.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.newPlugin(cmd, args[0]) },
	}
}

func (a *app) newPlugin(cmd *cobra.Command, name string) error {
	if !regexp.MustCompile(`^[a-z][a-z0-9_-]{0,63}$`).MatchString(name) {
		return fail(exitUsage, "%q cannot be a plugin's name: it has up to 64 lower-case letters, digits, - and _, a letter first", name)
	}
	c, err := a.configuration()
	if err != nil {
		return err
	}
	if c.Plugins.Folder == "" {
		return fail(exitConfig, "%s: no folder is watched; write folder = \"plugins\" under [plugins]", c.Where("plugins"))
	}
	path := filepath.Join(c.Plugins.Folder, name+".lua")
	if err := writeFile(path, strings.ReplaceAll(newPlugin, "NAME", name)); err != nil {
		return err
	}
	out := outputOf(cmd)
	out.printf("wrote %s\n", printable(path))
	client := admin.NewClient(c.Data, c.File)
	r, err := client.Reload(cmd.Context())
	if gone := (*admin.Unreachable)(nil); errors.As(err, &gone) {
		if _, err := a.load(c.File); err != nil {
			return err
		}
		out.printf("it loads; no server is running, so it will be live with: %s\n", a.command("serve"))
		return nil
	}
	if err != nil {
		return err
	}
	plugins, err := client.Plugins(cmd.Context())
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(plugins, func(p admin.Plugin) bool { return p.Name == name }) {
		return fail(exitSoftware, "the server that answers at the data folder of %s does not load it: is it running with this configuration?", c.File)
	}
	out.printf("live in generation %d; change the file and save it, and it is live again\n", r.Generation)
	return nil
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
		Args:  cobra.NoArgs,
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
		return nil
	}
	return cmd
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
	if h.When != "" {
		parts = append(parts, "when "+h.When)
	}
	return strings.Join(parts, "; ")
}
