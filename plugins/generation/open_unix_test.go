//go:build unix

package generation

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestAPipeInPlaceOfAFile(t *testing.T) {
	s := newSite(t)
	s.write("plugins/vip.lua", code("vip", "one"))
	s.mustOpen()
	s.remove("plugins/vip.lua")
	if err := syscall.Mkfifo(filepath.Join(s.dir, "plugins/vip.lua"), 0o644); err != nil {
		t.Skip("left out: ", err)
	}
	if c := s.m.Reload(t.Context()); c.Err == nil || !strings.Contains(c.Err.Error(), "plugins/vip.lua: is not a regular file") || s.says() != "one" {
		t.Errorf("a pipe came to %v", c.Err)
	}
}
