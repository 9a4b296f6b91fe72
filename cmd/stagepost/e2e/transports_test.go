package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stagepost/stagepost/core/certs/certstest"
)

// TestPosted has the real server send messages by HTTPS: signed, to a certificate that the system trusts, once more after an answer of "later", and
// not at all to this machine unless the configuration says so.
func TestPosted(t *testing.T) {
	ca := certstest.New(t, "an authority")
	var mu sync.Mutex
	var keys, bodies, bad []string
	hook := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		mac := hmac.New(sha256.New, []byte("a secret of the house"))
		io.WriteString(mac, r.Header.Get("Webhook-Id")+"."+r.Header.Get("Webhook-Timestamp")+"."+string(body))
		mu.Lock()
		defer mu.Unlock()
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); err != nil || r.Header.Get("Webhook-Signature") != want || r.Header.Get("Stagepost-Recipient") != "<u@example.net>" {
			bad = append(bad, r.Header.Get("Webhook-Signature")+", want "+want)
		}
		keys, bodies = append(keys, r.Header.Get("Idempotency-Key")), append(bodies, string(body))
		if len(keys) == 1 {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "not yet", http.StatusServiceUnavailable)
		}
	}))
	hook.Config.ErrorLog = log.New(io.Discard, "", 0)
	hook.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, nil, "localhost")}}
	hook.StartTLS()
	t.Cleanup(hook.Close)
	_, port, _ := strings.Cut(hook.Listener.Addr().String(), ":")

	config := strings.Replace(relayConfig("transport:hook"), "[plugins]", "[secrets]\nfolder = \"secrets\"\n\n[plugins]", 1) +
		"\n[transport.hook]\ntype = \"https\"\nurl = \"https://localhost:" + port + "/mail\"\nsecret = \"inbound\"\n"
	s := newSite(t, config)
	certstest.WriteFile(t, s.path("ca.pem"), certstest.PEM(ca.Certificate.Raw))
	s.limit = func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "SSL_CERT_FILE="+s.path("ca.pem")) }
	s.write("secrets/inbound", "a secret of the house\n")
	if err := os.Chmod(filepath.Join(s.dir, "secrets", "inbound"), 0o600); err != nil {
		t.Fatal(err)
	}
	sv := s.start()
	c := dial(t, sv.address("mx"))
	c.want(t, "EHLO client.example", "250")
	c.want(t, "MAIL FROM:<a@client.example>", "250")
	c.want(t, "RCPT TO:<u@example.net>", "250")
	c.want(t, "DATA", "354")
	c.want(t, letter("<posted@client.example>")+".", "250")
	id := sv.logged("deferred")
	if trace := s.want(0, "trace", id); !strings.Contains(trace, "to which [transport.hook] does not lead: write private = true") {
		t.Errorf("the record:\n%s", trace)
	}
	mu.Lock()
	if len(keys) > 0 {
		t.Errorf("it was sent to this machine")
	}
	mu.Unlock()
	s.replace("stagepost.toml", config+"private = true\n")
	sv.live(2)
	sv.logged("delivered")
	sv.empty()
	mu.Lock()
	defer mu.Unlock()
	if len(keys) != 2 || keys[0] != keys[1] || bodies[0] != bodies[1] || len(bad) > 0 || !strings.Contains(bodies[0], "<posted@client.example>") {
		t.Errorf("keys %q, bad %q, bodies %q", keys, bad, bodies)
	}
	if trace := s.want(0, "trace", id); !strings.Contains(trace, "transport:hook (https localhost:"+port+"), 451 4.3.0 HTTP 503: not yet") || !strings.Contains(trace, "transport:hook (https localhost:"+port+"), 250 2.0.0 HTTP 200") {
		t.Errorf("the record:\n%s", trace)
	}
	sv.stop()
}
