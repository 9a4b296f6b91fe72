package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/scripts/longrun"
)

// TestReload is the short form of scripts/soak reload. How long a save takes is printed and not a matter of right or wrong here.
func TestReload(t *testing.T) {
	s := defaults()
	s.saves, s.within, s.seed = 20, patience, uint64(time.Now().UnixNano())
	s.program = longrun.Program(t)
	t.Run("Lua", func(t *testing.T) { shortRun(t, s) })
	s.wasm = true
	t.Run("WebAssembly", func(t *testing.T) { shortRun(t, s) })
}

func shortRun(t *testing.T, s settings) {
	s.dir = t.TempDir()
	var out strings.Builder
	report, err := run(context.Background(), s, &out)
	if err != nil {
		t.Fatal(err)
	}
	report.print(&out)
	t.Log(out.String())
	if len(report.violations) > 0 {
		t.Error("a rule is violated")
	}
	if len(report.live) != 10 || len(report.refused) != 10 || report.seen < 5 || report.over == 0 || len(report.source.sent) < 100 {
		t.Error("hardly any mail flowed over the changes, so nothing was tried")
	}
}

// TestCheck gives the checker accounts with one thing wrong in each.
func TestCheck(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }
	epochs := []epoch{{"a", time.Time{}, time.Time{}}, {"b", at(1000), at(1300)}, {"c", at(2000), at(2300)}, {"c", at(3000), at(3300)}}
	for _, c := range []struct {
		name  string
		begin int // of the transaction, which takes 10 ms until MAIL is answered and 100 in all
		came  arrival
		rule  string // "": right
	}{
		{"the first", 100, arrival{1, "a", ""}, ""},
		{"the old one between save and line", 1250, arrival{1, "a", ""}, ""},
		{"the new one between save and line", 1250, arrival{1, "b", ""}, ""},
		{"the old one after the line", 1301, arrival{1, "a", ""}, "version"},
		{"the new one before the save", 980, arrival{1, "b", ""}, "version"},
		{"the one before the last", 2400, arrival{1, "b", ""}, "version"},
		{"one that two generations have", 5000, arrival{1, "c", ""}, ""},
		{"one that nobody saved", 2400, arrival{1, "broken7", ""}, "version"},
		{"mixed", 2400, arrival{1, "c", "c and b"}, "mixed"},
		{"twice", 2400, arrival{2, "c", ""}, "account"},
		{"lost", 2400, arrival{}, "account"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &report{server: &server{}, epochs: epochs, sink: &sink{took: map[string]*arrival{}},
				source: &source{sent: []letter{{"x", at(c.begin), at(c.begin + 10), at(c.begin + 100)}}}}
			if c.came.times > 0 {
				r.sink.took["x"] = &c.came
			}
			r.check()
			if c.rule == "" && len(r.violations) > 0 || c.rule != "" && (len(r.violations) != 1 || r.violations[0].rule != c.rule) {
				t.Errorf("%v, want %q", r.violations, c.rule)
			}
		})
	}
	r := &report{server: &server{count: map[string]int{"WARN a plugin failed": 1}}, sink: &sink{took: map[string]*arrival{"y": {times: 1}}},
		source: &source{failed: []string{"x"}}, counted: true, before: holding{watches: 5}, after: holding{watches: 50}}
	r.check()
	var rules []string
	for _, v := range r.violations {
		rules = append(rules, v.rule)
	}
	if got := strings.Join(rules, " "); got != "session account plugin leak" {
		t.Errorf("violations %q", got)
	}
}
