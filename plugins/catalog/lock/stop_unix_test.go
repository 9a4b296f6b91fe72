//go:build unix

package lock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/desk"
)

// What the child processes below are told by.
const (
	stopVariable = "STAGEPOST_TEST_STOP" // before which thing that it does to files it kills itself; 0: never
	siteVariable = "STAGEPOST_TEST_SITE"
	taskVariable = "STAGEPOST_TEST_TASK"
)

// child runs the test again, in a process of its own.
func child(t *testing.T, test, site, task string, stop int) (*exec.Cmd, *strings.Builder) {
	cmd := exec.Command(os.Args[0], "-test.run", "^"+test+"$", "-test.v")
	cmd.Env = append(os.Environ(), siteVariable+"="+site, taskVariable+"="+task, stopVariable+"="+strconv.Itoa(stop))
	out := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

// tasks are the changes that a process may be killed in. Before each, sample 1.0.0 and other 0.1.0 are installed.
func tasks(t *testing.T) map[string]func(c *Change) error {
	put := func(pkg *catalog.Package) func(c *Change) error {
		return func(c *Change) error { return c.Put(pkg, Plugin{Place: "x", Signer: Unsigned, Capabilities: "x"}) }
	}
	return map[string]func(c *Change) error{
		"update":  put(pack(t, "sample", "1.1.0", "two")),
		"install": put(pack(t, "third", "1.0.0", strings.Repeat("long", 20_000))),
		"remove":  func(c *Change) error { c.Remove("sample"); return nil },
		"mend":    put(pack(t, "sample", "1.0.0", "one")), // the folder is there and damaged
	}
}

// A process is killed before each thing that it does to files, one after the other, in an update, an install, a removal, and where a damaged
// folder gets its content again: what is installed afterwards is the old or the new, whole; the next change works, and leaves nothing
// behind. The lock of the killed process holds nobody up.
func TestKilled(t *testing.T) {
	all := tasks(t)
	if dir := os.Getenv(siteVariable); dir != "" {
		stop, err := strconv.Atoi(os.Getenv(stopVariable))
		if err != nil {
			t.Fatal(err)
		}
		done := 0
		c, err := begin(t.Context(), filepath.Join(dir, Name), filepath.Join(dir, "data"), desk.Options{Step: func(op, path string) error {
			if done++; done == stop {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		if err := all[os.Getenv(taskVariable)](c); err != nil {
			t.Fatal(err)
		}
		if err := c.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.Close()
		return
	}
	one, other := pack(t, "sample", "1.0.0", "one"), pack(t, "other", "0.1.0", "x")
	for task, states := range map[string][2]string{
		"update":  {"other 0.1.0 sample 1.0.0", "other 0.1.0 sample 1.1.0"},
		"install": {"other 0.1.0 sample 1.0.0", "other 0.1.0 sample 1.0.0 third 1.0.0"},
		"remove":  {"other 0.1.0 sample 1.0.0", "other 0.1.0"},
		"mend":    {"", ""},
	} {
		t.Run(task, func(t *testing.T) {
			seen := map[string]bool{}
			apart := 1
			if testing.Short() {
				apart = 4
			}
			for stop := 1; ; stop += apart {
				s := newSite(t)
				s.install(one, other)
				if task == "mend" {
					spoil(t, s, one)
				}
				cmd, out := child(t, "TestKilled", filepath.Dir(s.file), task, stop)
				err := cmd.Run()
				finished := err == nil
				if left := (*exec.ExitError)(nil); !finished && (!errors.As(err, &left) || left.ExitCode() != -1) {
					t.Fatalf("%v\n%s", err, out)
				}
				if task != "mend" {
					got := s.installed()
					if seen[got] = true; got != states[0] && got != states[1] {
						t.Fatalf("killed at %d: %q is installed", stop, got)
					}
					if finished && got != states[1] {
						t.Errorf("%q is installed", got)
					}
				} else if l, err := Read(s.file); err != nil {
					t.Errorf("killed at %d: %v", stop, err)
				} else if p, _ := l.Plugin("sample"); true {
					_, err := p.Files(s.data) // the code is gone, spoilt, or right: never something else that is loaded
					if seen[fmt.Sprint(err == nil)] = true; err != nil && !errors.Is(err, ErrChanged) && !errors.Is(err, ErrMissing) || finished && err != nil {
						t.Errorf("killed at %d: %v", stop, err)
					}
				}
				next := pack(t, "sample", "2.0.0", "next")
				s.install(next)
				if got := s.installed(); !strings.Contains(got, "sample 2.0.0") {
					t.Errorf("killed at %d, then: %q", stop, got)
				}
				want := []string{"other@", "sample@" + next.Digest.Encoded()}
				if strings.Contains(s.installed(), "third") {
					want = append(want, "third@")
				}
				s.holds(want...)
				if names, _ := filepath.Glob(filepath.Join(filepath.Dir(s.file), ".*unfinished*")); names != nil {
					t.Errorf("killed at %d: %v stays", stop, names)
				}
				if finished {
					if len(seen) != 2 || stop < 10 {
						t.Errorf("%v in %d stops", seen, stop)
					}
					break
				}
			}
		})
	}
}

// spoil changes a byte of what is installed.
func spoil(t *testing.T, s *site, p *catalog.Package) {
	t.Helper()
	file := filepath.Join(Folder(s.data), p.Summary.ID+"@"+p.Digest.Encoded(), "lib", "words.lua")
	if err := os.WriteFile(file, []byte("return \"evil\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Three processes and three goroutines change what is installed at once, each its own plugin, five versions of it: none loses what another did.
func TestManyAtOnce(t *testing.T) {
	const rounds = 5
	work := func(t *testing.T, s *site, id string) error {
		for i := range rounds {
			pkg := pack(t, id, fmt.Sprintf("1.0.%d", i), id)
			err := s.change(func(c *Change) error { return c.Put(pkg, Plugin{Place: "x", Signer: Unsigned, Capabilities: "x"}) })
			if err != nil {
				return err
			}
		}
		return nil
	}
	if dir := os.Getenv(siteVariable); dir != "" {
		if err := work(t, &site{t, filepath.Join(dir, Name), filepath.Join(dir, "data")}, os.Getenv(taskVariable)); err != nil {
			t.Fatal(err)
		}
		return
	}
	s := newSite(t)
	var wait []func() error
	var want []string
	for i := range 3 {
		inside, outside := fmt.Sprintf("in%d", i), fmt.Sprintf("out%d", i)
		cmd, out := child(t, "TestManyAtOnce", filepath.Dir(s.file), outside, 0)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- work(t, s, inside) }()
		wait = append(wait, func() error { return <-done }, func() error {
			if err := cmd.Wait(); err != nil {
				return fmt.Errorf("%w\n%s", err, out)
			}
			return nil
		})
		want = append(want, fmt.Sprintf("%s 1.0.%d", inside, rounds-1), fmt.Sprintf("%s 1.0.%d", outside, rounds-1))
	}
	for _, done := range wait {
		if err := done(); err != nil {
			t.Error(err)
		}
	}
	got := s.installed()
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("%s is not installed: %s", w, got)
		}
	}
	entries, err := os.ReadDir(Folder(s.data))
	if err != nil || len(entries) != len(want)+1 {
		t.Errorf("%v: %d entries", err, len(entries))
	}
}

// The disk is full half-way: a process may write no file of more than 4 KB. It is one line, and nothing changes.
func TestDiskFull(t *testing.T) {
	large := pack(t, "large", "1.0.0", strings.Repeat("x", 64<<10))
	if dir := os.Getenv(siteVariable); dir != "" {
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 4096, Max: 4096}); err != nil {
			t.Skip(err)
		}
		s := &site{t, filepath.Join(dir, Name), filepath.Join(dir, "data")}
		err := s.change(func(c *Change) error { return c.Put(large, Plugin{Place: "x", Signer: Unsigned, Capabilities: "x"}) })
		if err == nil || !strings.HasPrefix(err.Error(), "large 1.0.0 cannot be unpacked into ") || strings.Contains(err.Error(), "\n") {
			t.Error(err)
		}
		return
	}
	s := newSite(t)
	s.install(pack(t, "sample", "1.0.0", "one"))
	cmd, out := child(t, "TestDiskFull", filepath.Dir(s.file), "", 0)
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(out.String(), "SKIP") {
		t.Skip("files cannot be bounded here")
	}
	if got := s.installed(); got != "sample 1.0.0" {
		t.Error(got)
	}
	s.holds("sample@")
	s.install(large)
	if got := s.installed(); got != "large 1.0.0 sample 1.0.0" {
		t.Errorf("with room again: %s", got)
	}
}

// Where the record cannot be written to (the error is made up: root may write anywhere), what it names can be unpacked, and nothing else can be done.
func TestRecordIsReadOnly(t *testing.T) {
	s := newSite(t)
	one := pack(t, "sample", "1.0.0", "one")
	s.install(one)
	if err := os.RemoveAll(Folder(s.data)); err != nil {
		t.Fatal(err)
	}
	denied := func(op, path string) error {
		if filepath.Dir(path) == filepath.Dir(s.file) {
			return &os.PathError{Op: op, Path: path, Err: syscall.EROFS}
		}
		return nil
	}
	for _, c := range []struct {
		pkg  *catalog.Package
		want string
	}{{one, ""}, {pack(t, "sample", "1.1.0", "two"), s.file + " cannot be changed: "}} {
		ch, err := begin(context.Background(), s.file, s.data, desk.Options{Step: denied})
		if err != nil {
			t.Fatal(err)
		}
		if err := ch.Put(c.pkg, Plugin{Place: "/srv/plugins", Signer: Unsigned, Capabilities: "x"}); err != nil {
			t.Fatal(err)
		}
		err = ch.Commit(context.Background())
		ch.Close()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
			t.Errorf("%v, want %s", err, c.want)
		}
		if got := s.installed(); got != "sample 1.0.0" {
			t.Error(got)
		}
	}
}

// Strange things where the code lies: what has the name of a plugin's folder is replaced or taken away, links are not followed, and what is
// foreign stays.
func TestStrangeThings(t *testing.T) {
	one := pack(t, "sample", "1.0.0", "one")
	name := "sample@" + one.Digest.Encoded()
	for kind, put := range map[string]func(path, target string) error{
		"a file":            func(path, _ string) error { return os.WriteFile(path, []byte("x"), 0o600) },
		"a pipe":            func(path, _ string) error { return syscall.Mkfifo(path, 0o600) },
		"a link":            func(path, target string) error { return os.Symlink(target, path) },
		"a link to nowhere": func(path, target string) error { return os.Symlink(target+"/none", path) },
		"a link to itself":  func(path, _ string) error { return os.Symlink(path, path) },
		"an empty folder":   func(path, _ string) error { return os.Mkdir(path, 0o700) },
		"a folder with a pipe": func(path, _ string) error {
			if err := os.Mkdir(path, 0o700); err != nil {
				return err
			}
			return syscall.Mkfifo(filepath.Join(path, "init.lua"), 0o600)
		},
	} {
		t.Run(kind, func(t *testing.T) {
			s := newSite(t)
			target := t.TempDir()
			if err := os.WriteFile(filepath.Join(target, "precious"), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			s.install(one)
			place := filepath.Join(Folder(s.data), name)
			if err := os.RemoveAll(place); err != nil {
				t.Fatal(err)
			}
			stranger := filepath.Join(Folder(s.data), "foreign")
			old := filepath.Join(Folder(s.data), "old@"+strings.Repeat("0", 64))
			for _, path := range []string{place, stranger, old} {
				if err := put(path, target); err != nil {
					t.Skip(err)
				}
			}
			l, err := Read(s.file)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Plugins[0].Files(s.data); !errors.Is(err, ErrChanged) || strings.Contains(err.Error(), "\n") {
				t.Errorf("it is loaded: %v", err)
			}
			if left, foreign, err := l.Strangers(s.data); len(left) != 1 || len(foreign) != 1 || err != nil {
				t.Errorf("%q, %q, %v", left, foreign, err)
			}
			s.install(one)
			if got := s.installed(); got != "sample 1.0.0" {
				t.Error(got)
			}
			s.holds("foreign", "sample@")
			if _, err := os.Stat(filepath.Join(target, "precious")); err != nil {
				t.Error("a link was followed:", err)
			}
		})
	}
	t.Run("a file for the folder of all", func(t *testing.T) {
		s := newSite(t)
		if err := os.MkdirAll(s.data, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(Folder(s.data), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Begin(t.Context(), s.file, s.data); err == nil || !strings.HasPrefix(err.Error(), "what is installed cannot be changed: ") {
			t.Error(err)
		}
	})
	t.Run("the record is a link", func(t *testing.T) { // it stays one
		s := newSite(t)
		real := filepath.Join(t.TempDir(), "elsewhere.lock")
		if err := os.Symlink(real, s.file); err != nil {
			t.Skip(err)
		}
		if _, err := Read(s.file); err == nil || !strings.HasSuffix(err.Error(), "is a link that leads nowhere") {
			t.Error(err)
		}
		if err := os.WriteFile(real, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		s.install(one)
		if to, err := os.Readlink(s.file); err != nil || to != real || s.installed() != "sample 1.0.0" {
			t.Error(to, err)
		}
	})
}

// Whatever the umask of who installs, who runs the server can read what is installed.
func TestUmask(t *testing.T) {
	if dir := os.Getenv(siteVariable); dir != "" {
		syscall.Umask(0o077)
		(&site{t, filepath.Join(dir, Name), filepath.Join(dir, "data")}).install(pack(t, "sample", "1.0.0", "one"))
		return
	}
	s := newSite(t)
	cmd, out := child(t, "TestUmask", filepath.Dir(s.file), "", 0)
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	check := func(path string, info os.FileInfo, err error) error {
		want := os.FileMode(0o644)
		if err == nil && info.IsDir() {
			want = 0o755
		}
		if err != nil || info.Mode().Perm() != want && !strings.HasPrefix(info.Name(), ".") {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
		return nil
	}
	if err := filepath.Walk(Folder(s.data), check); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(s.file)
	check(s.file, info, err)
}
