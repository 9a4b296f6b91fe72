package dkim

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
)

// PrivateKey signs. It is safe for concurrent use.
type PrivateKey struct {
	signer crypto.Signer
}

// ParsePrivateKey reads a key as a file has it: PEM with PKCS #8 or PKCS #1 in it, or the 32 bytes of an Ed25519 key in base64, as
// dkimpy writes them.
func ParsePrivateKey(text []byte) (*PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		seed, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(text)))
		if err != nil || len(seed) != ed25519.SeedSize {
			return nil, errors.New("it is neither PEM nor an Ed25519 key in base64")
		}
		return &PrivateKey{ed25519.NewKeyFromSeed(seed)}, nil
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("it is PEM of type %.40q; a private key is of type PRIVATE KEY or RSA PRIVATE KEY", block.Type)
	}
	if err != nil {
		return nil, err
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if bits := key.N.BitLen(); bits < MinBits || bits > MaxBits {
			return nil, fmt.Errorf("the RSA key has %d bits; it must have %d to %d, and 2048 are usual", bits, MinBits, MaxBits)
		}
		return &PrivateKey{key}, nil
	case ed25519.PrivateKey:
		return &PrivateKey{key}, nil
	}
	return nil, fmt.Errorf("it is a %T; RSA and Ed25519 keys sign mail", key)
}

// NewPrivateKey makes a key: "ed25519", or "rsa" with that many bits.
func NewPrivateKey(kind string, bits int) (*PrivateKey, error) {
	switch {
	case kind == "ed25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return &PrivateKey{key}, err
	case kind != "rsa":
		return nil, fmt.Errorf("%q is no type of key; there are rsa and ed25519", kind)
	case bits < MinBits || bits > MaxBits:
		return nil, fmt.Errorf("%d bits; an RSA key has %d to %d, and 2048 are usual", bits, MinBits, MaxBits)
	}
	key, err := rsa.GenerateKey(rand.Reader, bits)
	return &PrivateKey{key}, err
}

// PEM is the key as a file has it.
func (k *PrivateKey) PEM() ([]byte, error) {
	raw, err := x509.MarshalPKCS8PrivateKey(k.signer)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), err
}

// Algorithm is how it signs.
func (k *PrivateKey) Algorithm() Algorithm {
	if _, ok := k.signer.(ed25519.PrivateKey); ok {
		return Ed25519SHA256
	}
	return RSASHA256
}

// Sign signs a SHA-256 hash.
func (k *PrivateKey) Sign(sum []byte) ([]byte, error) {
	if key, ok := k.signer.(ed25519.PrivateKey); ok {
		return ed25519.Sign(key, sum), nil // of the hash, not of what was hashed (RFC 8463 section 3)
	}
	return k.signer.Sign(rand.Reader, sum, crypto.SHA256)
}

// Record is the key record to publish.
func (k *PrivateKey) Record() (string, error) {
	if key, ok := k.signer.(ed25519.PrivateKey); ok {
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey)), nil
	}
	raw, err := x509.MarshalPKIXPublicKey(k.signer.Public())
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(raw), err
}
