package e2e

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// client is one SMTP session with a server. Its methods return errors, since a server that is killed ends it.
type client struct {
	conn net.Conn
	r    *bufio.Reader
}

// connect opens a session and says EHLO.
func connect(address string) (*client, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	c := &client{conn, bufio.NewReader(conn)}
	reply, err := c.read()
	if err == nil && !strings.HasPrefix(reply, "220 ") {
		err = fmt.Errorf("greeting: %s", reply)
	}
	if err == nil {
		reply, err = c.ask("EHLO client.example")
	}
	if err == nil && !strings.HasPrefix(reply, "250") {
		err = fmt.Errorf("EHLO: %s", reply)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// dial opens a session that must come about and ends with the test.
func dial(t testing.TB, address string) *client {
	t.Helper()
	c, err := connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.conn.Close() })
	return c
}

func (c *client) write(text string) error {
	c.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := c.conn.Write([]byte(text))
	return err
}

// read gives a whole reply, its lines joined by LF.
func (c *client) read() (string, error) {
	c.conn.SetReadDeadline(time.Now().Add(patience))
	var lines []string
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return strings.Join(lines, "\n"), err
		}
		line = strings.TrimSuffix(line, "\r\n")
		lines = append(lines, line)
		if len(line) < 4 || line[3] != '-' {
			return strings.Join(lines, "\n"), nil
		}
	}
}

func (c *client) ask(line string) (string, error) {
	if err := c.write(line + "\r\n"); err != nil {
		return "", err
	}
	return c.read()
}

// want asks and fails unless the reply begins as it should.
func (c *client) want(t testing.TB, line, reply string) string {
	t.Helper()
	got, err := c.ask(line)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	if !strings.HasPrefix(got, reply) {
		t.Fatalf("%s: %s, want %s", line, got, reply)
	}
	return got
}

// letter is a message with this Message-ID, without the final dot.
func letter(id string) string {
	return "From: <a@client.example>\r\nTo: <u@example.net>\r\nSubject: a test\r\nMessage-ID: " + id + "\r\n\r\nA line.\r\n..A line with a dot.\r\n"
}

// send hands over one message and gives the last reply: to the content, or to what was refused before it.
func (c *client) send(to, id string) (string, error) {
	for _, line := range []string{"MAIL FROM:<a@client.example>", "RCPT TO:<" + to + ">", "DATA"} {
		reply, err := c.ask(line)
		if err != nil || reply[0] != '2' && reply[0] != '3' {
			return reply, err
		}
	}
	return c.ask(letter(id) + ".")
}

// deliver hands over a message that must be taken, and gives its id in the server.
func (c *client) deliver(t testing.TB, to, id string) string {
	t.Helper()
	reply, err := c.send(to, id)
	if err != nil {
		t.Fatal(err)
	}
	return queued(t, reply)
}

// queued reads the id out of the reply to a message.
func queued(t testing.TB, reply string) string {
	t.Helper()
	id, ok := strings.CutPrefix(reply, "250 2.0.0 queued as ")
	if !ok {
		t.Fatalf("the reply to the message: %q", reply)
	}
	return id
}
