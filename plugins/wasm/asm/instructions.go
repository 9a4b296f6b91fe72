package asm

import "strings"

// instruction is an opcode and what follows it: 0 a zero byte, b a block type, m an offset, f a function, g a global, n a number,
// s a signed one, t the labels of br_table, d a float.
type instruction struct {
	code []byte
	args string
}

var instructions = func() map[string]instruction {
	m := map[string]instruction{}
	from := func(code int, args string, names string) {
		for i, n := range strings.Fields(names) {
			m[n] = instruction{[]byte{byte(code + i)}, args}
		}
	}
	misc := func(code int, args string, names string) {
		for i, n := range strings.Fields(names) {
			m[n] = instruction{[]byte{0xfc, byte(code + i)}, args}
		}
	}
	from(0x00, "", "unreachable nop")
	from(0x02, "b", "block loop if")
	from(0x05, "", "else")
	from(0x0b, "", "end")
	from(0x0c, "n", "br br_if")
	from(0x0e, "t", "br_table")
	from(0x0f, "", "return")
	from(0x10, "f", "call")
	from(0x11, "n0", "call_indirect")
	from(0x1a, "", "drop select")
	from(0x20, "n", "local.get local.set local.tee")
	from(0x23, "g", "global.get global.set")
	from(0x28, "m", "i32.load i64.load f32.load f64.load i32.load8_s i32.load8_u i32.load16_s i32.load16_u i64.load8_s i64.load8_u "+
		"i64.load16_s i64.load16_u i64.load32_s i64.load32_u i32.store i64.store f32.store f64.store i32.store8 i32.store16 i64.store8 i64.store16 i64.store32")
	from(0x3f, "0", "memory.size memory.grow")
	from(0x41, "s", "i32.const i64.const")
	from(0x44, "d", "f64.const")
	from(0x45, "", "i32.eqz i32.eq i32.ne i32.lt_s i32.lt_u i32.gt_s i32.gt_u i32.le_s i32.le_u i32.ge_s i32.ge_u "+
		"i64.eqz i64.eq i64.ne i64.lt_s i64.lt_u i64.gt_s i64.gt_u i64.le_s i64.le_u i64.ge_s i64.ge_u")
	from(0x67, "", "i32.clz i32.ctz i32.popcnt i32.add i32.sub i32.mul i32.div_s i32.div_u i32.rem_s i32.rem_u i32.and i32.or i32.xor i32.shl i32.shr_s i32.shr_u i32.rotl i32.rotr "+
		"i64.clz i64.ctz i64.popcnt i64.add i64.sub i64.mul i64.div_s i64.div_u i64.rem_s i64.rem_u i64.and i64.or i64.xor i64.shl i64.shr_s i64.shr_u i64.rotl i64.rotr")
	from(0x9f, "", "f64.sqrt f64.add f64.sub f64.mul f64.div")
	from(0xa7, "", "i32.wrap_i64")
	from(0xac, "", "i64.extend_i32_s i64.extend_i32_u")
	from(0xd0, "n", "ref.null") // 112 is that of functions
	from(0xd2, "f", "ref.func")
	misc(10, "00", "memory.copy")
	misc(11, "0", "memory.fill")
	misc(14, "00", "table.copy")
	misc(15, "0", "table.grow table.size table.fill")
	return m
}()
