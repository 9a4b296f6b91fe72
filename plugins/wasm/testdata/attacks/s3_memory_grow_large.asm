; want: ran out of instructions
export func stagepost_hook i32 -> i64
loop i32.const 0x7fffffff memory.grow drop i32.const 100 memory.grow drop br 0 end i64.const 0
