package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of JSON, in both directions.
const (
	maxJSON       = 1 << 20 // bytes
	maxJSONDepth  = 32
	maxJSONValues = 50_000 // in decoding, names of members included
)

func jsonService() Service {
	return Service{Name: "json", Doc: "JSON (RFC 8259), at most 1 MiB, nested at most 32 deep.",
		Funcs: []Func{
			{
				Name: "json.encode", Args: []Arg{{Name: "value", Kind: Any, Optional: true}}, Result: "string", AtLoad: true, Pure: true,
				Doc: "Text of a value; nil is null. Members are sorted by name, whole numbers have no fraction, and bytes that are not UTF-8 become U+FFFD.",
				Call: func(c *Context, args []any) (any, error) {
					e := jsonEncoder{most: maxJSON}
					if err := e.value(args[0], 0); err != nil {
						return nil, err
					}
					if err := c.spend(len(e.out)/8, len(e.out)); err != nil {
						return nil, err
					}
					return string(e.out), nil
				},
			},
			{
				Name: "json.decode", Args: []Arg{{Name: "text", Kind: String}}, Result: "any", AtLoad: true, Pure: true,
				Doc:  "Value of a text; text that is not JSON is an error. null is nil; of members with one name the last counts.",
				Call: func(c *Context, args []any) (any, error) { return c.decodeJSON(args[0].(string)) },
			},
		},
	}
}

// jsonEncoder writes values; most bounds its output.
type jsonEncoder struct {
	out  []byte
	most int
}

func (e *jsonEncoder) value(v any, depth int) error {
	if depth > maxJSONDepth {
		return fmt.Errorf("the value is nested more than %d deep", maxJSONDepth)
	}
	switch v := v.(type) {
	case nil:
		e.out = append(e.out, "null"...)
	case bool:
		e.out = strconv.AppendBool(e.out, v)
	case int64:
		e.out = strconv.AppendInt(e.out, v, 10)
	case float64:
		i, ok := whole(v)
		switch {
		case ok:
			e.out = strconv.AppendInt(e.out, i, 10)
		case math.IsNaN(v) || math.IsInf(v, 0):
			return fmt.Errorf("JSON has no number %v", v)
		default:
			e.out = strconv.AppendFloat(e.out, v, 'g', -1, 64)
		}
	case string:
		if err := e.fits(len(v)); err != nil {
			return err
		}
		e.text(v)
	case []byte:
		if err := e.fits(len(v)); err != nil {
			return err
		}
		e.text(string(v))
	case []any:
		e.out = append(e.out, '[')
		for i := range v {
			if i > 0 {
				e.out = append(e.out, ',')
			}
			if err := e.value(v[i], depth+1); err != nil {
				return err
			}
		}
		e.out = append(e.out, ']')
	case map[string]any:
		e.out = append(e.out, '{')
		for i, k := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				e.out = append(e.out, ',')
			}
			if err := e.fits(len(k)); err != nil {
				return err
			}
			e.text(k)
			e.out = append(e.out, ':')
			if err := e.value(v[k], depth+1); err != nil {
				return err
			}
		}
		e.out = append(e.out, '}')
	default:
		return fmt.Errorf("%s has no form in JSON", TypeName(v))
	}
	return e.fits(0)
}

func (e *jsonEncoder) fits(more int) error {
	if len(e.out)+more > e.most {
		return fmt.Errorf("the text is longer than %d bytes", e.most)
	}
	return nil
}

// text writes a string (RFC 8259 section 7). U+2028 and U+2029 are escaped too, since they end lines in JavaScript.
func (e *jsonEncoder) text(s string) {
	e.out = append(e.out, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			e.out = append(e.out, '\\', byte(r))
		case r == '\n':
			e.out = append(e.out, `\n`...)
		case r == '\r':
			e.out = append(e.out, `\r`...)
		case r == '\t':
			e.out = append(e.out, `\t`...)
		case r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029':
			e.out = fmt.Appendf(e.out, `\u%04x`, r)
		default:
			e.out = utf8.AppendRune(e.out, r)
		}
	}
	e.out = append(e.out, '"')
}

func (c *Context) decodeJSON(text string) (any, error) {
	values, err := measureJSON(text)
	if err != nil {
		return nil, err
	}
	if err := c.spend(len(text)/4+values*4, len(text)+values*64); err != nil {
		return nil, err
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, notJSON(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more text stands behind the value")
	}
	return numbers(v)
}

func notJSON(err error) error {
	var at *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the text ends too early")
	case errors.As(err, &at):
		return fmt.Errorf("this is not JSON: %v, at byte %d", err, at.Offset)
	}
	return fmt.Errorf("this is not JSON: %v", err)
}

// measureJSON counts the values of a text before any memory is taken for them. What it counts in text that is not JSON does
// not matter, as the decoder refuses that.
func measureJSON(text string) (values int, err error) {
	if len(text) > maxJSON {
		return 0, fmt.Errorf("the text is longer than %d bytes", maxJSON)
	}
	values, depth := 1, 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case '[', '{':
			values++
			if depth++; depth > maxJSONDepth {
				return 0, fmt.Errorf("the text is nested more than %d deep", maxJSONDepth)
			}
		case ']', '}':
			depth--
		case ',', ':':
			values++
		}
	}
	if values > maxJSONValues {
		return 0, fmt.Errorf("the text holds more than %d values", maxJSONValues)
	}
	return values, nil
}

// numbers turns json.Number into int64 where the text is an integer that fits, else into float64, in place.
func numbers(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case json.Number:
		if i, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			return i, nil
		}
		f, err := strconv.ParseFloat(string(v), 64)
		if err != nil {
			return nil, fmt.Errorf("the number %s is too large", cut(string(v)))
		}
		return f, nil
	case []any:
		for i := range v {
			if v[i], err = numbers(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for k := range v {
			if v[k], err = numbers(v[k]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}
