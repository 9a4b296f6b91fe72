package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/asn1"
	"math/big"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	tag "golang.org/x/crypto/cryptobyte/asn1"
)

// Sizes of RSA keys that count, in bits (RFC 8301 section 3.2). Larger ones cost more to verify than there is a use for.
const (
	MinBits = 1024
	MaxBits = 4096
)

// Bounds of records.
const (
	maxRecord   = 8 << 10
	maxExponent = 1<<31 - 1
)

// Key is a public key as it lies in the DNS (RFC 6376 section 3.6.1, RFC 8463 section 4).
type Key struct {
	Type    string // k=: rsa or ed25519
	Bits    int    // of rsa, of the modulus; of ed25519, 256
	Testing bool   // t=y: the domain only tries; a signature that fails is as none
	Strict  bool   // t=s: i= is at d= itself
	Notes   string // n=

	rsa     *rsa.PublicKey
	ed25519 ed25519.PublicKey
}

// ParseKey reads a key record. Its errors are *Error with the result PermError, one for each fault.
func ParseKey(text string) (*Key, error) {
	if len(text) > maxRecord {
		return nil, faulty("the record has %d bytes; %d are looked at", len(text), maxRecord)
	}
	tags, err := ParseTags(text)
	if err != nil {
		return nil, err
	}
	for i, t := range tags {
		if t.Name == "v" && i > 0 {
			return nil, faulty("v= is not the first tag")
		} else if t.Name == "v" && t.Value != "DKIM1" {
			return nil, faulty("v=%s is not DKIM1", quote(t.Value))
		}
	}
	k := &Key{Type: "rsa"}
	if v, ok := tags.Get("k"); ok {
		k.Type = strings.ToLower(v)
	}
	k.Notes, _ = tags.Get("n")
	if v, ok := tags.Get("t"); ok {
		flags := list(v)
		k.Testing, k.Strict = slices.Contains(flags, "y"), slices.Contains(flags, "s")
	}
	if h, ok := tags.Get("h"); ok && !slices.ContainsFunc(list(h), func(a string) bool { return strings.EqualFold(a, "sha256") }) {
		return k, faulty("the key is for h=%s, not for sha256", quote(h))
	}
	if s, ok := tags.Get("s"); ok && !slices.ContainsFunc(list(s), func(t string) bool { return t == "*" || strings.EqualFold(t, "email") }) {
		return k, faulty("the key is for s=%s, not for email", quote(s))
	}
	p, ok := tags.Get("p")
	if !ok {
		return k, faulty("p= is missing")
	} else if p == "" {
		return k, faulty("the key was revoked: p= is empty")
	}
	raw, err := Base64(p)
	if err != nil {
		return k, faulty("p= is not base64")
	}
	switch k.Type {
	case "rsa":
		return k, k.readRSA(raw)
	case "ed25519":
		return k, k.readEd25519(raw)
	}
	return k, faulty("k=%s is not known; there are rsa and ed25519", quote(k.Type))
}

func (k *Key) readEd25519(raw []byte) error {
	if len(raw) != ed25519.PublicKeySize {
		return faulty("p= has %d bytes; an Ed25519 key has %d, without ASN.1 around them", len(raw), ed25519.PublicKeySize)
	}
	k.ed25519, k.Bits = raw, 256
	return nil
}

var oidRSA = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}

// readRSA reads a SubjectPublicKeyInfo, as keys are published, or the RSAPublicKey in it, as RFC 6376 says; see erratum 3017.
func (k *Key) readRSA(raw []byte) error {
	notKey := faulty("p= is no RSA public key")
	input := cryptobyte.String(raw)
	var seq, alg cryptobyte.String
	if !input.ReadASN1(&seq, tag.SEQUENCE) || !input.Empty() {
		return notKey
	}
	if seq.PeekASN1Tag(tag.SEQUENCE) {
		var oid asn1.ObjectIdentifier
		var bits []byte
		if !seq.ReadASN1(&alg, tag.SEQUENCE) || !alg.ReadASN1ObjectIdentifier(&oid) || !seq.ReadASN1BitStringAsBytes(&bits) || !seq.Empty() {
			return notKey
		}
		if !oid.Equal(oidRSA) {
			return faulty("p= is a key of another type than k=rsa says")
		}
		input, seq = bits, nil
		if !input.ReadASN1(&seq, tag.SEQUENCE) || !input.Empty() {
			return notKey
		}
	}
	n, e := new(big.Int), new(big.Int)
	if !seq.ReadASN1Integer(n) || !seq.ReadASN1Integer(e) || !seq.Empty() || n.Sign() <= 0 {
		return notKey
	}
	k.Bits = n.BitLen()
	switch {
	case k.Bits < MinBits:
		return faulty("the RSA key has %d bits; it must have %d at least (RFC 8301)", k.Bits, MinBits)
	case k.Bits > MaxBits:
		return faulty("the RSA key has %d bits; %d are the most", k.Bits, MaxBits)
	case n.Bit(0) == 0:
		return faulty("the RSA key is broken: its modulus is even")
	case e.Cmp(big.NewInt(3)) < 0 || e.Cmp(big.NewInt(maxExponent)) > 0 || e.Bit(0) == 0:
		return faulty("the exponent of the RSA key is not odd, or not from 3 to %d", maxExponent)
	}
	k.rsa = &rsa.PublicKey{N: n, E: int(e.Int64())}
	return nil
}

// Verify tells whether the key signed a SHA-256 hash so; it fails, too, when it is of another type than the algorithm.
func (k *Key) Verify(a Algorithm, sum, signature []byte) error {
	if k.Type != a.keyType() || k.rsa == nil && k.ed25519 == nil {
		return faulty("a=%s, and the key is of type %s", a, k.Type)
	}
	ok := false
	if k.rsa != nil {
		ok = rsa.VerifyPKCS1v15(k.rsa, crypto.SHA256, sum, signature) == nil
	} else {
		ok = ed25519.Verify(k.ed25519, sum, signature)
	}
	if !ok {
		return failed("the signature does not fit the header")
	}
	return nil
}
