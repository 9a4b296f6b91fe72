//go:build unix

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestSavingPage makes the console say each line that the page of the manual shows, in the order of the page.
func TestSavingPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "cmd", "stagepost", "manual", "saving.md"))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for line := range strings.Lines(string(page)) {
		if line, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "    "); ok && strings.Contains(line, "generation ") {
			want = append(want, line)
		}
	}
	r := newRig(t, nil)
	more := strings.Replace(hello("three"), `{ "headers" }`, `{ "headers", "rcpts" }, relay = true`, 1)
	gone := func(name string) {
		if err := os.RemoveAll(r.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	steps := []func(){
		func() { r.write("plugins/hello.lua", hello("two")) },
		func() { r.write("plugins/hello.lua", more) },
		func() { r.write("plugins/hello.lua", more+"\nfunction on.dta(m) end\n") },
		func() { r.write("plugins/hello.lua", more) },
		func() { r.write("plugins/hello.lua", more+"\n\n\nwhile true do end\n") },
		func() { gone("plugins/hello.lua"); r.symlink("../shared/hello.lua", "plugins/hello.lua") },
		func() {
			gone("plugins/hello.lua")
			if err := syscall.Mkfifo(r.path("plugins/hello.lua"), 0o644); err != nil {
				t.Skip("left out: a pipe cannot be made here: ", err)
			}
		},
		func() { r.replace("plugins/hello.lua", strings.Repeat("-- \n", 1<<19)) },
		func() { r.replace("plugins/hello.lua", more); r.write("plugins/vip/vip.lua", hello("x")) },
		func() { r.rename("plugins", "away") },
	}
	if len(want) != len(steps) {
		t.Fatalf("the page has %d lines of the console, and this test makes %d: %q", len(want), len(steps), want)
	}
	for i, step := range steps {
		mark := r.console.mark()
		step()
		line := r.console.expect(t, mark, "generation ")
		shape := strings.ReplaceAll(regexp.MustCompile(`\d+ ms`).ReplaceAllString(regexp.QuoteMeta(want[i]), `\d+ ms`), `\.\.\.`, `.*`)
		if !regexp.MustCompile("^" + shape + "$").MatchString(line) {
			t.Errorf("the console says %q\nand the page %q", line, want[i])
		}
	}
	r.expect("three")
	r.end()
}
