package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/index"
	"github.com/stagepost/stagepost/plugins/catalog/trust"
	"github.com/stagepost/stagepost/plugins/wasm/asm"
)

// publisher is a site with a key, and plugins that can be published.
type publisher struct {
	*site
	key *index.Secret
}

func newPublisher(t *testing.T) *publisher {
	t.Helper()
	p := &publisher{site: newSite(t, minimal)}
	t.Setenv("SOURCE_DATE_EPOCH", "")
	t.Setenv(passphraseVariable, "")
	p.key = p.newKey("catalog.key")
	p.plugin("vip", "1.0.0", "")
	return p
}

// newKey writes a key without a passphrase: to encrypt one takes a second and a gigabyte.
func (p *publisher) newKey(name string) *index.Secret {
	p.t.Helper()
	key, err := index.Generate()
	if err != nil {
		p.t.Fatal(err)
	}
	text, err := key.Text("")
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(name, string(text))
	return key
}

// plugin writes a plugin without anything to be said against it; more is code.
func (p *publisher) plugin(id, version, more string) {
	p.t.Helper()
	p.write("mine/"+id+"/plugin.toml", "id = \""+id+"\"\nversion = \""+version+"\"\ndescription = \"refuses one mailbox\"\n")
	p.write("mine/"+id+"/init.lua", "function on.rcpt(r)\n  if r.address.mailbox == \"nobody\" then return reject \"nobody reads this mailbox\" end\nend\n"+more)
	p.write("mine/"+id+"/README.md", "# "+id+"\n")
	p.write("mine/"+id+"/tests/first.transcript", "given rcpt accept local *@example.org\nconnect 192.0.2.1\nsend a@a.example to nobody@example.org\nS: 550 5.7.1 nobody reads this mailbox\n")
}

func (p *publisher) path(name string) string { return filepath.Join(p.dir, filepath.FromSlash(name)) }

// publish runs the command in a catalog "site" with the key of the site.
func (p *publisher) publish(args ...string) result {
	p.t.Helper()
	all := []string{"catalog", "publish", "--index", p.path("site/index.json"), "--key", p.path("catalog.key")}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		all = append(all, "--to", p.path("site/packages"))
	}
	for _, arg := range args {
		if !strings.HasPrefix(arg, "-") && !strings.Contains(arg, "@") && !strings.Contains(arg, "/") && exists(os.DirFS(p.path("mine")), arg) {
			arg = p.path("mine/" + arg)
		}
		all = append(all, arg)
	}
	return p.runInput("", all...)
}

