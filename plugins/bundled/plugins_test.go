package bundled_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/generation"
	"github.com/stagepost/stagepost/plugins/service"
)

// head makes a configuration of what a test or a README writes about plugins.
const head = `hostname = "mx1.example.org"
[[listener]]
name = "mx"
address = "127.0.0.1:0"
role = "mx"
`

// load builds a generation as the server does, through the real engine.
func load(t *testing.T, settings string) (*generation.Manager, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "stagepost.toml")
	if err := os.WriteFile(file, []byte(head+settings), 0o644); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	m, err := generation.New(generation.Options{File: file, Host: service.NewHost(service.Options{Log: log}), Log: log, Console: io.Discard})
	if err == nil {
		t.Cleanup(m.Close)
	}
	return m, err
}

// content is a message in memory.
type content struct{ *bytes.Reader }

func (c content) Bytes() []byte { return nil }

func newContent(text string) message.Content {
	return content{bytes.NewReader([]byte(strings.ReplaceAll(text, "\n", "\r\n")))}
}

// situation is what a plugin is asked about.
type situation struct {
	ip, user string
	role     message.Role
	sender   string
	rcpt     string // "postmaster" alone is what RCPT TO:<postmaster> gives
	class    message.Class
	text     string // of the message
}

type steps []observe.Step

func (s *steps) Observe(step observe.Step) { *s = append(*s, step) }

// ask runs one stage and fails the test if a handler failed.
func ask(t *testing.T, m *generation.Manager, stage hooks.Stage, s situation) (hooks.Result, *hooks.Call) {
	t.Helper()
	address := func(text string) smtp.Address {
		if text == "" || text == "postmaster" {
			return smtp.Address{Text: text, Local: text}
		}
		a, err := smtp.ParseAddress(text)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	session := &message.Session{ID: "s", Role: s.role, Listener: "mx", User: s.user}
	if session.Role == "" {
		session.Role = message.RoleMX
	}
	if s.ip != "" {
		session.IP = netip.MustParseAddr(s.ip)
	}
	rcpt := &message.Rcpt{Address: address(s.rcpt), Original: address(s.rcpt), Class: s.class}
	view := &hooks.MessageView{Envelope: &message.Envelope{Session: session, Sender: address(s.sender), Rcpts: []*message.Rcpt{rcpt}}}
	if s.text != "" {
		view.Content = newContent(s.text)
	}
	var seen steps
	call := &hooks.Call{Stage: stage, Session: session, Message: view, Rcpt: &hooks.RcptView{Rcpt: rcpt, Message: view}, Observer: &seen}
	gen := m.Current().Acquire()
	defer gen.Release()
	res := gen.Run(call)
	for _, step := range seen {
		if strings.HasPrefix(step.Verdict, "error") {
			t.Errorf("%s at %s: %s", step.Plugin, step.Stage, step.Detail)
		}
	}
	return res, call
}

func TestRecipients(t *testing.T) {
	relay := "[plugins]\nenable = [\"relay\"]\n[plugin.relay]\n"
	networks := relay + `networks = ["192.0.2.7/24", "198.51.100.1", "2001:DB8:7::/48", "::1"]` + "\n"
	domains := "[plugins]\nenable = [\"relay\", \"domains\"]\n[plugin.relay]\nnetworks = [\"127.0.0.0/8\"]\n" +
		"[plugin.domains]\ndomains = [\".Example.ORG\", \"Example.net\"]\n"
	const local, any = message.ClassLocal, "u@elsewhere.example"
	tests := []struct {
		name     string
		settings string
		s        situation
		want     message.Class
	}{
		{"nothing set", relay, situation{ip: "127.0.0.1", rcpt: any}, ""},
		{"in the network", networks, situation{ip: "192.0.2.255", rcpt: any}, "relay"},
		{"beside the network", networks, situation{ip: "192.0.3.0", rcpt: any}, ""},
		{"a lone address", networks, situation{ip: "198.51.100.1", rcpt: any}, "relay"},
		{"beside a lone address", networks, situation{ip: "198.51.100.2", rcpt: any}, ""},
		{"in the IPv6 network", networks, situation{ip: "2001:db8:7:1::1", rcpt: any}, "relay"},
		{"beside the IPv6 network", networks, situation{ip: "2001:db8:8::1", rcpt: any}, ""},
		{"another kind of address", relay + `networks = ["::/0"]`, situation{ip: "192.0.2.1", rcpt: any}, ""},
		{"a lone IPv6 address", networks, situation{ip: "::1", rcpt: any}, "relay"},
		{"no address", networks, situation{role: message.RoleAPI, rcpt: any}, ""},
		{"logged in", networks, situation{ip: "203.0.113.1", user: "u", rcpt: any}, "relay"},
		{"logged in does not count", relay + "authenticated = false\n", situation{ip: "203.0.113.1", user: "u", rcpt: any}, ""},
		{"role", relay + `roles = ["sendmail"]`, situation{role: message.RoleSendmail, rcpt: any}, "relay"},
		{"another role", relay + `roles = ["sendmail"]`, situation{role: message.RoleAPI, rcpt: any}, ""},

		{"own domain", domains, situation{ip: "203.0.113.1", rcpt: "u@EXAMPLE.net"}, local},
		{"own domain before relay", domains, situation{ip: "127.0.0.1", rcpt: "u@example.net"}, local},
		{"below own domain", domains, situation{ip: "203.0.113.1", rcpt: "u@example.net.example"}, ""},
		{"below", domains, situation{ip: "203.0.113.1", rcpt: "u@a.b.example.org"}, local},
		{"not below", domains, situation{ip: "203.0.113.1", rcpt: "u@example.org"}, ""},
		{"ends alike", domains, situation{ip: "203.0.113.1", rcpt: "u@badexample.org"}, ""},
		{"literal", domains, situation{ip: "203.0.113.1", rcpt: "u@[192.0.2.1]"}, ""},
		{"relayed", domains, situation{ip: "127.0.0.1", rcpt: any}, "relay"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := load(t, tt.settings)
			if err != nil {
				t.Fatal(err)
			}
			res, call := ask(t, m, hooks.Rcpt, tt.s)
			if got := call.Rcpt.Class; got != tt.want || res.End != nil {
				t.Errorf("class %q, end %v; want %q", got, res.End, tt.want)
			}
		})
	}
}

