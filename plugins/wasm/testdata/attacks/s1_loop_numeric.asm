; want: ran out of instructions
global n i32 0
export func stagepost_hook i32 -> i64
loop global.get n i32.const 1 i32.add global.set n br 0 end i64.const 0
