package message

import (
	"fmt"
	"sort"
)

// Bounds of facts. Stored facts count against memory for every session and message there is, so they are kept small.
const (
	MaxFacts      = 256       // entries in one Facts
	MaxFactsBytes = 256 << 10 // bytes in one Facts, names included
	maxValueDepth = 8
)

// Facts are named values that plugins leave for each other on a session, a message or a recipient. The name is
// "plugin.key". A value is nil, bool, int64, float64, string, []byte, []any or map[string]any of the same; it is never
// changed once set. The zero Facts is empty and ready; it is not safe for concurrent use.
type Facts struct {
	entries []Fact
	bytes   int
}

// Fact is one named value.
type Fact struct {
	Name  string
	Value any
}

// Get returns the value of name; absent and nil are told apart by ok.
func (f *Facts) Get(name string) (v any, ok bool) {
	for i := range f.entries {
		if f.entries[i].Name == name {
			return f.entries[i].Value, true
		}
	}
	return nil, false
}

// Set keeps v under name, replacing what was there. It refuses values of other types and more than the bounds allow; what
// was there then stays.
func (f *Facts) Set(name string, v any) error {
	n, err := SizeOf(v)
	if err != nil {
		return fmt.Errorf("fact %q: %w", name, err)
	}
	n += len(name)
	for i := range f.entries {
		if e := &f.entries[i]; e.Name == name {
			old, _ := SizeOf(e.Value)
			if f.bytes-old-len(name)+n > MaxFactsBytes {
				return fmt.Errorf("fact %q: more than %d bytes of facts", name, MaxFactsBytes)
			}
			f.bytes += n - old - len(name)
			e.Value = v
			return nil
		}
	}
	if len(f.entries) >= MaxFacts {
		return fmt.Errorf("fact %q: more than %d facts", name, MaxFacts)
	}
	if f.bytes+n > MaxFactsBytes {
		return fmt.Errorf("fact %q: more than %d bytes of facts", name, MaxFactsBytes)
	}
	f.entries = append(f.entries, Fact{name, v})
	f.bytes += n
	return nil
}

// All returns the facts in order of name.
func (f *Facts) All() []Fact {
	all := append([]Fact(nil), f.entries...)
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all
}

// Len is the number of facts.
func (f *Facts) Len() int { return len(f.entries) }

// Bytes is what the facts count against the memory budget.
func (f *Facts) Bytes() int { return f.bytes }

// SizeOf returns the bytes that a value counts for, or an error that names the type that a value may not have.
func SizeOf(v any) (int, error) { return sizeOf(v, 0) }

func sizeOf(v any, depth int) (int, error) {
	if depth > maxValueDepth {
		return 0, fmt.Errorf("a value may be nested %d deep", maxValueDepth)
	}
	switch v := v.(type) {
	case nil, bool:
		return 1, nil
	case int64, float64:
		return 8, nil
	case string:
		return len(v), nil
	case []byte:
		return len(v), nil
	case []any:
		sum := 8
		for _, e := range v {
			n, err := sizeOf(e, depth+1)
			if err != nil {
				return 0, err
			}
			sum += n + 8
		}
		return sum, nil
	case map[string]any:
		sum := 8
		for k, e := range v {
			n, err := sizeOf(e, depth+1)
			if err != nil {
				return 0, err
			}
			sum += n + len(k) + 8
		}
		return sum, nil
	}
	return 0, fmt.Errorf("a value may be nil, bool, int, float, string, bytes, list or map, not %T", v)
}
