package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReturns sends a message through a server that gives each copy a signed sender, and on to another one whose next hop refuses the
// recipient. The bounce that that server makes comes back to the address, and tells by facts whom it is about and why; mail that it
// forwards for a stranger goes under an SRS sender, and the bounce of it goes back to the stranger.
func TestReturns(t *testing.T) {
	last, stranger := newSink(t), newSink(t)
	last.refuses("RCPT", "550 5.1.1 no such mailbox here")
	config := strings.Replace(relayConfig(stranger.address), `enable = ["relay"`, `enable = ["returns", "srs", "relay"`, 1) +
		"[plugin.returns]\nverp = \"bounces@example.org\"\n[plugin.srs]\ndomain = \"example.org\"\n[secrets]\nfolder = \"secrets\"\n"
	ours, theirs := newSite(t, config), newSite(t, relayConfig(last.address))
	for _, name := range []string{"returns/key", "srs/key"} {
		ours.write("secrets/"+name, "a secret")
		if err := os.Chmod(ours.path("secrets/"+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ours.write("plugins/told.lua", `plugin { id = "told", hook = { data = { reads = { "returns.kind" } } } }
function on.data(m)
  local f = m.facts
  log.info("told", { kind = f["returns.kind"], class = f["returns.class"], recipient = f["returns.recipient"], verified = f["returns.verified"] })
end
`)
	our := ours.start()
	theirs.write("stagepost.toml", relayConfig(last.address)+"[plugin.route.domains]\n\"example.org\" = \""+our.address("mx")+"\"\n")
	their := theirs.start()
	ours.write("stagepost.toml", config+"[plugin.route.domains]\n\"example.net\" = \""+their.address("mx")+"\"\n")
	ours.want(0, "reload")

	send := func(from, id string) {
		t.Helper()
		c := dial(t, our.address("mx"))
		c.want(t, "MAIL FROM:<"+from+">", "250")
		c.want(t, "RCPT TO:<gone@example.net>", "250")
		c.want(t, "DATA", "354")
		c.want(t, letter(id)+".", "250")
	}
	mark := our.console.mark()
	send("news@example.org", "<one@example.org>")
	our.console.expect(t, mark, `{"time"`, `"msg":"told"`, `"class":"bad-mailbox"`, `"kind":"failed"`, `"recipient":"gone@example.net"`, `"verified":true`)

	send("joe@stranger.example", "<two@stranger.example>")
	eventually(t, "the bounce goes back to the stranger", func() (bool, any) { return stranger.count() == 1, stranger.count() })
	stranger.mu.Lock()
	for _, text := range stranger.content {
		for _, want := range []string{"To: <SRS0=", "=stranger.example=joe@example.org>", "Status: 5.1.1", "Message-ID: <two@stranger.example>"} {
			if !strings.Contains(text, want) {
				t.Errorf("the bounce lacks %q:\n%s", want, text)
			}
		}
	}
	stranger.mu.Unlock()
	ours.empty()
	theirs.empty()
	their.stop()
	our.stop()
}

// TestReturnsOfPostfix sends mail with signed senders through a Postfix, which is refused one recipient and cannot reach the next hop of
// another: what it writes of the failure and of the delay comes back, and is told by facts. A complaint in a provider's form comes, too.
func TestReturnsOfPostfix(t *testing.T) {
	last := newSink(t)
	last.refuses("RCPT", "550 5.2.2 the mailbox is full")
	home := newSink(t)
	config := strings.Replace(relayConfig(home.address), `enable = ["relay"`, `enable = ["returns", "relay"`, 1) +
		"[plugin.returns]\nverp = \"bounces@example.org\"\naddresses = [\"fbl@example.org\"]\n[secrets]\nfolder = \"secrets\"\n"
	s := newSite(t, config)
	s.write("secrets/returns/key", "a secret")
	if err := os.Chmod(s.path("secrets/returns/key"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.write("plugins/told.lua", `plugin { id = "told", hook = { data = { reads = { "returns.kind" } } } }
function on.data(m)
  local f = m.facts
  log.info("told", { kind = f["returns.kind"], class = f["returns.class"], status = f["returns.status"], diagnostic = f["returns.diagnostic"],
    recipient = f["returns.recipient"], verified = f["returns.verified"], message = f["returns.message_id"] })
end
`)
	ours := s.start()
	dir := t.TempDir()
	transport := filepath.Join(dir, "transport")
	_, full, _ := net.SplitHostPort(last.address)
	_, slow, _ := net.SplitHostPort(freePort(t)) // nobody is there
	writeFile(t, transport, fmt.Sprintf("full.example smtp:[127.0.0.1]:%s\nslow.example smtp:[127.0.0.1]:%s\n", full, slow))
	postfix := startPostfix(t, dir, ours.address("mx"), "transport_maps = texthash:"+transport, "delay_warning_time = 1s", "queue_run_delay = 2s", "minimal_backoff_time = 2s", "maximal_backoff_time = 2s")
	s.write("stagepost.toml", config+"[plugin.route.domains]\n\"full.example\" = \""+postfix+"\"\n\"slow.example\" = \""+postfix+"\"\n")
	s.want(0, "reload")

	mark := ours.console.mark()
	for _, rcpt := range []string{"ann@full.example", "joe@slow.example"} {
		c := dial(t, ours.address("mx"))
		c.want(t, "MAIL FROM:<news@example.org>", "250")
		c.want(t, "RCPT TO:<"+rcpt+">", "250")
		c.want(t, "DATA", "354")
		c.want(t, letter("<news-"+rcpt+">")+".", "250")
	}
	ours.console.expect(t, mark, `{"time"`, `"msg":"told"`, `"class":"full"`, `"diagnostic":"the mailbox is full"`, `"kind":"failed"`,
		`news-ann@full.example`, `"recipient":"ann@full.example"`, `"status":"5.2.2"`, `"verified":true`)
	ours.console.expect(t, mark, `{"time"`, `"msg":"told"`, `"class":"network"`, `"kind":"delayed"`, `news-joe@slow.example`, `"recipient":"joe@slow.example"`, `"status":"4.4.1"`, `"verified":true`)

	complaint, err := os.ReadFile("../../../core/report/testdata/mails/abuse.eml")
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, ours.address("mx"))
	c.want(t, "MAIL FROM:<>", "250")
	c.want(t, "RCPT TO:<fbl@example.org>", "250")
	c.want(t, "DATA", "354")
	c.want(t, strings.TrimSuffix(string(complaint), "\r\n")+"\r\n.", "250")
	ours.console.expect(t, mark, `{"time"`, `"msg":"told"`, `"kind":"complaint"`, `"verified":false`)

	for _, want := range []string{`kind_failed`, `kind_delayed`, `kind_complaint`, `class_full`} {
		if got := ours.metrics(); !strings.Contains(got, want) {
			t.Errorf("%s is not counted", want)
		}
	}
	s.empty()
	if n := home.count(); n != 0 {
		t.Errorf("%d messages went home", n)
	}
	ours.stop()
}
