package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const patience = 60 * time.Second // for the server to start and to stop

const configuration = `hostname = "mx.example.org"
data = "data"

[[listener]]
name = "mx"
address = "127.0.0.1:0"
role = "mx"

[plugins]
enable = ["relay", "route"]

[plugin.relay]
networks = ["127.0.0.0/8"]

[plugin.route]
default = "127.0.0.1:1"
`

// step is one command, and what the last line of its answer is to be.
type step struct {
	args  string
	want  string // in the last line
	lines int    // of the answer; 0: any number
	ids   bool   // those of all messages come in
	looks bool   // it changes nothing
}

func steps(n int) []step {
	each := n / domains
	return []step{
		{args: "queue suspend --next-hop *", want: "until it is resumed"},
		{args: "queue list", lines: n + 1, looks: true},
		{args: "queue list --json", lines: n, looks: true},
		{args: "queue list --domain d7.example --state deferred --older 1s", lines: each + 1, looks: true},
		{args: "queue shape", lines: domains + 2, looks: true},
		{args: "queue shape --by next-hop", lines: 3, looks: true},
		{args: "mailq", want: fmt.Sprintf("in %d Requests.", n), looks: true},
		{args: "queue hold --all --dry-run", want: fmt.Sprintf("%d messages would be held", n), looks: true},
		{args: "queue hold --all --reason slow", want: fmt.Sprintf("held %d messages", n)},
		{args: "queue release --all", want: fmt.Sprintf("released %d messages", n)},
		{args: "queue hold -", lines: n, ids: true},
		{args: "queue release -", lines: n, ids: true},
		{args: "queue retry --all", want: fmt.Sprintf("retried %d messages", n)},
		{args: "queue reroute --all --to 127.0.0.2:1", want: fmt.Sprintf("rerouted %d messages", n)},
		{args: "queue reroute --all --clear", want: fmt.Sprintf("rerouted %d messages", n)},
		{args: "queue bounce --sender s7@* --sender s8@*", want: fmt.Sprintf("bounced %d messages", n/senders*2)},
		{args: "queue delete --sender s?@nobody.example --all", want: "no message is like that", looks: true},
		{args: "queue delete --state deferred --domain d*.example", want: fmt.Sprintf("deleted %d messages", n/senders*(senders-2))},
	}
}

// run fills the queue, starts the server, and runs the commands.
func run(ctx context.Context, s settings, out io.Writer) (violations []string, err error) {
	if s.program, err = filepath.Abs(s.program); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(s.dir, "stagepost.toml"), []byte(configuration), 0o644); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := fill(ctx, filepath.Join(s.dir, "data"), s.messages); err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "filled with %d messages in %.1f s\n", s.messages, time.Since(began).Seconds())
	stop, err := start(ctx, s)
	if err != nil {
		return nil, err
	}
	defer stop()
	var ids []byte
	for _, st := range steps(s.messages) {
		var in []byte
		if st.ids {
			in = ids
		}
		answer, took, err := command(ctx, s, st.args, in)
		fmt.Fprintf(out, "%7.2f s  stagepost %s\n", took.Seconds(), st.args)
		lines := bytes.Split(bytes.TrimSpace(answer), []byte("\n"))
		last := string(lines[len(lines)-1])
		if err != nil || !strings.Contains(last, st.want) || st.lines > 0 && st.lines != len(lines) {
			violations = append(violations, fmt.Sprintf("right: %s: %v; %d lines, the last is %q, want %d and %q", st.args, err, len(lines), last, st.lines, st.want))
		}
		if st.looks && took > s.look {
			violations = append(violations, fmt.Sprintf("look: %s took %v", st.args, took))
		}
		if !st.looks && took > s.change {
			violations = append(violations, fmt.Sprintf("change: %s took %v", st.args, took))
		}
		if st.args == "queue list --json" {
			for _, l := range lines {
				if id, ok := bytes.CutPrefix(l, []byte(`{"id":"`)); ok && len(id) >= 16 {
					ids = append(append(ids, id[:16]...), '\n')
				}
			}
		}
		if ctx.Err() != nil {
			return violations, ctx.Err()
		}
	}
	return violations, nil
}

func command(ctx context.Context, s settings, args string, in []byte) (answer []byte, took time.Duration, err error) {
	cmd := exec.CommandContext(ctx, s.program, strings.Fields(args)...)
	cmd.Dir, cmd.Stdin = s.dir, bytes.NewReader(in)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	began := time.Now()
	answer, err = cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %.300s", err, errs.String())
	}
	return answer, time.Since(began), err
}

// start starts the server and waits until it is ready.
func start(ctx context.Context, s settings) (stop func(), err error) {
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, s.program, "serve")
	cmd.Dir, cmd.Stderr, cmd.Env = s.dir, log, append(os.Environ(), "NOTIFY_SOCKET=")
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop = func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(patience):
			cmd.Process.Kill()
			<-ended
		}
	}
	for began := time.Now(); time.Since(began) < patience; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(log.Name())
		if err == nil && bytes.HasPrefix(text, []byte("ready: ")) || bytes.Contains(text, []byte("\nready: ")) {
			return stop, nil
		}
		select {
		case err := <-ended:
			return nil, fmt.Errorf("the server ended: %w\n%s", err, text)
		default:
		}
	}
	stop()
	return nil, errors.New("the server did not say that it is ready")
}
