package e2e

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestWipe: what was delivered is overwritten on the disk where the configuration says so, from the moment on in which it does.
func TestWipe(t *testing.T) {
	sink := newSink(t)
	s := newSite(t, relayConfig(sink.address))
	sv := s.start()
	secret := strings.Repeat("nobody else is to read this\r\n", 4000)
	send := func(id string) {
		t.Helper()
		c := dial(t, s.address("mx"))
		c.want(t, "EHLO client.example", "250")
		c.want(t, "MAIL FROM:<a@client.example>", "250")
		c.want(t, "RCPT TO:<u@example.net>", "250")
		c.want(t, "DATA", "354")
		c.want(t, letter(id)+secret+".", "250")
		s.empty()
		if !strings.Contains(sink.text(id), secret) {
			t.Errorf("%s did not come as it was sent", id)
		}
	}
	slot := func() []byte {
		t.Helper()
		b, err := os.ReadFile(s.path("data/body/256k/0"))
		if err != nil || len(b) < len(secret) {
			t.Fatalf("the slot has %d bytes, %v", len(b), err)
		}
		return b
	}
	wiped := func() (bool, any) {
		b := slot()
		return len(bytes.Trim(b, "\x00")) == 0, len(b)
	}
	send("<one@client.example>")
	if !bytes.Contains(slot(), []byte(secret)) {
		t.Error("it is overwritten though nobody asked for that")
	}
	s.write("stagepost.toml", strings.Replace(relayConfig(sink.address), "[queue]", "[queue]\nwipe = true", 1))
	sv.live(2)
	eventually(t, "a slot that was free before is wiped", wiped)
	send("<two@client.example>")
	eventually(t, "a slot is wiped after its message", wiped)
	sv.stop()
}
