; want: ran out of instructions
data 2000 "hash.sha256"
data 3000 "\x81exxxxx"
export func stagepost_hook i32 -> i64
loop i32.const 2000 i32.const 11 i32.const 512 i32.const 3 call svc drop br 0 end i64.const 0
