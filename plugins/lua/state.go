package lua

import (
	glua "github.com/yuin/gopher-lua"
)

// The linter sees writes to locals of the main chunk. What it cannot see is a local of a function that the main chunk called
// and whose closure it kept:
//
//	local function counter() local n = 0 return function() n = n + 1 return n end end
//	local next_number = counter()
//
// So the main chunk is followed by a walk over the closures that handlers can reach: none of them may write a local of a
// function that has returned. Only files in which some function writes a local of a function around it are walked.

// capture is a captured local that a function, or one inside it, writes.
type capture struct {
	index int // in the function's upvalues
	line  int
	name  string
}

// capturesIn finds what each function of a file writes outside of itself, besides locals of the main chunk, which the linter
// refused.
func capturesIn(p *glua.FunctionProto, found map[*glua.FunctionProto][]capture) []capture {
	var own []capture
	note := func(index, line int) {
		for _, c := range own {
			if c.index == index {
				return
			}
		}
		own = append(own, capture{index, line, p.DbgUpvalues[index]})
	}
	inside := make([][]capture, len(p.FunctionPrototypes))
	for i, inner := range p.FunctionPrototypes {
		inside[i] = capturesIn(inner, found)
	}
	for i := 0; i < len(p.Code); i++ {
		switch inst := p.Code[i]; int(inst >> opcodeShift) {
		case glua.OP_SETUPVAL:
			note(int(inst&argMask), p.DbgSourcePositions[i])
		case glua.OP_CLOSURE: // followed by one instruction for each local that the closure captures
			inner := int(inst & argBxMask)
			for _, c := range inside[inner] {
				if from := p.Code[i+1+c.index]; int(from>>opcodeShift) == glua.OP_GETUPVAL {
					note(int(from&argMask), c.line)
				}
			}
			i += int(p.FunctionPrototypes[inner].NumUpvalues)
		}
	}
	if len(own) > 0 {
		found[p] = own
	}
	return own
}

// findState looks for a closure that would carry something from one call to the next.
func (in *Instance) findState() error {
	w := stateWalk{image: in.image, seen: map[glua.LValue]bool{}, todo: []glua.LValue{in.state.G.Global}}
	for len(w.todo) > 0 {
		v := w.todo[len(w.todo)-1]
		w.todo = w.todo[:len(w.todo)-1]
		switch v := v.(type) {
		case *glua.LTable:
			w.add(v.Metatable)
			v.ForEach(func(k, v glua.LValue) {
				w.add(k)
				w.add(v)
			})
		case *glua.LFunction:
			if v.IsG {
				continue
			}
			if all := w.image.captures[v.Proto]; len(all) > 0 {
				return &Error{File: v.Proto.SourceName, Line: all[0].line, Message: all[0].name +
					" would be kept between calls, because the function that declares it was called by the main chunk; keep it in kv or a fact"}
			}
			for _, u := range v.Upvalues {
				w.add(u.Value())
			}
		}
	}
	return nil
}

type stateWalk struct {
	image *Image
	seen  map[glua.LValue]bool
	todo  []glua.LValue
}

func (w *stateWalk) add(v glua.LValue) {
	switch v.(type) {
	case *glua.LTable, *glua.LFunction:
		if !w.seen[v] {
			w.seen[v] = true
			w.todo = append(w.todo, v)
		}
	}
}
