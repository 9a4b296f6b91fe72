package stagepost

import "github.com/stagepost/stagepost/sdk/go/internal/cbor"

// Facts are what plugins know of a session, message or recipient. Values are nil, bool, int64, float64, string, []byte, []any and
// map[string]any.
type Facts struct {
	object, index, field int32
	own                  bool
}

// All are the facts by name, in full for Facts, without the plugin's own name for My.
func (f Facts) All() map[string]any {
	r, ok := field(f.object, f.index, f.field)
	if !ok {
		return nil
	}
	m, _ := r.Value().(map[string]any)
	return m
}

// Get is one of them, nil if it is not set. Facts asks for all of them: keep All if you want more than one.
func (f Facts) Get(name string) any {
	r, ok := field(f.object, f.index, f.field)
	if !ok {
		return nil
	}
	for range r.Map() {
		found := string(r.Key()) == name
		if v := r.Value(); found {
			return v
		}
	}
	return nil
}

// Text is a fact that is a string, or "".
func (f Facts) Text(name string) string { return as[string](f.Get(name)) }

// Bool is a fact that is a bool, or false.
func (f Facts) Bool(name string) bool { return as[bool](f.Get(name)) }

// Int is a fact that is an integer, or 0.
func (f Facts) Int(name string) int { return int(as[int64](f.Get(name))) }

// Float is a fact that is a number, or 0.
func (f Facts) Float(name string) float64 { return number(f.Get(name)) }

// Set sets one; it counts when the handler has returned. With My the name is the plugin's own; with Facts it is the full one, which plugin.toml
// must ask for.
func (f Facts) Set(name string, v any) {
	if f.own {
		name = "." + name
	}
	b := cbor.AppendText(cbor.AppendArray(data[:0], 2), name)
	b, err := cbor.Append(b, v)
	if err != nil {
		refuse(err)
	}
	edit(editFact, f.object, f.index, b)
}
