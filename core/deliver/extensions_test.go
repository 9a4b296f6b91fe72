package deliver

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
)

// TestParameters: what came with MAIL and RCPT goes on to a server that knows it. To one that does not, the message goes without
// what it can go without, and fails otherwise; nothing is changed to make it fit.
func TestParameters(t *testing.T) {
	const all = "SMTPUTF8 CHUNKING BINARYMIME DSN DELIVERBY MT-PRIORITY"
	binary := "Subject: x\r\n\r\na\x00b\r\n.\r\nc\nd"
	for _, c := range []struct {
		name       string
		offers     string // besides SIZE and 8BITMIME
		mail, rcpt string // parameters that came
		sender, to string
		content    string
		prefix     string
		lmtp       bool
		want       string // outcomes
		gotMail    string // parameters at the server, without SIZE
		gotRcpt    string
		notifies   bool
		gotContent string // "": the content, and a dot where it goes by DATA
		gotPaths   string // "": as they are
		gotNothing bool
	}{
		{name: "nothing asked for", offers: all, want: "delivered", notifies: true},
		{name: "DSN", offers: "DSN", mail: " RET=hdrs ENVID=a+2bb", rcpt: " NOTIFY=success,delay ORCPT=RFC822;x+2By+3Dz@y", want: "delivered",
			gotMail: "RET=HDRS ENVID=a+2Bb", gotRcpt: "NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+2By+3Dz@y", notifies: true},
		{name: "DSN in UTF-8", offers: "DSN", rcpt: " ORCPT=utf-8;\\x{e9}@y", want: "delivered", gotRcpt: `ORCPT=utf-8;\x{E9}@y`, notifies: true},
		{name: "no DSN", mail: " RET=FULL ENVID=x", rcpt: " NOTIFY=SUCCESS", want: "delivered"},
		{name: "DSN and UTF-8", offers: all, mail: " SMTPUTF8", rcpt: " ORCPT=utf-8;\\x{e9}\\x{2b}@y", sender: "\u00e4@x.test", want: "delivered", gotMail: "SMTPUTF8",
			gotRcpt: "ORCPT=utf-8;\u00e9\\x{2B}@y", notifies: true},
		{name: "priority and time", offers: all, mail: " MT-PRIORITY=4 BY=300;NT", want: "delivered", gotMail: "MT-PRIORITY=4 BY=240;NT", notifies: true},
		{name: "neither", mail: " MT-PRIORITY=4 BY=300;N", want: "delivered"},
		{name: "in time or not at all", offers: "DELIVERBY 30", mail: " BY=300;R", want: "delivered", gotMail: "BY=240;R"},
		{name: "who does not promise it", mail: " BY=300;R", want: "failed 554 5.3.3", gotNothing: true},
		{name: "who is the last", mail: " BY=300;R", lmtp: true, want: "delivered"},
		{name: "UTF-8", offers: all, mail: " SMTPUTF8", sender: "\u00e4@x.test", to: "\u00fc@y.test", want: "delivered", gotMail: "SMTPUTF8", notifies: true},
		{name: "a recipient in UTF-8", offers: all, to: "\u00fc@y.test", want: "delivered", gotMail: "SMTPUTF8", notifies: true},
		{name: "a sender in UTF-8, not taken", mail: " SMTPUTF8", sender: "\u00e4@x.test", want: "failed 550 5.6.7", gotNothing: true},
		{name: "a recipient in UTF-8, not taken", mail: " SMTPUTF8", to: "\u00fc@b\u00fccher.test", want: "failed 550 5.6.7", gotNothing: true},
		{name: "a domain in UTF-8 is the same in A-labels", mail: " SMTPUTF8", sender: "a@b\u00fccher.test", to: "u@b\u00fccher.test", want: "delivered",
			gotPaths: "a@xn--bcher-kva.test u@xn--bcher-kva.test"},
		{name: "one of two, not taken", mail: " SMTPUTF8", to: "u@y.test \u00fc@y.test", want: "delivered, failed 550 5.6.7"},
		{name: "a header in UTF-8", offers: "SMTPUTF8", mail: " SMTPUTF8", content: "Subject: \u00e4\r\n\r\nx\r\n", want: "delivered", gotMail: "BODY=8BITMIME SMTPUTF8"},
		{name: "a header in UTF-8, not taken", mail: " SMTPUTF8", content: "Subject: \u00e4\r\n\r\nx\r\n", want: "failed 550 5.6.7", gotNothing: true},
		{name: "an added field in UTF-8, not taken", mail: " SMTPUTF8", prefix: "X: \u00e4\r\n", want: "failed 550 5.6.7", gotNothing: true},
		{name: "a body in UTF-8", mail: " SMTPUTF8", content: "Subject: a\r\n\r\n\u00e4\r\n", want: "delivered", gotMail: "BODY=8BITMIME"},
		{name: "a long header", mail: " SMTPUTF8", content: "Subject: a\r\nX: " + strings.Repeat("x", 1<<17) + "\r\nY: \u00e4\r\n\r\nx\r\n", want: "failed 550 5.6.7", gotNothing: true},
		{name: "a header that just bears it", content: "Subject: \xe4\r\n\r\nx\r\n", want: "delivered", gotMail: "BODY=8BITMIME"},
		{name: "binary", offers: all, mail: " BODY=BINARYMIME", content: binary, want: "delivered", gotMail: "BODY=BINARYMIME", gotContent: binary, notifies: true},
		{name: "binary, by LMTP", offers: all, mail: " BODY=BINARYMIME", content: binary, prefix: "X: y\r\n", lmtp: true, to: "u@y.test v@y.test",
			want: "delivered, delivered", gotMail: "BODY=BINARYMIME", gotContent: "X: y\r\n" + binary, notifies: true},
		{name: "binary, not taken", offers: "CHUNKING", mail: " BODY=BINARYMIME", content: binary, want: "failed 554 5.6.1", gotNothing: true},
		{name: "binary, but only in name", mail: " BODY=BINARYMIME", want: "delivered"},
		{name: "a line too long", mail: " BODY=BINARYMIME", content: strings.Repeat("x", 999), want: "failed 554 5.6.1", gotNothing: true},
		{name: "a line just long enough", mail: " BODY=BINARYMIME", content: "a: " + strings.Repeat("x", 995) + "\r\n\r\n", want: "delivered"},
		{name: "a stray CR", mail: " BODY=BINARYMIME", content: "a\r", want: "failed 554 5.6.1", gotNothing: true},
		{name: "not in clear", offers: all, mail: " REQUIRETLS", want: "failed 550 5.7.10", gotNothing: true},
		{name: "not in clear, by LMTP elsewhere", mail: " REQUIRETLS", lmtp: true, want: "failed 550 5.7.10", gotNothing: true},
		{name: "a notice, in clear", offers: all, mail: " REQUIRETLS RET=FULL", sender: "-", want: "delivered", gotMail: "RET=HDRS", notifies: true},
	} {
		for _, stepwise := range []bool{false, true} {
			t.Run(c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ehlo := "250-remote.test\n250-SIZE 1000000\n250-8BITMIME\n250 X"
					for _, word := range strings.Fields(c.offers) {
						ehlo = strings.Replace(ehlo, "250-SIZE", "250-"+word+"\n250-SIZE", 1)
					}
					if !stepwise {
						ehlo = strings.Replace(ehlo, "250 X", "250 PIPELINING", 1)
					}
					server := remotetest.New(t, remotetest.Script{"EHLO": ehlo, "LHLO": ehlo})
					network := &remotetest.Net{Remotes: map[string]*remotetest.Remote{"192.0.2.1:25": server}}
					s := newSender(t, network, Options{})
					defer s.Close()
					if c.to == "" {
						c.to = "u@y.test"
					}
					if c.content == "" {
						c.content = plain
					}
					job := newJob(t, memory(c.content), strings.Fields(c.to)...)
					switch c.sender {
					case "":
					case "-":
						job.Env.Sender = smtp.Address{}
					default:
						job.Env.Sender = address(t, c.sender)
					}
					job.Env.Prefix = []byte(c.prefix)
					job.Env.Arrived = time.Now().Add(-time.Minute)
					_, job.Env.Params, _ = smtp.ParseMail("FROM:<>" + c.mail)
					for _, r := range job.Env.Rcpts {
						r.Class = message.ClassRelay
						_, r.Params, _ = smtp.ParseRcpt("TO:<a@b>"+c.rcpt, true)
					}
					if strings.Contains(c.mail, "MT-PRIORITY") {
						job.Env.Priority = 4
					}
					if c.lmtp {
						job.Plan = &message.Plan{Via: message.ViaLMTP, Hosts: []string{"192.0.2.1:25"}}
					}
					outcomes := s.Send(t.Context(), job)
					if got := briefs(outcomes); got != c.want {
						t.Errorf("got %s, want %s", got, c.want)
					}
					if outcomes[0].Notifies != c.notifies {
						t.Errorf("the server notifies: %v", outcomes[0].Notifies)
					}
					messages := server.Messages()
					if c.gotNothing || len(messages) != 1 {
						if !c.gotNothing || len(messages) != 0 {
							t.Errorf("%d messages: %+v", len(messages), messages)
						}
						for _, conn := range server.Conns() {
							if commands := strings.Join(conn.Commands(), " "); strings.Contains(commands, "MAIL") {
								t.Errorf("it was asked: %s", commands)
							}
						}
						return
					}
					m := messages[0]
					_, params, _ := strings.Cut(m.Mail, " ")
					size, params, _ := strings.Cut(params, " ")
					if !strings.HasPrefix(size, "SIZE=") || params != c.gotMail {
						t.Errorf("MAIL %s", m.Mail)
					}
					if _, params, _ := strings.Cut(m.Rcpts[0], " "); params != c.gotRcpt {
						t.Errorf("RCPT %s", m.Rcpts[0])
					}
					want := c.gotContent
					if want == "" {
						want = c.prefix + c.content
						if !strings.Contains(c.offers, "CHUNKING") {
							want += ".\r\n"
						}
					}
					if c.gotPaths != "" {
						from, to := strings.Fields(m.Mail)[0], strings.Fields(m.Rcpts[0])[0]
						if got := strings.Trim(from, "FROM:<>") + " " + strings.Trim(to, "TO:<>"); got != c.gotPaths {
							t.Errorf("paths %q, want %q", got, c.gotPaths)
						}
					}
					if string(m.Content) != want {
						t.Errorf("content %q, want %q", m.Content, want)
					}
				})
			})
		}
	}
}

