// Package config reads stagepost.toml: strictly, once, and whole.
//
// The file is described in one place, fields.go: each key with its type, bounds, default and meaning, bound to the Go
// field it fills. The decoder, the checks, the manual page (Manual) and the tests walk that same description, so a key
// cannot be read without being documented, nor documented without being read. Whatever the description does not know is
// an error with its line and the nearest known name. Several errors are reported at once, in the order of the file.
//
// A plugin's own settings ([plugin.NAME]) are kept as plain values, because only the plugin's manifest knows what may
// stand there; Where and Errorf give that later check the same lines and the same form of message.
//
// A Config is never changed after Parse returned it. A reload parses the file anew and compares.
package config

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/stagepost/stagepost/core/bounce"
)

// MaxFile bounds the configuration file, in bytes.
const MaxFile = 1 << 20

// Config is one reading of the file, with defaults filled in. It is read-only and safe for concurrent use.
// Limits and Trace compare with ==.
type Config struct {
	File string   // the name given to Load or Parse
	Hash [32]byte // SHA-256 of the bytes read: equal hashes, equal configuration

	Hostname  string // domain name, A-labels
	Data      string // folder
	Listeners []Listener
	TLS       TLS
	Admin     Admin
	Resolver  Resolver
	Limits    Limits
	Queue     Queue
	Sources   map[string]Source // the [source.NAME] tables by NAME
	Pools     map[string]Pool   // the [pool.NAME] tables by NAME
	Sites     map[string]Site   // the [site.NAME] tables by NAME
	Senders   map[string]Sender // the [sender.NAME] tables by NAME
	Plugins   Plugins
	Secrets   Secrets
	// Settings are the [plugin.NAME] tables by NAME. The values are bool, int64, float64, string, []any and
	// map[string]any, nested.
	Settings   map[string]map[string]any
	Runs       map[string]Run       // the [run.NAME] tables by NAME
	Lookups    map[string]Lookup    // the [lookup.NAME] tables by NAME
	Transports map[string]Transport // the [transport.NAME] tables by NAME
	Trace      Trace

	lines *index
}

// Listener is one [[listener]]: an address on which sessions arrive.
type Listener struct {
	Name    string
	Address string   // host:port as net.Listen takes it; an empty host is every address, port 0 a free port
	Role    string   // "mx", "submission" or "lmtp"
	TLS     string   // "off", "starttls", "required" or "implicit"
	Auth    []string // SASL mechanisms with which clients may log in
	Without []string // SMTP extensions that are not offered, by keyword in lower case

	ClientCertificates string // "request" or "require"; empty: they are not asked for
	ClientCA           string // path

	AuthWithoutTLS bool
	GreetingDelay  time.Duration
	RejectAt       string         // "stage" or "rcpt"
	XClient        []netip.Prefix // of peers whose XCLIENT is believed
	ProxyProtocol  []netip.Prefix // of peers that have to send a PROXY header
}

// Admin is where the server is watched by HTTP.
type Admin struct {
	Address string // as of a listener; empty: nowhere
}

// Resolver says how DNS is asked.
type Resolver struct {
	Servers []string      // each "ip:port"; empty: the system's
	Timeout time.Duration // for one try at one server
	Trusted bool          // what servers that are not on this host say of DNSSEC is believed
}

// Limits bound what clients may ask of the server.
type Limits struct {
	Sessions      int
	SessionsPerIP int
	MessageSize   int64 // bytes
	Recipients    int   // in one transaction
	Errors        int   // between two messages

	ErrorDelay     time.Duration // by which a refusal is later than the one before; 0: none
	CommandTimeout time.Duration
	DataTimeout    time.Duration
	SessionTime    time.Duration
}

// Queue says when a delivery is tried again and how many run at once.
type Queue struct {
	Retry  []time.Duration // waits between attempts, never empty; the last repeats
	Expire time.Duration   // after arrival
	Warn   time.Duration   // after arrival; 0: never
	Wipe   bool            // content in files is overwritten when it is not needed any more

	Classes []bounce.Rule // asked before those that ship

	// To one site, where its own table says nothing.
	Concurrency        int // deliveries at once
	Rate               Rate
	ConnectionMessages int
	Prefer             string // "any", "ipv4", "ipv6"
	TLS                string // of TLSWords
}

