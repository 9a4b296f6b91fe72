package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/certs/certstest"
)

// ringPlugin sends what comes from without to the Postfix, and what has been round to the mailboxes.
const ringPlugin = `plugin { id = "ring", version = "1.0.0", needs = { route = { "transport:*", "*", "private" } } }
function on.route(r)
  if r.message.session.listener == "back" then return route { via = "dovecot" } end
  return route { hosts = { %q } }
end
`

// TestRing has two Stageposts, a Postfix, an Exim and a Dovecot relay to each other, over TLS wherever there is a network: one Stagepost,
// Postfix, the other Stagepost, Exim, the first Stagepost again, and by LMTP on a socket to Dovecot. Mail comes in at four of them and arrives
// whole, once, with a trace of each. For a mailbox that there is not a notice goes to the sender, by the same way.
func TestRing(t *testing.T) {
	if _, err := os.Stat("/usr/lib/dovecot/lmtp"); err != nil {
		t.Skip("left out: Dovecot's LMTP is not installed")
	}
	ca := certstest.New(t, "an authority")
	pair := func(dir, owner string) (certificate, key string) {
		certificate, key = certstest.Write(t, dir, "ring", ca.Issue(t, nil, "ring.example"))
		if u, err := user.Lookup(owner); err == nil {
			uid, _ := strconv.Atoi(u.Uid)
			for _, name := range []string{certificate, key} {
				if err := os.Chown(name, uid, -1); err != nil {
					t.Fatal(err)
				}
			}
		}
		return certificate, key
	}
	socket, mailbox := startMailboxes(t)
	back := freePort(t)

	dir := t.TempDir()
	certificate, key := pair(dir, "Debian-exim")
	exim := startExim(t, dir, back, "tls_advertise_hosts = *", "tls_certificate = "+certificate, "tls_privatekey = "+key)
	const encrypted = "[queue]\ntls = \"required\"\n"
	offers := strings.NewReplacer("role = \"mx\"\n", "role = \"mx\"\ntls = \"required\"\n", "[queue]\n", encrypted)
	second := newSite(t, offers.Replace(relayConfig(exim))+"\n[tls]\ncertificate = \"ring.pem\"\nkey = \"ring.key\"\n")
	pair(second.dir, "")
	b := second.start()
	dir = t.TempDir()
	certificate, key = pair(dir, "root")
	postfix := startPostfix(t, dir, b.address("mx"), "smtp_tls_security_level = encrypt", "smtpd_tls_security_level = may", "smtpd_tls_cert_file = "+certificate, "smtpd_tls_key_file = "+key)
	first := newSite(t, strings.NewReplacer("[queue]\n", encrypted, "\n[plugin.route]\ndefault = \""+postfix+"\"\n", "", "enable = [\"relay\", \"route\"]", "enable = [\"relay\"]").Replace(relayConfig(postfix))+
		fmt.Sprintf("\n[[listener]]\nname = \"back\"\naddress = %q\nrole = \"mx\"\ntls = \"required\"\n\n[tls]\ncertificate = \"ring.pem\"\nkey = \"ring.key\"\n\n[transport.dovecot]\ntype = \"lmtp\"\nsocket = %q\n", back, socket))
	pair(first.dir, "")
	first.write("plugins/ring.lua", fmt.Sprintf(ringPlugin, postfix))
	a := first.start()

	const each = 5
	body := "a line\r\n..a dot\r\n" + strings.Repeat("0123456789abcde\r\n", 3000) + "last\r\n"
	send := func(at, rcpt, id string) {
		t.Helper()
		c := dial(t, at)
		c.want(t, "EHLO client.example", "250")
		c.want(t, "MAIL FROM:<joe@box.example>", "250")
		c.want(t, "RCPT TO:<"+rcpt+">", "250")
		c.want(t, "DATA", "354")
		c.want(t, "From: joe@box.example\r\nTo: "+rcpt+"\r\nSubject: round\r\nMessage-ID: "+id+"\r\n\r\n"+body+".", "250")
		c.want(t, "QUIT", "221")
	}
	hops := map[string]int{} // how many servers see what comes in there
	var ids []string
	for i := range each {
		for name, at := range map[string]struct {
			address string
			hops    int
		}{"stagepost": {a.address("mx"), 5}, "postfix": {postfix, 4}, "exim": {exim, 2}} {
			id := fmt.Sprintf("<%s-%d@box.example>", name, i)
			ids, hops[id] = append(ids, id), at.hops
			send(at.address, "ann@box.example", id)
		}
	}
	send(a.address("mx"), "nobody@box.example", "<nobody@box.example>")

	var texts []string
	eventually(t, "all mail in the mailboxes", func() (bool, any) {
		texts = mails(t, mailbox)
		return len(texts) > len(ids), fmt.Sprintf("%d of %d", len(texts), len(ids)+1)
	})
	var got []string
	want := strings.ReplaceAll(strings.ReplaceAll(body, "\r\n..", "\r\n."), "\r\n", "\n")
	notices := 0
	for _, text := range texts {
		header, content, _ := strings.Cut(text, "\n\n")
		if strings.Contains(header, "multipart/report") {
			notices++
			if !strings.Contains(content, "Final-Recipient: rfc822; nobody@box.example") || !strings.Contains(content, "5.1.1") || strings.Count(header, "\nReceived: ") < 5 {
				t.Errorf("the notice:\n%s", text)
			}
			continue
		}
		_, rest, _ := strings.Cut(header, "\nMessage-ID: ")
		id, _, _ := strings.Cut(rest, "\n")
		got = append(got, id)
		if content != want {
			t.Errorf("%s has a body of %d bytes, want %d: %.200q", id, len(content), len(want), content)
		}
		// The last hop, by the socket, is Dovecot's own. Stagepost and Exim say that they were spoken to over TLS, all but the first of them.
		if n := strings.Count(header, "\nReceived: "); n != hops[id]+1 || strings.Count(strings.ToLower(header), " with esmtps ") < hops[id]-2 {
			t.Errorf("%s has %d Received fields, want %d, over TLS:\n%s", id, n, hops[id]+1, header)
		}
	}
	slices.Sort(got)
	slices.Sort(ids)
	if !slices.Equal(got, ids) || notices != 1 {
		t.Errorf("arrived: %q and %d notices, sent were %q", got, notices, ids)
	}
	a.empty()
	b.empty()
	a.stop()
	b.stop()
}

