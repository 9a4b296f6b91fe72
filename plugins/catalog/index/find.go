package index

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/trust"
)

// Unsigned is the SignerID of what is not signed and need not be.
const Unsigned = "unsigned"

// Found is one version of a plugin, in the index that its id belongs to.
type Found struct {
	Index    string
	Entry    Entry
	Signer   trust.Key // no key: it needs no signature
	SignerID string    // its ID, or Unsigned
	Places   []string  // where it may lie, in the order in which they are asked: URLs and absolute paths
	Others   []string  // indexes that list the id too and do not count
}

// Search finds plugins in which each of the words occurs: in the id, the description, the engine, or what it needs. Without words, it finds
// all. Of each plugin it gives the newest version that can be installed. The error tells of indexes and entries that cannot be used; what
// was found in others is there nevertheless.
func (c *Catalog) Search(words []string) ([]Found, error) {
	var all []Found
	var problems Problems
	for i := range c.trust.Indexes {
		owner := &c.trust.Indexes[i]
		x, err := c.load(owner)
		if err != nil {
			problems = append(problems, &Problem{Index: owner.Name, Err: err})
			continue
		}
		for from := 0; from < len(x.Entries); {
			to := from
			for to < len(x.Entries) && x.Entries[to].ID == x.Entries[from].ID {
				to++
			}
			versions := x.Entries[from:to]
			from = to
			if is, ok := c.trust.Owner(versions[0].ID); !ok || is != owner {
				continue
			}
			e, err := c.newest(versions)
			if err != nil || !e.has(words) {
				continue
			}
			f, err := c.found(owner, x, *e)
			if err != nil {
				problems = append(problems, &Problem{Index: owner.Name, Err: err})
				continue
			}
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b Found) int { return cmp.Compare(a.Entry.ID, b.Entry.ID) })
	return all, problems.orNil()
}

// has tells whether each of some words occurs in an entry.
func (e *Entry) has(words []string) bool {
	text := e.ID + "\n" + e.Description + "\n" + e.Engine
	for name := range e.Needs {
		text += "\n" + name
	}
	text = strings.ToLower(text)
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, strings.ToLower(w)) })
}

// newest chooses among the versions of a plugin.
func (c *Catalog) newest(versions []Entry) (*Entry, error) {
	byVersion, left, id := map[string]*Entry{}, []string{}, versions[0].ID
	why := ""
	for i := range versions {
		e := &versions[i]
		switch revoked := c.trust.Revoked("", e.Digest); {
		case revoked != "":
			why = fmt.Sprintf("%s %s cannot be installed: %s", id, e.Version, revoked)
		case e.Yanked != "":
			why = fmt.Sprintf("%s %s was yanked: %s", id, e.Version, e.Yanked)
		default:
			byVersion[e.Version], left = e, append(left, e.Version)
		}
	}
	if len(left) == 0 {
		return nil, fmt.Errorf("there is no version left: %s", why)
	}
	v, err := catalog.Newest(id, left, func(v string) (int, error) { return byVersion[v].API, nil })
	if err != nil {
		return nil, err
	}
	return byVersion[v], nil
}

// Find finds a version of a plugin in the index that its id belongs to. Without a version, it is the newest that was not yanked and is for
// an api that this server speaks. A version that is asked for is found also if it was yanked, which its entry says.
func (c *Catalog) Find(id, version string) (Found, error) {
	owner, ok := c.trust.Owner(id)
	if !ok {
		return Found{}, fmt.Errorf("%s belongs to no index: none in %s has it in its namespaces", shown(id), c.trust.File)
	}
	x, err := c.load(owner)
	if err != nil {
		return Found{}, fmt.Errorf("index %s: %w", owner.Name, err)
	}
	f, err := c.find(owner, x, id, version)
	if err != nil {
		return Found{}, fmt.Errorf("index %s: %w", owner.Name, err)
	}
	return f, nil
}

