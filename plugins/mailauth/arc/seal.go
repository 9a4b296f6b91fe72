package arc

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/plugins/mailauth/dkim"
)

// Sealing says how a message is sealed.
type Sealing struct {
	Domain, Selector string
	Key              *dkim.PrivateKey
	// CV is what the validation came to when the message came in. It does not matter for a message without a chain.
	CV      Status
	Results string // the authentication results: the name of who checked, a semicolon, and what he found (RFC 8601)
	Time    time.Time
}

// Sealed holds the values of the three fields, folded. They are put on top of the message in this order.
type Sealed struct {
	Seal, Signature, Results string
	Instance                 int
	CV                       Status
}

// signed are the fields that a message signature covers, those that the message has: what readers see (RFC 6376 section 5.4.1), and the
// signatures of others (RFC 8617 section 4.1.2). From is covered once more, so that nobody adds one.
func signed() []string {
	return []string{
		"From", "Sender", "Reply-To", "Subject", "Date", "Message-ID", "To", "Cc", "In-Reply-To", "References", "MIME-Version", "Content-Type",
		"Content-Transfer-Encoding", "List-Id", "List-Post", "List-Unsubscribe", "List-Unsubscribe-Post", "DKIM-Signature",
	}
}

// Bounds of what is made.
const (
	maxSame    = 10       // fields of one name that are covered, the lowest: nobody needs more, and h= has an end
	maxResults = 12 << 10 // octets, with room below maxField for line ends
)

