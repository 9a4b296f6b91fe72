package e2e

import (
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/resolve/dnszone"
)

// signerConfig takes mail of who has logged in, signs it, and sends it on; it also takes mail of others, and looks at its signatures.
func signerConfig(next, dns string) string {
	return fmt.Sprintf(`hostname = "mx.example.org"
data = "data"

[[listener]]
name = "mx"
address = "127.0.0.1:0"
role = "mx"

[[listener]]
name = "submission"
address = "127.0.0.1:0"
role = "submission"
auth = ["PLAIN"]
auth_without_tls = true

[resolver]
servers = [%q]

[queue]
retry = ["1s"]

[secrets]
folder = "secrets"

[plugins]
folder = "plugins"
enable = ["auth", "dkim-verify", "dkim-sign", "relay", "route"]

[plugin.auth]
users = "lookup:users"

[lookup.users]
type = "file"
file = "users.txt"

[plugin.relay]
networks = ["127.0.0.0/8"]

[plugin.route]
default = %q

[plugin.dkim-sign]
selectors = ["rsa", "ed"]
`, dns, next)
}

// told logs what came of signatures.
const told = `plugin { id = "told", needs = { read = "headers" }, hook = { data = { reads = { "dkim-verify.results" } } } }
function on.data(m)
  local all = {}
  for i, r in ipairs(m.facts["dkim-verify.results"]) do
    all[i] = r.selector .. " " .. r.result .. (r.reason and ": " .. r.reason or "")
  end
  log.info("told", { id = m:header("Message-ID"), results = table.concat(all, ", ") })
end
`

// recordOf reads what keygen printed as dnszone has it.
func recordOf(t *testing.T, out string) (name, record string) {
	t.Helper()
	m := regexp.MustCompile(`(?m)^(\S+)\. IN TXT \( (.*) \)$`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no record: %s", out)
	}
	return m[1], "TXT " + m[2]
}

// dnsServer serves names that may change.
func dnsServer(t *testing.T, names map[string][]string) *dnszone.Server {
	t.Helper()
	zone, err := dnszone.Parse(names)
	if err != nil {
		t.Fatal(err)
	}
	s, err := dnszone.Serve("127.0.0.1:0", zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// submit logs in and hands a message over.
func submit(t *testing.T, address, text string) {
	t.Helper()
	c := dial(t, address)
	c.want(t, "AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00joe\x00pencil")), "235")
	c.want(t, "MAIL FROM:<joe@example.org>", "250")
	c.want(t, "RCPT TO:<u@example.net>", "250")
	c.want(t, "DATA", "354")
	c.want(t, text+".", "250")
}

func signedLetter(id string) string {
	return "From: Joe <joe@example.org>\r\nTo: u@example.net\r\nSubject: a  test\r\n of folding\r\nDate: Sat, 28 Nov 2026 11:59:00 +0000\r\nMessage-ID: " + id + "\r\n\r\nA line. \r\n\r\n\twith a tab\r\n..and a dot\r\n\r\n\r\n"
}

// newSigner makes the folder of a server with a user and keys, whose records it adds to names. The DNS comes later.
func newSigner(t *testing.T, names map[string][]string) *site {
	t.Helper()
	s := newSite(t, signerConfig("127.0.0.1:1", "127.0.0.1:1"))
	s.write("plugins/told.lua", told)
	cmd := s.command("user", "add", "joe")
	cmd.Stdin = strings.NewReader("pencil\n")
	if r := runToEnd(t, cmd); r.code != 0 {
		t.Fatalf("%s%s", r.out, r.err)
	}
	for _, args := range [][]string{{"rsa"}, {"ed", "--type", "ed25519"}} {
		name, record := recordOf(t, s.want(0, append([]string{"dkim", "keygen", "example.org"}, args...)...))
		names[name] = []string{record}
	}
	return s
}

