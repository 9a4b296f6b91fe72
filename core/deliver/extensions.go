package deliver

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/esmtp"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
)

// offers is what a server offers, as far as it matters here.
type offers struct {
	pipelining, size, eightBit, utf8, chunking, binary, dsn, deliverBy, priority, startTLS, requireTLS bool
	maxSize                                                                                            int64 // 0: not said
	auth                                                                                               []string
}

func offersOf(ext esmtp.Extensions) offers {
	return offers{
		pipelining: ext.Has("PIPELINING"), size: ext.Has("SIZE"), eightBit: ext.Has("8BITMIME"), utf8: ext.Has("SMTPUTF8"),
		chunking: ext.Has("CHUNKING"), binary: ext.Has("BINARYMIME") && ext.Has("CHUNKING"), dsn: ext.Has("DSN"), deliverBy: ext.Has("DELIVERBY"), priority: ext.Has("MT-PRIORITY"),
		startTLS: ext.Has("STARTTLS"), requireTLS: ext.Has("REQUIRETLS"), maxSize: ext.Size(), auth: strings.Fields(strings.ToUpper(ext["AUTH"])),
	}
}

// fit decides those recipients to whom the message cannot go by a server that lacks an extension: nothing is taken away from a
// message to make it fit (RFC 6531 section 3.2, RFC 3030 section 3). A failure is of the message's own content.
func (d *delivery) fit(c *conn) *failure {
	if c.maxSize > 0 && d.size > c.maxSize {
		d.decideAll(smtp.NewReply(552, "5.3.4", fmt.Sprintf("the message has %d octets, more than the %d that %s takes", d.size, c.maxSize, c.label)), "", "")
		return nil
	}
	d.notifies, d.timed, d.binary = c.dsn, c.deliverBy, c.binary && d.says.Body == esmtp.BodyBinary
	d.chunked = d.binary || c.chunking && !d.unchunked && !d.chunkless.has(c.key.addr)
	if d.says.Body == esmtp.BodyBinary && !c.binary {
		binary, err := isBinary(d.sent())
		if err != nil {
			return d.unread(err)
		}
		if binary {
			d.decideAll(smtp.NewReply(554, "5.6.1", c.label+" takes no binary content (BINARYMIME)"), "", "")
			return nil
		}
	}
	wide, err := d.needsUTF8(c)
	if err != nil {
		return d.unread(err)
	}
	d.utf8 = wide
	for i := range d.outcomes {
		rcpt := d.job.Env.Rcpts[d.job.Rcpts[i]]
		_, ascii := c.path(rcpt.Address)
		switch {
		case d.outcomes[i].Result != 0:
		case !c.utf8 && (wide || !ascii):
			d.decide(i, smtp.NewReply(550, "5.6.7", c.label+" takes no addresses and header fields beyond ASCII (SMTPUTF8)"), "", "")
		case d.says.By.Return && !c.deliverBy && !d.lmtp && rcpt.Class == message.ClassRelay:
			d.decide(i, smtp.NewReply(554, "5.3.3", c.label+" does not promise to deliver by a time (DELIVERBY)"), "", "")
		case !ascii:
			d.utf8 = true
		}
	}
	return nil
}

// path is an address as it goes to a server, and whether it is ASCII. Without SMTPUTF8 a domain is written in A-labels, which are the same
// domain (RFC 6531 section 3.7); a local part means something to its own host alone, and stays as it is.
func (c *conn) path(a smtp.Address) (text string, ascii bool) {
	at := strings.LastIndexByte(a.Text, '@')
	if esmtp.IsASCII(a) || c.utf8 || at < 0 || !esmtp.IsASCII(smtp.Address{Text: a.Text[:at]}) {
		return a.Text, esmtp.IsASCII(a)
	}
	return a.Text[:at+1] + a.Domain, true
}

func (d *delivery) unread(err error) *failure {
	return failed(451, "4.3.0", "the content cannot be read: "+err.Error())
}

func (d *delivery) sender() smtp.Address {
	if d.job.Plan.Sender != nil {
		return *d.job.Plan.Sender
	}
	return d.job.Env.Sender
}

// sent is what goes over the wire.
func (d *delivery) sent() message.Content { return d.job.Env.SentTo(d.job.Content, d.job.Rcpts[0]) }

