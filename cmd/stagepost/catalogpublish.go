package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/plugins/bundled"
	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/desk"
	"github.com/stagepost/stagepost/plugins/catalog/index"
	"github.com/stagepost/stagepost/plugins/catalog/trust"
)

// publishing is one run of catalog publish.
type publishing struct {
	file     string // of the index
	name     string // of a new one
	named    bool   // it was said
	to       string // where packages are put
	places   []string
	key      *index.Secret
	former   []trust.Key
	life     time.Duration
	yank     []named // with reasons
	unyank   []named
	now      time.Time
	packages []*catalog.Package
}

// named is one version of a plugin, and what is said of it.
type named struct{ id, version, reason string }

func (a *app) catalogPublishCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "publish [PLUGIN ...]", Short: "Put plugins into a catalog, or renew it",
		Long: "publish takes plugins, named as for plugin test, and does all of it or nothing: it compiles those that have the build script of an SDK,\n" +
			"looks at them as plugin lint does and runs their tests, packs them, puts the packages into the place that --to names, signs them, and\n" +
			"writes their entries into the index, which is signed and written last, in one step. What is there already is left as it is. A version\n" +
			"never changes: one that is there with other content is an error.\n\n" +
			"The place is a registry (https://registry.example.org/plugins; docker login keeps its credentials), a folder, or a file that ends in\n" +
			".tar. A folder beside the index or below it is entered by its relative path, so that a web server that hosts both is a catalog. Where\n" +
			"clients find the packages elsewhere, --place says so.\n\n" +
			"An index expires, so that nobody can show an old one for ever. Without a plugin, publish renews it: new serial, new time, new\n" +
			"signature. Do that by a timer. With another key, and the one before as --former, it signs the index and its packages anew.\n\n" + aboutPassphrase,
		Example: "  stagepost catalog publish plugins/greylist --index site/index.json --to site/packages --key catalog.key\n" +
			"  stagepost catalog publish --index site/index.json --key catalog.key --passphrase-file passphrase\n" +
			"  stagepost catalog publish --index site/index.json --key catalog.key --yank 'greylist@1.2.0=forgets its waiting clients'"}
	p := &publishing{}
	f := cmd.Flags()
	f.StringVar(&p.file, "index", "", "the index, as index.json; made if there is none; its signature lies beside it")
	f.StringVar(&p.name, "name", "main", "the name of a new index")
	f.StringVar(&p.to, "to", "", "where packages are put: a registry, a folder, or a file that ends in .tar")
	f.StringArrayVar(&p.places, "place", nil, "where clients find them, if that is not --to: a URL, or a path from the index; may be repeated")
	keyFile := f.String("key", "", "the secret key, as catalog keygen or minisign writes it")
	former := f.StringArray("former", nil, "a public key, or its file, by which the index is signed so far; may be repeated")
	expires := f.String("expires", "90d", "how long the index may be used")
	yank := f.StringArray("yank", nil, "ID@VERSION=REASON: the version should not be installed any more; may be repeated")
	unyank := f.StringArray("unyank", nil, "ID@VERSION: it may be installed again; may be repeated")
	o := packing{}
	f.BoolVar(&o.allowWarnings, "allow-warnings", false, "publish in spite of warnings of plugin lint")
	f.BoolVar(&o.noTests, "no-tests", false, "publish also what has no tests")
	withBundled := f.Bool("bundled", false, "publish also all plugins that came with the program")
	passphraseFile := passphraseFlag(cmd)
	limit := timeoutFlag(cmd, "1h")
	asJSON := jsonFlag(cmd, "JSON Lines: one object a plugin, then one of the index")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		ctx, cancel, most, err := limit(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		if *withBundled {
			args = append(args, bundled.Names()...)
		}
		p.named = f.Changed("name")
		if err := p.prepare(args, *keyFile, *expires, *yank, *unyank); err != nil {
			return err
		}
		if p.now, err = a.publishTime(); err != nil {
			return err
		}
		if p.former, err = publicKeys(*former); err != nil {
			return err
		}
		if p.key, err = loadSecret(cmd, *keyFile, *passphraseFile); err != nil {
			return err
		}
		o.out, o.quiet = outputOf(cmd), *asJSON
		for _, arg := range args {
			pkg, err := a.pack(ctx, arg, o)
			if err != nil {
				return err
			}
			p.packages = append(p.packages, pkg)
		}
		was, err := p.look()
		if err != nil {
			return err
		}
		if _, _, err := p.next(was); err != nil { // before anything is put anywhere
			return err
		}
		if err := p.put(ctx, cmd, most, *asJSON); err != nil {
			return err
		}
		return p.write(ctx, o.out, *asJSON)
	}
	return cmd
}

