package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// What a client may send in TLS and crypto/tls never does is made here: new keys without an end, another handshake on the connection, data
// before the handshake. The keys come from the log of the handshake, so that what is forged is what a true client would have sent.

// keyLog takes the secrets of a handshake, as lines of "label random secret".
type keyLog struct{ client, random, secret []byte }

// The labels of the client's secret in TLS 1.3, and of that of both sides in 1.2.
const (
	clientTraffic = "CLIENT_TRAFFIC_SECRET_0"
	masterSecret  = "CLIENT_RANDOM"
)

func (k *keyLog) Write(line []byte) (int, error) {
	words := strings.Fields(string(line))
	if len(words) != 3 {
		return 0, errors.New("no line of a key log")
	}
	random, err1 := hex.DecodeString(words[1])
	secret, err2 := hex.DecodeString(words[2])
	switch words[0] {
	case clientTraffic:
		k.client = secret
	case masterSecret:
		k.random, k.secret = random, secret
	}
	return len(line), errors.Join(err1, err2)
}

// forger writes records of TLS on a connection in the place of its tls.Conn.
type forger struct {
	net.Conn
	hash   func() hash.Hash
	key    int
	suite  uint16
	secret []byte // of TLS 1.3: of the client's keys now
	seal   cipher.AEAD
	iv     []byte
	seq    uint64
	old    bool // TLS 1.2: the kind of a record is in clear, and the nonce in front of its text
}

// Kinds of records and messages (RFC 8446 appendix B), and of what is in them.
const (
	recordAlert     = 21
	recordHandshake = 22
	recordData      = 23

	messageClientHello = 1
	messageServerHello = 2
	messageKeyUpdate   = 24

	extensionPSK   = 41
	extensionEarly = 42

	recordHeader  = 5
	messageHeader = 4
	randomSize    = 32
	maxRecord     = 16 << 10
)

// newForger goes on where a handshake has ended. hello is the beginning of what the server sent in it.
func newForger(conn net.Conn, keys *keyLog, state tls.ConnectionState, hello []byte) (*forger, error) {
	f := &forger{Conn: conn, suite: state.CipherSuite, hash: sha256.New, key: 16}
	switch state.CipherSuite {
	case tls.TLS_AES_128_GCM_SHA256:
	case tls.TLS_AES_256_GCM_SHA384:
		f.hash, f.key = sha512.New384, 32
	case tls.TLS_CHACHA20_POLY1305_SHA256:
		f.key = chacha20poly1305.KeySize
	case tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256:
		return f, f.old12(keys, hello)
	default:
		return nil, fmt.Errorf("nothing is forged in %s", tls.CipherSuiteName(state.CipherSuite))
	}
	return f, f.use(keys.client)
}

// use takes a secret of TLS 1.3 into use (RFC 8446 section 7.3).
func (f *forger) use(secret []byte) (err error) {
	f.secret, f.seq = secret, 0
	f.iv = f.expand(secret, "iv", nil, 12)
	f.seal, err = f.sealer(f.expand(secret, "key", nil, f.key))
	return err
}

func (f *forger) sealer(key []byte) (cipher.AEAD, error) {
	if f.suite == tls.TLS_CHACHA20_POLY1305_SHA256 {
		return chacha20poly1305.New(key)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// expand is HKDF-Expand-Label (RFC 8446 section 7.1).
func (f *forger) expand(secret []byte, label string, context []byte, size int) []byte {
	info := binary.BigEndian.AppendUint16(nil, uint16(size))
	label = "tls13 " + label
	info = append(append(info, byte(len(label))), label...)
	info = append(append(info, byte(len(context))), context...)
	out, err := hkdf.Expand(f.hash, secret, string(info), size)
	if err != nil {
		panic(err) // more than the hash can give is never asked for
	}
	return out
}

// old12 computes the client's keys of TLS 1.2 (RFC 5246 section 6.3). What the client has sent is its Finished.
func (f *forger) old12(keys *keyLog, hello []byte) (err error) {
	const at = recordHeader + messageHeader + 2 // behind the version
	if len(hello) < at+randomSize {
		return errors.New("the server's hello was not seen")
	}
	seed := append(append([]byte("key expansion"), hello[at:at+randomSize]...), keys.random...)
	var block []byte
	for a := seed; len(block) < 2*16+2*4; {
		a = sum(sha256.New, keys.secret, a)
		block = append(block, sum(sha256.New, keys.secret, append(a[:len(a):len(a)], seed...))...)
	}
	f.old, f.seq, f.iv = true, 1, block[32:36] // both keys, then both nonces
	f.seal, err = f.sealer(block[:16])
	return err
}

func sum(h func() hash.Hash, key, text []byte) []byte {
	mac := hmac.New(h, key)
	mac.Write(text)
	return mac.Sum(nil)
}

// record makes one.
func (f *forger) record(kind byte, text []byte) []byte {
	seq := binary.BigEndian.AppendUint64(nil, f.seq)
	f.seq++
	if f.old {
		header := []byte{kind, 3, 3}
		head := binary.BigEndian.AppendUint16(append(seq[:8:8], header...), uint16(len(text)))
		sealed := f.seal.Seal(seq, append(bytes.Clone(f.iv), seq...), text, head)
		return append(binary.BigEndian.AppendUint16(header, uint16(len(sealed))), sealed...)
	}
	nonce := bytes.Clone(f.iv)
	for i := range seq {
		nonce[4+i] ^= seq[i]
	}
	text = append(bytes.Clone(text), kind)
	header := binary.BigEndian.AppendUint16([]byte{recordData, 3, 3}, uint16(len(text)+f.seal.Overhead()))
	return f.seal.Seal(header, nonce, text, header)
}

// Write sends data.
func (f *forger) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		part := p[n:min(len(p), n+maxRecord)]
		if _, err = f.Conn.Write(f.record(recordData, part)); err == nil {
			n += len(part)
		}
	}
	return n, err
}

