package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/esmtp"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
)

// letter is what send hands to the server.
type letter struct {
	helo    string
	from    string // "" is the null sender
	to      []string
	content io.Reader // lines end with LF or CRLF
	tls     string    // "off", "starttls" or "implicit"

	user, password string // "": nobody logs in
	verify         string // the name that the server's certificate must have; "": any will do
}

// Waits for the server; it may hold a reply back for a minute because a plugin asked for it.
const (
	connectTime = 10 * time.Second
	replyTime   = 2 * time.Minute
	blockTime   = time.Minute // for what is written at once
)

// exchange is one SMTP session of a client.
type exchange struct {
	conn   net.Conn
	reader *smtp.Reader
}

func newExchange(conn net.Conn) *exchange {
	x := &exchange{conn, smtp.NewReader(conn)}
	x.reader.Attach(make([]byte, 4<<10), 0)
	return x
}

// secure begins TLS. Without a password it is not looked at whose certificate the server shows: what is sent is a test, and to this machine mostly.
func secure(ctx context.Context, conn net.Conn, server, verify string) (*exchange, error) {
	c := tls.Client(conn, &tls.Config{ServerName: verify, InsecureSkipVerify: verify == ""})
	conn.SetDeadline(time.Now().Add(replyTime))
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, fail(exitUnavailable, "the TLS handshake with %s failed: %w", server, err)
	}
	return newExchange(c), nil
}

// ask sends a command, unless it is empty, and reads the reply.
func (x *exchange) ask(line string) (smtp.Reply, error) {
	if line != "" {
		x.conn.SetWriteDeadline(time.Now().Add(blockTime))
		if _, err := io.WriteString(x.conn, line+"\r\n"); err != nil {
			return smtp.Reply{}, err
		}
	}
	x.conn.SetReadDeadline(time.Now().Add(replyTime))
	return x.reader.ReadReply()
}

