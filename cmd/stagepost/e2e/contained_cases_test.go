package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	facts "github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/wasm/asm"
)

// hanging asks the silent resolver and then goes on, after its deadline.
const hanging = `plugin { id = "attack", needs = { dns = true },
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "%s" } } }

function on.rcpt(r)
  pcall(dns.get, "silent.example", "A")
  return reject %q
end
`

func (a *arena) hook(stage string) calls {
	a.t.Helper()
	for _, p := range a.status().Plugins {
		if p.Name == "attack" {
			for _, h := range p.Hooks {
				if h.Stage == stage {
					return h
				}
			}
		}
	}
	a.t.Fatalf("status knows no hook at %s", stage)
	return calls{}
}

// TestBusy: when all instances hang, who finds none in time gets on_error, and it is counted.
func TestBusy(t *testing.T) {
	a := newArena(t)
	a.neighbours.stop()
	a.write("stagepost.toml", containedConfig(a.sink.address, silence(t))+"\n[run.attack]\ninstances = 2\non_error = \"reject\"\n")
	if why := a.put(`plugin { id = "attack", needs = { dns = true }, hook = {
  mail = { when = { listener = { "attack" } }, timeout = "3s" },
  rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.mail(m)
  if m.sender.mailbox == "hang" then pcall(dns.get, "silent.example", "A") end
end

function on.rcpt(r) -- with a closure, so that it needs an instance
  local why = function() return "free" end
  return reject(why())
end
`); why != "" {
		t.Fatal(why)
	}
	ready := dial(t, a.entry)
	ready.want(t, "MAIL FROM:<a@client.example>", "250 ")
	var group sync.WaitGroup
	for range 2 {
		c := dial(t, a.entry)
		group.Go(func() {
			if reply, err := c.ask("MAIL FROM:<hang@client.example>"); err != nil || !strings.HasPrefix(reply, "250 ") {
				t.Errorf("who hangs, and goes on: %q, %v", reply, err)
			}
		})
	}
	eventually(t, "no instance is free", func() (bool, any) {
		reply, err := ready.ask("RCPT TO:<u@example.net>")
		return reply == "550 5.3.0 a policy check failed", fmt.Sprint(reply, err)
	})
	begin := time.Now()
	ready.want(t, "RCPT TO:<u@example.net>", "550 5.3.0 a policy check failed")
	t.Logf("answered after %s of 300 ms", ms(time.Since(begin)))
	if h := a.hook("rcpt"); h.Errors == 0 || h.Overran["busy"] != h.Errors {
		t.Errorf("status: %+v", h)
	}
	a.console.expect(t, 0, `{"time"`, `"msg":"a plugin failed"`, `"stage":"rcpt","error":"no instance was free in time"`)
	group.Wait()
	ready.want(t, "RCPT TO:<u@example.net>", "550 5.7.1 free")
	if h := a.hook("mail"); h.Errors != 0 || h.Overran["time"] != 2 {
		t.Errorf("status of those who hung: %+v", h)
	}
	a.stop()
}

