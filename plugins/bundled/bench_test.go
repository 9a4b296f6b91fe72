package bundled_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/generation"
	"github.com/stagepost/stagepost/plugins/service"
)

// content is a message in memory.
type content struct{ *bytes.Reader }

func (c content) Bytes() []byte { return nil }

type noObserver struct{}

func (noObserver) Observe(observe.Step) {}

// What the plugins that nearly every set-up has cost a recipient, as a session or the queue asks them.
func BenchmarkStage(b *testing.B) {
	file := filepath.Join(b.TempDir(), "stagepost.toml")
	text := head + "[plugins]\nenable = [\"relay\", \"route\"]\n[plugin.relay]\nnetworks = [\"127.0.0.0/8\"]\n[plugin.route]\ndefault = \"127.0.0.1:2900\"\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
	m := benchGeneration(b, file)
	a, err := smtp.ParseAddress("rcpt@example.com")
	if err != nil {
		b.Fatal(err)
	}
	for _, stage := range []hooks.Stage{hooks.Rcpt, hooks.Route} {
		b.Run(stage.String(), func(b *testing.B) {
			b.ReportAllocs()
			session := &message.Session{ID: "s", Role: message.RoleMX, Listener: "mx", IP: netip.MustParseAddr("127.0.0.1")}
			gen := m.Current().Acquire()
			defer gen.Release()
			for b.Loop() {
				session.History = session.History[:0]
				rcpt := &message.Rcpt{Address: a, Original: a}
				view := &hooks.MessageView{Envelope: &message.Envelope{Session: session, Sender: a, Rcpts: []*message.Rcpt{rcpt}}}
				call := &hooks.Call{Stage: stage, Session: session, Message: view, Rcpt: &hooks.RcptView{Rcpt: rcpt, Message: view}, Observer: noObserver{}}
				if res := gen.Run(call); res.Failed {
					b.Fatal("failed")
				}
			}
		})
	}
}

func benchGeneration(b *testing.B, file string) *generation.Manager {
	b.Helper()
	log := slog.New(slog.DiscardHandler)
	m, err := generation.New(generation.Options{File: file, Host: service.NewHost(service.Options{Log: log}), Log: log, Console: io.Discard})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(m.Close)
	return m
}

// What five script plugins of three small hooks each add to a message: fifteen calls.
func BenchmarkFivePlugins(b *testing.B) {
	dir := b.TempDir()
	folder := filepath.Join(dir, "plugins")
	if err := os.Mkdir(folder, 0o755); err != nil {
		b.Fatal(err)
	}
	for i := range 5 {
		name := fmt.Sprintf("p%d", i)
		code := fmt.Sprintf("plugin { id = %q, version = \"1.0.0\", api = 0, needs = { read = \"headers\" } }\n", name) +
			"function on.mail(m)\n  m.my.x = #m.sender.text\nend\n" +
			"function on.rcpt(r)\n  if r.address.domain == \"blocked.example\" then return reject \"no\" end\nend\n" +
			"function on.data(m)\n  if m:header(\"X-Block\") then return reject \"no\" end\nend\n"
		if err := os.WriteFile(filepath.Join(folder, name+".lua"), []byte(code), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	file := filepath.Join(dir, "stagepost.toml")
	if err := os.WriteFile(file, []byte(head+"[plugins]\nfolder = \"plugins\"\n"), 0o644); err != nil {
		b.Fatal(err)
	}
	gen := benchGeneration(b, file).Current().Acquire()
	defer gen.Release()
	a, err := smtp.ParseAddress("rcpt@example.com")
	if err != nil {
		b.Fatal(err)
	}
	text := content{bytes.NewReader([]byte("From: <a@example.org>\r\nTo: <b@example.com>\r\nSubject: bench\r\nMessage-ID: <1@example.org>\r\n\r\ntext\r\n"))}
	session := &message.Session{ID: "s", Role: message.RoleMX, Listener: "mx", IP: netip.MustParseAddr("127.0.0.1")}
	b.ReportAllocs()
	for b.Loop() {
		rcpt := &message.Rcpt{Address: a, Original: a}
		view := &hooks.MessageView{Envelope: &message.Envelope{Session: session, Sender: a, Rcpts: []*message.Rcpt{rcpt}}, Content: text}
		call := &hooks.Call{Session: session, Message: view, Observer: noObserver{}}
		for _, stage := range []hooks.Stage{hooks.Mail, hooks.Rcpt, hooks.Data} {
			if call.Stage, call.Rcpt = stage, nil; stage == hooks.Rcpt {
				call.Rcpt = &hooks.RcptView{Rcpt: rcpt, Message: view}
			}
			if res := gen.Run(call); res.Failed || res.End != nil {
				b.Fatal("failed")
			}
		}
	}
}
