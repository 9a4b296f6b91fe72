package message

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// FactType is what a plugin declares that a fact holds.
type FactType string

// The types of facts, as manifests name them. In Lua all whole numbers are ints, all texts are strings, and a table without
// anything in it is neither a list nor a map, so a float may be an int, bytes a string, and a list an empty map.
const (
	FactBool   FactType = "bool"
	FactInt    FactType = "int"
	FactFloat  FactType = "float"
	FactString FactType = "string"
	FactBytes  FactType = "bytes"
	FactList   FactType = "list"
	FactMap    FactType = "map"
)

// FactTypes are all of them.
func FactTypes() []FactType {
	return []FactType{FactBool, FactInt, FactFloat, FactString, FactBytes, FactList, FactMap}
}

// FactOwner is what a fact is set on.
type FactOwner string

// The owners of facts.
const (
	OfSession FactOwner = "session"
	OfMessage FactOwner = "message"
	OfRcpt    FactOwner = "rcpt"
)

// FactOwners are all of them.
func FactOwners() []FactOwner { return []FactOwner{OfSession, OfMessage, OfRcpt} }

// FactRule is what a plugin declares of one of its facts.
type FactRule struct {
	Name   string // without the plugin's; "zone.*" stands for all that begin with "zone."
	Type   FactType
	Values []any     // string or int64: there are no others; nil: there are
	Of     FactOwner // "": of any
	Doc    string
	Line   int // of the manifest
}

// FactRules declare all facts of a plugin, in order of name. nil declares nothing, and allows all.
type FactRules []FactRule

// Find is the rule for a fact, by its name without the plugin's: the one of that name, or else the longest with * that covers it.
func (r FactRules) Find(key string) (found *FactRule) {
	for i := range r {
		if r[i].Name == key {
			return &r[i]
		}
		name, below := strings.CutSuffix(r[i].Name, "*")
		if below && strings.HasPrefix(key, name) && (found == nil || len(found.Name) < len(r[i].Name)) {
			found = &r[i]
		}
	}
	return found
}

// Check refuses a value that no fact may have, and for a fact of this plugin one that its rules do not allow there.
func (r FactRules) Check(plugin, name string, of FactOwner, v any) error {
	if _, err := SizeOf(v); err != nil {
		return err
	}
	key, own := strings.CutPrefix(name, plugin)
	if r == nil || !own || key == "" || key[0] != '.' {
		return nil
	}
	rule := r.Find(key[1:])
	switch {
	case rule == nil:
		return fmt.Errorf("the plugin does not declare it: under facts it has %s", r.names())
	case rule.Of != "" && rule.Of != of:
		return fmt.Errorf("it is set on the %s; under facts the plugin declares it of the %s", of, rule.Of)
	case v == nil:
		return nil
	case !rule.Type.holds(v):
		return fmt.Errorf("the value is %s; under facts the plugin declares the type %s", factText(v), rule.Type)
	case rule.Values != nil && !slices.Contains(rule.Values, v):
		return fmt.Errorf("the value is %s; under facts the plugin declares the values %s", factText(v), rule.values())
	}
	return nil
}

// names of all rules, for a message.
func (r FactRules) names() string {
	if len(r) == 0 {
		return "none"
	}
	all := make([]string, len(r))
	for i := range r {
		all[i] = r[i].Name
	}
	return strings.Join(all, ", ")
}

func (r *FactRule) values() string {
	all := make([]string, len(r.Values))
	for i, v := range r.Values {
		all[i] = factText(v)
	}
	return strings.Join(all, ", ")
}

func (t FactType) holds(v any) bool {
	switch v := v.(type) {
	case bool:
		return t == FactBool
	case int64:
		return t == FactInt || t == FactFloat
	case float64:
		return t == FactFloat
	case string:
		return t == FactString || t == FactBytes
	case []byte:
		return t == FactBytes
	case []any:
		return t == FactList
	case map[string]any:
		return t == FactMap || t == FactList && len(v) == 0
	}
	return false
}

// factText names a value for a message, which it must not fill.
func factText(v any) string {
	switch v := v.(type) {
	case string:
		const most = 60
		if len(v) > most {
			return strconv.Quote(v[:most]) + "..."
		}
		return strconv.Quote(v)
	case []byte:
		return "bytes"
	case []any:
		return "a list"
	case map[string]any:
		return "a map"
	}
	return fmt.Sprint(v)
}
