package trust

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"aead.dev/minisign"
)

// maxSignature bounds the text of a signature, in bytes.
const maxSignature = 2 << 10

// Key is a minisign public key. Keys compare with ==; the zero value is no key.
type Key struct {
	text string // the one line of base64 that minisign -P takes
}

// ParseKey reads the line of base64 that minisign -P takes.
func ParseKey(text string) (Key, error) {
	var public minisign.PublicKey
	err := public.UnmarshalText([]byte(text))
	if err == nil && public.String() != text {
		err = errors.New("it is not written the way minisign writes it")
	}
	if err != nil {
		return Key{}, fmt.Errorf("it is no minisign public key, which is a line of 56 characters that begins with RW (%s)", strings.TrimPrefix(err.Error(), "minisign: "))
	}
	return Key{text}, nil
}

// KeyOf is the key that is called public in the library.
func KeyOf(public minisign.PublicKey) Key { return Key{public.String()} }

// String is the line of base64 that minisign -P takes; "" for no key.
func (k Key) String() string { return k.text }

// ID is what minisign calls the key, in short: a number in hexadecimal digits. It proves nothing.
func (k Key) ID() string {
	if k.text == "" {
		return ""
	}
	return shortID(k.public().ID())
}

func (k Key) public() (public minisign.PublicKey) {
	if err := public.UnmarshalText([]byte(k.text)); err != nil {
		panic("plugins/catalog/trust: a key that is none: " + err.Error()) // ParseKey looked
	}
	return public
}

func shortID(id uint64) string { return fmt.Sprintf("%X", id) }

// readSignature reads the four lines of a signature. They have to be written the way minisign writes them, byte for byte.
func readSignature(text []byte) (*minisign.Signature, error) {
	s := &minisign.Signature{}
	if len(text) > maxSignature || s.UnmarshalText(text) != nil || s.String() != string(text) {
		return nil, errors.New("the signature cannot be read; it is the four lines that minisign writes")
	}
	if s.Algorithm != minisign.HashEdDSA {
		return nil, errors.New("the signature is of the kind that minisign -l writes, which is not taken; sign without -l")
	}
	return s, nil
}

// CheckSignature tells whether text is a signature, of whatever by whomever.
func CheckSignature(text string) error {
	_, err := readSignature([]byte(text))
	return err
}

// signed tells which of some keys signed data.
func signed(keys []Key, data, signature []byte) (Key, error) {
	s, err := readSignature(signature)
	if err != nil {
		return Key{}, err
	}
	id := shortID(s.KeyID)
	same := slices.DeleteFunc(slices.Clone(keys), func(k Key) bool { return k.ID() != id })
	for _, k := range same {
		if minisign.Verify(k.public(), data, signature) {
			return k, nil
		}
	}
	if len(same) > 0 {
		return Key{}, fmt.Errorf("the signature of the key %s is not one of this content, which was damaged or tampered with", id)
	}
	return Key{}, fmt.Errorf("it is signed with the key %s, and not with one that is trusted for it: %s", id, listed(keys))
}

// listed names keys in a message.
func listed(keys []Key) string {
	ids := make([]string, len(keys))
	for i, k := range keys {
		ids[i] = k.ID()
	}
	return strings.Join(ids, ", ")
}

// idOf reads the key's number out of a signature that was read before.
func idOf(signature []byte) string {
	s, err := readSignature(signature)
	if err != nil {
		return ""
	}
	return shortID(s.KeyID)
}
