package deliver

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
	"github.com/stagepost/stagepost/core/message"
)

// downgrade is what somebody on the way, or a server with a fault, makes of STARTTLS: of the greeting, of the offer, of the answer, of what
// comes behind it, and of TLS itself. They are the kinds that were found in clients of mail by the authors of "Why TLS Is Better Without
// STARTTLS" (USENIX Security 2021).
type downgrade struct {
	name   string
	script remotetest.Script
	tls    bool // TLS comes about, though not with whom it should
}

func downgrades() []downgrade {
	all := []downgrade{
		{name: "not offered", script: remotetest.Script{}},
		{name: "offered in the greeting alone", script: remotetest.Script{"banner": "220-mx.y.test\n220-STARTTLS\n220 STARTTLS"}},
		{name: "words like it", script: remotetest.Script{"EHLO": "250-mx.y.test\n250-XSTARTTLS\n250-STARTTLSX\n250-START TLS\n250 TLS"}},
		{name: "in the line of the name", script: remotetest.Script{"EHLO": "250-STARTTLS\n250 8BITMIME"}},
		{name: "as the value of another", script: remotetest.Script{"EHLO": "250-mx.y.test\n250-AUTH PLAIN STARTTLS\n250 X STARTTLS"}},
		{name: "a log-in in its place", script: remotetest.Script{"EHLO": "250-mx.y.test\n250-AUTH PLAIN LOGIN\n250 AUTH=PLAIN", "AUTH": "235 2.7.0 welcome"}},
		{name: "EHLO is not known", script: remotetest.Script{"EHLO": "502 5.5.1 what?"}},
		{name: "EHLO is a syntax error", script: remotetest.Script{"EHLO": "500 what?"}},
		{name: "EHLO is refused, with an offer", script: remotetest.Script{"EHLO": "550-mx.y.test\n550 STARTTLS"}},
		{name: "EHLO is refused", script: remotetest.Script{"EHLO": "550 5.7.1 no such user"}},
		{name: "the greeting refuses", script: remotetest.Script{"banner": "554 5.7.1 no mail for this domain"}},
		{name: "EHLO is answered in advance", script: remotetest.Script{"banner": "raw 220 mx.y.test\r\n250 mx.y.test\r\n"}},
		{name: "welcome, without a log-in", script: remotetest.Script{"banner": "235 2.7.0 authenticated"}},
		{name: "garbage before the offer", script: remotetest.Script{"EHLO": "raw x\r\n250-mx.y.test\r\n250 STARTTLS\r\n"}},
	}
	offered := func(name, starttls string) {
		all = append(all, downgrade{name: name, script: remotetest.Script{"EHLO": "250-mx.y.test\n250-STARTTLS\n250-AUTH PLAIN\n250 8BITMIME", "STARTTLS": starttls, "AUTH": "235 2.7.0 welcome"}})
	}
	for _, reply := range []string{"200 ok", "214 help", "221 2.0.0 bye", "235 2.7.0 authenticated", "250 2.0.0 ok", "251 ok", "252 ok", "299 ok", "334 ", "354 go ahead", "421 4.3.2 not now",
		"450 4.7.0 not now", "451 4.7.0 not now", "452 4.7.0 not now", "454 4.7.0 TLS is not available", "500 5.5.1 what?", "501 5.5.4 no parameters", "502 5.5.1 not implemented", "503 5.5.1 not now", "504 5.5.4 no",
		"530 5.7.0 say STARTTLS first", "534 5.7.9 no", "538 5.7.11 no", "550 5.7.1 no", "554 5.7.3 no", "220-ready\n250 ready", "199 ok", "600 ok"} {
		offered("answered "+strings.ReplaceAll(reply, "\n", ", "), reply)
	}
	for name, raw := range map[string]string{
		"no reply to it, and no more":    "silent",
		"the connection ends":            "close",
		"a reply without a code":         "raw go ahead\r\n",
		"a reply of two digits":          "raw 22 go ahead\r\n",
		"an empty line":                  "raw \r\n",
		"a reply without an end":         "raw 220-go ahead\r\n | close",
		"220, and then nothing":          "220 go ahead | silent",
		"220, and the end":               "220 go ahead | close",
		"220, and it goes on in clear":   "220 go ahead",
		"220, and more text":             "220 go ahead | heard | raw 250-mx.y.test\r\n250 AUTH PLAIN\r\n",
		"220, and HTTP":                  "220 go ahead | heard | raw HTTP/1.1 400 Bad Request\r\n\r\n",
		"220, and an alert":              "220 go ahead | heard | raw \x15\x03\x03\x00\x02\x02\x28",
		"220, and no TLS newer than 1.1": "220 go ahead | tls old",
	} {
		offered(name, raw)
	}
	// Replies behind the 220 in clear, which would be taken for those of what is said inside TLS (CVE-2011-0411 the other way around).
	for name, behind := range map[string]string{"an EHLO": "250-mx.y.test\r\n250 AUTH PLAIN\r\n", "a whole dialogue": "250 mx.y.test\r\n235 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n",
		"a second 220": "220 go ahead\r\n", "a refusal": "454 4.7.0 not now\r\n", "half a line": "250", "one octet": "x", "an empty line": "\r\n", "a NUL": "\x00"} {
		offered("behind it, "+name, "raw 220 go ahead\r\n"+behind+" | tls")
	}
	for _, kind := range []string{"wrong", "expired", "self"} {
		offered("a certificate that is "+kind, "220 go ahead | tls "+kind)
		all[len(all)-1].tls = true
	}
	return all
}

// TestDowngrade: whatever is made of STARTTLS, nothing of a message goes in clear where TLS is demanded, none at all to whom it was not meant
// for where the server has to show who it is, and no password ever. Nor does it fail for good: somebody on the way could stop all mail so.
func TestDowngrade(t *testing.T) {
	cases := downgrades()
	for _, c := range cases {
		for _, level := range []message.TLSLevel{message.TLSRequired, message.TLSVerified, message.TLSAuto} {
			t.Run(fmt.Sprintf("%s/%s", c.name, level), func(t *testing.T) {
				tlsWorld(t, func(t *testing.T, w *secured) {
					w.opts.Secret = func(string) ([]byte, bool, error) { return []byte(hidden), true, nil }
					job := newJob(t, memory(plain), "u@y.test")
					job.Plan.TLS = level
					if level == message.TLSAuto { // encryption is not demanded, but that the password is not told to everybody is
						job.Plan.Auth = message.Auth{User: "relay", Secret: "s"}
					}
					got := w.send(t, job)
					if level != message.TLSAuto && strings.HasPrefix(got, "failed") {
						t.Errorf("what was said in clear fails the message for good: %s", got)
					}
					if came := c.tls && level != message.TLSVerified; came != (got == "delivered") {
						t.Errorf("%s: %s", got, w.last())
					}
					for _, conn := range w.remote.Conns() {
						inClear := conn.Commands()
						if i := slices.Index(inClear, "STARTTLS"); i >= 0 && conn.TLS() != nil {
							inClear = inClear[:i+1]
						}
						for _, line := range inClear {
							if verb, _, _ := strings.Cut(line, " "); slices.Contains([]string{"AUTH", "MAIL", "RCPT", "DATA", "BDAT", "."}, verb) {
								t.Errorf("said in clear: %q of %q", line, conn.Commands())
							}
						}
					}
				}, c.script)
			})
		}
	}
	if len(cases) < 61 {
		t.Errorf("%d cases only", len(cases))
	}
}
