// Package index keeps lists of plugins: what there is, in which versions, by whom, and where the packages lie.
//
// An index is one file of JSON that any web server can host, with a minisign signature beside it (FILE.minisig), so it can be mirrored by
// anybody and changed by nobody. It says until when it may be used: without that, whoever stands in between could for ever show a list in
// which a plugin with a hole is the newest. It has a serial number, which never goes back: who has seen a later one takes no earlier one,
// nor another of the same number. Each entry has the digest of a package, so where it lies does not matter, and the signature of whoever
// published it, so that who keeps an index cannot pass off other code; see package trust for whose signature counts.
//
// The form of the file is fixed to the byte (Encode): what is read has to be what would be written. The first line is the head, and every
// other line but the last is one entry, so that the bounds of a file are known before anything of it is decoded, and two versions of it
// differ in the lines of what has changed.
//
// A Catalog is the indexes that an operator trusts, kept in a folder. Refresh brings them up to date; all else is done off line.
package index

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"

	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/trust"
)

// Bounds of an index.
const (
	MaxBytes = 16 << 20
	MaxLife  = 366 * 24 * time.Hour // from Issued to Expires

	maxEntries = 10_000
	maxLine    = 16 << 10
	maxPlaces  = 8
	maxPlace   = 512 // bytes
	maxText    = 1 << 10
	maxNeeds   = 256     // words
	maxSerial  = 1 << 53 // what every reader of JSON can hold
)

// SignatureSuffix is what the name of an index's signature ends in, after the name of the index.
const SignatureSuffix = ".minisig"

// Index is one list of plugins.
type Index struct {
	Name    string    `json:"name"`
	Serial  uint64    `json:"serial"` // raised with every change, from 1
	Issued  time.Time `json:"issued"` // times are in UTC, of whole seconds
	Expires time.Time `json:"expires"`
	Places  []string  `json:"places"` // where packages lie, relative to the index's own place, or URLs and absolute paths
	Entries []Entry   `json:"-"`      // by id and version
}

// Entry is one version of a plugin.
type Entry struct {
	ID          string         `json:"id"`
	Version     string         `json:"version"`
	API         int            `json:"api"`
	Digest      digest.Digest  `json:"digest"`
	Description string         `json:"description,omitempty"`
	Engine      string         `json:"engine"`
	Needs       map[string]any `json:"needs"`
	Issued      time.Time      `json:"issued"`
	Yanked      string         `json:"yanked,omitempty"`    // why it should not be installed any more
	Places      []string       `json:"places,omitempty"`    // where it lies, before those of the index
	Signature   string         `json:"signature,omitempty"` // of its Statement, as minisign writes it
}

// Statement is what the publisher of a version signs.
func (e *Entry) Statement() []byte {
	return fmt.Appendf(nil, "stagepost plugin %s %s %s\n", e.ID, e.Version, e.Digest)
}

// Summary is what the entry says of the package.
func (e *Entry) Summary() catalog.Summary {
	return catalog.Summary{ID: e.ID, Version: e.Version, API: e.API, Description: e.Description, Engine: e.Engine, Needs: e.Needs}
}

// head is the first line without its end.
type head Index

const (
	headEnd = `,"entries":[`
	lastEnd = `]}`
)

// Encode gives the file. Entries are sorted in it.
func (x *Index) Encode() []byte {
	var b bytes.Buffer
	h := head(*x)
	if h.Places == nil {
		h.Places = []string{}
	}
	b.Write(bytes.TrimSuffix(encode(h), []byte("}")))
	b.WriteString(headEnd)
	entries := slices.Clone(x.Entries)
	slices.SortStableFunc(entries, order)
	for i := range entries {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
		b.Write(encode(&entries[i]))
	}
	b.WriteString("\n" + lastEnd + "\n")
	return b.Bytes()
}

// order sorts entries by id, and versions from the oldest to the newest.
func order(a, b Entry) int {
	if c := strings.Compare(a.ID, b.ID); c != 0 {
		return c
	}
	return catalog.CompareVersions(a.Version, b.Version)
}

// encode writes what has been checked, or is made of values that can always be written.
func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("plugins/catalog/index: " + err.Error())
	}
	return text
}

// Decode reads the file that Encode writes, and no other. Whether it may be used, and by whom it is signed, it does not say.
func Decode(data []byte) (*Index, error) {
	x, err := decodeIndex(data)
	if err != nil {
		return nil, fmt.Errorf("it is no index: %w", err)
	}
	return x, nil
}

func decodeIndex(data []byte) (*Index, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("it has %d bytes; the most is %d", len(data), MaxBytes)
	}
	if n := bytes.Count(data, []byte("\n")) - 2; n > maxEntries {
		return nil, fmt.Errorf("it has %d entries; the most is %d", n, maxEntries)
	}
	lines := strings.SplitAfter(string(data), "\n")
	first, whole := strings.CutSuffix(lines[0], headEnd+"\n")
	if n := len(lines); !whole || n < 3 || lines[n-1] != "" || lines[n-2] != lastEnd+"\n" {
		return nil, errors.New(`it is cut, or not written the way indexes are: the first line is the head, up to "entries":[, then there is a line for each entry, and the last is ]}`)
	}
	x := &Index{}
	if err := strictly(first+"}", (*head)(x)); err != nil {
		return nil, fmt.Errorf("line 1: %w", err)
	}
	if err := x.checkHead(); err != nil {
		return nil, fmt.Errorf("line 1: %w", err)
	}
	entries := lines[1 : len(lines)-2]
	x.Entries = make([]Entry, len(entries))
	for i, line := range entries {
		line = strings.TrimSuffix(line, "\n")
		if i < len(entries)-1 {
			line = strings.TrimSuffix(line, ",")
		}
		e := &x.Entries[i]
		err := strictly(line, e)
		if err == nil {
			err = e.check()
		}
		if err == nil && i > 0 {
			switch c := order(x.Entries[i-1], *e); {
			case c == 0:
				err = fmt.Errorf("%s %s is there twice", e.ID, e.Version)
			case c > 0:
				err = fmt.Errorf("%s %s is not in its place; entries are sorted by id and version", e.ID, e.Version)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+2, err)
		}
	}
	if !bytes.Equal(x.Encode(), data) {
		return nil, errors.New("it is not written the way indexes are: order, spaces or forms of values differ")
	}
	return x, nil
}