func TestPostmaster(t *testing.T) {
	m, err := load(t, "[plugins]\nenable = [\"domains\"]\n[plugin.domains]\ndomains = [\".example.net\", \"Example.org\", \"example.com\"]\n")
	if err != nil {
		t.Fatal(err)
	}
	_, call := ask(t, m, hooks.Rcpt, situation{rcpt: "postmaster"})
	if r := call.Rcpt; r.Class != message.ClassLocal || r.Address.Text != "postmaster@example.org" || r.Original.Text != "postmaster" {
		t.Errorf("class %q, address %q, original %q", r.Class, r.Address.Text, r.Original.Text)
	}
	m, err = load(t, "[plugins]\nenable = [\"domains\"]\n")
	if err != nil {
		t.Fatal(err)
	}
	if _, call := ask(t, m, hooks.Rcpt, situation{rcpt: "postmaster"}); call.Rcpt.Class != "" {
		t.Errorf("accepted as %q without a domain of ours", call.Rcpt.Class)
	}
}

func TestRoute(t *testing.T) {
	settings := `[plugins]
enable = ["route"]
[plugin.route]
default = "Smart.example:2526"
[plugin.route.domains]
"Lists.example.org" = "lmtp:127.0.0.1:24"
".example.org" = "mx:Example.NET"
".deep.example.org" = "[2001:db8::25]:587"
"bare.example" = "192.0.2.1"
"local.example" = "lmtp:mailbox.example"
"plain.example" = "smtp:mx:25"
`
	tests := []struct{ rcpt, lane, via string }{
		{"u@lists.example.org", "lmtp:127.0.0.1:24", "lmtp"},
		{"u@a.example.org", "mx:example.net", ""},
		{"u@a.lists.example.org", "mx:example.net", ""},
		{"u@a.b.deep.example.org", "smtp:[2001:db8::25]:587", ""},
		{"u@deep.example.org", "mx:example.net", ""},
		{"u@example.org", "smtp:smart.example:2526", ""},
		{"u@elsewhere.example", "smtp:smart.example:2526", ""},
		{"u@bare.example", "smtp:192.0.2.1:25", ""},
		{"u@local.example", "lmtp:mailbox.example:24", "lmtp"},
		{"u@plain.example", "smtp:mx:25", "smtp"},
	}
	m, err := load(t, settings)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.rcpt, func(t *testing.T) {
			res, _ := ask(t, m, hooks.Route, situation{rcpt: tt.rcpt, class: message.ClassLocal})
			if res.Plan == nil || res.Plan.Lane() != tt.lane || res.Plan.Via != tt.via {
				t.Errorf("plan %+v, end %+v; want lane %s via %q", res.Plan, res.End, tt.lane, tt.via)
			}
		})
	}

	m, err = load(t, "[plugins]\nenable = [\"route\"]\n[plugin.route.domains]\n\"example.org\" = \"mx:example.net\"\n")
	if err != nil {
		t.Fatal(err)
	}
	if res, _ := ask(t, m, hooks.Route, situation{rcpt: "u@elsewhere.example", class: message.ClassRelay}); res.Plan != nil || res.End != nil {
		t.Errorf("without a default: plan %+v, end %+v", res.Plan, res.End)
	}
}

