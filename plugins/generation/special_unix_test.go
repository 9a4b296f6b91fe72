//go:build unix

package generation

import (
	"net"
	"path/filepath"
	"syscall"
	"testing"
)

// TestNoFileAtAll (Z12): what lies in the place of a file cannot be read as one. Opening a pipe would wait for ever, and a device may
// never end.
func TestNoFileAtAll(t *testing.T) {
	pipe := func(s *site, name string) {
		s.remove(name)
		if err := syscall.Mkfifo(filepath.Join(s.dir, name), 0o644); err != nil {
			s.t.Skip("left out: ", err)
		}
	}
	device := func(s *site, name string) { s.link("/dev/zero", name) }
	socket := func(s *site, name string) {
		s.remove(name)
		s.t.Chdir(s.dir) // the name of a socket is bounded
		l, err := net.Listen("unix", name)
		if err != nil {
			s.t.Skip("left out: ", err)
		}
		s.t.Cleanup(func() { l.Close() })
	}
	at := func(put func(*site, string), name string) func(*site) { return func(s *site) { put(s, name) } }
	const plugin, config = "plugins/vip.lua", "stagepost.toml"
	refused(t, []mistake{
		{"Z12 a pipe", at(pipe, plugin), "plugins/vip.lua: is not a regular file but a pipe"},
		{"Z12 a device", at(device, plugin), "plugins/vip.lua: is not a regular file but a device"},
		{"Z12 a socket", at(socket, plugin), "plugins/vip.lua: is not a regular file but a socket"},
		{"Z12 a pipe of configuration", at(pipe, config), "stagepost.toml is not a regular file but a pipe"},
		{"Z12 a device of configuration", at(device, config), "stagepost.toml is not a regular file but a device"},
	})
}
