package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/gate"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/store/disk"
)

func (a *app) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: "serve runs the server in the foreground. When every listener is bound it writes one line that begins with \"ready\" to standard\n" +
			"error, then the log: JSON, or plain lines on a terminal. SIGTERM stops it after the sessions that send content; SIGHUP reads\n" +
			"configuration and plugins again, which changes of the files do by themselves.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, err := a.file()
			if err != nil {
				return err
			}
			collectBefore(gate.MemoryOf(os.DirFS("/")))
			go collectSeldom(cmd.Context())
			return serve(cmd.Context(), file, cmd.ErrOrStderr())
		},
	}
}

// serve runs the server until ctx ends.
func serve(ctx context.Context, file string, errs io.Writer) error {
	log, out := observe.NewLog(errs, observe.LogOptions{})
	defer out.Close()
	d, err := startDaemon(ctx, file, daemonOptions{log: log, flush: out.Flush, dropped: out.Dropped, console: errs, reports: true})
	if err != nil {
		return startError(err)
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	fmt.Fprintln(errs, d.ready())
	notify("READY=1")
	for {
		select {
		case <-hup:
			d.plugins.Reload(ctx)
		case <-ctx.Done():
			notify("STOPPING=1")
			err := d.Shutdown(context.Background())
			out.Flush()
			return err
		}
	}
}

// ready is the line that says that the server is there.
func (d *daemon) ready() string {
	var where []string
	for _, l := range d.status().Listeners {
		where = append(where, l.Name+" on "+l.Address)
	}
	st := d.plugins.Status()
	return fmt.Sprintf("ready: %s; generation %d, %s", strings.Join(where, ", "), st.Generation, count(len(st.Plugins), "plugin"))
}

// startError gives what went wrong at the start its exit code.
func startError(err error) error {
	var own *failure
	var faults config.Errors
	var fault config.Error
	switch {
	case errors.As(err, &own):
		return err
	case errors.As(err, &faults), errors.As(err, &fault):
		return &failure{exitConfig, err}
	case errors.Is(err, disk.ErrInUse):
		return &failure{exitTemporary, err}
	case errors.Is(err, disk.ErrNewer), errors.Is(err, disk.ErrCorrupt):
		return &failure{exitData, err}
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return &failure{exitCantCreate, err}
	case errors.Is(err, syscall.EADDRINUSE):
		return &failure{exitUnavailable, err}
	}
	return &failure{exitConfig, err}
}

// notify tells systemd, if it started this process, what state it is in.
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	conn.Write([]byte(state))
}

// version is that of the module, or of the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return "devel"
}
