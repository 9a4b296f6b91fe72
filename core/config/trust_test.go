package config

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestTrustKeys writes each documented key of trust.toml with its example into a file and reads it.
func TestTrustKeys(t *testing.T) {
	header, tried := "", 0
	for _, k := range document("", new(TrustFile).fields()) {
		if k.Doc == "" || !strings.HasSuffix(k.Doc, ".") {
			t.Errorf("%s: no whole sentence in %q", k.Name, k.Doc)
		}
		if k.Table != "" {
			header = strings.Replace(k.Table, "PATTERN", "acme-*", 1)
			continue
		}
		if k.Type == "" || k.Example == "" || k.Required != (k.Default == "") {
			t.Errorf("%s is not fully documented: %+v", k.Name, k)
		}
		name := k.Name[strings.LastIndexByte(k.Name, '.')+1:]
		file := header + "\n" + name + " = " + k.Example + "\n"
		if header == "[[index]]" {
			for _, line := range []string{"name = \"main\"\n", "place = \"i\"\n", "namespaces = [\"*\"]\n"} {
				if !strings.HasPrefix(line, name+" ") {
					file += line
				}
			}
		}
		if _, err := ParseTrust("f", []byte(file)); err != nil {
			t.Errorf("%s: %v\n%s", k.Name, err, file)
		}
		if !strings.Contains(TrustManual(), "- `"+name+"`: ") {
			t.Errorf("%s is not in the manual", k.Name)
		}
		tried++
	}
	if tried != 9 {
		t.Errorf("%d keys tried", tried)
	}
	f := new(TrustFile)
	described(t, reflect.ValueOf(f).Elem(), f.fields(), "File", "lines")
	x := new(TrustedIndex)
	described(t, reflect.ValueOf(x).Elem(), x.fields())
}

// TestTrustExample: what the manual shows is read, and paths count from the file.
func TestTrustExample(t *testing.T) {
	f, err := ParseTrust(filepath.Join("etc", "trust.toml"), []byte(TrustExample()))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Indexes) != 2 || f.Indexes[0].Place != filepath.Join("etc", "catalog", "index.json") || f.Indexes[1].Place != "https://plugins.example.org/index.json" || len(f.Namespaces["mail-*"].Keys) != 1 {
		t.Errorf("%+v", f)
	}
	if got, want := f.Where("index", Index(1), "namespaces", Index(0)), filepath.Join("etc", "trust.toml")+":12"; got != want {
		t.Errorf("it is at %s, want %s", got, want)
	}
	if err := f.Wrong(Errors{f.Errorf([]string{"revoked"}, "b"), f.Errorf([]string{"index"}, "a")}); err == nil ||
		err.Error() != f.File+":3: index: a\n"+f.File+":19: revoked: b" {
		t.Errorf("got %v", err)
	}
	if err := f.Wrong(nil); err != nil {
		t.Errorf("got %v", err)
	}
}