// index reads the index, whose signature has to be one of the keys.
func (p *publisher) index(keys ...*index.Secret) *index.Index {
	p.t.Helper()
	var public []trust.Key
	for _, k := range keys {
		public = append(public, k.Key())
	}
	of, err := trusting(public)
	if err != nil {
		p.t.Fatal(err)
	}
	data, err := os.ReadFile(p.path("site/index.json"))
	if err != nil {
		p.t.Fatal(err)
	}
	signature, err := os.ReadFile(p.path("site/index.json.minisig"))
	if err == nil {
		_, err = of.VerifyIndex(&of.Indexes[0], data, signature)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	x, err := index.Decode(data)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, e := range x.Entries {
		if _, err := of.VerifyPackage(e.ID, e.Statement(), []byte(e.Signature)); err != nil {
			p.t.Errorf("%s: %v", e.ID, err)
		}
	}
	return x
}

// files are those below a folder, but for what keeps writers apart.
func (p *publisher) files(dir string) map[string]string {
	p.t.Helper()
	all := map[string]string{}
	err := fs.WalkDir(os.DirFS(p.path(dir)), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(filepath.Base(name), ".") {
			return err
		}
		data, err := os.ReadFile(p.path(dir + "/" + name))
		all[name] = string(data)
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return all
}

func TestCatalogPublish(t *testing.T) {
	p := newPublisher(t)
	p.want(p.publish("vip"), 0, "vip 1.0.0  sha256:", "site/index.json is new, and signed with the key "+p.key.Key().ID()+": serial 1, 1 version, to be used until 2026-05-30 12:00 UTC")
	x := p.index(p.key)
	if x.Serial != 1 || x.Name != "main" || !x.Issued.Equal(noon) || !slices.Equal(x.Places, []string{"packages/"}) || len(x.Entries) != 1 || x.Entries[0].Places != nil {
		t.Fatalf("%+v", x)
	}
	place, err := catalog.At(p.path("site/packages"), catalog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := place.Get(t.Context(), "vip", "1.0.0", x.Entries[0].Digest); err != nil {
		t.Error(err)
	}

	before := p.files("site")
	p.want(p.publish("vip"), 0, "nothing is new", "serial 1, 1 version")
	if !maps.Equal(before, p.files("site")) {
		t.Error("something was written all the same")
	}
	r := p.publish("vip", "--json")
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	var line indexLine
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &line); err != nil || len(lines) != 2 || line.Changed || line.Serial != 1 || line.Versions != 1 || line.Key != p.key.Key().String() {
		t.Errorf("%v %s%s", err, r.out, r.err)
	}

	p.write("mine/vip/README.md", "# vip\n\nMore.\n")
	p.want(p.publish("vip"), exitData, "vip 1.0.0 is in the index with other content", "a version never changes")
	if !maps.Equal(before, p.files("site")) {
		t.Error("something was written all the same")
	}
	p.plugin("vip", "1.1.0", "")
	p.plugin("other", "0.1.0-rc.1", "")
	p.want(p.publish("vip", "other"), 0, "vip 1.1.0  sha256:", "other 0.1.0-rc.1  sha256:", "serial 2, 3 versions")
	p.want(p.publish("vip", "--to", p.path("elsewhere"), "--place", "https://plugins.example.org/p/"), 0, "serial 3")
	x = p.index(p.key)
	if len(x.Entries) != 3 || !slices.Equal(x.Entries[2].Places, []string{"https://plugins.example.org/p/"}) {
		t.Errorf("%+v", x.Entries)
	}
	if err := os.RemoveAll(p.path("site/packages")); err != nil { // the packages are there again, and the index is the same
		t.Fatal(err)
	}
	p.want(p.publish("other"), 0, "nothing is new")
	if _, err := place.Get(t.Context(), "other", "0.1.0-rc.1", x.Entries[0].Digest); err != nil {
		t.Error(err)
	}
}

// Whatever is wrong with one plugin, nothing is published of any.
func TestCatalogPublishRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		file, text string // of the plugin "bad"
		args       []string
		code       int
		want       []string
	}{
		"does not load":        {"init.lua", "function on.dta(m) end\n", nil, exitConfig, []string{"mine/bad/init.lua:1: error: unknown stage \"dta\"", "bad is not published: 1 error, 0 warnings"}},
		"is no plugin":         {"plugin.toml", "id = 5\n", nil, exitData, []string{"mine/bad/plugin.toml:1"}},
		"has a warning":        {"plugin.toml", "id = \"bad\"\nversion = \"1.0.0\"\n", nil, exitFailed, []string{"it has no description", "--allow-warnings"}},
		"a warning is allowed": {"plugin.toml", "id = \"bad\"\nversion = \"1.0.0\"\n", []string{"--allow-warnings"}, 0, []string{"bad 1.0.0"}},
		"an error never is":    {"init.lua", "function on.dta(m) end\n", []string{"--allow-warnings", "--no-tests"}, exitConfig, []string{"unknown stage"}},
		"has no version":       {"plugin.toml", "id = \"bad\"\ndescription = \"x\"\n", []string{"--allow-warnings"}, exitData, []string{"bad has no version"}},
		"has another name":     {"plugin.toml", "id = \"good\"\nversion = \"1.0.0\"\ndescription = \"x\"\n", nil, exitData, []string{"calls itself \"good\""}},
		"a test fails":         {"tests/first.transcript", "connect 192.0.2.1\nS: 250 …\n", nil, exitFailed, []string{"failed  ", "wanted  250", "bad is not published: 1 of 1 case failed"}},
		"a test is no test":    {"tests/first.transcript", "conect\n", nil, exitConfig, []string{"unknown line \"conect\""}},
		"a test fails, however it is said that there are none": {"tests/first.transcript", "connect 192.0.2.1\nS: 250 …\n", []string{"--no-tests"}, exitFailed, []string{"1 of 1 case failed"}},
		"has no tests":               {"tests/first.transcript", "", nil, exitFailed, []string{"tests/first.transcript:1: warning: there is no such file"}},
		"warnings allowed, no tests": {"tests/first.transcript", "", []string{"--allow-warnings"}, exitFailed, []string{"has no tests", "--no-tests"}},
		"no tests are needed":        {"tests/first.transcript", "", []string{"--no-tests"}, 0, []string{"bad 1.0.0"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPublisher(t)
			p.plugin("bad", "1.0.0", "")
			if tc.text == "" {
				if err := os.Remove(p.path("mine/bad/" + tc.file)); err != nil {
					t.Fatal(err)
				}
			} else {
				p.write("mine/bad/"+tc.file, tc.text)
			}
			p.want(p.publish(append([]string{"vip", "bad"}, tc.args...)...), tc.code, tc.want...)
			if _, err := os.Stat(p.path("site")); tc.code != 0 && !os.IsNotExist(err) {
				t.Errorf("something was written: %v", err)
			}
		})
	}
}

