package manifest

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/stagepost/stagepost/hooks"
)

// item says what stands in the list of a capability.
type item struct {
	pattern *regexp.Regexp
	want    string
}

const (
	// hostPattern is host:port in which * stands for any run of characters.
	hostPattern = `\*|([a-z0-9._*-]+|\[[0-9a-f:.*]+\]):[0-9*]{1,5}`
	pathPattern = `/[!-~]{1,107}` // what fits into the address of a socket
)

// items are the lists of capabilities whose words are not listed in hooks.Capabilities.
var items = map[string]item{
	"http":    {regexp.MustCompile(`^(private|` + hostPattern + `)$`), `"private" or a lower-case pattern of host:port, as "api.example.org:443"`},
	"net":     {regexp.MustCompile(`^(private|unix:` + pathPattern + `|` + hostPattern + `)$`), `"private", "unix:/path", or a lower-case pattern of host:port, as "policy.example.org:10040"`},
	"lookup":  {regexp.MustCompile(`^[a-z0-9*][a-z0-9_*-]{0,63}$`), `the name of a lookup, as "users", or a pattern with *`},
	"secrets": {regexp.MustCompile(`^[A-Za-z0-9*][A-Za-z0-9_.*-]*(/[A-Za-z0-9*][A-Za-z0-9_.*-]*)*$`), `the name of a secret, as "dkim/example.org", or a pattern with *`},
	"facts":   {factPattern, wantFact},
	"route":   {regexp.MustCompile(`^(mx|private|` + hostPattern + `)$`), `"mx", "private" or a lower-case pattern of host:port, as "*:587"`},
}

// needs decodes the capabilities that package hooks declares.
func (d *decoder) needs(at string, n *node, into *hooks.Needs) {
	if !n.isTable() {
		d.want(at, n, `a table of capabilities, as { kv = "own" }`)
		return
	}
	known := hooks.Capabilities()
	for _, e := range n.keys {
		i := slices.IndexFunc(known, func(c hooks.Capability) bool { return c.Name == e.name })
		if i < 0 {
			names := make([]string, len(known))
			for i, c := range known {
				names[i] = c.Name
			}
			d.unknown(e.line, "capability", e.name, in(at), names)
			continue
		}
		d.capability(join(at, e.name), e.node, known[i], into)
	}
}

// capability decodes one key of needs.
func (d *decoder) capability(at string, n *node, c hooks.Capability, into *hooks.Needs) {
	switch f := c.Field(into).(type) {
	case *bool:
		if c.Values == nil {
			d.boolean(at, n, f)
		} else {
			_, *f = d.oneOf(at, n, "value", c.Values)
		}
	case *hooks.Reading:
		if word, ok := d.oneOf(at, n, "value", c.Values); ok {
			*f = hooks.Reading(slices.Index(c.Values, word) + 1)
		}
	case *hooks.Editing:
		for _, word := range d.words(at, n, "part", c.Values) {
			*f |= 1 << slices.Index(c.Values, word)
		}
	case *[]string:
		d.names(at, n, items[c.Name].pattern, items[c.Name].want, f)
	}
}

// Words says what the plugin needs in the words of the manifest: "kv own", "edit headers".
func Words(n *hooks.Needs) []string {
	all := []string{}
	for _, c := range hooks.Capabilities() {
		all = append(all, words(c, n)...)
	}
	return all
}

func words(c hooks.Capability, n *hooks.Needs) (words []string) {
	switch f := c.Field(n).(type) {
	case *bool:
		switch {
		case *f && c.Values != nil:
			words = append(words, c.Name+" "+c.Values[0])
		case *f:
			words = append(words, c.Name)
		}
	case *hooks.Reading:
		if *f > 0 {
			words = append(words, c.Name+" "+c.Values[*f-1])
		}
	case *hooks.Editing:
		for i, v := range c.Values {
			if *f&(1<<i) != 0 {
				words = append(words, c.Name+" "+v)
			}
		}
	case *[]string:
		for _, v := range *f {
			words = append(words, c.Name+" "+v)
		}
	default:
		panic(fmt.Sprintf("plugins/manifest: needs.%s is a %T, which is not decoded", c.Name, f))
	}
	return words
}
