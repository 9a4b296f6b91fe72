package message

import (
	"slices"
	"strings"

	"github.com/stagepost/stagepost/core/smtp"
)

// AppendReceived appends the trace field (RFC 5321 section 4.4). The recipient is named only when there is one, and then as
// the client gave it: more would tell each of the others (section 7.6). In ASCII it stays: a recipient in UTF-8 who has another
// address, too, could otherwise not be sent the message there.
func (e *Envelope) AppendReceived(b []byte, hostname string) []byte {
	s := e.Session
	b = append(b, "Received: "...)
	if s.Helo != "" || s.IP.IsValid() {
		b = append(b, "from "...)
		if s.Helo != "" {
			b = append(b, s.Helo...)
		} else {
			b = append(b, "unknown"...)
		}
		if s.IP.IsValid() {
			b = append(b, " (["...)
			if s.IP.Is6() {
				b = append(b, "IPv6:"...)
			}
			b = s.IP.AppendTo(b)
			b = append(b, "])"...)
		}
		b = append(b, "\r\n\t"...)
	}
	b = append(b, "by "...)
	b = append(b, hostname...)
	if with := e.protocol(); with != "" {
		b = append(b, " with "...)
		b = append(b, with...)
	}
	b = append(b, " id "...)
	b = append(b, e.ID.String()...)
	if len(e.Rcpts) == 1 && !strings.ContainsFunc(e.Rcpts[0].Original.Text, func(r rune) bool { return r > '~' }) {
		b = append(b, "\r\n\tfor <"...)
		b = append(b, e.Rcpts[0].Original.Text...)
		b = append(b, '>')
	}
	if s.TLS != nil && e.protocol() != "" { // RFC 8314 section 4.3
		b = append(b, "\r\n\ttls "...)
		b = append(b, s.TLS.Cipher...)
	}
	b = append(b, "; "...)
	b = e.Arrived.UTC().AppendFormat(b, "Mon, 02 Jan 2006 15:04:05 -0700")
	return append(b, '\r', '\n')
}

// protocol is the registered name (RFC 3848, RFC 6531) for the way the message came; "" for ways that have none.
func (e *Envelope) protocol() string {
	s, with := e.Session, "SMTP"
	switch {
	case s.Role == RoleLMTP:
		with = "LMTP"
	case s.Role != RoleMX && s.Role != RoleSubmission:
		return ""
	case !s.ESMTP:
		return with
	}
	if slices.ContainsFunc(e.Params, func(p smtp.Param) bool { return p.Key == "SMTPUTF8" }) {
		with = "UTF8" + with
	} else if s.Role != RoleLMTP {
		with = "E" + with
	}
	if s.TLS != nil {
		with += "S"
	}
	if s.User != "" {
		with += "A"
	}
	return with
}
