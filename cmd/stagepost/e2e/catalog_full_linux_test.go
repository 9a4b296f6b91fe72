package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

// mountSmall gives a folder a file system of its own, of some pages, and a way to change how many.
func mountSmall(t *testing.T, dir string, pages int) (resize func(pages int)) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	size := func(pages int) string { return fmt.Sprintf("size=%d", pages*os.Getpagesize()) }
	if err := syscall.Mount("stagepost-e2e", dir, "tmpfs", 0, size(pages)); err != nil {
		t.Skipf("left out: a small file system cannot be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("%s is still mounted: %v", dir, err)
		}
	})
	return func(pages int) {
		t.Helper()
		if err := syscall.Mount("stagepost-e2e", dir, "tmpfs", syscall.MS_REMOUNT, size(pages)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCatalogFullDisk installs where there is room for nothing, for one page, for two, and so on: until there is enough, one line says that
// the disk is full, and nothing changes.
func TestCatalogFullDisk(t *testing.T) {
	large := func(version, word string) *artifact {
		a := newArtifact(version)
		var files []artifactFile
		for i := range 6 {
			files = append(files, named(fmt.Sprintf("a%d.lua", i), "--"+strings.Repeat(" filler", 1000*i)))
		}
		a.code(append(files, artifactFile{text: helloVersion(version, word)})...)
		return a
	}
	d := newDealer(t)
	r := newRig(t, func(server *site) { server.write("trust.toml", d.trusts()) })
	consent := rightsOf(t, newArtifact("1.0.0"))
	for _, of := range []struct {
		name, folder string
		least        int // that have to fail
	}{{"the plugins", "data/plugins", 10}, {"the indexes", "data/catalog", 1}} {
		t.Run(of.name, func(t *testing.T) {
			if err := os.RemoveAll(r.path(of.folder)); err != nil {
				t.Fatal(err)
			}
			resize := mountSmall(t, r.path(of.folder), 2)
			version := "1.0." + fmt.Sprint(d.serial)
			a := large(version, of.name)
			dir := t.TempDir() + "/packages"
			a.lieInFolder(t, dir)
			d.deals(t, a, dir, &badInput{})
			failed := 0
			for pages := 1; ; pages++ {
				if pages > 200 {
					t.Fatal("200 pages are not enough")
				}
				resize(pages)
				before := r.state()
				out := r.run("plugin", "install", "hello", "--accept", consent)
				if out.code == 0 {
					break
				}
				failed++
				if line := strings.TrimSuffix(out.err, "\n"); strings.Contains(line, "\n") || !strings.Contains(line, "no space left on device") {
					t.Errorf("%d pages: exit code %d: %q", pages, out.code, out.err)
				}
				if after := r.state(); after != before {
					t.Errorf("%d pages: before\n%s\nand after\n%s", pages, before, after)
				}
			}
			t.Logf("%d installs failed for want of room", failed)
			if failed < of.least {
				t.Errorf("only %d failed", failed)
			}
			r.expect(of.name)
			r.want(0, "plugin", "remove", "hello")
			r.expect("")
		})
	}
	r.end()
}
