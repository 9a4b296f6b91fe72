// Package report reads mail that comes back: what other systems report about messages of ours. Most such reports are a
// multipart/report (RFC 6522): a text for people, a part for programs, and the message or its header. The part for programs is
//
//   - message/delivery-status (RFC 3464) or message/global-delivery-status (RFC 6533): what became of some recipients; or
//   - message/feedback-report (RFC 5965): a complaint, of kind abuse, fraud, virus, not-spam or other, or why a message failed
//     authentication (RFC 6591, as RFC 6651 and DMARC ask for).
//
// Both are blocks of header fields. Of what is not such a report only two things are sure enough to be told: mail with
// X-Failed-Recipients, as some servers name whom they could not reach, and automatic answers by their Auto-Submitted
// (RFC 3834). Texts for people are never guessed at.
//
// Anybody can send a report about anything. So what is read here is what somebody says, and whether it is true must be known from
// elsewhere: from the address that it came to, for example, if that was signed.
//
// Nothing is an error but what cannot be read from the disk: a field that is wrong is passed over. Everything is bounded: the part of the
// message that is looked at, parts and their depth (package message), blocks, fields, values. The time is in proportion to MaxContent
// at most. Values are printable text, without control characters.
package report

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
)

// Bounds of what is looked at and told.
const (
	MaxContent  = 1 << 20   // bytes of the message
	maxBlocks   = 256 << 10 // bytes of the part for programs
	maxOriginal = 64 << 10  // bytes of the header that came back
	maxFields   = 200       // in a block
	MaxRcpts    = 100
	maxList     = 20
	maxValue    = 1000 // bytes
	maxText     = 512  // bytes of a diagnostic
)

// Kind is what a report is.
type Kind string

// The kinds.
const (
	Delivery  Kind = "delivery"   // what became of recipients
	Feedback  Kind = "feedback"   // what somebody thinks of a message
	AutoReply Kind = "auto-reply" // an automatic answer that reports nothing
)

// Report is what a message reports. What it does not say is empty.
type Report struct {
	Kind         Kind
	ReportingMTA string // by name, without its type
	EnvelopeID   string // of the message in question, as its sender chose it
	Rcpts        []Rcpt
	More         bool // there are more recipients than MaxRcpts
	Feedback     *Complaint
	Original     Original
}

// Rcpt is one recipient that a report is about.
type Rcpt struct {
	Final      string // the address that was tried
	Original   string // as the sender had given it
	Action     string // failed, delayed, delivered, relayed or expanded; "": of a complaint
	Status     string // "5.1.1"
	Code       int    // SMTP code of the diagnostic; 0: none
	Enhanced   string // enhanced code in the diagnostic; "": none
	Diagnostic string // without its codes
	RemoteMTA  string
}

// Complaint is what a feedback report says besides.
type Complaint struct {
	Type        string // abuse, fraud, virus, not-spam, auth-failure or other
	UserAgent   string
	MailFrom    string // envelope sender of the message
	SourceIP    string
	Incidents   int // reports that this one stands for; at least 1
	Domains     []string
	URIs        []string
	AuthResults []string // Authentication-Results
	// Of auth-failure (RFC 6591):
	AuthFailure    string // adsp, bodyhash, dmarc, revoked, signature or spf
	DeliveryResult string
	DKIMDomain     string
	DKIMSelector   string
	SPFDNS         string
	Alignment      string // Identity-Alignment (RFC 7489)
}

// Original is what came back of the message's header.
type Original struct {
	MessageID  string // with its angle brackets
	ReturnPath string // address
	From       string // the field
	To         string
	Subject    string
}

// Parse reads what a message reports; nil: nothing. The header is that of the content.
func Parse(c message.Content, h *message.Header) (*Report, error) {
	if c.Size() > MaxContent {
		c = beginning{c}
	}
	typ, params := message.ParseMedia(first(h, "Content-Type"))
	if typ == "multipart/report" {
		r, err := parts(c, h, strings.ToLower(params["report-type"]))
		if r != nil || err != nil {
			return r, err
		}
	}
	return plain(h), nil
}

// parts reads a multipart/report; nil where it is none of the kinds that are known.
func parts(c message.Content, h *message.Header, typ string) (*Report, error) {
	all, _, err := message.Parts(c, h)
	if err != nil {
		return nil, err
	}
	var r *Report
	for _, p := range all {
		switch p.Type {
		case "message/delivery-status", "message/global-delivery-status":
			if r != nil || typ != "" && typ != "delivery-status" {
				continue
			}
			blocks, err := readBlocks(p)
			if err != nil {
				return nil, err
			}
			r = delivery(blocks)
		case "message/feedback-report":
			if r != nil || typ != "" && typ != "feedback-report" {
				continue
			}
			blocks, err := readBlocks(p)
			if err != nil {
				return nil, err
			}
			r = feedback(blocks)
		case "message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers", "message/rfc822-headers":
			if r == nil || r.Original != (Original{}) {
				continue
			}
			text, err := read(p, maxOriginal)
			if err != nil {
				return nil, err
			}
			r.Original = original(text)
		}
	}
	return r, nil
}

