package config

import (
	"errors"
	"flag"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write testdata/bad/*.errors anew")

const minimal = `
hostname = "mx1.example.org"
[[listener]]
name = "mx"
address = "127.0.0.1:2525"
role = "mx"
`

func mustParse(t *testing.T, name, data string) *Config {
	t.Helper()
	c, err := Parse(name, []byte(data), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestErrors reads testdata/bad/NAME.toml and compares what is reported with NAME.errors.
func TestErrors(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatal("no test files", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, err := Parse("stagepost.toml", data, Options{})
			if err == nil || c != nil {
				t.Fatal("no error")
			}
			got := err.Error() + "\n"
			golden := strings.TrimSuffix(file, ".toml") + ".errors"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("reported:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestErrorsUnwrap(t *testing.T) {
	_, err := Parse("a.toml", []byte(minimal+"\n[limits]\nx = 1\n"), Options{})
	var one Error
	if !errors.As(err, &one) || one.File != "a.toml" || one.Line != 9 || !strings.HasPrefix(one.Text, "limits.x: unknown key") {
		t.Errorf("got %+v of %v", one, err)
	}
}

func TestDefaults(t *testing.T) {
	c := mustParse(t, "stagepost.toml", minimal)
	got := *c
	got.Hash, got.lines = [32]byte{}, nil
	want := Config{
		File:      "stagepost.toml",
		Hostname:  "mx1.example.org",
		Data:      "/var/lib/stagepost",
		Listeners: []Listener{{Name: "mx", Address: "127.0.0.1:2525", Role: "mx", TLS: "off", RejectAt: "stage"}},
		TLS:       TLS{More: []Certificate{}},
		Resolver:  Resolver{Timeout: 3 * time.Second},
		Limits: Limits{Sessions: 10000, SessionsPerIP: 100, MessageSize: 50_000_000, Recipients: 1000, Errors: 20, ErrorDelay: 200 * time.Millisecond,
			CommandTimeout: 5 * time.Minute, DataTimeout: 3 * time.Minute, SessionTime: 2 * time.Hour},
		Queue: Queue{
			Retry:  []time.Duration{5 * time.Minute, 15 * time.Minute, time.Hour, 4 * time.Hour},
			Expire: 5 * day, Concurrency: 20, ConnectionMessages: 100, Prefer: "any", TLS: "auto",
		},
		Plugins:    Plugins{TrustFolder: true},
		Sources:    map[string]Source{},
		Sites:      map[string]Site{},
		Pools:      map[string]Pool{},
		Senders:    map[string]Sender{},
		Settings:   map[string]map[string]any{},
		Lookups:    map[string]Lookup{},
		Transports: map[string]Transport{},
		Runs:       map[string]Run{},
		Trace:      Trace{Keep: 7 * day, Size: 256_000_000},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestValues(t *testing.T) {
	c := mustParse(t, filepath.Join("etc", "stagepost.toml"), `
hostname = "MX1.example.org"
data = "data"
listener = [{ name = "a", address = ":025", role = "mx" }, { name = "b", address = "[0:0::1]:0", role = "mx", greeting_delay = "6s", proxy_protocol = ["192.0.2.1", "::ffff:192.0.2.2", "2001:db8::/32"] }]
[resolver]
servers = ["192.0.2.1", "[2001:db8:0::1]:5353", "2001:db8::2"]
[limits]
message_size = "64KiB"
[plugins]
folder = "plugins"
enable = ["relay"]
[plugin.relay]
networks = ["127.0.0.0/8"]
deep = { "a.b" = [1, 2.5, true] }
[plugin.empty]
[run.relay]
order = -1
when.user = false
[run.second]
plugin = "relay"
timeout = "1m30s"
grant = { dns = true, route = ["*:587"] }
[queue]
rate = "100/30s"
[source.out]
address = ["192.0.2.10", "::ffff:192.0.2.11", "2001:db8::10"]
[site."mx.example.net:25"]
rate = "none"
[source.out.warmup]
start = "2026-12-01"
daily = [50, 100]
[pool.all]
sources = ["out"]
[site."google.com"]
concurrency = 50
rate = "1000/h"
retry = ["1m"]
warn = "0s"
window = "Mon  08:00-09:00 UTC"
[sender."news.example.org"]
expire = "1d"
[sender."<>"]
retry = ["1h"]
`)
	user, order := false, -1
	for _, tt := range []struct{ name, got, want any }{
		{"hostname", c.Hostname, "MX1.example.org"},
		{"data", c.Data, filepath.Join("etc", "data")},
		{"folder", c.Plugins.Folder, filepath.Join("etc", "plugins")},
		{"listeners", c.Listeners, []Listener{
			{Name: "a", Address: ":25", Role: "mx", TLS: "off", RejectAt: "stage"},
			{Name: "b", Address: "[::1]:0", Role: "mx", TLS: "off", RejectAt: "stage", GreetingDelay: 6 * time.Second,
				ProxyProtocol: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32"), netip.MustParsePrefix("2001:db8::/32")}},
		}},
		{"servers", c.Resolver.Servers, []string{"192.0.2.1:53", "[2001:db8::1]:5353", "[2001:db8::2]:53"}},
		{"size", c.Limits.MessageSize, int64(65536)},
		{"rate", c.Queue.Rate, Rate{100, 30 * time.Second}},
		{"sources", c.Sources, map[string]Source{"out": {Address: []netip.Addr{netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("2001:db8::10")},
			Warmup: Warmup{Start: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), Daily: []int{50, 100}}}}},
		{"pools", c.Pools, map[string]Pool{"all": {Sources: []string{"out"}}}},
		{"senders", c.Senders, map[string]Sender{"news.example.org": {Times{Expire: day}}, "<>": {Times{Retry: []time.Duration{time.Hour}}}}},
		{"sites", c.Sites, map[string]Site{"mx.example.net:25": {Rate: Rate{Per: time.Second}}, "google.com": {Concurrency: 50, Rate: Rate{1000, time.Hour}, Times: Times{Retry: []time.Duration{time.Minute}, Warn: new(time.Duration)},
			Window: &Window{text: "Mon 08:00-09:00 UTC", zone: time.UTC, spans: []span{{[7]bool{1: true}, 480, 540}}}}}},
		{"place of a site", c.Where("site", "google.com", "rate"), filepath.Join("etc", "stagepost.toml") + ":36"},
		{"written", []bool{c.Written("site", "google.com", "rate"), c.Written("site", "google.com", "connection_messages"), c.Written("queue", "rate"), c.Written("queue", "concurrency")}, []bool{true, false, true, false}},
		{"settings", c.Settings, map[string]map[string]any{
			"relay": {"networks": []any{"127.0.0.0/8"}, "deep": map[string]any{"a.b": []any{int64(1), 2.5, true}}},
			"empty": {},
		}},
		{"runs", c.Runs, map[string]Run{
			"relay":  {Plugin: "relay", Order: &order, When: When{User: &user}},
			"second": {Plugin: "relay", Timeout: 90 * time.Second, Grant: map[string]any{"dns": true, "route": []any{"*:587"}}},
		}},
	} {
		if !reflect.DeepEqual(tt.got, tt.want) {
			t.Errorf("%s: got %#v, want %#v", tt.name, tt.got, tt.want)
		}
	}
}

func TestHostnameOfSystem(t *testing.T) {
	data := []byte(strings.Replace(minimal, "hostname", "#", 1))
	for _, tt := range []struct {
		system string
		err    error
		want   string
	}{
		{"host.example.net", nil, "host.example.net"},
		{"single", nil, "single"},
		{"under_score.example", nil, ""},
		{"192.0.2.1", nil, ""},
		{"", errors.New("no name"), ""},
	} {
		c, err := Parse("stagepost.toml", data, Options{Hostname: func() (string, error) { return tt.system, tt.err }})
		switch {
		case tt.want != "" && (err != nil || c.Hostname != tt.want):
			t.Errorf("%q: got %v, %v", tt.system, c, err)
		case tt.want == "" && (err == nil || !strings.Contains(err.Error(), "hostname is missing")):
			t.Errorf("%q: error %v", tt.system, err)
		}
	}
}

func TestWhere(t *testing.T) {
	c := mustParse(t, "stagepost.toml", `hostname = "mx1.example.org"
[[listener]]
name = "mx"
address = ":25"
role = "mx"

[[listener]]
name = "second"
role = "mx"
address = ":26"

[plugin.relay]
networks = [
    "127.0.0.0/8", # loopback

    "192.0.2.0/24", "198.51.100.0/24",
]
[plugin.route.domains]
"lists.example.org" = { host = "a",
    port = 24 }
[[plugin.route.rule]]
[[plugin.route.rule]]
[plugin.route.rule.to]
text = """
two lines"""
host = [[
  "a"], [
  "b"]]
`)
	for _, tt := range []struct {
		path string
		want int
	}{
		{"", 1},
		{"hostname", 1},
		{"data", 1},
		{"listener [0] address", 4},
		{"listener [1]", 7},
		{"listener [1] address", 10},
		{"listener [1] tls", 7},
		{"plugin relay", 12},
		{"plugin relay networks", 13},
		{"plugin relay networks [0]", 14},
		{"plugin relay networks [2]", 16},
		{"plugin relay networks [9]", 13},
		{"plugin route domains lists.example.org", 19},
		{"plugin route domains lists.example.org port", 20},
		{"plugin route rule [1]", 22},
		{"plugin route rule [1] to", 23},
		{"plugin route rule [1] to host [0] [0]", 27},
		{"plugin route rule [1] to host [1] [0]", 28},
	} {
		path := strings.Fields(tt.path)
		if got, want := c.Where(path...), place("stagepost.toml", tt.want); got != want {
			t.Errorf("%s: %s, want %s", tt.path, got, want)
		}
	}
	err := c.Errorf([]string{"plugin", "relay", "networks", Index(2)}, "%q is not a network", "x")
	if got, want := err.Error(), `stagepost.toml:16: plugin.relay.networks: "x" is not a network`; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if got := new(Config).Where("limits"); got != ":1" {
		t.Errorf("a Config made by hand: %q", got)
	}
}

func TestLoad(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "stagepost.toml")
	if _, err := Load(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if err := os.WriteFile(path, []byte(minimal+"tls = 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); !errors.As(err, new(Errors)) {
		t.Errorf("wrong file: %v", err)
	}
	large := append([]byte(minimal), []byte(strings.Repeat("#", MaxFile))...)
	if err := os.WriteFile(path, large, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "larger than 1MiB") {
		t.Errorf("large file: %v", err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(minimal, "[[", "data = \"d\"\n[[", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if a.Data != filepath.Join(folder, "d") || a.File != path {
		t.Errorf("data %s, file %s", a.Data, a.File)
	}
	b := mustParse(t, path, minimal+"# more\n")
	if a.Hash == b.Hash || a.Hash == [32]byte{} || !reflect.DeepEqual(a.Listeners, b.Listeners) || a.Limits != b.Limits {
		t.Error("equal parts differ, or hashes do not")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte(Example()))
	files, _ := filepath.Glob("testdata/bad/*.toml")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f", data, Options{})
		if (c == nil) != (err != nil) {
			t.Fatal("a configuration and an error, or neither")
		}
		if err == nil {
			if c.Hostname == "" || len(c.Listeners) == 0 || len(c.Queue.Retry) == 0 || c.Limits.Sessions < 1 {
				t.Fatalf("incomplete: %+v", c)
			}
			return
		}
		var all Errors
		if !errors.As(err, &all) || len(all) == 0 || len(all) > maxErrors {
			t.Fatalf("%d errors of type %T", len(all), err)
		}
		last := 1 + strings.Count(string(data), "\n")
		for i, e := range all {
			if e.Line < 1 || e.Line > last || e.Text == "" || len(e.Text) > 1000 || i > 0 && e.Line < all[i-1].Line {
				t.Fatalf("error %d of a file of %d lines: %+v", i, last, e)
			}
		}
	})
}

func TestLookups(t *testing.T) {
	c := mustParse(t, "/etc/stagepost/stagepost.toml", minimal+"\n[lookup.users]\ntype = \"file\"\nfile = \"users.txt\"\n[lookup.bad-nets]\ntype = \"cidr\"\nfile = \"/srv/nets\"\n")
	want := map[string]Lookup{"users": {"file", "/etc/stagepost/users.txt"}, "bad-nets": {"cidr", "/srv/nets"}}
	if filepath.Separator == '/' && !reflect.DeepEqual(c.Lookups, want) {
		t.Errorf("%v, want %v", c.Lookups, want)
	}
}
