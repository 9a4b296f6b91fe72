package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
)

// TestChunksBetweenServers: one server hands a message to another in a chunk, and what comes out behind that one is what went in.
func TestChunksBetweenServers(t *testing.T) {
	sink := remotetest.New(t)
	var mu sync.Mutex
	var sent bytes.Buffer
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return tee{conn, &mu, &sent}, nil
	}
	start := func(next string, o daemonOptions) *daemon {
		s := newSite(t, "hostname = \"mx.example.org\"\ndata = \"data\"\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\nrole = \"mx\"\n"+
			"[plugins]\nenable = [\"relay\", \"route\"]\n[plugin.relay]\nnetworks = [\"127.0.0.0/8\"]\n[plugin.route]\ndefault = \""+next+"\"\n")
		o.log, o.console = slog.New(slog.DiscardHandler), io.Discard
		d, err := startDaemon(t.Context(), s.config, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := d.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
		})
		return d
	}
	second := start(sink.Listen(), daemonOptions{})
	first := start(second.bound.address("mx"), daemonOptions{dial: dial})
	for _, body := range []string{"a\r\n", ".\r\n..\r\n.a\r\n\r\n.\r\n", strings.Repeat(".\u00e40123456789\r\n", 50_000)} {
		n := len(sink.Messages())
		x := beginMail(t, first.bound.address("mx"))
		for _, line := range []string{"MAIL FROM:<>", "RCPT TO:<u@example.net>", "DATA"} {
			if r, err := x.ask(line); err != nil || !r.Positive() {
				t.Fatal(line, r, err)
			}
		}
		if _, err := io.WriteString(x.conn, "Subject: x\r\n\r\n"+strings.ReplaceAll("\n"+body, "\n.", "\n..")[1:]+".\r\n"); err != nil {
			t.Fatal(err)
		}
		if r, err := x.ask(""); err != nil || r.Code != 250 {
			t.Fatal(r, err)
		}
		x.conn.Close()
		within(t, "the message comes", func() bool { return len(sink.Messages()) > n })
		got := string(sink.Messages()[n].Content)
		if want := "\r\nSubject: x\r\n\r\n" + strings.ReplaceAll("\n"+body, "\n.", "\n..")[1:] + ".\r\n"; !strings.HasSuffix(got, want) {
			t.Errorf("%.300q came of %.300q", got, want)
		}
		mu.Lock()
		if !strings.Contains(sent.String(), "\r\nBDAT ") && !strings.HasPrefix(sent.String(), "BDAT ") || strings.Contains(sent.String(), "\r\nDATA\r\n") {
			t.Errorf("it did not go in a chunk: %.300q", sent.String())
		}
		sent.Reset()
		mu.Unlock()
	}
}

// tee keeps what is written.
type tee struct {
	net.Conn
	mu   *sync.Mutex
	sent *bytes.Buffer
}

func (t tee) Write(p []byte) (int, error) {
	t.mu.Lock()
	t.sent.Write(p)
	t.mu.Unlock()
	return t.Conn.Write(p)
}
