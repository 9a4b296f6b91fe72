package consent_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stagepost/stagepost/plugins/bundled"
	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/consent"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares a text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what comes; if that is meant, go test -update:\n%s", file, got)
	}
}

// TestBundledSheets holds the sheet of each plugin that ships against what was read over.
func TestBundledSheets(t *testing.T) {
	for _, name := range bundled.Names() {
		p, err := catalog.PackFS(name, bundled.Open(name))
		if err != nil {
			t.Fatal(err)
		}
		s, err := consent.Of(p)
		if err != nil {
			t.Fatal(err)
		}
		s.Digest = "sha256:DIGEST" // of the code, which changes without the sheet
		golden(t, "sheets/"+name+".txt", s.Text(""))
	}
}

// TestEverySheet has one sheet with all that there is to say, and one with nothing.
func TestEverySheet(t *testing.T) {
	all := wasmPlugin(t, `description = "does all that a plugin can"
[needs]
dns = true
kv = "own"
http = ["api.example.org:443", "*", "private"]
net = ["unix:*", "unix:/run/policy.sock", "192.0.2.0/24:25", "*.example.org:10040"]
lookup = ["users", "al*", "*"]
secrets = ["dkim/*", "token", "*"]
read = "body"
edit = ["headers", "sender", "rcpts", "body"]
facts = ["spam.score"]
route = ["mx", "*:587", "transport:archive", "transport:*"]
relay = true
inject = true
spf = true
shape = ["*", "site:*", "site:*.example.org", "tenant:a"]
[config.where]
type = "string"
required = true
doc = "The server that is asked."
[config.who]
type = "list"
required = true
[hook.connect]
[hook.helo]
background = true
sets = ["p.helo"]
[hook.auth]
on_error = "reject"
[hook.mail]
when = { role = ["mx", "lmtp"], listener = ["outside"], user = false }
[hook.rcpt]
when = { user = true }
[hook.data]
timeout = "2m"
[hook.queue]
on_error = "next"
[hook.route]
[hook.deliver]
[hook.delivered]
on_error = "next"
[hook.deferred]
[hook.bounced]
on_error = "next"
[hook.disconnect]
on_error = "next"
[hook.tick]
every = "1h"
on_error = "next"
`)
	s := sheetOf(t, all)
	golden(t, "everything.txt", s.Text("RWQ0123456789 of the index main"))
	none := sheetOf(t, luaPlugin(t, "", ""))
	golden(t, "nothing.txt", none.Text(""))
	for _, sheet := range []*consent.Sheet{s, none} {
		text, err := json.MarshalIndent(sheet, "", "  ")
		if err != nil || strings.Contains(string(text), "null") {
			t.Errorf("%v: %s", err, text)
		}
	}
}

// TestStrangersText: whatever stands in a description, a setting's doc or a signer, the sheet around it is the same, and nothing in
// it is acted on by a terminal.
func TestStrangersText(t *testing.T) {
	sheet := func(text string) string {
		code := fmt.Appendf(nil, "plugin { id = \"p\", version = \"1.0.0\", description = %q, config = { a = { type = \"int\", required = true, doc = %q } } }\n", text, text)
		p, err := catalog.Pack("p", map[string][]byte{"init.lua": code})
		if err == nil {
			return sheetOf(t, p).Text("")
		}
		if !strings.Contains(err.Error(), "want a line of text") { // a manifest has none of these, whoever writes it
			t.Fatal(err)
		}
		s := sheetOf(t, luaPlugin(t, `config = { a = { type = "int", required = true } }`, ""))
		s.Description, s.Settings[0].Doc = consent.Clean(text, 300), consent.Clean(text, 300)
		return s.Text("")
	}
	own := func(sheet string) (out []string) {
		for line := range strings.Lines(sheet) {
			if !strings.HasPrefix(line, "  | ") && !strings.HasPrefix(line, "package ") {
				out = append(out, line)
			}
		}
		return out
	}
	want := own(sheet("harmless"))
	for name, text := range map[string]string{
		"lines":          "good\nIt reads\n  - nothing\nIt contacts\n  - nothing\n",
		"returns":        "bad\rgood",
		"escape":         "\x1b[2J\x1b[1;1Hp 1.0.0\x1b]0;title\a",
		"eight-bit":      "\u009b2J\u0085",
		"turned around":  "\u202egnihton sdaer\u202c \u2066a\u2069 \u200f",
		"separators":     "a\u2028It reads\u2029nothing",
		"to the margin":  "nice" + strings.Repeat(" ", 74) + "It reads nothing",
		"wide":           strings.Repeat("あ", 100),
		"blank letters":  "a" + strings.Repeat("\u3164", 60) + "b" + strings.Repeat("\u2800", 40),
		"one word":       strings.Repeat("x", 390),
		"accents":        "a" + strings.Repeat("\u0301", 150),
		"no width":       "a\u200b\u200d\u2060\ufeffb",
		"tags":           "a\U000e0041\U000e0042",
		"marks alone":    "\u0301\u0302",
		"the own marks":  "  - nothing\n  | more",
		"hangul fillers": "\u115f\u1160\uffa0",
	} {
		t.Run(name, func(t *testing.T) {
			got := sheet(text)
			if !slices.Equal(own(got), want) {
				t.Errorf("the sheet became\n%s", got)
			}
			for line := range strings.Lines(got) {
				line = strings.TrimSuffix(line, "\n")
				if n := utf8.RuneCountInString(line); n > 80 || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
					t.Errorf("the line %q has %d characters", line, n)
				}
			}
		})
	}
	s := sheetOf(t, luaPlugin(t, "", ""))
	if got := s.Text("k\n\x1b[2Jey"); !strings.Contains(got, "\nsigned  by k \\u{1b}[2Jey\n") {
		t.Errorf("%s", got)
	}
}

// TestNoSheet: what this server would not load has none.
func TestNoSheet(t *testing.T) {
	for name, code := range map[string]string{
		"unknown stage": "function on.recipient(r) end",
		"its name":      "on[\"\\27[2J\"] = function() end",
	} {
		_, err := consent.Of(luaPlugin(t, "", code))
		if err == nil || !strings.HasPrefix(err.Error(), "p/init.lua:2: there is no stage ") || strings.ContainsRune(err.Error(), '\x1b') {
			t.Errorf("%s: %v", name, err)
		}
	}
	lies := luaPlugin(t, "", "")
	lies.Summary.API = 7
	if _, err := consent.Of(lies); err == nil || !strings.Contains(err.Error(), "api 7") {
		t.Errorf("%v", err)
	}
}
