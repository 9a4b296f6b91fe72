// Package meter makes a WebAssembly module safe to run where running code cannot be interrupted: it rewrites the module so that
// the code counts itself.
//
// A rewritten module has two more globals. Fuel is what the code may still use, one unit for about one instruction. It is
// charged by the length of straight code: at the entry of a function and at the head of each loop with a check, which every
// path that repeats goes through; and without a check where long code begins that may or may not be run. Instructions that
// work on a range of memory or of a table are charged by its length before they run. Stack is how deep calls may still go, in
// units of about 128 bytes of the machine's stack. A function takes at its entry what its frame may need and gives it back when
// it returns. For that the body stands in a block, and return is a branch to its end. Small functions that call nothing are not
// counted.
//
// Where one of the two is below zero, the check is the instruction unreachable; that it is below zero tells this trap from
// others. A check that called the host, which could look at the clock and give more, made a loop over bytes twice as slow:
// compilers keep no value in a register over a call, even one that is never made. So the host gives fuel by the time that is left.
//
// What could reach around this is refused: sections, opcodes and encodings that are not of the WebAssembly core
// specification, version 2.0 without tail calls, threads or other proposals; imports that the host does not allow; indices
// beyond those that the module has, since what is added lies there; sizes beyond the limits. Maxima of memories and tables
// are lowered to the limits, so that growing ends there. Types are not checked: what is valid stays valid, what is not stays
// so, and the runtime that compiles the result finds it.
//
// Rewriting takes time in proportion to the module, and memory of a few times its size.
package meter

import "fmt"

// Names of the exported globals, mutable and of type i64, that a rewritten module has besides its own. They begin at Limits.Fuel
// and Limits.Stack.
const (
	Fuel  = "stagepost_fuel"
	Stack = "stagepost_stack"
)

// Limits bound a module and what it may become. All must be set; see DefaultLimits.
type Limits struct {
	Size      int // bytes of the module
	Types     int
	Imports   int
	Functions int // of its own
	Tables    int
	Globals   int
	Exports   int
	Segments  int   // of data, and as many of elements
	Params    int   // of a function, and as many results
	Locals    int   // of a function, with its parameters
	Body      int   // bytes of a function
	Nesting   int   // of blocks, loops and ifs
	Pages     int   // of memory, each 64 KiB
	Elements  int   // of all tables
	Stack     int   // units; see the package comment
	Fuel      int64 // of the start function

	// Compilers take more than linear time, and memory, for these: blocks, loops and ifs of a function, where a loop counts as four,
	// one in a loop as eight, and so on; their number times that of the locals; loops in loops.
	Blocks, BlockLocals, Loops int
}

// DefaultLimits leaves room for programs of large runtimes, such as Go's.
func DefaultLimits() Limits {
	return Limits{Size: 16 << 20, Types: 10_000, Imports: 200, Functions: 50_000, Tables: 16, Globals: 10_000, Exports: 1_000, Segments: 100_000,
		Params: 100, Locals: 5_000, Body: 512 << 10, Nesting: 4_000, Pages: 512, Elements: 200_000, Stack: 32_768, Fuel: 10_000_000,
		Blocks: 8_000, BlockLocals: 500_000, Loops: 50}
}

// ValueType is a type of the specification, as it is encoded.
type ValueType byte

// The types.
const (
	I32       ValueType = 0x7f
	I64       ValueType = 0x7e
	F32       ValueType = 0x7d
	F64       ValueType = 0x7c
	V128      ValueType = 0x7b
	FuncRef   ValueType = 0x70
	ExternRef ValueType = 0x6f
)

func (t ValueType) String() string {
	switch t {
	case I32:
		return "i32"
	case I64:
		return "i64"
	case F32:
		return "f32"
	case F64:
		return "f64"
	case V128:
		return "v128"
	case FuncRef:
		return "funcref"
	case ExternRef:
		return "externref"
	}
	return fmt.Sprintf("type 0x%02x", byte(t))
}

// FuncType is the type of a function.
type FuncType struct{ Params, Results []ValueType }

func (f FuncType) String() string { return fmt.Sprint(f.Params, " -> ", f.Results) }

// Kind is what an import or export is.
type Kind byte

// The kinds.
const (
	Function Kind = iota
	Table
	Memory
	Global
)

func (k Kind) String() string {
	return [...]string{"function", "table", "memory", "global"}[k]
}

// Import is one import of a module.
type Import struct {
	Module, Name string
	Kind         Kind
	Type         FuncType // of a function
}

// Export is one export of a module.
type Export struct {
	Name string
	Kind Kind
	Type FuncType // of a function
}

// Options are how a module is rewritten.
type Options struct {
	Limits Limits
	// Allow tells why the module may not have an import; nil allows none.
	Allow func(Import) error
}

// Module is a rewritten module.
type Module struct {
	Binary  []byte
	Imports []Import // as the module had them
	Exports []Export
}

// Rewrite makes the metered form of a module in the binary format. The error says what is wrong, and where.
func Rewrite(wasm []byte, o Options) (*Module, error) {
	if len(wasm) > o.Limits.Size {
		return nil, fmt.Errorf("the module has %d bytes; the most is %d", len(wasm), o.Limits.Size)
	}
	w := &rewriter{Options: o, in: reader{data: wasm}}
	w.run()
	if w.in.err != nil {
		return nil, w.in.err
	}
	return &Module{Binary: w.out, Imports: w.imports, Exports: w.exports}, nil
}