// prepare checks what was said, as far as it can be without reading anything.
func (p *publishing) prepare(args []string, keyFile, expires string, yank, unyank []string) (err error) {
	switch {
	case p.file == "":
		return fail(exitUsage, "--index is missing: the file of the index, as index.json")
	case keyFile == "":
		return fail(exitUsage, "--key is missing: the file of the secret key, which catalog keygen makes")
	case len(args) > 0 && p.to == "":
		return fail(exitUsage, "--to is missing: the place where packages are put")
	case len(args) == 0 && (p.to != "" || len(p.places) > 0):
		return fail(exitUsage, "--to and --place are for plugins, and none is named")
	}
	if p.life, err = config.ParseDuration(expires); err != nil || p.life <= 0 {
		return fail(exitUsage, "--expires: %q is no time; write it as 90d", expires)
	}
	for _, text := range yank {
		what, reason, ok := strings.Cut(text, "=")
		n, err := namedVersion(what)
		if n.reason = strings.TrimSpace(reason); err != nil || !ok || n.reason == "" {
			return fail(exitUsage, "--yank takes ID@VERSION=REASON, and not %q", text)
		}
		p.yank = append(p.yank, n)
	}
	for _, text := range unyank {
		n, err := namedVersion(text)
		if err != nil {
			return fail(exitUsage, "--unyank takes ID@VERSION, and not %q", text)
		}
		p.unyank = append(p.unyank, n)
	}
	if p.to != "" && len(p.places) == 0 {
		place, err := p.told()
		if err != nil {
			return err
		}
		p.places = []string{place}
	}
	return nil
}

func namedVersion(text string) (named, error) {
	id, version, ok := strings.Cut(text, "@")
	if !ok || id == "" || version == "" {
		return named{}, errors.New("no ID@VERSION")
	}
	return named{id: id, version: version}, nil
}

// told is what the index says of the place where packages are put: a URL, or a path from the folder of the index.
func (p *publishing) told() (string, error) {
	if strings.Contains(p.to, "://") {
		return p.to, nil
	}
	dir, err := filepath.Abs(filepath.Dir(p.file))
	to, err2 := filepath.Abs(p.to)
	if err = errors.Join(err, err2); err != nil {
		return "", fail(exitNoInput, "%w", err)
	}
	rel, err := filepath.Rel(dir, to)
	switch {
	case err != nil || !filepath.IsLocal(rel):
		return "", fail(exitUsage, "%s does not lie in the folder of %s, so clients could not find it from there; put it there, or say with --place where they do", p.to, p.file)
	case rel == ".":
		return "", fail(exitUsage, "%s is the folder of %s itself, and both would have a file index.json; put packages into a folder there, as %s", p.to, p.file, filepath.Join(p.to, "packages"))
	case strings.HasSuffix(rel, ".tar"):
		return filepath.ToSlash(rel), nil
	}
	return filepath.ToSlash(rel) + "/", nil
}

// publishTime is when something is published: now, or when SOURCE_DATE_EPOCH says, by which the same plugins and key make the same index.
func (a *app) publishTime() (time.Time, error) {
	now, text := a.now(), os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return now, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	at := time.Unix(n, 0)
	if err != nil || at.After(now) {
		return now, fail(exitUsage, "SOURCE_DATE_EPOCH is %q, and has to be the seconds from 1970 to a time that is past", text)
	}
	return at, nil
}

// state is an index as it is there.
type state struct {
	index  *index.Index // nil: there is none
	data   []byte
	signer trust.Key
}

// look reads the index that is there.
func (p *publishing) look() (*state, error) {
	data, err := config.ReadFile(p.file, index.MaxBytes)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = nil, nil
	}
	if err != nil {
		return nil, fail(codeOf(err, exitNoInput), "the index cannot be read: %w", err)
	}
	return p.read(data)
}

