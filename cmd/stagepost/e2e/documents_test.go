package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../../.." // of the repository

// reader does what a page tells: it runs its blocks of commands, in order, as they stand there.
//
// What differs from a reader's machine: the program is in the PATH and not built again; the configuration listens on any
// free port, and next hops of this machine are addresses where nobody listens; ID is the last one that was printed.
type reader struct {
	*site
	top    string // where the first command runs
	server *server
	id     string
	ran    int
}

// refusals are the commands of which the page says that they are refused.
var refusals = map[string]int{
	"stagepost send --to nobody@example.org":                          exitUnavailable,
	"stagepost send --to you@example.com":                             exitUnavailable,
	"stagepost send --from user@red.example --to support@example.org": exitUnavailable,
}

// TestDocuments follows every page that shows commands.
func TestDocuments(t *testing.T) {
	pages := []string{"README.md", "cmd/stagepost/manual/quickstart.md"}
	examples, err := filepath.Glob(filepath.Join(root, "examples", "*", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range examples {
		switch filepath.Base(filepath.Dir(name)) {
		case "submission": // it asks for a password on a terminal; its own test, among those of the commands, follows it
			continue
		case "catalog": // TestCatalogExample follows it, since what it makes takes its time
			continue
		}
		page, err := filepath.Rel(root, name)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, page)
	}
	for _, page := range pages {
		t.Run(page, func(t *testing.T) { follow(t, page) })
	}
}

// follow does what a page tells.
func follow(t *testing.T, page string) *reader {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r := &reader{site: &site{t: t, dir: dir}, top: dir}
	for _, b := range blocks(string(text)) {
		switch b.kind {
		case "sh", "":
			for line := range strings.Lines(b.text) {
				r.do(strings.TrimSpace(regexp.MustCompile(`(^|\s)# .*`).ReplaceAllString(strings.TrimSpace(line), "")))
			}
		case "toml":
			r.configure(b.text)
		}
	}
	if r.ran < 4 {
		t.Errorf("%d commands were run; does the page still have blocks of them?", r.ran)
	}
	if r.server != nil {
		r.server.stop()
	}
	return r
}

type block struct{ kind, text string }

// blocks gives the fenced blocks of a page. One without a language holds commands if it begins with one.
func blocks(text string) []block {
	var list []block
	for _, m := range regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		first, _, _ := strings.Cut(m[2], " ")
		if m[1] == "" && first != "stagepost" && first != "cd" && first != "mkdir" {
			continue
		}
		list = append(list, block{m[1], m[2]})
	}
	return list
}

// do runs one command.
func (r *reader) do(line string) {
	r.t.Helper()
	words := strings.Fields(line)
	switch {
	case line == "":
		return
	case words[0] == "scripts/test": // this is part of it
		return
	case line == "go build ./cmd/stagepost":
		if err := os.Symlink(program, r.path("stagepost")); err != nil {
			r.t.Fatal(err)
		}
	case line == "go run ./cmd/stagepost demo":
		r.want(0, "demo")
	case words[0] == "cd":
		r.enter(words[1])
	case len(words) == 2 && filepath.Base(words[0]) == "stagepost" && words[1] == "serve":
		r.server = r.start()
	default:
		r.shell(line)
	}
	r.ran++
}

// enter changes the folder. That of an example is copied, so that nothing is written into the repository.
func (r *reader) enter(dir string) {
	r.t.Helper()
	if strings.HasPrefix(dir, "examples/") {
		if err := os.CopyFS(r.path(dir), os.DirFS(filepath.Join(root, dir))); err != nil {
			r.t.Fatal(err)
		}
	}
	r.site = &site{t: r.t, dir: r.path(dir)}
	if text, err := os.ReadFile(r.path("stagepost.toml")); err == nil {
		r.write("stagepost.toml", r.local(string(text)))
	}
}

// local makes a configuration one for this test: port 2525 becomes any free one, and the ports beside it, which stand for other
// servers, become such that nobody listens there.
func (r *reader) local(config string) string {
	config = strings.ReplaceAll(config, `address = "127.0.0.1:2525"`, `address = "127.0.0.1:0"`)
	return regexp.MustCompile(`127\.0\.0\.1:252[0-9]`).ReplaceAllStringFunc(config, func(string) string { return freePort(r.t) })
}