func TestCatalogPublishArguments(t *testing.T) {
	p := newPublisher(t)
	vip := p.path("mine/vip")
	p.newKey("another.key")
	p.write("no.key", "hello\n")
	p.want(p.publish("vip"), 0)
	site, key := p.path("site/index.json"), p.path("catalog.key")
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no index":                     {[]string{vip, "--to", "x", "--key", key}, exitUsage, "--index is missing"},
		"no key":                       {[]string{vip, "--to", "x", "--index", site}, exitUsage, "--key is missing"},
		"no place":                     {[]string{vip, "--index", site, "--key", key}, exitUsage, "--to is missing"},
		"a place for nothing":          {[]string{"--index", site, "--key", key, "--to", "x"}, exitUsage, "none is named"},
		"a place beside":               {[]string{vip, "--index", site, "--key", key, "--to", p.path("packages")}, exitUsage, "say with --place"},
		"the folder of the index":      {[]string{vip, "--index", site, "--key", key, "--to", p.path("site")}, exitUsage, "both would have a file index.json"},
		"a folder of a web server":     {[]string{vip, "--index", site, "--key", key, "--to", "https://plugins.example.org/x/"}, exitUsage, "cannot be written to from here"},
		"a registry in clear":          {[]string{vip, "--index", site, "--key", key, "--to", "http://plugins.example.org/x"}, exitUsage, "http:// is for registries on this machine only"},
		"a time that is none":          {[]string{vip, "--index", site, "--key", key, "--to", "x", "--place", "x/", "--expires", "soon"}, exitUsage, "--expires"},
		"a time that is over":          {[]string{vip, "--index", site, "--key", key, "--to", "x", "--place", "x/", "--expires", "0s"}, exitUsage, "--expires"},
		"another name":                 {[]string{"--index", site, "--key", key, "--name", "other"}, exitUsage, "an index keeps its name"},
		"for ever":                     {[]string{"--index", site, "--key", key, "--expires", "4000d"}, exitData, "366 days"},
		"a timeout that is none":       {[]string{"--index", site, "--key", key, "--timeout", "0s"}, exitUsage, "--timeout"},
		"yank without a reason":        {[]string{"--index", site, "--key", key, "--yank", "vip@1.0.0"}, exitUsage, "ID@VERSION=REASON"},
		"yank without a version":       {[]string{"--index", site, "--key", key, "--yank", "vip=bad"}, exitUsage, "ID@VERSION=REASON"},
		"yank what is not there":       {[]string{"--index", site, "--key", key, "--yank", "vip@9.0.0=bad"}, exitData, "there is no vip 9.0.0 in the index"},
		"unyank what is not there":     {[]string{"--index", site, "--key", key, "--unyank", "vip@9.0.0"}, exitData, "there is no vip 9.0.0 in the index"},
		"unyank what is no version":    {[]string{"--index", site, "--key", key, "--unyank", "vip"}, exitUsage, "ID@VERSION"},
		"a key that is not there":      {[]string{"--index", site, "--key", p.path("none.key")}, exitNoInput, "make one with: stagepost catalog keygen"},
		"a key that is none":           {[]string{"--index", site, "--key", p.path("no.key")}, exitData, "it is no secret key of minisign"},
		"another key":                  {[]string{"--index", site, "--key", p.path("another.key")}, exitData, "name the one before with --former"},
		"a former key that is none":    {[]string{"--index", site, "--key", key, "--former", "RWx"}, exitUsage, "is no public key"},
		"an index that is not there":   {[]string{"--index", p.path("none.json"), "--key", key}, exitNoInput, "there is no index"},
		"a plugin that is not there":   {[]string{p.path("mine/none"), "--index", site, "--key", key, "--to", p.path("site/packages")}, exitNoInput, "mine/none"},
		"a passphrase that is nowhere": {[]string{"--index", site, "--key", key, "--passphrase-file", p.path("none")}, 0, "serial 2"}, // the key needs none
	} {
		t.Run(name, func(t *testing.T) {
			p.want(p.runInput("", append([]string{"catalog", "publish"}, tc.args...)...), tc.code, tc.want)
		})
	}
}

