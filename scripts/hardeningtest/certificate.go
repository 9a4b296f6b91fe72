package main

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
	"slices"
	"time"
)

// selfSigned makes a key and a certificate for a host, both in one file of PEM.
func selfSigned(host string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	certificate, err := sign(&x509.Certificate{Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}}, nil, key, key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), certificatePEM(certificate)), nil
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// sign makes a certificate for key, valid for a day; a nil parent is the certificate itself.
func sign(c, parent *x509.Certificate, key, by crypto.Signer) ([]byte, error) {
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	if parent == nil {
		parent = c
	}
	return x509.CreateCertificate(rand.Reader, c, parent, key.Public(), by)
}

// authority issues certificates of clients.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := sign(&x509.Certificate{Subject: pkix.Name{CommonName: "hardening"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, key, key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return &authority{certificate, key}, err
}

// issue makes a certificate with a name in it, whatever that is.
func (a *authority) issue(name string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, a.certificate, key, a.key)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// selfSignedRSA makes a certificate with a large key at once: its primes are 2^p-1 and 2^q-1, two of Mersenne's.
func selfSignedRSA(p, q uint) (*tls.Certificate, error) {
	one := big.NewInt(1)
	prime := func(bits uint) *big.Int { return new(big.Int).Sub(new(big.Int).Lsh(one, bits), one) }
	a, b := prime(p), prime(q)
	key := &rsa.PrivateKey{Primes: []*big.Int{a, b}}
	key.N, key.E = new(big.Int).Mul(a, b), 65537
	order := new(big.Int).Mul(new(big.Int).Sub(a, one), new(big.Int).Sub(b, one))
	key.D = new(big.Int).ModInverse(big.NewInt(int64(key.E)), order)
	key.Precompute()
	der, err := sign(&x509.Certificate{Subject: pkix.Name{CommonName: "large"}}, nil, key, key)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
