package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/consent"
	"github.com/stagepost/stagepost/plugins/catalog/index"
	"github.com/stagepost/stagepost/plugins/catalog/lock"
	"github.com/stagepost/stagepost/plugins/generation"
	"github.com/stagepost/stagepost/plugins/service"
)

// market is a site with an index of plugins beside it, whose packages lie in a folder.
type market struct {
	*site
	key  *index.Secret
	list *index.Index
	hash map[string]string // ID@VERSION -> what --accept takes
}

func newMarket(t *testing.T, config string) *market {
	t.Helper()
	key, err := index.Generate()
	if err != nil {
		t.Fatal(err)
	}
	m := &market{site: newSite(t, config), key: key, list: &index.Index{Name: "main", Places: []string{"packages/"}}, hash: map[string]string{}}
	m.write("trust.toml", m.trusting("main", "index.json", key))
	m.renew(0)
	return m
}

// trusting is an [[index]] of trust.toml.
func (m *market) trusting(name, place string, key *index.Secret, more ...string) string {
	return fmt.Sprintf("[[index]]\nname = %q\nplace = %q\nnamespaces = [\"*\"]\nkeys = [%q]\n%s\n", name, place, key.Key(), strings.Join(more, "\n"))
}

// renew writes the index anew, as it would be done some time after noon.
func (m *market) renew(later time.Duration) {
	m.t.Helper()
	err := m.list.Renew(noon.Add(later), 24*time.Hour)
	var data, signature []byte
	if err == nil {
		data, signature, err = m.list.Signed(m.key)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.write("index.json", string(data))
	m.write("index.json"+index.SignatureSuffix, string(signature))
}

// pack makes a package of a plugin in Lua: what stands in its manifest besides name and version, and its code.
func (m *market) pack(id, version, says, code string) *catalog.Package {
	m.t.Helper()
	text := fmt.Sprintf("plugin { id = %q, version = %q, api = 0, %s }\n%s\n", id, version, says, code)
	p, err := catalog.Pack(id, map[string][]byte{"init.lua": []byte(text), "README.md": []byte("# " + id + "\n")})
	if err != nil {
		m.t.Fatal(err)
	}
	sheet, err := consent.Of(p)
	if err != nil {
		m.t.Fatal(err)
	}
	m.hash[id+"@"+version] = sheet.Hash()
	return p
}

// put puts a package into a folder.
func (m *market) put(p *catalog.Package, folder string) {
	m.t.Helper()
	at, err := catalog.At(filepath.Join(m.dir, folder), catalog.Options{})
	if err == nil {
		if err = os.MkdirAll(filepath.Join(m.dir, folder), 0o755); err == nil {
			err = at.Put(m.t.Context(), p)
		}
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// publish puts a plugin into the index.
func (m *market) publish(id, version, says, code string) *catalog.Package {
	m.t.Helper()
	p := m.pack(id, version, says, code)
	m.put(p, "packages")
	if err := m.list.Add(p, nil, m.key, noon); err != nil {
		m.t.Fatal(err)
	}
	m.renew(0)
	return p
}

// Plugins of the tests: a careful one, one that asks for more, and one that needs a setting.
const (
	modest  = `description = "strangers must try twice", needs = { kv = "own" }`
	curious = `description = "strangers must try twice", needs = { kv = "own", dns = true }`
	strict  = `description = "only friends", config = { friends = { type = "list", required = true, doc = "who" } }`
	deferer = "function on.rcpt(r) return defer{ text = \"later\" } end"
)

// running is a server of the site's files that commands ask, with the plugins that those name.
func (m *market) running() *generation.Manager {
	m.t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	g, err := generation.New(generation.Options{File: m.config, Host: service.NewHost(service.Options{Log: quiet}), Log: quiet, Console: io.Discard})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(g.Close)
	m.serve(func(o *admin.Options) {
		o.Reload = func(ctx context.Context) admin.ReloadResult {
			c := g.Reload(ctx)
			return admin.ReloadResult{Generation: c.Number, Changed: c.Changed, Err: c.Err, Took: c.Took}
		}
		o.Plugins = func() []admin.Plugin { return pluginsOf(g.Status().Plugins) }
	})
	return g
}

// kept has what must be the same where nothing was installed: the configuration, the lock, and the code.
func (m *market) kept() string {
	m.t.Helper()
	var b strings.Builder
	for _, name := range []string{"stagepost.toml", lock.Name} {
		text, err := os.ReadFile(filepath.Join(m.dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			m.t.Fatal(err)
		}
		if l, err := lock.Parse(name, text); err == nil && len(l.Plugins) == 0 { // without plugins it says nothing
			text = nil
		}
		fmt.Fprintf(&b, "%s: %q\n", name, text)
	}
	entries, err := os.ReadDir(lock.Folder(filepath.Join(m.dir, "data")))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		m.t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") || strings.Contains(e.Name(), "unfinished") {
			fmt.Fprintln(&b, e.Name())
		}
	}
	return b.String()
}
