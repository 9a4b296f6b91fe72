package e2e

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// What strikes: sessions at once, and calls of each. Together they are enough for a breaker to open, with some to spare.
const (
	attackers    = 8
	strikes      = 3
	quietStrikes = 10 // with the harmless plugin, before each attack
)

// containedConfig has a listener for those who attack, and a resolver that never answers.
func containedConfig(next, resolver string) string {
	config := strings.Replace(relayConfig(next), "[queue]", "[[listener]]\nname = \"attack\"\naddress = \"127.0.0.1:0\"\nrole = \"mx\"\n\n[limits]\nerror_delay = \"0s\" # the attackers are refused again and again\n\n[queue]", 1)
	return config + fmt.Sprintf("\n[resolver]\nservers = [%q]\ntimeout = \"5s\"\n", resolver)
}

// silence is a DNS server that never answers.
func silence(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().String()
}

// arena is a server with well-behaved sessions, and a place in its watched folder for the plugin that attacks.
type arena struct {
	*server
	sink       *sink
	entry      string // of those who attack
	neighbours *neighbours
	generation uint64
	slices     int // of the harmless plugin so far
}

// harmless is what lies in the folder when nothing attacks; it is asked as often as an attack.
const harmless = `plugin { id = "attack", hook = { rcpt = { when = { listener = { "attack" } } } } }

function on.rcpt(r)
  return reject "harmless"
end
`

func newArena(t *testing.T) *arena {
	t.Helper()
	next := newSink(t)
	s := newSite(t, containedConfig(next.address, silence(t)))
	s.write("plugins/attack.lua", harmless)
	a := &arena{server: s.start(), sink: next, generation: 1}
	a.entry = a.address("attack")
	a.neighbours = startNeighbours(t, a.address("mx"))
	return a
}

// row is a line of the table.
type row struct {
	name, runtime string
	how, breaker  string
	calls         int
	slowest, over time.Duration
	neighbours    []time.Duration // their transactions meanwhile
	rss           int64
	faults        []string
}

func (r *row) fault(format string, args ...any) {
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}

// try puts one attack into the folder, strikes if it is loaded, and looks whether it was contained.
func (a *arena) try(k attack) row {
	r := row{name: k.name, runtime: k.runtime}
	mark := a.console.mark()
	before := a.generation
	refused := a.install(k.files)
	if refused != "" {
		r.how, r.breaker = "refused at load", "-"
		if !strings.Contains(refused, k.file()) || !strings.Contains(refused, k.want) || k.answer != "" {
			r.fault("it was refused with %q, want %q", refused, k.want+k.answer)
		}
		if st := a.status(); st.Generation != before || !strings.Contains(st.Error, k.want) {
			r.fault("status: generation %d, error %q; want %d, %q", st.Generation, st.Error, before, k.want)
		}
		if replies := a.strike(attack{stage: "rcpt"}, 1, &r); !slices.Equal(replies, []string{"550 5.7.1 harmless"}) {
			r.fault("the generation before it answers %q", replies)
		}
		r.rss = a.rss()
		return r
	}
	want := "451 4.3.0 a policy check failed, try again later"
	r.how = "on_error"
	if k.answer != "" {
		want, r.how = k.answer, "its answer"
	}
	replies := a.strike(k, attackers, &r)
	if len(replies) != attackers*strikes {
		r.fault("%d replies", len(replies))
	}
	for _, reply := range replies {
		if reply != want {
			r.fault("a reply: %q, want %q", reply, want)
			break
		}
	}
	r.over = max(0, r.slowest-k.timeout)
	st := a.status()
	r.rss = a.rss()
	live := a.generation
	if refused := a.put(harmless); refused != "" {
		r.fault("afterwards: %s", refused)
		return r
	}
	a.look(k, st, a.told(mark, live), &r)
	return r
}

// told waits for what the log says between a generation and the next.
func (a *arena) told(mark int, generation uint64) []string {
	a.t.Helper()
	live := func(n uint64) string { return fmt.Sprintf(`"msg":"generation is live","generation":%d,`, n) }
	a.console.expect(a.t, mark, `{"time"`, live(generation+1))
	lines := a.console.since(mark)
	at := func(n uint64) int {
		return slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, live(n)) })
	}
	return lines[at(generation)+1 : at(generation+1)]
}

