package smtp

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Bounds of a reply. The line is that of RFC 5321 4.5.3.1.5, code and CRLF included.
const (
	maxReplyLine  = 512
	maxReplyLines = 100
)

// Reply is one answer of a server, sent or received. As an error it is a command that was refused.
type Reply struct {
	Code     int      // 200 to 599
	Enhanced string   // RFC 3463 status code such as "5.7.1", of the class of Code; "" for none
	Text     []string // one element a line, without code and enhanced code; HT and printable ASCII
}

// NewReply returns a reply with one line for each text.
func NewReply(code int, enhanced string, text ...string) Reply {
	return Reply{Code: code, Enhanced: enhanced, Text: text}
}

// Positive tells whether the command was completed (2yz) or waits for more (3yz).
func (r Reply) Positive() bool { return r.Code >= 200 && r.Code < 400 }

// Temporary tells whether the command may succeed later (4yz).
func (r Reply) Temporary() bool { return r.Code/100 == 4 }

// Error returns the reply on one line.
func (r Reply) Error() string {
	parts := make([]string, 0, 2+len(r.Text))
	parts = append(parts, strconv.Itoa(r.Code))
	if r.Enhanced != "" {
		parts = append(parts, r.Enhanced)
	}
	return strings.Join(append(parts, r.Text...), " ")
}

// Check tells why a reply, made by a plugin for instance, cannot be sent as it is.
func (r Reply) Check() error {
	if r.Code < 200 || r.Code > 599 {
		return fmt.Errorf("reply code %d is not between 200 and 599", r.Code)
	}
	overhead := len("250-\r\n")
	if r.Enhanced != "" {
		if !validEnhanced(r.Enhanced, r.Code) {
			return fmt.Errorf("enhanced code %q does not fit reply code %d: want %d.x.y", r.Enhanced, r.Code, r.Code/100)
		}
		overhead += len(r.Enhanced) + 1
	}
	if len(r.Text) > maxReplyLines {
		return fmt.Errorf("reply has %d lines, at most %d are allowed", len(r.Text), maxReplyLines)
	}
	for i, line := range r.Text {
		if len(line)+overhead > maxReplyLine {
			return fmt.Errorf("reply line %d has %d octets, at most %d are allowed", i+1, len(line), maxReplyLine-overhead)
		}
		for j := range len(line) {
			if !isReplyText(line[j]) {
				return fmt.Errorf("reply line %d holds %q, only printable ASCII is allowed", i+1, line[j:j+1])
			}
		}
	}
	return nil
}

// Append appends the reply as it goes over the wire. It is safe for any value, so that no text, wherever it came from,
// can forge a second reply: what Check refuses is cut or replaced by "?", and a code out of range becomes 451.
func (r Reply) Append(b []byte) []byte {
	if r.Code < 200 || r.Code > 599 {
		r.Code, r.Enhanced = 451, ""
	}
	if !validEnhanced(r.Enhanced, r.Code) {
		r.Enhanced = ""
	}
	last := min(len(r.Text), maxReplyLines) - 1
	for i := 0; i == 0 || i <= last; i++ {
		start := len(b)
		b = strconv.AppendInt(b, int64(r.Code), 10)
		text := ""
		if len(r.Text) > 0 {
			text = r.Text[i]
		}
		if i < last {
			b = append(b, '-')
		} else if r.Enhanced != "" || text != "" || r.Code == 334 { // "334 " is a challenge without text (RFC 4954 section 4)
			b = append(b, ' ')
		}
		if r.Enhanced != "" {
			b = append(b, r.Enhanced...)
			if text != "" {
				b = append(b, ' ')
			}
		}
		room := maxReplyLine - len("\r\n") - (len(b) - start)
		b = appendReplyText(b, text[:min(len(text), room)])
		b = append(b, '\r', '\n')
	}
	return b
}

// isReplyText is textstring of RFC 5321 4.2.
func isReplyText(c byte) bool { return c == '\t' || c >= ' ' && c <= '~' }

func appendReplyText[T string | []byte](b []byte, text T) []byte {
	start := len(b)
	b = append(b, text...)
	for i := start; i < len(b); i++ {
		if !isReplyText(b[i]) {
			b[i] = '?'
		}
	}
	return b
}

// validEnhanced tells whether s is a status code of RFC 3463 section 2 that belongs to a reply code. There is none for
// 3yz (RFC 2034 section 3).
func validEnhanced(s string, code int) bool {
	if len(s) < 5 || int(s[0]-'0') != code/100 || s[0] != '2' && s[0] != '4' && s[0] != '5' || s[1] != '.' {
		return false
	}
	subject, detail, ok := strings.Cut(s[2:], ".")
	return ok && len(subject) <= 3 && len(detail) <= 3 && isDigits(subject) && isDigits(detail)
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// maxReplySize bounds a whole reply that is read, however its lines are cut.
const maxReplySize = 32 << 10

// ReadReply reads one reply of a server. A reply that breaks the grammar, in any way but a missing text (RFC 5321 4.2
// asks to bear that), is a *Fault with a 451 reply: where the next one would start is unknown, so the caller must close
// the connection and treat what it tried as a temporary failure. Octets that are not printable ASCII become "?".
// The enhanced code is taken off each line that has it.
func (r *Reader) ReadReply() (Reply, error) {
	var reply Reply
	for size := 0; ; {
		line, err := r.ReadLine()
		if fault := (*Fault)(nil); errors.As(err, &fault) {
			return Reply{}, badReply(fault.Kind, fault.Kind.String())
		} else if err != nil {
			return Reply{}, err
		}
		if size += len(line); size > maxReplySize || len(reply.Text) == maxReplyLines {
			return Reply{}, badReply(BadReply, "it is too long")
		}
		if len(line) < 3 || line[0] < '2' || line[0] > '5' || !isDigits(string(line[1:3])) {
			return Reply{}, badReply(BadReply, "a line without a reply code")
		}
		code := int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
		if reply.Code != 0 && code != reply.Code {
			return Reply{}, badReply(BadReply, "lines with different codes")
		}
		reply.Code = code
		last, text := true, ""
		if len(line) > 3 {
			if line[3] != ' ' && line[3] != '-' {
				return Reply{}, badReply(BadReply, "a reply code without a space after it")
			}
			last = line[3] == ' '
			text = string(appendReplyText(make([]byte, 0, len(line)-4), line[4:]))
		}
		if enhanced, rest, _ := strings.Cut(text, " "); validEnhanced(enhanced, code) &&
			(reply.Enhanced == "" || reply.Enhanced == enhanced) {
			reply.Enhanced, text = enhanced, rest
		}
		reply.Text = append(reply.Text, text)
		if last {
			return reply, nil
		}
	}
}

func badReply(kind FaultKind, why string) *Fault {
	return &Fault{Kind: kind, Fatal: true, Reply: NewReply(451, "4.5.0", "the remote server sent a bad reply: "+why)}
}
