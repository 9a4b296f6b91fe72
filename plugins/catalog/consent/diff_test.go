package consent_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/consent"
)

// versions are two packages of a plugin that differ in all that is compared.
func versions(t testing.TB) (a, b *catalog.Package) {
	a = pack(t, map[string][]byte{
		"plugin.toml": []byte(`id = "p"
version = "1.0.0"
description = "first"
[needs]
dns = true
http = ["a.example:443"]
[config.wait]
type = "duration"
default = "5m"
[config.size]
type = "size"
default = "1MB"
[config.gone]
type = "list"
default = ["a", "b"]
doc = "What goes away."
[hook.rcpt]
order = 10
on_error = "next"
`),
		"init.lua":             []byte("-- one\nfunction on.rcpt(r)\n  if r.class then return defer() end\nend\nfunction on.data(m) end\n"),
		"lib/gone.lua":         []byte("return 1"),
		"README.md":            []byte("# p\n"),
		"tests/a.transcript":   []byte("connect 192.0.2.1\n"),
		"templates/a/page.txt": []byte("bin\x00ary"),
	})
	b = pack(t, map[string][]byte{
		"plugin.toml": []byte(`id = "p"
version = "1.1.0"
description = "second"
[needs]
http = ["a.example:443", "*.b.example:443"]
kv = "own"
[config.wait]
type = "duration"
default = "10m"
[config.size]
type = "size"
default = "1MB"
[config.new]
type = "string"
required = true
doc = "What is new."
[hook.rcpt]
order = 20
after = ["a"]
timeout = "20s"
when = { role = ["mx"] }
`),
		"init.lua":             []byte("-- one\nfunction on.rcpt(r)\n  if r.class then return reject \"no\" end\nend\nlocal never = 1"),
		"README.md":            []byte("# p\n"),
		"tests/a.transcript":   []byte("connect 192.0.2.1\n"),
		"tests/b.transcript":   []byte("connect 192.0.2.2\n"),
		"templates/a/page.txt": []byte("bin\x00other"),
	})
	return a, b
}

func TestCompare(t *testing.T) {
	a, b := versions(t)
	d, err := consent.Compare(a, b)
	if err != nil {
		t.Fatal(err)
	}
	if d.Old.ID != "p" || d.Old.Digest != a.Digest || d.New.Digest != b.Digest {
		t.Errorf("%s and %s", d.Old.Digest, d.New.Digest)
	}
	short := *d
	short.Old, short.New = nil, nil // which have tests of their own
	text, err := json.MarshalIndent(short, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "diff.json", string(text)+"\n")

	same, err := consent.Compare(b, b)
	if err != nil || len(same.More)+len(same.Less)+len(same.Needs)+len(same.Hooks)+len(same.Settings)+len(same.Files) > 0 {
		t.Errorf("%+v: %v", same, err)
	}
	if text, err := json.Marshal(same); err != nil || strings.Contains(string(text), "null") {
		t.Errorf("%s: %v", text, err)
	}
	broken := luaPlugin(t, "", "function on.nothing() end")
	for _, pair := range [][2]*catalog.Package{{a, broken}, {broken, a}} {
		if _, err := consent.Compare(pair[0], pair[1]); err == nil || !strings.Contains(err.Error(), "there is no stage") {
			t.Errorf("%v", err)
		}
	}
}

// TestCompareLongDefault: what is too long to be shown differs all the same.
func TestCompareLongDefault(t *testing.T) {
	with := func(last string) *catalog.Package {
		return luaPlugin(t, `config = { a = { type = "string", default = "`+strings.Repeat("x", 1000)+last+`", doc = "`+strings.Repeat("y", 800)+last+`" } }`, "")
	}
	d, err := consent.Compare(with("1"), with("2"))
	if err != nil || len(d.Settings) != 1 || d.Settings[0].Old == d.Settings[0].New || len(d.Settings[0].New) > 800 {
		t.Errorf("%+v: %v", d, err)
	}
}

// TestDiffText is what is printed.
func TestDiffText(t *testing.T) {
	a, b := versions(t)
	for _, c := range []struct {
		name    string
		a, b    *catalog.Package
		columns int
	}{{"diff.txt", a, b, 0}, {"same.txt", a, a, 80}, {"rights.txt", luaPlugin(t, "", "function on.rcpt(r) end"), luaPlugin(t, "", "function on.rcpt(r) local x = 1 end"), 30}} {
		d, err := consent.Compare(c.a, c.b)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, c.name, d.Text(c.columns))
	}
}

// TestDiffHostile: code cannot show a terminal other lines than those that it has, nor hide what is in them.
func TestDiffHostile(t *testing.T) {
	code := "-- \x1b[1A\x1b[2K\u202e evil \u2066\u3164 \u200b\ttab \r\n" + "-- " + strings.Repeat("wide ", 40) + "p 1.0.0 asks for no more than p 1.0.0\n-- a" + strings.Repeat("\u0301", 9) + "\n"
	d, err := consent.Compare(luaPlugin(t, "", ""), luaPlugin(t, "", code))
	if err != nil {
		t.Fatal(err)
	}
	text := d.Text(60)
	golden(t, "hostile.txt", text)
	_, files, _ := strings.Cut(text, "=== ")
	for line := range strings.Lines(files) {
		line = strings.TrimSuffix(line, "\n")
		if utf8.RuneCountInString(line) > 60 || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("the line %q", line)
		}
	}
	if strings.Count(text, "asks for no more") != 1 || !strings.Contains(d.Files[0].Text, "\x1b[2K") {
		t.Errorf("%s", text)
	}
}
