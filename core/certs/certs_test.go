package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/certs/certstest"
)

// TestFaults: each tells the file, what is wrong with it, and which key of the configuration it is about.
func TestFaults(t *testing.T) {
	ca := certstest.New(t, "test CA")
	folder := t.TempDir()
	good := ca.Issue(t, nil, "mx.example.org")
	certificate, key := certstest.Write(t, folder, "good", good)
	_, otherKey := certstest.Write(t, folder, "other", ca.Issue(t, nil, "mx.example.org"))
	file := func(name, text string) string {
		path := filepath.Join(folder, name)
		certstest.WriteFile(t, path, []byte(text))
		return path
	}
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	open := file("open.key", read(key))
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	group := file("group.key", read(key))
	if err := os.Chmod(group, 0o640); err != nil {
		t.Fatal(err)
	}
	reversed := file("reversed.pem", string(certstest.PEM(good.Certificate[1], good.Certificate[0])))
	for _, c := range []struct {
		name, certificate, key string
		kind                   Kind
		want                   string
	}{
		{"good", certificate, key, 0, ""},
		{"one file", file("both.pem", read(certificate)+read(key)), filepath.Join(folder, "both.pem"), 0, ""},
		{"readable by the group", certificate, group, 0, ""},
		{"no certificate", filepath.Join(folder, "none.pem"), key, CertificateFile, "none.pem cannot be read: no such file or directory"},
		{"no key", certificate, filepath.Join(folder, "none.key"), KeyFile, "none.key cannot be read: no such file or directory"},
		{"a folder", folder, key, CertificateFile, "is not a regular file but a folder"},
		{"empty", file("empty.pem", ""), key, CertificateFile, "empty.pem holds no certificate (PEM: -----BEGIN CERTIFICATE-----)"},
		{"swapped", key, certificate, CertificateFile, "good.key holds no certificate"},
		{"no key in it", certificate, file("text.key", "words"), KeyFile, "text.key holds no key (PEM: -----BEGIN PRIVATE KEY-----)"},
		{"broken key", certificate, file("broken.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), KeyFile, "broken.key: the key cannot be used: "},
		{"broken certificate", file("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), key, CertificateFile, "broken.pem: certificate 1 in it cannot be parsed: malformed certificate"},
		{"encrypted key", certificate, file("secret.key", strings.ReplaceAll(read(key), "PRIVATE", "ENCRYPTED PRIVATE")), KeyFile, "secret.key: the key is encrypted with a passphrase"},
		{"key of another", certificate, otherKey, KeyFile, "other.key is not the key of the certificate in " + certificate},
		{"wrong order", reversed, key, CertificateFile, "reversed.pem: the server's own certificate must stand first"},
		{"readable by others", certificate, open, KeyFile, "open.key may be read or written by others (0644), and a key must not be; run: chmod o=,g-w " + open},
		{"huge", file("huge.pem", strings.Repeat("x", maxFile+1)), key, CertificateFile, "huge.pem is larger than"},
	} {
		set, hash, err := Load(Files{Pairs: []Pair{{certificate, key}, {c.certificate, c.key}}}, nil, time.Now())
		var fault *Fault
		switch {
		case c.want == "":
			if err != nil || len(set.Certificates()) != 2 {
				t.Errorf("%s: %v", c.name, err)
			}
		case !errors.As(err, &fault), fault.Kind != c.kind, fault.At != 1, !strings.Contains(fault.Text, c.want):
			t.Errorf("%s: got %+v, %v", c.name, fault, err)
		case strings.Contains(err.Error(), "\n"):
			t.Errorf("%s: several faults: %v", c.name, err)
		case hash == [32]byte{}:
			t.Errorf("%s: no hash", c.name)
		}
	}
	for name, want := range map[string]string{filepath.Join(folder, "none.pem"): "none.pem cannot be read", key: "good.key holds no certificate of an authority"} {
		var fault *Fault
		if _, _, err := Load(Files{CAs: []string{name}}, nil, time.Now()); !errors.As(err, &fault) || fault.Kind != CAFile || !strings.Contains(fault.Text, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestExpired: an expired certificate is no reason not to start, nor to refuse other changes, but does not take the place of a good one.
func TestExpired(t *testing.T) {
	ca := certstest.New(t, "test CA")
	folder := t.TempDir()
	old := ca.Issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "mx.example.org")
	certificate, key := certstest.Write(t, folder, "mx", old)
	files := Files{Pairs: []Pair{{certificate, key}}}
	first, hash, err := Load(files, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if w := first.Warnings(time.Now()); len(w) != 1 || !strings.Contains(w[0], "mx.pem: the certificate expired on ") {
		t.Errorf("warnings: %q", w)
	}
	if _, again, err := Load(files, first, time.Now()); err != nil || again != hash {
		t.Errorf("again: %v", err)
	}
	certstest.Write(t, folder, "mx", ca.Issue(t, nil, "mx.example.org"))
	good, next, err := Load(files, first, time.Now())
	if err != nil || next == hash {
		t.Fatal(err)
	}
	if w := good.Warnings(time.Now()); len(w) != 1 || !strings.Contains(w[0], "expires on") { // within the day
		t.Errorf("warnings: %q", w)
	}
	if w := good.Warnings(time.Now().Add(-8 * 24 * time.Hour)); len(w) != 1 || !strings.Contains(w[0], "is valid only from") {
		t.Errorf("warnings: %q", w)
	}
	certstest.Write(t, folder, "mx", old)
	var fault *Fault
	if _, _, err := Load(files, good, time.Now()); !errors.As(err, &fault) || !strings.Contains(fault.Text, "expired on") {
		t.Errorf("an expired one in the place of a good one: %v", err)
	}
}

func TestChoice(t *testing.T) {
	ca := certstest.New(t, "test CA")
	folder := t.TempDir()
	var files Files
	for _, names := range []string{"mx.example.org", "*.example.net", "LISTS.example.net", "old.example.org new.example.org"} {
		list := strings.Fields(names)
		certificate, key := certstest.Write(t, folder, strings.Trim(list[0], "*."), ca.Issue(t, nil, list...))
		files.Pairs = append(files.Pairs, Pair{certificate, key})
	}
	set, _, err := Load(files, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{
		"": 0, "mx.example.org": 0, "other.example": 0, "a.example.net": 1, "A.EXAMPLE.NET": 1, "lists.example.net": 2, "Lists.Example.Net": 2,
		"a.b.example.net": 0, "example.net": 0, "new.example.org": 3, "\x00\xff": 0, "*.example.net": 1, strings.Repeat("a.", 5000): 0,
	} {
		c, err := set.choose(&tls.ClientHelloInfo{ServerName: name, SupportedVersions: []uint16{tls.VersionTLS13}, SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}})
		if err != nil || c != &set.all[want].Certificate {
			t.Errorf("%.20q: %v, %v", name, c.Leaf.DNSNames, err)
		}
	}
	if _, err := new(Set).choose(&tls.ClientHelloInfo{}); err == nil {
		t.Error("nothing has a certificate")
	}
}

// TestTwoKinds: of certificates with the same names the client gets one that it can use.
func TestTwoKinds(t *testing.T) {
	ca := certstest.New(t, "test CA")
	folder := t.TempDir()
	certificate, key := certstest.Write(t, folder, "ecdsa", ca.Issue(t, nil, "mx.example.org"))
	rsaCertificate, rsaKey := certstest.Write(t, folder, "rsa", ca.IssueRSA(t, "mx.example.org"))
	set, _, err := Load(Files{Pairs: []Pair{{certificate, key}, {rsaCertificate, rsaKey}}}, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "mx.example.org", "other.example"} {
		for scheme, want := range map[tls.SignatureScheme]int{tls.ECDSAWithP256AndSHA256: 0, tls.PSSWithSHA256: 1} {
			c, err := set.choose(&tls.ClientHelloInfo{ServerName: name, SupportedVersions: []uint16{tls.VersionTLS13}, SignatureSchemes: []tls.SignatureScheme{scheme}})
			if err != nil || c != &set.all[want].Certificate {
				t.Errorf("%q, %v: %v", name, scheme, err)
			}
		}
	}
}

// TestConfig: it is the same until the certificates change.
func TestConfig(t *testing.T) {
	set := &Set{}
	s := NewSide(Options{Set: func() *Set { return set }, Ask: AskRequire})
	first := s.Config()
	if first.MinVersion != tls.VersionTLS12 || !first.SessionTicketsDisabled || first.ClientAuth != tls.RequireAndVerifyClientCert || first.ClientCAs == nil {
		t.Errorf("%+v", first)
	}
	if s.Config() != first {
		t.Error("another one, though nothing changed")
	}
	set = &Set{}
	if s.Config() == first {
		t.Error("the same, though the certificates changed")
	}
}