// read checks an index that is there, and its signature: what somebody else wrote is not signed. A writing that was cut short between the
// signature and the index is taken for done.
func (p *publishing) read(data []byte) (*state, error) {
	signature, err := config.ReadFile(p.file+index.SignatureSuffix, 4<<10)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fail(codeOf(err, exitNoInput), "the signature of the index cannot be read: %w", err)
	}
	s := &state{}
	if data == nil && signature == nil {
		return s, nil
	}
	trusted, err := trusting(append([]trust.Key{p.key.Key()}, p.former...))
	if err != nil {
		return nil, err
	}
	s.data = data
	s.signer, err = trusted.VerifyIndex(&trusted.Indexes[0], data, signature)
	if err != nil {
		if next, unread := config.ReadFile(p.unfinished(), index.MaxBytes); unread == nil {
			if signer, bad := trusted.VerifyIndex(&trusted.Indexes[0], next, signature); bad == nil {
				s.data, s.signer, err = next, signer, nil
			}
		}
	}
	if err != nil {
		return nil, fail(exitData, "%s: %w; if the key is being changed, name the one before with --former", p.file, err)
	}
	if s.index, err = index.Decode(s.data); err != nil {
		return nil, fail(exitData, "%s: %w", p.file, err)
	}
	return s, nil
}

// unfinished is where the next index lies until its signature is there.
func (p *publishing) unfinished() string { return p.file + ".next" }

// trusting is a trust.toml with some keys.
func trusting(keys []trust.Key) (*trust.Trust, error) {
	var texts []string
	for _, k := range keys {
		if s := k.String(); !slices.Contains(texts, s) {
			texts = append(texts, s)
		}
	}
	return trust.Parse("trust.toml", []byte(trustLines("here", "index.json", []string{"*"}, texts)))
}

// next is the index with what is published; changed tells whether that is another one than it was.
func (p *publishing) next(was *state) (x *index.Index, changed bool, err error) {
	x = &index.Index{Name: p.name, Places: p.places}
	if was.index != nil {
		if x, err = index.Decode(was.data); err != nil {
			return nil, false, fail(exitData, "%s: %w", p.file, err)
		}
		if p.named && x.Name != p.name {
			return nil, false, fail(exitUsage, "%s is the index %s, and an index keeps its name, by which its users know it; --name is for a new one", p.file, x.Name)
		}
	} else if len(p.packages) == 0 {
		return nil, false, fail(exitNoInput, "there is no index %s to be renewed; name plugins to begin one", p.file)
	}
	before := x.Encode()
	for _, pkg := range p.packages {
		places := p.places
		if slices.Equal(places, x.Places) {
			places = nil
		}
		if err := x.Add(pkg, places, p.key, p.now); err != nil {
			return nil, false, &failure{exitData, err}
		}
	}
	for _, n := range p.yank {
		if err := x.Yank(n.id, n.version, n.reason); err != nil {
			return nil, false, &failure{exitData, err}
		}
	}
	for _, n := range p.unyank {
		i := slices.IndexFunc(x.Entries, func(e index.Entry) bool { return e.ID == n.id && e.Version == n.version })
		if i < 0 {
			return nil, false, fail(exitData, "there is no %s %s in the index", n.id, n.version)
		}
		x.Entries[i].Yanked = ""
	}
	if err := p.signAnew(x); err != nil {
		return nil, false, err
	}
	changed = was.index == nil || was.signer != p.key.Key() || !bytes.Equal(before, x.Encode()) || len(p.packages)+len(p.yank)+len(p.unyank) == 0
	if !changed {
		return x, false, nil
	}
	if err := x.Renew(p.now, p.life); err != nil {
		return nil, false, &failure{exitData, err}
	}
	return x, true, nil
}

// signAnew signs the entries that a former key signed.
func (p *publishing) signAnew(x *index.Index) error {
	if len(p.former) == 0 {
		return nil
	}
	old, err := trusting(p.former)
	if err != nil {
		return err
	}
	for i := range x.Entries {
		e := &x.Entries[i]
		if _, err := old.VerifyPackage(e.ID, e.Statement(), []byte(e.Signature)); err == nil {
			e.Sign(p.key)
		}
	}
	return nil
}

// published is what JSON output says of a plugin.
type published struct {
	ID      string `json:"id"`
	Version string `json:"version"`
	Digest  string `json:"digest"`
	Place   string `json:"place"`
}

