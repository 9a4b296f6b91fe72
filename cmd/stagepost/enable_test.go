package main

import (
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/config"
)

// enableCase is a configuration, what it becomes with the plugin new in it, and what becomes of that when new is taken out again, which is
// the first text where nothing is said.
type enableCase struct{ name, before, with, without string }

func enableCases() []enableCase {
	return []enableCase{
		// one line
		{"one", "[plugins]\nenable = [\"relay\"]\n", "[plugins]\nenable = [\"relay\", \"new\"]\n", ""},
		{"two", "[plugins]\nenable = [\"relay\", \"route\"]\n", "[plugins]\nenable = [\"relay\", \"route\", \"new\"]\n", ""},
		{"no spaces", "[plugins]\nenable=[\"relay\",\"route\"]\n", "[plugins]\nenable=[\"relay\",\"route\", \"new\"]\n", ""},
		{"inner spaces", "[plugins]\nenable = [ \"relay\" ]\n", "[plugins]\nenable = [ \"relay\", \"new\" ]\n", ""},
		{"comma at the end", "[plugins]\nenable = [\"relay\",]\n", "[plugins]\nenable = [\"relay\", \"new\",]\n", ""},
		{"comma and space at the end", "[plugins]\nenable = [\"relay\", ]\n", "[plugins]\nenable = [\"relay\", \"new\", ]\n", ""},
		{"single quotes", "[plugins]\nenable = ['relay']\n", "[plugins]\nenable = ['relay', 'new']\n", ""},
		{"both quotes", "[plugins]\nenable = ['relay', \"route\"]\n", "[plugins]\nenable = ['relay', \"route\", \"new\"]\n", ""},
		{"three quotes", "[plugins]\nenable = [\"\"\"relay\"\"\"]\n", "[plugins]\nenable = [\"\"\"relay\"\"\", \"new\"]\n", ""},
		{"escapes", "[plugins]\nenable = [\"r\\u0065lay\"]\n", "[plugins]\nenable = [\"r\\u0065lay\", \"new\"]\n", ""},
		{"comment behind", "[plugins]\nenable = [\"relay\"]  # \"x\", ]\n", "[plugins]\nenable = [\"relay\", \"new\"]  # \"x\", ]\n", ""},
		{"wide equals", "[plugins]\nenable     =    [\"relay\"]\n", "[plugins]\nenable     =    [\"relay\", \"new\"]\n", ""},
		{"no newline at the end", "[plugins]\nenable = [\"relay\"]", "[plugins]\nenable = [\"relay\", \"new\"]", ""},
		{"not the last key", "[plugins]\nenable = [\"relay\"]\nfolder = \"p\"\n[plugin.relay]\n", "[plugins]\nenable = [\"relay\", \"new\"]\nfolder = \"p\"\n[plugin.relay]\n", ""},

		// empty
		{"empty", "[plugins]\nenable = []\n", "[plugins]\nenable = [\"new\"]\n", ""},
		{"empty with a space", "[plugins]\nenable = [ ]\n", "[plugins]\nenable = [\"new\"]\n", "[plugins]\nenable = []\n"},
		{"empty over two lines", "[plugins]\nenable = [\n]\n", "[plugins]\nenable = [\n  \"new\",\n]\n", ""},
		{"empty but for a comment", "[plugins]\nenable = [ # none\n  ]\n", "[plugins]\nenable = [ # none\n    \"new\",\n  ]\n", ""},
		{"all are comments", "[plugins]\nenable = [\n\t# \"relay\",\n\t]\n", "[plugins]\nenable = [\n\t# \"relay\",\n\t  \"new\",\n\t]\n", ""},

		// several lines
		{"a line each", "[plugins]\nenable = [\n  \"relay\",\n  \"route\",\n]\n", "[plugins]\nenable = [\n  \"relay\",\n  \"route\",\n  \"new\",\n]\n", ""},
		{"a line each, no comma at the end", "[plugins]\nenable = [\n  \"relay\",\n  \"route\"\n]\n", "[plugins]\nenable = [\n  \"relay\",\n  \"route\",\n  \"new\"\n]\n", ""},
		{"comments behind each", "[plugins]\nenable = [\n\t\"relay\", # who, and [why]\n\t\"route\"  # where, \"to\"\n]\n", "[plugins]\nenable = [\n\t\"relay\", # who, and [why]\n\t\"route\",  # where, \"to\"\n\t\"new\"\n]\n", ""},
		{"comment and comma at the end", "[plugins]\nenable = [\n  'relay',  # who\n]\n", "[plugins]\nenable = [\n  'relay',  # who\n  'new',\n]\n", ""},
		{"one is switched off", "[plugins]\nenable = [\n  \"relay\",\n  # \"route\",\n]\n", "[plugins]\nenable = [\n  \"relay\",\n  \"new\",\n  # \"route\",\n]\n", ""},
		{"bracket behind the last", "[plugins]\nenable = [\n  \"relay\",\n  \"route\"]\n", "[plugins]\nenable = [\n  \"relay\",\n  \"route\",\n  \"new\"]\n", "[plugins]\nenable = [\n  \"relay\",\n  \"route\"\n]\n"},
		{"bracket and comma behind the last", "[plugins]\nenable = [\n  \"relay\",]\n", "[plugins]\nenable = [\n  \"relay\",\n  \"new\",]\n", "[plugins]\nenable = [\n  \"relay\",\n]\n"},
		{"first beside the bracket", "[plugins]\nenable = [\"relay\",\n          \"route\"]\n", "[plugins]\nenable = [\"relay\",\n          \"route\",\n          \"new\"]\n", "[plugins]\nenable = [\"relay\",\n          \"route\"\n]\n"},
		{"commas before", "[plugins]\nenable = [ \"relay\"\n         , \"route\"\n         ]\n", "[plugins]\nenable = [ \"relay\"\n         , \"route\", \"new\"\n         ]\n", ""},
		{"comma on a line of its own", "[plugins]\nenable = [\n  \"relay\"\n  ,\n]\n", "[plugins]\nenable = [\n  \"relay\"\n  ,\n  \"new\",\n]\n", ""},
		{"two on a line", "[plugins]\nenable = [\n  \"relay\", \"route\",\n]\n", "[plugins]\nenable = [\n  \"relay\", \"route\", \"new\",\n]\n", ""},
		{"comment between", "[plugins]\nenable = [\"relay\", # who\n]\n", "[plugins]\nenable = [\"relay\", \"new\", # who\n]\n", ""},
		{"comment before the bracket", "[plugins]\nenable = [\"relay\" # who, or what\n]\n", "[plugins]\nenable = [\"relay\", \"new\" # who, or what\n]\n", ""},
		{"CRLF", "[plugins]\r\nenable = [\r\n  \"relay\"\r\n]\r\n", "[plugins]\r\nenable = [\r\n  \"relay\",\r\n  \"new\"\r\n]\r\n", ""},
		{"CRLF and a comment", "[plugins]\r\nenable = [\r\n  \"relay\", # a\r\n]\r\n", "[plugins]\r\nenable = [\r\n  \"relay\", # a\r\n  \"new\",\r\n]\r\n", ""},
		{"CRLF, empty", "[plugins]\r\nenable = [\r\n]\r\n", "[plugins]\r\nenable = [\r\n  \"new\",\r\n]\r\n", ""},

		// other ways to write the key
		{"indented table", "  [plugins]\n  enable = [\n    \"relay\",\n  ]\n", "  [plugins]\n  enable = [\n    \"relay\",\n    \"new\",\n  ]\n", ""},
		{"spaces in the header", "[ plugins ]\nenable = [\"relay\"]\n", "[ plugins ]\nenable = [\"relay\", \"new\"]\n", ""},
		{"quoted header", "[\"plugins\"]\n'enable' = [\"relay\"]\n", "[\"plugins\"]\n'enable' = [\"relay\", \"new\"]\n", ""},
		{"dotted key", "plugins.enable = [\"relay\"]\nhostname = \"x\"\n", "plugins.enable = [\"relay\", \"new\"]\nhostname = \"x\"\n", ""},
		{"dotted key with spaces and quotes", "plugins . \"enable\" = [\"relay\"]\n", "plugins . \"enable\" = [\"relay\", \"new\"]\n", ""},
		{"inline table", "plugins = { folder = \"p\", enable = [\"relay\"] }\n", "plugins = { folder = \"p\", enable = [\"relay\", \"new\"] }\n", ""},
		{"inline table over lines", "plugins = { enable = [\n  \"relay\",\n] }\n", "plugins = { enable = [\n  \"relay\",\n  \"new\",\n] }\n", ""},
		{"enable elsewhere", "[other]\nenable = [\"a\"]\n[plugins]\nenable = [\"b\"]\n[plugin.x]\nenable = [\"c\"]\n", "[other]\nenable = [\"a\"]\n[plugins]\nenable = [\"b\", \"new\"]\n[plugin.x]\nenable = [\"c\"]\n", ""},
		{"in a string", "a = \"\"\"\n[plugins]\nenable = [\"a\"]\n\"\"\"\n[plugins]\nenable = [\"b\"]\n", "a = \"\"\"\n[plugins]\nenable = [\"a\"]\n\"\"\"\n[plugins]\nenable = [\"b\", \"new\"]\n", ""},
		{"in a comment", "# [plugins]\n# enable = []\n[plugins]\nenable = [\"b\"]\n", "# [plugins]\n# enable = []\n[plugins]\nenable = [\"b\", \"new\"]\n", ""},
		{"in another table", "[x.plugins]\nenable = [\"a\"]\n[plugins]\nenable = []\n", "[x.plugins]\nenable = [\"a\"]\n[plugins]\nenable = [\"new\"]\n", ""},

		// no enable
		{"only a folder", "[plugins]  # them\nfolder = \"p\"\n", "[plugins]  # them\nenable = [\"new\"]\nfolder = \"p\"\n", "[plugins]  # them\nenable = []\nfolder = \"p\"\n"},
		{"a header at the end", "[plugins]", "[plugins]\nenable = [\"new\"]", "[plugins]\nenable = []"},
		{"an indented header", "\t[plugins]\r\n\tfolder = \"p\"\r\n", "\t[plugins]\r\n\tenable = [\"new\"]\r\n\tfolder = \"p\"\r\n", "\t[plugins]\r\n\tenable = []\r\n\tfolder = \"p\"\r\n"},
		{"a dotted folder", "a = 1\n  plugins.folder = \"p\"\n[b]\n", "a = 1\n  plugins.enable = [\"new\"]\n  plugins.folder = \"p\"\n[b]\n", "a = 1\n  plugins.enable = []\n  plugins.folder = \"p\"\n[b]\n"},
		{"an inline folder", "plugins = { folder = \"p\" }\n", "plugins = { enable = [\"new\"], folder = \"p\" }\n", "plugins = { enable = [], folder = \"p\" }\n"},
		{"an empty inline table", "plugins = {}\n", "plugins = { enable = [\"new\"] }\n", "plugins = { enable = [] }\n"},
		{"no table", "a = 1\n\n[b]\nc = 2\n", "a = 1\n\n[b]\nc = 2\n\n[plugins]\nenable = [\"new\"]\n", "a = 1\n\n[b]\nc = 2\n\n[plugins]\nenable = []\n"},
		{"no table, no newline", "a = 1", "a = 1\n\n[plugins]\nenable = [\"new\"]\n", "a = 1\n\n[plugins]\nenable = []\n"},
		{"no table, CRLF", "a = 1\r\n", "a = 1\r\n\r\n[plugins]\r\nenable = [\"new\"]\r\n", "a = 1\r\n\r\n[plugins]\r\nenable = []\r\n"},
		{"plugin is not plugins", "[plugin.new]\nx = 1\n", "[plugin.new]\nx = 1\n\n[plugins]\nenable = [\"new\"]\n", "[plugin.new]\nx = 1\n\n[plugins]\nenable = []\n"},
		{"nothing", "", "[plugins]\nenable = [\"new\"]\n", "[plugins]\nenable = []\n"},
	}
}

