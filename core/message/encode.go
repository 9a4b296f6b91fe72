package message

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/stagepost/stagepost/core/smtp"
)

// A version stands first in the record of an envelope. It is another only when a reader of the old form would be wrong; a new
// field does not change it, since readers skip the fields they do not know. What recordVersion cannot say without harm, such as
// that a recipient is held or that this is no mail, is written as recordOwn: a server that does not know that leaves the message alone.
const (
	recordVersion = 1
	recordOwn     = 2 // recipients have what is theirs alone, or it is a parcel
)

// maxRcpts is what the index of a recipient can name.
const maxRcpts = 1 << 16

// Numbers of the fields of a record, never used twice. A field with its zero value is left out.
const (
	envID protowire.Number = iota + 1
	envSession
	envSender
	envParam
	envRcpt
	envFacts
	envTenant
	envPriority
	envArrived
	envNotBefore
	envExpires
	envHold
	envGeneration
	envSize
	envPrefix
	envSkip
	envInjected
)

const (
	sessID protowire.Number = iota + 1
	sessRole
	sessListener
	sessOrigin
	sessIP
	sessLocalIP
	sessPort
	sessLocalPort
	sessHelo
	sessESMTP
	sessUser
	sessGroup
	sessEarly
	sessErrors
	sessTLS
	sessAuth
)

const (
	tlsVersion protowire.Number = iota + 1
	tlsCipher
	tlsSNI
	tlsClient
)

const (
	rcptAddress protowire.Number = iota + 1
	rcptOriginal
	rcptParam
	rcptClass
	rcptBy
	rcptFacts
	rcptHold
	rcptPrefix
)

const (
	addrText protowire.Number = iota + 1
	addrLocal
	addrDomain
)

const (
	paramKey protowire.Number = iota + 1
	paramValue
)

// AppendRecord appends the envelope as it is stored: a version byte, then fields in the wire form of protocol buffers, facts
// in CBOR. Left out are the session's facts and history, and Plan, with which a message is never queued. Times keep
// microseconds.
func (e *Envelope) AppendRecord(b []byte) ([]byte, error) {
	if len(e.Rcpts) > maxRcpts {
		return nil, fmt.Errorf("a message may have %d recipients, not %d", maxRcpts, len(e.Rcpts))
	}
	version := byte(recordVersion)
	if e.IsParcel() || slices.ContainsFunc(e.Rcpts, (*Rcpt).own) {
		version = recordOwn
	}
	b = append(b, version)
	b = protowire.AppendTag(b, envID, protowire.BytesType)
	b = protowire.AppendBytes(b, e.ID[:])
	if e.Session != nil {
		b = appendMessage(b, envSession, e.Session, appendSession)
	}
	b = appendMessage(b, envSender, &e.Sender, appendAddress)
	for i := range e.Params {
		b = appendMessage(b, envParam, &e.Params[i], appendParam)
	}
	var err error
	for _, r := range e.Rcpts {
		b = appendMessage(b, envRcpt, r, func(b []byte, r *Rcpt) []byte {
			b, rcptErr := appendRcpt(b, r)
			err = errors.Join(err, rcptErr)
			return b
		})
	}
	b, factsErr := appendFacts(b, envFacts, &e.Facts)
	if err = errors.Join(err, factsErr); err != nil {
		return nil, err
	}
	b = appendString(b, envTenant, e.Tenant)
	b = appendSigned(b, envPriority, int64(e.Priority))
	b = appendTime(b, envArrived, e.Arrived)
	b = appendTime(b, envNotBefore, e.NotBefore)
	b = appendTime(b, envExpires, e.Expires)
	b = appendString(b, envHold, e.Hold)
	b = appendUint(b, envGeneration, e.Generation)
	b = appendSigned(b, envSize, e.Size)
	if len(e.Prefix) > 0 {
		b = protowire.AppendTag(b, envPrefix, protowire.BytesType)
		b = protowire.AppendBytes(b, e.Prefix)
	}
	b = appendSigned(b, envSkip, e.Skip)
	if e.Injected != nil {
		b = appendMessage(b, envInjected, e.Injected, appendInjected)
	}
	return b, nil
}

