package service

import (
	"errors"
	"fmt"
	"strings"

	"github.com/stagepost/stagepost/plugins/mailauth/authres"
)

const (
	authresSteps = 40 // for each result, and each field
	maxIDs       = 100
)

func authresService() Service {
	return Service{Name: "authres", Doc: "The header field Authentication-Results (RFC 8601), in which a server tells those behind it what its checks of a message came to.",
		Funcs: []Func{
			{
				Name: "authres.compose", Args: []Arg{{Name: "results", Kind: List}, {Name: "name", Kind: String, Optional: true}}, Result: "string",
				Doc: "The text of a field, folded, for add_header. `results` is a list of tables: `method`, as \"spf\", `result`, as \"pass\", `reason` for people, and `properties`, a list of pairs, as {{\"smtp.mailfrom\", \"example.org\"}}; of what has no value nothing is written. " +
					"Without results it says none. `name` is who checked; without it that is this server's hostname. Values are quoted where they have to be, and cut at 256 bytes.",
				Call: func(c *Context, args []any) (any, error) {
					name, err := c.authservID(args[1])
					if err != nil {
						return nil, err
					}
					return c.compose(name, args[0].([]any))
				},
			},
			{
				Name: "authres.forged", Args: []Arg{{Name: "names", Kind: List, Optional: true}}, Result: "any[]",
				Doc:  "Which of the message's fields Authentication-Results must not stay, counted from 1 at the top as remove_header does: those that say that one of `names` checked it, without them this server's hostname, in whatever letters, quotes or comments, and those that cannot be parsed. 0 is among them where such a one stands behind a line that is no field: it counts as body here and cannot be taken out, but others may take it for a part of the header. From the stage data on; needs read = \"headers\".",
				Call: func(c *Context, args []any) (any, error) { return c.forged(args[0]) },
			},
		}}
}

// authservID is a name that was given, or else the server's.
func (c *Context) authservID(given any) (string, error) {
	if name, ok := given.(string); ok {
		return name, nil
	}
	if c.host.Hostname == nil {
		return "", errors.New("this server has no hostname here; give a name")
	}
	return c.host.Hostname(), nil
}

func (c *Context) compose(name string, list []any) (any, error) {
	if err := c.spend(authresSteps*(len(list)+1), 512*(len(list)+1)); err != nil {
		return nil, err
	}
	results := make([]authres.Result, 0, len(list))
	for i, e := range list {
		r, err := resultOf(e)
		if err != nil {
			return nil, fmt.Errorf("result %d: %w", i+1, err)
		}
		results = append(results, r)
	}
	return authres.Compose(name, results)
}

func resultOf(v any) (r authres.Result, err error) {
	m, ok := v.(map[string]any)
	if !ok {
		return r, errors.New("it is not a table")
	}
	if err = knownKeys(m, []string{"method", "result", "reason", "properties"}); err != nil {
		return r, err
	}
	for _, k := range []struct {
		name string
		must bool
		into *string
	}{{"method", true, &r.Method}, {"result", true, &r.Value}, {"reason", false, &r.Reason}} {
		if *k.into, err = textKey(m, k.name, k.must); err != nil {
			return r, err
		}
	}
	if m["properties"] == nil {
		return r, nil
	}
	pairs, ok := List.accept(m["properties"])
	if !ok {
		return r, errors.New("properties is not a list of pairs")
	}
	for _, e := range pairs.([]any) {
		pair, _ := e.([]any)
		if len(pair) == 1 { // a pair whose second is nil
			continue
		}
		if len(pair) != 2 {
			return r, errors.New("properties is not a list of pairs")
		}
		name, named := pair[0].(string)
		text, ok := pair[1].(string)
		kind, property, dotted := strings.Cut(name, ".")
		if !named || !ok || !dotted {
			return r, errors.New(`properties is not a list of pairs as {"smtp.mailfrom", "example.org"}`)
		}
		r.Properties = append(r.Properties, authres.Property{Type: kind, Name: property, Value: text})
	}
	return r, nil
}

func (c *Context) forged(given any) (any, error) {
	var names []string
	if list, ok := given.([]any); ok {
		if len(list) > maxIDs {
			return nil, fmt.Errorf("names has %d names; the most is %d", len(list), maxIDs)
		}
		for _, e := range list {
			name, ok := e.(string)
			if !ok {
				return nil, errors.New("names is not a list of names")
			}
			names = append(names, name)
		}
	} else {
		name, err := c.authservID(nil)
		if err != nil {
			return nil, err
		}
		names = []string{name}
	}
	header, content, err := c.header()
	if err != nil {
		return nil, err
	}
	hidden, err := header.Hidden(content, authres.Field)
	if err != nil {
		return nil, err
	}
	out := []any{}
	for _, text := range hidden {
		if err := c.spend(authresSteps*len(names)+len(text)/8, len(text)); err != nil {
			return nil, err
		}
		if authres.Forged(text, names...) {
			out = append(out, int64(0))
			break
		}
	}
	for i, f := range header.Fields(authres.Field) {
		if err := c.spend(authresSteps*len(names)+len(f.Raw)/8, len(f.Raw)); err != nil {
			return nil, err
		}
		_, text, _ := strings.Cut(string(f.Raw), ":")
		if authres.Forged(strings.TrimRight(text, "\r\n"), names...) {
			out = append(out, int64(i+1))
		}
	}
	return out, nil
}
