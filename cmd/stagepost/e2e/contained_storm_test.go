package e2e

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// storms are plugins that stay within their bounds, or just so, and take what they can: no breaker ends them soon.
var storms = []struct{ name, body string }{
	{"instructions", `local n = 0
  for i = 1, 300000 do n = n + i end
  return reject "harmless"`},
	{"pattern", `("a"):rep(1500):find(".-.-b")
  return reject "harmless"`},
	{"strings", `local s = ("x"):rep(1000000)
  for i = 1, 25 do s = ("y"):rep(1000000) end
  return reject "harmless"`},
	{"tables", `local t = {}
  for i = 1, 100000 do t[i] = { i } if i % 15000 == 0 then t = {} end end
  return reject "harmless"`},
	{"memory held while waiting", `local s = ("x"):rep(30000000)
  pcall(dns.get, "silent.example", "A")
  return reject(#s > 0 and "harmless" or "")`},
}

// TestStorms measures neighbours while many sessions ask a plugin that takes all it may: each storm against the harmless plugin
// asked as often, before and after it. STAGEPOST_E2E_STORM is its length, such as 30s.
func TestStorms(t *testing.T) {
	length := 500 * time.Millisecond
	if text := os.Getenv("STAGEPOST_E2E_STORM"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatalf("STAGEPOST_E2E_STORM: %v", err)
		}
	}
	a := newArena(t)
	head := strings.Replace(strings.SplitN(harmless, "\n", 2)[0], "hook = ", "needs = { dns = true }, hook = ", 1)
	head = strings.Replace(head, "when =", `timeout = "1s", when =`, 1)
	start := a.rss()
	for _, s := range storms {
		a.neighbours.forget()
		a.blow(length, phaseQuiet)
		if why := a.put(fmt.Sprintf("%s\n\nfunction on.rcpt(r)\n  %s\nend\n", head, s.body)); why != "" {
			t.Fatalf("%s: %s", s.name, why)
		}
		calls := a.blow(length, phaseLua)
		rss := a.rss()
		a.put(harmless)
		a.blow(length, phaseQuiet)
		without, with := a.neighbours.latencies(phaseQuiet), a.neighbours.latencies(phaseLua)
		if len(without) == 0 || len(with) == 0 {
			t.Fatalf("%s: the neighbours sent nothing", s.name)
		}
		t.Logf("%-26s %5d calls; neighbours without: %5d, p50 %s, p99 %s; with: %5d, p50 %s, p99 %s, ratio %.2f; memory %d MB", s.name, calls,
			len(without), ms(quantile(without, 0.5)), ms(quantile(without, 0.99)), len(with), ms(quantile(with, 0.5)), ms(quantile(with, 0.99)),
			float64(quantile(with, 0.99))/float64(quantile(without, 0.99)), rss>>20)
	}
	a.neighbours.stop()
	t.Logf("memory: %d MB before, %d MB after", start>>20, a.settled()>>20)
	a.empty()
	a.sink.exactly(a.neighbours.sent())
	a.stop()
}

// stormSessions ask at once.
const stormSessions = 64

// blow asks the plugin from many sessions for a while, and tells how often it answered.
func (a *arena) blow(length time.Duration, phase int32) int {
	a.t.Helper()
	var group sync.WaitGroup
	var mu sync.Mutex
	calls := 0
	end := time.Now().Add(length)
	a.neighbours.phase.Store(phase)
	for range stormSessions {
		c := dial(a.t, a.entry)
		group.Go(func() {
			defer c.conn.Close()
			for time.Now().Before(end) {
				reply, _, err := c.provoke("rcpt")
				if err != nil || !strings.HasPrefix(reply, "550 5.7.1 harmless") && !strings.HasPrefix(reply, "451 4.3.0 ") {
					a.t.Errorf("a reply in a storm: %q, %v", reply, err)
					return
				}
				mu.Lock()
				calls++
				mu.Unlock()
				time.Sleep(10 * neighbourPause)
			}
		})
	}
	group.Wait()
	a.neighbours.phase.Store(phaseOther)
	return calls
}
