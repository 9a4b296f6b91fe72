package main

import (
	_ "embed"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/smtp"
)

//go:embed template/stagepost.toml
var firstConfig string

//go:embed template/hello.lua
var firstPlugin string

func (a *app) initCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init [DIR]",
		Short: "Write a first configuration and a first plugin",
		Long: "init writes stagepost.toml and plugins/hello.lua into DIR (default: here). The server that they describe listens on\n" +
			"127.0.0.1:2525 only and sends nothing to anybody.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			host, _ := os.Hostname()
			if err := writeNew(dir, map[string]string{
				localConfig: strings.ReplaceAll(firstConfig, "HOSTNAME", ownName(host)), filepath.Join("plugins", "hello.lua"): firstPlugin,
			}); err != nil {
				return err
			}
			out := outputOf(cmd)
			out.printf("Wrote %s and %s. Next:\n\n", printable(filepath.Join(dir, localConfig)), printable(filepath.Join(dir, "plugins", "hello.lua")))
			if dir != "." {
				out.printf("  cd %s\n", printable(dir))
			}
			out.printf("  stagepost serve                          # in one terminal; it says \"ready\"\n" +
				"  stagepost send --to you@example.org      # in another; the reply holds the message's id\n" +
				"  stagepost trace ID                       # every decision that was taken about it\n\n" +
				"Then change plugins/hello.lua while the server runs, and send again. More: stagepost manual quickstart\n")
			return nil
		},
	}
}

// ownName is the name that a first server gives itself.
func ownName(host string) string {
	if host = strings.ToLower(host); smtp.ValidDomain(host) {
		return host
	}
	return "localhost"
}

// writeNew writes files below dir, all of them new: when one is there already, nothing is changed.
func writeNew(dir string, files map[string]string) error {
	for name := range files {
		path := filepath.Join(dir, name)
		if _, err := os.Lstat(path); err == nil {
			return fail(exitCantCreate, "%s exists already and is left as it is; choose another folder, or move it away", path)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fail(exitCantCreate, "%w", err)
		}
	}
	for name, content := range files {
		if err := writeFile(filepath.Join(dir, name), content); err != nil {
			return err
		}
	}
	return nil
}

// writeFile writes a file that must not exist, in one piece.
func writeFile(path, content string) error {
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	var f *os.File
	if err == nil {
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	}
	if errors.Is(err, fs.ErrExist) {
		return fail(exitCantCreate, "%s exists already and is left as it is", path)
	}
	if err == nil {
		_, err = f.WriteString(content)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fail(exitCantCreate, "cannot write %s: %w", path, err)
	}
	return nil
}
