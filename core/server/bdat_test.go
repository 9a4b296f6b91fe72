package server

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const envelope = "MAIL FROM:<ok@client.example>\r\nRCPT TO:<u@example.org>\r\n"

// chunked is a content as BDAT commands, cut into chunks of size octets.
func chunked(content string, size int) string {
	var b strings.Builder
	for ; len(content) > size; content = content[size:] {
		fmt.Fprintf(&b, "BDAT %d\r\n%s", size, content[:size])
	}
	fmt.Fprintf(&b, "BDAT %d LAST\r\n%s", len(content), content)
	return b.String()
}

// chunkTalk sends wire after EHLO, and returns what the server said.
func chunkTalk(r *rig, wire string, how func(conn io.Writer, wire string)) string {
	conn := r.pipe()
	var replies strings.Builder
	var reading sync.WaitGroup
	reading.Go(func() { io.Copy(&replies, conn) })
	synctest.Wait()
	io.WriteString(conn, "EHLO client.example\r\n")
	synctest.Wait()
	how(conn, wire)
	synctest.Wait()
	conn.Close()
	reading.Wait()
	return replies.String()
}

func whole(c io.Writer, s string) { io.WriteString(c, s) }
func octets(c io.Writer, s string) {
	for i := range len(s) {
		io.WriteString(c, s[i:i+1])
	}
}

// TestChunksAreExact: what comes in chunks is kept octet for octet, whatever is in it and however it is cut.
func TestChunksAreExact(t *testing.T) {
	const content = "a: 1\r\n\r\n.\r\n\r\n.\r\nQUIT\r\n..\r\nBDAT 3\r\n.\r\n"
	var big strings.Builder // longer than any buffer
	for i := range 9000 {
		fmt.Fprintf(&big, ".line %d\r\n", i)
	}
	for size := 1; size <= len(content)+1; size++ {
		for _, how := range []func(io.Writer, string){whole, octets} {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, byName()...)
				replies := chunkTalk(r, envelope+chunked(content, size)+"NOOP\r\n", how)
				r.settle(t)
				if all := r.queue.all(t); len(all) != 1 || all[0].content != content || !strings.HasSuffix(replies, "\r\n250 2.0.0 ok\r\n") {
					t.Fatalf("chunks of %d: %v\n%s", size, all, replies)
				}
			})
		}
	}
	for _, size := range []int{7, 4095, 4096, 4097, 32767, 32768, 65536, big.Len()} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, byName()...)
			replies := chunkTalk(r, envelope+chunked(big.String(), size)+envelope+chunked("x", 1), whole)
			r.settle(t)
			all := r.queue.all(t)
			if len(all) != 2 || all[0].content != big.String() || all[1].content != "x\r\n" {
				t.Fatalf("chunks of %d: %d messages\n%.300s", size, len(all), replies)
			}
		})
	}
}

// TestManyChunks: a chunk of one octet leaves nothing behind but its octet.
func TestManyChunks(t *testing.T) {
	r := newRig(t, byName()...)
	content := strings.Repeat("x", 100_000)
	c := greeted(t, r.listen(t))
	go io.WriteString(c.conn, envelope+chunked(content, 1))
	c.want("250 2.1.0")
	c.want("250 2.1.5")
	for range len(content) - 1 {
		c.want("250 2.0.0 1 octets")
	}
	c.want("250 2.0.0 queued as ")
	c.conn.Close()
	r.settle(t)
	if all := r.queue.all(t); len(all) != 1 || all[0].content != content+"\r\n" {
		t.Errorf("%d messages", len(all))
	}
}

// TestNoSmugglingInChunks: no form of an end of data ends a chunk, and none is taken unless the content is BINARYMIME.
func TestNoSmugglingInChunks(t *testing.T) {
	for name, x := range strays {
		for _, body := range []string{"", " BODY=BINARYMIME"} {
			for _, size := range []int{1, 13, 1000} {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, byName()...)
					content := "a: 1\r\n\r\ntext" + x + smuggled
					start := strings.Replace(envelope, ">\r\n", ">"+body+"\r\n", 1)
					replies := chunkTalk(r, start+chunked(content, size), whole)
					r.settle(t)
					all := r.queue.all(t)
					taken := body != "" || strings.HasPrefix(name, "E22") && name != "E22c"
					if taken && (len(all) != 1 || all[0].content != content) || !taken && len(all) > 0 || strings.Contains(replies, "354") {
						t.Errorf("%s%s: %d messages\n%s", name, body, len(all), replies)
					}
				})
			}
		}
	}
}

// TestLostChunks: a client that goes away at any octet before the last leaves no message.
func TestLostChunks(t *testing.T) {
	wire := envelope + "BDAT 6\r\na: 1\r\nBDAT 5 LAST\r\n\r\nx\r\n"
	for n := 1; n <= len(wire); n++ {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, byName()...)
			chunkTalk(r, wire[:n], whole)
			r.settle(t)
			if got := len(r.queue.all(t)); got != 0 && n < len(wire) || got != 1 && n == len(wire) {
				t.Errorf("after %d octets: %d messages", n, got)
			}
		})
	}
}

// TestSkippedChunks: what is read in vain between two messages has a bound.
func TestSkippedChunks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, byName()...)
		chunk := fmt.Sprintf("BDAT %d\r\n", minDiscard/4) + strings.Repeat("QUIT\r\n", minDiscard/4/6+1)[:minDiscard/4]
		replies := chunkTalk(r, strings.Repeat(chunk, 4)+"BDAT 1\r\n", whole)
		r.settle(t)
		if strings.Count(replies, "\r\n503 ") != 5 || strings.Contains(replies, "221") {
			t.Errorf("the server said\n%s", replies)
		}
	})
}

func TestSlowChunks(t *testing.T) {
	for name, c := range map[string]struct {
		talk  func(c *client)
		after time.Duration
	}{
		"nothing of a chunk": {func(c *client) { c.send("BDAT 5\r\n") }, 3 * time.Minute},
		"one, octet by octet": {func(c *client) {
			c.send("BDAT 100\r\n")
			for range 5 {
				time.Sleep(59 * time.Second)
				c.send("x")
			}
		}, 5 * time.Minute},
		"each with its octet": {func(c *client) {
			for i := range 6 {
				c.send("BDAT 1\r\nx")
				if i < 5 {
					c.want("250 2.0.0 1 octets")
					time.Sleep(61 * time.Second)
				}
			}
		}, 305 * time.Second},
		"in vain": {func(c *client) { c.send("RSET\r\n"); c.want("250 "); c.send("BDAT 5\r\nx") }, 3 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, byName()...)
				client := piped(t, r)
				client.want("220 ")
				client.send("EHLO c\r\n")
				client.want("250 ")
				client.send(envelope)
				client.want("250 ")
				client.want("250 ")
				start := time.Now()
				c.talk(client)
				client.want("421 4.4.2")
				if took := time.Since(start); took != c.after {
					t.Errorf("it took %s, want %s", took, c.after)
				}
				client.conn.Close()
				r.settle(t)
				if n := len(r.queue.all(t)); n > 0 {
					t.Errorf("%d messages", n)
				}
			})
		})
	}
}
