package config

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestExampleParses(t *testing.T) {
	mustParse(t, "example.toml", Example())
}

// TestExampleIsWhole: the example shows every table and every key above them.
func TestExampleIsWhole(t *testing.T) {
	for _, k := range Document() {
		want := k.Name
		if k.Table != "" {
			want, _, _ = strings.Cut(k.Table, "NAME")
		} else if strings.Contains(k.Name, ".") {
			continue
		}
		if k.Table == "[run.NAME.when]" {
			want = "when"
		}
		if !strings.Contains(Example(), want) {
			t.Errorf("%s is not shown", want)
		}
	}
}

// TestDocumentedKeys writes each documented key with its example, and with its default, into a file and reads it.
func TestDocumentedKeys(t *testing.T) {
	keys := Document()
	header := ""
	tested := 0
	for _, k := range keys {
		if k.Table != "" {
			header = strings.Replace(k.Table, "NAME", "mx", 1)
			if k.Doc == "" || !strings.HasSuffix(k.Doc, ".") {
				t.Errorf("%s: no whole sentence in %q", k.Name, k.Doc)
			}
			continue
		}
		if k.Doc == "" || !strings.HasSuffix(k.Doc, ".") || k.Type == "" || k.Example == "" || k.Required != (k.Default == "") {
			t.Errorf("%s is not fully documented: %+v", k.Name, k)
		}
		name := k.Name[strings.LastIndexByte(k.Name, '.')+1:]
		values := []string{k.Example}
		if !k.Required && !strings.Contains(k.Default, " ") && k.Default != "none" && k.Default != "NAME" {
			values = append(values, k.Default)
		}
		for _, value := range values {
			file := baseFor(header, name) + header + "\n" + name + " = " + value + "\n" + restOf(header, name)
			if _, err := Parse("f", []byte(file), Options{}); err != nil {
				t.Errorf("%s = %s: %v\n%s", k.Name, value, err, file)
			}
			tested++
		}
	}
	if tested < len(keys) {
		t.Errorf("only %d values tried", tested)
	}
}

// baseFor is a minimal file without what the key under test sets itself.
func baseFor(header, name string) string {
	switch {
	case header == "" && name == "hostname":
		return ""
	case header == "":
		return "hostname = \"a.example\"\n"
	case header == "[[listener]]":
		return "hostname = \"a.example\"\n"
	}
	return minimal
}

func restOf(header, name string) string {
	switch {
	case strings.HasPrefix(name, "client_") && (header == "[source.mx]" || header == "[tls]"):
		rest := map[string]string{"client_certificate": "client_key = \"k.pem\"\n", "client_key": "client_certificate = \"c.pem\"\n"}[name]
		if header == "[source.mx]" {
			rest += "address = [\"192.0.2.10\"]\n"
		}
		return rest
	case header == "[source.mx]" && name == "helo":
		return "address = [\"192.0.2.10\"]\n"
	case header == "[source.mx.warmup]":
		rest := map[string]string{"start": "daily = [5]\n", "daily": "start = \"2026-12-01\"\n", "site_daily": "start = \"2026-12-01\"\ndaily = [5]\n"}[name]
		return rest + "[source.mx]\naddress = [\"192.0.2.10\"]\n"
	case header == "[pool.mx]":
		rest := map[string]string{"weights": "sources = [\"out1\", \"out2\"]\n"}[name]
		return rest + "[source.out1]\naddress = [\"192.0.2.10\"]\n[source.out2]\naddress = [\"192.0.2.11\"]\n"
	case header == "[transport.mx]":
		return transportRest(name)
	case header == "[lookup.mx]":
		return map[string]string{"type": "file = \"users.txt\"\n", "file": "type = \"file\"\n"}[name]
	case header == "[tls]" || header == "[[tls.more]]":
		rest := map[string]string{"certificate": "key = \"k.pem\"\n", "key": "certificate = \"c.pem\"\n"}[name]
		if header == "[[tls.more]]" {
			rest += tlsTable
		}
		return rest
	case header != "" && header != "[[listener]]":
		return ""
	}
	rest := ""
	if header == "" {
		rest = "[[listener]]\n"
	}
	for _, line := range strings.Split(minimal, "\n")[3:] {
		if header == "" || !strings.HasPrefix(line, name+" ") {
			rest += line + "\n"
		}
	}
	switch name {
	case "tls":
		rest += tlsTable
	case "client_certificates":
		rest += "tls = \"starttls\"\nclient_ca = \"ca.pem\"\n" + tlsTable
	case "client_ca":
		rest += "tls = \"starttls\"\nclient_certificates = \"request\"\n" + tlsTable
	}
	return rest
}

