package e2e

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/resolve/dnszone"
	"github.com/stagepost/stagepost/plugins/mailauth/dkim"
)

// sealers are domains with a key each, whose records a DNS server has.
type sealers struct {
	keys    map[string]string // private, in PEM, by domain
	records map[string]string // by name
	dns     string
}

// newSealers makes keys with the selector s.
func newSealers(t *testing.T, domains ...string) *sealers {
	t.Helper()
	all := &sealers{keys: map[string]string{}, records: map[string]string{}}
	names := map[string][]string{}
	for _, d := range domains {
		key, err := dkim.NewPrivateKey("rsa", 2048)
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
		name := dkim.KeyName(d, "s")
		all.keys[d], all.records[name] = string(text), record
		names[name] = []string{fmt.Sprintf("TXT %q %q", record[:200], record[200:])}
	}
	zone, err := dnszone.Parse(names)
	if err != nil {
		t.Fatal(err)
	}
	server, err := dnszone.Serve("127.0.0.1:0", zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	all.dns = server.Addr()
	return all
}

// site is a folder with a configuration that asks this DNS, with the key of one domain; domain "" has none.
func (all *sealers) site(t *testing.T, next, domain, enable, more string) *site {
	t.Helper()
	config := strings.Replace(relayConfig(next), `enable = [`, `enable = [`+enable, 1) + "[resolver]\nservers = [\"" + all.dns + "\"]\n[secrets]\nfolder = \"secrets\"\n" + more
	s := newSite(t, config)
	if domain != "" {
		name := "secrets/dkim/" + domain + "/s"
		s.write(name, all.keys[domain])
		if err := os.Chmod(s.path(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// toldARC says in the log what arc found.
const toldARC = `plugin { id = "told", hook = { data = { reads = { "arc.result", "arc.sealer", "arc.trusted", "arc.oldest_pass?", "arc.reason?", "arc.assessment?" } } } }
function on.data(m)
  local f = m.facts
  log.info("told", { result = f["arc.result"], sealer = f["arc.sealer"], trusted = f["arc.trusted"], oldest_pass = f["arc.oldest_pass"], reason = f["arc.reason"], assessment = f["arc.assessment"] })
end
`

// TestARC: a message that A signs goes to B, a list that puts its name before the subject and seals, and on to C, which finds that the
// signature of A does not hold any more, and that B, whom it trusts, saw it hold.
func TestARC(t *testing.T) {
	sink := newSink(t)
	keys := newSealers(t, "a.example", "b.example", "c.example")
	c := keys.site(t, sink.address, "c.example", `"arc", "auth-results", "dkim-verify", `, "[plugin.arc]\ntrusted = [\"b.example\"]\ndomain = \"c.example\"\nselector = \"s\"\n")
	c.write("plugins/told.lua", toldARC)
	c.write("plugins/signed.lua", `plugin { id = "signed", hook = { data = { reads = { "dkim-verify.result" } } } }
function on.data(m) log.info("signed", { result = m.facts["dkim-verify.result"] }) end
`)
	atC := c.start()
	b := keys.site(t, atC.address("mx"), "b.example", `"arc", "auth-results", "dkim-verify", `, "[plugin.arc]\ndomain = \"b.example\"\nselector = \"s\"\n")
	b.write("plugins/list.lua", `plugin { id = "list", needs = { edit = { "headers" }, read = "headers" } }
function on.data(m) m:set_header("Subject", "[list] " .. m:header("Subject")) end
`)
	atB := b.start()
	a := keys.site(t, atB.address("mx"), "a.example", `"dkim-sign", `, "[plugin.dkim-sign]\nnetworks = [\"127.0.0.0/8\"]\n[plugin.dkim-sign.domains]\n\"a.example\" = \"s\"\n")
	atA := a.start()

	client := dial(t, atA.address("mx"))
	client.want(t, "EHLO client.example", "250")
	client.want(t, "MAIL FROM:<a@a.example>", "250")
	client.want(t, "RCPT TO:<u@example.net>", "250")
	client.want(t, "DATA", "354")
	client.want(t, "From: <a@a.example>\r\nTo: <list@b.example>\r\nSubject: a test\r\nDate: Sat, 28 Nov 2026 12:00:00 +0000\r\nMessage-ID: <arc@a.example>\r\n\r\nA line.\r\n.", "250")

	line := atC.console.expect(t, 0, `{"time"`, `"msg":"told"`, `"result":"pass"`, `"sealer":"b.example"`, `"trusted":true`)
	for _, want := range []string{`"oldest_pass":0`, "dkim=pass header.d=a.example", "arc=none"} {
		if !strings.Contains(line, want) {
			t.Errorf("C says %s, without %s", line, want)
		}
	}
	atC.console.expect(t, 0, `{"time"`, `"msg":"signed"`, `"result":"fail"`)
	text := sink.text("<arc@a.example>")
	for _, want := range []string{"Subject: [list] a test\r\n", "ARC-Seal: i=2; ", "ARC-Seal: i=1; ", "cv=none;", "cv=pass;", "dkim=fail", "arc=pass", "header.oldest-pass=0"} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
	// The order in which plugins added is that of the fields: B's set below C's, in each the seal first.
	at := 0
	for _, field := range []string{"ARC-Seal: i=2;", "ARC-Message-Signature: i=2;", "ARC-Authentication-Results: i=2;", "ARC-Seal: i=1;", "ARC-Message-Signature: i=1;", "ARC-Authentication-Results: i=1;", "DKIM-Signature:", "\r\nFrom:"} {
		next := strings.Index(text[at:], field)
		if next < 0 {
			t.Errorf("%s is not below what is before it in\n%s", field, text)
			break
		}
		at += next
	}
	for _, sv := range []*server{atA, atB, atC} {
		sv.empty()
		sv.stop()
	}
}

// pythonARC is dkimpy: it validates the chain of a message, or seals as Debian's arcsign does.
const pythonARC = `
import json, sys, dkim
what, keys, letter = sys.argv[1:4]
records = json.load(open(keys))
def dns(name, timeout=5):
    return records.get((name.decode() if isinstance(name, bytes) else name).rstrip("."), "").encode()
text = open(letter, "rb").read()
if what == "verify":
    cv, results, reason = dkim.arc_verify(text, dnsfunc=dns)
    print((cv or b"fail").decode(), reason) # it says nothing of a chain that was sealed as failed
else:
    domain, key = sys.argv[4:6]
    fields = dkim.arc_sign(text, b"s", domain.encode(), open(key, "rb").read(), domain.encode())
    if not fields:
        sys.exit("it seals nothing")
    sys.stdout.buffer.write(b"".join(fields) + text)
`

// pythonDKIM finds a Python that has dkimpy: that of Debian, if another comes first in PATH.
func pythonDKIM(t *testing.T) string {
	t.Helper()
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(python, "-c", "import authres, dkim").Run() == nil {
			return python
		}
	}
	t.Skip("left out: dkimpy and authres are not there")
	return ""
}

// dkimpy runs it.
func (all *sealers) dkimpy(t *testing.T, what, text string, args ...string) string {
	t.Helper()
	python := pythonDKIM(t)
	dir := t.TempDir()
	records, err := json.Marshal(all.records)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"keys": string(records), "letter": text} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if len(args) > 0 {
		key := filepath.Join(dir, "key")
		if err := os.WriteFile(key, []byte(pkcs1(t, all.keys[args[0]])), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, key)
	}
	r := runToEnd(t, exec.Command(python, append([]string{"-c", pythonARC, what, filepath.Join(dir, "keys"), filepath.Join(dir, "letter")}, args...)...))
	if r.code != 0 {
		t.Fatalf("dkimpy: %s%s", r.out, r.err)
	}
	return r.out
}

// TestARCWithDkimpy: dkimpy and Stagepost seal in turn, and each finds the other's chains whole, and broken ones broken.
func TestARCWithDkimpy(t *testing.T) {
	sink := newSink(t)
	keys := newSealers(t, "p.example", "s.example", "q.example")
	site := keys.site(t, sink.address, "s.example", `"arc", `, "[plugin.arc]\ntrusted = [\"p.example\", \"s.example\", \"q.example\"]\ndomain = \"s.example\"\nselector = \"s\"\n")
	site.write("plugins/told.lua", toldARC)
	sv := site.start()
	through := func(text, id string) (line, sent string) {
		t.Helper()
		mark := sv.console.mark()
		client := dial(t, sv.address("mx"))
		client.want(t, "EHLO client.example", "250")
		client.want(t, "MAIL FROM:<a@a.example>", "250")
		client.want(t, "RCPT TO:<u@example.net>", "250")
		client.want(t, "DATA", "354")
		client.want(t, "Message-ID: "+id+"\r\n"+text+".", "250") // on top, where no signature covers it
		return sv.console.expect(t, mark, `{"time"`, `"msg":"told"`), sink.text(id)
	}
	wants := func(line string, words ...string) {
		t.Helper()
		for _, w := range words {
			if !strings.Contains(line, w) {
				t.Errorf("it says %s, without %s", line, w)
			}
		}
	}
	results := func(domain, result string) string {
		return "Authentication-Results: " + domain + "; spf=pass smtp.mailfrom=a@a.example; arc=" + result + "\r\n"
	}
	letter := "From: A <a@a.example>\r\nTo: u@example.net\r\nSubject: a  test\r\nDate: Sat, 28 Nov 2026 12:00:00 +0000\r\n\r\nA line. \r\n\r\nAnother\tone.\r\n\r\n\r\n"

	first := keys.dkimpy(t, "sign", results("p.example", "none")+letter, "p.example")
	if got := keys.dkimpy(t, "verify", first); !strings.HasPrefix(got, "pass") {
		t.Fatalf("dkimpy does not believe itself: %s", got)
	}
	line, second := through(first, "<one@a.example>")
	wants(line, `"result":"pass"`, `"sealer":"p.example"`, `"trusted":true`)
	wants(second, "ARC-Seal: i=2; a=rsa-sha256;", "cv=pass;")
	if got := keys.dkimpy(t, "verify", second); !strings.HasPrefix(got, "pass") {
		t.Errorf("dkimpy on a chain that Stagepost went on with: %s\n%s", got, second)
	}
	third := keys.dkimpy(t, "sign", results("q.example", "pass")+second, "q.example")
	line, fourth := through(third, "<two@a.example>")
	wants(line, `"result":"pass"`, `"sealer":"q.example"`, `"trusted":true`, `"oldest_pass":0`)
	if got := keys.dkimpy(t, "verify", fourth); !strings.HasPrefix(got, "pass") {
		t.Errorf("dkimpy on a chain of four: %s\n%s", got, fourth)
	}

	_, alone := through(letter, "<three@a.example>")
	if got := keys.dkimpy(t, "verify", alone); !strings.HasPrefix(got, "pass") {
		t.Errorf("dkimpy on a chain that Stagepost began: %s\n%s", got, alone)
	}
	for i, broken := range []string{strings.Replace(alone, "A line.", "B line.", 1), strings.Replace(alone, "Subject: a", "Subject: b", 1), strings.Replace(alone, "ARC-Authentication-Results: i=1; ", "ARC-Authentication-Results: i=1; x", 1)} {
		if broken == alone {
			t.Fatalf("broken message %d is whole:\n%s", i, alone)
		}
		if got := keys.dkimpy(t, "verify", broken); !strings.HasPrefix(got, "fail") {
			t.Errorf("dkimpy on broken message %d: %s", i, got)
		}
		line, sealed := through(broken, fmt.Sprintf("<broken-%d@a.example>", i))
		wants(line, `"result":"fail"`, `"trusted":false`)
		wants(sealed, "ARC-Seal: i=2; a=rsa-sha256;", "cv=fail;")
		if got := keys.dkimpy(t, "verify", sealed); !strings.HasPrefix(got, "fail") {
			t.Errorf("dkimpy on message %d, sealed as failed: %s", i, got)
		}
		_, again := through(sealed, fmt.Sprintf("<again-%d@a.example>", i))
		if strings.Contains(again, "ARC-Seal: i=3") {
			t.Errorf("a chain that was sealed as failed goes on:\n%s", again)
		}
	}
	sv.empty()
	sv.stop()
}

// pkcs1 is an RSA key as dkimpy reads it.
func pkcs1(t *testing.T, text string) string {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key.(*rsa.PrivateKey))}))
}
