// Package manifest reads what a plugin says of itself before any of its code runs: its name and version, what it needs, the
// settings it takes, and how its hooks are to be asked.
//
// A manifest is written in one of two ways, which hold the same keys: as plugin.toml in the plugin's folder, or as the
// literal of the statement plugin { ... } that a Lua file begins with. The Lua form is read from the syntax tree and never
// run, so only literals may stand in it. Both are turned into one tree of values with their lines, and one decoder goes over
// that tree with the tables in keys.go; so a mistake is reported in the same words, with file and line, however the manifest
// is written. The capabilities under needs are those that package capability declares, the stages under hook those of package hooks.
//
// Configure then checks what the operator wrote under [plugin.NAME] against the settings, Grant works out
// what of its needs the plugin may do, and Hook merges what stands under [run.NAME] into how the manifest wants to be asked.
package manifest

import (
	"fmt"
	"time"

	"github.com/yuin/gopher-lua/ast"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
)

// API is the version of the plugin contract that this server speaks.
const API = 0

// MaxFile bounds plugin.toml, in bytes.
const MaxFile = 64 << 10

// DefaultEvery is the time between two calls at tick unless the plugin or the operator sets another, and MinEvery the shortest.
const (
	DefaultEvery = time.Minute
	MinEvery     = time.Second
)

// Manifest is what one plugin says of itself. It is never changed after it was read, and safe for concurrent use.
type Manifest struct {
	File string // as given to FromTOML or FromLua
	Line int    // of the header in a Lua file, else 1

	ID          string
	Version     string // semantic version; "0.0.0" when the manifest has none
	API         int
	Description string
	Needs       *capability.Needs // what it asks for; never nil
	Granted     *capability.Needs // what of that it may do; as asked for until Grant says otherwise
	Config      []Setting         // in order of name
	Facts       message.FactRules // of its own facts; nil: it declares none, and may set any
	Hooks       map[hooks.Stage]HookSpec
}

// Setting is one key that the operator may write under [plugin.NAME].
type Setting struct {
	Name     string
	Type     Type
	Default  any // as Settings holds it; nil when there is none
	Required bool
	Doc      string
	Line     int
}

// HookSpec is how one hook is asked. It does not make a hook: that exists because the code defines a handler.
type HookSpec struct {
	When       hooks.When
	Order      int
	After      []string // plugins
	Before     []string
	Reads      []string // facts; "name?" when the hook can do without
	Sets       []string
	Background bool
	OnError    hooks.Kind // Next, Defer or Reject
	Timeout    time.Duration
	Every      time.Duration // of tick; 0: DefaultEvery
	Line       int           // 0 when the manifest does not name the stage
	Said       bool          // OnError is what the manifest says
}

// DefaultHook is how a hook is asked of which the manifest says nothing.
func DefaultHook() HookSpec {
	return HookSpec{Order: hooks.DefaultOrder, OnError: hooks.Defer, Timeout: hooks.DefaultTimeout}
}

// FromTOML reads a plugin.toml. Messages call it file. The error, if any, is of type config.Errors.
func FromTOML(file string, data []byte) (*Manifest, error) {
	d := &decoder{file: file}
	root := d.parseTOML(data)
	if root == nil {
		return nil, d.errors()
	}
	return d.manifest(root)
}

// FromLua reads the literal of a Lua file's header. The error, if any, is of type config.Errors.
func FromLua(file string, header ast.Expr) (*Manifest, error) {
	d := &decoder{file: file}
	root := d.fromLua(header)
	if len(d.errs) > 0 {
		return nil, d.errors()
	}
	return d.manifest(root)
}

// Pos is the manifest's place as "file:line".
func (m *Manifest) Pos() string { return fmt.Sprintf("%s:%d", m.File, m.Line) }
