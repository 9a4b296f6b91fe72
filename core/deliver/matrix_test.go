package deliver

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/deliver/mtasts"
	"github.com/stagepost/stagepost/core/deliver/remotetest"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/resolve/resolvetest"
	"github.com/stagepost/stagepost/core/smtp"
)

// secured is a world with the server mx.y.test at 192.0.2.1 that takes the mail of y.test.
type secured struct {
	remote  *remotetest.Remote
	network *remotetest.Net
	dns     *resolvetest.Resolver
	sts     stsPolicies
	opts    Options
	sender  *Sender
	steps   []observe.Step
}

// stsPolicies are MTA-STS policies by domain.
type stsPolicies map[string]mtasts.Found

func (p stsPolicies) Lookup(_ context.Context, domain string) mtasts.Found { return p[domain] }

const offersTLS = "250-mx.y.test\n250-PIPELINING\n250-STARTTLS\n250-REQUIRETLS\n250 8BITMIME"

func newSecured(t *testing.T, scripts ...remotetest.Script) *secured {
	w := &secured{remote: remotetest.New(t, scripts...), sts: stsPolicies{}}
	authority, err := remotetest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	w.remote.Name, w.remote.Authority = "mx.y.test", authority
	w.network = &remotetest.Net{Remotes: map[string]*remotetest.Remote{"192.0.2.1:25": w.remote}}
	w.dns = resolvetest.New(t, map[string][]string{"y.test": {"MX 10 mx.y.test"}, "mx.y.test": {"A 192.0.2.1"}})
	w.opts = Options{Resolver: w.dns, Hostname: func() string { return "out.x.test" }, Dial: w.network.Dial, MaxIdle: -1, TLS: TLSOptions{Roots: authority.Pool(), Policies: w.sts}}
	return w
}

// send attempts one message and returns its outcome as "delivered" or "deferred 451 4.7.5".
func (w *secured) send(t *testing.T, job *Job) string {
	if w.sender == nil {
		w.sender = New(w.opts)
		t.Cleanup(func() {
			w.sender.Close()
			if w.opts.Dial != nil {
				time.Sleep(10 * time.Second) // connections in memory take their time to end: both sides say good-bye at once
			}
		})
	}
	job.Record = func(s observe.Step) { w.steps = append(w.steps, s) }
	return briefs(w.sender.Send(t.Context(), job))
}

// signed makes DNSSEC vouch for all of y.test, and gives it TLSA records.
func (w *secured) signed(tlsa ...string) {
	w.dns.Set("y.test", "!secure", "MX 10 mx.y.test")
	w.dns.Set("mx.y.test", "!secure", "A 192.0.2.1")
	w.dns.Set("_25._tcp.mx.y.test", append([]string{"!secure"}, tlsa...)...)
}

func (w *secured) pin(t *testing.T, usage int, kind string) string {
	c, err := w.remote.Certificate(kind)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("TLSA %d 1 1 %x", usage, sha256.Sum256(c.RawSubjectPublicKeyInfo))
}

func enforce(mode string, mx ...string) mtasts.Found {
	return mtasts.Found{ID: "1", Policy: &mtasts.Policy{Mode: mode, MX: mx, MaxAge: time.Hour}}
}

// policyCase is a row of the matrix: what was agreed on by the operator, the sender and the domain.
type policyCase struct {
	name  string
	tls   message.TLSLevel
	do    func(*testing.T, *secured)
	mail  string // parameter of MAIL
	head  string // of the message
	clear bool   // it may go in clear
}

func policyCases() []policyCase {
	return []policyCase{
		{name: "`none`", tls: message.TLSNone, clear: true},
		{name: "`opportunistic`", tls: message.TLSOpportunistic, clear: true, do: func(_ *testing.T, w *secured) { w.sts["y.test"] = enforce("enforce", "mx.y.test") }},
		{name: "`auto`, nothing is published", clear: true},
		{name: "`required`", tls: message.TLSRequired},
		{name: "`verified`", tls: message.TLSVerified},
		{name: "DANE, the server's key", do: func(t *testing.T, w *secured) { w.signed(w.pin(t, 3, "")) }},
		{name: "DANE, and MTA-STS that names other hosts", do: func(t *testing.T, w *secured) {
			w.signed(w.pin(t, 3, ""))
			w.sts["y.test"] = enforce("enforce", "elsewhere.test")
		}},
		{name: "DANE, no record is usable", do: func(t *testing.T, w *secured) {
			w.signed(w.pin(t, 0, ""), w.pin(t, 1, ""), "TLSA 3 1 1 00ff", "TLSA 9 9 9 00ff00ff")
		}},
		{name: "DANE, not signed", clear: true, do: func(t *testing.T, w *secured) { w.dns.Set("_25._tcp.mx.y.test", w.pin(t, 3, "other")) }},
		{name: "DANE, the records cannot be had", do: func(_ *testing.T, w *secured) {
			w.signed()
			w.dns.Set("_25._tcp.mx.y.test", "!servfail")
		}},
		{name: "MTA-STS, `enforce`", do: func(_ *testing.T, w *secured) { w.sts["y.test"] = enforce("enforce", "*.y.test") }},
		{name: "MTA-STS, `enforce`, names other hosts", do: func(_ *testing.T, w *secured) { w.sts["y.test"] = enforce("enforce", "elsewhere.test") }},
		{name: "MTA-STS, `testing`", clear: true, do: func(_ *testing.T, w *secured) { w.sts["y.test"] = enforce("testing", "mx.y.test") }},
		{name: "MTA-STS, `none`", clear: true, do: func(_ *testing.T, w *secured) { w.sts["y.test"] = enforce("none") }},
		{name: "REQUIRETLS, with MTA-STS", mail: "REQUIRETLS", do: func(_ *testing.T, w *secured) { w.sts["y.test"] = enforce("testing", "mx.y.test") }},
		{name: "REQUIRETLS, with DANE", mail: "REQUIRETLS", do: func(t *testing.T, w *secured) { w.signed(w.pin(t, 3, "")) }},
		{name: "REQUIRETLS, nothing vouches for the MX", mail: "REQUIRETLS"},
		{name: "`TLS-Required: no`, over `enforce`", clear: true, head: "TLS-Required: No\r\n", do: func(_ *testing.T, w *secured) { w.sts["y.test"] = enforce("enforce", "mx.y.test") }},
		{name: "`TLS-Required: no`, over `required`", tls: message.TLSRequired, head: "TLS-Required: No\r\n"},
	}
}

