package message

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/stagepost/stagepost/core/smtp"
)

// ErrRecord is what every error of DecodeRecord is: the bytes are not a record that AppendRecord wrote.
var ErrRecord = errors.New("damaged envelope record")

// DecodeRecord reads what AppendRecord wrote, and what a newer version with more fields wrote. Nothing in the envelope
// refers to b afterwards. It takes memory in proportion to b, whatever the bytes are.
func DecodeRecord(b []byte) (*Envelope, error) {
	if len(b) == 0 || b[0] != recordVersion && b[0] != recordOwn {
		return nil, fmt.Errorf("%w: it does not start with version %d or %d", ErrRecord, recordVersion, recordOwn)
	}
	e := &Envelope{}
	err := eachField(b[1:], func(f field) (err error) {
		switch f.num {
		case envID:
			if len(f.bytes) != len(e.ID) {
				return errField
			}
			copy(e.ID[:], f.bytes)
		case envSession:
			e.Session = &Session{}
			err = decodeSession(f.bytes, e.Session)
		case envSender:
			err = decodeAddress(f.bytes, &e.Sender)
		case envParam:
			e.Params, err = decodeParam(f.bytes, e.Params)
		case envRcpt:
			if len(e.Rcpts) == maxRcpts {
				return errField
			}
			r := &Rcpt{}
			err = decodeRcpt(f.bytes, r)
			e.Rcpts = append(e.Rcpts, r)
		case envFacts:
			err = decodeFacts(f.bytes, &e.Facts)
		case envTenant:
			e.Tenant = string(f.bytes)
		case envPriority:
			e.Priority, err = decodeSigned[int8](f.value, math.MinInt8, math.MaxInt8)
		case envArrived:
			e.Arrived = decodeTime(f.value)
		case envNotBefore:
			e.NotBefore = decodeTime(f.value)
		case envExpires:
			e.Expires = decodeTime(f.value)
		case envHold:
			e.Hold = string(f.bytes)
		case envGeneration:
			e.Generation = f.value
		case envSize:
			e.Size, err = decodeSigned[int64](f.value, 0, math.MaxInt64)
		case envPrefix:
			e.Prefix = slices.Clone(f.bytes)
		case envSkip:
			e.Skip, err = decodeSigned[int64](f.value, 0, math.MaxInt64)
		case envInjected:
			e.Injected, err = decodeInjected(f.bytes)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	return e, nil
}

func decodeSession(b []byte, s *Session) error {
	return eachField(b, func(f field) (err error) {
		switch f.num {
		case sessID:
			s.ID = string(f.bytes)
		case sessRole:
			s.Role = Role(f.bytes)
		case sessListener:
			s.Listener = string(f.bytes)
		case sessOrigin:
			s.Origin = string(f.bytes)
		case sessIP:
			err = decodeIP(f.bytes, &s.IP)
		case sessLocalIP:
			err = decodeIP(f.bytes, &s.LocalIP)
		case sessPort:
			s.Port, err = decodePort(f.value)
		case sessLocalPort:
			s.LocalPort, err = decodePort(f.value)
		case sessHelo:
			s.Helo = string(f.bytes)
		case sessESMTP:
			s.ESMTP = f.value != 0
		case sessUser:
			s.User = string(f.bytes)
		case sessGroup:
			s.Groups = append(s.Groups, string(f.bytes))
		case sessEarly:
			s.Early = f.value != 0
		case sessErrors:
			s.Errors, err = decodeSigned[int](f.value, 0, math.MaxInt32)
		case sessTLS:
			s.TLS = &TLS{}
			err = decodeTLS(f.bytes, s.TLS)
		case sessAuth:
			s.Auth = string(f.bytes)
		}
		return err
	})
}

func decodeTLS(b []byte, t *TLS) error {
	return eachField(b, func(f field) error {
		switch f.num {
		case tlsVersion:
			t.Version = string(f.bytes)
		case tlsCipher:
			t.Cipher = string(f.bytes)
		case tlsSNI:
			t.SNI = string(f.bytes)
		case tlsClient:
			t.Client = string(f.bytes)
		}
		return nil
	})
}

func decodeRcpt(b []byte, r *Rcpt) error {
	renamed := false
	err := eachField(b, func(f field) (err error) {
		switch f.num {
		case rcptAddress:
			err = decodeAddress(f.bytes, &r.Address)
		case rcptOriginal:
			renamed = true
			err = decodeAddress(f.bytes, &r.Original)
		case rcptParam:
			r.Params, err = decodeParam(f.bytes, r.Params)
		case rcptClass:
			r.Class = Class(f.bytes)
		case rcptBy:
			r.By = string(f.bytes)
		case rcptPrefix:
			r.Prefix = slices.Clone(f.bytes)
		case rcptHold:
			r.Hold = string(f.bytes)
		case rcptFacts:
			err = decodeFacts(f.bytes, &r.Facts)
		}
		return err
	})
	if !renamed {
		r.Original = r.Address
	}
	return err
}

func decodeAddress(b []byte, a *smtp.Address) error {
	*a = smtp.Address{}
	given := false
	err := eachField(b, func(f field) error {
		switch f.num {
		case addrText:
			a.Text = string(f.bytes)
		case addrLocal:
			a.Local, given = string(f.bytes), true
		case addrDomain:
			a.Domain, given = string(f.bytes), true
		}
		return nil
	})
	if !given {
		a.Local, a.Domain = splitAddress(a.Text)
	}
	return err
}

func decodeParam(b []byte, params []smtp.Param) ([]smtp.Param, error) {
	var p smtp.Param
	err := eachField(b, func(f field) error {
		switch f.num {
		case paramKey:
			p.Key = string(f.bytes)
		case paramValue:
			p.Value = string(f.bytes)
		}
		return nil
	})
	return append(params, p), err
}

func decodeIP(b []byte, ip *netip.Addr) error {
	if len(b) > 64 || ip.UnmarshalBinary(b) != nil {
		return errField
	}
	return nil
}

func decodePort(v uint64) (uint16, error) {
	if v > math.MaxUint16 {
		return 0, errField
	}
	return uint16(v), nil
}

func decodeSigned[T int | int8 | int64](v uint64, low, high int64) (T, error) {
	n := protowire.DecodeZigZag(v)
	if n < low || n > high {
		return 0, errField
	}
	return T(n), nil
}

var errField = errors.New("value out of range")

// field is one field of a message: bytes for the length-delimited type, value for the others.
type field struct {
	num   protowire.Number
	value uint64
	bytes []byte
}

// eachField calls fn for each field of a message. Those of a type that no version writes are skipped.
func eachField(b []byte, fn func(field) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		f := field{num: num}
		switch typ {
		case protowire.VarintType:
			f.value, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(b)
		default:
			if n = protowire.ConsumeFieldValue(num, typ, b); n >= 0 {
				b = b[n:]
				continue
			}
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := fn(f); err != nil {
			return fmt.Errorf("field %d: %w", num, err)
		}
	}
	return nil
}
