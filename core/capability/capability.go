// Package capability says what a plugin may do beyond answering. Each capability is declared once, as data, with the key of
// `needs` by which a plugin asks for it; the manifest, the stubs and the manual are made from that. A Needs is what was asked
// for, or what of that the operator granted; whoever does something for a plugin asks its Needs, which refuses in words that
// say who can change it and how.
package capability

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Needs is what a plugin may do beyond answering: what it asked for, or what of that it was granted. Each field is one of the
// Capabilities. Of a hook and of a service's Context it is what was granted; engines, Call and services look at nothing else.
type Needs struct {
	DNS     bool
	KV      bool
	HTTP    []string // patterns of host:port, IP networks with a port, and Private
	Net     []string // patterns of host:port, IP networks with a port, unix:/path, AnySocket, and Private
	Lookup  []string // names of lookups
	Secrets []string // names of secrets
	Read    Reading
	Edit    Editing
	Facts   []string // facts outside its own name that it sets: a name, or "prefix.*"
	Route   []string // next hops: "mx", patterns of host:port as "*:587", transports as "transport:archive", and Private
	Relay   bool     // accept "relay"
	Inject  bool
	SPF     bool
	Shape   []string // whose mail it may slow down, suspend and reroute: patterns of ShapeName

	// Where the operator decided what is granted: the fields above hold what is left of what was asked for, except that of lists
	// only those go that nothing is granted of; what they allow must be allowed by those of Given, too.
	Asked, Given *Needs
}

// Private in a list of hosts says that its patterns may also mean private addresses and the server's own. Without it only a
// host that is named without * may be one.
const Private = "private"

