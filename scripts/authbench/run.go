package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/resolve/dnszone"
	"github.com/stagepost/stagepost/plugins/mailauth/dkim"
	"github.com/stagepost/stagepost/scripts/longrun"
)

// sets are the plugins that are compared, besides relay and route. The first is what the others are compared with.
var sets = []struct {
	name    string
	plugins string
	key     string // of dkim-sign
}{
	{"bare", "", ""},
	{"check", `"spf", "dkim-verify", "dmarc", `, ""},
	{"ed25519", `"spf", "dkim-verify", "dmarc", "dkim-sign", `, "ed25519"},
	{"rsa", `"spf", "dkim-verify", "dmarc", "dkim-sign", `, "rsa"},
}

// sample is what was measured in one run.
type sample struct {
	rate float64       // messages a second
	cpu  time.Duration // for each
}

// world is what the server stands among.
type world struct {
	letter []byte // with the final dot
	dns    *dnszone.Server
	next   string
	came   atomic.Int64
	signed atomic.Int64 // of those that came, besides by their sender
}

const (
	domain   = "sender.example"
	client   = "192.0.2.9" // as the PROXY header says: clients of this machine are not checked
	selector = "s1"
	bits     = 2048
)

func run(ctx context.Context, s settings, out io.Writer) error {
	w := &world{}
	key, err := dkim.NewPrivateKey("rsa", bits)
	if err != nil {
		return err
	}
	record, err := key.Record()
	if err != nil {
		return err
	}
	zone, err := dnszone.Parse(map[string][]string{
		domain:                             {`TXT "v=spf1 ip4:` + client + ` -all"`},
		"mail." + domain:                   {`TXT "v=spf1 ip4:` + client + ` -all"`},
		"_dmarc." + domain:                 {`TXT "v=DMARC1; p=reject"`},
		selector + "._domainkey." + domain: {`TXT "` + record[:200] + `" "` + record[200:] + `"`},
	})
	if err != nil {
		return err
	}
	if w.dns, err = dnszone.Serve("127.0.0.1:0", zone); err != nil {
		return err
	}
	defer w.dns.Close()
	if w.letter, err = letter(ctx, key); err != nil {
		return err
	}
	next := remotetest.Start(remotetest.Options{Taken: w.take}, remotetest.Script{"EHLO": "250-next.example\n250-PIPELINING\n250 8BITMIME"})
	defer next.Close()
	if w.next, err = next.ListenAt("127.0.0.1:0"); err != nil {
		return err
	}

	samples := make([][]sample, len(sets))
	for round := range s.rounds {
		for i := range sets {
			got, err := w.once(ctx, s, i, filepath.Join(s.dir, fmt.Sprintf("%d-%s", round, sets[i].name)))
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", sets[i].name, round+1, err)
			}
			samples[i] = append(samples[i], got)
		}
	}
	fmt.Fprintf(out, "%-10s %12s %22s %10s %16s\n", "plugins", "messages/s", "range", "CPU ms", "rate to bare")
	var bare float64
	for i := range sets {
		all := samples[i]
		slices.SortFunc(all, func(a, b sample) int { return int(a.cpu - b.cpu) })
		cpu := all[len(all)/2].cpu
		slices.SortFunc(all, func(a, b sample) int { return int(a.rate - b.rate) })
		middle := all[len(all)/2].rate
		if i == 0 {
			bare = middle
		}
		fmt.Fprintf(out, "%-10s %12.0f %22s %10.3f %16.2f\n", sets[i].name, middle, fmt.Sprintf("%.0f-%.0f", all[0].rate, all[len(all)-1].rate), cpu.Seconds()*1000, middle/bare)
	}
	return nil
}

// letter is a signed message of 4 KB. Its signature leaves out what changes from one to the next, so that one serves all.
func letter(ctx context.Context, key *dkim.PrivateKey) ([]byte, error) {
	header := "From: a@" + domain + "\r\nTo: u@next.example\r\nSubject: hello\r\nDate: Sat, 28 Nov 2026 12:00:00 +0000\r\nMIME-Version: 1.0\r\n\r\n"
	body := strings.Repeat("0123456789abcdefghijklmnopqrstuvwxyz\r\n", 4096/38)
	h, err := message.ParseHeader([]byte(header), message.DefaultHeaderLimits)
	if err != nil {
		return nil, err
	}
	fields := h.Fields("")
	names, err := dkim.Names(fields, []string{"To", "Subject", "Date", "MIME-Version"}, nil)
	if err != nil {
		return nil, err
	}
	signed, err := dkim.Sign(ctx, fields, strings.NewReader(body), dkim.Signing{Domain: domain, Selector: selector, Key: key, Header: dkim.Relaxed, Body: dkim.Relaxed, Names: names})
	if err != nil {
		return nil, err
	}
	return []byte("DKIM-Signature: " + signed[0] + "\r\n" + header + body + ".\r\n"), nil
}

