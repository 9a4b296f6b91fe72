package lookup

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

func free(int, int) error { return nil }

func parse(tb testing.TB, typ, text string) *Table {
	tb.Helper()
	t, err := Parse(typ, "x", []byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// get asks a table and words the answer: "-" is none, "true" a key without value.
func get(tb testing.TB, t *Table, key string) string {
	tb.Helper()
	v, err := t.Get(key, free)
	switch {
	case err != nil:
		return "error: " + err.Error()
	case v == nil:
		return "-"
	}
	return fmt.Sprint(v)
}

func TestTables(t *testing.T) {
	many := strings.Repeat("$1", 20_000)
	for _, tt := range []struct {
		typ, text string
		want      map[string]string
	}{
		{"file", "# comment\n\n  # another\nUser@Example.ORG  box one \nb\tx\r\nalone\nlast y # no comment", map[string]string{
			"user@example.org": "box one", "USER@example.org": "box one", "b": "x", "alone": "true", "last": "y # no comment",
			"": "-", "x": "-", "user@example.or": "-", "box": "-", "b\tx": "-", "b ": "-", "# comment": "-", "#": "-", "user": "-", "b\nx": "-", strings.Repeat("b", 5000): "-",
		}},
		{"file", "", map[string]string{"": "-", "x": "-"}},
		{"file", "Ärger ja", map[string]string{"ärger": "ja", "ÄRGER": "ja", "\xe4rger": "-"}},
		{"suffix", "example.org all\n.example.net below\n.sub.example.org special\nsub.example.org sub\norg. top\nexample.com", map[string]string{
			"example.org": "all", "a.example.org": "all", "EXAMPLE.org.": "all", "a.b.example.org": "all", "user@a.example.org": "all",
			"example.net": "-", "a.example.net": "below", "sub.example.org": "sub", "x.sub.example.org": "special", "y.x.sub.example.org": "special",
			"badexample.org": "top", "org": "top", "a.example.com": "true", "com": "-", "": "-", ".": "-", "@": "-", "..": "-", ".example.net": "-",
			strings.Repeat("a.", 200) + "org": "-", "a b.example.org": "-",
		}},
		{"cidr", "10.0.0.0/8 ten\n10.1.0.0/16 one\n10.1.2.3 host\n10.1.0.0/24 first\n0.0.0.0/0 rest\n2001:db8::/32 six\n2001:db8::1\n2001:db8::/128 zero", map[string]string{
			"10.255.0.1": "ten", "10.1.255.1": "one", "10.1.2.3": "host", "10.1.2.4": "one", "10.1.0.9": "first", "10.1.1.0": "one", "11.0.0.0": "rest", "9.255.255.255": "rest", "::ffff:10.1.2.3": "host",
			"2001:db8::1": "true", "2001:db8::": "zero", "2001:db8::2": "six", "2001:db9::": "-", "2001:db7:ffff::": "-", "::": "-", "fe80::1%eth0": "-", "2001:db8::2%eth0": "six",
			"": "-", "10.1.2": "-", "10.0.0.0/8": "-", "example.org": "-",
		}},
		{"cidr", "192.0.2.0/25 a", map[string]string{"192.0.2.127": "a", "192.0.2.128": "-", "192.0.1.255": "-", "::": "-"}},
		{"regex", `/^(\w+)\+(.*)@example\.org$/  $1@example.org $2 ${2} $(2) $$1
/^no$/
/(?-i)^Case$/ exact
/a\/b/ slash
/^(x)|(y)$/ <$1$2>
/./ rest`, map[string]string{
			"joe+news@example.org": "joe@example.org news news news $1", "JOE+x@EXAMPLE.org": "JOE@example.org x x x $1", "NO": "true", "Case": "exact", "case": "rest", "a/b": "slash", "y": "<y>", "": "-",
		}},
		{"regex", "/^(.*)$/ " + many, map[string]string{"abc": strings.Repeat("abc", 20_000), "abcd": "error: the value with its groups is longer than 64 KiB", strings.Repeat("a", 5<<20): "error: a text of 5242880 bytes is too long for this pattern"}},
	} {
		table := parse(t, tt.typ, tt.text)
		for key, want := range tt.want {
			if got := get(t, table, key); got != want && (!strings.HasPrefix(want, "error") || !strings.HasPrefix(got, want)) {
				t.Errorf("%s %.100q: %.60q is %.100q, want %.100q", tt.typ, tt.text, key, got, want)
			}
		}
	}
	if n := parse(t, "cidr", "10.0.0.0/8\n::/0 a\n").Len(); n != 2 {
		t.Errorf("%d entries", n)
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct{ typ, text, want string }{
		{"hash", "", `there is no type "hash" of lookup; there are file, cidr, regex, suffix`},
		{"file", "a 1\n\n# c\nA 2", `x:4: the key "a" stands in a line before`},
		{"file", "a 1\n b 2", "x:2: the line begins with white space"},
		{"file", "a \x00", "x:1: the line has a byte that is no text"},
		{"file", "a\n\xff", "x:2: the line has a byte that is no text"},
		{"file", strings.Repeat("k", 5000) + " v", "x:1: the key is longer than 4096 bytes"},
		{"file", "\nk " + strings.Repeat("v", 70_000), "x:2: the line is longer than 64 KiB"},
		{"file", strings.Repeat("\n", 64<<20+1), "x:1: the file is larger than 64 MiB"},
		{"suffix", "a\n*.example.org x", `x:2: "*.example.org" is no domain`},
		{"suffix", "u@example.org", "is no domain"}, {"suffix", ".", "is no domain"}, {"suffix", "a..b", "is no domain"}, {"suffix", "..a", "is no domain"}, {"suffix", strings.Repeat("a", 256), "is no domain"},
		{"suffix", "a.example\nA.example.", "x:2: the key"},
		{"cidr", "10.0.0.0/8 a\nten b", `x:2: "ten" is no network`},
		{"cidr", "10.0.0.1/8 a", "x:1: 10.0.0.1/8 has bits behind its prefix; do you mean 10.0.0.0/8?"},
		{"cidr", "fe80::%eth0/64 a", "is no network"}, {"cidr", "fe80::1%eth0 a", "is no network"}, {"cidr", "!10.0.0.0/8 a", "is no network"},
		{"cidr", "::ffff:10.0.0.0/104 a", "is an IPv4 address in the form of IPv6"},
		{"cidr", "10.0.0.0/8 a\n11.0.0.0/8 b\n\n10.0.0.0/8 c\n12.0.0.0/8 d", "x:4: the network stands in a line before"},
		{"cidr", "::/1 a\n::/1 c", "x:2: the network stands in a line before"},
		{"regex", "/a/ x\nb y", "x:2: the line does not begin with a slash"},
		{"regex", "/a y", "there is no slash behind"}, {"regex", `/a\`, "there is no slash behind"}, {"regex", `/a\/ x`, "there is no slash behind"},
		{"regex", "/a/i y", "flags are not known"}, {"regex", "!/a/ y", "conditions and negation"}, {"regex", "if /a/", "conditions and negation"}, {"regex", "endif", "conditions and negation"},
		{"regex", "/(/ y", "x:1: error parsing regexp: missing closing ): `(?i)(`"},
		{"regex", "/(a)/ $2", "the value has $2, and the expression has 1 groups"}, {"regex", "/(a)/ $x", "a $ in the value"}, {"regex", "/(a)/ cost: 5$", "a $ in the value"},
		{"regex", "/(abc){600}/ x", "the pattern is too large"},
		{"regex", strings.Repeat("/a{1000}/\n", 201), "x:101: the regular expressions are too many or too large"},
		{"regex", strings.Repeat("/a/\n", 2001), "x:2001: the regular expressions are too many"},
	} {
		_, err := Parse(tt.typ, "x", []byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %.100q: %v, want %q", tt.typ, tt.text, err, tt.want)
		}
	}
}

// TestSpent: work is charged before it is done, and what the charge says ends it.
func TestSpent(t *testing.T) {
	over := errors.New("over")
	for _, tt := range []struct{ typ, text, key string }{
		{"file", "a", "a"}, {"suffix", "a", "x.a"}, {"cidr", "::/0", "::1"}, {"regex", "/a/\n/b/", "b"},
	} {
		table := parse(t, tt.typ, tt.text)
		calls, steps := 0, 0
		if v, err := table.Get(tt.key, func(s, _ int) error { calls++; steps += s; return nil }); v != true || err != nil || steps == 0 {
			t.Errorf("%s: %v %v for %d", tt.typ, v, err, steps)
		}
		for stop := range calls {
			if v, err := table.Get(tt.key, func(int, int) error {
				if stop--; stop < 0 {
					return over
				}
				return nil
			}); err != over || v != nil {
				t.Errorf("%s: %v %v", tt.typ, v, err)
			}
		}
	}
}

// TestNetworks holds what is found against a look at all networks.
func TestNetworks(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, six := range []bool{false, true} {
		random := func() netip.Addr { // of few, so that networks nest
			a := [16]byte{0: 0x20, 1: byte(r.IntN(2)), 2: byte(r.IntN(4)), 15: byte(r.IntN(256))}
			if six {
				return netip.AddrFrom16(a)
			}
			return netip.AddrFrom4([4]byte{a[0], a[1], a[2], a[15]})
		}
		known := map[netip.Prefix]bool{}
		var text strings.Builder
		for range 400 {
			a := random()
			p := netip.PrefixFrom(a, r.IntN(a.BitLen()+1)).Masked()
			if !known[p] {
				known[p] = true
				fmt.Fprintf(&text, "%s %s\n", p, p)
			}
		}
		table := parse(t, "cidr", text.String())
		for range 5_000 {
			a := random()
			want := "-"
			best := -1
			for p := range known {
				if p.Contains(a) && p.Bits() > best {
					want, best = p.String(), p.Bits()
				}
			}
			if got := get(t, table, a.String()); got != want {
				t.Fatalf("%s is in %s, want %s", a, got, want)
			}
		}
	}
}

func TestHashed(t *testing.T) {
	var text strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&text, "# comment %d\nkey%d value%d\n", i, i, i)
	}
	table := parse(t, "file", text.String())
	for i := range 20_000 {
		if got := get(t, table, fmt.Sprintf("key%d", i)); got != fmt.Sprintf("value%d", i) {
			t.Fatal(i, got)
		}
	}
	if got := get(t, table, "key20000"); got != "-" {
		t.Error(got)
	}
}

func TestShelf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	src := Source{"file", path, "users"}
	var s Shelf
	if _, err := s.Read(src); err == nil || !errors.Is(err, os.ErrNotExist) || strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
	if _, err := s.Read(Source{"file", t.TempDir(), "folder"}); err == nil || err.Error() != "it is not a regular file but a folder" {
		t.Errorf("%v", err)
	}
	write := func(text string, age time.Duration) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-age)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	read := func(want string) Version {
		t.Helper()
		v, err := s.Read(src)
		if err != nil {
			if err.Error() != want {
				t.Errorf("error %v, want %s", err, want)
			}
			return v
		}
		if got := get(t, v.Table, "k"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		return v
	}
	write("k 1", time.Hour)
	one := read("1")
	write("k 1", time.Minute) // the same again
	if v := read("1"); v.Table != one.Table || v.Hash != one.Hash {
		t.Error("the same content is another table")
	}
	old, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	write("k 2", 0)
	two := read("2")
	write("k 3", 0) // of the same size, at a time that may be the same
	if err := os.Chtimes(path, old.ModTime(), time.Now()); err != nil {
		t.Fatal(err)
	}
	three := read("3")
	if two.Hash == three.Hash {
		t.Error("two contents have the same hash")
	}
	write("k 4\n k", 0)
	const wrong = "users:2: the line begins with white space; write key and value on one line, the key first"
	bad := read(wrong)
	if again := read(wrong); bad.Hash == three.Hash || again.Hash != bad.Hash || bad.Table != nil {
		t.Errorf("%+v, %+v", bad, again)
	}
	write("k 3", 0)
	if v := read("3"); v.Table != three.Table {
		t.Error("what was right before is another table")
	}
	s.Keep(map[Source]bool{src: true})
	if v := read("3"); v.Table != three.Table {
		t.Error("what is kept is another table")
	}
	s.Keep(nil)
	if v := read("3"); v.Table == three.Table {
		t.Error("what is not kept is still there")
	}
}

func FuzzParse(f *testing.F) {
	for i := range kinds {
		for _, s := range []string{"a b\nc", ".example.org x", "10.0.0.0/8 y\n::/0", `/^(a+)\/$/ $1 $$`, "# c\n\n"} {
			f.Add(i, s, "a.example.org")
		}
	}
	f.Fuzz(func(t *testing.T, typ int, text, key string) {
		if typ < 0 || typ >= len(kinds) {
			return
		}
		table, err := Parse(kinds[typ].name, "x", []byte(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "x:") {
				t.Errorf("error without a place: %v", err)
			}
			return
		}
		if _, err := table.Get(key, free); err != nil && kinds[typ].name != "regex" {
			t.Error(err)
		}
		if kinds[typ].name != "file" { // what is written is found
			return
		}
		for line := range strings.Lines(text) {
			fields := strings.Fields(line)
			if len(fields) == 0 || fields[0][0] == '#' {
				continue
			}
			if v, err := table.Get(fields[0], free); v == nil || err != nil {
				t.Errorf("%q is not found: %v", fields[0], err)
			}
		}
	})
}

// million are files with a million entries, and keys that are in them.
func million(typ string) (text []byte, keys []string) {
	var b strings.Builder
	for i := range 1_000_000 {
		var key string
		switch typ {
		case "file":
			key = fmt.Sprintf("user%d@example.org", i)
		case "suffix":
			key = fmt.Sprintf("d%d.example", i)
		case "cidr":
			key = netip.AddrFrom4([4]byte{10 + byte(i>>16), byte(i >> 8), byte(i), 0}).String()
		}
		if i%1000 == 0 {
			keys = append(keys, key)
		}
		if typ == "cidr" {
			key += "/24"
		}
		fmt.Fprintf(&b, "%s box%d\n", key, i%100)
	}
	return []byte(b.String()), keys
}

// BenchmarkLoad shows the memory of a table, too, beside the size of its file.
func BenchmarkLoad(b *testing.B) {
	for _, typ := range []string{"file", "suffix", "cidr"} {
		text, _ := million(typ)
		b.Run(typ, func(b *testing.B) {
			var table *Table
			var before, after runtime.MemStats
			for b.Loop() {
				table = nil
				runtime.GC()
				runtime.ReadMemStats(&before)
				table = parse(b, typ, string(text))
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "B/entry")
			b.ReportMetric(float64(len(text))/1e6, "file-B/entry")
			runtime.KeepAlive(table)
		})
	}
}

func BenchmarkGet(b *testing.B) {
	for _, typ := range []string{"file", "suffix", "cidr"} {
		text, keys := million(typ)
		table := parse(b, typ, string(text))
		b.Run(typ, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if v, err := table.Get(keys[i%len(keys)], free); v == nil || err != nil {
					b.Fatal(v, err)
				}
			}
		})
		b.Run(typ+"-parallel", func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if v, err := table.Get(keys[i%len(keys)], free); v == nil || err != nil {
						b.Fatal(v, err)
					}
				}
			})
		})
	}
	rules := parse(b, "regex", strings.Repeat("/^(viagra|casino)[0-9]+$/ spam\n", 100)+"/^subject/ ok")
	b.Run("regex-101", func(b *testing.B) {
		for b.Loop() {
			if v, err := rules.Get("subject: a message of usual length, more or less", free); v == nil || err != nil {
				b.Fatal(v, err)
			}
		}
	})
}

func TestTypes(t *testing.T) {
	if got := Types(); !slices.Equal(got, []string{"file", "cidr", "regex", "suffix"}) {
		t.Error(got)
	}
}