// secretName is also a path within the folder of secrets: no part of it begins with a dot.
var secretName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$`)

// ValidSecret tells whether a secret may have that name.
func ValidSecret(name string) bool { return len(name) <= 256 && secretName.MatchString(name) }

// transport is what a next hop begins with that is a [transport.NAME]. No other pattern means one: it touches this host.
const transport = "transport:"

// AnySocket in the list of net is every socket of this machine. No other pattern means a socket: what listens there trusts who asks.
const AnySocket = "unix:*"

// Reading is how much of a message a plugin reads.
type Reading uint8

// The levels; each includes those before.
const (
	ReadNothing Reading = iota
	ReadHeaders
	ReadBody
)

// String is the word for it in needs.
func (r Reading) String() string { return [...]string{"nothing", "headers", "body"}[r] }

// Editing is what of a message a plugin changes.
type Editing uint8

// The parts that can be edited.
const (
	EditHeaders Editing = 1 << iota
	EditSender
	EditRcpts
	EditBody
)

// Capability declares one key of `needs`.
type Capability struct {
	Name   string
	Form   string
	Values []string // what the list or string may hold; nil = anything. The order is that of Reading and Editing
	Doc    string

	// Field gives the field of a Needs: a *bool, *Reading, *Editing or *[]string.
	Field func(*Needs) any
}

// Capabilities declares the keys of `needs`.
func Capabilities() []Capability { return slices.Clone(capabilities) }

var capabilities = []Capability{
	{"dns", `dns = true`, nil, "look names up", func(n *Needs) any { return &n.DNS }},
	{"kv", `kv = "own"`, []string{"own"}, "keep values of its own between calls", func(n *Needs) any { return &n.KV }},
	{"http", `http = {"api.example.org:443"}`, nil, "send HTTP requests to these patterns of host:port, or IP networks with a port", func(n *Needs) any { return &n.HTTP }},
	{"net", `net = {"policy.example.org:10040"}`, nil, "open connections to these patterns of host:port, IP networks with a port, or unix:/path; unix:* is every socket of this machine", func(n *Needs) any { return &n.Net }},
	{"lookup", `lookup = {"users"}`, nil, "ask these lookups of the operator", func(n *Needs) any { return &n.Lookup }},
	{"secrets", `secrets = {"dkim/*"}`, nil, "use these secrets of the operator, without seeing them", func(n *Needs) any { return &n.Secrets }},
	{"read", `read = "headers"`, []string{"headers", "body"}, "read the header, or header and body", func(n *Needs) any { return &n.Read }},
	{"edit", `edit = {"headers", "sender", "rcpts"}`, []string{"headers", "sender", "rcpts", "body"}, "change these parts of a message", func(n *Needs) any { return &n.Edit }},
	{"facts", `facts = {"spam.score"}`, nil, "set facts that do not begin with its own name", func(n *Needs) any { return &n.Facts }},
	{"route", `route = {"mx", "*:587"}`, nil, "send mail to these next hops: mx, patterns of host:port, which stand for URLs there as well, or transports of the configuration, as transport:archive or transport:*", func(n *Needs) any { return &n.Route }},
	{"relay", "relay = true", nil, "accept recipients of other systems", func(n *Needs) any { return &n.Relay }},
	{"inject", "inject = true", nil, "send mail of its own", func(n *Needs) any { return &n.Inject }},
	{"spf", `spf = true`, nil, "check by SPF who may send for a domain, which asks the DNS", func(n *Needs) any { return &n.SPF }},
	{"shape", `shape = {"site:*", "tenant:*"}`, nil, "slow down, suspend and reroute the mail of these sites, next hops and tenants: site:NAME, next-hop:mx:example.org, tenant:NAME, or patterns with *", func(n *Needs) any { return &n.Shape }},
}

// ShapeName is how a site, a next hop or a tenant is called where patterns of the capability shape are held against it. kind is
// "site", "next-hop" or "tenant".
func ShapeName(kind, name string) string { return kind + ":" + strings.ToLower(name) }

// Refuse tells why something is not granted, and nil if it is. need is the name of a capability, with one of its Values where
// it has several: "dns", "edit headers". Without a value any will do.
func (n *Needs) Refuse(what, need string) error {
	name, value, _ := strings.Cut(need, " ")
	i := slices.IndexFunc(capabilities, func(c Capability) bool { return c.Name == name })
	at, ok := max(0, slices.Index(capabilities[i].Values, value)), false
	switch f := capabilities[i].Field(n).(type) {
	case *bool:
		ok = *f
	case *Reading:
		ok = int(*f) > at
	case *Editing:
		ok = *f&(1<<at) != 0 || value == "" && *f != 0
	case *[]string:
		ok = len(*f) > 0
	}
	if ok {
		return nil
	}
	return refusal(what, AskFor(need), n.Asked != nil && n.Asked.Refuse(what, need) == nil)
}

// refusal says who can change that something is not granted: the plugin's author, or the operator.
func refusal(what, form string, asked bool) error {
	if asked {
		return fmt.Errorf("%s is not granted: the plugin asks for it, and the operator's grant leaves it out", what)
	}
	return fmt.Errorf("%s is not granted: ask with needs = { %s }", what, form)
}

// AskFor is what stands in needs to ask for it; "" if there is no such capability.
func AskFor(need string) string {
	name, value, given := strings.Cut(need, " ")
	i := slices.IndexFunc(capabilities, func(c Capability) bool { return c.Name == name })
	if i < 0 || given && !slices.Contains(capabilities[i].Values, value) {
		return ""
	}
	switch c := capabilities[i]; {
	case !given:
		return c.Form
	case strings.Contains(c.Form, "{"):
		return fmt.Sprintf("%s = {%q}", name, value)
	}
	return fmt.Sprintf("%s = %q", name, value)
}

// Allow tells whether a name in lower case matches the list of a capability.
func (n *Needs) Allow(list func(*Needs) []string, name string) bool {
	for ; n != nil; n = n.Given {
		if !slices.ContainsFunc(list(n), func(pattern string) bool { return Matches(pattern, name) }) {
			return false
		}
	}
	return true
}

// Ungranted is the error for what the operator's grant leaves out, although the plugin asks for it.
func Ungranted(what string) error { return refusal(what, "", true) }

// Withheld is the error for a name that does not match the list of a capability: who can change that, and with what in needs.
func (n *Needs) Withheld(what, form string, list func(*Needs) []string, name string) error {
	return refusal(what, form, n.Asked != nil && n.Asked.Allow(list, name))
}

// RefuseName tells why a name matches nothing in the list of a capability, and nil if it does.
func (n *Needs) RefuseName(what, need, name string) error {
	i := slices.IndexFunc(capabilities, func(c Capability) bool { return c.Name == need })
	list := func(n *Needs) []string { return *capabilities[i].Field(n).(*[]string) }
	if n.Allow(list, name) {
		return nil
	}
	return n.Withheld(what, fmt.Sprintf("%s = {%q}", need, name), list, name)
}

// AllowPrivate tells whether a host that matches the list of a capability may be at a private address, or be this server.
func (n *Needs) AllowPrivate(list func(*Needs) []string, host string) bool {
	for ; n != nil; n = n.Given {
		if !slices.Contains(list(n), Private) && (host == "mx" || !slices.Contains(list(n), host)) {
			return false
		}
	}
	return true
}

// Matches compares a name with a pattern of Needs, in which * stands for any run of characters.
func Matches(pattern, name string) bool {
	if strings.HasPrefix(name, transport) && !strings.HasPrefix(pattern, transport) {
		return false
	}
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return parts[0] == name
	}
	if !strings.HasPrefix(name, parts[0]) {
		return false
	}
	name = name[len(parts[0]):]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(name, p)
		if i < 0 {
			return false
		}
		name = name[i+len(p):]
	}
	return strings.HasSuffix(name, parts[len(parts)-1])
}
