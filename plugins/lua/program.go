package lua

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	glua "github.com/yuin/gopher-lua"

	"github.com/stagepost/stagepost/plugins/lua/direct"
)

// A Program is one compiled file. It never changes; instances share it.
type Program struct {
	Name     string
	Header   bool      // the file began with plugin { ... }
	Handlers []Mention // names NAME for which the main chunk sets on.NAME
	Requires []Mention // modules it requires

	proto  *glua.FunctionProto
	direct map[place]*direct.Code
}

// Compile checks a parsed file and compiles it, consuming its statements. Besides the base library (BaseGlobals) a
// file may use the names in globals, which the host binds. All faults found are reported, each an *Error, joined.
func Compile(c *Chunk, globals map[string]bool) (p *Program, err error) {
	known := make(map[string]bool, len(globals)+len(baseFuncs)+len(libraries)+2)
	for _, name := range BaseGlobals() {
		known[name] = true
	}
	for name, ok := range globals {
		known[name] = ok
	}
	l, err := lint(c, known)
	if err != nil {
		return nil, err
	}
	defer func() {
		if r := recover(); r != nil { // the compiler panics on trees it does not expect
			p, err = nil, &Error{File: c.Name, Message: fmt.Sprintf("cannot be compiled: %v", r)}
		}
	}()
	proto, err := glua.Compile(rewrite(c.Stmts, l.hoist), c.Name)
	if err != nil {
		return nil, compileError(c.Name, err)
	}
	tune(proto)
	return &Program{Name: c.Name, Header: c.Header != nil, Handlers: l.handlers, Requires: l.requires, proto: proto}, nil
}

func compileError(name string, err error) error {
	var ce *glua.CompileError
	if !errors.As(err, &ce) {
		return &Error{File: name, Message: err.Error()}
	}
	msg := ce.Message
	if strings.Contains(msg, "too many local variables") || strings.Contains(msg, "register overflow") {
		msg = "this function has too many local variables or arguments (at most 200 together)"
	}
	return &Error{File: name, Line: ce.Line, Message: msg}
}

// Parts of an instruction: 6 bits opcode, 8 bits A, 9 bits C, 9 bits B; or 18 bits Bx in the place of the last two.
const (
	opcodeShift        = 26
	opcodeMask  uint32 = 0x3f << opcodeShift
	argCShift          = 9
	argMask     uint32 = 0x1ff
	argBxMask   uint32 = 0x3ffff
)

// tune changes compiled code where the compiler's choice is dear.
func tune(p *glua.FunctionProto) {
	p.Code = slices.Clone(p.Code) // the compiler makes room for 1,024 instructions in each function
	p.DbgSourcePositions = slices.Clone(p.DbgSourcePositions)
	p.DbgCalls = slices.Clone(p.DbgCalls)
	p.IsVarArg &^= glua.VarArgNeedsArg // no table `arg` for each call of a function with (...)
	for i, inst := range p.Code {
		switch int(inst >> opcodeShift) {
		case glua.OP_GETTABLEKS:
			// It allocates a string for each __index call; the general instruction passes the constant itself.
			p.Code[i] = inst&^opcodeMask | uint32(glua.OP_GETTABLE)<<opcodeShift
		case glua.OP_NEWTABLE:
			// Without a hint the first field or item makes room for 32.
			if inst&argMask == 0 {
				p.Code[i] |= 4
			}
			if inst>>argCShift&argMask == 0 {
				p.Code[i] |= 1 << argCShift
			}
		}
	}
	for _, inner := range p.FunctionPrototypes {
		tune(inner)
	}
}

// A Loader compiles the module that `require "name"` asks for; name is a valid relative path without extension.
type Loader func(name string) (*Program, error)

// An Image is a linked plugin: its main file and every module it requires, directly or not. It never changes and may be
// used by many goroutines.
type Image struct {
	main    *Program
	modules map[string]*Program
	files   map[string]bool
	library *library

	captures map[*glua.FunctionProto][]capture
}

// Main returns the program that Link was given.
func (im *Image) Main() *Program { return im.main }

// Globals are the names of all globals that the code reads, as it was compiled: there is no other way for it to come to one.
func (im *Image) Globals() map[string]bool {
	found := map[string]bool{}
	globalsIn(im.main.proto, found)
	for _, m := range im.modules {
		globalsIn(m.proto, found)
	}
	return found
}

func globalsIn(p *glua.FunctionProto, found map[string]bool) {
	for i := 0; i < len(p.Code); i++ {
		switch inst := p.Code[i]; int(inst >> opcodeShift) {
		case glua.OP_GETGLOBAL:
			found[p.Constants[inst&argBxMask].String()] = true
		case glua.OP_CLOSURE: // what follows says which locals it captures
			i += int(p.FunctionPrototypes[inst&argBxMask].NumUpvalues)
		}
	}
	for _, inner := range p.FunctionPrototypes {
		globalsIn(inner, found)
	}
}

const (
	maxModules     = 64
	maxModuleDepth = 16
)

// Link loads the modules of a program. load may be nil when the plugin is a single file.
func Link(main *Program, load Loader) (*Image, error) {
	im := &Image{main: main, modules: map[string]*Program{}, files: map[string]bool{main.Name: true}, library: newLibrary(), captures: map[*glua.FunctionProto][]capture{}}
	capturesIn(main.proto, im.captures)
	if err := im.link(main, load, nil); err != nil {
		return nil, err
	}
	return im, nil
}

func (im *Image) link(p *Program, load Loader, path []string) error {
	for _, r := range p.Requires {
		fail := func(format string, args ...any) error {
			return &Error{File: p.Name, Line: r.Line, Message: fmt.Sprintf("require %q: ", r.Name) + fmt.Sprintf(format, args...)}
		}
		for _, outer := range path {
			if outer == r.Name {
				return fail("the modules require each other: %s", strings.Join(append(path, r.Name), ", "))
			}
		}
		if im.modules[r.Name] != nil {
			continue
		}
		switch {
		case load == nil:
			return fail("a plugin of one file has no modules; make it a folder")
		case len(path) >= maxModuleDepth:
			return fail("modules are nested more than %d deep", maxModuleDepth)
		case len(im.modules) >= maxModules:
			return fail("more than %d modules", maxModules)
		}
		m, err := load(r.Name)
		if err != nil {
			var located *Error
			if errors.As(err, &located) {
				return err
			}
			return fail("%v", err)
		}
		if m.Header {
			return fail("%s has a plugin header; only the plugin's own file may", m.Name)
		}
		if len(m.Handlers) > 0 {
			return &Error{File: m.Name, Line: m.Handlers[0].Line,
				Message: "on." + m.Handlers[0].Name + " must be set in the plugin's own file, not in a module"}
		}
		if err := im.link(m, load, append(path[:len(path):len(path)], r.Name)); err != nil {
			return err
		}
		im.modules[r.Name], im.files[m.Name] = m, true
		capturesIn(m.proto, im.captures)
	}
	return nil
}
