package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
)

// ending is how a recipient of the demo is expected to end.
type ending uint8

const (
	refused ending = iota // at RCPT, with a 550
	arrives
	arrivesLater // at the second try
	waits
)

// demoLetter is one message of the demo.
type demoLetter struct {
	about string
	to    []string
	want  []ending // one for each of to
}

const demoSender = "sender@home.example"

func demoLetters() []demoLetter {
	return []demoLetter{
		{"one recipient is refused, the other gets a message that a plugin changed", []string{"user@good.example", "nobody@good.example"}, []ending{arrives, refused}},
		{"their server makes strangers try twice", []string{"user@patient.example"}, []ending{arrivesLater}},
		{"their server is down", []string{"user@down.example"}, []ending{waits}},
		{"a domain of ours, handed over by LMTP", []string{"user@demo.example"}, []ending{arrives}},
		{"a plugin knows where their mail goes now", []string{"user@moved.example"}, []ending{arrives}},
	}
}

// posted is a letter that the server took, for some of its recipients.
type posted struct {
	*demoLetter
	id       string
	replies  map[string]smtp.Reply // to RCPT
	outcomes map[string][]string   // by recipient, oldest first
	shown    int                   // steps of its record
}

// post hands a letter to the server as any client does.
func (l *demoLetter) post(ctx context.Context, server string) (*posted, error) {
	conn, err := (&net.Dialer{Timeout: connectTime}).DialContext(ctx, "tcp", server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	x := &exchange{conn, smtp.NewReader(conn)}
	x.reader.Attach(make([]byte, 4<<10), 0)
	p := &posted{demoLetter: l, replies: map[string]smtp.Reply{}, outcomes: map[string][]string{}}
	for _, line := range []string{"", "EHLO client.home.example", "MAIL FROM:<" + demoSender + ">"} {
		if _, err := x.expect(line, 2); err != nil {
			return nil, err
		}
	}
	for _, to := range l.to {
		if p.replies[to], err = x.ask("RCPT TO:<" + to + ">"); err != nil {
			return nil, err
		}
	}
	if _, err := x.expect("DATA", 3); err != nil {
		return nil, err
	}
	text := fmt.Sprintf("From: Somebody <%s>\nTo: <%s>\nSubject: Hello\nDate: %s\nX-Secret: the plugin headers takes this out\n\nA few words.\n",
		demoSender, strings.Join(l.to, ">,\n <"), time.Now().Format(time.RFC1123Z))
	if err := x.content(strings.NewReader(text)); err != nil {
		return nil, err
	}
	reply, err := x.expect("", 2)
	if err != nil {
		return nil, err
	}
	x.ask("QUIT") // the message is decided
	if p.id = idOf(reply); p.id == "" {
		return nil, fmt.Errorf("the server named no id: %s", reply.Error())
	}
	return p, nil
}

// expect sends a command and wants a reply of a class: 2 for done, 3 for go on.
func (x *exchange) expect(line string, class int) (smtp.Reply, error) {
	reply, err := x.ask(line)
	if err == nil && reply.Code/100 != class {
		if line == "" {
			line = "the connection or the message"
		}
		err = fmt.Errorf("the server answered %s to %s", reply.Error(), line)
	}
	return reply, err
}

// note takes an outcome out of a step of the record.
func (p *posted) note(s *observe.Step) {
	if s.Stage != "outcome" {
		return
	}
	for _, to := range p.to {
		if strings.HasPrefix(s.Detail, "<"+to+"> ") {
			p.outcomes[to] = append(p.outcomes[to], s.Verdict)
		}
	}
}

// ended tells whether all recipients came to an end, and whether one that was not expected.
func (p *posted) ended() (bool, error) {
	all := true
	for i, to := range p.to {
		got := p.outcomes[to]
		var want []string
		switch p.want[i] {
		case refused:
			if code := p.replies[to].Code; code != 550 {
				return true, fmt.Errorf("%s, to <%s>: RCPT was answered %d, and should have been 550", p.id, to, code)
			}
			continue
		case arrives:
			want = []string{message.Delivered.String()}
		case arrivesLater:
			want = []string{message.Deferred.String(), message.Delivered.String()}
		case waits:
			want = []string{message.Deferred.String()}
		}
		if n := min(len(got), len(want)); !slices.Equal(got[:n], want[:n]) {
			return true, fmt.Errorf("%s, to <%s>: it was %s, and should have been %s", p.id, to, strings.Join(got, ", then "), strings.Join(want, ", then "))
		}
		all = all && len(got) >= len(want)
	}
	return all, nil
}
