; want: ran out of instructions
global at i32 0
export func stagepost_hook i32 -> i64
loop i32.const 16 memory.grow drop global.get at i32.const 1 i32.store global.get at i32.const 4096 i32.add memory.size i32.const 65536 i32.mul i32.rem_u global.set at br 0 end i64.const 0
