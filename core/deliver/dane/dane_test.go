package dane

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/certs/certstest"
	"github.com/stagepost/stagepost/core/resolve"
)

func record(usage, selector, matching uint8, c *x509.Certificate) resolve.TLSA {
	data := c.Raw
	if selector == 1 {
		data = c.RawSubjectPublicKeyInfo
	}
	switch matching {
	case 1:
		sum := sha256.Sum256(data)
		data = sum[:]
	case 2:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return resolve.TLSA{Usage: usage, Selector: selector, Matching: matching, Data: bytes.Clone(data)}
}

func TestUsable(t *testing.T) {
	leaf := certstest.New(t, "x").Issue(t, nil, "mx.y.test").Leaf
	for usage := range uint8(5) {
		for selector := range uint8(3) {
			for matching := range uint8(4) {
				want := (usage == 2 || usage == 3) && selector < 2 && matching < 3
				r := record(usage, selector, matching, leaf)
				if got := len(Usable([]resolve.TLSA{r})) == 1; got != want {
					t.Errorf("%d %d %d: usable %v, want %v", usage, selector, matching, got, want)
				}
				for _, data := range [][]byte{nil, {}, {1}, {1, 2, 3}, r.Data[1:], append(bytes.Clone(r.Data), 0)} {
					r.Data = data
					if len(Usable([]resolve.TLSA{r})) != 0 {
						t.Errorf("%d %d %d with %d octets is usable", usage, selector, matching, len(data))
					}
				}
			}
		}
	}
}

func TestVerify(t *testing.T) {
	ca, other := certstest.New(t, "authority"), certstest.New(t, "other")
	now := time.Now()
	good := ca.Issue(t, nil, "mx.y.test")
	old := ca.Issue(t, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(-48*time.Hour), now.Add(-24*time.Hour) }, "mx.y.test")
	stranger := other.Issue(t, nil, "mx.y.test")
	chain := func(leaf, issuer *x509.Certificate) []*x509.Certificate { return []*x509.Certificate{leaf, issuer} }
	ours := chain(good.Leaf, ca.Certificate)
	for _, c := range []struct {
		name    string
		records []resolve.TLSA
		chain   []*x509.Certificate
		names   []string
		want    string // a word, or part of an error
	}{
		{"its own certificate", []resolve.TLSA{record(3, 0, 1, good.Leaf)}, ours, nil, "DANE-EE"},
		{"its own key", []resolve.TLSA{record(3, 1, 1, good.Leaf)}, ours, nil, "DANE-EE"},
		{"its own key, SHA-512", []resolve.TLSA{record(3, 1, 2, good.Leaf)}, ours, nil, "DANE-EE"},
		{"its own key, whole", []resolve.TLSA{record(3, 1, 0, good.Leaf)}, ours, nil, "DANE-EE"},
		{"expired, its own key", []resolve.TLSA{record(3, 1, 1, old.Leaf)}, chain(old.Leaf, ca.Certificate), nil, "DANE-EE"},
		{"another name, its own key", []resolve.TLSA{record(3, 1, 1, good.Leaf)}, ours, []string{"elsewhere.test"}, "DANE-EE"},
		{"one of two keys, for a change of keys", []resolve.TLSA{record(3, 1, 1, stranger.Leaf), record(3, 1, 1, good.Leaf)}, ours, nil, "DANE-EE"},
		{"the authority under usage 3", []resolve.TLSA{record(3, 1, 1, ca.Certificate)}, ours, nil, "none of those"},
		{"another key", []resolve.TLSA{record(3, 1, 1, stranger.Leaf)}, ours, nil, "none of those"},
		{"its authority", []resolve.TLSA{record(2, 0, 1, ca.Certificate)}, ours, []string{"mx.y.test"}, "DANE-TA"},
		{"its authority's key", []resolve.TLSA{record(2, 1, 2, ca.Certificate)}, ours, []string{"y.test", "mx.y.test"}, "DANE-TA"},
		{"its authority, whole, not in the chain", []resolve.TLSA{record(2, 0, 0, ca.Certificate)}, ours[:1], []string{"mx.y.test"}, "DANE-TA"},
		{"its authority, not in the chain", []resolve.TLSA{record(2, 0, 1, ca.Certificate)}, ours[:1], []string{"mx.y.test"}, "none of those"},
		{"its authority, another name", []resolve.TLSA{record(2, 0, 1, ca.Certificate)}, ours, []string{"mx.z.test"}, "mx.z.test"},
		{"its authority, no name", []resolve.TLSA{record(2, 0, 1, ca.Certificate)}, ours, nil, "no name is known"},
		{"its authority, expired", []resolve.TLSA{record(2, 0, 1, ca.Certificate)}, chain(old.Leaf, ca.Certificate), []string{"mx.y.test"}, "expired"},
		{"an authority that is only put beside it", []resolve.TLSA{record(2, 0, 1, ca.Certificate)}, chain(stranger.Leaf, ca.Certificate), []string{"mx.y.test"}, "unknown authority"},
		{"wrong authority, right key", []resolve.TLSA{record(2, 0, 1, other.Certificate), record(3, 1, 1, good.Leaf)}, ours, nil, "DANE-EE"},
		{"no certificate", []resolve.TLSA{record(3, 1, 1, good.Leaf)}, nil, nil, "none of those"},
	} {
		word, err := Verify(Usable(c.records), c.chain, c.names, now)
		if got := word; err != nil && !strings.Contains(err.Error(), c.want) || err == nil && got != c.want {
			t.Errorf("%s: %q, %v; want %q", c.name, word, err, c.want)
		}
	}
	if _, err := Verify(nil, ours, nil, now); !errors.Is(err, ErrNoMatch) {
		t.Errorf("no records: %v", err)
	}
}

// FuzzUsable: no data makes a record that is usable match what it does not name, and none breaks anything.
func FuzzUsable(f *testing.F) {
	ca := certstest.New(f, "authority")
	leaf := ca.Issue(f, nil, "mx.y.test").Leaf
	for _, r := range []resolve.TLSA{record(3, 1, 1, leaf), record(3, 0, 0, leaf), record(2, 1, 0, ca.Certificate), record(2, 0, 2, ca.Certificate), record(0, 0, 1, leaf), record(1, 1, 0, leaf)} {
		f.Add(r.Usage, r.Selector, r.Matching, r.Data)
	}
	for n := range 4 {
		f.Add(uint8(3), uint8(0), uint8(0), make([]byte, n))
	}
	chain := []*x509.Certificate{leaf, ca.Certificate}
	f.Fuzz(func(t *testing.T, usage, selector, matching uint8, data []byte) {
		r := resolve.TLSA{Usage: usage, Selector: selector, Matching: matching, Data: data}
		_, err := Verify(Usable([]resolve.TLSA{r}), chain, []string{"mx.y.test"}, time.Now())
		if err != nil {
			return
		}
		named := leaf
		if usage == 2 {
			if named = ca.Certificate; !matches(r, named) {
				named = leaf
			}
		}
		if usage != 2 && usage != 3 || !matches(r, named) {
			t.Errorf("%d %d %d %x verifies a certificate that it does not name", usage, selector, matching, data)
		}
	})
}
