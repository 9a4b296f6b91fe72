package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/desk"
	"github.com/stagepost/stagepost/plugins/catalog/index"
	"github.com/stagepost/stagepost/plugins/catalog/trust"
)

// mirroring is one run of catalog mirror.
type mirroring struct {
	trust  *trust.Trust
	from   *trust.Index
	to     string // where packages are put
	file   string // of the index there
	local  bool   // they are put on a disk
	newest bool
	list   *index.Catalog
	place  *catalog.Place
	show   *transfer

	index           *index.Index
	data, signature []byte
	left            []string // why versions are left out
	copied, there   int
	bytes           int64
}

func (a *app) catalogMirrorCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "mirror TO [ID | ID@VERSION ...]", Short: "Copy a catalog, to be used where it cannot be reached", Args: cobra.MinimumNArgs(1),
		Long: "mirror copies the index that trust.toml names, its signature, and the packages: all of them, or those of the plugins and versions that\n" +
			"are named. TO is a folder, which gets the index as index.json and the packages in a folder packages; a file that ends in .tar, with\n" +
			"the packages, and the index beside it as a file that ends in .json; or a registry, with --index for where the index is written.\n\n" +
			"All is checked on the way as when it is installed: signatures, expiry, digests, and what the packages hold. What is there already is\n" +
			"not fetched again, so a copy that was cut short goes on where it was, and one from last week is brought up to date. The index is\n" +
			"written last. Nothing is ever taken away, since servers may have it locked. At the end, mirror prints the lines of trust.toml by which\n" +
			"the copy is used; the keys stay the same, so nobody has to trust whoever keeps it.",
		Example: "  stagepost catalog mirror /srv/mirror\n  stagepost catalog mirror mirror.tar --newest\n" +
			"  stagepost catalog mirror https://registry.example.net/plugins --index index.json"}
	m := &mirroring{}
	f := cmd.Flags()
	f.BoolVar(&m.newest, "newest", false, "of each plugin, the newest version alone")
	name := f.String("from", "", "the index, by its name in trust.toml, if that has several")
	file := f.String("trust", "", "the trust.toml (default: the one beside the configuration)")
	f.StringVar(&m.file, "index", "", "where the index is written (default: index.json in the folder, or beside the file)")
	limit := timeoutFlag(cmd, "6h")
	asJSON := jsonFlag(cmd, "one JSON object: what was copied, what was there, what was left out, the lines of trust.toml")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, cancel, most, err := limit(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		if m.trust, err = a.trusted(*file); err != nil {
			return err
		}
		if m.from, err = chosenIndex(m.trust, *name); err != nil {
			return err
		}
		if err := m.aim(args[0]); err != nil {
			return err
		}
		temp, err := os.MkdirTemp("", "stagepost-mirror-")
		if err != nil {
			return fail(codeOf(err, exitCantCreate), "%w", err)
		}
		defer os.RemoveAll(temp)
		m.show = newTransfer(cmd, !*asJSON, 0)
		defer m.show.clear()
		o := catalog.Options{Limit: most, Moved: m.show.moved}
		m.list = index.Open(m.trust, temp, o, a.now)
		if m.place, err = catalog.At(m.to, o); err != nil {
			return fail(exitUsage, "%w", err)
		}
		if m.place.ReadOnly() {
			return fail(exitUsage, "%s is a folder of a web server, which cannot be written to from here; name the folder that it serves", m.to)
		}
		if err := m.refresh(ctx); err != nil {
			return err
		}
		wanted, err := m.choose(args[1:])
		if err != nil {
			return err
		}
		if err := m.copy(ctx, wanted); err != nil {
			return err
		}
		if err := m.write(ctx); err != nil {
			return err
		}
		m.show.clear()
		return m.tell(cmd, outputOf(cmd), *asJSON)
	}
	return cmd
}

// trusted reads the trust.toml that is named, or that beside the configuration.
func (a *app) trusted(file string) (*trust.Trust, error) {
	if file == "" {
		c, err := a.file()
		if err != nil {
			return nil, fail(exitConfig, "%w\nor name the trust.toml itself with --trust", err)
		}
		file = trust.File(c)
	}
	return readTrust(file)
}

