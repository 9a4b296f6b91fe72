package manifest

import (
	"slices"
	"testing"

	"github.com/stagepost/stagepost/core/config"
)

func TestBeyond(t *testing.T) {
	all := map[string]any{"dns": true, "kv": "own", "http": []any{"*.example:443"}, "read": "body", "edit": []string{"headers", "body"}, "relay": false}
	for _, c := range []struct {
		asked, accepted map[string]any
		want            []string
	}{
		{all, all, nil},
		{nil, nil, nil},
		{nil, all, nil},
		{all, nil, []string{"dns", "kv own", "http *.example:443", "read body", "edit headers", "edit body"}},
		{map[string]any{"read": "headers"}, all, nil},
		{all, map[string]any{"dns": true, "kv": "own", "http": []any{"*.example:443"}, "read": "headers", "edit": []any{"body"}}, []string{"read body", "edit headers"}},
		{map[string]any{"http": []any{"a.example:443"}}, all, []string{"http a.example:443"}}, // it is not weighed
		{map[string]any{"http": []any{"private"}}, map[string]any{"http": []any{"*"}}, []string{"http private"}},
	} {
		place := func(string) config.Error { return config.Error{File: "f", Line: 1} }
		asked, err := ReadNeeds("needs", c.asked, place)
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := ReadNeeds("needs", c.accepted, place)
		if err != nil {
			t.Fatal(err)
		}
		if got := Beyond(asked, accepted); !slices.Equal(got, c.want) {
			t.Errorf("%v against %v: %v, want %v", c.asked, c.accepted, got, c.want)
		}
	}
}

func TestReadNeedsTellsThePlace(t *testing.T) {
	_, err := ReadNeeds("plugin.a.needs", map[string]any{"dns": int64(1), "htp": true}, func(key string) config.Error {
		return config.Error{File: "plugins.lock", Line: map[string]int{"dns": 7, "htp": 9}[key]}
	})
	want := "plugins.lock:7: plugin.a.needs.dns: 1; want true or false\n" + `plugins.lock:9: unknown capability "htp" in plugin.a.needs; did you mean "http"? known: `
	if err == nil || len(err.Error()) < len(want) || err.Error()[:len(want)] != want {
		t.Errorf("%v", err)
	}
}