func (w *world) configure(dir string, set int) error {
	key := ""
	if kind := sets[set].key; kind != "" {
		k, err := dkim.NewPrivateKey(kind, bits)
		if err != nil {
			return err
		}
		text, err := k.PEM()
		if err != nil {
			return err
		}
		folder := filepath.Join(dir, "secrets", "dkim", domain)
		if err := errors.Join(os.MkdirAll(folder, 0o700), os.WriteFile(filepath.Join(folder, selector), text, 0o600)); err != nil {
			return err
		}
		key = fmt.Sprintf("[secrets]\nfolder = \"secrets\"\n[plugin.dkim-sign]\nnetworks = [\"%s/32\"]\n[plugin.dkim-sign.domains]\n%q = %q\n", client, domain, selector)
	}
	text := fmt.Sprintf(`hostname = %q
data = "data"

[[listener]]
name = "mx"
address = "127.0.0.1:0"
role = "mx"
proxy_protocol = ["127.0.0.0/8"]

[resolver]
servers = [%q]

[plugins]
enable = [%s"relay", "route"]

[plugin.relay]
networks = ["%s/32"]

[plugin.route]
default = %q
%s`, longrun.Hostname, w.dns.Addr(), sets[set].plugins, client, w.next, key)
	return os.WriteFile(filepath.Join(dir, "stagepost.toml"), []byte(text), 0o600)
}

// once sends all messages through a new server.
func (w *world) once(ctx context.Context, s settings, set int, dir string) (got sample, err error) {
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
		return got, err
	}
	if err := w.configure(dir, set); err != nil {
		return got, err
	}
	server, err := longrun.Start(ctx, s.program, dir)
	if err != nil {
		return got, err
	}
	defer server.Stop()
	if err := w.send(ctx, server.Address, s.messages/10, s.senders); err != nil { // to warm up
		return got, err
	}
	before, err := server.CPU()
	if err != nil {
		return got, err
	}
	began := time.Now()
	if err := w.send(ctx, server.Address, s.messages, s.senders); err != nil {
		return got, err
	}
	got.rate = float64(s.messages) / time.Since(began).Seconds()
	after, err := server.CPU()
	if err != nil {
		return got, err
	}
	got.cpu = (after - before) / time.Duration(s.messages)
	return got, w.check(server, set, s.messages+s.messages/10)
}

// take is called by the next hop.
func (w *world) take(m *remotetest.Message) {
	if bytes.Count(m.Content, []byte("DKIM-Signature: ")) > 1 {
		w.signed.Add(1)
	}
	w.came.Add(1)
}

// check tells whether the plugins did what they are measured for.
func (w *world) check(server *longrun.Server, set, messages int) error {
	all, err := server.Metrics()
	if err != nil {
		return err
	}
	passed, want := int(all[`stagepost_plugin_events_total{name="pass",plugin="dmarc"}`]), 0
	if sets[set].plugins != "" {
		want = messages
	}
	signed, wantSigned := int(w.signed.Swap(0)), 0
	if sets[set].key != "" {
		wantSigned = messages
	}
	if passed != want || signed != wantSigned {
		return fmt.Errorf("of %d messages %d passed DMARC and %d were signed; want %d and %d", messages, passed, signed, want, wantSigned)
	}
	return nil
}

// send sends n messages and waits until all have come to the next hop.
func (w *world) send(ctx context.Context, address string, n, senders int) error {
	came := w.came.Load() + int64(n)
	var next atomic.Int64
	errs := make([]error, senders)
	var group sync.WaitGroup
	for i := range senders {
		group.Go(func() {
			for next.Add(1) <= int64(n) && ctx.Err() == nil {
				if errs[i] = w.hand(address); errs[i] != nil {
					return
				}
			}
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for end := time.Now().Add(longrun.Patience); w.came.Load() < came; time.Sleep(time.Millisecond) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d messages have not come", came-w.came.Load())
		}
	}
	return nil
}

// hand hands a message over by a connection of its own.
func (w *world) hand(address string) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(longrun.Patience))
	in := bufio.NewReader(conn)
	for _, step := range []struct{ say, want string }{
		{"PROXY TCP4 " + client + " 192.0.2.1 4000 25\r\n", "220"}, {"EHLO mail." + domain + "\r\n", "250"}, {"MAIL FROM:<a@" + domain + ">\r\n", "250"},
		{"RCPT TO:<u@next.example>\r\n", "250"}, {"DATA\r\n", "354"}, {string(w.letter), "250"}, {"QUIT\r\n", "221"},
	} {
		if _, err := io.WriteString(conn, step.say); err != nil {
			return err
		}
		for more := true; more; {
			line, err := in.ReadString('\n')
			if err != nil {
				return err
			}
			if !strings.HasPrefix(line, step.want) {
				verb, _, _ := strings.Cut(step.say, "\r\n")
				return fmt.Errorf("the server answers %q to %q", strings.TrimSpace(line), verb)
			}
			more = len(line) > 3 && line[3] == '-'
		}
	}
	return nil
}
