package dkim

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"
)

// Algorithm is the value of a=.
type Algorithm string

// The algorithms that are used (RFC 8301 section 3, RFC 8463 section 3). SHA-1 is no more.
const (
	RSASHA256     Algorithm = "rsa-sha256"
	Ed25519SHA256 Algorithm = "ed25519-sha256"
)

// keyType is what k= of the key says.
func (a Algorithm) keyType() string {
	if a == Ed25519SHA256 {
		return "ed25519"
	}
	return "rsa"
}

// Signature is the field of a signature, read (RFC 6376 section 3.5).
type Signature struct {
	Algorithm    Algorithm
	Domain       string // d=, lower case, A-labels
	Selector     string // s=, the same
	Identity     string // i=, decoded, its domain in lower case; "@" and Domain where the field has none
	Names        []string
	Header, Body Canon
	Hash, Value  []byte    // bh=, b=
	Length       int64     // l=; -1: the whole body
	Signed       time.Time // t=; zero: not said
	Expires      time.Time // x=
}

// Bounds of what a signature may say.
const (
	MaxNames     = 256 // in h=
	maxIdentity  = 998 // octets of i= before its domain, as much as a line
	maxSignature = 4096 / 8
)

// ParseSignature reads the value of a DKIM-Signature field. Its errors are *Error with the result PermError; what could be read until
// then is returned with them.
func ParseSignature(value string) (*Signature, error) {
	tags, err := ParseTags(value)
	if err != nil {
		return &Signature{Length: -1}, err
	}
	s, err := tags.Signature()
	if err != nil {
		return s, err
	}
	if v, err := tags.need("v"); err != nil {
		return s, err
	} else if v != "1" {
		return s, faulty("v=%s is not known; there is version 1", quote(v))
	}
	return s, s.identity(tags)
}

// Signature reads what DKIM-Signature and ARC-Message-Signature have in common: all tags but v= and i=.
func (t Tags) Signature() (*Signature, error) {
	s := &Signature{Length: -1}
	return s, s.read(t, s.readNames, s.readAlgorithm, s.readCanon, s.readHeader, s.readHash, s.readValue, s.readTimes, s.readLength, s.readQuery)
}

// Seal reads what of them an ARC-Seal has, which covers no body: d=, s=, a= and b= (RFC 8617 section 4.1.3).
func (t Tags) Seal() (*Signature, error) {
	s := &Signature{Length: -1}
	return s, s.read(t, s.readNames, s.readAlgorithm, s.readValue)
}

func (s *Signature) read(t Tags, parts ...func(Tags) error) error {
	for _, read := range parts {
		if err := read(t); err != nil {
			return err
		}
	}
	return nil
}

func (s *Signature) readNames(t Tags) error {
	d, err := t.need("d")
	if err != nil {
		return err
	}
	if s.Domain, _, err = CheckNames(d, "s"); err != nil {
		return err
	}
	sel, err := t.need("s")
	if err != nil {
		return err
	}
	s.Domain, s.Selector, err = CheckNames(d, sel)
	return err
}

// CheckNames gives a domain and a selector as the DNS has them, in lower case and A-labels; its errors call them d= and s=.
func CheckNames(domain, selector string) (d, s string, err error) {
	if d, err = domainOf("d", domain); err != nil {
		return "", "", err
	}
	if !strings.Contains(d, ".") {
		return "", "", faulty("d=%s is no domain: a domain has two labels at least", quote(domain))
	}
	if s, err = domainOf("s", selector); err != nil {
		return d, "", err
	}
	if name := KeyName(d, s); len(name) > maxName {
		return d, "", faulty("the name of the key, %s, is longer than %d characters", quote(name), maxName)
	}
	return d, s, nil
}

func (s *Signature) readAlgorithm(t Tags) error {
	a, err := t.need("a")
	if err != nil {
		return err
	}
	switch s.Algorithm = Algorithm(strings.ToLower(a)); s.Algorithm {
	case RSASHA256, Ed25519SHA256:
		return nil
	case "rsa-sha1":
		return faulty("a=rsa-sha1 counts no more: SHA-1 is not safe (RFC 8301)")
	}
	s.Algorithm = ""
	return faulty("a=%s is not known; there are rsa-sha256 and ed25519-sha256", quote(a))
}

func (s *Signature) readCanon(t Tags) (err error) {
	if c, ok := t.Get("c"); ok {
		s.Header, s.Body, err = ParseCanon(c)
	}
	return err
}

func (s *Signature) readHeader(t Tags) error {
	h, err := t.need("h")
	if err != nil {
		return err
	}
	if n := strings.Count(h, ":") + 1; n > MaxNames {
		return faulty("h= has %d names; %d are looked at", n, MaxNames)
	}
	s.Names = list(h)
	from := false
	for _, name := range s.Names {
		if !isFieldName(name) {
			return faulty("h= has %s, which is no name of a field", quote(name))
		}
		from = from || strings.EqualFold(name, "From")
	}
	if !from {
		return faulty("h= is without From, which has to be signed")
	}
	return nil
}

