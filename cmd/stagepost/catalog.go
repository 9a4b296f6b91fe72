package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/desk"
	"github.com/stagepost/stagepost/plugins/catalog/index"
	"github.com/stagepost/stagepost/plugins/catalog/trust"
)

func (a *app) catalogCommand() *cobra.Command {
	return parent("catalog", "Share plugins: sign them, publish them, keep copies", a.catalogKeygenCommand(), a.catalogPublishCommand(), a.catalogMirrorCommand())
}

// passphraseVariable names the variable that has the passphrase of a key, for machines.
const passphraseVariable = "STAGEPOST_PASSPHRASE"

const aboutPassphrase = "The passphrase is asked for on a terminal, without being shown. Machines give it by --passphrase-file, or in the variable\n" +
	passphraseVariable + ", or as the first line of the input."

func passphraseFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("passphrase-file", "", "a file whose first line is the passphrase of the key (default: the variable "+passphraseVariable+", or it is asked for)")
}

// askPassphrase reads the passphrase of a key.
func askPassphrase(cmd *cobra.Command, file, key string, isNew bool) (string, error) {
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return "", fail(codeOf(err, exitNoInput), "the passphrase cannot be read: %w", err)
		}
		defer f.Close()
		text, err := passwordLine(f)
		if err != nil {
			return "", fail(exitIO, "%s: %w", file, err)
		}
		return text, nil
	}
	if text := os.Getenv(passphraseVariable); text != "" {
		return text, nil
	}
	return askSecret(cmd, "Passphrase of "+printable(key), isNew)
}

// loadSecret reads a secret key, and asks for its passphrase if it has one.
func loadSecret(cmd *cobra.Command, file, passphraseFile string) (*index.Secret, error) {
	key, err := index.LoadSecret(file, "")
	if errors.Is(err, index.ErrEncrypted) {
		var text string
		if text, err = askPassphrase(cmd, passphraseFile, file, false); err != nil {
			return nil, err
		}
		key, err = index.LoadSecret(file, text)
	}
	if f := (*failure)(nil); err == nil || errors.As(err, &f) {
		return key, err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fail(exitNoInput, "%w; make one with: stagepost catalog keygen %s", err, file)
	}
	return nil, fail(codeOf(err, exitData), "%w", err)
}

// timeoutFlag adds --timeout; what it gives ends the context after that time.
func timeoutFlag(cmd *cobra.Command, most string) func(ctx context.Context) (context.Context, context.CancelFunc, time.Duration, error) {
	text := cmd.Flags().String("timeout", most, "for all of it, as in 90s or 1h")
	return func(ctx context.Context) (context.Context, context.CancelFunc, time.Duration, error) {
		d, err := config.ParseDuration(*text)
		if err != nil || d <= 0 {
			return nil, nil, 0, fail(exitUsage, "--timeout: %q is no time; write it as 90s or 1h", *text)
		}
		ctx, cancel := context.WithTimeoutCause(ctx, d, fmt.Errorf("it took longer than %s; allow more with --timeout", *text))
		return ctx, cancel, d, nil
	}
}

// catalogFailure is an error of places, indexes, packages or the record, with its exit code.
func catalogFailure(ctx context.Context, err error) error {
	return &failure{catalogCode(ctx, err), err}
}

// catalogCode is the one rule for the exit codes of all commands about plugins and catalogs: what another time may go well, what has to be
// there or allowed first, and what is wrong and stays wrong, whoever tries.
func catalogCode(ctx context.Context, err error) int {
	var own *failure
	var busy *desk.Busy
	var asked *url.Error
	var answer *errcode.ErrorResponse
	var silent *catalog.Unavailable
	var faults config.Errors
	var fault config.Error
	var system syscall.Errno
	switch {
	case errors.As(err, &own):
		return own.code
	case ctx.Err() != nil, errors.As(err, &busy):
		return exitTemporary
	case errors.As(err, &asked), errors.As(err, &answer), errors.As(err, &silent): // before files: lines, too, may be refused or be none
		return exitUnavailable
	case errors.As(err, &faults), errors.As(err, &fault):
		return exitConfig
	case errors.Is(err, fs.ErrPermission):
		return exitPermission
	case errors.Is(err, fs.ErrNotExist):
		return exitNoInput
	case errors.As(err, &system):
		return exitIO
	}
	return exitData
}

// publicKeys reads public keys: each a line of base64, or a file as minisign writes it.
func publicKeys(texts []string) (keys []trust.Key, err error) {
	for _, text := range texts {
		key, err := trust.ParseKey(text)
		if err != nil {
			data, unread := config.ReadFile(text, 4<<10)
			if unread != nil {
				return nil, fail(exitUsage, "%q is no public key, and no file with one: %w", text, err)
			}
			lines := strings.Split(strings.TrimSpace(string(data)), "\n") // a comment, and the key
			if key, err = trust.ParseKey(strings.TrimSpace(lines[len(lines)-1])); err != nil {
				return nil, fail(exitData, "%s: %w", text, err)
			}
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// quoted is a list of strings in TOML.
func quoted(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = config.Quote(s)
	}
	return "[" + strings.Join(out, ", ") + "]"
}