func TestDiscard(t *testing.T) {
	const on = "[plugins]\nenable = [\"discard\"]\n[plugin.discard]\n"
	tests := []struct {
		name     string
		settings string
		stage    hooks.Stage
		s        situation
		want     string // reason
	}{
		{"all", on + "all = true\n", hooks.Queue, situation{rcpt: "u@example.org", class: message.ClassRelay}, "all mail is dropped"},
		{"all accepts nobody", on + "all = true\n", hooks.Rcpt, situation{rcpt: "u@example.org"}, ""},
		{"nothing set", on, hooks.Queue, situation{rcpt: "u@example.org", class: message.ClassRelay}, ""},
		{"domain", on + `domains = ["example.org"]`, hooks.Rcpt, situation{rcpt: "u@Example.org", class: message.ClassLocal}, "mail for example.org is dropped"},
		{"domain below", on + `domains = [".example.org"]`, hooks.Rcpt, situation{rcpt: "u@a.example.org", class: message.ClassLocal}, "mail for a.example.org is dropped"},
		{"another domain", on + `domains = ["example.org"]`, hooks.Rcpt, situation{rcpt: "u@a.example.org", class: message.ClassLocal}, ""},
		{"domain that nobody accepts", on + `domains = ["example.org"]`, hooks.Rcpt, situation{rcpt: "u@example.org"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := load(t, tt.settings)
			if err != nil {
				t.Fatal(err)
			}
			res, _ := ask(t, m, tt.stage, tt.s)
			got := ""
			if res.Discard != nil {
				got = res.Discard.Reason
			}
			if got != tt.want || res.End != nil || res.Accept != nil {
				t.Errorf("discard %q, end %v, accept %v; want %q", got, res.End, res.Accept, tt.want)
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	settings := `[plugins]
enable = ["headers"]
[plugin.headers]
remove = ["x-old"]
require = ["From"]
[plugin.headers.add]
"X-B" = "two"
"X-A" = "one"
[plugin.headers.refuse]
"Subject" = "(?i)^you have won"
"Received" = "unknown"
`
	tests := []struct {
		name, text string
		refused    string // reply
		header     string // afterwards
	}{
		{"changed", "X-Old: a\nFrom: a@b.example\nX-OLD: b\nSubject: won\n\nhello\n", "", "X-A: one\nX-B: two\nFrom: a@b.example\nSubject: won\n"},
		{"missing", "Subject: x\n\nhello\n", "550 5.6.0 the message has no field From", ""},
		{"matches", "From: a@b.example\nSubject: x\nSubject:\n You have\n won\n\nhello\n", "550 5.7.1 the field Subject is not accepted here", ""},
		{"matches a later one", "From: a@b.example\nReceived: from a\nReceived: from unknown\n\nhello\n", "550 5.7.1 the field Received is not accepted here", ""},
	}
	m, err := load(t, settings)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res, call := ask(t, m, hooks.Data, situation{rcpt: "u@example.org", text: tt.text})
			if tt.refused != "" {
				if res.End == nil || res.End.Reply().Error() != tt.refused {
					t.Errorf("end %+v, want %s", res.End, tt.refused)
				}
				return
			}
			if res.End != nil {
				t.Fatalf("end %+v", res.End)
			}
			h, err := call.Message.Header()
			if err != nil {
				t.Fatal(err)
			}
			if got := headerText(h, call.Message.Content); got != tt.header {
				t.Errorf("header\n%s\nwant\n%s", got, tt.header)
			}
		})
	}

	m, err = load(t, "[plugins]\nenable = [\"headers\"]\n")
	if err != nil {
		t.Fatal(err)
	}
	res, call := ask(t, m, hooks.Data, situation{rcpt: "u@example.org", text: "Subject: x\n\nhello\n"})
	if h, err := call.Message.Header(); err != nil || res.End != nil || headerText(h, call.Message.Content) != "Subject: x\n" {
		t.Errorf("nothing set: end %+v, header %q, %v", res.End, headerText(h, call.Message.Content), err)
	}
}

// headerText is the header with its edits, as it would be sent.
func headerText(h *message.Header, content message.Content) string {
	prefix, skip := h.Result(nil)
	rest, _ := io.ReadAll(io.NewSectionReader(content, skip, content.Size()-skip))
	text, _, _ := strings.Cut(strings.ReplaceAll(string(prefix)+string(rest), "\r\n", "\n"), "\n\n")
	return strings.TrimSuffix(text, "\n") + "\n"
}

// TestWrongSettings: what the operator mistook is refused before it is in force, with the place.
func TestWrongSettings(t *testing.T) {
	tests := []struct{ settings, want string }{
		{"[plugins]\nenable = [\"relay\"]\n[plugin.relay]\nnetwork = []\n", `stagepost.toml:9: `},
		{"[plugins]\nenable = [\"relay\"]\n[plugin.relay]\nauthenticated = \"yes\"\n", `stagepost.toml:9: authenticated`},
		{"[plugins]\nenable = [\"relay\"]\n[plugin.relay]\nnetworks = [\"192.0.2.256\"]\n", `networks: "192.0.2.256" is not a network`},
		{"[plugins]\nenable = [\"relay\"]\n[plugin.relay]\nnetworks = [\"192.0.2.0/33\"]\n", `networks: "192.0.2.0/33" is not a network`},
		{"[plugins]\nenable = [\"relay\"]\n[plugin.relay]\nnetworks = [\"192.0.2\"]\n", `networks: "192.0.2" is not a network`},
		{"[plugins]\nenable = [\"relay\"]\n[plugin.relay]\nnetworks = [\"2001:db8::1::/64\"]\n", `networks: "2001:db8::1::/64" is not a network`},
		{"[plugins]\nenable = [\"relay\"]\n[plugin.relay]\nnetworks = [\"1:2:3:4:5:6:7:8:9\"]\n", `networks: "1:2:3:4:5:6:7:8:9" is not a network`},
		{"[plugins]\nenable = [\"relay\"]\n[plugin.relay]\nnetworks = [7]\n", `networks: element 1 of networks is a number`},
		{"[plugins]\nenable = [\"relay\"]\n[plugin.relay]\nroles = [\"mx\"]\n", `roles: with mx every stranger`},
		{"[plugins]\nenable = [\"relay\"]\n[plugin.relay]\nroles = [\"smtp\"]\n", `roles: smtp is not one of`},
		{"[plugins]\nenable = [\"domains\"]\n[plugin.domains]\ndomains = \"example.org\"\n", `stagepost.toml:9: domains`},
		{"[plugins]\nenable = [\"domains\"]\n[plugin.domains]\ndomains = [\"*.example.org\"]\n", `domains: *.example.org is not a domain; write "example.org", or ".example.org"`},
		{"[plugins]\nenable = [\"route\"]\n[plugin.route]\ndefault = \"host:port\"\n", `default: host:port is not a next hop`},
		{"[plugins]\nenable = [\"route\"]\n[plugin.route]\ndefault = \"host:70000\"\n", `default: host:70000 is not a next hop`},
		{"[plugins]\nenable = [\"route\"]\n[plugin.route]\ndefault = \"http:host:80\"\n", `default: http:host:80 is not a next hop`},
		{"[plugins]\nenable = [\"route\"]\n[plugin.route]\ndefault = \"mx:\"\n", `default: mx: names no domain`},
		{"[plugins]\nenable = [\"route\"]\n[plugin.route.domains]\n\"a b\" = \"mx:example.org\"\n", `domains: a b is not a domain`},
		{"[plugins]\nenable = [\"route\"]\n[plugin.route.domains]\n\"example.org\" = 25\n", `domains.example.org: 25 is not a string`},
		{"[plugins]\nenable = [\"discard\"]\n[plugin.discard]\nall = \"all\"\n", `stagepost.toml:9: all`},
		{"[plugins]\nenable = [\"discard\"]\n[plugin.discard]\ndomains = [\"u@example.org\"]\n", `domains: u@example.org is not a domain`},
		{"[plugins]\nenable = [\"headers\"]\n[plugin.headers]\nremove = [\"X Y\"]\n", `remove: X Y: is not the name`},
		{"[plugins]\nenable = [\"headers\"]\n[plugin.headers.refuse]\nSubject = \"(\"\n", `refuse: Subject: `},
		{"[plugins]\nenable = [\"headers\"]\n[plugin.headers.add]\n\"X-A\" = \"a\\nb\"\n", `add: X-A: its text is not one line`},
	}
	for _, tt := range tests {
		_, err := load(t, tt.settings)
		if err == nil {
			t.Errorf("%s\nwas accepted", tt.settings)
			continue
		}
		text := err.Error()
		if !strings.Contains(text, tt.want) {
			t.Errorf("%s\ngives %q, want %q", tt.settings, text, tt.want)
		}
		if at, _, _ := strings.Cut(filepath.Base(text[:strings.Index(text, ": ")]), " "); !strings.Contains(at, ":") {
			t.Errorf("%q has no file and line", text)
		}
	}
}
