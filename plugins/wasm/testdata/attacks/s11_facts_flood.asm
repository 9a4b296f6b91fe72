; want: ran out of
data 3000 "\x82hattack.kav"
export func stagepost_hook i32 -> i64
loop i32.const 0 i32.const 2 i32.const 0 i32.const 3000 i32.const 12 call edit drop br 0 end i64.const 0
