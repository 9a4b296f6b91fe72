package server

import (
	"net/netip"
	"slices"

	"github.com/stagepost/stagepost/core/esmtp"
	"github.com/stagepost/stagepost/core/intake"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
)

var replyStranger = smtp.NewReply(550, "5.7.0", "XCLIENT is not for you")

// believed tells whether the client may say who it speaks for. Where it connected from decides, not what it said before.
func (s *session) believed() bool {
	return slices.ContainsFunc(s.at.XClient, func(p netip.Prefix) bool { return p.Contains(s.peer.WithZone("")) })
}

// xclient begins the session anew as that of another client, up to the greeting.
func (s *session) xclient(arg string) intake.Answer {
	i := &s.info
	x, err := esmtp.ParseXClient(arg, esmtp.XClient{IP: i.IP, Port: i.Port, LocalIP: i.LocalIP, LocalPort: i.LocalPort, Login: i.User})
	switch {
	case !s.believed():
		return say(replyStranger)
	case s.tx != nil:
		return say(replyNested)
	case err != nil:
		return sayError(err)
	}
	i.Life.End()
	if s.asked != nil {
		s.asked.Abandon()
	}
	s.asked, s.late[0], s.late[1] = nil, nil, nil
	s.info = message.Session{ID: i.ID, Role: i.Role, Listener: i.Listener, Origin: i.Origin, TLS: i.TLS, Errors: i.Errors, Life: &message.Life{},
		IP: x.IP, Port: x.Port, LocalIP: x.LocalIP, LocalPort: x.LocalPort, User: x.Login}
	s.flush()
	s.rest()
	s.start()
	return intake.Answer{}
}