// remoteCases are the columns: what the server does.
func remoteCases() []struct {
	name    string
	scripts []remotetest.Script
} {
	starttls := func(what string) []remotetest.Script {
		return []remotetest.Script{{"EHLO": offersTLS, "STARTTLS": what}}
	}
	return []struct {
		name    string
		scripts []remotetest.Script
	}{
		{"good", starttls("220 2.0.0 go ahead | tls")},
		{"no STARTTLS", []remotetest.Script{{}}},
		{"refused", starttls("454 4.7.0 not now")},
		{"garbage", starttls("220 2.0.0 go ahead | heard | raw this is not TLS at all, but it goes on for a while\r\n")},
		{"wrong name", starttls("220 2.0.0 go ahead | tls wrong")},
		{"self-signed", starttls("220 2.0.0 go ahead | tls self")},
		{"expired", starttls("220 2.0.0 go ahead | tls expired")},
		{"another key", starttls("220 2.0.0 go ahead | tls other")},
		{"TLS 1.1", starttls("220 2.0.0 go ahead | tls old")},
		{"injected", starttls("raw 220 2.0.0 go ahead\r\n250-evil\r\n250 AUTH PLAIN\r\n | tls")},
		{"breaks off", starttls("220 2.0.0 go ahead | close")},
		{"hangs", starttls("220 2.0.0 go ahead | silent")},
	}
}

// manualPage holds the matrix as people read it.
const manualPage = "../../cmd/stagepost/manual/encryption.md"

// TestMatrix attempts a message under each policy to each kind of server, and compares what came of it with the table in the manual.
func TestMatrix(t *testing.T) {
	columns := remoteCases()
	head := "| | "
	for _, r := range columns {
		head += r.name + " | "
	}
	table := []string{strings.TrimSpace(head), "|" + strings.Repeat(" --- |", len(columns)+1)}
	for _, p := range policyCases() {
		row := "| " + p.name + " |"
		for _, r := range columns {
			var cell string
			t.Run(p.name+"/"+r.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { cell = matrixCell(t, p, r.scripts) })
			})
			row += " " + cell + " |"
		}
		table = append(table, row)
	}
	page, err := os.ReadFile(manualPage)
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Join(table, "\n"); !strings.Contains(string(page), want+"\n") {
		t.Errorf("%s does not have this table:\n%s", manualPage, want)
	}
}

func matrixCell(t *testing.T, p policyCase, scripts []remotetest.Script) string {
	w := newSecured(t, scripts...)
	if p.do != nil {
		p.do(t, w)
	}
	job := newJob(t, memory(p.head+plain), "u@y.test")
	job.Plan.TLS = p.tls
	if p.mail != "" {
		job.Env.Params = smtp.Params{{Key: p.mail}}
	}
	said := w.send(t, job)
	var cell string
	for _, c := range w.remote.Conns() {
		inClear := c.TLS() == nil
		if mailed := slices.ContainsFunc(c.Commands(), func(s string) bool { return strings.HasPrefix(s, "MAIL") }); mailed && inClear && !p.clear {
			t.Errorf("MAIL was said in clear: %q", c.Commands())
		}
		switch last := w.steps[len(w.steps)-1].Detail; {
		case !slices.Contains(c.Commands(), "."):
		case inClear:
			cell += "clear"
		case strings.Contains(last, "not verified"):
			cell += "encrypted"
		case strings.Contains(last, "verified"), strings.Contains(last, "DANE-EE"):
			cell += "verified"
		default:
			t.Errorf("the record does not tell how it was protected: %s", last)
		}
	}
	switch delivered := said == "delivered"; {
	case delivered != (cell == "clear" || cell == "encrypted" || cell == "verified"):
		t.Errorf("%s, but the server has %q", said, cell)
	case strings.HasPrefix(said, "deferred"):
		cell = "waits"
	case strings.HasPrefix(said, "failed"):
		cell = "returned"
	}
	if cell == "clear" && !p.clear {
		t.Error("the message went in clear")
	}
	return cell
}
