package consent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/manifest"
)

// Diff is what one package has other than another one.
type Diff struct {
	Old      *Sheet   `json:"old"`
	New      *Sheet   `json:"new"`
	More     []string `json:"more"` // what the new one asks for beyond the old one: Widened
	Less     []string `json:"less"` // and the other way round
	Needs    []Change `json:"needs"`
	Hooks    []Change `json:"hooks"`
	Settings []Change `json:"settings"`
	Files    []File   `json:"files"`
}

// Change is one thing that differs; "" is where it is not there.
type Change struct {
	Name string `json:"name"`
	Old  string `json:"old,omitempty"`
	New  string `json:"new,omitempty"`
}

// File is one file that differs.
type File struct {
	Name string `json:"name"`
	Old  *Blob  `json:"old,omitempty"` // nil: it is not there
	New  *Blob  `json:"new,omitempty"`
	// Text is a unified diff of what is text, as it is: nothing in it was made clean. "" for other files.
	Text string `json:"text,omitempty"`
}

// Blob is the content of a file.
type Blob struct {
	Size   int           `json:"size"`
	Digest digest.Digest `json:"digest"`
}

// Compare tells in what two packages differ. They need not be versions of one plugin.
func Compare(a, b *catalog.Package) (*Diff, error) {
	d := &Diff{Files: []File{}}
	var old, now *manifest.Manifest
	for _, side := range []struct {
		p     *catalog.Package
		sheet **Sheet
		m     **manifest.Manifest
	}{{a, &d.Old, &old}, {b, &d.New, &now}} {
		var err error
		if *side.sheet, err = Of(side.p); err != nil {
			return nil, err
		}
		if *side.m, err = side.p.Manifest(); err != nil {
			return nil, err
		}
	}
	none := []string{} // and not null
	d.More, d.Less = append(none, Widened(d.Old, d.New)...), append(none, Widened(d.New, d.Old)...)
	d.Needs = changed(needLines(old), needLines(now))
	d.Hooks = changed(d.Old.hookLines(old), d.New.hookLines(now))
	d.Settings = changed(settingLines(old), settingLines(now))
	names := maps.Clone(a.Files)
	maps.Copy(names, b.Files)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		before, was := a.Files[name]
		after, is := b.Files[name]
		if was && is && bytes.Equal(before, after) {
			continue
		}
		f := File{Name: name, Old: blobOf(before, was), New: blobOf(after, is)}
		if isText(before) && isText(after) {
			f.Text = unified(string(before), string(after))
		}
		d.Files = append(d.Files, f)
	}
	return d, nil
}

func blobOf(data []byte, there bool) *Blob {
	if !there {
		return nil
	}
	return &Blob{len(data), digest.FromBytes(data)}
}

func isText(data []byte) bool { return utf8.Valid(data) && !bytes.ContainsRune(data, 0) }

// changed compares lines by name.
func changed(old, now map[string]string) []Change {
	names := maps.Clone(old)
	maps.Copy(names, now)
	out := []Change{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if old[name] != now[name] {
			out = append(out, Change{name, old[name], now[name]})
		}
	}
	return out
}

// needLines has what is asked for, by capability.
func needLines(m *manifest.Manifest) map[string]string {
	lists := map[string][]string{}
	for _, need := range manifest.Words(m.Needs) {
		name, value, _ := strings.Cut(need, " ")
		lists[name] = append(lists[name], value)
	}
	lines := map[string]string{}
	for name, list := range lists {
		if lines[name] = strings.Join(sorted(list), ", "); lines[name] == "" {
			lines[name] = "true"
		}
	}
	return lines
}

// hookLines has all that is declared of the hooks that there are, by stage.
func (s *Sheet) hookLines(m *manifest.Manifest) map[string]string {
	lines := map[string]string{}
	for i := range s.Hooks {
		h := &s.Hooks[i]
		spec, ok := m.Hooks[h.stage]
		if !ok {
			spec = manifest.DefaultHook()
		}
		parts := []string{"order " + fmt.Sprint(spec.Order), "timeout " + h.Timeout, "on_error " + h.OnError}
		for _, list := range []struct {
			name  string
			items []string
		}{{"answers", h.Answers}, {"role", h.Roles}, {"listener", h.Listeners}, {"after", spec.After}, {"before", spec.Before}, {"reads", spec.Reads}, {"sets", spec.Sets}} {
			if len(list.items) > 0 {
				parts = append(parts, list.name+" "+strings.Join(list.items, " "))
			}
		}
		if h.User != nil {
			parts = append(parts, fmt.Sprintf("user %t", *h.User))
		}
		if h.Background {
			parts = append(parts, "background")
		}
		if h.Every != "" {
			parts = append(parts, "every "+h.Every)
		}
		lines[h.Stage] = strings.Join(parts, ", ")
	}
	return lines
}

// settingLines has the settings by name. A default is shown as far as it can be, with a digest of the rest.
func settingLines(m *manifest.Manifest) map[string]string {
	lines := map[string]string{}
	for i := range m.Config {
		c := &m.Config[i]
		line := string(c.Type)
		if c.Required {
			line += ", required"
		}
		if c.Default != nil {
			line += ", default " + defaultText(c)
		}
		if c.Doc != "" {
			line += ": " + whole(c.Doc)
		}
		lines[c.Name] = line
	}
	return lines
}

func defaultText(c *manifest.Setting) string {
	if n, ok := c.Default.(int64); ok && c.Type == manifest.Size {
		return config.FormatSize(n)
	}
	text, err := json.Marshal(c.Default)
	if err != nil {
		text = fmt.Append(nil, c.Default) // a number that JSON has not
	}
	if c.Type == manifest.Duration {
		return string(text) + "s"
	}
	return whole(string(text))
}

// whole is text made clean; where that leaves something out, with the digest of it all, so that no change goes unseen.
func whole(text string) string {
	short := Clean(text, maxDoc)
	if short == text {
		return short
	}
	return short + " (" + digest.FromString(text).Encoded()[:12] + ")"
}
