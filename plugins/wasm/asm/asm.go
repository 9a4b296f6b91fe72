// Package asm assembles small WebAssembly modules from text, for tests: attacks on a plugin engine are easier to read so than
// in hexadecimal. The text is simpler than the standard one. Each line begins with a word, and what follows a semicolon is a
// comment:
//
//	import MODULE NAME params -> results    a function
//	memory MIN [MAX]                        table MIN [MAX]
//	global NAME i32 5                       mutable, with its first value
//	data OFFSET "text as in Go"             elem OFFSET f g h
//	start NAME
//	func NAME params -> results             or export func ..., which exports it, too
//	  locals i32 i64
//	  local.get 0  i32.const 5  call f      instructions, as many in a line as one likes, until the next of these words
//
// Functions and globals are called by name, locals, labels and types by number. Loads and stores take an offset, as in
// i32.load+8; block, loop and if a type, as in block:i32. The end of a function is written by itself. The memory is exported as
// "memory".
package asm

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Assemble makes the binary form.
func Assemble(text string) ([]byte, error) {
	a := &assembler{}
	for i, line := range strings.Split(text, "\n") {
		if err := a.line(strings.TrimSpace(line)); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return a.module()
}

type fn struct {
	name     string
	typ      int
	exported bool
	locals   []byte
	code     []string
}

type assembler struct {
	types   [][]byte
	imports [][]byte
	funcs   []fn // imported ones have no code
	globals [][]byte
	names   []string // of globals
	memory  []byte
	table   []byte
	data    [][]byte
	elems   [][]string
	start   string
	open    bool // whether the last function takes instructions
}

func (a *assembler) line(line string) error {
	if at := strings.IndexByte(line, ';'); at >= 0 && !strings.HasPrefix(line, "data") {
		line = strings.TrimSpace(line[:at])
	}
	words := strings.Fields(line)
	if len(words) == 0 {
		return nil
	}
	switch words[0] {
	case "import":
		t, err := a.typeOf(words[3:])
		if err != nil {
			return err
		}
		im := append(name(name(nil, words[1]), words[2]), 0)
		a.imports = append(a.imports, u32(im, t))
		a.funcs = append(a.funcs, fn{name: words[2], typ: t})
	case "memory":
		a.memory = limits(words[1:])
	case "table":
		a.table = append([]byte{0x70}, limits(words[1:])...)
	case "global":
		t, err := valueType(words[2])
		if err != nil {
			return err
		}
		v, err := strconv.ParseInt(words[3], 0, 64)
		if err != nil {
			return err
		}
		a.names = append(a.names, words[1])
		a.globals = append(a.globals, append(signed([]byte{t, 1, 0x41 + (0x7f - t)}, v), 0x0b))
	case "data":
		_, rest, _ := strings.Cut(line, words[1]+" ")
		s, err := strconv.Unquote(strings.TrimSpace(rest))
		if err != nil {
			return fmt.Errorf("%s: %w", rest, err)
		}
		at, err := strconv.ParseInt(words[1], 0, 32)
		if err != nil {
			return err
		}
		a.data = append(a.data, name(append(signed([]byte{0, 0x41}, at), 0x0b), s))
	case "elem":
		a.elems = append(a.elems, words[1:])
	case "start":
		a.start = words[1]
	case "export", "func":
		f := fn{exported: words[0] == "export"}
		if f.exported {
			words = words[1:]
		}
		f.name = words[1]
		t, err := a.typeOf(words[2:])
		if err != nil {
			return err
		}
		f.typ = t
		a.funcs = append(a.funcs, f)
		a.open = true
	case "locals":
		f := &a.funcs[len(a.funcs)-1]
		for _, w := range words[1:] {
			t, err := valueType(w)
			if err != nil {
				return err
			}
			f.locals = append(f.locals, t)
		}
	default:
		if !a.open {
			return fmt.Errorf("%q stands in no function", words[0])
		}
		f := &a.funcs[len(a.funcs)-1]
		f.code = append(f.code, words...)
	}
	return nil
}

func limits(words []string) []byte {
	least, _ := strconv.Atoi(words[0])
	if len(words) == 1 {
		return u32([]byte{0}, least)
	}
	most, _ := strconv.Atoi(words[1])
	return u32(u32([]byte{1}, least), most)
}

func valueType(s string) (byte, error) {
	if i := slices.Index([]string{"externref", "funcref"}, s); i >= 0 {
		return byte(0x6f + i), nil
	}
	if i := slices.Index([]string{"v128", "f64", "f32", "i64", "i32"}, s); i >= 0 {
		return byte(0x7b + i), nil
	}
	return 0, fmt.Errorf("%q is no type", s)
}

// typeOf finds or makes the type that is written as params -> results.
func (a *assembler) typeOf(words []string) (int, error) {
	at := slices.Index(words, "->")
	if at < 0 {
		at = len(words)
	}
	t := []byte{0x60}
	for _, part := range [][]string{words[:at], words[min(at+1, len(words)):]} {
		t = u32(t, len(part))
		for _, w := range part {
			v, err := valueType(w)
			if err != nil {
				return 0, err
			}
			t = append(t, v)
		}
	}
	for i, known := range a.types {
		if string(known) == string(t) {
			return i, nil
		}
	}
	a.types = append(a.types, t)
	return len(a.types) - 1, nil
}

func (a *assembler) funcIndex(s string) (int, error) {
	i := slices.IndexFunc(a.funcs, func(f fn) bool { return f.name == s })
	if i < 0 {
		return 0, fmt.Errorf("there is no function %q", s)
	}
	return i, nil
}

func (a *assembler) module() ([]byte, error) {
	out := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, list [][]byte) {
		if len(list) == 0 {
			return
		}
		body := u32(nil, len(list))
		for _, e := range list {
			body = append(body, e...)
		}
		out = append(u32(append(out, id), len(body)), body...)
	}
	var types, exports, bodies, elems [][]byte
	if a.memory != nil {
		exports = append(exports, append(name(nil, "memory"), 2, 0))
	}
	for i, f := range a.funcs[len(a.imports):] {
		types = append(types, u32(nil, f.typ))
		if f.exported {
			exports = append(exports, u32(append(name(nil, f.name), 0), len(a.imports)+i))
		}
		body, err := a.body(f)
		if err != nil {
			return nil, fmt.Errorf("func %s: %w", f.name, err)
		}
		bodies = append(bodies, append(u32(nil, len(body)), body...))
	}
	for _, e := range a.elems {
		at, err := strconv.ParseInt(e[0], 0, 32)
		if err != nil {
			return nil, err
		}
		seg := u32(append(signed([]byte{0, 0x41}, at), 0x0b), len(e)-1)
		for _, f := range e[1:] {
			i, err := a.funcIndex(f)
			if err != nil {
				return nil, err
			}
			seg = u32(seg, i)
		}
		elems = append(elems, seg)
	}
	section(1, a.types)
	section(2, a.imports)
	section(3, types)
	section(4, one(a.table))
	section(5, one(a.memory))
	section(6, a.globals)
	section(7, exports)
	if a.start != "" {
		i, err := a.funcIndex(a.start)
		if err != nil {
			return nil, err
		}
		out = append(out, 8, byte(len(u32(nil, i))))
		out = u32(out, i)
	}
	section(9, elems)
	section(10, bodies)
	section(11, a.data)
	return out, nil
}

