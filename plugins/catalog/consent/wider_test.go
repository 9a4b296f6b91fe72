package consent_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/consent"
)

// luaPlugin is a package of a plugin p. header is what stands in it besides id and version; code comes after it.
func luaPlugin(t testing.TB, header, code string) *catalog.Package {
	t.Helper()
	text := fmt.Sprintf("plugin { id = \"p\", version = \"1.0.0\", %s }\n%s\n", header, code)
	return pack(t, map[string][]byte{"init.lua": []byte(text)})
}

// wasmPlugin is one in WebAssembly. Its module is never run, so any bytes will do.
func wasmPlugin(t testing.TB, toml string) *catalog.Package {
	t.Helper()
	return pack(t, map[string][]byte{"plugin.wasm": []byte("\x00asm"), "plugin.toml": []byte("id = \"p\"\nversion = \"1.0.0\"\n" + toml)})
}

func pack(t testing.TB, files map[string][]byte) *catalog.Package {
	t.Helper()
	p, err := catalog.Pack("p", files)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func sheetOf(t testing.TB, p *catalog.Package) *consent.Sheet {
	t.Helper()
	s, err := consent.Of(p)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// pair is two versions of a plugin in Lua, and what the second asks for beyond the first.
type pair struct {
	name     string
	old, now version
	want     string // "": nothing; else what each item begins with, in lines
}

type version struct{ header, code string }

// asks is a plugin that differs in its needs alone.
func asks(needs string) version { return version{header: "needs = { " + needs + " }"} }

// hooked is one whose hook at rcpt is declared so.
func hooked(keys string) version {
	return version{"hook = { rcpt = { " + keys + " } }", "function on.rcpt(r) end"}
}

func coded(code string) version { return version{code: code} }

const rcptOnly = "function on.rcpt(r) end"

var pairs = []pair{
	// Capabilities that are there or not.
	{"the same", asks(`dns = true, kv = "own"`), asks(`dns = true, kv = "own"`), ""},
	{"dns", asks(""), asks("dns = true"), "contacts the DNS"},
	{"dns no more", asks("dns = true"), asks(""), ""},
	{"kv", asks(""), asks(`kv = "own"`), "keeps values of its own"},
	{"relay", asks(""), asks("relay = true"), "lets in mail for other systems"},
	{"inject", asks(""), asks("inject = true"), "contacts anybody, by mail of its own"},
	{"spf beside dns", asks("dns = true"), asks("dns = true, spf = true"), "contacts the DNS, to check by SPF"},
	{"two at once", asks(""), asks(`dns = true, kv = "own"`), "contacts the DNS\nkeeps values"},
	{"one for another", asks("dns = true"), asks(`kv = "own"`), "keeps values"},
	// Levels and parts.
	{"headers", asks(""), asks(`read = "headers"`), "reads the header of messages"},
	{"body after headers", asks(`read = "headers"`), asks(`read = "body"`), "reads messages whole"},
	{"headers after body", asks(`read = "body"`), asks(`read = "headers"`), ""},
	{"edit one more", asks(`edit = {"headers"}`), asks(`edit = {"headers", "body"}`), "changes the body of messages"},
	{"edit one less", asks(`edit = {"headers", "rcpts"}`), asks(`edit = {"rcpts"}`), ""},
	{"edit another", asks(`edit = {"sender"}`), asks(`edit = {"rcpts"}`), "changes the recipients"},
	// Hosts.
	{"order of a list", asks(`http = {"a.example:443", "b.example:443"}`), asks(`http = {"b.example:443", "a.example:443"}`), ""},
	{"another host", asks(`http = {"a.example:443"}`), asks(`http = {"b.example:443"}`), "contacts b.example:443, by HTTP"},
	{"another port", asks(`http = {"a.example:443"}`), asks(`http = {"a.example:80"}`), "contacts a.example:80"},
	{"net is not http", asks(`http = {"a.example:443"}`), asks(`net = {"a.example:443"}`), "contacts a.example:443, by connections"},
	{"pattern for a host", asks(`http = {"a.example:443"}`), asks(`http = {"*.example:443"}`), "contacts hosts that match *.example:443"},
	{"narrower pattern", asks(`http = {"*.example:443"}`), asks(`http = {"*.a.example:443"}`), ""},
	{"wider pattern", asks(`http = {"*.a.example:443"}`), asks(`http = {"*.example:443"}`), "contacts hosts that match *.example:443"},
	{"any port", asks(`http = {"*.example:443"}`), asks(`http = {"*.example:*"}`), "contacts hosts that match *.example:*"},
	{"one port", asks(`http = {"*.example:*"}`), asks(`http = {"*.example:443"}`), ""},
	{"any host", asks(`http = {"*:443"}`), asks(`http = {"*"}`), "contacts any host, by HTTP"},
	{"a star more says the same", asks(`http = {"*:443"}`), asks(`http = {"**:443"}`), ""},
	{"overlap is not cover", asks(`http = {"a*.example:443"}`), asks(`http = {"*b.example:443"}`), "contacts hosts that match *b.example:443"},
	{"private", asks(`http = {"*"}`), asks(`http = {"*", "private"}`), "contacts also hosts in private networks"},
	{"private no more", asks(`http = {"*", "private"}`), asks(`http = {"*"}`), ""},
	{"naming lifts the bar", asks(`http = {"*:443"}`), asks(`http = {"a.example:443"}`), "contacts a.example:443, by HTTP, also at a private address"},
	{"naming what may be private", asks(`http = {"*:443", "private"}`), asks(`http = {"a.example:443"}`), ""},
	{"an address is named, too", asks(`net = {"10.*:25"}`), asks(`net = {"10.0.0.1:25"}`), "contacts 10.0.0.1:25"},
	// Networks.
	{"network", asks(`net = {"192.0.2.1:25"}`), asks(`net = {"192.0.2.0/24:25"}`), "contacts any host in the network 192.0.2.0/24, port 25"},
	{"smaller network", asks(`net = {"192.0.2.0/24:25"}`), asks(`net = {"192.0.2.128/25:25"}`), ""},
	{"larger network", asks(`net = {"192.0.2.0/25:25"}`), asks(`net = {"192.0.2.0/24:25"}`), "contacts any host in the network 192.0.2.0/24"},
	{"network, other port", asks(`net = {"192.0.2.0/24:25"}`), asks(`net = {"192.0.2.0/24:26"}`), "contacts any host in the network 192.0.2.0/24, port 26"},
	{"address of a network", asks(`net = {"192.0.2.0/24:25"}`), asks(`net = {"192.0.2.7:25"}`), ""},
	{"IPv6 network", asks(`net = {"[2001:db8::/32]:25"}`), asks(`net = {"[2001:db8:1::/48]:25"}`), ""},
	{"IPv6 network is no IPv4", asks(`net = {"[fc00::/7]:25"}`), asks(`net = {"10.0.0.0/8:25"}`), "contacts any host in the network 10.0.0.0/8"},
	{"a network may be private", asks(`net = {"*:25"}`), asks(`net = {"10.0.0.0/8:25"}`), "contacts any host in the network 10.0.0.0/8"},
	{"a pattern is no network", asks(`net = {"192.*:25", "private"}`), asks(`net = {"192.0.2.0/24:25"}`), "contacts any host in the network"},
	{"all hosts are a network", asks(`net = {"*:25", "private"}`), asks(`net = {"10.0.0.0/8:25"}`), ""},
	{"all hosts and ports are a network", asks(`net = {"*", "private"}`), asks(`net = {"10.0.0.0/8:25"}`), ""},
	{"all hosts, other port", asks(`net = {"*:26", "private"}`), asks(`net = {"10.0.0.0/8:25"}`), "contacts any host in the network"},
	{"a name for a network", asks(`net = {"10.0.0.0/8:25"}`), asks(`net = {"a.example:25"}`), "contacts a.example:25"},
	// Sockets.
	{"socket", asks(`net = {"*", "private"}`), asks(`net = {"*", "private", "unix:/run/a"}`), "contacts the program on this machine behind the socket /run/a"},
	{"all sockets", asks(`net = {"*", "private", "unix:/run/a"}`), asks(`net = {"*", "private", "unix:*"}`), "contacts any program on this machine"},
	{"one of all sockets", asks(`net = {"unix:*"}`), asks(`net = {"unix:/run/a"}`), ""},
	{"another socket", asks(`net = {"unix:/run/a"}`), asks(`net = {"unix:/run/b"}`), "contacts the program on this machine behind the socket /run/b"},
	{"a star in a path is one", asks(`net = {"unix:/run/*"}`), asks(`net = {"unix:/run/a"}`), "contacts the program"},
	// Names.
	{"secret", asks(`secrets = {"dkim/*"}`), asks(`secrets = {"dkim/*", "arc/*"}`), "reads those of your secrets whose names match arc/*"},
	{"narrower secrets", asks(`secrets = {"dkim/*"}`), asks(`secrets = {"dkim/example.org"}`), ""},
	{"all secrets", asks(`secrets = {"dkim/*"}`), asks(`secrets = {"*"}`), "reads all your secrets"},
	{"a secret called private", asks(`secrets = {"*"}`), asks(`secrets = {"private"}`), ""},
	{"lookup", asks(`lookup = {"users"}`), asks(`lookup = {"users", "names"}`), "reads what is in your lookup names"},
	{"lookups by pattern", asks(`lookup = {"us*"}`), asks(`lookup = {"users"}`), ""},
	{"fact", asks(`facts = {"spam.score"}`), asks(`facts = {"spam"}`), "changes what is known of mail as spam"},
	{"fact within", asks(`facts = {"spam.*"}`), asks(`facts = {"spam.score"}`), ""},
	{"shape", asks(`shape = {"site:*"}`), asks(`shape = {"site:*", "tenant:a"}`), "changes when and where queued mail is sent: that of the tenant a"},
	{"shape within", asks(`shape = {"*"}`), asks(`shape = {"site:*.example"}`), ""},
	{"route", asks(`route = {"mx"}`), asks(`route = {"mx", "*:587"}`), "changes where mail is sent: hosts that match *:587"},
	{"route by mx within all", asks(`route = {"*"}`), asks(`route = {"mx"}`), ""},
	{"route to a named host", asks(`route = {"*"}`), asks(`route = {"a.example:25"}`), "changes where mail is sent: a.example:25, also at a private address"},
	{"transport", asks(`route = {"*", "private"}`), asks(`route = {"transport:archive"}`), "changes where mail is sent: your transport archive"},
	{"transport within", asks(`route = {"transport:*"}`), asks(`route = {"transport:archive"}`), ""},
	// Stages and answers.
	{"stage", coded(rcptOnly), coded(rcptOnly + "\nfunction on.data(m) end"), "is asked when a message is here\nmay when a message is here, before it is taken (data): when it fails: refuse for now"},
	{"stage without an answer", coded(rcptOnly), coded(rcptOnly + "\nfunction on.disconnect(s) end"), "is asked when a client has gone (disconnect)"},
	{"stage less", coded(rcptOnly + "\nfunction on.data(m) end"), coded(rcptOnly), ""},
	{"log-ins", coded(rcptOnly), coded("function on.auth(l) return accept{user = l.name} end"), "reads the names and passwords that clients log in with\nis asked when a client logs in (auth)\nmay when a client logs in (auth): when it fails: refuse it for now\nlets in clients that log in, as any user"},
	{"a hook that the header names and the code has not", coded(rcptOnly), version{"hook = { data = { on_error = \"reject\" } }", rcptOnly}, ""},
	{"reject", coded("function on.rcpt(r) return defer() end"), coded("function on.rcpt(r) return reject() end"), "may for each recipient (rcpt): refuse for good"},
	{"reject in a helper, by another name", coded("function on.rcpt(r) return defer() end"), coded("local no = reject\nlocal function f() return no\"\" end\nfunction on.rcpt(r) return f() end"), "may for each recipient (rcpt): refuse for good"},
	{"a local of that name", coded("function on.rcpt(r) end"), coded("function on.rcpt(r) local reject = 1; return nil end"), ""},
	{"accept", coded("function on.rcpt(r) end"), coded("function on.rcpt(r) return accept \"local\" end"), "lets in recipients, as those of this system (rcpt)"},
	{"discard", coded("function on.data(m) return reject() end"), coded("function on.data(m) return discard() end"), "may when a message is here, before it is taken (data): take it and throw it away"},
	{"word without a use there", coded("function on.delivered(r) end"), coded("local no = reject\nfunction on.delivered(r) end"), ""},
	{"route", coded("function on.route(r) end"), coded("function on.route(r) return route{sender = \"a@b.example\"} end"), "changes how mail is sent"},
	// How hooks are asked.
	{"on_error harsher", hooked(`on_error = "next"`), hooked(`on_error = "defer"`), "may for each recipient (rcpt), when it fails: refuse for now; and not: as if"},
	{"on_error harsher still", hooked(`on_error = "defer"`), hooked(`on_error = "reject"`), "may for each recipient (rcpt), when it fails: refuse for good"},
	{"on_error unsaid is defer", hooked(``), hooked(`on_error = "defer"`), ""},
	{"on_error milder", hooked(`on_error = "reject"`), hooked(`on_error = "next"`), ""},
	{"longer", hooked(`timeout = "10s"`), hooked(`timeout = "11s"`), "takes 11s at most for each recipient (rcpt), and not 10s"},
	{"shorter", hooked(``), hooked(`timeout = "9s"`), ""},
	{"more roles", hooked(`when = { role = {"mx"} }`), hooked(`when = { role = {"mx", "submission"} }`), "is asked for each recipient (rcpt) about more mail: mail in the role mx or submission"},
	{"all roles", hooked(`when = { role = {"mx"} }`), hooked(``), "is asked for each recipient (rcpt) about more mail: mail of all sorts"},
	{"fewer roles", hooked(``), hooked(`when = { role = {"mx"} }`), ""},
	{"another listener", hooked(`when = { listener = {"a"} }`), hooked(`when = { listener = {"b"} }`), "is asked for each recipient (rcpt) about more mail"},
	{"users, too", hooked(`when = { user = false }`), hooked(``), "is asked for each recipient (rcpt) about more mail"},
	{"users instead", hooked(`when = { user = false }`), hooked(`when = { user = true }`), "is asked for each recipient (rcpt) about more mail"},
	{"background", hooked(``), hooked(`background = true, sets = {"p.a"}`), "works beside the session for each recipient (rcpt)"},
	{"background no more", hooked(`background = true, sets = {"p.a"}`), hooked(``), "may for each recipient (rcpt), when it fails: refuse for now"},
	{"order and facts", hooked(`order = 10`), hooked(`order = 20, after = {"a"}, reads = {"a.b?"}, sets = {"p.c"}`), ""},
	{"tick more often", version{`hook = { tick = { every = "1h" } }`, "function on.tick(t) end"}, version{`hook = { tick = { every = "1m" } }`, "function on.tick(t) end"}, "is asked by the clock, without mail (tick) every 1m, and not every 1h"},
	{"tick less often", version{`hook = { tick = { every = "1m" } }`, "function on.tick(t) end"}, version{`hook = { tick = { every = "1h" } }`, "function on.tick(t) end"}, ""},
	// What is no right.
	{"docs and description", version{header: `description = "a", config = { a = { type = "int", default = 1, doc = "x" } }`}, version{header: `description = "b", config = { a = { type = "int", default = 2, doc = "y" } }`}, ""},
	{"code", coded("function on.rcpt(r) return reject \"a\" end"), coded("function on.rcpt(r) if r.class then return reject \"b\" end end"), ""},
	// Settings.
	{"a setting", version{header: ``}, version{header: `config = { a = { type = "list", default = {} } }`}, ""},
	{"a setting that must be written", version{header: ``}, version{header: `config = { a = { type = "string", required = true } }`}, "must be told a"},
	{"must be written now", version{header: `config = { a = { type = "map", default = {} } }`}, version{header: `config = { a = { type = "map", required = true } }`}, "must be told a"},
	{"need not be written now", version{header: `config = { a = { type = "string", required = true } }`}, version{header: `config = { a = { type = "string" } }`}, ""},
}

func TestWidened(t *testing.T) {
	for _, c := range pairs {
		t.Run(c.name, func(t *testing.T) {
			old, now := sheetOf(t, luaPlugin(t, c.old.header, c.old.code)), sheetOf(t, luaPlugin(t, c.now.header, c.now.code))
			wantMore(t, consent.Widened(old, now), c.want)
			if old.Rights == now.Rights && (c.want != "" || consent.Widened(now, old) != nil) {
				t.Error("one hash is for both")
			}
			for _, s := range []*consent.Sheet{old, now} {
				wantMore(t, consent.Widened(s, s), "")
			}
		})
	}
}

func wantMore(t *testing.T, got []string, want string) {
	t.Helper()
	var lines []string
	if want != "" {
		lines = strings.Split(want, "\n")
	}
	if len(got) != len(lines) || !slices.EqualFunc(got, lines, strings.HasPrefix) {
		t.Errorf("it asks for\n%s\nand should for\n%s", strings.Join(got, "\n"), want)
	}
}

// TestWidenedEngine: another engine is another promise, and a guest may answer all that its stages take.
func TestWidenedEngine(t *testing.T) {
	code := "function on.rcpt(r) return reject() end"
	inLua, inWasm := sheetOf(t, luaPlugin(t, "", code)), sheetOf(t, wasmPlugin(t, "[hook.rcpt]\n"))
	wantMore(t, consent.Widened(inLua, inWasm), "is run by the engine for WebAssembly, and not by that for Lua\nmay for each recipient (rcpt): refuse for now, end the connection, take it and throw it away\nlets in recipients")
	wantMore(t, consent.Widened(inWasm, inLua), "is run by the engine for Lua, and not by that for WebAssembly")
	more := sheetOf(t, wasmPlugin(t, "[hook.rcpt]\n[hook.auth]\non_error = \"reject\"\n"))
	wantMore(t, consent.Widened(inWasm, more), "reads the names and passwords that clients log in with\nis asked when a client logs in (auth)\nmay when a client logs in (auth): refuse the log-in, refuse it for now, end the connection; when it fails: refuse the log-in\nlets in clients that log in, as any user")
	other, err := catalog.Pack("q", map[string][]byte{"init.lua": []byte("plugin { id = \"q\", version = \"1.0.0\" }\n" + code)})
	if err != nil {
		t.Fatal(err)
	}
	wantMore(t, consent.Widened(inLua, sheetOf(t, other)), "is another plugin: q, and not p")
}

// TestHash: the same rights have one hash, whatever else differs.
func TestHash(t *testing.T) {
	base := sheetOf(t, luaPlugin(t, `description = "a", needs = { http = {"a.example:443", "b.example:443"}, edit = {"headers", "body"} }, config = { a = { type = "int" } }, hook = { rcpt = { order = 3, when = { role = {"mx", "lmtp"} } } }`, "function on.rcpt(r) return reject \"x\" end"))
	same := sheetOf(t, pack(t, map[string][]byte{
		"plugin.toml": []byte("id = \"p\"\nversion = \"2.0.0\"\n[needs]\nedit = [\"body\", \"headers\"]\nhttp = [\"b.example:443\", \"a.example:443\"]\n[hook.rcpt]\ntimeout = \"10s\"\non_error = \"defer\"\nwhen = { role = [\"lmtp\", \"mx\"] }\n"),
		"init.lua":    []byte("local lib = require \"lib\"\nfunction on.rcpt(r) return lib.no() end"),
		"lib.lua":     []byte("return { no = function() return reject \"other\" end }"),
		"README.md":   []byte("# p\n"),
	}))
	if base.Rights != same.Rights || base.Rights != base.Hash() || !strings.HasPrefix(base.Rights, "rights:") || len(base.Rights) != 71 {
		t.Errorf("%s and %s", base.Rights, same.Rights)
	}
	if base.Digest == same.Digest || base.Version == same.Version {
		t.Error("they are no two packages")
	}
}

// FuzzWidened: what is the same asks for no more, and one hash is for what asks for no more either way.
func FuzzWidened(f *testing.F) {
	f.Add("[needs]\nhttp = [\"*:443\", \"private\"]\n[hook.rcpt]\n", "[needs]\nhttp = [\"a.example:443\"]\n[hook.rcpt]\non_error = \"reject\"\nwhen = { role = [\"mx\"] }\n")
	f.Add("[needs]\nread = \"body\"\nedit = [\"rcpts\", \"body\"]\nsecrets = [\"a/*\", \"b\"]\n[hook.data]\ntimeout = \"1s\"\n", "[needs]\nread = \"headers\"\nedit = [\"body\", \"rcpts\"]\n[config.a]\ntype = \"int\"\nrequired = true\n[hook.tick]\nevery = \"5s\"\n")
	f.Add("[needs]\nnet = [\"unix:*\", \"[2001:db8::/32]:25\"]\nroute = [\"mx\", \"transport:*\"]\n[hook.mail]\nbackground = true\nsets = [\"p.a\"]\n", "[needs]\nnet = [\"unix:/a\"]\nshape = [\"*\"]\nfacts = [\"a.*\"]\n[hook.mail]\nwhen = { user = true, listener = [\"a\"] }\n")
	f.Fuzz(func(t *testing.T, first, second string) {
		var sheets []*consent.Sheet
		for _, toml := range []string{first, second} {
			p, err := catalog.Pack("p", map[string][]byte{"plugin.wasm": []byte("\x00asm"), "plugin.toml": []byte("id = \"p\"\nversion = \"1.0.0\"\n" + toml)})
			if err != nil {
				return
			}
			s := sheetOf(t, p)
			if more := consent.Widened(s, s); more != nil {
				t.Errorf("it asks for more than itself: %q", more)
			}
			sheets = append(sheets, s)
		}
		there, back := consent.Widened(sheets[0], sheets[1]), consent.Widened(sheets[1], sheets[0])
		if sheets[0].Rights == sheets[1].Rights && (there != nil || back != nil) {
			t.Errorf("one hash is for both, and there is more: %q %q", there, back)
		}
		for _, line := range strings.Split(sheets[1].Text(strings.Join(there, " ")), "\n") {
			if len(line) > 90 || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' }) {
				t.Errorf("the line %q", line)
			}
		}
	})
}
