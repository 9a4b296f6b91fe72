package arc

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// What makes chains here shares nothing with the package: canonicalization is written down once more, the short way, for text that
// has no other white space than spaces, tabs and line ends.

// mail is a message, its fields from the top, each with its line ends.
type mail struct {
	fields []string
	body   string
}

func letter() *mail {
	return &mail{
		fields: []string{
			"Received: from a.example by b.example; Sat, 28 Nov 2026 12:00:00 +0000\r\n",
			"From: A <a@a.example>\r\n", "To: list@b.example\r\n", "Subject: an  example\r\n\tof two lines\r\n",
			"Date: Sat, 28 Nov 2026 12:00:00 +0000\r\n", "Message-ID: <1@a.example>\r\n",
		},
		body: "Hello  \r\n\r\nthis is a message.\r\n\r\n\r\n",
	}
}

func (m *mail) text() string { return strings.Join(m.fields, "") + "\r\n" + m.body }

func (m *mail) top(field string) { m.fields = append([]string{field}, m.fields...) }

// edit changes the field of that name that is the nth from the top, from 0.
func (m *mail) edit(name string, n int, change func(string) string) {
	for i, f := range m.fields {
		if head, _, _ := strings.Cut(f, ":"); strings.EqualFold(head, name) {
			if n == 0 {
				m.fields[i] = change(f)
				return
			}
			n--
		}
	}
	panic("no " + name)
}

// drop takes the field out.
func (m *mail) drop(name string, n int) { m.edit(name, n, func(string) string { return "" }) }

// hop is what one sealer does; the zero values are what a good one would.
type hop struct {
	i          any    // the instance, as it is written
	domain     string // of both; b.example
	selector   string // s
	results    string
	cv         string
	alg        string                   // rsa-sha256
	c          string                   // relaxed/relaxed
	h          string                   // from:to:subject:date:message-id
	key        crypto.Signer            // that of rsa-sha256, or of ed25519-sha256
	aar        func(string) string      // the whole field, before it is signed
	ams, as    func(string) string      // likewise, with b= still empty
	bodyHashed func(body string) string // of the canonical body
	scope      []int                    // the instances in the seal; all
	without    string                   // "AAR", "AMS" or "AS" is not put on
}

var amsB = regexp.MustCompile(`([;\s]b=)[^;]*`)

// keys are made once, since an RSA key takes time.
type keys struct {
	rsa, other *rsa.PrivateKey
	ed         ed25519.PrivateKey
}

var testKeys = sync.OnceValue(func() *keys {
	k := &keys{ed: ed25519.NewKeyFromSeed(make([]byte, 32))}
	for _, into := range []**rsa.PrivateKey{&k.rsa, &k.other} {
		var err error
		if *into, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			panic(err)
		}
	}
	return k
})

// record is what the DNS has for a public key.
func record(t testing.TB, key crypto.PublicKey) string {
	t.Helper()
	if ed, ok := key.(ed25519.PublicKey); ok {
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(ed)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der)
}

