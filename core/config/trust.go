package config

import (
	_ "embed"
	"fmt"
	"path/filepath"
	"strings"
)

//go:embed trust.toml
var trustExample string

// TrustExample is a whole trust.toml with comments, ready to be adapted.
func TrustExample() string { return trustExample }

// TrustManual is the reference of trust.toml, in Markdown, as a section of a page.
func TrustManual() string {
	var b strings.Builder
	b.WriteString("## trust.toml\n\nThe file lies beside stagepost.toml, and is read as strictly: an unknown key or a wrong value is an error with its line.\n\n")
	indented(&b, trustExample)
	reference(&b, "###", document("", new(TrustFile).fields()))
	return b.String()
}

// TrustFile is one reading of trust.toml, which says whose plugins are taken. What keys and digests are is for who uses it to judge.
type TrustFile struct {
	File       string                  // the name given to ParseTrust
	Indexes    []TrustedIndex          // in the order of the file
	Namespaces map[string]TrustedNames // the [namespace.PATTERN] tables by PATTERN
	Revoked    Revoked

	lines *index
}

// TrustedIndex is one [[index]].
type TrustedIndex struct {
	Name       string
	Place      string   // URL, or absolute path
	Namespaces []string // patterns of plugins' ids
	Keys       []string
	Mirror     []string // URLs, or absolute paths
	Unsigned   bool
}

// TrustedNames is one [namespace.PATTERN].
type TrustedNames struct {
	Keys []string
}

// Revoked are the keys and packages that count for nothing.
type Revoked struct {
	Keys     []string
	Packages []string
}

func (t *TrustFile) fields() []field {
	return []field{
		{
			name: "index",
			doc: "A list of plugins, by somebody whom you trust to keep it. Several are asked in the order of the file: a plugin belongs to the first whose `namespaces` have its id, " +
				"and what other indexes say of it does not count.",
			to: repeated(&t.Indexes, (*TrustedIndex).fields),
		},
		{
			name: "namespace",
			doc:  "Whose signature packages must have whose ids PATTERN matches; of several patterns the longest counts. Ids that none matches need the signature of one of the index's `keys`.",
			to: namedBy(&t.Namespaces, `[%s."PATTERN"]`, idPattern, idPatternKind, func(n *TrustedNames) []field {
				return []field{keysField(&n.Keys, true, "", "The minisign public keys of who may sign these packages: one, or several while they are changed.")}
			}),
		},
		{
			name: "revoked", doc: "What counts for nothing from now on, whoever signed it and wherever it is listed.",
			to: section([]field{
				keysField(&t.Revoked.Keys, false, "none", "minisign public keys: nothing that they signed is taken any more, and what is installed with their signature is not loaded."),
				{
					name: "packages", example: `["sha256:efc3772e1f9dec0d41854ff4816fca7579704af82571829a4bec941f0f4d7820"]`, absent: "none",
					doc: "Digests of packages, which are neither installed nor loaded.",
					to:  list(&t.Revoked.Packages, 1000, "a list of digests", text),
				},
			}),
		},
	}
}

func (x *TrustedIndex) fields() []field {
	return []field{
		{
			name: "name", required: true, example: `"main"`,
			doc: "What the index is called, here and in itself.",
			to:  one(&x.Name, identifierKind, identifier),
		},
		{
			name: "place", required: true, example: `"https://plugins.example.org/index.json"`,
			doc: "Where the index is: an https:// URL, or the path of a file. Its signature is beside it, with .minisig after its name.",
			to:  one(&x.Place, "an https:// URL or a path", text),
		},
		{
			name: "namespaces", required: true, example: `["*"]`,
			doc: "The ids of plugins that are taken from this index: whole ones, and beginnings with a * after them.",
			to:  list(&x.Namespaces, 100, "a list of ids and beginnings of them", idPattern),
		},
		keysField(&x.Keys, false, "none; the index is unsigned", "The minisign public keys that may sign the index, and its packages where no [namespace] says otherwise: one, or several while they are changed."),
		{
			name: "mirror", example: `["/srv/mirror"]`, absent: "none",
			doc: "Places that are asked for packages before those that the index names: registries, folders, files.",
			to:  list(&x.Mirror, 10, "a list of places", text),
		},
		{
			name: "unsigned", value: "false",
			doc: "The index needs no signature, nor do its packages unless there are keys for them. Whoever can change it on its way here decides what you install.",
			to:  one(&x.Unsigned, "true or false", boolean),
		},
	}
}

func keysField(into *[]string, required bool, absent, doc string) field {
	return field{
		name: "keys", required: required, absent: absent, doc: doc,
		example: `["RWTeyPD2hd/10qNtfMbDnwNpXZGzb6IrlTfhYMAERBTulvq1PosBX9+d"]`,
		to:      list(into, 20, "a list of minisign public keys", text),
	}
}

const idPatternKind = "the id of a plugin, or the beginning of one with a * after it, or * alone"

func idPattern(v any) (string, error) {
	s, err := text(v)
	if err != nil || s == "*" {
		return s, err
	}
	if _, err := identifier(strings.TrimSuffix(s, "*")); err != nil {
		return "", fmt.Errorf("%q is no pattern of ids", shorten(s))
	}
	return s, nil
}

// ParseTrust reads a trust.toml from data. Messages call it name, and relative paths in it count from name's folder. The error, if any, is
// of type Errors.
func ParseTrust(name string, data []byte) (*TrustFile, error) {
	t := &TrustFile{File: name}
	d := decodeFile(name, data, t.fields())
	t.lines = d.lines
	names := newSeen(d, "two indexes are named %q; the first is on line %d")
	for i := range t.Indexes {
		x := &t.Indexes[i]
		names.add(x.Name, "index", Index(i), "name")
		for _, place := range append([]*string{&x.Place}, pointers(x.Mirror)...) {
			if *place != "" && !strings.Contains(*place, "://") && !filepath.IsAbs(*place) {
				*place = filepath.Join(filepath.Dir(name), *place)
			}
		}
	}
	if len(d.errs) > 0 {
		return nil, d.errors()
	}
	return t, nil
}

func pointers(list []string) []*string {
	out := make([]*string, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	return out
}

// Errorf makes an error about a key in the form that ParseTrust uses: "file:line: key: text".
func (t *TrustFile) Errorf(path []string, format string, args ...any) Error {
	return Error{File: t.File, Line: t.lines.line(path), Text: keyText(path) + fmt.Sprintf(format, args...)}
}

// Where gives the place of a key as "file:line".
func (t *TrustFile) Where(path ...string) string { return place(t.File, t.lines.line(path)) }

// Wrong makes one error of those that Errorf made, in the order of the file; nil of none.
func (t *TrustFile) Wrong(errs Errors) error {
	if len(errs) == 0 {
		return nil
	}
	d := &decoder{errs: errs}
	return d.errors()
}
