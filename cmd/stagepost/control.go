package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/core/config"
)

const (
	localConfig  = "stagepost.toml"
	systemConfig = "/etc/stagepost/stagepost.toml"
)

// file finds the configuration.
func (a *app) file() (string, error) {
	if a.config != "" {
		if _, err := os.Stat(a.config); errors.Is(err, fs.ErrNotExist) {
			return "", fail(exitConfig, "the configuration %s: no such file; make one with: stagepost init", a.config)
		}
		return a.config, nil
	}
	for _, name := range []string{localConfig, systemConfig} {
		if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			return name, nil
		}
	}
	return "", fail(exitConfig, "there is no configuration: neither %s here nor %s; name one with --config, or make one with: stagepost init", localConfig, systemConfig)
}

// configuration reads it.
func (a *app) configuration() (*config.Config, error) {
	file, err := a.file()
	if err != nil {
		return nil, err
	}
	c, err := config.Load(file)
	if err != nil {
		return nil, &failure{exitConfig, err}
	}
	return c, nil
}

// client makes a client of the server that runs with the configuration.
func (a *app) client() (*admin.Client, error) {
	file, err := a.file()
	if err != nil {
		return nil, err
	}
	data, err := dataFolder(file)
	if err != nil {
		return nil, err
	}
	return admin.NewClient(data, file), nil
}

// dataFolder finds the data folder even in a file with errors elsewhere: a running server goes on with what it had, and wants to
// be asked about it.
func dataFolder(file string) (string, error) {
	c, err := config.Load(file)
	if err == nil {
		return c.Data, nil
	}
	if faults := (config.Errors)(nil); !errors.As(err, &faults) {
		return "", fail(exitConfig, "%w", err)
	}
	text, readErr := os.ReadFile(file)
	if readErr != nil {
		return "", readErr
	}
	var top struct{ Data string }
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "[") {
			break
		}
		if toml.Unmarshal([]byte(line), &top) == nil && top.Data != "" {
			if !filepath.IsAbs(top.Data) {
				top.Data = filepath.Join(filepath.Dir(file), top.Data)
			}
			return top.Data, nil
		}
	}
	return "", err
}

// command writes a command line for the user, with the configuration if it was named.
func (a *app) command(words ...string) string {
	if a.config != "" {
		words = append(words, "--config", a.config)
	}
	return "stagepost " + strings.Join(words, " ")
}