// plain reads what the header alone says.
func plain(h *message.Header) *Report {
	auto, _, _ := strings.Cut(strings.ToLower(first(h, "Auto-Submitted")), ";")
	auto = strings.TrimSpace(auto)
	r := &Report{Kind: Delivery}
	for one := range strings.SplitSeq(first(h, "X-Failed-Recipients"), ",") {
		if a := address(one); a != "" {
			r.add(Rcpt{Final: a, Action: "failed"})
		}
	}
	switch {
	case len(r.Rcpts) > 0:
		return r
	case auto == "" || auto == "no":
		return nil
	}
	return &Report{Kind: AutoReply}
}

// add adds a recipient within the bounds.
func (r *Report) add(rcpt Rcpt) {
	if len(r.Rcpts) == MaxRcpts {
		r.More = true
		return
	}
	r.Rcpts = append(r.Rcpts, rcpt)
}

// beginning is the first MaxContent bytes of a content.
type beginning struct{ message.Content }

func (b beginning) Size() int64 { return MaxContent }

func (b beginning) Bytes() []byte {
	if all := b.Content.Bytes(); all != nil {
		return all[:MaxContent]
	}
	return nil
}

func (b beginning) ReadAt(p []byte, off int64) (int, error) {
	if off >= MaxContent {
		return 0, io.EOF
	}
	if off+int64(len(p)) > MaxContent {
		n, err := b.Content.ReadAt(p[:MaxContent-off], off)
		if err == nil {
			err = io.EOF
		}
		return n, err
	}
	return b.Content.ReadAt(p, off)
}

// read gives the beginning of a part, decoded. What cannot be decoded ends it.
func read(p *message.Part, most int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(io.NewSectionReader(p.Content(), 0, MaxContent), most))
	if err != nil && p.Encoding == "" {
		return nil, fmt.Errorf("reading a part: %w", err)
	}
	return text, nil
}

func readBlocks(p *message.Part) (blocks []*message.Header, err error) {
	text, err := read(p, maxBlocks)
	if err != nil {
		return nil, err
	}
	return splitBlocks(text), nil
}

// splitBlocks divides a text at its empty lines. A block that is no header, or has too many fields, is left out.
func splitBlocks(text []byte) (blocks []*message.Header) {
	rest := string(text)
	var block strings.Builder
	end := func() {
		if block.Len() > 0 && len(blocks) <= MaxRcpts+1 { // one more than is told
			if h, err := message.ParseHeader([]byte(block.String()), message.HeaderLimits{Bytes: maxBlocks, Fields: maxFields}); err == nil && h.Len() > 0 {
				blocks = append(blocks, h)
			}
		}
		block.Reset()
	}
	for line := range strings.Lines(rest) {
		if strings.TrimRight(line, " \t\r\n") == "" {
			end()
			continue
		}
		block.WriteString(line)
	}
	end()
	return blocks
}

// original takes what is told of a message from its header.
func original(text []byte) Original {
	for len(text) > 0 && (text[0] == '\r' || text[0] == '\n') { // some leave a line free
		text = text[1:]
	}
	h, err := message.ParseHeader(text, message.HeaderLimits{Bytes: maxOriginal, Fields: maxOriginal})
	if err != nil {
		return Original{}
	}
	return Original{MessageID: first(h, "Message-ID"), ReturnPath: address(first(h, "Return-Path")), From: first(h, "From"), To: first(h, "To"), Subject: first(h, "Subject")}
}

// first is the first field of that name, printable and cut.
func first(h *message.Header, name string) string {
	v, _ := h.Get(name, 0)
	return clean(v, maxValue)
}

// clean makes text of what stood in a field: valid UTF-8 without control characters, white space as one space, at most n bytes.
func clean(s string, n int) string {
	s = strings.ToValidUTF8(s[:min(len(s), 4*n)], "?")
	s = strings.Join(strings.Fields(strings.Map(func(c rune) rune {
		if c == '\t' || c == '\r' || c == '\n' {
			return ' '
		}
		if smtp.IsControl(c) {
			return '?'
		}
		return c
	}, s)), " ")
	for len(s) > n {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}

// address is the address in a text such as "<user@example.org>", or "" where there is none.
func address(s string) string {
	s = strings.TrimSpace(s)
	if inner, ok := strings.CutPrefix(s, "<"); ok {
		s, _, _ = strings.Cut(inner, ">")
	}
	a, err := smtp.ParseUTF8Address(strings.TrimSpace(s))
	if err != nil || a.Domain == "" {
		return ""
	}
	return a.Text
}
