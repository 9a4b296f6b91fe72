package transcript

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/plugins/generation"
)

// source makes a plugin of code.
func source(t testing.TB, name, code string) *generation.Source {
	t.Helper()
	file := filepath.Join(t.TempDir(), name+".lua")
	if err := os.WriteFile(file, []byte(code), 0o644); err != nil {
		t.Fatal(err)
	}
	src, err := generation.Read(file, name+".lua")
	if err != nil {
		t.Fatal(err)
	}
	return src
}

const greylist = `plugin { id = "greylist", version = "1.0.0", api = 0, description = "strangers must try twice",
  needs = { kv = "own" },
  config = { wait = { type = "duration", default = "5m" }, keep = { type = "duration", default = "36d" } },
  hook = { rcpt = { when = { role = { "mx" }, user = false }, order = 50, reads = { "dnswl.listed?" }, on_error = "next" } } }

function on.rcpt(r)
  local m = r.message
  if not r.class or m.session.facts["dnswl.listed"] then return end
  local key = hash.sha256(addr.network(m.session.ip, 24, 64) .. "|" .. m.sender.text .. "|" .. r.address.text)
  local first = kv.get(key)
  if first and now() - first >= config.wait then
    kv.set(key, first, config.keep)
    return
  end
  if not first then kv.add(key, now(), 86400) end
  m.my.waited = true
  return defer{ enhanced = "4.7.1", reason = "greylist", text = "please try again later" }
end
`

const waits = `config wait = 5m
given rcpt accept local *@example.org       # stands for the plugins that are not loaded here
connect 192.0.2.9 role=mx
S: 220 …
C: EHLO a.example
S: 250 …
C: MAIL FROM:<a@a.example>
S: 250 …
C: RCPT TO:<u@example.org>
S: 451 4.7.1 please try again later
want fact message greylist.waited = true
clock +5m
C: RCPT TO:<u@example.org>
S: 250 …
want next at rcpt
C: RCPT TO:<u@elsewhere.example>
S: 550 5.7.1 …
given kv down
C: RCPT TO:<v@example.org>
S: 250 …                                    # on_error = next
want error at rcpt
`

func TestContract(t *testing.T) {
	f, err := Parse("waits.transcript", []byte(waits))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range f.Cases {
		if res := c.Run(t.Context(), source(t, "greylist", greylist), 0); res.Failure != nil {
			t.Errorf("%s: %+v", c, res.Failure)
		}
	}
}

// TestEveryLine: each sort of line, coming true, in both instances.
func TestEveryLine(t *testing.T) {
	text, err := os.ReadFile("testdata/every.transcript")
	if err != nil {
		t.Fatal(err)
	}
	f, err := Parse("every.transcript", text)
	if err != nil {
		t.Fatal(err)
	}
	src, err := generation.Read("testdata/every.lua", "every.lua")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range f.Cases {
		t.Run(c.Name, func(t *testing.T) {
			if f := c.Run(t.Context(), src, 0).Failure; f != nil {
				t.Errorf("line %d, %s: wanted\n%s\ngot\n%s", f.Line, f.Run, f.Wanted, f.Got)
			}
		})
	}
}

// TestNeededFact: a fact that a plugin cannot do without is given, not given, or its setter fails.
func TestNeededFact(t *testing.T) {
	src := source(t, "needs", `plugin { id = "needs", hook = { data = { reads = { "spam.score" } } } }
function on.data(m) if m.facts["spam.score"] > 5 then return reject "spam" end end`)
	const sent = "given rcpt accept local *\nconnect 192.0.2.1\nsend a@a.example to u@example.org\n"
	if f := one(t, src, "given mail fact message spam.score = 9\n"+sent+"S: 550 5.7.1 spam\nwant reject at data"); f != nil {
		t.Errorf("given: %+v", f)
	}
	if f := one(t, src, "given mail fact message spam.score = 9\ngiven mail error\n"+sent+"S: 451 4.3.0 …\nwant error at data: …the plugin that sets it failed"); f != nil {
		t.Errorf("its setter fails: %+v", f)
	}
	if f := one(t, src, sent); f == nil || f.Run != "load" || !strings.Contains(f.Got, `reads the fact "spam.score", and no plugin that is loaded sets it`) {
		t.Errorf("not given: %+v", f)
	}
}

// TestBackground: what is set in the background counts, and shows, where it is read; and so does the failure.
func TestBackground(t *testing.T) {
	src := source(t, "listed", `plugin { id = "listed", needs = { dns = true }, hook = {
  connect = { background = true, sets = { "listed.zone" } },
  rcpt = { reads = { "listed.zone" }, on_error = "reject" } } }
function on.connect(s)
  s.my.zone = #dns.get(addr.reverse(s.ip, "zone.example"), "A") > 0
end
function on.rcpt(r)
  if r.message.session.my.zone then return reject "listed" end
  return accept "local"
end`)
	const sent = "connect 192.0.2.9\nS: 220 …\nwant not asked at connect\nsend a@a.example to u@example.org\n"
	for name, script := range map[string]string{
		"listed":     "given dns 9.2.0.192.zone.example A 127.0.0.2\n" + sent + "S: 550 5.7.1 listed\nwant next at connect: in the background\nwant fact session listed.zone = true",
		"not listed": sent + "S: 250 …\nwant next at connect\nwant fact session listed.zone = false\nwant accept local at rcpt",
		"unknown":    "given dns down\n" + sent + "S: 550 5.3.0 …\nwant error at connect: in the background: …\nwant error at rcpt: …the plugin that sets it failed",
	} {
		if f := one(t, src, script); f != nil {
			t.Errorf("%s: %+v", name, f)
		}
	}
}
