package main

import "fmt"

// places are where the octets of octetsEverywhere stand: %s is the octet.
var places = []struct{ name, before, command string }{
	{"in a local part", "", "MAIL FROM:<{token}a%sb@client.test>"},
	{"in a quoted local part", "", `MAIL FROM:<"{token}a%sb"@client.test>`},
	{"behind a backslash", "", `MAIL FROM:<"{token}a\%sb"@client.test>`},
	{"in a domain", "", "MAIL FROM:<{token}@a%sb.client.test>"},
	{"before an address", "", "MAIL FROM:%s<{from}>"},
	{"behind an address", "", "MAIL FROM:<{from}>%s"},
	{"in a parameter", "", "MAIL FROM:<{from}> SIZE=1%s0"},
	{"in a verb", "", "MA%sIL FROM:<{from}>"},
	{"behind a verb", "", "NOOP%sx"},
	{"in EHLO", "", "EHLO a%sb.test"},
	{"in a recipient", "MAIL FROM:<{from}>", "RCPT TO:<{token}a%sb@{domain}>"},
}

// octetsEverywhere sends each octet but CR and LF in each place of a command. Whatever is said of it, it is one command with one reply,
// and the session goes on; of what is a control nothing may be taken.
func octetsEverywhere() *section {
	sec := &section{number: "1.2g", title: "Each octet in each place of a command"}
	for _, at := range places {
		for c := range 256 {
			if c == '\r' || c == '\n' {
				continue
			}
			text := "section 0 one octet\ncase one octet\nS: 220\nC: EHLO client.test\nS: 250\n"
			if at.before != "" {
				text += "C: " + at.before + "\nS: 250\n"
			}
			accepted := "250|5xx|221!|421!" // Postfix says 221 to what looks like HTTP or a header
			if c < ' ' && c != '\t' || c == 0x7f || c >= 0x80 {
				accepted += " stagepost: 5xx"
			}
			text += "C: " + fmt.Sprintf(at.command, fmt.Sprintf("{x %02X}", c)) + "\nS: " + accepted + "\nC: RSET\nS: 250\nC: QUIT\nR: 221\n"
			one, err := parse("generated", text)
			if err != nil {
				panic(err)
			}
			k := one.cases[0]
			k.section, k.name, k.line, k.generated, k.ways = sec.number, fmt.Sprintf("octet %02X %s", c, at.name), 0, true, k.ways[:1]
			sec.cases = append(sec.cases, k)
		}
	}
	return sec
}
