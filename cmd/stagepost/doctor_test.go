package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/cmd/stagepost/doctor"
	"github.com/stagepost/stagepost/core/deliver/mtasts"
	"github.com/stagepost/stagepost/core/resolve/dnszone"
	"github.com/stagepost/stagepost/core/resolve/resolvetest"
)

var writeGolden = flag.Bool("doctor-golden", false, "TestDoctor writes its golden files")

// clinic is a DNS with a domain without a fault, one in which all is wrong, one of which nothing is published, and one that does not answer.
var clinic = map[string][]string{
	".":                        {"!secure", "SOA a.root. b.root. 1 2 3 4 5"},
	"mx.example.org":           {"!secure", "A 203.0.113.1"},
	"_25._tcp.mx.example.org":  {"!secure", "TLSA 3 1 1 " + strings.Repeat("ab", 32)},
	"1.113.0.203.in-addr.arpa": {"PTR mx.example.org."},

	"good.example":            {"!secure", "MX 10 mx.example.org."},
	"_mta-sts.good.example":   {`TXT "v=STSv1; id=1"`},
	"_smtp._tls.good.example": {`TXT "v=TLSRPTv1; rua=https://reports.example.org/v1"`},

	"broken.example":                {"MX 0 .", "MX 10 203.0.113.2.", "MX 20 alias.broken.example.", "MX 30 gone.broken.example.", "MX 40 inside.broken.example."},
	"alias.broken.example":          {"CNAME host.broken.example."},
	"host.broken.example":           {"A 203.0.113.3"},
	"3.113.0.203.in-addr.arpa":      {"PTR other.broken.example."},
	"inside.broken.example":         {"A 192.168.1.1"},
	"_25._tcp.alias.broken.example": {"TLSA 1 1 1 " + strings.Repeat("ab", 32), "TLSA 3 1 1 abcd"},
	"_mta-sts.broken.example":       {`TXT "v=STSv1; id=1"`, `TXT "v=STSv1; id=\"2\""`},
	"_smtp._tls.broken.example":     {`TXT "v=TLSRPTv1; rua=reports@broken.example"`},

	"absent.example": {"TXT \"nothing of mail\""},
	"down.example":   {"!servfail"},
}

func policies(_ context.Context, domain string) (*mtasts.Policy, error) {
	switch domain {
	case "good.example":
		return mtasts.ParsePolicy("version: STSv1\nmode: enforce\nmx: mx.example.org\nmax_age: 604800\n")
	case "broken.example":
		return mtasts.ParsePolicy("version: STSv1\nmode: enforce\nmx: \x1b[31mred\n")
	}
	return nil, errors.New("nobody is there")
}

func newClinic(t *testing.T) *site {
	s := newSite(t, minimal)
	s.app.examine = func(o *doctor.Options) {
		o.Resolver, o.Policy = resolvetest.New(t, clinic), policies
		o.Own = nil
		if o.Hostname != "" {
			o.Own = []doctor.Source{{IP: netip.MustParseAddr("203.0.113.1"), Helo: o.Hostname}}
		}
	}
	return s
}

// TestDoctor compares with golden files, and the form for programs with that for people.
func TestDoctor(t *testing.T) {
	s := newClinic(t)
	for domain, want := range map[string]struct {
		code int
		says string
	}{
		"good.example": {0, ""}, "broken.example": {exitData, "things are wrong"}, "absent.example": {exitData, "absent.example: 1 thing is wrong"},
		"down.example": {exitTemporary, "1 thing is not known now"}, "nowhere.example": {exitData, "nowhere.example: 1 thing is wrong"},
	} {
		r := s.run("doctor", domain)
		if r.code != want.code || !strings.Contains(r.err, want.says) || want.says == "" && r.err != "" {
			t.Errorf("%s: %d, %q", domain, r.code, r.err)
		}
		if strings.ContainsRune(r.out, '\x1b') {
			t.Errorf("%s: a control of somebody else's gets to the terminal", domain)
		}
		if file := filepath.Join("testdata", "doctor", domain+".golden"); *writeGolden {
			if err := os.WriteFile(file, []byte(r.out), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if golden, err := os.ReadFile(file); err != nil || string(golden) != r.out {
			t.Errorf("%s: %v\n%s\nwant\n%s", domain, err, r.out, golden)
		}

		j := s.run("doctor", domain, "--json")
		var report doctor.Report
		if err := json.Unmarshal([]byte(j.out), &report); err != nil || j.code != want.code || report.Name != domain || len(report.Findings) == 0 {
			t.Errorf("%s: %v, %d, %q", domain, err, j.code, j.out)
		}
		for _, f := range report.Findings {
			if !strings.Contains(r.out, printable(f.Text)) {
				t.Errorf("%s: %q is told to programs only", domain, f.Text)
			}
			if f.Publish == nil {
				continue
			}
			for _, l := range f.Publish.Lines {
				if !slices.Contains(strings.Split(r.out, "\n"), l) {
					t.Errorf("%s: %q is not a line by itself", domain, l)
				}
			}
		}
	}
}

func TestDoctorMistakes(t *testing.T) {
	s := newClinic(t)
	s.want(s.run("doctor", "u@good.example"), exitUsage, `is an address`, `"good.example"`)
	s.want(s.run("doctor", "two", "words"), exitUsage)
	s.want(s.run("doctor", "not_a_domain!"), exitUsage, "is not a domain")
	s.want(s.runInput("", "doctor", "good.example", "--config", filepath.Join(s.dir, "none.toml")), exitConfig, "no such file")
	s.write("stagepost.toml", minimal+"nonsense = 1\n")
	s.want(s.run("doctor", "good.example"), exitConfig, "nonsense")
}

// It works where nothing was set up, and asks the configured resolver where something was.
func TestDoctorAlone(t *testing.T) {
	s := newClinic(t)
	t.Chdir(t.TempDir())
	s.want(s.runInput("", "doctor", "good.example"), 0, "mx.example.org: takes mail", "!this server")
	s.want(s.runInput("", "doctor"), exitConfig, "there is no configuration", "stagepost doctor DOMAIN")
	s.want(s.run("doctor"), 0, "host      mx.example.org: the name leads to 203.0.113.1", "203.0.113.1 (this server): the address is called mx.example.org")

	zone, err := dnszone.Parse(clinic)
	if err != nil {
		t.Fatal(err)
	}
	dns, err := dnszone.Serve("127.0.0.1:0", zone)
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close()
	s.write("stagepost.toml", minimal+"[resolver]\nservers = [\""+dns.Addr()+"\"]\n")
	s.app.examine = func(o *doctor.Options) { o.Own = nil }
	s.want(s.run("doctor", "absent.example"), exitData, "there is neither an MX record nor an address")
	if dns.Queries() == 0 {
		t.Error("the configured resolver was not asked")
	}
}
