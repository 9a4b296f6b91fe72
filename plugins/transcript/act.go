package transcript

import (
	"errors"
	"strings"

	"github.com/stagepost/stagepost/core/intake"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
)

// How the lines of talk.go and given.go are carried out.

var errNoClient = errors.New("no client is connected; write connect 192.0.2.1")

func (c *connect) do(r *run) error { return r.dial(c) }

func (s *say) do(r *run) error {
	if r.wire == nil {
		return errNoClient
	}
	if err := r.begin(); err != nil {
		return err
	}
	r.wire.say(s.text)
	_, err := r.settle()
	return err
}

func (e *expect) do(r *run) error {
	reply, ok := r.next()
	switch {
	case ok && e.reply.match(reply.Error()):
		return nil
	case ok:
		got := reply.Error()
		for _, s := range r.asked() {
			if failed(s) {
				got += "\n" + s.Plugin + " failed at " + s.Stage + ": " + s.Detail
			}
		}
		return wanted(e.reply.text, got)
	case r.wire == nil:
		return wanted(e.reply.text, "no reply, and no client is connected")
	}
	over, err := r.settle()
	switch {
	case err != nil:
		return err
	case over:
		return wanted(e.reply.text, "no reply: the server closed the connection")
	}
	return wanted(e.reply.text, "no reply: the server waits for the client")
}

func (*closed) do(r *run) error {
	if r.wire == nil {
		return errNoClient
	}
	over, err := r.settle()
	if err != nil {
		return err
	}
	const want = "the server closes the connection"
	if reply, ok := r.next(); ok {
		return wanted(want, "a reply before: "+reply.Error())
	}
	if !over {
		return wanted(want, "it waits for the client")
	}
	return nil
}

func (*leave) do(r *run) error {
	if r.wire == nil {
		return errNoClient
	}
	if err := r.begin(); err != nil {
		return err
	}
	return r.hangUp()
}

func (p *pass) do(r *run) error {
	if p.by > 0 {
		r.clock.set(r.clock.Now().Add(p.by))
		return nil
	}
	r.clock.set(p.to)
	return nil
}

// letter is the content of a message of which the transcript says nothing.
const letter = "From: <a@client.example>\r\nSubject: a message\r\n\r\nhello\r\n"

func (s *send) text() string {
	if s.content == "" {
		return letter
	}
	return s.content
}

func (s *send) do(r *run) error {
	if s.role != "" {
		return s.submit(r)
	}
	if r.wire == nil {
		return errNoClient
	}
	if !r.helped {
		if hello, ok := r.next(); ok && !hello.Positive() {
			return wanted("a greeting", hello.Error())
		}
	}
	if err := r.begin(); err != nil {
		return err
	}
	var lines []string
	if r.helped {
		lines = append(lines, "RSET") // the message before may have been refused half-way
	} else {
		hello := "EHLO "
		if r.world.client.role == message.RoleLMTP {
			hello = "LHLO "
		}
		lines = append(lines, hello+r.world.client.helo)
	}
	r.helped = true
	lines = append(lines, "MAIL FROM:<"+s.from.Text+">")
	for _, to := range s.to {
		lines = append(lines, "RCPT TO:<"+to.Text+">")
	}
	lines = append(lines, "DATA")
	content := s.text()
	if strings.HasPrefix(content, ".") {
		content = "." + content
	}
	lines = append(lines, strings.ReplaceAll(content, "\r\n.", "\r\n..")+".")
	var reply smtp.Reply
	for _, line := range lines {
		r.wire.say(line + "\r\n")
		over, err := r.settle()
		if err != nil {
			return err
		}
		next, ok := r.next()
		switch {
		case !ok && over:
			return wanted("a reply to "+first(line), "the server closed the connection")
		case !ok:
			return wanted("a reply to "+first(line), "none")
		}
		if reply = next; !reply.Positive() {
			break
		}
	}
	r.replies = append(r.replies, reply)
	return nil
}

func first(text string) string {
	line, _, _ := strings.Cut(text, "\r\n")
	return line
}

// submit brings a message without a client.
func (s *send) submit(r *run) error {
	if err := r.hangUp(); err != nil {
		return err
	}
	if err := r.begin(); err != nil {
		return err
	}
	_, ans := r.in.Submit(r.ctx, &intake.Submission{
		Session: &message.Session{ID: "submission", Role: s.role, Origin: string(s.role)}, Sender: s.from, Rcpts: s.to,
		Content: func(message.ID) ([]byte, error) { return []byte(s.text()), nil },
	})
	if ans.Silent {
		return wanted("a reply", "none: whether the message was kept is not known")
	}
	reply := ans.Reply
	if reply.Enhanced != "" { // as one from the wire, in which it is part of the text
		reply = smtp.NewReply(reply.Code, "", reply.Enhanced+" "+strings.Join(reply.Text, " "))
	}
	r.replies = append(r.replies, reply)
	return nil
}

func (g *given) do(r *run) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.valid[g] = true
	return nil
}

func (g *givenDNS) do(r *run) error { return r.dns.say(g) }

func (g *givenKV) do(r *run) error {
	if g.state != "" {
		r.kv.set(g.state)
		return nil
	}
	return r.kv.Set(r.plugin, g.key, g.value, g.ttl)
}

func (g *givenLookup) do(r *run) error {
	r.tables.say(g)
	return nil
}

func (g *givenHop) do(r *run) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hop = g.reply
	return nil
}
