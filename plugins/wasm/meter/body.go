package meter

// What instructions cost beyond one, in fuel.
const (
	costEntry = 4    // of a function
	costBulk  = 8    // of an instruction on a range
	costGrow  = 1000 // of memory.grow and table.grow, whose whole growth is bounded by their maxima
)

// room is what a loop or function may charge at its head for code that may not be run. Long code beyond it is charged where it
// begins; large functions of compilers that make one loop of all their branches would pay for all of them at each turn else.
const room = 48

// fewUnits is the stack that a function which calls nothing may use without being counted.
const fewUnits = 32

// bodyWriter rewrites the code of one function after the other; it is kept for its buffers.
type bodyWriter struct {
	w      *rewriter
	r      *reader
	out    []byte // the new body
	seg    []byte // straight code that is not in out yet
	cost   int64  // of seg
	level  level  // that seg belongs to
	frames []frame
	locals int   // with the parameters
	blocks int   // begun so far
	tmp    int64 // index of the local for lengths; -1: not needed so far
	loops  int   // that are open
	block  bool  // whether the body stands in a block
}

// level is a loop or the function itself: what it charges is known when all its code was seen.
type level struct {
	at    int   // in out, of the padded charge
	sum   int64 // charged there
	spare int64 // of room
	first bool  // whether no straight code of it ended so far
}

// frame is a block, loop, if or function that has begun.
type frame struct {
	op    byte  // opLoop, opIf, opBlock; 0 for the function
	outer level // of what a loop stands in
}

// code writes the code section.
func (w *rewriter) code(r *reader, there bool) {
	n := 0
	if there {
		n = r.count("functions", w.Limits.Functions)
	}
	if r.err == nil && n != len(w.funcs)-w.imported {
		r.failAt(0, "there are %d functions in the function section and %d here", len(w.funcs)-w.imported, n)
	}
	if r.err != nil || !there {
		return
	}
	content := make([]byte, 0, len(r.data)+len(r.data)/2)
	w.body.w = w
	for i := range n {
		what := w.where(w.imported + i)
		at := r.at
		size := r.count("bytes", r.left())
		if r.err == nil && size > w.Limits.Body {
			r.failAt(at, "%s has %d bytes; the most is %d", what, size, w.Limits.Body)
		}
		body := reader{base: r.base + r.at, data: r.take(size), what: what}
		if r.err != nil {
			return
		}
		decl, code := w.body.rewrite(&body, w.funcs[w.imported+i])
		if w.keep(&body); w.in.err != nil {
			return
		}
		content = appendU32(content, uint32(len(decl)+len(code)))
		content = append(append(content, decl...), code...)
	}
	w.finish(r)
	if w.in.err == nil {
		w.section(sectionCode, n, content)
	}
}

// rewrite returns the declarations of locals and the code of a function, which hold until the next call.
func (b *bodyWriter) rewrite(r *reader, typ uint32) (decl, code []byte) {
	t := b.w.types[typ]
	b.r, b.out, b.seg, b.frames, b.tmp, b.blocks, b.loops = r, b.out[:0], b.seg[:0], b.frames[:0], -1, 0, 0
	decl, groups := b.declarations(len(t.Params))
	size := r.left()
	units := int64(1 + (b.locals+len(t.Results)+size/2)/16)
	b.block = units > fewUnits || callsAny(*r)
	b.begin(typ, units)
	for r.err == nil && len(b.frames) > 0 {
		b.instruction()
	}
	if r.err == nil && r.left() > 0 {
		r.fail("%d bytes follow the end of the function", r.left())
	}
	if r.err != nil {
		return nil, nil
	}
	if b.block {
		b.out = append(b.out, opEnd)
		b.add(b.w.stackIndex(), opI64Add, units)
	}
	b.out = append(b.out, opEnd)
	if b.tmp >= 0 {
		groups++
		decl = append(decl, 1, byte(I32))
	}
	return append(appendU32(nil, uint32(groups)), decl...), b.out
}

// declarations reads the locals.
func (b *bodyWriter) declarations(params int) (decl []byte, groups int) {
	r := b.r
	at := r.at
	groups = r.count("groups of locals", r.left())
	begin := r.at
	n := int64(params)
	for range groups {
		n += int64(r.u32())
		r.valueType()
		if r.err == nil && n > int64(b.w.Limits.Locals) {
			r.failAt(at, "%d locals and parameters are too many; the most is %d", n, b.w.Limits.Locals)
		}
		if r.err != nil {
			return nil, 0
		}
	}
	b.locals = int(n)
	return append([]byte(nil), r.data[begin:r.at]...), groups
}

