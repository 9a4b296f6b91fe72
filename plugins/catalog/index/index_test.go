package index

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
)

var update = flag.Bool("update", false, "write golden files anew")

// sample is an index with three entries, of all kinds.
func sample(t testing.TB) *Index {
	t.Helper()
	x := &Index{Name: "main", Places: []string{"packages/", "https://registry.example.org/plugins"}}
	for _, e := range []struct {
		name   string
		places []string
		key    *Secret
	}{{"beta@1.10.0", nil, key(t, 2)}, {"alpha@1.0.0", nil, nil}, {"beta@1.9.0", []string{"old.tar"}, key(t, 1)}} {
		id, version, _ := strings.Cut(e.name, "@")
		if err := x.Add(plugin(t, id, version), e.places, e.key, day.Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Yank("beta", "1.9.0", "it answers <everybody>"); err != nil {
		t.Fatal(err)
	}
	if err := x.Renew(day, 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	return x
}

// TestGolden: the form of the file does not change.
func TestGolden(t *testing.T) {
	got := sample(t).Encode()
	file := filepath.Join("testdata", "index.golden")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v; got\n%s", err, got)
	}
	if !json.Valid(got) {
		t.Error("it is no JSON")
	}
	x, err := Decode(got)
	if err != nil {
		t.Fatal(err)
	}
	if again := x.Encode(); !bytes.Equal(again, got) {
		t.Errorf("got\n%s", again)
	}
	if n := bytes.Count(got, []byte("\n")); n != 5 {
		t.Errorf("it has %d lines", n)
	}
	empty := &Index{Name: "main", Serial: 1, Issued: day, Expires: day.Add(time.Hour)}
	if _, err := Decode(empty.Encode()); err != nil {
		t.Errorf("an empty index: %v", err)
	}
}

// TestBadIndexes: what is not written by Encode is refused, with one line that says what.
func TestBadIndexes(t *testing.T) {
	replace := func(old, new string) func(string) string {
		return func(s string) string {
			if !strings.Contains(s, old) {
				t.Fatalf("there is no %s", old)
			}
			return strings.Replace(s, old, new, 1)
		}
	}
	lines := func(change func([]string) []string) func(string) string {
		return func(s string) string {
			l := strings.SplitAfter(s, "\n")
			return strings.Join(change(l), "")
		}
	}
	whole := string(sample(t).Encode())
	const cut = "it is cut, or not written the way indexes are"
	const form = "it is not written the way indexes are: order, spaces or forms of values differ"
	for name, tc := range map[string]struct {
		spoil func(string) string
		want  string
	}{
		"nothing":                     {func(string) string { return "" }, cut},
		"HTML":                        {func(string) string { return "<html>\n<body>\n</body>\n" }, cut},
		"JSON of another kind":        {func(string) string { return "{}\n" }, cut},
		"cut in the head":             {func(s string) string { return s[:40] }, cut},
		"cut in an entry":             {func(s string) string { return s[:400] }, cut},
		"cut after an entry":          {lines(func(l []string) []string { return l[:2] }), cut},
		"cut at the end":              {func(s string) string { return s[:len(s)-1] }, cut},
		"with more":                   {func(s string) string { return s + "\n" }, cut},
		"with other lines":            {func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }, cut},
		"two in one file":             {func(s string) string { return s + s }, "line 5: invalid character ']' looking for beginning of value"},
		"without lines":               {func(s string) string { return strings.ReplaceAll(s, "\n", "") }, cut},
		"a head that is none":         {replace(`{"name":"main"`, `{"name":main`), "line 1: invalid character 'm'"},
		"an unknown key in the head":  {replace(`{"name"`, `{"x":1,"name"`), `line 1: unknown field "x"`},
		"a key twice in the head":     {replace(`{"name"`, `{"serial":9,"name"`), form},
		"another name of a key":       {replace(`"serial"`, `"Serial"`), form},
		"a space":                     {replace(`"name":"`, `"name": "`), form},
		"no name":                     {replace(`"name":"main"`, `"name":""`), `line 1: "" cannot be the name of an index`},
		"a name that leads elsewhere": {replace(`"name":"main"`, `"name":"../x"`), `line 1: "../x" cannot be the name of an index`},
		"a long name":                 {replace(`"main"`, `"`+strings.Repeat("x", 65)+`"`), "cannot be the name of an index"},
		"serial 0":                    {replace(`"serial":1`, `"serial":0`), "line 1: the serial 0 is out of bounds; it is from 1 to 9007199254740992"},
		"a serial from the future":    {replace(`"serial":1`, `"serial":18446744073709551615`), "line 1: the serial 18446744073709551615 is out of bounds"},
		"a serial beyond all":         {replace(`"serial":1`, `"serial":18446744073709551616`), "line 1: cannot unmarshal number 18446744073709551616"},
		"a serial below zero":         {replace(`"serial":1`, `"serial":-1`), "line 1: cannot unmarshal number -1"},
		"a serial in words":           {replace(`"serial":1`, `"serial":"1"`), "line 1: cannot unmarshal string"},
		"no time":                     {replace(`"issued":"2026-07-01T12:00:00Z"`, `"issued":""`), "line 1: parsing time"},
		"a time elsewhere":            {replace(`"issued":"2026-07-01T12:00:00Z"`, `"issued":"2026-07-01T14:00:00+02:00"`), "line 1: times are in UTC, of whole seconds"},
		"half a second":               {replace(`"issued":"2026-07-01T12:00:00Z"`, `"issued":"2026-07-01T12:00:00.5Z"`), "line 1: times are in UTC, of whole seconds"},
		"before there were computers": {replace(`"issued":"2026-07-01T12:00:00Z"`, `"issued":"0001-01-01T00:00:00Z"`), "line 1: times are in UTC"},
		"expires before":              {replace(`"expires":"2026-07-02`, `"expires":"2026-06-02`), "line 1: it expires on 2026-06-02 12:00 UTC, before it was issued"},
		"expires at once":             {replace(`"expires":"2026-07-02`, `"expires":"2026-07-01`), "before it was issued"},
		"never expires":               {replace(`"expires":"2026-07-02`, `"expires":"9999-07-02`), "line 1: it expires on 9999-07-02 12:00 UTC; that may be at most 366 days after it was issued"},
		"no places":                   {replace(`"places":["packages/","https://registry.example.org/plugins"]`, `"places":null`), form},
		"too many places":             {replace(`"packages/"`, `"a","b","c","d","e","f","g","packages/"`), "line 1: there are 9 places; the most is 8"},
		"a long place":                {replace(`"packages/"`, `"`+strings.Repeat("x", 513)+`"`), "line 1: a place has 513 bytes; the most is 512"},
		"a place that is none":        {replace(`"packages/"`, `"a b"`), `line 1: "a b" is no place`},
		"a place with a query":        {replace(`"packages/"`, `"https://a.example/?x="`), `is no place`},
		"a place on another host":     {replace(`"packages/"`, `"//a.example/x"`), `line 1: "//a.example/x" is no place`},
		"an entry that is none":       {replace(`{"id":"alpha"`, `["id":"alpha"`), "line 2: invalid character ':'"},
		"an entry that is a list":     {lines(func(l []string) []string { l[1] = "[],\n"; return l }), "line 2: cannot unmarshal array"},
		"an unknown key":              {replace(`{"id":"alpha"`, `{"run":"x","id":"alpha"`), `line 2: unknown field "run"`},
		"a key twice":                 {replace(`{"id":"alpha"`, `{"id":"x","id":"alpha"`), form},
		"two on one line":             {lines(func(l []string) []string { l[1] = strings.TrimSuffix(l[1], "\n"); return l }), "line 2: something comes after it"},
		"an empty line":               {lines(func(l []string) []string { l[1] = "\n" + l[1]; return l }), "line 2: EOF"},
		"no comma":                    {replace("\"},\n", "\"}\n"), form},
		"a comma at the end":          {replace("}\n]}", "},\n]}"), "line 4: something comes after it"},
		"an entry twice":              {lines(func(l []string) []string { l[1] += l[1]; return l }), "line 3: alpha 1.0.0 is there twice"},
		"another order":               {lines(func(l []string) []string { return append([]string{l[0], l[2], l[1]}, l[3:]...) }), "line 3: alpha 1.0.0 is not in its place; entries are sorted by id and version"},
		"an order of letters": {func(s string) string {
			return strings.NewReplacer("1.10.0", "1.9.0", "1.9.0", "1.10.0").Replace(s)
		}, "line 4: beta 1.9.0 is not in its place"},
		"no id":             {replace(`{"id":"alpha"`, `{"id":""`), `line 2: the id "" cannot be the name of a package`},
		"an id that leads":  {replace(`{"id":"alpha"`, `{"id":"../alpha"`), `line 2: the id "../alpha" cannot be`},
		"no version":        {replace(`"version":"1.0.0"`, `"version":"latest"`), `line 2: the version "latest" cannot be that of a package`},
		"an api below zero": {replace(`"api":0`, `"api":-1`), "line 2: there is no api -1"},
		"no engine":         {replace(`"engine":"lua"`, `"engine":"perl"`), `line 2: there is no engine "perl"`},
		"no digest":         {replace(`"digest":"sha256:`, `"digest":"sha256:x`), `line 2: alpha 1.0.0: the digest "sha256:x`},
		"a digest that leads": {func(s string) string {
			i := strings.Index(s, "sha256:")
			return s[:i] + "../../x" + s[i+71:]
		}, `line 2: alpha 1.0.0: the digest "../../x" is no sha256`},
		"a description that moves the cursor": {replace("the plugin alpha", `\u001b[2J`), "line 2: alpha 1.0.0: the description is no text"},
		"a description that turns around":     {replace("the plugin alpha", `\u202e`), "line 2: alpha 1.0.0: the description is no text"},
		"a long description":                  {replace("the plugin alpha", strings.Repeat("x", maxText+1)), "line 2: alpha 1.0.0: the description is no text of at most 1024 bytes"},
		"a line of 1 MB":                      {replace("the plugin alpha", strings.Repeat("x", 1<<20)), "the most of a line is 16384"},
		"no needs": {func(s string) string {
			return strings.Replace(s, `"needs":{"http":["api.example.org:443"],"kv":true}`, `"needs":null`, 1)
		}, "line 2: alpha 1.0.0: it does not say what it needs"},
		"needs that are false":     {replace(`"kv":true`, `"kv":false`), `line 2: alpha 1.0.0: what it needs of "kv" is neither true, nor a word, nor a list of words`},
		"needs that are a number":  {replace(`"kv":true`, `"kv":1`), `what it needs of "kv" is neither`},
		"needs that are a table":   {replace(`"kv":true`, `"kv":{}`), `what it needs of "kv" is neither`},
		"needs that are no list":   {replace(`["api.example.org:443"]`, `[]`), `what it needs of "http" is neither`},
		"needs in lists in lists":  {replace(`["api.example.org:443"]`, `[["x"]]`), `what it needs of "http" is neither`},
		"needs without end":        {replace(`["api.example.org:443"]`, `["x"`+strings.Repeat(`,"x"`, 300)+`]`), "line 2: alpha 1.0.0: what it needs has 303 words; the most is 256"},
		"needs that are deep":      {replace(`["api.example.org:443"]`, strings.Repeat("[", 7000)+strings.Repeat("]", 7000)), `what it needs of "http" is neither`},
		"a signature that is none": {replace(`"signature":"untrusted`, `"signature":"trusted`), "line 3: beta 1.9.0: the signature cannot be read; it is the four lines that minisign writes"},
		"a signature with more":    {replace(`==\n"`, `==\n\n"`), "line 3: beta 1.9.0: the signature cannot be read"},
		"letters in other forms":   {replace("\\u003ceverybody\\u003e", "<everybody>"), form},
	} {
		t.Run(name, func(t *testing.T) {
			x, err := Decode([]byte(tc.spoil(whole)))
			says(t, err, tc.want)
			if x != nil {
				t.Error("there is an index, too")
			}
		})
	}
	t.Run("10^6 entries", func(t *testing.T) {
		x, err := Decode([]byte(whole[:100] + strings.Repeat("{},\n", 1_000_000)))
		says(t, err, "it has 999998 entries; the most is 10000")
		if x != nil {
			t.Error("there is an index, too")
		}
	})
	t.Run("1 GB", func(t *testing.T) {
		_, err := Decode(make([]byte, 64<<20))
		says(t, err, "it has 67108864 bytes; the most is 16777216")
	})
}

// TestEdit: what publishing does to an index.
func TestEdit(t *testing.T) {
	k := key(t, 1)
	x := &Index{Name: "main", Places: []string{"packages"}}
	alpha := plugin(t, "alpha", "1.0.0")
	says(t, x.Add(alpha, nil, k, day), "")
	first := x.Entries[0]
	says(t, x.Yank("alpha", "1.0.0", "why not"), "")
	says(t, x.Add(alpha, []string{"https://registry.example.org/plugins"}, key(t, 2), day.Add(time.Hour)), "")
	if e := x.Entries[0]; len(x.Entries) != 1 || e.Issued != first.Issued || e.Yanked != "why not" || e.Signature == first.Signature || e.Signature == "" || e.Places[0] != "https://registry.example.org/plugins" {
		t.Errorf("got %+v", x.Entries)
	}
	other := plugin(t, "alpha", "1.0.0")
	other.Digest = plugin(t, "alpha", "1.0.1").Digest
	says(t, x.Add(other, nil, k, day), "alpha 1.0.0 is in the index with other content ("+string(first.Digest)+", and not "+string(other.Digest)+"); a version never changes, so raise it")
	says(t, x.Add(plugin(t, "beta", "1.0.0"), []string{"a b"}, k, day), `beta 1.0.0: "a b" is no place`)
	says(t, x.Yank("alpha", "1.0.1", "x"), "there is no alpha 1.0.1 in the index")
	says(t, x.Yank("alpha", "1.0.0", ""), "the reason why alpha 1.0.0 is yanked has to be a line of at most 1024 bytes")
	says(t, x.Yank("alpha", "1.0.0", "a\nb"), "has to be a line")
	says(t, x.Renew(day, 0), "an index may be used for up to 366 days, and not for 0s")
	says(t, x.Renew(day, MaxLife+time.Second), "an index may be used for up to 366 days")
	says(t, x.Renew(day.Add(300*time.Millisecond), time.Hour+time.Millisecond), "")
	if x.Serial != 1 || x.Issued != day || x.Expires != day.Add(time.Hour) {
		t.Errorf("got %+v", x)
	}
	says(t, x.Renew(day.Add(-time.Second), time.Hour), "the index was issued on 2026-07-01 12:00 UTC, and the clock of this machine says that it is 2026-07-01 11:59 UTC")
	says(t, x.Renew(day, MaxLife), "")
	if x.Serial != 2 {
		t.Errorf("the serial is %d", x.Serial)
	}
	if _, _, err := x.Signed(k); err != nil {
		t.Error(err)
	}
	x.Serial = maxSerial
	says(t, x.Renew(day, time.Hour), "there is no serial after that of the index")
	x.Name = "x/y"
	_, _, err := x.Signed(k)
	says(t, err, `"x/y" cannot be the name of an index`)
	full := &Index{Entries: make([]Entry, maxEntries)}
	says(t, full.Add(alpha, nil, k, day), "the index has 10000 entries already")
}

// FuzzDecode: what is read is what would be written, and has the bounds that others count on.
func FuzzDecode(f *testing.F) {
	f.Add(sample(f).Encode())
	f.Add((&Index{Name: "main", Serial: 1, Issued: day, Expires: day.Add(time.Hour)}).Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := Decode(data)
		if err != nil {
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) || len(err.Error()) > 600 {
				t.Fatalf("a message that cannot be shown: %q", err)
			}
			return
		}
		if !bytes.Equal(x.Encode(), data) {
			t.Fatal("it is written in another way")
		}
		for i := range x.Entries {
			e := &x.Entries[i]
			if err := e.check(); err != nil {
				t.Fatal(err)
			}
			if strings.Count(string(e.Statement()), "\n") != 1 || len(strings.Fields(string(e.Statement()))) != 5 {
				t.Fatalf("a statement that can be read in two ways: %q", e.Statement())
			}
		}
		if !x.Expires.After(x.Issued) || x.Expires.Sub(x.Issued) > MaxLife || x.Serial == 0 {
			t.Fatalf("%+v", x)
		}
	})
}

// ExampleEntry_Statement shows what a publisher signs.
func ExampleEntry_Statement() {
	e := Entry{ID: "greylist", Version: "1.2.0", Digest: "sha256:efc3772e1f9dec0d41854ff4816fca7579704af82571829a4bec941f0f4d7820"}
	fmt.Printf("%s", e.Statement())
	// Output: stagepost plugin greylist 1.2.0 sha256:efc3772e1f9dec0d41854ff4816fca7579704af82571829a4bec941f0f4d7820
}