func TestEnable(t *testing.T) {
	for _, tt := range enableCases() {
		t.Run(tt.name, func(t *testing.T) {
			got, err := enableWith([]byte(tt.before), "new")
			if err != nil || string(got) != tt.with {
				t.Fatalf("with: %v\n%q, want\n%q", err, got, tt.with)
			}
			if again, err := enableWith(got, "new"); err != nil || string(again) != tt.with {
				t.Errorf("with, again: %v\n%q", err, again)
			}
			want := tt.without
			if want == "" {
				want = tt.before
			}
			if back, err := enableWithout(got, "new"); err != nil || string(back) != want {
				t.Errorf("without: %v\n%q, want\n%q", err, back, want)
			}
		})
	}
}

// TestEnableWithout: names go from every place in the list.
func TestEnableWithout(t *testing.T) {
	for _, tt := range []struct{ before, names, want string }{
		{`enable = ["a", "b", "c"]`, "a", `enable = ["b", "c"]`},
		{`enable = ["a", "b", "c"]`, "b", `enable = ["a", "c"]`},
		{`enable = ["a", "b", "c"]`, "c", `enable = ["a", "b"]`},
		{`enable = ["a", "b", "c"]`, "a c", `enable = ["b"]`},
		{`enable = ["a", "b", "c"]`, "c b a", `enable = []`},
		{`enable = ["a", "b", "c"]`, "x", `enable = ["a", "b", "c"]`},
		{`enable = ["a","b",]`, "a", `enable = ["b",]`},
		{`enable = ["a", "b",]`, "b", `enable = ["a",]`},
		{`enable = ["a",]`, "a", `enable = []`},
		{"enable = [\n  \"a\",  # first\n  # between\n  \"b\",  # second\n]", "a", "enable = [\n  # between\n  \"b\",  # second\n]"},
		{"enable = [\n  \"a\",  # first\n  # between\n  \"b\"  # second\n]", "b", "enable = [\n  \"a\"  # first\n  # between\n]"},
		{"enable = [\n  \"a\",\n  \"b\",\n]", "a b", "enable = [\n]"},
		{"enable = [ \"a\"\n, \"b\"\n]", "b", "enable = [ \"a\"\n\n]"},
		{"enable = [ \"a\" # of a\n, \"b\"\n]", "a", "enable = [  # of a\n\"b\"\n]"},
		{"enable = [\"a\", # of a\n\"b\"]", "b", "enable = [\"a\" # of a\n]"},
		{"enable = [\r\n\"a\",\r\n\"b\"\r\n]", "a", "enable = [\r\n\"b\"\r\n]"},
		{`folder = "a"`, "a", `folder = "a"`},
	} {
		before, want := "[plugins]\n"+tt.before+"\n", "[plugins]\n"+tt.want+"\n"
		got, err := enableWithout([]byte(before), strings.Fields(tt.names)...)
		if err != nil || string(got) != want {
			t.Errorf("%q without %s: %v\n%q, want\n%q", before, tt.names, err, got, want)
		}
	}
}

