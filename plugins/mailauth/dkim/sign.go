package dkim

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/message"
)

// Signing says how a message is signed.
type Signing struct {
	Domain, Selector string
	Key              *PrivateKey
	Header, Body     Canon
	Names            []string  // h=; see Names
	Time             time.Time // t=; zero: none
	Expires          time.Time // x=; zero: none
}

// maxSignings bounds the signatures that one message gets at once.
const maxSignings = 10

// Names makes h= for a message: each of sign as often as the message has such a field, each of oversign once more, so that no field of
// that name can be added later. From is always among the latter.
func Names(fields []message.Field, sign, oversign []string) ([]string, error) {
	if !containsFold(oversign, "From") {
		oversign = append([]string{"From"}, oversign...)
	}
	have := make(map[string]int, len(fields))
	for i := range fields {
		have[strings.ToLower(fields[i].Name)]++
	}
	var names []string
	add := func(name string, times int) error {
		if containsFold(names, name) {
			return nil // both lists have it
		}
		if !isFieldName(name) || strings.Contains(name, ":") {
			return fmt.Errorf("%s is no name of a field", quote(name))
		}
		if times > MaxNames-len(names) {
			return fmt.Errorf("h= would have more than %d names: the message has %d fields %s", MaxNames, have[strings.ToLower(name)], name)
		}
		for range times {
			names = append(names, name)
		}
		return nil
	}
	for _, name := range oversign {
		if err := add(name, have[strings.ToLower(name)]+1); err != nil {
			return nil, err
		}
	}
	for _, name := range sign {
		if err := add(name, have[strings.ToLower(name)]); err != nil {
			return nil, err
		}
	}
	return names, nil
}

func containsFold(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}

// Sign makes the values of DKIM-Signature fields for a message, one for each signing, folded as they are to be sent. The fields are those
// that the message will have, in their order; new ones on top, such as these, do no harm. The body is read once, whatever their number.
func Sign(ctx context.Context, fields []message.Field, body io.Reader, signings ...Signing) ([]string, error) {
	if len(signings) > maxSignings {
		return nil, fmt.Errorf("%d signatures; a message gets %d at most", len(signings), maxSignings)
	}
	var bodies bodyHashes
	hashes := make([]*bodyHash, len(signings))
	for i := range signings {
		if err := signings[i].check(fields); err != nil {
			return nil, err
		}
		hashes[i] = bodies.hash(signings[i].Body, -1)
	}
	if err := bodies.read(ctx, body); err != nil {
		return nil, err
	}
	out := make([]string, len(signings))
	for i := range signings {
		if hashes[i].late {
			return nil, errors.New("there was no time left to read the body")
		}
		value, err := signings[i].sign(fields, hashes[i].sum.Sum(nil))
		if err != nil {
			return nil, err
		}
		out[i] = value
	}
	return out, nil
}

func (s *Signing) check(fields []message.Field) error {
	d, sel, err := CheckNames(s.Domain, s.Selector)
	switch {
	case err != nil:
		return err
	case !containsFold(s.Names, "From"):
		return errors.New("h= is without From, which has to be signed")
	case !slices.ContainsFunc(fields, func(f message.Field) bool { return strings.EqualFold(f.Name, "From") }):
		return errors.New("the message has no From")
	}
	s.Domain, s.Selector = d, sel
	return nil
}

func (s *Signing) sign(fields []message.Field, bodyHash []byte) (string, error) {
	value := s.value(bodyHash)
	h := sha256.New()
	if _, ok := HashHeader(h, s.Header, fields, s.Names, []byte(Field+": "+value+"\r\n"), maxHeaderBytes); !ok {
		return "", fmt.Errorf("the header has more than %d bytes", maxHeaderBytes)
	}
	signature, err := s.Key.Sign(h.Sum(nil))
	if err != nil {
		return "", err
	}
	b := base64.StdEncoding.EncodeToString(signature)
	var out strings.Builder
	out.WriteString(value)
	for room := softLine - len(" b="); b != ""; room = softLine - len(" ") {
		n := min(room, len(b))
		if out.Len() > len(value) {
			out.WriteString("\r\n ")
		}
		out.WriteString(b[:n])
		b = b[n:]
	}
	return out.String(), nil
}

// softLine is how long a line is at most where its words let it (RFC 5322 section 2.1.1).
const softLine = 78

// value is the field's value with an empty b= at its end.
func (s *Signing) value(bodyHash []byte) string {
	f := folded{column: len(Field + ":")}
	f.word(" ", "v=1;")
	f.word(" ", "a="+string(s.Key.Algorithm())+";")
	f.word(" ", "c="+s.Header.String()+"/"+s.Body.String()+";")
	f.word(" ", "d="+s.Domain+";")
	f.word(" ", "s="+s.Selector+";")
	if !s.Time.IsZero() {
		f.word(" ", "t="+strconv.FormatInt(s.Time.Unix(), 10)+";")
	}
	if !s.Expires.IsZero() {
		f.word(" ", "x="+strconv.FormatInt(s.Expires.Unix(), 10)+";")
	}
	gap, before := " ", "h="
	for i, name := range s.Names {
		end := ":"
		if i == len(s.Names)-1 {
			end = ";"
		}
		f.word(gap, before+name+end)
		gap, before = "", ""
	}
	f.word(" ", "bh="+base64.StdEncoding.EncodeToString(bodyHash)+";")
	return strings.TrimPrefix(f.String()+"\r\n b=", " ")
}

// folded puts words together and breaks lines before those that do not fit.
type folded struct {
	strings.Builder
	column int
}

func (f *folded) word(gap, text string) {
	if f.column+len(gap)+len(text) > softLine {
		f.WriteString("\r\n ")
		f.column, gap = len(" "), ""
	}
	f.WriteString(gap + text)
	f.column += len(gap) + len(text)
}
