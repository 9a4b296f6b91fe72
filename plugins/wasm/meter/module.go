package meter

import "fmt"

// The sections of a module, in the order in which they stand.
const (
	sectionCustom = iota
	sectionType
	sectionImport
	sectionFunction
	sectionTable
	sectionMemory
	sectionGlobal
	sectionExport
	sectionStart
	sectionElement
	sectionCode
	sectionData
	sectionDataCount // stands before code
)

var sectionNames = [...]string{"custom", "type", "import", "function", "table", "memory", "global", "export", "start", "element", "code", "data", "data count"}

// sectionOrder gives each section its place.
var sectionOrder = [...]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 10}

// rewriter goes once over the sections of a module and writes those of the metered one.
type rewriter struct {
	Options
	in  reader
	out []byte

	types     []FuncType
	blocks    map[uint32]uint32 // type that gives a function's results, by the function's type
	blockList []uint32          // keys of blocks, in the order of the types that were added
	imports   []Import
	exports   []Export
	funcs     []uint32 // types: imported ones first
	imported  int      // functions
	tables    int
	elements  int64 // of all tables, at the start
	memories  int
	globals   int
	segments  int // of data, as data count says; -1: it says nothing
	elems     int // segments of elements
	body      bodyWriter
}

var header = []byte("\x00asm\x01\x00\x00\x00")

func (w *rewriter) run() {
	w.out = make([]byte, 0, len(w.in.data)+len(w.in.data)/2+256)
	w.segments = -1
	w.blocks = map[uint32]uint32{}
	if string(w.in.take(min(len(header), w.in.left()))) != string(header) {
		w.in.failAt(0, "this is no WebAssembly module of version 1: it does not begin with \\0asm")
		return
	}
	w.out = append(w.out, header...)
	sections := w.split()
	if w.in.err != nil {
		return
	}
	// The functions' types come first: what is added to the types depends on them.
	for id := sectionType; id <= sectionDataCount; id++ {
		if id == sectionType || id == sectionImport || id == sectionFunction || id == sectionDataCount {
			w.measure(id, sections[id])
		}
	}
	for _, id := range []int{sectionType, sectionImport, sectionFunction, sectionTable, sectionMemory, sectionGlobal, sectionExport,
		sectionStart, sectionElement, sectionDataCount, sectionCode, sectionData} {
		w.write(id, sections[id])
	}
	if w.in.err == nil && sections[sectionCustom] != nil {
		w.names(*sections[sectionCustom])
	}
}

// split finds the sections; of the custom ones only that of the names is kept, since others may speak of places in the code.
func (w *rewriter) split() (found [len(sectionNames)]*reader) {
	last := 0
	for w.in.left() > 0 && w.in.err == nil {
		at := w.in.at
		id := int(w.in.byte())
		size := w.in.u32()
		if w.in.err == nil && id >= len(sectionNames) {
			w.in.failAt(at, "section %d is not known", id)
		}
		if w.in.err != nil {
			return found
		}
		if int64(size) > int64(w.in.left()) {
			w.in.failAt(at, "the %s section has %d bytes, and the module only %d more", sectionNames[id], size, w.in.left())
			return found
		}
		begin := w.in.at
		s := &reader{data: w.in.take(int(size)), base: begin, what: sectionNames[id] + " section"}
		if id == sectionCustom {
			if s.name() == "name" && found[id] == nil {
				found[id] = s
			}
			w.keep(s)
			continue
		}
		if sectionOrder[id] <= last {
			w.in.failAt(at, "the %s section stands here twice, or after one that it must come before", sectionNames[id])
			return found
		}
		last = sectionOrder[id]
		found[id] = s
	}
	return found
}

// keep takes over what was wrong in a part.
func (w *rewriter) keep(r *reader) {
	if w.in.err == nil {
		w.in.err = r.err
	}
}

// measure reads what must be known before the first section is written.
func (w *rewriter) measure(id int, s *reader) {
	if s == nil || w.in.err != nil {
		return
	}
	r := *s
	r.what = sectionNames[id] + " section"
	switch id {
	case sectionType:
		w.readTypes(&r)
	case sectionImport:
		w.readImports(&r)
	case sectionFunction:
		for range r.count("functions", w.Limits.Functions) {
			t := r.index("type", len(w.types))
			w.funcs = append(w.funcs, t)
			if r.err == nil {
				w.blockFor(t)
			}
		}
	case sectionDataCount:
		w.segments = int(min(r.u32(), 1<<30))
		if w.segments > w.Limits.Segments {
			r.fail("%d segments are too many; the most is %d", w.segments, w.Limits.Segments)
		}
	}
	w.finish(&r)
}