// needsUTF8 tells whether the message can go by SMTPUTF8 alone: for its sender, or for a header that it was declared to have.
func (d *delivery) needsUTF8(c *conn) (bool, error) {
	if _, ascii := c.path(d.sender()); !ascii {
		return true, nil
	}
	if !d.says.UTF8 {
		return false, nil
	}
	wide, end, content := false, false, d.sent()
	var last []byte // of the piece before, where the end of the header may begin
	err := pieces(content, func(piece []byte) bool {
		both := append(last, piece...)
		at := bytes.Index(both, []byte("\r\n\r\n"))
		if end = at >= 0; end {
			both = both[:at]
		}
		wide = wide || !ascii(both)
		last = append([]byte(nil), both[max(0, len(both)-3):]...)
		return !wide && !end
	})
	return wide, err
}

// isBinary tells whether a content is other than lines of at most 998 octets that hold no NUL and no stray CR or LF: only then DATA
// would damage it.
func isBinary(content message.Content) (binary bool, err error) {
	length, cr := 0, false
	err = pieces(content, func(piece []byte) bool {
		for _, b := range piece {
			switch {
			case b == 0, cr != (b == '\n'), length > maxLine:
				binary = true
				return false
			case b == '\n':
				length, cr = 0, false
				continue
			}
			if cr = b == '\r'; !cr {
				length++
			}
		}
		return true
	})
	return binary || cr || length > maxLine, err
}

const maxLine = 998 // octets, RFC 5322 section 2.1.1

// pieces hands a content over piece by piece until f has enough.
func pieces(content message.Content, f func([]byte) bool) error {
	block := blocks.Get().(*[blockSize]byte)
	defer blocks.Put(block)
	for off, size := int64(0), content.Size(); off < size; {
		piece := block[:min(size-off, blockSize)]
		if n, err := content.ReadAt(piece, off); n < len(piece) {
			if err == nil {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if !f(piece) {
			return nil
		}
		off += int64(len(piece))
	}
	return nil
}

// mailParams appends the parameters of MAIL.
func (d *delivery) mailParams(b []byte, c *conn) []byte {
	if c.size {
		b = strconv.AppendInt(append(b, " SIZE="...), d.size, 10)
	}
	switch {
	case d.binary:
		b = append(b, " BODY=BINARYMIME"...)
	case c.eightBit && d.isEightBit():
		b = append(b, " BODY=8BITMIME"...)
	}
	if d.utf8 {
		b = append(b, " SMTPUTF8"...)
	}
	if c.requireTLS && d.says.RequireTLS {
		b = append(b, " REQUIRETLS"...)
	}
	if c.dsn {
		ret := d.says.Return
		if ret != "" && d.says.RequireTLS {
			ret = esmtp.Headers
		}
		if ret != "" {
			b = append(append(b, " RET="...), ret...)
		}
		if d.says.EnvelopeID != "" {
			b = append(append(b, " ENVID="...), esmtp.EncodeXtext(d.says.EnvelopeID)...)
		}
	}
	if c.priority && d.job.Env.Priority != 0 {
		b = strconv.AppendInt(append(b, " MT-PRIORITY="...), int64(d.job.Env.Priority), 10)
	}
	if by := d.says.By; c.deliverBy && !by.At.IsZero() {
		b = append(strconv.AppendInt(append(b, " BY="...), int64(by.At.Sub(d.now())/time.Second), 10), ';')
		if by.Return {
			b = append(b, 'R')
		} else {
			b = append(b, 'N')
		}
		if by.Trace {
			b = append(b, 'T')
		}
	}
	return b
}

// rcptParams appends the parameters of RCPT.
func (d *delivery) rcptParams(b []byte, c *conn, i int) []byte {
	r := d.job.Env.Rcpts[i]
	if !c.dsn || len(r.Params) == 0 {
		return b
	}
	asked, _ := esmtp.ParseRcpt(r.Params) // they were read when they came
	if asked.Notify&esmtp.Success != 0 && d.job.Env.Expanded(i) {
		// The sender is told of the expansion, and not by each of the servers (RFC 3461 section 5.2.7.3).
		if asked.Notify &^= esmtp.Success; asked.Notify == 0 {
			asked.Notify = esmtp.Never
		}
	}
	if asked.Notify != 0 {
		b = append(append(b, " NOTIFY="...), asked.Notify.String()...)
	}
	if asked.Original.Type != "" {
		original := asked.Original.String()
		if d.utf8 {
			original = asked.Original.UTF8()
		}
		b = append(append(b, " ORCPT="...), original...)
	}
	return b
}
