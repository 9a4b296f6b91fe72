package manifest

import (
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/config"
)

// TestGrant: what a plugin may do is what it asks for and the operator grants.
func TestGrant(t *testing.T) {
	const all = `dns = true, kv = "own", read = "body", edit = {"headers", "rcpts"}, route = {"mx", "*:587"}, facts = {"spam"}, relay = true`
	for _, c := range []struct {
		name, needs, grant string // grant in TOML; "" is none
		distrusted         bool
		granted            string // joined by "; "; or the error, after "!"
		withheld           string
	}{
		{"no grant", all, "", false, "dns; kv own; read body; edit headers; edit rcpts; facts spam; route mx; route *:587; relay", ""},
		{"some keys", all, `{ dns = false, read = "headers" }`, false,
			"kv own; read headers; edit headers; edit rcpts; facts spam; route mx; route *:587; relay", "dns; read body"},
		{"lists", all, `{ edit = ["headers", "sender"], route = ["smtp.example.org:*"], facts = ["spam.score", "virus"], kv = false, relay = false }`, false,
			"dns; read body; edit headers; facts spam.score; route *:587 within smtp.example.org:*", "kv own; edit rcpts; facts spam; route mx; route *:587; relay"},
		{"narrower", `http = {"*:443", "a.example:80"}`, `{ http = ["api.example.org:443", "*:80"] }`, false, "http api.example.org:443; http *:443 within *:80; http a.example:80", "http *:443"},
		{"networks", `net = {"192.0.2.0/24:25", "[2001:db8::/32]:25", "a.example:25", "192.0.2.9:25"}`, `{ net = ["192.0.2.128/25:25", "192.0.2.0/28:25", "[2001:db8::/16]:25"] }`, false,
			"!stagepost.toml:7: run.vip.grant.net: \"[2001:db8::/16]:25\" is no IP network with a port; write its first address", ""},
		{"parts of networks", `net = {"192.0.2.0/24:25", "[2001:db8::/32]:25", "a.example:25", "192.0.2.9:25"}`, `{ net = ["192.0.2.128/25:25", "192.0.2.0/28:25", "[2001:d00::/24]:25"] }`, false,
			"net 192.0.2.128/25:25; net 192.0.2.0/28:25; net [2001:db8::/32]:25; net a.example:25 within 192.0.2.128/25:25; net a.example:25 within 192.0.2.0/28:25; net a.example:25 within [2001:d00::/24]:25; net 192.0.2.9:25", "net 192.0.2.0/24:25; net a.example:25"},
		{"more than asked", `dns = true`, `{ dns = true, kv = "own", http = ["*:443"] }`, false, "dns", ""},
		{"empty", all, `{ }`, false, "dns; kv own; read body; edit headers; edit rcpts; facts spam; route mx; route *:587; relay", ""},
		{"nothing asked", "", "", true, "", ""},
		{"distrusted", `dns = true, route = {"mx"}`, "", true,
			"!p.lua:1: nobody granted what the plugin asks for (dns, route mx); to grant it, write\n[run.vip]\ngrant = { dns = true, route = [\"mx\"] }", ""},
		{"distrusted, half decided", `dns = true, kv = "own", read = "body", edit = {"rcpts"}`, `{ kv = false, read = "headers" }`, true,
			"!p.lua:1: nobody granted what the plugin asks for (dns, edit rcpts); to grant it, write\n[run.vip]\ngrant = { dns = true, kv = false, read = \"headers\", edit = [\"rcpts\"] }", ""},
		{"distrusted, decided", `dns = true, kv = "own"`, `{ dns = true, kv = false }`, true, "dns", "kv own"},
		{"unknown", "dns = true", `{ dsn = true }`, false, `!stagepost.toml:7: unknown capability "dsn" in run.vip.grant; did you mean "dns"?`, ""},
		{"wrong", "dns = true", `{ dns = 1, route = ["host"] }`, false, "!stagepost.toml:7: run.vip.grant.dns: 1; want true or false\nstagepost.toml:7: run.vip.grant.route: \"host\"; want ", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := read("p.lua", []byte(`plugin { id = "vip", needs = { `+c.needs+` } }`))
			if err != nil {
				t.Fatal(err)
			}
			m, err = m.Grant(Grant{Name: "vip", Table: tomlTable(t, c.grant), Trusted: !c.distrusted, Place: func(string) config.Error { return config.Error{File: "stagepost.toml", Line: 7} }})
			if want, bad := strings.CutPrefix(c.granted, "!"); bad {
				if err == nil || !strings.HasPrefix(err.Error(), want) {
					t.Fatalf("the error is %v, not %s", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			granted, withheld := m.GrantedWords()
			if g, w := strings.Join(granted, "; "), strings.Join(withheld, "; "); g != c.granted || w != c.withheld {
				t.Errorf("granted %s\nwithheld %s", g, w)
			}
		})
	}
}

// TestGrantLine: what the operator is told to write grants all that was asked for.
func TestGrantLine(t *testing.T) {
	for _, c := range capability.Capabilities() {
		m := lua(t, `plugin { id = "vip", needs = { `+c.Form+` } }`)
		_, err := m.Grant(Grant{Name: "vip"})
		if err == nil {
			t.Fatalf("%s is granted by nobody", c.Name)
		}
		_, line, _ := strings.Cut(err.Error(), "grant = ")
		m, err = m.Grant(Grant{Name: "vip", Table: tomlTable(t, line), Place: func(string) config.Error { return config.Error{} }})
		if err != nil {
			t.Fatal(err)
		}
		if granted, withheld := m.GrantedWords(); !slices.Equal(granted, Words(m.Needs)) || withheld != nil {
			t.Errorf("%s grants %q and withholds %q", line, granted, withheld)
		}
	}
}

// TestGranted: both lists are asked, and a refusal says who can change it.
func TestGranted(t *testing.T) {
	m := lua(t, `plugin { id = "vip", needs = { http = {"*:443"}, dns = true, edit = {"headers", "sender"} } }`)
	m, err := m.Grant(Grant{Name: "vip", Trusted: true, Table: tomlTable(t, `{ http = ["*.example.org:*"], dns = false, edit = ["sender"] }`), Place: func(string) config.Error { return config.Error{} }})
	if err != nil {
		t.Fatal(err)
	}
	http := func(n *capability.Needs) []string { return n.HTTP }
	for host, want := range map[string]bool{"a.example.org:443": true, "a.example.org:80": false, "a.example.com:443": false} {
		if got := m.Granted.Allow(http, host); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
	for need, want := range map[string]string{
		"http": "", "edit sender": "",
		"dns":          "it is not granted: the plugin asks for it, and the operator's grant leaves it out",
		"edit headers": "it is not granted: the plugin asks for it, and the operator's grant leaves it out",
		"edit rcpts":   `it is not granted: ask with needs = { edit = {"rcpts"} }`,
	} {
		if err := m.Granted.Refuse("it", need); err == nil && want != "" || err != nil && err.Error() != want {
			t.Errorf("%s: %v", need, err)
		}
	}
}

func tomlTable(t *testing.T, text string) map[string]any {
	t.Helper()
	var v struct{ V map[string]any }
	if text != "" {
		if err := toml.Unmarshal([]byte("V = "+text), &v); err != nil {
			t.Fatal(err)
		}
	}
	return v.V
}

// TestNetwork: networks of http and net.
func TestNetwork(t *testing.T) {
	for entry, want := range map[string]bool{
		"192.0.2.0/24:443": true, "10.0.0.0/8:1": true, "192.0.2.9/32:65535": true, "[2001:db8::/32]:25": true, "[fc00::/7]:25": true, "[::1/128]:25": true,
		"0.0.0.0/0:443": false, "10.0.0.0/7:443": false, "[::/0]:25": false, "192.0.2.1/24:443": false, "192.0.2.0/24": false, "192.0.2.0/33:25": false,
		"192.0.2.0/24:0": false, "192.0.2.0/24:65536": false, "192.0.2.0/24:025": false, "192.0.2.0/24:*": false, "[::ffff:10.0.0.0/104]:25": false, "2001:db8::/32:25": false, "unix:/a:25": false, "192.0.2.1:25": false,
	} {
		if _, _, ok := Network(entry); ok != want {
			t.Errorf("%s: %v", entry, ok)
		}
	}
}