func (r *reader) shell(line string) {
	r.t.Helper()
	bare := strings.TrimLeft(line, "./") // "../stagepost" is the same program
	want := refusals[bare]
	if strings.Contains(line, " ID") {
		if r.id == "" {
			r.t.Fatalf("%s: no id was printed before", line)
		}
		line = strings.ReplaceAll(line, " ID", " "+r.id)
	}
	cmd := exec.Command("sh", "-c", line)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(program)+string(os.PathListSeparator)+os.Getenv("PATH"))
	got := runToEnd(r.t, cmd)
	if got.code != want {
		r.t.Fatalf("%s: exit code %d, want %d\n%s%s", line, got.code, want, got.out, got.err)
	}
	if got.out+got.err == "" && !strings.HasPrefix(line, "mkdir ") {
		r.t.Errorf("%s says nothing", line)
	}
	if m := regexp.MustCompile(`queued as (\S+)`).FindStringSubmatch(got.out); m != nil {
		r.id = m[1]
	}
	if strings.HasPrefix(bare, "stagepost init") { // before the server starts
		if text, err := os.ReadFile(r.path("stagepost.toml")); err == nil {
			r.write("stagepost.toml", r.local(string(text)))
		}
	}
	if strings.HasPrefix(bare, "stagepost trace ") && !strings.Contains(got.out, "rcpt") {
		r.t.Errorf("%s does not show the stage rcpt:\n%s", line, got.out)
	}
}

// configure does what the quickstart says beside its block of configuration: the block takes the place of what the file says
// from its first table on, and hello.lua no longer ends local mail.
func (r *reader) configure(block string) {
	r.t.Helper()
	if r.server == nil {
		return // shown before anything runs
	}
	table, _, _ := strings.Cut(block, "\n")
	text, err := os.ReadFile(r.path("stagepost.toml"))
	if err != nil {
		r.t.Fatal(err)
	}
	before, _, found := strings.Cut(string(text), table+"\n")
	if !found {
		r.t.Fatalf("stagepost.toml has no %s, which the page changes", table)
	}
	code, err := os.ReadFile(r.path("plugins/hello.lua"))
	if err != nil {
		r.t.Fatal(err)
	}
	kept, _, found := strings.Cut(string(code), "function on.route(r)")
	if !found {
		r.t.Fatal("hello.lua has no on.route, which the page takes out")
	}
	generation := r.status().Generation
	r.replace("plugins/hello.lua", kept)
	r.server.live(generation + 1)
	r.replace("stagepost.toml", before+r.local(block))
	r.server.live(generation + 2)
}

// TestTenantRelay sends mail of each tenant through the example, to sinks in the places of their smart hosts.
func TestTenantRelay(t *testing.T) {
	red, blue := newSink(t), newSink(t)
	s := &site{t: t, dir: t.TempDir()}
	if err := os.CopyFS(s.dir, os.DirFS(filepath.Join(root, "examples", "tenant-relay"))); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(s.path("stagepost.toml"))
	if err != nil {
		t.Fatal(err)
	}
	config := string(text)
	for from, to := range map[string]string{"127.0.0.1:2525": "127.0.0.1:0", "127.0.0.1:2526": red.address, "127.0.0.1:2527": blue.address} {
		if !strings.Contains(config, from) {
			t.Fatalf("the example does not name %s", from)
		}
		config = strings.Replace(config, from, to, 1)
	}
	s.write("stagepost.toml", config)
	sv := s.start()
	for i, tt := range []struct {
		from string
		sink *sink
	}{{"user@red.example", red}, {"ben@blue.example", blue}} {
		id := fmt.Sprintf("<tenant.%d@client.example>", i)
		s.write("letter", strings.ReplaceAll(letter(id), "Subject:", "Date: Sun, 22 Nov 2026 07:20:50 +0000\r\nX-Originating-IP: [192.0.2.1]\r\nSubject:"))
		s.want(0, "send", "--from", tt.from, "--to", "someone@elsewhere.example", "--file", "letter")
		text := tt.sink.text(id)
		if field(text, "X-Tenant") == "" || field(text, "X-Originating-IP") != "" {
			t.Errorf("the tenants' and headers' edits:\n%s", text)
		}
		s.empty()
		tt.sink.exactly([]string{id})
	}
	sv.stop()
}
