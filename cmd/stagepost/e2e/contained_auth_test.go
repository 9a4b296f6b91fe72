package e2e

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/wasm/asm"
)

// TestAuthAttacks is S19: a plugin is asked whether a password is right, and fails, or answers with something else than the verdict
// accept with a user. Only that verdict logs anybody in.
func TestAuthAttacks(t *testing.T) {
	verdict := func(kind hooks.Kind, more ...any) map[string]any {
		m := map[string]any{"kind": int64(kind)}
		for i := 0; i < len(more); i += 2 {
			m[more[i].(string)] = more[i+1]
		}
		return m
	}
	for n, runtime := range []string{"Lua", "WebAssembly"} {
		t.Run(runtime, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, relayConfig("127.0.0.1:9")+"\n[[listener]]\nname = \"submission\"\naddress = \"127.0.0.1:0\"\nrole = \"submission\"\nauth_without_tls = true\n")
			s.write("plugins/who.lua", "plugin { id = \"who\" }\nfunction on.mail(m)\n  return reject(\"the user is \" .. (m.session.user or \"unknown\"))\nend\n")
			s.write("plugins/"+luaFile, honest)
			a := &arena{server: s.start()}
			address := a.address("submission")
			for i, c := range []struct {
				name string
				lua  string
				wasm any // nil: it traps
				in   string
			}{
				{"accept", `return accept { user = "u" }`, verdict(hooks.Accept, "user", "u"), "u"},
				{"it throws", `error("no")`, nil, ""},
				{"it throws what is true", `error(true)`, true, ""},
				{"a text", `return "accept"`, "accept", ""},
				{"a number", `return 235`, int64(hooks.Accept), ""},
				{"true", `return true`, true, ""},
				{"a table", `return { kind = "accept", user = "u" }`, []any{verdict(hooks.Accept, "user", "u")}, ""},
				{"a kind in words", `return { accept = true, user = "u" }`, map[string]any{"kind": "accept", "user": "u"}, ""},
				{"accept without a user", `return accept()`, verdict(hooks.Accept), ""},
				{"accept of nobody", `return accept { user = "" }`, verdict(hooks.Accept, "user", ""), ""},
				{"accept of a number", `return accept { user = 1 }`, verdict(hooks.Accept, "user", int64(1)), ""},
				{"accept of a line end", `return accept { user = "u\r\nv" }`, verdict(hooks.Accept, "user", "u\r\nv"), ""},
				{"accept as at rcpt", `return accept "relay"`, verdict(hooks.Accept, "class", "relay"), ""},
				{"another verdict", `return route { via = "attack" }`, verdict(hooks.RouteTo, "via", "attack"), ""},
				{"no opinion", `return nil`, verdict(hooks.Next), ""},
				{"accept again", `return accept { user = "u" }`, verdict(hooks.Accept, "user", "u"), "u"},
			} {
				files := luaFiles(fmt.Sprintf("plugin { id = \"attack\", version = \"1.0.%d\" }\nfunction on.auth(l)\n%s\nend\n", i, c.lua))
				if n > 0 {
					files = authModule(t, i, c.wasm)
				}
				if why := a.install(files); why != "" {
					if c.in != "" || !strings.Contains(why, "plugins/"+luaFile+":3: ") {
						t.Errorf("%s: %s", c.name, why)
					}
					continue // some are refused when they are loaded
				}
				client := dial(t, address)
				name := fmt.Sprintf("name%d", i)
				reply, err := client.ask("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+name+"\x00secret")))
				if err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
				want := "530 5.7.0 log in first"
				if c.in != "" {
					want = "the user is " + c.in
				}
				who, err := client.ask("MAIL FROM:<a@client.example>")
				if err != nil || strings.HasPrefix(reply, "235 ") != (c.in != "") || !strings.HasSuffix(who, want) {
					t.Errorf("%s: %q, then %q, %v; want %q", c.name, reply, who, err, want)
				}
				client.conn.Close()
			}
			a.stop()
		})
	}
}

// authModule answers auth with a value, or traps.
func authModule(t testing.TB, version int, value any) map[string]string {
	t.Helper()
	text := "export func stagepost_hook i32 -> i64\nunreachable"
	if value != nil {
		raw := cbor(t, value)
		text = fmt.Sprintf("data 512 %s\nexport func stagepost_hook i32 -> i64\ni64.const %d\n", strconv.Quote(raw), 512<<32|len(raw))
	}
	code, err := asm.Plugin(text)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		wasmFolder + "/plugin.wasm": string(code),
		wasmFolder + "/plugin.toml": fmt.Sprintf("id = \"attack\"\nversion = \"1.0.%d\"\n\n[hook.auth]\n", version),
	}
}