// Plugins says which plugins are loaded.
type Plugins struct {
	Folder      string   // watched folder; empty: none
	TrustFolder bool     // what plugins in it ask for is granted
	Enable      []string // bundled and installed plugins, in order
}

// Secrets says where secrets are kept.
type Secrets struct {
	Folder string // empty: that of systemd's credentials, if there is one
}

// Run is one [run.NAME]: what the operator decides about a plugin's calls. Nil, empty and zero leave what the plugin
// declares.
type Run struct {
	Plugin    string // never empty: NAME itself, when the file does not say
	When      When
	Order     *int
	After     []string // names of plugins
	OnError   string   // "next", "defer" or "reject"
	Timeout   time.Duration
	Every     time.Duration
	Instances int
	Grant     map[string]any // values as in Settings; nil: the file says nothing
}

// Lookup is one [lookup.NAME]: a table that plugins find values in.
type Lookup struct {
	Type string // "file", "cidr", "regex" or "suffix"
	File string // path
}

// When restricts the sessions for which a plugin is asked. Empty lists and nil restrict nothing.
type When struct {
	Role     []string
	Listener []string // names of listeners in the same file
	User     *bool    // whether a user is logged in
}

// Trace bounds the messages' records.
type Trace struct {
	Keep time.Duration
	Size int64 // bytes
}

// Options are what Parse takes from outside the file.
type Options struct {
	// Hostname gives the name used when the file has none; nil makes the key required.
	Hostname func() (string, error)
}

// Load reads and parses the file at path. When it cannot be read the error wraps the one of package os (fs.ErrNotExist
// for example); when its content is wrong the error is of type Errors.
func Load(path string) (*Config, error) {
	data, err := Read(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data, Options{Hostname: os.Hostname})
}

// Read reads the file at path for Parse.
func Read(path string) ([]byte, error) {
	data, err := ReadFile(path, MaxFile)
	if err != nil {
		if named := (*fs.PathError)(nil); !errors.As(err, &named) {
			err = fmt.Errorf("%s %w", path, err)
		}
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	return data, nil
}

// Parse reads a configuration from data. Messages call it name, and relative paths in it count from name's folder.
// The error, if any, is of type Errors.
func Parse(name string, data []byte, opts Options) (*Config, error) {
	d := &decoder{file: name, lines: newIndex()}
	if len(data) > MaxFile {
		d.report(1, "the file is larger than %s, the most that is read; move lists to lookup files", FormatSize(MaxFile))
		return nil, d.errors()
	}
	root := d.parse(data)
	if root == nil {
		return nil, d.errors()
	}
	c := &Config{File: name, Hash: sha256.Sum256(data), lines: d.lines}
	fields := c.fields()
	d.top = fields
	d.table(nil, fields, root)
	c.complete(d, filepath.Dir(name), opts)
	c.check(d)
	if len(d.errs) > 0 {
		return nil, d.errors()
	}
	return c, nil
}

// Where gives the place of a key as "file:line", for messages about what the file asked for. The path is the key's
// names from the top, with Index for an element of a list: Where("listener", Index(0), "address"). What the file does
// not hold has the place of the nearest table or key around it.
func (c *Config) Where(path ...string) string {
	return place(c.File, c.lines.line(path))
}

// Written tells whether the file holds a key or table; see Where for the path.
func (c *Config) Written(path ...string) bool {
	x := c.lines
	for _, name := range path {
		if x = x.below[name]; x == nil {
			return false
		}
	}
	return true
}

// Errorf makes an error about a key in the form that Parse uses: "file:line: key: text".
func (c *Config) Errorf(path []string, format string, args ...any) Error {
	return Error{File: c.File, Line: c.lines.line(path), Text: keyText(path) + fmt.Sprintf(format, args...)}
}