// update makes a record that says that new keys come, and asks for new ones of the server; it takes them into use (RFC 8446 section 4.6.3).
func (f *forger) update() ([]byte, error) {
	if f.old {
		return nil, errors.New("keys are not updated before TLS 1.3")
	}
	record := f.record(recordHandshake, []byte{messageKeyUpdate, 0, 0, 1, 1})
	return record, f.use(f.expand(f.secret, "traffic upd", nil, f.hash().Size()))
}

// renegotiate sends another ClientHello, and gives what the server makes of it: the kind of its next record, or io.EOF.
func (f *forger) renegotiate(hello []byte, bound time.Duration) (kind byte, err error) {
	f.SetDeadline(time.Now().Add(bound))
	if _, err := f.Conn.Write(f.record(recordHandshake, hello)); err != nil {
		return 0, io.EOF
	}
	return nextRecord(f.Conn)
}

// nextRecord reads one, and gives its kind; io.EOF where the connection ends.
func nextRecord(conn net.Conn) (kind byte, err error) {
	var header [recordHeader]byte
	if _, err = io.ReadFull(conn, header[:]); err == nil {
		_, err = io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint16(header[3:])))
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = io.EOF
	}
	return header[0], err
}

// early is a ClientHello with data that is sent before the handshake (RFC 8446 section 2.3), made of one that offers a session.
type early struct {
	secret []byte // of the session
	suite  uint16
	data   []byte
}

// newEarly takes the secret of a session, whose form crypto/tls describes at SessionState: version, type, suite and time stand before it.
func newEarly(session *tls.SessionState, data []byte) (*early, error) {
	text, err := session.Bytes()
	if err != nil {
		return nil, err
	}
	const at = 2 + 1 + 2 + 8
	if len(text) < at+1 || len(text) < at+1+int(text[at]) || binary.BigEndian.Uint16(text) != tls.VersionTLS13 {
		return nil, errors.New("the session is not one of TLS 1.3")
	}
	return &early{text[at+1:][:text[at]], binary.BigEndian.Uint16(text[3:]), data}, nil
}

// change puts the announcement into a record with ClientHello, binds it to the session anew, and puts the data behind it.
func (e *early) change(record []byte) ([]byte, error) {
	f := &forger{suite: e.suite, hash: sha256.New, key: 16}
	switch e.suite {
	case tls.TLS_AES_256_GCM_SHA384:
		f.hash, f.key = sha512.New384, 32
	case tls.TLS_CHACHA20_POLY1305_SHA256:
		f.key = chacha20poly1305.KeySize
	}
	size := f.hash().Size()
	at, length, err := findPSK(record)
	if err != nil {
		return nil, err
	}
	out := append(bytes.Clone(record[:at]), 0, extensionEarly, 0, 0)
	out = append(out, record[at:]...)
	for _, place := range []int{3, recordHeader + 2, length} { // of the record, the message and its extensions
		binary.BigEndian.PutUint16(out[place:], binary.BigEndian.Uint16(out[place:])+4)
	}
	whole, err := hkdf.Extract(f.hash, e.secret, make([]byte, size))
	if err != nil {
		return nil, err
	}
	hashed := func(text []byte) []byte {
		h := f.hash()
		h.Write(text)
		return h.Sum(nil)
	}
	binder := f.expand(whole, "res binder", hashed(nil), size)
	copy(out[len(out)-size:], sum(f.hash, f.expand(binder, "finished", nil, size), hashed(out[recordHeader:len(out)-size-3]))) // behind the lengths of the list and of the one in it
	if err := f.use(f.expand(whole, "c e traffic", hashed(out[recordHeader:]), size)); err != nil {
		return nil, err
	}
	return append(out, f.record(recordData, e.data)...), nil
}

// findPSK finds the extension that offers a session, which is the last, and the length of all extensions.
func findPSK(record []byte) (at, length int, err error) {
	at = recordHeader + messageHeader + 2 + randomSize
	for _, prefix := range []int{1, 2, 1} { // session, suites, compression
		if at+prefix > len(record) {
			return 0, 0, errors.New("ClientHello is cut")
		}
		n := int(record[at])
		if prefix == 2 {
			n = int(binary.BigEndian.Uint16(record[at:]))
		}
		at += prefix + n
	}
	length = at
	for at += 2; at+4 <= len(record); at += 4 + int(binary.BigEndian.Uint16(record[at+2:])) {
		if binary.BigEndian.Uint16(record[at:]) == extensionPSK {
			return at, length, nil
		}
	}
	return 0, 0, errors.New("no session is offered")
}