// chosenIndex is the index of a name, or the only one.
func chosenIndex(t *trust.Trust, name string) (*trust.Index, error) {
	var names []string
	for i := range t.Indexes {
		if t.Indexes[i].Name == name || name == "" && len(t.Indexes) == 1 {
			return &t.Indexes[i], nil
		}
		names = append(names, t.Indexes[i].Name)
	}
	switch {
	case len(names) == 0:
		return nil, fail(exitConfig, "%s names no index", t.File)
	case name == "":
		return nil, fail(exitUsage, "%s has several indexes; name one with --from: %s", t.File, strings.Join(names, ", "))
	}
	return nil, fail(exitUsage, "%s has no index %q; it has %s", t.File, name, strings.Join(names, ", "))
}

// aim finds where things are written.
func (m *mirroring) aim(to string) error {
	if to == "" { // as of a variable in a script that is not set
		return fail(exitUsage, "TO is empty; name a folder, a file that ends in .tar, or a registry")
	}
	m.to, m.local = to, !strings.Contains(to, "://")
	beside := ""
	switch {
	case !m.local:
	case strings.HasSuffix(to, ".tar"):
		beside = strings.TrimSuffix(to, ".tar") + ".json"
	default:
		m.to, beside = filepath.Join(to, "packages"), filepath.Join(to, "index.json")
	}
	if m.file == "" {
		m.file = beside
	}
	if m.file == "" {
		return fail(exitUsage, "an index cannot lie in a registry; say with --index where it is written")
	}
	for _, dir := range []string{m.to, m.file} {
		if dir == m.to && !m.local {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			return fail(codeOf(err, exitCantCreate), "%w", err)
		}
	}
	return nil
}

// refresh fetches and checks the index.
func (m *mirroring) refresh(ctx context.Context) error {
	err := m.list.RefreshOne(ctx, m.from.Name)
	if err == nil {
		m.index, m.data, m.signature, err = m.list.Text(m.from.Name)
	}
	if err != nil {
		return catalogFailure(ctx, err)
	}
	return m.newer()
}

