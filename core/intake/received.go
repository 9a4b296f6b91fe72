package intake

import "github.com/stagepost/stagepost/core/message"

// appendReceived appends our trace field (RFC 5321 section 4.4). The recipient is named only when there is one, and then as
// the client gave it: more would tell each of the others (section 7.6).
func appendReceived(b []byte, env *message.Envelope, hostname string) []byte {
	s := env.Session
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
	if with := protocol(s); with != "" {
		b = append(b, " with "...)
		b = append(b, with...)
	}
	b = append(b, " id "...)
	b = append(b, env.ID.String()...)
	if len(env.Rcpts) == 1 {
		b = append(b, "\r\n\tfor <"...)
		b = append(b, env.Rcpts[0].Original.Text...)
		b = append(b, '>')
	}
	b = append(b, "; "...)
	b = env.Arrived.UTC().AppendFormat(b, "Mon, 02 Jan 2006 15:04:05 -0700")
	return append(b, '\r', '\n')
}

// protocol is the registered name (RFC 3848) for the way the message came; "" for ways that have none.
func protocol(s *message.Session) string {
	switch {
	case s.Role == message.RoleLMTP:
		return "LMTP"
	case s.Role != message.RoleMX && s.Role != message.RoleSubmission:
		return ""
	case s.ESMTP:
		return "ESMTP"
	}
	return "SMTP"
}
