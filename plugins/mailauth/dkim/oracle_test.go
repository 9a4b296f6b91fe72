package dkim

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"
)

// TestOracle: the library go-msgauth takes what is signed here, and what it signs passes here.
func TestOracle(t *testing.T) {
	ed, r := edKey(), keyFile(t, "rsa2048.pem")
	keys := map[string]string{"e1._domainkey.example.org": record(t, ed), "s1._domainkey.example.org": record(t, r)}
	dns := &texts{names: map[string][]string{}}
	for name, text := range keys {
		dns.names[name] = []string{text}
	}
	lookup := func(name string) ([]string, error) {
		if text, ok := keys[name]; ok {
			return []string{text}, nil
		}
		return nil, errors.New("no such name")
	}
	for name, text := range letters {
		for _, header := range []Canon{Simple, Relaxed} {
			for _, body := range []Canon{Simple, Relaxed} {
				for selector, k := range map[string]*PrivateKey{"e1": ed, "s1": r} {
					t.Run(name+" "+header.String()+" "+body.String()+" "+selector, func(t *testing.T) {
						_, fields, rest := split(t, text)
						names, err := Names(fields, signed, []string{"Subject"})
						if err != nil {
							t.Fatal(err)
						}
						values, err := Sign(context.Background(), fields, strings.NewReader(rest), Signing{Domain: "example.org", Selector: selector, Key: k, Header: header, Body: body, Names: names})
						if err != nil {
							t.Fatal(err)
						}
						whole := text
						if !strings.Contains(whole, "\r\n\r\n") {
							whole += "\r\n" // the library wants the end of the header
						}
						found, err := msgauth.VerifyWithOptions(strings.NewReader(Field+": "+values[0]+"\r\n"+whole), &msgauth.VerifyOptions{LookupTXT: lookup})
						if err != nil || len(found) != 1 || found[0].Err != nil {
							t.Errorf("the library on ours: %v, %v", found, err)
							for _, v := range found {
								t.Log(v.Err)
							}
						}
						var out bytes.Buffer
						err = msgauth.Sign(&out, strings.NewReader(whole), &msgauth.SignOptions{Domain: "example.org", Selector: selector, Signer: k.signer, HeaderCanonicalization: msgauth.Canonicalization(header.String()), BodyCanonicalization: msgauth.Canonicalization(body.String()), HeaderKeys: names})
						if err != nil {
							t.Fatal(err)
						}
						if got := check(t, Verifier{Resolver: dns, Now: time.Now}, out.String()); got.Result() != Pass {
							t.Errorf("ours on the library's: %+v\n%s", got, out.String())
						}
					})
				}
			}
		}
	}
}
