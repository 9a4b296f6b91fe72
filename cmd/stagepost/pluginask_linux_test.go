package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// TestInstallAsks: on a terminal somebody is asked, and what is not a yes is a no.
func TestInstallAsks(t *testing.T) {
	m := newMarket(t, withPlugins)
	m.publish("acme-greylist", "1.0.0", modest, deferer)
	m.publish("acme-dns", "1.0.0", curious, deferer)
	before := m.kept()
	const question = "Install acme-greylist 1.0.0, which may do this? [y/N] "
	for _, tt := range []struct {
		answers string
		args    string
		code    int
		asked   string
		out     []string
	}{
		{"n", "acme-greylist", exitPermission, question + "acme-greylist 1.0.0 may not, so nothing is installed\n", nil},
		{"", "acme-greylist", exitPermission, question + "acme-greylist 1.0.0 may not, so nothing is installed\n", nil},
		{"of course", "acme-greylist", exitPermission, question + "acme-greylist 1.0.0 may not, so nothing is installed\n", nil},
		{"^D", "acme-greylist", exitPermission, question + "\nacme-greylist 1.0.0 may not, so nothing is installed\n", nil},
		{"^C", "acme-greylist", exitTemporary, question + "\nended; nothing is installed\n", nil},
		{"y|n", "acme-greylist acme-dns", exitPermission, question + "Install acme-dns 1.0.0, which may do this? [y/N] acme-dns 1.0.0 may not, so nothing is installed\n",
			[]string{"acme-greylist 1.0.0\n", "acme-dns 1.0.0\n"}},
		{"n", "acme-greylist acme-dns --accept " + m.hash["acme-dns@1.0.0"], exitPermission, question + "acme-greylist 1.0.0 may not, so nothing is installed\n", []string{"!acme-dns 1.0.0\npackage"}},
		{"", "acme-greylist --json", exitPermission, "nobody is here to be asked, so nothing is installed; what is shown above is accepted with: --accept " + m.hash["acme-greylist@1.0.0"] + "\n", nil},
		{" Yes ", "acme-greylist", 0, question, []string{"acme-greylist 1.0.0 is installed\n"}},
		{"y", "acme-dns --no-enable", 0, "Install acme-dns 1.0.0, which may do this? [y/N] ", []string{"acme-dns 1.0.0 is installed\nno server is running"}},
	} {
		r, _ := asks(t, m.site, strings.Split(tt.answers, "|"), append([]string{"plugin", "install"}, strings.Fields(tt.args)...)...)
		m.want(r, tt.code, tt.out...)
		if r.err != tt.asked {
			t.Errorf("%s, answered %q: it says %q, want %q", tt.args, tt.answers, r.err, tt.asked)
		}
		if tt.code != 0 && m.kept() != before {
			t.Fatalf("%s, answered %q: something was installed: %s", tt.args, tt.answers, m.kept())
		}
	}

	// what asks for more is asked about, with what is more; what does not is not
	m.publish("acme-greylist", "1.1.0", curious, deferer)
	before = m.kept()
	r, _ := asks(t, m.site, []string{"n"}, "plugin", "install", "acme-greylist")
	m.want(r, exitPermission, "acme-greylist 1.0.0 is installed. Beyond what that may do, 1.1.0\n  - contacts the DNS, about any name\n", "Install acme-greylist 1.1.0, which may do this?")
	if m.kept() != before {
		t.Error(m.kept())
	}
	m.publish("acme-greylist", "1.0.1", modest, deferer+" -- as before")
	r, _ = asks(t, m.site, nil, "plugin", "install", "acme-greylist@1.0.1")
	m.want(r, 0, "acme-greylist 1.0.1 is installed, in the place of 1.0.0\n", "![y/N]")
}

// TestTransferFits: the line never goes on in another one of the terminal.
func TestTransferFits(t *testing.T) {
	people, command := terminal(t)
	if err := unix.IoctlSetWinsize(int(command.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 40}); err != nil {
		t.Fatal(err)
	}
	cmd := &cobra.Command{}
	cmd.SetErr(command)
	b := newTransfer(cmd, true, 1)
	b.begun = b.begun.Add(-barAfter)
	b.next(strings.Repeat("long-", 12) + "name 1.0.0")
	buf := make([]byte, 1000)
	n, err := people.Read(buf)
	if want := "\r\x1b[K[....................] 0 of 1  long-lon"; err != nil || string(buf[:n]) != want {
		t.Errorf("%v, %q, want %q", err, buf[:n], want)
	}
}

// TestInstallOwner: what root installs belongs to whom the data folder belongs, and the record to whom the configuration belongs, also when
// root takes something out again; and no link leads out of the folder.
func TestInstallOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	m := newMarket(t, withPlugins)
	m.publish("acme-greylist", "1.0.0", modest, deferer)
	m.publish("acme-dns", "1.0.0", curious, deferer)
	data := m.dir + "/data"
	secret := m.dir + "/secret"
	m.write("secret", "of root")
	if err := errors.Join(os.Chown(data, 12345, 12346), os.Chown(m.config, 12347, 12348)); err != nil {
		t.Skip("this root may not give files away: ", err)
	}
	if err := os.Mkdir(data+"/catalog", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.Symlink(secret, data+"/catalog/soft"), os.Link(secret, data+"/catalog/hard")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	look := func() {
		t.Helper()
		seen := 0
		for name, is := range m.owners("data", "plugins.lock", ".plugins-change.lock", "stagepost.toml", "secret") {
			seen++
			want := "12347:12348"
			switch {
			case strings.HasSuffix(name, "hard"), strings.HasSuffix(name, "soft"), name == "secret":
				want = "0:0"
			case strings.HasPrefix(name, "data"):
				want = "12345:12346"
			}
			if is != want {
				t.Errorf("%s belongs to %s, want %s", name, is, want)
			}
		}
		if seen < 9 {
			t.Errorf("only %d files", seen)
		}
	}
	m.want(m.run("plugin", "install", "acme-greylist", "acme-dns", "--accept", m.hash["acme-greylist@1.0.0"], "--accept", m.hash["acme-dns@1.0.0"]), 0)
	look()
	m.want(m.run("plugin", "remove", "acme-dns"), 0, "acme-dns 1.0.0 is removed\n")
	look()
	m.want(m.run("plugin", "remove", "acme-greylist"), 0)
	m.write("plugins.lock", m.read("plugins.lock")) // it is there
	look()
}

// owners has who owns what lies there.
func (m *market) owners(names ...string) map[string]string {
	m.t.Helper()
	all := map[string]string{}
	for _, name := range names {
		err := fs.WalkDir(os.DirFS(m.dir), name, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := os.Lstat(filepath.Join(m.dir, path))
			if err == nil {
				is := info.Sys().(*syscall.Stat_t)
				all[path] = fmt.Sprintf("%d:%d", is.Uid, is.Gid)
			}
			return err
		})
		if err != nil {
			m.t.Fatal(err)
		}
	}
	return all
}