// TestDKIM: what is submitted to one server is signed with both keys, and passes at the next one; a key is changed while mail flows; what
// was changed on the way fails.
func TestDKIM(t *testing.T) {
	sink := newSink(t)
	names := map[string][]string{}
	ours := newSigner(t, names)
	dns := dnsServer(t, names)
	theirs := newSite(t, signerConfig(sink.address, dns.Addr()))
	theirs.write("users.txt", "")
	theirs.write("plugins/told.lua", told)
	their := theirs.start()
	config := signerConfig(their.address("mx"), dns.Addr())
	ours.write("stagepost.toml", config)
	our := ours.start()

	submit(t, our.address("submission"), signedLetter("<one@example.org>"))
	their.console.expect(t, 0, `{"time"`, `"msg":"told"`, "<one@example.org>", `rsa pass, ed pass`)
	if text := sink.text("<one@example.org>"); strings.Count(text, "DKIM-Signature: v=1;") != 2 {
		t.Errorf("it came as\n%s", text)
	}

	// a new key, published, and then put in the place of an old one
	name, record := recordOf(t, ours.want(0, "dkim", "keygen", "example.org", "next"))
	names[name] = []string{record}
	zone, err := dnszone.Parse(names)
	if err != nil {
		t.Fatal(err)
	}
	dns.Use(zone)
	ours.write("stagepost.toml", strings.Replace(config, `"rsa", "ed"`, `"next", "ed"`, 1))
	ours.want(0, "reload")
	submit(t, our.address("submission"), signedLetter("<two@example.org>"))
	their.console.expect(t, 0, `{"time"`, `"msg":"told"`, "<two@example.org>", `next pass, ed pass`)

	c := dial(t, their.address("mx"))
	c.want(t, "MAIL FROM:<joe@example.org>", "250")
	c.want(t, "RCPT TO:<u@example.net>", "250")
	c.want(t, "DATA", "354")
	c.want(t, strings.Replace(strings.Replace(sink.text("<two@example.org>"), "A line.", "Another line.", 1), "<two@", "<three@", 1)+".", "250")
	their.console.expect(t, 0, `{"time"`, `"msg":"told"`, "<three@example.org>", `next fail: the body was changed`)

	// strangers' mail is not signed, whatever is in From
	c = dial(t, our.address("mx"))
	c.want(t, "MAIL FROM:<joe@example.org>", "250")
	c.want(t, "RCPT TO:<u@example.net>", "250")
	c.want(t, "DATA", "354")
	c.want(t, signedLetter("<four@example.org>")+".", "250")
	if text := sink.text("<four@example.org>"); strings.Contains(text, "DKIM-Signature") {
		t.Errorf("it came as\n%s", text)
	}
	ours.empty()
	theirs.empty()
	our.stop()
	their.stop()
}

// dkimpy verifies and signs: dkimpy verify KEYS < message, or dkimpy sign SELECTOR DOMAIN KEY CANON ALGORITHM < message.
const dkimpy = `
import sys, dkim
text = sys.stdin.buffer.read()
if sys.argv[1] == "verify":
    keys = dict(line.split(" ", 1) for line in open(sys.argv[2]))
    find = lambda name, timeout=5: keys.get((name.decode() if isinstance(name, bytes) else name).rstrip("."), "").strip().encode() or None
    d = dkim.DKIM(text)
    n = sum(1 for name, _ in d.headers if name.lower() == b"dkim-signature")
    for i in range(n):
        try:
            print("pass" if d.verify(idx=i, dnsfunc=find) else "fail")
        except dkim.ValidationError:
            print("fail")
else:
    _, _, selector, domain, key, canon, algorithm = sys.argv
    header, body = canon.encode().split(b"/")
    sys.stdout.buffer.write(dkim.sign(text, selector.encode(), domain.encode(), open(key, "rb").read(), canonicalize=(header, body), signature_algorithm=algorithm.encode(), include_headers=[b"from", b"to", b"subject", b"message-id"]))
    sys.stdout.buffer.write(text)
`

