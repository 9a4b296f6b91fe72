package doctor

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/certs/certstest"
	"github.com/stagepost/stagepost/core/deliver/mtasts"
	"github.com/stagepost/stagepost/core/resolve/resolvetest"
	"github.com/stagepost/stagepost/plugins/mailauth/dkim"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world is a DNS and a web, in which x.test is a domain without a fault, and this server is its exchanger.
type world struct {
	names    map[string][]string
	policies map[string]string // or "error: why"
	o        Options

	removed map[string]bool // lines that apply took out
}

func newWorld(t *testing.T) *world {
	cert := certstest.New(t, "authority").Issue(t, nil, "mx1.x.test")
	w := &world{removed: map[string]bool{},
		policies: map[string]string{"x.test": "version: STSv1\nmode: enforce\nmx: mx1.x.test\nmax_age: 604800\n"},
		o: Options{Now: func() time.Time { return noon }, Hostname: "mx1.x.test", Certificates: []Chain{{cert.Leaf}},
			Own: []Source{{netip.MustParseAddr("203.0.113.1"), "mx1.x.test"}, {netip.MustParseAddr("2a00:db8::1"), "mx1.x.test"}}},
	}
	w.o.Policy = func(_ context.Context, domain string) (*mtasts.Policy, error) {
		text, ok := w.policies[domain]
		if why, bad := strings.CutPrefix(text, "error: "); bad {
			return nil, fmt.Errorf("%s", why)
		} else if !ok {
			return nil, fmt.Errorf("mta-sts.%s has no address", domain)
		}
		return mtasts.ParsePolicy(text)
	}
	key, err := dkim.NewPrivateKey("ed25519", 0)
	if err != nil {
		t.Fatal(err)
	}
	record, err := key.Record()
	if err != nil {
		t.Fatal(err)
	}
	w.o.Keys = []Key{{Domain: "x.test", Selector: "2026a", Record: record}}
	w.names = map[string][]string{
		".":                        {"!secure", "SOA a.root. b.root. 1 2 3 4 5"},
		"x.test":                   {"!secure", "MX 10 mx1.x.test.", `TXT "v=spf1 mx -all"`, `TXT "something else"`},
		"mx1.x.test":               {"!secure", "A 203.0.113.1", "AAAA 2a00:db8::1", `TXT "v=spf1 a -all"`},
		"_25._tcp.mx1.x.test":      {"!secure", strings.TrimPrefix(pinLine("", cert.Leaf), ". 3600 IN ")},
		"1.113.0.203.in-addr.arpa": {"PTR mx1.x.test."},
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.0.0.a.2.ip6.arpa": {"PTR mx1.x.test."},
		"2026a._domainkey.x.test": {strings.TrimPrefix(textLine("", w.o.Keys[0].Record), ". 3600 IN ")},
		"_dmarc.x.test":           {`TXT "v=DMARC1; p=reject; rua=mailto:dmarc@x.test"`},
		"_mta-sts.x.test":         {`TXT "v=STSv1; id=20260101"`},
		"_smtp._tls.x.test":       {`TXT "v=TLSRPTv1; rua=mailto:tls@x.test"`},
	}
	return w
}

// set replaces the records of names; "NAME" alone takes it out, "NAME: RECORD | RECORD" gives it those. Texts stay where no other is given.
func (w *world) set(lines ...string) *world {
	for _, l := range lines {
		name, records, ok := strings.Cut(l, ": ")
		was := w.names[name]
		delete(w.names, name)
		if !ok {
			continue
		}
		w.names[name] = strings.Split(records, " | ")
		for _, r := range was {
			if strings.HasPrefix(r, "TXT ") && !strings.Contains(records, "TXT ") {
				w.names[name] = append(w.names[name], r)
			}
		}
	}
	return w
}

func (w *world) examine(t *testing.T, domain string) *Report {
	t.Helper()
	w.o.Resolver = resolvetest.New(t, maps.Clone(w.names))
	if domain == "" {
		return Server(t.Context(), w.o)
	}
	return Domain(t.Context(), w.o, domain)
}

// apply publishes what a report says.
func (w *world) apply(t *testing.T, r *Report) {
	t.Helper()
	rest := func(line string) (name, record string) {
		name, record, ok := strings.Cut(line, ". 3600 IN ")
		if !ok {
			t.Fatalf("%q is not a record with an absolute name", line)
		}
		return name, record
	}
	for _, f := range r.Findings {
		if f.Publish == nil {
			continue
		}
		if f.Publish.At != "dns" {
			_, after, _ := strings.Cut(f.Publish.At, "https://mta-sts.")
			domain, _, _ := strings.Cut(after, "/")
			w.policies[domain] = strings.Join(f.Publish.Lines, "\r\n")
			continue
		}
		for _, l := range f.Publish.Remove {
			name, record := rest(l)
			before := len(w.names[name])
			w.names[name] = slices.DeleteFunc(slices.Clone(w.names[name]), func(r string) bool { return normal(r) == normal(record) })
			if len(w.names[name]) != before-1 && !w.removed[l] { // two reports may say the same
				t.Errorf("%q is to be taken out, and there is %q", l, w.names[name])
			}
			w.removed[l] = true
		}
		for _, l := range f.Publish.Lines {
			name, record := rest(l)
			if !slices.Contains(w.names[name], record) {
				w.names[name] = append(slices.Clone(w.names[name]), record)
			}
		}
	}
}

// normal is a record without what has no meaning in it.
func normal(record string) string { return strings.ToLower(strings.TrimSuffix(record, ".")) }

// told is what of a report is not well, a line each: "wrong mx x.test: text".
func told(r *Report) (lines []string) {
	for _, f := range r.Findings {
		if f.Level != OK {
			lines = append(lines, fmt.Sprintf("%s %s %s: %s", f.Level, f.Subject, f.About, f.Text))
		}
	}
	return lines
}

// expect compares with parts of lines, one a line and in their order.
func expect(t *testing.T, r *Report, want ...string) {
	t.Helper()
	got := told(r)
	ok := len(got) == len(want)
	for i := 0; ok && i < len(got); i++ {
		for part := range strings.SplitSeq(want[i], " ... ") {
			ok = ok && strings.Contains(got[i], part)
		}
	}
	if !ok {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}
