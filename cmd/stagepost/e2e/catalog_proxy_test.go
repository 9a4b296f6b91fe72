package e2e

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/certs/certstest"
	"github.com/stagepost/stagepost/scripts/dockerregistry"
)

// Names of the world outside, which only the proxy can reach. Nobody asks a resolver for them.
const (
	outsideRegistry = "registry.outside.example:5000"
	outsideWeb      = "plugins.outside.example:443"
)

// TestCatalogProxy: from a network that reaches nothing but a proxy, which asks who one is, a plugin is published to a registry that asks, too,
// and installed from there by an index on a web server; all of it with TLS. Secrets are kept where docker login keeps them.
func TestCatalogProxy(t *testing.T) {
	ca := certstest.New(t, "an authority")
	s := &shop{site: &site{t: t, dir: t.TempDir()}, place: "https://" + outsideRegistry + "/plugins", index: "https://plugins.outside.example/index.json"}
	certstest.WriteFile(t, s.path("ca.pem"), certstest.PEM(ca.Certificate.Raw))
	certificate, key := certstest.Write(t, s.dir, "registry", ca.Issue(t, nil, "registry.outside.example"))
	store := startRegistry(t, dockerregistry.Options{Certificate: certificate, Key: key, Users: map[string]string{registryUser: registrySecret}})
	s.write("public/robots.txt", "")
	web := httptest.NewUnstartedServer(http.FileServer(http.Dir(s.path("public"))))
	web.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, nil, "plugins.outside.example")}}
	web.StartTLS()
	t.Cleanup(web.Close)
	proxy, err := dockerregistry.NewTunnel(map[string]string{outsideRegistry: store.Address, outsideWeb: web.Listener.Addr().String()}, "clerk", "let me out")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)

	// environment is for all commands that follow.
	environment := func(t *testing.T, secret, way string) {
		docker, helpers := keepCredentials(t, way, outsideRegistry)
		through := fmt.Sprintf("http://clerk:%s@%s", secret, proxy.Address)
		for name, value := range map[string]string{
			"HTTPS_PROXY": through, "https_proxy": through, "NO_PROXY": "", "no_proxy": "", "SSL_CERT_FILE": s.path("ca.pem"), "SSL_CERT_DIR": s.path("public"),
			"DOCKER_CONFIG": docker, "PATH": helpers + ":" + os.Getenv("PATH"),
		} {
			t.Setenv(name, value)
		}
	}
	const right = "let%20me%20out"
	environment(t, right, "a file")
	s.makeKey()
	pkg := s.publish("1.0.0", "one", false)
	if asked := proxy.Asked(); !slices.Contains(asked, "CONNECT "+outsideRegistry) {
		t.Errorf("the proxy was asked for %q", asked)
	}
	r := newRig(t, func(server *site) { server.write("trust.toml", s.trusts()) })
	for _, tc := range []struct{ name, secret, way, want string }{
		{"the proxy does not know us", "other", "a file", "Proxy Authentication Required"},
		{"the registry does not know us", right, "nothing", "credential not found"},
		{"a wrong secret", right, "another secret", "401"},
		{"a helper that is not there", right, "a helper that is not", "docker-credential-absent"},
		{"all is right", right, "a helper", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			environment(t, tc.secret, tc.way)
			before := r.state()
			out := r.run("plugin", "install", "hello", "--accept", rights(t, pkg))
			if tc.want == "" {
				if out.code != 0 {
					t.Fatalf("exit code %d\n%s%s", out.code, out.out, out.err)
				}
				return
			}
			if line := strings.TrimSuffix(out.err, "\n"); out.code == 0 || !strings.Contains(line, tc.want) || strings.Contains(line, "\n") {
				t.Errorf("exit code %d: %q, want one line with %q", out.code, out.err, tc.want)
			}
			for _, secret := range []string{registrySecret, "let me out", right} {
				if strings.Contains(out.out+out.err, secret) {
					t.Errorf("it shows a secret:\n%s%s", out.out, out.err)
				}
			}
			if after := r.state(); after != before {
				t.Errorf("before\n%s\nand after\n%s", before, after)
			}
		})
	}
	if asked := proxy.Asked(); !slices.Contains(asked, "CONNECT "+outsideWeb) {
		t.Errorf("the proxy was asked for %q", asked)
	}
	r.expect("one")
	r.end()
}