// TestEnableSeveral: several names come in their order.
func TestEnableSeveral(t *testing.T) {
	got, err := enableWith([]byte("[plugins]\nenable = [\n  \"b\",\n]\n"), "a", "b", "c")
	if want := "[plugins]\nenable = [\n  \"b\",\n  \"a\",\n  \"c\",\n]\n"; err != nil || string(got) != want {
		t.Errorf("%v\n%q", err, got)
	}
	if got, err = enableWith([]byte("x = 1\n"), "a", "c"); err != nil || string(got) != "x = 1\n\n[plugins]\nenable = [\"a\", \"c\"]\n" {
		t.Errorf("%v\n%q", err, got)
	}
}

// TestEnableUncertain: what is not clear is left alone.
func TestEnableUncertain(t *testing.T) {
	for _, text := range []string{
		"[plugins\nenable = []\n",                                  // no TOML
		"[plugins]\nenable = [\"a\"]\nenable = [\"b\"]\n",          // twice
		"[plugins]\nenable = \"a\"\n",                              // no list
		"[plugins]\nenable = [\"a\", 1]\n",                         // not of names
		"[plugins]\nenable = [[\"a\"]]\n",                          // a list in it
		"[plugins.enable]\na = true\n",                             // a table
		"[plugins]\nenable.a = true\n",                             // a table
		"[[plugins]]\nenable = [\"a\"]\n",                          // tables
		"plugins = 1\n",                                            // no table
		"plugins = [{ enable = [\"a\"] }]\n",                       // tables
		"x = nan\n[plugins]\nenable = [\"a\"]\n",                   // cannot be compared
		"[plugins]\nfolder = \"a\"\n[plugins]\nenable = [\"a\"]\n", // twice
		"plugins.folder = \"a\"\n[plugins]\nenable = [\"b\"]\n",    // twice
		"[plugins.enable.x]\n",                                     // a table, without a key of its own
		"[[plugins.enable]]\nx = 1\n",                              // tables
	} {
		if got, err := enableWith([]byte(text), "new"); err == nil {
			t.Errorf("%q became\n%q", text, got)
		}
		if got, err := enableWithout([]byte(text), "a"); err == nil && string(got) != text {
			t.Errorf("%q became without a\n%q", text, got)
		}
	}
}

// FuzzEnable: what is made of any text is the same but for the list, whatever the text is.
func FuzzEnable(f *testing.F) {
	for _, tt := range enableCases() {
		f.Add(tt.before)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > config.MaxFile {
			t.Skip()
		}
		list, err := findEnable([]byte(text))
		if err != nil {
			return
		}
		for _, edit := range []func([]byte, ...string) ([]byte, error){enableWith, enableWithout} {
			names := append(list.names(), "new")
			got, err := edit([]byte(text), names[len(names)/2], "new")
			if err != nil {
				continue
			}
			if comments, left := strings.Count(text, "#"), strings.Count(string(got), "#"); left > comments {
				t.Errorf("%q became %q", text, got)
			}
			again, err := edit(got, names[len(names)/2], "new")
			if err != nil || string(again) != string(got) {
				t.Errorf("%q became %q, and that %q, %v", text, got, again, err)
			}
		}
	})
}
