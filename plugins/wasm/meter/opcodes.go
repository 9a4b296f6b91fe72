package meter

// The opcodes that the rewriter writes or looks at.
const (
	opUnreachable  = 0x00
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opLocalGet     = 0x20
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opMemoryGrow   = 0x40
	opI32Const     = 0x41
	opI64Const     = 0x42
	opF32Const     = 0x43
	opF64Const     = 0x44
	opI64LtS       = 0x53
	opI64Add       = 0x7c
	opI64Sub       = 0x7d
	opI64Or        = 0x84
	opI64ShrU      = 0x88
	opI64ExtendU   = 0xad
	opRefNull      = 0xd0
	opRefFunc      = 0xd2
	opMisc         = 0xfc
	opVector       = 0xfd

	emptyBlock = 0x40

	vectorConst = 12
)

// immediate is what follows an opcode.
type immediate uint8

const (
	unknown immediate = iota
	none
	blockType   // begins a block
	label       // of a branch
	labels      // of br_table
	function    // index
	indirect    // type and table
	local       // index
	global      // index
	table       // index
	memoryArg   // alignment and offset
	memory      // the byte 0: the one memory there is
	i32Constant // LEB128
	i64Constant // LEB128
	f32Constant // 4 bytes
	f64Constant // 8 bytes
	reference   // type
	typeVector  // of select
	data        // index
	dataMemory  // data index, memory
	twoMemories
	element      // index
	elementTable // element index, table
	twoTables
	lane       // one byte
	memoryLane // memoryArg, lane
	bytes16
)

// immediates of the opcodes of one byte.
var immediates = func() (t [256]immediate) {
	set := func(i immediate, from, to int) {
		for op := from; op <= to; op++ {
			t[op] = i
		}
	}
	set(none, 0x00, 0x01)
	set(blockType, opBlock, opIf)
	set(none, opElse, opElse)
	set(none, opEnd, opEnd)
	set(label, opBr, opBrIf)
	set(labels, opBrTable, opBrTable)
	set(none, opReturn, opReturn)
	set(function, opCall, opCall)
	set(indirect, opCallIndirect, opCallIndirect)
	set(none, 0x1a, 0x1b)       // drop, select
	set(typeVector, 0x1c, 0x1c) // select with types
	set(local, opLocalGet, opLocalTee)
	set(global, opGlobalGet, opGlobalSet)
	set(table, 0x25, 0x26)     // table.get, table.set
	set(memoryArg, 0x28, 0x3e) // loads and stores
	set(memory, 0x3f, opMemoryGrow)
	set(i32Constant, opI32Const, opI32Const)
	set(i64Constant, opI64Const, opI64Const)
	set(f32Constant, opF32Const, opF32Const)
	set(f64Constant, opF64Const, opF64Const)
	set(none, 0x45, 0xc4) // comparisons, arithmetic, conversions
	set(reference, opRefNull, opRefNull)
	set(none, 0xd1, 0xd1) // ref.is_null
	set(function, opRefFunc, opRefFunc)
	return t
}()

// miscImmediates of the opcodes behind 0xfc.
var miscImmediates = [...]immediate{
	none, none, none, none, none, none, none, none, // saturating conversions
	dataMemory, data, twoMemories, memory, // memory.init, data.drop, memory.copy, memory.fill
	elementTable, element, twoTables, // table.init, elem.drop, table.copy
	table, table, table, // table.grow, table.size, table.fill
}

// The opcodes behind 0xfc that are charged by length.
const (
	memoryInit = 8
	memoryCopy = 10
	memoryFill = 11
	tableInit  = 12
	tableCopy  = 14
	tableGrow  = 15
	tableFill  = 17
)

// vectorImmediate is what follows an opcode behind 0xfd.
func vectorImmediate(op uint32) immediate {
	switch {
	case op <= 11: // loads and store
		return memoryArg
	case op <= 13: // const, shuffle
		return bytes16
	case op <= 20: // swizzle, splats
		return none
	case op <= 34: // lanes
		return lane
	case op <= 83: // comparisons, bitwise
		return none
	case op <= 91: // loads and stores of lanes
		return memoryLane
	case op <= 93: // loads with zeros
		return memoryArg
	case op > 255:
		return unknown
	}
	switch op { // not given out
	case 154, 162, 165, 166, 175, 176, 178, 179, 180, 187, 194, 197, 198, 207, 208, 210, 211, 212, 226, 238:
		return unknown
	}
	return none
}
