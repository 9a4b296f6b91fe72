package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Exit codes that users are told, as sysexits.h has them.
const (
	exitData        = 65
	exitNoInput     = 66
	exitUnavailable = 69
	exitCantCreate  = 73
	exitTemporary   = 75
	exitConfig      = 78
)

// patience is how long anything may take that happens by itself. It is generous: a test fails by it, never passes by it.
const patience = 2 * time.Minute

// site is a folder with a configuration, in which commands run.
type site struct {
	t     testing.TB
	dir   string
	limit func(*exec.Cmd) // changes how the server is started; may be nil
}

// newSite makes a folder with this stagepost.toml.
func newSite(t testing.TB, config string) *site {
	s := &site{t: t, dir: t.TempDir()}
	s.write("stagepost.toml", config)
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

// write saves a file in place, as editors of the simple kind do.
func (s *site) write(name, text string) {
	s.t.Helper()
	if err := os.MkdirAll(filepath.Dir(s.path(name)), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.path(name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// replace saves a file beside the old one and moves it to its place, as editors of the careful kind do.
func (s *site) replace(name, text string) {
	s.t.Helper()
	s.write(name+".new~", text)
	s.rename(name+".new~", name)
}

func (s *site) rename(from, to string) {
	s.t.Helper()
	if err := os.Rename(s.path(from), s.path(to)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) remove(name string) {
	s.t.Helper()
	if err := os.Remove(s.path(name)); err != nil {
		s.t.Fatal(err)
	}
}

// command prepares the program, in the folder.
func (s *site) command(args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET=")
	return cmd
}

// result is what a command came to.
type result struct {
	code     int
	out, err string
}

// run runs a command to its end.
func (s *site) run(args ...string) result {
	s.t.Helper()
	return runToEnd(s.t, s.command(args...))
}

func runToEnd(t testing.TB, cmd *exec.Cmd) result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if cmd.ProcessState.ExitCode() < 0 {
		t.Fatalf("%s did not end by itself: %s\n%s%s", strings.Join(cmd.Args, " "), cmd.ProcessState, out.String(), errs.String())
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// want runs a command that ends with this code and gives all it printed.
func (s *site) want(code int, args ...string) string {
	s.t.Helper()
	r := s.run(args...)
	if r.code != code {
		s.t.Fatalf("stagepost %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), r.code, code, r.out, r.err)
	}
	return r.out + r.err
}

// objects runs a listing and reads its JSON Lines.
func objects[T any](s *site, args ...string) []T {
	s.t.Helper()
	var list []T
	d := json.NewDecoder(strings.NewReader(s.want(0, append(args, "--json")...)))
	for d.More() {
		var v T
		if err := d.Decode(&v); err != nil {
			s.t.Fatalf("stagepost %s --json: %v", strings.Join(args, " "), err)
		}
		list = append(list, v)
	}
	return list
}

// status, message and step are the parts of what the commands print that are asked about here.
type (
	status struct {
		Generation uint64
		Health     string
		Error      string `json:"generation_error"`
		Listeners  []struct {
			Name, Address string
			Sessions      int
		}
		Plugins []plugin
		Queue   struct{ Messages, Active, Deferred, Held, Failed int64 }
	}
	plugin struct {
		Name, State   string
		Calls, Errors uint64
		Hooks         []calls
	}
	calls struct {
		Stage                  string
		Calls, Errors, Skipped uint64
		Overran                map[string]uint64
		Open                   bool
		Why                    string
	}
	message struct {
		ID, Sender, State string
		Recipients        []struct {
			Address, State string
			Attempts       int
			LastReply      string `json:"last_reply"`
		}
	}
	step struct {
		Stage, Plugin, Verdict, Detail string
		Generation                     uint64
		Edits                          []string
	}
)

func (s *site) status() status {
	s.t.Helper()
	list := objects[status](s, "status")
	if len(list) != 1 {
		s.t.Fatalf("status --json: %d objects", len(list))
	}
	return list[0]
}

// eventually waits until something is as it should be; what it last was is said when it never is.
func eventually(t testing.TB, what string, check func() (ok bool, is any)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		ok, is := check()
		if ok {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not so after %s; last: %v", what, patience, is)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// empty waits until nothing is left in the queue, which both the list and the status say.
func (s *site) empty() {
	s.t.Helper()
	eventually(s.t, "an empty queue", func() (bool, any) {
		q := s.status().Queue
		return q.Messages == 0, q
	})
	if list := s.want(0, "queue", "list"); list != "the queue is empty\n" {
		s.t.Fatalf("queue list of an empty queue: %s", list)
	}
	if q := s.status().Queue; q != (status{}.Queue) {
		s.t.Fatalf("status of an empty queue: %+v", q)
	}
}
