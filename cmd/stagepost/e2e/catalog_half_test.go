package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/lock"
	"github.com/stagepost/stagepost/scripts/dockerregistry"
)

// whole fails the test unless what is installed is whole: the lock can be read, and what it names is there or is not, but never half.
func (s *site) whole() *lock.Lock {
	s.t.Helper()
	l, err := lock.Read(s.path("plugins.lock"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, p := range l.Plugins {
		if _, err := p.Files(s.path("data")); err != nil {
			s.t.Errorf("%s is locked, and not whole: %v", p.ID, err)
		}
	}
	return l
}

// TestCatalogKill kills an install at each request that it makes, and at many moments of its time: the first install of a plugin, and one of
// a newer version. Whenever that is, the plugin is installed or it is not, the server goes on with what it has, and the same command
// afterwards brings it to its end.
func TestCatalogKill(t *testing.T) {
	store := startRegistry(t, dockerregistry.Options{})
	front := frontOf(t, store.Address)
	d := newDealer(t)
	r := newRig(t, func(server *site) { server.write("trust.toml", d.trusts()) })
	mail := r.stream()
	n := 0
	next := func() (a *artifact, word string) {
		n++
		a, word = newArtifact(fmt.Sprintf("1.0.%d", n)), fmt.Sprintf("word %d", n)
		a.code(artifactFile{text: helloVersion(a.version, word)})
		a.lieInRegistry(t, store, "plugins")
		d.deals(t, a, front.URL+"/plugins", &badInput{})
		return a, word
	}
	consent := rightsOf(t, newArtifact("1.0.0"))
	command := func() *exec.Cmd { return r.command("plugin", "install", "hello", "--accept", consent) }
	word, killed, installed := "", 0, 0
	try := func(name string, anew bool, kill func(cmd *exec.Cmd)) {
		a, now := next()
		if anew {
			r.want(0, "plugin", "remove", "hello")
			word = ""
		}
		cmd := command()
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill(cmd)
		cmd.Wait()
		front.Instead(nil)
		if cmd.ProcessState.ExitCode() < 0 {
			killed++
		}
		r.alive()
		for _, p := range r.whole().Plugins {
			if p.Version == a.version {
				installed++
			}
		}
		if err := r.status().Error; err != "" {
			t.Fatalf("%s: the server complains: %s", name, err)
		}
		if got := r.says(); got != word && got != now {
			t.Fatalf("%s: hello says %q, want %q or %q", name, got, word, now)
		}
		if again := runToEnd(t, command()); again.code != 0 {
			t.Fatalf("%s: the next install: exit code %d\n%s%s", name, again.code, again.out, again.err)
		}
		word = now
		eventually(t, name+": hello says "+word, func() (bool, any) { got := r.says(); return got == word, got }) // where all was written before, the server itself finds it
		if l := r.whole(); len(l.Plugins) != 1 || l.Plugins[0].Version != a.version {
			t.Fatalf("%s: the lock: %+v", name, l.Plugins)
		}
	}

	var requests atomic.Int64
	count := func(w http.ResponseWriter, _ *http.Request) bool { requests.Add(1); return false }
	var whole time.Duration
	try("not killed", false, func(cmd *exec.Cmd) {
		front.Instead(count)
		began := time.Now()
		cmd.Wait()
		whole = time.Since(began)
	})
	if killed != 0 || requests.Load() == 0 {
		t.Fatalf("%d requests, %d killed", requests.Load(), killed)
	}
	for at := range requests.Load() {
		try(fmt.Sprintf("at request %d", at+1), false, func(cmd *exec.Cmd) {
			var asked atomic.Int64
			front.Instead(func(_ http.ResponseWriter, _ *http.Request) bool {
				if asked.Add(1) == at+1 {
					cmd.Process.Kill()
				}
				return false
			})
			cmd.Wait()
		})
	}
	const moments = 40
	for i := range moments {
		after := whole * time.Duration(i) / moments * 5 / 4 // machines are not as fast every time
		try(fmt.Sprintf("after %s", after), i%2 == 0, func(cmd *exec.Cmd) {
			timer := time.AfterFunc(after, func() { cmd.Process.Kill() })
			cmd.Wait()
			timer.Stop()
		})
	}
	try("not killed either", false, func(cmd *exec.Cmd) { cmd.Wait() })
	if left := r.installed(); len(left) != 1 { // what a killed one left behind is taken away by the next change
		t.Errorf("there are %q", left)
	}
	t.Logf("of %d installs %d were killed, and %d had their plugin in the lock before they were run again", n, killed, installed)
	mail.end(r)
	r.end()
}

// TestCatalogTwoAtOnce installs several plugins at the same time, each by a command of its own, and one of them by three: one after the
// other gets its turn, all are there in the end, and who came too late is told.
func TestCatalogTwoAtOnce(t *testing.T) {
	s := newShop(t, "folder")
	ids := []string{"hello", "hello-b", "hello-c", "hello-d"}
	var consents []string
	for _, id := range ids {
		helloFolder(s.site, "1.0.0", "one", false)
		text := strings.ReplaceAll(s.read("hello/init.lua"), `"hello"`, fmt.Sprintf("%q", id))
		s.write(id+"/init.lua", strings.ReplaceAll(text, "X-Hello", "X-"+id))
		s.want(0, "catalog", "publish", "./"+id, "--no-tests", "--allow-warnings", "--index", "public/index.json", "--to", s.place, "--key", "catalog.key")
		pkg, err := catalog.PackPath(s.path(id))
		if err != nil {
			t.Fatal(err)
		}
		consents = append(consents, rights(t, pkg))
	}
	r := newRig(t, func(server *site) { server.write("trust.toml", s.trusts()) })
	mail := r.stream()
	var group sync.WaitGroup
	results := make([]result, len(ids)+2)
	for i := range results {
		of := i % len(ids)
		if i >= len(ids) {
			of = 0
		}
		group.Go(func() {
			results[i] = runToEnd(t, r.command("plugin", "install", ids[of], "--accept", consents[of]))
		})
	}
	group.Wait()
	done := map[string]int{}
	for i, out := range results {
		id := ids[0]
		if i < len(ids) {
			id = ids[i]
		}
		switch {
		case out.code == 0:
			done[id]++
		case id != ids[0] || out.code != exitTemporary || !strings.Contains(out.err, "another command changed what is installed meanwhile") || strings.Count(out.err, "\n") != 1:
			t.Errorf("%s: exit code %d\n%s%s", id, out.code, out.out, out.err)
		}
	}
	if len(done) != len(ids) {
		t.Errorf("done: %v", done)
	}
	if l := r.whole(); len(l.Plugins) != len(ids) {
		t.Errorf("the lock: %+v", l.Plugins)
	}
	config := r.read("stagepost.toml")
	for _, id := range ids {
		if strings.Count(config, fmt.Sprintf("%q", id)) != 1 {
			t.Errorf("%s in\n%s", id, config)
		}
	}
	eventually(t, "all plugins", func() (bool, any) {
		list := r.status().Plugins
		return len(list) == 2+len(ids), list
	})
	r.expect("one")
	mail.end(r)
	r.end()
}
