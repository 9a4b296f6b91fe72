package transcript

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
)

// What happens: a client that connects and talks, mail that comes without one, time that passes.

type (
	connect struct {
		ip       netip.Addr
		role     message.Role
		listener string
		user     string
		groups   []string
		early    bool
		helo     string // with which `send` greets
	}
	say struct { // what the client sends, in one write
		text string
		end  int // its last line
	}
	expect struct{ reply pattern }
	closed struct{}
	leave  struct{}
	send   struct { // a whole message
		role    message.Role // of mail without a client; "" by SMTP
		from    smtp.Address
		to      []smtp.Address
		content string
		end     int
	}
	pass struct { // time
		by time.Duration
		to time.Time
	}
)

func talkLines() []Line {
	return []Line{
		{"connect", "connect IP [role=mx] [listener=NAME] [user=NAME] [groups=A,B] [helo=NAME] [early]",
			"A client connects; whoever was connected leaves. With user it counts as logged in, with early it speaks before it is greeted, helo is the name that `send` greets with.", parseConnect},
		{"C:", "C: LINE", "What the client sends, as it stands. Lines that follow each other go out at once.", nil},
		{"R:", `R: "TEXT"`, `The same in quotes, without an end of line: "\r\n", "\x00".`, func(p *parser, rest string) action {
			text, err := strconv.Unquote(rest)
			if err != nil {
				p.fail(`write R: "text in quotes"`)
				return nil
			}
			return &say{text, p.at}
		}},
		{"S:", "S: PATTERN", "The next reply. Of one with several lines the texts are joined by a space. In every PATTERN … or three dots stand for anything.", func(p *parser, rest string) action {
			if rest == "" {
				p.fail("write what the server says: S: 250 …")
				return nil
			}
			return &expect{newPattern(rest)}
		}},
		{"closed", "closed", "The server closes the connection.", alone(&closed{})},
		{"disconnect", "disconnect", "The client goes away.", alone(&leave{})},
		{"send", "send FROM to RCPT ...", "The client sends a message: EHLO (LHLO with role=lmtp) if it did not greet yet, MAIL, RCPT, DATA, and as content the lines C: that follow. " +
			"It stops at the first refusal; the reply that decided, of LMTP those of all recipients, is left for S:. <> is the null sender.", func(p *parser, rest string) action { return parseSend(p, "", rest) }},
		{"submit", "submit ROLE FROM to RCPT ...", "A message that no client brings: ROLE is sendmail, api or internal. Otherwise as `send`.", func(p *parser, rest string) action {
			role, rest, _ := strings.Cut(rest, " ")
			if !p.oneOf("role", role, []string{"sendmail", "api", "internal"}) {
				return nil
			}
			return parseSend(p, message.Role(role), rest)
		}},
		{"clock", "clock +5m | clock 2026-03-01T12:00:00Z", "Time passes. It begins at 2026-01-01T12:00:00Z.", parseClock},
	}
}

// alone is for lines without arguments.
func alone(act action) func(*parser, string) action {
	return func(p *parser, rest string) action {
		if rest != "" {
			p.fail("nothing may follow here, and %q does", rest)
			return nil
		}
		return act
	}
}

func parseConnect(p *parser, rest string) action {
	list := p.words(rest, "connect IP [role=mx] [user=NAME] ...", 1, 10)
	if list == nil {
		return nil
	}
	ip, err := netip.ParseAddr(list[0].text)
	if err != nil {
		p.fail("%q is no IP address", list[0].text)
		return nil
	}
	c := &connect{ip: ip.Unmap(), role: message.RoleMX, helo: "client.example"}
	for _, w := range list[1:] {
		key, v, given := strings.Cut(w.text, "=")
		if !p.oneOf("key", key, []string{"role", "listener", "user", "groups", "helo", "early"}) {
			return nil
		}
		if given == (key == "early") || given && v == "" {
			p.fail("write %s", map[bool]string{true: "early alone", false: key + "=..."}[key == "early"])
			return nil
		}
		switch key {
		case "role":
			if !p.oneOf("role", v, []string{"mx", "submission", "lmtp"}) {
				return nil
			}
			c.role = message.Role(v)
		case "listener":
			c.listener = v
		case "user":
			c.user = v
		case "groups":
			c.groups = strings.Split(v, ",")
		case "helo":
			c.helo = v
		case "early":
			c.early = true
		}
	}
	if c.listener == "" {
		c.listener = string(c.role)
	}
	return c
}

func parseSend(p *parser, role message.Role, rest string) action {
	list := p.words(rest, "FROM to RCPT ..., as a@a.example to u@example.org", 3, 1000)
	if list == nil {
		return nil
	}
	if list[1].text != "to" {
		p.fail("write FROM to RCPT, as a@a.example to u@example.org")
		return nil
	}
	s := &send{role: role, end: p.at}
	var ok bool
	if s.from, ok = p.address(list[0].text); !ok {
		return nil
	}
	for _, w := range list[2:] {
		to, ok := p.address(w.text)
		if !ok {
			return nil
		}
		if to.IsNull() {
			p.fail("the null address is no recipient")
			return nil
		}
		s.to = append(s.to, to)
	}
	return s
}

// address reads an address as RCPT does, with or without angle brackets.
func (p *parser) address(text string) (smtp.Address, bool) {
	text = strings.TrimSuffix(strings.TrimPrefix(text, "<"), ">")
	if text == "" {
		return smtp.Address{}, true
	}
	if a, _, err := smtp.ParseRcpt("TO:<"+text+">", true); err == nil {
		return a, true
	}
	p.fail("%q is no address", text)
	return smtp.Address{}, false
}

func parseClock(p *parser, rest string) action {
	if by, ok := strings.CutPrefix(rest, "+"); ok {
		if d, err := config.ParseDuration(by); err == nil && d > 0 {
			return &pass{by: d}
		}
	} else if t, err := time.Parse(time.RFC3339, rest); err == nil {
		return &pass{to: t}
	}
	p.fail("write clock +5m, or clock 2026-03-01T12:00:00Z")
	return nil
}
