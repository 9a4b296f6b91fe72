package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// attack is one plugin file that tries to break out. Its first line says what is wanted: `-- want: TEXT`, the error that ends
// the call or refuses the file, or `-- answer: REPLY`, where it may go on but must come to nothing else.
type attack struct {
	name, text   string
	want, answer string
	stage        string
	timeout      time.Duration
}

// What strikes: sessions at once, and calls of each. Together they are enough for a breaker to open, with some to spare.
const (
	attackers = 8
	strikes   = 3
)

var (
	stageOf   = regexp.MustCompile(`(?m)^function on\.(\w+)`)
	timeoutOf = regexp.MustCompile(`timeout = "(\w+)"`)
	timeOf    = regexp.MustCompile(`(?m)^-- time: (\w+)`)
)

// attacks reads those of this package and those of the engine's own test, which call the handler test and have no header. Line
// numbers stay as they are in the file.
func attacks(t *testing.T) []attack {
	t.Helper()
	own, err := filepath.Glob("testdata/attacks/*.lua")
	if err != nil {
		t.Fatal(err)
	}
	engine, err := filepath.Glob(filepath.Join(root, "plugins/lua/testdata/attacks/*.lua"))
	if err != nil || len(own) < 30 || len(engine) < 50 {
		t.Fatalf("found %d and %d attacks, %v", len(own), len(engine), err)
	}
	var list []attack
	for _, file := range append(engine, own...) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		a := attack{name: strings.TrimSuffix(filepath.Base(file), ".lua"), text: string(data), stage: "rcpt", timeout: time.Second}
		first, _, _ := strings.Cut(a.text, "\n")
		var wants, answers bool
		if a.want, wants = strings.CutPrefix(first, "-- want: "); !wants {
			if a.answer, answers = strings.CutPrefix(first, "-- answer: "); !answers {
				t.Fatalf("%s begins with %q", file, first)
			}
		}
		if !strings.Contains(a.text, "\nplugin {") {
			if strings.Contains(a.text, "host.") && strings.HasPrefix(a.name, "s14") {
				continue // it needs a host function that panics, which the engine's own test has
			}
			timeout := "300ms"
			if m := timeOf.FindStringSubmatch(a.text); m != nil {
				timeout = m[1]
			}
			head := fmt.Sprintf(`plugin { id = "attack", hook = { rcpt = { when = { listener = { "attack" } }, timeout = %q } } } `, timeout)
			a.text = head + strings.ReplaceAll(strings.ReplaceAll(a.text, "on.test", "on.rcpt"), "= host", "= config")
			if !strings.Contains(a.text, "on.rcpt") { // its main chunk is the attack
				a.text = strings.Replace(a.text, ", hook = { rcpt = { when = { listener = { \"attack\" } }, timeout = \"300ms\" } }", "", 1)
			}
		}
		if m := stageOf.FindStringSubmatch(a.text); m != nil {
			a.stage = m[1]
		}
		if m := timeoutOf.FindStringSubmatch(a.text); m != nil {
			if a.timeout, err = time.ParseDuration(m[1]); err != nil {
				t.Fatal(err)
			}
		}
		list = append(list, a)
	}
	if only := os.Getenv("STAGEPOST_E2E_ATTACKS"); only != "" {
		pattern, err := regexp.Compile(only)
		if err != nil {
			t.Fatalf("STAGEPOST_E2E_ATTACKS: %v", err)
		}
		list = slices.DeleteFunc(list, func(a attack) bool { return !pattern.MatchString(a.name) })
	}
	return list
}

