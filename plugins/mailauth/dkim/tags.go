package dkim

import (
	"bytes"
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

// Tag is one tag=value.
type Tag struct {
	Name  string
	Value string // without the white space around it; folding inside is still there

	start, end int // the value in the text, with the white space around it
}

// Tags is a list of them, as it stands in signatures and key records (RFC 6376 section 3.2).
type Tags []Tag

// maxTags bounds a list; the longest that there is a use for has about fifteen.
const maxTags = 64

// ParseTags reads a tag list. Lines may be folded. A name that stands twice, or anything that is no tag, makes all of it void. Names are
// compared in their case.
func ParseTags(text string) (Tags, error) {
	var list Tags
	for at := 0; at <= len(text); {
		end := at + strings.IndexByte(text[at:], ';')
		if end < at {
			end = len(text)
		}
		part := text[at:end]
		if strings.Trim(part, space) == "" {
			if end < len(text) || len(list) == 0 {
				return nil, faulty("there is an empty tag; between two semicolons stands name=value")
			}
			break
		}
		eq := strings.IndexByte(part, '=')
		if eq < 0 {
			return nil, faulty("%s is no tag; a tag is name=value", quote(strings.Trim(part, space)))
		}
		t := Tag{Name: strings.Trim(part[:eq], space), Value: strings.Trim(part[eq+1:], space), start: at + eq + 1, end: end}
		if !isTagName(t.Name) {
			return nil, faulty("%s is no name of a tag; a name is letters, digits and _", quote(t.Name))
		}
		if c, bad := notInValue(t.Value); bad {
			return nil, faulty("the value of %s= has the character %q, which no value may have", t.Name, c)
		}
		if _, twice := list.Get(t.Name); twice {
			return nil, faulty("%s= stands twice", t.Name)
		}
		if len(list) == maxTags {
			return nil, faulty("there are more than %d tags", maxTags)
		}
		list = append(list, t)
		at = end + 1
	}
	return list, nil
}

// space is what may stand around values, folding included.
const space = " \t\r\n"

func isTagName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != ""
}

// notInValue finds what no value may have: controls and what is not UTF-8 (RFC 6376 section 3.2, RFC 8616 section 5).
func notInValue(s string) (rune, bool) {
	for _, r := range s {
		if r < ' ' && !strings.ContainsRune(space, r) || r == 0x7f || r == utf8.RuneError {
			return r, true
		}
	}
	return 0, false
}

// Get gives the value of a tag.
func (t Tags) Get(name string) (value string, ok bool) {
	for i := range t {
		if t[i].Name == name {
			return t[i].Value, true
		}
	}
	return "", false
}

// need is Get for one that has to be there, with something in it.
func (t Tags) need(name string) (string, error) {
	v, ok := t.Get(name)
	switch {
	case !ok:
		return "", faulty("%s= is missing", name)
	case v == "":
		return "", faulty("%s= is empty", name)
	}
	return v, nil
}

// Base64 decodes the value of a tag, in which white space may stand anywhere.
func Base64(value string) ([]byte, error) {
	return base64.StdEncoding.Strict().DecodeString(noSpace(value))
}

// noSpace takes all white space out of a value.
func noSpace(s string) string {
	if !strings.ContainsAny(s, space) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(space, r) {
			return -1
		}
		return r
	}, s)
}

// list splits a value at its colons, white space around the parts removed.
func list(value string) []string {
	parts := strings.Split(value, ":")
	for i := range parts {
		parts[i] = strings.Trim(parts[i], space)
	}
	return parts
}

// EmptyB gives a signature's field with the value of b= taken out, and the white space around it, as it is hashed (RFC 6376 section
// 3.7). The tag counts whose name is b, wherever it stands.
func EmptyB(field []byte) ([]byte, error) {
	colon := bytes.IndexByte(field, ':')
	if colon < 0 {
		return nil, faulty("the field has no colon")
	}
	value := strings.TrimRight(string(field[colon+1:]), "\r\n")
	tags, err := ParseTags(value)
	if err != nil {
		return nil, err
	}
	for _, t := range tags {
		if t.Name == "b" {
			out := make([]byte, 0, len(field))
			out = append(out, field[:colon+1]...)
			out = append(out, value[:t.start]...)
			out = append(out, value[t.end:]...)
			return append(out, "\r\n"...), nil
		}
	}
	return nil, faulty("b= is missing")
}
