package conformance

import (
	"fmt"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/hooks"
)

// testCase is one line of the table. do is the setting "case", which says what the plugins do; testdata/lua/init.lua is the
// shortest way to see what there is. What is expected but for the verdict may be left out.
type testCase struct {
	name    string
	stage   hooks.Stage
	bare    bool              // optional fields have no value
	behind  bool              // in the background
	rules   message.FactRules // what the manifest declares of facts
	do      map[string]any    // what the plugin does
	verdict string            // "" is next; the beginning of the verdict in the record with its detail, or of a failure a part of the reason
	got     any               // what it reports; nil: it reports nothing
	edits   []string          // what was changed, as the record has it
	facts   map[string]any    // that are set after the call, of the object in question
	log     []string          // lines, besides what it reports
}

// failed begins a verdict that the plugin's on_error gave.
const failed = "error, defer 451 4.3.0"

// failedLogin is that at auth.
const failedLogin = "error, defer 454 4.3.0"

// pencil are the keys of that password: the example of RFC 7677.
const pencil = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

type m = map[string]any

type l = []any

func (c testCase) inBackground() testCase {
	c.behind = true
	return c
}

// cases are the table, but for the fields of objects and the verdicts of stages, which follow from the declarations.
func cases() []testCase {
	inScram := func(c testCase) testCase { // the bare login is of that kind
		c.bare = true
		return c
	}
	edit := func(method string, args ...any) l { return append(l{method}, args...) }
	edits := func(name string, s hooks.Stage, verdict string, words []string, list ...any) testCase {
		return testCase{name: name, stage: s, do: m{"do": "edits", "edits": l(list)}, verdict: verdict, edits: words}
	}
	answer := func(name string, s hooks.Stage, want string, v m) testCase {
		return testCase{name: name, stage: s, do: m{"do": "verdict", "verdict": v}, verdict: want}
	}
	service := func(name string, got any, args ...any) testCase {
		return testCase{name: name, stage: hooks.Connect, do: m{"do": "service", "service": name, "args": l(args)}, got: got}
	}
	fails := func(name, why string, args ...any) testCase {
		c := service(name, nil, args...)
		c.name, c.verdict = name+" fails", failed+" "+why
		return c
	}
	own := func(of message.FactOwner, values ...any) message.FactRules { // p.known is there before
		return message.FactRules{{Name: "known", Type: "string"}, {Name: "own", Type: "string", Of: of, Values: values}}
	}
	logs := func(level string) testCase {
		c := service("log."+level, nil, "a line", m{"n": int64(1)})
		c.log = []string{level + " a line {\"n\":1}"}
		return c
	}
	all := []testCase{
		// edits
		edits("add_header", hooks.Data, "", []string{"add_header X-New"}, edit("message.add_header", "X-New", "yes")),
		edits("add_header before there is a header", hooks.Mail, "", []string{"add_header X-New"}, edit("message.add_header", "X-New", "yes")),
		edits("set_header", hooks.Data, "", []string{"set_header Subject"}, edit("message.set_header", "Subject", "two")),
		edits("remove_header", hooks.Data, "", []string{"remove_header X-A"}, edit("message.remove_header", "X-A")),
		edits("remove_header n", hooks.Data, "", []string{"remove_header X-A"}, edit("message.remove_header", "X-A", int64(2))),
		edits("set_content", hooks.Data, "", []string{fmt.Sprintf("set_content: %d bytes", len(letter)-len("body\r\n")+len("x\r\n"))},
			edit("message.set_content", m{"subject": "two", "text": "x\n"})),
		edits("set_content without one", hooks.Data, failed+" set_content: there is neither a text nor HTML", nil, edit("message.set_content", m{"subject": "two"})),
		edits("set_sender", hooks.Data, "", []string{"set_sender <new@example.org>"}, edit("message.set_sender", "new@example.org")),
		edits("set_sender null", hooks.Data, "", []string{"set_sender <>"}, edit("message.set_sender", "")),
		edits("add_rcpt", hooks.Data, "", []string{"add_rcpt <w@example.org>"}, edit("message.add_rcpt", "w@example.org", "local")),
		edits("schedule", hooks.Mail, "", []string{"schedule"}, edit("message.schedule", m{"tenant": "t", "priority": int64(-2), "not_before": int64(100), "expires": 200.5})),
		edits("schedule one", hooks.Queue, "", []string{"schedule"}, edit("message.schedule", m{"priority": int64(0)})),
		edits("rename", hooks.Rcpt, "", []string{"rename <x@example.org>"}, edit("rcpt.rename", l{"x@example.org", "y@example.org"})),
		edits("rename one", hooks.Rcpt, "", []string{"rename <x@example.org>"}, edit("rcpt.rename", "x@example.org")),
		edits("several edits", hooks.Data, "", []string{"add_header X-B", "add_rcpt <w@example.org>"}, edit("message.add_header", "X-B", "2"), edit("message.add_rcpt", "w@example.org", "relay")),
		{name: "a recipient's own header", stage: hooks.Data, do: m{"do": "edits", "path": l{"rcpts", int64(2)}, "edits": l{edit("rcpt.add_header", "X-Own", "v")}}, edits: []string{"add_header X-Own for <v@example.net>"}},
		// edits that are refused undo those before
		edits("edit at another stage", hooks.Rcpt, failed+" rename: to 0 addresses", nil, edit("rcpt.rename", l{})),
		edits("edit of a wrong address", hooks.Data, failed+` set_sender: address: "no address" is not an address`, nil, edit("message.add_header", "X-New", "yes"), edit("message.set_sender", "no address")),
		edits("edit of a wrong class", hooks.Data, failed+` add_rcpt: class is "friend"; it must be "local" or "relay"`, nil, edit("message.add_rcpt", "w@example.org", "friend")),
		edits("edit of a wrong field", hooks.Data, failed+" add_header:", nil, edit("message.add_header", "X-New\r\nBcc", "yes")),
		edits("edit too late", hooks.Queue, failed+" set_header works at data, not at queue", nil, edit("message.set_header", "Subject", "two")),
		edits("edit of a wrong number", hooks.Data, failed+" schedule: priority is 10; it may be -9 to 9", nil, edit("message.schedule", m{"priority": int64(10)})),

		// verdicts
		answer("reject with all", hooks.Mail, "reject 551 5.1.6 moved: gone", m{"kind": "reject", "text": "gone", "code": int64(551), "enhanced": "5.1.6", "reason": "moved", "delay": 0.001}),
		answer("defer with all", hooks.Mail, "defer 450 4.2.0 busy: later", m{"kind": "defer", "text": "later", "code": int64(450), "enhanced": "4.2.0", "reason": "busy", "delay": 0.001, "after": int64(60)}),
		answer("close with all", hooks.Mail, "close 421 4.3.2 ill: bye", m{"kind": "close", "text": "bye", "code": int64(421), "enhanced": "4.3.2", "reason": "ill", "delay": 0.001}),
		answer("discard", hooks.Data, "discard spam", m{"kind": "discard", "reason": "spam"}),
		answer("hold", hooks.Data, "hold look", m{"kind": "hold", "reason": "look"}),
		answer("accept a recipient", hooks.Rcpt, "accept local", m{"kind": "accept", "class": "local"}),
		answer("accept for relay", hooks.Rcpt, "accept relay", m{"kind": "accept", "class": "relay"}),
		answer("accept a user", hooks.Auth, "accept", m{"kind": "accept", "user": "alice", "groups": l{"staff"}}),
		inScram(answer("accept a user of SCRAM", hooks.Auth, "accept", m{"kind": "accept", "user": "alice", "groups": l{"staff"}, "scram": pencil})),
		inScram(answer("accept a user of SCRAM without keys", hooks.Auth, failedLogin+" accept: scram is given for kind scram, and for no other; this login is of kind scram", m{"kind": "accept", "user": "alice"})),
		answer("accept a password by keys", hooks.Auth, failedLogin+" accept: scram is given for kind scram, and for no other; this login is of kind password", m{"kind": "accept", "user": "alice", "scram": pencil}),
		answer("accept with keys that are none", hooks.Auth, failedLogin+" accept: scram: SCRAM-SHA-256: it does not have the form", m{"kind": "accept", "user": "alice", "scram": "pencil"}),
		answer("reject a login", hooks.Auth, "reject 535 5.7.8", m{"kind": "reject"}),
		answer("defer a login", hooks.Auth, "defer 454 4.7.0", m{"kind": "defer"}),
		answer("route to hosts", hooks.Route, "route", m{"kind": "route", "via": "smtp", "hosts": l{"a.example:25", "b.example:25"}, "helo": "me.example", "sender": "bounces@example.org", "source": "pool", "site": "bulk", "tls": "required"}),
		answer("route from what cannot be a source", hooks.Route, failed+` source: "a b" is not the name of a [source.NAME]`, m{"kind": "route", "source": "a b"}),
		answer("route by TLS that there is not", hooks.Route, failed+` tls: "sometimes" is not one of auto, none,`, m{"kind": "route", "tls": "sometimes"}),
		answer("route to what cannot be a site", hooks.Route, failed+" site:", m{"kind": "route", "site": "a b"}),
		answer("route with a log-in", hooks.Route, "route", m{"kind": "route", "mx": "example.org", "auth": m{"user": "alice", "secret": "smtp", "mechanism": "plain"}}),
		answer("route with half a log-in", hooks.Route, failed+" auth needs user and secret", m{"kind": "route", "mx": "example.org", "auth": m{"user": "alice"}}),
		answer("route by MX", hooks.Route, "route", m{"kind": "route", "mx": "example.org"}),
		answer("route by a public MX", hooks.Route, "route", m{"kind": "route", "mx": "example.org", "public": true}),
		answer("route that is public without an MX", hooks.Route, failed+" public is said of mx", m{"kind": "route", "hosts": l{"relay.example:25"}, "public": true}),
		answer("each refuses one at deliver", hooks.Deliver, "each <v@example.net> reject 550 5.7.1 full", m{"kind": "each", "verdicts": l{m{"kind": "reject", "text": "full"}}}),
		answer("each holds one at data", hooks.Data, "each <v@example.net> hold", m{"kind": "each", "verdicts": l{m{"kind": "next"}, m{"kind": "hold", "reason": "look"}}}),
		answer("each that closes", hooks.Data, failed+" each: verdict 2 is close, which is no verdict on one recipient", m{"kind": "each", "verdicts": l{m{"kind": "next"}, m{"kind": "close", "text": "bye"}}}),
		answer("a verdict that the stage does not take", hooks.Mail, failed+` mail takes reject, defer, close, discard, not "hold"`, m{"kind": "hold", "reason": "x"}),
		answer("a code of another class", hooks.Mail, failed+" reject: code 250 is not a 5xx reply", m{"kind": "reject", "code": int64(250)}),
		answer("a text of two lines", hooks.Mail, failed+" reject:", m{"kind": "reject", "text": "a\r\n250 ok"}),
		answer("too long a delay", hooks.Mail, failed+" reject: delay is 2m0s; it may be 0 to 1m0s", m{"kind": "reject", "delay": int64(120)}),
		answer("a plan that is not granted", hooks.Route, failed, m{"kind": "route", "hosts": l{"a.example:26"}}),

		// facts
		{name: "facts of the session", stage: hooks.Connect, do: m{"do": "fact", "my": "own", "name": "shared", "value": m{"a": l{int64(1), 2.5, "x", true}}},
			got: l{m{"a": l{1, 2.5, "x", true}}, m{"a": l{1, 2.5, "x", true}}}, facts: m{"p.known": "fact", "p.own": m{"a": l{1, 2.5, "x", true}}, "shared": m{"a": l{1, 2.5, "x", true}}}, edits: []string{"fact p.own", "fact shared"}},
		{name: "facts of the message", stage: hooks.Data, do: m{"do": "fact", "my": "own", "name": "shared.n", "value": int64(7)},
			got: l{7, 7}, facts: m{"p.known": "fact", "p.own": 7, "shared.n": 7}, edits: []string{"fact p.own", "fact shared.n"}},
		{name: "facts of the recipient", stage: hooks.Rcpt, do: m{"do": "fact", "my": "own", "name": "shared", "value": "x"},
			got: l{"x", "x"}, facts: m{"p.known": "fact", "p.own": "x", "shared": "x"}, edits: []string{"fact p.own", "fact shared"}},
		{name: "facts set in the background", behind: true, stage: hooks.Rcpt, do: m{"do": "fact", "my": "own", "name": "shared", "value": "x"},
			got: l{"x", "x"}, facts: m{"p.known": "fact", "p.own": "x", "shared": "x"}, edits: []string{"fact p.own", "fact shared"}, verdict: "next <u@example.org> in the background"},
		edits("an edit in the background", hooks.Data, "error, next in the background: ", nil, edit("message.set_sender", "")).inBackground(),
		answer("a verdict in the background", hooks.Mail, "error, next in the background: ", m{"kind": "reject", "text": "no"}).inBackground(),
		{name: "a fact of another plugin", stage: hooks.Mail, do: m{"do": "fact", "my": "own", "name": "spf.mail", "value": "x"}, verdict: failed + ` fact "spf.mail" is not this plugin's`, facts: m{"p.known": "fact"}},
		{name: "a fact that is declared", stage: hooks.Rcpt, rules: own("rcpt", "x", "y"), do: m{"do": "fact", "my": "own", "name": "shared", "value": "x"},
			got: l{"x", "x"}, facts: m{"p.known": "fact", "p.own": "x", "shared": "x"}, edits: []string{"fact p.own", "fact shared"}},
		{name: "a fact that is declared, in the background", behind: true, stage: hooks.Mail, rules: own("message"), do: m{"do": "fact", "my": "own", "name": "shared", "value": "x"},
			got: l{"x", "x"}, facts: m{"p.known": "fact", "p.own": "x", "shared": "x"}, edits: []string{"fact p.own", "fact shared"}, verdict: "next in the background"},
		{name: "a fact that is not declared", stage: hooks.Rcpt, rules: message.FactRules{{Name: "known", Type: "string"}}, do: m{"do": "fact", "my": "own", "name": "shared", "value": "x"},
			verdict: failed + ` fact "p.own": the plugin does not declare it: under facts it has known`, facts: m{"p.known": "fact"}},
		{name: "a fact of another type", stage: hooks.Rcpt, rules: own("rcpt"), do: m{"do": "fact", "my": "own", "name": "shared", "value": int64(1)},
			verdict: failed + ` fact "p.own": the value is 1; under facts the plugin declares the type string`, facts: m{"p.known": "fact"}},
		{name: "a value that is not declared", stage: hooks.Data, rules: own("message", "pass", "fail"), do: m{"do": "fact", "my": "own", "name": "shared", "value": "pas"},
			verdict: failed + ` fact "p.own": the value is "pas"; under facts the plugin declares the values "pass", "fail"`, facts: m{"p.known": "fact"}},
		{name: "a fact of another owner", stage: hooks.Connect, rules: own("message"), do: m{"do": "fact", "my": "own", "name": "shared", "value": "x"},
			verdict: failed + ` fact "p.own": it is set on the session; under facts the plugin declares it of the message`, facts: m{"p.known": "fact"}},
		{name: "a fact too late", stage: hooks.Route, do: m{"do": "fact", "my": "own", "name": "shared", "value": "x"}, verdict: failed + " facts cannot be set at route", facts: m{"p.known": "fact"}},

		// reading
		{name: "header", stage: hooks.Data, do: m{"do": "header", "name": "x-a"}, got: l{"1", "2 folded", false}},
		{name: "headers", stage: hooks.Data, do: m{"do": "headers", "name": ""}, got: l{
			m{"name": "Subject", "value": "one", "raw": "Subject: one\r\n"}, m{"name": "X-A", "value": "1", "raw": "X-A: 1\r\n"}, m{"name": "X-A", "value": "2 folded", "raw": "X-A: 2\r\n folded\r\n"}}},
		{name: "headers of a name", stage: hooks.Data, do: m{"do": "headers", "name": "subject"}, got: l{m{"name": "Subject", "value": "one", "raw": "Subject: one\r\n"}}},
		{name: "headers of which there are none", stage: hooks.Data, do: m{"do": "headers", "name": "X-None"}, got: l{}},
		{name: "header too early", stage: hooks.Mail, do: m{"do": "header", "name": "subject"}, verdict: failed + " there is no header yet: it is there from data on, not at mail"},
		{name: "read", stage: hooks.Data, do: m{"do": "read"}, got: l{"one", "", len(letter)}},
		{name: "chunks", stage: hooks.Data, do: m{"do": "chunks"}, got: l{letter[:16], letter[16:32], letter[32:]}},
		{name: "text of a part", stage: hooks.Data, do: m{"do": "text"}, got: l{"body\r\n", "body", len("body\r\n")}},
		{name: "a part as the body of a request", stage: hooks.Data, do: m{"do": "post"}, got: l{"POST body\r\n", len("POST " + letter)}},
		{name: "a message that is handed in again", stage: hooks.Data, do: m{"do": "service", "service": "inject", "args": l{m{"sender": "", "rcpts": l{"w@example.org"}, "content": int64(0), "key": "k"}}}, got: store.ID{8}.String()},
		{name: "a part that is no message", stage: hooks.Data, do: m{"do": "service", "service": "inject", "args": l{m{"sender": "", "rcpts": l{"w@example.org"}, "content": int64(1)}}}, verdict: failed + " inject: content: it is no message"},
		{name: "no report", stage: hooks.Data, do: m{"do": "service", "service": "report.parse", "args": l{}}},
		fails("report.parse", "report.parse: there is no message at connect"),
		{name: "no signatures", stage: hooks.Data, do: m{"do": "service", "service": "dkim.verify", "args": l{}}, got: m{"result": "none", "results": l{}, "untried": 0}},
		{name: "no signatures, with options", stage: hooks.Data, do: m{"do": "service", "service": "dkim.verify", "args": l{m{"signatures": int64(3), "length": true, "time": 1.5}}}, got: m{"result": "none", "results": l{}, "untried": 0}},
		fails("dkim.verify", "dkim.verify: there is no message at connect"),
		fails("dkim.verify", "dkim.verify: signatures is 0; it is a number from 1 to 50", m{"signatures": int64(0)}),
		{name: "nothing to sign", stage: hooks.Data, do: m{"do": "service", "service": "dkim.sign", "args": l{m{"domain": "example.org", "keys": l{m{"selector": "s", "key": m{"secret": "dkim"}}}}}}, verdict: failed + " dkim.sign: the message has no From"},
		fails("dkim.sign", "dkim.sign: domain is missing", m{"keys": l{}}),
		fails("dkim.sign", `dkim.sign: the key of "s" is a string; it is a secret, as secret("dkim/example.org/s")`, m{"domain": "example.org", "keys": l{m{"selector": "s", "key": "x"}}}),
		{name: "no chain", stage: hooks.Data, do: m{"do": "service", "service": "arc.verify", "args": l{}}, got: m{"result": "none", "temporary": false, "instance": 0, "sets": l{}}},
		fails("arc.verify", "arc.verify: there is no message at connect"),
		fails("arc.seal", "arc.seal: domain is missing", m{"selector": "s"}),
		{name: "no author domain", stage: hooks.Data, do: m{"do": "service", "service": "dmarc.check", "args": l{m{"spf": "pass", "spf_domain": "example.org", "dkim": l{m{"result": "pass", "domain": "example.org"}}}}}, got: m{"result": "permerror", "reason": "there is no From field", "threat": true}},
		fails("dmarc.check", "dmarc.check: there is no message at connect", m{}),
		{name: "no forged fields", stage: hooks.Data, do: m{"do": "service", "service": "authres.forged", "args": l{l{"mx.example.org"}}}, got: l{}},
		fails("authres.forged", "authres.forged: there is no message at connect", l{"mx.example.org"}),
		service("authres.compose", "mx.example.org;\r\n\tspf=pass smtp.mailfrom=example.org", l{m{"method": "spf", "result": "pass", "properties": l{l{"smtp.mailfrom", "example.org"}}}}, "mx.example.org"),
		{name: "a connection", stage: hooks.Connect, do: m{"do": "talk"}, got: l{"one", "two", "end", true, true}},
		{name: "rewrite", stage: hooks.Data, do: m{"do": "rewrite"}, got: l{len(letter) - len("body\r\n"), "body\r\n", true}, edits: []string{fmt.Sprintf("rewrite: %d bytes", len(letter)+len("end\r\n"))}},
		{name: "rewrite too late", stage: hooks.Queue, do: m{"do": "rewrite"}, verdict: failed + " rewrite works at data, not at queue"},
		{name: "settings", stage: hooks.Connect, do: m{"do": "settings"}, got: l{true, 42, "text", 90, 2000, l{"a", "b"}, m{"a": 1}}},

		// failures
		{name: "fail", stage: hooks.Connect, do: m{"do": "fail"}, verdict: failed + " it cannot be told"},
		{name: "refused settings", stage: hooks.Connect, do: m{"do": "refuse"}, verdict: "these settings are refused"},

		// services
		logs("debug"), logs("info"), logs("warn"), logs("error"),
		service("re.match", m{"0": "abb", "1": "bb", "x": "bb"}, "a(?P<x>b+)", "abb"),
		service("re.match", nil, "^b", "abb"),
		fails("re.match", "re.match: error parsing regexp", "(", "a"),
		service("kv.get", m{"a": 1}, "there"),
		service("kv.get", nil, "none"),
		fails("kv.get", "kv.get: the key has 0 bytes; it may have 1 to 512", ""),
		service("kv.set", nil, "k", l{int64(1), "a"}, int64(60)),
		service("kv.add", true, "k", int64(1), 60.5),
		service("kv.add", false, "there", int64(1), int64(60)),
		service("kv.incr", 5, "n", int64(5), int64(60)),
		service("kv.delete", nil, "there"),
		service("hash.sha256", "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb", "a"),
		service("hash.hmac", "97yD9DBThCSxMpjmqm+xQ+9NWaFJRhdZl0edvC0aPNg=", "sha256", "key", "The quick brown fox jumps over the lazy dog", "base64"),
		service("password.verify", true, pencil, "pencil"),
		service("password.verify", false, pencil, "pen"),
		fails("password.verify", "password.verify: the hash cannot be used: the scheme {CRYPT} is not known", "{CRYPT}x", "pencil"),
		service("password.scheme", "scram-sha-256", pencil),
		fails("password.scheme", "password.scheme: the hash cannot be used: it names no scheme", "pencil"),
		service("json.encode", `"a"`, "a"),
		service("json.decode", l{1, 2.5, "x"}, "[1, 2.5, \"x\"]"),
		service("dns.get", l{}, "nothing.example", "A"),
		fails("dns.get", "dns.get:", "fails.example", "A"),
		service("spf.check", m{"result": "none", "identity": "mailfrom", "domain": "nothing.example", "received": `none (unknown: domain of a@nothing.example does not provide an SPF record) receiver=unknown; identity=mailfrom; client-ip=192.0.2.1; helo=h.example; envelope-from="a@nothing.example"`},
			m{"ip": "192.0.2.1", "helo": "h.example", "sender": "a@nothing.example"}),
		fails("spf.check", `spf.check: "from" is nothing that can be asked; there are ip, helo and sender`, m{"from": "a@nothing.example"}),
		service("addr.parse", m{"text": "U@Example.org", "mailbox": "U", "domain": "example.org"}, "U@Example.org"),
		service("addr.parse", nil, "no address"),
		service("addr.list", l{m{"text": "a@example.org", "mailbox": "a", "domain": "example.org"}}, "A <a@example.org>"),
		service("addr.network", "192.0.2.0/24", "192.0.2.9", int64(24), int64(64)),
		service("addr.within", true, "192.0.2.9", l{"192.0.2.0/24"}),
		service("addr.reverse", "9.2.0.192.list.example", "192.0.2.9", "list.example"),
		service("throttle.take", l{true, 0}, "k", "100/1h", int64(1)),
		service("metric.count", nil, "seen", int64(2)),
		service("lookup", "here", "users", "alice"),
		service("lookup", nil, "users", "bob"),
		service("lookup", 1, "config.map", "a"),
		fails("lookup", `lookup: the lookup "others" is not granted: ask with needs = { lookup = {"others"} }`, "others", "alice"),
		service("template.render", "Dear &lt;Joe&gt;, one 2", "hello.html", m{"name": "<Joe>", "things": l{"one", int64(2)}}),
		fails("template.render", "template.render: templates/hello.html:1: the data has no name", "hello.html", m{"things": l{}}),
		service("inject", store.ID{7}.String(), m{"via": "p", "content": l{"x"}, "key": "k"}),
		fails("inject", "inject: unknown key \"contnet\"; did you mean \"content\"?", m{"via": "p", "contnet": "x"}),
		service("shape.slow", true, m{"site": "a.example", "rate": "100/1h", "concurrency": int64(2), "time": int64(60), "rule": "r"}),
		service("shape.suspend", false, m{"tenant": "Acme", "time": 60.5, "reason": "because"}),
		service("shape.reroute", true, m{"next_hop": "mx:a.example", "to": m{"hosts": l{"relay.example:25"}}, "time": int64(60)}),
		fails("shape.slow", "shape.slow: a measure about the site b.example is not granted: ask with needs = { shape = {\"site:b.example\"} }", m{"site": "b.example", "rate": "1/1h", "time": int64(1)}),
		fails("shape.suspend", "shape.suspend: time is missing, or no number of seconds", m{"site": "a.example"}),
		fails("shape.reroute", "shape.reroute: to: route to other.example:26 is not granted", m{"site": "a.example", "time": int64(60), "to": m{"hosts": l{"other.example:26"}}}),
		service("secret", nil, "none"),
		fails("secret", "secret: there is no door", "broken"),
		service("http.request", m{"status": 200, "headers": m{"x-a": "b"}, "body": "POST text"}, m{"url": "https://api.example/", "body": "text"}),
		fails("http.request", `http.request: a connection to other.example:443 is not granted: ask with needs = { http = {"other.example:443"} }`, m{"url": "https://other.example/"}),
		fails("net.open", "net.open: nobody listens", "policy.example:10040", m{"tls": true}),
		service("now", float64(noon.UnixMicro())/1e6),
	}
	for i := range all {
		if all[i].do["service"] != nil {
			all[i].name += fmt.Sprint(" ", all[i].do["args"])
		}
	}
	return all
}
