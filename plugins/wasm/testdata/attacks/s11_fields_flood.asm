; want: ran out of instructions
export func stagepost_hook i32 -> i64
loop i32.const 3 i32.const 0 i32.const 1 i32.const 4096 i32.const 4096 call field drop br 0 end i64.const 0