func TestCatalogRenewYankRotate(t *testing.T) {
	p := newPublisher(t)
	p.plugin("other", "1.0.0", "")
	p.want(p.publish("vip", "other"), 0)

	later := noon.Add(80 * 24 * time.Hour)
	p.app.now = func() time.Time { return later }
	p.want(p.publish("--expires", "30d"), 0, "serial 2, 2 versions, to be used until 2026-06-19 12:00 UTC")
	p.want(p.publish("--yank", "vip@1.0.0=forgets its clients"), 0, "serial 3")
	if x := p.index(p.key); x.Entries[1].Yanked != "forgets its clients" || !x.Entries[1].Issued.Equal(noon) || !x.Issued.Equal(later) {
		t.Errorf("%+v", x)
	}
	p.want(p.publish("vip", "--yank", "vip@1.0.0=forgets its clients"), 0, "nothing is new") // publishing again does not lift it
	p.want(p.publish("--unyank", "vip@1.0.0"), 0, "serial 4")
	if x := p.index(p.key); x.Entries[1].Yanked != "" {
		t.Errorf("%+v", x)
	}

	// Another key signs the index and what the former one signed; a package of somebody else's stays his.
	theirs := p.newKey("theirs.key")
	x := p.index(p.key)
	x.Entries[0].Sign(theirs)
	if err := x.Renew(later, time.Hour); err != nil {
		t.Fatal(err)
	}
	data, signature, err := x.Signed(p.key)
	if err != nil {
		t.Fatal(err)
	}
	p.write("site/index.json", string(data))
	p.write("site/index.json.minisig", string(signature))
	next := p.newKey("next.key")
	p.write("catalog.pub", "untrusted comment: minisign public key\n"+p.key.Key().String()+"\n")
	rotate := func(former string) result {
		return p.runInput("", "catalog", "publish", "--index", p.path("site/index.json"), "--key", p.path("next.key"), "--former", former)
	}
	p.want(rotate(p.path("catalog.pub")), 0, "signed with the key "+next.Key().ID(), "serial 6")
	p.index(next, theirs)
	p.want(rotate(p.key.Key().String()), 0, "serial 7") // renews only
	p.want(p.publish("vip"), exitData, "it is signed with the key "+next.Key().ID())

	p.app.now = func() time.Time { return noon }
	p.want(p.runInput("", "catalog", "publish", "--index", p.path("site/index.json"), "--key", p.path("next.key")), exitData, "the clock of this machine")
}

// What somebody else wrote into the index, or into its signature, is never signed.
func TestCatalogPublishTampered(t *testing.T) {
	for name, change := range map[string]func(p *publisher){
		"another index": func(p *publisher) {
			p.write("site/index.json", strings.Replace(p.files("site")["index.json"], "refuses one", "refuses any", 1))
		},
		"no index":         func(p *publisher) { os.Remove(p.path("site/index.json")) },
		"no signature":     func(p *publisher) { os.Remove(p.path("site/index.json.minisig")) },
		"half a signature": func(p *publisher) { p.write("site/index.json.minisig", p.files("site")["index.json.minisig"][:90]) },
		"an unfinished index of somebody else's": func(p *publisher) {
			p.write("site/index.json.next", strings.Replace(p.files("site")["index.json"], "refuses one", "refuses any", 1))
			p.write("site/index.json", "{}")
		},
		"a giant": func(p *publisher) { p.write("site/index.json", strings.Repeat(" ", index.MaxBytes+1)) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPublisher(t)
			p.want(p.publish("vip"), 0)
			change(p)
			before := p.files("site")
			p.plugin("vip", "2.0.0", "")
			p.want(p.publish("vip"), exitData, "index.json")
			if !maps.Equal(before, p.files("site")) {
				t.Error("something was written")
			}
		})
	}
}