// look checks what the server says of the plugin: in its status, and in the log.
func (a *arena) look(k attack, st status, log []string, r *row) {
	var p plugin
	for _, other := range st.Plugins {
		if other.Name == "attack" {
			p = other
		}
	}
	i := slices.IndexFunc(p.Hooks, func(h calls) bool { return h.Stage == k.stage })
	if i < 0 {
		r.fault("status does not know its hook at %s: %+v", k.stage, p)
		return
	}
	h := p.Hooks[i]
	failed, opened := 0, 0
	for _, line := range log {
		switch {
		case strings.Contains(line, `"msg":"a plugin failed"`):
			slow := strings.Contains(line, "ran out of time") // calls wait for each other
			if failed++; !strings.Contains(line, k.want) && !slow || !strings.Contains(line, k.file()) {
				r.fault("the log: %s, want %q", line, k.want)
			}
		case strings.Contains(line, `"msg":"a plugin is not asked for now`):
			opened++
		}
	}
	overran := uint64(0)
	for _, n := range h.Overran {
		overran += n
	}
	r.breaker = "closed"
	switch {
	case h.Open:
		r.breaker = "open"
	case overran >= 10:
		r.fault("%d of %d calls overran, and the breaker is closed", overran, h.Calls)
	}
	switch {
	case k.answer != "" && (h.Errors > 0 || failed > 0):
		r.fault("it failed %d times", h.Errors)
	case k.answer == "" && (h.Errors != h.Calls || failed == 0):
		r.fault("%d calls, %d errors, %d lines in the log", h.Calls, h.Errors, failed)
	case h.Calls+h.Skipped != attackers*strikes:
		r.fault("%d calls and %d skipped", h.Calls, h.Skipped)
	case h.Open != (opened == 1) || opened > 1 || h.Open != strings.HasPrefix(p.State, "open at "):
		r.fault("open %v, state %q, %d lines in the log", h.Open, p.State, opened)
	}
}

// TestContained runs every attack through the server: in the watched folder, under mail of well-behaved sessions. Before each of
// them the harmless plugin is asked for a while, so that whatever else the machine does meanwhile is in both measures. The table in its
// log is the measure; what is asserted is that each attack is contained, and that nothing hangs.
func TestContained(t *testing.T) {
	a := newArena(t)
	start := a.rss()
	var rows []row
	for _, k := range attacks(t) {
		a.quiet()
		r := a.try(k)
		a.alive()
		rows = append(rows, r)
	}
	a.quiet()
	a.neighbours.stop()
	end := a.settled()
	quiet := a.neighbours.latencies(phaseQuiet, phaseStill)
	if len(quiet) == 0 {
		t.Fatal("the neighbours sent nothing")
	}
	var text bytes.Buffer
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ATTACK\tRUNTIME\tENDED BY\tCALLS\tSLOWEST\tOVER DEADLINE\tBREAKER\tNEIGHBOURS\tP99\tRATIO\tRSS")
	type sum struct {
		tried, contained int
		over             time.Duration
		peak             int64
	}
	sums := map[string]*sum{"lua": {}, "wasm": {}}
	for _, r := range rows {
		s := sums[r.runtime]
		s.tried++
		if len(r.faults) == 0 {
			s.contained++
		} else {
			t.Errorf("%s in %s: %s", r.name, r.runtime, strings.Join(r.faults, "; "))
		}
		if r.over > patience/12 {
			t.Errorf("%s in %s: a reply came %s after the deadline", r.name, r.runtime, r.over)
		}
		s.over, s.peak = max(s.over, r.over), max(s.peak, r.rss)
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%d\t%s\t%.2f\t%d MB\n", r.name, r.runtime, r.how, r.calls, ms(r.slowest), ms(r.over), r.breaker,
			len(r.neighbours), ms(quantile(r.neighbours, 0.99)), ratio(r.neighbours, quiet), r.rss>>20)
	}
	w.Flush()
	t.Logf("\n%s", text.String())
	for runtime, phase := range map[string]int32{"lua": phaseLua, "wasm": phaseWasm} {
		s, with := sums[runtime], a.neighbours.latencies(phase)
		t.Logf("%s: contained %d of %d; process deaths 0; worst overshoot of a deadline %s; memory at most %d MB; neighbours: %d transactions, p50 %s, p99 %s, ratio of p99 %.2f",
			runtime, s.contained, s.tried, ms(s.over), s.peak>>20, len(with), ms(quantile(with, 0.5)), ms(quantile(with, 0.99)), ratio(with, quiet))
	}
	with := a.neighbours.latencies(phaseLua, phaseWasm)
	t.Logf("both: neighbours without an attack: %d transactions, p50 %s, p99 %s; with: %d, p50 %s, p99 %s; ratio of p99 %.2f; of the slices without, to each other, %.2f",
		len(quiet), ms(quantile(quiet, 0.5)), ms(quantile(quiet, 0.99)), len(with), ms(quantile(with, 0.5)), ms(quantile(with, 0.99)), ratio(with, quiet),
		ratio(a.neighbours.latencies(phaseStill), a.neighbours.latencies(phaseQuiet)))
	t.Logf("memory: %d MB before, %d MB after", start>>20, end>>20)
	a.empty()
	a.sink.exactly(a.neighbours.sent())
	a.stop()
}

// ratio is that of the p99.
func ratio(with, without []time.Duration) float64 {
	return float64(quantile(with, 0.99)) / float64(max(1, quantile(without, 0.99)))
}
