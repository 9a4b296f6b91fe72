package main

import (
	"context"
	"embed"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

//go:embed demo
var demoFiles embed.FS

const (
	demoPatience = 60 * time.Second        // for every message to end as expected
	demoLook     = 25 * time.Millisecond   // between two looks at the records
	demoPace     = 1500 * time.Millisecond // between two messages, where the demo goes on
)

func (a *app) demoCommand() *cobra.Command {
	var keep string
	var once bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Watch mail go through a server, without any set-up",
		Long: "demo starts the same server as serve on a free port of this machine, with plugins, its queue in a temporary folder, and a\n" +
			"small pretend Internet: a mail server that takes everything, one that makes strangers try twice, one that is down. It sends\n" +
			"a few messages and prints what their records say: stage, plugin, verdict, time. On a terminal it goes on sending, so that you\n" +
			"can change a plugin and watch; elsewhere it ends when every message ended as expected. Nothing leaves this machine.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := outputOf(cmd)
			file, ok := out.Writer.(*os.File)
			goOn := !once && ok && term.IsTerminal(int(file.Fd()))
			out.Writer = &sharedWriter{w: out.Writer}
			return runDemo(cmd.Context(), out, keep, goOn)
		},
	}
	cmd.Flags().StringVar(&keep, "keep", "", "use this folder, which must be new or empty, and leave it: serve can go on with it")
	cmd.Flags().BoolVar(&once, "once", false, "end when every message ended as expected, on a terminal too")
	return cmd
}

// sharedWriter lets the server write its lines between those of the demo.
type sharedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *sharedWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

// runDemo runs the whole of it; goOn sends until ctx ends.
func runDemo(ctx context.Context, out output, keep string, goOn bool) (err error) {
	dir, err := demoFolder(keep)
	if err != nil {
		return err
	}
	if keep == "" {
		defer os.RemoveAll(dir)
	}
	world, err := openInternet()
	if err != nil {
		return fail(exitUnavailable, "the demo's Internet cannot be opened: %w", err)
	}
	defer world.close()
	file := filepath.Join(dir, localConfig)
	d, err := startDaemon(ctx, file, daemonOptions{log: slog.New(slog.DiscardHandler), console: out, resolver: world, dial: world.dial})
	if err != nil {
		return startError(err)
	}
	s := &show{out: out, table: &table{out: out}, daemon: d, world: world, server: d.bound.address("mx"), dir: dir, begun: time.Now(), generation: 1}
	s.table.widths = []int{len("  delivered"), len("headers"), len("deferred 451 4.7.1"), len("99.9ms"), 0}
	err = s.play(ctx)
	if err == nil && goOn {
		err = s.goOn(ctx)
	}
	err = errors.Join(err, d.Shutdown(context.WithoutCancel(ctx)))
	if err == nil && keep != "" {
		err = keepAddress(file, s.server)
		out.printf("\nKept in %s; go on with it: stagepost serve --config %s\n", printable(dir), printable(file))
	}
	return err
}

// demoFolder writes the demo's files into a new folder.
func demoFolder(keep string) (string, error) {
	dir := keep
	if keep == "" {
		var err error
		if dir, err = os.MkdirTemp("", "stagepost-demo-"); err != nil {
			return "", fail(exitCantCreate, "%w", err)
		}
	} else if entries, err := os.ReadDir(keep); err == nil && len(entries) > 0 {
		return "", fail(exitCantCreate, "%s is not empty; choose a new folder", keep)
	}
	files := map[string]string{}
	err := fs.WalkDir(demoFiles, "demo", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := demoFiles.ReadFile(name)
		files[filepath.FromSlash(strings.TrimPrefix(name, "demo/"))] = string(text)
		return err
	})
	if err == nil {
		err = writeNew(dir, files)
	}
	if err != nil && keep == "" {
		os.RemoveAll(dir)
	}
	return dir, err
}

// keepAddress writes the address that the demo listened on where its configuration had any free port, so that commands find
// the server that goes on.
func keepAddress(file, address string) error {
	text, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, []byte(strings.Replace(string(text), `"127.0.0.1:0"            # any free port`, `"`+address+`"`, 1)), 0o644)
	}
	return err
}