// TestDKIMOthers: opendkim and dkimpy pass what is signed here, and what they sign passes here, in all canonical forms.
func TestDKIMOthers(t *testing.T) {
	sink := newSink(t)
	names := map[string][]string{}
	s := newSigner(t, names)
	dns := dnsServer(t, names)
	dir := t.TempDir()
	var keys strings.Builder
	for name, records := range names {
		fmt.Fprintf(&keys, "%s %s\n", name, strings.NewReplacer(`" "`, "", `"`, "", "TXT ", "").Replace(records[0]))
	}
	file := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	keyFile := file("keys", keys.String())
	config := signerConfig(sink.address, dns.Addr())
	s.write("stagepost.toml", config)
	sv := s.start()
	forms := []string{"relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple"}

	for i, form := range forms {
		s.write("stagepost.toml", config+fmt.Sprintf("canonicalization = %q\n", form))
		s.want(0, "reload")
		id := fmt.Sprintf("<out-%d@example.org>", i)
		submit(t, sv.address("submission"), signedLetter(id))
		text := sink.text(id)
		t.Run("opendkim verifies "+form, func(t *testing.T) {
			conf := file("opendkim.conf", "Mode v\nSyslog no\nTestPublicKeys "+keyFile+"\n")
			r := runToEnd(t, exec.Command(find(t, "opendkim"), "-x", conf, "-vv", "-t", file("message", text)))
			for _, want := range []string{"dkim=pass (2048-bit key) header.d=example.org header.i=@example.org header.a=rsa-sha256 header.s=rsa", "dkim=pass header.d=example.org header.i=@example.org header.a=ed25519-sha256 header.s=ed"} {
				if r.code != 0 || !strings.Contains(r.out+r.err, want) {
					t.Errorf("%d, no %q:\n%s%s\n%s", r.code, want, r.out, r.err, text)
				}
			}
		})
		t.Run("dkimpy verifies "+form, func(t *testing.T) {
			if got := python(t, text, "verify", keyFile); got != "pass\npass\n" {
				t.Errorf("%s\n%s", got, text)
			}
			if got := python(t, strings.Replace(text, "A line.", "Another.", 1), "verify", keyFile); got != "fail\nfail\n" {
				t.Errorf("changed: %s", got)
			}
		})
	}

	deliver := func(t *testing.T, id, text, result string) {
		t.Helper()
		c := dial(t, sv.address("mx"))
		c.want(t, "MAIL FROM:<joe@example.org>", "250")
		c.want(t, "RCPT TO:<u@example.net>", "250")
		c.want(t, "DATA", "354")
		c.want(t, strings.ReplaceAll(text, "\r\n.", "\r\n..")+".", "250")
		sv.console.expect(t, 0, `{"time"`, `"msg":"told"`, id, result)
	}
	secret := func(selector string) string { return s.path("secrets/dkim/example.org/" + selector) }
	t.Run("opendkim signs with SHA-1", func(t *testing.T) { // as its test program does, whatever the key
		const id = "<sha1@example.org>"
		cmd := exec.Command(find(t, "opendkim-testmsg"), "-C", "-d", "example.org", "-s", "rsa", "-k", secret("rsa"))
		cmd.Stdin = strings.NewReader(undotted(signedLetter(id)))
		r := runToEnd(t, cmd)
		if r.code != 0 || !strings.Contains(r.out, "DKIM-Signature:") {
			t.Fatalf("%d\n%s%s", r.code, r.out, r.err)
		}
		deliver(t, id, crlf(r.out), "rsa permerror: a=rsa-sha1 counts no more")
	})
	for i, form := range forms {
		for selector, algorithm := range map[string]string{"rsa": "rsa-sha256", "ed": "ed25519-sha256"} {
			t.Run("opendkim signs "+form+" "+algorithm, func(t *testing.T) {
				id := fmt.Sprintf("<opendkim-%d-%s@example.org>", i, selector)
				conf := file("sign.conf", fmt.Sprintf("Mode s\nSyslog no\nBackground no\nRequireSafeKeys no\nDomain example.org\nSelector %s\nKeyFile %s\nCanonicalization %s\nSignatureAlgorithm %s\n", selector, secret(selector), form, algorithm))
				text := undotted(signedLetter(id))
				want := selector + " pass"
				if selector == "ed" && strings.HasPrefix(form, "simple/") { // Debian's does it wrong: neither itself nor dkimpy passes it
					want = "ed fail: the signature does not fit the header"
				}
				deliver(t, id, milterSign(t, conf, text)+text, want)
			})
			t.Run("dkimpy signs "+form+" "+algorithm, func(t *testing.T) {
				id := fmt.Sprintf("<dkimpy-%d-%s@example.org>", i, selector)
				signed := python(t, undotted(signedLetter(id)), "sign", selector, "example.org", file(selector, forPython(t, secret(selector))), form, algorithm)
				deliver(t, id, signed, selector+" pass")
			})
		}
	}
	s.empty()
	sv.stop()
}