func (c *Catalog) find(owner *trust.Index, x *Index, id, version string) (Found, error) {
	versions := x.versions(id)
	if len(versions) == 0 {
		err := fmt.Errorf("there is no plugin %s", shown(id))
		if others := c.others(owner, id); others != nil {
			err = fmt.Errorf("%w in it. It is in the index %s, which does not count: in %s, the id belongs to %s", err, strings.Join(others, ", "), c.trust.File, owner.Name)
		}
		return Found{}, err
	}
	if version == "" {
		e, err := c.newest(versions)
		if err != nil {
			return Found{}, err
		}
		return c.found(owner, x, *e)
	}
	i := slices.IndexFunc(versions, func(e Entry) bool { return e.Version == version })
	if i < 0 {
		return Found{}, fmt.Errorf("there is no version %s of the plugin %s; there are %s", shown(version), id, listed(versions))
	}
	e := versions[i]
	if !catalog.Speaks(e.API) {
		_, err := catalog.Newest(id, []string{version}, func(string) (int, error) { return e.API, nil })
		return Found{}, err
	}
	return c.found(owner, x, e)
}

// versions are the entries of an id, from the oldest to the newest.
func (x *Index) versions(id string) []Entry {
	from, _ := slices.BinarySearchFunc(x.Entries, id, func(e Entry, id string) int { return cmp.Compare(e.ID, id) })
	to := from
	for to < len(x.Entries) && x.Entries[to].ID == id {
		to++
	}
	return x.Entries[from:to]
}

// listed names the newest versions in a message.
func listed(versions []Entry) string {
	const most = 5
	var names []string
	for i := len(versions) - 1; i >= 0 && len(names) < most; i-- {
		names = append(names, versions[i].Version)
	}
	if len(versions) > most {
		names = append(names, "older ones")
	}
	return strings.Join(names, ", ")
}

// others are the indexes that list an id and do not own it.
func (c *Catalog) others(owner *trust.Index, id string) (names []string) {
	for i := range c.trust.Indexes {
		other := &c.trust.Indexes[i]
		if other == owner {
			continue
		}
		if x, err := c.load(other); err == nil && len(x.versions(id)) > 0 {
			names = append(names, other.Name)
		}
	}
	return names
}

// found checks who signed an entry, and says where the package lies.
func (c *Catalog) found(owner *trust.Index, x *Index, e Entry) (Found, error) {
	name := e.ID + " " + e.Version
	if why := c.trust.Revoked("", e.Digest); why != "" {
		return Found{}, fmt.Errorf("%s: %s", name, why)
	}
	key, err := c.trust.VerifyPackage(e.ID, e.Statement(), []byte(e.Signature))
	if err != nil {
		return Found{}, fmt.Errorf("%s: %w", name, err)
	}
	f := Found{Index: owner.Name, Entry: e, Signer: key, SignerID: cmp.Or(key.ID(), Unsigned), Others: c.others(owner, e.ID)}
	f.Places = slices.Clone(owner.Mirror)
	for _, p := range append(slices.Clip(e.Places), x.Places...) {
		where, err := catalog.Beside(owner.Place, p)
		if err == nil && catalog.Local(where) && !catalog.Local(owner.Place) {
			err = fmt.Errorf("the place %s is on this machine, and the index is not", shown(where))
		}
		if err != nil {
			return Found{}, fmt.Errorf("%s: %w", name, err)
		}
		if !slices.Contains(f.Places, where) {
			f.Places = append(f.Places, where)
		}
	}
	if len(f.Places) == 0 {
		return Found{}, fmt.Errorf("%s: the index does not say where it lies", name)
	}
	return f, nil
}

// Get reads a package: from the mirrors, then from where the index says that it is. What it gives has the digest of the entry, and is what
// the entry says.
func (c *Catalog) Get(ctx context.Context, f Found) (*catalog.Package, error) {
	e := &f.Entry
	var errs []error
	for _, where := range f.Places {
		at, err := catalog.At(where, c.o)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		p, err := at.Get(ctx, e.ID, e.Version, e.Digest)
		if err == nil {
			err = e.like(p)
		}
		if err == nil {
			return p, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	if len(errs) == 1 {
		return nil, errs[0]
	}
	return nil, fmt.Errorf("%s %s could not be got from any of %d places: %w", e.ID, e.Version, len(f.Places), several(errs))
}

// like tells whether the entry says of the package what the package says.
func (e *Entry) like(p *catalog.Package) error {
	said, is := e.Summary(), p.Summary
	if string(encode(said)) != string(encode(is)) {
		return fmt.Errorf("the index says of %s %s what the package does not say", e.ID, e.Version)
	}
	return nil
}

// several are errors in one line.
type several []error

func (s several) Error() string {
	lines := make([]string, len(s))
	for i := range s {
		lines[i] = s[i].Error()
	}
	return strings.Join(lines, "; ")
}

func (s several) Unwrap() []error { return s }
