package server

import (
	"encoding/base64"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// code is the number with which a text begins.
func code(text string) int {
	n, _ := strconv.Atoi(text[:3])
	return n
}

// plain is what a client says for PLAIN: the name that is also what plugins say of it.
func plain(response string) string {
	switch response {
	case "", "*", "!!!":
		return response
	}
	return base64.StdEncoding.EncodeToString([]byte("\x00" + response + "\x00secret"))
}

func does(code int) func(*model) int { return func(*model) int { return code } }

// acts are the lines that clients send here. Each is listed as often as it should come up.
func acts(lmtp bool) (all []*act) {
	add := func(n int, a *act) {
		for range n {
			all = append(all, a)
		}
	}
	hellos := []string{"EHLO", "HELO"}
	if lmtp {
		hellos = []string{"LHLO", "LHLO"}
	}
	for _, verb := range hellos {
		for _, name := range []string{"client.example", "other.example", "reject.example", "defer.example"} {
			weight := 2
			if byWord(name) == 250 {
				weight = 20
			}
			add(weight, &act{raw: verb + " " + name + "\r\n", last: true, clears: true, idles: true, early: true,
				do: func(m *model) int { return m.greet(name, verb != "HELO") }})
		}
		add(1, &act{raw: verb + " close.example\r\n", last: true, clears: true, idles: true, early: true,
			do: func(m *model) int { return m.greet("close.example", verb != "HELO") }})
		add(1, &act{raw: verb + "\r\n", last: true, clears: true, idles: true, early: true, do: does(501)})
	}
	for _, local := range []string{"", "a", "b", "a", "reject", "defer", "discard", "data-reject", "data-defer", "data-discard"} {
		sender := ""
		if local != "" {
			sender = local + "@client.example"
		}
		weight := 6
		if byWord(local) == 250 {
			weight = 30
		}
		add(weight, &act{raw: "MAIL FROM:<" + sender + ">\r\n", do: func(m *model) int { return m.mail(sender, "", 0) }})
		add(3, &act{raw: "MAIL FROM:<" + sender + "> BODY=BINARYMIME\r\n", do: func(m *model) int { return m.mail(sender, " BODY=BINARYMIME", 0) }})
		add(1, &act{raw: "mail From: <" + sender + "> SIZE=300 BODY=8BITMIME\r\n", do: func(m *model) int { return m.mail(sender, " SIZE=300 BODY=8BITMIME", 300) }})
	}
	for _, params := range []string{" SMTPUTF8", " RET=HDRS ENVID=a+2Bb", " BODY=7BIT SMTPUTF8 RET=FULL"} {
		add(8, &act{raw: "MAIL FROM:<b@client.example>" + params + "\r\n", do: func(m *model) int { return m.mail("b@client.example", params, 0) }})
	}
	add(4, &act{raw: "MAIL FROM:<\u00e4@client.example> SMTPUTF8\r\n", do: func(m *model) int { return m.mail("\u00e4@client.example", " SMTPUTF8", 0) }})
	add(6, &act{raw: "MAIL FROM:<b@client.example> HOLDFOR=60\r\n", do: func(m *model) int {
		if m.tx == nil && m.user == "" {
			return 555
		}
		return m.mail("b@client.example", " HOLDFOR=60", 0)
	}})
	add(4, &act{raw: "MAIL FROM:<b@client.example> REQUIRETLS\r\n", do: func(m *model) int {
		if m.tx == nil && !m.encrypted {
			return 555
		}
		return m.mail("b@client.example", " REQUIRETLS", 0)
	}})
	for _, response := range []string{"", "", "good", "wrong", "defer", "!!!", "good"} {
		add(10, &act{raw: strings.TrimSuffix("AUTH PLAIN "+plain(response), " ") + "\r\n", last: true, do: func(m *model) int { return m.auth("PLAIN", response) }})
	}
	add(1, &act{raw: "AUTH CRAM-MD5\r\n", last: true, do: func(m *model) int { return m.auth("CRAM-MD5", "") }})
	add(1, &act{raw: "AUTH\r\n", last: true, do: does(501)})
	add(2, &act{raw: "MAIL FROM:<a@client.example> SIZE=99999999999\r\n", do: func(m *model) int { return m.mail("a@client.example", " SIZE=99999999999", 99999999999) }})
	for _, arg := range []string{"555 FROM:<a@client.example> NOSUCH=1", "501 FROM:<a@b@c>", "501 FROM:a@client.example", "501 FROM:<a@client.example> SIZE=1 SIZE=2",
		"501 FROM:<a@client.example> SIZE=-1", "501 FROM:<a@client.example> BODY=x", "501 FROM:<a@client.example> ENVID=+0A",
		"555 FROM:<a@client.example> NOTIFY=NEVER", "553 FROM:<\u00e4@client.example>", "501 TO:<a@client.example>"} {
		add(1, &act{raw: "MAIL " + arg[4:] + "\r\n", do: func(m *model) int {
			if m.tx != nil {
				return 503
			}
			return code(arg)
		}})
	}
	for _, sender := range []string{"close@client.example", "data-close@client.example"} {
		add(1, &act{raw: "MAIL FROM:<" + sender + ">\r\n", do: func(m *model) int { return m.mail(sender, "", 0) }})
	}
	add(1, &act{raw: "RCPT TO:<close@example.org>\r\n", do: func(m *model) int { return m.rcpt("close@example.org") }})
	add(1, &act{raw: "MAIL\r\n", do: does(501)})
	for _, to := range []string{"u@example.org", "v@example.org", "u@example.org", "reject@example.org", "defer@example.org", "discard@example.org", "u@elsewhere.example", "w@example.org", "x@example.org"} {
		weight := 10
		if byWord(to) == 250 {
			weight = 40
		}
		add(weight, &act{raw: "RCPT TO:<" + to + ">\r\n", do: func(m *model) int { return m.rcpt(to) }})
	}
	add(10, &act{raw: "RCPT TO:<v@example.org> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;v+2B@example.org\r\n", do: func(m *model) int { return m.rcpt("v@example.org") }})
	add(10, &act{raw: "RCPT TO:<\u00fc@example.org>\r\n", do: func(m *model) int {
		switch {
		case m.tx == nil || m.tx.begun:
			return 503
		case !strings.Contains(m.tx.params, " SMTPUTF8"):
			return 553
		}
		return m.rcpt("\u00fc@example.org")
	}})
	for _, arg := range []string{"501 TO:<u@example.org> ORCPT=rfc822;a+00b", "501 TO:<u@example.org> NOTIFY=NEVER,DELAY", "501 TO:<>", "555 TO:<u@example.org> NOSUCH", "501 TO:<u@example.org>x", "501 "} {
		add(1, &act{raw: "RCPT " + arg[4:] + "\r\n", do: func(m *model) int {
			if m.tx == nil || m.tx.begun {
				return 503
			}
			return code(arg)
		}})
	}
	add(80, &act{raw: "DATA\r\n", last: true, do: (*model).data})
	add(1, &act{raw: "DATA x\r\n", last: true, do: func(m *model) int {
		if m.tx == nil || m.tx.begun {
			return 503
		}
		return 501
	}})
	for _, chunk := range []string{"", "", "a: 1\r\n", "a: 1\r\n", "\r\n.\r\n", "\r\nQUIT\r\n", "x", "\r", "\n", "\r\n", "QUIT\r\n.\r", "\n.\r\n", "\x00", strings.Repeat("0123456789abcde\r\n", 70), strings.Repeat("NOOP\r\n", 350)} {
		for _, last := range []bool{false, true} {
			arg, weight := strconv.Itoa(len(chunk)), 1
			if last {
				arg, weight = arg+" LAST", 3
			}
			add(weight, &act{raw: "BDAT " + arg + "\r\n" + chunk, framed: chunk != "", early: true, do: func(m *model) int { return m.bdat(chunk, last) }})
		}
	}
	for _, raw := range []string{"BDAT\r\n", "BDAT -1\r\nxx", "BDAT 5 LAST x\r\nQUIT\r\n", "bdat\t5\r\nQUIT\r\n"} {
		add(1, &act{raw: raw, framed: true, unknown: true, do: func(m *model) int { m.over = true; return 501 }})
	}
	add(4, &act{raw: "STARTTLS\r\n", last: true, secures: true, do: (*model).startTLS})
	add(1, &act{raw: "STARTTLS x\r\n", last: true, do: does(501)})
	add(1, &act{raw: "GET / HTTP/1.1\r\n", early: true, do: func(m *model) int { m.over = true; return 554 }})
	add(1, &act{raw: "XCLIENT ADDR=127.0.0.1\r\n", last: true, idles: true, early: true, do: does(550)})
	add(10, &act{raw: "RSET\r\n", clears: true, idles: true, early: true, do: does(250)})
	add(1, &act{raw: "RSET x\r\n", clears: true, idles: true, early: true, do: does(501)})
	add(4, &act{raw: "noop x \r\n", last: true, idles: true, early: true, do: does(250)})
	add(1, &act{raw: "VRFY u\r\n", last: true, idles: true, early: true, do: does(252)})
	add(1, &act{raw: "VRFY\r\n", last: true, idles: true, early: true, do: does(501)})
	add(1, &act{raw: "EXPN u\r\n", last: true, idles: true, early: true, do: does(502)})
	add(1, &act{raw: "HELP\r\n", last: true, idles: true, early: true, do: does(214)})
	add(1, &act{raw: "QUIT\r\n", leaves: true, early: true, do: func(m *model) int { m.over = true; return 221 }})
	add(1, &act{raw: "QUIT x\r\n", leaves: true, early: true, do: does(501)})
	foreign := []string{"500 LHLO client.example"}
	if lmtp {
		foreign = []string{"500 EHLO client.example", "500 HELO client.example"}
	}
	for _, raw := range append(foreign, "500 TURN", "500 ", "500 250 ok", "501 MAIL\tFROM:<a@client.example>", "500 NOOP \xff", "501 VRFY \x7f") {
		add(1, &act{raw: raw[4:] + "\r\n", unknown: true, do: does(code(raw))})
	}
	for _, raw := range []string{"NOOP\n", "MAIL FROM:<a@client.example>\n", "BDAT 5 LAST\n", "\n"} {
		add(1, &act{raw: raw, bareLF: true})
	}
	for _, raw := range []string{"MAIL FROM:<a@client.example>\rRCPT TO:<u@example.org>\r\n", "NOOP\x00\r\n", "BDAT 5\x00\r\n", "NOOP " + strings.Repeat("x", 13_000) + "\r\n", "\rNOOP\r\n"} {
		add(1, &act{raw: raw, fault: true})
	}
	return all
}

// letters are the contents that are sent after 354. Each stray end of data makes one that is refused, with commands in it.
func letters(maxSize int) (all []*letter) {
	const head = "Subject: x\r\n\r\n"
	for range 20 {
		all = append(all,
			&letter{head + "text\r\n.\r\n", head + "text\r\n", 0},
			&letter{head + "..\r\n.x\r\n.\r\n", head + ".\r\nx\r\n", 0})
	}
	all = append(all, &letter{".\r\n", "", 0}, &letter{head + "MAIL FROM:<evil@client.example>\r\nQUIT\r\n.\r\n", head + "MAIL FROM:<evil@client.example>\r\nQUIT\r\n", 0},
		&letter{head + strings.Repeat("0123456789abcde\r\n", maxSize/16) + ".\r\n", "", 552},
		&letter{strings.Repeat("Received: x\r\n", 100) + "\r\n.\r\n", "", 554})
	for _, name := range slices.Sorted(maps.Keys(strays)) {
		x := strays[name]
		if strings.HasPrefix(name, "E22") && name != "E22c" {
			continue // dots that are stuffed, no stray
		}
		all = append(all, &letter{head + "text" + x + smuggled, "", 550})
	}
	return all
}