func appendSession(b []byte, s *Session) []byte {
	b = appendString(b, sessID, s.ID)
	b = appendString(b, sessRole, string(s.Role))
	b = appendString(b, sessListener, s.Listener)
	b = appendString(b, sessOrigin, s.Origin)
	b = appendIP(b, sessIP, s.IP)
	b = appendIP(b, sessLocalIP, s.LocalIP)
	b = appendUint(b, sessPort, uint64(s.Port))
	b = appendUint(b, sessLocalPort, uint64(s.LocalPort))
	b = appendString(b, sessHelo, s.Helo)
	b = appendUint(b, sessESMTP, protowire.EncodeBool(s.ESMTP))
	b = appendString(b, sessUser, s.User)
	for _, g := range s.Groups {
		b = protowire.AppendTag(b, sessGroup, protowire.BytesType)
		b = protowire.AppendString(b, g)
	}
	b = appendUint(b, sessEarly, protowire.EncodeBool(s.Early))
	b = appendSigned(b, sessErrors, int64(s.Errors))
	if s.TLS != nil {
		b = appendMessage(b, sessTLS, s.TLS, appendTLS)
	}
	return appendString(b, sessAuth, s.Auth)
}

func appendTLS(b []byte, t *TLS) []byte {
	b = appendString(b, tlsVersion, t.Version)
	b = appendString(b, tlsCipher, t.Cipher)
	b = appendString(b, tlsSNI, t.SNI)
	return appendString(b, tlsClient, t.Client)
}

// own tells whether the recipient has what an older reader would miss.
func (r *Rcpt) own() bool { return r.Hold != "" || len(r.Prefix) > 0 }

// appendRcpt leaves out the original address where it is the address; a null one then is an empty field.
func appendRcpt(b []byte, r *Rcpt) ([]byte, error) {
	b = appendMessage(b, rcptAddress, &r.Address, appendAddress)
	if r.Original != r.Address {
		b = appendMessage(b, rcptOriginal, &r.Original, appendAddress)
	}
	for i := range r.Params {
		b = appendMessage(b, rcptParam, &r.Params[i], appendParam)
	}
	b = appendString(b, rcptClass, string(r.Class))
	b = appendString(b, rcptBy, r.By)
	b = appendString(b, rcptHold, r.Hold)
	b = appendString(b, rcptPrefix, string(r.Prefix))
	return appendFacts(b, rcptFacts, &r.Facts)
}

// appendAddress leaves out the parts where they are just what stands around the "@" of the text.
func appendAddress(b []byte, a *smtp.Address) []byte {
	b = appendString(b, addrText, a.Text)
	if local, domain := splitAddress(a.Text); local != a.Local || domain != a.Domain {
		b = protowire.AppendTag(b, addrLocal, protowire.BytesType)
		b = protowire.AppendString(b, a.Local)
		b = protowire.AppendTag(b, addrDomain, protowire.BytesType)
		b = protowire.AppendString(b, a.Domain)
	}
	return b
}

func splitAddress(text string) (local, domain string) {
	for i := len(text) - 1; i >= 0; i-- {
		if text[i] == '@' {
			return text[:i], text[i+1:]
		}
	}
	return text, ""
}

func appendParam(b []byte, p *smtp.Param) []byte {
	b = appendString(b, paramKey, p.Key)
	return appendString(b, paramValue, p.Value)
}

// appendMessage appends a nested message, whose length is known only behind it: one byte is kept free for that, which nearly
// always is enough.
func appendMessage[T any](b []byte, num protowire.Number, v *T, fields func([]byte, *T) []byte) []byte {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	start := len(b) + 1
	b = fields(append(b, 0), v)
	n := len(b) - start
	if n < 0x80 {
		b[start-1] = byte(n)
		return b
	}
	more := protowire.SizeVarint(uint64(n)) - 1
	b = append(b, make([]byte, more)...)
	copy(b[start+more:], b[start:start+n])
	protowire.AppendVarint(b[:start-1], uint64(n))
	return b
}

func appendString(b []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), s)
}

func appendUint(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

func appendSigned(b []byte, num protowire.Number, v int64) []byte {
	return appendUint(b, num, protowire.EncodeZigZag(v))
}

// appendTime stores the epoch itself, whose value is 0, as the smallest number there is.
func appendTime(b []byte, num protowire.Number, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	us := t.UnixMicro()
	if us == 0 {
		us = math.MinInt64
	}
	return appendSigned(b, num, us)
}

func decodeTime(v uint64) time.Time {
	us := protowire.DecodeZigZag(v)
	if us == math.MinInt64 {
		us = 0
	}
	return time.UnixMicro(us).UTC()
}

func appendIP(b []byte, num protowire.Number, ip netip.Addr) []byte {
	if !ip.IsValid() {
		return b
	}
	raw, _ := ip.AppendBinary(make([]byte, 0, 32)) // never fails
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), raw)
}
