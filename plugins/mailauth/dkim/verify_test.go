package dkim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestSignaturesAreBounded: of 500 signatures with names of their own a few are tried, those of the author's domain first, each with one
// question (hardening K2).
func TestSignaturesAreBounded(t *testing.T) {
	ed := edKey()
	dns := &texts{names: map[string][]string{"s1._domainkey.example.org": {record(t, ed)}, "s1._domainkey.a.example.org": {record(t, ed)}}}
	text := forge(t, letter, ed)
	for i := range 60 {
		text = fmt.Sprintf("DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=d%d.example.com; s=s%d; h=From; bh=%s; b=AAAA\r\n", i, i, strings.Repeat("A", 43)+"=") + text
	}
	text = forge(t, text, ed, "d=a.example.org")
	r := check(t, Verifier{Resolver: dns}, text)
	if len(r.Checked) != DefaultSignatures || r.Untried != 62-DefaultSignatures || len(dns.asked) != DefaultSignatures {
		t.Errorf("%d checked, %d untried, %d questions", len(r.Checked), r.Untried, len(dns.asked))
	}
	if r.Checked[0].Domain != "example.org" || r.Checked[1].Domain != "a.example.org" {
		t.Errorf("first %q and %q", r.Checked[0].Domain, r.Checked[1].Domain)
	}
	if r := check(t, Verifier{Resolver: dns, Signatures: 3}, text); len(r.Checked) != 3 || r.Untried != 59 {
		t.Errorf("%d checked, %d untried", len(r.Checked), r.Untried)
	}

	many := letter
	for i := range 500 {
		many = fmt.Sprintf("DKIM-Signature: v=1; d=d%d.example.com\r\n", i) + many
	}
	if r := check(t, Verifier{Resolver: dns}, many); len(r.Checked) != DefaultSignatures || r.Untried != 490 || r.Result() != PermError {
		t.Errorf("%d checked, %d untried, %s", len(r.Checked), r.Untried, r.Result())
	}
}

// TestHeaderBytes: signatures that cover the same large field again and again are not all hashed.
func TestHeaderBytes(t *testing.T) {
	ed := edKey()
	dns := &texts{names: map[string][]string{"s1._domainkey.example.org": {record(t, ed)}}}
	text := "X: " + strings.Repeat("x", 200<<10) + "\r\n" + letter
	for i := range 8 {
		text = forge(t, text, ed, "h=From:X", fmt.Sprintf("n=%d", i))
	}
	results := map[Result]int{}
	for _, c := range check(t, Verifier{Resolver: dns}, text).Checked {
		results[c.Result]++
	}
	if results[Pass] != 5 || results[PermError] != 3 {
		t.Error(results)
	}
}

// TestTime: what is not told in time is a temperror, and nobody waits for who does not heed the end.
func TestTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ed := edKey()
		text := forge(t, letter, ed)
		begin := time.Now()
		r := check(t, Verifier{Resolver: &texts{hang: true}, Time: 3 * time.Second}, text)
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("it took %s", took)
		}
		if r.Result() != TempError {
			t.Errorf("%+v", r)
		}
		begin = time.Now()
		r = check(t, Verifier{Resolver: &texts{hang: true}}, text)
		if took := time.Since(begin); took != 10*time.Second || r.Result() != TempError {
			t.Errorf("it took %s: %+v", took, r)
		}
	})
	h, _, _ := split(t, forge(t, letter, edKey()))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	v := Verifier{Resolver: &texts{hang: true}, Now: func() time.Time { return noon }}
	if r, err := v.Verify(ctx, h, strings.NewReader("x"), nil); err != nil || r.Result() != TempError {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := v.Verify(context.Background(), h, broken{}, nil); err == nil {
		t.Error("a body that cannot be read is no error")
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("broken") }

// TestResult: what all signatures come to.
func TestResult(t *testing.T) {
	for _, tt := range []struct {
		checked []Checked
		want    Result
	}{
		{nil, None},
		{[]Checked{{Result: Fail}, {Result: Pass}}, Pass},
		{[]Checked{{Result: Fail}, {Result: TempError}, {Result: PermError}}, TempError},
		{[]Checked{{Result: PermError}, {Result: Fail}}, Fail},
		{[]Checked{{Result: PermError}}, PermError},
		{[]Checked{{Result: Fail, Testing: true}}, None},
		{[]Checked{{Result: Fail, Testing: true}, {Result: PermError}}, PermError},
		{[]Checked{{Result: Pass, Testing: true}}, Pass},
	} {
		if got := (&Report{Checked: tt.checked}).Result(); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.checked, got, tt.want)
		}
	}
	ed := edKey()
	dns := &texts{names: map[string][]string{"s1._domainkey.example.org": {record(t, ed) + "; t=y"}}}
	if r := check(t, Verifier{Resolver: dns}, strings.Replace(forge(t, letter, ed), "hello.", "bye.", 1)); r.Result() != None || !r.Checked[0].Testing || r.Checked[0].Result != Fail {
		t.Errorf("%+v", r)
	}
	if r := check(t, Verifier{Resolver: dns}, letter); r.Result() != None || len(r.Checked) != 0 || len(dns.asked) != 1 {
		t.Errorf("%+v, asked %q", r, dns.asked)
	}
}

// filler is a body of lines that is read once and nowhere held.
type filler struct {
	left  int
	reads int
}

var fillerLine = []byte("What would take a book to tell is told in a line that repeats itself. \r\n")

func (f *filler) Read(p []byte) (int, error) {
	f.reads++
	n := 0
	for f.left > 0 && n+len(fillerLine) <= len(p) {
		n += copy(p[n:], fillerLine)
		f.left--
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// TestLargeBody: 50 MB go through two signings and two verifications in a few buffers.
func TestLargeBody(t *testing.T) {
	if testing.Short() {
		t.Skip("50 MB")
	}
	ed, r := edKey(), keyFile(t, "rsa2048.pem")
	lines := 50 << 20 / len(fillerLine)
	_, fields, _ := split(t, letter)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	values, err := Sign(context.Background(), fields, &filler{left: lines},
		Signing{Domain: "example.org", Selector: "s1", Key: r, Header: Relaxed, Body: Relaxed, Names: []string{"From"}},
		Signing{Domain: "example.org", Selector: "e1", Key: ed, Header: Simple, Body: Simple, Names: []string{"From"}})
	if err != nil {
		t.Fatal(err)
	}
	h, _, _ := split(t, Field+": "+values[0]+"\r\n"+Field+": "+values[1]+"\r\n"+letter)
	dns := &texts{names: map[string][]string{"s1._domainkey.example.org": {record(t, r)}, "e1._domainkey.example.org": {record(t, ed)}}}
	body := &filler{left: lines}
	report, err := (&Verifier{Resolver: dns, Time: time.Minute}).Verify(context.Background(), h, body, nil)
	if err != nil || len(report.Checked) != 2 || slices.ContainsFunc(report.Checked, func(c Checked) bool { return c.Result != Pass }) {
		t.Fatalf("%+v, %v", report, err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 2<<20 {
		t.Errorf("%d KiB were allocated for a body of 50 MiB", used>>10)
	}
	if most := lines/(32<<10/len(fillerLine)) + 3; body.reads > most {
		t.Errorf("the body was read in %d pieces; once through are %d", body.reads, most)
	}
}
