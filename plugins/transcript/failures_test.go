package transcript

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/plugins/generation"
)

func every(t testing.TB) *generation.Source {
	t.Helper()
	src, err := generation.Read("testdata/every.lua", "every.lua")
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// one runs a transcript of one case.
func one(t testing.TB, src *generation.Source, text string) *Failure {
	t.Helper()
	f, err := Parse("x.transcript", []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return f.Cases[0].Run(t.Context(), src, 0).Failure
}

// TestFailures: each sort of line, not coming true, at its line, with what was wanted and what came.
func TestFailures(t *testing.T) {
	const client = "connect 192.0.2.1\n"
	const sent = client + "send a@a.example to u@example.org v@example.net\nS: 250 …\n"
	const failed = client + "send a@a.example to v@example.net\nS: 250 …\ngiven hop 550 5.1.1 \"no such user\"\nattempt\n"
	tests := []struct{ text, wanted, got string }{
		{"S: 220 …", "220 …", "no client is connected"},
		{client + "S: 554 …", "554 …", "220 mx.example.org ESMTP"},
		{client + "S: 220 …\nS: 220 …", "220 …", "the server waits for the client"},
		{client + "S: 220 …\nC: QUIT\nS: 221 …\nS: 221 …", "221 …", "the server closed the connection"},
		{client + "C: NOOP", "", `the server also said "220 mx.example.org ESMTP", which no line S: awaits`},
		{"C: NOOP", "", "no client is connected"},
		{"closed", "", "no client is connected"},
		{client + "S: 220 …\nclosed", "the server closes", "it waits for the client"},
		{client + "closed", "the server closes", "a reply before"},
		{"disconnect", "", "no client"},
		{"send a@a.example to u@example.org", "", "no client"},
		{"connect 192.0.2.66\nsend a@a.example to u@example.org", "a greeting", "421 4.7.0 not you"},
		{client + "want reject at connect", "reject at connect", "next at connect"},
		{client + "want next at rcpt", "next at rcpt", "it was not asked; asked were every at connect (next)"},
		{client + "want not asked at connect", "not asked at connect", "next at connect"},
		{client + "want next at connect by other", "next at connect by other", "it was not asked"},
		{sent + "want accept relay at rcpt for u@example.org", "accept relay", "accept local at rcpt"},
		{sent + "want accept at rcpt for w@example.org", "", "it was not asked"},
		{sent + "want accept at rcpt: because", "accept at rcpt: because", "accept relay at rcpt"},
		{sent + "want fact message every.size = 1", "fact message every.size = 1", "55"},
		{sent + "want fact message every.size none", "none", "55"},
		{sent + "want fact session every.none = 1", "= 1", "none"},
		{"want fact message every.size = 1", "", "nobody was asked about a message yet"},
		{"want rcpt class = local", "", "nobody was asked about a rcpt yet"},
		{sent + "want session helo = x", `session helo = "x"`, `"client.example"`},
		{sent + "want message rcpts.3.class none\nwant message rcpts.1.class = relay", "relay", "local"},
		{sent + "want header X-Every = other", "X-Every: other", "none"},
		{sent + "want header X-Every none", "no field X-Every", "none"},
		{sent + "want header X-Other = x", "X-Other: x", "no such field"},
		{"want header X none", "", "no message was kept yet"},
		{sent + "want content nothing", `"nothing"`, `Subject: a message\n\nhello\n"`},
		{sent + "want rcpts u@example.org", "recipients u@example.org", "u@example.org v@example.net"},
		{sent + "want queued 2", "2 messages kept", "1"},
		{sent + "want held …", "held: …", `""`},
		{sent + "want schedule tenant=b priority=3", "schedule tenant=b priority=3", "schedule tenant=a.example priority=3"},
		{sent + "want schedule not_before=+5m", "not_before=+5m", "not_before=none"},
		{sent + "want schedule priority=4", "priority=4", "priority=3"},
		{sent + "want delay 1s", "a delay of 1s", "0s"},
		{sent + "want log info …", "in the log: info …", "nothing"},
		{sent + "attempt\nwant log none", "nothing in the log", "info delivered"},
		{sent + "want kv count = 1", "kv count = 1", "none"},
		{sent + "want kv entries 1", "1 entries in kv", "0"},
		{sent + "disconnect\nwant metric left = 2", "metric left = 2", "1"},
		{sent + "want metric left = 1", "metric left = 1", "0"},
		{sent + "want route mx:example.net", "<u@example.org> to mx:example.net", "it was not routed"},
		{sent + "route\nwant route mx:example.net for v@example.net", "<v@example.net> to mx:example.net", "smtp:a.example:25,b.example:26"},
		{sent + "route\nwant route … helo=x.example for v@example.net", "helo=x.example", "helo=me.example"},
		{sent + "route\nwant route … source=x for v@example.net", "source=x", "source=pool"},
		{sent + "route\nwant route … tls=none for v@example.net", "tls=none", "tls=verified"},
		{sent + "route\nwant route … site=x for v@example.net", "site=x", "site=bulk"},
		{sent + "route\nwant route … sender=x@example.org for v@example.net", "sender=x@example.org", "sender=back@example.org"},
		{sent + "route\nwant route … sender=x@example.org for u@example.org", "sender=x@example.org", "the sender of the message"},
		{sent + "route w@example.org", "", "<w@example.org> is no recipient"},
		{sent + "want outcome delivered", "delivered", "no outcome; write attempt before"},
		{sent + "attempt\nwant outcome deferred", "deferred", "delivered: 250 2.0.0 delivered by every"},
		{sent + "attempt\nwant after 1h", "tried again after 1h", "nobody is deferred"},
		{failed + "want outcome failed: 551…", "failed: 551…", "failed: 550 5.1.1 no such user"},
		{failed + "want no notice", "nobody is told", "the sender is told"},
		{sent + "attempt\nwant notice", "the sender is told", "nobody is told"},
		{client + "send a@a.example to u@example.org\nC: Subject: hold\nC:\nS: 250 …\nattempt", "", "the message is held (it asks for it)"},
		{"route", "", "no message was kept yet"},
		{"config word = x\nwant refused …", "refused: …", "the plugin loads with these settings"},
		{"config size = -1\nwant refused other", "refused: other", "x.transcript:1: plugin.every.size: it is less"},
		{"config wrod = x\n" + client, "the plugin loads", `x.transcript:1: unknown key "wrod"`},
	}
	src := every(t)
	for _, tt := range tests {
		f := one(t, src, tt.text)
		last := 1 + strings.Count(tt.text, "\n")
		switch {
		case f == nil:
			t.Errorf("%s\ncame true", tt.text)
		case !strings.Contains(f.Wanted, tt.wanted) || !strings.Contains(f.Got, tt.got) || f.Line != last && f.Run != "load":
			t.Errorf("%s\nline %d (%s): wanted %q, got %q\nwant %q and %q", tt.text, f.Line, f.Run, f.Wanted, f.Got, tt.wanted, tt.got)
		}
	}
}

// TestHiddenFailure: a plugin that fails fails the case, though on_error answers, unless that is wanted.
func TestHiddenFailure(t *testing.T) {
	const sent = "connect 192.0.2.1\ngiven kv down\nsend a@count.example to u@example.org\nS: 250 …\n"
	for _, end := range []string{"", "want queued 1\n", "C: QUIT\nS: 221 …\n", "want accept at rcpt\n"} {
		f := one(t, every(t), sent+end)
		if f == nil || f.Line != 3 || !strings.Contains(f.Wanted, "want error at mail") || !strings.Contains(f.Got, "error, next at mail: every.lua:34: kv.incr: kv is down") {
			t.Errorf("%q: %+v", end, f)
		}
	}
	if f := one(t, every(t), sent+"want error at mail\nC: QUIT\nS: 221 …\n"); f != nil {
		t.Errorf("it is wanted: %+v", f)
	}
	f := one(t, every(t), "connect 192.0.2.1\nsend a@a.example to u@example.org\nC: Subject: error\nC:\nS: 250 …")
	if f == nil || !strings.Contains(f.Got, "every failed at data: every.lua:54: it asks for it") {
		t.Errorf("a reply that a failure explains: %+v", f)
	}
}

// TestUsedInstance: what a plugin does otherwise in its second run is told, be it wanted or not.
func TestUsedInstance(t *testing.T) {
	const random = `plugin { id = "random", needs = { edit = { "headers" } } }
function on.mail(m) m:add_header("X-" .. math.random(1, 1e9), "x") end`
	f := one(t, source(t, "random", random), "connect 192.0.2.1\nsend a@a.example to u@example.org\nS: 550 …\n")
	if f == nil || f.Run != "used" || f.Line != 2 || !strings.Contains(f.Wanted, "as in the fresh instance: next at mail, add_header X-") {
		t.Errorf("failure %+v", f)
	}
}

// TestRefusalNeedsAPlace: a refusal that names no setting of the transcript is not what an operator can use.
func TestRefusalNeedsAPlace(t *testing.T) {
	const code = `plugin { id = "bad", config = { n = { type = "int", default = 1 }, m = { type = "int", default = 1 } } }
if config.n > 1 then error("too much", 0) end
if config.m > 1 then error("[plugin.bad] o: too much", 0) end`
	src := source(t, "bad", code)
	if f := one(t, src, "config n = 2\nwant refused too much…"); f != nil {
		t.Errorf("a place in the plugin is one: %+v", f)
	}
	if f := one(t, src, "\nconfig m = 2\nwant refused …too much…"); f != nil {
		t.Errorf("the nearest setting is a place: %+v", f)
	}
	if f := one(t, src, "run order = 1\nwant refused …"); f == nil {
		t.Error("an order is refused")
	}
}

// TestTimeout: a case ends, whatever a plugin does.
func TestTimeout(t *testing.T) {
	const loop = `plugin { id = "loop", hook = { mail = { on_error = "next" } } }
function on.mail(m) while true do end end`
	src := source(t, "loop", loop)
	if f := one(t, src, "connect 192.0.2.1\nsend a@a.example to u@example.org\nS: 550 …\nwant error at mail: …instructions…"); f != nil {
		t.Errorf("a loop: %+v", f)
	}
	// Six in each run: only if they were counted together would the breaker open.
	if f := one(t, src, "connect 192.0.2.1\n"+strings.Repeat("send a@a.example to u@example.org\nS: 550 …\nwant error at mail: …instructions…\n", 6)); f != nil {
		t.Errorf("six loops: %+v", f)
	}
	f, err := Parse("x.transcript", []byte("connect 192.0.2.1\n"))
	if err != nil {
		t.Fatal(err)
	}
	if f := f.Cases[0].Run(t.Context(), src, time.Nanosecond).Failure; f == nil || !strings.Contains(f.Got, "did not end in time") {
		t.Errorf("no time at all: %+v", f)
	}
}

// TestMistakes: what is wrong in a transcript is told with line and nearest name, before anything runs.
func TestMistakes(t *testing.T) {
	tests := []struct{ text, want string }{
		{"", "1: there is nothing in the file"},
		{"# a comment\n", "there is nothing in the file"},
		{"\nconect 192.0.2.1", `2: unknown line "conect"; did you mean "connect"?`},
		{"want fcat x", `unknown word "fcat" behind want; did you mean "fact"?`},
		{"given dsn x A 192.0.2.1", `unknown word "dsn" behind given; did you mean "dns"?`},
		{"given deliver accept", `unknown word "deliver" behind given`},
		{"given rcpt acept local", `unknown answer "acept"; did you mean "accept"?`},
		{"given mail accept local", `unknown answer "accept"`},
		{"given rcpt accept all", `accept at rcpt names a class`},
		{"given rcpt reject 450", `code 450 is not a 5xx reply`},
		{"given rcpt reject 550 4.1.1", "reject: "},
		{"given rcpt accept local a b", `"b" is too much`},
		{`given rcpt defer "a`, "does not end"},
		{"given route route http:x", "write a next hop"},
		{"given mail fact rcpt spam.score = 5", "at mail no fact can be set on a rcpt"},
		{"given mail fact mesage spam.score = 5", `unknown owner of a fact "mesage"; did you mean "message"?`},
		{"given mail fact message score = 5", "NAME = VALUE"},
		{"given mail fact message spam.score = 5 a@b", "stands in quotes"},
		{"given route fact message spam.score = 5", "at route no fact"},
		{"given dns x BOGUS y", `"BOGUS" is not known`},
		{"given dns x A nowhere", "nowhere"},
		{"given dns x", "write given dns NAME TYPE DATA"},
		{"given dns x nxdomain A", "has no type"},
		{"given kv what", "write given kv down"},
		{"given kv a = 1 for ever", "is no time to live"},
		{"given hop 99", "is no reply"},
		{"given hop 250 5.1.1", "5.1.1"},
		{"given hop 250 x", "write given hop"},
		{"connect", "write connect IP"},
		{"connect here", `"here" is no IP address`},
		{"connect 192.0.2.1 rle=mx", `unknown key "rle"; did you mean "role"?`},
		{"connect 192.0.2.1 role=mxx", `unknown role "mxx"; did you mean "mx"?`},
		{"connect 192.0.2.1 user", "write user="},
		{"connect 192.0.2.1 early=1", "write early alone"},
		{"R: raw", "text in quotes"},
		{"S:", "write what the server says"},
		{"closed now", `nothing may follow here, and "now" does`},
		{"send a@a.example u@example.org x", "write FROM to RCPT"},
		{"send a@@b to u@example.org", `"a@@b" is no address`},
		{"send a@a.example to <>", "null address"},
		{"submit mx a@a.example to u@example.org", `unknown role "mx"`},
		{"clock 5m", "write clock +5m"},
		{"route a@@b", "is no address"},
		{"want accept", "write at which stage"},
		{"want accept at rctp", `unknown stage "rctp"; did you mean "rcpt"?`},
		{"want hold at rcpt", `rcpt takes next, error, accept, reject, defer, close, discard, not "hold"`},
		{"want accept at rcpt from x", `unknown word "from"`},
		{"want accept at rcpt by", "write want VERDICT at STAGE"},
		{"want fact message x", "want fact message NAME = VALUE"},
		{"want message sendr = x", `unknown field "sendr" of message; did you mean "sender"?`},
		{"want message sender = x", "is an object"},
		{"want message sender.text.x = y", "text has no fields"},
		{"want message rcpts = x", "rcpts is a list"},
		{"want message rcpts.0.class = x", "is no place in the list"},
		{"want message my = x", "want fact message"},
		{"want message size", "FIELD = VALUE"},
		{"want header X", "write want header"},
		{"want queued many", "write want queued 1"},
		{"want schedule", "write want schedule"},
		{"want schedule prority=1", `unknown key "prority"; did you mean "priority"?`},
		{"want schedule priority=x", "write priority=3"},
		{"want schedule expires=soon", `"soon" is no time`},
		{"want kv entries x", "write want kv entries 1"},
		{"want kv x", "write want kv"},
		{"want delay soon", "write want delay 10s"},
		{"want after soon", "soon"},
		{"want route mx:x hleo=y", `unknown word "hleo=y"`},
		{"want route", "write want route"},
		{"want outcome lost", `unknown outcome "lost"`},
		{"want outcome failed of x", `write want outcome`},
		{"want refused", "write what is said"},
		{"config = 1", "is no setting"},
		{"config a", "is no setting"},
		{`config a = ["b"`, "is no setting"},
		{"case", "a case has a name"},
		{"connect 192.0.2.1\n" + strings.Repeat("#", maxLine+1), "2: the line is longer than 8192 bytes"},
		{strings.Repeat("\n", maxLines+2), "more than 5000 lines"},
		{strings.Repeat("case x\n", maxCases+1), "more than 200 cases"},
		{strings.Repeat("x", MaxFile+1), "the file is larger"},
		{"C: \xff", "not UTF-8"},
	}
	for _, tt := range tests {
		f, err := Parse("x.transcript", []byte(tt.text))
		if f != nil || err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "x.transcript:") {
			t.Errorf("%.60q gives %v, %v; want %q", tt.text, f, err, tt.want)
		}
	}
	_, err := Parse("x.transcript", []byte(strings.Repeat("connect x\n", 100)))
	if n := strings.Count(err.Error(), "\n"); n != maxErrors-1 {
		t.Errorf("%d mistakes are told", n+1)
	}
}

func TestPatterns(t *testing.T) {
	for _, tt := range []struct {
		pattern, text string
		want          bool
	}{
		{"a", "a", true}, {"a", "ab", false}, {"", "", true}, {"", "a", false},
		{"a…", "a", true}, {"a…", "abc", true}, {"…c", "abc", true}, {"…c", "cb", false}, {"…", "", true},
		{"a…b…c", "a1b2c", true}, {"a…b…c", "ac", false}, {"a...c", "abc", true}, {"a…a", "a", false}, {"…a…a…", "ba", false},
		{"a…bc…bc", "a bc", false}, {"a…b…", "a…b", true},
	} {
		if got := newPattern(tt.pattern).match(tt.text); got != tt.want {
			t.Errorf("%q matches %q: %v", tt.pattern, tt.text, got)
		}
	}
	if !newGlob("*@example.org").match("u@example.org") || newGlob("*@example.org").match("u@example.net") {
		t.Error("* does not stand for anything")
	}
}

// FuzzParse: any text is a transcript or a list of mistakes, each with a line of it; and what is read can be run.
func FuzzParse(f *testing.F) {
	f.Add(waits)
	files, err := filepath.Glob("../bundled/*/tests/*.transcript")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds: ", err)
	}
	for _, name := range append(files, "testdata/every.transcript") {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		head, cases, _ := strings.Cut("\n"+string(text), "\ncase ")
		for c := range strings.SplitSeq(cases, "\ncase ") {
			f.Add(head + "\ncase " + c)
		}
	}
	f.Add("case a\nconfig x.\"y\" = [1]\nrun order = 1\nsend <> to u@x\nC: .\nR: \"\\x00\"\nS: ...\n\ncase b\nwant refused …")
	f.Add("given mail fact message a.b = [1, {c = 2}] for *\ngiven route route mx:a *\nwant message rcpts.1.address.text = \"\"\nclock +1h")
	src := every(f)
	f.Fuzz(func(t *testing.T, text string) {
		file, err := Parse("x.transcript", []byte(text))
		if err != nil {
			for _, line := range strings.Split(err.Error(), "\n") {
				var n int
				if _, scan := fmt.Sscanf(line, "x.transcript:%d: ", &n); scan != nil || n < 1 || n > 2+strings.Count(text, "\n") {
					t.Fatalf("a mistake without a line: %q", line)
				}
			}
			return
		}
		if len(file.Cases) == 0 {
			t.Fatal("no case and no mistake")
		}
		if res := file.Cases[0].Run(t.Context(), src, 5*time.Second); res.Failure != nil && strings.Contains(res.Failure.Got, "did not end in time") {
			t.Fatalf("%+v", res.Failure)
		}
	})
}
