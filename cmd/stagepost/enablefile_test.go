package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/config"
)

// TestEnableFile: the file is changed behind its link, keeps what it may, and is put back byte for byte.
func TestEnableFile(t *testing.T) {
	const text = minimal + "\n[plugins]\nenable = [\n  \"relay\",  # who\n]\n"
	s := newSite(t, text)
	real := filepath.Join(s.dir, "real.toml")
	if err := os.Rename(s.config, real); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(real, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real.toml", s.config); err != nil {
		t.Fatal(err)
	}
	e, err := planEnable(s.config, []string{"acme"}, nil)
	if err != nil || !slices.Equal(e.names, []string{"relay", "acme"}) {
		t.Fatal(e, err)
	}
	s.write(".real.toml.unfinished", "half of what a command wrote that was killed")
	s.write("real.toml.new", "of somebody who works on it")
	if err := e.write(); err != nil {
		t.Fatal(err)
	}
	if got, want := s.read("stagepost.toml"), strings.TrimSuffix(text, "]\n")+"  \"acme\",\n]\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if again, err := planEnable(s.config, []string{"acme"}, nil); again != nil || err != nil {
		t.Error("there is more to do: ", again, err)
	}
	if info, err := os.Lstat(s.config); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Error("the link is gone")
	}
	if info, err := os.Stat(real); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := e.undo(); err != nil || s.read("real.toml") != text {
		t.Errorf("%v, %q", err, s.read("real.toml"))
	}
	if names, err := os.ReadDir(s.dir); err != nil || len(names) != 4 || s.read("real.toml.new") != "of somebody who works on it" {
		t.Errorf("%v, %v", names, err)
	}
	s.write("real.toml", text+"# by hand\n")
	if err := e.write(); err == nil || !strings.Contains(err.Error(), "changed by somebody else") || !strings.HasSuffix(s.read("real.toml"), "hand\n") {
		t.Errorf("%v, %q", err, s.read("real.toml"))
	}
	if e, err := planEnable(s.config, nil, []string{"relay"}); err != nil || e.write() != nil || !strings.Contains(s.read("real.toml"), "enable = [\n]\n# by hand") {
		t.Errorf("%v, %q", err, s.read("real.toml"))
	}
}

// TestEnableByHand: a file that is left alone, and what is printed for it.
func TestEnableByHand(t *testing.T) {
	s := newSite(t, minimal+"\n[plugins]\nenable = [\"relay\"]\n[plugins.more]\n")
	if e, err := planEnable(s.config, []string{"acme"}, nil); e != nil || err == nil {
		t.Errorf("%v, %v", e, err)
	}
	c := &config.Config{Plugins: config.Plugins{Enable: []string{"relay", "route"}}}
	if got, want := byHand(c, []string{"acme", "route"}), "[plugins]\nenable = [\"relay\", \"route\", \"acme\"]"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := byHand(&config.Config{}, []string{"acme"}); got != "[plugins]\nenable = [\"acme\"]" {
		t.Errorf("%q", got)
	}
}
