package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/resolve/dnszone"
)

// TestDoctor: the program asks the resolver of its configuration, with no server running, and says by its exit code what it found.
func TestDoctor(t *testing.T) {
	zone, err := dnszone.Parse(map[string][]string{
		"good.example": {"MX 10 mx.good.example.", `TXT "v=spf1 mx -all"`}, "_dmarc.good.example": {`TXT "v=DMARC1; p=reject; rua=mailto:d@good.example"`}, "mx.good.example": {"A 203.0.113.1"}, "1.113.0.203.in-addr.arpa": {"PTR mx.good.example."},
		"broken.example": {"MX 10 nowhere.broken.example."}, "down.example": {"!servfail"},
	})
	if err != nil {
		t.Fatal(err)
	}
	dns, err := dnszone.Serve("127.0.0.1:0", zone)
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close()
	s := newSite(t, "hostname = \"out.example.org\"\ndata = \"data\"\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\nrole = \"mx\"\n[resolver]\nservers = [\""+dns.Addr()+"\"]\n")
	for domain, want := range map[string]struct {
		code int
		says string
	}{
		"good.example":   {0, "mx.good.example: takes mail, with preference 10, at 203.0.113.1"},
		"broken.example": {exitData, "nowhere.broken.example: the exchanger does not exist"},
		"down.example":   {exitTemporary, "the server says SERVFAIL"},
	} {
		r := s.run("doctor", domain, "--json")
		var report struct {
			Findings []struct{ Level, Subject, About, Text string }
		}
		if err := json.Unmarshal([]byte(r.out), &report); err != nil {
			t.Fatalf("%s: %v: %s%s", domain, err, r.out, r.err)
		}
		said := ""
		for _, f := range report.Findings {
			said += f.About + ": " + f.Text + "\n"
		}
		public := strings.Contains(said, "(this server)") // the machine has an address on the Internet, of which this DNS knows nothing
		if r.code != want.code && !public || !strings.Contains(said, want.says) {
			t.Errorf("%s: %d, %s%s", domain, r.code, said, r.err)
		}
	}
}
