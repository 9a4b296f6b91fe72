package service

import (
	"errors"
	"flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/hooks"
)

var update = flag.Bool("update", false, "write the golden files in testdata anew")

// find gives a declared function.
func find(tb testing.TB, name string) *Func {
	tb.Helper()
	for _, s := range Services() {
		for i := range s.Funcs {
			if s.Funcs[i].Name == name {
				return &s.Funcs[i]
			}
		}
	}
	tb.Fatalf("there is no %s", name)
	return nil
}

// epoch is the time of the tests' clocks.
var epoch = time.Unix(1_700_000_000, 250_000_000)

// handler gives a context inside a hook call, for functions that do not wait.
func handler(tb testing.TB, o Options) *Context {
	tb.Helper()
	if o.Now == nil {
		o.Now = func() time.Time { return epoch }
	}
	c := NewHost(o).Context("vip", &capability.Needs{DNS: true, KV: true}, nil)
	c.Begin(&hooks.Call{Stage: hooks.Rcpt})
	return c
}

type call struct {
	name string
	args []any
	want any
	err  string // a part of it
}

func check(t *testing.T, c *Context, calls []call) {
	t.Helper()
	for _, tt := range calls {
		got, err := find(t, tt.name).Do(c, slices.Clone(tt.args))
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || !strings.HasPrefix(err.Error(), tt.name+": ") {
				t.Errorf("%s%.200q: error %v, want %q", tt.name, tt.args, err, tt.err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s%.200q = %#v, %v; want %#v", tt.name, tt.args, got, err, tt.want)
		}
	}
}

func list(v ...any) []any { return v }

func TestDeclarations(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Services() {
		if s.Doc == "" || len(s.Funcs) == 0 {
			t.Errorf("%s: %q", s.Name, s.Doc)
		}
		for _, f := range s.Funcs {
			if seen[f.Name] || f.Doc == "" || f.Call == nil || f.Name != s.Name && !strings.HasPrefix(f.Name, s.Name+".") {
				t.Errorf("%s in %s: twice, or incomplete", f.Name, s.Name)
			}
			seen[f.Name] = true
			optional := false
			for _, a := range f.Args {
				if a.Name == "" || a.Kind == 0 || optional && !a.Optional {
					t.Errorf("%s: argument %q", f.Name, a.Name)
				}
				optional = a.Optional
			}
			if f.Needs != "" && capability.AskFor(f.Needs) == "" {
				t.Errorf("%s needs %q, which is no capability", f.Name, f.Needs)
			}
			group, _, _ := strings.Cut(f.Name, ".")
			if want := slices.Contains([]string{"log", "re", "hash", "json", "addr", "metric", "template"}, group) || f.Name == "password.scheme"; f.AtLoad != want {
				t.Errorf("%s: AtLoad is %v", f.Name, f.AtLoad)
			}
		}
	}
}

func TestManual(t *testing.T) {
	const file = "testdata/manual.md"
	if *update {
		if err := os.WriteFile(file, []byte(Manual()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if Manual() != string(want) {
		t.Errorf("got:\n%s", Manual())
	}
}

// TestDo tests what all functions have in common.
func TestDo(t *testing.T) {
	c := handler(t, Options{})
	check(t, c, []call{
		{name: "now", want: 1_700_000_000.25},
		{name: "now", args: list(int64(1)), err: "1 arguments are too many; call it as now()"},
		{name: "hash.sha256", err: "text is missing or nil; call it as hash.sha256(text)"},
		{name: "hash.sha256", args: list(1.5), err: "text is a number; it must be of type string"},
		{name: "hash.hmac", args: list("sha256", "k", "t", true), err: "encoding is a boolean; it must be of type string"},
		{name: "addr.network", args: list("192.0.2.9", 24.5, int64(64)), err: "v4bits is a number; it must be of type integer"},
		{name: "addr.network", args: list([]byte("192.0.2.9"), 24.0, int64(64)), want: "192.0.2.0/24"},
		{name: "addr.within", args: list("192.0.2.9", map[string]any{}), want: false},
		{name: "addr.within", args: list("192.0.2.9", map[string]any{"a": "b"}), err: "networks is a table; it must be of type list"},
		{name: "log.info", args: list("text", list()), want: nil},
		{name: "kv.get", args: list("k"), err: "there is no store"},
		{name: "json.encode", args: list(struct{}{}), err: "value is a struct {}"},
	})
}

func TestCapabilities(t *testing.T) {
	c := NewHost(Options{}).Context("vip", &capability.Needs{}, nil)
	c.Begin(&hooks.Call{})
	check(t, c, []call{
		{name: "dns.get", args: list("example.org", "A"), err: "it is not granted: ask with needs = { dns = true }"},
		{name: "kv.set", args: list("k", "v", int64(1)), err: `it is not granted: ask with needs = { kv = "own" }`},
	})
}

func TestAtLoad(t *testing.T) {
	c := handler(t, Options{})
	c.Begin(nil)
	check(t, c, []call{
		{name: "now", err: "it does not work while the plugin loads"},
		{name: "dns.get", args: list("example.org", "A"), err: "it does not work while the plugin loads"},
		{name: "hash.sha256", args: list("abc"), want: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{name: "log.info", args: list("loading")},
	})
}

func TestCharge(t *testing.T) {
	spent, errSpent := 0, errors.New("the budget is spent")
	c := NewHost(Options{}).Context("vip", &capability.Needs{}, func(steps, bytes int) error {
		if spent += steps; spent > 1000 {
			return errSpent
		}
		return nil
	})
	c.Begin(&hooks.Call{})
	args := list(strings.Repeat("x", 1000))
	if _, err := find(t, "hash.sha256").Do(c, args); err != nil || spent < 10 {
		t.Fatalf("spent %d, %v", spent, err)
	}
	for _, big := range []struct {
		name string
		args []any
	}{
		{"hash.sha256", list(strings.Repeat("x", 1<<20))},
		{"hash.hmac", list("sha1", "k", strings.Repeat("x", 1<<20))},
		{"re.match", list("x+y", strings.Repeat("x", 100_000))},
		{"json.decode", list("[" + strings.Repeat("1,", 10_000) + "1]")},
		{"json.encode", list(strings.Repeat("x", 100_000))},
		{"addr.list", list(strings.Repeat(",", 100_000))},
		{"addr.within", list("192.0.2.1", slices.Repeat(list("192.0.2.1"), 1000))},
	} {
		spent = 0
		if _, err := find(t, big.name).Do(c, big.args); !errors.Is(err, errSpent) {
			t.Errorf("%s: %v after %d steps", big.name, err, spent)
		}
	}
}

func TestRegexp(t *testing.T) {
	c := handler(t, Options{})
	m := func(pattern, text string) any {
		v, err := find(t, "re.match").Do(c, list(pattern, text))
		if err != nil {
			t.Fatal(err)
		}
		if v == nil {
			return nil
		}
		return v.(*Captures).Plain()
	}
	for _, tt := range []struct {
		pattern, text string
		want          any
	}{
		{`b+`, "abbc", map[string]any{"0": "bb"}},
		{`b+`, "ac", nil},
		{`^(?P<user>[^@]+)@(.*)$`, "u@example.org", map[string]any{"0": "u@example.org", "1": "u", "user": "u", "2": "example.org"}},
		{`(a)|(b)`, "b", map[string]any{"0": "b", "1": nil, "2": "b"}},
		{`()`, "", map[string]any{"0": "", "1": ""}},
		{`(?i)ÄB`, "\xffäb", map[string]any{"0": "äb"}},
	} {
		for range 2 { // the second one is kept
			if got := m(tt.pattern, tt.text); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%s on %q: %v", tt.pattern, tt.text, got)
			}
		}
	}
	check(t, c, []call{
		{name: "re.match", args: list("(", ""), err: "missing closing )"},
		{name: "re.match", args: list(strings.Repeat("a", 1025), ""), err: "longer than 1024 bytes"},
		{name: "re.match", args: list(strings.Repeat("x{1000}", 100), ""), err: "the pattern is too large"},
		{name: "re.match", args: list(`((x{10}y{10}z{10}){10}){10}`, ""), err: "the pattern is too large"},
		{name: "re.match", args: list(`[[:word:]]{900}`, strings.Repeat("x", 10_000)), err: "is too long for this pattern"},
	})
}

// TestRegexpsKept fills the room for compiled patterns.
func TestRegexpsKept(t *testing.T) {
	c := handler(t, Options{})
	r := &c.state.regexps
	for i := range 200 {
		pattern := strings.Repeat("x", i) + "y{900}"
		if _, err := r.get(c, pattern); err != nil {
			t.Fatal(err)
		}
		size := 0
		for _, p := range r.kept {
			size += p.Size
		}
		if r.kept[pattern] == nil || size != r.size || size > maxRegexps {
			t.Fatalf("%d patterns of size %d, counted %d", len(r.kept), size, r.size)
		}
	}
	if len(r.kept) < 10 || len(r.kept) == 200 {
		t.Errorf("%d patterns are kept", len(r.kept))
	}
}

func TestHash(t *testing.T) {
	check(t, handler(t, Options{}), []call{
		{name: "hash.sha256", args: list(""), want: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		// RFC 2202 and RFC 4231, test case 2.
		{name: "hash.hmac", args: list("sha1", "Jefe", "what do ya want for nothing?"), want: "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"},
		{name: "hash.hmac", args: list("sha256", "Jefe", "what do ya want for nothing?", "hex"), want: "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
		{name: "hash.hmac", args: list("sha256", "Jefe", "what do ya want for nothing?", "base64"), want: "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM="},
		{name: "hash.hmac", args: list("sha512", "Jefe", "what do ya want for nothing?"), want: "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"},
		{name: "hash.hmac", args: list("md5", "k", "t"), err: `alg is "md5"`},
		{name: "hash.hmac", args: list("sha1", "k", "t", "b64"), err: `encoding is "b64"`},
	})
}
