package tlsrpt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clock is one that the test moves.
type clock struct{ time.Time }

func newResults(t *testing.T, folder string, c *clock) *Results {
	t.Helper()
	r, err := New(Options{Folder: folder, Now: func() time.Time { return c.Time }})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func day(t *testing.T, r *Results, name string) string {
	t.Helper()
	list, err := r.Day(name)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, s := range list {
		fmt.Fprintf(&b, "%s %s %d %d;", s.Policy.Domain, s.Policy.Type, s.Summary.Success, s.Summary.Failure)
		for _, d := range s.Details {
			fmt.Fprintf(&b, " %d %s", d.Count, d.Result)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// Days are counted apart, survive a restart, and go after a month.
func TestDays(t *testing.T) {
	folder, c := filepath.Join(t.TempDir(), "results"), &clock{time.Date(2026, 1, 31, 23, 59, 0, 0, time.UTC)}
	r := newResults(t, folder, c)
	r.Add(&Session{Domain: "y.test", Policy: STS, MX: []string{"mx.y.test"}})
	r.Add(&Session{Domain: "y.test", Policy: STS, Result: Expired, Host: "mx.y.test", IP: netip.MustParseAddr("192.0.2.1")})
	r.Add(&Session{Domain: "x.test", Policy: NoPolicy})
	const first = "y.test sts 1 1; 1 certificate-expired\nx.test no-policy-found 1 0;\n"
	if got := day(t, r, ""); got != first {
		t.Errorf("today: %s", got)
	}
	r.Close()

	r = newResults(t, folder, c)
	r.Add(&Session{Domain: "y.test", Policy: STS, Result: Expired, Host: "mx.y.test", IP: netip.MustParseAddr("192.0.2.1")})
	const second = "y.test sts 1 2; 2 certificate-expired\nx.test no-policy-found 1 0;\n"
	if got := day(t, r, "2026-01-31"); got != second {
		t.Errorf("after a restart: %s", got)
	}
	c.Time = c.Add(time.Minute)
	if got := day(t, r, ""); got != "" {
		t.Errorf("a day that has not begun: %s", got)
	}
	r.Add(&Session{Domain: "z.test", Policy: DANE})
	r.Close()
	if got := day(t, r, "2026-01-31"); got != second {
		t.Errorf("yesterday: %s", got)
	}
	if got := day(t, r, ""); got != "z.test tlsa 1 0;\n" {
		t.Errorf("today: %s", got)
	}
	c.Time = c.AddDate(0, 0, keepDays+1)
	r.Add(&Session{Domain: "z.test", Policy: DANE})
	r.Close()
	if got := day(t, r, "2026-01-31"); got != "" {
		t.Errorf("after %d days: %s", keepDays, got)
	}
	if _, err := r.Day("../x"); err == nil {
		t.Error("a path is taken for a day")
	}
}

// What strangers can add to is bounded, and what they say is clean.
func TestBounds(t *testing.T) {
	r := newResults(t, "", &clock{time.Now()})
	for i := range maxSummaries + 10 {
		r.Add(&Session{Domain: fmt.Sprintf("d%d.test", i), Policy: NoPolicy})
	}
	if len(r.all) != maxSummaries || r.lost != 10 {
		t.Errorf("%d summaries, %d lost", len(r.all), r.lost)
	}
	for i := range 3 * maxDetails {
		r.Add(&Session{Domain: "d1.test", Policy: NoPolicy, Result: NoSTARTTLS, Host: fmt.Sprintf("mx%d.test", i), Reason: "bad \x1b[31m\r\n" + strings.Repeat("x", 1000)})
	}
	s := r.all[key{"d1.test", NoPolicy}]
	sum := uint64(0)
	for _, d := range s.Details {
		if sum += d.Count; len(d.Reason) > maxReason || strings.ContainsAny(d.Reason, "\x1b\r\n") {
			t.Errorf("reason %q", d.Reason)
		}
	}
	if len(s.Details) != maxDetails || sum != 3*maxDetails || s.Summary.Failure != sum {
		t.Errorf("%d details with %d sessions of %d", len(s.Details), sum, s.Summary.Failure)
	}
}

// The form is that of RFC 8460 section 4.4.
func TestForm(t *testing.T) {
	r := newResults(t, "", &clock{time.Now()})
	r.Add(&Session{Domain: "y.test", Policy: STS, Strings: []string{"version: STSv1"}, MX: []string{"*.y.test"}, Result: WrongName, Host: "mx.y.test", IP: netip.MustParseAddr("::ffff:192.0.2.1"), From: netip.MustParseAddr("192.0.2.9"), Reason: "why"})
	list, _ := r.Day("")
	got, err := json.Marshal(list[0])
	want := `{"policy":{"policy-type":"sts","policy-string":["version: STSv1"],"policy-domain":"y.test","mx-host":["*.y.test"]},` +
		`"summary":{"total-successful-session-count":0,"total-failure-session-count":1},` +
		`"failure-details":[{"result-type":"certificate-host-mismatch","sending-mta-ip":"192.0.2.9","receiving-mx-hostname":"mx.y.test","receiving-ip":"192.0.2.1","failed-session-count":1,"failure-reason-code":"why"}]}`
	if err != nil || string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// A file that is not what it was stops nothing.
func TestDamagedFile(t *testing.T) {
	folder, c := t.TempDir(), &clock{time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)}
	if err := os.WriteFile(filepath.Join(folder, "2026-01-31.json"), []byte("{\"policy\":{\"policy-type\":\"sts\",\"policy-domain\":\"y.test\"},\"summary\":{\"total-successful-session-count\":7}}\nnonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newResults(t, folder, c)
	if got := day(t, r, ""); got != "y.test sts 7 0;\n" {
		t.Errorf("got %s", got)
	}
}

// FuzzParse: whatever a file holds, what is read of it is written and read the same, and is counted on.
func FuzzParse(f *testing.F) {
	f.Add([]byte("{\"policy\":{\"policy-type\":\"sts\",\"policy-string\":[\"version: STSv1\"],\"policy-domain\":\"y.test\",\"mx-host\":[\"*.y.test\"]},\"summary\":{\"total-successful-session-count\":7,\"total-failure-session-count\":1}," +
		"\"failure-details\":[{\"result-type\":\"certificate-expired\",\"receiving-mx-hostname\":\"mx.y.test\",\"receiving-ip\":\"192.0.2.1\",\"failed-session-count\":1,\"failure-reason-code\":\"why\"}]}\n{}\nnonsense\n"))
	f.Add([]byte("{\"failure-details\":[" + strings.Repeat("{},", 2*maxDetails) + "{}]}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		written := func(list []Summary) (all []byte) {
			for _, s := range list {
				line, err := json.Marshal(s)
				if err != nil {
					t.Fatal(err)
				}
				all = append(append(all, line...), '\n')
			}
			return all
		}
		list, _ := parse(text)
		again := written(list)
		twice, err := parse(again)
		if err != nil || !bytes.Equal(written(twice), again) {
			t.Fatalf("%q became %q: %v", text, again, err)
		}
		r := newResults(t, "", &clock{time.Now()})
		for i := range list {
			r.all[key{list[i].Policy.Domain, list[i].Policy.Type}] = &list[i]
		}
		for _, s := range twice {
			now := r.all[key{s.Policy.Domain, s.Policy.Type}]
			failures, details := now.Summary.Failure, len(now.Details)
			r.Add(&Session{Domain: s.Policy.Domain, Policy: s.Policy.Type, Result: Expired, Host: "mx.y.test"})
			if now.Summary.Failure != failures+1 || len(now.Details) == 0 || len(now.Details) > max(maxDetails, details) {
				t.Errorf("%+v", now)
			}
		}
	})
}