// undotted is a letter as it is before it is sent.
func undotted(text string) string { return strings.ReplaceAll(text, "\r\n..", "\r\n.") }

// milterSign has opendkim sign a message, as a mail server asks it to, and gives the field.
func milterSign(t *testing.T, conf, text string) string {
	t.Helper()
	address := freePort(t)
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.Command(find(t, "opendkim"), "-f", "-x", conf, "-p", "inet:"+port+"@127.0.0.1")
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	}()
	var conn net.Conn
	eventually(t, "opendkim listens", func() (ok bool, why any) {
		var err error
		conn, err = net.Dial("tcp", address)
		return err == nil, err
	})
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	send := func(command byte, data string) {
		packet := append(binary.BigEndian.AppendUint32(nil, uint32(1+len(data))), command)
		if _, err := conn.Write(append(packet, data...)); err != nil {
			t.Fatalf("opendkim at %q: %v", command, err)
		}
	}
	receive := func() (byte, string) {
		var head [5]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			t.Fatalf("opendkim: %v", err)
		}
		data := make([]byte, binary.BigEndian.Uint32(head[:])-1)
		if _, err := io.ReadFull(conn, data); err != nil {
			t.Fatalf("opendkim: %v", err)
		}
		return head[4], string(data)
	}
	ask := func(command byte, data string) {
		send(command, data)
		if reply, _ := receive(); reply != 'c' {
			t.Fatalf("opendkim answers %q to %q", reply, command)
		}
	}
	send('O', "\x00\x00\x00\x06\x00\x00\x01\xff\x00\x00\x00\x00")
	receive()
	ask('C', "localhost\x004\x00\x19127.0.0.1\x00")
	ask('H', "client.example\x00")
	ask('M', "<joe@example.org>\x00")
	ask('R', "<u@example.net>\x00")
	header, body, _ := strings.Cut(text, "\r\n\r\n")
	for _, field := range regexp.MustCompile(`\r\n\b`).Split(header, -1) {
		name, value, _ := strings.Cut(field, ": ")
		ask('L', name+"\x00"+strings.ReplaceAll(value, "\r\n", "\n")+"\x00")
	}
	ask('N', "")
	ask('B', body)
	send('E', "")
	for {
		reply, data := receive()
		if reply == 'i' {
			if parts := strings.Split(data[4:], "\x00"); parts[0] == "DKIM-Signature" {
				return parts[0] + ": " + crlf(strings.TrimLeft(parts[1], " ")) + "\r\n"
			}
		} else if reply == 'c' || reply == 'a' {
			t.Fatal("opendkim did not sign")
		}
	}
}

// python runs dkimpy with a message on its input.
func python(t *testing.T, text string, args ...string) string {
	t.Helper()
	program := ""
	for _, p := range []string{"python3", "/usr/bin/python3"} { // the first may be one that has no packages of Debian
		if program == "" && runToEnd(t, exec.Command(find(t, p), "-c", "import dkim, nacl")).code == 0 {
			program = p
		}
	}
	if program == "" {
		t.Skip("left out: dkimpy is not there")
	}
	cmd := exec.Command(program, append([]string{"-c", dkimpy}, args...)...)
	cmd.Stdin = strings.NewReader(text)
	r := runToEnd(t, cmd)
	if r.code != 0 {
		t.Fatalf("dkimpy: %d\n%s%s", r.code, r.out, r.err)
	}
	return r.out
}

// forPython gives a key as dkimpy reads it: PKCS #1 in PEM, or the seed of an Ed25519 key in base64.
func forPython(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if r, ok := key.(*rsa.PrivateKey); ok {
		return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(r)}))
	}
	return base64.StdEncoding.EncodeToString(key.(ed25519.PrivateKey).Seed())
}

// crlf gives lines the ends that they have on the wire.
func crlf(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n")
}