// transportRest is what a transport needs besides one key.
func transportRest(name string) (rest string) {
	needs := map[string]string{
		"lmtp": "socket = \"/run/lmtp\"\n", "maildir": "root = \"/var/mail\"\n", "pipe": "command = [\"/bin/true\"]\n", "https": "url = \"https://a.example/\"\nsecret = \"in\"\n",
	}
	if name == "type" || name == "concurrency" {
		rest = needs["maildir"]
		if name == "type" {
			return rest
		}
		return "type = \"maildir\"\n" + rest
	}
	for _, k := range transportKeys() {
		if k.name != name {
			continue
		}
		for line := range strings.Lines(needs[k.types[0]]) {
			if !strings.HasPrefix(line, name+" ") {
				rest += line
			}
		}
		return "type = \"" + k.types[0] + "\"\n" + rest
	}
	return ""
}

const tlsTable = "[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n"

// TestEveryFieldIsDescribed: no Go field of Config is without a key.
func TestEveryFieldIsDescribed(t *testing.T) {
	c := new(Config)
	described(t, reflect.ValueOf(c).Elem(), c.fields(), "File", "Hash", "lines")
	l := new(Listener)
	described(t, reflect.ValueOf(l).Elem(), l.fields())
	r := new(Run)
	described(t, reflect.ValueOf(r).Elem(), r.fields())
	s := new(Certificate)
	described(t, reflect.ValueOf(s).Elem(), certificateFields(&s.Certificate, &s.Key, true))
	k := new(Lookup)
	described(t, reflect.ValueOf(k).Elem(), k.fields())
	from := new(Source)
	described(t, reflect.ValueOf(from).Elem(), from.fields())
	p := new(Pool)
	described(t, reflect.ValueOf(p).Elem(), p.fields())
	by := new(Sender)
	described(t, reflect.ValueOf(by).Elem(), by.fields())
	way := new(Transport)
	described(t, reflect.ValueOf(way).Elem(), way.fields())
	to := new(Site)
	described(t, reflect.ValueOf(to).Elem(), to.fields())
}

func described(t *testing.T, v reflect.Value, fields []field, except ...string) {
	t.Helper()
	into := map[uintptr]bool{}
	var gather func(fields []field)
	gather = func(fields []field) {
		for _, f := range fields {
			if f.to.into != nil {
				into[reflect.ValueOf(f.to.into).Pointer()] = true
			} else {
				gather(f.to.below())
			}
		}
	}
	gather(fields)
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		for i := range v.NumField() {
			name, fv := v.Type().Field(i).Name, v.Field(i)
			switch {
			case strings.Contains(" "+strings.Join(except, " ")+" ", " "+name+" "):
			case fv.Kind() == reflect.Struct && fv.Type() != reflect.TypeFor[Rate]() && fv.Type() != reflect.TypeFor[time.Time]():
				walk(fv, path+name+".")
			case !into[fv.Addr().Pointer()]:
				t.Errorf("%s%s is filled by no key", path, name)
			}
		}
	}
	walk(v, v.Type().Name()+".")
}

// TestNamesAreUnique: no table has a key twice, and names look alike.
func TestNamesAreUnique(t *testing.T) {
	shape := regexp.MustCompile(`^[a-z][a-z_]*$`)
	seen := map[string]bool{}
	for _, k := range Document() {
		if seen[k.Name] || !shape.MatchString(k.Name[strings.LastIndexByte(k.Name, '.')+1:]) {
			t.Errorf("%s stands twice, or is not lower case", k.Name)
		}
		seen[k.Name] = true
	}
}

func TestManual(t *testing.T) {
	m := Manual()
	for _, want := range []string{
		"\n## [[listener]]\n", "\n## [run.NAME.when]\n", "\n    [limits]\n",
		"- `sessions`: a whole number from 1 to 1000000; default `10000`. Sessions open at once.",
		"- `hostname`: a domain name in ASCII (xn-- for others) without a final dot; default: the system's host name.",
		"- `name`: a name of up to 64 lower-case letters, digits, - and _, with a letter or digit first; required.",
	} {
		if !strings.Contains(m, want) {
			t.Errorf("the manual lacks %q", want)
		}
	}
	for _, k := range Document() {
		if k.Table == "" && !strings.Contains(m, "- `"+k.Name[strings.LastIndexByte(k.Name, '.')+1:]+"`: "+k.Type) {
			t.Errorf("the manual lacks %s", k.Name)
		}
	}
}