// deliver hands over the letter and says what the server answered.
func (a *app) deliver(ctx context.Context, out output, server string, l *letter) error {
	dialer := net.Dialer{Timeout: connectTime}
	conn, err := dialer.DialContext(ctx, "tcp", server)
	if err != nil {
		return fail(exitUnavailable, "nobody answers at %s: %w; is the server running? start it with: %s", server, err, a.command("serve"))
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	x := newExchange(conn)
	if l.tls == "implicit" {
		if x, err = secure(ctx, conn, server, l.verify); err != nil {
			return err
		}
	}
	refused, err := a.transaction(ctx, out, x, l)
	if err == nil {
		x.ask("QUIT") // the message is decided; how they part says nothing about it
		return refused
	}
	var own *failure
	if ctx.Err() != nil || errors.As(err, &own) {
		return err
	}
	return fail(exitTemporary, "the session with %s broke off: %w", server, err)
}

// transaction ends with an error when the session cannot go on; refused says what the server did not take.
func (a *app) transaction(ctx context.Context, out output, x *exchange, l *letter) (refused, err error) {
	greeting, err := x.ask("")
	if err != nil {
		return nil, err
	}
	if greeting.Code != 220 {
		return refusal("the greeting", greeting), nil
	}
	hello, err := x.ask("EHLO " + l.helo)
	if err != nil {
		return nil, err
	}
	if !hello.Positive() {
		return refusal("EHLO "+l.helo, hello), nil
	}
	if l.tls == "starttls" {
		reply, err := x.ask("STARTTLS")
		if err != nil {
			return nil, err
		}
		if reply.Code != 220 {
			return refusal("STARTTLS", reply), nil
		}
		secured, err := secure(ctx, x.conn, x.conn.RemoteAddr().String(), l.verify)
		if err != nil {
			return nil, err
		}
		*x = *secured
		if hello, err = x.ask("EHLO " + l.helo); err != nil {
			return nil, err
		}
		if !hello.Positive() {
			return refusal("EHLO "+l.helo, hello), nil
		}
	}
	if l.user != "" {
		if refused, err := x.logIn(l, esmtp.ParseExtensions(hello)); refused != nil || err != nil {
			return refused, err
		}
	}
	mail := "MAIL FROM:<" + l.from + ">"
	if esmtp.ParseExtensions(hello).Has("8BITMIME") {
		mail += " BODY=8BITMIME"
	}
	reply, err := x.ask(mail)
	if err != nil {
		return nil, err
	}
	if !reply.Positive() {
		return refusal(mail, reply), nil
	}
	taken := 0
	for _, to := range l.to {
		if reply, err = x.ask("RCPT TO:<" + to + ">"); err != nil {
			return nil, err
		}
		if reply.Positive() {
			taken++
			continue
		}
		if refused != nil {
			out.printf("%s\n", printable(refused.Error()))
		}
		refused = refusal("<"+to+">", reply)
	}
	if taken == 0 {
		return refused, nil
	}
	if reply, err = x.ask("DATA"); err != nil {
		return nil, err
	}
	if reply.Code != 354 {
		return refusal("DATA", reply), nil
	}
	if err := x.content(l.content); err != nil {
		return nil, err
	}
	if reply, err = x.ask(""); err != nil {
		return nil, err
	}
	if !reply.Positive() {
		return refusal("the message", reply), nil
	}
	out.printf("%s\n", out.paint(green, printable(reply.Error())))
	if id := idOf(reply); id != "" {
		out.printf("%s\n", a.command("trace", id))
	}
	return refused, nil
}

// logIn says who sends, by PLAIN (RFC 4616).
func (x *exchange) logIn(l *letter, ext esmtp.Extensions) (refused, err error) {
	offered := strings.Fields(strings.ToUpper(ext["AUTH"]))
	switch {
	case slices.Contains(offered, "PLAIN"):
	case len(offered) > 0:
		return fail(exitUnavailable, "the server offers %s to log in with, and not PLAIN", strings.Join(offered, " ")), nil
	case l.tls != "starttls" && l.tls != "implicit":
		return fail(exitUnavailable, "the server offers no log-in; where it does so within TLS only, write --tls starttls or --tls implicit"), nil
	default:
		return fail(exitUnavailable, "the server offers no log-in"), nil
	}
	reply, err := x.ask("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+l.user+"\x00"+l.password)))
	if err != nil || reply.Positive() {
		return nil, err
	}
	return refusal("the log-in of "+l.user, reply), nil
}

func refusal(what string, reply smtp.Reply) error {
	code := exitUnavailable
	if reply.Temporary() {
		code = exitTemporary
	}
	return fail(code, "%s was refused: %s", what, reply.Error())
}

// idOf finds the message's id in the reply to it.
func idOf(reply smtp.Reply) string {
	for word := range strings.FieldsSeq(strings.Join(reply.Text, " ")) {
		if _, err := message.ParseID(word); err == nil {
			return word
		}
	}
	return ""
}

// content sends the message, with the line ends that SMTP wants.
func (x *exchange) content(r io.Reader) error {
	buffered := &bytes.Buffer{}
	w := smtp.NewDataWriter(buffered)
	lines := crlf{w: w}
	chunk := make([]byte, 32<<10)
	for {
		n, err := r.Read(chunk)
		if _, err := lines.Write(chunk[:n]); err != nil {
			return err
		}
		end := err == io.EOF
		if err != nil && !end {
			return fail(exitNoInput, "the message cannot be read: %w", err) // without the final dot, so nothing is delivered
		}
		if end {
			if err := w.Close(); err != nil {
				return err
			}
		}
		x.conn.SetWriteDeadline(time.Now().Add(blockTime))
		if _, err := buffered.WriteTo(x.conn); err != nil {
			return err
		}
		if end {
			return nil
		}
	}
}

// crlf makes every LF a CRLF.
type crlf struct {
	w  io.Writer
	cr bool // the last octet was a CR
}

func (c *crlf) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		line := rest
		if i >= 0 {
			line = rest[:i]
		}
		if len(line) > 0 {
			c.cr = line[len(line)-1] == '\r'
			if _, err := c.w.Write(line); err != nil {
				return 0, err
			}
		}
		if i < 0 {
			break
		}
		end := "\r\n"
		if c.cr {
			end = "\n"
		}
		c.cr = false
		if _, err := io.WriteString(c.w, end); err != nil {
			return 0, err
		}
		rest = rest[i+1:]
	}
	return len(p), nil
}