// Seal makes one more set for a message whose header, h, is as it goes out (RFC 8617 section 5.1). It is nil where there must be none: the
// newest seal says that the chain failed, or there are 50; and where nobody could verify it: there is no From to sign, or a line in the
// header that is no field. A chain that is not sound is sealed as failed, whatever CV says.
func Seal(ctx context.Context, h *message.Header, content message.Content, s Sealing) (*Sealed, error) {
	if h.Malformed() || h.Count("From") == 0 {
		return nil, nil
	}
	c := collect(h)
	if newest := c.newest(); newest != nil {
		if last, err := parseSeal(newest); err == nil && last.cv == Fail {
			return nil, nil
		}
	}
	if c.highest >= MaxSets {
		return nil, nil
	}
	cv := s.CV
	switch {
	case c.none():
		cv = None
	case c.sound() != "":
		cv = Fail
	case cv != Pass && cv != Fail:
		return nil, errors.New("the message has a chain, so cv must say what its validation came to: pass or fail")
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	body, err := hashBody(ctx, h, content, dkim.Relaxed)
	if err != nil {
		return nil, err
	}
	if body[dkim.Relaxed] == nil {
		return nil, errors.New("there was no time left to read the body")
	}
	out := &Sealed{Instance: c.highest + 1, CV: cv}
	first := out.Instance
	if cv != Fail { // section 5.1.2
		first = 1
	}
	out.Results = s.results(out.Instance)
	if out.Signature, err = s.sign(h, out.Instance, body[dkim.Relaxed]); err != nil {
		return nil, err
	}
	value := s.seal(out.Instance, cv)
	c.sets[out.Instance] = &set{results: fresh(ResultsField, out.Results), signature: fresh(SignatureField, out.Signature)}
	sum := sha256.New()
	if err := c.sealed(sum, first, out.Instance, raw(SealField, value)); err != nil {
		return nil, err
	}
	if out.Seal, err = s.finish(value, sum.Sum(nil)); err != nil {
		return nil, err
	}
	return out, nil
}

// raw is a field as it is sent.
func raw(name, value string) []byte { return []byte(name + ": " + value + "\r\n") }

func fresh(name, value string) *field { return &field{Field: message.Field{Raw: raw(name, value)}} }

// check tells what nobody who validates would take.
func (s *Sealing) check() error {
	switch {
	case s.Key == nil:
		return errors.New("there is no key")
	case strings.Trim(s.Results, " \t\r\n") == "":
		return errors.New("there are no authentication results; where nothing was checked they are \"NAME; none\"")
	case strings.ContainsFunc(s.Results, func(r rune) bool { return r < ' ' && r != '\t' && r != '\r' && r != '\n' || r == 0x7f }):
		return errors.New("the authentication results have a control character")
	case len(s.Results) > maxResults:
		return fmt.Errorf("the authentication results have %d octets; %d are the most", len(s.Results), maxResults)
	}
	tags, err := dkim.ParseTags("a=" + string(s.Key.Algorithm()) + "; d=" + s.Domain + "; s=" + s.Selector + "; b=AAAA")
	if err == nil {
		_, err = tags.Seal()
	}
	if err == nil && len(tags) != 4 {
		err = fmt.Errorf("d=%q and s=%q are not a domain and a selector", s.Domain, s.Selector)
	}
	return err
}

// results is the value of ARC-Authentication-Results, with line ends only where words end. What is not ASCII would be written otherwise
// where it is added, so it is replaced.
func (s *Sealing) results(instance int) string {
	f := &folded{column: len(ResultsField + ":")}
	f.word("i=" + strconv.Itoa(instance) + ";")
	for _, word := range strings.Fields(s.Results) {
		f.word(strings.Map(func(r rune) rune {
			if r >= 0x80 {
				return '?'
			}
			return r
		}, word))
	}
	return f.String()
}

// common begins both signatures.
func (s *Sealing) common(name string, instance int) *folded {
	f := &folded{column: len(name + ":")}
	f.word("i=" + strconv.Itoa(instance) + ";")
	f.word("a=" + string(s.Key.Algorithm()) + ";")
	if !s.Time.IsZero() {
		f.word("t=" + strconv.FormatInt(s.Time.Unix(), 10) + ";")
	}
	return f
}

func (s *Sealing) ends(f *folded) {
	f.word("d=" + s.Domain + ";")
	f.word("s=" + s.Selector + ";")
}

// sign makes the value of ARC-Message-Signature.
func (s *Sealing) sign(h *message.Header, instance int, body []byte) (string, error) {
	var names []string
	for _, name := range signed() {
		n := min(h.Count(name), maxSame)
		if name == "From" {
			n++
		}
		for range n {
			names = append(names, strings.ToLower(name))
		}
	}
	f := s.common(SignatureField, instance)
	f.word("c=relaxed/relaxed;")
	s.ends(f)
	f.word("h=" + names[0])
	for _, name := range names[1:] {
		f.WriteByte(':')
		f.join(name)
	}
	f.WriteByte(';')
	f.word("bh=" + base64.StdEncoding.EncodeToString(body) + ";")
	f.line("b=")
	value, sum := f.String(), sha256.New()
	if n, ok := dkim.HashHeader(sum, dkim.Relaxed, h.Fields(""), names, raw(SignatureField, value), maxHashed); !ok {
		return "", fmt.Errorf("%d octets of the header would be covered; %d are the most", n, maxHashed)
	}
	return s.finish(value, sum.Sum(nil))
}

// seal makes the value of ARC-Seal with an empty b=.
func (s *Sealing) seal(instance int, cv Status) string {
	f := s.common(SealField, instance)
	f.word("cv=" + string(cv) + ";")
	s.ends(f)
	f.line("b=")
	return f.String()
}

// finish puts the signature behind b=, with which the value ends.
func (s *Sealing) finish(value string, sum []byte) (string, error) {
	b, err := s.Key.Sign(sum)
	if err != nil {
		return "", err
	}
	f := &folded{column: len("\tb=")}
	f.WriteString(value)
	for text := base64.StdEncoding.EncodeToString(b); text != ""; {
		n := min(len(text), softLine-f.column)
		f.WriteString(text[:n])
		if text = text[n:]; text != "" {
			f.line("")
		}
	}
	return f.String(), nil
}

// softLine is the length of a line (RFC 5322 section 2.1.1).
const softLine = 78

// folded is the value of a field, whose lines are broken before what does not fit.
type folded struct {
	strings.Builder
	column int
}

// word adds a word.
func (f *folded) word(s string) {
	switch {
	case f.column+1+len(s) > softLine && f.Len() > 0:
		f.line(s)
		return
	case f.Len() > 0:
		f.WriteByte(' ')
	}
	f.WriteString(s)
	f.column += 1 + len(s)
}

// join adds to the word before, behind a colon.
func (f *folded) join(s string) {
	if f.column+len(":")+len(s)+len(":") > softLine {
		f.line(s)
		return
	}
	f.WriteString(s)
	f.column += len(":") + len(s)
}

// line adds a word on a line of its own.
func (f *folded) line(s string) {
	f.WriteString("\r\n\t" + s)
	f.column = len("\t") + len(s)
}
