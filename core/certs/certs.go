// Package certs holds the certificates that the server shows to clients, and chooses among them.
//
// A Set is what was read from files at one moment; it is never changed. Files that change make another Set, which is put in
// force with the generation that it was read for, so a pair that does not fit together leaves the old Set in force. Of several
// certificates, the name that a client asks for (SNI, RFC 6066 section 3) chooses one: a certificate for that very name before one
// with a wildcard, and the first of all for those that ask for none, or for a name that is not known. Of two for the same name, one
// with an RSA key for old clients perhaps, the first that the client can use is taken.
//
// A Side makes of a Set what one listener needs for a handshake. Each has keys of its own for session tickets, so that a ticket from one
// listener is worth nothing at another.
package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/config"
)

// maxFile bounds a file of certificates or keys, in bytes.
const maxFile = 1 << 20

// Pair says in which files a certificate with its chain and the key that belongs to it are. Both are PEM, and may be one file.
type Pair struct{ Certificate, Key string }

// Files are those that a Set is made of.
type Files struct {
	Pairs   []Pair   // the first is shown where none is asked for by name
	Clients []Pair   // that other servers are shown, when this one is the client
	CAs     []string // certificates of authorities, by which clients' ones are verified
}

// A Kind of file.
type Kind uint8

// The kinds.
const (
	CertificateFile Kind = iota
	KeyFile
	CAFile
	ClientCertificateFile
	ClientKeyFile
)

// Fault is what is wrong with one file.
type Fault struct {
	Kind Kind
	At   int    // in Files.Pairs, Files.Clients or Files.CAs
	Text string // names the file
}

// Error returns the text.
func (f *Fault) Error() string { return f.Text }

// Certificate is one of a Set.
type Certificate struct {
	tls.Certificate
	File  string
	Names []string // in lower case, wildcards as *.example.org
	sum   [32]byte
}

// NotAfter is when it expires.
func (c *Certificate) NotAfter() time.Time { return c.Leaf.NotAfter }

// Set is what was read from Files. It is safe for concurrent use. A nil Set has nothing.
type Set struct {
	all     []*Certificate
	clients map[Pair]*Certificate
	byName  map[string][]*Certificate
	cas     map[string]*x509.CertPool
}

// Load reads files. hash tells whether what they hold, or why they cannot be read, is other than before. A certificate that is not valid
// now is a fault when it would take the place of what old has, and none when it does not: a server that starts without TLS, or not
// at all, is worse than one with an old certificate. Warnings tells of those. Faults are joined.
func Load(f Files, old *Set, now time.Time) (set *Set, hash [32]byte, err error) {
	set = &Set{clients: map[Pair]*Certificate{}, byName: map[string][]*Certificate{}, cas: map[string]*x509.CertPool{}}
	h := sha256.New()
	var faults []error
	fault := func(kind Kind, at int, format string, args ...any) {
		faults = append(faults, &Fault{kind, at, fmt.Sprintf(format, args...)})
	}
	for n, p := range slices.Concat(f.Pairs, f.Clients) {
		i, client := n, Kind(0)
		if n >= len(f.Pairs) {
			i, client = n-len(f.Pairs), ClientCertificateFile
		}
		chain, err := read(p.Certificate, h)
		if err != nil {
			fault(client+CertificateFile, i, "%v", err)
		}
		key, err := readKey(p.Key, h)
		if err != nil {
			fault(client+KeyFile, i, "%v", err)
		}
		if chain == nil || key == nil {
			continue
		}
		c, fault := pair(p, chain, key)
		if fault == nil && old != nil && !old.has(c) {
			if why := invalid(c.Leaf, now); why != "" {
				fault = &Fault{CertificateFile, i, fmt.Sprintf("%s: the certificate %s", p.Certificate, why)}
			}
		}
		if fault != nil {
			fault.At, fault.Kind = i, client+fault.Kind
			faults = append(faults, fault)
			continue
		}
		if client != 0 {
			set.clients[p] = c
			continue
		}
		set.all = append(set.all, c)
		for _, n := range c.Names {
			set.byName[n] = append(set.byName[n], c)
		}
	}
	for i, name := range f.CAs {
		text, err := read(name, h)
		if err != nil {
			fault(CAFile, i, "%v", err)
			continue
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			fault(CAFile, i, "%s holds no certificate of an authority (PEM: -----BEGIN CERTIFICATE-----)", name)
			continue
		}
		set.cas[name] = pool
	}
	err = errors.Join(faults...)
	if err != nil {
		io.WriteString(h, err.Error())
	}
	return set, [32]byte(h.Sum(nil)), err
}

// read reads a file, and adds what it holds to h.
func read(name string, h io.Writer) ([]byte, error) {
	text, err := config.ReadFile(name, maxFile)
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("is larger than %d bytes", maxFile)
	}
	if named := (*fs.PathError)(nil); errors.As(err, &named) {
		return nil, fmt.Errorf("%s cannot be read: %w", name, named.Err)
	} else if err != nil {
		return nil, fmt.Errorf("%s %w", name, err)
	}
	fmt.Fprintf(h, "\x00%s\x00%d\x00", name, len(text))
	h.Write(text)
	return text, nil
}

func readKey(name string, h io.Writer) ([]byte, error) {
	// The group may read it: a server that is not root's has to be given the key somehow.
	if info, err := os.Stat(name); err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o027 != 0 {
		return nil, fmt.Errorf("%s may be read or written by others (%04o), and a key must not be; run: chmod o=,g-w %s", name, info.Mode().Perm(), name)
	}
	return read(name, h)
}

