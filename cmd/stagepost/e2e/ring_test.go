package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
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
	boxes := startDovecot(t, dovecotOptions{lmtp: true})
	ca := newAuthority(t)
	back := freePort(t)

	dir := t.TempDir()
	certificate, key := ca.pair(dir, "ring.example", "Debian-exim")
	exim := startExim(t, dir, back, "tls_advertise_hosts = *", "tls_certificate = "+certificate, "tls_privatekey = "+key)
	const encrypted = "[queue]\ntls = \"required\"\n"
	offers := strings.NewReplacer("role = \"mx\"\n", "role = \"mx\"\ntls = \"required\"\n", "[queue]\n", encrypted)
	second := newSite(t, offers.Replace(relayConfig(exim))+"\n[tls]\ncertificate = \"ring.example.pem\"\nkey = \"ring.example.key\"\n")
	ca.pair(second.dir, "ring.example", "")
	b := second.start()
	dir = t.TempDir()
	certificate, key = ca.pair(dir, "ring.example", "root")
	postfix := startPostfix(t, dir, b.address("mx"), "smtp_tls_security_level = encrypt", "smtpd_tls_security_level = may", "smtpd_tls_cert_file = "+certificate, "smtpd_tls_key_file = "+key)
	first := newSite(t, strings.NewReplacer("[queue]\n", encrypted, "\n[plugin.route]\ndefault = \""+postfix+"\"\n", "", "enable = [\"relay\", \"route\"]", "enable = [\"relay\"]").Replace(relayConfig(postfix))+
		fmt.Sprintf("\n[[listener]]\nname = \"back\"\naddress = %q\nrole = \"mx\"\ntls = \"required\"\n\n[tls]\ncertificate = \"ring.example.pem\"\nkey = \"ring.example.key\"\n\n[transport.dovecot]\ntype = \"lmtp\"\nsocket = %q\n", back, boxes.lmtp))
	ca.pair(first.dir, "ring.example", "")
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
		texts = mails(t, boxes.mailbox)
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
