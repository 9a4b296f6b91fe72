package manifest

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/config"
)

func TestTables(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", `{"file":"r.toml","line":1}`},
		{"# rules\n\n[[rule]]\ncode = 421\n\n[[rule]]\nslow = { rate = \"1/h\" }\nlist = [1, \"a\", { x = true }]\n[other]\n",
			`{"file":"r.toml","line":1,"other":{"file":"r.toml","line":9},"rule":[{"code":421,"file":"r.toml","line":3},{"file":"r.toml","line":6,"list":[1,"a",{"file":"r.toml","line":8,"x":true}],"slow":{"file":"r.toml","line":7,"rate":"1/h"}}]}`},
		{"a = 1\n[t]\nline = 2\n", "r.toml:3: line: each table has that by itself; take it out"},
		{"file = \"x\"", "r.toml:1: file: each table has that by itself; take it out"},
		{"a = 1\na = 2", "r.toml:2: this is not valid TOML: "},
		{"[[a\n", "r.toml:1: this is not valid TOML: "},
		{"a = 2026-01-01", "r.toml:1: a date or time cannot stand here"},
		{"a = nan", "r.toml:1: NaN is not a number"},
	} {
		v, err := Tables("r.toml", []byte(c.in))
		if got, _ := json.Marshal(v); err == nil && string(got) != c.want || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%q: %s, %v, want %s", c.in, got, err, c.want)
		}
	}
}

func TestPlaceTables(t *testing.T) {
	at := func(path ...string) (string, int) { return "s.toml", 10 + len(strings.Join(path, "")) }
	v := map[string]any{"rule": []any{map[string]any{"a": int64(1)}, int64(2)}}
	if err := PlaceTables(v, at, config.Index); err != nil {
		t.Fatal(err)
	}
	if got, _ := json.Marshal(v); string(got) != `{"file":"s.toml","line":10,"rule":[{"a":1,"file":"s.toml","line":17},2]}` {
		t.Errorf("%s", got)
	}
	if err := PlaceTables(map[string]any{"t": map[string]any{"line": int64(1)}}, at, config.Index); err == nil || err.Error() != "s.toml:15: line: each table has that by itself; take it out" {
		t.Error(err)
	}
}

// FuzzTables: whatever a file holds, each table of it knows where it stands.
func FuzzTables(f *testing.F) {
	f.Add([]byte("[[rule]]\ncode = 421\nslow = { rate = \"1/h\" }\n[a.b]\nc = [[{}]]\n"))
	f.Add([]byte("line = 1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := Tables("r.toml", data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "r.toml:") {
				t.Errorf("an error without a place: %v", err)
			}
			return
		}
		var look func(v any)
		look = func(v any) {
			switch v := v.(type) {
			case map[string]any:
				if line, ok := v["line"].(int64); !ok || line < 1 || int(line) > 1+strings.Count(string(data), "\n") || v["file"] != "r.toml" {
					t.Errorf("a table at %v:%v", v["file"], v["line"])
				}
				for _, e := range v {
					look(e)
				}
			case []any:
				for _, e := range v {
					look(e)
				}
			}
		}
		look(v)
	})
}
