// Command stagepost is the mail server and all its commands.
//
// serve runs the server; the other commands either work on files (init, check, plugin new) or ask the running server over the
// control socket in its data folder. Each command is a file of its own; exit codes are those of sysexits.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/cmd/stagepost/doctor"
	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/core/config"
)

// Exit codes, as sysexits.h has them.
const (
	exitUsage       = 64
	exitData        = 65
	exitNoInput     = 66
	exitUnavailable = 69
	exitSoftware    = 70
	exitCantCreate  = 73
	exitIO          = 74
	exitTemporary   = 75
	exitPermission  = 77
	exitConfig      = 78
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, newApp(), calledAs(os.Args[0], os.Args[1:]), os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// app is what commands share.
type app struct {
	config string // --config; "" = look for it
	now    func() time.Time
	load   func(file string) (*loaded, error) // configuration and plugins, as serve would
	// examine changes whom doctor asks; nil: nobody does, but tests.
	examine func(*doctor.Options)
	begun   bool // a command runs: what fails from here on is no mistake in its arguments
}

func newApp() *app { return &app{now: time.Now, load: load} }

// run executes one command line and gives the exit code.
func run(ctx context.Context, a *app, args []string, in io.Reader, out, errs io.Writer) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	code := a.exitCode(err)
	text := err.Error()
	if code == exitUsage {
		text = strings.TrimSpace(text) + "\nsee: " + cmd.CommandPath() + " --help"
	}
	for line := range strings.Lines(text) {
		fmt.Fprintln(errs, printable(strings.TrimSuffix(line, "\n")))
	}
	return code
}

func (a *app) root() *cobra.Command {
	root := parent("stagepost", "A mail transfer agent whose decisions are plugins", a.commands()...)
	root.SilenceUsage, root.SilenceErrors = true, true
	root.CompletionOptions.HiddenDefaultCmd = true
	root.PersistentFlags().StringVar(&a.config, "config", "", "the configuration (default "+localConfig+", then "+systemConfig+")")
	a.noteBegin(root)
	return root
}

// noteBegin makes every command note that it runs: until then, what fails is a mistake in the arguments.
func (a *app) noteBegin(cmd *cobra.Command) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			a.begun = true
			return run(cmd, args)
		}
	}
	for _, c := range cmd.Commands() {
		a.noteBegin(c)
	}
}

// commands lists all there are, in the order of the manual.
func (a *app) commands() []*cobra.Command {
	return []*cobra.Command{
		a.demoCommand(),
		a.initCommand(),
		a.serveCommand(),
		a.checkCommand(),
		a.reloadCommand(),
		a.statusCommand(),
		a.doctorCommand(),
		a.sendCommand(),
		a.queueCommand(),
		a.mailqCommand(),
		a.traceCommand(),
		a.tlsrptCommand(),
		a.pluginCommand(),
		a.catalogCommand(),
		a.userCommand(),
		a.dkimCommand(),
		a.manualCommand(),
	}
}

// parent makes a command that only holds others.
func parent(use, short string, below ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			cmd.Help()
			return fmt.Errorf("%s needs one more word", cmd.CommandPath())
		}
		hint := ""
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			hint = fmt.Sprintf("; did you mean %q?", near[0])
		}
		return fmt.Errorf("unknown command %q for %q%s", args[0], cmd.CommandPath(), hint)
	}, RunE: func(*cobra.Command, []string) error { return nil }}
	c.SuggestionsMinimumDistance = 2
	c.AddCommand(below...)
	return c
}

// failure is an error with its exit code.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(code int, format string, args ...any) error {
	return &failure{code, fmt.Errorf(format, args...)}
}

func (a *app) exitCode(err error) int {
	var own *failure
	var gone *admin.Unreachable
	var answer *admin.Error
	var faults config.Errors
	var fault config.Error
	switch {
	case errors.As(err, &own):
		return own.code
	case !a.begun:
		return exitUsage
	case errors.As(err, &gone):
		if errors.Is(err, fs.ErrPermission) {
			return exitPermission
		}
		return exitUnavailable
	case errors.As(err, &answer):
		switch answer.Status {
		case http.StatusBadRequest, http.StatusConflict:
			return exitData
		case http.StatusNotFound:
			return exitNoInput
		case http.StatusUnprocessableEntity:
			return exitConfig
		case http.StatusServiceUnavailable:
			return exitTemporary
		}
		return exitSoftware
	case errors.As(err, &faults), errors.As(err, &fault):
		return exitConfig
	case errors.Is(err, fs.ErrPermission):
		return exitPermission
	}
	return exitSoftware
}