// containedConfig has a listener for those who attack, and a resolver that never answers.
func containedConfig(next, resolver string) string {
	config := strings.Replace(relayConfig(next), "[queue]", "[[listener]]\nname = \"attack\"\naddress = \"127.0.0.1:0\"\nrole = \"mx\"\n\n[queue]", 1)
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

// put changes the plugin and tells why it was refused; "" if it is live.
func (a *arena) put(text string) string {
	a.t.Helper()
	a.replace("plugins/attack.lua", text)
	r := a.run("reload")
	if r.code == exitConfig {
		return r.out + r.err
	}
	if n, _ := fmt.Sscanf(r.out, "generation %d is live", &a.generation); r.code != 0 || n != 1 {
		before := a.generation // the watch may have been first
		if a.generation = a.status().Generation; r.code != 0 || a.generation == before {
			a.t.Fatalf("reload: exit code %d: %s%s", r.code, r.out, r.err)
		}
	}
	return ""
}

// row is a line of the table.
type row struct {
	name, how, breaker string
	calls              int
	slowest, over      time.Duration
	neighbours         time.Duration // the slowest of their transactions meanwhile
	rss                int64
	faults             []string
}

func (r *row) fault(format string, args ...any) {
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}

// try puts one attack into the folder, strikes if it is loaded, and looks whether it was contained.
func (a *arena) try(k attack) row {
	r := row{name: k.name}
	mark := a.console.mark()
	before := a.generation
	refused := a.put(k.text)
	if refused != "" {
		r.how, r.breaker = "refused at load", "-"
		if !strings.Contains(refused, "plugins/attack.lua:") || !strings.Contains(refused, k.want) || k.answer != "" {
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
			if failed++; !strings.Contains(line, k.want) && !slow || !strings.Contains(line, "plugins/attack.lua:") {
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

// TestContained runs every attack through the server: in the watched folder, under mail of well-behaved sessions. The table in
// its log is the measure; what is asserted is that each attack is contained, and that nothing hangs.
func TestContained(t *testing.T) {
	a := newArena(t)
	start := a.rss()
	a.quiet(1)
	var rows []row
	for i, k := range attacks(t) {
		if i%24 == 0 {
			a.quiet(1)
		}
		r := a.try(k)
		a.alive()
		rows = append(rows, r)
	}
	a.quiet(1)
	a.neighbours.stop()
	end := a.settled()
	contained, worst, peak := 0, time.Duration(0), start
	var text bytes.Buffer
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ATTACK\tENDED BY\tCALLS\tSLOWEST\tOVER DEADLINE\tBREAKER\tSLOWEST NEIGHBOUR\tRSS")
	for _, r := range rows {
		if len(r.faults) == 0 {
			contained++
		} else {
			t.Errorf("%s: %s", r.name, strings.Join(r.faults, "; "))
		}
		if r.over > patience/6 {
			t.Errorf("%s: a reply came %s after the deadline", r.name, r.over)
		}
		worst, peak = max(worst, r.over), max(peak, r.rss)
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t%d MB\n", r.name, r.how, r.calls, ms(r.slowest), ms(r.over), r.breaker, ms(r.neighbours), r.rss>>20)
	}
	w.Flush()
	t.Logf("\n%s", text.String())
	without, with := a.neighbours.latencies(phaseQuiet), a.neighbours.latencies(phaseAttack)
	t.Logf("contained %d of %d; process deaths 0; worst overshoot of a deadline %s; memory: %d MB before, at most %d MB, %d MB after",
		contained, len(rows), ms(worst), start>>20, peak>>20, end>>20)
	t.Logf("neighbours: %d transactions without an attack, p50 %s, p99 %s; %d with, p50 %s, p99 %s; ratio of p99 %.2f",
		len(without), ms(quantile(without, 0.5)), ms(quantile(without, 0.99)), len(with), ms(quantile(with, 0.5)), ms(quantile(with, 0.99)),
		float64(quantile(with, 0.99))/float64(max(1, quantile(without, 0.99))))
	if len(with) == 0 || len(without) == 0 {
		t.Error("the neighbours sent nothing")
	}
	a.empty()
	a.sink.exactly(a.neighbours.sent())
	a.stop()
}
