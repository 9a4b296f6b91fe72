package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/deliver/tlsrpt"
	"github.com/stagepost/stagepost/core/message"
)

// TestTLSWords: the configuration knows the words that plans do.
func TestTLSWords(t *testing.T) {
	var words []string
	for _, w := range message.TLSWords() {
		words = append(words, string(w))
	}
	if !slices.Equal(words, config.TLSWords()) {
		t.Errorf("plans have %v, the configuration %v", words, config.TLSWords())
	}
}

// TestTLSResults: what is kept of a day is shown, all of it or that of a domain.
func TestTLSResults(t *testing.T) {
	results, err := tlsrpt.New(tlsrpt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, minimal)
	s.serve(func(o *admin.Options) { o.TLS = results.Day })
	s.want(s.run("tlsrpt"), 0, "there are no results of today")
	results.Add(&tlsrpt.Session{Domain: "y.test", Policy: tlsrpt.STS})
	results.Add(&tlsrpt.Session{Domain: "y.test", Policy: tlsrpt.STS, Result: tlsrpt.WrongName, Host: "mx.y.test", Reason: "it is for z.test"})
	results.Add(&tlsrpt.Session{Domain: "x.test", Policy: tlsrpt.NoPolicy})
	s.want(s.run("tlsrpt"), 0, "DOMAIN", "y.test  sts", "1 certificate-host-mismatch at mx.y.test (it is for z.test)", "x.test  no-policy-found")
	s.want(s.run("tlsrpt", "X.test", "--json"), 0, `"policy-domain":"x.test"`)
	if r := s.run("tlsrpt", "x.test"); r.code != 0 || strings.Contains(r.out, "y.test") {
		t.Errorf("%d: %s", r.code, r.out)
	}
	if r := s.run("tlsrpt", "--day", "yesterday"); r.code == 0 {
		t.Error("yesterday is taken for a day")
	}
}
