package e2e

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Phases of an arena: what a transaction of the neighbours is counted for.
const (
	phaseOther int32 = iota
	phaseQuiet       // the harmless plugin is asked, in every other slice
	phaseStill       // in the slices between those
	phaseLua
	phaseWasm
	phases
)

// How the neighbours send: sessions, and the pause of each after a message.
const (
	neighbourSessions = 4
	neighbourPause    = 10 * time.Millisecond
)

// neighbours are sessions that send mail all the time.
type neighbours struct {
	t     testing.TB
	phase atomic.Int32
	done  chan struct{}
	group sync.WaitGroup

	mu   sync.Mutex
	took [phases][]time.Duration
	ids  []string
}

func startNeighbours(t testing.TB, address string) *neighbours {
	n := &neighbours{t: t, done: make(chan struct{})}
	for i := range neighbourSessions {
		n.group.Go(func() { n.session(i, address) })
	}
	t.Cleanup(n.stop)
	return n
}

func (n *neighbours) session(number int, address string) {
	c, err := connect(address)
	if err != nil {
		n.t.Error(err)
		return
	}
	defer c.conn.Close()
	for i := 0; ; i++ {
		select {
		case <-n.done:
			return
		case <-time.After(neighbourPause):
		}
		id := fmt.Sprintf("<neighbour.%d.%d@client.example>", number, i)
		phase, begin := n.phase.Load(), time.Now()
		reply, err := c.send("u@example.net", id)
		took := time.Since(begin)
		if err != nil || !strings.HasPrefix(reply, "250 ") {
			n.t.Errorf("a neighbour's message: %q, %v", reply, err)
			return
		}
		n.mu.Lock()
		n.ids = append(n.ids, id)
		if n.phase.Load() == phase {
			n.took[phase] = append(n.took[phase], took)
		}
		n.mu.Unlock()
	}
}

func (n *neighbours) stop() {
	n.mu.Lock()
	select {
	case <-n.done:
	default:
		close(n.done)
	}
	n.mu.Unlock()
	n.group.Wait()
}

// sent gives the ids of all messages that were taken.
func (n *neighbours) sent() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ids
}

func (n *neighbours) latencies(phases ...int32) []time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []time.Duration
	for _, phase := range phases {
		all = append(all, n.took[phase]...)
	}
	slices.Sort(all)
	return all
}

// since gives what transactions of a phase took, since there were `from` of them.
func (n *neighbours) since(phase int32, from int) []time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Sorted(slices.Values(n.took[phase][min(from, len(n.took[phase])):]))
}

// forget begins the measure anew.
func (n *neighbours) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.took = [phases][]time.Duration{}
}

func (n *neighbours) count(phase int32) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.took[phase])
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

// strike asks the plugin from some sessions at once, several times from each, and gives all replies. What the neighbours
// send meanwhile is counted for the attack.
func (a *arena) strike(k attack, sessions int, r *row) []string {
	each, phase := strikes, k.phase()
	switch {
	case sessions == 1:
		each = 1
	case k.name == "":
		each = quietStrikes
	}
	type result struct {
		reply string
		took  time.Duration
	}
	results := make(chan result, sessions*each)
	var clients []*client
	for range sessions {
		clients = append(clients, dial(a.t, a.entry))
	}
	from := a.neighbours.count(phase)
	a.neighbours.phase.Store(phase)
	var group sync.WaitGroup
	for _, c := range clients {
		group.Go(func() {
			defer c.conn.Close()
			for range each {
				reply, took, err := c.provoke(k.stage)
				if err != nil {
					reply = err.Error()
				}
				results <- result{reply, took}
				time.Sleep(neighbourPause)
			}
		})
	}
	group.Wait()
	a.neighbours.phase.Store(phaseOther)
	close(results)
	var replies []string
	for res := range results {
		replies = append(replies, res.reply)
		r.slowest = max(r.slowest, res.took)
	}
	r.calls, r.neighbours = len(replies), a.neighbours.since(phase, from)
	return replies
}

// provoke makes the server ask at a stage, in a transaction of its own, and gives the reply and how long it took.
func (c *client) provoke(stage string) (string, time.Duration, error) {
	script := []string{"MAIL FROM:<a@client.example>", "RCPT TO:<u@example.net>"}
	if stage == "data" {
		script = append(script, "DATA", letter("<attack@client.example>")+".")
	}
	for _, line := range script[:len(script)-1] {
		if reply, err := c.ask(line); err != nil || reply[0] != '2' && reply[0] != '3' {
			return reply, 0, err
		}
	}
	begin := time.Now()
	reply, err := c.ask(script[len(script)-1])
	took := time.Since(begin)
	if err == nil && stage == "rcpt" {
		_, err = c.ask("RSET")
	}
	return reply, took, err
}

// quiet does what an attack does, with the harmless plugin. Slices of it are counted for two phases in turn: what they differ by
// is what the measure is worth.
func (a *arena) quiet() {
	a.t.Helper()
	a.slices++
	var r row
	for _, reply := range a.strike(attack{stage: "rcpt", odd: a.slices%2 == 1}, attackers, &r) {
		if reply != "550 5.7.1 harmless" {
			a.t.Fatalf("the harmless plugin answers %q", reply)
		}
	}
}

// phase is what the neighbours' mail is counted for while an attack runs.
func (k *attack) phase() int32 {
	switch {
	case k.runtime == "wasm":
		return phaseWasm
	case k.runtime == "lua":
		return phaseLua
	case k.odd:
		return phaseStill
	}
	return phaseQuiet
}

// rss is the memory of the server that is in RAM; 0 where the system does not say it.
func (a *arena) rss() int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", a.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	pages, _ := strconv.ParseInt(strings.Fields(string(data))[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// settled gives the memory once it falls no more.
func (a *arena) settled() int64 {
	last := a.rss()
	for range 20 {
		time.Sleep(500 * time.Millisecond)
		now := a.rss()
		if now >= last-last/100 {
			return now
		}
		last = now
	}
	return last
}