// callsAny tells whether the code calls other functions. It looks for the opcodes by their bytes, wherever they are: a constant
// that looks like one costs little.
func callsAny(r reader) bool {
	for _, c := range r.data[r.at:] {
		if c == opCall || c == opCallIndirect {
			return true
		}
	}
	return false
}

// begin writes what stands before the function's own code.
func (b *bodyWriter) begin(typ uint32, units int64) {
	b.cost = costEntry
	b.level = level{first: true, spare: room}
	b.frames = append(b.frames, frame{})
	if !b.block {
		b.charge()
		b.check(false)
		return
	}
	b.add(b.w.stackIndex(), opI64Sub, units)
	b.charge()
	b.check(true)
	b.out = append(b.out, opBlock)
	switch results := b.w.types[typ].Results; len(results) {
	case 0:
		b.out = append(b.out, emptyBlock)
	case 1:
		b.out = append(b.out, byte(results[0]))
	default:
		b.out = appendSigned(b.out, int64(b.w.blocks[typ]))
	}
}

func (b *bodyWriter) get(global uint32) { b.out = appendU32(append(b.out, opGlobalGet), global) }

// add writes global = global op n.
func (b *bodyWriter) add(global uint32, op byte, n int64) {
	b.get(global)
	b.out = append(appendSigned(append(b.out, opI64Const), n), op)
	b.out = appendU32(append(b.out, opGlobalSet), global)
}

// charge writes a charge that is set when the level ends.
func (b *bodyWriter) charge() {
	b.get(b.w.fuelIndex())
	b.out = append(b.out, opI64Const)
	b.level.at = len(b.out)
	b.out = append(b.out, make([]byte, padded)...)
	b.out = append(b.out, opI64Sub)
	b.out = appendU32(append(b.out, opGlobalSet), b.w.fuelIndex())
}

// check writes: if fuel is below zero, or the stack with it, trap.
func (b *bodyWriter) check(stack bool) {
	b.get(b.w.fuelIndex())
	if stack {
		b.get(b.w.stackIndex())
		b.out = append(b.out, opI64Or)
	}
	b.out = append(b.out, opI64Const, 0, opI64LtS, opIf, emptyBlock, opUnreachable, opEnd)
}

// flush ends straight code: it is charged at the head of its level, or where it begins.
func (b *bodyWriter) flush() {
	switch {
	case b.level.first:
		b.level.sum += b.cost
		b.level.first = false
	case b.cost <= b.level.spare:
		b.level.sum += b.cost
		b.level.spare -= b.cost
	default:
		b.add(b.w.fuelIndex(), opI64Sub, b.cost)
	}
	b.out = append(b.out, b.seg...)
	b.seg, b.cost = b.seg[:0], 0
}

// instruction copies one instruction, with what it needs around it.
func (b *bodyWriter) instruction() {
	r := b.r
	begin := r.at
	op := r.byte()
	b.cost++
	switch op {
	case opBlock, opLoop, opIf:
		b.open(op, begin)
		return
	case opElse:
		if b.frames[len(b.frames)-1].op != opIf {
			r.failAt(begin, "else stands where no if is open")
			return
		}
		b.frames[len(b.frames)-1].op = opBlock
		b.flush()
		b.out = append(b.out, opElse)
		return
	case opEnd:
		b.close()
		return
	case opReturn:
		if b.block {
			b.seg = appendU32(append(b.seg, opBr), uint32(len(b.frames)-1))
			return
		}
	case opMemoryGrow:
		b.cost += costGrow
	}
	kind := immediates[op]
	switch op {
	case opMisc:
		kind = b.misc(begin)
	case opVector:
		kind = vectorImmediate(r.u32())
	}
	if kind == unknown && r.err == nil {
		if op == opMisc || op == opVector {
			at := reader{data: r.data, at: begin + 1}
			r.failAt(begin, "opcode 0x%02x %d is not known", op, at.u32())
		} else {
			r.failAt(begin, "opcode 0x%02x is not known", op)
		}
	}
	b.skip(kind)
	b.seg = append(b.seg, r.data[begin:min(r.at, len(r.data))]...)
}

