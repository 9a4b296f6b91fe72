package deliver

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/resolve/resolvetest"
	"github.com/stagepost/stagepost/core/smtp"
)

// TestFallback: the hosts beside an MX get what no exchanger answered for, and nothing else.
func TestFallback(t *testing.T) {
	for _, tt := range []struct {
		name, mx string
		script   remotetest.Script // of the exchanger one.test; nil: it cannot be reached
		want     string
		dialed   string
	}{
		{"an exchanger takes it", "one.test", remotetest.Script{}, "delivered", "192.0.2.1:25"},
		{"no exchanger can be reached", "plain.test", nil, "delivered", "192.0.2.1:25 192.0.2.2:25 192.0.2.3:587"},
		{"it has enough", "one.test", remotetest.Script{"banner": "421 4.3.2 busy"}, "delivered", "192.0.2.1:25 192.0.2.3:587"},
		{"it lets the connection end", "one.test", remotetest.Script{"MAIL": "close"}, "delivered", "192.0.2.1:25 192.0.2.3:587"},
		{"the domain is not known", "nosuch.test", nil, "delivered", "192.0.2.3:587"},
		{"the DNS cannot tell", "servfail.test", nil, "delivered", "192.0.2.3:587"},
		{"all exchangers are this server", "own.test", nil, "delivered", "192.0.2.3:587"},
		{"it refuses the recipient", "one.test", remotetest.Script{"RCPT": "550 5.1.1 no"}, "failed 550 5.1.1", "192.0.2.1:25"},
		{"it wants it later", "one.test", remotetest.Script{"RCPT": "451 4.7.1 later"}, "deferred 451 4.7.1", "192.0.2.1:25"},
		{"nobody knows whether it took it", "one.test", remotetest.Script{"dot": "close"}, "deferred 451 4.4.2 unknown", "192.0.2.1:25"},
		{"an address that cannot be reached", "[192.0.2.1]", nil, "delivered", "192.0.2.1:25 192.0.2.3:587"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			network := &remotetest.Net{Remotes: map[string]*remotetest.Remote{"192.0.2.3:587": remotetest.New(t)}}
			if tt.script != nil {
				network.Remotes["192.0.2.1:25"] = remotetest.New(t, tt.script)
			}
			s := newSender(t, network, Options{Resolver: resolvetest.New(t, hopsZone)})
			job := newJob(t, memory(plain), "u@y.test")
			job.Plan = &message.Plan{MX: tt.mx, Hosts: []string{"three.test:587"}}
			if got := briefs(s.Send(t.Context(), job)); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if got := strings.Join(network.Dialed(), " "); got != tt.dialed {
				t.Errorf("dialed %s, want %s", got, tt.dialed)
			}
		})
	}
}

// TestFallbackIsLoggedInAt: the log-in is for the relay, and is not shown to exchangers; a private relay needs its own grant.
func TestFallbackIsLoggedInAt(t *testing.T) {
	r := &relay{t: t, mechanisms: []string{"PLAIN"}, password: hidden}
	mx := &relay{t: t, mechanisms: []string{"PLAIN"}, password: hidden} // it wants a log-in, and gets none
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr == "192.0.2.1:25" {
			return mx.dial(ctx, network, addr)
		}
		return r.dial(ctx, network, addr)
	}
	s := newSender(t, nil, Options{Dial: dial, Resolver: resolvetest.New(t, hopsZone), Secret: func(string) ([]byte, bool, error) { return []byte(hidden), true, nil }})
	job := newJob(t, memory(plain), "u@y.test")
	job.Plan = &message.Plan{MX: "one.test", Hosts: []string{"127.0.0.1:587"}, Private: 0b10, Auth: message.Auth{User: "relay", Secret: "s"}}
	if got := briefs(s.Send(t.Context(), job)); got != "failed 530 5.7.0" || len(mx.logins) > 0 || r.conns != 0 {
		t.Errorf("%s, log-ins %q", got, mx.logins)
	}
	job.Plan.MX = "nosuch.test"
	if got := briefs(s.Send(t.Context(), job)); got != "delivered" || !slices.Equal(r.logins, []string{"PLAIN relay"}) {
		t.Errorf("%s, log-ins %q", got, r.logins)
	}
	job.Plan.Private = 0b01
	if got := briefs(s.Send(t.Context(), job)); got != "deferred 451 4.3.5" {
		t.Errorf("%s, without a grant", got)
	}
}

// TestWordOfAHost: how a connection to one of a plan's hosts is encrypted follows from the word for that host, where there is one; what the
// plan says counts before it, and so does REQUIRETLS. It is no word for an exchanger of the same name.
func TestWordOfAHost(t *testing.T) {
	const relay, dead = "relay.test:587", "192.0.2.9:25"
	for _, tt := range []struct {
		name             string
		plan, site, host message.TLSLevel
		hosts            []string
		mail             string
		want, said       string
	}{
		{name: "without any", want: "delivered", said: "not verified"},
		{name: "that of the site", site: message.TLSVerified, want: "deferred 451 4.7.5", said: "the configuration"},
		{name: "a stricter one", host: message.TLSVerified, want: "deferred 451 4.7.5", said: "the configuration"},
		{name: "another one", site: message.TLSVerified, host: message.TLSOpportunistic, want: "delivered", said: "not verified"},
		{name: "none", site: message.TLSRequired, host: message.TLSNone, want: "delivered", said: "new, 250"},
		{name: "the plan's counts", plan: message.TLSVerified, host: message.TLSNone, want: "deferred 451 4.7.5", said: "the route"},
		{name: "one of several hosts", hosts: []string{dead, relay}, site: message.TLSNone, host: message.TLSVerified, want: "deferred 451 4.7.5", said: "by an authority that is not trusted"},
		{name: "the sender's counts", host: message.TLSNone, mail: "REQUIRETLS", want: "failed 550 5.7.10", said: "switched off"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newSecured(t, remotetest.Script{"EHLO": offersTLS, "STARTTLS": "220 2.0.0 go ahead | tls self"})
				w.remote.Name = "relay.test"
				w.network.Remotes = map[string]*remotetest.Remote{"192.0.2.3:587": w.remote}
				w.dns.Set("relay.test", "A 192.0.2.3")
				job := newJob(t, memory(plain), "u@y.test")
				job.Plan.Hosts = []string{relay}
				if tt.hosts != nil {
					job.Plan = &message.Plan{Hosts: tt.hosts}
				}
				if tt.mail != "" {
					job.Env.Params = smtp.Params{{Key: tt.mail}}
				}
				job.Plan.TLS, job.TLS = tt.plan, tt.site
				var asked []string
				job.HostTLS = func(host string) message.TLSLevel {
					if asked = append(asked, host); host == relay {
						return tt.host
					}
					return ""
				}
				if got := w.send(t, job); got != tt.want || !strings.Contains(w.last(), tt.said) {
					t.Errorf("%s: %s; want %s: %s", got, w.last(), tt.want, tt.said)
				}
				if slices.ContainsFunc(asked, func(host string) bool { return host != relay && host != dead }) {
					t.Errorf("asked for the words of %q", asked)
				}
			})
		})
	}
}
