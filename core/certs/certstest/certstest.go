// Package certstest makes certificates for tests: an authority that is known to nobody else, which issues certificates for names, and files
// of them as an operator would have.
package certstest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// CA is an authority.
type CA struct {
	Certificate *x509.Certificate
	key         crypto.Signer
}

// New makes an authority, valid for a day. change, if there is one, may change what is to be signed.
func New(t testing.TB, name string, change ...func(*x509.Certificate)) *CA {
	key := newKey(t)
	ca := &CA{key: key}
	c := &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	for _, f := range change {
		f(c)
	}
	ca.Certificate = sign(t, c, nil, key, key)
	return ca
}

// Pool has the authority alone.
func (ca *CA) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.Certificate)
	return p
}

// Issue makes a certificate for names, valid for a day; the first is its subject. change, if it is not nil, may change what is to be signed.
func (ca *CA) Issue(t testing.TB, change func(*x509.Certificate), names ...string) tls.Certificate {
	key := newKey(t)
	c := &x509.Certificate{Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if change != nil {
		change(c)
	}
	leaf := sign(t, c, ca.Certificate, key, ca.key)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, ca.Certificate.Raw}, PrivateKey: key, Leaf: leaf}
}

// IssueRSA is Issue with a key for old clients.
func (ca *CA) IssueRSA(t testing.TB, name string) tls.Certificate {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	leaf := sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}}, ca.Certificate, key, ca.key)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, ca.Certificate.Raw}, PrivateKey: key, Leaf: leaf}
}

// Write writes a certificate with its chain to folder/name.pem and its key to folder/name.key.
func Write(t testing.TB, folder, name string, c tls.Certificate) (certificate, key string) {
	certificate, key = filepath.Join(folder, name+".pem"), filepath.Join(folder, name+".key")
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	WriteFile(t, certificate, PEM(c.Certificate...))
	WriteFile(t, key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return certificate, key
}

// WriteFile writes a file that its owner alone may read, in the place of what was there.
func WriteFile(t testing.TB, name string, text []byte) {
	if err := os.WriteFile(name+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// PEM writes certificates out.
func PEM(list ...[]byte) (text []byte) {
	for _, der := range list {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return text
}

func newKey(t testing.TB) crypto.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign makes a certificate; a nil parent is the certificate itself.
func sign(t testing.TB, c, parent *x509.Certificate, key, by crypto.Signer) *x509.Certificate {
	var err error
	if c.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		t.Fatal(err)
	}
	if c.NotBefore.IsZero() {
		c.NotBefore = time.Now().Add(-time.Hour)
	}
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(24 * time.Hour)
	}
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c
}