// put puts the packages where clients will find them. Nobody sees them there yet.
func (p *publishing) put(ctx context.Context, cmd *cobra.Command, most time.Duration, asJSON bool) error {
	if len(p.packages) == 0 {
		return nil
	}
	b := newTransfer(cmd, !asJSON, len(p.packages))
	defer b.clear()
	place, err := catalog.At(p.to, catalog.Options{Limit: most, Moved: b.moved})
	switch {
	case err != nil:
		return fail(exitUsage, "%w", err)
	case place.ReadOnly():
		return fail(exitUsage, "%s is a folder of a web server, which cannot be written to from here; name the folder that it serves, and the URL with --place", p.to)
	}
	if !strings.Contains(p.to, "://") {
		if err := os.MkdirAll(filepath.Dir(p.to), 0o755); err != nil {
			return fail(codeOf(err, exitCantCreate), "%w", err)
		}
	}
	for _, pkg := range p.packages {
		b.next(pkg.Summary.ID + " " + pkg.Summary.Version)
		if err := place.Put(ctx, pkg); err != nil {
			return catalogFailure(ctx, err)
		}
	}
	return nil
}

// indexLine is what JSON output says of the index.
type indexLine struct {
	Index    string    `json:"index"`
	Serial   uint64    `json:"serial"`
	Expires  time.Time `json:"expires"`
	Versions int       `json:"versions"`
	Changed  bool      `json:"changed"`
	New      bool      `json:"new"`
	Key      string    `json:"key"`
}

// write signs the index and puts it and its signature in the place of those before, and says what came of it.
func (p *publishing) write(ctx context.Context, out output, asJSON bool) error {
	var x *index.Index
	line := indexLine{Index: p.file, Key: p.key.Key().String()}
	if err := os.MkdirAll(filepath.Dir(p.file), 0o755); err != nil {
		return fail(codeOf(err, exitCantCreate), "%w", err)
	}
	if err := p.writing(ctx, func(d *desk.Desk, old []byte) error {
		was, err := p.read(old)
		if err != nil {
			return err
		}
		if x, line.Changed, err = p.next(was); err != nil {
			return err
		}
		line.New = was.index == nil
		data, signature := was.data, []byte(nil)
		if line.Changed {
			if data, signature, err = x.Signed(p.key); err != nil {
				return &failure{exitData, err}
			}
			if err := d.WriteData(p.unfinished(), data); err != nil {
				return err
			}
			if err := d.WriteData(p.file+index.SignatureSuffix, signature); err != nil {
				return err
			}
		}
		if !bytes.Equal(data, old) {
			if err := d.WriteData(p.file, data); err != nil {
				return err
			}
		}
		if err := d.Remove(p.unfinished()); err != nil {
			return err
		}
		return d.Sync(d.Dir)
	}); err != nil {
		return err
	}
	line.Serial, line.Expires, line.Versions = x.Serial, x.Expires, len(x.Entries)
	return p.tell(out, line, asJSON)
}

// writing is what one writer at a time does to the index; it is told what is there.
func (p *publishing) writing(ctx context.Context, do func(d *desk.Desk, old []byte) error) error {
	return atIndex(ctx, p.file, func(d *desk.Desk) error {
		old, err := config.ReadFile(p.file, index.MaxBytes)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return do(d, old)
	})
}

// atIndex keeps other writers from an index meanwhile.
func atIndex(ctx context.Context, file string, do func(d *desk.Desk) error) error {
	d, err := desk.Take(ctx, filepath.Dir(file), filepath.Base(file), desk.Options{})
	if err == nil {
		err = do(d)
		d.Leave()
	}
	if f := (*failure)(nil); err == nil || errors.As(err, &f) {
		return err
	}
	return catalogFailure(ctx, fmt.Errorf("the index cannot be written: %w", err))
}

// tell says what was published.
func (p *publishing) tell(out output, line indexLine, asJSON bool) error {
	if asJSON {
		for _, pkg := range p.packages {
			if err := out.json(published{pkg.Summary.ID, pkg.Summary.Version, string(pkg.Digest), p.to}); err != nil {
				return err
			}
		}
		return out.json(line)
	}
	until := fmt.Sprintf("serial %d, %s, to be used until %s", line.Serial, count(line.Versions, "version"), line.Expires.Format("2006-01-02 15:04 MST"))
	if !line.Changed {
		out.printf("nothing is new: %s has all of it (%s)\n", printable(p.file), until)
		return nil
	}
	for _, pkg := range p.packages {
		out.printf("%s %s  %s\n", pkg.Summary.ID, pkg.Summary.Version, pkg.Digest)
	}
	verb := "is signed"
	if line.New {
		verb = "is new, and signed"
	}
	out.printf("%s %s with the key %s: %s\n", printable(p.file), verb, p.key.Key().ID(), until)
	return nil
}