func one(b []byte) [][]byte {
	if b == nil {
		return nil
	}
	return [][]byte{b}
}

func (a *assembler) body(f fn) ([]byte, error) {
	out := u32(nil, len(f.locals))
	for _, t := range f.locals {
		out = append(out, 1, t)
	}
	for i := 0; i < len(f.code); {
		op, suffix := f.code[i], ""
		if at := strings.IndexAny(op, "+:"); at > 0 {
			op, suffix = op[:at], op[at:]
		}
		known, ok := instructions[op]
		if !ok {
			return nil, fmt.Errorf("%q is no instruction", op)
		}
		out = append(out, known.code...)
		i++
		for _, kind := range known.args {
			var err error
			if out, i, err = a.argument(out, kind, suffix, f.code, i); err != nil {
				return nil, fmt.Errorf("%s: %w", op, err)
			}
		}
	}
	return append(out, 0x0b), nil
}

// argument writes what follows an opcode; see instructions for the kinds.
func (a *assembler) argument(out []byte, kind rune, suffix string, code []string, i int) ([]byte, int, error) {
	next := func() string {
		if i++; i > len(code) {
			return ""
		}
		return code[i-1]
	}
	switch kind {
	case '0':
		return append(out, 0), i, nil
	case 'b':
		if suffix == "" {
			return append(out, 0x40), i, nil
		}
		t, err := valueType(suffix[1:])
		return append(out, t), i, err
	case 'm':
		at, _ := strconv.Atoi(strings.TrimPrefix(suffix, "+"))
		return u32(append(out, 0), at), i, nil
	case 'f':
		n, err := a.funcIndex(next())
		return u32(out, n), i, err
	case 'g':
		s := next()
		n := slices.Index(a.names, s)
		if n < 0 {
			return nil, i, fmt.Errorf("there is no global %q", s)
		}
		return u32(out, n), i, nil
	case 'n':
		n, err := strconv.ParseUint(next(), 0, 32)
		return u32(out, int(n)), i, err
	case 's':
		s := next()
		n, err := strconv.ParseInt(s, 0, 64)
		if err != nil {
			return nil, i, err
		}
		return signed(out, n), i, nil
	case 't': // of br_table: a number of labels, and the default one
		n, err := strconv.Atoi(next())
		if err != nil {
			return nil, i, err
		}
		out = u32(out, n)
		for range n + 1 {
			l, err := strconv.Atoi(next())
			if err != nil {
				return nil, i, err
			}
			out = u32(out, l)
		}
		return out, i, nil
	case 'd':
		v, err := strconv.ParseFloat(next(), 64)
		bits := math.Float64bits(v)
		for range 8 {
			out, bits = append(out, byte(bits)), bits>>8
		}
		return out, i, err
	}
	return nil, i, fmt.Errorf("argument %q", kind)
}

func u32(b []byte, n int) []byte {
	v := uint32(n)
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

func signed(b []byte, v int64) []byte {
	for {
		c := byte(v) & 0x7f
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func name(b []byte, s string) []byte { return append(u32(b, len(s)), s...) }