// zone quotes a record for package dnszone, in strings that are short enough.
func zone(record string) string {
	var b strings.Builder
	b.WriteString("TXT")
	for len(record) > 200 {
		fmt.Fprintf(&b, " %q", record[:200])
		record = record[200:]
	}
	fmt.Fprintf(&b, " %q", record)
	return b.String()
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// by seals the message as a hop does.
func (m *mail) by(t testing.TB, o hop) *mail {
	t.Helper()
	k := testKeys()
	if o.i == nil {
		o.i = m.highest() + 1
	}
	o.domain, o.selector, o.alg, o.c = or(o.domain, "b.example"), or(o.selector, "s"), or(o.alg, "rsa-sha256"), or(o.c, "relaxed/relaxed")
	o.h = or(o.h, "from:to:subject:date:message-id")
	if o.cv == "" {
		if o.cv = "pass"; fmt.Sprint(o.i) == "1" {
			o.cv = "none"
		}
	}
	if o.key == nil {
		if o.key = k.rsa; o.alg == "ed25519-sha256" {
			o.key = k.ed
		}
	}
	aar := fmt.Sprintf("ARC-Authentication-Results: i=%v; %s; %s\r\n", o.i, o.domain, or(o.results, "spf=pass smtp.mailfrom=a@a.example;\r\n\tdkim=pass header.d=a.example"))
	if o.aar != nil {
		aar = o.aar(aar)
	}
	_, bodyCanon, _ := strings.Cut(o.c, "/")
	body := canonBody(m.body, bodyCanon)
	if o.bodyHashed != nil {
		body = o.bodyHashed(body)
	}
	sum := sha256.Sum256([]byte(body))
	ams := fmt.Sprintf("ARC-Message-Signature: i=%v; a=%s; c=%s; d=%s; s=%s;\r\n\tt=1795867200; h=%s;\r\n\tbh=%s;\r\n\tb=\r\n", o.i, o.alg, o.c, o.domain, o.selector, o.h, base64.StdEncoding.EncodeToString(sum[:]))
	if o.ams != nil {
		ams = o.ams(ams)
	}
	if o.without != "AAR" {
		m.top(aar)
	}
	ams = m.sign(t, ams, o)
	if o.without != "AMS" {
		m.top(ams)
	}
	as := fmt.Sprintf("ARC-Seal: i=%v; a=%s; d=%s; s=%s; t=1795867200; cv=%s;\r\n\tb=\r\n", o.i, o.alg, o.domain, o.selector, o.cv)
	if o.as != nil {
		as = o.as(as)
	}
	as = m.seal(t, as, o)
	if o.without != "AS" {
		m.top(as)
	}
	return m
}

// sign fills in b= of a message signature.
func (m *mail) sign(t testing.TB, ams string, o hop) string {
	headerCanon, _, _ := strings.Cut(o.c, "/")
	var text strings.Builder
	used := map[int]bool{}
	for _, name := range strings.Split(o.h, ":") {
		for i := len(m.fields) - 1; i >= 0; i-- {
			if head, _, _ := strings.Cut(m.fields[i], ":"); !used[i] && strings.EqualFold(strings.TrimSpace(head), strings.TrimSpace(name)) {
				used[i] = true
				text.WriteString(canonField(m.fields[i], headerCanon))
				break
			}
		}
	}
	text.WriteString(strings.TrimSuffix(canonField(ams, headerCanon), "\r\n"))
	return withB(ams, signText(t, o.key, text.String()))
}

// seal fills in b= of a seal.
func (m *mail) seal(t testing.TB, as string, o hop) string {
	var text strings.Builder
	scope := o.scope
	if scope == nil {
		for i := range m.highest() {
			scope = append(scope, i+1)
		}
	}
	type part struct { // of a set
		i    int
		name string
	}
	first := map[part]string{} // looked up, since a chain of 50 sets is long
	for _, f := range m.fields {
		head, _, _ := strings.Cut(f, ":")
		if p := (part{instance(f), strings.ToLower(head)}); first[p] == "" {
			first[p] = f
		}
	}
	for _, i := range scope {
		for _, name := range []string{"arc-authentication-results", "arc-message-signature", "arc-seal"} {
			if f := first[part{i, name}]; f != "" {
				text.WriteString(canonField(f, "relaxed"))
			}
		}
	}
	text.WriteString(strings.TrimSuffix(canonField(as, "relaxed"), "\r\n"))
	return withB(as, signText(t, o.key, text.String()))
}

func withB(field, b string) string {
	return amsB.ReplaceAllString(field, "${1}"+b[:len(b)/2]+"\r\n\t "+b[len(b)/2:]+"\r\n")
}

func signText(t testing.TB, key crypto.Signer, text string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(text))
	how := crypto.SignerOpts(crypto.SHA256)
	if _, ok := key.(ed25519.PrivateKey); ok {
		how = crypto.Hash(0)
	}
	b, err := key.Sign(rand.Reader, sum[:], how)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// highest is the highest instance of results.
func (m *mail) highest() (n int) {
	for _, f := range m.fields {
		if strings.HasPrefix(f, "ARC-Authentication-Results:") {
			n = max(n, instance(f))
		}
	}
	return n
}

var (
	escaped  = regexp.MustCompile(`\\.`)
	comment  = regexp.MustCompile(`\([^()]*\)`)
	tagI     = regexp.MustCompile(`[:;]i=([0-9]+)(;|$)`)
	anySpace = regexp.MustCompile(`\s`)
)

// instance is that of a field, or 0.
func instance(field string) (n int) {
	field = escaped.ReplaceAllString(field, "")
	for comment.MatchString(field) {
		field = comment.ReplaceAllString(field, "")
	}
	if found := tagI.FindStringSubmatch(anySpace.ReplaceAllString(field, "")); found != nil {
		fmt.Sscan(strings.TrimLeft(found[1], "0"), &n)
	}
	return n
}

var (
	spaces    = regexp.MustCompile(`[ \t]+`)
	lineSpace = regexp.MustCompile(`[ \t]+\r\n`)
	lastLines = regexp.MustCompile(`(\r\n)*$`)
)

func canonField(f, how string) string {
	if how == "simple" {
		return f
	}
	name, value, _ := strings.Cut(f, ":")
	value = spaces.ReplaceAllString(strings.ReplaceAll(value, "\r\n", ""), " ")
	return strings.ToLower(strings.TrimSpace(name)) + ":" + strings.TrimSpace(value) + "\r\n"
}

func canonBody(body, how string) string {
	if how == "relaxed" {
		body = spaces.ReplaceAllString(lineSpace.ReplaceAllString(body, "\r\n"), " ")
		if body = lastLines.ReplaceAllString(body, ""); body == "" {
			return ""
		}
		return body + "\r\n"
	}
	return lastLines.ReplaceAllString(body, "") + "\r\n"
}
