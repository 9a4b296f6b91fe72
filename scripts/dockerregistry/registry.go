// Package dockerregistry runs Debian's docker-registry for tests and measurements: on loopback, at a port that the system chose, with its
// storage in a folder of the caller's. A Front before it counts what goes through, and can answer in its place;
// a Tunnel is the proxy on the way to it.
package dockerregistry

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/crypto/bcrypt"
)

// Program is what the registry is called, in Debian's package of the same name.
const Program = "docker-registry"

// patience is how long a registry may take to say where it listens.
const patience = 60 * time.Second

// Options say how a registry is reached.
type Options struct {
	Certificate, Key string            // files; none is HTTP
	Users            map[string]string // their passwords; nil is anybody
}

// Registry is one that runs.
type Registry struct {
	Address string

	dir   string
	o     Options
	cmd   *exec.Cmd
	ended chan struct{}
}

// Start runs a registry that keeps everything in dir. It runs until Stop.
func Start(dir string, o Options) (*Registry, error) {
	r := &Registry{Address: "127.0.0.1:0", dir: dir, o: o}
	return r, r.Again()
}

var listens = regexp.MustCompile(`msg="listening on (127\.0\.0\.1:[0-9]+)`)

// Again runs it once more after Stop, with what it holds and where it was.
func (r *Registry) Again() error {
	config := filepath.Join(r.dir, "config.yml")
	text, err := r.config()
	if err == nil {
		err = os.WriteFile(config, []byte(text), 0o600)
	}
	if err != nil {
		return err
	}
	log := &logged{found: make(chan string, 1)}
	r.cmd, r.ended = exec.Command(Program, "serve", config), make(chan struct{})
	r.cmd.Stdout, r.cmd.Stderr = log, log
	if err := r.cmd.Start(); err != nil {
		return err
	}
	ended := r.ended
	go func() {
		r.cmd.Wait()
		close(ended)
	}()
	select {
	case r.Address = <-log.found:
		return nil
	case <-ended:
		return fmt.Errorf("%s ended: %s\n%s", Program, r.cmd.ProcessState, log.text())
	case <-time.After(patience):
		r.Stop()
		return errors.New(Program + " did not say where it listens")
	}
}

// Stop ends it.
func (r *Registry) Stop() {
	r.cmd.Process.Kill()
	<-r.ended
}

// Blob is the file that has what a digest names.
func (r *Registry) Blob(d digest.Digest) string {
	hex := d.Encoded()
	return filepath.Join(r.dir, "storage", "docker", "registry", "v2", "blobs", "sha256", hex[:2], hex, "data")
}

func (r *Registry) config() (string, error) {
	text := fmt.Sprintf("version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: %q\n  maintenance:\n    uploadpurging:\n      enabled: false\nhttp:\n  addr: %q\n  relativeurls: true\n",
		filepath.Join(r.dir, "storage"), r.Address)
	if r.o.Certificate != "" {
		text += fmt.Sprintf("  tls:\n    certificate: %q\n    key: %q\n", r.o.Certificate, r.o.Key)
	}
	if r.o.Users == nil {
		return text, nil
	}
	var users bytes.Buffer
	for name, password := range r.o.Users {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&users, "%s:%s\n", name, hash)
	}
	file := filepath.Join(r.dir, "htpasswd")
	return text + fmt.Sprintf("auth:\n  htpasswd:\n    realm: plugins\n    path: %q\n", file), os.WriteFile(file, users.Bytes(), 0o600)
}

// logged is what the registry says, until it is known where it listens.
type logged struct {
	mu    sync.Mutex
	said  bytes.Buffer
	over  bool
	found chan string
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return len(p), nil
	}
	l.said.Write(p)
	if m := listens.FindSubmatch(l.said.Bytes()); m != nil {
		l.over = true
		l.found <- string(m[1])
	}
	return len(p), nil
}

func (l *logged) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said.String()
}
