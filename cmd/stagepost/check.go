package main

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/plugins/generation"
	"github.com/stagepost/stagepost/plugins/service"
)

// loaded is what the files come to, without a server.
type loaded struct {
	config  *config.Config
	plugins []admin.Plugin
	order   []admin.StageOrder

	warnings []string
}

// load reads configuration and plugins and builds a generation of them, exactly as serve does, and lets go of it again.
func load(file string) (*loaded, error) {
	quiet := slog.New(slog.DiscardHandler)
	m, err := generation.New(generation.Options{File: file, Host: service.NewHost(service.Options{Log: quiet}), Log: quiet, Console: io.Discard})
	if err != nil {
		return nil, &failure{exitConfig, err}
	}
	defer m.Close()
	return &loaded{m.Config(), pluginsOf(m.Status().Plugins), orderOf(m.Order), m.Certificates().Warnings(time.Now())}, nil
}

// offline loads the configuration that --config or the folder names.
func (a *app) offline() (*loaded, error) {
	file, err := a.file()
	if err != nil {
		return nil, err
	}
	return a.load(file)
}

func (a *app) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Load configuration and plugins as serve would, and say what is wrong",
		Long: "check loads the configuration and every plugin as serve and reload do, and runs nothing of them but what runs at load.\n" +
			"Each error is a line with its file and line; the exit code is 78 then. A running server is not touched.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := a.offline()
			if err != nil {
				return err
			}
			for _, line := range l.warnings {
				outputOf(cmd).printf("warning: %s\n", printable(line))
			}
			outputOf(cmd).printf("%s: ok, %s\n", printable(l.config.File), count(len(l.plugins), "plugin"))
			return nil
		},
	}
}

// count writes a number with its noun.
func count[N int | int64 | uint64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
