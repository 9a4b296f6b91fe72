package meter

import "slices"

// constant copies a constant expression. globals is how many of them it may look at.
func (w *rewriter) constant(r *reader, out *[]byte, globals int) {
	for n := 0; r.err == nil; n++ {
		begin := r.at
		switch op := r.byte(); op {
		case opEnd:
			*out = append(*out, opEnd)
			return
		case opI32Const:
			r.signed(32)
		case opI64Const:
			r.signed(64)
		case opF32Const:
			r.take(4)
		case opF64Const:
			r.take(8)
		case opVector:
			if sub := r.u32(); sub != vectorConst {
				r.failAt(begin, "vector opcode %d does not stand in a constant", sub)
			}
			r.take(16)
		case opRefNull:
			r.refType()
		case opGlobalGet:
			r.index("global", globals)
		case opRefFunc:
			r.index("function", len(w.funcs))
		default:
			r.failAt(begin, "opcode 0x%02x does not stand in a constant", op)
		}
		if n > 0 {
			r.failAt(begin, "a constant is one instruction")
		}
		*out = append(*out, r.data[begin:min(r.at, len(r.data))]...)
	}
}

// elementSegment copies one segment, in whichever of its eight forms it is.
func (w *rewriter) elementSegment(r *reader, out *[]byte) {
	at := r.at
	form := r.u32()
	if form > 7 {
		r.failAt(at, "element segments of form %d are not known", form)
		return
	}
	*out = appendU32(*out, form)
	active, explicit, expressions := form&1 == 0, form&2 != 0, form&4 != 0
	if active && explicit {
		*out = appendU32(*out, r.index("table", w.tables))
	} else if active && w.tables == 0 {
		r.failAt(at, "there is no table to put elements into")
	}
	if active {
		w.constant(r, out, w.globals)
	}
	if !active || explicit {
		if expressions {
			*out = append(*out, byte(r.refType()))
		} else {
			kind := r.byte()
			if kind != 0 {
				r.failAt(r.at-1, "elements of kind %d are not known", kind)
			}
			*out = append(*out, kind)
		}
	}
	n := r.count("elements", r.left())
	*out = appendU32(*out, uint32(n))
	for range n {
		if expressions {
			w.constant(r, out, w.globals)
		} else {
			*out = appendU32(*out, r.index("function", len(w.funcs)))
		}
		if r.err != nil {
			return
		}
	}
}

func (w *rewriter) dataSegment(r *reader, out *[]byte) {
	at := r.at
	form := r.u32()
	if form > 2 {
		r.failAt(at, "data segments of form %d are not known", form)
		return
	}
	*out = appendU32(*out, form)
	if form == 2 {
		*out = appendU32(*out, r.index("memory", w.memories))
	} else if form == 0 && w.memories == 0 {
		r.failAt(at, "there is no memory to put data into")
	}
	if form != 1 {
		w.constant(r, out, w.globals)
	}
	b := r.take(r.count("bytes", r.left()))
	*out = append(appendU32(*out, uint32(len(b))), b...)
}

// names copies the names of functions, by which traps are told. They are for people: what is wrong in them is left out.
func (w *rewriter) names(r reader) {
	type named struct {
		index uint32
		name  string
	}
	var all []named
	for r.left() > 0 && r.err == nil {
		id := r.byte()
		part := reader{data: r.take(r.count("bytes", r.left()))}
		if id != 1 {
			continue
		}
		for range part.count("names", len(w.funcs)) {
			n := named{part.index("function", len(w.funcs)), part.name()}
			if part.err != nil {
				break
			}
			all = append(all, n)
		}
		break
	}
	if len(all) == 0 || !slices.IsSortedFunc(all, func(a, b named) int { return int(a.index) - int(b.index) }) {
		return
	}
	for i := range all[1:] {
		if all[i].index == all[i+1].index {
			return
		}
	}
	list := appendU32(nil, uint32(len(all)))
	for _, n := range all {
		list = appendName(appendU32(list, n.index), n.name)
	}
	content := append(appendU32([]byte{1}, uint32(len(list))), list...)
	w.section(sectionCustom, -1, append(appendName(nil, "name"), content...))
}
