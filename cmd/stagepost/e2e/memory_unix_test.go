//go:build unix

package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestMemoryNearItsLimit: sessions take the memory that GOMEMLIMIT leaves. Then new connections are refused, what was begun goes on,
// and when sessions have ended others are let in. What the process has with nothing to do is measured first, under a limit that is
// always reached, so that no garbage is in it.
func TestMemoryNearItsLimit(t *testing.T) {
	const room, most = 8 << 20, 8000
	sink := newSink(t)
	s := newSite(t, strings.Replace(relayConfig(sink.address), "[queue]", "[limits]\nsessions_per_ip = 100000\n\n[queue]", 1))
	limit := func(bytes int) {
		s.limit = func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, fmt.Sprintf("GOMEMLIMIT=%d", bytes)) }
	}
	limit(1 << 20)
	sv := s.start()
	if _, err := connect(sv.address("mx")); err == nil || !strings.Contains(err.Error(), "421 4.3.2 the server has little memory left") {
		t.Errorf("with a limit that is reached: %v", err)
	}
	if h := sv.status().Health; !strings.HasPrefix(h, "memory is nearly used up: ") {
		t.Errorf("health: %s", h)
	}
	var idle float64
	for range 3 {
		time.Sleep(1100 * time.Millisecond) // a reading is taken once a second
		for line := range strings.Lines(sv.metrics()) {
			fmt.Sscanf(line, "stagepost_memory_bytes %g", &idle)
		}
	}
	sv.stop()
	limit(int(idle/0.85) + room)
	sv = s.start()
	address := sv.address("mx")
	begun := dial(t, address)
	var open []*client
	var refusal error
	for len(open) < most && refusal == nil {
		c, err := connect(address)
		if err == nil {
			open = append(open, c)
		}
		refusal = err
	}
	t.Logf("%.1f MB with nothing to do, refused after %d sessions", idle/1e6, len(open))
	if refusal == nil || !strings.Contains(refusal.Error(), "421 4.3.2 the server has little memory left") || len(open) == 0 {
		t.Errorf("after %d sessions: %v", len(open), refusal)
	}
	begun.deliver(t, "u@example.net", "<memory@client.example>")
	for _, c := range open {
		c.conn.Close()
	}
	eventually(t, "a new connection is let in", func() (bool, any) {
		c, err := connect(address)
		if err == nil {
			c.conn.Close()
		}
		return err == nil, err
	})
	sv.empty()
	sink.exactly([]string{"<memory@client.example>"})
	sv.stop()
}
