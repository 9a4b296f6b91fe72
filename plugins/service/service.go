// Package service holds what plugins may call besides the methods of their objects: log, re, kv, hash, password, json, dns, addr, now.
//
// Each function is declared once, in a table (Services): name, arguments, result, the capability it needs, whether it works
// while a plugin loads, and the Go code behind it. Engines bind from the table, the manual and the editor stubs are generated
// from it. What every function has in common is done once, in Func.Do: the capability is checked, the arguments are checked
// and converted, the work is charged to the caller's budget, the error gets the function's name.
//
// Values are in the types of facts: nil, bool, int64, float64, string, []byte, []any and map[string]any. They are shared, not
// copied: neither side changes a value that it got. The results that are none of these are *Captures of re.match, and Several.
//
// "There is none" is nil or an empty list; "it cannot be told" is an error.
//
// A Host is what the services of one server share. Each engine instance has a Context of its own, which says for whom a
// function works and bounds what one hook call may ask for.
package service

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stagepost/stagepost/core/bounce"
	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/mailauth/spf"
	"github.com/stagepost/stagepost/plugins/template"
)

// Service is a group of functions under one name.
type Service struct {
	Name    string
	Doc     string
	Funcs   []Func
	Objects []Object // that its functions give
}

// Func declares one function.
type Func struct {
	Name   string // in full: "kv.get", "now"
	Args   []Arg
	Result string // as the manual and the stubs name it; "" = nothing, "boolean, number" = Several
	Doc    string
	Form   string // how it is called, where Args do not say it; "" = as they do
	Needs  string // name of a capability.Capability, or ""
	AtLoad bool   // works while the main chunk runs, too
	Pure   bool   // it only tells something, at once: to ask twice is the same as once

	// Call does the work. Do has checked args: there is one for each of Args, nil for an optional one that was left out.
	Call func(c *Context, args []any) (any, error)
}

// Several is more than one result: Lua has them one after the other, WebAssembly as a list.
type Several []any

// Arg declares one argument.
type Arg struct {
	Name     string
	Kind     Kind
	Of       []string // with Given, the objects that it may be; of a Map and List, those that may be in it
	Optional bool
}

// Kind is the set of types that an argument may have.
type Kind uint8

// The types. A number that is whole passes for an Int; bytes pass for a String.
const (
	Bool   Kind        = 1 << iota // bool
	Int                            // int64
	Number                         // float64
	String                         // string
	List                           // []any
	Map                            // map[string]any
	Given                          // a Thing, of one of Arg.Of
	Any    = Given - 1             // all of these but Given; not nil
)

var kindNames = []struct {
	kind Kind
	name string
}{{String, "string"}, {Int, "integer"}, {Number, "number"}, {Bool, "boolean"}, {List, "list"}, {Map, "table"}}

// String is the set as the manual and the stubs name it: "string|list".
func (k Kind) String() string {
	if k == Any {
		return "any"
	}
	var names []string
	for _, n := range kindNames {
		if k&n.kind != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, "|")
}

// Services declares them all, in the order of the manual.
func Services() []Service {
	return []Service{logService(), reService(), kvService(), hashService(), passwordService(), jsonService(), dnsService(), addrService(), reportService(), spfService(), dkimService(), arcService(), dmarcService(), authresService(), throttleService(), metricService(), lookupService(), templateService(), injectService(), shapeService(), secretService(), httpService(), netService(), {
		Name: "now", Doc: "The time.",
		Funcs: []Func{{
			Name: "now", Result: "number", Pure: true, Doc: "Seconds since 1970, with fractions.",
			Call: func(c *Context, _ []any) (any, error) {
				return float64(c.host.Now().UnixMicro()) / 1e6, nil
			},
		}},
	}}
}

// Usage is how the function is called: "kv.set(key, value, ttl)", "hash.hmac(alg, key, text[, encoding])".
func (f *Func) Usage() string {
	if f.Form != "" {
		return f.Form
	}
	var b strings.Builder
	args := f.Args
	if f.method() {
		_, name, _ := strings.Cut(f.Name, ".")
		b.WriteString(args[0].Name + ":" + name + "(")
		args = args[1:]
	} else {
		b.WriteString(f.Name + "(")
	}
	for i, a := range args {
		switch {
		case a.Optional && i > 0:
			b.WriteString("[, " + a.Name + "]")
		case a.Optional:
			b.WriteString("[" + a.Name + "]")
		case i > 0:
			b.WriteString(", " + a.Name)
		default:
			b.WriteString(a.Name)
		}
	}
	return b.String() + ")"
}

// Options are what the services work with. Without a Resolver or a KV their functions fail.
type Options struct {
	Resolver resolve.Resolver
	KV       KV
	Secrets  Secrets
	Classes  func() *bounce.Table      // of bounces, in force; nil: those that ship
	Hostname func() string             // of this server; nil: it has none
	Roots    *x509.CertPool            // for http and net; nil: the system's
	Own      func(netip.AddrPort) bool // whether this server listens there; nil: nowhere
	Control  string                    // path of the server's control socket, which is opened for no plugin; "": there is none

	Dial func(ctx context.Context, network, addr string) (net.Conn, error) // to an address that was judged; nil: a net.Dialer

	// Connect and Fetch take the place of connections of net, to "host:port" or "unix:/path", and of HTTP; for tests.
	Connect func(ctx context.Context, where string) (net.Conn, error)
	Fetch   http.RoundTripper

	SPF func(ctx context.Context, r resolve.Resolver, q spf.Query) spf.Verdict // nil: spf.Check; for tests

	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // nil: slog.Default()
}

