package server

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store/disk"
)

// TestContentBudget: when the memory for content that arrives is spent, MAIL is answered 451, so no content is taken, those that have
// begun end well, and with memory mail is taken again.
func TestContentBudget(t *testing.T) {
	r := newDurableRig(t, 0, func(o *disk.Options) { o.BodyBudget, o.Patience = 80<<10, 200*time.Millisecond })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.srv.Serve(ctx, ln, &Listener{Name: "mx", Role: message.RoleMX}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	addr := ln.Addr().String()
	content := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 28_000/72)
	var begun []*client
	for range 2 { // each grows to a buffer of 32 KiB, and has one of half as much until it has that
		c := inContent(t, addr)
		c.send(content)
		begun = append(begun, c)
	}
	for end := time.Now().Add(20 * time.Second); r.store.Usage().Body < 64<<10; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("what was sent does not arrive")
		}
	}
	refused := 0
	var small []*client
	for end := time.Now().Add(20 * time.Second); refused < 3; { // until what was sent has arrived, and what is left is taken
		c := greeted(t, addr)
		c.send(transaction)
		switch line := c.line(); {
		case strings.HasPrefix(line, "451 4.3.2 "):
			refused++
		case !strings.HasPrefix(line, "250 ") || time.Now().After(end):
			t.Fatalf("%q to MAIL with no memory for content", line)
		}
		small = append(small, c)
	}
	for _, c := range begun {
		c.send(".\r\n")
		c.want("250 2.0.0 queued as ")
		c.send("QUIT\r\n")
		c.want("221 ")
	}
	for _, c := range small {
		c.conn.Close()
	}
	for end, line := time.Now().Add(20*time.Second), ""; !strings.HasPrefix(line, "250 2.0.0 queued as "); { // their ends have to be seen
		c := greeted(t, addr)
		c.send(transaction)
		if line = c.line(); strings.HasPrefix(line, "250 ") {
			c.want("250 ")
			c.want("354 ")
			c.send("Subject: x\r\n\r\nx\r\n.\r\n")
			line = c.line()
		}
		c.conn.Close()
		if time.Now().After(end) {
			t.Fatalf("%q with memory again", line)
		}
	}
}
