package index

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"aead.dev/minisign"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/plugins/catalog/trust"
)

// maxSecret bounds the file of a secret key, in bytes.
const maxSecret = 4 << 10

// Secret is a minisign secret key.
type Secret struct{ private minisign.PrivateKey }

// ErrEncrypted: the file of a secret key needs a passphrase, which was not given.
var ErrEncrypted = errors.New("the key is encrypted, and needs its passphrase")

// Generate makes a new key.
func Generate() (*Secret, error) {
	_, private, err := minisign.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	return &Secret{private}, nil
}

// LoadSecret reads the file of a secret key. Without a passphrase, one that needs it is ErrEncrypted.
func LoadSecret(file, passphrase string) (*Secret, error) {
	text, err := config.ReadFile(file, maxSecret)
	if err != nil {
		return nil, fmt.Errorf("cannot read the key: %w", err)
	}
	s, err := ParseSecret(text, passphrase)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

// ParseSecret reads the text of a secret key, as minisign -G writes it.
func ParseSecret(text []byte, passphrase string) (*Secret, error) {
	text = bytes.TrimSpace(text)
	if len(text) > maxSecret {
		return nil, errors.New("it is no secret key of minisign")
	}
	s := &Secret{}
	var err error
	switch encrypted := minisign.IsEncrypted(text); {
	case encrypted && passphrase == "":
		return nil, ErrEncrypted
	case encrypted:
		if s.private, err = minisign.DecryptKey(passphrase, text); err != nil {
			return nil, errors.New("the passphrase is wrong, or the file is damaged")
		}
	default:
		if err = s.private.UnmarshalText(text); err != nil {
			return nil, errors.New("it is no secret key of minisign")
		}
	}
	// The file holds the public half, too. Signing with one that is not the secret's could give the secret away.
	const probe = "probe"
	if !minisign.Verify(s.private.Public().(minisign.PublicKey), []byte(probe), s.Sign([]byte(probe), probe)) {
		return nil, errors.New("the two halves of the key do not belong together; the file is damaged")
	}
	return s, nil
}

// Text is what the file of the key holds, as minisign reads it; without a passphrase, it is not encrypted.
func (s *Secret) Text(passphrase string) ([]byte, error) {
	text, err := s.private.MarshalText()
	if passphrase != "" {
		text, err = minisign.EncryptKey(passphrase, s.private)
	}
	if err != nil {
		return nil, err
	}
	return append(text, '\n'), nil
}

// Key is the public key.
func (s *Secret) Key() trust.Key { return trust.KeyOf(s.private.Public().(minisign.PublicKey)) }

// Sign signs data, with a comment that is signed, too. The signature depends on nothing else.
func (s *Secret) Sign(data []byte, comment string) []byte {
	r := minisign.NewReader(bytes.NewReader(data))
	if _, err := io.Copy(io.Discard, r); err != nil {
		panic(err) // it is memory
	}
	return r.SignWithComments(s.private, comment, "signature from stagepost, key "+s.Key().ID())
}