// TestBinaryRefused: a server may say no at each step of a message that goes by BDAT, and the connection is of use afterwards.
func TestBinaryRefused(t *testing.T) {
	const ehlo = "250-remote.test\n250-PIPELINING\n250-CHUNKING\n250 BINARYMIME"
	for _, c := range []struct {
		script   remotetest.Script
		want     string
		commands string
	}{
		{remotetest.Script{"MAIL#1": "550 5.7.1 no"}, "failed 550 5.7.1", "MAIL RCPT MAIL RCPT BDAT"},
		{remotetest.Script{"RCPT#1": "450 4.2.1 busy"}, "deferred 450 4.2.1", "MAIL RCPT RSET MAIL RCPT BDAT"},
		{remotetest.Script{"dot#1": "451 4.3.0 later"}, "deferred 451 4.3.0", "MAIL RCPT BDAT"},
		{remotetest.Script{"dot#1": "close"}, "deferred 451 4.4.2 unknown", "MAIL RCPT BDAT"},
	} {
		c.script["EHLO"] = ehlo
		server := remotetest.New(t, c.script)
		s := newSender(t, &remotetest.Net{Remotes: map[string]*remotetest.Remote{"192.0.2.1:25": server}}, Options{})
		job := newJob(t, memory("\x00"), "u@y.test")
		job.Env.Params = smtp.Params{{Key: "BODY", Value: "BINARYMIME"}}
		got := briefs(s.Send(t.Context(), job))
		again := briefs(s.Send(t.Context(), job))
		if got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
		if again != "delivered" && again != c.want { // the script of a second connection is the same
			t.Errorf("the next message: %s", again)
		}
		var verbs []string
		for _, line := range server.Conns()[0].Commands()[1:] {
			verb, _, _ := strings.Cut(line, " ")
			if verb != "QUIT" {
				verbs = append(verbs, verb)
			}
		}
		if commands := strings.Join(verbs, " "); commands != c.commands {
			t.Errorf("%s: commands %s, want %s", c.want, commands, c.commands)
		}
	}
}
