package message

import (
	"fmt"
	"reflect"

	"github.com/fxamacker/cbor/v2"
	"google.golang.org/protobuf/encoding/protowire"
)

// Facts are written as a CBOR map (RFC 8949) in core deterministic encoding and read strictly: definite lengths, no tags, no
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
