; want: ran out of instructions
export func stagepost_hook i32 -> i64
loop  br 0 end i64.const 0
