package main

import (
	"time"
)

// section is a file of cases.
type section struct {
	number, title string
	cases         []*script
}

// script is one case.
type script struct {
	section   string // number
	name      string // "E1", or "E1 in a header field"
	file      string
	line      int
	needs     []string
	ways      []way // in which it is sent
	bound     time.Duration
	slow      bool
	alone     bool
	steps     []step
	generated bool
}

// way is how the octets between two waits are cut.
type way struct {
	kind wayKind
	at   int // for cut: after how many octets of all that is sent
	how  ending
}

type wayKind uint8

const (
	segment wayKind = iota // in one write
	octets                 // one write an octet
	pause                  // in two writes with a pause, at the marked place
	cut                    // as segment, but the client is gone after some octets
)

func (w way) String() string {
	switch w.kind {
	case segment:
		return "in one segment"
	case octets:
		return "byte by byte"
	case pause:
		return "with a pause"
	}
	return "gone early: " + w.how.String()
}

// ending is how a client ends its connection.
type ending uint8

const (
	halfClose ending = iota + 1 // it sends no more, but reads
	reset
	closing
)

func (e ending) String() string { return [...]string{"", "half close", "reset", "close"}[e] }

// step is one line of a case.
type step interface {
	// do takes the step. An error is a verdict: *failure, or what else went wrong with the connection.
	do(p *play) error
}

// Steps.
type (
	// send is text of the client; it goes out before the next step of another type.
	send struct {
		text  template
		times int
	}
	// mark is the place of the pause in the text around it.
	mark struct{}
	// want is a reply.
	want struct{ *pattern }
	// rest is all replies up to the end of the connection.
	rest struct{ *pattern }
	// last is about the reply that was read last.
	last struct{ *pattern }
	// closed wants the end of the connection without a further reply.
	closed struct{}
	// quietly wants no reply for a while.
	quietly struct{ time.Duration }
	// offers is about the reply to EHLO that was read last.
	offers struct {
		keyword string
		not     bool
	}
	// connect begins another connection.
	connect struct{ listener, from string }
	// encrypt is a handshake.
	encrypt struct {
		joined    bool // pending text goes in one segment with ClientHello
		fails     bool // the server must refuse it
		may       bool // it may refuse it
		resumed   bool // the session of an earlier connection must be offered and must not be taken up
		resumes   bool // it must be taken up
		early     bool // pending text is sent as data before the handshake, which goes no further
		protocols []string
		version   uint16
		suites    []uint16
		name      string        // that the client asks for
		shows     string        // a certificate of the client; see clientCertificate
		slow      time.Duration // between two octets of ClientHello
		forged    bool          // what follows is sent by a forger
		updates   int           // so often keys are updated then
	}
	// again begins another handshake on the connection, which must be refused. The connection is of no use afterwards.
	again struct{}
	// decrypt says close_notify and goes on in clear.
	decrypt struct{}
	// end is how the client ends.
	end struct{ ending }
	// flood sends the same again and again until the connection ends.
	flood struct {
		text template
		size int64
		rate time.Duration // between two writes
	}
	// took bounds how much of a flood the server took.
	took struct{ size int64 }
	// each is what each connection of a crowd sends first.
	each struct{ text template }
	// crowd is connections that are held until the case ends.
	crowd struct {
		count    int
		many     bool     // each from an address of its own
		*pattern          // nil: no reply is waited for
		some     *pattern // at least one of the replies
	}
	// arrived is about how many messages came to the next hop.
	arrived struct{ least, most int }
	// told is that as many came as the last reply to a content says: one, or none.
	told struct{}
	// body is the content of each message that came, behind the header.
	body struct{ text template }
	// recipient is that of each message that came, as it stands in RCPT.
	recipient struct{ text template }
	// sender likewise.
	sender struct{ text template }
	// inHeader is what stands in the header of each, or does not.
	inHeader struct {
		text   template
		absent bool
	}
	// wait is a time in which nothing is done.
	wait struct{ time.Duration }
)
