package service

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
)

func hashService() Service {
	return Service{Name: "hash", Doc: "Digests.",
		Funcs: []Func{
			{
				Name: "hash.sha256", Args: []Arg{{Name: "text", Kind: String}}, Result: "string", AtLoad: true, Pure: true,
				Doc: "SHA-256 in lower-case hexadecimal.",
				Call: func(c *Context, args []any) (any, error) {
					text := args[0].(string)
					if err := c.spend(20+len(text)/32, 64); err != nil {
						return nil, err
					}
					sum := sha256.Sum256([]byte(text))
					return hex.EncodeToString(sum[:]), nil
				},
			},
			{
				Name: "hash.hmac", Args: []Arg{{Name: "alg", Kind: String}, {Name: "key", Kind: String | Given, Of: []string{secretObject}}, {Name: "text", Kind: String}, {Name: "encoding", Kind: String, Optional: true}},
				Result: "string", AtLoad: true, Pure: true,
				Doc: `HMAC (RFC 2104) with "sha256", "sha512" or "sha1", in lower-case hexadecimal or, with encoding "base64", in base64.`,
				Call: func(c *Context, args []any) (any, error) {
					return c.hmac(args[0].(string), textOf(args[1]), args[2].(string), args[3])
				},
			},
		},
	}
}

func (c *Context) hmac(alg, key, text string, encoding any) (any, error) {
	var h func() hash.Hash
	switch alg {
	case "sha256":
		h = sha256.New
	case "sha512":
		h = sha512.New
	case "sha1":
		h = sha1.New
	default:
		return nil, fmt.Errorf(`alg is %q; it must be "sha256", "sha512" or "sha1"`, cut(alg))
	}
	if err := c.spend(40+(len(text)+len(key))/16, 128); err != nil {
		return nil, err
	}
	mac := hmac.New(h, []byte(key))
	mac.Write([]byte(text))
	sum := mac.Sum(nil)
	switch encoding {
	case nil, "hex":
		return hex.EncodeToString(sum), nil
	case "base64":
		return base64.StdEncoding.EncodeToString(sum), nil
	}
	return nil, fmt.Errorf(`encoding is %q; it must be "hex" or "base64"`, cut(encoding.(string)))
}
