package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/stagepost/stagepost/core/certs/certstest"
	"github.com/stagepost/stagepost/core/observe/metrics"
)

// watchedDemo is a server of the demo with an address of [admin].
func watchedDemo(t *testing.T) *daemon {
	t.Helper()
	dir, err := demoFolder(filepath.Join(t.TempDir(), "demo"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, localConfig)
	edit(t, file, "[queue]\n", "[admin]\naddress = \"127.0.0.1:0\"\n\n[tls]\ncertificate = \"mx.pem\"\nkey = \"mx.key\"\n\n[queue]\n")
	certstest.Write(t, dir, "mx", certstest.New(t, "test CA").Issue(t, nil, "mx.example.org"))
	counting := filepath.Join(dir, "plugins", "counting.lua")
	if err := os.WriteFile(counting, []byte(`plugin { id = "counting", version = "1.0.0", needs = { read = "headers" }, hook = { data = { order = -100 } } }
function on.data(m)
  metric.count("seen")
  if not m:header("Date") then metric.count("undated") end
end
`), 0o644); err != nil {
		t.Fatal(err)
	}
	world, err := openInternet()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.close)
	return serveQuietly(t, file, daemonOptions{resolver: world, dial: world.dial})
}

// fetch asks an address of [admin].
func fetch(t *testing.T, address, path string) (status int, body string) {
	t.Helper()
	resp, err := http.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// scrape reads the metrics of a server.
func scrape(t *testing.T, d *daemon) (map[string]*dto.MetricFamily, string) {
	t.Helper()
	status, text := fetch(t, d.bound.watched(), "/metrics")
	if status != http.StatusOK {
		t.Fatalf("%d\n%s", status, text)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	found, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return found, text
}

// value is that of the one sample with these labels, "name=value"; of a histogram its count.
func value(t *testing.T, found map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	t.Helper()
	for _, m := range found[name].GetMetric() {
		n := 0
		for _, l := range m.GetLabel() {
			if slices.Contains(labels, l.GetName()+"="+l.GetValue()) {
				n++
			}
		}
		if n == len(labels) {
			return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	t.Errorf("there is no %s%q", name, labels)
	return 0
}

// TestMetrics lets mail flow and looks at what is shown: it is what happened, Prometheus' own rules find nothing to complain of,
// what is declared is shown and what is shown is declared, and no label holds what a client sent.
func TestMetrics(t *testing.T) {
	d := watchedDemo(t)
	server := d.bound.address("mx")
	const letter = "From: <a@red.example>\nDate: Thu, 1 Jan 2026 00:00:00 +0000\n\nhello\n"
	const many = 30
	for i := range many {
		from, to := fmt.Sprintf("u%d@sender%d.example", i, i), fmt.Sprintf("u%d@demo.example", i)
		if r := sendTo(t, server, from, to, letter); r.Code != 250 {
			t.Fatal(r)
		}
	}
	if r := sendTo(t, server, "a@red.example", "u@demo.example", "From: <a@red.example>\n\nno date\n"); r.Code != 550 {
		t.Fatal(r)
	}
	var found map[string]*dto.MetricFamily
	var text string
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		found, text = scrape(t, d)
		if value(t, found, "stagepost_deliveries_total", "result=delivered") == many && value(t, found, "stagepost_queue_entries_in_memory") == 0 &&
			value(t, found, "stagepost_sessions_open", "listener=mx") == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the mail is not delivered:\n%s", text)
		}
	}
	for _, tt := range []struct {
		name   string
		labels string
		want   float64
	}{
		{"stagepost_sessions_total", "listener=mx role=mx", many + 1},
		{"stagepost_commands_total", "verb=MAIL", many + 1},
		{"stagepost_replies_total", "class=5xx", 1},
		{"stagepost_replies_total", "class=3xx", many + 1},
		{"stagepost_messages_received_total", "role=mx outcome=accepted", many},
		{"stagepost_messages_received_total", "role=mx outcome=rejected", 1},
		{"stagepost_messages_received_total", "role=internal outcome=accepted", 0},
		{"stagepost_recipients_received_total", "role=mx outcome=accepted", many + 1},
		{"stagepost_message_size_bytes", "role=mx", many},
		{"stagepost_reply_to_dot_seconds", "", many + 1},
		{"stagepost_transaction_seconds", "", many + 1},
		{"stagepost_hook_calls_total", "plugin=domains stage=rcpt verdict=accept", many + 1},
		{"stagepost_hook_calls_total", "plugin=headers stage=data verdict=reject", 1},
		{"stagepost_hook_seconds", "plugin=headers stage=data", many + 1},
		{"stagepost_breaker_open", "plugin=headers stage=data", 0},
		{"stagepost_plugin_instances", "plugin=headers state=in_use", 0},
		{"stagepost_plugin_events_total", "plugin=counting name=seen", many + 1},
		{"stagepost_plugin_events_total", "plugin=counting name=undated", 1},
		{"stagepost_generation", "", 1},
		{"stagepost_change_refused", "", 0},
		{"stagepost_attempts_total", "result=delivered", many},
		{"stagepost_delivery_delay_seconds", "", many},
		{"stagepost_queue_messages", "state=active", 0},
		{"stagepost_queue_oldest_age_seconds", "", 0},
		{"stagepost_store_messages", "", 0},
		{"stagepost_healthy", "", 1},
	} {
		if got := value(t, found, tt.name, strings.Fields(tt.labels)...); got != tt.want {
			t.Errorf("%s{%s} is %v, want %v", tt.name, tt.labels, got, tt.want)
		}
	}
	opened, reused := value(t, found, "stagepost_connections_total", "result=opened"), value(t, found, "stagepost_connections_total", "result=reused")
	if opened == 0 || opened+reused != many {
		t.Errorf("%v connections opened, %v used again, for %d attempts", opened, reused, many)
	}
	if n := value(t, found, "stagepost_store_write_seconds"); n < many {
		t.Errorf("%v synced writes", n)
	}

	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("promlint: %s: %s", p.Metric, p.Text)
	}
	declared := families(nil)
	for _, f := range declared {
		if found[f.Name] == nil {
			t.Errorf("%s is declared, and not shown", f.Name)
		}
	}
	names := map[string]bool{"mx": true, version(): true, "seen": true, "undated": true, d.plugins.Config().TLS.Certificate: true}
	for _, p := range d.plugins.Status().Plugins {
		names[p.Name] = true
	}
	for name, family := range found {
		i := slices.IndexFunc(declared, func(f metrics.Family) bool { return f.Name == name })
		if i < 0 {
			if !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
				t.Errorf("%s is shown, and not declared", name)
			}
			continue
		}
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				k := slices.IndexFunc(declared[i].Labels, func(d metrics.Label) bool { return d.Name == l.GetName() })
				if k < 0 || declared[i].Labels[k].Values == nil && !names[l.GetValue()] || declared[i].Labels[k].Values != nil && !slices.Contains(declared[i].Labels[k].Values, l.GetValue()) {
					t.Errorf("%s has the label %s=%q", name, l.GetName(), l.GetValue())
				}
			}
		}
	}
}

