// Package lock keeps the record of what is installed, and the code of it.
//
// plugins.lock lies beside stagepost.toml and names, for each installed plugin, the digest of its package, who signed it, and what the
// operator accepted that it may do. The code lies under the data folder, in plugins/ID@DIGEST, and never changes there: another version
// is another folder. So the record is the one thing that changes, by one rename. A change unpacks what is new, then writes the record, and at
// its end takes away the folders that it no longer names; whenever a process is killed on the way, what the record names is there and whole.
// Changes come one after the other, in whatever processes.
//
// What is on the disk is not trusted. Whoever loads an installed plugin packs its folder again, and it must have the digest of the record:
// a byte that was changed is another plugin, which nobody accepted. Nothing is ever fetched to load a plugin.
package lock

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/manifest"
)

// Name is what the record is called.
const Name = "plugins.lock"

// Unsigned is the signer of a plugin that nobody signed.
const Unsigned = "unsigned"

// Bounds of the record.
const (
	maxPlugins      = 1_000
	maxCapabilities = 128 // bytes of the hash of what was accepted
)

// File is where the record of a configuration lies.
func File(configuration string) string { return filepath.Join(filepath.Dir(configuration), Name) }

// Lock is what is installed.
type Lock struct {
	Plugins []Plugin // by id
}

// Plugin is one installed plugin.
type Plugin struct {
	ID, Version  string
	Digest       digest.Digest  // of its package
	Index        string         // that listed it; "": it was installed from a place
	Place        string         // where it was read
	Signer       string         // minisign public key, or Unsigned
	Capabilities string         // the hash of what was accepted
	Needs        map[string]any // what was accepted of what it may do, as in its package

	accepted *capability.Needs
	pos      string
}

// Accepted is what the plugin may do.
func (p Plugin) Accepted() *capability.Needs { return p.accepted }

// Pos is where the plugin stands in the record, as "file:line".
func (p Plugin) Pos() string { return p.pos }

// String names the plugin for messages.
func (p Plugin) String() string { return p.ID + " " + p.Version }

// Plugin finds one by its id.
func (l *Lock) Plugin(id string) (Plugin, bool) {
	i, ok := slices.BinarySearchFunc(l.Plugins, id, byID)
	if !ok {
		return Plugin{}, false
	}
	return l.Plugins[i], true
}

func byID(p Plugin, id string) int { return strings.Compare(p.ID, id) }

// IDs are those of the installed plugins.
func (l *Lock) IDs() []string {
	ids := make([]string, len(l.Plugins))
	for i, p := range l.Plugins {
		ids[i] = p.ID
	}
	return ids
}

// Read reads a record; without a file nothing is installed. What is wrong in it are errors of type config.Errors.
func Read(file string) (*Lock, error) {
	data, err := config.ReadFile(file, config.MaxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if info, err := os.Lstat(file); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			return nil, fmt.Errorf("%s is a link that leads nowhere", file)
		}
		return &Lock{}, nil
	case err != nil:
		if named := (*fs.PathError)(nil); !errors.As(err, &named) {
			err = fmt.Errorf("%s %w", file, err)
		}
		return nil, fmt.Errorf("the record of installed plugins cannot be read: %w", err)
	}
	return Parse(file, data)
}

// Parse reads the text of a record. Messages call it name.
func Parse(name string, data []byte) (*Lock, error) {
	f, err := config.ParseLock(name, data)
	if err != nil {
		return nil, err
	}
	l, faults := &Lock{}, config.Errors{}
	fail := func(id, key, format string, args ...any) {
		faults = append(faults, f.Errorf([]string{"plugin", id, key}, format, args...))
	}
	if len(f.Plugins) > maxPlugins {
		return nil, f.Errorf(nil, "%d plugins are too many; the most is %d", len(f.Plugins), maxPlugins)
	}
	for _, id := range slices.Sorted(maps.Keys(f.Plugins)) {
		in := f.Plugins[id]
		p := Plugin{ID: id, Version: in.Version, Digest: digest.Digest(in.Digest), Index: in.Index, Place: in.Place, Signer: in.Signer, Capabilities: in.Capabilities, Needs: in.Needs}
		p.pos = place(f.Errorf([]string{"plugin", id}, ""))
		if p.Needs == nil {
			p.Needs = map[string]any{}
		}
		if err := (&catalog.Summary{ID: id, Version: p.Version, Engine: "lua"}).Check(); err != nil {
			fail(id, "version", "%v", err)
		}
		if p.Digest.Validate() != nil || p.Digest.Algorithm() != digest.SHA256 {
			fail(id, "digest", "%q is no digest; that is sha256: with 64 hexadecimal digits", shorten(in.Digest))
		}
		if p.Index == "" && p.Place == "" {
			fail(id, "index", "nothing says where it is from; write index or place")
		}
		if p.Signer != Unsigned && !isKey(p.Signer) {
			fail(id, "signer", "%q is no minisign public key, nor %q", shorten(p.Signer), Unsigned)
		}
		if len(p.Capabilities) > maxCapabilities {
			fail(id, "capabilities", "the hash is longer than %d bytes", maxCapabilities)
		}
		p.accepted, err = manifest.ReadNeeds("plugin."+id+".needs", p.Needs, func(key string) config.Error {
			return f.Errorf([]string{"plugin", id, "needs", key}, "")
		})
		var wrong config.Errors
		if errors.As(err, &wrong) {
			faults = append(faults, wrong...)
		}
		l.Plugins = append(l.Plugins, p)
	}
	if len(faults) > 0 {
		slices.SortStableFunc(faults, func(a, b config.Error) int { return a.Line - b.Line })
		return nil, faults
	}
	return l, nil
}

func place(e config.Error) string { return fmt.Sprintf("%s:%d", e.File, e.Line) }

// isKey tells what looks like a minisign public key: an algorithm, the number of the key, and the key. Whether it is one, those say who
// check signatures.
func isKey(text string) bool {
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	return err == nil && len(raw) == 42 && string(raw[:2]) == "Ed"
}

// header is what a record begins with.
const header = `# The plugins that are installed, and what of what they ask for was accepted. Written by stagepost; do not edit:
# stagepost plugin install, update and remove change it, and stagepost plugin verify holds it against what is there.
`

// Encode writes the record: the same plugins make the same text.
func (l *Lock) Encode() []byte {
	var b strings.Builder
	b.WriteString(header)
	for _, p := range l.Plugins {
		fmt.Fprintf(&b, "\n[plugin.%s]\n", p.ID)
		for _, k := range []struct{ key, value string }{
			{"version", p.Version}, {"digest", string(p.Digest)}, {"index", p.Index}, {"place", p.Place}, {"signer", p.Signer}, {"capabilities", p.Capabilities},
		} {
			if k.value != "" {
				fmt.Fprintf(&b, "%s = %s\n", k.key, config.Quote(k.value))
			}
		}
		for _, key := range slices.Sorted(maps.Keys(p.Needs)) {
			fmt.Fprintf(&b, "needs.%s = %s\n", key, value(p.Needs[key]))
		}
	}
	return []byte(b.String())
}

// value writes what stands in needs: true, a word, or a list of words.
func value(v any) string {
	var list []string
	switch v := v.(type) {
	case string:
		return config.Quote(v)
	case []string:
		for _, s := range v {
			list = append(list, config.Quote(s))
		}
	case []any:
		for _, s := range v {
			list = append(list, value(s))
		}
	default:
		return fmt.Sprint(v)
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// shorten bounds what a message quotes of the record.
func shorten(s string) string {
	if most := 80; len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}
