package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
)

// hook is a program on the web that takes messages whose signature is right.
type hook struct {
	url string

	mu                sync.Mutex
	keys, bodies, bad []string
	later             bool // it puts off the first
}

func newHook(t *testing.T, ca authority, path string) *hook {
	h := &hook{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		mac := hmac.New(sha256.New, []byte("a secret of the house"))
		io.WriteString(mac, r.Header.Get("Webhook-Id")+"."+r.Header.Get("Webhook-Timestamp")+"."+string(body))
		h.mu.Lock()
		defer h.mu.Unlock()
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); err != nil || r.URL.Path != path || r.Header.Get("Webhook-Signature") != want || r.Header.Get("Stagepost-Recipient") != "<u@example.net>" {
			h.bad = append(h.bad, r.URL.Path+" "+r.Header.Get("Webhook-Signature")+", want "+want)
		}
		h.keys, h.bodies = append(h.keys, r.Header.Get("Idempotency-Key")), append(h.bodies, string(body))
		if h.later && len(h.keys) == 1 {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "not yet", http.StatusServiceUnavailable)
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, nil, "localhost")}}
	server.StartTLS()
	t.Cleanup(server.Close)
	_, port, _ := strings.Cut(server.Listener.Addr().String(), ":")
	h.url = "https://localhost:" + port + path
	return h
}

// took checks what came: how often, each time the same, and signed.
func (h *hook) took(t *testing.T, times int, id string) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	ok := len(h.keys) == times && len(h.bad) == 0
	for i := range h.keys {
		ok = ok && h.keys[i] == h.keys[0] && h.bodies[i] == h.bodies[0] && strings.Contains(h.bodies[i], id)
	}
	if !ok {
		t.Errorf("keys %q, bad %q, bodies %q", h.keys, h.bad, h.bodies)
	}
}

// signs gives a site the secret that requests are signed with.
func (s *site) signs(name string) {
	s.t.Helper()
	s.write("secrets/"+name, "a secret of the house\n")
	if err := os.Chmod(s.path("secrets/"+name), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// TestPosted has the real server send messages by HTTPS: signed, to a certificate that the system trusts, once more after an answer of "later", and
// not at all to this machine unless the configuration says so.
func TestPosted(t *testing.T) {
	ca := newAuthority(t)
	to := newHook(t, ca, "/mail")
	to.later = true
	config := strings.Replace(relayConfig("transport:hook"), "[plugins]", "[secrets]\nfolder = \"secrets\"\n\n[plugins]", 1) +
		"\n[transport.hook]\ntype = \"https\"\nurl = \"" + to.url + "\"\nsecret = \"inbound\"\n"
	s := newSite(t, config)
	ca.trusted(s)
	s.signs("inbound")
	sv := s.start()
	id := dial(t, sv.address("mx")).deliver(t, "u@example.net", "<posted@client.example>")
	sv.logged("deferred")
	if trace := s.want(0, "trace", id); !strings.Contains(trace, "to which [transport.hook] does not lead: write private = true") {
		t.Errorf("the record:\n%s", trace)
	}
	to.took(t, 0, "")
	s.replace("stagepost.toml", config+"private = true\n")
	sv.live(2)
	sv.logged("delivered")
	sv.empty()
	to.took(t, 2, "<posted@client.example>")
	by := "transport:hook (https " + strings.TrimSuffix(strings.TrimPrefix(to.url, "https://"), "/mail") + ")"
	if trace := s.want(0, "trace", id); !strings.Contains(trace, by+", 451 4.3.0 HTTP 503: not yet") || !strings.Contains(trace, by+", 250 2.0.0 HTTP 200") {
		t.Errorf("the record:\n%s", trace)
	}
	sv.stop()
}

// TestPostedByRoute: a URL is a next hop of the plugin route, and several are one of a plan: where nobody answers at the first, and the second has
// trouble of its own, the message goes to the third, once, and signed.
func TestPostedByRoute(t *testing.T) {
	ca := newAuthority(t)
	routed, busy, planned := newHook(t, ca, "/In"), newHook(t, ca, "/busy"), newHook(t, ca, "/plan")
	busy.later = true
	config := strings.Replace(relayConfig(routed.url), "[plugins]", "[secrets]\nfolder = \"secrets\"\n\n[plugins]", 1) + fmt.Sprintf("\n[plugin.route.auth]\n%q = { secret = \"inbound\" }\n", routed.url)
	s := newSite(t, config)
	ca.trusted(s)
	s.signs("inbound")
	sv := s.start()
	c := dial(t, sv.address("mx"))
	id := c.deliver(t, "u@example.net", "<routed@client.example>")
	sv.empty()
	routed.took(t, 1, "<routed@client.example>")
	if trace := s.want(0, "trace", id); !strings.Contains(trace, routed.url+" posted, 250 2.0.0 HTTP 200") {
		t.Errorf("the record:\n%s", trace)
	}

	mark := sv.console.mark()
	nobody := "https://" + freePort(t) + "/plan"
	s.write("plugins/two.lua", fmt.Sprintf(`plugin { id = "two", needs = { route = { "*", "private" }, secrets = { "inbound" } } }
function on.route(r) return route { hosts = { %q, %q, %q }, auth = { secret = "inbound" } } end
`, nobody, busy.url, planned.url))
	sv.console.expect(t, mark, "is live")
	id = c.deliver(t, "u@example.net", "<planned@client.example>")
	sv.empty()
	busy.took(t, 1, "<planned@client.example>")
	planned.took(t, 1, "<planned@client.example>")
	routed.took(t, 1, "<routed@client.example>")
	if trace := s.want(0, "trace", id); !strings.Contains(trace, nobody+" posted, 451 4.4.2 ") || !strings.Contains(trace, busy.url+" posted, 451 4.3.0 HTTP 503: not yet") || !strings.Contains(trace, planned.url+" posted, 250 2.0.0 HTTP 200") {
		t.Errorf("the record:\n%s", trace)
	}
	sv.stop()
}