// strictly decodes one line. Keys that are there twice show when what was read is written again.
func strictly(line string, into any) error {
	if len(line) > maxLine {
		return fmt.Errorf("it has %d bytes; the most of a line is %d", len(line), maxLine)
	}
	d := json.NewDecoder(strings.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return errors.New(plainJSON(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something comes after it")
	}
	return nil
}

// plainJSON is an error of the decoder, which quotes what strangers wrote, at no great length.
func plainJSON(err error) string {
	const most = 200
	s := strings.TrimPrefix(err.Error(), "json: ")
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f {
			return '?'
		}
		return r
	}, s)
	return s[:min(most, len(s))]
}

func (x *Index) checkHead() error {
	switch {
	case !validName(x.Name):
		return fmt.Errorf("%s cannot be the name of an index, which is up to 64 small letters, digits, - and _", shown(x.Name))
	case x.Serial == 0 || x.Serial > maxSerial:
		return fmt.Errorf("the serial %d is out of bounds; it is from 1 to %d", x.Serial, uint64(maxSerial))
	case !validTime(x.Issued) || !validTime(x.Expires):
		return errors.New("times are in UTC, of whole seconds, as 2026-01-02T15:04:05Z")
	case !x.Expires.After(x.Issued):
		return fmt.Errorf("it expires on %s, before it was issued", stamp(x.Expires))
	case x.Expires.Sub(x.Issued) > MaxLife:
		return fmt.Errorf("it expires on %s; that may be at most %d days after it was issued", stamp(x.Expires), MaxLife/(24*time.Hour))
	}
	return checkPlaces(x.Places)
}

func (e *Entry) check() error {
	s := e.Summary()
	if err := s.Check(); err != nil {
		return err
	}
	name := e.ID + " " + e.Version
	switch {
	case e.Digest.Validate() != nil || e.Digest.Algorithm() != digest.SHA256:
		return fmt.Errorf("%s: the digest %s is no sha256", name, shown(string(e.Digest)))
	case !validTime(e.Issued):
		return fmt.Errorf("%s: times are in UTC, of whole seconds, as 2026-01-02T15:04:05Z", name)
	case !validText(e.Description, maxText):
		return fmt.Errorf("%s: the description is no text of at most %d bytes", name, maxText)
	case !validText(e.Yanked, maxText):
		return fmt.Errorf("%s: the reason why it is yanked is no line of at most %d bytes", name, maxText)
	case e.Needs == nil:
		return fmt.Errorf("%s: it does not say what it needs", name)
	}
	if err := checkNeeds(e.Needs); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := checkPlaces(e.Places); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if e.Signature != "" {
		if err := trust.CheckSignature(e.Signature); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// checkNeeds: capabilities are words, with true, a word or a list of words. Which there are depends on the api.
func checkNeeds(needs map[string]any) error {
	n := 0
	word := func(v any) bool {
		s, ok := v.(string)
		n++
		return ok && s != "" && validText(s, maxText)
	}
	for name, v := range needs {
		ok := word(name)
		switch v := v.(type) {
		case bool:
			ok = ok && v
		case []any:
			for _, w := range v {
				ok = ok && word(w)
			}
			ok = ok && len(v) > 0
		default:
			ok = ok && word(v)
		}
		if !ok {
			return fmt.Errorf("what it needs of %s is neither true, nor a word, nor a list of words", shown(name))
		}
	}
	if n > maxNeeds {
		return fmt.Errorf("what it needs has %d words; the most is %d", n, maxNeeds)
	}
	return nil
}

func checkPlaces(places []string) error {
	if len(places) > maxPlaces {
		return fmt.Errorf("there are %d places; the most is %d", len(places), maxPlaces)
	}
	for _, p := range places {
		if len(p) > maxPlace {
			return fmt.Errorf("a place has %d bytes; the most is %d", len(p), maxPlace)
		}
		if _, err := catalog.Beside("index", p); err != nil {
			return err
		}
	}
	return nil
}

func validName(s string) bool {
	odd := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' }
	return s != "" && len(s) <= 64 && s[0] != '-' && s[0] != '_' && !strings.ContainsFunc(s, odd)
}

// validText tells text that may be shown: no line ends, nothing that moves a terminal's cursor or turns the order of letters.
func validText(s string, most int) bool {
	odd := func(r rune) bool {
		return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069'
	}
	return len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, odd)
}

// validTime tells times that are written in one way only.
func validTime(t time.Time) bool {
	return t.Location() == time.UTC && t.Nanosecond() == 0 && t.Year() >= 2000 && t.Year() < 10_000
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// shown is a stranger's word in a message: quoted, and not at any length.
func shown(s string) string {
	const most = 100
	if len(s) > most {
		s = s[:most] + "..."
	}
	return fmt.Sprintf("%q", s)
}