// mails reads what lies in a Maildir.
func mails(t *testing.T, dir string) (texts []string) {
	t.Helper()
	for _, sub := range []string{"new", "cur"} {
		list, _ := os.ReadDir(filepath.Join(dir, sub))
		for _, e := range list {
			text, err := os.ReadFile(filepath.Join(dir, sub, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, string(text))
		}
	}
	return texts
}

// startMailboxes runs a Dovecot that takes mail for joe and ann by LMTP, on a socket, and keeps it in one Maildir.
func startMailboxes(t *testing.T) (socket, mailbox string) {
	program := find(t, "dovecot")
	asRoot(t, "dovecot", "dovenull", "nobody")
	dir := t.TempDir()
	for d := dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) { // its processes go through
		os.Chmod(d, 0o755)
	}
	mailbox, socket = filepath.Join(dir, "box"), filepath.Join(dir, "lmtp")
	if err := os.Mkdir(mailbox, 0o755); err != nil {
		t.Fatal(err)
	}
	nobody, _ := user.Lookup("nobody")
	uid, _ := strconv.Atoi(nobody.Uid)
	gid, _ := strconv.Atoi(nobody.Gid)
	if err := os.Chown(mailbox, uid, gid); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "users"), "joe:{PLAIN}pencil::::::\nann:{PLAIN}pencil::::::\n")
	writeFile(t, filepath.Join(dir, "dovecot.conf"), fmt.Sprintf(`base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
protocols = lmtp
ssl = no
auth_username_format = %%n
mail_location = maildir:%[1]s/box
passdb {
  driver = passwd-file
  args = %[1]s/users
}
userdb {
  driver = static
  args = uid=%[2]d gid=%[3]d home=%[1]s/box
}
service lmtp {
  unix_listener %[1]s/lmtp {
    mode = 0666
  }
}
`, dir, uid, gid))
	runDaemon(t, exec.Command(program, "-F", "-c", filepath.Join(dir, "dovecot.conf")))
	t.Cleanup(func() {
		if log, err := os.ReadFile(filepath.Join(dir, "log")); err == nil && t.Failed() {
			t.Logf("dovecot logged:\n%s", log)
		}
	})
	eventually(t, "Dovecot's LMTP", func() (bool, any) {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return false, err
		}
		conn.Close()
		return true, nil
	})
	return socket, mailbox
}