// pair puts a certificate and its key together.
func pair(p Pair, chain, key []byte) (*Certificate, *Fault) {
	bad := func(kind Kind, format string, args ...any) (*Certificate, *Fault) {
		return nil, &Fault{Kind: kind, Text: fmt.Sprintf(format, args...)}
	}
	var list []*x509.Certificate
	var leaf []byte
	for rest := chain; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return bad(CertificateFile, "%s: certificate %d in it cannot be parsed: %s", p.Certificate, len(list)+1, reason(err))
		}
		if len(list) == 0 {
			leaf = b.Bytes
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return bad(CertificateFile, "%s holds no certificate (PEM: -----BEGIN CERTIFICATE-----)", p.Certificate)
	}
	if strings.Contains(string(key), "ENCRYPTED") {
		return bad(KeyFile, "%s: the key is encrypted with a passphrase, which nobody is there to type; write it without: openssl pkey -in %s -out NEW", p.Key, p.Key)
	}
	found, err := tls.X509KeyPair(chain, key)
	switch {
	case err == nil:
	case !strings.Contains(string(key), "PRIVATE KEY-----"):
		return bad(KeyFile, "%s holds no key (PEM: -----BEGIN PRIVATE KEY-----)", p.Key)
	case belongs(list[1:], key):
		return bad(CertificateFile, "%s: the server's own certificate must stand first, before those of its issuers", p.Certificate)
	case strings.Contains(err.Error(), "does not match"):
		return bad(KeyFile, "%s is not the key of the certificate in %s", p.Key, p.Certificate)
	default:
		return bad(KeyFile, "%s: the key cannot be used: %s", p.Key, reason(err))
	}
	found.Leaf = list[0]
	c := &Certificate{Certificate: found, File: p.Certificate, sum: sha256.Sum256(leaf)}
	for _, n := range list[0].DNSNames {
		c.Names = append(c.Names, strings.ToLower(n))
	}
	if cn := strings.ToLower(list[0].Subject.CommonName); len(c.Names) == 0 && cn != "" {
		c.Names = []string{cn}
	}
	return c, nil
}

// belongs tells whether the key is that of one of the certificates.
func belongs(list []*x509.Certificate, key []byte) bool {
	return slices.ContainsFunc(list, func(c *x509.Certificate) bool {
		_, err := tls.X509KeyPair(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), key)
		return err == nil
	})
}

func reason(err error) string {
	return strings.TrimPrefix(strings.TrimPrefix(err.Error(), "tls: "), "x509: ")
}

// invalid says why a certificate is not valid at a moment; "": it is.
func invalid(c *x509.Certificate, now time.Time) string {
	switch {
	case now.After(c.NotAfter):
		return "expired on " + c.NotAfter.UTC().Format(time.RFC3339)
	case now.Before(c.NotBefore):
		return "is valid only from " + c.NotBefore.UTC().Format(time.RFC3339)
	}
	return ""
}

func (s *Set) has(c *Certificate) bool {
	return slices.ContainsFunc(s.Certificates(), func(o *Certificate) bool { return o.sum == c.sum })
}

// Certificates are all of them, those that clients are shown in the order of Files, and then the others.
func (s *Set) Certificates() []*Certificate {
	if s == nil {
		return nil
	}
	all := slices.Clip(s.all)
	for _, c := range s.clients {
		if !slices.ContainsFunc(all, func(o *Certificate) bool { return o.File == c.File }) {
			all = append(all, c)
		}
	}
	slices.SortFunc(all[len(s.all):], func(a, b *Certificate) int { return strings.Compare(a.File, b.File) })
	return all
}

// Client is what other servers are shown; nil: nothing.
func (s *Set) Client(p Pair) *tls.Certificate {
	if s == nil || s.clients[p] == nil {
		return nil
	}
	return &s.clients[p].Certificate
}

// Soon is how long before its end a certificate is worth a warning: those who renew by themselves did so before.
const Soon = 7 * 24 * time.Hour

// Warnings are a line for each certificate that is not valid, or not for long any more.
func (s *Set) Warnings(now time.Time) (lines []string) {
	for _, c := range s.Certificates() {
		if why := invalid(c.Leaf, now); why != "" {
			lines = append(lines, fmt.Sprintf("%s: the certificate %s", c.File, why))
		} else if now.Add(Soon).After(c.NotAfter()) {
			lines = append(lines, fmt.Sprintf("%s: the certificate expires on %s", c.File, c.NotAfter().UTC().Format(time.RFC3339)))
		}
	}
	return lines
}

// choose finds the certificate for a client.
func (s *Set) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if s == nil || len(s.all) == 0 {
		return nil, errors.New("there is no certificate")
	}
	name := strings.ToLower(hello.ServerName)
	_, above, _ := strings.Cut(name, ".")
	for _, n := range []string{name, "*." + above} {
		for _, c := range s.byName[n] {
			if hello.SupportsCertificate(&c.Certificate) == nil {
				return &c.Certificate, nil
			}
		}
	}
	any := *hello
	any.ServerName = ""
	for _, c := range s.all {
		if sameNames(c, s.all[0]) && any.SupportsCertificate(&c.Certificate) == nil {
			return &c.Certificate, nil
		}
	}
	return &s.all[0].Certificate, nil
}

func sameNames(a, b *Certificate) bool { return slices.Equal(a.Names, b.Names) }
