package service

import (
	"fmt"
	"strings"

	"github.com/stagepost/stagepost/plugins/lookup"
)

// settingPrefix stands before the name of a setting, where a plugin asks what is in that. No lookup is called so.
const settingPrefix = "config."

// Lookup finds values by key. Implementations are safe for concurrent use, and call spend before they do work.
type Lookup interface {
	Get(key string, spend lookup.Spend) (any, error) // nil: there is none
}

var _ Lookup = (*lookup.Table)(nil)

func lookupService() Service {
	return Service{Name: "lookup", Doc: "Finds values in the operator's tables, and in settings that are lists or tables. " +
		"What a table holds may be text, or true for a key without a value; upper and lower case of keys are the same.",
		Funcs: []Func{{
			Name: "lookup", Args: []Arg{{Name: "name", Kind: String}, {Name: "key", Kind: String}}, Result: "any", Pure: true,
			Doc: `The value of the key in [lookup.NAME], or nil; needs lookup = {"NAME"}. ` +
				`With "config.SETTING" for a name it is that of the key in the plugin's own setting: of a table the value, of a list true if the key is in it, ` +
				`and where the operator wrote "lookup:NAME" instead, what is in that lookup; this needs nothing.`,
			Call: func(c *Context, args []any) (any, error) { return c.find(args[0].(string), args[1].(string)) },
		}},
	}
}

// UseLookups puts lookups in force, by name, in the place of those there were.
func (h *Host) UseLookups(all map[string]Lookup) { h.lookups.Store(&all) }

func (c *Context) find(name, key string) (any, error) {
	if setting, ok := strings.CutPrefix(name, settingPrefix); ok {
		return c.findInSetting(setting, key)
	}
	if c.Needs == nil {
		return nil, fmt.Errorf("the lookup %q is not granted", cut(name))
	}
	if err := c.Needs.RefuseName(fmt.Sprintf("the lookup %q", cut(name)), "lookup", name); err != nil {
		return nil, err
	}
	return c.askLookup(name, key)
}

// askLookup asks a lookup that the plugin may ask.
func (c *Context) askLookup(name, key string) (any, error) {
	var l Lookup
	if all := c.host.lookups.Load(); all != nil {
		l = (*all)[name]
	}
	if l == nil {
		return nil, fmt.Errorf("there is no [lookup.%s] in the configuration", cut(name))
	}
	return l.Get(key, c.spend)
}

func (c *Context) findInSetting(name, key string) (any, error) {
	switch v := c.Settings[name].(type) {
	case map[string]any:
		if found, ok := v[key]; ok {
			return found, nil
		}
		return v[strings.ToLower(key)], nil
	case []any:
		if err := c.spend(len(v)/4, 0); err != nil {
			return nil, err
		}
		for _, e := range v {
			if text, ok := e.(string); ok && strings.EqualFold(text, key) {
				return true, nil
			}
		}
		return nil, nil
	case string:
		if table, ok := strings.CutPrefix(v, lookup.Prefix); ok {
			return c.askLookup(table, key)
		}
	}
	return nil, fmt.Errorf("the plugin has no setting %q that is a list or a table; one without a value needs a default, as {}", cut(name))
}
