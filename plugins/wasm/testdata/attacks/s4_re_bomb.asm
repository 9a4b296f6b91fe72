; want: ran out of instructions
data 2000 "re.match"
data 3000 "\x82x\x1a((a{1,100}){1,100}){1,100}aa"
export func stagepost_hook i32 -> i64
loop i32.const 2000 i32.const 8 i32.const 3000 i32.const 31 call svc drop br 0 end i64.const 0