func isFieldName(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == ';' {
			return false
		}
	}
	return s != ""
}

func (s *Signature) readHash(t Tags) error {
	bh, err := t.need("bh")
	if err != nil {
		return err
	}
	if s.Hash, err = Base64(bh); err != nil || len(s.Hash) != 32 {
		return faulty("bh= is no SHA-256 hash in base64")
	}
	return nil
}

func (s *Signature) readValue(t Tags) error {
	b, err := t.need("b")
	if err != nil {
		return err
	}
	if s.Value, err = Base64(b); err != nil {
		return faulty("b= is not base64")
	}
	if len(s.Value) > maxSignature {
		return faulty("b= has %d bytes; a signature has %d at most", len(s.Value), maxSignature)
	}
	return nil
}

func (s *Signature) readTimes(t Tags) (err error) {
	if s.Signed, err = t.time("t"); err != nil {
		return err
	}
	if s.Expires, err = t.time("x"); err != nil {
		return err
	}
	if !s.Expires.IsZero() && !s.Signed.IsZero() && !s.Expires.After(s.Signed) {
		return faulty("x= is not after t=")
	}
	return nil
}

// time reads seconds since 1970, of which there are twelve digits at most.
func (t Tags) time(name string) (time.Time, error) {
	v, ok := t.Get(name)
	if !ok {
		return time.Time{}, nil
	}
	n, ok := number(v, 12)
	if !ok {
		return time.Time{}, faulty("%s=%s is no time: seconds since 1970, of twelve digits at most", name, quote(v))
	}
	return time.Unix(n, 0).UTC(), nil
}

func number(s string, digits int) (int64, bool) {
	if s == "" || len(s) > digits || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

func (s *Signature) readLength(t Tags) error {
	v, ok := t.Get("l")
	if !ok {
		return nil
	}
	n, ok := number(v, 18)
	if !ok {
		return faulty("l=%s is no number of octets", quote(v))
	}
	s.Length = n
	return nil
}

// readQuery checks that the key may be had from the DNS.
func (s *Signature) readQuery(t Tags) error {
	q, ok := t.Get("q")
	if !ok || slices.ContainsFunc(list(q), func(m string) bool { return strings.EqualFold(m, "dns/txt") }) {
		return nil
	}
	return faulty("q=%s is not known; there is dns/txt", quote(q))
}

// identity reads i=, which is at d= or below it.
func (s *Signature) identity(t Tags) error {
	v, ok := t.Get("i")
	if !ok {
		s.Identity = "@" + s.Domain
		return nil
	}
	text, ok := unquote(noSpace(v))
	at := strings.LastIndexByte(text, '@')
	if !ok || at < 0 {
		return faulty("i=%s is no identity: something@%s, in which = is written =3D", quote(v), s.Domain)
	}
	if at > maxIdentity {
		return faulty("i= has %d octets before its domain; %d are looked at", at, maxIdentity)
	}
	domain, err := domainOf("i", text[at+1:])
	if err != nil {
		return err
	}
	if domain != s.Domain && !strings.HasSuffix(domain, "."+s.Domain) {
		return faulty("i=%s is not within d=%s", quote(v), s.Domain)
	}
	s.Identity = text[:at+1] + domain
	return nil
}

// exact tells whether the identity is at d= itself, as t=s of the key asks.
func (s *Signature) exact() bool { return strings.HasSuffix(s.Identity, "@"+s.Domain) }

// unquote decodes DKIM's quoted-printable (RFC 6376 section 2.11). What it stands for may be anything but a control.
func unquote(s string) (string, bool) {
	if !strings.Contains(s, "=") {
		return s, true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '=' {
			if i+2 >= len(s) {
				return "", false
			}
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil || n < ' ' || n == 0x7f {
				return "", false
			}
			c, i = byte(n), i+2
		}
		b.WriteByte(c)
	}
	return b.String(), true
}

// Bounds of names in the DNS, in characters.
const (
	maxName  = 253
	maxLabel = 63
)

// domainOf checks a domain or selector: labels of letters, digits, - and _, or others that are the U-labels of such. So no name that
// is asked for is another one than was written, whoever cuts names at a NUL, a quote or a space.
func domainOf(tag, s string) (string, error) {
	bad := func(why string) (string, error) { return "", faulty("%s=%s %s", tag, quote(s), why) }
	name := s
	for i := range len(s) {
		if s[i] >= 0x80 {
			var err error
			if name, err = idna.Lookup.ToASCII(s); err != nil {
				return bad("is no domain name")
			}
			break
		}
	}
	if len(name) > maxName {
		return bad("is longer than a name in the DNS may be")
	}
	name = strings.ToLower(name)
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return bad("has an empty label")
		case len(label) > maxLabel:
			return bad("has a label of more than 63 characters")
		case strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "":
			return bad("has characters that no domain name has")
		}
	}
	return name, nil
}

// KeyName is where the key of a domain and selector lies in the DNS.
func KeyName(domain, selector string) string { return selector + "._domainkey." + domain }
