package e2e

import (
	"os"
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
