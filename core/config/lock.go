package config

import "fmt"

// InstalledFolder is the folder below the data folder in which the code of installed plugins lies.
const InstalledFolder = "plugins"

// LockFile is one reading of plugins.lock, which says what was installed. What digests, keys and needs are is for who uses it to judge.
type LockFile struct {
	File    string                  // the name given to ParseLock
	Plugins map[string]LockedPlugin // the [plugin.ID] tables by ID

	lines *index
}

// LockedPlugin is one [plugin.ID] of a LockFile.
type LockedPlugin struct {
	Version      string
	Digest       string
	Index        string
	Place        string
	Signer       string
	Capabilities string
	Needs        map[string]any
}

func (l *LockFile) fields() []field {
	return []field{{name: "plugin", doc: "The plugins that are installed.", to: named(&l.Plugins, (*LockedPlugin).fields)}}
}

func (p *LockedPlugin) fields() []field {
	return []field{
		{
			name: "version", required: true, example: `"1.0.0"`,
			doc: "The version that is installed.",
			to:  one(&p.Version, "a version", text),
		},
		{
			name: "digest", required: true, example: `"sha256:0263829989b6fd954f72baaf2fc64bc2e2f01d692d4de72986ea808f6e99813f"`,
			doc: "The digest of its package, which names every byte of it.",
			to:  one(&p.Digest, "a digest", text),
		},
		{
			name: "index", example: `"main"`, absent: "it was installed from a place, without an index",
			doc: "The index that listed it.",
			to:  one(&p.Index, identifierKind, identifier),
		},
		{
			name: "place", example: `"https://plugins.example.org/"`, absent: "one of those that the index names",
			doc: "The place it was read from.",
			to:  one(&p.Place, "a registry, folder or file", text),
		},
		{
			name: "signer", required: true, example: `"RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"`,
			doc: "The minisign public key of who signed it, or `\"unsigned\"`.",
			to:  one(&p.Signer, `a minisign public key, or "unsigned"`, text),
		},
		{
			name: "capabilities", required: true, example: `"sha256:0263829989b6fd954f72baaf2fc64bc2e2f01d692d4de72986ea808f6e99813f"`,
			doc: "The hash of what was accepted.",
			to:  one(&p.Capabilities, "a hash", text),
		},
		{
			name: "needs", absent: "it needs nothing", example: "{ dns = true }",
			doc: "What was accepted of what it may do, as in the manifest of a plugin.",
			to:  freeTable(&p.Needs),
		},
	}
}

// ParseLock reads a plugins.lock from data. Messages call it name. The error, if any, is of type Errors.
func ParseLock(name string, data []byte) (*LockFile, error) {
	l := &LockFile{File: name}
	d := decodeFile(name, data, l.fields())
	if len(d.errs) > 0 {
		return nil, d.errors()
	}
	l.lines = d.lines
	return l, nil
}

// Errorf makes an error about a key in the form that ParseLock uses: "file:line: key: text".
func (l *LockFile) Errorf(path []string, format string, args ...any) Error {
	return Error{File: l.File, Line: l.lines.line(path), Text: keyText(path) + fmt.Sprintf(format, args...)}
}