// finish checks that a section was read to its end.
func (w *rewriter) finish(r *reader) {
	if r.err == nil && r.left() > 0 {
		r.fail("%d bytes are left over", r.left())
	}
	w.keep(r)
}

// blockFor makes sure that there is a type of blocks which leave the results of a function of type t: one with two results
// or more needs a type of its own.
func (w *rewriter) blockFor(t uint32) {
	if _, ok := w.blocks[t]; !ok && len(w.types[t].Results) > 1 {
		w.blocks[t] = uint32(len(w.types) + len(w.blocks))
		w.blockList = append(w.blockList, t)
	}
}

func (w *rewriter) readTypes(r *reader) {
	for range r.count("types", w.Limits.Types) {
		if form := r.byte(); form != 0x60 {
			r.failAt(r.at-1, "type form 0x%02x is not known; a function type begins with 0x60", form)
		}
		w.types = append(w.types, FuncType{w.readResults(r), w.readResults(r)})
	}
}

func (w *rewriter) readResults(r *reader) []ValueType {
	n := r.count("parameters or results", w.Limits.Params)
	list := make([]ValueType, 0, n)
	for range n {
		list = append(list, r.valueType())
	}
	return list
}

func (w *rewriter) readImports(r *reader) {
	for range r.count("imports", w.Limits.Imports) {
		begin := r.at
		im := Import{Module: r.name(), Name: r.name(), Kind: Kind(r.byte())}
		var typ uint32
		switch im.Kind {
		case Function:
			if typ = r.index("type", len(w.types)); r.err == nil {
				im.Type = w.types[typ]
			}
		case Table:
			r.refType()
			w.limits(r, 1<<32-1)
		case Memory:
			w.limits(r, 1<<16)
		case Global:
			r.valueType()
			r.byte()
		default:
			r.failAt(r.at-1, "import kind %d is not known", byte(im.Kind))
		}
		if r.err != nil {
			return
		}
		switch im.Kind {
		case Function:
			w.funcs = append(w.funcs, typ)
			w.imported++
		case Table:
			w.tables++
		case Memory:
			w.memories++
		case Global:
			w.globals++
		}
		if w.Allow == nil {
			r.failAt(begin, "the import %q.%q is not allowed", im.Module, im.Name)
		} else if err := w.Allow(im); err != nil {
			r.failAt(begin, "%s", err)
		}
		w.imports = append(w.imports, im)
	}
}

// limits reads the limits of a table or memory; max is -1 where there is none.
func (w *rewriter) limits(r *reader, most int64) (least, max int64) {
	flag := r.byte()
	if flag > 1 {
		r.failAt(r.at-1, "limits of kind %d are not known; shared memories are not allowed", flag)
		return 0, 0
	}
	least, max = int64(r.u32()), -1
	if flag == 1 {
		max = int64(r.u32())
	}
	if r.err == nil && (least > most || max > most || max >= 0 && max < least) {
		r.fail("limits from %d to %d make no sense; the most is %d", least, max, most)
	}
	return least, max
}

// write writes one section, with what is added to it.
func (w *rewriter) write(id int, s *reader) {
	if w.in.err != nil {
		return
	}
	r := reader{what: sectionNames[id] + " section"}
	if s != nil {
		r = *s
	}
	if id == sectionCode {
		w.code(&r, s != nil)
		w.keep(&r)
		return
	}
	var out []byte
	n := 0 // elements that the section has; those of data count are one
	if s != nil {
		out = make([]byte, 0, len(r.data)+64)
	}
	switch id {
	case sectionType:
		n = w.writeTypes(&r, &out)
	case sectionGlobal:
		n = w.writeGlobals(&r, &out)
	case sectionExport:
		n = w.writeExports(&r, &out)
	default:
		if s == nil {
			return
		}
		n = w.copy(id, &r, &out)
	}
	w.finish(&r)
	if w.in.err == nil {
		w.section(id, n, out)
	}
}

// section puts a section to the others. n is its number of elements; -1 if it is none of several.
func (w *rewriter) section(id, n int, content []byte) {
	var head []byte
	if n >= 0 {
		head = appendU32(nil, uint32(n))
	}
	w.out = append(w.out, byte(id))
	w.out = appendU32(w.out, uint32(len(head)+len(content)))
	w.out = append(append(w.out, head...), content...)
}

