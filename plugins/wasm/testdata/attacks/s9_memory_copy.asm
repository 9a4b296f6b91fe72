; want: ran out of instructions
memory 512
export func stagepost_hook i32 -> i64
loop i32.const 0 i32.const 8 i32.const 0x1fffff0 memory.copy br 0 end i64.const 0
