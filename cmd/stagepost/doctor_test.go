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
	"github.com/stagepost/stagepost/plugins/mailauth/dkim"
)

var writeGolden = flag.Bool("doctor-golden", false, "TestDoctor writes its golden files")

// clinic is a DNS with a domain without a fault, one in which all is wrong, one of which nothing is published, and one that does not answer.
var clinic = map[string][]string{
	".":                        {"!secure", "SOA a.root. b.root. 1 2 3 4 5"},
	"mx.example.org":           {"!secure", "A 203.0.113.1", `TXT "v=spf1 a -all"`},
	"_25._tcp.mx.example.org":  {"!secure", "TLSA 3 1 1 " + strings.Repeat("ab", 32)},
	"1.113.0.203.in-addr.arpa": {"PTR mx.example.org."},

	"good.example":               {"!secure", "MX 10 mx.example.org.", `TXT "v=spf1 mx ~all"`},
	"s1._domainkey.good.example": {`TXT "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="`},
	"_dmarc.good.example":        {`TXT "v=DMARC1; p=reject; rua=mailto:dmarc@good.example"`},
	"_mta-sts.good.example":      {`TXT "v=STSv1; id=1"`},
	"_smtp._tls.good.example":    {`TXT "v=TLSRPTv1; rua=https://reports.example.org/v1"`},

	"broken.example": {"MX 0 .", "MX 10 203.0.113.2.", "MX 20 alias.broken.example.", "MX 30 gone.broken.example.", "MX 40 inside.broken.example.",
		`TXT "v=spf1 mx ipv4:203.0.113.9 -all"`},
	"s1._domainkey.broken.example":  {`TXT "v=DKIM1; p=bm90IGEga2V5"`},
	"_dmarc.broken.example":         {`TXT "v=DMARC1; p=none; adkim=x; pct=50; rua=mailto:dmarc@elsewhere.example"`},
	"alias.broken.example":          {"CNAME host.broken.example."},
	"host.broken.example":           {"A 203.0.113.3"},
	"3.113.0.203.in-addr.arpa":      {"PTR other.broken.example."},
	"inside.broken.example":         {"A 192.168.1.1"},
	"_25._tcp.alias.broken.example": {"TLSA 1 1 1 " + strings.Repeat("ab", 32), "TLSA 3 1 1 abcd"},
	"_mta-sts.broken.example":       {`TXT "v=STSv1; id=1"`, `TXT "v=STSv1; id=\"2\""`},
	"_smtp._tls.broken.example":     {`TXT "v=TLSRPTv1; rua=reports@broken.example"`},

	"absent.example": {"TXT \"nothing of mail\""},
	"down.example":   {"!servfail"}, "_dmarc.down.example": {"!servfail"}, "s1._domainkey.down.example": {"!servfail"},
	"_mta-sts.down.example": {"!refused"}, "_smtp._tls.down.example": {"!silent"},
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
		"good.example": {0, ""}, "broken.example": {exitData, "things are wrong"}, "absent.example": {exitData, "absent.example: 4 things are wrong"},
		"down.example": {exitTemporary, "things are not known now"}, "nowhere.example": {exitData, "nowhere.example: 1 thing is wrong"},
	} {
		r := s.run("doctor", domain, "--selector", "S1")
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

		j := s.run("doctor", domain, "--json", "--selector", "s1")
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
	s.want(s.run("doctor", "good.example", "--selector", "a b"), exitUsage, "--selector: s=")
	s.want(s.run("doctor", "good.example", "--selector", strings.Repeat("a,", doctor.MaxSelectors)+"a"), exitUsage, "20 may be")
	s.want(s.run("doctor", "not_a_domain!"), exitUsage, "is not a domain")
	s.want(s.runInput("", "doctor", "good.example", "--config", filepath.Join(s.dir, "none.toml")), exitConfig, "no such file")
	s.write("stagepost.toml", minimal+"nonsense = 1\n")
	s.want(s.run("doctor", "good.example"), exitConfig, "nonsense")
}

// Without a domain it looks at what the server signs for, and compares the keys.
func TestDoctorOfTheServer(t *testing.T) {
	s := newClinic(t)
	key, err := dkim.NewPrivateKey("ed25519", 0)
	if err != nil {
		t.Fatal(err)
	}
	text, err := key.PEM()
	if err != nil {
		t.Fatal(err)
	}
	record, err := key.Record()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"good.example/s1", "absent.example/s2"} {
		s.write("secrets/dkim/"+name, string(text))
		if err := os.Chmod(filepath.Join(s.dir, "secrets", "dkim", name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.write("stagepost.toml", minimal+`
[secrets]
folder = "secrets"
[plugins]
enable = ["dkim-sign"]
[plugin.dkim-sign]
selectors = ["s2", "s3"]
[plugin.dkim-sign.domains]
"good.example" = "s1, s9"
".broken.example" = "s1"
`)
	r := s.run("doctor")
	s.want(r, exitData, "host      mx.example.org: the name leads to", "s1._domainkey.good.example: this server signs with another key", `s1._domainkey.good.example. 3600 IN TXT "`+record+`"`,
		"s9._domainkey.good.example: there is no key", "s9._domainkey.good.example: this server is to sign with it and has no private key, so it defers mail of the domain: there is no secret dkim/good.example/s9",
		"s1._domainkey.broken.example: the key cannot be used", "s2._domainkey.absent.example: there is no key", "!s3._domainkey")
	var order []string
	for line := range strings.Lines(r.out) {
		if name := strings.TrimSuffix(line, "\n"); name != "" && !strings.Contains(name, " ") {
			order = append(order, name)
		}
	}
	if got := strings.Join(order, " "); got != "mx.example.org broken.example good.example absent.example" {
		t.Errorf("looked at %s", got)
	}
	if n := strings.Count(s.run("doctor", "--json").out, "\n"); n != len(order) {
		t.Errorf("%d objects", n)
	}
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