// Host is what the services of one server share. It is safe for concurrent use.
type Host struct {
	Options

	outbox   atomic.Pointer[Outbox]
	shaper   atomic.Pointer[Shaper]
	mu       sync.Mutex
	plugins  map[string]*state
	lookups  atomic.Pointer[map[string]Lookup]
	kept     kept
	checks   checks
	signKeys signKeys
	shipped  func() *bounce.Table
}

// state is what the instances of one plugin share, through all generations.
type state struct {
	regexps regexps
	log     limiter
	events  events
	http    clients
}

// NewHost makes a Host.
func NewHost(o Options) *Host {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	if o.SPF == nil {
		o.SPF = spf.Check
	}
	return &Host{Options: o, plugins: map[string]*state{}, checks: newChecks(), shipped: sync.OnceValue(func() *bounce.Table { return bounce.New(nil) })}
}

// Context is for whom a function works. It is used by one goroutine; the instances of a plugin have one each.
type Context struct {
	Plugin string // its name here, which [run.NAME] may have changed
	Needs  *capability.Needs
	// Settings and Templates are the plugin's, which the engine sets; they are only read.
	Settings  map[string]any
	Templates *template.Set

	charge  func(steps, bytes int) error
	host    *Host
	state   *state
	call    *hooks.Call
	lookups int // DNS questions of this call
	injects int // messages that it handed in
	checks  int // passwords that it checked
	senders int // identities that it had checked by SPF
	held    map[int64]Thing

	opened, requests, sent, received int // of this call: connections, HTTP requests, bytes by net
}

// Context makes a context for an instance of a plugin. charge, which may be nil, is told of the work, as far
// as possible before it is done, in steps of about 50 ns and in bytes of memory, and fails when the caller's budget is spent.
func (h *Host) Context(plugin string, needs *capability.Needs, charge func(steps, bytes int) error) *Context {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.plugins[plugin]
	if s == nil {
		s = &state{}
		h.plugins[plugin] = s
	}
	return &Context{Plugin: plugin, Needs: needs, charge: charge, host: h, state: s}
}

// Gone ends the connections that wait for the next call of a plugin that was loaded with these needs; no call of it follows.
func (h *Host) Gone(needs *capability.Needs) {
	h.kept.end(needs)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.plugins {
		s.http.end(needs)
	}
}

// Begin says for which hook call functions work from now on; nil while the plugin's main chunk runs.
func (c *Context) Begin(call *hooks.Call) {
	for _, t := range c.held {
		if n, ok := t.(*Conn); ok {
			c.leave(n)
		}
	}
	c.call, c.lookups, c.injects, c.checks, c.held = call, 0, 0, 0, nil
	c.opened, c.requests, c.sent, c.received, c.senders = 0, 0, 0, 0, 0
}

// spend charges work that is about to be done.
func (c *Context) spend(steps, bytes int) error {
	if c.charge == nil {
		return nil
	}
	return c.charge(steps, bytes)
}

// callSteps is what a call costs before it does anything.
const callSteps = 4

// Do calls the function. args may be changed. The error is for the plugin's author and begins with the function's name; the
// engine adds the line.
func (f *Func) Do(c *Context, args []any) (any, error) {
	v, err := f.do(c, args)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	return v, nil
}

func (f *Func) do(c *Context, args []any) (any, error) {
	if c.call == nil && !f.AtLoad {
		return nil, fmt.Errorf("it does not work while the plugin loads; call it in a handler")
	}
	if f.Needs != "" {
		if err := c.Needs.Refuse("it", f.Needs); err != nil {
			return nil, err
		}
	}
	if err := c.spend(callSteps, 0); err != nil {
		return nil, err
	}
	if len(args) > len(f.Args) {
		return nil, fmt.Errorf("%d arguments are too many; call it as %s", len(args), f.Usage())
	}
	for len(args) < len(f.Args) {
		args = append(args, nil)
	}
	for i := range f.Args {
		a := &f.Args[i]
		if args[i] == nil && a.Optional {
			continue
		} else if args[i] == nil {
			return nil, fmt.Errorf("%s is missing or nil; call it as %s", a.Name, f.Usage())
		}
		v, err := a.accept(c, args[i])
		if err != nil {
			return nil, err
		}
		args[i] = v
	}
	return f.Call(c, args)
}

// accept converts a value to a type of the set, if it can stand for one.
func (k Kind) accept(v any) (any, bool) {
	switch v := v.(type) {
	case nil:
		return nil, false
	case bool:
		return v, k&Bool != 0
	case int64:
		switch {
		case k&Int != 0:
			return v, true
		case k&Number != 0:
			return float64(v), true
		}
	case float64:
		if k&Number == 0 {
			if i, ok := whole(v); ok && k&Int != 0 {
				return i, true
			}
			return v, false
		}
		return v, true
	case string:
		return v, k&String != 0
	case []byte:
		if k != Any && k&String != 0 {
			return string(v), true
		}
		return v, k == Any
	case []any:
		if k&List == 0 && k&Map != 0 && len(v) == 0 { // engines cannot tell an empty table from an empty list
			return map[string]any{}, true
		}
		return v, k&List != 0
	case map[string]any:
		if k&Map == 0 && k&List != 0 && len(v) == 0 {
			return []any{}, true
		}
		return v, k&Map != 0
	}
	return v, false
}

// whole gives the integer that a float is, within the range in which floats are exact.
func whole(f float64) (int64, bool) {
	const exact = 1 << 53
	if f < -exact || f > exact {
		return 0, false
	}
	i := int64(f)
	return i, float64(i) == f
}

// TypeName says in an error what a value is.
func TypeName(v any) string {
	switch v := v.(type) {
	case nil:
		return "nil"
	case bool:
		return "a boolean"
	case int64, float64:
		return "a number"
	case string, []byte:
		return "a string"
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	case Thing:
		return "a " + v.Object()
	}
	return fmt.Sprintf("a %T", v)
}