// A writing that was cut short is finished, or begun again: at each moment there is an index that the same command goes on from.
func TestCatalogPublishGoesOn(t *testing.T) {
	p := newPublisher(t)
	p.want(p.publish("vip"), 0)
	before := p.files("site")
	p.plugin("vip", "2.0.0", "")
	p.want(p.publish("vip"), 0, "serial 2")
	after := p.files("site")
	for name, there := range map[string]map[string]string{
		"the packages are there":             {"index.json": before["index.json"], "index.json.minisig": before["index.json.minisig"]},
		"and the next index":                 {"index.json": before["index.json"], "index.json.minisig": before["index.json.minisig"], "index.json.next": after["index.json"]},
		"and the signature":                  {"index.json": before["index.json"], "index.json.minisig": after["index.json.minisig"], "index.json.next": after["index.json"]},
		"all but that the leftover is there": {"index.json": after["index.json"], "index.json.minisig": after["index.json.minisig"], "index.json.next": after["index.json"]},
	} {
		for file, text := range there {
			p.write("site/"+file, text)
		}
		p.want(p.publish("vip"), 0, "serial 2, 2 versions")
		if !maps.Equal(p.files("site"), after) {
			t.Errorf("%s: it did not come to the same", name)
		}
	}
	if len(before) == 0 || before["index.json"] == after["index.json"] {
		t.Error("the two are the same")
	}
}

// The same plugins, key and time make the same catalog, byte for byte, in whatever order.
func TestCatalogPublishReproducible(t *testing.T) {
	p := newPublisher(t)
	p.plugin("other", "1.0.0", "")
	t.Setenv("SOURCE_DATE_EPOCH", "1770000000")
	p.want(p.publish("vip", "other"), 0, "to be used until 2026-05-03")
	first := p.files("site")
	if err := os.RemoveAll(p.path("site")); err != nil {
		t.Fatal(err)
	}
	p.app.now = func() time.Time { return noon.Add(time.Hour) }
	p.want(p.publish("other", "vip"), 0)
	if !maps.Equal(first, p.files("site")) {
		t.Error("it is not the same")
	}
	t.Setenv("SOURCE_DATE_EPOCH", "99999999999")
	p.want(p.publish("vip"), exitUsage, "SOURCE_DATE_EPOCH")
}

// A plugin that has the build script of an SDK is compiled; what the script says is shown when it fails.
func TestCatalogPublishCompiles(t *testing.T) {
	p := newPublisher(t)
	code, err := asm.Assemble("memory 2\nexport func stagepost_abi -> i32\ni32.const 0\nexport func stagepost_alloc i32 -> i32\ni32.const 65536\n" +
		"export func stagepost_load i32 i32 -> i32\ni32.const 0\nexport func stagepost_hook i32 -> i64\ni64.const 0\n")
	if err != nil {
		t.Fatal(err)
	}
	p.write("mine/w/plugin.toml", "id = \"w\"\nversion = \"1.0.0\"\ndescription = \"x\"\n[hook.rcpt]\n")
	p.write("mine/w/README.md", "# w\n")
	p.write("mine/w/tests/first.transcript", "connect 192.0.2.9\nS: 220 …\n")
	p.write("mine/w/source.bin", string(code))
	p.write("mine/w/stagepost/build.sh", "cd \"$1\" && cp source.bin plugin.wasm\n")
	p.want(p.publish("w"), 0, "w 1.0.0  sha256:")
	pkg, err := catalog.PackPath(p.path("mine/w"))
	if err != nil || !bytes.Equal(pkg.Files["plugin.wasm"], code) || len(pkg.Files) != 4 || p.index(p.key).Entries[0].Digest != pkg.Digest {
		t.Errorf("%v", err)
	}
	p.write("mine/w/stagepost/build.sh", "echo line 7 is wrong >&2; exit 1\n")
	p.want(p.publish("w"), exitData, "mine/w does not compile", "line 7 is wrong")
}
