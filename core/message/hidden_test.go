package message

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// hiddenContent is one that may fail to be read.
type hiddenContent struct {
	*strings.Reader
	err error
}

func (c hiddenContent) ReadAt(p []byte, off int64) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	return c.Reader.ReadAt(p, off)
}

func (c hiddenContent) Bytes() []byte { return nil }

func TestHidden(t *testing.T) {
	for _, c := range []struct {
		content string
		want    []string
	}{
		{"From: a\r\n\r\nFrom: b\r\n", nil},
		{"From: a\r\nno field\r\nFrom: b\r\nX: y\r\nfrom :c\r\n\r\nFrom: d\r\n", []string{" b", "c"}},
		{"no field\nFrom: b\n\tand more\n and more\nX: y\n z\n", []string{" b\tand more and more"}},
		{"no field\r\n From: b\r\n", []string{" b"}}, // who passes over the line may unfold this or not
		{"\x01From: b\r\n", []string{" b"}},
		{"no field\r\n \t\r\nFrom: b\r\n", nil},
		{"no field\r\nFrom b\r\nFromm: c\r\n", nil},
		{"no field\r\nFrom:", []string{""}},
		{"no field\r\n" + strings.Repeat("x\r\n", maxHidden/4) + "From: b\r\n", []string{" b"}},
		{"no field\r\n" + strings.Repeat("x\r\n", maxHidden/3) + "From: b\r\n", []string{""}}, // unread is not unseen
		{"no field\r\n" + strings.Repeat("x\r\n", maxHidden/4) + "\r\n" + strings.Repeat("x\r\n", maxHidden), nil},
		{"", nil},
	} {
		h, err := ParseHeader([]byte(c.content), DefaultHeaderLimits)
		if err != nil {
			t.Fatal(err)
		}
		got, err := h.Hidden(hiddenContent{strings.NewReader(c.content), nil}, "From")
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%.60q: %q, %v, want %q", c.content, got, err, c.want)
		}
	}
	h, err := ParseHeader([]byte("no field\r\n"), DefaultHeaderLimits)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Hidden(hiddenContent{strings.NewReader("no field\r\n"), io.ErrClosedPipe}, "From"); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a content that cannot be read: %v", err)
	}
}