// newer refuses an index that is older than the one which the copy has.
func (m *mirroring) newer() error {
	old, err := config.ReadFile(m.file, index.MaxBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var there *index.Index
	if err == nil {
		there, err = index.Decode(old)
	}
	switch {
	case err != nil:
		return fail(codeOf(err, exitData), "%s is there and no index: %w; name another file, or remove it", m.file, err)
	case there.Name != m.index.Name:
		return fail(exitData, "%s is a copy of the index %s, and not of %s", m.file, there.Name, m.index.Name)
	case there.Serial > m.index.Serial:
		return fail(exitData, "the index that is fetched has the serial %d, and the copy %s already %d: somebody may be replaying an old one", m.index.Serial, m.file, there.Serial)
	}
	return nil
}

// choose finds the versions that are copied.
func (m *mirroring) choose(args []string) (wanted []index.Found, err error) {
	asked := map[string]bool{} // ID or ID@VERSION, and whether it was found
	for _, arg := range args {
		asked[arg] = false
	}
	newest := ""
	for _, e := range m.index.Entries {
		exact := e.ID + "@" + e.Version
		_, byID := asked[e.ID]
		_, byVersion := asked[exact]
		if len(args) > 0 && !byID && !byVersion {
			continue
		}
		if byID {
			asked[e.ID] = true
		}
		if byVersion {
			asked[exact] = true
		}
		why := m.unfit(&e)
		version := e.Version
		if m.newest && !byVersion {
			if newest == e.ID {
				continue
			}
			newest, version, why = e.ID, "", m.unfit(&index.Entry{ID: e.ID})
		}
		var f index.Found
		if why == "" {
			f, err = m.list.Find(e.ID, version)
		}
		switch {
		case why != "" && byVersion:
			return nil, fail(exitData, "%s %s: %s", e.ID, e.Version, why)
		case why != "":
			m.left = append(m.left, fmt.Sprintf("%s %s: %s", e.ID, e.Version, why))
		case err != nil && m.newest && version == "" && len(args) == 0: // none of its versions can be installed
			m.left = append(m.left, err.Error())
		case err != nil:
			return nil, fail(exitData, "%w", err)
		case !slices.ContainsFunc(wanted, func(o index.Found) bool { return o.Entry.ID == e.ID && o.Entry.Version == f.Entry.Version }):
			wanted = append(wanted, f)
		}
	}
	for _, arg := range args {
		if !asked[arg] {
			return nil, fail(exitData, "the index %s has no %s", m.from.Name, arg)
		}
	}
	return wanted, nil
}

// unfit tells why a version is nothing for whoever trusts this index.
func (m *mirroring) unfit(e *index.Entry) string {
	owner, ok := m.trust.Owner(e.ID)
	switch {
	case !ok:
		return "no index has it in its namespaces"
	case owner.Name != m.from.Name:
		return "the id belongs to the index " + owner.Name
	case e.Version != "" && !catalog.Speaks(e.API):
		return fmt.Sprintf("it is for api %d, which this server does not speak", e.API)
	case e.Digest != "":
		return m.trust.Revoked("", e.Digest)
	}
	return ""
}

// copy brings packages to their place that are not there.
func (m *mirroring) copy(ctx context.Context, wanted []index.Found) error {
	m.show.expect(len(wanted))
	for _, f := range wanted {
		e := &f.Entry
		m.show.next(e.ID + " " + e.Version)
		if m.has(ctx, e) {
			m.there++
			continue
		}
		pkg, err := m.list.Get(ctx, f)
		if err == nil && ctx.Err() == nil {
			_, err = pkg.Manifest() // its code says what the package says
		}
		if err == nil {
			err = m.place.Put(ctx, pkg)
		}
		if err != nil {
			return fail(catalogCode(ctx, err), "%w\n%s of %s in the copy; go on with the same command", err, count(m.there+m.copied, "version"), count(len(wanted), "version"))
		}
		m.copied++
		m.bytes += pkg.Size()
	}
	return nil
}

// has tells whether a version is there whole. What lies on a disk is read; a registry has looked at it when it took it.
func (m *mirroring) has(ctx context.Context, e *index.Entry) bool {
	if m.local {
		_, err := m.place.Get(ctx, e.ID, e.Version, e.Digest)
		return err == nil
	}
	d, err := m.place.Digest(ctx, e.ID, e.Version)
	return err == nil && d == e.Digest
}

// write puts the index there, now that its packages are.
func (m *mirroring) write(ctx context.Context) error {
	return atIndex(ctx, m.file, func(d *desk.Desk) error {
		if err := m.newer(); err != nil { // another copy may have been made meanwhile
			return err
		}
		if m.signature != nil {
			if err := d.WriteData(m.file+index.SignatureSuffix, m.signature); err != nil {
				return err
			}
		}
		return d.WriteData(m.file, m.data)
	})
}

// mirrored is what JSON output says of a copy.
type mirrored struct {
	Index   string    `json:"index"`
	Serial  uint64    `json:"serial"`
	Expires time.Time `json:"expires"`
	File    string    `json:"file"`
	Place   string    `json:"place"`
	Copied  int       `json:"copied"`
	Bytes   int64     `json:"bytes"`
	There   int       `json:"there"`
	LeftOut []string  `json:"left_out"`
	Trust   string    `json:"trust"`
}

// lines are those of trust.toml by which the copy is used.
func (m *mirroring) lines() (string, error) {
	file, err := filepath.Abs(m.file)
	to := m.to
	if err == nil && m.local {
		to, err = filepath.Abs(m.to)
	}
	if err != nil {
		return "", fail(exitIO, "%w", err)
	}
	var keys []string
	for _, k := range m.from.Keys {
		keys = append(keys, k.String())
	}
	text := trustLines(m.from.Name, file, m.from.Namespaces, keys)
	if m.from.Unsigned {
		text += "unsigned = true\n"
	}
	return text + "mirror = " + quoted([]string{to}) + "\n", nil
}

// tell says what was copied.
func (m *mirroring) tell(cmd *cobra.Command, out output, asJSON bool) error {
	lines, err := m.lines()
	if err != nil {
		return err
	}
	if asJSON {
		return out.json(mirrored{m.from.Name, m.index.Serial, m.index.Expires, m.file, m.to, m.copied, m.bytes, m.there, append([]string{}, m.left...), lines})
	}
	for _, why := range m.left {
		cmd.PrintErrln(printable("left out: " + why))
	}
	out.printf("copied %s (%s); %d were there already; the index %s has the serial %d and may be used until %s\n\n", count(m.copied, "version"), size(m.bytes), m.there,
		printable(m.from.Name), m.index.Serial, m.index.Expires.Format("2006-01-02 15:04 MST"))
	out.printf("In trust.toml, the copy takes the place of the [[index]] of that name:\n\n%s", lines)
	return nil
}
