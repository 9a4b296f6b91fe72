package message

import (
	"fmt"
	"reflect"

	"github.com/fxamacker/cbor/v2"
	"google.golang.org/protobuf/encoding/protowire"
)

// Values are written in CBOR (RFC 8949) in core deterministic encoding and read strictly: definite lengths, no tags, no
// key twice, integers as int64. A string is any bytes, as it is in a plugin.
var (
	cborEncode = must(cbor.EncOptions{
		Sort:          cbor.SortBytewiseLexical,
		ShortestFloat: cbor.ShortestFloat16,
		IndefLength:   cbor.IndefLengthForbidden,
		TagsMd:        cbor.TagsForbidden,
	}.EncMode())
	cborDecode = must(cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		IntDec:           cbor.IntDecConvertSignedOrFail,
		UTF8:             cbor.UTF8DecodeInvalid,
		DefaultMapType:   reflect.TypeFor[map[string]any](),
		MaxNestedLevels:  maxValueDepth + 4,
		MaxArrayElements: MaxFactsBytes,
		MaxMapPairs:      MaxFactsBytes,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func appendFacts(b []byte, num protowire.Number, f *Facts) ([]byte, error) {
	if f.Len() == 0 {
		return b, nil
	}
	m := make(map[string]any, f.Len())
	for _, e := range f.entries {
		m[e.Name] = e.Value
	}
	raw, err := cborEncode.Marshal(m)
	if err != nil {
		return b, fmt.Errorf("facts: %w", err)
	}
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), raw), nil
}

func decodeFacts(b []byte, f *Facts) error {
	if len(b) > 2*MaxFactsBytes { // lengths make the encoded form a little longer than Bytes says
		return errField
	}
	var m map[string]any
	if err := cborDecode.Unmarshal(b, &m); err != nil {
		return err
	}
	*f = Facts{}
	for name, v := range m {
		if err := f.Set(name, v); err != nil {
			return err
		}
	}
	return nil
}

// EncodeValue writes a value in the types of facts as CBOR.
func EncodeValue(v any) ([]byte, error) { return cborEncode.Marshal(v) }

// DecodeValue reads one value in the types of facts. Who decodes bounds b: the value takes up to about 20 times its length.
func DecodeValue(b []byte) (any, error) {
	var v any
	if err := cborDecode.Unmarshal(b, &v); err != nil {
		return nil, err
	}
	if _, err := SizeOf(v); err != nil { // other simple values of CBOR, and floats of other sizes, are none of a fact's types
		return nil, err
	}
	return v, nil
}
