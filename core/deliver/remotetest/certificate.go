package remotetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"
)

// Authority issues certificates, good ones and others.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes one.
func NewAuthority() (*Authority, error) {
	a := &Authority{}
	der, key, err := a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "authority of a made-up Internet"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}, true)
	if err != nil {
		return nil, err
	}
	a.key = key
	a.cert, err = x509.ParseCertificate(der)
	return a, err
}

// Pool holds the authority's own certificate, for clients that are to trust it.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Config is what a server called name shows. The kinds are "" (a good one), "wrong" (of another name), "expired", "self" (signed by
// itself), "other" (a good one, where the name had another before), and "old" (a good one, by no TLS newer than 1.1).
func (a *Authority) Config(kind, name string) (*tls.Config, error) {
	leaf := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	switch kind {
	case "", "self", "old", "other":
	case "wrong":
		leaf.Subject.CommonName, leaf.DNSNames = "other.invalid", []string{"other.invalid"}
	case "expired":
		leaf.NotBefore, leaf.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	default:
		return nil, fmt.Errorf("no certificate is called %q", kind)
	}
	der, key, err := a.issue(leaf, kind == "self")
	if err != nil {
		return nil, err
	}
	c := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	if kind == "old" {
		c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	}
	return c, nil
}

// issue signs a certificate, with the authority's key or with its own.
func (a *Authority) issue(c *x509.Certificate, self bool) ([]byte, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if c.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, nil, err
	}
	parent, signer := a.cert, a.key
	if self {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	return der, key, err
}

// Certificate is the authority's own.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// Certificate is the one of a kind that the server shows.
func (r *Remote) Certificate(kind string) (*x509.Certificate, error) {
	c, err := r.config(kind)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(c.Certificates[0].Certificate[0])
}

// config is what the server shows, each kind made once; its authority is made when it is first needed.
func (r *Remote) config(kind string) (*tls.Config, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Authority == nil {
		var err error
		if r.Authority, err = NewAuthority(); err != nil {
			return nil, err
		}
	}
	if c := r.configs[kind]; c != nil {
		return c, nil
	}
	c, err := r.Authority.Config(kind, r.Name)
	if err == nil {
		if r.Change != nil {
			r.Change(c)
		}
		if r.configs == nil {
			r.configs = map[string]*tls.Config{}
		}
		r.configs[kind] = c
	}
	return c, err
}
