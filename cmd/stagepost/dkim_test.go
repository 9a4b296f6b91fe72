package main

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/stagepost/stagepost/plugins/mailauth/dkim"
	"github.com/stagepost/stagepost/plugins/service"
)

// TestDKIMKeygen: the record is one that a name server reads, and fits the key that the server finds; nothing is written over.
func TestDKIMKeygen(t *testing.T) {
	s := newSite(t, minimal+"[secrets]\nfolder = \"secrets\"\n")
	keygen := func(args ...string) result {
		t.Helper()
		return s.run(append([]string{"dkim", "keygen"}, args...)...)
	}
	for _, tt := range []struct {
		args           []string
		secret, name   string
		kind           string
		bits, segments int
	}{
		{[]string{"example.org", "2026a"}, "dkim/example.org/2026a", "2026a._domainkey.example.org.", "rsa", 2048, 2},
		{[]string{"Example.ORG.", "big", "--bits", "4096"}, "dkim/example.org/big", "big._domainkey.example.org.", "rsa", 4096, 3},
		{[]string{"example.org", "2026e", "--type", "ed25519"}, "dkim/example.org/2026e", "2026e._domainkey.example.org.", "ed25519", 256, 1},
		{[]string{"b\u00fccher.example", "s.sub", "--bits", "1024"}, "dkim/xn--bcher-kva.example/s.sub", "s.sub._domainkey.xn--bcher-kva.example.", "rsa", 1024, 1},
	} {
		r := keygen(tt.args...)
		s.want(r, 0, "; the key is in ", "IN TXT ( \"v=DKIM1; k="+tt.kind+"; p=")
		rr, err := dns.NewRR(r.out[strings.Index(r.out, "\n")+1:])
		if err != nil {
			t.Fatalf("%s\n%v", r.out, err)
		}
		txt := rr.(*dns.TXT)
		if txt.Hdr.Name != tt.name || len(txt.Txt) != tt.segments {
			t.Errorf("the record of %s has %d strings, want %s and %d", txt.Hdr.Name, len(txt.Txt), tt.name, tt.segments)
		}
		public, err := dkim.ParseKey(strings.Join(txt.Txt, ""))
		if err != nil || public.Type != tt.kind || public.Bits != tt.bits {
			t.Errorf("%+v, %v", public, err)
		}
		folder := filepath.Join(s.dir, "secrets")
		text, ok, err := service.SecretFolder{Folder: func() string { return folder }}.Secret(tt.secret)
		if err != nil || !ok {
			t.Fatalf("the secret %s: %v, %v", tt.secret, ok, err)
		}
		private, err := dkim.ParsePrivateKey(text)
		if err != nil {
			t.Fatal(err)
		}
		if record, err := private.Record(); err != nil || record != strings.Join(txt.Txt, "") {
			t.Errorf("the record is of another key: %s, %v", record, err)
		}
		sum := make([]byte, 32)
		if signature, err := private.Sign(sum); err != nil || public.Verify(private.Algorithm(), sum, signature) != nil {
			t.Errorf("what the key signs does not verify: %v", err)
		}
		if runtime.GOOS != "windows" {
			for name, mode := range map[string]os.FileMode{tt.secret: 0o600, filepath.Dir(tt.secret): 0o700 | os.ModeDir, "dkim": 0o700 | os.ModeDir} {
				if info, err := os.Stat(filepath.Join(folder, name)); err != nil || info.Mode() != mode {
					t.Errorf("%s: %v, %v", name, info.Mode(), err)
				}
			}
		}
		before := s.read("secrets/" + tt.secret)
		s.want(keygen(tt.args...), exitCantCreate, "is there already and stays; give a new key a new selector")
		if s.read("secrets/"+tt.secret) != before {
			t.Error("a key was written over")
		}
	}
	for _, tt := range []struct {
		args []string
		why  string
	}{
		{[]string{"org", "s"}, "d=\"org\" is no domain"},
		{[]string{"../example.org", "s"}, "empty label"},
		{[]string{"example.org", "../s"}, "empty label"},
		{[]string{"example.org", "a/b"}, "has characters that no domain name has"},
		{[]string{"example.org", "-s"}, "unknown shorthand flag"},
		{[]string{"example.org", "s", "--bits", "512"}, "512 bits; an RSA key has 1024 to 4096"},
		{[]string{"example.org", "s", "--bits", "8192"}, "8192 bits"},
		{[]string{"example.org", "s", "--type", "dsa"}, "\"dsa\" is no type of key"},
		{[]string{"example.org", "s", "--type", "ed25519", "--bits", "2048"}, "--bits is for RSA keys"},
		{[]string{"example.org"}, "accepts 2 arg(s)"},
	} {
		s.want(keygen(tt.args...), exitUsage, tt.why)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "secrets/dkim/example.org/s")); err == nil {
		t.Error("a key was written all the same")
	}

	bare := newSite(t, minimal)
	r := bare.run("dkim", "keygen", "example.org", "s")
	bare.want(r, exitConfig, "does not say where secrets are", "--folder", "[secrets]")
	elsewhere := filepath.Join(bare.dir, "new", "place")
	bare.want(bare.run("dkim", "keygen", "example.org", "s", "--type", "ed25519", "--folder", elsewhere), 0, "; the key is in "+filepath.Join("new", "place", "dkim", "example.org", "s"))
	outside := t.TempDir()
	if err := os.MkdirAll(filepath.Join(bare.dir, "linked"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(bare.dir, "linked", "dkim")); err != nil {
		t.Skip("no links here")
	}
	bare.want(bare.run("dkim", "keygen", "example.org", "s", "--type", "ed25519", "--folder", filepath.Join(bare.dir, "linked")), exitCantCreate, "the key cannot be written")
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Errorf("a link led out of the folder: %v", left)
	}
}

func TestQuotedStrings(t *testing.T) {
	for n, want := range map[int]int{0: 1, 255: 1, 256: 2, 510: 2, 511: 3} {
		got := regexp.MustCompile(`"(x*)"`).FindAllStringSubmatch(quotedStrings(strings.Repeat("x", n)), -1)
		total := 0
		for _, m := range got {
			if total += len(m[1]); len(m[1]) > 255 {
				t.Errorf("a string of %d octets", len(m[1]))
			}
		}
		if len(got) != want || total != n {
			t.Errorf("%d octets in %d strings with %d", n, len(got), total)
		}
	}
}