// open begins a block.
func (b *bodyWriter) open(op byte, begin int) {
	r := b.r
	at := r.at
	t := r.signed(33)
	if r.err == nil && t >= 0 && t >= int64(len(b.w.types)) || t < 0 && t != -0x40 && !isValueType(t) {
		r.failAt(at, "there is no block type %d", t)
	}
	b.blocks++
	if op == opLoop { // for compilers the more blocks, the deeper it lies
		b.loops++
		b.blocks += 4*b.loops - 1
	}
	switch lim := &b.w.Limits; {
	case len(b.frames) > lim.Nesting:
		r.failAt(begin, "blocks are nested more than %d deep", lim.Nesting)
	case op == opLoop && b.loops > lim.Loops:
		r.failAt(begin, "loops are nested more than %d deep", lim.Loops)
	case b.blocks > lim.Blocks:
		r.failAt(begin, "the function has more than %d blocks and ifs, a loop counting as four, and one in a loop as eight, and so on", lim.Blocks)
	case b.blocks*b.locals > lim.BlockLocals:
		r.failAt(begin, "%d blocks and %d locals are too many together; their product is at most %d", b.blocks, b.locals, lim.BlockLocals)
	}
	if r.err != nil {
		return
	}
	f := frame{op: op, outer: b.level}
	b.seg = append(b.seg, r.data[begin:r.at]...)
	if op != opBlock {
		b.flush()
		f.outer = b.level
	}
	if op == opLoop {
		b.level = level{first: true, spare: room}
		b.charge()
		b.check(false)
	}
	b.frames = append(b.frames, f)
}

func isValueType(t int64) bool {
	switch ValueType(t & 0x7f) {
	case I32, I64, F32, F64, V128, FuncRef, ExternRef:
		return t >= -0x40
	}
	return false
}

// close ends a block or the function.
func (b *bodyWriter) close() {
	b.flush()
	f := b.frames[len(b.frames)-1]
	b.frames = b.frames[:len(b.frames)-1]
	if f.op == opLoop {
		b.loops--
	}
	if f.op == opLoop || f.op == 0 {
		setPadded(b.out[b.level.at:], b.level.sum)
		b.level = f.outer
	}
	if f.op != 0 { // the function's own end is written by rewrite
		b.out = append(b.out, opEnd)
	}
}

// misc reads an opcode behind 0xfc and writes its charge.
func (b *bodyWriter) misc(begin int) immediate {
	op := b.r.u32()
	if b.r.err != nil || int64(op) >= int64(len(miscImmediates)) {
		return unknown
	}
	switch op {
	case memoryInit, memoryCopy, memoryFill, tableInit, tableCopy, tableFill: // one for a byte: it may be the first to touch its page
		b.chargeLength()
	case tableGrow:
		b.cost += costGrow
		b.chargeLength()
	}
	return miscImmediates[op]
}

// chargeLength writes a charge of the i32 on top of the stack.
func (b *bodyWriter) chargeLength() {
	b.cost += costBulk
	if b.tmp < 0 {
		b.tmp = int64(b.locals)
	}
	fuel, tmp := b.w.fuelIndex(), uint32(b.tmp)
	out := b.out
	b.out = b.seg
	b.out = appendU32(append(b.out, opLocalTee), tmp)
	b.get(fuel)
	b.out = appendU32(append(b.out, opLocalGet), tmp)
	b.out = append(b.out, opI64ExtendU, opI64Sub)
	b.out = appendU32(append(b.out, opGlobalSet), fuel)
	b.check(false)
	b.seg, b.out = b.out, out
}

// skip passes over what follows an opcode.
func (b *bodyWriter) skip(kind immediate) {
	r, w := b.r, b.w
	zero := func() {
		if v := r.byte(); v != 0 {
			r.failAt(r.at-1, "there is no memory %d", v)
		}
	}
	segment := func() {
		if w.segments < 0 {
			r.fail("the module has no data count section")
			return
		}
		r.index("data segment", w.segments)
	}
	switch kind {
	case function:
		r.index("function", len(w.funcs))
	case label:
		r.index("label", len(b.frames))
	case labels:
		n := r.count("labels", r.left())
		for range n + 1 {
			if r.index("label", len(b.frames)); r.err != nil {
				return
			}
		}
	case indirect:
		r.index("type", len(w.types))
		r.index("table", w.tables)
	case local:
		r.index("local", b.locals)
	case global:
		r.index("global", w.globals)
	case table:
		r.index("table", w.tables)
	case twoTables:
		r.index("table", w.tables)
		r.index("table", w.tables)
	case element:
		r.index("element segment", w.elems)
	case elementTable:
		r.index("element segment", w.elems)
		r.index("table", w.tables)
	case memoryArg, memoryLane:
		r.u32()
		r.u32()
		if kind == memoryLane {
			r.byte()
		}
	case memory:
		zero()
	case twoMemories:
		zero()
		zero()
	case data:
		segment()
	case dataMemory:
		segment()
		zero()
	case i32Constant:
		r.signed(32)
	case i64Constant:
		r.signed(64)
	case f32Constant:
		r.take(4)
	case f64Constant:
		r.take(8)
	case bytes16:
		r.take(16)
	case reference:
		r.refType()
	case typeVector:
		for range r.count("types", w.Limits.Params) {
			r.valueType()
		}
	case lane:
		r.byte()
	}
}
