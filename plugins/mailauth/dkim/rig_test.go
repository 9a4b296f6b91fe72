package dkim

import (
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/resolve"
)

// noon is when the tests happen.
var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// content is a message in memory.
type content string

func (c content) ReadAt(p []byte, off int64) (int, error) {
	return strings.NewReader(string(c)).ReadAt(p, off)
}
func (c content) Size() int64   { return int64(len(c)) }
func (c content) Bytes() []byte { return []byte(c) }

// split gives the header of a message, its fields and its body.
func split(t testing.TB, text string) (*message.Header, []message.Field, string) {
	t.Helper()
	h, err := message.ReadHeader(content(text), message.DefaultHeaderLimits)
	if err != nil {
		t.Fatal(err)
	}
	at, err := h.BodyStart(content(text))
	if err != nil {
		t.Fatal(err)
	}
	return h, h.Fields(""), text[at:]
}

// texts is a DNS of TXT records; a name with the record "!" cannot be told.
type texts struct {
	mu    sync.Mutex
	names map[string][]string
	asked []string
	hang  bool
}

func (d *texts) Lookup(ctx context.Context, name string, t resolve.Type) (resolve.Answer, error) {
	d.mu.Lock()
	d.asked = append(d.asked, name)
	records := d.names[name]
	d.mu.Unlock()
	if d.hang {
		<-ctx.Done()
		return resolve.Answer{}, &resolve.Error{Kind: resolve.Temporary, Name: name, Type: t, Err: ctx.Err()}
	}
	a := resolve.Answer{Name: name}
	for _, text := range records {
		switch text {
		case "!":
			return a, &resolve.Error{Kind: resolve.Temporary, Name: name, Type: t, Err: errors.New("SERVFAIL")}
		case "!panic":
			panic("resolver")
		}
		a.Records = append(a.Records, resolve.Text(text))
	}
	if len(records) == 0 {
		a.Status = resolve.NoDomain
	}
	return a, nil
}

func keyFile(t testing.TB, name string) *PrivateKey {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text) // one that ParsePrivateKey refuses, too
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return &PrivateKey{key.(*rsa.PrivateKey)}
}

func edKey() *PrivateKey {
	return &PrivateKey{ed25519.NewKeyFromSeed([]byte(strings.Repeat("k", 32)))}
}

func record(t testing.TB, k *PrivateKey) string {
	t.Helper()
	r, err := k.Record()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const letter = "From: Ann <ann@example.org>\r\nTo: bob@example.net\r\nSubject: hello\r\nDate: Sat, 28 Nov 2026 11:59:00 +0000\r\n\r\nDear Bob,\r\n\r\nhello.\r\n"

// forge signs a message with tags that Sign would never write: each of change is "name=value", put in the place of that tag or added, or
// "-name". The hashes are right for what the tags say, as far as they can be.
func forge(t testing.TB, text string, k *PrivateKey, change ...string) string {
	t.Helper()
	_, fields, body := split(t, text)
	order := []string{"v", "a", "c", "d", "s", "t", "h", "bh"}
	tags := map[string]string{"v": "1", "a": string(k.Algorithm()), "c": "relaxed/relaxed", "d": "example.org", "s": "s1", "t": "1795867200", "h": "From:To:Subject:Date"}
	for _, c := range change {
		name, value, set := strings.Cut(strings.TrimPrefix(c, "-"), "=")
		if _, there := tags[name]; !there && set && name != "bh" && name != "b" {
			order = append(order, name)
		}
		if tags[name] = value; !set {
			delete(tags, name)
			if name == "bh" {
				tags[name] = "-"
			}
		}
	}
	header, canon, _ := ParseCanon(tags["c"])
	b := newBodyHash(canon, -1)
	if n, ok := number(tags["l"], 18); ok {
		b.length = n
	}
	b.in.Write([]byte(body))
	b.in.Close()
	if _, given := tags["bh"]; !given {
		tags["bh"] = base64.StdEncoding.EncodeToString(b.sum.Sum(nil))
	}
	var list []string
	for _, name := range order {
		if value, ok := tags[name]; ok && value != "-" {
			list = append(list, name+"="+value)
		}
	}
	value := strings.Join(list, "; ") + "; b="
	h := sha256.New()
	HashHeader(h, header, fields, strings.Split(strings.ReplaceAll(tags["h"], " ", ""), ":"), []byte(Field+": "+value+"\r\n"), 1<<30)
	signature, err := k.signer.Sign(nil, h.Sum(nil), hashOf(k))
	if err != nil {
		t.Fatal(err)
	}
	if given, ok := tags["b"]; ok {
		value = strings.TrimSuffix(value, "b=") + given
	} else {
		value += base64.StdEncoding.EncodeToString(signature)
	}
	return Field + ": " + value + "\r\n" + text
}

// check verifies a message at noon.
func check(t testing.TB, v Verifier, text string) *Report {
	t.Helper()
	h, _, body := split(t, text)
	if v.Now == nil {
		v.Now = func() time.Time { return noon }
	}
	r, err := v.Verify(context.Background(), h, strings.NewReader(body), []string{"example.org"})
	if err != nil {
		t.Fatal(err)
	}
	return r
}