// TestBreaker follows one from its opening to the change of the plugin that closes it.
func TestBreaker(t *testing.T) {
	a := newArena(t)
	a.neighbours.stop()
	loop := strings.Replace(harmless, `return reject "harmless"`, "while true do end", 1)
	if why := a.put(loop); why != "" {
		t.Fatal(why)
	}
	c := dial(t, a.entry)
	ask := func(n int, want string) {
		t.Helper()
		for range n {
			if reply, _, err := c.provoke("rcpt"); err != nil || reply != want {
				t.Fatalf("%q, %v; want %q", reply, err, want)
			}
		}
	}
	ask(15, "451 4.3.0 a policy check failed, try again later")
	if h := a.hook("rcpt"); !h.Open || h.Calls != 10 || h.Skipped != 5 || h.Overran["instructions"] != 10 || h.Why != "ran out of instructions" {
		t.Errorf("status: %+v", h)
	}
	if out := a.want(0, "plugin", "list"); !strings.Contains(out, "open at rcpt") {
		t.Errorf("plugin list: %s", out)
	}
	a.console.expect(t, 0, `{"time"`, `"level":"ERROR","msg":"a plugin is not asked for now`, `"plugin":"attack","stage":"rcpt"`, `"on_error":"defer"`)
	id := ""
	eventually(t, "a record of a call that was not made", func() (bool, any) {
		var steps []step
		for _, line := range a.console.since(0) {
			if _, rest, ok := strings.Cut(line, `"msg":"rejected","id":"`); ok {
				id = rest[:strings.IndexByte(rest, '"')]
			}
		}
		if id != "" {
			steps = objects[step](a.site, "trace", id)
		}
		return slices.ContainsFunc(steps, func(s step) bool {
			return s.Plugin == "attack" && s.Verdict == "open, defer 451 4.3.0" && strings.Contains(s.Detail, "because too many calls ran out of instructions")
		}), fmt.Sprint(id, steps)
	})
	// Another plugin's change leaves it open; its own begins anew.
	a.write("plugins/hello.lua", hello("one"))
	a.want(0, "reload")
	if h := a.hook("rcpt"); !h.Open || h.Calls != 10 {
		t.Errorf("after another plugin was added: %+v", h)
	}
	a.put(harmless)
	ask(5, "550 5.7.1 harmless")
	if h := a.hook("rcpt"); h.Open || h.Calls != 5 || h.Errors != 0 {
		t.Errorf("after the plugin was changed: %+v", h)
	}
	a.stop()
}

// TestManyGenerationsAtOnce: transactions that hang in one generation of a plugin, while others come and go, are answered by
// their own.
func TestManyGenerationsAtOnce(t *testing.T) {
	t.Run("Lua", func(t *testing.T) {
		manyGenerations(t, func(says string) map[string]string { return luaFiles(fmt.Sprintf(hanging, "3s", says)) })
	})
	t.Run("WebAssembly", func(t *testing.T) {
		manyGenerations(t, func(says string) map[string]string { return wasmSlow(t, says) })
	})
}

// wasmSlow takes long, and then refuses with a text.
func wasmSlow(t testing.TB, says string) map[string]string {
	t.Helper()
	verdict, err := facts.EncodeValue(map[string]any{"kind": int64(hooks.Reject), "text": says})
	if err != nil {
		t.Fatal(err)
	}
	code, err := asm.Plugin(fmt.Sprintf(`data 4000 %s
export func stagepost_hook i32 -> i64
locals i32
loop call now drop local.get 1 i32.const 1 i32.add local.tee 1 i32.const 300000 i32.lt_u br_if 0 end i64.const %d
`, strconv.Quote(string(verdict)), 4000<<32|len(verdict)))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		wasmFolder + "/plugin.wasm": string(code),
		wasmFolder + "/plugin.toml": "id = \"attack\"\nversion = \"1.0.0\"\n\n[hook.rcpt]\nwhen = { listener = [\"attack\"] }\ntimeout = \"30s\"\n",
	}
}

func manyGenerations(t *testing.T, files func(says string) map[string]string) {
	a := newArena(t)
	a.neighbours.stop()
	const generations = 8
	replies := make(chan string, generations)
	var group sync.WaitGroup
	begun := time.Now()
	for i := range generations {
		if why := a.install(files(fmt.Sprintf("generation %d", i))); why != "" {
			t.Fatal(why)
		}
		c := dial(t, a.entry)
		c.want(t, "MAIL FROM:<a@client.example>", "250 ")
		group.Go(func() {
			reply, err := c.ask("RCPT TO:<u@example.net>")
			replies <- fmt.Sprintf("%d %s %v", i, reply, err)
		})
	}
	a.put(harmless)
	swapped := time.Since(begun)
	c := dial(t, a.entry)
	if reply, _, err := c.provoke("rcpt"); err != nil || reply != "550 5.7.1 harmless" {
		t.Errorf("the newest generation answers %q, %v", reply, err)
	}
	early := len(replies)
	group.Wait()
	close(replies)
	for got := range replies {
		n := got[:strings.IndexByte(got, ' ')]
		if want := n + " 550 5.7.1 generation " + n + " <nil>"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	t.Logf("%d generations in %s; %d of %d calls had ended by then", generations, swapped.Round(time.Millisecond), early, generations)
	a.stop()
}