// TestMetricNames holds the names to Prometheus' rules and to ours, and the manual to the names.
func TestMetricNames(t *testing.T) {
	var text string
	for _, p := range pages() {
		text += p.text()
	}
	form := regexp.MustCompile(`^stagepost(_[a-z]+)+$`)
	unit := regexp.MustCompile(`_(seconds|bytes|outcomes)$`)
	seen := map[string]bool{}
	for _, f := range families(nil) {
		if !form.MatchString(f.Name) || seen[f.Name] {
			t.Errorf("%s: the name is of another form, or stands twice", f.Name)
		}
		seen[f.Name] = true
		if (f.Kind == metrics.Counter) != strings.HasSuffix(f.Name, "_total") {
			t.Errorf("%s: only counters end with _total, and all of them do", f.Name)
		}
		if f.Kind == metrics.Histogram && !unit.MatchString(f.Name) {
			t.Errorf("%s: the unit is not in the name", f.Name)
		}
		if !strings.HasSuffix(f.Help, ".") || f.Read == nil || len(f.Help) < 20 {
			t.Errorf("%s: the help is no sentence, or nothing reads it: %q", f.Name, f.Help)
		}
		for _, l := range f.Labels {
			if (l.Values == nil) == (l.Of == "") {
				t.Errorf("%s: what %s may hold is not said, or twice", f.Name, l.Name)
			}
		}
		if !strings.Contains(text, "- `"+f.Name+"`, ") {
			t.Errorf("%s is not in the manual", f.Name)
		}
	}
	for _, m := range regexp.MustCompile(`(stagepost_[a-z_]+)\{([a-z]+)=~?"([^"]+)"\}`).FindAllStringSubmatch(text, -1) {
		known := families(nil)
		i := slices.IndexFunc(known, func(f metrics.Family) bool { return f.Name == m[1] })
		if i < 0 {
			t.Errorf("the manual asks for %s", m[0])
			continue
		}
		k := slices.IndexFunc(known[i].Labels, func(l metrics.Label) bool { return l.Name == m[2] })
		for _, v := range strings.Split(m[3], "|") {
			if k < 0 || !slices.Contains(known[i].Labels[k].Values, v) {
				t.Errorf("the manual asks for %s, which never is", m[0])
			}
		}
	}
	for _, name := range regexp.MustCompile(`\bstagepost_[a-z_]+`).FindAllString(text, -1) {
		for _, suffix := range []string{"_bucket", "_count", "_sum"} {
			if base := strings.TrimSuffix(name, suffix); seen[base] {
				name = base
			}
		}
		abi := []string{"stagepost_v", "stagepost_abi", "stagepost_alloc", "stagepost_load", "stagepost_hook"} // of WebAssembly
		if !seen[name] && !slices.Contains(abi, name) {
			t.Errorf("the manual names %s, which there is not", name)
		}
	}
}