func (w *rewriter) writeTypes(r *reader, out *[]byte) int {
	if r.data != nil {
		r.count("types", w.Limits.Types)
		*out = append(*out, r.take(r.left())...) // they were read before
	}
	for _, t := range w.blockList {
		*out = append(*out, 0x60, 0)
		*out = appendU32(*out, uint32(len(w.types[t].Results)))
		for _, v := range w.types[t].Results {
			*out = append(*out, byte(v))
		}
	}
	return len(w.types) + len(w.blockList)
}

// Indices of what is added.
func (w *rewriter) fuelIndex() uint32  { return uint32(w.globals) }
func (w *rewriter) stackIndex() uint32 { return uint32(w.globals + 1) }

func (w *rewriter) writeGlobals(r *reader, out *[]byte) int {
	n := 0
	if r.data != nil {
		n = r.count("globals", w.Limits.Globals)
		imported := w.globals
		for range n {
			*out = append(*out, byte(r.valueType()), r.byte())
			w.constant(r, out, imported)
		}
	}
	w.globals += n
	for _, first := range []int64{w.Limits.Fuel, int64(w.Limits.Stack)} {
		*out = append(appendSigned(append(*out, byte(I64), 1, opI64Const), first), opEnd)
	}
	return n + 2
}

func (w *rewriter) writeExports(r *reader, out *[]byte) int {
	n := 0
	if r.data != nil {
		n = r.count("exports", w.Limits.Exports)
	}
	for range n {
		at := r.at
		e := Export{Name: r.name(), Kind: Kind(r.byte())}
		if e.Name == Fuel || e.Name == Stack {
			r.failAt(at, "the export %q has a name that the host keeps for itself", e.Name)
		}
		counts := [...]int{len(w.funcs), w.tables, w.memories, w.globals}
		if r.err == nil && int(e.Kind) >= len(counts) {
			r.failAt(r.at-1, "export kind %d is not known", byte(e.Kind))
		}
		if r.err != nil {
			return 0
		}
		i := r.index(e.Kind.String(), counts[e.Kind])
		if e.Kind == Function && r.err == nil {
			e.Type = w.types[w.funcs[i]]
		}
		w.exports = append(w.exports, e)
		*out = appendU32(append(appendName(*out, e.Name), byte(e.Kind)), i)
	}
	*out = appendU32(append(appendName(*out, Fuel), byte(Global)), w.fuelIndex())
	*out = appendU32(append(appendName(*out, Stack), byte(Global)), w.stackIndex())
	return n + 2
}

// copy writes the sections that keep their number of elements.
func (w *rewriter) copy(id int, r *reader, out *[]byte) int {
	n := 0
	switch id {
	case sectionImport, sectionFunction, sectionDataCount: // read before
		n = -1
		*out = append(*out, r.take(r.left())...)
	case sectionTable:
		n = r.count("tables", w.Limits.Tables)
		for range n {
			*out = append(*out, byte(r.refType()))
			w.clamp(r, out, "tables", "elements", int64(w.Limits.Elements), 1<<32-1, &w.elements)
		}
		w.tables += n
	case sectionMemory:
		n = r.count("memories", 1)
		var pages int64
		for range n {
			w.clamp(r, out, "memory", "pages of 64 KiB", int64(w.Limits.Pages), 1<<16, &pages)
		}
		w.memories += n
	case sectionStart:
		n = -1
		*out = appendU32(*out, r.index("function", len(w.funcs)))
	case sectionElement:
		n = r.count("segments", w.Limits.Segments)
		for range n {
			w.elementSegment(r, out)
		}
		w.elems = n
	case sectionData:
		n = r.count("segments", w.Limits.Segments)
		for range n {
			w.dataSegment(r, out)
		}
		if r.err == nil && w.segments >= 0 && n != w.segments {
			r.fail("there are %d segments, and the data count section says %d", n, w.segments)
		}
	}
	return n
}

// clamp copies limits with a maximum of at most most. sum is what all of that kind begin with.
func (w *rewriter) clamp(r *reader, out *[]byte, what, unit string, most, format int64, sum *int64) {
	at := r.at
	least, max := w.limits(r, format)
	if *sum += least; r.err == nil && *sum > most {
		r.failAt(at, "the %s begins with %d %s; the most is %d", what, *sum, unit, most)
	}
	if max < 0 || max > most {
		max = most
	}
	*out = appendU32(appendU32(append(*out, 1), uint32(least)), uint32(max))
}

func (w *rewriter) where(function int) string { return fmt.Sprintf("function %d", function) }
