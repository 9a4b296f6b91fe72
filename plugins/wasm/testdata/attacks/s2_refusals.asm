; want: ran out of instructions
; it goes on whatever the server refuses
data 2000 "no.such"
data 3000 "\x80"
export func stagepost_hook i32 -> i64
loop i32.const 2000 i32.const 7 i32.const 3000 i32.const 1 call svc drop br 0 end i64.const 0
