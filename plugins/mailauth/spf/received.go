package spf

import (
	"regexp"
	"strings"
)

// Received is the text of a field Received-SPF (section 9.1). What strangers wrote in it is quoted and bounded.
func (q *Query) Received(v Verdict) string {
	ip := q.IP.Unmap().WithZone("").String()
	local, domain := q.sender()
	who := "domain of " + local + "@" + domain
	if q.Identity == Helo {
		who = q.Helo
	}
	says := map[Result]string{
		Pass:      who + " designates " + ip + " as permitted sender",
		Fail:      who + " does not designate " + ip + " as permitted sender",
		Softfail:  "transitioning " + who + " does not designate " + ip + " as permitted sender",
		Neutral:   ip + " is neither permitted nor denied by " + who,
		None:      who + " does not provide an SPF record",
		Temperror: "the DNS could not tell about " + who,
		Permerror: "the SPF record of " + who + " cannot be used",
	}[v.Result]
	receiver := q.Receiver
	if receiver == "" {
		receiver = "unknown"
	}
	var b strings.Builder
	b.WriteString(string(v.Result) + " (" + comment(receiver+": "+says) + ")")
	pair := func(key, value string) {
		b.WriteString(" " + key + "=" + word(value) + ";")
	}
	pair("receiver", receiver)
	pair("identity", string(q.Identity))
	pair("client-ip", ip)
	pair("helo", q.Helo)
	if q.Identity == Mail {
		pair("envelope-from", q.Sender)
	}
	if v.Mechanism != "" {
		pair("mechanism", v.Mechanism)
	}
	if v.Problem != "" {
		pair("problem", v.Problem)
	}
	return strings.TrimSuffix(b.String(), ";")
}

// plain is a stranger's text in visible ASCII, short enough for a header.
func plain(s string, most int) string {
	if len(s) > most {
		s = s[:most-3] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// comment makes text stand within the round brackets of a comment (RFC 5322 section 3.2.2).
func comment(s string) string {
	return strings.NewReplacer(`\`, `\\`, "(", `\(`, ")", `\)`).Replace(plain(s, 400))
}

var dotAtom = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*$")

// word is a dot-atom or a quoted string (RFC 5322 sections 3.2.3, 3.2.4).
func word(s string) string {
	if s = plain(s, 300); dotAtom.MatchString(s) {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
